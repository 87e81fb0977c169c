//! One pass: folders, facts, limits, bodies, marks.
//!
//! Order of work: what is in doubt, then what users just did (whenever it comes up), then INBOX and the other
//! folders, ascending UID in each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, Message, MessageState, SkipReason, SourceMark};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::copy::{Asking, Job, Pumped, pump};
use crate::error::{PassError, SideError};
use crate::limits::{Item, beyond_item_limit};
use crate::pace::{Meaning, meaning, reconnect_after};
use crate::reconcile::Adoption;
use crate::scan::is_unmoved;
use crate::sides::MAX_REFUSALS;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, Pass, PassReport};

/// How often a message that is listed but not given is asked for.
const MAX_MISSES: u32 = 6;

/// After the second miss and each further one, so much longer is waited.
const MISSED_AGAIN: Duration = Duration::from_millis(150);

/// Whether the copying makes room for what users just did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Courtesy {
    /// Between windows, hints are served.
    ServeHints,
    /// This is what a hint asked for.
    None,
}

impl MailboxWorker {
    /// A pass with as many connections as it takes.
    pub(crate) async fn whole_pass(&mut self, pass: Pass) -> Result<PassReport, PassError> {
        let began = std::time::Instant::now();
        let mut report = PassReport { inbox_arrivals: self.arrivals, ..PassReport::default() };
        self.progress.begin();
        let mut attempt = 0;
        let result = loop {
            let before = self.settled();
            let result = self.attempt(pass, &mut report).await;
            match result {
                Ok(()) => break Ok(()),
                Err(trouble) => {
                    if self.settled() != before {
                        attempt = 0;
                    }
                    if let Err(error) = self.weather(trouble, &mut attempt).await {
                        break Err(error);
                    }
                }
            }
        };
        if result.is_ok() {
            self.arrivals = 0;
        }
        report.took = began.elapsed();
        report.pending = self.context.ledger.mailbox_counts(self.mailbox).map(|counts| counts.pending)?;
        self.progress.say(if result.is_ok() { "idle" } else { "waiting" });
        result.map(|()| report)
    }

    /// After trouble: either the way is free for another attempt, or the pass is over.
    pub(crate) async fn weather(&mut self, trouble: Trouble, attempt: &mut u32) -> Result<(), PassError> {
        self.hang_up_after(&trouble);
        let passing = trouble.is_passing();
        let never_connected = matches!(
            &trouble,
            Trouble::Source(SideError::Imap(mailferry_imap::net::Error::Connect { .. }))
                | Trouble::Target(SideError::Imap(mailferry_imap::net::Error::Connect { .. }))
        ) && *attempt == 0;
        let error = match trouble {
            Trouble::Source(side) => PassError::Source(side),
            Trouble::Target(side) => PassError::Target(side),
            Trouble::TokenExpired => {
                PassError::Target(SideError::Other("the target does not take our token".to_owned()))
            }
            Trouble::Local(local) => return Err(PassError::Local(local)),
            Trouble::Stopped => return Err(PassError::Stopped),
            Trouble::Throttled { stated, text } => {
                let mut dice = [0; 4];
                // Without random numbers everybody just waits as long as was said.
                let _ = getrandom::fill(&mut dice);
                let until = self.pace.on_throttled(Timestamp::now(), stated, u32::from_le_bytes(dice));
                self.progress.throttle(Some(until));
                self.progress.say("throttled by the target");
                info!(%until, "The target asks to wait.");
                let mut change = self.context.ledger.change();
                change.update_mailbox(self.mailbox, move |mailbox| mailbox.throttled_until = Some(until));
                change.commit().await?;
                return Err(PassError::Throttled { until, text });
            }
        };
        if !passing || never_connected || *attempt >= self.context.patience.attempts {
            return Err(error);
        }
        debug!(%error, attempt = *attempt, "Connecting anew.");
        let wait = reconnect_after(*attempt);
        *attempt += 1;
        if !wait.is_zero() {
            self.progress.say("waiting before connecting anew");
            sleep(wait).await;
        }
        Ok(())
    }

