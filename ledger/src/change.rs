//! A change: some writes that are made together or not at all.

use jiff::Timestamp;
use mailferry_imap::{MailboxId, Uid};

use crate::error::CommitError;
use crate::ledger::Ledger;
use crate::message::{Intent, Message, SkippedFacts};
use crate::record::{Batch, Endpoint, Folder, FolderId, Learned, Mailbox, Note, Observation};

/// Where a message is recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct MessageAt {
    pub(crate) mailbox: MailboxId,
    pub(crate) folder: FolderId,
    pub(crate) uid: Uid,
}

/// What the writer does to a record that is there when its turn comes.
pub(crate) enum Update {
    Batch(String, Box<dyn FnOnce(&mut Batch) + Send>),
    Mailbox(MailboxId, Box<dyn FnOnce(&mut Mailbox) + Send>),
    Folder(MailboxId, FolderId, Box<dyn FnOnce(&mut Folder) + Send>),
    Learned(MailboxId, Box<dyn FnOnce(&mut Learned) + Send>),
}

/// One write.
pub(crate) enum Op {
    PutEndpoint(Endpoint),
    RemoveEndpoint(String),
    PutBatch(Batch),
    RemoveBatch(String),
    PutMailbox(Box<Mailbox>),
    RemoveMailbox(MailboxId),
    PutLearned(Learned),
    ForgetLearned(MailboxId),
    PutFolder(Folder),
    RemoveFolder(MailboxId, FolderId),
    Update(Update),
    PutMessage(MessageAt, Message),
    RemoveMessage(MessageAt),
    NoteIntent(MessageAt, Intent),
    RemoveIntent(MessageAt),
    PutSkippedFacts(MessageAt, SkippedFacts),
    PutObservation(Observation),
    RemoveObservation(String, Timestamp),
    PutNote(Note),
    PutText(Text, String, String),
    RemoveText(Text, String),
    AcceptRebuilt,
}

/// Kinds of named texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Text {
    /// A removed batch's account, as JSON.
    Report,
    /// A fact that others keep here, as JSON.
    Fact,
}

/// Writes to be made together. Nothing happens before [`commit`](Self::commit); dropping it forgets it.
///
/// The writes are made in the order in which they were added, so a change may put a mailbox, its folder and its
/// messages. Messages, intents and folders of a mailbox that is not in the ledger refuse the whole change: a worker
/// that outlives the removal of its mailbox leaves nothing behind.
#[must_use = "a change does nothing before it is committed"]
pub struct Change {
    pub(crate) ledger: Ledger,
    pub(crate) ops: Vec<Op>,
}

impl Change {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// A number for a new mailbox; never handed out again once a mailbox was stored under it.
    pub fn new_mailbox_id(&mut self) -> MailboxId {
        self.ledger.new_mailbox_id()
    }

    /// A number for a new folder of any mailbox; never handed out again once a folder was stored under it.
    pub fn new_folder_id(&mut self) -> FolderId {
        self.ledger.new_folder_id()
    }

