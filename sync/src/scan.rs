//! One source folder compared with the ledger: what is new, what changed, what is gone.

use std::collections::BTreeMap;

use mailferry_imap::net::Selected;
use mailferry_imap::response::FolderStatus;
use mailferry_imap::{Flags, Uid, UidSet};
use mailferry_ledger::{Fingerprint, Folder, Message, MessageState, SkipReason, SourceMark};

use tracing::info;

use crate::changes::Reflagged;
use crate::look::{self, Fact};
use crate::sides::from_uid;
use crate::stragglers::{Arrival, Lookout, MOST as TRACED};
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, Pass, PassReport};

/// How many records go into one change.
const RECORDS: usize = 4_000;

/// What a scan found besides what it wrote down.
#[derive(Default)]
pub(crate) struct Scanned {
    /// The folder as it was when the scan began: the mark of the pass, once it is finished.
    pub(crate) mark: Option<SourceMark>,
    /// New messages, recorded as pending or skipped.
    pub(crate) new: UidSet,
}

/// What is new in a folder.
pub(crate) struct Arrivals {
    selected: Selected,
    /// The last UID that was known before.
    last: u32,
    new: UidSet,
}

/// Whether a folder is as its last finished pass left it. Only a source that keeps mod-sequences can say so: without
/// them changed flags do not show.
/// `recorded` is what the ledger counts at the source.
pub(crate) fn is_unmoved(folder: &Folder, status: &FolderStatus, recorded: u64) -> bool {
    let Some(seen) = folder.seen else { return false };
    seen.highest_modseq.is_some()
        && seen.highest_modseq == status.highest_modseq
        && seen.uid_next.is_some()
        && seen.uid_next == status.uid_next.map(Uid::value)
        && Some(seen.messages) == status.messages
        && u64::from(seen.messages) == recorded
        && status.uid_validity == Some(folder.source_validity)
        && folder.held_deletions == 0
}

/// Whether it is where mail is delivered; below a `UserRoot` the source calls it otherwise.
pub(crate) fn is_inbox(folder: &Folder) -> bool {
    folder.source.is_inbox() || folder.target.is_inbox()
}

