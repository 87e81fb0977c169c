//! The little that the ledger wants from the disk itself: that what is written stays, and how much room there is.
//!
//! Behind a trait, so that tests can see what would be left after a power cut.

use std::fs::File;
use std::io;
use std::path::Path;

/// What the ledger asks of a disk.
pub(crate) trait Disk: Send + Sync {
    /// Returns when the file's content would survive a power cut.
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Returns when the folder's entries would survive a power cut.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Bytes that we may still write to the file system that `path` lies on.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The machine's own.
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn sync_file(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(path)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

/// Whether this error means that there is no room, which passes once somebody makes some.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
