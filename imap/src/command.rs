//! What a client says, as far as the proxy acts on it.

use bytes::Bytes;

use crate::token::{Part, Value};

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The tag as it stands.
    pub tag: Bytes,
    /// In upper case; `UID FETCH` is one verb.
    pub verb: String,
    /// Its arguments. Debug output shows none of LOGIN's and AUTHENTICATE's.
    pub arguments: Vec<Value>,
}

/// Reads one framed command; `None` where there is no tag and verb.
pub fn parse(parts: &[Part]) -> Option<Command> {
    let _ = parts;
    todo!()
}
