//! What the proxy's taps saw and the mirror has not used yet, and whose clients are there: the place where proxy and sync meet.
//!
//! Everything here may be lost at any moment: an observation is a hint, the ledger is the truth. So nothing
//! is ever synced to disk, every limit is kept by dropping the oldest, and no call waits for anybody. Small
//! bodies live in memory, large ones in unlinked temporary files that vanish with the process.
//!
//! Must not know: what a session says, the ledger, the target.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attendance;
mod body;
mod hints;
mod space;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailferry_imap::{FolderName, MailboxId, MessageKey, Uid, UidValidity};

pub use attendance::Attendance;
use attendance::Attended;
pub use body::{Body, BodyReader, BodyWriter};
use hints::Hints;
use space::{Kind, Space};

/// What the spool may use. Reaching a limit drops the oldest bodies, never anything at a client.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory for the bodies that are small enough for it, in bytes.
    pub memory_bytes: u64,
    /// Disk for all others, in bytes.
    pub disk_bytes: u64,
    /// Where the temporary files go. Made when first needed; it need not exist or be writable: then large
    /// bodies are simply not kept.
    pub dir: PathBuf,
}

/// There is no room (or no working disk) for a body. It is lost to the mirror; the next pass copies it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room in the spool")]
pub struct Full;

/// How a body came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A client fetched it.
    Fetched,
    /// A client appended it.
    Appended,
}

/// A folder as it was when a message got its UID in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Its name.
    pub folder: FolderName,
    /// Its UIDVALIDITY.
    pub validity: UidValidity,
}

/// Messages that a client copied or moved, as the source's COPYUID told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Whose account.
    pub mailbox: MailboxId,
    /// Where they were; where they still are, if they were copied.
    pub from: Place,
    /// Where they went.
    pub to: Place,
    /// The UID there and here of each.
    pub pairs: Vec<(Uid, Uid)>,
    /// Copied or moved.
    pub kind: TransferKind,
}

/// What became of the originals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferKind {
    /// They stay.
    Copy,
    /// They are gone.
    Move,
}

/// Something that a tap saw.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A whole message, byte for byte as the source holds it.
    Body {
        /// Which message.
        key: MessageKey,
        /// Its bytes.
        body: Body,
        /// Fetched or appended.
        origin: Origin,
    },
    /// Something in this folder is other than it was: new, changed or deleted messages.
    FolderChanged {
        /// Whose account.
        mailbox: MailboxId,
        /// Which folder.
        folder: FolderName,
    },
    /// Folders or subscriptions were made, renamed or removed.
    FoldersChanged {
        /// Whose account.
        mailbox: MailboxId,
    },
    /// Messages are also, or now, in another folder. Says that the folders changed, too.
    Transferred(Transfer),
    /// A tap went blind: anything may have changed.
    Everything {
        /// Whose account.
        mailbox: MailboxId,
    },
}

impl Seen {
    /// Whose account this is about.
    pub fn mailbox(&self) -> MailboxId {
        match self {
            Self::Body { key, .. } => key.mailbox,
            Self::Transferred(transfer) => transfer.mailbox,
            Self::FolderChanged { mailbox, .. }
            | Self::FoldersChanged { mailbox }
            | Self::Everything { mailbox } => *mailbox,
        }
    }
}

/// How full the spool is and what passed through it since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Bytes of memory that bodies hold.
    pub memory_bytes: u64,
    /// Bytes of disk that bodies hold.
    pub disk_bytes: u64,
    /// Bodies that wait for the mirror.
    pub bodies: u64,
    /// Observations offered.
    pub offered: u64,
    /// Bodies offered.
    pub offered_bodies: u64,
    /// Bodies that the mirror took.
    pub taken: u64,
    /// Bodies given up for younger ones.
    pub dropped: u64,
    /// Bodies that found no room, or no working disk.
    pub refused: u64,
}

/// The most bodies kept at once, whatever their size.
const MAX_BODIES: usize = 100_000;

/// The spool. Clones share everything.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    space: Arc<Space>,
    kept: Mutex<Kept>,
    attended: Mutex<Attended>,
    offered: AtomicU64,
    offered_bodies: AtomicU64,
    taken: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default, Debug)]
struct Kept {
    bodies: HashMap<MessageKey, Entry>,
    /// Keys by where the body lies and by arrival: the lowest number is the oldest.
    order: BTreeMap<(Kind, u64), MessageKey>,
    /// Bytes of the bodies in memory and on disk.
    bytes: [u64; 2],
    arrivals: u64,
    hints: BTreeMap<MailboxId, Hints>,
}

