//! What clients just did, as far as it is not served yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mailferry_imap::{FolderName, MailboxId, Uid, UidSet, UidValidity};
use mailferry_ledger::MessageState;
use mailferry_spool::{Seen, Spool, Transfer};
use tracing::debug;

use crate::transfer::Unknown;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, Pass, PassReport};

/// During a pass, hints are served at most this often: each time the pipe runs empty.
const OFTEN: Duration = Duration::from_millis(500);

/// More transferred messages than these wait as changed folders only.
const MAX_TRANSFERRED: usize = 100_000;

/// Hints that were taken from the spool.
#[derive(Default)]
pub(crate) struct Hints {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Folders were made, renamed or removed, or anything at all happened.
    everything: bool,
    folders: BTreeSet<FolderName>,
    /// Folders that a listing may not show yet.
    named: BTreeSet<FolderName>,
    bodies: BTreeSet<(FolderName, Uid)>,
    transfers: Vec<Transfer>,
    served: Option<Instant>,
    /// Folders that the batch leaves out: what happens there is nothing to us.
    left_out: BTreeSet<FolderName>,
}

impl Known {
    fn add_transfer(&mut self, transfer: Transfer) {
        let waiting: usize = self.transfers.iter().map(|known| known.pairs.len().max(10)).sum();
        if waiting + transfer.pairs.len() <= MAX_TRANSFERRED {
            self.transfers.push(transfer);
        }
    }
}

impl Hints {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the spool has.
    pub(crate) fn gather(&self, spool: &Spool, mailbox: MailboxId) {
        let mut known = self.known();
        for seen in spool.drain(mailbox) {
            match seen {
                Seen::Body { key, .. } => {
                    known.bodies.insert((key.folder, key.uid));
                }
                Seen::FolderChanged { folder, .. } => {
                    known.folders.insert(folder);
                }
                Seen::Transferred(transfer) => known.add_transfer(transfer),
                Seen::FoldersChanged { .. } | Seen::Everything { .. } => known.everything = true,
            }
        }
    }

    /// Whether a pass should make room.
    pub(crate) fn are_urgent(&self, spool: &Spool, mailbox: MailboxId) -> bool {
        self.gather(spool, mailbox);
        let known = self.known();
        let waiting = !known.folders.is_empty() || !known.bodies.is_empty() || !known.transfers.is_empty();
        waiting && known.served.is_none_or(|served| served.elapsed() >= OFTEN)
    }

    /// Whether a COPY or MOVE waits to be carried out.
    pub(crate) fn has_transfers(&self) -> bool {
        !self.known().transfers.is_empty()
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        let known = self.known();
        !known.everything && known.folders.is_empty() && known.bodies.is_empty() && known.transfers.is_empty()
    }

    /// Whether an incremental pass is asked for.
    pub(crate) fn wants_everything(&self) -> bool {
        self.known().everything
    }

    /// Whether an incremental pass is asked for; it serves everything.
    pub(crate) fn take_everything(&self) -> bool {
        let mut known = self.known();
        let everything = std::mem::take(&mut known.everything);
        if everything {
            let folders = std::mem::take(&mut known.folders);
            known.named.extend(folders);
        }
        everything
    }

    /// Folders in which something happened before everything was asked for.
    pub(crate) fn take_named(&self) -> BTreeSet<FolderName> {
        std::mem::take(&mut self.known().named)
    }

    fn take(&self) -> (BTreeSet<FolderName>, BTreeSet<(FolderName, Uid)>) {
        let mut known = self.known();
        known.served = Some(Instant::now());
        (std::mem::take(&mut known.folders), std::mem::take(&mut known.bodies))
    }

    /// What was copied and moved.
    pub(crate) fn take_transfers(&self) -> Vec<Transfer> {
        std::mem::take(&mut self.known().transfers)
    }

    /// Puts transfers back that could not be served.
    pub(crate) fn put_back_transfers(&self, transfers: Vec<Transfer>) {
        let mut known = self.known();
        let younger = std::mem::replace(&mut known.transfers, transfers);
        younger.into_iter().for_each(|transfer| known.add_transfer(transfer));
    }

    /// Which messages of a folder have a transfer before them.
    pub(crate) fn originals(&self, folder: &FolderName, validity: UidValidity) -> UidSet {
        let known = self.known();
        let of_it = known
            .transfers
            .iter()
            .filter(|transfer| transfer.from.folder == *folder && transfer.from.validity == validity);
        of_it.flat_map(|transfer| transfer.pairs.iter().map(|(original, _)| *original)).collect()
    }

