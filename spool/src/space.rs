//! Who holds how much: the two budgets, memory and disk, and claims on them that give back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Limits;

#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) limits: Limits,
    memory: AtomicU64,
    disk: AtomicU64,
}

/// Which budget.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Memory,
    Disk,
}

/// A part of a budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Claim {
    space: Arc<Space>,
    kind: Kind,
    bytes: u64,
}

impl Space {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, memory: AtomicU64::new(0), disk: AtomicU64::new(0) }
    }

    pub(crate) fn memory_used(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    pub(crate) fn disk_used(&self) -> u64 {
        self.disk.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Memory => self.limits.memory_bytes,
            Kind::Disk => self.limits.disk_bytes,
        }
    }

    /// How much of a budget nobody claims.
    pub(crate) fn free(&self, kind: Kind) -> u64 {
        self.limit(kind).saturating_sub(self.used(kind).load(Ordering::Relaxed))
    }

    fn used(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Memory => &self.memory,
            Kind::Disk => &self.disk,
        }
    }
}

impl Claim {
    /// A claim on nothing yet.
    pub(crate) fn empty(space: Arc<Space>, kind: Kind) -> Self {
        Self { space, kind, bytes: 0 }
    }

    /// Which budget it is of.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Claims more; false when the budget has no room for it.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.space.limit(self.kind);
        let used = self.space.used(self.kind);
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.space.used(self.kind).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
