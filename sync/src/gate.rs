//! The gate: the conditions that must hold before a batch may be removed.
//!
//! Pure: recorded facts and a moment in, conditions out, each with its figure and, while it is not met, the next step.
//! Absence of evidence is never taken for evidence: a domain that was not observed, a mailbox that was not read since,
//! or a quiet time during which nobody looked keeps the gate closed. Order and length are those of the steady clock
//! ([`Moment`]): setting the machine's clock opens nothing.

use jiff::{SignedDuration, Timestamp};
use mailferry_dnscheck::Moment;
use serde::{Deserialize, Serialize};

/// What is known about one domain of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainFacts {
    /// The domain, lower case.
    pub domain: String,
    /// The latest verdict in words (`office365`, `mixed`, …); `None` when never observed.
    pub verdict: Option<String>,
    /// When mail began to go to Office 365: since then every server has agreed without a break.
    pub since: Option<Moment>,
    /// When that had held for the whole waiting time.
    pub confirmed: Option<Moment>,
    /// When it will have, if nothing changes.
    pub due: Option<Timestamp>,
    /// When it was last observed.
    pub observed: Option<Timestamp>,
}

/// How a mailbox's owner came to work on Office 365.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moved {
    /// Still at work on the source.
    No,
    /// Its route is `target`.
    Switched,
    /// The operator said so.
    Declared {
        /// When.
        at: Timestamp,
        /// Who.
        by: String,
    },
}

/// What is known about one mailbox of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxFacts {
    /// Its address.
    pub address: String,
    /// The domain of that address, lower case.
    pub domain: String,
    /// Switched, declared so, or not.
    pub moved: Moved,
    /// When the last pass that left nothing pending began.
    pub last_synced: Option<Moment>,
    /// Messages that are not on the target yet.
    pub pending: u64,
    /// Messages that will not go: they are at the source only.
    pub skipped: u64,
    /// When a pass last saw an arrival at the source INBOX that came after the cutover was confirmed, or may have.
    pub last_straggler: Option<Moment>,
}

/// Everything that the gate looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The batch.
    pub batch: String,
    /// Every domain of its addresses.
    pub domains: Vec<DomainFacts>,
    /// Every mailbox of it.
    pub mailboxes: Vec<MailboxFacts>,
    /// For how long no straggler may have come.
    pub quiet: SignedDuration,
}

/// Which condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// MX confirmed for every domain.
    MxConfirmed,
    /// Every mailbox switched or declared so.
    Moved,
    /// Every mailbox synced at least once after mail began to go to Office 365.
    SyncedSince,
    /// Nothing pending.
    NothingPending,
    /// No straggler for the quiet time, and somebody looked.
    NoStraggler,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Which.
    pub kind: Kind,
    /// Whether it holds.
    pub met: bool,
    /// What must hold, in words.
    pub what: String,
    /// How far it holds, with numbers.
    pub figure: String,
    /// What to do about it; `None` when met.
    pub next: Option<String>,
    /// The domains or addresses that do not hold it yet, at most [`MOST_NAMED`].
    pub missing: Vec<String>,
}

/// A mailbox that was not read for longer is not known to be quiet: somebody may have stopped its batch.
pub const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// How many domains or addresses a condition names.
pub const MOST_NAMED: usize = 20;

/// The verdict on a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The batch.
    pub batch: String,
    /// The moment of judgement.
    pub at: Timestamp,
    /// Whether every condition is met.
    pub open: bool,
    /// All five, met or not, always in the same order.
    pub conditions: Vec<Condition>,
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let met = self.conditions.iter().filter(|condition| condition.met).count();
        let state = if self.open { "open" } else { "closed" };
        write!(
            f,
            "the gate of batch {} is {state}: {met} of {} conditions met",
            self.batch,
            self.conditions.len()
        )?;
        for condition in &self.conditions {
            let mark = if condition.met { "met    " } else { "not met" };
            write!(f, "\n  {mark}  {}: {}", condition.what, condition.figure)?;
            if let Some(next) = &condition.next {
                write!(f, "\n           next: {next}")?;
            }
        }
        Ok(())
    }
}