#[derive(Debug)]
struct Entry {
    body: Body,
    origin: Origin,
    arrival: u64,
}

impl Kept {
    fn insert(&mut self, key: MessageKey, body: Body, origin: Origin) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes[body.kind() as usize] += body.size();
        self.order.insert((body.kind(), arrival), key.clone());
        self.bodies.insert(key, Entry { body, origin, arrival });
    }

    fn remove(&mut self, key: &MessageKey) -> Option<Entry> {
        let entry = self.bodies.remove(key)?;
        self.order.remove(&(entry.body.kind(), entry.arrival));
        let bytes = &mut self.bytes[entry.body.kind() as usize];
        *bytes = bytes.saturating_sub(entry.body.size());
        Some(entry)
    }

    /// The oldest body that lies there.
    fn oldest_of(&self, kind: Kind) -> Option<(u64, &MessageKey)> {
        let (at, key) = self.order.range((kind, 0)..=(kind, u64::MAX)).next()?;
        Some((at.1, key))
    }

    /// The oldest body of all.
    fn oldest(&self) -> Option<&MessageKey> {
        let oldest = [Kind::Memory, Kind::Disk].into_iter().filter_map(|kind| self.oldest_of(kind));
        oldest.min_by_key(|(arrival, _)| *arrival).map(|(_, key)| key)
    }
}

