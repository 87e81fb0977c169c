//! Carrying out: intents, one command, and what came of it.

use std::collections::BTreeMap;

use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, FolderId, Intent, Message, MessageState};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::Job;
use crate::changes::Reflagged;
use crate::error::SideError;
use crate::pace::{Meaning, meaning};
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

/// Intents that are made durable together.
const WINDOW: usize = 2_000;

/// Whether a copy takes its original's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Copy,
    Move,
}

/// Where a message under way comes from: kept beside its intent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Moving {
    uid: Uid,
    from: FolderId,
    original: Uid,
    kind: Kind,
}

impl MailboxWorker {
    pub(super) async fn carry_between(
        &mut self,
        from: &Folder,
        to: &mut Folder,
        jobs: Vec<Job>,
        became: &mut BTreeMap<(FolderId, Uid), (FolderId, Uid)>,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let originals: UidSet = jobs.iter().map(|job| job.original_uid).collect();
        let gone = self.gone_at_source(from, &originals).await?;
        let uid_next = self.get_ready(to, report).await?;
        let adopted = self.adopted(from)?;
        let mut rest = Vec::new();
        for job in jobs {
            // Getting ready may have found some on the target.
            let message = self.context.ledger.message(to.mailbox, to.id, job.uid)?;
            if message.is_some_and(|message| message.state == MessageState::Pending) {
                rest.push(job);
            }
        }
        while !rest.is_empty() {
            let mut uses: BTreeMap<Uid, u32> = BTreeMap::new();
            rest.iter().for_each(|job| *uses.entry(job.target_uid).or_default() += 1);
            let (mut copies, mut moves, mut later) = (Vec::new(), Vec::new(), Vec::new());
            let mut picked = UidSet::new();
            for job in rest {
                // Of several copies of one message the last takes its place. What was on the target before us stays.
                let last = uses.get(&job.target_uid) == Some(&1);
                if picked.contains(job.target_uid) {
                    later.push(job);
                    continue;
                }
                picked.insert(job.target_uid);
                match last && gone.contains(job.original_uid) && !adopted.contains(job.target_uid) {
                    true => moves.push(job),
                    false => copies.push(job),
                }
            }
            for (kind, jobs) in [(Kind::Copy, copies), (Kind::Move, moves)] {
                let mut jobs = jobs.into_iter().peekable();
                while jobs.peek().is_some() {
                    let window: Vec<Job> = jobs.by_ref().take(WINDOW).collect();
                    for job in window.iter().filter(|_| kind == Kind::Move) {
                        became.insert((from.id, job.original_uid), (to.id, job.uid));
                    }
                    let fits = match kind == Kind::Move && from.id == to.id {
                        true => self.rename_within(to, window, report).await?,
                        false => self.carry_window(from, to, kind, window, uid_next, report).await?,
                    };
                    if !fits {
                        return Ok(());
                    }
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Messages that are back in the folder in which their copies still are: they only have other UIDs at the source.
    async fn rename_within(
        &mut self,
        folder: &Folder,
        jobs: Vec<Job>,
        report: &mut PassReport,
    ) -> Result<bool, Trouble> {
        let mut change = self.context.ledger.change();
        let mut reflagged = Vec::new();
        for job in jobs {
            let message = job.arrived(job.target_uid);
            change.put_message(folder.mailbox, folder.id, job.uid, message.clone());
            change.put_message(folder.mailbox, folder.id, job.original_uid, job.left());
            reflagged.extend(job.reflagged(message));
            report.transferred += 1;
        }
        change.commit().await?;
        self.carry_flags(folder, reflagged, report).await?;
        Ok(true)
    }

    /// One command. False where the target's folder is not the one that the ledger knows.
    async fn carry_window(
        &mut self,
        from: &Folder,
        to: &Folder,
        kind: Kind,
        jobs: Vec<Job>,
        uid_next: u32,
        report: &mut PassReport,
    ) -> Result<bool, Trouble> {
        let ledger = self.context.ledger.clone();
        let target = self.target().await?;
        match target.select(&from.target).await {
            Ok(selected) if Some(selected.uid_validity) == from.target_validity => {}
            Ok(_) => return Ok(false),
            Err(trouble) if is_refusal(&trouble) => return Ok(false),
            Err(trouble) => return Err(trouble),
        }
        let by_move = kind == Kind::Move && target.session.capabilities().has("MOVE");
        let mut change = ledger.change();
        let mut moving = Vec::new();
        for job in &jobs {
            let Message { print, size, date, .. } = job.original;
            change.note_intent(
                to.mailbox,
                to.id,
                job.uid,
                Intent { target_uid_next: uid_next, print, size, date },
            );
            moving.push(Moving { uid: job.uid, from: from.id, original: job.original_uid, kind });
        }
        change.put_fact(&moving_name(to), serde_json::to_string(&moving).unwrap_or_default());
        change.commit().await?;

        let uids: UidSet = jobs.iter().map(|job| job.target_uid).collect();
        let session = &mut self.target().await?.session;
        let answer = match by_move {
            true => session.uid_move(&uids, &to.target).await,
            false => session.uid_copy(&uids, &to.target).await,
        };
        let told = match answer {
            Ok(told) => told,
            Err(error) => match Trouble::target(error) {
                // Perhaps after half of it was done: the looking tells.
                trouble if is_refusal(&trouble) => Vec::new(),
                trouble => return Err(trouble),
            },
        };
        let told: BTreeMap<Uid, Uid> = told
            .into_iter()
            .filter(|one| Some(one.validity) == to.target_validity)
            .map(|one| (one.from, one.to))
            .collect();

        let mut change = ledger.change();
        let (mut reflagged, mut left_behind, mut in_doubt) = (Vec::new(), Vec::new(), Vec::new());
        for (job, moving) in jobs.into_iter().zip(moving) {
            let Some(target_uid) = told.get(&job.target_uid) else {
                in_doubt.push(moving);
                continue;
            };
            let message = job.arrived(*target_uid);
            change.settle(to.mailbox, to.id, job.uid, message.clone());
            match kind {
                Kind::Move if by_move => {
                    change.put_message(from.mailbox, from.id, job.original_uid, job.left());
                }
                Kind::Move => left_behind.push(job.original_uid),
                Kind::Copy => {}
            }
            reflagged.extend(job.reflagged(message));
            report.transferred += 1;
        }
        match in_doubt.is_empty() {
            true => change.remove_fact(&moving_name(to)),
            false => {
                change.put_fact(&moving_name(to), serde_json::to_string(&in_doubt).unwrap_or_default());
            }
        }
        change.commit().await?;
        info!(count = told.len(), ?kind, "Carried over as at the source.");
        self.delete_left_behind(from.id, &left_behind, report).await?;
        self.carry_flags(to, reflagged, report).await?;
        if !in_doubt.is_empty() {
            self.reconcile(to, report).await?;
        }
        Ok(true)
    }

    /// What was under way into a folder when its intents were noted.
    pub(crate) fn moving(&self, folder: &Folder) -> Result<BTreeMap<Uid, Moving>, Trouble> {
        let fact = self.context.ledger.fact(&moving_name(folder))?;
        let moving: Vec<Moving> = fact.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        Ok(moving.into_iter().map(|one| (one.uid, one)).collect())
    }

    /// After a copy was found that was made from another: it has the flags of that one, which has to go if it was moved.
    pub(crate) async fn finish_moving(
        &mut self,
        folder: &Folder,
        found: Vec<Moving>,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let mut reflagged = Vec::new();
        let mut left_behind: BTreeMap<FolderId, Vec<Uid>> = BTreeMap::new();
        for one in &found {
            let original = ledger.message(folder.mailbox, one.from, one.original)?;
            let message = ledger.message(folder.mailbox, folder.id, one.uid)?;
            if let (Some(original), Some(message)) = (original, message)
                && original.flags != message.flags
            {
                let flags = message.flags.clone();
                let message = Message { flags: original.flags, ..message };
                reflagged.push(Reflagged { uid: one.uid, message, flags });
            }
            if one.kind == Kind::Move {
                left_behind.entry(one.from).or_default().push(one.original);
            }
        }
        self.carry_flags(folder, reflagged, report).await?;
        for (from, originals) in left_behind {
            self.delete_left_behind(from, &originals, report).await?;
        }
        Ok(())
    }

    /// Takes the copies of originals away that are gone at the source and have a new copy elsewhere.
    async fn delete_left_behind(
        &mut self,
        from: FolderId,
        originals: &[Uid],
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let Some(from) = ledger.folder(self.mailbox, from)? else { return Ok(()) };
        let adopted = self.adopted(&from)?;
        let mut copies = Vec::new();
        for uid in originals {
            let Some(message) = ledger.message(from.mailbox, from.id, *uid)? else { continue };
            if let MessageState::Mirrored { target_uid: Some(target_uid) } = message.state
                && !adopted.contains(target_uid)
            {
                copies.push((*uid, message, target_uid));
            }
        }
        self.delete_copies(&from, copies, ledger.change(), report).await
    }
}

/// Whether the target just does not do this one thing.
fn is_refusal(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Target(SideError::Imap(mailferry_imap::net::Error::Refused { code, text, .. })) => {
            match meaning(code.as_ref(), text) {
                Meaning::Item | Meaning::NoFolder | Meaning::Full | Meaning::TooLarge => true,
                Meaning::Throttled(_) | Meaning::TokenExpired | Meaning::Unavailable => false,
            }
        }
        Trouble::Source(_)
        | Trouble::Target(_)
        | Trouble::Throttled { .. }
        | Trouble::Waits(_)
        | Trouble::TokenExpired
        | Trouble::Replaced
        | Trouble::NoPlace
        | Trouble::Local(_)
        | Trouble::Stopped => false,
    }
}

pub(crate) fn moving_name(folder: &Folder) -> String {
    format!("moving/{}/{}", folder.mailbox, folder.id)
}
