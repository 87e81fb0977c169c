//! The reading half: bytes from the server to events.
//!
//! Memory is bounded: one read buffer, the beginning of an unfinished line, and the literals of one response as far
//! as they are small. Bodies pass through as slices of the read buffer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::timeout;

use super::io::Stream;
use super::link::Link;
use super::{Error, Limits, Tag};
use crate::Uid;
use crate::frame::{Framer, Piece};
use crate::response::{Fetched, Response, StatusText, fetch_so_far, is_whole_message, parse};
use crate::token::Part;

/// How large the read buffer is made.
const READ_SIZE: usize = 64 << 10;
/// Where slices of it are still held, a new one is taken when less than this is left.
const MIN_READ: usize = 16 << 10;
/// Literals in one response, beyond which it is no honest one.
const MAX_PARTS: usize = 4_096;

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
    /// `+ …` that no literal of ours was waiting for.
    Continue(Bytes),
    /// A message's body begins (`BODY[]`, `RFC822`, or any literal too large to keep).
    BodyStart {
        /// Its sequence number.
        seq: u32,
        /// Its UID, where the server told it before the body (most do: else see [`Event::BodyEnd`]).
        uid: Option<Uid>,
        /// How many bytes will follow.
        size: u64,
    },
    /// Bytes of the body, never empty.
    BodyChunk(Bytes),
    /// The FETCH response is complete; all bytes of the body came. A response with several bodies has one end.
    BodyEnd {
        /// What the response told beside it; `uid` also where it came after the body.
        fetched: Box<Fetched>,
    },
    /// The server closes the connection. Answers to commands may still come, then only errors.
    Bye(StatusText),
}

/// The reading half of a connection.
pub struct Reader {
    io: ReadHalf<Stream>,
    link: Arc<Link>,
    limits: Limits,
    /// Where bytes are read to.
    buffer: BytesMut,
    /// What was read and not framed.
    input: Bytes,
    framer: Framer,
    /// The response under way.
    parts: Vec<Part>,
    /// Bytes of its texts.
    text_kept: usize,
    /// Bytes of its literals that are kept.
    inlined: usize,
    literal: Literal,
    /// Whether a body of this response was streamed.
    streamed: Option<()>,
    ready: VecDeque<Event>,
    failed: Option<Error>,
}

/// What becomes of the bytes of a literal.
#[derive(Debug)]
enum Literal {
    Kept(BytesMut),
    Streamed,
}

