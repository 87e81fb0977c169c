//! What clients copied and moved inside the source is copied and moved on the target: no body is fetched or sent.
//!
//! The tap tells which UID became which ([`mailferry_spool::Transfer`]), the ledger where the original's copy is. What
//! holds:
//! - Nothing is taken on trust but the pairing: that the message is new there, that its size and date are the original's, and
//!   that the original is gone before its copy is moved away, is read from the source.
//! - Intents are durable before the command leaves, together with the originals they go back to: after a lost answer
//!   [`MailboxWorker::reconcile`] finds out what became of it.
//! - A moved message and its original are settled by one commit.
//! - What does not fit is left pending: then its body goes the usual way.

mod carry;

use std::collections::BTreeMap;

use mailferry_imap::{MessageKey, Uid, UidSet};
use mailferry_ledger::{Folder, FolderId, Message, MessageState};
use mailferry_spool::{Place, Transfer};

use crate::changes::Reflagged;
use crate::error::SideError;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

pub(crate) use carry::moving_name;

/// Through so many folders a message is followed that it left before anybody looked.
const MAX_STEPS: usize = 16;

/// The longest set in one SEARCH.
const MAX_SET: usize = 3_000;

/// What is done about folders that the ledger does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unknown {
    /// A pass is asked for, which makes them; the transfers wait for it.
    AskPass,
    /// This is the pass: their messages go the usual way.
    Leave,
}

/// One message to be carried over.
struct Job {
    /// Its UID at the source, and its record.
    uid: Uid,
    message: Message,
    /// The original's UID at the source, its record, and where its copy is.
    original_uid: Uid,
    original: Message,
    target_uid: Uid,
}

/// Which message became which. Places by their number.
struct Ways {
    places: Vec<Place>,
    folders: Vec<Option<Folder>>,
    /// From where a message came.
    from: BTreeMap<(usize, Uid), (usize, Uid)>,
    /// Where an original went by our own doing.
    became: BTreeMap<(FolderId, Uid), (FolderId, Uid)>,
}

impl Ways {
    fn of(transfers: &[Transfer]) -> Self {
        let mut ways =
            Self { places: Vec::new(), folders: Vec::new(), from: BTreeMap::new(), became: BTreeMap::new() };
        for transfer in transfers {
            let (from, to) = (ways.enter(&transfer.from), ways.enter(&transfer.to));
            for (original, uid) in &transfer.pairs {
                ways.from.entry((to, *uid)).or_insert((from, *original));
            }
        }
        ways
    }

    fn enter(&mut self, place: &Place) -> usize {
        let known = self.places.iter().position(|known| known == place);
        known.unwrap_or_else(|| {
            self.places.push(place.clone());
            self.folders.push(None);
            self.places.len() - 1
        })
    }

    fn number(&self, place: &Place) -> Option<usize> {
        self.places.iter().position(|known| known == place)
    }
}

impl MailboxWorker {
    /// Carries out what the taps saw being copied and moved.
    pub(crate) async fn serve_transfers(
        &mut self,
        unknown: Unknown,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let transfers = self.hints.take_transfers();
        if transfers.is_empty() {
            return Ok(());
        }
        let carried = self.carry_transfers(&transfers, unknown, report).await;
        if carried.is_err() {
            self.hints.put_back_transfers(transfers);
        }
        carried
    }

    async fn carry_transfers(
        &mut self,
        transfers: &[Transfer],
        unknown: Unknown,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let all: Vec<Folder> =
            ledger.folders(self.mailbox)?.into_iter().filter(|folder| !folder.gone).collect();
        let counts = ledger.mailbox_counts(self.mailbox)?;
        if all.is_empty() || counts.mirrored + counts.pending > self.context.limits.max_items {
            return Ok(()); // The first pass is before it; or the limit must be reckoned with.
        }
        let mut ways = Ways::of(transfers);
        for at in 0..ways.places.len() {
            ways.folders[at] = find(&all, &ways.places[at]).cloned();
        }
        self.progress.say("carrying moves and copies over");
        let mut looked = vec![false; ways.places.len()];
        let mut waiting = Vec::new();
        for transfer in transfers {
            let Some(to) = ways.number(&transfer.to) else { continue };
            if ways.folders[to].is_none() && unknown == Unknown::AskPass {
                waiting.push(transfer.clone());
            }
            if !std::mem::replace(&mut looked[to], true)
                && let Some(folder) = ways.folders[to].clone()
                && !self.looks_for_arrivals(&folder, unknown, report).await?
            {
                ways.folders[to] = None;
            }
        }
        for transfer in transfers {
            let Some(to) = ways.number(&transfer.to) else { continue };
            let Some(mut folder) = ways.folders[to].clone() else { continue };
            for (from, jobs) in self.jobs(&ways, to, &folder, transfer)? {
                let Some(from) = ledger.folder(self.mailbox, from)? else { continue };
                self.carry_between(&from, &mut folder, jobs, &mut ways.became, report).await?;
            }
            ways.folders[to] = Some(folder);
        }
        if !waiting.is_empty() {
            self.hints.put_back_transfers(waiting);
            self.hints.ask_everything();
        }
        Ok(())
    }

