//! The account as CSV: one row a message.

use super::Scribe;
use crate::output::csv;
use mailferry_sync::batch::account::{AccountLine, FolderAccount};
use std::io::{self, Write};

/// Remembers whose messages are coming.
#[derive(Default)]
pub struct Rows {
    folder: FolderAccount,
}

impl Scribe for Rows {
    fn line(&mut self, line: &AccountLine, out: &mut dyn Write) -> io::Result<()> {
        match line {
            AccountLine::Batch { .. } => out.write_all(
                csv::row([
                    "EmailAddress",
                    "Folder",
                    "TargetFolder",
                    "UIDVALIDITY",
                    "UID",
                    "State",
                    "Reason",
                    "TargetUID",
                    "Size",
                    "Date",
                    "Sender",
                    "Subject",
                ])
                .as_bytes(),
            ),
            AccountLine::Mailbox(_) => Ok(()),
            AccountLine::Folder(folder) => {
                self.folder = folder.clone();
                Ok(())
            }
            AccountLine::Message(message) => {
                let folder = &self.folder;
                let (validity, uid) = (folder.uid_validity.to_string(), message.uid.to_string());
                let target_uid = message.target_uid.map(|uid| uid.to_string()).unwrap_or_default();
                let size = message.size.to_string();
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                let (reason, sender, subject) =
                    (text(&message.reason), text(&message.sender), text(&message.subject));
                let cells: [&str; 12] = [
                    &folder.address,
                    &folder.source,
                    &folder.target,
                    &validity,
                    &uid,
                    &message.state,
                    &reason,
                    &target_uid,
                    &size,
                    &message.date,
                    &sender,
                    &subject,
                ];
                out.write_all(csv::row(cells).as_bytes())
            }
        }
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
