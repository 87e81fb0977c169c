//! What the admin side sees of the daemon: the operator's desk, the ledger, and views of what the wiring owns.

use crate::shape::{Front, Metric};
use jiff::Timestamp;
use mailferry_dnscheck::clock::Rules;
use mailferry_ledger::Ledger;
use mailferry_sync::batch::Batches;
use std::sync::Arc;

/// Everything that a request may ask. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Endpoints, batches, mailboxes.
    pub batches: Batches,
    /// Read only here: DNS observations.
    pub ledger: Ledger,
    /// What the DNS clock demands.
    pub rules: Rules,
    /// What only the wiring knows.
    pub views: Arc<dyn Views>,
    /// When the daemon started.
    pub started: Timestamp,
}

/// What only the wiring knows: the proxy, the spool, the state of the daemon itself.
pub trait Views: Send + Sync + 'static {
    /// The proxy as it is at this moment.
    fn front(&self) -> Front;
    /// Ends a client's session; false when there is none of this number.
    fn kick(&self, conn: u64) -> bool;
    /// Further metrics (proxy, spool).
    fn metrics(&self) -> Vec<Metric>;
    /// What an operator should know, one sentence each: a ledger that was set aside, a proxy that waits.
    fn notices(&self) -> Vec<String>;
    /// Is the daemon on its way out?
    fn draining(&self) -> Draining;
}

/// Whether new work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draining {
    /// Business as usual.
    No,
    /// What is open is brought to its end.
    Yes,
}
