//! The writing half: commands and bodies to the server.
//!
//! Small things gather in a buffer and leave together; large pieces leave at once, together with what is in the
//! buffer before them, without a copy.

use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time::timeout;

use super::io::Stream;
use super::link::{Answer, Link};
use super::{Error, Limits};
use crate::token::{digits, quote};
use crate::{Capabilities, Flags, FolderName, InternalDate, UidSet};

/// How much gathers before it is sent: what one read of small messages becomes with its APPENDs, so that it leaves in
/// one write.
const BUFFER: usize = 96 << 10;
/// Pieces from this size on are not copied into the buffer when they do not fit.
const LARGE: usize = 16 << 10;
/// LITERAL-: what may go without asking (RFC 7888).
const LITERAL_MINUS: u64 = 4_096;

/// A command's tag: compare it with that of [`super::Event::Tagged`]. Tags count up from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(u32);

impl Tag {
    /// From the wire; `None` for one that is not ours.
    pub(super) fn parse(wire: &[u8]) -> Option<Self> {
        u32::try_from(digits(wire.strip_prefix(b"M")?)?).ok().map(Self)
    }
}

impl fmt::Display for Tag {
    /// As on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "M{}", self.0)
    }
}

/// Whether an APPEND may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Append {
    /// The body may be sent: exactly the announced bytes by [`Writer::chunk`], then [`Writer::finish`].
    Open(Tag),
    /// The server refused before a byte of the body left; its answer is the [`super::Event::Tagged`] of this tag.
    Refused(Tag),
}

/// The writing half of a connection. None of its futures is cancel safe: after one was dropped the writer refuses
/// to go on, since nobody knows what was sent.
pub struct Writer {
    io: WriteHalf<Stream>,
    link: Arc<Link>,
    limits: Limits,
    buffer: Vec<u8>,
    /// Where the heads of APPENDs are written.
    head: Vec<u8>,
    last_tag: u32,
    literals: Literals,
    state: State,
    failed: Option<Error>,
}

/// How the server takes literals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Literals {
    /// Each must be asked for.
    Ask,
    /// LITERAL-
    SmallFree,
    /// LITERAL+
    Free,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Between commands.
    Ready,
    /// In the body of an APPEND.
    Body { tag: Tag, left: u64 },
    /// In the middle of a write, or a write that was abandoned there.
    Busy,
}