    /// Adds or replaces an endpoint. One that learns no passwords has none: those that were learnt for its mailboxes are
    /// forgotten with it.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) {
        self.ops.push(Op::PutEndpoint(endpoint));
    }

    /// Removes an endpoint; nothing happens where there is none.
    pub fn remove_endpoint(&mut self, name: &str) {
        self.ops.push(Op::RemoveEndpoint(name.to_owned()));
    }

    /// Adds or replaces a batch.
    pub fn put_batch(&mut self, batch: Batch) {
        self.ops.push(Op::PutBatch(batch));
    }

    /// Changes a batch as it is when the change is made; nothing happens where there is none.
    pub fn update_batch(&mut self, name: &str, update: impl FnOnce(&mut Batch) + Send + 'static) {
        self.ops.push(Op::Update(Update::Batch(name.to_owned(), Box::new(update))));
    }

    /// Adds or replaces a mailbox. Prefer [`update_mailbox`](Self::update_mailbox) for one that exists: others write
    /// to it too. In a ledger that was rebuilt after damage a new mailbox is marked `needs_matching`.
    pub fn put_mailbox(&mut self, mailbox: Mailbox) {
        self.ops.push(Op::PutMailbox(Box::new(mailbox)));
    }

    /// Changes a mailbox as it is when the change is made, so that nothing that others wrote is lost. Nothing happens
    /// where there is none. The record's `id` stays what it is.
    pub fn update_mailbox(&mut self, mailbox: MailboxId, update: impl FnOnce(&mut Mailbox) + Send + 'static) {
        self.ops.push(Op::Update(Update::Mailbox(mailbox, Box::new(update))));
    }

    /// Changes what was learnt of a mailbox as it is when the change is made; nothing happens where nothing was learnt.
    /// `mailbox` stays.
    pub fn update_learned(&mut self, mailbox: MailboxId, update: impl FnOnce(&mut Learned) + Send + 'static) {
        self.ops.push(Op::Update(Update::Learned(mailbox, Box::new(update))));
    }

    /// Adds or replaces a folder. Of the folders with one source name the one put last that is not `gone` is the one
    /// that [`Ledger::folder_by_source`] finds: for a new UIDVALIDITY put a folder with a new number, then forget the
    /// old one with [`Ledger::forget_folder`] when its messages are matched.
    pub fn put_folder(&mut self, folder: Folder) {
        self.ops.push(Op::PutFolder(folder));
    }

    /// Changes a folder as it is when the change is made; nothing happens where there is none. `id` and `mailbox` stay.
    pub fn update_folder(
        &mut self,
        mailbox: MailboxId,
        folder: FolderId,
        update: impl FnOnce(&mut Folder) + Send + 'static,
    ) {
        self.ops.push(Op::Update(Update::Folder(mailbox, folder, Box::new(update))));
    }

    /// Adds or replaces a message. A skipped one is listed by [`Ledger::skipped`] from then on.
    pub fn put_message(&mut self, mailbox: MailboxId, folder: FolderId, uid: Uid, message: Message) {
        self.ops.push(Op::PutMessage(MessageAt { mailbox, folder, uid }, message));
    }

    /// Forgets a message with what was noted when it was skipped. Its intent, if there is one, stays.
    pub fn remove_message(&mut self, mailbox: MailboxId, folder: FolderId, uid: Uid) {
        self.ops.push(Op::RemoveMessage(MessageAt { mailbox, folder, uid }));
    }

    /// Notes that a message is about to be appended: from then on its fate is unknown until it is settled.
    pub fn note_intent(&mut self, mailbox: MailboxId, folder: FolderId, uid: Uid, intent: Intent) {
        self.ops.push(Op::NoteIntent(MessageAt { mailbox, folder, uid }, intent));
    }

    /// Takes an intent back: it is known that no copy was stored.
    pub fn remove_intent(&mut self, mailbox: MailboxId, folder: FolderId, uid: Uid) {
        self.ops.push(Op::RemoveIntent(MessageAt { mailbox, folder, uid }));
    }

    /// Writes a message's outcome and removes its intent.
    pub fn settle(&mut self, mailbox: MailboxId, folder: FolderId, uid: Uid, message: Message) {
        self.put_message(mailbox, folder, uid, message);
        self.remove_intent(mailbox, folder, uid);
    }

    /// Notes what people recognise a skipped message by; ignored unless the message is skipped.
    pub fn put_skipped_facts(&mut self, mailbox: MailboxId, folder: FolderId, uid: Uid, facts: SkippedFacts) {
        self.ops.push(Op::PutSkippedFacts(MessageAt { mailbox, folder, uid }, facts));
    }

    /// Keeps a DNS observation.
    pub fn put_observation(&mut self, observation: Observation) {
        self.ops.push(Op::PutObservation(observation));
    }

    /// Forgets the DNS observation of this domain and moment; nothing happens where there is none.
    pub fn remove_observation(&mut self, domain: &str, at: Timestamp) {
        self.ops.push(Op::RemoveObservation(domain.to_lowercase(), at));
    }

    /// Keeps a note. Notes are never removed.
    pub fn put_note(&mut self, note: Note) {
        self.ops.push(Op::PutNote(note));
    }

    /// Keeps the account of a removed batch, as JSON; any length. Replaces an earlier one of the same name.
    pub fn put_report(&mut self, batch: &str, json: String) {
        self.ops.push(Op::PutText(Text::Report, batch.to_owned(), json));
    }

    /// Keeps a fact of the caller's under a name of the caller's (`cutover/contoso.edu`), as JSON; any length.
    pub fn put_fact(&mut self, name: &str, json: String) {
        self.ops.push(Op::PutText(Text::Fact, name.to_owned(), json));
    }

    /// Forgets a fact.
    pub fn remove_fact(&mut self, name: &str) {
        self.ops.push(Op::RemoveText(Text::Fact, name.to_owned()));
    }

    /// Takes the mark of a ledger that was rebuilt after damage away: an operator says that all is in place again.
    pub fn accept_rebuilt(&mut self) {
        self.ops.push(Op::AcceptRebuilt);
    }

    /// Makes the change. When it returns `Ok`, the change survives a power cut; concurrent commits share one durable
    /// write. When the future is dropped before, the change may be made or not.
    ///
    /// # Errors
    /// [`CommitError`]; on `Full`, `NoMailbox`, `NoFolder`, `AddressTaken` and `Unfit` nothing was written.
    pub async fn commit(self) -> Result<(), CommitError> {
        self.ledger.clone().commit(self.ops).await
    }
}
