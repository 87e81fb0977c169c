//! Exactly once: what became of messages whose fate is unknown, and whose copies those on the target are.
//!
//! Nothing is sent again before the target was looked at, and looked at again after it was quiet for a while: a
//! server may still be working on what a dead connection left in its buffers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mailferry_imap::{Flags, SystemFlag, Uid, UidSet, UidValidity};
use mailferry_ledger::{Fingerprint, Folder, Intent, MailboxId, Message, MessageState};
use tokio::time::sleep;
use tracing::{debug, info};

use crate::changes::{Reflagged, bits};
use crate::look;
use crate::matching::{Candidate, pair};
use crate::print::{Known, Print};
use crate::sides::from_uid;
use crate::transfer::moving_name;
use crate::trouble::Trouble;
use crate::walk::undisturbed;
use crate::worker::{MailboxWorker, PassReport};

impl MailboxWorker {
    /// Settles every intent of a folder: stored, or certainly not.
    pub(crate) async fn reconcile(
        &mut self,
        folder: &Folder,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        self.settle_intents(folder, Originals::AtSource, report).await
    }

    /// The same for a folder that the source no longer has, or not under this UIDVALIDITY.
    pub(crate) async fn reconcile_gone(
        &mut self,
        folder: &Folder,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        self.settle_intents(folder, Originals::Gone, report).await
    }

    /// Above which UID copies in doubt of a folder may lie; `None` if nothing is in doubt.
    pub(crate) fn first_in_doubt(&self, folder: &Folder) -> Result<Option<u32>, Trouble> {
        let mut first = None;
        for intent in self.context.ledger.intents(folder.mailbox, folder.id) {
            let (_, intent) = intent?;
            first = Some(first.unwrap_or(u32::MAX).min(intent.target_uid_next));
        }
        Ok(first)
    }