impl Spool {
    /// An empty spool.
    pub fn new(limits: Limits) -> Self {
        let inner = Inner {
            space: Arc::new(Space::new(limits)),
            kept: Mutex::default(),
            attended: Mutex::default(),
            offered: AtomicU64::new(0),
            offered_bodies: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Room for a body of `size` bytes: memory up to 256 KiB, else an unlinked temporary file. The oldest bodies make
    /// way where needed. A file's space is claimed as it is written, so that a number alone claims nothing.
    pub fn body(&self, size: u64) -> Result<BodyWriter, Full> {
        let writer = BodyWriter::start(self.clone(), size);
        if writer.is_err() {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
        }
        writer
    }

    /// Whether a body of this size lives in memory, so that neither making room for it nor writing it waits for a disk.
    pub fn is_small(&self, size: u64) -> bool {
        body::is_small(&self.inner.space, size)
    }

    /// Takes an observation. Never blocks. A body whose key is already here is forgotten: a message never changes.
    pub fn offer(&self, seen: Seen) {
        self.offer_all([seen]);
    }

    /// Takes several at once: a worker that drains meanwhile finds all of them or none.
    pub fn offer_all(&self, seen: impl IntoIterator<Item = Seen>) {
        let mut dropped = Vec::new();
        let mut changed = Vec::new();
        let mut kept = self.kept();
        for seen in seen {
            let mailbox = seen.mailbox();
            self.take_in(&mut kept, seen, &mut dropped);
            let notify = &kept.hints.entry(mailbox).or_default().notify;
            if !changed.last().is_some_and(|last| Arc::ptr_eq(last, notify)) {
                changed.push(notify.clone());
            }
        }
        drop(kept);
        drop(dropped); // Closing files may take a moment: not under the lock.
        changed.iter().for_each(|notify| notify.notify_waiters());
    }

    fn take_in(&self, kept: &mut Kept, seen: Seen, dropped: &mut Vec<Entry>) {
        self.inner.offered.fetch_add(1, Ordering::Relaxed);
        let hints = kept.hints.entry(seen.mailbox()).or_default();
        match seen {
            Seen::Body { key, body, origin } => {
                self.inner.offered_bodies.fetch_add(1, Ordering::Relaxed);
                if kept.bodies.contains_key(&key) {
                    return;
                }
                hints.add_body(key.clone());
                while kept.bodies.len() >= MAX_BODIES
                    && let Some(oldest) = kept.oldest().cloned()
                {
                    dropped.extend(self.drop_body(kept, &oldest));
                }
                kept.insert(key, body, origin);
            }
            Seen::FolderChanged { folder, .. } => hints.add_folder(folder),
            Seen::FoldersChanged { .. } => hints.folders_changed = true,
            Seen::Transferred(transfer) => hints.add_transfer(transfer),
            Seen::Everything { .. } => hints.set_everything(),
        }
    }

    /// Whether a body is here.
    pub fn holds(&self, key: &MessageKey) -> bool {
        self.kept().bodies.contains_key(key)
    }

    /// Everything seen of a mailbox since the last call, in this order: `Everything`, `FoldersChanged`, the folders, the
    /// transfers and the bodies by arrival. Bodies stay until [taken](Self::take) (or until younger ones need the room).
    pub fn drain(&self, mailbox: MailboxId) -> Vec<Seen> {
        let mut kept = self.kept();
        let Some(hints) = kept.hints.get_mut(&mailbox) else { return Vec::new() };
        let drained = hints.drain();
        let mut seen = Vec::new();
        if drained.everything {
            seen.push(Seen::Everything { mailbox });
        }
        if drained.folders_changed {
            seen.push(Seen::FoldersChanged { mailbox });
        }
        seen.extend(drained.folders.into_iter().map(|folder| Seen::FolderChanged { mailbox, folder }));
        seen.extend(drained.transfers.into_iter().map(Seen::Transferred));
        for key in drained.bodies {
            if let Some(entry) = kept.bodies.get(&key) {
                seen.push(Seen::Body { key, body: entry.body.clone(), origin: entry.origin });
            }
        }
        seen
    }

    /// Hands a body out and forgets it. Its space comes back when the last clone of it is dropped.
    pub fn take(&self, key: &MessageKey) -> Option<Body> {
        let mut kept = self.kept();
        let entry = kept.remove(key)?;
        self.inner.taken.fetch_add(1, Ordering::Relaxed);
        Some(entry.body)
    }

    /// Keeps a body under a second key as well: the source copied or moved the message. False when it is not here.
    pub fn share(&self, key: &MessageKey, other: MessageKey) -> bool {
        let found = self.kept().bodies.get(key).map(|entry| (entry.body.clone(), entry.origin));
        let Some((body, origin)) = found else { return false };
        self.offer(Seen::Body { key: other, body, origin });
        true
    }

    /// Forgets everything about a mailbox: its batch is gone.
    pub fn forget(&self, mailbox: MailboxId) {
        let mut kept = self.kept();
        let gone: Vec<MessageKey> =
            kept.bodies.keys().filter(|key| key.mailbox == mailbox).cloned().collect();
        let mut entries = Vec::new();
        for key in gone {
            entries.extend(kept.remove(&key));
        }
        let hints = kept.hints.remove(&mailbox);
        drop(kept);
        if let Some(hints) = hints {
            hints.notify.notify_waiters();
        }
    }

    /// Returns when there is something to [drain](Self::drain), at once if there already is. Cancel-safe.
    pub async fn changed(&self, mailbox: MailboxId) {
        loop {
            let notify = {
                let mut kept = self.kept();
                let hints = kept.hints.entry(mailbox).or_default();
                if !hints.is_empty() {
                    return;
                }
                // Made under the lock: an offer after this wakes it, even before it is first polled.
                hints.notify.clone().notified_owned()
            };
            notify.await;
        }
    }

    /// Figures for status and metrics.
    pub fn usage(&self) -> Usage {
        let inner = &self.inner;
        Usage {
            memory_bytes: inner.space.memory_used(),
            disk_bytes: inner.space.disk_used(),
            bodies: self.kept().bodies.len() as u64,
            offered: inner.offered.load(Ordering::Relaxed),
            offered_bodies: inner.offered_bodies.load(Ordering::Relaxed),
            taken: inner.taken.load(Ordering::Relaxed),
            dropped: inner.dropped.load(Ordering::Relaxed),
            refused: inner.refused.load(Ordering::Relaxed),
        }
    }

    /// Gives up the oldest body that lies there, for `bytes` more; its folder is hinted at instead. False when giving up
    /// all of them would not make that much room: the rest is in use, by readers or by bodies that are still coming in.
    fn make_room(&self, kind: Kind, bytes: u64) -> bool {
        let mut kept = self.kept();
        if self.inner.space.free(kind).saturating_add(kept.bytes[kind as usize]) < bytes {
            return false;
        }
        let oldest = kept.oldest_of(kind).map(|(_, key)| key.clone());
        let dropped = oldest.and_then(|key| self.drop_body(&mut kept, &key));
        drop(kept);
        dropped.is_some()
    }

    fn drop_body(&self, kept: &mut Kept, key: &MessageKey) -> Option<Entry> {
        let entry = kept.remove(key)?;
        self.inner.dropped.fetch_add(1, Ordering::Relaxed);
        let hints = kept.hints.entry(key.mailbox).or_default();
        hints.add_folder(key.folder.clone());
        hints.notify.notify_waiters();
        Some(entry)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What a panicking holder left is at worst a lost hint.
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
