//! Last: outcomes into the ledger, many with one durable write.

use std::time::Duration;

use mailferry_imap::SystemFlag;
use mailferry_ledger::{Change, MessageState};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Job, Origin, Outcome, Pumped, Sent, Shared, State};
use crate::trouble::Trouble;

/// As many outcomes are worth a durable write at once.
const WORTHWHILE: usize = 64;

/// For more of them is waited so long.
const LINGER: Duration = Duration::from_millis(15);

/// Writes outcomes until no more come.
pub(super) async fn settle(shared: &Shared<'_>, mut outcomes: mpsc::Receiver<Outcome>) {
    let mut batch = Vec::new();
    loop {
        if outcomes.recv_many(&mut batch, 4 * WORTHWHILE).await == 0 {
            return;
        }
        while batch.len() < WORTHWHILE {
            match timeout(LINGER, outcomes.recv()).await {
                Ok(Some(outcome)) => batch.push(outcome),
                Ok(None) | Err(_) => break,
            }
        }
        let mut change = shared.job.ledger.change();
        for outcome in &batch {
            note(shared, &mut change, outcome);
        }
        if let Err(error) = change.commit().await {
            // The copies stand, and their intents say that they must be looked for.
            return shared.stop(error.into());
        }
        let mut state = shared.state();
        for outcome in batch.drain(..) {
            count(shared.job, &mut state, outcome);
        }
    }
}

fn note(shared: &Shared<'_>, change: &mut Change, outcome: &Outcome) {
    let (mailbox, folder) = (shared.job.folder.mailbox, shared.job.folder.id);
    let state = shared.state();
    let (Outcome::Stored { uid, .. } | Outcome::Skipped { uid, .. }) = outcome;
    let Some(staged) = state.staged.get(uid) else { return };
    let mut message = staged.message.clone();
    match outcome {
        Outcome::Stored { target_uid, size, print, .. } => {
            message.state = MessageState::Mirrored { target_uid: *target_uid };
            message.size = *size;
            message.print = print.whole;
            match target_uid {
                Some(_) => change.settle(mailbox, folder, *uid, message),
                // Its intent says where to look for it, should it not be found at once.
                None => change.put_message(mailbox, folder, *uid, message),
            }
        }
        Outcome::Skipped { reason, size, facts, .. } => {
            message.state = MessageState::Skipped(reason.clone());
            message.size = *size;
            change.settle(mailbox, folder, *uid, message);
            change.put_skipped_facts(mailbox, folder, *uid, facts.clone());
        }
    }
}

fn count(job: &Job<'_>, state: &mut State, outcome: Outcome) {
    match outcome {
        Outcome::Stored { uid, target_uid, size, origin, .. } => {
            let staged = state.staged.remove(&uid);
            job.progress.copied(size);
            let pumped = &mut state.pumped;
            pumped.copied += 1;
            pumped.bytes += size;
            pumped.from_spool += u64::from(origin == Origin::Spool);
            match target_uid {
                None => pumped.without_uid += 1,
                Some(target_uid) => {
                    if staged.is_some_and(|staged| staged.message.flags.contains(SystemFlag::Flagged)) {
                        pumped.flagged.insert(target_uid);
                    }
                }
            }
        }
        Outcome::Skipped { uid, .. } => {
            state.staged.remove(&uid);
            state.pumped.skipped += 1;
        }
    }
}

/// Takes the intents back of which it is certain that nothing was stored; says whether any are left.
pub(super) async fn take_back(job: &Job<'_>, state: State) -> Pumped {
    let mut pumped = state.pumped;
    let mut change = job.ledger.change();
    for (uid, staged) in &state.staged {
        match staged.sent {
            Sent::NotYet => change.remove_intent(job.folder.mailbox, job.folder.id, *uid),
            Sent::Whole => pumped.in_doubt = true,
        }
    }
    if !change.is_empty()
        && let Err(error) = change.commit().await
    {
        pumped.in_doubt = true;
        pumped.note(Trouble::from(error));
    }
    pumped
}
