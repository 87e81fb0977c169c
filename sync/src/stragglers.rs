//! Mail that still reaches the source after the cutover was confirmed: counted, traced and, like any other message,
//! carried over by the pass that sees it.
//!
//! Which arrivals count: after a pass that began after the confirmation, everything that is new in the source's INBOX. In
//! that first pass, what has an INTERNALDATE at or after the confirmation; whether the rest came before can only be told
//! by clocks that may be wrong, so it is no straggler, but the quiet time begins after it. The same holds for what comes while
//! the clock runs and the confirmation is suspended. Of each mailbox the last
//! [`MOST`] are kept one by one, of all others the number.

use jiff::Timestamp;
use mailferry_dnscheck::Moment;
use mailferry_imap::InternalDate;
use mailferry_ledger::{Change, Folder, Ledger, Mailbox, MailboxId, ReadError, Uid, UidValidity};
use serde::{Deserialize, Serialize};

use crate::csv::domain_of;
use crate::received::Home;
use crate::{evidence, steady, watch};

pub use crate::received::{Trace, Way};

/// How many of one mailbox are kept one by one.
pub const MOST: usize = 200;

/// One arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Straggler {
    /// The mailbox's address.
    pub address: String,
    /// UIDVALIDITY of its source INBOX.
    pub validity: u32,
    /// UID in its source INBOX.
    pub uid: u32,
    /// INTERNALDATE, as IMAP writes it.
    pub date: String,
    /// The same moment; not later than `seen`, whatever the source's clock says.
    pub arrived: Timestamp,
    /// When a pass saw it.
    pub seen: Timestamp,
    /// How it came, and from whom.
    pub trace: Trace,
    /// What to do about it.
    pub next: String,
}

/// What is recorded of one mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// All that were ever seen.
    pub total: u64,
    /// When the last one was seen that mail delivery brought, or may have brought.
    pub last: Option<Moment>,
    /// When something new was seen last that is older than the confirmation if its date is right.
    #[serde(default)]
    pub unsure: Option<Moment>,
    /// The last ones, oldest first.
    pub recent: Vec<Straggler>,
}

/// Knows which arrivals at one mailbox's INBOX are stragglers. Made once a pass.
#[derive(Debug, Clone)]
pub struct Lookout {
    mailbox: MailboxId,
    address: String,
    home: Home,
    /// When the cutover was confirmed, and the rule since; `None` while it is not, though the clock runs.
    confirmed: Option<(Timestamp, Rule)>,
}

/// By what arrivals are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// By date: no pass has begun since the confirmation, so what came before may be new.
    Date,
    /// None is needed: what is new came since.
    Any,
}

impl Rule {
    /// For a pass of a mailbox of which the last one began at `synced`.
    pub(crate) fn of(synced: Option<Moment>, confirmed: Moment) -> Self {
        if synced.is_some_and(|synced| synced > confirmed) { Self::Any } else { Self::Date }
    }

    /// Whether what arrived at this moment, by the source's clock, is a straggler.
    pub(crate) fn counts(self, arrived: Timestamp, confirmed: Timestamp) -> bool {
        self == Self::Any || arrived >= confirmed
    }
}

impl Record {
    /// When the quiet time begins anew.
    pub(crate) fn loud(&self) -> Option<Moment> {
        self.last.max(self.unsure)
    }
}

/// A straggler that is not traced yet.
#[derive(Debug, Clone)]
pub struct Arrival {
    validity: UidValidity,
    /// UID in the source INBOX.
    pub uid: Uid,
    date: InternalDate,
}

impl Lookout {
    /// `None` while mail for the mailbox's domain does not go to Office 365 for certain: arrivals are expected then.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of(ledger: &Ledger, mailbox: &Mailbox, inbox: &Folder) -> Result<Option<Self>, ReadError> {
        let Some(domain) = domain_of(&mailbox.address) else { return Ok(None) };
        let cutover = watch::cutover(ledger, &domain)?;
        // One unclear answer takes the confirmation away until the next look: what comes meanwhile must not be lost.
        let Some(cutover) = cutover.filter(|cutover| cutover.since.is_some()) else { return Ok(None) };
        // An INBOX that was never read under this UIDVALIDITY is all new.
        let synced = evidence::synced(ledger, mailbox)?.filter(|_| inbox.seen.is_some());
        let endpoint = ledger.batch(&mailbox.batch)?.map(|batch| batch.endpoint);
        let endpoint = endpoint.map(|name| ledger.endpoint(&name)).transpose()?.flatten();
        let old_mx = watch::old_mx(ledger, &domain)?.map(|old| old.hosts).unwrap_or_default();
        Ok(Some(Self {
            mailbox: mailbox.id,
            address: mailbox.address.clone(),
            home: Home {
                domain,
                old_mx: old_mx.iter().map(|host| host.trim_end_matches('.').to_lowercase()).collect(),
                server: endpoint.map(|endpoint| endpoint.server.to_lowercase()).unwrap_or_default(),
            },
            confirmed: cutover.confirmed.map(|confirmed| (confirmed.at, Rule::of(synced, confirmed))),
        }))
    }

    /// Whether a message that is new in the source's INBOX is a straggler.
    pub fn judge(&self, validity: UidValidity, uid: Uid, date: InternalDate) -> Option<Arrival> {
        let arrived = Timestamp::from_second(date.unix()).unwrap_or(Timestamp::MAX);
        let (confirmed, rule) = self.confirmed?;
        rule.counts(arrived, confirmed).then_some(Arrival { validity, uid, date })
    }

    /// Records these, each with its Received lines where they could be read, and that so many new messages were judged to be
    /// none. Twice does no harm.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn note(
        &self,
        ledger: &Ledger,
        change: &mut Change,
        arrivals: &[(Arrival, Option<Vec<u8>>)],
        others: usize,
    ) -> Result<(), ReadError> {
        if arrivals.is_empty() && others == 0 {
            return Ok(());
        }
        let seen = steady::stamp(ledger, change)?;
        let mut record = recorded(ledger, self.mailbox)?;
        if others > 0 {
            record.unsure = Some(seen);
        }
        for (arrival, header) in arrivals {
            let (validity, uid) = (arrival.validity.value(), arrival.uid.value());
            if record.recent.iter().any(|known| (known.validity, known.uid) == (validity, uid)) {
                continue;
            }
            let trace = match header {
                Some(header) => self.home.trace(header, self.confirmed.map_or(Timestamp::MIN, |(at, _)| at)),
                None => Trace { way: Way::Unclear, from: None, by: None },
            };
            record.total += 1;
            if trace.way.is_delivery() {
                record.last = Some(seen);
            }
            record.recent.push(Straggler {
                address: self.address.clone(),
                validity,
                uid,
                date: arrival.date.to_string(),
                arrived: Timestamp::from_second(arrival.date.unix()).map_or(seen.at, |at| at.min(seen.at)),
                seen: seen.at,
                next: trace.way.next().to_owned(),
                trace,
            });
        }
        let spare = record.recent.len().saturating_sub(MOST);
        record.recent.drain(..spare);
        if let Ok(json) = serde_json::to_string(&record) {
            change.put_fact(&name(self.mailbox), json);
        }
        Ok(())
    }
}

