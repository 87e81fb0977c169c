//! Removing what is large, in steps of bounded size. Each step is durable; what names the rest goes last, so an
//! interrupted removal is found again and goes on where it was.

use mailferry_imap::MailboxId;

use crate::change::{MessageAt, Op, Text};
use crate::error::{CommitError, ReadError};
use crate::key;
use crate::ledger::Ledger;
use crate::record::{BatchState, FolderId};
use crate::scan::Scan;

/// Records that one step removes.
const STEP: usize = 4096;

impl Ledger {
    /// Removes a batch with its mailboxes, folders, messages and passwords, and keeps `report` (JSON) in their place.
    /// The first durable step sets the batch to `Removing`, stores the report and forgets the passwords; then the
    /// records go in steps of bounded size, the batch's own last. Interrupted, it is simply called again (the report
    /// that is kept is the last one given). Its workers must have ended before: what they write late is refused.
    ///
    /// # Errors
    /// [`CommitError`]; what was removed so far stays removed.
    pub async fn remove_batch(&self, name: &str, report: String) -> Result<(), CommitError> {
        let mailboxes = self.mailbox_ids(name).map_err(unread)?;
        let mut first = self.change();
        first.ops.push(Op::PutText(Text::Report, name.to_owned(), report));
        first.update_batch(name, |batch| batch.state = BatchState::Removing);
        for mailbox in &mailboxes {
            first.update_mailbox(*mailbox, |mailbox| mailbox.password = None);
            first.ops.push(Op::ForgetLearned(*mailbox));
        }
        first.commit().await?;
        for mailbox in mailboxes {
            self.remove_mailbox(mailbox).await?;
        }
        self.commit(vec![Op::RemoveBatch(name.to_owned())]).await
    }

    /// Resumes no removal but says which are due: batches that are `Removing`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn unfinished_removals(&self) -> Result<Vec<String>, ReadError> {
        let batches = self.batches()?.into_iter();
        Ok(batches.filter(|batch| batch.state == BatchState::Removing).map(|batch| batch.name).collect())
    }

    /// Removes one mailbox with all that belongs to it, in steps of bounded size, its own record last.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn remove_mailbox(&self, mailbox: MailboxId) -> Result<(), CommitError> {
        self.remove_places(&|kind| key::of_mailbox(kind, mailbox)).await?;
        let folders = self.folders(mailbox).map_err(unread)?;
        let mut last: Vec<Op> =
            folders.into_iter().map(|folder| Op::RemoveFolder(mailbox, folder.id)).collect();
        last.push(Op::RemoveMailbox(mailbox));
        self.commit(last).await
    }

    /// Removes a folder with its messages, intents and counts, in steps of bounded size, its own record last.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn forget_folder(&self, mailbox: MailboxId, folder: FolderId) -> Result<(), CommitError> {
        self.remove_places(&|kind| key::of_folder(kind, mailbox, folder)).await?;
        self.commit(vec![Op::RemoveFolder(mailbox, folder)]).await
    }

    /// Removes intents and messages (which take their counts and skipped facts along) under a prefix.
    async fn remove_places(&self, prefix: &(dyn Fn(u8) -> Vec<u8> + Sync)) -> Result<(), CommitError> {
        for (kind, op) in [
            (key::INTENT, Op::RemoveIntent as fn(MessageAt) -> Op),
            (key::MESSAGE, Op::RemoveMessage as fn(MessageAt) -> Op),
        ] {
            loop {
                let mut step = Vec::new();
                for entry in Scan::new(self, &prefix(kind)).take(STEP) {
                    let entry = entry.map_err(unread)?;
                    step.extend(key::parse_at(&entry.key).map(op));
                }
                if step.is_empty() {
                    break;
                }
                self.commit(step).await?;
            }
        }
        Ok(())
    }
}

fn unread(error: ReadError) -> CommitError {
    CommitError::Failed { what: error.to_string() }
}
