//! Looking: what one side really holds, in the form in which it is matched.

use bytes::Bytes;
use mailferry_imap::net::Session;
use mailferry_imap::response::Fetched;
use mailferry_imap::{Flags, InternalDate, Uid, UidSet, net};

use crate::matching::Candidate;
use crate::print::{ITEMS, Print, header_of};

/// The facts that every pass reads.
pub(crate) const FACTS: &str = "UID FLAGS INTERNALDATE RFC822.SIZE";

/// One message as a side lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fact {
    pub(crate) uid: Uid,
    pub(crate) flags: Flags,
    pub(crate) date: InternalDate,
    pub(crate) size: u64,
}

/// UID, flags, date and size of these, ascending. What a server leaves out counts as the empty value: no message is
/// lost for that.
pub(crate) async fn facts(session: &mut Session, set: &UidSet) -> Result<Vec<Fact>, net::Error> {
    let mut facts = Vec::new();
    session
        .uid_fetch(set, FACTS, |fetched: Fetched| {
            // A change of flags alone, told by the way, is no answer.
            let (Some(uid), Some(size)) = (fetched.uid, fetched.size) else { return };
            let date = fetched.internal_date.unwrap_or_else(epoch);
            facts.push(Fact { uid, flags: fetched.flags.unwrap_or_default(), date, size });
        })
        .await?;
    facts.sort_by_key(|fact| fact.uid);
    facts.dedup_by_key(|fact| fact.uid);
    Ok(facts)
}

/// UID, date and size of these, as they come: for walks in which nothing else counts, whose memory must not grow with
/// what is looked at.
pub(crate) async fn sizes(
    session: &mut Session,
    set: &UidSet,
    mut on: impl FnMut(Uid, InternalDate, u64) + Send,
) -> Result<(), net::Error> {
    session
        .uid_fetch(set, "UID INTERNALDATE RFC822.SIZE", |fetched: Fetched| {
            // A change of flags alone, told by the way, is no answer.
            if let (Some(uid), Some(size)) = (fetched.uid, fetched.size) {
                on(uid, fetched.internal_date.unwrap_or_else(epoch), size);
            }
        })
        .await
}

/// UID and flags of these, as they come; with `since`, of those that changed since then (CONDSTORE).
pub(crate) async fn flags_since(
    session: &mut Session,
    set: &UidSet,
    since: Option<u64>,
    mut on: impl FnMut(Uid, Flags) + Send,
) -> Result<(), net::Error> {
    // The items stand between parentheses; the modifier follows in its own.
    let items = match since {
        Some(since) => format!("UID FLAGS) (CHANGEDSINCE {since}"),
        None => "UID FLAGS".to_owned(),
    };
    session
        .uid_fetch(set, &items, |fetched: Fetched| {
            if let (Some(uid), Some(flags)) = (fetched.uid, fetched.flags) {
                on(uid, flags);
            }
        })
        .await
}

/// UID and flags of these, ascending.
pub(crate) async fn flags(session: &mut Session, set: &UidSet) -> Result<Vec<(Uid, Flags)>, net::Error> {
    let mut found = Vec::new();
    flags_since(session, set, None, |uid, flags| found.push((uid, flags))).await?;
    found.sort_by_key(|(uid, _)| *uid);
    found.dedup_by_key(|(uid, _)| *uid);
    Ok(found)
}

/// These messages in the form in which they are matched, ascending.
pub(crate) async fn candidates(session: &mut Session, set: &UidSet) -> Result<Vec<Candidate>, net::Error> {
    let mut found = Vec::new();
    if set.is_empty() {
        return Ok(found);
    }
    session
        .uid_fetch(set, ITEMS, |fetched: Fetched| {
            let (Some(uid), Some(size)) = (fetched.uid, fetched.size) else { return };
            let date = fetched.internal_date.unwrap_or_else(epoch);
            found.push(Candidate { uid, print: Print::of_fetched(&fetched), date, size });
        })
        .await?;
    found.sort_by_key(|candidate| candidate.uid);
    found.dedup_by_key(|candidate| candidate.uid);
    Ok(found)
}

/// The header fields of these that people recognise a message by.
pub(crate) async fn headers(
    session: &mut Session,
    set: &UidSet,
    mut on: impl FnMut(Uid, &[u8]) + Send,
) -> Result<(), net::Error> {
    if set.is_empty() {
        return Ok(());
    }
    let items = "UID BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE)]";
    session
        .uid_fetch(set, items, |fetched: Fetched| {
            if let Some(uid) = fetched.uid {
                on(uid, &header_of(&fetched));
            }
        })
        .await
}

/// The Received lines of these, and of each no more than is worth reading.
pub(crate) async fn received(
    session: &mut Session,
    set: &UidSet,
    mut on: impl FnMut(Uid, &[u8]) + Send,
) -> Result<(), net::Error> {
    let items = "UID BODY.PEEK[HEADER.FIELDS (RECEIVED)]<0.16384>";
    session
        .uid_fetch(set, items, |fetched: Fetched| {
            if let Some(uid) = fetched.uid {
                on(uid, &header_of(&fetched));
            }
        })
        .await
}

/// How and when one message came.
pub(crate) struct Received {
    pub(crate) date: InternalDate,
    /// Its Received lines.
    pub(crate) header: Bytes,
}

/// The same of these, all lines, with the date.
pub(crate) async fn received_and_dates(
    session: &mut Session,
    set: &UidSet,
) -> Result<Vec<Received>, net::Error> {
    let mut found = Vec::new();
    let items = "UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (RECEIVED)]";
    session
        .uid_fetch(set, items, |fetched: Fetched| {
            if let (Some(_), Some(date)) = (fetched.uid, fetched.internal_date) {
                found.push(Received { date, header: header_of(&fetched) });
            }
        })
        .await?;
    Ok(found)
}

/// A date for messages whose server tells none.
fn epoch() -> InternalDate {
    match InternalDate::new(0, 0) {
        Some(date) => date,
        None => unreachable!("1970 has four digits"),
    }
}
