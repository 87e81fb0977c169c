//! Mail that came to the target before the cutover: other tenants deliver to the new mailbox as soon as the domain is known
//! there, whatever the MX record says. Users at the source do not see it, so it is counted.
//!
//! What lies in the target's INBOX is one of four: written by us, adopted (there before us, and matched with a source
//! message), delivered there, or put there by somebody else. The first two the ledger knows by UID. The others are
//! told apart by their topmost Received line: what is delivered to Office 365 has one of its own, what a client or
//! another tool appended has the old server's, or none. Nothing is counted while a copy of ours may be among them unknown.

use std::time::Duration;

use jiff::Timestamp;
use mailferry_dnscheck::Verdict;
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, Ledger, Mailbox, MailboxId, MessageState, ReadError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::debug;

use crate::csv::domain_of;
use crate::look::{self, Received};
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;
use crate::{received, watch};

/// No connection is opened for this sooner than so long after the last look.
const AGAIN: Duration = Duration::from_secs(3600);
/// How many messages are looked at between two durable steps.
const STEP: usize = 500;

/// What came to one mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Early {
    /// Messages that mail delivery brought before the cutover.
    pub messages: u64,
    /// The first of them.
    pub first: Option<Timestamp>,
    /// The last of them.
    pub last: Option<Timestamp>,
    /// Messages that clients or other tools put there, at any time.
    pub others: u64,
}

/// What is kept of one mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The target INBOX's UIDVALIDITY.
    validity: u32,
    /// Below this UID everything was looked at.
    next: u32,
    /// The cutover after which was looked: nothing early can come any more.
    closed: Option<Timestamp>,
    early: Early,
}

/// When mail is early, as far as DNS was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    /// From when on mail went where, oldest first.
    ways: Vec<(Timestamp, Way)>,
    /// Since when it goes to the target; none while it does not.
    closed: Option<Timestamp>,
}

/// Where mail went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Elsewhere,
    Target,
}

impl Window {
    /// `None` where nothing is known of the domain.
    fn of(ledger: &Ledger, mailbox: &Mailbox) -> Result<Option<Self>, ReadError> {
        let Some(domain) = domain_of(&mailbox.address) else { return Ok(None) };
        let Some(cutover) = watch::cutover(ledger, &domain)? else { return Ok(None) };
        let timeline = watch::timeline(ledger, &domain)?;
        let known = timeline.stretches.iter().filter(|stretch| stretch.verdict != Verdict::Unknown);
        let way = |verdict: Verdict| if verdict.is_cut_over() { Way::Target } else { Way::Elsewhere };
        let ways: Vec<_> = known.map(|stretch| (stretch.from, way(stretch.verdict))).collect();
        let closed = cutover.since.map(|since| since.at);
        Ok((!ways.is_empty()).then_some(Self { ways, closed }))
    }

    /// What came before the first look is judged by that look: where mail went elsewhere, it did so before.
    fn has(&self, arrived: Timestamp) -> bool {
        let by_then = self.ways.iter().rev().find(|(from, _)| *from <= arrived);
        by_then.or(self.ways.first()).is_some_and(|(_, way)| *way == Way::Elsewhere)
    }
}

impl Early {
    fn count(&mut self, one: &Received, window: &Window) {
        if !received::is_of_office365(&one.header) {
            self.others += 1;
            return;
        }
        let arrived = Timestamp::from_second(one.date.unix()).unwrap_or(Timestamp::MAX);
        if window.has(arrived) {
            self.messages += 1;
            self.first = Some(self.first.map_or(arrived, |first| first.min(arrived)));
            self.last = self.last.max(Some(arrived));
        }
    }
}