impl MailboxWorker {
    /// Reads a folder's facts, records what is new, and carries changed flags and deletions over.
    pub(crate) async fn scan(
        &mut self,
        folder: &Folder,
        pass: Pass,
        report: &mut PassReport,
    ) -> Result<Scanned, Trouble> {
        let ledger = self.context.ledger.clone();
        let Some(Arrivals { selected, last, new }) = self.record_arrivals(folder, report).await? else {
            return Ok(Scanned::default()); // It moved between STATUS and now: the next pass begins with that.
        };
        let mut scanned = Scanned { mark: Some(mark_of(&selected)), new };
        // Before anything is concluded from what changed: of a folder that was renamed nobody could do it before.
        self.reconcile(folder, report).await?;
        self.source().await?.be_in(folder).await?;
        if last == 0 {
            return Ok(scanned);
        }

        // What is gone.
        let at_source = ledger.counts(folder.mailbox, folder.id)?.at_source();
        if at_source != u64::from(selected.exists) || pass == Pass::Full {
            let source = self.source().await?;
            let there = match selected.exists {
                0 => UidSet::new(),
                _ => source.session.uid_search("ALL").await.map_err(Trouble::source)?,
            };
            let mut vanished = UidSet::new();
            let mut recorded = Vec::new();
            let mut unreadable = Vec::new();
            for message in ledger.messages(folder.mailbox, folder.id) {
                let (uid, message) = message?;
                recorded.push(uid);
                if message.state != MessageState::Gone && !there.contains(uid) {
                    vanished.insert(uid);
                } else if matches!(message.state, MessageState::Skipped(SkipReason::Unreadable(_))) {
                    unreadable.push((uid, message));
                }
            }
            // Perhaps the source gives them today.
            let mut again = ledger.change();
            for (uid, message) in unreadable {
                let message = Message { state: MessageState::Pending, ..message };
                again.put_message(folder.mailbox, folder.id, uid, message);
            }
            if !again.is_empty() {
                again.commit().await?;
            }
            // Whatever kept a message from being recorded when it was new: it is counted, or the numbers never add up.
            let missed = there.difference(&recorded.into_iter().collect());
            if !missed.is_empty() {
                info!(missed = missed.len(), "Messages found that no scan recorded.");
                let source = self.source().await?;
                let facts = look::facts(&mut source.session, &missed).await.map_err(Trouble::source)?;
                self.record_new(folder, &facts, report).await?;
                scanned.new.extend(facts.iter().map(|fact| fact.uid));
            }
            // What was moved elsewhere is not deleted: its copy goes there as well.
            self.hints.gather(&self.context.spool, self.mailbox);
            let moved = self.hints.originals(&folder.source, folder.source_validity).intersection(&vanished);
            if !moved.is_empty() {
                self.hints.put_back([folder.source.clone()]);
            }
            self.carry_deletions(folder, &vanished.difference(&moved), report).await?;
        }

        // What changed.
        let since = folder.seen.and_then(|seen| seen.highest_modseq);
        let since = since.filter(|_| selected.highest_modseq.is_some() && pass == Pass::Incremental);
        if since.is_none() || since != selected.highest_modseq {
            let mut known = UidSet::new();
            if let (Some(first), Some(last)) = (Uid::new(1), Uid::new(last)) {
                known.insert_range(first, last);
            }
            let since = since.map(|since| since.0);
            let source = self.source().await?;
            let flags = match selected.exists {
                0 => Vec::new(),
                _ => look::flags(&mut source.session, &known, since).await.map_err(Trouble::source)?,
            };
            let changed = self.changed_flags(folder, &flags)?;
            let mut pending = ledger.change();
            let mut reflagged = Vec::new();
            for change in changed {
                match change.message.state {
                    MessageState::Mirrored { .. } => reflagged.push(change),
                    MessageState::Pending | MessageState::Skipped(_) => {
                        let message = Message { flags: change.flags, ..change.message };
                        pending.put_message(folder.mailbox, folder.id, change.uid, message);
                    }
                    MessageState::Gone => {}
                }
            }
            if !pending.is_empty() {
                pending.commit().await?;
            }
            self.carry_flags(folder, reflagged, report).await?;
        }
        Ok(scanned)
    }

    /// Opens a folder and records what is new in it as pending or skipped; `None` when it has another UIDVALIDITY.
    pub(crate) async fn record_arrivals(
        &mut self,
        folder: &Folder,
        report: &mut PassReport,
    ) -> Result<Option<Arrivals>, Trouble> {
        let source = self.source().await?;
        let selected = source.examine(&folder.source).await?;
        if selected.uid_validity != folder.source_validity {
            return Ok(None);
        }
        let last = self.context.ledger.last_uid(folder.mailbox, folder.id)?.map_or(0, Uid::value);
        let next = last.saturating_add(1);
        let mut new = UidSet::new();
        if selected.exists > 0 && selected.uid_next.is_none_or(|uid_next| uid_next.value() > next) {
            let source = self.source().await?;
            let mut facts =
                look::facts(&mut source.session, &from_uid(next)).await.map_err(Trouble::source)?;
            facts.retain(|fact| fact.uid.value() >= next);
            self.record_new(folder, &facts, report).await?;
            new.extend(facts.iter().map(|fact| fact.uid));
        }
        Ok(Some(Arrivals { selected, last, new }))
    }

