//! What is shown of batches and mailboxes: plain figures, ready to be printed or sent as JSON.

use jiff::Timestamp;
use mailferry_ledger::{Folder, MessageState, Skipped};
use serde::{Deserialize, Serialize};

use crate::early::Early;
use crate::error::PassError;
use crate::fault::Fault;
use crate::plan::{Estimate, MailboxPlan};
use crate::throttle::Throttling;
use crate::verify::VerifyReport;

/// Done and total of one thing that is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages on the target.
    pub messages_done: u64,
    /// Messages known at the source and not skipped.
    pub messages_total: u64,
    /// Bytes on the target.
    pub bytes_done: u64,
    /// Bytes known at the source and not skipped.
    pub bytes_total: u64,
    /// Messages that are not on the target yet.
    pub pending: u64,
    /// Messages that will not go, with a reason each.
    pub skipped: u64,
    /// Messages that are gone from the source.
    pub gone: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages_done += other.messages_done;
        self.messages_total += other.messages_total;
        self.bytes_done += other.bytes_done;
        self.bytes_total += other.bytes_total;
        self.pending += other.pending;
        self.skipped += other.skipped;
        self.gone += other.gone;
    }
}

/// Speed over the last half minute, and what follows from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Messages per second.
    pub messages_per_second: f64,
    /// Bytes per second.
    pub bytes_per_second: f64,
    /// Seconds until the known rest is done at this speed; `None` while nothing moves or nothing is left.
    pub seconds_left: Option<u64>,
}

/// How many mailboxes are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the states of DESIGN, by name")]
pub struct MailboxStates {
    pub queued: u32,
    pub syncing: u32,
    pub synced: u32,
    pub incremental_syncing: u32,
    pub failed: u32,
    pub stopped: u32,
    #[serde(default)]
    pub waiting_for_login: u32,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// Its name.
    pub name: String,
    /// The endpoint that it reads from.
    pub endpoint: String,
    /// `Created`, `Syncing`, `Synced`, `SyncedWithErrors`, `IncrementalSyncing`, `Stopping`, `Stopped`, `Failed`, `Removing`.
    pub state: String,
    /// When it was added.
    pub created: Timestamp,
    /// When it was first started.
    pub started: Option<Timestamp>,
    /// The oldest "last synced" of its mailboxes; `None` until all have one.
    pub last_synced: Option<Timestamp>,
    /// Mailboxes in it.
    pub mailboxes: u32,
    /// Those by state.
    pub states: MailboxStates,
    /// Mailboxes that wait for the target's throttling to end.
    pub throttled: u32,
    /// The latest moment until which one of them waits.
    pub throttled_until: Option<Timestamp>,
    /// Messages and bytes.
    pub tally: Tally,
    /// Speed and time left.
    pub rate: Rate,
    /// The only folders that go, as they were given; none: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Folders that do not go.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// One mailbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MailboxStatus {
    /// The Office 365 address.
    pub address: String,
    /// Its batch.
    pub batch: String,
    /// The login at the source.
    pub user_name: String,
    /// `Queued`, `Syncing`, `Synced`, `IncrementalSyncing`, `Failed`, `Stopped`; `WaitingForLogin` where only the user's next
    /// login through the proxy can tell a password that the source takes.
    pub state: String,
    /// What it is doing, or what went wrong last, in words.
    pub detail: Option<String>,
    /// Where its clients are served: `source`, `held`, `target`.
    pub route: String,
    /// Declared moved by the operator: when.
    pub declared_moved: Option<Timestamp>,
    /// Declared moved by the operator: who said so.
    pub declared_by: Option<String>,
    /// The last pass that left nothing pending.
    pub last_synced: Option<Timestamp>,
    /// The target asked us to wait until then.
    pub throttled_until: Option<Timestamp>,
    /// How often it asked so, and in which words; `None` if never.
    #[serde(default)]
    pub throttling: Option<Throttling>,
    /// Its sessions at the target.
    #[serde(default)]
    pub sessions: u32,
    /// How many it may have there at this moment.
    #[serde(default)]
    pub sessions_allowed: u32,
    /// When it is tried next, if it failed.
    pub retry_at: Option<Timestamp>,
    /// What the source is asked with; never the password itself.
    #[serde(default)]
    pub credential: Credential,
    /// Mail that was delivered to the target before the cutover.
    #[serde(default)]
    pub early: Early,
    /// Messages and bytes.
    pub tally: Tally,
}