impl MailboxWorker {
    /// Counts what is new in the target's INBOX and not ours.
    pub(crate) async fn look_for_early_mail(&mut self) -> Result<(), Trouble> {
        let ledger = self.context.ledger.clone();
        let mailbox = self.record()?;
        let Some(window) = Window::of(&ledger, &mailbox)? else { return Ok(()) };
        let mut record = kept(&ledger, self.mailbox)?;
        if record.closed.is_some() && record.closed == window.closed {
            return Ok(());
        }
        let lately = self.looked_for_early.is_some_and(|at| at.elapsed() < AGAIN);
        if lately && self.target.is_none() {
            return Ok(());
        }
        self.looked_for_early = Some(Instant::now());
        let folders = ledger.folders(self.mailbox)?;
        let inboxes: Vec<&Folder> = folders.iter().filter(|folder| folder.target.is_inbox()).collect();
        let Some(inbox) = inboxes.iter().find(|folder| !folder.gone) else { return Ok(()) };

        let selected = self.target().await?.select_anew(&inbox.target).await?;
        let validity = selected.uid_validity;
        if inbox.target_validity.is_some_and(|known| known != validity) {
            return Ok(()); // Our own UIDs are to be found again first.
        }
        if record.validity != validity.value() {
            record = Record { validity: validity.value(), next: 1, ..Record::default() };
        }
        let before = record;
        if selected.exists > 0 && selected.uid_next.is_none_or(|next| next.value() > record.next) {
            let Some(ours) = self.all_ours(&inboxes)? else { return Ok(()) };
            let target = self.target().await?;
            let there = target.session.uid_search(&format!("UID {}:*", record.next.max(1))).await;
            // "*" names the last message even where it lies below the range.
            let new: Vec<Uid> =
                there.map_err(Trouble::target)?.iter().filter(|uid| uid.value() >= record.next).collect();
            let foreign: Vec<Uid> = new.iter().copied().filter(|uid| !ours.contains(*uid)).collect();
            for step in foreign.chunks(STEP) {
                let set: UidSet = step.iter().copied().collect();
                let session = &mut self.target().await?.session;
                for one in look::received_and_dates(session, &set).await.map_err(Trouble::target)? {
                    record.early.count(&one, &window);
                }
                if let Some(last) = step.last() {
                    record.next = last.value().saturating_add(1);
                }
                keep(&ledger, self.mailbox, &record).await?;
            }
            let last = new.last().map_or(0, |last| last.value().saturating_add(1));
            record.next = record.next.max(last);
            debug!(new = new.len(), foreign = foreign.len(), "Looked for early mail.");
        }
        record.closed = window.closed;
        if record != before {
            keep(&ledger, self.mailbox, &record).await?;
        }
        Ok(())
    }

    /// The target UIDs of everything that we wrote or matched; `None` while that is not known of some.
    fn all_ours(&self, folders: &[&Folder]) -> Result<Option<UidSet>, Trouble> {
        let ledger = &self.context.ledger;
        let mut ours = UidSet::new();
        for folder in folders {
            let in_doubt = ledger.intents(folder.mailbox, folder.id).next().is_some();
            if in_doubt || ledger.counts(folder.mailbox, folder.id)?.pending > 0 {
                return Ok(None);
            }
            for message in ledger.messages(folder.mailbox, folder.id) {
                if message?.1.state == (MessageState::Mirrored { target_uid: None }) {
                    return Ok(None);
                }
            }
            ours = ours.union(&self.known_target_uids(folder)?).union(&self.adopted(folder)?);
        }
        Ok(Some(ours))
    }
}

/// What came early to a mailbox.
pub(crate) fn of(ledger: &Ledger, mailbox: MailboxId) -> Result<Early, ReadError> {
    Ok(kept(ledger, mailbox)?.early)
}

fn kept(ledger: &Ledger, mailbox: MailboxId) -> Result<Record, ReadError> {
    // What does not read was not written by us, and is counted anew.
    Ok(ledger.fact(&name(mailbox))?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

async fn keep(ledger: &Ledger, mailbox: MailboxId, record: &Record) -> Result<(), Trouble> {
    let mut change = ledger.change();
    change.put_fact(&name(mailbox), serde_json::to_string(record).unwrap_or_default());
    change.commit().await?;
    Ok(())
}

/// The name of the fact.
pub(crate) fn name(mailbox: MailboxId) -> String {
    format!("early/{mailbox}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn early_is_what_came_while_mail_went_elsewhere() {
        let window = |ways: &[(i64, Way)]| Window {
            ways: ways.iter().map(|(second, way)| (at(*second), *way)).collect(),
            closed: None,
        };
        let flipped =
            window(&[(10, Way::Elsewhere), (20, Way::Target), (30, Way::Elsewhere), (40, Way::Target)]);
        for (second, early) in
            [(1, true), (10, true), (19, true), (20, false), (29, false), (30, true), (40, false)]
        {
            assert_eq!(flipped.has(at(second)), early, "{second}");
        }
        // Mail may have gone there for years.
        assert!(!window(&[(10, Way::Target)]).has(at(1)));
    }

    #[test]
    fn what_nobody_delivered_is_counted_by_itself() {
        let window =
            Window { ways: vec![(at(10), Way::Elsewhere), (at(20), Way::Target)], closed: Some(at(20)) };
        let line = |by: &str| {
            format!("Received: from a.example by {by} with HTTPS; Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n")
        };
        let mut early = Early::default();
        for (second, by) in [
            (12, "x.eurprd01.prod.outlook.com"),
            (11, "x.eurprd01.prod.outlook.com"),
            (25, "x.eurprd01.prod.outlook.com"),
            (11, "mx1.contoso.edu"),
        ] {
            let date = mailferry_imap::InternalDate::new(second, 0).unwrap();
            early.count(&Received { date, header: line(by).into() }, &window);
        }
        assert_eq!(early, Early { messages: 2, first: Some(at(11)), last: Some(at(12)), others: 1 });
    }
}
