//! Messages in FETCH responses: whole ones, and whole ones that come in ranges.

use bytes::Bytes;
use mailferry_imap::MessageKey;
use mailferry_imap::response::Fetched;

use super::{BodyNumber, Observed, Tap, Way};

/// Messages that are put together from ranges at once.
const MAX_JOINS: usize = 4;

/// A message that passes in the response that is coming in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Overheard {
    pub(super) body: BodyNumber,
    size: u64,
    extent: Extent,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Extent {
    Whole,
    /// One range of this message.
    Range(MessageKey),
}

/// A message of which the first ranges came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Join {
    pub(super) body: BodyNumber,
    key: MessageKey,
    /// Where the next range must begin.
    next: u64,
    size: u64,
}

impl Tap {
    /// A literal begins. `fetched` is what the response told before it, `item` whose value it is.
    pub(super) fn begin_fetched(&mut self, fetched: &Fetched, item: &str, size: u64) -> Option<Overheard> {
        if self.opening().is_some() {
            return None;
        }
        let key = self.key(fetched);
        match item {
            "BODY[]" | "RFC822" => {
                let body = self.next_body();
                self.see(Observed::Begin { body, size, key });
                Some(Overheard { body, size, extent: Extent::Whole })
            }
            _ => self.begin_range(offset(item)?, size, key?, fetched.size),
        }
    }

    /// A FETCH response is complete.
    pub(super) fn on_fetched(&mut self, fetched: &Fetched, overheard: Option<Overheard>) {
        if self.opening().is_some() {
            // QRESYNC tells of the past here; whether what came before the new folder's EXISTS is of the old one is open.
            if let Some(overheard) = overheard {
                self.give_up(&overheard);
            }
            return;
        }
        let key = self.key(fetched);
        if let Some(selected) = &mut self.selected
            && let Some(uid) = fetched.uid
        {
            selected.learn(fetched.seq, uid);
        }
        if let (Some(selected), Some(key), Some(size)) = (&mut self.selected, &key, fetched.size) {
            selected.learn_size(key.uid, size);
        }
        match (overheard, key) {
            (Some(overheard), Some(key)) => self.end_fetched(overheard, key),
            (Some(overheard), None) => self.give_up(&overheard),
            (None, Some(key)) => {
                let inline = fetched.sections.iter().find(|(item, _)| item == "BODY[]" || item == "RFC822");
                if let Some((_, bytes)) = inline.filter(|(_, bytes)| !bytes.is_empty()) {
                    self.tell_inline(key, bytes.clone());
                }
            }
            (None, None) => {}
        }
        if fetched.flags.is_some() && !self.flags_were_asked() {
            self.selected_changed();
        }
    }

    /// A message that came to nothing.
    pub(super) fn give_up(&mut self, overheard: &Overheard) {
        self.joins.retain(|join| join.body != overheard.body);
        self.see(Observed::Discard(overheard.body));
    }

    fn end_fetched(&mut self, overheard: Overheard, key: MessageKey) {
        let Extent::Range(expected) = &overheard.extent else {
            return self.see(Observed::End(overheard.body, key, Way::Fetched));
        };
        let join = self.joins.iter_mut().find(|join| join.body == overheard.body);
        let Some(join) = join.filter(|_| *expected == key) else { return self.give_up(&overheard) };
        let from = join.next;
        join.next += overheard.size;
        let (next, size) = (join.next, join.size);
        if next < size {
            return;
        }
        if !self.asked_beyond(from, size) {
            return self.give_up(&overheard);
        }
        self.joins.retain(|join| join.body != overheard.body);
        self.see(Observed::End(overheard.body, key, Way::Fetched));
    }

    /// A range begins. Ranges are joined when they come in order and the message's size is known from RFC822.SIZE. Since
    /// that size is an estimate on some servers (Exchange), it must be confirmed: the last range was asked to go beyond it.
    fn begin_range(
        &mut self,
        offset: u64,
        size: u64,
        key: MessageKey,
        told: Option<u64>,
    ) -> Option<Overheard> {
        let extent = Extent::Range(key.clone());
        if offset > 0 {
            let join = self.joins.iter().find(|join| join.key == key)?;
            let body = join.body;
            if join.next == offset && join.next.checked_add(size).is_some_and(|end| end <= join.size) {
                return Some(Overheard { body, size, extent });
            }
            if offset.checked_add(size).is_none_or(|end| end > join.next) {
                // A gap, or more than there can be: what we have cannot become whole.
                self.joins.retain(|join| join.body != body);
                self.see(Observed::Discard(body));
            }
            return None;
        }
        let whole = told.or_else(|| self.selected.as_ref().and_then(|selected| selected.size(key.uid)))?;
        if size > whole {
            return None;
        }
        for join in self.joins.extract_if(.., |join| join.key == key).collect::<Vec<_>>() {
            self.see(Observed::Discard(join.body));
        }
        if self.joins.len() >= MAX_JOINS {
            let oldest = self.joins.remove(0);
            self.see(Observed::Discard(oldest.body));
        }
        let body = self.next_body();
        self.see(Observed::Begin { body, size: whole, key: Some(key.clone()) });
        self.joins.push(Join { body, key, next: 0, size: whole });
        Some(Overheard { body, size, extent })
    }

    fn tell_inline(&mut self, key: MessageKey, bytes: Bytes) {
        let body = self.next_body();
        self.see(Observed::Begin { body, size: bytes.len() as u64, key: Some(key.clone()) });
        self.see(Observed::Chunk(body, bytes));
        self.see(Observed::End(body, key, Way::Fetched));
    }

    /// Which message a response is about, if the source said so for sure.
    fn key(&self, fetched: &Fetched) -> Option<MessageKey> {
        let selected = self.selected.as_ref()?;
        let uid = fetched.uid.or_else(|| selected.uid(fetched.seq))?;
        Some(MessageKey {
            mailbox: self.mailbox,
            folder: selected.folder.clone(),
            validity: selected.validity?,
            uid,
        })
    }
}

/// The 100 of `BODY[]<100>`.
fn offset(item: &str) -> Option<u64> {
    item.strip_prefix("BODY[]<")?.strip_suffix('>')?.parse().ok()
}
