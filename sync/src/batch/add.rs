//! A CSV file becomes a batch: all of it or nothing.

use jiff::Timestamp;
use mailferry_ledger::{Batch, BatchState, Mailbox};

use super::spec::check_name;
use super::{BatchError, Desk, NewBatch, Start};
use crate::csv::{self, Column, Passwords, Problem, Problems, Row, Wrong};
use crate::folders::filter::Filter;

impl Desk {
    /// Adds a batch, or renews the passwords of one that has the very same mailboxes.
    pub(super) async fn add(&self, new: &NewBatch) -> Result<(), BatchError> {
        check_name("batch", &new.name)?;
        let endpoint = self.endpoint(&new.endpoint)?;
        let passwords =
            if endpoint.learn_credentials { Passwords::MayBeLearned } else { Passwords::Required };
        let rows = csv::parse(&new.csv, passwords)?;
        Filter::parse(&new.include, &new.exclude)
            .map_err(|(line, error)| BatchError::Folder { line: line.to_owned(), error })?;
        match self.ledger.batch(&new.name)? {
            Some(batch) if (&batch.include, &batch.exclude) != (&new.include, &new.exclude) => {
                Err(BatchError::OtherFolders(batch.name))
            }
            Some(batch) if batch.endpoint == new.endpoint => self.renew(&batch, &rows).await,
            Some(batch) => Err(BatchError::NameTaken(batch.name)),
            None => self.import(new, &rows).await,
        }
    }

    async fn import(&self, new: &NewBatch, rows: &[Row]) -> Result<(), BatchError> {
        self.check_addresses(rows)?;
        let now = Timestamp::now();
        let (state, started) = match new.start {
            Start::AtOnce => (BatchState::Syncing, Some(now)),
            Start::Later => (BatchState::Created, None),
        };
        let mut change = self.ledger.change();
        change.put_batch(Batch {
            name: new.name.clone(),
            endpoint: new.endpoint.clone(),
            state,
            created: now,
            started,
            auto_start: new.start == Start::AtOnce,
            error: None,
            include: new.include.clone(),
            exclude: new.exclude.clone(),
        });
        for row in rows {
            let id = change.new_mailbox_id();
            let sealed = |password| self.vault.seal(password, &sealed_for(&row.email_address));
            change.put_mailbox(Mailbox {
                client_login: row.client_login.clone(),
                user_root: row.user_root.clone(),
                password: row.password.as_ref().map(sealed).transpose()?,
                // Another tool, or a batch that was removed, may have filled the target before.
                needs_matching: true,
                ..Mailbox::new(id, &new.name, &row.email_address, &row.user_name)
            });
        }
        change.commit().await?;
        Ok(())
    }

    /// The same mailboxes once more: changed passwords are taken over, everything else stays.
    async fn renew(&self, batch: &Batch, rows: &[Row]) -> Result<(), BatchError> {
        if batch.state == BatchState::Removing {
            return Err(BatchError::Removing(batch.name.clone()));
        }
        let mailboxes = self.ledger.mailboxes(&batch.name)?;
        let is_same = mailboxes.len() == rows.len()
            && mailboxes.iter().zip(rows).all(|(mailbox, row)| {
                mailbox.address == row.email_address
                    && mailbox.user_name == row.user_name
                    && mailbox.user_root == row.user_root
                    && mailbox.client_login == row.client_login
            });
        if !is_same {
            return Err(BatchError::NameTaken(batch.name.clone()));
        }
        let mut change = self.ledger.change();
        for (mailbox, row) in mailboxes.iter().zip(rows) {
            let Some(password) = &row.password else { continue };
            let sealed = self.vault.seal(password, &sealed_for(&row.email_address))?;
            change.update_mailbox(mailbox.id, |mailbox| mailbox.password = Some(sealed));
            change.update_learned(mailbox.id, |learned| learned.given_refused = false);
        }
        change.commit().await?;
        Ok(())
    }

    /// Every address that is in another batch already, all at once.
    fn check_addresses(&self, rows: &[Row]) -> Result<(), BatchError> {
        let mut problems = Vec::new();
        for row in rows {
            if let Some(mailbox) = self.ledger.mailbox_by_address(&row.email_address)? {
                let what = Wrong::InBatch { address: row.email_address.clone(), batch: mailbox.batch };
                problems.push(Problem { row: Some(row.row), column: Some(Column::EmailAddress), what });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems).into()) }
    }
}

/// What a mailbox's password is sealed for.
fn sealed_for(address: &str) -> String {
    address.to_lowercase()
}
