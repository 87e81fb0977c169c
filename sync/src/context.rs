//! What a worker is given: stores, servers, limits. Shared by all workers of one endpoint.

use std::sync::Arc;
use std::time::Duration;

use mailferry_imap::net::{Server, TlsClient};
use mailferry_ledger::{Ledger, Vault};
use mailferry_spool::Spool;

use crate::tenant::Tenant;
use crate::token::TokenSource;

/// Everything that the workers of one endpoint share.
pub struct WorkerContext {
    /// The durable record.
    pub ledger: Ledger,
    /// What the taps saw.
    pub spool: Spool,
    /// Opens the mailboxes' passwords; each is sealed for its mailbox's address (lower case).
    pub vault: Vault,
    /// The old server.
    pub source: SourceAccess,
    /// Office 365.
    pub target: TargetAccess,
    /// What goes and what stays.
    pub limits: Limits,
    /// How many deletions one pass carries over.
    pub deletions: DeletionCap,
    /// How long is waited for what.
    pub patience: Patience,
}

/// How the source is reached.
#[derive(Clone, Debug)]
pub struct SourceAccess {
    /// Where it is.
    pub server: Server,
    /// Whom to trust, and sessions to resume.
    pub tls: TlsClient,
}

/// How the target is reached.
#[derive(Clone)]
pub struct TargetAccess {
    /// Where it is.
    pub server: Server,
    /// Whom to trust, and sessions to resume.
    pub tls: TlsClient,
    /// Where tokens come from.
    pub tokens: Arc<dyn TokenSource>,
    /// How many sessions it gets from all of us.
    pub tenant: Tenant,
}

/// Limits of one mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest message that is copied, in bytes; one of exactly this size goes.
    pub max_message_bytes: u64,
    /// How many messages of a mailbox are copied; the newest by INTERNALDATE go.
    pub max_items: u64,
    /// Memory for bodies on their way, in bytes, for one mailbox.
    pub memory_bytes: u64,
}

impl Default for Limits {
    /// Microsoft's: 35 MB and 500,000 items; 4 MiB of memory.
    fn default() -> Self {
        Self { max_message_bytes: 36_700_160, max_items: 500_000, memory_bytes: 4 << 20 }
    }
}

/// How many deletions at the source one pass carries over to the target, for one folder: the larger of both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeletionCap {
    /// Messages.
    pub messages: u64,
    /// Percent of the folder's mirrored messages.
    pub percent: u8,
}

impl Default for DeletionCap {
    fn default() -> Self {
        Self { messages: 1_000, percent: 10 }
    }
}

impl DeletionCap {
    /// How many of a folder with so many mirrored messages may go in one pass.
    pub fn of(&self, mirrored: u64) -> u64 {
        self.messages.max(mirrored.saturating_mul(self.percent.into()) / 100)
    }
}

/// How long is waited for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For a connection with TLS and greeting.
    pub connect: Duration,
    /// How long the target must have been quiet before a message that is in doubt and not found there counts as not
    /// stored: a server may still work on what a dead connection left in its buffers.
    pub settle: Duration,
    /// How often a pass takes up a broken connection again without any progress in between.
    pub attempts: u32,
    /// How long sessions are kept open between passes.
    pub linger: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            settle: Duration::from_secs(3),
            attempts: 4,
            linger: Duration::from_secs(120),
        }
    }
}
