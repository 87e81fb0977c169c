//! What a tap knows of the ledger: which messages of the folder that its client reads are settled, a portion at a time, so
//! that reading a whole folder asks the ledger a few times and not once a message.
//!
//! An answer may be old: then a body is put into the spool that nobody needs, or is left to the next pass. Both are
//! harmless, and neither lasts.

use std::time::{Duration, Instant};

use mailferry_imap::{FolderName, MailboxId, MessageKey, Uid, UidSet, UidValidity};
use mailferry_ledger::Ledger;

/// Messages of a portion: one page of the ledger.
const PORTION: usize = 512;

/// For how long a message counts as settled. Rarely it becomes unsettled again.
const SETTLED: Duration = Duration::from_secs(60);

/// For how long it counts as unsettled. That changes as soon as it is mirrored.
const UNSETTLED: Duration = Duration::from_secs(1);

/// One portion of one folder.
#[derive(Debug)]
pub(crate) struct Known {
    mailbox: MailboxId,
    folder: FolderName,
    validity: UidValidity,
    first: Uid,
    /// `None`: all from `first` on.
    last: Option<Uid>,
    settled: UidSet,
    since: Instant,
}

impl Known {
    /// Asks the ledger for the portion that begins with this message. Blocks.
    pub(crate) fn ask(ledger: &Ledger, key: &MessageKey) -> Self {
        let MessageKey { mailbox, folder, validity, uid: first } = key.clone();
        let since = Instant::now();
        let (settled, last) = ledger.settled_from(mailbox, &folder, validity, first, PORTION);
        Self { mailbox, folder, validity, first, last, settled, since }
    }

    /// Whether this message is settled; `None` where the ledger must be asked.
    pub(crate) fn is_settled(&self, key: &MessageKey, now: Instant) -> Option<bool> {
        let is_here = self.mailbox == key.mailbox
            && self.validity == key.validity
            && self.first <= key.uid
            && self.last.is_none_or(|last| key.uid <= last)
            && self.folder == key.folder;
        let settled = is_here.then(|| self.settled.contains(key.uid))?;
        let lasts = if settled { SETTLED } else { UNSETTLED };
        (now.saturating_duration_since(self.since) < lasts).then_some(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(folder: &'static str, uid: u32) -> MessageKey {
        let folder = FolderName::from_wire(folder);
        let (validity, uid) = (UidValidity::new(7).unwrap(), Uid::new(uid).unwrap());
        MessageKey { mailbox: MailboxId(1), folder, validity, uid }
    }

    fn known(last: Option<u32>) -> Known {
        let MessageKey { mailbox, folder, validity, uid: first } = key("A", 10);
        let settled = UidSet::from_numbers([10, 11, 20]);
        Known {
            mailbox,
            folder,
            validity,
            first,
            last: last.and_then(Uid::new),
            settled,
            since: Instant::now(),
        }
    }

    #[test]
    fn of_its_portion_it_tells_and_of_nothing_else() {
        let portion = known(Some(20));
        let told = |key: MessageKey| portion.is_settled(&key, portion.since);
        assert_eq!(told(key("A", 11)), Some(true));
        assert_eq!(told(key("A", 12)), Some(false));
        assert_eq!(told(key("A", 9)), None);
        assert_eq!(told(key("A", 21)), None);
        assert_eq!(told(key("B", 11)), None);
        let other = MessageKey { validity: UidValidity::new(8).unwrap(), ..key("A", 11) };
        assert_eq!(told(other), None);
        let whole = known(None);
        assert_eq!(whole.is_settled(&key("A", 4_000_000_000), whole.since), Some(false));
    }

    #[test]
    fn what_may_have_changed_is_asked_again() {
        let portion = known(Some(20));
        let told = |uid, later| portion.is_settled(&key("A", uid), portion.since + later);
        assert_eq!(told(12, UNSETTLED / 2), Some(false));
        assert_eq!(told(12, UNSETTLED), None);
        assert_eq!(told(11, UNSETTLED), Some(true));
        assert_eq!(told(11, SETTLED), None);
    }
}
