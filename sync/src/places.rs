//! Places: how many of one thing may be open at once, given in turn.
//!
//! What is decided stands in [`book`]; here is who waits. A place is held as long as its [`Place`] lives. Waiting is
//! cancel-safe: a dropped future leaves the queue, and a place that it was just given goes to the next one.

pub(crate) mod book;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailferry_imap::MailboxId;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use book::{Book, PlaceId, Ticket};
pub(crate) use book::{Doing, Errand};

/// Places of one kind. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    book: Book,
    waiters: BTreeMap<Ticket, oneshot::Sender<Place>>,
    /// Told when it is wanted back.
    bells: BTreeMap<PlaceId, Arc<Notify>>,
}

/// A place that is held.
#[derive(Debug)]
pub struct Place {
    places: Places,
    id: PlaceId,
    bell: Arc<Notify>,
}

/// How it stands at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) capacity: usize,
    pub(crate) in_use: usize,
    pub(crate) waiting: usize,
    /// Of these, for what users did.
    pub(crate) users: usize,
}

impl Places {
    /// So many places; background work keeps one for `slice` though others wait.
    pub(crate) fn new(capacity: usize, slice: Duration) -> Self {
        let shared =
            Shared { book: Book::new(capacity, slice), waiters: BTreeMap::new(), bells: BTreeMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A place, in turn.
    pub(crate) async fn take(&self, owner: MailboxId, errand: Errand) -> Place {
        loop {
            let (given, place) = oneshot::channel();
            let ticket = self.change(|shared| {
                let ticket = shared.book.enqueue(owner, errand);
                shared.waiters.insert(ticket, given);
                ticket
            });
            let _waiting = Waiting { places: self, ticket };
            // Only the end of the queue itself could drop it, and we hold that.
            if let Ok(place) = place.await {
                return place;
            }
        }
    }

    /// One more place for who has one, if his limit allows it, one is free and nobody waits.
    pub(crate) fn spare(&self, owner: MailboxId) -> Option<Place> {
        let mut shared = self.shared();
        let id = shared.book.spare(owner, now())?;
        Some(self.place(&mut shared, id))
    }

    /// From now on there are so many places.
    pub(crate) fn resize(&self, capacity: usize) {
        self.change(|shared| shared.book.resize(capacity));
    }

    /// From now on a mailbox is to have so many at most.
    pub(crate) fn limit(&self, owner: MailboxId, most: usize) {
        self.change(|shared| shared.book.limit(owner, most));
    }

    /// How many places a mailbox has.
    pub(crate) fn of(&self, owner: MailboxId) -> usize {
        self.shared().book.of(owner)
    }

    /// How many mailboxes have a place.
    pub(crate) fn owners(&self) -> usize {
        self.shared().book.owners()
    }

    pub(crate) fn tally(&self) -> Tally {
        let shared = self.shared();
        let book = &shared.book;
        Tally {
            capacity: book.capacity(),
            in_use: book.in_use(),
            waiting: book.waiting(),
            users: book.users(),
        }
    }

    /// Changes the book, hands out what became free, and tells those who are asked to go.
    fn change<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        let mut homeless = Vec::new();
        let changed = {
            let mut shared = self.shared();
            let changed = change(&mut shared);
            for (ticket, id) in shared.book.grant(now()) {
                let place = self.place(&mut shared, id);
                match shared.waiters.remove(&ticket) {
                    Some(waiter) => homeless.extend(waiter.send(place).err()),
                    None => homeless.push(place),
                }
            }
            for id in shared.book.wanted(now()) {
                if let Some(bell) = shared.bells.get(&id) {
                    bell.notify_one();
                }
            }
            changed
        };
        drop(homeless); // Each gives itself back, which takes the lock.
        changed
    }

    fn is_wanted(&self, id: PlaceId) -> bool {
        self.shared().book.wanted(now()).contains(&id)
    }

    fn place(&self, shared: &mut Shared, id: PlaceId) -> Place {
        let bell = Arc::new(Notify::new());
        shared.bells.insert(id, bell.clone());
        Place { places: self.clone(), id, bell }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it should be given back soon: to be asked between two steps.
    pub fn is_wanted(&self) -> bool {
        self.places.is_wanted(self.id)
    }

    /// The same, to be asked by others than its holder.
    pub(crate) fn asks(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (places, id) = (self.places.clone(), self.id);
        move || places.is_wanted(id)
    }

    /// Ends when it should be given back. Whoever has had his time while he works is not waked by that: he asks.
    pub fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let (places, id, bell) = (self.places.clone(), self.id, self.bell.clone());
        async move {
            while !places.is_wanted(id) {
                bell.notified().await;
            }
        }
    }

    /// What its holder does from now on.
    pub(crate) fn turn_to(&self, doing: Doing) {
        self.places.change(|shared| shared.book.turn_to(self.id, doing, now()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.change(|shared| {
            shared.bells.remove(&self.id);
            shared.book.give_back(self.id);
        });
    }
}

struct Waiting<'a> {
    places: &'a Places,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.change(|shared| {
            shared.waiters.remove(&self.ticket);
            shared.book.leave(self.ticket);
        });
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
