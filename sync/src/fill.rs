//! The gaps of a folder filled: the target made ready, what is pending pumped, what was refused or not given settled.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, FolderId, Message, MessageState, SkipReason};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::copy::{Asking, Budget, Job, MAX_FLIGHTS, Pumped, pump};
use crate::error::SideError;
use crate::pace::{Meaning, meaning};
use crate::reconcile::Adoption;
use crate::sides::MAX_REFUSALS;
use crate::trouble::Trouble;
use crate::walk::undisturbed;
use crate::worker::{MailboxWorker, PassReport};

/// How often a message that is listed but not given is asked for.
const MAX_MISSES: u32 = 6;

/// After the second miss and each further one, so much longer is waited.
const MISSED_AGAIN: Duration = Duration::from_millis(150);

/// The gaps of one folder, and what was learnt about them so far: kept while others have their turn.
pub(crate) struct Gaps {
    pub(crate) folder: Folder,
    todo: UidSet,
    asking: Asking,
    refused_once: UidSet,
    misses: BTreeMap<Uid, u32>,
    made_anew: bool,
}

impl Gaps {
    /// These pending messages of a folder.
    pub(crate) fn new(folder: Folder, todo: UidSet) -> Self {
        Self {
            folder,
            todo,
            asking: Asking::Together,
            refused_once: UidSet::new(),
            misses: BTreeMap::new(),
            made_anew: false,
        }
    }
}

/// What the filling of gaps shares with others, and when it makes room.
pub(crate) struct Terms<'a> {
    /// Memory for bodies on their way.
    pub(crate) budget: &'a Budget,
    /// Once cancelled, nothing new is begun.
    pub(crate) halt: &'a CancellationToken,
    /// Asked between windows: whether something more urgent waits.
    pub(crate) interrupt: &'a (dyn Fn() -> bool + Sync),
}

/// How far it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filled {
    /// As far as it will today.
    Done,
    /// Something more urgent waits, or nothing new may be begun.
    Interrupted,
}

/// On which messages the target closed the connection, how often, and its last words.
#[derive(Default)]
pub(crate) struct Closings(Mutex<BTreeMap<(FolderId, Uid), (u32, String)>>);

impl Closings {
    fn known(&self) -> MutexGuard<'_, BTreeMap<(FolderId, Uid), (u32, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, folder: FolderId, uid: Uid, text: String) {
        let mut known = self.known();
        let one = known.entry((folder, uid)).or_default();
        *one = (one.0 + 1, text);
    }

    pub(crate) fn clear(&self) {
        self.known().clear();
    }
}

/// After so many refusals in one run, more are expected.
const WARY: u32 = 3;

/// A message on which the target closed the connection so often goes by itself, after the others: Exchange does that with some
/// that it will not have, and does not say so otherwise.
const SUSPECT: u32 = 2;

/// After so many it is taken for refused.
const CLOSINGS: u32 = 4;

impl MailboxWorker {
    /// Copies these pending messages of a folder, whatever else waits.
    pub(crate) async fn copy(
        &mut self,
        folder: Folder,
        todo: UidSet,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let (budget, halt) = (Budget::new(self.context.limits.memory_bytes), CancellationToken::new());
        let terms = Terms { budget: &budget, halt: &halt, interrupt: &|| false };
        self.fill(&mut Gaps::new(folder, todo), &terms, report).await.map(drop)
    }

