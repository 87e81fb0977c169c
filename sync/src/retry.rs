//! The operator's word that skipped messages are to be tried once more.

use std::collections::BTreeMap;

use mailferry_ledger::{Message, MessageState, SkipReason};
use serde::{Deserialize, Serialize};

use crate::error::PassError;
use crate::worker::MailboxWorker;

/// How many records go into one change.
const RECORDS: usize = 4_000;

/// Which messages an operator wants tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// The skipped ones.
    #[default]
    Skipped,
    /// Those too whose copies are gone from the target: both sides are compared for that.
    SkippedAndMissing,
}

/// What became of the skipped messages.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Retried {
    /// Messages that are pending again.
    pub messages: u64,
    /// Messages that stay skipped, by reason: for these, trying again changes nothing.
    pub stay: BTreeMap<String, u64>,
    /// Messages that are copied anew, since their copies are nowhere on the target.
    #[serde(default)]
    pub missing: u64,
    /// A pass is under way: they are taken on when it has ended, and how many is not known.
    #[serde(default)]
    pub after_pass: bool,
}

impl MailboxWorker {
    /// Makes messages pending where another try may end otherwise.
    ///
    /// # Errors
    /// [`PassError`]; what was made pending stays so.
    pub(crate) async fn retry(&mut self, again: Again) -> Result<Retried, PassError> {
        let mut retried = self.retry_skipped().await?;
        if again == Again::SkippedAndMissing {
            retried.missing = self.recopy_missing().await?;
        }
        Ok(retried)
    }

    async fn retry_skipped(&mut self) -> Result<Retried, PassError> {
        let ledger = self.context.ledger.clone();
        let limit = self.context.limits.max_message_bytes;
        let mut retried = Retried::default();
        let mut change = ledger.change();
        let mut changed = 0;
        for skipped in ledger.skipped(self.mailbox) {
            let skipped = skipped?;
            let MessageState::Skipped(reason) = &skipped.message.state else { continue };
            if !may_go(reason, skipped.message.size, limit) {
                *retried.stay.entry(reason.to_string()).or_default() += 1;
                continue;
            }
            let message = Message { state: MessageState::Pending, ..skipped.message };
            change.put_message(self.mailbox, skipped.folder, skipped.uid, message);
            retried.messages += 1;
            changed += 1;
            if changed >= RECORDS {
                std::mem::replace(&mut change, ledger.change()).commit().await?;
                changed = 0;
            }
        }
        if changed > 0 {
            change.commit().await?;
        }
        Ok(retried)
    }
}

/// Whether another try may end otherwise. Of what is beyond the item limit, each pass takes as many as there is room for.
fn may_go(reason: &SkipReason, size: u64, limit: u64) -> bool {
    match reason {
        SkipReason::TooLarge => size <= limit,
        SkipReason::ItemLimit => false,
        SkipReason::Refused(_) | SkipReason::Stub | SkipReason::Unreadable(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_end_otherwise_is_tried_again() {
        let refused = SkipReason::Refused("NO".into());
        for (reason, size, expected) in [
            (&SkipReason::TooLarge, 101, false),
            // The limit was raised, or the target refused what was within it.
            (&SkipReason::TooLarge, 100, true),
            (&SkipReason::ItemLimit, 1, false),
            (&refused, 1_000, true),
            (&SkipReason::Unreadable("gone".into()), 1, true),
            (&SkipReason::Stub, 1, true),
        ] {
            assert_eq!(may_go(reason, size, 100), expected, "{reason:?} {size}");
        }
    }
}
