//! How far a mailbox is: figures that anyone may read at any time without asking the worker.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The live figures of one mailbox. All sums are those of the current pass, or of the last one.
#[derive(Debug, Default)]
pub struct Progress {
    messages_done: AtomicU64,
    messages_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    /// Seconds since 1970; zero for "not throttled".
    throttled_until: AtomicI64,
    state: Mutex<String>,
    trouble: Mutex<Option<String>>,
}

/// The figures at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Messages that arrived on the target in this pass.
    pub messages_done: u64,
    /// Messages that this pass has to copy.
    pub messages_total: u64,
    /// Their bytes.
    pub bytes_done: u64,
    /// Their bytes.
    pub bytes_total: u64,
    /// Until when the target asked us to wait.
    pub throttled_until: Option<Timestamp>,
    /// What is being done, in words; no folder names, no subjects.
    pub state: String,
    /// What keeps the mirror from carrying over what clients just did, while it lasts.
    #[serde(default)]
    pub trouble: Option<String>,
}

impl Progress {
    /// The figures at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let until = self.throttled_until.load(Ordering::Relaxed);
        Snapshot {
            messages_done: self.messages_done.load(Ordering::Relaxed),
            messages_total: self.messages_total.load(Ordering::Relaxed),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            throttled_until: (until != 0).then(|| Timestamp::from_second(until).ok()).flatten(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// A new pass begins.
    pub(crate) fn begin(&self) {
        self.messages_done.store(0, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.plan(0, 0);
    }

    /// The mirror cannot go on for this reason; `None` when that is over.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What the pass has to copy.
    pub(crate) fn plan(&self, messages: u64, bytes: u64) {
        self.messages_total.store(messages, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// One message arrived.
    pub(crate) fn copied(&self, bytes: u64) {
        self.messages_done.fetch_add(1, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is being done.
    pub(crate) fn say(&self, state: &str) {
        let mut known = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone_into(&mut known);
    }

    /// The target asked us to wait until then; `None` when that is over.
    pub(crate) fn throttle(&self, until: Option<Timestamp>) {
        let seconds = until.map_or(0, |until| until.as_second().max(1));
        self.throttled_until.store(seconds, Ordering::Relaxed);
    }
}
