//! Framing: bytes to lines and literals (RFC 3501 section 2.2; RFC 7888; literal8 of RFC 3516).
//!
//! ```text
//! * 12 FETCH (UID 40 BODY[] {5}CRLF     Line  { literal: 5 bytes }
//! hello                                 Data  { left: 0 }
//!  FLAGS (\Seen))CRLF                   Line  { literal: none }   -- the response is complete
//! ```
//! The framer resumes at any byte and keeps nothing but the beginning of an unfinished line, which is bounded. Bytes
//! of literals pass through without a copy and are never held. What comes out, joined, is what went in.
//!
//! A literal is known by where the grammar allows one, not by its look: `A1 OK note {5}` is text, since status
//! texts hold none; `* 1 FETCH (BODY[] {4294967296}` is a literal, however large. Where a line may be read both
//! ways framing fails for good: a wrong guess would take mail for protocol.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

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
    /// Something that may or may not announce a literal.
    #[error("a line that may or may not announce a literal")]
    Ambiguous,
    /// A literal of 2^64 bytes or more.
    #[error("a literal beyond all numbers")]
    LiteralTooLarge,
}

/// The framer of one direction of one connection.
#[derive(Debug)]
pub struct Framer {
    side: Side,
    max_line: usize,
    state: State,
    /// What the line under way belongs to; kept over its literals.
    kind: Kind,
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

/// Named for what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A new command or response.
    First,
    /// The bytes of a literal. `refusable` until the first of them came.
    Literal { left: u64, refusable: bool },
    /// The rest of a line after a literal.
    Rest,
    /// Nothing more.
    Failed(FrameError),
}

/// Where a line may hold a literal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Nowhere: its end is text for people, or has no strings.
    Text,
    /// A client's command: wherever a string may stand.
    Command,
    /// FETCH: what is not clearly a literal and not clearly text is neither.
    Fetch,
    /// Any other response with structure.
    Data,
}

impl Framer {
    /// For what a client sends; lines of at most 64 KiB.
    pub fn client() -> Self {
        Self::new(Side::Client, 64 << 10)
    }

    /// For what a server sends; lines of at most 1 MiB.
    pub fn server() -> Self {
        Self::new(Side::Server, 1 << 20)
    }

    fn new(side: Side, max_line: usize) -> Self {
        Self { side, max_line, state: State::First, kind: Kind::Text, begun: BytesMut::new() }
    }

    /// With another limit of a line's bytes, its line end included.
    pub fn with_max_line(self, bytes: usize) -> Self {
        Self { max_line: bytes, ..self }
    }

