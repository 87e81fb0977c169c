//! One source folder compared with the ledger: what is new, what changed, what is gone.

use std::collections::BTreeMap;

use mailferry_imap::net::Selected;
use mailferry_imap::response::FolderStatus;
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Fingerprint, Folder, Message, MessageState, SkipReason, SourceMark};

use tracing::{info, warn};

use crate::look::{self, Fact};
use crate::sides::from_uid;
use crate::stragglers::{Arrival, Lookout, MOST as TRACED};
use crate::trouble::Trouble;
use crate::walk::undisturbed;
use crate::worker::{MailboxWorker, Pass, PassReport};

/// How many messages are read at once, and how many records go into one change.
const PAGE: u32 = 4_000;

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
    /// Whether UIDs that were given to other messages before are given a second time.
    set_back: bool,
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
        let Some(Arrivals { selected, last, new, set_back }) = self.record_arrivals(folder, report).await?
        else {
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
        if at_source != u64::from(selected.exists) || pass == Pass::Full || set_back {
            let source = self.source().await?;
            let there = match selected.exists {
                0 => UidSet::new(),
                _ => source.session.uid_search("ALL").await.map_err(Trouble::source)?,
            };
            let mut vanished = UidSet::new();
            let mut back = UidSet::new();
            let mut unreadable = Vec::new();
            undisturbed(|| {
                for message in ledger.messages(folder.mailbox, folder.id) {
                    let (uid, message) = message?;
                    let is_there = there.contains(uid);
                    if message.state == MessageState::Gone && is_there {
                        back.insert(uid);
                    } else if message.state != MessageState::Gone && !is_there {
                        vanished.insert(uid);
                    } else if matches!(message.state, MessageState::Skipped(SkipReason::Unreadable(_))) {
                        unreadable.push((uid, message));
                    }
                }
                Ok::<(), Trouble>(())
            })?;
            if set_back || !back.is_empty() {
                vanished = vanished.union(&self.others(folder, &selected).await?);
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
            // What was moved elsewhere is not deleted: its copy goes there as well.
            self.hints.gather(&self.context.spool, self.mailbox);
            let moved = self.hints.originals(&folder.source, folder.source_validity).intersection(&vanished);
            if !moved.is_empty() {
                self.hints.put_back([folder.source.clone()]);
            }
            self.carry_deletions(folder, &vanished.difference(&moved), report).await?;
            let unrecorded = self.unrecorded(folder, there)?;
            if !unrecorded.is_empty() {
                info!(
                    messages = unrecorded.len(),
                    "Messages found that no scan recorded, or that were gone."
                );
                for page in unrecorded.parts(PAGE) {
                    let facts = self.read_page(folder, &page).await?;
                    self.record_new(folder, &facts, report).await?;
                    scanned.new.extend(facts.iter().map(|fact| fact.uid));
                }
            }
        }

        // What changed.
        let since = folder.seen.and_then(|seen| seen.highest_modseq);
        let since = since.filter(|_| selected.highest_modseq.is_some() && pass == Pass::Incremental);
        if since.is_none() || since != selected.highest_modseq {
            let since = since.map(|since| since.0);
            let exists = selected.exists > 0;
            if exists && !self.carry_changed_flags(folder, last, since, report).await? {
                scanned.mark = None; // What is left over is found by the next pass only if it looks.
            }
        }
        Ok(scanned)
    }

    /// Those of a folder that was set back that are other messages today than the ledger knows, told by their INTERNALDATE.
    async fn others(&mut self, folder: &Folder, selected: &Selected) -> Result<UidSet, Trouble> {
        let mut others = UidSet::new();
        let ledger = self.context.ledger.clone();
        for page in self.pages(1, selected).await? {
            for fact in self.read_page(folder, &page).await? {
                let known = ledger.message(folder.mailbox, folder.id, fact.uid)?;
                if is_other(known.as_ref(), &fact) {
                    others.insert(fact.uid);
                }
            }
        }
        if !others.is_empty() {
            warn!(
                messages = others.len(),
                "The source gives UIDs to other messages than before, against RFC 3501."
            );
        }
        Ok(others)
    }

    /// Which of these that the source lists count as not there: no scan recorded them, or they were gone and are back.
    fn unrecorded(&self, folder: &Folder, there: UidSet) -> Result<UidSet, Trouble> {
        let mut recorded = UidSet::new();
        undisturbed(|| {
            for message in self.context.ledger.messages(folder.mailbox, folder.id) {
                let (uid, message) = message?;
                if message.state != MessageState::Gone {
                    recorded.insert(uid);
                }
            }
            Ok::<(), Trouble>(())
        })?;
        Ok(there.difference(&recorded))
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
        let last = self.context.ledger.last_uid(folder.mailbox, folder.id)?;
        let known = match last {
            Some(last) => self.context.ledger.message(folder.mailbox, folder.id, last)?,
            None => None,
        };
        let last = last.map_or(0, Uid::value);
        let mut new = UidSet::new();
        let mut set_back = is_set_back(folder, &selected, last);
        if selected.exists > 0
            && selected.uid_next.is_none_or(|uid_next| uid_next.value() > last.saturating_add(1))
        {
            // The last one is read again: another message under its UID shows what UIDNEXT no longer does.
            for page in self.pages(last.max(1), &selected).await? {
                let mut facts = self.read_page(folder, &page).await?;
                set_back |=
                    facts.iter().any(|fact| fact.uid.value() == last && is_other(known.as_ref(), fact));
                facts.retain(|fact| fact.uid.value() > last);
                self.record_new(folder, &facts, report).await?;
                new.extend(facts.iter().map(|fact| fact.uid));
            }
        }
        Ok(Some(Arrivals { selected, last, new, set_back }))
    }

    /// All UIDs from this one on, in ranges with about [`PAGE`] messages each: what is read of a folder at once must not
    /// grow with it.
    async fn pages(&mut self, first: u32, selected: &Selected) -> Result<Vec<UidSet>, Trouble> {
        let uids = selected.uid_next.map(|uid_next| uid_next.value().saturating_sub(first));
        if selected.exists <= PAGE || uids.is_some_and(|uids| uids <= PAGE) {
            return Ok(vec![from_uid(first)]);
        }
        let source = self.source().await?;
        let there = match source.session.uid_search(&format!("UID {}", from_uid(first))).await {
            Ok(there) => there,
            Err(error) if !error.is_fatal() => UidSet::new(),
            Err(error) => return Err(Trouble::source(error)),
        };
        // Ranges without a hole between them, the last one open: what SEARCH does not tell, FETCH may.
        let mut ends: Vec<u32> = there.parts(PAGE).filter_map(|part| part.last()).map(Uid::value).collect();
        ends.pop();
        let mut pages = Vec::new();
        let mut from = first;
        for end in ends {
            if let (Some(first), Some(last)) = (Uid::new(from), Uid::new(end)) {
                let mut page = UidSet::new();
                page.insert_range(first, last);
                pages.push(page);
                from = end.saturating_add(1);
            }
        }
        pages.push(from_uid(from));
        Ok(pages)
    }

    /// Reads the facts of these.
    async fn read_page(&mut self, folder: &Folder, page: &UidSet) -> Result<Vec<Fact>, Trouble> {
        let source = self.source().await?;
        source.be_in(folder).await?;
        let mut facts = look::facts(&mut source.session, page).await.map_err(Trouble::source)?;
        facts.retain(|fact| page.contains(fact.uid));
        Ok(facts)
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
        for chunk in facts.chunks(PAGE as usize) {
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
        for part in uids.parts(PAGE) {
            let source = self.source().await?;
            source.be_in(folder).await?;
            let mut found = BTreeMap::new();
            let noted = look::headers(&mut source.session, &part, |uid, header| {
                found.insert(uid, crate::skipped::facts_of(header));
            });
            noted.await.map_err(Trouble::source)?;
            let mut change = self.context.ledger.change();
            for (uid, facts) in found {
                change.put_skipped_facts(folder.mailbox, folder.id, uid, facts);
            }
            change.commit().await?;
        }
        Ok(())
    }
}

/// Whether a folder shows by its numbers that the source gives UIDs a second time under the same UIDVALIDITY, as one that was
/// restored from a backup does. RFC 3501 section 2.3.1.1 forbids it; what would be lost is mail. One that lost its
/// mod-sequences only is looked through once.
fn is_set_back(folder: &Folder, selected: &Selected, last: u32) -> bool {
    let uids_fell = selected.uid_next.is_some_and(|uid_next| uid_next.value() <= last);
    let seen = folder.seen.and_then(|seen| seen.highest_modseq);
    let modseq_fell = seen.zip(selected.highest_modseq).is_some_and(|(seen, now)| now.0 < seen.0);
    selected.exists > 0 && (uids_fell || modseq_fell)
}

/// Whether a message is another one than what is known of its UID.
fn is_other(known: Option<&Message>, fact: &Fact) -> bool {
    known.is_some_and(|known| known.state != MessageState::Gone && known.date.unix() != fact.date.unix())
}

fn mark_of(selected: &Selected) -> SourceMark {
    SourceMark {
        uid_next: selected.uid_next.map(Uid::value),
        messages: selected.exists,
        highest_modseq: selected.highest_modseq,
    }
}
