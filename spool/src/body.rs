//! One message's bytes: written once, in order; read any number of times.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::space::{Claim, Kind, Space};
use crate::{Full, Spool};

/// Bodies up to this size live in memory.
const SMALL: u64 = 256 * 1024;

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

pub(crate) fn is_small(space: &Space, size: u64) -> bool {
    size <= SMALL && size <= space.limit(Kind::Memory)
}

/// A whole body. Clones share the bytes; the space comes back when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Body {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes: Stored,
    size: u64,
    claim: Claim,
}

#[derive(Debug)]
enum Stored {
    Memory(Bytes),
    File(Unlinked),
}

/// A temporary file without a name: closing it gives its blocks back, which may take a moment. That is done where blocking
/// is allowed, not by whoever lets go of it.
#[derive(Debug)]
struct Unlinked(Option<File>);

impl Unlinked {
    fn file(&self) -> io::Result<&File> {
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Unlinked {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            // Where the runtime is at its end, the file is closed here.
            drop(runtime.spawn_blocking(move || drop(file)));
        }
    }
}

impl Body {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// Where it lies.
    pub(crate) fn kind(&self) -> Kind {
        self.shared.claim.kind()
    }

    /// A reader from the first byte on; as many as one likes, each with a place of its own.
    pub fn open(&self) -> BodyReader {
        BodyReader { shared: self.shared.clone(), offset: 0 }
    }
}

/// Reads a body in chunks.
#[derive(Debug)]
pub struct BodyReader {
    shared: Arc<Shared>,
    offset: u64,
}

impl BodyReader {
    /// The next bytes, at most 256 KiB; `None` at the end. An error when the file cannot be read or is shorter than it
    /// was: then the body is worthless, and the source has it still.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let rest = self.shared.size - self.offset;
        if rest == 0 {
            return Ok(None);
        }
        let chunk = match &self.shared.bytes {
            Stored::Memory(bytes) => bytes.clone(),
            Stored::File(_) => {
                let shared = self.shared.clone();
                let offset = self.offset;
                let length = usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK);
                tokio::task::spawn_blocking(move || shared.read(offset, length))
                    .await
                    .map_err(io::Error::other)??
            }
        };
        self.offset += chunk.len() as u64;
        Ok(Some(chunk))
    }

    /// Back to the first byte.
    pub fn rewind(&mut self) {
        self.offset = 0;
    }
}

impl Shared {
    fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match &self.bytes {
            Stored::Memory(bytes) => Ok(bytes.clone()),
            Stored::File(file) => {
                let mut chunk = vec![0; length];
                file.file()?.read_exact_at(&mut chunk, offset)?;
                Ok(Bytes::from(chunk))
            }
        }
    }
}

/// Takes a body's bytes in order. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct BodyWriter {
    spool: Spool,
    size: u64,
    written: u64,
    sink: Sink,
    claim: Claim,
}

#[derive(Debug)]
enum Sink {
    Memory(Vec<u8>),
    File(Unlinked),
    /// After a failure: sticks.
    Broken,
}

impl BodyWriter {
    pub(crate) fn start(spool: Spool, size: u64) -> Result<Self, Full> {
        let space = spool.inner.space.clone();
        let kind = if is_small(&space, size) { Kind::Memory } else { Kind::Disk };
        if size > space.limit(kind) {
            return Err(Full);
        }
        let mut claim = Claim::empty(space, kind);
        let sink = match kind {
            Kind::Memory => {
                grow(&spool, &mut claim, size)?;
                Sink::Memory(Vec::new())
            }
            Kind::Disk => Sink::File(Unlinked(Some(temporary_file(&spool)?))),
        };
        Ok(Self { spool, size, written: 0, sink, claim })
    }

    /// Whether writing goes to disk, and so may block for a moment.
    pub fn is_file(&self) -> bool {
        matches!(self.sink, Sink::File(_))
    }

    /// Adds bytes. More than announced, no room left or a failing disk: `Full`, from then on.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let written = self.try_write(bytes);
        if written.is_err() && !matches!(self.sink, Sink::Broken) {
            self.sink = Sink::Broken;
            self.spool.inner.refused.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let after =
            self.written.checked_add(bytes.len() as u64).filter(|sum| *sum <= self.size).ok_or(Full)?;
        match &mut self.sink {
            Sink::Memory(memory) => {
                if memory.capacity() == 0 {
                    // `size` is at most SMALL here, and claimed.
                    memory.reserve_exact(usize::try_from(self.size).map_err(|_| Full)?);
                }
                memory.extend_from_slice(bytes);
            }
            Sink::File(file) => {
                grow(&self.spool, &mut self.claim, bytes.len() as u64)?;
                file.file().and_then(|mut file| file.write_all(bytes)).map_err(|error| {
                    tracing::debug!(%error, "Spool file not written.");
                    Full
                })?;
            }
            Sink::Broken => return Err(Full),
        }
        self.written = after;
        Ok(())
    }

    /// The body, if all its bytes came.
    pub fn finish(self) -> Option<Body> {
        if self.written != self.size {
            return None;
        }
        let bytes = match self.sink {
            Sink::Memory(memory) => Stored::Memory(Bytes::from(memory)),
            Sink::File(file) => Stored::File(file),
            Sink::Broken => return None,
        };
        Some(Body { shared: Arc::new(Shared { bytes, size: self.size, claim: self.claim }) })
    }
}

/// Claims more, giving up the oldest bodies where needed.
fn grow(spool: &Spool, claim: &mut Claim, bytes: u64) -> Result<(), Full> {
    while !claim.grow(bytes) {
        if !spool.make_room(claim.kind(), bytes) {
            return Err(Full);
        }
    }
    Ok(())
}

fn temporary_file(spool: &Spool) -> Result<File, Full> {
    let dir = &spool.inner.space.limits.dir;
    let file = tempfile::tempfile_in(dir).or_else(|_| {
        std::fs::create_dir_all(dir)?;
        tempfile::tempfile_in(dir)
    });
    file.map_err(|error| {
        tracing::debug!(%error, "No spool file.");
        Full
    })
}
