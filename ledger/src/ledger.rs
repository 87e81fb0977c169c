//! The ledger itself: opening, reading, and the beginnings of changes.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mailferry_imap::{FolderName, MailboxId, Uid, UidValidity};
use serde::{Deserialize, Serialize};

use crate::change::{Change, Op};
use crate::error::{CommitError, OpenError, ReadError};
use crate::message::{Counts, Intent, Message, Skipped};
use crate::record::{Batch, Endpoint, Folder, FolderId, Mailbox, Note, Observation};

/// A ledger that opened.
pub struct Opened {
    /// The ledger.
    pub ledger: Ledger,
    /// Where a damaged store was put; the ledger is a new, empty one then and says so by [`Ledger::rebuilt`].
    pub set_aside: Option<PathBuf>,
}

/// The mark of a ledger that took the place of a damaged one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rebuilt {
    /// When.
    pub at: Timestamp,
    /// Where the damaged store lies.
    pub set_aside: PathBuf,
    /// What was wrong with it.
    pub why: String,
}

/// How the ledger is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The last commit was made.
    Good,
    /// The disk is full; it goes on by itself when there is space.
    Full(String),
    /// It takes no more changes until it is opened again.
    Failed(String),
}

/// The durable record. Clones are cheap and share everything; the folder is released when the last one is dropped.
#[derive(Clone)]
pub struct Ledger {}

impl Ledger {
    /// Opens the ledger in `dir`, creating it where there is none. One process owns it at a time. Blocks: seconds for
    /// millions of records, since every record is looked at.
    ///
    /// # Errors
    /// [`OpenError`]; damage is no error: the store is set aside and a new, marked one opens.
    pub fn open(dir: &Path) -> Result<Opened, OpenError> {
        let _ = dir;
        todo!()
    }

    /// Begins a change.
    pub fn change(&self) -> Change {
        Change { ledger: self.clone(), ops: Vec::new() }
    }

    pub(crate) fn new_mailbox_id(&self) -> MailboxId {
        todo!()
    }

    pub(crate) fn new_folder_id(&self) -> FolderId {
        todo!()
    }

    pub(crate) async fn commit(&self, _ops: Vec<Op>) -> Result<(), CommitError> {
        todo!()
    }

    /// How the ledger is.
    pub fn health(&self) -> Health {
        todo!()
    }

    /// Returns what happened once the ledger has failed for good; never before. `serve` stops with exit code 7 then.
    pub async fn failed(&self) -> String {
        todo!()
    }

    /// The mark left by damage, until [`Change::accept_rebuilt`].
    ///
    /// # Errors
    /// [`ReadError`], as all reads.
    pub fn rebuilt(&self) -> Result<Option<Rebuilt>, ReadError> {
        todo!()
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn endpoint(&self, _name: &str) -> Result<Option<Endpoint>, ReadError> {
        todo!()
    }

    /// All endpoints by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, ReadError> {
        todo!()
    }

