//! Why a verb was refused, whose fault it is, and what to do next.

use jiff::Timestamp;
use mailferry_ledger::{CommitError, ReadError, VaultError};

use crate::csv;
use crate::error::PassError;
use crate::fault::Fault;
use crate::folders::filter::FilterError;
use crate::gate::Gate;

/// Why a verb was refused.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// No such endpoint.
    #[error("there is no endpoint {0:?}")]
    NoEndpoint(String),
    /// No such batch.
    #[error("there is no batch {0:?}")]
    NoBatch(String),
    /// It was removed; its report is kept.
    #[error("there is no batch {batch:?}: it was removed at {at:.0}")]
    Removed {
        /// Its name.
        batch: String,
        /// When.
        at: Timestamp,
    },
    /// No such mailbox.
    #[error("there is no mailbox {0:?}")]
    NoMailbox(String),
    /// A name, a host or a number cannot be what it is.
    #[error("{what} {value:?}: {why}")]
    Unfit {
        /// What it is.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A batch of this name exists, with other mailboxes or another endpoint.
    #[error("there is a batch {0:?} already, with other mailboxes")]
    NameTaken(String),
    /// The same batch with other folders chosen.
    #[error("there is a batch {0:?} already, with other folders included or excluded")]
    OtherFolders(String),
    /// A folder is chosen in words that mean nothing.
    #[error("folder {line:?}: {error}")]
    Folder {
        /// As typed.
        line: String,
        /// What is wrong.
        error: FilterError,
    },
    /// The endpoint still has batches.
    #[error("endpoint {endpoint:?} is used by batch {batch:?}")]
    EndpointInUse {
        /// The endpoint.
        endpoint: String,
        /// One of its batches.
        batch: String,
    },
    /// The CSV file has problems.
    #[error(transparent)]
    Csv(#[from] csv::Problems),
    /// The gate is closed.
    #[error("{0}")]
    Closed(Gate),
    /// Removal by force wants a reason.
    #[error("removing a batch by force wants a reason")]
    NoReason,
    /// The batch does not run.
    #[error("batch {batch:?} is {state}")]
    NotStarted {
        /// The batch.
        batch: String,
        /// Its state.
        state: String,
    },
    /// The batch is being removed.
    #[error("batch {0:?} is being removed")]
    Removing(String),
    /// Work on a mailbox failed.
    #[error("{address}: {error}")]
    Pass {
        /// The mailbox.
        address: String,
        /// Why.
        error: Box<PassError>,
    },
    /// The ledger took no change.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The ledger gave no answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The report cannot be written down.
    #[error("the batch's report cannot be written: {0}")]
    Report(String),
    /// A password cannot be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl BatchError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoEndpoint(_)
            | Self::NoBatch(_)
            | Self::Removed { .. }
            | Self::NoMailbox(_)
            | Self::Unfit { .. }
            | Self::NameTaken(_)
            | Self::OtherFolders(_)
            | Self::Folder { .. }
            | Self::EndpointInUse { .. }
            | Self::Csv(_)
            | Self::NoReason
            | Self::NotStarted { .. }
            | Self::Removing(_) => Fault::Usage,
            Self::Commit(CommitError::AddressTaken { .. }) => Fault::Usage,
            Self::Closed(_) => Fault::Gate,
            Self::Pass { error, .. } => error.fault(),
            Self::Commit(_) | Self::Read(_) | Self::Report(_) | Self::Vault(_) => Fault::Local,
        }
    }

    /// What to do next, in words; empty where the error says it all.
    pub fn next(&self) -> String {
        match self {
            Self::NoEndpoint(_) => "mailferry endpoint list shows those that there are".into(),
            Self::NoBatch(_) => "mailferry batch status shows those that there are".into(),
            Self::Removed { batch, .. } => format!("mailferry batch report {batch} shows what is kept of it"),
            Self::NoMailbox(_) => "mailferry mailbox list shows those that there are".into(),
            Self::Unfit { .. } => String::new(),
            Self::OtherFolders(batch) => {
                format!("give the same --include and --exclude as before, or remove batch {batch} first")
            }
            Self::Folder { .. } => {
                "paths are relative to the user's root, such as Projects/2024 or #Inbox#/Old".into()
            }
            Self::NameTaken(_) => "give the new batch another name".into(),
            Self::EndpointInUse { batch, .. } => format!("remove batch {batch} first"),
            Self::Csv(_) => "correct the file and add it again; nothing was imported".into(),
            Self::Closed(gate) => {
                let next = gate.conditions.iter().find_map(|condition| condition.next.clone());
                next.unwrap_or_else(|| "mailferry batch status shows the gate".into())
            }
            Self::NoReason => "--reason TEXT".into(),
            Self::NotStarted { batch, .. } => format!("mailferry batch start {batch}"),
            Self::Removing(batch) => format!("mailferry batch remove {batch} goes on with it"),
            Self::Pass { error, .. } if error.may_pass() => "run it again".into(),
            Self::Pass { .. } => "correct that, then run it again".into(),
            Self::Commit(CommitError::AddressTaken { .. }) => "an address can be in one batch only".into(),
            Self::Commit(_) | Self::Read(_) | Self::Report(_) => {
                "look at the state folder and its disk".into()
            }
            Self::Vault(_) => "look at key_file".into(),
        }
    }

    /// The facts behind it as JSON (CSV problems, the gate's conditions), if there are any.
    pub fn details(&self) -> Option<serde_json::Value> {
        match self {
            Self::Csv(problems) => serde_json::to_value(problems).ok(),
            Self::Closed(gate) => serde_json::to_value(gate).ok(),
            Self::NoEndpoint(_)
            | Self::NoBatch(_)
            | Self::Removed { .. }
            | Self::NoMailbox(_)
            | Self::Unfit { .. }
            | Self::NameTaken(_)
            | Self::OtherFolders(_)
            | Self::Folder { .. }
            | Self::EndpointInUse { .. }
            | Self::NoReason
            | Self::NotStarted { .. }
            | Self::Removing(_)
            | Self::Pass { .. }
            | Self::Commit(_)
            | Self::Read(_)
            | Self::Report(_)
            | Self::Vault(_) => None,
        }
    }
}
