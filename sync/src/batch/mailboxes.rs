//! The verbs of single mailboxes.

use std::ops::ControlFlow;

use jiff::Timestamp;
use mailferry_ledger::Note;
use tokio::sync::mpsc;

use super::{BatchError, Batches, MailboxDetail, MailboxStatus, Outcome, ShowSkipped, SkippedMessage};
use crate::error::PassError;
use crate::export::{Step, Wanted};
use crate::retry::{Again, Retried};

impl Batches {
    /// The mailboxes of a batch, or of all, in the order of their CSV files.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`].
    pub fn mailboxes(&self, batch: Option<&str>) -> Result<Vec<MailboxStatus>, BatchError> {
        let mailboxes = match batch {
            Some(name) => self.desk.ledger.mailboxes(&self.desk.batch(name)?.name)?,
            None => self.desk.ledger.all_mailboxes()?,
        };
        mailboxes.into_iter().map(|mailbox| self.desk.mailbox_status(mailbox)).collect()
    }

    /// One mailbox in full.
    ///
    /// # Errors
    /// [`BatchError::NoMailbox`].
    pub fn mailbox(&self, address: &str, skipped: ShowSkipped) -> Result<MailboxDetail, BatchError> {
        self.desk.mailbox_detail(self.desk.mailbox(address)?, skipped)
    }

    /// Tries a mailbox again at once, with those of its messages for which that makes sense.
    ///
    /// # Errors
    /// [`BatchError::NoMailbox`], [`BatchError::NotStarted`].
    pub async fn retry(&self, address: &str, again: Again) -> Result<Retried, BatchError> {
        let mailbox = self.desk.mailbox(address)?;
        self.desk.started(&mailbox.batch)?;
        let retried = self.desk.fleet.retry(mailbox.id, again).await;
        retried.map_err(|error| BatchError::Pass { address: mailbox.address, error: Box::new(error) })
    }

    /// A mailbox's skipped messages, one after another: told to `each` until it says that nobody wants more. Blocks.
    ///
    /// # Errors
    /// [`BatchError::NoMailbox`].
    pub fn skipped(
        &self,
        address: &str,
        mut each: impl FnMut(SkippedMessage) -> ControlFlow<()>,
    ) -> Result<(), BatchError> {
        let mailbox = self.desk.mailbox(address)?;
        let folders = self.desk.ledger.folders(mailbox.id)?;
        for one in self.desk.ledger.skipped(mailbox.id) {
            let one = one?;
            // Of a folder that is gone, nothing is at the source.
            let folder = folders.iter().find(|folder| folder.id == one.folder && !folder.gone);
            let Some(folder) = folder else { continue };
            if each(SkippedMessage::of(one, folder)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Hands out skipped messages, byte for byte as the source has them: those of `wanted`, in the order of folders and
    /// UIDs. Dropping the receiver ends it.
    ///
    /// # Errors
    /// [`BatchError::NoMailbox`]; what goes wrong later is told as [`Step::Failed`].
    pub fn export_skipped(&self, address: &str, wanted: Wanted) -> Result<mpsc::Receiver<Step>, BatchError> {
        let desk = self.desk.clone();
        let mailbox = desk.mailbox(address)?;
        let endpoint = desk.endpoint(&desk.batch(&mailbox.batch)?.endpoint)?;
        let (out, steps) = mpsc::channel(8);
        tokio::spawn(async move {
            if let Err(error) = desk.fleet.export(mailbox.id, &endpoint, wanted, out.clone()).await {
                let _ = out.send(Step::Failed(error)).await;
            }
        });
        Ok(steps)
    }

    /// The operator's word: the deletions that a mailbox's cap held back go with the next pass, which is at once.
    ///
    /// # Errors
    /// [`BatchError::NoMailbox`], [`BatchError::NotStarted`].
    pub async fn allow_deletions(&self, address: &str, by: &str) -> Result<Outcome, BatchError> {
        let mailbox = self.desk.mailbox(address)?;
        let batch = self.desk.started(&mailbox.batch)?;
        let held: u32 =
            self.desk.ledger.folders(mailbox.id)?.iter().map(|folder| folder.held_deletions).sum();
        if held == 0 {
            return Ok(Outcome::Already);
        }
        let mut change = self.desk.ledger.change();
        change.put_note(Note {
            at: Timestamp::now(),
            who: by.to_owned(),
            batch: Some(batch.name.clone()),
            address: Some(mailbox.address.clone()),
            what: "deletions above the cap allowed".into(),
            reason: format!("{held} held"),
        });
        change.commit().await?;
        if self.desk.fleet.allow_deletions(mailbox.id).await {
            return Ok(Outcome::Done);
        }
        Err(BatchError::Pass { address: mailbox.address, error: Box::new(PassError::Stopped) })
    }

    /// Records that the user of a mailbox works on Office 365; `by` says who says so and how they know. The first
    /// declaration stays.
    ///
    /// # Errors
    /// [`BatchError::NoMailbox`].
    pub async fn declare_moved(&self, address: &str, by: &str) -> Result<Outcome, BatchError> {
        let mailbox = self.desk.mailbox(address)?;
        if mailbox.declared_moved.is_some() {
            return Ok(Outcome::Already);
        }
        let (now, by) = (Timestamp::now(), by.to_owned());
        let mut change = self.desk.ledger.change();
        change.put_note(Note {
            at: now,
            who: by.clone(),
            batch: Some(mailbox.batch.clone()),
            address: Some(mailbox.address.clone()),
            what: "declared moved".into(),
            reason: by.clone(),
        });
        change.update_mailbox(mailbox.id, move |mailbox| {
            mailbox.declared_moved.get_or_insert((now, by));
        });
        change.commit().await?;
        Ok(Outcome::Done)
    }
}
