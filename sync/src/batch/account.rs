//! The account of a batch: folder by folder figures that add up to the source's, and one state for every message.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;
use mailferry_ledger::{Counts, Folder, Mailbox, Message, MessageState, Uid};
use serde::{Deserialize, Serialize};

use super::{BatchError, BatchStatus, Batches, Desk, Forced, MailboxStatus, SkippedMessage};
use crate::gate::Gate;

/// The most skipped messages that a report holds at once, and that are kept of a removed batch.
pub const MAX_SKIPPED: usize = 20_000;

/// The most folders of which it holds the figures.
pub const MAX_FOLDERS: usize = 50_000;

/// The figures of one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderAccount {
    /// Whose folder.
    pub address: String,
    /// Its name at the source.
    pub source: String,
    /// Its name on the target.
    pub target: String,
    /// Its UIDVALIDITY at the source.
    pub uid_validity: u32,
    /// How many messages the source had in it when the last pass ended; `None` before that.
    pub at_source: Option<u32>,
    /// Its messages and bytes by state.
    #[serde(flatten)]
    pub counts: Counts,
    /// Deleted at the source, kept on the target until the operator's word; counted as mirrored.
    pub held_deletions: u32,
    /// The folder is gone from the source.
    pub is_gone: bool,
    /// Whether mirrored, pending and skipped are what the source has; `None` before the first pass ended.
    pub adds_up: Option<bool>,
}

/// One message and its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAccount {
    /// Its UID at the source.
    pub uid: u32,
    /// `mirrored`, `pending`, `skipped` or `gone`.
    pub state: String,
    /// Why it is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its UID on the target, if the target told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_uid: Option<u32>,
    /// Bytes.
    pub size: u64,
    /// INTERNALDATE, as IMAP writes it.
    pub date: String,
    /// Its keywords at the source, which Office 365 does not take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Subject; of skipped ones only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Sender; of skipped ones only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
}

/// A skipped message and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedOf {
    /// Whose.
    pub address: String,
    /// The message.
    #[serde(flatten)]
    pub message: SkippedMessage,
}

/// What a report says beyond the mailboxes' figures; bounded, however large the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The figures of the folders, mailbox by mailbox.
    pub folders: Vec<FolderAccount>,
    /// How many folders more there are.
    pub folders_left_out: u64,
    /// What was skipped in those folders, in the same order.
    pub skipped: Vec<SkippedOf>,
    /// How many skipped messages more there are.
    pub skipped_left_out: u64,
}

/// What the account consists of, in this order: the batch, then each mailbox with its folders, each with its messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum AccountLine {
    /// The batch.
    Batch {
        /// Its figures.
        batch: Box<BatchStatus>,
        /// When the account was made.
        at: Timestamp,
        /// The gate at that moment.
        gate: Box<Gate>,
        /// Removed by force: who, and why.
        forced: Option<Forced>,
        /// Whether all there is are the figures and the skipped messages that were kept when the batch was removed.
        is_removed: bool,
        /// How many skipped messages more there were when it was removed.
        left_out: u64,
    },
    /// A mailbox begins.
    Mailbox(Box<MailboxStatus>),
    /// A folder of it begins.
    Folder(FolderAccount),
    /// A message of it.
    Message(MessageAccount),
}

/// Which messages are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// All.
    All,
    /// Those that are at the source and not on the target.
    Left,
}

/// Whether somebody still listens.
type Flow = ControlFlow<()>;