    async fn attempt(&mut self, pass: Pass, report: &mut PassReport) -> Result<(), Trouble> {
        if let Some(until) = self.pace.blocked(Timestamp::now()) {
            let wait = until.as_millisecond() - Timestamp::now().as_millisecond();
            let stated = Some(Duration::from_millis(wait.max(0).unsigned_abs()));
            return Err(Trouble::Throttled { stated, text: "still throttled".to_owned() });
        }
        self.progress.throttle(None);
        self.progress.say("listing folders");
        let mailbox = self.record()?;
        let listing = self.list(&mailbox).await?;
        self.settle_doubts(report).await?;
        let folders = self.bring_folders_in_line(&listing, report).await?;
        report.folders = folders.len() as u64;
        report.unmoved = 0;

        self.progress.say("comparing");
        let mut marks: Vec<(Folder, Option<SourceMark>)> = Vec::new();
        for (folder, status) in folders {
            let recorded = self.context.ledger.counts(folder.mailbox, folder.id)?.at_source();
            let unmoved = pass == Pass::Incremental && is_unmoved(&folder, &status, recorded);
            let mark = match unmoved {
                true => {
                    report.unmoved += 1;
                    None
                }
                false => self.scan(&folder, pass, report).await?.mark,
            };
            marks.push((folder, mark));
        }
        let only: Vec<&Folder> = marks.iter().map(|(folder, _)| folder).collect();
        self.apply_item_limit(&only, report).await?;
        self.plan_progress(&only)?;

        for (folder, mark) in marks {
            let counts = self.context.ledger.counts(folder.mailbox, folder.id)?;
            let mut folder = folder;
            if counts.pending > 0 {
                self.progress.say("copying");
                let todo = self.pending(&folder)?;
                self.copy(&mut folder, todo, Courtesy::ServeHints, report).await?;
            }
            if let Some(mark) = mark {
                let known = self.context.ledger.folder(folder.mailbox, folder.id)?;
                if known.is_some_and(|known| known.seen != Some(mark)) {
                    let mut change = self.context.ledger.change();
                    change.update_folder(folder.mailbox, folder.id, move |folder| folder.seen = Some(mark));
                    change.commit().await?;
                }
            }
        }
        if mailbox.needs_matching && self.context.ledger.mailbox_counts(self.mailbox)?.pending == 0 {
            let mut change = self.context.ledger.change();
            change.update_mailbox(self.mailbox, |mailbox| mailbox.needs_matching = false);
            change.commit().await?;
        }
        self.allowed = crate::worker::Deletions::Capped;
        Ok(())
    }

    /// Everything whose fate is unknown, before anything else is done.
    pub(crate) async fn settle_doubts(&mut self, report: &mut PassReport) -> Result<(), Trouble> {
        for folder in self.context.ledger.folders(self.mailbox)? {
            if !folder.gone && self.context.ledger.intents(self.mailbox, folder.id).next().is_some() {
                // A folder that the source no longer has under this UIDVALIDITY is settled with its succession.
                let selected = self.source().await?.examine(&folder.source).await;
                match selected {
                    Ok(selected) if selected.uid_validity == folder.source_validity => {
                        self.reconcile(&folder, report).await?;
                        // What was not stored after all is to be copied.
                        self.hints.put_back([folder.source.clone()]);
                    }
                    Ok(_) => {}
                    Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => {}
                    Err(trouble) => return Err(trouble),
                }
            }
        }
        Ok(())
    }

    /// The messages of a folder that wait to be copied.
    pub(crate) fn pending(&self, folder: &Folder) -> Result<UidSet, Trouble> {
        let mut pending = UidSet::new();
        for message in self.context.ledger.messages(folder.mailbox, folder.id) {
            let (uid, message) = message?;
            if message.state == MessageState::Pending {
                pending.insert(uid);
            }
        }
        Ok(pending)
    }

    /// Which of these still wait.
    fn still_pending(&self, folder: &Folder, of: &UidSet) -> Result<UidSet, Trouble> {
        if of.len() > 5_000 {
            return Ok(self.pending(folder)?.intersection(of));
        }
        let mut pending = UidSet::new();
        for uid in of.iter() {
            let message = self.context.ledger.message(folder.mailbox, folder.id, uid)?;
            if message.is_some_and(|message| message.state == MessageState::Pending) {
                pending.insert(uid);
            }
        }
        Ok(pending)
    }

    fn plan_progress(&self, folders: &[&Folder]) -> Result<(), Trouble> {
        let (mut messages, mut bytes) = (0, 0);
        for folder in folders {
            let counts = self.context.ledger.counts(folder.mailbox, folder.id)?;
            messages += counts.pending;
            bytes += counts.pending_bytes;
        }
        let done = self.progress.snapshot();
        self.progress.plan(done.messages_done + messages, done.bytes_done + bytes);
        Ok(())
    }

