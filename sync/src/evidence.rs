//! When the last pass of a mailbox that left nothing pending began, by both clocks: what the gate judges by. The
//! mailbox's own record has the wall clock's half, for people.

use mailferry_dnscheck::Moment;
use mailferry_ledger::{Change, Ledger, Mailbox, MailboxId, ReadError};

use crate::steady;

/// Notes it; to be committed together with the mailbox's `last_synced`.
pub(crate) fn note(
    ledger: &Ledger,
    change: &mut Change,
    mailbox: MailboxId,
    began: Moment,
) -> Result<(), ReadError> {
    steady::stamp(ledger, change)?;
    if let Ok(json) = serde_json::to_string(&began) {
        change.put_fact(&name(mailbox), json);
    }
    Ok(())
}

/// What is noted, if it is the pass that the mailbox's record tells of.
pub(crate) fn synced(ledger: &Ledger, mailbox: &Mailbox) -> Result<Option<Moment>, ReadError> {
    let noted = ledger.fact(&name(mailbox.id))?.and_then(|json| serde_json::from_str::<Moment>(&json).ok());
    Ok(noted.filter(|noted| mailbox.last_synced == Some(noted.at)))
}

/// The name of the fact.
pub(crate) fn name(mailbox: MailboxId) -> String {
    format!("synced/{mailbox}")
}
