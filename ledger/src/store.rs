//! The store under the ledger: sled 0.34.7 behind guards. The only module that names it.
//!
//! What it does by itself and what is done here for it:
//! - Its `flush` does not fsync: [`Store::write`] flushes, then syncs the log and any blob itself, and nothing is
//!   done before that. `flush_every_ms` is off, so nothing is written behind our back.
//! - It refuses to open where a snapshot was being written when the process died: those are deleted first.
//! - It may panic on damage: everything that touches it runs under `catch_unwind`.
//! - It takes a torn end of its log for the end. Where the damage is not at the end that would lose acknowledged
//!   commits in silence: the file `acknowledged` beside the log holds the number of the last one (written after the
//!   log is durable, itself not synced: it may lag, never lead), and a store that has fewer is damaged.
//! - After an error in its log it repeats that error for ever, and what it holds in memory is not what is on disk:
//!   such a store is dropped and opened again (see `commit`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{Disk, is_full};

/// The store's page cache, in bytes as stored; in memory it takes about four times as much.
const CACHE: u64 = 12 * 1024 * 1024;
/// How long the remains of a store that was just dropped may hold its file.
const RELEASE: Duration = Duration::from_secs(5);

/// Writes by key; `None` removes.
pub(crate) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What may go wrong down here.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// No room; passes.
    Full(String),
    /// What is there is not what was written.
    Damaged(String),
    /// The operating system failed us otherwise.
    Io(io::Error),
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            // It wraps its own errors in each other's debug form; the kind is what people can read.
            sled::Error::Io(error) if is_full(&error) => Self::Full(error.kind().to_string()),
            sled::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full(error.to_string()) } else { Self::Io(error) }
    }
}

/// An open store.
pub(crate) struct Store {
    db: sled::Db,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    log: File,
    acknowledged: File,
    blobs: Mutex<BTreeSet<OsString>>,
}

impl Store {
    /// Opens the store in `dir`, or makes one there. All of it is durable when this returns.
    pub(crate) fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        fs::create_dir_all(dir)?;
        remove_unfinished_snapshots(dir)?;
        let db = open_guarded(dir)?;
        let log = OpenOptions::new().read(true).write(true).open(dir.join("db"))?;
        let acknowledged = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("acknowledged"))?;
        let store = Self { db, dir: dir.to_owned(), disk, log, acknowledged, blobs: Mutex::default() };
        store.sync_everything()?;
        Ok(store)
    }

    /// The number of the last commit that somebody was told of; zero where nobody noted one.
    pub(crate) fn acknowledged(&self) -> Result<u64, StoreError> {
        let mut bytes = [0; 16];
        let mut read = 0;
        while read < bytes.len() {
            match self.acknowledged.read_at(&mut bytes[read..], read as u64)? {
                0 => return Ok(0),
                more => read += more,
            }
        }
        let (number, check) = bytes.split_at(8);
        let number: [u8; 8] = number.try_into().unwrap_or_default();
        let inverted = number.map(|byte| !byte);
        // Half-written: it says nothing.
        Ok(if check == inverted { u64::from_be_bytes(number) } else { 0 })
    }

    /// Notes the number of a durable commit. Failing is no loss: the note only ever lags.
    fn acknowledge(&self, commit: u64) {
        let number = commit.to_be_bytes();
        let bytes = [number, number.map(|byte| !byte)].concat();
        if let Err(error) = self.acknowledged.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "The number of the last commit was not noted.");
        }
    }

    /// One value.
    pub(crate) fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(|| Ok(self.db.get(key)?.map(|value| value.to_vec())))
    }

    /// Up to `limit` entries from `from` (with it) to `to` (without it), in order.
    pub(crate) fn page(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        guarded(|| {
            let mut page = Vec::new();
            if from < to {
                for entry in self.db.range(from..to).take(limit) {
                    let (key, value) = entry?;
                    page.push(Entry { key: key.to_vec(), value: value.to_vec() });
                }
            }
            Ok(page)
        })
    }

    /// The last entry below `to` and not below `from`.
    pub(crate) fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>, StoreError> {
        guarded(|| {
            let Some(entry) = self.db.range(from..to).next_back() else { return Ok(None) };
            let (key, value) = entry?;
            Ok(Some(Entry { key: key.to_vec(), value: value.to_vec() }))
        })
    }

    /// Shows every entry in order to `look`.
    pub(crate) fn walk<E: From<StoreError>>(
        &self,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut entries = self.db.iter();
        loop {
            match guarded(|| Ok(entries.next().transpose()?)).map_err(E::from)? {
                Some((key, value)) => look(&key, &value)?,
                None => return Ok(()),
            }
        }
    }

    /// Writes all of it or nothing; durable when it returns. `commit` numbers it.
    ///
    /// After an error the store must not be used any more: it may hold what is not on disk.
    pub(crate) fn write(&self, writes: Writes, commit: u64) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        guarded(|| {
            self.db.apply_batch(batch)?;
            self.db.flush()?;
            Ok(())
        })?;
        // Whatever the reason: after a failed fsync nobody knows what is on the disk, so it is never `Full`.
        self.sync_blobs().map_err(StoreError::Io)?;
        self.disk.sync_file(&self.log, &self.dir.join("db")).map_err(StoreError::Io)?;
        self.acknowledge(commit);
        Ok(())
    }

    /// Syncs blobs that are new since the last time. Our values are too small for any; this is for the day they are not.
    fn sync_blobs(&self) -> io::Result<()> {
        let folder = self.dir.join("blobs");
        let mut known = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeSet::new();
        let mut any_new = false;
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name();
            if !known.contains(&name) {
                let path = folder.join(&name);
                self.disk.sync_file(&File::open(&path)?, &path)?;
                any_new = true;
            }
            now.insert(name);
        }
        if any_new {
            self.disk.sync_folder(&folder)?;
        }
        *known = now;
        Ok(())
    }

    fn sync_everything(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                self.disk.sync_file(&File::open(entry.path())?, &entry.path())?;
            }
        }
        self.sync_blobs()?;
        self.disk.sync_folder(&self.dir.join("blobs"))?;
        self.disk.sync_folder(&self.dir)?;
        if let Some(parent) = self.dir.parent() {
            self.disk.sync_folder(parent)?;
        }
        Ok(())
    }
}

/// A key and its value.
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens sled in a thread of its own, so that a panic in there ends that thread and nothing else.
fn open_guarded(dir: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None);
    let begun = Instant::now();
    loop {
        let config = config.clone();
        let opening = thread::Builder::new().name("ledger-open".into()).spawn(move || config.open())?;
        match opening.join() {
            Ok(Ok(db)) => return Ok(db),
            // Ours is the lock file; this one is still held by the last writes of a store that was just dropped.
            Ok(Err(sled::Error::Io(error)))
                if error.to_string().contains("could not acquire lock") && begun.elapsed() < RELEASE =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(panic) => return Err(StoreError::Damaged(words_of(&*panic))),
        }
    }
}

/// Runs something that may panic inside the store.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(StoreError::Damaged(words_of(&*panic))))
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