    async fn settle_intents(
        &mut self,
        folder: &Folder,
        originals: Originals,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let mut intents: BTreeMap<Uid, Intent> = BTreeMap::new();
        for intent in ledger.intents(folder.mailbox, folder.id) {
            let (uid, intent) = intent?;
            intents.insert(uid, intent);
        }
        let Some(first) = intents.values().map(|intent| intent.target_uid_next).min() else { return Ok(()) };
        self.progress.say("finding out what became of messages in doubt");
        let doubtful: UidSet = intents.keys().copied().collect();
        let ours = match originals {
            Originals::AtSource => {
                let source = self.source().await?;
                source.be_in(folder).await?;
                look::candidates(&mut source.session, &doubtful).await.map_err(Trouble::source)?
            }
            Originals::Gone => Vec::new(),
        };
        // What is gone at the source meanwhile can only be known by date and size.
        let vanished: Vec<(Uid, &Intent)> = intents
            .iter()
            .filter(|(uid, _)| ours.binary_search_by_key(uid, |candidate| &candidate.uid).is_err())
            .map(|(uid, intent)| (*uid, intent))
            .collect();
        let known = self.known_target_uids(folder)?;

        let mut stamp = self.stamp(folder).await?;
        let mut looked = self.new_on_target(folder, first, &known).await?;
        let mut pairs = pair(&ours, &looked);
        let mut quiet_since = Instant::now();
        while pairs.len() < intents.len() && quiet_since.elapsed() < self.context.patience.settle {
            sleep(self.context.patience.settle / 6).await;
            let again = self.stamp(folder).await?;
            if again != stamp {
                stamp = again;
                quiet_since = Instant::now();
                looked = self.new_on_target(folder, first, &known).await?;
                pairs = pair(&ours, &looked);
            }
        }
        let mut used: BTreeSet<Uid> = pairs.values().copied().collect();
        for (uid, intent) in vanished {
            // Of a copy of a copy the print is known as well, and of one that the target said it stored.
            let record = ledger.message(folder.mailbox, folder.id, uid)?.map(|message| message.print);
            let prints = [Some(intent.print), record].map(|print| print.filter(|print| print.0 != [0; 16]));
            let print = |one: &Candidate| prints.iter().flatten().all(|print| one.print.is(*print));
            // A target that writes messages anew gives another size: then only what has a known print can be told.
            let has_print = prints.iter().flatten().next().is_some();
            let alike = |one: &&Candidate| {
                let size = one.size == intent.size || has_print;
                size && one.date.unix() == intent.date.unix() && print(one)
            };
            let free = looked.iter().filter(|one| !used.contains(&one.uid)).find(alike);
            if let Some(found) = free {
                used.insert(found.uid);
                pairs.entry(uid).or_insert(found.uid);
            }
        }
        info!(in_doubt = intents.len(), stored = pairs.len(), "Messages in doubt settled.");
        let print_in = |side: &[Candidate], uid: Uid| {
            let at = side.binary_search_by_key(&uid, |candidate| candidate.uid).ok()?;
            side.get(at).map(|candidate| candidate.print.whole)
        };
        // Twins may have been taken for each other: what is there may have the other one's flags.
        let mut mistaken = UidSet::new();
        if originals == Originals::AtSource {
            twins(&intents).iter().filter_map(|uid| pairs.get(uid)).for_each(|uid| mistaken.insert(*uid));
        }
        let theirs = match mistaken.is_empty() {
            true => BTreeMap::new(),
            false => self.flags_on_target(folder, &mistaken).await?,
        };
        let mut reflagged = Vec::new();
        let mut flagged = UidSet::new();
        let moving = self.moving(folder)?;
        let mut moved = Vec::new();
        let mut change = ledger.change();
        for uid in intents.keys() {
            match (pairs.get(uid), ledger.message(folder.mailbox, folder.id, *uid)?) {
                (Some(target_uid), Some(mut message)) => {
                    if let Some(theirs) = theirs.get(target_uid)
                        && bits(theirs) != bits(&message.flags)
                    {
                        let flags = std::mem::replace(&mut message.flags, theirs.clone());
                        reflagged.push((*uid, flags));
                    }
                    let print = print_in(&ours, *uid).or_else(|| print_in(&looked, *target_uid));
                    if message.flags.contains(SystemFlag::Flagged) && !moving.contains_key(uid) {
                        flagged.insert(*target_uid);
                    }
                    let message = Message {
                        state: MessageState::Mirrored { target_uid: Some(*target_uid) },
                        print: print.unwrap_or(message.print),
                        ..message
                    };
                    change.settle(folder.mailbox, folder.id, *uid, message);
                    report.matched += 1;
                    moved.extend(moving.get(uid).cloned());
                }
                _ => change.remove_intent(folder.mailbox, folder.id, *uid),
            }
        }
        if !moving.is_empty() {
            change.remove_fact(&moving_name(folder));
        }
        change.commit().await?;
        let mut mended = Vec::new();
        for (uid, flags) in reflagged {
            if let Some(message) = ledger.message(folder.mailbox, folder.id, uid)? {
                mended.push(Reflagged { uid, message, flags });
            }
        }
        self.carry_flags(folder, mended, report).await?;
        self.flag_again(folder, &flagged).await?;
        self.finish_moving(folder, moved, report).await
    }

    /// The flags of these on the target.
    async fn flags_on_target(
        &mut self,
        folder: &Folder,
        uids: &UidSet,
    ) -> Result<BTreeMap<Uid, Flags>, Trouble> {
        let target = self.target().await?;
        target.select(&folder.target).await?;
        let flags = look::flags(&mut target.session, uids).await.map_err(Trouble::target)?;
        Ok(flags.into_iter().collect())
    }

