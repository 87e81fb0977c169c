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

#[cfg(test)]
mod tests {
    use super::*;

    const MAILBOX: MailboxId = MailboxId(1);

    #[tokio::test]
    async fn what_is_obeyed_is_time_that_nobody_sets() {
        let folder = tempfile::tempdir().unwrap();
        let minutes = |minutes: i64| SignedDuration::from_mins(minutes);
        let ledger = Ledger::open(folder.path()).unwrap().ledger;
        let mut change = ledger.change();
        change.put_mailbox(Mailbox::new(MAILBOX, "B1", "a@contoso.edu", "a"));
        note(&ledger, &mut change, MAILBOX, Duration::from_secs(300), 2, "Request is throttled.").unwrap();
        change.commit().await.unwrap();
        let set = async |shown: SignedDuration, steady_by: SignedDuration| {
            let mut change = ledger.change();
            let mut record = record(&ledger, MAILBOX).unwrap().unwrap();
            record.steady_until += steady_by;
            change.put_fact(&name(MAILBOX), serde_json::to_string(&record).unwrap());
            let until = Timestamp::now().checked_add(shown).unwrap();
            change.update_mailbox(MAILBOX, move |mailbox| mailbox.throttled_until = Some(until));
            change.commit().await.unwrap();
            waits(&ledger, &ledger.mailbox(MAILBOX).unwrap().unwrap()).unwrap()
        };
        // The wall clock was put forward, or what it says was cleared: it waits all the same.
        let (left, strikes) = set(minutes(-60), SignedDuration::ZERO).await.unwrap();
        assert!((290..=300).contains(&left.left.as_secs()) && strikes == 2, "{left:?}");
        assert_eq!(left.words, "Request is throttled.");
        // Put back by an hour: it does not wait for that hour.
        assert_eq!(set(minutes(60), minutes(-6)).await, None);
        assert_eq!(of(&ledger, MAILBOX).unwrap().unwrap().times, 1);
    }

    #[tokio::test]
    async fn a_mailbox_of_an_older_version_waits_by_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap().ledger;
        let mut mailbox = Mailbox::new(MAILBOX, "B1", "a@contoso.edu", "a");
        assert_eq!(waits(&ledger, &mailbox).unwrap(), None);
        mailbox.throttled_until = Timestamp::now().checked_add(SignedDuration::from_secs(60)).ok();
        let (left, strikes) = waits(&ledger, &mailbox).unwrap().unwrap();
        assert!((55..=60).contains(&left.left.as_secs()) && strikes == 0);
    }
}