    /// Fills gaps until all are, or until there is something more urgent.
    pub(crate) async fn fill(
        &mut self,
        gaps: &mut Gaps,
        terms: &Terms<'_>,
        report: &mut PassReport,
    ) -> Result<Filled, Trouble> {
        // Another lane may have left some in doubt when it lost its sessions.
        self.reconcile(&gaps.folder, report).await?;
        while !gaps.todo.is_empty() {
            if terms.halt.is_cancelled() {
                return Ok(Filled::Interrupted);
            }
            if self.target.as_ref().is_some_and(|target| target.is_stale(Timestamp::now())) {
                self.target = None;
            }
            let uid_next = self.get_ready(&mut gaps.folder, report).await?;
            let folder = &gaps.folder;
            // Adoption may have found some.
            self.source().await?.be_in(folder).await?;
            self.settle_closings(folder, &gaps.todo, report).await?;
            let run = self.next_run(folder, &gaps.todo);
            let mut pumped = self.pump(folder, uid_next, &run, gaps.asking, terms).await?;
            if let Some((uid, text)) = pumped.closed_on.take()
                && meaning(None, &text) == Meaning::Unavailable
            {
                self.closings.note(folder.id, uid, text);
            }
            report.copied += pumped.copied;
            report.bytes += pumped.bytes;
            report.from_spool += pumped.from_spool;
            report.skipped += pumped.skipped;
            if pumped.copied > 0 {
                self.context.target.tenant.on_success(self.mailbox);
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
                if self.source.is_some() {
                    // Or they are refused again, and again with the connection.
                    self.settle_refused(folder, &pumped.refused, &mut gaps.refused_once, report).await?;
                }
                return Err(trouble);
            }
            if terms.halt.is_cancelled() {
                // The target may have asked another lane to wait: what is left to look at there is looked at later.
                return Ok(Filled::Interrupted);
            }
            if pumped.no_folder {
                // Somebody deleted it meanwhile: getting ready makes it anew, once.
                if gaps.made_anew {
                    let text = "a folder that was just made is not there".to_owned();
                    return Err(Trouble::Target(SideError::Other(text)));
                }
                gaps.made_anew = true;
            }
            if pumped.in_doubt {
                self.reconcile(folder, report).await?;
            }
            let mut flagged = pumped.flagged;
            if pumped.without_uid > 0 {
                flagged = flagged.union(&self.find_uids(folder, uid_next).await?);
            }
            self.flag_again(folder, &flagged).await?;
            self.settle_not_given(folder, &pumped.not_given, &mut gaps.misses, report).await?;
            self.settle_refused(folder, &pumped.refused, &mut gaps.refused_once, report).await?;

            self.make_way();
            let left = self.still_pending(folder, &gaps.todo)?;
            let came_forward = left != gaps.todo
                || pumped.no_folder
                || pumped.copied > 0
                || dropped
                || !pumped.refused.is_empty();
            gaps.todo = left;
            // Those that a server would not name, and those that were refused or not given once, go one by one.
            if !pumped.unnamed.is_empty() || !pumped.not_given.is_empty() {
                gaps.asking = Asking::Singly;
            } else if !came_forward && !pumped.interrupted {
                warn!("A copy came to a standstill; the next pass takes it up.");
                return Ok(Filled::Done);
            }
            if pumped.interrupted && (terms.interrupt)() {
                return Ok(Filled::Interrupted);
            }
        }
        Ok(Filled::Done)
    }

    /// After others had their turn: the folder as it is by now, and what is still to be copied into it.
    pub(crate) fn resume(&self, gaps: &mut Gaps) -> Result<(), Trouble> {
        if let Some(folder) = self.context.ledger.folder(gaps.folder.mailbox, gaps.folder.id)? {
            gaps.folder = folder;
        }
        gaps.todo = self.still_pending(&gaps.folder, &gaps.todo)?;
        Ok(())
    }

    async fn pump(
        &mut self,
        folder: &Folder,
        uid_next: u32,
        todo: &UidSet,
        asking: Asking,
        terms: &Terms<'_>,
    ) -> Result<Pumped, Trouble> {
        self.source().await?;
        self.target().await?;
        let Self { source: Some(source), target: Some(target), context, progress, wary, .. } = self else {
            return Err(Trouble::Stopped);
        };
        let place = &target.place;
        let interrupt = || place.is_wanted() || (terms.interrupt)();
        let left = MAX_REFUSALS.saturating_sub(target.refusals).max(1);
        // Once it is known that many are refused: with those that are on their way then it is never the tenth.
        let (left, flights) = match *wary {
            true => (left.min(MAX_REFUSALS / 2), MAX_REFUSALS as usize / 2),
            false => (left, MAX_FLIGHTS),
        };
        let job = Job {
            ledger: &context.ledger,
            spool: &context.spool,
            progress,
            limits: context.limits,
            folder,
            uid_next,
            refusals_left: left,
            asking,
            flights,
            budget: terms.budget,
            halt: terms.halt,
            interrupt: &interrupt,
        };
        let pumped = Box::pin(pump(&job, &mut source.session, &mut target.session, todo)).await;
        target.refusals += pumped.refusals;
        *wary |= pumped.refusals >= WARY;
        Ok(pumped)
    }

