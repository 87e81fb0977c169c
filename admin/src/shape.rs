//! The JSON that goes over the socket and that `--json` prints, beside the shapes of `mailferry_sync::batch`.
//! Fields are added, never renamed; the operator's guide documents them.

use jiff::Timestamp;
use mailferry_dnscheck::Observation;
use mailferry_sync::batch::{BatchStatus, MailboxStatus, Outcome, SkippedMessage};
use mailferry_sync::gate::Gate;
use mailferry_sync::retry::Again;
use mailferry_sync::tenant::TargetStatus;
use mailferry_sync::timeline::Stretch;
use mailferry_sync::verify::Depth;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Version of the daemon.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// What an operator should know, one sentence each.
    pub notices: Vec<String>,
    /// The proxy.
    pub proxy: Front,
    /// The sessions at the target.
    #[serde(default)]
    pub target: TargetStatus,
    /// Every batch.
    pub batches: Vec<BatchStatus>,
    /// Every domain of their addresses, as last observed.
    pub domains: Vec<DomainStatus>,
}

/// The proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Front {
    /// The configuration has no `[proxy]`.
    Off,
    /// Its endpoint is not there yet.
    Waiting {
        /// The endpoint that `[proxy]` names.
        endpoint: String,
    },
    /// It could not be opened; tried again from time to time.
    Failed {
        /// Why.
        error: String,
    },
    /// Clients can connect.
    Open {
        /// The endpoint that clients are relayed to.
        endpoint: String,
        /// Where it listens.
        listen: Vec<SocketAddr>,
        /// The clients that are connected.
        sessions: Vec<Session>,
    },
}

/// One connected client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Number of the connection, as in the log.
    pub conn: u64,
    /// Where it came from: behind a balancer the client that it speaks for.
    pub client: SocketAddr,
    /// What it called itself (`ID`).
    #[serde(default)]
    pub client_name: Option<String>,
    /// TLS version and cipher between it and the proxy.
    #[serde(default)]
    pub tls: Option<String>,
    /// The name that it logged in by; `None` before login and for blind mechanisms.
    pub login: Option<String>,
    /// Its mailbox's address; `None` for logins that belong to no mailbox: relayed, not mirrored.
    pub mailbox: Option<String>,
    /// For how long it has been there, seconds.
    pub seconds: u64,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Bodies that its tap put into the spool.
    pub mirrored: u64,
    /// Why its tap sees no more, if so.
    pub blind: Option<String>,
}

/// One domain as last observed, and its clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainStatus {
    /// The domain.
    pub domain: String,
    /// `source`, `mixed`, `office365`, `filtered`, `none`, `null`, `unknown`; `None` before the first look.
    pub verdict: Option<String>,
    /// When it was last looked at.
    pub observed: Option<Timestamp>,
    /// Since when mail has gone to Office 365 without a break.
    pub since: Option<Timestamp>,
    /// When that will be confirmed, if nothing changes.
    pub due: Option<Timestamp>,
    /// Seconds until then; `None` while the clock does not run, and once confirmed.
    pub remaining_seconds: Option<i64>,
    /// When it was confirmed; `None` again if it was not looked at for too long since.
    pub confirmed: Option<Timestamp>,
    /// Why the clock stands where it stands.
    pub reason: String,
    /// The last observation in full.
    pub observation: Option<Observation>,
    /// What was seen so far, in stretches during which nothing changed, oldest first.
    #[serde(default)]
    pub timeline: Vec<Stretch>,
}

/// What a verb did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// `done`, or `already` when nothing was left to do.
    pub outcome: Outcome,
}

/// One batch in full: `GET /v1/batches/NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchDetail {
    /// The figures.
    pub status: BatchStatus,
    /// Its mailboxes.
    pub mailboxes: Vec<MailboxStatus>,
    /// The gate as it stands.
    pub gate: Gate,
    /// The sessions at the target, those of other batches too.
    #[serde(default)]
    pub target: TargetStatus,
}

/// Body of `POST /v1/batches/NAME/remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveBatch {
    /// Remove it although the gate is closed, for this reason.
    #[serde(default)]
    pub force_reason: Option<String>,
    /// Who asks.
    pub by: String,
}

/// Body of `POST /v1/mailboxes/ADDRESS/declare-moved` and `…/allow-deletions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// Who says so, and how they know.
    pub by: String,
}

/// Body of `POST /v1/batches/NAME/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// How much of each message is compared.
    #[serde(default)]
    pub depth: Depth,
}

/// Body of `POST /v1/mailboxes/ADDRESS/retry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Which messages.
    #[serde(default)]
    pub again: Again,
}

/// One figure for the monitoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Name without the `mailferry_` in front.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// Label name and value.
    pub labels: Vec<(&'static str, String)>,
    /// The figure.
    pub value: f64,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
}

/// `POST /v1/mailboxes/ADDRESS/export`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSkipped {
    /// UIDs (`1:5,9`) by the number of their folder; without, everything that was skipped.
    #[serde(default)]
    pub folders: Option<BTreeMap<u32, String>>,
}

/// What an export gives, one a line; a message's bytes stand between `message` and `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Exported {
    /// A message begins.
    Message {
        /// What the account says about it.
        message: SkippedMessage,
        /// How many bytes will come.
        bytes: u64,
    },
    /// All of its bytes came.
    End,
    /// The rest will not come; the message may begin once more.
    Broken,
    /// The source does not give one.
    NotGiven {
        /// The folder.
        folder: String,
        /// Its UID there.
        uid: u32,
        /// Why.
        why: String,
    },
}
