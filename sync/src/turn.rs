//! A mailbox's turn at its endpoint: as many as it allows have one at once, of all batches together.
//!
//! A pass that takes long gives it back after [`TURN`] if others wait, between two steps, and goes on where it was when it is
//! its turn again: so a mailbox of a million messages keeps nobody from beginning.

use std::time::Duration;

use mailferry_ledger::{Endpoint, MailboxId};

use crate::places::{Errand, Place, Places};
use crate::worker::Pass;

/// How long a pass goes on though others wait. Logins and listings are few beside it.
const TURN: Duration = Duration::from_secs(30 * 60);

/// The turns at one endpoint. Clones share them.
#[derive(Clone)]
pub(crate) struct Turns {
    migrations: Places,
    incremental_syncs: Places,
}

/// A turn, held or given back for a while.
#[derive(Debug)]
pub struct Turn {
    places: Places,
    owner: MailboxId,
    place: Option<Place>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { migrations: Places::new(1, TURN), incremental_syncs: Places::new(1, TURN) }
    }

    /// Takes over the endpoint's numbers, which may have changed.
    pub(crate) fn adjust(&self, endpoint: &Endpoint) {
        self.migrations.resize(endpoint.max_concurrent_migrations as usize);
        self.incremental_syncs.resize(endpoint.max_concurrent_incremental_syncs as usize);
    }

    #[cfg(test)]
    pub(crate) fn tally(&self, pass: Pass) -> crate::places::Tally {
        self.of(pass).tally()
    }

    /// The next turn for a pass of this kind. Cancel-safe.
    pub(crate) async fn take(&self, pass: Pass, owner: MailboxId, errand: Errand) -> Turn {
        let places = self.of(pass);
        let place = places.take(owner, errand).await;
        Turn { places: places.clone(), owner, place: Some(place) }
    }

    fn of(&self, pass: Pass) -> &Places {
        match pass {
            Pass::Full => &self.migrations,
            Pass::Incremental => &self.incremental_syncs,
        }
    }
}

impl Turn {
    /// Whether others wait and this one had his time.
    pub(crate) fn is_over(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_wanted)
    }

    /// The same, to be asked by all lanes of the pass.
    pub(crate) fn over(&self) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        self.place.as_ref().map(|place| Box::new(place.asks()) as Box<dyn Fn() -> bool + Send + Sync>)
    }

    /// Gives it back; what is returned waits for the next one.
    pub(crate) fn give_back(mut self) -> impl Future<Output = Self> + Send {
        self.place = None;
        async move {
            self.place = Some(self.places.take(self.owner, Errand::Background).await);
            self
        }
    }
}
