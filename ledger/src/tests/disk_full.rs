//! A disk without room, and one that does not answer.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::{CommitError, Health};

/// A disk whose free space and whose syncing the test decides.
#[derive(Clone, Default)]
struct Whim {
    free: Arc<AtomicU64>,
    failing: Arc<Mutex<Option<io::ErrorKind>>>,
    blocked: Arc<(Mutex<bool>, Condvar)>,
}

impl Disk for Whim {
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
        if let Some(kind) = *self.failing.lock().unwrap()
            && path.ends_with("db")
        {
            return Err(kind.into());
        }
        let mut blocked = self.blocked.0.lock().unwrap();
        while *blocked {
            blocked = self.blocked.1.wait(blocked).unwrap();
        }
        RealDisk.sync_file(file, path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_folder(path)
    }

    fn free(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

async fn put(ledger: &Ledger, number: u32) -> Result<(), CommitError> {
    let mut change = ledger.change();
    change.put_message(TERRY, INBOX, uid(number), mirrored(1));
    change.commit().await
}

async fn whimsical(dir: &Path, whim: &Whim, patience: Duration) -> Ledger {
    whim.free.store(1000, Ordering::Relaxed);
    let care = Care { reserve: 500, patience, ..care(whim.clone()) };
    let ledger = Ledger::open_with(dir, care).unwrap().ledger;
    let mut change = ledger.change();
    furnish(&mut change);
    change.commit().await.unwrap();
    ledger
}

#[tokio::test]
async fn without_room_changes_are_refused_and_taken_again_when_there_is_some() {
    let dir = tempfile::tempdir().unwrap();
    let whim = Whim::default();
    let ledger = whimsical(dir.path(), &whim, Duration::from_secs(60)).await;
    put(&ledger, 1).await.unwrap();
    whim.free.store(499, Ordering::Relaxed);
    assert!(matches!(put(&ledger, 2).await, Err(CommitError::Full { .. })));
    assert!(matches!(ledger.health(), Health::Full(_)));
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, 1, "reading goes on");
    whim.free.store(500, Ordering::Relaxed);
    // It finds out by itself, without a change.
    let mut health = ledger.shared().health.subscribe();
    health.wait_for(|health| *health == Health::Good).await.unwrap();
    put(&ledger, 2).await.unwrap();
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, 2);
}

#[tokio::test]
async fn a_failed_sync_sticks_until_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let whim = Whim::default();
    let ledger = whimsical(dir.path(), &whim, Duration::from_secs(60)).await;
    // Also for want of room: what the system still holds of the write may never reach the disk.
    *whim.failing.lock().unwrap() = Some(io::ErrorKind::StorageFull);
    assert!(matches!(put(&ledger, 1).await, Err(CommitError::Failed { .. })));
    *whim.failing.lock().unwrap() = None;
    assert!(matches!(put(&ledger, 2).await, Err(CommitError::Failed { .. })));
    ledger.failed().await;
    drop(ledger);
    put(&open(dir.path()), 2).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_does_not_answer_fails_the_ledger_instead_of_hanging_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let whim = Whim::default();
    let ledger = whimsical(dir.path(), &whim, Duration::from_millis(50)).await;
    *whim.blocked.0.lock().unwrap() = true;
    let (first, second) = tokio::join!(put(&ledger, 1), put(&ledger, 2));
    assert!(matches!(first, Err(CommitError::Failed { .. })), "{first:?}");
    assert!(matches!(second, Err(CommitError::Failed { .. })), "{second:?}");
    *whim.blocked.0.lock().unwrap() = false;
    whim.blocked.1.notify_all();
}

#[tokio::test]
async fn concurrent_commits_share_one_durable_write() {
    /// Counts the syncs of the log, and makes them slow enough for a group to gather.
    struct Counting(Arc<AtomicU64>);
    impl Disk for Counting {
        fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
            if path.ends_with("db") {
                self.0.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
            RealDisk.sync_file(file, path)
        }

        fn sync_folder(&self, path: &Path) -> io::Result<()> {
            RealDisk.sync_folder(path)
        }

        fn free(&self, _path: &Path) -> io::Result<u64> {
            Ok(u64::MAX)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicU64::new(0));
    let ledger = Ledger::open_with(dir.path(), care(Counting(syncs.clone()))).unwrap().ledger;
    let mut change = ledger.change();
    furnish(&mut change);
    change.commit().await.unwrap();
    syncs.store(0, Ordering::Relaxed);
    let tasks: Vec<_> = (1..=500)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { put(&ledger, number).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, 500);
    let syncs = syncs.load(Ordering::Relaxed);
    assert!((1..=10).contains(&syncs), "{syncs} durable writes for 500 commits");
}
