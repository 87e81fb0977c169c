//! Whose clients are there: what the proxy knows and the sync has to be considerate of, since servers count sessions.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use mailferry_imap::MailboxId;

use crate::Spool;

/// How many sessions of clients each mailbox has.
pub(crate) type Attended = BTreeMap<MailboxId, u64>;

/// A client's session with a mailbox, for as long as this lives.
#[derive(Debug)]
pub struct Attendance {
    spool: Spool,
    mailbox: MailboxId,
}

impl Spool {
    /// A client has a session with a mailbox.
    #[must_use]
    pub fn attend(&self, mailbox: MailboxId) -> Attendance {
        let mut attended = self.inner.attended.lock().unwrap_or_else(PoisonError::into_inner);
        *attended.entry(mailbox).or_default() += 1;
        Attendance { spool: self.clone(), mailbox }
    }

    /// Whether any client has a session with a mailbox.
    pub fn is_attended(&self, mailbox: MailboxId) -> bool {
        let attended = self.inner.attended.lock().unwrap_or_else(PoisonError::into_inner);
        attended.contains_key(&mailbox)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut attended = self.spool.inner.attended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = attended.get_mut(&self.mailbox) {
            *sessions -= 1;
            if *sessions == 0 {
                attended.remove(&self.mailbox);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn a_mailbox_is_attended_until_its_last_client_goes() {
        let limits = Limits { memory_bytes: 0, disk_bytes: 0, dir: std::path::PathBuf::new() };
        let spool = Spool::new(limits);
        let mailbox = MailboxId(7);
        let (one, two) = (spool.attend(mailbox), spool.attend(mailbox));
        drop(one);
        assert!(spool.is_attended(mailbox) && !spool.is_attended(MailboxId(8)));
        drop(two);
        assert!(!spool.is_attended(mailbox));
    }
}
