//! What the target told a mailbox to wait for, as it is kept: it holds across a restart of the daemon, whatever happens to the
//! wall clock meanwhile.
//!
//! `throttled_until` of the mailbox's record is the same for people. What is obeyed is the steady clock ([`crate::steady`]):
//! across a restart of the machine, of which nobody knows how long it took, a mailbox may wait longer than was asked, never
//! shorter.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mailferry_ledger::{Change, Ledger, Mailbox, MailboxId, ReadError};
use serde::{Deserialize, Serialize};

use crate::steady;
use crate::tenant::Waits;

/// How much of the target's words is kept.
const MAX_WORDS: usize = 300;

/// What is kept of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    times: u64,
    strikes: u32,
    last: Timestamp,
    until: Timestamp,
    steady_until: SignedDuration,
    words: String,
}

/// How often the target asked a mailbox to wait, and how it said so last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// How often, all in all.
    pub times: u64,
    /// When last.
    pub last: Timestamp,
    /// The target's words then.
    pub words: String,
}

/// Notes that a mailbox is to wait for so long. Returns until when, by the wall clock.
pub(crate) fn note(
    ledger: &Ledger,
    change: &mut Change,
    mailbox: MailboxId,
    wait: Duration,
    strikes: u32,
    words: &str,
) -> Result<Timestamp, ReadError> {
    let now = steady::stamp(ledger, change)?;
    // The kernel tells hundredths.
    let wait =
        SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX) + SignedDuration::from_millis(10);
    let until = now.at.checked_add(wait).unwrap_or(Timestamp::MAX);
    let times = record(ledger, mailbox)?.map_or(0, |known| known.times);
    let record = Record {
        times: times.saturating_add(1),
        strikes,
        last: now.at,
        until,
        steady_until: now.steady.saturating_add(wait),
        words: words.chars().take(MAX_WORDS).collect(),
    };
    change.put_fact(&name(mailbox), serde_json::to_string(&record).unwrap_or_default());
    change.update_mailbox(mailbox, move |mailbox| mailbox.throttled_until = Some(until));
    Ok(until)
}

/// For how long a mailbox still has to wait by what is kept, and how often it was told so in a row.
pub(crate) fn waits(ledger: &Ledger, mailbox: &Mailbox) -> Result<Option<(Waits, u32)>, ReadError> {
    let now = steady::now(ledger)?;
    let record = record(ledger, mailbox.id)?;
    let left = match &record {
        Some(record) => record.steady_until.saturating_sub(now.steady),
        None => mailbox.throttled_until.map_or(SignedDuration::ZERO, |until| until.duration_since(now.at)),
    };
    let left = Duration::try_from(left).unwrap_or_default();
    let (words, strikes) = record.map_or_else(Default::default, |record| (record.words, record.strikes));
    Ok((!left.is_zero()).then_some((Waits { left, words }, strikes)))
}

/// What is shown of a mailbox that was ever told to wait.
pub(crate) fn of(ledger: &Ledger, mailbox: MailboxId) -> Result<Option<Throttling>, ReadError> {
    let shown = |record: Record| Throttling { times: record.times, last: record.last, words: record.words };
    Ok(record(ledger, mailbox)?.map(shown))
}

/// The name of the fact.
pub(crate) fn name(mailbox: MailboxId) -> String {
    format!("throttled/{mailbox}")
}

fn record(ledger: &Ledger, mailbox: MailboxId) -> Result<Option<Record>, ReadError> {
    // What does not read was not written by us.
    Ok(ledger.fact(&name(mailbox))?.and_then(|json| serde_json::from_str(&json).ok()))
}