    /// Makes the target folder ready for copies; returns its UIDNEXT. What it holds already is matched first.
    pub(crate) async fn get_ready(
        &mut self,
        folder: &mut Folder,
        report: &mut PassReport,
    ) -> Result<u32, Trouble> {
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
        for (uid, text) in refused {
            let too_large = meaning(None, text) == Meaning::TooLarge;
            if !too_large && !refused_once.contains(*uid) {
                refused_once.insert(*uid);
                continue;
            }
            let reason = if too_large { SkipReason::TooLarge } else { SkipReason::Refused(text.clone()) };
            self.quarantine(folder, *uid, reason, report).await?;
        }
        Ok(())
    }

    /// What goes next: those that the target closed the connection on wait until nobody else does.
    fn next_run(&self, folder: &Folder, todo: &UidSet) -> UidSet {
        let suspects: UidSet = {
            let closings = self.closings.known();
            let suspect = |uid: &Uid| closings.get(&(folder.id, *uid)).is_some_and(|one| one.0 >= SUSPECT);
            match closings.is_empty() {
                true => return todo.clone(),
                false => todo.iter().filter(suspect).collect(),
            }
        };
        let others = todo.difference(&suspects);
        match others.is_empty() {
            true => suspects.first().into_iter().collect(),
            false => others,
        }
    }

    /// Messages that the target does not take and does not refuse in words.
    async fn settle_closings(
        &mut self,
        folder: &Folder,
        todo: &UidSet,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let convicted = |((at, uid), (count, text)): (&(FolderId, Uid), &(u32, String))| {
            (*at == folder.id && todo.contains(*uid) && *count >= CLOSINGS).then(|| (*uid, text.clone()))
        };
        let convicted: Vec<(Uid, String)> = self.closings.known().iter().filter_map(convicted).collect();
        for (uid, text) in convicted {
            self.closings.known().remove(&(folder.id, uid));
            self.quarantine(folder, uid, SkipReason::Refused(text), report).await?;
        }
        Ok(())
    }

    /// A pending message is skipped for good.
    async fn quarantine(
        &mut self,
        folder: &Folder,
        uid: Uid,
        reason: SkipReason,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let Some(message) = ledger.message(folder.mailbox, folder.id, uid)? else { return Ok(()) };
        if message.state != MessageState::Pending {
            return Ok(());
        }
        let mut change = ledger.change();
        let message = Message { state: MessageState::Skipped(reason), ..message };
        change.put_message(folder.mailbox, folder.id, uid, message);
        change.commit().await?;
        report.skipped += 1;
        self.note_skipped_facts(folder, &[uid].into_iter().collect()).await
    }

    /// The messages of a folder that wait to be copied.
    pub(crate) fn pending(&self, folder: &Folder) -> Result<UidSet, Trouble> {
        undisturbed(|| {
            let mut pending = UidSet::new();
            for message in self.context.ledger.messages(folder.mailbox, folder.id) {
                let (uid, message) = message?;
                if message.state == MessageState::Pending {
                    pending.insert(uid);
                }
            }
            Ok(pending)
        })
    }

    /// Which of these still wait.
    fn still_pending(&self, folder: &Folder, of: &UidSet) -> Result<UidSet, Trouble> {
        if of.len() > 5_000 {
            // They go in ascending order: mostly those that are settled lie in front, and those behind are all that waits.
            let mut front = UidSet::new();
            for uid in of.iter() {
                let message = self.context.ledger.message(folder.mailbox, folder.id, uid)?;
                if message.is_some_and(|message| message.state == MessageState::Pending) {
                    break;
                }
                front.insert(uid);
            }
            let behind = of.difference(&front);
            return match behind.len() == self.context.ledger.counts(folder.mailbox, folder.id)?.pending {
                true => Ok(behind),
                false => Ok(self.pending(folder)?.intersection(of)),
            };
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
}
