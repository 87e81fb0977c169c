//! Under which keys the records lie. One ordered tree; the first byte is the kind.
//!
//! ```text
//! a  address, lower case                              -> mailbox number
//! b  batch name                                       -> Batch
//! c  mailbox(4) folder(4)                             -> Counts; folder 0: the whole mailbox
//! d  batch name (with length) mailbox(4)              -> nothing: the batch's mailboxes
//! e  endpoint name                                    -> Endpoint
//! f  mailbox(4) folder(4)                             -> Folder
//! i  mailbox(4) folder(4) uid(4)                      -> Intent
//! k  mailbox(4)                                       -> Learned
//! l  login, lower case (with length) strength(1) mailbox(4)  -> nothing: who logs in so
//! m  "numbers" | "rebuilt"                            -> Numbers, Rebuilt
//! n  mailbox(4) source name                           -> folder number, UIDVALIDITY
//! o  domain (with length) microseconds(8) part(4)     -> Observation, long
//! r  batch name (with length) part(4)                 -> report, long
//! s  mailbox(4) folder(4) uid(4)                      -> SkippedFacts, for every skipped message
//! t  fact name (with length) part(4)                  -> fact, long
//! u  mailbox(4)                                       -> Mailbox
//! w  number(8) part(4)                                -> Note, long
//! x  mailbox(4) folder(4) uid(4)                      -> Message
//! ```
//! All numbers are big-endian, so that the order of keys is the order of numbers. A name "with length" has two bytes
//! of length before it: no name is another one's prefix.

use jiff::Timestamp;
use mailferry_imap::{FolderName, MailboxId, Uid};

use crate::change::{MessageAt, Text};
use crate::login::Strength;
use crate::record::FolderId;

pub(crate) const ADDRESS: u8 = b'a';
pub(crate) const BATCH: u8 = b'b';
pub(crate) const COUNTS: u8 = b'c';
pub(crate) const BATCH_MAILBOX: u8 = b'd';
pub(crate) const ENDPOINT: u8 = b'e';
pub(crate) const FOLDER: u8 = b'f';
pub(crate) const INTENT: u8 = b'i';
pub(crate) const LEARNED: u8 = b'k';
pub(crate) const LOGIN: u8 = b'l';
pub(crate) const META: u8 = b'm';
pub(crate) const NAME: u8 = b'n';
pub(crate) const OBSERVATION: u8 = b'o';
pub(crate) const REPORT: u8 = b'r';
pub(crate) const SKIPPED: u8 = b's';
pub(crate) const FACT: u8 = b't';
pub(crate) const MAILBOX: u8 = b'u';
pub(crate) const NOTE: u8 = b'w';
pub(crate) const MESSAGE: u8 = b'x';

/// The whole-mailbox counts' place among the folders.
pub(crate) const WHOLE: FolderId = FolderId(0);