    /// Matches a whole folder of the target with what the ledger has as pending, so that nothing that is there already
    /// is copied. With `lost` UIDs (another UIDVALIDITY) also what the ledger has as mirrored: what is not found is
    /// pending again.
    pub(crate) async fn adopt(
        &mut self,
        folder: &Folder,
        kind: Adoption,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        self.progress.say("matching what the target already has");
        let ledger = self.context.ledger.clone();
        let mut wanted = UidSet::new();
        for message in ledger.messages(folder.mailbox, folder.id) {
            let (uid, message) = message?;
            match message.state {
                // What is mirrored before we ever wrote there was found by a matching that was interrupted.
                MessageState::Pending | MessageState::Mirrored { .. } => wanted.insert(uid),
                MessageState::Skipped(_) | MessageState::Gone => {}
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let there = self.new_on_target(folder, 1, &UidSet::new()).await?;
        if there.is_empty() && kind == Adoption::Filled {
            return Ok(());
        }
        match kind {
            Adoption::Filled => self.match_up(folder, &wanted, &there, Whose::Adopted, report).await,
            Adoption::OtherValidity => {
                let adopting = self.note_adopting(folder).await?;
                self.match_up(folder, &wanted, &there, Whose::Ours, report).await?;
                self.settle_adopting(folder, &adopting).await
            }
        }
    }

    /// Matches these messages of the source with those on the target: what has no partner is pending. Flags are brought in
    /// line: nobody knows what a copy was given when it was made.
    pub(crate) async fn match_up(
        &mut self,
        folder: &Folder,
        wanted: &UidSet,
        there: &[Candidate],
        whose: Whose,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let originals = self.originals(folder, wanted).await?;
        let ours = &originals.there;
        let pairs = originals.pair(there);
        debug!(there = there.len(), matched = pairs.len(), "Folder matched.");
        let prints: BTreeMap<Uid, Fingerprint> =
            ours.iter().map(|candidate| (candidate.uid, candidate.print.whole)).collect();
        let partners: UidSet = pairs.values().copied().collect();
        let flags = match partners.is_empty() {
            true => BTreeMap::new(),
            false => self.flags_on_target(folder, &partners).await?,
        };
        if whose == Whose::Adopted {
            // Before they count as copies: from then on they might be taken for ours.
            self.note_adopted(folder, &partners).await?;
        }
        let mut reflagged = Vec::new();
        let uids: Vec<Uid> = wanted.iter().collect();
        for chunk in uids.chunks(2_000) {
            let mut change = ledger.change();
            for uid in chunk {
                let Some(mut message) = ledger.message(folder.mailbox, folder.id, *uid)? else { continue };
                message.print = prints.get(uid).copied().unwrap_or(message.print);
                message.state = originals.unpaired(*uid);
                if let Some(target_uid) = pairs.get(uid) {
                    report.matched += 1;
                    message.state = MessageState::Mirrored { target_uid: Some(*target_uid) };
                    let wanted = message.flags.clone();
                    if let Some(theirs) = flags.get(target_uid)
                        && bits(theirs) != bits(&wanted)
                    {
                        message.flags = theirs.clone();
                        reflagged.push(Reflagged { uid: *uid, message: message.clone(), flags: wanted });
                    }
                }
                change.put_message(folder.mailbox, folder.id, *uid, message);
            }
            change.commit().await?;
        }
        self.carry_flags(folder, reflagged, report).await
    }

    /// Finds the target UIDs of copies that the target did not tell when it stored them. Until then their intents stand:
    /// what is not found now is looked for as what is in doubt.
    pub(crate) async fn find_uids(&mut self, folder: &Folder, from: u32) -> Result<UidSet, Trouble> {
        let ledger = self.context.ledger.clone();
        let mut nameless = Vec::new();
        for intent in ledger.intents(folder.mailbox, folder.id) {
            let (uid, _) = intent?;
            let Some(message) = ledger.message(folder.mailbox, folder.id, uid)? else { continue };
            if message.state == (MessageState::Mirrored { target_uid: None }) {
                nameless.push((uid, message));
            }
        }
        if nameless.is_empty() {
            return Ok(UidSet::new());
        }
        let known = self.known_target_uids(folder)?;
        let there = self.new_on_target(folder, from, &known).await?;
        let known = Known::from(there.iter().map(|candidate| candidate.print));
        let ours: Vec<Candidate> = nameless
            .iter()
            .map(|(uid, message)| Candidate {
                uid: *uid,
                print: Print::recorded(known.today(message.print)),
                date: message.date,
                size: message.size,
            })
            .collect();
        let pairs = pair(&ours, &there);
        let mut flagged = UidSet::new();
        let mut change = ledger.change();
        for (uid, mut message) in nameless {
            let Some(target_uid) = pairs.get(&uid) else { continue };
            if message.flags.contains(SystemFlag::Flagged) {
                flagged.insert(*target_uid);
            }
            message.state = MessageState::Mirrored { target_uid: Some(*target_uid) };
            change.settle(folder.mailbox, folder.id, uid, message);
        }
        if !change.is_empty() {
            change.commit().await?;
        }
        Ok(flagged)
    }

    /// What moves when something arrives in the target folder.
    async fn stamp(&mut self, folder: &Folder) -> Result<(UidValidity, Option<Uid>, u32), Trouble> {
        let selected = self.target().await?.select_anew(&folder.target).await?;
        Ok((selected.uid_validity, selected.uid_next, selected.exists))
    }

    /// Messages of the target folder from this UID on that the ledger does not know as copies.
    pub(crate) async fn new_on_target(
        &mut self,
        folder: &Folder,
        first: u32,
        known: &UidSet,
    ) -> Result<Vec<Candidate>, Trouble> {
        let target = self.target().await?;
        let selected = target.select_anew(&folder.target).await?;
        if selected.exists == 0 {
            return Ok(Vec::new());
        }
        // A folder with another UIDVALIDITY counts its UIDs anew.
        let first = if folder.target_validity == Some(selected.uid_validity) { first } else { 1 };
        let all = from_uid(first);
        let mut found = look::candidates(&mut target.session, &all).await.map_err(Trouble::target)?;
        found.retain(|candidate| !known.contains(candidate.uid));
        Ok(found)
    }

    /// The target UIDs that the ledger has for a folder.
    pub(crate) fn known_target_uids(&self, folder: &Folder) -> Result<UidSet, Trouble> {
        undisturbed(|| {
            let mut known = Vec::new();
            for message in self.context.ledger.messages(folder.mailbox, folder.id) {
                let (_, message) = message?;
                if let MessageState::Mirrored { target_uid: Some(uid) } = message.state {
                    known.push(uid);
                }
            }
            known.sort_unstable();
            Ok(known.into_iter().collect())
        })
    }

    /// Target UIDs of messages that were there before we came: they are not ours to delete.
    pub(crate) fn adopted(&self, folder: &Folder) -> Result<UidSet, Trouble> {
        let fact = self.context.ledger.fact(&adopted_name(folder))?;
        Ok(fact.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
    }

    async fn note_adopted(&mut self, folder: &Folder, uids: &UidSet) -> Result<(), Trouble> {
        if uids.is_empty() {
            return Ok(());
        }
        let all = self.adopted(folder)?.union(uids);
        let mut change = self.context.ledger.change();
        change.put_fact(&adopted_name(folder), serde_json::to_string(&all).unwrap_or_default());
        change.commit().await?;
        Ok(())
    }
}

/// Messages in doubt that another one in doubt may be taken for.
fn twins(intents: &BTreeMap<Uid, Intent>) -> Vec<Uid> {
    let mut alike: BTreeMap<(i64, u64), Vec<Uid>> = BTreeMap::new();
    for (uid, intent) in intents {
        alike.entry((intent.date.unix(), intent.size)).or_default().push(*uid);
    }
    alike.into_values().filter(|uids| uids.len() > 1).flatten().collect()
}

pub(crate) fn adopted_name(folder: &Folder) -> String {
    format!("{}{}", adopted_names(folder.mailbox), folder.id)
}

/// What the names of a mailbox's facts about adopted messages begin with.
pub(crate) fn adopted_names(mailbox: MailboxId) -> String {
    format!("adopted/{mailbox}/")
}

/// Where the originals of messages in doubt are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Originals {
    /// They can be asked for.
    AtSource,
    /// They cannot: all that is known is in the ledger.
    Gone,
}

/// Whose the copies are that are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    /// We made them.
    Ours,
    /// They were there before we came.
    Adopted,
}

/// Why a whole folder is matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Adoption {
    /// The target held something before we first wrote there, or the ledger was lost.
    Filled,
    /// The target folder has another UIDVALIDITY.
    OtherValidity,
}
