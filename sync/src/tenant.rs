//! How many sessions the target gets from this daemon, and when none: of all endpoints and batches together.
//!
//! Every session at the target has a [`Place`] for as long as it is open. A mailbox's first session waits for one in turn
//! ([`Tenant::place`]); further ones only try ([`Tenant::spare`]) and are asked back as soon as somebody waits: whoever
//! holds a place asks [`Place::is_wanted`] between two steps, or awaits [`Place::wanted`] while it rests. How many places
//! there are is adapted to what the target says ([`adapt`]). A mailbox that was told to wait gets no session before its
//! time ([`Tenant::waits`]), and what it holds is asked back.
//!
//! All of this is memory; what must survive the daemon is in the ledger ([`crate::throttle`]).

mod adapt;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mailferry_imap::MailboxId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::info;

use crate::pace::{Complaint, Pace};
pub use crate::places::Place;
use crate::places::Places;
pub(crate) use crate::places::{Doing, Errand};
use adapt::{Adaptation, Changed, InUse};

/// Who copies in the background gives way to others who wait for their first session after so long. Opening sessions anew
/// costs a second or two.
const SLICE: Duration = Duration::from_secs(300);

/// The target, as far as this daemon's sessions go. Clones share it.
#[derive(Clone)]
pub struct Tenant {
    places: Places,
    most: usize,
    state: Arc<Mutex<State>>,
}

struct State {
    adaptation: Adaptation,
    paces: BTreeMap<MailboxId, Told>,
    reduced: Option<Reduced>,
}

/// What a mailbox was told.
struct Told {
    pace: Pace,
    words: String,
}

/// Why there are fewer sessions than configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduced {
    /// Since when.
    pub since: Timestamp,
    /// The target's words.
    pub words: String,
}

/// The sessions at the target at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Sessions that are open, or being opened.
    pub sessions: u32,
    /// How many there may be at this moment.
    pub sessions_allowed: u32,
    /// How many there may be by the configuration.
    pub sessions_max: u32,
    /// Mailboxes that wait for a session.
    pub waiting: u32,
    /// Why fewer are allowed than configured, if so.
    pub reduced: Option<Reduced>,
}

/// How long a mailbox waits, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) left: Duration,
    pub(crate) words: String,
}

impl Tenant {
    /// At most so many sessions of all mailboxes together, and of one.
    pub fn new(most: u32, most_of_one: u32) -> Self {
        let (most, most_of_one) = (most.max(1) as usize, most_of_one.max(1) as usize);
        let adaptation = Adaptation::new(most, most_of_one);
        let state = State { adaptation, paces: BTreeMap::new(), reduced: None };
        Self { places: Places::new(most, SLICE), most, state: Arc::new(Mutex::new(state)) }
    }

    /// A place for the first session of a mailbox, in turn. Cancel-safe.
    pub(crate) async fn place(&self, mailbox: MailboxId, errand: Errand) -> Place {
        self.places.take(mailbox, errand).await
    }

    /// A place for one more session of a mailbox that has one: if that is allowed, one is free, and nobody waits.
    pub fn spare(&self, mailbox: MailboxId) -> Option<Place> {
        if self.waits(mailbox).is_some() {
            return None;
        }
        self.places.limit(mailbox, self.lanes(mailbox));
        self.places.spare(mailbox)
    }

    /// How many sessions a mailbox may have at this moment.
    pub(crate) fn lanes(&self, mailbox: MailboxId) -> usize {
        self.state().adaptation.of(mailbox).allowed()
    }

    /// For how long nothing of this mailbox may reach the target.
    pub(crate) fn waits(&self, mailbox: MailboxId) -> Option<Waits> {
        let state = self.state();
        let told = state.paces.get(&mailbox)?;
        let left = told.pace.blocked(now())?;
        Some(Waits { left, words: told.words.clone() })
    }

    /// A mailbox still has to wait since an earlier run, after so many strikes.
    pub(crate) fn resume(&self, mailbox: MailboxId, waits: &Waits, strikes: u32) {
        let pace = Pace::resumed(now(), waits.left, strikes);
        self.state().paces.entry(mailbox).or_insert(Told { pace, words: waits.words.clone() });
        self.limit(mailbox);
    }

    /// A session of this mailbox answers.
    pub(crate) fn on_connected(&self, mailbox: MailboxId) {
        self.state().adaptation.on_connected(mailbox);
        self.limit(mailbox);
    }

    /// The target took something.
    pub(crate) fn on_success(&self, mailbox: MailboxId) {
        let changed = {
            let mut state = self.state();
            if let Some(told) = state.paces.get_mut(&mailbox) {
                told.pace.on_progress();
            }
            let changed = state.adaptation.on_success(mailbox, now(), dice());
            if !state.adaptation.all().is_reduced() {
                state.reduced = None;
            }
            changed
        };
        self.apply(mailbox, changed);
    }

    /// The target asked a mailbox to wait; for so long, where it said so. Returns how long, and how often in a row it did.
    pub(crate) fn on_throttled(
        &self,
        mailbox: MailboxId,
        stated: Option<Duration>,
        words: &str,
    ) -> (Duration, u32) {
        let told = {
            let mut state = self.state();
            let told = state
                .paces
                .entry(mailbox)
                .or_insert_with(|| Told { pace: Pace::default(), words: String::new() });
            words.clone_into(&mut told.words);
            (told.pace.on_throttled(now(), stated, dice()), told.pace.strikes())
        };
        self.limit(mailbox);
        told
    }

    /// The target finds that too much is asked of it.
    pub(crate) fn on_complaint(&self, mailbox: MailboxId, complaint: Complaint, words: &str) {
        let in_use = InUse {
            mailbox: self.places.of(mailbox),
            all: self.places.tally().in_use,
            mailboxes: self.places.owners(),
        };
        let changed = {
            let mut state = self.state();
            let changed = state.adaptation.on_complaint(mailbox, complaint, in_use, now(), dice());
            if changed.all {
                state.reduced = Some(Reduced { since: Timestamp::now(), words: words.to_owned() });
            }
            changed
        };
        if changed.all {
            info!(allowed = self.state().adaptation.all().allowed(), words, "Fewer sessions at the target.");
        }
        self.apply(mailbox, changed);
    }

    /// How it stands.
    pub fn status(&self) -> TargetStatus {
        let tally = self.places.tally();
        TargetStatus {
            sessions: figure(tally.in_use),
            sessions_allowed: figure(tally.capacity),
            sessions_max: figure(self.most),
            waiting: figure(tally.waiting),
            reduced: self.state().reduced.clone(),
        }
    }

    /// Sessions of one mailbox that are open, and how many may be.
    pub(crate) fn sessions(&self, mailbox: MailboxId) -> (u32, u32) {
        (figure(self.places.of(mailbox)), figure(self.lanes(mailbox)))
    }

    fn apply(&self, mailbox: MailboxId, changed: Changed) {
        if changed.all {
            self.places.resize(self.state().adaptation.all().allowed());
        }
        if changed.mailbox {
            self.limit(mailbox);
        }
    }

    fn limit(&self, mailbox: MailboxId) {
        let most = if self.waits(mailbox).is_some() { 0 } else { self.lanes(mailbox) };
        self.places.limit(mailbox, most);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn figure(figure: usize) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Without random numbers all wait equally long.
fn dice() -> u32 {
    let mut dice = [0; 4];
    let _ = getrandom::fill(&mut dice);
    u32::from_le_bytes(dice)
}

#[cfg(test)]
mod tests;
