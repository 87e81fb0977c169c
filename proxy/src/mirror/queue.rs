//! The bounded queue between a relay and its tap. The relay never waits: what finds no room is refused, once and for all.
//!
//! A session that idles has nothing in it and pays for nothing: the lists exist only while something is in them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::ProxyLimits;

/// Chunks that may wait, however small.
const MAX_CHUNKS: usize = 8192;

/// What a relay passed on.
#[derive(Debug)]
pub(super) enum Heard {
    Client(Bytes),
    Server(Bytes),
}

impl Heard {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Client(bytes) | Self::Server(bytes) => bytes.len(),
        }
    }
}

/// The relay's end. Dropped, the tap's task ends when it has seen everything.
#[derive(Debug)]
pub(crate) struct TapSender {
    shared: Arc<Shared>,
    limit: usize,
    total_limit: usize,
}

/// The task's end.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    /// Taken over from what waits, many at once.
    taken: VecDeque<Heard>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Bytes that are not done with yet: here, and for all taps.
    bytes: AtomicUsize,
    total: Arc<AtomicUsize>,
    overrun: AtomicBool,
}

#[derive(Debug)]
struct Waiting {
    heard: VecDeque<Heard>,
    ends: Ends,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    Both,
    /// The relay is over: what waits is still to be heard.
    QueueOnly,
    /// Nobody listens.
    SenderOnly,
}

/// Both ends. `total` counts the bytes of all queues.
pub(super) fn queue(limits: &ProxyLimits, total: Arc<AtomicUsize>) -> (TapSender, Queue) {
    let shared = Arc::new(Shared {
        waiting: Mutex::new(Waiting { heard: VecDeque::new(), ends: Ends::Both }),
        arrived: Notify::new(),
        bytes: AtomicUsize::new(0),
        total,
        overrun: AtomicBool::new(false),
    });
    let (limit, total_limit) = (limits.tap_bytes, limits.tap_bytes_total);
    (TapSender { shared: shared.clone(), limit, total_limit }, Queue { shared, taken: VecDeque::new() })
}

impl TapSender {
    /// Offers bytes on their way to the source; false when nobody listens any more.
    pub(crate) fn offer_client(&self, bytes: &Bytes) -> bool {
        self.offer(Heard::Client(bytes.clone()))
    }

    /// Offers bytes on their way to the client; false when nobody listens any more.
    pub(crate) fn offer_server(&self, bytes: &Bytes) -> bool {
        self.offer(Heard::Server(bytes.clone()))
    }

    fn offer(&self, heard: Heard) -> bool {
        let shared = &self.shared;
        let bytes = heard.len();
        let here = shared.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = shared.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut waiting = shared.waiting();
        if waiting.ends == Ends::SenderOnly {
            shared.done(bytes);
            return false;
        }
        if here > self.limit || total > self.total_limit || waiting.heard.len() >= MAX_CHUNKS {
            shared.done(bytes);
            shared.overrun.store(true, Ordering::Relaxed);
            return false;
        }
        waiting.heard.push_back(heard);
        let first = waiting.heard.len() == 1;
        drop(waiting);
        if first {
            shared.arrived.notify_one();
        }
        true
    }
}

impl Drop for TapSender {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting();
        if waiting.ends == Ends::Both {
            waiting.ends = Ends::QueueOnly;
        }
        drop(waiting);
        self.shared.arrived.notify_one();
    }
}

impl Queue {
    /// The next chunk; `None` when the relay is over and everything was heard. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.taken.pop_front() {
                return Some(heard);
            }
            {
                let mut waiting = self.shared.waiting();
                self.taken = std::mem::take(&mut waiting.heard);
                if self.taken.is_empty() && waiting.ends == Ends::QueueOnly {
                    return None;
                }
            }
            if self.taken.is_empty() {
                self.shared.arrived.notified().await;
            }
        }
    }

    /// The tap is done with so many bytes: others may wait in their place.
    pub(super) fn done(&self, bytes: usize) {
        self.shared.done(bytes);
    }

    /// Whether something was refused for want of room.
    pub(super) fn is_overrun(&self) -> bool {
        self.shared.overrun.load(Ordering::Relaxed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting();
        waiting.ends = Ends::SenderOnly;
        let left = std::mem::take(&mut waiting.heard);
        drop(waiting);
        let left = left.iter().chain(&self.taken).map(Heard::len).sum();
        self.shared.done(left);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: usize) -> ProxyLimits {
        ProxyLimits { tap_bytes: bytes, ..ProxyLimits::default() }
    }

    async fn all(mut queue: Queue) -> String {
        let mut heard = Vec::new();
        while let Some(one) = queue.next().await {
            queue.done(one.len());
            match one {
                Heard::Client(bytes) | Heard::Server(bytes) => heard.extend_from_slice(&bytes),
            }
        }
        String::from_utf8(heard).unwrap()
    }

    #[tokio::test]
    async fn in_order_and_to_the_end() {
        let total = Arc::new(AtomicUsize::new(0));
        let (sender, queue) = queue(&limits(100), total.clone());
        let listening = tokio::spawn(all(queue));
        for word in ["a", "b", "c"] {
            assert!(sender.offer_client(&Bytes::from_static(word.as_bytes())));
            tokio::task::yield_now().await;
            assert!(sender.offer_server(&Bytes::from_static(b"-")));
        }
        drop(sender);
        assert_eq!(listening.await.unwrap(), "a-b-c-");
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_and_accounted_for() {
        let total = Arc::new(AtomicUsize::new(0));
        let (sender, mut queue) = queue(&limits(5), total.clone());
        assert!(sender.offer_client(&Bytes::from_static(b"abc")));
        assert!(!sender.offer_client(&Bytes::from_static(b"def")));
        assert!(queue.is_overrun());
        let first = queue.next().await.unwrap();
        // What was taken still counts, until it is done with.
        assert!(!sender.offer_client(&Bytes::from_static(b"def")));
        queue.done(first.len());
        assert!(sender.offer_client(&Bytes::from_static(b"ghi")));
        drop(queue);
        assert_eq!(total.load(Ordering::Relaxed), 0);
        assert!(!sender.offer_client(&Bytes::from_static(b"x")), "nobody listens");
    }
}