fn join(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// Names are cut at 65,535 bytes; nothing that has a name comes near.
fn named(kind: u8, name: &str, parts: &[&[u8]]) -> Vec<u8> {
    let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
    let length = (name.len() as u16).to_be_bytes();
    let mut all: Vec<&[u8]> = vec![&length, name];
    all.extend_from_slice(parts);
    join(kind, &all)
}

pub(crate) fn address(address: &str) -> Vec<u8> {
    join(ADDRESS, &[address.to_lowercase().as_bytes()])
}

pub(crate) fn batch(name: &str) -> Vec<u8> {
    join(BATCH, &[name.as_bytes()])
}

pub(crate) fn endpoint(name: &str) -> Vec<u8> {
    join(ENDPOINT, &[name.as_bytes()])
}

pub(crate) fn numbers() -> Vec<u8> {
    join(META, &[b"numbers"])
}

pub(crate) fn rebuilt() -> Vec<u8> {
    join(META, &[b"rebuilt"])
}

pub(crate) fn mailbox(id: MailboxId) -> Vec<u8> {
    of_mailbox(MAILBOX, id)
}

pub(crate) fn learned(id: MailboxId) -> Vec<u8> {
    of_mailbox(LEARNED, id)
}

/// The beginning of all keys of this kind that belong to a mailbox.
pub(crate) fn of_mailbox(kind: u8, id: MailboxId) -> Vec<u8> {
    join(kind, &[&id.0.to_be_bytes()])
}

/// The beginning of all keys of this kind that belong to a folder.
pub(crate) fn of_folder(kind: u8, id: MailboxId, folder: FolderId) -> Vec<u8> {
    join(kind, &[&id.0.to_be_bytes(), &folder.0.to_be_bytes()])
}

pub(crate) fn folder(id: MailboxId, folder: FolderId) -> Vec<u8> {
    of_folder(FOLDER, id, folder)
}

pub(crate) fn counts(id: MailboxId, folder: FolderId) -> Vec<u8> {
    of_folder(COUNTS, id, folder)
}

pub(crate) fn name(id: MailboxId, name: &FolderName) -> Vec<u8> {
    join(NAME, &[&id.0.to_be_bytes(), name.wire()])
}

/// A message, intent or skipped facts.
pub(crate) fn at(kind: u8, at: MessageAt) -> Vec<u8> {
    join(kind, &[&at.mailbox.0.to_be_bytes(), &at.folder.0.to_be_bytes(), &at.uid.value().to_be_bytes()])
}

/// Where such a key's record lies; `None` for a key of another form.
pub(crate) fn parse_at(key: &[u8]) -> Option<MessageAt> {
    let (_, rest) = key.split_first()?;
    let (mailbox, rest) = rest.split_first_chunk()?;
    let (folder, rest) = rest.split_first_chunk()?;
    let uid = Uid::new(u32::from_be_bytes(rest.try_into().ok()?))?;
    let mailbox = MailboxId(u32::from_be_bytes(*mailbox));
    Some(MessageAt { mailbox, folder: FolderId(u32::from_be_bytes(*folder)), uid })
}

/// The beginning of the keys that name a batch's mailboxes.
pub(crate) fn of_batch(batch: &str) -> Vec<u8> {
    named(BATCH_MAILBOX, batch, &[])
}

pub(crate) fn batch_mailbox(batch: &str, id: MailboxId) -> Vec<u8> {
    named(BATCH_MAILBOX, batch, &[&id.0.to_be_bytes()])
}

/// The beginning of the keys that say who logs in by this name.
pub(crate) fn of_login(login: &str) -> Vec<u8> {
    named(LOGIN, &login.to_lowercase(), &[])
}

pub(crate) fn login(login: &str, strength: Strength, id: MailboxId) -> Vec<u8> {
    named(LOGIN, &login.to_lowercase(), &[&[strength as u8], &id.0.to_be_bytes()])
}

/// The number in the last four bytes: a mailbox, or a part.
pub(crate) fn last_number(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|number| u32::from_be_bytes(*number))
}

/// A long record's key without the part.
pub(crate) fn text(kind: Text, name: &str) -> Vec<u8> {
    match kind {
        Text::Report => named(REPORT, name, &[]),
        Text::Fact => named(FACT, name, &[]),
    }
}

/// The beginning of a domain's observations.
pub(crate) fn of_domain(domain: &str) -> Vec<u8> {
    named(OBSERVATION, &domain.to_lowercase(), &[])
}

/// A long record's key without the part.
pub(crate) fn observation(domain: &str, at: Timestamp) -> Vec<u8> {
    // Flipping the sign bit puts moments before 1970 first.
    let moment = (at.as_microsecond() as u64) ^ (1 << 63);
    named(OBSERVATION, &domain.to_lowercase(), &[&moment.to_be_bytes()])
}

/// A long record's key without the part.
pub(crate) fn note(number: u64) -> Vec<u8> {
    join(NOTE, &[&number.to_be_bytes()])
}

/// One part of a long record.
pub(crate) fn part(long: &[u8], part: u32) -> Vec<u8> {
    [long, &part.to_be_bytes()].concat()
}

/// The first key behind all keys that begin with `prefix`.
pub(crate) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Only a prefix of 0xFF bytes gets here; no kind is 0xFF.
    vec![u8::MAX; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_numbers_are() {
        let key = |mailbox, folder, uid| {
            let uid = Uid::new(uid).unwrap();
            at(MESSAGE, MessageAt { mailbox: MailboxId(mailbox), folder: FolderId(folder), uid })
        };
        let ordered =
            [key(1, 1, 1), key(1, 1, 255), key(1, 1, 256), key(1, 2, 1), key(1, 256, 1), key(256, 1, 1)];
        assert!(ordered.is_sorted());
        for key in &ordered {
            assert_eq!(at(MESSAGE, parse_at(key).unwrap()), *key);
        }
        assert_eq!(parse_at(b"x123"), None);
    }

    #[test]
    fn behind_is_above_every_key_with_the_prefix_and_nothing_else() {
        let prefix = of_mailbox(MESSAGE, MailboxId(u32::MAX));
        assert!([prefix.as_slice(), &[u8::MAX; 8]].concat() < behind(&prefix));
        assert_eq!(behind(b"x\x01\xFF"), b"x\x02");
        let moments = [-1_000_000_i64, -1, 0, 1, 1_700_000_000]
            .map(|second| observation("a.example", Timestamp::from_second(second).unwrap()));
        assert!(moments.is_sorted());
    }
}
