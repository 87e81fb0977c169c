//! The ledger itself: opening and closing, its health, and the way of a change to the writer.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc as signal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mailferry_imap::MailboxId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::change::{Change, Op};
use crate::commit::{Care, QUEUE, Request, Shared, Writer};
use crate::disk::RealDisk;
use crate::error::{CommitError, OpenError};
use crate::learned::News;
use crate::open;
use crate::record::FolderId;

/// Bytes that must be free before anything is written. One durable write takes a few megabytes at the most.
const RESERVE: u64 = 16 * 1024 * 1024;
/// How long one durable write may take. A disk that needs longer is broken.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the last owner waits for the writer to close the store.
const CLOSING: Duration = Duration::from_secs(10);

/// A ledger that opened.
pub struct Opened {
    /// The ledger.
    pub ledger: Ledger,
    /// Where a damaged store was put; the ledger is a new, empty one then and says so by [`Ledger::rebuilt`].
    pub set_aside: Option<PathBuf>,
}

/// The mark of a ledger that took the place of a damaged one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rebuilt {
    /// When.
    pub at: Timestamp,
    /// Where the damaged store lies.
    pub set_aside: PathBuf,
    /// What was wrong with it.
    pub why: String,
}

/// How the ledger is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The last commit was made.
    Good,
    /// The disk is full; it goes on by itself when there is space.
    Full(String),
    /// It takes no more changes until it is opened again.
    Failed(String),
}

/// The durable record. Clones are cheap and share everything; the folder is released when the last one is dropped.
///
/// A read may see a change moments before it is durable; should it not become so, it is not seen any more.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// `None` once the ledger is being closed.
    queue: Option<mpsc::Sender<Request>>,
    news: News,
    /// Says (by its other end's drop) that the writer closed the store and released the folder.
    closed: Mutex<signal::Receiver<()>>,
}

impl Ledger {
    /// Opens the ledger in `dir`, creating it where there is none. One process owns it at a time. Blocks: seconds for
    /// millions of records, since every record is looked at.
    ///
    /// # Errors
    /// [`OpenError`]; damage is no error: the store is set aside and a new, marked one opens.
    pub fn open(dir: &Path) -> Result<Opened, OpenError> {
        Self::open_with(dir, Care { disk: Arc::new(RealDisk), reserve: RESERVE, patience: PATIENCE })
    }

    pub(crate) fn open_with(dir: &Path, care: Care) -> Result<Opened, OpenError> {
        let found = open::open(dir, &care)?;
        let shared = Arc::new(Shared::new(found.store, &found.numbers));
        let (sender, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            shared: shared.clone(),
            queue,
            numbers: found.numbers,
            store_dir: found.store_dir,
            care,
            lock: found.lock,
        };
        let closed =
            writer.start(sender.downgrade()).map_err(|error| OpenError::Io { dir: dir.to_owned(), error })?;
        let inner = Inner { shared, queue: Some(sender), news: News::default(), closed: Mutex::new(closed) };
        Ok(Opened { ledger: Self { inner: Arc::new(inner) }, set_aside: found.set_aside })
    }

    /// Begins a change.
    pub fn change(&self) -> Change {
        Change { ledger: self.clone(), ops: Vec::new() }
    }

    /// How the ledger is.
    pub fn health(&self) -> Health {
        self.inner.shared.health.borrow().clone()
    }

    /// Returns what happened once the ledger has failed for good; never before. `serve` stops with exit code 7 then.
    pub async fn failed(&self) -> String {
        let mut health = self.inner.shared.health.subscribe();
        loop {
            if let Health::Failed(what) = &*health.borrow_and_update() {
                return what.clone();
            }
            // The sender lives in what we hold, so this does not fail.
            if health.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) fn news(&self) -> &News {
        &self.inner.news
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    pub(crate) fn new_mailbox_id(&self) -> MailboxId {
        MailboxId(self.inner.shared.next_mailbox.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn new_folder_id(&self) -> FolderId {
        FolderId(self.inner.shared.next_folder.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn commit(&self, ops: Vec<Op>) -> Result<(), CommitError> {
        if ops.is_empty() {
            return Ok(());
        }
        let Some(queue) = &self.inner.queue else { return Err(CommitError::Closed) };
        let (done, answer) = oneshot::channel();
        tokio::select! {
            biased;
            sent = queue.send(Request { ops, done }) => sent.map_err(|_| CommitError::Closed)?,
            what = self.failed() => return Err(CommitError::Failed { what }),
        }
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(CommitError::Closed)),
            what = self.failed() => Err(CommitError::Failed { what }),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue = None;
        let hangs = matches!(&*self.shared.health.borrow(), Health::Failed(_));
        let patience = if hangs { Duration::from_secs(1) } else { CLOSING };
        // Either it is closed or it never will be; the writer tells in no other way.
        let _ = self.closed.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience);
    }
}