    /// Records messages as what they are to the account, and as stragglers where they are.
    pub(crate) async fn record_new(
        &mut self,
        folder: &Folder,
        facts: &[Fact],
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let limit = self.context.limits.max_message_bytes;
        let mut too_large = UidSet::new();
        let lookout = match ledger.mailbox(folder.mailbox)? {
            Some(mailbox) if is_inbox(folder) => Lookout::of(&ledger, &mailbox, folder)?,
            _ => None,
        };
        for chunk in facts.chunks(RECORDS) {
            let stragglers = match &lookout {
                Some(lookout) => self.stragglers(folder, lookout, chunk).await?,
                None => Vec::new(),
            };
            let mut change = ledger.change();
            if let Some(lookout) = &lookout {
                let others = chunk.len() - stragglers.len();
                lookout.note(&ledger, &mut change, &stragglers, others)?;
            }
            for fact in chunk {
                let state = if fact.size > limit {
                    too_large.insert(fact.uid);
                    MessageState::Skipped(SkipReason::TooLarge)
                } else {
                    MessageState::Pending
                };
                let print = Fingerprint([0; 16]);
                let message =
                    Message { state, size: fact.size, date: fact.date, flags: fact.flags.clone(), print };
                change.put_message(folder.mailbox, folder.id, fact.uid, message);
            }
            change.commit().await?;
        }
        report.skipped += too_large.len();
        if is_inbox(folder) && folder.seen.is_some() {
            report.inbox_arrivals += facts.len() as u64;
        }
        self.note_skipped_facts(folder, &too_large).await
    }

    /// Which of these are stragglers, with their Received lines; beyond [`TRACED`] without.
    async fn stragglers(
        &mut self,
        folder: &Folder,
        lookout: &Lookout,
        facts: &[Fact],
    ) -> Result<Vec<(Arrival, Option<Vec<u8>>)>, Trouble> {
        let arrivals: Vec<Arrival> = facts
            .iter()
            .filter_map(|fact| lookout.judge(folder.source_validity, fact.uid, fact.date))
            .collect();
        let mut traced = UidSet::new();
        // The latest are those that are kept.
        arrivals.iter().rev().take(TRACED).for_each(|arrival| {
            traced.insert(arrival.uid);
        });
        let mut lines = BTreeMap::new();
        if !traced.is_empty() {
            let source = self.source().await?;
            source.be_in(folder).await?;
            let read = look::received(&mut source.session, &traced, |uid, header| {
                lines.insert(uid, header.to_vec());
            });
            read.await.map_err(Trouble::source)?;
        }
        let with_lines = |arrival: Arrival| {
            let lines = lines.remove(&arrival.uid);
            (arrival, lines)
        };
        Ok(arrivals.into_iter().map(with_lines).collect())
    }

    /// Notes what people recognise skipped messages by.
    pub(crate) async fn note_skipped_facts(&mut self, folder: &Folder, uids: &UidSet) -> Result<(), Trouble> {
        if uids.is_empty() {
            return Ok(());
        }
        let source = self.source().await?;
        source.be_in(folder).await?;
        let mut found = BTreeMap::new();
        let noted = look::headers(&mut source.session, uids, |uid, header| {
            found.insert(uid, crate::skipped::facts_of(header));
        });
        noted.await.map_err(Trouble::source)?;
        let mut change = self.context.ledger.change();
        for (uid, facts) in found {
            change.put_skipped_facts(folder.mailbox, folder.id, uid, facts);
        }
        change.commit().await?;
        Ok(())
    }

    /// Which of these flags are not those that the ledger has. Both ascending: one walk over both.
    fn changed_flags(&self, folder: &Folder, flags: &[(Uid, Flags)]) -> Result<Vec<Reflagged>, Trouble> {
        let ledger = &self.context.ledger;
        let mut changed = Vec::new();
        let few = flags.len() < 200;
        if few {
            for (uid, flags) in flags {
                if let Some(message) = ledger.message(folder.mailbox, folder.id, *uid)?
                    && message.flags != *flags
                {
                    changed.push(Reflagged { uid: *uid, message, flags: flags.clone() });
                }
            }
            return Ok(changed);
        }
        let mut found = flags.iter().peekable();
        for message in ledger.messages(folder.mailbox, folder.id) {
            let (uid, message) = message?;
            while found.next_if(|(other, _)| *other < uid).is_some() {}
            if let Some((_, flags)) = found.next_if(|(other, _)| *other == uid)
                && message.flags != *flags
            {
                changed.push(Reflagged { uid, message, flags: flags.clone() });
            }
        }
        Ok(changed)
    }
}

fn mark_of(selected: &Selected) -> SourceMark {
    SourceMark {
        uid_next: selected.uid_next.map(Uid::value),
        messages: selected.exists,
        highest_modseq: selected.highest_modseq,
    }
}