impl Reader {
    pub(super) fn new(io: ReadHalf<Stream>, link: Arc<Link>, limits: Limits) -> Self {
        Self {
            io,
            link,
            limits,
            buffer: BytesMut::new(),
            input: Bytes::new(),
            framer: Framer::server().with_max_line(limits.max_line),
            parts: Vec::new(),
            text_kept: 0,
            inlined: 0,
            literal: Literal::Streamed,
            streamed: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// The next event. Cancel safe: dropping the future loses nothing.
    ///
    /// Waits without end while the server owes nothing, and at most the idle limit otherwise.
    ///
    /// # Errors
    /// Any error is final and repeated.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if let Err(error) = self.fill().await {
                return Err(self.fail(error));
            }
        }
    }

    /// The next event, if it is here already; never waits.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(event) = self.ready.pop_front() {
            return Ok(Some(event));
        }
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        while !self.input.is_empty() {
            match self.advance() {
                Ok(None) => {}
                Ok(Some(event)) => return Ok(Some(event)),
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(None)
    }

    /// Whether [`next`](Self::next) would not wait for the network.
    pub fn has_buffered(&mut self) -> bool {
        match self.try_next() {
            Ok(Some(event)) => {
                self.ready.push_front(event);
                true
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// How many commands were given (queued ones among them) and not answered.
    pub fn outstanding(&self) -> u32 {
        self.link.owed()
    }

    /// Whether every byte that came was used: nothing read ahead, no line begun.
    pub(super) fn is_between(&self) -> bool {
        self.ready.is_empty() && self.input.is_empty() && self.parts.is_empty() && self.framer.is_between()
    }

    pub(super) fn into_io(self) -> ReadHalf<Stream> {
        self.io
    }

    pub(super) fn put_back(&mut self, event: Event) {
        self.ready.push_front(event);
    }

    fn fail(&mut self, error: Error) -> Error {
        let error = self.link.lost(error);
        self.failed = Some(error.clone());
        self.input = Bytes::new();
        error
    }

    async fn fill(&mut self) -> Result<(), Error> {
        // Mostly nobody holds a slice of the last read any more: the same memory is used again.
        if !self.buffer.try_reclaim(READ_SIZE) && self.buffer.capacity() < MIN_READ {
            self.buffer.reserve(READ_SIZE);
        }
        let mut patience = self.limits.idle;
        let read = loop {
            let read = timeout(patience, self.io.read_buf(&mut self.buffer));
            match read.await {
                Ok(read) => break read.map_err(|source| self.broken(source))?,
                Err(_) => match self.link.patience(self.limits.idle) {
                    None => patience = self.limits.idle,
                    Some(left) if !left.is_zero() => patience = left,
                    Some(_) => {
                        let server = Arc::clone(&self.link.server);
                        return Err(Error::Timeout { server, doing: "waiting for the server's answer" });
                    }
                },
            }
        };
        if read == 0 {
            return Err(self.broken(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server")));
        }
        self.input = self.buffer.split().freeze();
        Ok(())
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Lost { server: Arc::clone(&self.link.server), source: Arc::new(source) }
    }

    fn protocol(&self, what: impl fmt::Display) -> Error {
        Error::Protocol { server: Arc::clone(&self.link.server), what: what.to_string() }
    }

    /// One step of framing.
    fn advance(&mut self) -> Result<Option<Event>, Error> {
        let piece = self.framer.next(&mut self.input).map_err(|error| self.protocol(error))?;
        match piece {
            None => Ok(None),
            Some(Piece::Data { bytes, left }) => Ok(self.data(bytes, left)),
            Some(Piece::Line { text, literal }) => {
                self.text_kept += text.len();
                if self.text_kept > self.limits.max_line || self.parts.len() > MAX_PARTS {
                    return Err(self.protocol("a response without end"));
                }
                // Else the bytes told were not the body, and what is taken for protocol may be mail.
                if matches!(self.parts.last(), Some(Part::Streamed { .. }))
                    && !matches!(text.first(), Some(b' ' | b')'))
                {
                    return Err(self.protocol("a body that does not end where its literal does"));
                }
                let Some(literal) = literal else {
                    self.parts.push(Part::Text(text));
                    return self.complete();
                };
                // A copy: kept while the literal passes, a slice would keep a whole read buffer alive.
                self.parts.push(Part::Text(Bytes::copy_from_slice(&text)));
                self.begin_literal(literal.size)
            }
        }
    }

    fn begin_literal(&mut self, size: u64) -> Result<Option<Event>, Error> {
        let room = self.limits.max_inline - self.inlined;
        let small = usize::try_from(size).ok().filter(|size| *size <= room && !self.is_body_next());
        if let Some(size) = small {
            if size == 0 {
                self.parts.push(Part::Literal(Bytes::new()));
            }
            self.inlined += size;
            self.literal = Literal::Kept(BytesMut::new());
            return Ok(None);
        }
        self.parts.push(Part::Streamed { size });
        let Some((fetched, _)) = fetch_so_far(&self.parts) else {
            return Err(self.protocol("a literal that is too large"));
        };
        self.literal = Literal::Streamed;
        self.streamed = Some(());
        Ok(Some(Event::BodyStart { seq: fetched.seq, uid: fetched.uid, size }))
    }

    /// Whether the text before the literal ends with the name of a whole message.
    fn is_body_next(&self) -> bool {
        let Some(Part::Text(text)) = self.parts.last() else { return false };
        let end = memchr::memrchr(b'{', text).unwrap_or(text.len());
        let before = text[..end].strip_suffix(b"~").unwrap_or(&text[..end]).trim_ascii_end();
        let from = before.iter().rposition(|byte| matches!(byte, b' ' | b'(')).map_or(0, |at| at + 1);
        str::from_utf8(&before[from..]).is_ok_and(is_whole_message)
    }

    fn data(&mut self, bytes: Bytes, left: u64) -> Option<Event> {
        match &mut self.literal {
            Literal::Streamed => Some(Event::BodyChunk(bytes)),
            Literal::Kept(kept) => {
                if kept.is_empty() && left == 0 {
                    // A copy all the same: a slice would keep the whole read buffer alive.
                    self.parts.push(Part::Literal(Bytes::copy_from_slice(&bytes)));
                    return None;
                }
                kept.extend_from_slice(&bytes);
                if left == 0 {
                    self.parts.push(Part::Literal(std::mem::take(kept).freeze()));
                }
                None
            }
        }
    }

    /// A response is whole.
    fn complete(&mut self) -> Result<Option<Event>, Error> {
        let response = parse(&self.parts);
        self.parts.clear();
        self.text_kept = 0;
        self.inlined = 0;
        let streamed = self.streamed.take().is_some();
        match response {
            Response::Fetch(fetched) if streamed => Ok(Some(Event::BodyEnd { fetched })),
            Response::Fetch(fetched) => Ok(Some(self.fetched(fetched))),
            _ if streamed => Err(self.protocol("a FETCH response that does not read")),
            Response::Tagged { tag, text } => match Tag::parse(&tag) {
                Some(tag) => {
                    self.link.answered(tag);
                    Ok(Some(Event::Tagged { tag, text }))
                }
                None => Err(self.protocol("an answer to a command that was never given")),
            },
            Response::Continue(_) if self.link.continued() => Ok(None),
            Response::Continue(text) => Ok(Some(Event::Continue(text))),
            Response::Bye(text) => {
                self.link.said_bye(text.code.clone(), &text.text);
                Ok(Some(Event::Bye(text)))
            }
            untagged => Ok(Some(Event::Untagged(untagged))),
        }
    }

    /// A body may also come as a quoted string.
    fn fetched(&mut self, mut fetched: Box<Fetched>) -> Event {
        let Some(at) = fetched.sections.iter().position(|(item, _)| is_whole_message(item)) else {
            return Event::Untagged(Response::Fetch(fetched));
        };
        let (_, body) = fetched.sections.swap_remove(at);
        let start = Event::BodyStart { seq: fetched.seq, uid: fetched.uid, size: body.len() as u64 };
        if !body.is_empty() {
            self.ready.push_back(Event::BodyChunk(body));
        }
        self.ready.push_back(Event::BodyEnd { fetched });
        start
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("server", &self.link.server)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
