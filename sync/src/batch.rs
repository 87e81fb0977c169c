//! Endpoints, batches and mailboxes: the verbs that an operator has.
//!
//! Every verb is idempotent: said twice it does no harm, and after a crash saying it again is the right next step.

mod status;

pub use status::{
    BatchStatus, FolderStatus, MailboxDetail, MailboxStates, MailboxStatus, Rate, SkippedMessage, Straggler,
    Tally,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{csv, fault::Fault, gate::Gate};

/// The operator's desk: everything that the CLI and the admin socket ask of batches. Clones share one state.
#[derive(Clone)]
pub struct Batches {}

/// A source server by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Its name.
    pub name: String,
    /// Host name.
    pub server: String,
    /// TCP port.
    pub port: u16,
    /// `none`, `ssl` or `tls`.
    pub security: String,
    /// PEM file to trust instead of the system's certificates.
    #[serde(default)]
    pub ca_file: Option<std::path::PathBuf>,
    /// Whether certificates are verified.
    #[serde(default)]
    pub verification: Verification,
    /// Mailboxes copied at once.
    #[serde(default = "default_migrations")]
    pub max_concurrent_migrations: u32,
    /// Mailboxes in an incremental pass at once.
    #[serde(default = "default_incremental_syncs")]
    pub max_concurrent_incremental_syncs: u32,
}

/// Whether an endpoint's certificate is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// As it should be.
    #[default]
    On,
    /// The operator turned it off for this endpoint.
    Off,
}

/// The guide's example for `MaxConcurrentMigrations`.
pub fn default_migrations() -> u32 {
    50
}

/// The guide's example for `MaxConcurrentIncrementalSyncs`.
pub fn default_incremental_syncs() -> u32 {
    25
}

/// A batch to be added.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its name, at most 64 characters.
    pub name: String,
    /// The endpoint to read from.
    pub endpoint: String,
    /// The CSV file's bytes.
    pub csv: Vec<u8>,
    /// Whether it starts at once.
    pub start: Start,
}

/// When a new batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At once (`--auto-start`).
    AtOnce,
    /// When told.
    Later,
}

/// What a verb did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// What was asked for.
    Done,
    /// Nothing: it was so already.
    Already,
}

/// How a batch is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// If the gate is open.
    ThroughGate,
    /// Whatever the gate says; the reason is recorded.
    Forced {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
}

/// Why a verb was refused.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// No such endpoint.
    #[error("there is no endpoint {0:?}")]
    NoEndpoint(String),
    /// No such batch.
    #[error("there is no batch {0:?}")]
    NoBatch(String),
    /// The CSV file has problems.
    #[error(transparent)]
    Csv(#[from] csv::Problems),
    /// The gate is closed.
    #[error("{0}")]
    Closed(Gate),
}

impl BatchError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoEndpoint(_) | Self::NoBatch(_) | Self::Csv(_) => Fault::Usage,
            Self::Closed(_) => Fault::Gate,
        }
    }

    /// What to do next, in words.
    pub fn next(&self) -> String {
        todo!()
    }

    /// The facts behind it as JSON (CSV problems, the gate's conditions), if there are any.
    pub fn details(&self) -> Option<serde_json::Value> {
        todo!()
    }
}

/// What stays of a removed batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The batch as it was.
    pub batch: BatchStatus,
    /// When the report was made.
    pub at: Timestamp,
    /// Its mailboxes.
    pub mailboxes: Vec<MailboxStatus>,
    /// The gate's verdict at that moment.
    pub gate: Gate,
    /// Removed by force: who, and why.
    pub forced: Option<Forced>,
}

/// Removal without the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

#[expect(clippy::unused_async, unused_variables, reason = "signatures first")]
impl Batches {
    /// Runs workers and DNS watch until told to stop; then stops every worker cleanly.
    pub async fn run(&self, shutdown: CancellationToken) {
        todo!()
    }
    /// Adds or changes an endpoint.
    pub async fn endpoint_add(&self, spec: EndpointSpec) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Every endpoint.
    pub fn endpoints(&self) -> Result<Vec<EndpointSpec>, BatchError> {
        todo!()
    }
    /// One endpoint.
    pub fn endpoint(&self, name: &str) -> Result<EndpointSpec, BatchError> {
        todo!()
    }
    /// Removes an endpoint that no batch uses.
    pub async fn endpoint_remove(&self, name: &str) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Adds a batch: all of the CSV file or nothing.
    pub async fn add(&self, new: NewBatch) -> Result<BatchStatus, BatchError> {
        todo!()
    }
    /// Starts or resumes a batch.
    pub async fn start(&self, name: &str) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Stops a batch; what is under way ends cleanly.
    pub async fn stop(&self, name: &str) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Asks for an incremental pass of every mailbox of a started batch at once.
    pub async fn sync_now(&self, name: &str) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Every batch with its figures.
    pub fn status(&self) -> Result<Vec<BatchStatus>, BatchError> {
        todo!()
    }
    /// One batch with its figures.
    pub fn batch_status(&self, name: &str) -> Result<BatchStatus, BatchError> {
        todo!()
    }
    /// The mailboxes of a batch, or of all.
    pub fn mailboxes(&self, batch: Option<&str>) -> Result<Vec<MailboxStatus>, BatchError> {
        todo!()
    }
    /// One mailbox in full.
    pub fn mailbox(&self, address: &str, skipped: ShowSkipped) -> Result<MailboxDetail, BatchError> {
        todo!()
    }
    /// Tries a failed mailbox again at once.
    pub async fn retry(&self, address: &str) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Records that the user of a mailbox works on Office 365: who says so is recorded too.
    pub async fn declare_moved(&self, address: &str, by: &str) -> Result<Outcome, BatchError> {
        todo!()
    }
    /// Judges the gate of a batch by what is recorded at this moment.
    pub fn gate(&self, name: &str) -> Result<Gate, BatchError> {
        todo!()
    }
    /// Removes a batch: stops it, destroys its passwords and ledger rows, keeps its report.
    pub async fn remove(&self, name: &str, removal: Removal) -> Result<Report, BatchError> {
        todo!()
    }
    /// The report of a batch, or of one that was removed.
    pub fn report(&self, name: &str) -> Result<Report, BatchError> {
        todo!()
    }
    /// Stragglers, latest first.
    pub fn stragglers(&self) -> Result<Vec<Straggler>, BatchError> {
        todo!()
    }
}

/// Whether a mailbox's skipped messages are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowSkipped {
    /// List them.
    Listed,
    /// Figures only.
    Counted,
}