/// Judges recorded facts at a moment.
pub fn judge(facts: &Facts, now: Moment) -> Gate {
    let conditions = vec![
        mx_confirmed(facts, now),
        moved(facts),
        synced_since(facts),
        nothing_pending(facts),
        no_straggler(facts, now),
    ];
    Gate {
        batch: facts.batch.clone(),
        at: now.at,
        open: conditions.iter().all(|condition| condition.met),
        conditions,
    }
}

/// The mailboxes of which a pass at this moment would be new evidence: not read since mail began to go to Office 365,
/// not since their quiet time ended, or not for so long that the gate would close over it. In the order of the facts; those that were never synced have their first pass
/// before them anyway.
pub fn unread(facts: &Facts, now: Moment) -> impl Iterator<Item = &MailboxFacts> {
    facts.mailboxes.iter().filter(move |mailbox| {
        let Some(synced) = mailbox.last_synced else { return false };
        let Some(domain) = domain(facts, mailbox) else { return false };
        let is_before = domain.since.is_some_and(|since| synced <= since && since < now);
        // What came before the confirmation and what came after is told apart at once, while it still can be.
        let is_before = is_before || domain.confirmed.is_some_and(|at| synced <= at && at < now);
        let quiet_end = domain.confirmed.map(|confirmed| quiet_end(facts, mailbox, confirmed));
        let old = now.gap_since(synced) > LATELY / 2;
        is_before || quiet_end.is_some_and(|end| (synced < end || old) && end <= now)
    })
}

/// When a mailbox has been quiet for long enough.
fn quiet_end(facts: &Facts, mailbox: &MailboxFacts, confirmed: Moment) -> Moment {
    let from = mailbox.last_straggler.map_or(confirmed, |straggler| straggler.max(confirmed));
    from.later(facts.quiet)
}

fn mx_confirmed(facts: &Facts, now: Moment) -> Condition {
    let is_confirmed = |domain: &&DomainFacts| domain.confirmed.is_some_and(|at| at <= now);
    let missing: Vec<_> = facts.domains.iter().filter(|domain| !is_confirmed(domain)).collect();
    let total = facts.domains.len();
    let next = missing.first().map(|first| match (&first.verdict, first.since, first.due) {
        (None, _, _) => format!("mailferry dns check {}", first.domain),
        (Some(_), Some(since), Some(due)) => format!(
            "wait: {} has been right since {} and is confirmed at {} if it stays so",
            first.domain,
            moment(since.at),
            moment(due),
        ),
        (Some(verdict), _, _) => format!(
            "{} is {verdict}: point its MX record at Office 365 and remove every other one (mailferry dns status)",
            first.domain,
        ),
    });
    Condition {
        kind: Kind::MxConfirmed,
        // No domain at all means that nothing was proven.
        met: missing.is_empty() && total > 0,
        what: "MX confirmed for every domain".into(),
        figure: format!("{} of {total} domains confirmed", total - missing.len()),
        next: next.or_else(|| (total == 0).then(|| "the batch has no mailbox; use --force --reason".into())),
        missing: named(missing.iter().map(|domain| &domain.domain)),
    }
}

fn moved(facts: &Facts) -> Condition {
    let missing: Vec<_> = facts.mailboxes.iter().filter(|mailbox| mailbox.moved == Moved::No).collect();
    let declared =
        facts.mailboxes.iter().filter(|mailbox| matches!(mailbox.moved, Moved::Declared { .. })).count();
    let total = facts.mailboxes.len();
    let mut figure = format!("{} of {total} mailboxes moved", total - missing.len());
    if declared > 0 {
        figure.push_str(&format!(" ({declared} declared by the operator)"));
    }
    Condition {
        kind: Kind::Moved,
        met: missing.is_empty(),
        what: "every user works on Office 365".into(),
        figure,
        next: missing.first().map(|first| {
            format!("when its user works on Office 365: mailferry mailbox declare-moved {}", first.address)
        }),
        missing: named(missing.iter().map(|mailbox| &mailbox.address)),
    }
}