/// What the source is asked with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// `csv`, `learned`, or `none`.
    pub from: String,
    /// When a password was learnt, whether or not it is the one in use.
    pub learned: Option<Timestamp>,
    /// The name that the client logged in by then.
    pub login: Option<String>,
    /// When the source refused it since.
    pub refused: Option<Timestamp>,
}

/// One folder of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderStatus {
    /// Its name at the source.
    pub source: String,
    /// Its name on the target.
    pub target: String,
    /// Messages and bytes.
    pub tally: Tally,
    /// Deletions that wait for the operator's word, because there were more than the cap.
    pub held_deletions: u32,
    /// It is gone from the source.
    pub gone: bool,
}

/// One message that will not go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedMessage {
    /// The folder at the source.
    pub folder: String,
    /// Its UID there.
    pub uid: u32,
    /// Bytes.
    pub size: u64,
    /// INTERNALDATE, as IMAP writes it.
    pub date: String,
    /// Subject.
    pub subject: String,
    /// Sender.
    pub sender: String,
    /// `too-large`, `item-limit`, `refused: …`.
    pub reason: String,
    /// UIDVALIDITY of the folder, which gives the UID its meaning.
    #[serde(default)]
    pub uid_validity: u32,
    /// The ledger's number for the folder.
    #[serde(default)]
    pub folder_id: u32,
}

impl SkippedMessage {
    /// What the account says about a skipped message of `folder`.
    pub(crate) fn of(skipped: Skipped, folder: &Folder) -> Self {
        let reason = match skipped.message.state {
            MessageState::Skipped(reason) => reason.to_string(),
            MessageState::Pending | MessageState::Mirrored { .. } | MessageState::Gone => String::new(),
        };
        Self {
            folder: folder.source.to_text(),
            uid: skipped.uid.value(),
            size: skipped.message.size,
            date: skipped.message.date.to_string(),
            subject: skipped.facts.subject,
            sender: skipped.facts.sender,
            reason,
            uid_validity: folder.source_validity.value(),
            folder_id: folder.id.0,
        }
    }
}

/// A mailbox in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MailboxDetail {
    /// The figures.
    pub status: MailboxStatus,
    /// Its folders.
    pub folders: Vec<FolderStatus>,
    /// What was skipped, and why; empty unless asked for.
    pub skipped: Vec<SkippedMessage>,
}

/// A mailbox that could not be planned or verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxProblem {
    /// The mailbox.
    pub address: String,
    /// Why.
    pub error: String,
    /// Whose fault it is.
    pub fault: Fault,
}

impl MailboxProblem {
    pub(super) fn new(address: String, error: &PassError) -> Self {
        Self { address, error: error.to_string(), fault: error.fault() }
    }
}

/// What passes of a batch would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchPlan {
    /// The batch.
    pub batch: String,
    /// Its mailboxes, by address.
    pub mailboxes: Vec<MailboxPlan>,
    /// Those that could not be planned, by address.
    pub problems: Vec<MailboxProblem>,
    /// How long the copying may take.
    #[serde(default)]
    pub estimate: Estimate,
}

/// What reading both sides anew found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchVerification {
    /// The batch.
    pub batch: String,
    /// Every mailbox was read and nothing is missing or doubled.
    pub holds: bool,
    /// Its mailboxes, by address.
    pub mailboxes: Vec<VerifyReport>,
    /// Those that could not be read, by address.
    pub problems: Vec<MailboxProblem>,
}
