//! Mail that still reaches the source after the cutover was confirmed. Basic form: each arrival at a source INBOX is
//! recorded with its time; passes carry it over like any other message.

use jiff::Timestamp;
use mailferry_imap::InternalDate;
use mailferry_ledger::{Change, Ledger, Mailbox, MailboxId, ReadError, Uid, UidValidity};
use serde::{Deserialize, Serialize};

use crate::csv::domain_of;
use crate::watch;

/// One arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Straggler {
    /// The mailbox's address.
    pub address: String,
    /// UID in its source INBOX.
    pub uid: u32,
    /// INTERNALDATE, as IMAP writes it.
    pub date: String,
    /// The same moment; not later than `seen`, whatever the source's clock says.
    pub arrived: Timestamp,
    /// When a pass saw it.
    pub seen: Timestamp,
}

/// Knows from when on an arrival at one mailbox's INBOX is a straggler. Made once a pass.
#[derive(Debug, Clone)]
pub struct Lookout {
    mailbox: MailboxId,
    address: String,
    from: Timestamp,
}

impl Lookout {
    /// `None` while the cutover of the mailbox's domain is not confirmed: arrivals are expected then.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of(ledger: &Ledger, mailbox: &Mailbox) -> Result<Option<Self>, ReadError> {
        let Some(domain) = domain_of(&mailbox.address) else { return Ok(None) };
        let confirmed = watch::cutover(ledger, &domain)?.and_then(|cutover| cutover.confirmed);
        Ok(confirmed.map(|from| Self { mailbox: mailbox.id, address: mailbox.address.clone(), from }))
    }

    /// To be told of every message that a pass finds new in the source's INBOX: records it if it arrived after the
    /// confirmation. Twice does no harm.
    pub fn note(
        &self,
        change: &mut Change,
        validity: UidValidity,
        uid: Uid,
        date: InternalDate,
        seen: Timestamp,
    ) {
        let Some(straggler) = self.judge(uid, date, seen) else { return };
        let Ok(json) = serde_json::to_string(&straggler) else { return };
        change.put_fact(&format!("{}{validity}/{uid}", prefix(self.mailbox)), json);
    }

    fn judge(&self, uid: Uid, date: InternalDate, seen: Timestamp) -> Option<Straggler> {
        let arrived = Timestamp::from_second(date.unix()).ok()?.min(seen);
        // What a client moved into INBOX keeps its old date and is no arrival.
        (arrived >= self.from).then(|| Straggler {
            address: self.address.clone(),
            uid: uid.value(),
            date: date.to_string(),
            arrived,
            seen,
        })
    }
}

/// The stragglers of one mailbox, or of all, in no particular order.
pub(crate) fn recorded(ledger: &Ledger, mailbox: Option<MailboxId>) -> Result<Vec<Straggler>, ReadError> {
    let prefix = mailbox.map_or_else(|| "straggler/".to_owned(), prefix);
    let facts = ledger.facts(&prefix)?;
    Ok(facts.iter().filter_map(|(_, json)| serde_json::from_str(json).ok()).collect())
}

/// The names of one mailbox's facts.
pub(crate) fn names(ledger: &Ledger, mailbox: MailboxId) -> Result<Vec<String>, ReadError> {
    Ok(ledger.facts(&prefix(mailbox))?.into_iter().map(|(name, _)| name).collect())
}

fn prefix(mailbox: MailboxId) -> String {
    format!("straggler/{mailbox}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_arrives_after_the_confirmation_counts() {
        let moment = |second| Timestamp::from_second(second).unwrap();
        let lookout = Lookout { mailbox: MailboxId(1), address: "a@b.de".into(), from: moment(1_000) };
        let arrived = |second, seen| {
            let date = InternalDate::new(second, 60).unwrap();
            lookout.judge(Uid::new(7).unwrap(), date, moment(seen)).map(|straggler| straggler.arrived)
        };
        assert_eq!(arrived(999, 5_000), None);
        assert_eq!(arrived(1_000, 5_000), Some(moment(1_000)));
        // A source whose clock is ahead.
        assert_eq!(arrived(9_000, 5_000), Some(moment(5_000)));
    }
}
