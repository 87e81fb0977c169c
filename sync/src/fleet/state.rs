//! What state a batch is in, told from what was asked of it and from its mailboxes. Pure.

use mailferry_ledger::BatchState;

use crate::batch::MailboxStates;

/// The state that is shown. `asked` is what the ledger keeps: `Syncing` stands for "started".
pub(crate) fn derive(asked: BatchState, states: &MailboxStates, pending: u64, skipped: u64) -> BatchState {
    match asked {
        BatchState::Created | BatchState::Stopping | BatchState::Stopped | BatchState::Removing => asked,
        BatchState::Syncing
        | BatchState::Synced
        | BatchState::SyncedWithErrors
        | BatchState::IncrementalSyncing
        | BatchState::Failed => started(states, pending, skipped),
    }
}

/// Whether the workers of a batch in this state are to run.
pub(crate) fn is_started(asked: BatchState) -> bool {
    match asked {
        BatchState::Created | BatchState::Stopping | BatchState::Stopped | BatchState::Removing => false,
        BatchState::Syncing
        | BatchState::Synced
        | BatchState::SyncedWithErrors
        | BatchState::IncrementalSyncing
        | BatchState::Failed => true,
    }
}

fn started(states: &MailboxStates, pending: u64, skipped: u64) -> BatchState {
    let total = states.queued
        + states.syncing
        + states.synced
        + states.incremental_syncing
        + states.failed
        + states.stopped
        + states.waiting_for_login;
    if total > 0 && states.failed == total {
        return BatchState::Failed;
    }
    if states.queued + states.syncing + states.stopped > 0 {
        return BatchState::Syncing;
    }
    let begun = states.synced + states.incremental_syncing;
    if states.waiting_for_login > 0 && begun == 0 {
        return BatchState::Syncing; // Nobody has come yet.
    }
    if states.incremental_syncing > 0 {
        return BatchState::IncrementalSyncing;
    }
    // "Synced" is said only when nothing is pending (promise 5).
    if states.failed + states.waiting_for_login > 0 || skipped > 0 || pending > 0 {
        return BatchState::SyncedWithErrors;
    }
    BatchState::Synced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_the_mailboxes() {
        let none = MailboxStates::default();
        for (states, pending, skipped, expected) in [
            (MailboxStates { queued: 1, synced: 5, ..none }, 0, 0, BatchState::Syncing),
            (MailboxStates { syncing: 1, incremental_syncing: 1, ..none }, 0, 0, BatchState::Syncing),
            (MailboxStates { syncing: 1, failed: 1, ..none }, 0, 0, BatchState::Syncing),
            (
                MailboxStates { incremental_syncing: 1, synced: 2, ..none },
                0,
                0,
                BatchState::IncrementalSyncing,
            ),
            (MailboxStates { synced: 3, ..none }, 0, 0, BatchState::Synced),
            (MailboxStates { synced: 3, ..none }, 1, 0, BatchState::SyncedWithErrors),
            (MailboxStates { synced: 3, ..none }, 0, 1, BatchState::SyncedWithErrors),
            (MailboxStates { synced: 3, failed: 1, ..none }, 0, 0, BatchState::SyncedWithErrors),
            (MailboxStates { failed: 2, ..none }, 0, 0, BatchState::Failed),
            (MailboxStates { waiting_for_login: 2, ..none }, 0, 0, BatchState::Syncing),
            (MailboxStates { waiting_for_login: 1, failed: 1, ..none }, 0, 0, BatchState::Syncing),
            (MailboxStates { waiting_for_login: 1, synced: 2, ..none }, 0, 0, BatchState::SyncedWithErrors),
        ] {
            assert_eq!(derive(BatchState::Syncing, &states, pending, skipped), expected, "{states:?}");
            assert_eq!(derive(BatchState::Stopped, &states, pending, skipped), BatchState::Stopped);
            assert_eq!(derive(BatchState::Created, &states, pending, skipped), BatchState::Created);
        }
    }
}