    /// Takes the next piece off `input`. `None`: `input` is used up (a line's beginning may be kept inside).
    ///
    /// # Errors
    /// Once and for ever; `input` and what was kept are of no use then.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FrameError> {
        if input.is_empty() {
            return match self.state {
                State::Failed(error) => Err(error),
                State::First | State::Literal { .. } | State::Rest => Ok(None),
            };
        }
        match self.state {
            State::Failed(error) => Err(error),
            State::Literal { left: 0, .. } => {
                self.state = State::Rest;
                self.line(input)
            }
            State::Literal { left, .. } => {
                let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let left = left - length as u64;
                self.state = State::Literal { left, refusable: false };
                Ok(Some(Piece::Data { bytes: input.split_to(length), left }))
            }
            State::First | State::Rest => self.line(input),
        }
    }

    /// The server refused the synchronising literal that was announced last: its bytes do not come, the next is a
    /// new command. Of no effect when none is awaited or its bytes have begun to come.
    pub fn refuse_literal(&mut self) {
        if matches!(self.state, State::Literal { refusable: true, .. }) {
            self.state = State::First;
        }
    }

    /// Whether nothing of an unfinished line, command or response is held: the bytes so far end where one ends.
    pub fn is_between(&self) -> bool {
        self.state == State::First && self.begun.is_empty()
    }

    fn line(&mut self, input: &mut Bytes) -> Result<Option<Piece>, FrameError> {
        let Some(end) = memchr(b'\n', input) else {
            if self.begun.len() + input.len() >= self.max_line {
                return self.fail(FrameError::LineTooLong(self.max_line));
            }
            self.begun.extend_from_slice(input);
            input.clear();
            return Ok(None);
        };
        if self.begun.len() + end + 1 > self.max_line {
            return self.fail(FrameError::LineTooLong(self.max_line));
        }
        let line = input.split_to(end + 1);
        let text = if self.begun.is_empty() {
            line
        } else {
            self.begun.extend_from_slice(&line);
            std::mem::take(&mut self.begun).freeze()
        };
        match self.announced(&text) {
            Ok(literal) => {
                self.state = match literal {
                    Some(Literal { size, sync }) => {
                        State::Literal { left: size, refusable: sync == Sync::Yes }
                    }
                    None => State::First,
                };
                Ok(Some(Piece::Line { text, literal }))
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail<T>(&mut self, error: FrameError) -> Result<T, FrameError> {
        self.state = State::Failed(error);
        self.begun = BytesMut::new();
        Err(error)
    }

    /// The literal that a line ends with.
    fn announced(&mut self, text: &[u8]) -> Result<Option<Literal>, FrameError> {
        if self.state == State::First {
            self.kind = match self.side {
                Side::Client => Kind::Command,
                Side::Server => response_kind(text),
            };
        }
        let Some(tail) = Tail::of(text) else {
            return Ok(None);
        };
        let is_literal = match (self.kind, tail.before.last()) {
            (Kind::Text, _) => return Ok(None),
            // A command has its tag and its verb first.
            (Kind::Command, _) if self.state == State::First && words(tail.before) < 2 => false,
            (_, Some(b' ' | b'(')) => true,
            // `BODY[]{5}`: some servers leave the blank out.
            (Kind::Fetch, Some(b']' | b'>')) => true,
            // `* LIST () "/" report{5}`: a name that should have been quoted.
            (Kind::Data, Some(_)) => return Ok(None),
            (Kind::Command | Kind::Fetch | Kind::Data, _) => false,
        };
        if !is_literal || ends_in_quotes(tail.before) {
            return Err(FrameError::Ambiguous);
        }
        let size = tail.size.ok_or(FrameError::LiteralTooLarge)?;
        let sync = match (self.side, tail.plus) {
            (Side::Client, None) => Sync::Yes,
            (Side::Client, Some(())) | (Side::Server, _) => Sync::No,
        };
        Ok(Some(Literal { size, sync }))
    }
}

/// A line that ends as one with a literal does.
struct Tail<'a> {
    /// What stands before the brace, and before the tilde of a literal8.
    before: &'a [u8],
    /// `None` where the digits are too many.
    size: Option<u64>,
    plus: Option<()>,
}

impl<'a> Tail<'a> {
    fn of(text: &'a [u8]) -> Option<Self> {
        let text = text.strip_suffix(b"\n")?;
        let text = text.strip_suffix(b"\r").unwrap_or(text).strip_suffix(b"}")?;
        let (text, plus) = match text.strip_suffix(b"+") {
            Some(text) => (text, Some(())),
            None => (text, None),
        };
        let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (text, digits) = text.split_at(text.len() - digits);
        let text = text.strip_suffix(b"{")?;
        if digits.is_empty() {
            return None;
        }
        let size = digits
            .iter()
            .try_fold(0u64, |size, digit| size.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        let before = match text.strip_suffix(b"~") {
            Some(before) if matches!(before.last(), Some(b' ' | b'(')) => before,
            Some(_) | None => text,
        };
        Some(Self { before, size, plus })
    }
}

fn response_kind(text: &[u8]) -> Kind {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if words.next() != Some(b"*") {
        return Kind::Text;
    }
    let mut word = words.next().unwrap_or_default();
    if word.iter().all(u8::is_ascii_digit) {
        word = words.next().unwrap_or_default();
    }
    if word.eq_ignore_ascii_case(b"FETCH") {
        return Kind::Fetch;
    }
    // Status texts, and what holds no string at all.
    let no_strings: [&[u8]; 14] = [
        b"OK",
        b"NO",
        b"BAD",
        b"BYE",
        b"PREAUTH",
        b"CAPABILITY",
        b"ENABLED",
        b"FLAGS",
        b"SEARCH",
        b"SORT",
        b"THREAD",
        b"VANISHED",
        b"EXISTS",
        b"EXPUNGE",
    ];
    // `* OK[ALERT] …` has been seen without its blank.
    let word = word.split(|byte| *byte == b'[').next().unwrap_or_default();
    if no_strings.iter().any(|known| known.eq_ignore_ascii_case(word)) { Kind::Text } else { Kind::Data }
}

fn words(text: &[u8]) -> usize {
    text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count()
}

/// Whether a quoted string is still open at the end of `text`.
fn ends_in_quotes(text: &[u8]) -> bool {
    let mut quoted = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                bytes.next();
            }
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests;