    /// Records what is new in a folder. False where nothing can be said of it.
    async fn looks_for_arrivals(
        &mut self,
        folder: &Folder,
        unknown: Unknown,
        report: &mut PassReport,
    ) -> Result<bool, Trouble> {
        let scanned =
            folder.seen.is_some() || self.context.ledger.last_uid(folder.mailbox, folder.id)?.is_some();
        if !scanned && unknown == Unknown::AskPass {
            return Ok(false); // Its first pass is under way or comes next.
        }
        match self.record_arrivals(folder, report).await {
            Ok(arrivals) => Ok(arrivals.is_some()),
            Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// What of a transfer waits to be copied, by the folders of the originals.
    fn jobs(
        &self,
        ways: &Ways,
        to: usize,
        folder: &Folder,
        transfer: &Transfer,
    ) -> Result<BTreeMap<FolderId, Vec<Job>>, Trouble> {
        let ledger = &self.context.ledger;
        let mut jobs: BTreeMap<FolderId, Vec<Job>> = BTreeMap::new();
        for (_, uid) in &transfer.pairs {
            let Some(message) = ledger.message(folder.mailbox, folder.id, *uid)? else { continue };
            if message.state != MessageState::Pending {
                continue;
            }
            match self.original(ways, (to, *uid))? {
                Some((from, original_uid, original, target_uid)) => {
                    let same = original.size == message.size && original.date.unix() == message.date.unix();
                    if same {
                        let job = Job { uid: *uid, message, original_uid, original, target_uid };
                        jobs.entry(from).or_default().push(job);
                    }
                }
                None => self.share_body(ways, (to, *uid), folder),
            }
        }
        Ok(jobs)
    }

    /// The message that this one is a copy of, if its own copy is on the target.
    fn original(
        &self,
        ways: &Ways,
        of: (usize, Uid),
    ) -> Result<Option<(FolderId, Uid, Message, Uid)>, Trouble> {
        let ledger = &self.context.ledger;
        let mut at = of;
        for _ in 0..MAX_STEPS {
            let Some(before) = ways.from.get(&at) else { return Ok(None) };
            at = *before;
            let Some(folder) = &ways.folders[at.0] else { continue };
            let mut place = (folder.id, at.1);
            for _ in 0..MAX_STEPS {
                let message = ledger.message(self.mailbox, place.0, place.1)?;
                if let Some(message) = message
                    && let MessageState::Mirrored { target_uid: Some(target_uid) } = message.state
                {
                    return Ok(Some((place.0, place.1, message, target_uid)));
                }
                let Some(next) = ways.became.get(&place) else { break };
                place = *next;
            }
        }
        Ok(None)
    }

    /// No copy to copy: but a body of it may be in the spool.
    fn share_body(&self, ways: &Ways, of: (usize, Uid), folder: &Folder) {
        let key = |folder: &Folder, uid| MessageKey {
            mailbox: self.mailbox,
            folder: folder.source.clone(),
            validity: folder.source_validity,
            uid,
        };
        let ours = key(folder, of.1);
        let mut at = of;
        for _ in 0..MAX_STEPS {
            let Some(before) = ways.from.get(&at) else { return };
            at = *before;
            let place = &ways.places[at.0];
            let theirs = MessageKey {
                mailbox: self.mailbox,
                folder: place.folder.clone(),
                validity: place.validity,
                uid: at.1,
            };
            if self.context.spool.share(&theirs, ours.clone()) {
                return;
            }
        }
    }

    /// Which of these the source no longer has; none where it cannot say.
    async fn gone_at_source(&mut self, folder: &Folder, uids: &UidSet) -> Result<UidSet, Trouble> {
        let source = self.source().await?;
        match source.examine(&folder.source).await {
            Ok(selected) if selected.uid_validity != folder.source_validity => return Ok(UidSet::new()),
            Ok(selected) if selected.exists == 0 => return Ok(uids.clone()),
            Ok(_) => {}
            Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => return Ok(UidSet::new()),
            Err(trouble) => return Err(trouble),
        }
        let mut gone = uids.clone();
        for chunk in uids.chunks(MAX_SET) {
            let there = source.session.uid_search(&format!("UID {chunk}")).await.map_err(Trouble::source)?;
            gone = gone.difference(&there);
        }
        Ok(gone)
    }
}

impl Job {
    /// The message's record when its copy is there: with the original's flags, which the target kept.
    fn arrived(&self, target_uid: Uid) -> Message {
        Message {
            state: MessageState::Mirrored { target_uid: Some(target_uid) },
            flags: self.original.flags.clone(),
            print: self.original.print,
            ..self.message.clone()
        }
    }

    /// The original's record then.
    fn left(&self) -> Message {
        Message { state: MessageState::Gone, ..self.original.clone() }
    }

    /// The flags that the message has at the source by now, if they are others.
    fn reflagged(&self, arrived: Message) -> Option<Reflagged> {
        let flags = self.message.flags.clone();
        (arrived.flags != flags).then_some(Reflagged { uid: self.uid, message: arrived, flags })
    }
}

/// The folder of a place: of this name, or the only one of this UIDVALIDITY if it was renamed.
fn find<'a>(all: &'a [Folder], place: &Place) -> Option<&'a Folder> {
    let mut named = all.iter().filter(|folder| folder.source == place.folder).peekable();
    if named.peek().is_some() {
        return named.find(|folder| folder.source_validity == place.validity);
    }
    let mut of_validity = all.iter().filter(|folder| folder.source_validity == place.validity);
    of_validity.next().filter(|_| of_validity.next().is_none())
}
