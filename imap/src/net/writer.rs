//! The writing half.

use std::fmt;

use super::Error;
use crate::{Flags, FolderName, InternalDate, UidSet};

/// A command's tag: compare it with that of [`super::Event::Tagged`]. Tags count up from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub(super) u32);

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

/// The writing half of a connection.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Queues a command given without tag and line end. It is sent when the buffer is full or at [`flush`](Self::flush).
    pub async fn send(&mut self, command: &str) -> Result<Tag, Error> {
        let _ = command;
        todo!()
    }

    /// Queues `UID FETCH set (UID BODY.PEEK[])`; `set` must be short enough for one command ([`UidSet::chunks`]).
    pub async fn fetch_bodies(&mut self, set: &UidSet) -> Result<Tag, Error> {
        let _ = set;
        todo!()
    }

    /// Begins an APPEND of `size` bytes.
    pub async fn append(
        &mut self,
        folder: &FolderName,
        flags: &Flags,
        date: Option<InternalDate>,
        size: u64,
    ) -> Result<Append, Error> {
        let _ = (folder, flags, date, size);
        todo!()
    }

    /// The next bytes of the body.
    pub async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let _ = bytes;
        todo!()
    }

    /// The body is complete.
    pub async fn finish(&mut self) -> Result<Tag, Error> {
        todo!()
    }

    /// Sends all that is queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        todo!()
    }
}
