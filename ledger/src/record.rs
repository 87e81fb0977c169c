//! Records of endpoints, batches, mailboxes and folders, and what is kept for the account.
//!
//! Plain data with public fields: the deciding is done by those who read and write them. Names in JSON are
//! snake case (states: the words that operators know); what is stored is the order of fields, so a field is only
//! ever added together with a new version in `codec`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;
use mailferry_imap::{FolderName, MailboxId, ModSeq, UidValidity};
use serde::{Deserialize, Serialize};

use crate::vault::Sealed;

/// How a connection to a source is secured, in Microsoft's words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// In the clear (port 143).
    None,
    /// TLS from the first byte (port 993).
    Ssl,
    /// STARTTLS (port 143).
    Tls,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Ssl => "ssl",
            Self::Tls => "tls",
        })
    }
}

impl FromStr for Security {
    type Err = UnknownWord;

    /// In any case, as Microsoft's cmdlets take it (`None`, `Ssl`, `Tls`).
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::None, Self::Ssl, Self::Tls]
            .into_iter()
            .find(|security| security.to_string().eq_ignore_ascii_case(word))
            .ok_or_else(|| UnknownWord { word: word.to_owned(), known: "none, ssl, tls" })
    }
}

/// A word that is none of those that are known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{word:?} is none of: {known}")]
pub struct UnknownWord {
    word: String,
    known: &'static str,
}

/// Against what a server's certificate is checked.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The roots that the operating system trusts.
    System,
    /// The certificates in this PEM file, and no others.
    CaFile(PathBuf),
    /// Not at all: the operator turned the check off for this endpoint.
    Off,
}

/// A named source server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Unique; the record's key.
    pub name: String,
    /// Host name or address.
    pub server: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// How its certificate is checked.
    pub trust: Trust,
    /// How many mailboxes are migrated at once.
    pub max_concurrent_migrations: u32,
    /// How many mailboxes are synchronised at once by incremental passes.
    pub max_concurrent_incremental_syncs: u32,
    /// Whether a password that the source just accepted from a client is kept (sealed) for the passes.
    pub learn_credentials: bool,
    /// What stands between user and administrator in a `UserName` (`User*Admin`).
    pub admin_separator: char,
    /// How an administrator logs in.
    pub admin_login: AdminLogin,
}

/// How an administrator opens somebody else's mailbox with a `UserName` of the form `User*Admin`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminLogin {
    /// By that name: the server parts it (Dovecot's master users).
    #[default]
    Name,
    /// By SASL PLAIN, as the administrator with the user for the authorisation identity (RFC 4616): Cyrus, Zimbra.
    Authzid,
}

impl fmt::Display for AdminLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Authzid => "authzid",
        })
    }
}

impl Endpoint {
    /// Dovecot's, and Microsoft's example: `User*Admin`.
    pub const ADMIN_SEPARATOR: char = '*';
}

/// Where a batch stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum BatchState {
    /// Imported, not started.
    Created,
    /// At least one mailbox has its full pass before it.
    Syncing,
    /// Every mailbox is synced and nothing is pending.
    Synced,
    /// As `Synced`, but messages were skipped or mailboxes failed.
    SyncedWithErrors,
    /// An incremental pass runs.
    IncrementalSyncing,
    /// Told to stop; workers are finishing.
    Stopping,
    /// Stopped by the operator.
    Stopped,
    /// No mailbox could be synced.
    Failed,
    /// Its records are being removed; starting again goes on with that.
    Removing,
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The mailboxes of one CSV file, migrated together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Unique; the record's key.
    pub name: String,
    /// Name of its source endpoint.
    pub endpoint: String,
    /// Where it stands.
    pub state: BatchState,
    /// When it was imported.
    pub created: Timestamp,
    /// When it was first started.
    pub started: Option<Timestamp>,
    /// Whether it starts as soon as it is imported.
    pub auto_start: bool,
    /// Why it failed, for people.
    pub error: Option<String>,
    /// Which folders go, as the operator typed them; none: all.
    pub include: Vec<String>,
    /// Which folders do not go.
    pub exclude: Vec<String>,
}

/// Where a mailbox stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum MailboxState {
    /// Waits for its turn.
    Queued,
    /// Its first full pass runs.
    Syncing,
    /// The last pass ended and nothing is pending.
    Synced,
    /// An incremental pass runs.
    IncrementalSyncing,
    /// The last pass failed; `error` says why.
    Failed,
    /// Stopped by the operator.
    Stopped,
}

impl fmt::Display for MailboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a mailbox's clients are served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// By the old server.
    Source,
    /// By nobody, for the seconds of a switch.
    Held,
    /// By Office 365.
    Target,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Held => "held",
            Self::Target => "target",
        })
    }
}