/// Who still delivers: stragglers of one origin, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliverer {
    /// How.
    pub way: Way,
    /// Host name and address.
    pub from: Option<String>,
    /// Stragglers of it.
    pub count: u64,
    /// Mailboxes that they went to.
    pub mailboxes: u64,
    /// The last arrival.
    pub last: Timestamp,
    /// What to do.
    pub next: String,
}

/// Groups stragglers by who delivered them, the busiest first.
pub fn deliverers(stragglers: &[Straggler]) -> Vec<Deliverer> {
    let mut groups = std::collections::BTreeMap::new();
    for one in stragglers {
        let group = groups.entry((one.trace.way, one.trace.from.clone()));
        let (count, last, addresses) =
            group.or_insert_with(|| (0, one.arrived, std::collections::BTreeSet::new()));
        *count += 1;
        *last = one.arrived.max(*last);
        addresses.insert(&one.address);
    }
    let mut all: Vec<Deliverer> = groups
        .into_iter()
        .map(|((way, from), (count, last, addresses))| Deliverer {
            way,
            from,
            count,
            mailboxes: addresses.len() as u64,
            last,
            next: way.next().to_owned(),
        })
        .collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.count));
    all
}

/// What is recorded of one mailbox.
pub(crate) fn recorded(ledger: &Ledger, mailbox: MailboxId) -> Result<Record, ReadError> {
    Ok(ledger.fact(&name(mailbox))?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

/// The name of the fact.
pub(crate) fn name(mailbox: MailboxId) -> String {
    format!("stragglers/{mailbox}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookout(rule: Rule) -> Lookout {
        let confirmed = Timestamp::from_second(1_000).unwrap();
        let address = "a@b.de".into();
        Lookout { mailbox: MailboxId(1), address, home: Home::default(), confirmed: Some((confirmed, rule)) }
    }

    #[test]
    fn only_what_arrives_after_the_confirmation_counts() {
        let counts = |rule, second| {
            let date = InternalDate::new(second, 60).unwrap();
            lookout(rule).judge(UidValidity::new(1).unwrap(), Uid::new(7).unwrap(), date).is_some()
        };
        assert!(!counts(Rule::Date, 999));
        assert!(counts(Rule::Date, 1_000));
        // Nothing was there that a pass did not know: whatever the source's clock says, it came since.
        assert!(counts(Rule::Any, 1));
    }

    #[tokio::test]
    async fn twice_is_once_and_the_number_stays_when_the_list_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap().ledger;
        let lookout = lookout(Rule::Any);
        let arrival = |uid: u32| {
            let date = InternalDate::new(2_000 + i64::from(uid), 0).unwrap();
            let arrival = lookout.judge(UidValidity::new(1).unwrap(), Uid::new(uid).unwrap(), date).unwrap();
            (arrival, Some(b"Message-ID: <1@x>\r\n\r\n".to_vec()))
        };
        for _ in 0..2 {
            let mut change = ledger.change();
            lookout.note(&ledger, &mut change, &[arrival(1), arrival(2)], 0).unwrap();
            change.commit().await.unwrap();
        }
        assert_eq!(recorded(&ledger, MailboxId(1)).unwrap().total, 2);
        let many: Vec<_> = (3..=500).map(arrival).collect();
        let mut change = ledger.change();
        lookout.note(&ledger, &mut change, &many, 0).unwrap();
        change.commit().await.unwrap();
        let record = recorded(&ledger, MailboxId(1)).unwrap();
        assert_eq!((record.total, record.recent.len()), (500, MOST));
        assert_eq!(record.recent.last().unwrap().uid, 500);
        let [group] = &deliverers(&record.recent)[..] else { panic!() };
        assert_eq!((group.way, group.count, group.mailboxes), (Way::Appended, MOST as u64, 1));
    }
}
