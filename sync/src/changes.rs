//! What changed at the source after it was copied: flags, and messages that are gone.

use std::collections::BTreeMap;

use mailferry_imap::net::{Selected, StoreKind};
use mailferry_imap::{Flags, SystemFlag, Uid, UidSet};
use mailferry_ledger::{Change, Folder, Message, MessageState};
use tracing::{info, warn};

use crate::error::SideError;
use crate::trouble::Trouble;
use crate::worker::{Deletions, MailboxWorker, PassReport};

/// How many copies are deleted, or records changed, at once.
const AT_ONCE: u32 = 2_000;

/// A mirrored message whose flags at the source are not those that were carried over last.
pub(crate) struct Reflagged {
    pub(crate) uid: Uid,
    /// As the ledger has it.
    pub(crate) message: Message,
    /// As the source has them.
    pub(crate) flags: Flags,
}

impl MailboxWorker {
    /// Carries changed flags over. Only what changed at the source is stored, so that a flag that the user changed on
    /// the target alone stays as it is. Keywords stay in the ledger: the target refuses them.
    pub(crate) async fn carry_flags(
        &mut self,
        folder: &Folder,
        changed: Vec<Reflagged>,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        if changed.is_empty() {
            return Ok(());
        }
        self.progress.say("carrying flags over");
        let carried = |one: &Reflagged| {
            let mirrored = matches!(one.message.state, MessageState::Mirrored { target_uid: Some(_) });
            mirrored && bits(&one.message.flags) != bits(&one.flags)
        };
        let mut changed = changed;
        if changed.iter().any(carried) {
            let Some((known, _)) = self.open_known(folder, report).await? else { return Ok(()) };
            if known.target_validity != folder.target_validity {
                changed = self.read_again(folder, changed)?;
            }
        }
        let mut add: BTreeMap<u8, UidSet> = BTreeMap::new();
        let mut remove: BTreeMap<u8, UidSet> = BTreeMap::new();
        for Reflagged { message, flags, .. } in &changed {
            let MessageState::Mirrored { target_uid: Some(target_uid) } = message.state else { continue };
            let (old, new) = (bits(&message.flags), bits(flags));
            for (kind, diff) in [(&mut add, new & !old), (&mut remove, old & !new)] {
                if diff != 0 {
                    kind.entry(diff).or_default().insert(target_uid);
                }
            }
        }
        if !add.is_empty() || !remove.is_empty() {
            let Some((known, selected)) = self.open_known(folder, report).await? else { return Ok(()) };
            if known.target_validity != Some(selected.uid_validity) {
                return Ok(()); // Nothing of ours is there.
            }
            let target = self.target().await?;
            for (kind, sets) in [(StoreKind::Add, add), (StoreKind::Remove, remove)] {
                for (diff, uids) in sets {
                    target.session.uid_store(&uids, kind, &flags_of(diff)).await.map_err(Trouble::target)?;
                }
            }
        }
        for chunk in changed.chunks(AT_ONCE as usize) {
            let mut change = self.context.ledger.change();
            for Reflagged { uid, message, flags } in chunk {
                if message.state == (MessageState::Mirrored { target_uid: None }) {
                    continue; // Not yet found there: its turn comes when it is.
                }
                let message = Message { flags: flags.clone(), ..message.clone() };
                change.put_message(folder.mailbox, folder.id, *uid, message);
                report.flagged += 1;
            }
            change.commit().await?;
        }
        Ok(())
    }

    /// `\Flagged` once more: Outlook shows it only when it was stored, not when it came with the APPEND.
    pub(crate) async fn flag_again(&mut self, folder: &Folder, flagged: &UidSet) -> Result<(), Trouble> {
        if flagged.is_empty() {
            return Ok(());
        }
        let target = self.target().await?;
        target.forget_selected();
        let Some(selected) = self.select_if_there(folder).await? else { return Ok(()) };
        if folder.target_validity != Some(selected.uid_validity) {
            return Ok(());
        }
        let target = self.target().await?;
        let flags = flags_of(SystemFlag::Flagged as u8);
        target.session.uid_store(flagged, StoreKind::Add, &flags).await.map_err(Trouble::target)
    }

