//! The item limit applied: the newest of the whole mailbox go, known before the first of them is copied.

use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, Message, MessageState, ReadError, SkipReason};

use crate::limits::{self, Cut, Newness};
use crate::trouble::Trouble;
use crate::walk::undisturbed;
use crate::worker::{MailboxWorker, PassReport};

/// How many records go into one change.
const AT_ONCE: u64 = 2_000;

impl MailboxWorker {
    /// Puts aside what is beyond the limit, and takes in what has a place by now.
    pub(crate) async fn apply_item_limit(
        &mut self,
        folders: &[&Folder],
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let counts = ledger.mailbox_counts(self.mailbox)?;
        let limit = self.context.limits.max_items;
        if counts.mirrored + counts.pending <= limit {
            // Places that became free since go to the newest of those that had none.
            let mut skipped = ledger.skipped(self.mailbox).map_while(Result::ok);
            let room = counts.skipped > 0 && counts.mirrored + counts.pending < limit;
            if !room || !skipped.any(|skipped| is_over_limit(&skipped.message.state)) {
                return Ok(());
            }
        }
        let newness = |folder: &Folder, (uid, message): &(Uid, Message)| {
            let waits = message.state == MessageState::Pending || is_over_limit(&message.state);
            waits.then(|| Newness::of(message.date, folder.id, *uid))
        };
        let walk = |on: &mut dyn FnMut(Newness)| {
            for folder in folders {
                for message in ledger.messages(self.mailbox, folder.id) {
                    newness(folder, &message?).into_iter().for_each(&mut *on);
                }
            }
            Ok::<(), ReadError>(())
        };
        let cut: Cut = undisturbed(|| limits::cut(limit.saturating_sub(counts.mirrored), walk))?;
        for folder in folders {
            let mut moving = Moving::default();
            for entry in ledger.messages(self.mailbox, folder.id) {
                let entry = entry?;
                let Some(newness) = newness(folder, &entry) else { continue };
                let (uid, message) = entry;
                match (cut.lets_go(newness), &message.state) {
                    (true, MessageState::Pending) => {}
                    (true, _) => moving.back.push((uid, message)),
                    (false, MessageState::Pending) => moving.aside.push((uid, message)),
                    (false, _) => {}
                }
                if moving.len() >= AT_ONCE {
                    self.move_over_limit(folder, std::mem::take(&mut moving), report).await?;
                }
            }
            self.move_over_limit(folder, moving, report).await?;
        }
        Ok(())
    }

    async fn move_over_limit(
        &mut self,
        folder: &Folder,
        moving: Moving,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let mut change = self.context.ledger.change();
        let aside: UidSet = moving.aside.iter().map(|(uid, _)| *uid).collect();
        for (list, state) in [
            (moving.back, MessageState::Pending),
            (moving.aside, MessageState::Skipped(SkipReason::ItemLimit)),
        ] {
            for (uid, message) in list {
                let message = Message { state: state.clone(), ..message };
                change.put_message(self.mailbox, folder.id, uid, message);
            }
        }
        if !change.is_empty() {
            change.commit().await?;
        }
        report.skipped += aside.len();
        self.note_skipped_facts(folder, &aside).await
    }
}

/// Messages that change their state, by UID.
#[derive(Default)]
struct Moving {
    /// They are pending again.
    back: Vec<(Uid, Message)>,
    /// They are skipped.
    aside: Vec<(Uid, Message)>,
}

impl Moving {
    fn len(&self) -> u64 {
        (self.back.len() + self.aside.len()) as u64
    }
}

fn is_over_limit(state: &MessageState) -> bool {
    *state == MessageState::Skipped(SkipReason::ItemLimit)
}
