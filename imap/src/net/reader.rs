//! The reading half.

use bytes::Bytes;

use super::{Error, Tag};
use crate::Uid;
use crate::response::{Fetched, Response, StatusText};

/// What comes from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A command is done.
    Tagged {
        /// Which.
        tag: Tag,
        /// How it went: status, code, text.
        text: StatusText,
    },
    /// Anything else but bodies, FETCH responses without a streamed body among it.
    Untagged(Response),
    /// `+ …` that no APPEND was waiting for.
    Continue(Bytes),
    /// A message's body begins (`BODY[]`, `RFC822`, or any literal too large to keep).
    BodyStart {
        /// Its sequence number.
        seq: u32,
        /// Its UID, where the server told it before the body (all known servers do).
        uid: Option<Uid>,
        /// How many bytes will follow.
        size: u64,
    },
    /// Bytes of the body, never empty.
    BodyChunk(Bytes),
    /// The FETCH response is complete; the body's bytes all came.
    BodyEnd {
        /// What the response told beside it; `uid` also where it came after the body.
        fetched: Box<Fetched>,
    },
    /// The server closes the connection. Only errors follow.
    Bye(StatusText),
}

/// The reading half of a connection.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// The next event. Cancel safe: an event that was not returned is not lost.
    pub async fn next(&mut self) -> Result<Event, Error> {
        todo!()
    }

    /// Whether the next event is already here, so that [`next`](Self::next) would not wait for the network.
    pub fn has_buffered(&self) -> bool {
        todo!()
    }
}