    /// One batch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn batch(&self, _name: &str) -> Result<Option<Batch>, ReadError> {
        todo!()
    }

    /// All batches by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn batches(&self) -> Result<Vec<Batch>, ReadError> {
        todo!()
    }

    /// One mailbox.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox(&self, _id: MailboxId) -> Result<Option<Mailbox>, ReadError> {
        todo!()
    }

    /// The mailbox with this `EmailAddress`, without regard to case.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_by_address(&self, _address: &str) -> Result<Option<Mailbox>, ReadError> {
        todo!()
    }

    /// The mailbox whose user logs in by this name: by `ClientLogin` if the row has it, else by the user part of
    /// `UserName`, else by `EmailAddress`, else by its local part; without regard to case. `None` where nobody or, at
    /// the strongest of these, more than one matches.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_by_login(&self, _login: &str) -> Result<Option<Mailbox>, ReadError> {
        todo!()
    }

    /// The mailboxes of a batch, in the order of their numbers (that of the CSV file).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailboxes(&self, _batch: &str) -> Result<Vec<Mailbox>, ReadError> {
        todo!()
    }

    /// All mailboxes, in the order of their numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn all_mailboxes(&self) -> Result<Vec<Mailbox>, ReadError> {
        todo!()
    }

    /// One folder.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn folder(&self, _mailbox: MailboxId, _folder: FolderId) -> Result<Option<Folder>, ReadError> {
        todo!()
    }

    /// A mailbox's folders, gone ones too, in the order of their numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn folders(&self, _mailbox: MailboxId) -> Result<Vec<Folder>, ReadError> {
        todo!()
    }

    /// The folder that has this name at the source now; never a `gone` one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn folder_by_source(
        &self,
        _mailbox: MailboxId,
        _name: &FolderName,
    ) -> Result<Option<Folder>, ReadError> {
        todo!()
    }

    /// One message.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn message(
        &self,
        _mailbox: MailboxId,
        _folder: FolderId,
        _uid: Uid,
    ) -> Result<Option<Message>, ReadError> {
        todo!()
    }

    /// A folder's messages by ascending UID, read page by page as they are asked for: memory does not grow with the
    /// folder. Changes made meanwhile are seen where the scan has not yet been.
    pub fn messages(&self, _mailbox: MailboxId, _folder: FolderId) -> Messages {
        todo!()
    }

    /// As [`messages`](Self::messages), from this UID on.
    pub fn messages_from(&self, _mailbox: MailboxId, _folder: FolderId, _first: Uid) -> Messages {
        todo!()
    }

    /// The highest UID that a folder has a message for.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last_uid(&self, _mailbox: MailboxId, _folder: FolderId) -> Result<Option<Uid>, ReadError> {
        todo!()
    }

    /// One message's intent: while there is one, its fate is unknown.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn intent(
        &self,
        _mailbox: MailboxId,
        _folder: FolderId,
        _uid: Uid,
    ) -> Result<Option<Intent>, ReadError> {
        todo!()
    }

    /// A folder's intents by ascending UID.
    pub fn intents(&self, _mailbox: MailboxId, _folder: FolderId) -> Intents {
        todo!()
    }

    /// A mailbox's skipped messages by folder and UID, with what was noted about them; page by page.
    pub fn skipped(&self, _mailbox: MailboxId) -> SkippedMessages {
        todo!()
    }

    /// Messages and bytes of one folder.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn counts(&self, _mailbox: MailboxId, _folder: FolderId) -> Result<Counts, ReadError> {
        todo!()
    }

    /// Messages and bytes of a whole mailbox; one look-up.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_counts(&self, _mailbox: MailboxId) -> Result<Counts, ReadError> {
        todo!()
    }

    /// Whether the ledger has this message as mirrored, skipped or gone, so that nobody needs its body. Quick; `false`
    /// whenever that is not certain.
    pub fn is_settled(
        &self,
        _mailbox: MailboxId,
        _folder: &FolderName,
        _validity: UidValidity,
        _uid: Uid,
    ) -> bool {
        todo!()
    }

    /// A domain's observations from `since` on, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn observations(&self, _domain: &str, _since: Timestamp) -> Result<Vec<Observation>, ReadError> {
        todo!()
    }

    /// A domain's last observation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last_observation(&self, _domain: &str) -> Result<Option<Observation>, ReadError> {
        todo!()
    }

    /// All notes, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn notes(&self) -> Result<Vec<Note>, ReadError> {
        todo!()
    }

    /// The account of a removed batch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn report(&self, _batch: &str) -> Result<Option<String>, ReadError> {
        todo!()
    }

    /// The names of the batches of which an account is kept.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn reports(&self) -> Result<Vec<String>, ReadError> {
        todo!()
    }

    /// A fact kept by [`Change::put_fact`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn fact(&self, _name: &str) -> Result<Option<String>, ReadError> {
        todo!()
    }

    /// The facts whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn facts(&self, _prefix: &str) -> Result<Vec<(String, String)>, ReadError> {
        todo!()
    }

    /// Removes a batch with its mailboxes, folders, messages and passwords, and keeps `report` (JSON) in their place.
    /// The first durable step sets the batch to `Removing`, stores the report and forgets the passwords; then the
    /// records go in steps of bounded size, the batch's own last. Interrupted, it is simply called again (the report
    /// that is kept is the last one given).
    ///
    /// # Errors
    /// [`CommitError`]; what was removed so far stays removed.
    pub async fn remove_batch(&self, _name: &str, _report: String) -> Result<(), CommitError> {
        todo!()
    }

    /// Removes one mailbox with all that belongs to it, in steps of bounded size, its own record last.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn remove_mailbox(&self, _mailbox: MailboxId) -> Result<(), CommitError> {
        todo!()
    }

    /// Removes a folder with its messages, intents and counts, in steps of bounded size, its own record last.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn forget_folder(&self, _mailbox: MailboxId, _folder: FolderId) -> Result<(), CommitError> {
        todo!()
    }
}

/// A folder's messages in order: see [`Ledger::messages`].
pub struct Messages {}

impl Iterator for Messages {
    type Item = Result<(Uid, Message), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// A folder's intents in order: see [`Ledger::intents`].
pub struct Intents {}

impl Iterator for Intents {
    type Item = Result<(Uid, Intent), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// A mailbox's skipped messages in order: see [`Ledger::skipped`].
pub struct SkippedMessages {}

impl Iterator for SkippedMessages {
    type Item = Result<Skipped, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
