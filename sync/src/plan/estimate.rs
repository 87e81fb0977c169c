//! How long the copying may take. Pure.

use serde::{Deserialize, Serialize};

use super::MailboxPlan;
use crate::batch::Rate;

/// What one mailbox is assumed to take: Office 365 slows down whoever sends it more messages for long.
const MESSAGES_PER_SECOND: f64 = 4.0;

/// The same in bytes.
const BYTES_PER_SECOND: f64 = 500_000.0;

/// How long the copying may take, and what that is told from.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// Seconds.
    pub seconds: u64,
    /// `measured`: by the batch's own speed over the last half minute. `assumed`: nothing is moving yet.
    pub basis: String,
    /// Messages per second: of the batch where measured, of each mailbox where assumed.
    pub messages_per_second: f64,
    /// Bytes per second, of the same.
    pub bytes_per_second: f64,
    /// Mailboxes at once.
    pub at_once: u32,
}

/// Estimates what is left of a batch's mailboxes, `at_once` of them at a time; `rate` is the batch's speed.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds, never negative")]
pub(crate) fn estimate(mailboxes: &[MailboxPlan], at_once: u32, rate: Rate) -> Estimate {
    let take = |messages: u64, bytes: u64, messages_per_second: f64, bytes_per_second: f64| {
        (messages as f64 / messages_per_second).max(bytes as f64 / bytes_per_second)
    };
    let is_measured = rate.messages_per_second > 0.0 && rate.bytes_per_second > 0.0;
    if is_measured {
        let messages = mailboxes.iter().map(|one| one.to_copy).sum();
        let bytes = mailboxes.iter().map(|one| one.bytes_to_copy).sum();
        return Estimate {
            seconds: take(messages, bytes, rate.messages_per_second, rate.bytes_per_second).ceil() as u64,
            basis: "measured".to_owned(),
            messages_per_second: rate.messages_per_second,
            bytes_per_second: rate.bytes_per_second,
            at_once,
        };
    }
    let each = mailboxes
        .iter()
        .map(|one| take(one.to_copy, one.bytes_to_copy, MESSAGES_PER_SECOND, BYTES_PER_SECOND));
    let (all, longest) =
        each.fold((0.0, 0.0_f64), |(all, longest), seconds| (all + seconds, longest.max(seconds)));
    Estimate {
        // No mailbox is faster for having company, and there is only so much room.
        seconds: longest.max(all / f64::from(at_once.max(1))).ceil() as u64,
        basis: "assumed".to_owned(),
        messages_per_second: MESSAGES_PER_SECOND,
        bytes_per_second: BYTES_PER_SECOND,
        at_once,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(to_copy: u64, bytes_to_copy: u64) -> MailboxPlan {
        MailboxPlan { to_copy, bytes_to_copy, ..MailboxPlan::default() }
    }

    #[test]
    fn the_slower_of_messages_and_bytes_the_longest_mailbox_and_the_room_count() {
        let seconds =
            |mailboxes: &[MailboxPlan], at_once| estimate(mailboxes, at_once, Rate::default()).seconds;
        assert_eq!(seconds(&[], 5), 0);
        assert_eq!(seconds(&[mailbox(1, 1)], 5), 1);
        assert_eq!(seconds(&[mailbox(400, 1)], 5), 100);
        assert_eq!(seconds(&[mailbox(1, 50_000_000)], 5), 100);
        assert_eq!(seconds(&[mailbox(400, 1), mailbox(40, 1), mailbox(40, 1)], 5), 100);
        assert_eq!(seconds(&[mailbox(400, 1), mailbox(400, 1), mailbox(400, 1)], 2), 150);
        let rate = Rate { messages_per_second: 40.0, bytes_per_second: 1e9, seconds_left: None };
        let measured = estimate(&[mailbox(400, 1), mailbox(400, 1)], 2, rate);
        assert_eq!((measured.seconds, measured.basis.as_str()), (20, "measured"));
    }
}