    /// The newest of the whole mailbox go; known before the first is copied.
    async fn apply_item_limit(
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
        let mut items = Vec::new();
        for folder in folders {
            for message in ledger.messages(self.mailbox, folder.id) {
                let (uid, message) = message?;
                if message.state == MessageState::Pending || is_over_limit(&message.state) {
                    items.push(Item { folder: folder.id, uid, date: message.date });
                }
            }
        }
        let stay = beyond_item_limit(&mut items, counts.mirrored, limit);
        for (list, state) in
            [(items, MessageState::Pending), (stay, MessageState::Skipped(SkipReason::ItemLimit))]
        {
            for folder in folders {
                let mut moved = UidSet::new();
                let mut change = ledger.change();
                for item in list.iter().filter(|item| item.folder == folder.id) {
                    let Some(message) = ledger.message(self.mailbox, item.folder, item.uid)? else {
                        continue;
                    };
                    if message.state != state {
                        moved.insert(item.uid);
                        let message = Message { state: state.clone(), ..message };
                        change.put_message(self.mailbox, item.folder, item.uid, message);
                    }
                }
                if moved.is_empty() {
                    continue;
                }
                change.commit().await?;
                if state != MessageState::Pending {
                    report.skipped += moved.len();
                    self.note_skipped_facts(folder, &moved).await?;
                }
            }
        }
        Ok(())
    }

    /// Copies these pending messages of a folder.
    pub(crate) async fn copy(
        &mut self,
        folder: &mut Folder,
        todo: UidSet,
        courtesy: Courtesy,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let mut todo = todo;
        let mut asking = Asking::Together;
        let mut refused_once = UidSet::new();
        let mut misses = BTreeMap::new();
        let mut made_anew = false;
        while !todo.is_empty() {
            if self.target.as_ref().is_some_and(|target| target.is_stale(Timestamp::now())) {
                self.target = None;
            }
            let uid_next = self.get_ready(folder, report).await?;
            // Adoption may have found some.
            self.source().await?.be_in(&folder.source).await?;
            let pumped = self.pump(folder, uid_next, &todo, asking, courtesy).await?;
            report.copied += pumped.copied;
            report.bytes += pumped.bytes;
            report.from_spool += pumped.from_spool;
            report.skipped += pumped.skipped;
            if pumped.copied > 0 {
                self.pace.on_progress();
            }
            if let Some(trouble) = &pumped.trouble {
                self.hang_up_after(trouble); // While it is known which token is no longer taken.
            }
            if pumped.source_spoilt {
                self.source = None;
            }
            if pumped.target_spoilt {
                self.target = None;
            }
            let dropped = pumped.target_spoilt;
            if let Some(trouble) = pumped.trouble {
                return Err(trouble);
            }
            if pumped.no_folder {
                // Somebody deleted it meanwhile: getting ready makes it anew, once.
                if made_anew {
                    let text = "a folder that was just made is not there".to_owned();
                    return Err(Trouble::Target(SideError::Other(text)));
                }
                made_anew = true;
            }
            if pumped.in_doubt {
                self.reconcile(folder, report).await?;
            }
            let mut flagged = pumped.flagged;
            if pumped.without_uid > 0 {
                flagged = flagged.union(&self.find_uids(folder, uid_next).await?);
            }
            self.flag_again(folder, &flagged).await?;
            self.settle_not_given(folder, &pumped.not_given, &mut misses, report).await?;
            self.settle_refused(folder, &pumped.refused, &mut refused_once, report).await?;

            if pumped.interrupted && courtesy == Courtesy::ServeHints {
                Box::pin(self.serve_hints(report)).await?;
                self.progress.say("copying");
            }
            let left = self.still_pending(folder, &todo)?;
            let came_forward = left != todo
                || pumped.no_folder
                || pumped.copied > 0
                || dropped
                || !pumped.refused.is_empty();
            // Those that a server would not name, and those that were refused or not given once, go one by one.
            if !pumped.unnamed.is_empty() || !pumped.not_given.is_empty() {
                asking = Asking::Singly;
            } else if !came_forward {
                warn!("A copy came to a standstill; the next pass takes it up.");
                return Ok(());
            }
            todo = left;
        }
        Ok(())
    }

    async fn pump(
        &mut self,
        folder: &Folder,
        uid_next: u32,
        todo: &UidSet,
        asking: Asking,
        courtesy: Courtesy,
    ) -> Result<Pumped, Trouble> {
        self.source().await?;
        self.target().await?;
        let Self { source: Some(source), target: Some(target), context, progress, hints, mailbox, .. } = self
        else {
            return Err(Trouble::Stopped);
        };
        let never = || false;
        let urgent = || hints.are_urgent(&context.spool, *mailbox);
        let job = Job {
            ledger: &context.ledger,
            spool: &context.spool,
            progress,
            limits: context.limits,
            folder,
            uid_next,
            refusals_left: MAX_REFUSALS.saturating_sub(target.refusals).max(1),
            asking,
            interrupt: if courtesy == Courtesy::ServeHints { &urgent } else { &never },
        };
        let pumped = Box::pin(pump(&job, &mut source.session, &mut target.session, todo)).await;
        target.refusals += pumped.refusals;
        Ok(pumped)
    }

