//! What can go wrong, whose fault it is, and what to do next. All of it is local (exit code 7).

use std::path::PathBuf;

use mailferry_imap::MailboxId;

use crate::record::FolderId;
use crate::store::StoreError;

/// The ledger does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it (or this one, a second time).
    #[error("the ledger in {} is in use{}; only one `serve` may own it", dir.display(), by(.pid))]
    InUse {
        /// The ledger's folder.
        dir: PathBuf,
        /// Who has it, if it said so.
        pid: Option<u32>,
    },
    /// It has something that we do not know: a newer program wrote it, or a byte of it fell over. It is left as it is.
    #[error(
        "the ledger in {} was written by a newer version, or is damaged ({what}); run that version, or restore a backup; \
         without either move its folder `store` away and add the batches anew: they find what they copied",
        dir.display()
    )]
    Newer {
        /// The ledger's folder.
        dir: PathBuf,
        /// What we do not know.
        what: String,
    },
    /// The folder cannot be read or written; nothing was changed.
    #[error("the ledger in {} does not open: {error}", dir.display())]
    Io {
        /// The ledger's folder.
        dir: PathBuf,
        /// The operating system's words.
        #[source]
        error: std::io::Error,
    },
}

fn by(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// A change was not made, or nobody can promise that it was: read again before deciding.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitError {
    /// No space is left for the ledger. Nothing was written; committing again works once there is space.
    #[error("the disk of the ledger is full: {what}")]
    Full {
        /// How much there is, or the operating system's words.
        what: String,
    },
    /// The store failed. This sticks: the ledger takes no more changes until it is opened again.
    #[error("the ledger failed: {what}; restart when the disk is sound")]
    Failed {
        /// What happened.
        what: String,
    },
    /// The ledger was closed while the change waited.
    #[error("the ledger is closed")]
    Closed,
    /// The change belongs to a mailbox that is not in the ledger (it was removed meanwhile). Nothing was written.
    #[error("mailbox {0} is not in the ledger")]
    NoMailbox(MailboxId),
    /// The change belongs to a folder that is not in the ledger. Nothing was written.
    #[error("folder {1} of mailbox {0} is not in the ledger")]
    NoFolder(MailboxId, FolderId),
    /// Another mailbox has this address. Nothing was written.
    #[error("{address} is already in batch {batch}")]
    AddressTaken {
        /// The address.
        address: String,
        /// The batch that has it.
        batch: String,
    },
    /// A record cannot be stored as it is (not UTF-8, or above 256 KiB). Nothing was written.
    #[error("{kind} record cannot be stored: {why}")]
    Unfit {
        /// Kind of record.
        kind: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// A record cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// A newer program wrote it.
    #[error("{kind} record of version {version} is not known to this version")]
    Newer {
        /// Kind of record.
        kind: &'static str,
        /// Version found.
        version: u8,
    },
    /// The store or the record is damaged. The next start sets the store aside and says so.
    #[error("the ledger is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The store is closed, or waits for space on its disk.
    #[error("the ledger cannot be read at the moment: {what}")]
    Unavailable {
        /// Why.
        what: String,
    },
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(what) => Self::Unavailable { what },
            StoreError::Damaged(what) => Self::Damaged { what },
            StoreError::Io(error) => Self::Damaged { what: error.to_string() },
        }
    }
}