    /// Carries deletions over: `vanished` are gone at the source. Deletes only copies that we made, and not more than the
    /// cap; what exceeds it is held, all of it, until an operator's word.
    pub(crate) async fn carry_deletions(
        &mut self,
        folder: &Folder,
        vanished: &UidSet,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        if vanished.is_empty() && folder.held_deletions == 0 {
            return Ok(());
        }
        // Or what is said of its copies is of yesterday.
        let known = self.open_known(folder, report).await?.map(|(known, _)| known);
        let folder = known.as_ref().unwrap_or(folder);
        let mut adopted = self.adopted(folder)?;
        for other in ledger.folders(self.mailbox)? {
            // Two folders of the source never share one of the target but while one takes the other's place.
            if other.id != folder.id && other.target == folder.target && !other.gone {
                adopted = adopted.union(&self.known_target_uids(&other)?);
            }
        }
        // What can be deleted by its UID and is ours to delete.
        let copy_of = |message: &Message| match message.state {
            MessageState::Mirrored { target_uid: Some(uid) } => {
                Some(uid).filter(|uid| !adopted.contains(*uid))
            }
            MessageState::Mirrored { target_uid: None }
            | MessageState::Pending
            | MessageState::Skipped(_)
            | MessageState::Gone => None,
        };
        let mut copies = 0;
        for uid in vanished.iter() {
            let message = ledger.message(folder.mailbox, folder.id, uid)?;
            copies += u64::from(message.as_ref().and_then(copy_of).is_some());
        }
        let mirrored = ledger.counts(folder.mailbox, folder.id)?.mirrored;
        let over = copies > self.context.deletions.of(mirrored);
        let held = match self.allowed {
            Deletions::Capped if over => copies,
            Deletions::Capped | Deletions::All => 0,
        };
        if held > 0 {
            warn!(held, "Deletions at the source exceed the cap and wait for an operator's word.");
        }
        report.held += held;
        let mut change = ledger.change();
        if u64::from(folder.held_deletions) != held {
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            change.update_folder(folder.mailbox, folder.id, move |folder| folder.held_deletions = held);
        }
        for part in vanished.parts(AT_ONCE) {
            let mut copies = Vec::new();
            for uid in part.iter() {
                let Some(message) = ledger.message(folder.mailbox, folder.id, uid)? else { continue };
                match (copy_of(&message), &message.state) {
                    (Some(target_uid), _) if held == 0 => copies.push((uid, message, target_uid)),
                    (Some(_), _) | (None, MessageState::Gone) => {}
                    (None, _) => {
                        let message = Message { state: MessageState::Gone, ..message };
                        change.put_message(folder.mailbox, folder.id, uid, message);
                    }
                }
            }
            let change = std::mem::replace(&mut change, ledger.change());
            self.delete_copies(folder, copies, change, report).await?;
        }
        if !change.is_empty() {
            change.commit().await?;
        }
        Ok(())
    }

    /// Deletes copies of ours: UID at the source, record, UID on the target. Commits `change`, with their outcome in it.
    pub(crate) async fn delete_copies(
        &mut self,
        folder: &Folder,
        copies: Vec<(Uid, Message, Uid)>,
        mut change: Change,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        if !copies.is_empty() {
            self.progress.say("carrying deletions over");
            let uids: UidSet = copies.iter().map(|(_, _, target_uid)| *target_uid).collect();
            let selected = self.select_if_there(folder).await?;
            let known = match selected {
                Some(selected) if folder.target_validity == Some(selected.uid_validity) => {
                    self.delete_uids(&uids).await?;
                    true
                }
                Some(_) => false,
                // Nothing is left to be deleted.
                None => true,
            };
            if known {
                for (uid, message, _) in copies {
                    let message = Message { state: MessageState::Gone, ..message };
                    change.put_message(folder.mailbox, folder.id, uid, message);
                    report.deleted += 1;
                }
            }
        }
        if !change.is_empty() {
            change.commit().await?;
        }
        Ok(())
    }

    /// Deletes these of the open folder.
    async fn delete_uids(&mut self, uids: &UidSet) -> Result<(), Trouble> {
        let target = self.target().await?;
        let deleted = flags_of(SystemFlag::Deleted as u8);
        target.session.uid_store(uids, StoreKind::Add, &deleted).await.map_err(Trouble::target)?;
        if target.session.capabilities().has("UIDPLUS") {
            target.session.uid_expunge(uids).await.map_err(Trouble::target)?;
        } else {
            info!("The target has no UIDPLUS: deleted messages are left there, marked \\Deleted.");
        }
        Ok(())
    }

    /// Opens a folder of the target; `None` if it is no longer there.
    pub(crate) async fn select_if_there(&mut self, folder: &Folder) -> Result<Option<Selected>, Trouble> {
        let target = self.target().await?;
        match target.select(&folder.target).await {
            Ok(selected) => Ok(Some(selected)),
            Err(Trouble::Target(SideError::Imap(error))) if !error.is_fatal() => {
                let listed = target.list().await?;
                match listed.iter().any(|listed| listed.name == folder.target) {
                    true => Err(Trouble::target(error)),
                    false => Ok(None),
                }
            }
            Err(trouble) => Err(trouble),
        }
    }
}

/// The system flags as bits.
pub(crate) fn bits(flags: &Flags) -> u8 {
    flags.system().fold(0, |bits, flag| bits | flag as u8)
}

fn flags_of(bits: u8) -> Flags {
    let mut flags = Flags::default();
    SystemFlag::ALL.into_iter().filter(|flag| bits & *flag as u8 != 0).for_each(|flag| flags.insert(flag));
    flags
}