impl Writer {
    pub(super) fn new(io: WriteHalf<Stream>, link: Arc<Link>, limits: Limits) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self {
            io,
            link,
            limits,
            buffer,
            head: Vec::new(),
            last_tag: 0,
            literals: Literals::Ask,
            state: State::Ready,
            failed: None,
        }
    }

    pub(super) fn learn(&mut self, capabilities: &Capabilities) {
        self.literals = if capabilities.has("LITERAL+") {
            Literals::Free
        } else if capabilities.has("LITERAL-") {
            Literals::SmallFree
        } else {
            Literals::Ask
        };
    }

    /// Queues a command, given without tag and line end. It leaves when the buffer is full or at
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`Error::Misuse`] for a line end in it, or amid a body.
    pub async fn send(&mut self, command: &str) -> Result<Tag, Error> {
        self.send_bytes(command.as_bytes()).await
    }

    /// Queues `UID FETCH set (UID BODY.PEEK[])`. `set` must fit one command of 4,000 bytes: a few
    /// hundred messages at a time always do.
    ///
    /// # Errors
    /// As [`send`](Self::send); an empty set is [`Error::Misuse`].
    pub async fn fetch_bodies(&mut self, set: &UidSet) -> Result<Tag, Error> {
        if set.is_empty() {
            return Err(self.misuse("no messages to fetch"));
        }
        self.send(&format!("UID FETCH {set} (UID BODY.PEEK[])")).await
    }

    /// Begins an APPEND of `size` bytes.
    ///
    /// With LITERAL+ (or LITERAL- and a small body) this only queues a line. Else it sends all that is queued and
    /// waits for the server's `+`, which only the [`super::Reader`] can hear: somebody must be driving it meanwhile.
    ///
    /// # Errors
    /// [`Error::Timeout`] where no answer was heard; [`Error::Misuse`] for a folder that IMAP cannot name.
    pub async fn append(
        &mut self,
        folder: &FolderName,
        flags: &Flags,
        date: Option<InternalDate>,
        size: u64,
    ) -> Result<Append, Error> {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(head, "{} APPEND ", self.next_tag());
        let named = quote(folder.wire(), &mut head);
        let _ = write!(head, " ({flags}) ");
        if let Some(date) = date {
            let _ = write!(head, "\"{date}\" ");
        }
        if !named || head.contains(&b'\r') || head.contains(&b'\n') {
            return Err(self.misuse("a folder name or keyword with a line end"));
        }
        let tag = self.begin()?;
        let answer = self.announce(tag, &mut head, size).await?;
        self.head = head;
        self.state = match answer {
            Answer::Granted => State::Body { tag, left: size },
            Answer::Refused => State::Ready,
        };
        Ok(match answer {
            Answer::Granted => Append::Open(tag),
            Answer::Refused => Append::Refused(tag),
        })
    }

    /// The next bytes of the body.
    ///
    /// # Errors
    /// [`Error::Misuse`] for more bytes than were announced.
    pub async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let State::Body { tag, left } = self.state else {
            return Err(self.misuse("a body's bytes without an APPEND"));
        };
        let Some(left) = left.checked_sub(bytes.len() as u64) else {
            return Err(self.misuse("more bytes than were announced"));
        };
        self.queue(bytes).await?;
        self.state = State::Body { tag, left };
        Ok(())
    }

    /// The body is complete. Its last bytes may still be queued: [`flush`](Self::flush) when nothing follows at once.
    ///
    /// # Errors
    /// [`Error::Misuse`] for fewer bytes than were announced: then the connection must be dropped.
    pub async fn finish(&mut self) -> Result<Tag, Error> {
        let State::Body { tag, left: 0 } = self.state else {
            return Err(self.misuse("the end of a body that is not complete"));
        };
        self.queue(b"\r\n").await?;
        self.state = State::Ready;
        self.link.close();
        Ok(tag)
    }

    /// Sends all that is queued.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the server takes nothing for the idle limit.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let state = self.enter()?;
        self.write_out(&[]).await?;
        self.state = state;
        Ok(())
    }

    /// How many bytes are queued.
    pub fn queued(&self) -> usize {
        self.buffer.len()
    }

    /// Queues a command that may be a secret, or have bytes that are no text.
    pub(super) async fn send_bytes(&mut self, command: &[u8]) -> Result<Tag, Error> {
        if command.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(self.misuse("a command with a line end in it"));
        }
        let tag = self.begin()?;
        self.queue(format!("{tag} ").as_bytes()).await?;
        self.queue(command).await?;
        self.queue(b"\r\n").await?;
        Ok(tag)
    }

    /// Sends a command whose arguments are literals: LOGIN with what no quoted string can hold.
    pub(super) async fn send_literals(&mut self, verb: &str, literals: &[&[u8]]) -> Result<Tag, Error> {
        let tag = self.begin()?;
        let mut line = format!("{tag} {verb}").into_bytes();
        for literal in literals {
            line.push(b' ');
            let answer = self.announce(tag, &mut line, literal.len() as u64).await?;
            line.clear();
            match answer {
                Answer::Refused => return Ok(tag),
                Answer::Granted => self.queue(literal).await?,
            }
            self.link.close();
        }
        self.queue(b"\r\n").await?;
        Ok(tag)
    }

    /// A line that answers a `+`.
    pub(super) async fn answer(&mut self, line: &[u8]) -> Result<(), Error> {
        self.queue(line).await?;
        self.queue(b"\r\n").await?;
        self.flush().await
    }

    /// Sends all and overwrites what was sent: it was a secret.
    pub(super) async fn flush_secret(&mut self) -> Result<(), Error> {
        self.flush().await?;
        self.buffer.resize(self.buffer.capacity(), 0);
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn into_io(self) -> WriteHalf<Stream> {
        self.io
    }

    fn begin(&mut self) -> Result<Tag, Error> {
        match self.state {
            State::Ready => {}
            State::Body { .. } => return Err(self.misuse("a command amid a body")),
            State::Busy => return Err(self.misuse("a command after an abandoned one")),
        }
        let tag = self.next_tag();
        self.last_tag = tag.0;
        self.link.sent();
        Ok(tag)
    }

    fn next_tag(&self) -> Tag {
        Tag(self.last_tag.wrapping_add(1))
    }

    /// Ends `line` with a literal's size and queues it; waits where the server must be asked.
    async fn announce(&mut self, tag: Tag, line: &mut Vec<u8>, size: u64) -> Result<Answer, Error> {
        let free = match self.literals {
            Literals::Free => true,
            Literals::SmallFree => size <= LITERAL_MINUS,
            Literals::Ask => false,
        };
        let plus = if free { "+" } else { "" };
        let _ = write!(line, "{{{size}{plus}}}\r\n");
        if free {
            self.link.open();
            self.queue(line).await?;
            return Ok(Answer::Granted);
        }
        // Before it is sent: the reader must not hear the answer first.
        self.link.ask(tag);
        self.queue(line).await?;
        self.flush().await?;
        let state = self.enter()?;
        let answer = match timeout(self.limits.idle, self.link.answer()).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(self.link.lost(Error::Timeout {
                    server: Arc::clone(&self.link.server),
                    doing: "waiting for the server to take a literal",
                }));
            }
        };
        self.state = state;
        Ok(answer)
    }

    async fn queue(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() <= BUFFER {
            if self.buffer.is_empty() {
                self.link.queued();
            }
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        let state = self.enter()?;
        if bytes.len() >= LARGE {
            self.write_out(bytes).await?;
        } else {
            self.write_out(&[]).await?;
            self.link.queued();
            self.buffer.extend_from_slice(bytes);
        }
        self.state = state;
        Ok(())
    }

    /// Before a write; the state is put back when it is over.
    fn enter(&mut self) -> Result<State, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.link.check()?;
        match std::mem::replace(&mut self.state, State::Busy) {
            State::Busy => Err(self.misuse("a write after an abandoned one")),
            state @ (State::Ready | State::Body { .. }) => Ok(state),
        }
    }

    /// Writes the buffer and then `more`.
    async fn write_out(&mut self, more: &[u8]) -> Result<(), Error> {
        let length = self.buffer.len() + more.len();
        let mut done = 0;
        while done < length {
            let slices = [
                IoSlice::new(self.buffer.get(done..).unwrap_or_default()),
                IoSlice::new(&more[done.saturating_sub(self.buffer.len())..]),
            ];
            let slices = if done < self.buffer.len() { &slices[..] } else { &slices[1..] };
            let written = timeout(self.limits.idle, self.io.write_vectored(slices)).await;
            done += self.progress(written)?;
        }
        self.buffer.clear();
        let flushed = timeout(self.limits.idle, self.io.flush()).await;
        self.progress(flushed.map(|flushed| flushed.map(|()| 1)))?;
        self.link.flushed();
        Ok(())
    }

    fn progress(
        &mut self,
        result: Result<io::Result<usize>, tokio::time::error::Elapsed>,
    ) -> Result<usize, Error> {
        let server = Arc::clone(&self.link.server);
        let source = match result {
            Ok(Ok(written)) if written > 0 => {
                self.link.wrote();
                return Ok(written);
            }
            Ok(Ok(_)) => io::ErrorKind::WriteZero.into(),
            Ok(Err(source)) => source,
            Err(_) => return Err(self.link.lost(Error::Timeout { server, doing: "sending" })),
        };
        // The reader may still hear why.
        let error = self.link.explained(Error::Lost { server, source: Arc::new(source) });
        self.failed = Some(error.clone());
        Err(error)
    }

    fn misuse(&self, what: &'static str) -> Error {
        Error::Misuse { server: Arc::clone(&self.link.server), what }
    }
}

impl fmt::Debug for Writer {
    /// Without what is queued: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("server", &self.link.server)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