impl Batches {
    /// The account of a batch, line by line, as `each` takes it; of one that was removed, as far as it is kept. Blocks, and
    /// holds no more than a page of records.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`].
    pub fn account(
        &self,
        name: &str,
        which: Which,
        mut each: impl FnMut(AccountLine) -> Flow,
    ) -> Result<(), BatchError> {
        let desk = &self.desk;
        let Some(batch) = desk.ledger.batch(name)? else { return desk.kept_account(name, &mut each) };
        let head = AccountLine::Batch {
            batch: Box::new(desk.batch_status(&batch)?),
            at: Timestamp::now(),
            gate: Box::new(desk.gate(&batch)?),
            forced: None,
            is_removed: false,
            left_out: 0,
        };
        if each(head).is_break() {
            return Ok(());
        }
        for mailbox in desk.ledger.mailboxes(name)? {
            if desk.mailbox_account(mailbox, which, &mut each)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Desk {
    fn mailbox_account(
        &self,
        mailbox: Mailbox,
        which: Which,
        each: &mut impl FnMut(AccountLine) -> Flow,
    ) -> Result<Flow, BatchError> {
        let address = mailbox.address.clone();
        let folders = self.ledger.folders(mailbox.id)?;
        if each(AccountLine::Mailbox(Box::new(self.mailbox_status(mailbox)?))).is_break() {
            return Ok(Flow::Break(()));
        }
        for folder in folders {
            if each(AccountLine::Folder(self.folder_account(&address, &folder)?)).is_break() {
                return Ok(Flow::Break(()));
            }
            for message in self.ledger.messages(folder.mailbox, folder.id) {
                let (uid, message) = message?;
                if which == Which::Left && !is_left(&message.state) {
                    continue;
                }
                if each(AccountLine::Message(self.message_account(&folder, uid, message)?)).is_break() {
                    return Ok(Flow::Break(()));
                }
            }
        }
        Ok(Flow::Continue(()))
    }

    pub(super) fn folder_account(&self, address: &str, folder: &Folder) -> Result<FolderAccount, BatchError> {
        let counts = self.ledger.counts(folder.mailbox, folder.id)?;
        let at_source = if folder.gone { Some(0) } else { folder.seen.map(|seen| seen.messages) };
        let expected = at_source.map(|messages| u64::from(messages) + u64::from(folder.held_deletions));
        Ok(FolderAccount {
            address: address.to_owned(),
            source: folder.source.to_text(),
            target: folder.target.to_text(),
            uid_validity: folder.source_validity.value(),
            at_source,
            counts,
            held_deletions: folder.held_deletions,
            is_gone: folder.gone,
            adds_up: expected.map(|expected| expected == counts.at_source()),
        })
    }

    fn message_account(
        &self,
        folder: &Folder,
        uid: Uid,
        message: Message,
    ) -> Result<MessageAccount, BatchError> {
        let mut account = MessageAccount {
            uid: uid.value(),
            size: message.size,
            date: message.date.to_string(),
            keywords: message.flags.keywords().to_vec(),
            ..MessageAccount::default()
        };
        match message.state {
            MessageState::Pending => account.state = "pending".to_owned(),
            MessageState::Gone => account.state = "gone".to_owned(),
            MessageState::Mirrored { target_uid } => {
                account.state = "mirrored".to_owned();
                account.target_uid = target_uid.map(Uid::value);
            }
            MessageState::Skipped(reason) => {
                account.state = "skipped".to_owned();
                account.reason = Some(reason.to_string());
                let noted = self.ledger.skipped_message(folder.mailbox, folder.id, uid)?;
                if let Some(noted) = noted {
                    account.subject = Some(noted.facts.subject);
                    account.sender = Some(noted.facts.sender);
                }
            }
        }
        Ok(account)
    }

    /// What is kept of these mailboxes.
    pub(super) fn kept_of(&self, mailboxes: &[Mailbox]) -> Result<Kept, BatchError> {
        let mut kept = Kept::default();
        for mailbox in mailboxes {
            let address = &mailbox.address;
            let known = self.ledger.folders(mailbox.id)?;
            let (mut all, before) = (0, kept.skipped.len());
            let room = MAX_FOLDERS.saturating_sub(kept.folders.len()).min(known.len());
            for (at, folder) in known.iter().enumerate() {
                let account = self.folder_account(address, folder)?;
                all += account.counts.skipped;
                if at < room {
                    kept.folders.push(account);
                }
            }
            kept.folders_left_out += (known.len() - room) as u64;
            let kept_folders: BTreeMap<_, _> =
                known.iter().take(room).map(|folder| (folder.id, folder)).collect();
            for one in self.ledger.skipped(mailbox.id).take(MAX_SKIPPED - before) {
                let one = one?;
                if let Some(folder) = kept_folders.get(&one.folder) {
                    let message = SkippedMessage::of(one, folder);
                    kept.skipped.push(SkippedOf { address: address.clone(), message });
                }
            }
            kept.skipped_left_out += all.saturating_sub((kept.skipped.len() - before) as u64);
        }
        Ok(kept)
    }

    /// A removed batch in the same form.
    fn kept_account(&self, name: &str, each: &mut impl FnMut(AccountLine) -> Flow) -> Result<(), BatchError> {
        let report = self.kept_report(name)?;
        let mut lines = vec![AccountLine::Batch {
            batch: Box::new(report.batch),
            at: report.at,
            gate: Box::new(report.gate),
            forced: report.forced,
            is_removed: true,
            left_out: report.kept.skipped_left_out,
        }];
        let mut skipped = report.kept.skipped.into_iter().peekable();
        let mut folders = report.kept.folders.into_iter().peekable();
        for mailbox in report.mailboxes {
            let address = mailbox.address.clone();
            lines.push(AccountLine::Mailbox(Box::new(mailbox)));
            while let Some(folder) = folders.next_if(|folder| folder.address == address) {
                let (source, validity) = (folder.source.clone(), folder.uid_validity);
                lines.push(AccountLine::Folder(folder));
                while let Some(one) = skipped.next_if(|one| {
                    one.address == address
                        && one.message.folder == source
                        && one.message.uid_validity == validity
                }) {
                    let message = one.message;
                    lines.push(AccountLine::Message(MessageAccount {
                        uid: message.uid,
                        state: "skipped".to_owned(),
                        reason: Some(message.reason),
                        target_uid: None,
                        size: message.size,
                        date: message.date,
                        keywords: Vec::new(),
                        subject: Some(message.subject),
                        sender: Some(message.sender),
                    }));
                }
            }
        }
        let _ = lines.into_iter().try_for_each(each);
        Ok(())
    }
}

/// Whether a message is at the source and not on the target.
fn is_left(state: &MessageState) -> bool {
    match state {
        MessageState::Pending | MessageState::Skipped(_) => true,
        MessageState::Mirrored { .. } | MessageState::Gone => false,
    }
}
