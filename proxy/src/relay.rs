//! The relay: both directions of a session that is logged in, in one task, without a lock or a copy between them.
//!
//! A chunk is read, shown to the watch, offered to the tap and written; the next one is read when it is gone, so a slow
//! reader slows its own sender and nobody else. Buffers exist only while bytes are in them. The tap is never awaited.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::mirror::TapSender;
use crate::watch::Watch;

/// How much is read before it is written.
const CHUNK: usize = 64 * 1024;

/// Chunks up to this size get a buffer of their own size, so that a short line does not keep a large one alive.
const SMALL: usize = 8 * 1024;

/// A queue that grew beyond this many chunks is given back.
const MAX_IDLE_QUEUE: usize = 16;

/// Both legs and what passes between them.
#[derive(Debug)]
pub(crate) struct Relay<'a, C, S> {
    client: C,
    source: S,
    up: Pipe,
    down: Pipe,
    watch: Watch,
    tap: Option<TapSender>,
    bytes_up: &'a AtomicU64,
    bytes_down: &'a AtomicU64,
    client_name: Option<&'a OnceLock<String>>,
}

/// Why [`Relay::run`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passed {
    /// One side sent its last byte; the other may go on. Told once.
    HalfClosed,
    /// Both sides are done.
    Closed,
}

#[derive(Debug, Default)]
struct Pipe {
    queue: VecDeque<Bytes>,
    state: PipeState,
    unflushed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum PipeState {
    #[default]
    Open,
    /// The reader's end was reached; what is queued goes out, then the end is passed on.
    Ending,
    Ended,
}

impl<'a, C, S> Relay<'a, C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Begins with what was read from both sides and not yet passed on.
    pub(crate) fn new(
        (client, client_rest): (C, Bytes),
        (source, source_rest): (S, Bytes),
        (watch, tap): (Watch, Option<TapSender>),
        (bytes_up, bytes_down): (&'a AtomicU64, &'a AtomicU64),
    ) -> Self {
        let (up, down) = (Pipe::default(), Pipe::default());
        let mut relay =
            Self { client, source, up, down, watch, tap, bytes_up, bytes_down, client_name: None };
        if !source_rest.is_empty() {
            relay.on_down(source_rest);
        }
        if !client_rest.is_empty() {
            relay.on_up(client_rest);
        }
        relay
    }

    /// Notes there what the client calls itself, unless something stands there already.
    pub(crate) fn with_client_name(mut self, place: &'a OnceLock<String>) -> Self {
        self.client_name = Some(place);
        self.note_client_name();
        self
    }

    fn note_client_name(&mut self) {
        if let Some(place) = self.client_name
            && let Some(name) = self.watch.client_name()
        {
            let _ = place.set(name);
        }
    }

    /// Passes bytes until something is to be told. Cancel-safe: no byte is lost.
    pub(crate) async fn run(&mut self) -> io::Result<Passed> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether nothing is under way: no byte waits, the server is between lines, and no command is unanswered but IDLE.
    pub(crate) fn at_rest(&self) -> bool {
        self.up.queue.is_empty() && self.down.queue.is_empty() && self.watch.at_rest()
    }

    /// Whether a line of our own may be put in between what the source says.
    pub(crate) fn between_lines(&self) -> bool {
        self.down.queue.is_empty() && self.watch.between_server_lines()
    }

    /// Whether something waits for the client to take it.
    pub(crate) fn client_is_behind(&self) -> bool {
        !self.down.queue.is_empty() || self.down.unflushed
    }

