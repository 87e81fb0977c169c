//! Flags at the source compared with those of the ledger, as the source tells them: memory grows with what changed, and
//! not beyond a bound either.

use mailferry_imap::{Flags, Uid, UidSet};
use mailferry_ledger::{Folder, Ledger, Message, MessageState, Messages, ReadError};
use tracing::warn;

use crate::changes::Reflagged;
use crate::look;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

/// How many changed messages are kept at once.
const MOST: usize = 10_000;

/// So many are looked up one by one; who tells more of them probably tells all.
const FEW: usize = 200;

impl MailboxWorker {
    /// Carries over what flags changed among the UIDs up to `last`. `false` if some are left over.
    pub(crate) async fn carry_changed_flags(
        &mut self,
        folder: &Folder,
        last: u32,
        since: Option<u64>,
        report: &mut PassReport,
    ) -> Result<bool, Trouble> {
        let ledger = self.context.ledger.clone();
        let mut first = 1;
        loop {
            let mut known = UidSet::new();
            if let (Some(first), Some(last)) = (Uid::new(first), Uid::new(last)) {
                known.insert_range(first, last);
            }
            let mut comparison = Comparison::new(&ledger, folder, MOST);
            let source = self.source().await?;
            source.be_in(folder).await?;
            look::flags_since(&mut source.session, &known, since, |uid, flags| comparison.take(uid, flags))
                .await
                .map_err(Trouble::source)?;
            let (changed, overlooked) = comparison.end()?;
            let mut recorded = ledger.change();
            let mut reflagged = Vec::new();
            for change in changed {
                match change.message.state {
                    MessageState::Mirrored { .. } => reflagged.push(change),
                    MessageState::Pending | MessageState::Skipped(_) => {
                        let message = Message { flags: change.flags, ..change.message };
                        recorded.put_message(folder.mailbox, folder.id, change.uid, message);
                    }
                    MessageState::Gone => {}
                }
            }
            if !recorded.is_empty() {
                recorded.commit().await?;
            }
            self.carry_flags(folder, reflagged, report).await?;
            match overlooked.map(Uid::value) {
                None => return Ok(true),
                Some(next) if next > first => first = next,
                Some(_) => {
                    warn!("The source tells flags in an order in which many changes cannot be followed.");
                    return Ok(false);
                }
            }
        }
    }
}

/// One walk over both.
struct Comparison<'a> {
    ledger: &'a Ledger,
    folder: &'a Folder,
    most: usize,
    told: usize,
    /// The ledger's messages from the one on that the source told last; none while it told few.
    walk: Option<std::iter::Peekable<Messages>>,
    changed: Vec<Reflagged>,
    /// The first that changed and for which there was no room.
    overlooked: Option<Uid>,
    failed: Option<ReadError>,
}

impl<'a> Comparison<'a> {
    fn new(ledger: &'a Ledger, folder: &'a Folder, most: usize) -> Self {
        let (walk, overlooked, failed) = (None, None, None);
        Self { ledger, folder, most, told: 0, walk, changed: Vec::new(), overlooked, failed }
    }

    /// The flags of one message at the source.
    fn take(&mut self, uid: Uid, flags: Flags) {
        if self.failed.is_some() {
            return;
        }
        self.told += 1;
        match self.known(uid) {
            Ok(Some(message)) if message.flags != flags => {
                if self.changed.len() < self.most {
                    self.changed.push(Reflagged { uid, message, flags });
                } else {
                    self.overlooked = Some(self.overlooked.map_or(uid, |first| first.min(uid)));
                }
            }
            Ok(_) => {}
            Err(error) => self.failed = Some(error),
        }
    }

    /// The ledger's record of it.
    fn known(&mut self, uid: Uid) -> Result<Option<Message>, ReadError> {
        let (mailbox, folder) = (self.folder.mailbox, self.folder.id);
        if self.told <= FEW {
            return self.ledger.message(mailbox, folder, uid);
        }
        let ledger = self.ledger;
        let walk = self.walk.get_or_insert_with(|| ledger.messages_from(mailbox, folder, uid).peekable());
        let is_before = |entry: &Result<(Uid, Message), ReadError>| matches!(entry, Ok((at, _)) if *at < uid);
        while walk.next_if(is_before).is_some() {}
        match walk.next_if(|entry| !matches!(entry, Ok((at, _)) if *at != uid)) {
            Some(entry) => entry.map(|(_, message)| Some(message)),
            // Not in ascending order, or not recorded.
            None => ledger.message(mailbox, folder, uid),
        }
    }

    /// What changed, and from where on more may have.
    fn end(self) -> Result<(Vec<Reflagged>, Option<Uid>), ReadError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.changed, self.overlooked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use mailferry_imap::{FolderName, InternalDate, UidValidity};
    use mailferry_ledger::{Fingerprint, Mailbox, MailboxId};

    use super::*;

    const LAST: u32 = 1_200;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    /// Every message up to [`LAST`] is recorded as pending and without a flag.
    async fn recorded(dir: &std::path::Path) -> (Ledger, Folder) {
        let ledger = Ledger::open(dir).unwrap().ledger;
        let mut change = ledger.change();
        change.put_mailbox(Mailbox::new(MailboxId(1), "B", "t@contoso.edu", "t"));
        let folder = Folder {
            id: change.new_folder_id(),
            mailbox: MailboxId(1),
            source: FolderName::from_text("INBOX"),
            source_delimiter: None,
            target: FolderName::from_text("INBOX"),
            source_validity: UidValidity::new(1).unwrap(),
            target_validity: None,
            seen: None,
            target_uid_next: None,
            subscribed: false,
            held_deletions: 0,
            gone: false,
        };
        change.put_folder(folder.clone());
        for number in 1..=LAST {
            let message = Message {
                state: MessageState::Pending,
                size: 1,
                date: InternalDate::new(1, 0).unwrap(),
                flags: Flags::default(),
                print: Fingerprint([0; 16]),
            };
            change.put_message(folder.mailbox, folder.id, uid(number), message);
        }
        change.commit().await.unwrap();
        (ledger, folder)
    }

    #[tokio::test]
    async fn what_changed_is_found_in_any_order_and_what_finds_no_room_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, folder) = recorded(dir.path()).await;
        let seen: Flags = ["\\Seen"].into_iter().collect();
        let is_seen = |number: u32| number % 100 == 7;
        let compared = |order: &mut dyn Iterator<Item = u32>, most: usize| {
            let mut comparison = Comparison::new(&ledger, &folder, most);
            for number in order {
                let flags = if is_seen(number) { seen.clone() } else { Flags::default() };
                comparison.take(uid(number), flags);
            }
            let (changed, overlooked) = comparison.end().unwrap();
            let mut uids: Vec<u32> = changed.iter().map(|one| one.uid.value()).collect();
            uids.sort_unstable();
            (uids, overlooked.map(Uid::value))
        };
        let all: Vec<u32> = (1..=LAST).filter(|number| is_seen(*number)).collect();
        // With a message that is not recorded.
        assert_eq!(compared(&mut (1..=LAST + 1), 100), (all.clone(), None));
        assert_eq!(compared(&mut (1..=LAST).rev(), 100), (all.clone(), None));
        assert_eq!(compared(&mut (1..=LAST).step_by(2), 100), (all.clone(), None));
        assert_eq!(compared(&mut (1..=LAST), 5), (all[..5].to_vec(), Some(all[5])));
        assert_eq!(compared(&mut all.iter().copied(), 100), (all, None));
    }
}