fn synced_since(facts: &Facts) -> Condition {
    let since = |mailbox: &MailboxFacts| domain(facts, mailbox).and_then(|domain| domain.since);
    let missing: Vec<_> = facts
        .mailboxes
        .iter()
        .filter(|mailbox| match (mailbox.last_synced, since(mailbox)) {
            (Some(synced), Some(since)) => synced <= since,
            (None, _) | (_, None) => true,
        })
        .collect();
    let total = facts.mailboxes.len();
    Condition {
        kind: Kind::SyncedSince,
        met: missing.is_empty(),
        what: "every mailbox synced after mail began to go to Office 365".into(),
        figure: format!("{} of {total} mailboxes synced since", total - missing.len()),
        next: missing.first().map(|first| match since(first) {
            Some(_) => format!("mailferry batch sync-now {}", facts.batch),
            None => format!("first let mail for {} go to Office 365", first.domain),
        }),
        missing: named(missing.iter().map(|mailbox| &mailbox.address)),
    }
}

fn nothing_pending(facts: &Facts) -> Condition {
    let missing: Vec<_> = facts.mailboxes.iter().filter(|mailbox| mailbox.pending > 0).collect();
    let pending: u64 = missing.iter().map(|mailbox| mailbox.pending).sum();
    let skipped: u64 = facts.mailboxes.iter().map(|mailbox| mailbox.skipped).sum();
    let mut figure = format!("{pending} messages pending in {} mailboxes", missing.len());
    if skipped > 0 {
        let word = if skipped == 1 { "message was" } else { "messages were" };
        figure.push_str(&format!("; {skipped} {word} skipped and are at the source only"));
    }
    Condition {
        kind: Kind::NothingPending,
        met: missing.is_empty(),
        what: "nothing pending".into(),
        figure,
        next: missing.first().map(|first| {
            format!("mailferry batch sync-now {}, then mailferry mailbox show {}", facts.batch, first.address)
        }),
        missing: named(missing.iter().map(|mailbox| &mailbox.address)),
    }
}

/// Quiet counts from the confirmation or the last straggler, whichever is later, and only if the mailbox was read at
/// its end and is still: what nobody looked at was not quiet.
fn no_straggler(facts: &Facts, now: Moment) -> Condition {
    let mut loud = Vec::new();
    let mut unread = Vec::new();
    let mut unconfirmed = Vec::new();
    let mut latest = None;
    for mailbox in &facts.mailboxes {
        latest = latest.max(mailbox.last_straggler);
        let Some(confirmed) = domain(facts, mailbox).and_then(|domain| domain.confirmed) else {
            unconfirmed.push(mailbox);
            continue;
        };
        let end = quiet_end(facts, mailbox, confirmed);
        if now < end {
            loud.push((end, mailbox));
        } else if mailbox.last_synced.is_none_or(|synced| synced < end || now.gap_since(synced) > LATELY) {
            unread.push(mailbox);
        }
    }
    let total = facts.mailboxes.len();
    let missing = loud.len() + unread.len() + unconfirmed.len();
    let mut figure = format!("{} of {total} mailboxes quiet for {:#}", total - missing, facts.quiet);
    if let Some(latest) = latest {
        figure.push_str(&format!(", last straggler {}", moment(latest.at)));
    }
    let next = if let Some(first) = unconfirmed.first() {
        Some(format!("the time begins when the MX of {} is confirmed", first.domain))
    } else if let Some((end, first)) = loud.iter().max_by_key(|(end, _)| *end) {
        Some(format!(
            "wait until {} ({}); mailferry stragglers shows who still delivers",
            moment(end.at),
            first.address
        ))
    } else {
        unread.first().map(|_| format!("look once more: mailferry batch sync-now {}", facts.batch))
    };
    let mailboxes = unconfirmed.iter().chain(loud.iter().map(|(_, mailbox)| mailbox)).chain(&unread);
    Condition {
        kind: Kind::NoStraggler,
        met: missing == 0,
        what: format!("no straggler at the source for {:#}", facts.quiet),
        figure,
        next,
        missing: named(mailboxes.map(|mailbox| &mailbox.address)),
    }
}

fn domain<'a>(facts: &'a Facts, mailbox: &MailboxFacts) -> Option<&'a DomainFacts> {
    facts.domains.iter().find(|domain| domain.domain == mailbox.domain)
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn named<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.take(MOST_NAMED).cloned().collect()
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