    /// Makes the target folder ready for copies; returns its UIDNEXT. What it holds already is matched first.
    async fn get_ready(&mut self, folder: &mut Folder, report: &mut PassReport) -> Result<u32, Trouble> {
        let mut status = self.target().await?.session.status(&folder.target).await;
        if let Err(error) = &status
            && !error.is_fatal()
        {
            self.make(&folder.target.clone(), &mut Default::default()).await?;
            status = self.target().await?.session.status(&folder.target).await;
        }
        let status = status.map_err(Trouble::target)?;
        let (validity, messages) = (status.uid_validity, status.messages.unwrap_or(0));
        let uid_next = status.uid_next.map_or(1, Uid::value);
        if validity.is_none() || folder.target_validity != validity {
            let adoption = match folder.target_validity {
                Some(_) => Some(Adoption::OtherValidity),
                None if messages > 0 => Some(Adoption::Filled),
                None => None,
            };
            let before = Folder { target_validity: validity, ..folder.clone() };
            if let Some(adoption) = adoption {
                self.adopt(&before, adoption, report).await?;
            }
            // Only now: a crash before this begins with the matching again.
            let mut change = self.context.ledger.change();
            change.update_folder(folder.mailbox, folder.id, move |folder| {
                folder.target_validity = validity;
                folder.target_uid_next = Some(uid_next);
            });
            change.commit().await?;
            folder.target_validity = validity;
        }
        Ok(uid_next)
    }

    /// Messages that the source did not give: those that it no longer lists are gone, the others are tried once more by
    /// themselves and then skipped.
    async fn settle_not_given(
        &mut self,
        folder: &Folder,
        not_given: &[(Uid, String)],
        misses: &mut BTreeMap<Uid, u32>,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        if not_given.is_empty() {
            return Ok(());
        }
        let ledger = self.context.ledger.clone();
        let uids: UidSet = not_given.iter().map(|(uid, _)| *uid).collect();
        debug!(%uids, "Not given by the source.");
        let source = self.source().await?;
        // Anew: what was seen when the session opened the folder may not be what is there.
        source.examine(&folder.source).await?;
        let there = source.session.uid_search(&format!("UID {uids}")).await.map_err(Trouble::source)?;
        let mut change = ledger.change();
        let mut skipped = UidSet::new();
        for (uid, words) in not_given {
            let Some(message) = ledger.message(folder.mailbox, folder.id, *uid)? else { continue };
            if message.state != MessageState::Pending {
                continue;
            }
            let missed = misses.entry(*uid).or_default();
            *missed += 1;
            let state = match there.contains(*uid) {
                false => MessageState::Gone,
                // A server under load may give it a moment later.
                true if *missed < MAX_MISSES => continue,
                true => {
                    skipped.insert(*uid);
                    MessageState::Skipped(SkipReason::Unreadable(words.clone()))
                }
            };
            change.put_message(folder.mailbox, folder.id, *uid, Message { state, ..message });
        }
        if !change.is_empty() {
            change.commit().await?;
        }
        if let Some(most) = not_given.iter().filter_map(|(uid, _)| misses.get(uid)).max() {
            sleep(MISSED_AGAIN.saturating_mul(most - 1)).await;
        }
        report.skipped += skipped.len();
        match self.note_skipped_facts(folder, &skipped).await {
            // Who does not give the body may not give the header either.
            Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => Ok(()),
            other => other,
        }
    }

    /// Messages that the target refused: once more by themselves, then they are skipped for good.
    async fn settle_refused(
        &mut self,
        folder: &Folder,
        refused: &[(Uid, String)],
        refused_once: &mut UidSet,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        for (uid, text) in refused {
            let too_large = meaning(None, text) == Meaning::TooLarge;
            if !too_large && !refused_once.contains(*uid) {
                refused_once.insert(*uid);
                continue;
            }
            let Some(message) = ledger.message(folder.mailbox, folder.id, *uid)? else { continue };
            let reason = if too_large { SkipReason::TooLarge } else { SkipReason::Refused(text.clone()) };
            let mut change = ledger.change();
            let message = Message { state: MessageState::Skipped(reason), ..message };
            change.put_message(folder.mailbox, folder.id, *uid, message);
            change.commit().await?;
            report.skipped += 1;
            let mut one = UidSet::new();
            one.insert(*uid);
            self.note_skipped_facts(folder, &one).await?;
        }
        Ok(())
    }

    /// How much is decided: what attempts are measured by.
    fn settled(&self) -> u64 {
        let counts = self.context.ledger.mailbox_counts(self.mailbox).unwrap_or_default();
        counts.mirrored + counts.skipped + counts.gone
    }
}

fn is_over_limit(state: &MessageState) -> bool {
    *state == MessageState::Skipped(SkipReason::ItemLimit)
}
