//! A folder that the source gave a new UIDVALIDITY: its messages are matched with what was known of the old UIDs.
//!
//! It may be interrupted anywhere and begin again: what is recorded under the new UIDs is never recorded anew.

use std::collections::BTreeMap;

use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Fingerprint, Folder, MessageState};
use tracing::info;

use crate::look::{self, Fact};
use crate::matching::{Candidate, pair};
use crate::print::{Known, Print};
use crate::reconcile::Whose;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

impl MailboxWorker {
    /// The source gave a folder a new UIDVALIDITY: its messages are matched with what was known about the old UIDs.
    pub(crate) async fn succeed(
        &mut self,
        old: &Folder,
        new: &Folder,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        info!("UIDVALIDITY changed at the source; matching.");
        let ledger = self.context.ledger.clone();
        // What was in doubt under the old UIDs is looked for by what is known of it; the rest is matched below.
        // Before UIDs are found again: what is in doubt was to come from a UID of then on.
        let doubtful_from = self.first_in_doubt(old)?;
        self.reconcile_gone(old, report).await?;
        let known = self.renumbered_before(old, new, report).await?;
        let doubtful_from = match known.target_validity == old.target_validity {
            true => doubtful_from,
            false => doubtful_from.map(|_| 1),
        };
        let old = &known;
        let source = self.source().await?;
        let selected = source.examine(&new.source).await?;
        let all = crate::sides::from_uid(1);
        let ours = match selected.exists {
            0 => Vec::new(),
            _ => look::candidates(&mut source.session, &all).await.map_err(Trouble::source)?,
        };
        let facts = match selected.exists {
            0 => Vec::new(),
            _ => look::facts(&mut source.session, &all).await.map_err(Trouble::source)?,
        };
        let known = Known::from(ours.iter().map(|candidate| candidate.print));
        let mut before = Vec::new();
        for message in ledger.messages(old.mailbox, old.id) {
            let (uid, message) = message?;
            match message.state {
                MessageState::Mirrored { .. } => {
                    let print = alone(known.today(message.print));
                    before.push(Candidate { uid, print, date: message.date, size: message.size });
                }
                MessageState::Pending | MessageState::Skipped(_) | MessageState::Gone => {}
            }
        }
        // The ledger keeps whole prints only: where ours has a Message-ID, an equal print has the same.
        let now: Vec<Candidate> = ours
            .iter()
            .map(|one| Candidate {
                print: one.print.id.map_or(one.print, |_| alone(one.print.whole)),
                ..*one
            })
            .collect();
        let mut pairs = pair(&now, &before);
        keep_moments(&mut pairs, &now, &before);
        let flags: BTreeMap<Uid, _> = facts.into_iter().map(|fact| (fact.uid, fact)).collect();
        for chunk in ours.chunks(2_000) {
            let mut change = ledger.change();
            for candidate in chunk {
                let Some(old_uid) = pairs.get(&candidate.uid) else { continue };
                if ledger.message(new.mailbox, new.id, candidate.uid)?.is_some() {
                    continue; // By a matching that was interrupted; perhaps more was done about it since.
                }
                let Some(mut message) = ledger.message(old.mailbox, old.id, *old_uid)? else { continue };
                if let Some(fact) = flags.get(&candidate.uid) {
                    message.size = fact.size;
                }
                change.put_message(new.mailbox, new.id, candidate.uid, message);
                report.matched += 1;
            }
            change.commit().await?;
        }
        // The rest is new: in INBOX it may be stragglers.
        let mut rest: Vec<Fact> = Vec::new();
        for candidate in ours.iter().filter(|candidate| !pairs.contains_key(&candidate.uid)) {
            if let Some(fact) = flags.get(&candidate.uid)
                && ledger.message(new.mailbox, new.id, candidate.uid)?.is_none()
            {
                rest.push(fact.clone());
            }
        }
        self.record_new(new, &rest, report).await?;
        if let Some(adopted) = ledger.fact(&format!("adopted/{}/{}", old.mailbox, old.id))? {
            let mut change = ledger.change();
            change.put_fact(&format!("adopted/{}/{}", new.mailbox, new.id), adopted);
            change.commit().await?;
        }
        if let Some(first) = doubtful_from {
            self.match_doubtful(old, new, first, report).await?;
        }
        // What has no partner was deleted together with the old UIDs.
        let kept: UidSet = pairs.values().copied().collect();
        let before: UidSet = before.iter().map(|candidate| candidate.uid).collect();
        let held = report.held;
        self.carry_deletions(old, &before.difference(&kept), report).await?;
        if report.held > held {
            return Ok(()); // What is known of them stays until an operator's word.
        }
        ledger.forget_folder(old.mailbox, old.id).await?;
        Ok(())
    }

    /// Where the target gave the folder another UIDVALIDITY, too, the copies are found again first: what is handed over are
    /// UIDs of today.
    async fn renumbered_before(
        &mut self,
        old: &Folder,
        new: &Folder,
        report: &mut PassReport,
    ) -> Result<Folder, Trouble> {
        let Some((known, _)) = self.open_known(old, report).await? else { return Ok(old.clone()) };
        let ledger = &self.context.ledger;
        if known.target_validity != old.target_validity && ledger.last_uid(new.mailbox, new.id)?.is_none() {
            let (validity, uid_next) = (known.target_validity, known.target_uid_next);
            let mut change = ledger.change();
            change.update_folder(new.mailbox, new.id, move |folder| {
                folder.target_validity = validity;
                folder.target_uid_next = uid_next;
            });
            change.commit().await?;
        }
        Ok(known)
    }

    /// What was in doubt under the old UIDs may be a copy of what is pending under the new ones.
    async fn match_doubtful(
        &mut self,
        old: &Folder,
        new: &Folder,
        first: u32,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let pending = self.pending(new)?;
        let known = self.known_target_uids(old)?.union(&self.known_target_uids(new)?);
        if pending.is_empty() {
            return Ok(());
        }
        let there = self.new_on_target(new, first, &known).await?;
        if !there.is_empty() {
            self.match_up(new, &pending, &there, Whose::Ours, report).await?;
        }
        Ok(())
    }
}

/// Where most messages have their INTERNALDATE still, those with another one are others, however much they look alike.
fn keep_moments(pairs: &mut BTreeMap<Uid, Uid>, now: &[Candidate], before: &[Candidate]) {
    let moment = |side: &[Candidate], uid: Uid| {
        let at = side.binary_search_by_key(&uid, |candidate| candidate.uid).ok()?;
        side.get(at).map(|candidate| candidate.date.unix())
    };
    let same = |(new, old): (&Uid, &Uid)| moment(now, *new) == moment(before, *old);
    if pairs.iter().filter(|pair| same((pair.0, pair.1))).count() * 2 >= pairs.len() {
        pairs.retain(|new, old| same((new, old)));
    }
}

/// A print that is known as a whole only, in a form in which it is evidence by itself.
pub(crate) fn alone(whole: Fingerprint) -> Print {
    Print { id: Some(whole), ..Print::recorded(whole) }
}