/// One person's whole account: one CSV row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    /// The record's key, from [`crate::Change::new_mailbox_id`].
    pub id: MailboxId,
    /// Name of its batch.
    pub batch: String,
    /// `EmailAddress`: unique among all mailboxes without regard to case.
    pub address: String,
    /// `UserName`: how we log in at the source.
    pub user_name: String,
    /// `ClientLogin`: how the user's clients log in, where the other columns do not tell.
    pub client_login: Option<String>,
    /// `UserRoot`: where the user's folders lie in the login's own hierarchy.
    pub user_root: Option<String>,
    /// The password for `user_name` from the CSV file, sealed; `None` where it is to be learnt ([`Learned`]).
    pub password: Option<Sealed>,
    /// Where it stands.
    pub state: MailboxState,
    /// Why the last pass failed, for people.
    pub error: Option<String>,
    /// When a pass last ended with nothing pending.
    pub last_synced: Option<Timestamp>,
    /// When the last full pass ended.
    pub last_full: Option<Timestamp>,
    /// Where its clients are served.
    pub route: Route,
    /// When, and with what reason, an operator declared that the user works on Office 365.
    pub declared_moved: Option<(Timestamp, String)>,
    /// Until when the target asked us to wait.
    pub throttled_until: Option<Timestamp>,
    /// Whether the target may hold copies that the ledger does not know: match before anything is appended.
    pub needs_matching: bool,
}

impl Mailbox {
    /// One that waits for its first pass, with nothing on the target, and no password.
    pub fn new(id: MailboxId, batch: &str, address: &str, user_name: &str) -> Self {
        Self {
            id,
            batch: batch.to_owned(),
            address: address.to_owned(),
            user_name: user_name.to_owned(),
            client_login: None,
            user_root: None,
            password: None,
            state: MailboxState::Queued,
            error: None,
            last_synced: None,
            last_full: None,
            route: Route::Source,
            declared_moved: None,
            throttled_until: None,
            needs_matching: false,
        }
    }
}

/// What a user logged in with at the source, as the proxy overheard it on an endpoint that learns. One a mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Learned {
    /// Whose.
    pub mailbox: MailboxId,
    /// The name that the client logged in by.
    pub login: String,
    /// Its password, sealed for [`sealed_for`](Self::sealed_for).
    pub password: Sealed,
    /// When the source accepted it.
    pub at: Timestamp,
    /// When the source refused it since: it is not tried again before a newer one is learnt.
    pub refused: Option<Timestamp>,
    /// Whether the source refused the CSV file's own password, so that this one goes first.
    pub given_refused: bool,
}

impl Learned {
    /// What the password of this login to this mailbox is sealed for: it opens together with its name only.
    pub fn sealed_for(address: &str, login: &str) -> String {
        format!("learned\n{}\n{login}", address.to_lowercase())
    }

    /// Whether it may be tried.
    pub fn is_usable(&self) -> bool {
        self.refused.is_none()
    }
}

/// The ledger's number for one folder of one mailbox at one UIDVALIDITY; never reused, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FolderId(pub u32);

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a source folder looked like when its last pass finished: unmoved marks mean nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceMark {
    /// `UIDNEXT`, where the source tells it.
    pub uid_next: Option<u32>,
    /// `MESSAGES` or `EXISTS`.
    pub messages: u32,
    /// `HIGHESTMODSEQ`, where the source keeps it.
    pub highest_modseq: Option<ModSeq>,
}

/// One folder of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Folder {
    /// The record's key within the mailbox, from [`crate::Change::new_folder_id`].
    pub id: FolderId,
    /// Whose folder.
    pub mailbox: MailboxId,
    /// Its name at the source.
    pub source: FolderName,
    /// The source's hierarchy delimiter.
    pub source_delimiter: Option<u8>,
    /// Its name at the target.
    pub target: FolderName,
    /// The UIDVALIDITY that gives this folder's UIDs their meaning.
    pub source_validity: UidValidity,
    /// The target folder's UIDVALIDITY, once it is known.
    pub target_validity: Option<UidValidity>,
    /// The source as the last finished pass left it; `None` before that.
    pub seen: Option<SourceMark>,
    /// The target's UIDNEXT as last seen: what was not there before lies at or above it.
    pub target_uid_next: Option<u32>,
    /// Whether the user is subscribed to it.
    pub subscribed: bool,
    /// Deletions at the source that exceed the cap and wait for an operator's word.
    pub held_deletions: u32,
    /// Whether it is no longer at the source (deleted, or another UIDVALIDITY took its place).
    pub gone: bool,
}

/// One look at a domain's DNS, as the checker wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// The domain, lower case.
    pub domain: String,
    /// When.
    pub at: Timestamp,
    /// The verdict's word.
    pub verdict: String,
    /// All answers and reasons, as JSON.
    pub evidence: String,
}

/// Something that an operator or the program did and that must be found again: forced removals, declarations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Who did it: an operator's login, or `mailferry`.
    pub who: String,
    /// The batch that it concerns.
    pub batch: Option<String>,
    /// The mailbox that it concerns, by address: notes outlive mailboxes.
    pub address: Option<String>,
    /// What was done.
    pub what: String,
    /// The reason given.
    pub reason: String,
}
