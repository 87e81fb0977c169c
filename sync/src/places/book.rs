//! Who has a place, who waits for one, and who is to give his back. Pure: moments in, decisions out.
//!
//! - Places are given in turn. Interactive errands (what users just did) go before background ones; of eight places that are
//!   given while both wait, one goes to the background all the same, so nobody starves.
//! - A spare place (one more session of a mailbox that has one) is given only while nobody waits.
//! - While somebody waits, or more places are held than there are, as many holders are asked to go as are in the way: who
//!   rests, then spare ones, those of the mailbox with the most first, then whoever copies in the background and has had his
//!   time. For an interactive errand a background one makes room at once: at its next step, which is seconds away.
//! - A mailbox may have a limit of its own; what it holds beyond that is asked for whether or not anybody waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use mailferry_imap::MailboxId;

/// What a place is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Errand {
    /// A pass, a plan, a verification.
    Background,
    /// What users just did.
    Interactive,
}

/// What the holder of a place does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doing {
    /// Nothing; it is kept because there may be more to do soon.
    Rest,
    /// This.
    Work(Errand),
}

/// The first session of a mailbox, or one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    First,
    Spare,
}

/// One who waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Ticket(u64);

/// One place that is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PlaceId(u64);

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    owner: MailboxId,
}

#[derive(Debug)]
struct Held {
    owner: MailboxId,
    kind: Kind,
    doing: Doing,
    /// When it was given, or when its holder began to rest.
    since: Instant,
}

/// After so many interactive errands in a row a background one that waits has its turn.
const IN_A_ROW: u32 = 7;

/// All places of one kind.
#[derive(Debug)]
pub(crate) struct Book {
    capacity: usize,
    /// How long background work keeps its place though others wait.
    slice: Duration,
    held: BTreeMap<PlaceId, Held>,
    /// The most that these mailboxes are to have.
    limits: BTreeMap<MailboxId, usize>,
    interactive: VecDeque<Waiter>,
    background: VecDeque<Waiter>,
    /// Interactive errands served since a background one was passed over first.
    in_a_row: u32,
    next: u64,
}

impl Book {
    pub(crate) fn new(capacity: usize, slice: Duration) -> Self {
        Self {
            capacity: capacity.max(1),
            slice,
            held: BTreeMap::new(),
            limits: BTreeMap::new(),
            interactive: VecDeque::new(),
            background: VecDeque::new(),
            in_a_row: 0,
            next: 0,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// From now on there are so many places; who holds one too many is asked to go.
    pub(crate) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
    }

    /// From now on a mailbox is to have so many places at most; zero: it gives back all that it has.
    pub(crate) fn limit(&mut self, owner: MailboxId, most: usize) {
        self.limits.insert(owner, most);
    }

    /// How many places are held.
    pub(crate) fn in_use(&self) -> usize {
        self.held.len()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.interactive.len() + self.background.len()
    }

    /// How many places a mailbox has.
    pub(crate) fn of(&self, owner: MailboxId) -> usize {
        self.held.values().filter(|held| held.owner == owner).count()
    }

    /// How many of these for what users did.
    pub(crate) fn users(&self) -> usize {
        self.interactive.len()
    }

    /// How many mailboxes have a place.
    pub(crate) fn owners(&self) -> usize {
        self.held.values().map(|held| held.owner).collect::<BTreeSet<_>>().len()
    }

    /// Someone waits for the first place of a mailbox; call [`grant`](Self::grant) then.
    pub(crate) fn enqueue(&mut self, owner: MailboxId, errand: Errand) -> Ticket {
        let ticket = Ticket(self.number());
        let waiter = Waiter { ticket, owner };
        match errand {
            Errand::Interactive => self.interactive.push_back(waiter),
            Errand::Background => self.background.push_back(waiter),
        }
        ticket
    }

    /// Someone waits no more.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        self.interactive.retain(|waiter| waiter.ticket != ticket);
        self.background.retain(|waiter| waiter.ticket != ticket);
    }

    /// Gives free places to those who wait.
    pub(crate) fn grant(&mut self, now: Instant) -> Vec<(Ticket, PlaceId)> {
        let mut granted = Vec::new();
        while self.held.len() < self.capacity {
            let Some((waiter, errand)) = self.next_waiter() else { break };
            let doing = Doing::Work(errand);
            granted.push((waiter.ticket, self.hold(waiter.owner, Kind::First, doing, now)));
        }
        granted
    }

    /// One more place for a mailbox whose limit allows it, if one is free and nobody waits.
    pub(crate) fn spare(&mut self, owner: MailboxId, now: Instant) -> Option<PlaceId> {
        let is_free = self.waiting() == 0 && self.held.len() < self.capacity;
        let may = is_free && self.limits.get(&owner).is_none_or(|most| self.of(owner) < *most);
        may.then(|| self.hold(owner, Kind::Spare, Doing::Work(Errand::Background), now))
    }