    /// Puts folders back that could not be served.
    pub(crate) fn put_back(&self, folders: impl IntoIterator<Item = FolderName>) {
        self.known().folders.extend(folders);
    }

    /// Asks for everything, this folder by its name.
    pub(crate) fn ask_everything_of(&self, name: &FolderName) {
        let mut known = self.known();
        known.everything = true;
        known.named.insert(name.clone());
    }

    /// Notes which folders the batch leaves out.
    pub(crate) fn leave_out(&self, folders: impl Iterator<Item = FolderName>) {
        self.known().left_out = folders.collect();
    }

    fn is_left_out(&self, folder: &FolderName) -> bool {
        self.known().left_out.contains(folder)
    }

    /// Asks for everything.
    pub(crate) fn ask_everything(&self) {
        self.known().everything = true;
    }
}

impl MailboxWorker {
    /// Serves hints about single folders: what is new there, or was just read, goes to the target at once.
    pub(crate) async fn serve_hints(&mut self, report: &mut PassReport) -> Result<(), Trouble> {
        self.serve_transfers(Unknown::AskPass, report).await?;
        let (folders, bodies) = self.hints.take();
        let all: BTreeSet<FolderName> =
            folders.iter().chain(bodies.iter().map(|(folder, _)| folder)).cloned().collect();
        let mut rest = all.clone();
        for name in &all {
            let uids: UidSet =
                bodies.iter().filter(|(folder, _)| folder == name).map(|(_, uid)| *uid).collect();
            let changed = folders.contains(name);
            if let Err(trouble) = self.serve_folder(name, changed, uids, report).await {
                self.hints.put_back(rest);
                return Err(trouble);
            }
            rest.remove(name);
        }
        Ok(())
    }

    async fn serve_folder(
        &mut self,
        name: &FolderName,
        changed: bool,
        read: UidSet,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let Some(folder) = ledger.folder_by_source(self.mailbox, name)? else {
            // The first pass has not been here, or the folder is new: listing finds it.
            if ledger.folders(self.mailbox)?.is_empty() || self.hints.is_left_out(name) {
                return Ok(());
            }
            self.hints.ask_everything_of(name);
            return Ok(());
        };
        let first_scan = ledger.last_uid(folder.mailbox, folder.id)?.is_none() && folder.seen.is_none();
        if first_scan {
            return Ok(()); // The pass that is under way, or the next one, takes the bodies.
        }
        let mut todo = UidSet::new();
        let mut unknown = false;
        let mut mark = None;
        for uid in read.iter() {
            match ledger.message(folder.mailbox, folder.id, uid)?.map(|message| message.state) {
                Some(MessageState::Pending) => todo.insert(uid),
                Some(_) => {
                    let key = mailferry_imap::MessageKey {
                        mailbox: self.mailbox,
                        folder: name.clone(),
                        validity: folder.source_validity,
                        uid,
                    };
                    drop(self.context.spool.take(&key));
                }
                None => unknown = true,
            }
        }
        if changed || unknown {
            let scanned = self.scan(&folder, Pass::Incremental, report).await?;
            if scanned.mark.is_none() {
                self.hints.ask_everything(); // It is another folder by now.
                return Ok(());
            }
            todo = todo.union(&scanned.new);
            mark = scanned.mark;
            if folder.seen.is_some() && ledger.counts(folder.mailbox, folder.id)?.pending > todo.len() {
                // The folder is through its first pass: what is pending was left by trouble, not by the pass under way.
                todo = todo.union(&self.pending(&folder)?);
            }
        }
        let counts = ledger.mailbox_counts(self.mailbox)?;
        if counts.mirrored + counts.pending > self.context.limits.max_items {
            debug!("Beyond the item limit: left to the next pass.");
            return Ok(());
        }
        // Perhaps it was a COPY or MOVE that is told by now.
        self.hints.gather(&self.context.spool, self.mailbox);
        self.serve_transfers(Unknown::AskPass, report).await?;
        if !todo.is_empty() {
            self.copy(folder.clone(), todo, report).await?;
        }
        if folder.seen.is_some()
            && let Some(mark) = mark
            && ledger.counts(folder.mailbox, folder.id)?.pending == 0
        {
            // As after a pass: the next one finds the folder unmoved.
            let mut change = ledger.change();
            change.update_folder(folder.mailbox, folder.id, move |folder| folder.seen = Some(mark));
            change.commit().await?;
        }
        Ok(())
    }
}
