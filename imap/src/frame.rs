//! Framing: bytes to lines and literals (RFC 3501 section 2.2; RFC 7888; literal8 of RFC 3516).

use bytes::Bytes;

/// A literal as its line announces it: `{1234}`, `{1234+}`, `~{1234}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Literal {
    /// How many bytes follow. The peer's word: never a size to allocate.
    pub size: u64,
    /// Whether the sender waits for a `+` before it sends them. Always [`Sync::No`] from a server.
    pub sync: Sync,
}

/// Whether a literal waits for a `+`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// A client's `{n}`: the server must say `+` first. It may refuse instead: [`Framer::refuse_literal`].
    Yes,
    /// `{n+}`, or anything that a server sends.
    No,
}

/// What the framer gives. All `text` and `bytes` of a connection joined are what went in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Text up to and with its line end.
    Line {
        /// With its CRLF (or bare LF); with the `{n}` of the literal.
        text: Bytes,
        /// What follows: a literal and then more of the same command or response; `None` where it is complete.
        literal: Option<Literal>,
    },
    /// Bytes of a literal, never empty. A literal of no bytes gives none.
    Data {
        /// As many as there were.
        bytes: Bytes,
        /// How many of this literal are still to come.
        left: u64,
    },
}

/// Why framing ended. It sticks: the framer only repeats it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A line beyond the limit.
    #[error("a line of more than {0} bytes")]
    LineTooLong(usize),
    /// Something that may or may not announce a literal; guessing wrong would take mail for protocol.
    #[error("a line that may or may not announce a literal")]
    Ambiguous,
}

/// The framer of one direction of one connection.
#[derive(Debug)]
pub struct Framer {}

impl Framer {
    /// For what a client sends; lines of at most 64 KiB.
    pub fn client() -> Self {
        todo!()
    }

    /// For what a server sends; lines of at most 1 MiB.
    pub fn server() -> Self {
        todo!()
    }

    /// With another limit of a line's bytes.
    pub fn with_max_line(self, bytes: usize) -> Self {
        let _ = bytes;
        todo!()
    }

    /// Takes the next piece off `input`. `None`: `input` is used up (a line's beginning may be kept inside).
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FrameError> {
        let _ = input;
        todo!()
    }

    /// The server refused the synchronising literal that was announced last: its bytes do not come, the next is a
    /// new command. Of no effect when none is awaited or its bytes have begun to come.
    pub fn refuse_literal(&mut self) {
        todo!()
    }
}
