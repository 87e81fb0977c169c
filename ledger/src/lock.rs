//! One owner at a time: an advisory lock on a file in the ledger's folder. The system lifts it when the owner dies.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::OpenError;

/// The lock, held until dropped.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in `dir`, which exists.
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { dir: dir.to_owned(), error };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(dir.join("lock")).map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse { dir: dir.to_owned(), pid: owner(&mut file) });
            }
            Err(error) => return Err(io(error.into())),
        }
        if let Err(error) = sign(&mut file) {
            // The number is for people; the lock holds without it, also on a full disk.
            tracing::debug!(%error, "The lock file does not say who holds it.");
        }
        Ok(Self { _file: file })
    }
}

fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