    /// A place is free again; call [`grant`](Self::grant) then.
    pub(crate) fn give_back(&mut self, place: PlaceId) {
        self.held.remove(&place);
    }

    /// What a holder does from now on.
    pub(crate) fn turn_to(&mut self, place: PlaceId, doing: Doing, now: Instant) {
        let Some(held) = self.held.get_mut(&place) else { return };
        let rests = |doing| doing == Doing::Rest;
        if rests(held.doing) != rests(doing) {
            held.since = now;
        }
        held.doing = doing;
    }

    /// Who is asked to give his place back.
    pub(crate) fn wanted(&self, now: Instant) -> BTreeSet<PlaceId> {
        let mut wanted = self.beyond_limits();
        let excess = self.held.len().saturating_sub(self.capacity);
        let needed = excess + self.waiting();
        if wanted.len() >= needed {
            return wanted;
        }
        let mut ask = |ids: Vec<PlaceId>, most: usize| {
            let left = ids.into_iter().filter(|id| !wanted.contains(id)).take(most).collect::<Vec<_>>();
            wanted.extend(left);
            wanted.len()
        };
        let mut asked = ask(Vec::new(), 0);
        asked = ask(self.resting(), needed - asked);
        asked = ask(self.spare_ones(), needed - asked);
        // For users, and where there are too many, at once; else whoever has had his time.
        let firsts = self.working_firsts(Errand::Background);
        let at_once = (excess + self.interactive.len()).saturating_sub(asked);
        asked = ask(firsts.iter().map(|(id, _)| *id).collect(), at_once);
        let had_his_time = |since: Instant| now.saturating_duration_since(since) >= self.slice;
        let late = firsts.iter().filter(|(_, since)| had_his_time(*since)).map(|(id, _)| *id);
        asked = ask(late.collect(), needed - asked);
        let busy = self.working_firsts(Errand::Interactive);
        ask(busy.into_iter().map(|(id, _)| id).collect(), excess.saturating_sub(asked));
        wanted
    }

    /// The newest of those who have more than their mailbox's limit.
    fn beyond_limits(&self) -> BTreeSet<PlaceId> {
        let mut counts: BTreeMap<MailboxId, usize> = BTreeMap::new();
        let mut beyond = BTreeSet::new();
        for (id, held) in &self.held {
            let count = counts.entry(held.owner).or_default();
            *count += 1;
            if self.limits.get(&held.owner).is_some_and(|most| *count > *most) {
                beyond.insert(*id);
            }
        }
        beyond
    }

    /// Those who rest, the longest first.
    fn resting(&self) -> Vec<PlaceId> {
        let rest = self.held.iter().filter(|(_, held)| held.doing == Doing::Rest);
        let mut rest: Vec<_> = rest.map(|(id, held)| (held.since, *id)).collect();
        rest.sort();
        rest.into_iter().map(|(_, id)| id).collect()
    }

    /// Spare places at work: the last one of the mailbox that has the most first.
    fn spare_ones(&self) -> Vec<PlaceId> {
        let mut counts: BTreeMap<MailboxId, usize> = BTreeMap::new();
        let mut spare = Vec::new();
        for (id, held) in self.held.iter().filter(|(_, held)| held.doing != Doing::Rest) {
            let count = counts.entry(held.owner).or_default();
            *count += 1;
            if held.kind == Kind::Spare {
                spare.push((Reverse(*count), *id));
            }
        }
        spare.sort();
        spare.into_iter().map(|(_, id)| id).collect()
    }

    /// First places at such work, and since when; the longest first.
    fn working_firsts(&self, errand: Errand) -> Vec<(PlaceId, Instant)> {
        let wanted = |held: &Held| held.kind == Kind::First && held.doing == Doing::Work(errand);
        let firsts = self.held.iter().filter(|(_, held)| wanted(held));
        let mut firsts: Vec<_> = firsts.map(|(id, held)| (*id, held.since)).collect();
        firsts.sort_by_key(|(id, since)| (*since, *id));
        firsts
    }

    fn next_waiter(&mut self) -> Option<(Waiter, Errand)> {
        if self.background.is_empty() {
            self.in_a_row = 0;
        } else if self.interactive.is_empty() || self.in_a_row >= IN_A_ROW {
            self.in_a_row = 0;
            return self.background.pop_front().map(|waiter| (waiter, Errand::Background));
        } else {
            self.in_a_row += 1;
        }
        self.interactive.pop_front().map(|waiter| (waiter, Errand::Interactive))
    }

    fn hold(&mut self, owner: MailboxId, kind: Kind, doing: Doing, now: Instant) -> PlaceId {
        let id = PlaceId(self.number());
        self.held.insert(id, Held { owner, kind, doing, since: now });
        id
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests;