    /// The client's leg, to say a last word.
    pub(crate) fn client(&mut self) -> &mut C {
        &mut self.client
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Passed>> {
        let open = self.open_pipes();
        let up = self.poll_up(cx)?;
        let down = self.poll_down(cx)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(Passed::Closed));
        }
        if self.open_pipes() < open {
            return Poll::Ready(Ok(Passed::HalfClosed));
        }
        Poll::Pending
    }

    fn open_pipes(&self) -> usize {
        [&self.up, &self.down].into_iter().filter(|pipe| pipe.state == PipeState::Open).count()
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if ready!(self.up.poll_room(&mut self.source, cx)).is_err() {
                // The source takes nothing more; its last words are still for the client.
                self.up = Pipe { state: PipeState::Ended, ..Pipe::default() };
            }
            if self.up.state == PipeState::Ended {
                return Poll::Ready(Ok(()));
            }
            match poll_chunk(&mut self.client, cx) {
                Poll::Ready(Some(chunk)) => self.on_up(chunk),
                Poll::Ready(None) => self.up.state = PipeState::Ending,
                Poll::Pending => {
                    if self.up.poll_flush(&mut self.source, cx).is_err() {
                        self.up = Pipe { state: PipeState::Ended, ..Pipe::default() };
                        return Poll::Ready(Ok(()));
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.down.poll_room(&mut self.client, cx))?;
            if self.down.state == PipeState::Ended {
                return Poll::Ready(Ok(()));
            }
            match poll_chunk(&mut self.source, cx) {
                Poll::Ready(Some(chunk)) => self.on_down(chunk),
                Poll::Ready(None) => {
                    self.watch.on_server_end(&mut self.down.queue);
                    self.down.state = PipeState::Ending;
                }
                Poll::Pending => {
                    self.down.poll_flush(&mut self.client, cx)?;
                    return Poll::Pending;
                }
            }
        }
    }

    fn on_up(&mut self, chunk: Bytes) {
        self.bytes_up.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        self.watch.on_client(&chunk);
        self.note_client_name();
        // Before it is written: the tap must see a command before its answer.
        if self.tap.as_ref().is_some_and(|tap| !tap.offer_client(&chunk)) {
            self.tap = None;
        }
        self.up.queue.push_back(chunk);
    }

    fn on_down(&mut self, chunk: Bytes) {
        self.bytes_down.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if self.tap.as_ref().is_some_and(|tap| !tap.offer_server(&chunk)) {
            self.tap = None;
        }
        self.watch.on_server(&chunk, &mut self.down.queue);
    }
}

impl Pipe {
    /// Ready when everything went out: more may be read then, or the end was passed on.
    fn poll_room<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(front) = self.queue.front_mut() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, front))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            front.advance(written);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        if self.queue.capacity() > MAX_IDLE_QUEUE {
            self.queue = VecDeque::new();
        }
        if self.state == PipeState::Ending {
            // A peer that is gone already cannot be told.
            let _ = ready!(Pin::new(writer).poll_shutdown(cx));
            self.state = PipeState::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends on what the writer holds back; called when there is nothing more to write.
    fn poll_flush<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(writer).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }
}

/// Reads what is there, up to [`CHUNK`]; `None` at the end. A connection that broke has ended too: what it sent before
/// still counts. A short line costs a buffer of its size; where nothing is there, none.
fn poll_chunk<R: AsyncRead + Unpin>(reader: &mut R, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
    let mut space = [MaybeUninit::uninit(); SMALL];
    let mut short = ReadBuf::uninit(&mut space);
    let mut more = fill(reader, cx, &mut short);
    if more != Poll::Ready(More::Perhaps) {
        return match (short.filled(), more) {
            ([], Poll::Pending) => Poll::Pending,
            ([], Poll::Ready(_)) => Poll::Ready(None),
            // An end is told again by the next read.
            (bytes, _) => Poll::Ready(Some(Bytes::copy_from_slice(bytes))),
        };
    }
    let mut chunk = BytesMut::with_capacity(CHUNK);
    chunk.extend_from_slice(short.filled());
    while chunk.len() < CHUNK && more == Poll::Ready(More::Perhaps) {
        more = match poll_read_buf(Pin::new(&mut *reader), cx, &mut chunk) {
            Poll::Ready(Ok(1..)) => Poll::Ready(More::Perhaps),
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(More::Never),
            Poll::Pending => Poll::Pending,
        };
    }
    Poll::Ready(Some(chunk.freeze()))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum More {
    Perhaps,
    Never,
}

/// Reads until `space` is full: then there may be more.
fn fill<R: AsyncRead + Unpin>(reader: &mut R, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<More> {
    while space.remaining() > 0 {
        let before = space.filled().len();
        let read = ready!(Pin::new(&mut *reader).poll_read(cx, space));
        if read.is_err() || space.filled().len() == before {
            return Poll::Ready(More::Never);
        }
    }
    Poll::Ready(More::Perhaps)
}

#[cfg(test)]
mod tests;
