//! Ordered scans in pages: memory does not grow with what is scanned, and no lock is held between pages.

use std::collections::VecDeque;

use mailferry_imap::Uid;

use crate::change::MessageAt;
use crate::codec;
use crate::error::ReadError;
use crate::key;
use crate::ledger::Ledger;
use crate::message::{Intent, Message, Skipped};
use crate::read::{odd_key, record};
use crate::store::Entry;

/// Entries that are held at once.
pub(crate) const PAGE: usize = 512;

/// The entries between two keys.
pub(crate) struct Scan {
    ledger: Ledger,
    /// Where the next page begins; `None` when there is none.
    next: Option<Vec<u8>>,
    end: Vec<u8>,
    page: VecDeque<Entry>,
}

impl Scan {
    /// All that begins with `prefix`.
    pub(crate) fn new(ledger: &Ledger, prefix: &[u8]) -> Self {
        Self::between(ledger, prefix.to_vec(), key::behind(prefix))
    }

    /// From `from`, with it, to `to`, without it.
    pub(crate) fn between(ledger: &Ledger, from: Vec<u8>, to: Vec<u8>) -> Self {
        Self { ledger: ledger.clone(), next: Some(from), end: to, page: VecDeque::new() }
    }

    pub(crate) fn starting_at(mut self, first: Vec<u8>) -> Self {
        self.next = Some(first);
        self
    }

    fn turn(&mut self) -> Result<(), ReadError> {
        let Some(from) = self.next.take() else { return Ok(()) };
        let page = self.ledger.shared().read(|store| Ok(store.page(&from, &self.end, PAGE)?))?;
        if page.len() == PAGE {
            self.next = page.last().map(|last| [last.key.as_slice(), &[0]].concat());
        }
        self.page = page.into();
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Err(error) = self.turn()
        {
            return Some(Err(error));
        }
        self.page.pop_front().map(Ok)
    }
}

fn place(entry: &Entry) -> Result<MessageAt, ReadError> {
    key::parse_at(&entry.key).ok_or_else(|| odd_key("message"))
}

/// A folder's messages in order: see [`Ledger::messages`]. After an error it ends.
pub struct Messages(pub(crate) Scan);

impl Iterator for Messages {
    type Item = Result<(Uid, Message), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        Some(entry.and_then(|entry| Ok((place(&entry)?.uid, codec::decode(&entry.value)?))))
    }
}

/// A folder's intents in order: see [`Ledger::intents`]. After an error it ends.
pub struct Intents(pub(crate) Scan);

impl Iterator for Intents {
    type Item = Result<(Uid, Intent), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.next()?;
        Some(entry.and_then(|entry| Ok((place(&entry)?.uid, codec::decode(&entry.value)?))))
    }
}

/// A mailbox's skipped messages in order: see [`Ledger::skipped`]. After an error it ends.
pub struct SkippedMessages(pub(crate) Scan);

impl SkippedMessages {
    fn skipped(&self, entry: &Entry) -> Result<Option<Skipped>, ReadError> {
        let at = place(entry)?;
        let message = self.0.ledger.shared().read(|store| record(store, &key::at(key::MESSAGE, at)))?;
        let facts = codec::decode(&entry.value)?;
        // One that was removed since the page was read is left out.
        Ok(message.map(|message| Skipped { folder: at.folder, uid: at.uid, message, facts }))
    }
}

impl Iterator for SkippedMessages {
    type Item = Result<Skipped, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.0.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            if let Some(skipped) = self.skipped(&entry).transpose() {
                return Some(skipped);
            }
        }
    }
}
