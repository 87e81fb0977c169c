//! The one writer: group commit in a thread of its own.
//!
//! ```text
//! commit() -> bounded queue -> writer: all that waits -> plan -> batch, flush, fsync -> every waiter is told
//! ```
//! While one durable write runs the next group gathers, so the disk sets the size of the groups.
//!
//! When the store cannot write for want of room, what it holds in memory is not what is on disk: it is dropped and
//! opened again, and the number of the last commit that is found tells whether the change was made. That nearly
//! never happens, because a commit is refused beforehand when little room is left. Any other failure sticks: after
//! a failed fsync nobody can say what is on the disk, and the process should end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self as signal, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::change::Op;
use crate::codec::{self, Numbers};
use crate::disk::Disk;
use crate::error::{CommitError, ReadError};
use crate::key;
use crate::ledger::Health;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::store::{Store, StoreError, words_of};

/// Changes that may wait for the writer; more wait at the door.
pub(crate) const QUEUE: usize = 1024;
/// Writes in one durable write, beyond those of the change that goes over it.
const GROUP: usize = 4096;
/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(1);

/// How the ledger deals with its disk; only tests use other values.
#[derive(Clone)]
pub(crate) struct Care {
    pub(crate) disk: Arc<dyn Disk>,
    /// Bytes that must be free before anything is written: more than one durable write can take.
    pub(crate) reserve: u64,
    /// How long one durable write may take before the ledger is given up.
    pub(crate) patience: Duration,
}

/// What readers and the writer share.
pub(crate) struct Shared {
    /// `None` while there is no room to open it, and at the end.
    pub(crate) store: RwLock<Option<Store>>,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) next_mailbox: AtomicU32,
    pub(crate) next_folder: AtomicU32,
    busy_since: Mutex<Option<Instant>>,
}

impl Shared {
    pub(crate) fn new(store: Store, numbers: &Numbers) -> Self {
        Self {
            store: RwLock::new(Some(store)),
            health: watch::Sender::new(Health::Good),
            next_mailbox: AtomicU32::new(numbers.next_mailbox),
            next_folder: AtomicU32::new(numbers.next_folder),
            busy_since: Mutex::new(None),
        }
    }

    /// Reads from the store. Damage that shows here fails the ledger: the next start sets the store aside.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Store) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = store.as_ref() else {
            let what = match &*self.health.borrow() {
                Health::Good => "it is closed".to_owned(),
                Health::Full(what) | Health::Failed(what) => what.clone(),
            };
            return Err(ReadError::Unavailable { what });
        };
        let read = read(store);
        if let Err(ReadError::Damaged { what }) = &read {
            self.fail(what);
        }
        read
    }

    /// The ledger failed for good. The first reason is kept.
    pub(crate) fn fail(&self, what: &str) {
        self.health.send_if_modified(|health| {
            let first = !matches!(health, Health::Failed(_));
            if first {
                tracing::error!(what, "The ledger failed and takes no more changes.");
                *health = Health::Failed(what.to_owned());
            }
            first
        });
    }

    fn set_health(&self, new: Health) {
        self.health.send_if_modified(|health| {
            let changes = !matches!(health, Health::Failed(_)) && *health != new;
            if changes {
                match &new {
                    Health::Full(what) => {
                        tracing::error!(what, "The ledger's disk is full: changes are refused.")
                    }
                    Health::Good => tracing::info!("The ledger has room again."),
                    Health::Failed(_) => {}
                }
                *health = new;
            }
            changes
        });
    }

    fn set_busy(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// A change on its way to the writer.
pub(crate) struct Request {
    pub(crate) ops: Vec<Op>,
    pub(crate) done: oneshot::Sender<Result<(), CommitError>>,
}

/// The writer's thread and what it owns.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::Receiver<Request>,
    pub(crate) numbers: Numbers,
    pub(crate) store_dir: PathBuf,
    pub(crate) care: Care,
    /// Released last, when the store is closed.
    pub(crate) lock: Lock,
}

impl Writer {
    /// Starts it. The receiver's other end is dropped when everything is closed.
    pub(crate) fn start(self, again: mpsc::WeakSender<Request>) -> std::io::Result<signal::Receiver<()>> {
        let (ended, end) = signal::channel();
        let watchdog = Watchdog::start(self.shared.clone(), again, self.care.patience)?;
        thread::Builder::new().name("ledger-writer".into()).spawn(move || {
            self.run();
            watchdog.stop();
            drop(ended);
        })?;
        Ok(end)
    }

    fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let group = self.gather(first);
            self.shared.set_busy(Some(Instant::now()));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.commit(group))) {
                self.shared.fail(&format!("the writer panicked: {}", words_of(&*panic)));
            }
            self.shared.set_busy(None);
        }
        self.close();
        drop(self.lock);
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut writes = first.ops.len();
        let mut group = vec![first];
        while writes < GROUP
            && let Ok(request) = self.queue.try_recv()
        {
            writes += request.ops.len();
            group.push(request);
        }
        group
    }

    fn commit(&mut self, group: Vec<Request>) {
        if let Err(error) = self.prepare() {
            return answer(group.into_iter().map(|request| request.done), &Err(error));
        }
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = store.as_ref() else { return };
        let mut plan = Plan::new(open, self.numbers);
        let mut waiting = Vec::new();
        for Request { ops, done } in group {
            let nothing = ops.is_empty();
            match plan.add(ops) {
                Ok(()) if nothing => answer([done], &Ok(())),
                Ok(()) => waiting.push(done),
                Err(error) => {
                    if let CommitError::Failed { what } = &error {
                        self.shared.fail(what);
                    }
                    answer([done], &Err(error));
                }
            }
        }
        if waiting.is_empty() {
            return;
        }
        let made = match plan.finish() {
            Ok((writes, numbers)) => open.write(writes, numbers.commits).map(|()| numbers),
            Err(error) => return answer(waiting, &Err(error)),
        };
        drop(store);
        let result = match made {
            Ok(numbers) => {
                self.take(numbers);
                Ok(())
            }
            Err(error) => self.recover(error),
        };
        answer(waiting, &result);
    }

    /// Sees to it that there is a store and room for it.
    fn prepare(&mut self) -> Result<(), CommitError> {
        if let Health::Failed(what) = &*self.shared.health.borrow() {
            return Err(CommitError::Failed { what: what.clone() });
        }
        // Where the question is not answered the write itself will tell.
        let free = self.care.disk.free(&self.store_dir).unwrap_or(u64::MAX);
        if free < self.care.reserve {
            let what =
                format!("{} MiB are free and {} are needed", free >> 20, self.care.reserve.div_ceil(1 << 20));
            self.shared.set_health(Health::Full(what.clone()));
            return Err(CommitError::Full { what });
        }
        if self.shared.store.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        self.shared.set_health(Health::Good);
        Ok(())
    }

    /// After a write that failed: finds out what became of it.
    fn recover(&mut self, error: StoreError) -> Result<(), CommitError> {
        let what = match error {
            StoreError::Full(what) => what,
            StoreError::Damaged(what) => return Err(self.fail(what)),
            StoreError::Io(error) => return Err(self.fail(error.to_string())),
        };
        self.shared.set_health(Health::Full(what.clone()));
        let attempted = self.numbers.commits + 1;
        self.reopen()?;
        if self.numbers.commits >= attempted { Ok(()) } else { Err(CommitError::Full { what }) }
    }

    /// Opens the store again; what it holds then is what is on disk.
    fn reopen(&mut self) -> Result<(), CommitError> {
        self.close();
        let opened = Store::open(&self.store_dir, self.care.disk.clone()).and_then(|store| {
            let numbers = store.read(&key::numbers())?;
            Ok((store, numbers))
        });
        match opened {
            Ok((store, numbers)) => {
                let numbers = numbers.map(|numbers| codec::decode::<Numbers>(&numbers)).transpose();
                match numbers {
                    Ok(numbers) => self.take(numbers.unwrap_or_default()),
                    Err(error) => return Err(self.fail(error.to_string())),
                }
                *self.shared.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
                Ok(())
            }
            Err(StoreError::Full(what)) => Err(CommitError::Full { what }),
            Err(StoreError::Damaged(what)) => Err(self.fail(what)),
            Err(StoreError::Io(error)) => Err(self.fail(error.to_string())),
        }
    }

    fn take(&mut self, numbers: Numbers) {
        self.numbers = numbers;
        self.shared.next_mailbox.fetch_max(numbers.next_mailbox, Ordering::Relaxed);
        self.shared.next_folder.fetch_max(numbers.next_folder, Ordering::Relaxed);
    }

    fn fail(&self, what: String) -> CommitError {
        self.shared.fail(&what);
        CommitError::Failed { what }
    }

    fn close(&self) {
        let store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(store))) {
            tracing::error!(what = words_of(&*panic), "Closing the ledger's store panicked.");
        }
    }
}

fn answer(
    waiting: impl IntoIterator<Item = oneshot::Sender<Result<(), CommitError>>>,
    result: &Result<(), CommitError>,
) {
    for done in waiting {
        // Whoever does not wait any more does not want to know.
        let _ = done.send(result.clone());
    }
}

/// Gives the ledger up when a write does not come back, and asks the writer to try again while the disk is full.
struct Watchdog {
    stop: signal::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    fn start(
        shared: Arc<Shared>,
        again: mpsc::WeakSender<Request>,
        patience: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = signal::channel();
        let thread = thread::Builder::new().name("ledger-watch".into()).spawn(move || {
            while stopped.recv_timeout(WATCH.min(patience)) == Err(RecvTimeoutError::Timeout) {
                let since = *shared.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
                if since.is_some_and(|since| since.elapsed() >= patience) {
                    shared.fail(&format!("the disk did not answer for {} seconds", patience.as_secs()));
                }
                if matches!(&*shared.health.borrow(), Health::Full(_))
                    && let Some(queue) = again.upgrade()
                {
                    // A change without writes makes the writer look whether there is room; a full queue does as well.
                    let _ = queue.try_send(Request { ops: Vec::new(), done: oneshot::channel().0 });
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        // It panics nowhere; were it to, there is nothing left to do.
        let _ = self.thread.join();
    }
}
