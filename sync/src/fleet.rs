//! The owner of all mailbox workers.
//!
//! Every mailbox of a started batch has a driver (`driver`): a small task that knows when its next pass is due
//! (`schedule`), waits for a place at the endpoint, hires a worker for as long as there is something to do and
//! records how it went. What a client just did wakes the driver at once, with no place needed. The fleet starts and
//! stops drivers, asks them for more, and knows how fast each batch is.
//!
//! The durable truth is the ledger: a driver that is lost with the process is started again from there.

mod crew;
mod driver;
mod rate;
mod schedule;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mailferry_ledger::{Endpoint, Ledger, Mailbox, MailboxId};
use mailferry_spool::Spool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::batch::Rate;
use crate::error::{LocalError, PassError};
use crate::export::{Step, Wanted};
use crate::places::Errand;
use crate::plan::MailboxPlan;
use crate::progress::Snapshot;
use crate::retry::{Again, Retried};
use crate::turn::{Turn, Turns};
use crate::verify::{Depth, VerifyReport};
use crate::worker::Pass;

#[cfg(test)]
pub(crate) use crew::{Answer, Hired};
pub(crate) use crew::{Crew, Workers};
use driver::{Driver, Order, View};
use rate::Meter;
pub(crate) use state::{derive, is_started};

/// A worker that does not answer for so long is in the middle of a pass.
const BUSY: Duration = Duration::from_secs(10);

/// All drivers. Clones share them.
#[derive(Clone)]
pub(crate) struct Fleet {
    yard: Arc<Yard>,
    drivers: Arc<Mutex<BTreeMap<MailboxId, Driven>>>,
    meters: Arc<Mutex<BTreeMap<String, Meter>>>,
}

/// What all drivers share.
pub(crate) struct Yard {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) crew: Box<dyn Crew>,
    /// Time between incremental passes of a mailbox.
    pub(crate) interval: Duration,
    turns: Mutex<BTreeMap<String, Turns>>,
}

struct Driven {
    batch: String,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    view: Arc<Mutex<View>>,
    /// What of the worker's figures was counted already.
    counted: (u64, u64),
}

/// A mailbox at this moment, as far as its driver knows more than the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Glance {
    /// The worker's figures; `None` while there is no worker.
    pub(crate) live: Option<Snapshot>,
    /// When it is tried again.
    pub(crate) retry_at: Option<Timestamp>,
}

impl Fleet {
    pub(crate) fn new(ledger: Ledger, spool: Spool, crew: Box<dyn Crew>, interval: Duration) -> Self {
        let yard = Yard { ledger, spool, crew, interval, turns: Mutex::default() };
        Self { yard: Arc::new(yard), drivers: Arc::default(), meters: Arc::default() }
    }

    /// Starts the drivers of these mailboxes of one batch; those that run go on.
    pub(crate) fn start(&self, endpoint: &str, mailboxes: &[Mailbox]) {
        let mut drivers = self.drivers();
        for mailbox in mailboxes {
            if drivers.get(&mailbox.id).is_some_and(|driven| !driven.task.is_finished()) {
                continue;
            }
            let (orders, received) = mpsc::channel(8);
            let stop = CancellationToken::new();
            let view = Arc::new(Mutex::new(View::default()));
            let driver =
                Driver::new(mailbox, endpoint, self.yard.clone(), view.clone(), received, stop.clone());
            let span = tracing::info_span!("mailbox", mailbox = %mailbox.id, batch = %mailbox.batch);
            let task = tokio::spawn(Box::pin(driver.drive()).instrument(span));
            let batch = mailbox.batch.clone();
            drivers.insert(mailbox.id, Driven { batch, orders, stop, task, view, counted: (0, 0) });
        }
    }

    /// Stops the drivers of a batch and returns when the last worker has ended.
    pub(crate) async fn stop(&self, batch: &str) {
        let stopped = self.take(|driven| driven.batch == batch);
        end(stopped).await;
        self.meters().remove(batch);
    }

    /// Stops everything: the program ends. What is recorded stays as it is.
    pub(crate) async fn close(&self) {
        end(self.take(|_| true)).await;
    }

    /// A pass as soon as there is a place.
    pub(crate) fn sync_now(&self, mailbox: MailboxId) {
        if let Some(driven) = self.drivers().get(&mailbox) {
            // A full queue has such an order in it already.
            let _ = driven.orders.try_send(Order::SyncNow);
        }
    }

    /// The operator's word: held deletions go with the next pass, which is at once.
    pub(crate) async fn allow_deletions(&self, mailbox: MailboxId) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = self
            .drivers()
            .get(&mailbox)
            .is_some_and(|driven| driven.orders.try_send(Order::AllowDeletions(answer)).is_ok());
        sent && answered.await.is_ok()
    }

    /// What a pass would do. Writes nothing, so it may run beside the mailbox's own worker.
    pub(crate) async fn plan(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
    ) -> Result<MailboxPlan, PassError> {
        let _turn = self.yard.look(mailbox, endpoint).await;
        self.yard.crew.plan(mailbox, endpoint).0.await
    }

    /// Compares both sides; by the mailbox's own worker where there is one, between two passes.
    pub(crate) async fn verify(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
        depth: Depth,
    ) -> Result<VerifyReport, PassError> {
        loop {
            let turn = self.yard.look(mailbox, endpoint).await;
            let Some((orders, mut passing)) = self.orders(mailbox) else {
                return self.yard.crew.verify(mailbox, endpoint, depth).0.await;
            };
            if *passing.borrow_and_update() {
                // A pass may take days: others are to have this turn meanwhile.
                drop(turn);
                let _ = passing.wait_for(|passes| !passes).await; // Its end is told by the driver being gone, too.
                continue;
            }
            let (answer, answered) = oneshot::channel();
            if orders.send(Order::Verify(turn, depth, answer)).await.is_ok() {
                return answered.await.unwrap_or(Err(PassError::Stopped));
            }
        }
    }

    /// Hands skipped messages out of the source. It only reads, so it may run beside the mailbox's own worker.
    pub(crate) async fn export(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
        wanted: Wanted,
        out: mpsc::Sender<Step>,
    ) -> Result<(), PassError> {
        let _turn = self.yard.look(mailbox, endpoint).await;
        self.yard.crew.export(mailbox, endpoint, wanted, out).0.await
    }

    /// Skipped messages are taken on again, then there is a pass. A worker in the middle of one does so after it: nobody
    /// waits for that.
    pub(crate) async fn retry(&self, mailbox: MailboxId, again: Again) -> Result<Retried, PassError> {
        let (answer, answered) = oneshot::channel();
        let orders = self.drivers().get(&mailbox).map(|driven| driven.orders.clone());
        let patience = match again {
            Again::Skipped => BUSY,
            // How many are missing is worth waiting for.
            Again::SkippedAndMissing => Duration::MAX,
        };
        match orders {
            Some(orders) if orders.send(Order::Retry(again, answer)).await.is_ok() => {
                match tokio::time::timeout(patience, answered).await {
                    Ok(answer) => answer.unwrap_or(Err(PassError::Stopped)),
                    Err(_) => Ok(Retried { after_pass: true, ..Retried::default() }),
                }
            }
            Some(_) | None => Err(PassError::Stopped),
        }
    }

    /// How a mailbox's driver is asked, and whether a pass of it runs.
    fn orders(&self, mailbox: MailboxId) -> Option<(mpsc::Sender<Order>, watch::Receiver<bool>)> {
        let drivers = self.drivers();
        let driven = drivers.get(&mailbox).filter(|driven| !driven.task.is_finished())?;
        let view = driven.view.lock().unwrap_or_else(PoisonError::into_inner);
        Some((driven.orders.clone(), view.passing.subscribe()))
    }

    /// What a mailbox is doing.
    pub(crate) fn glance(&self, mailbox: MailboxId) -> Glance {
        let drivers = self.drivers();
        let Some(driven) = drivers.get(&mailbox) else { return Glance::default() };
        let view = driven.view.lock().unwrap_or_else(PoisonError::into_inner);
        Glance { live: view.progress.as_ref().map(|progress| progress.snapshot()), retry_at: view.retry_at }
    }

    /// How fast a batch is, and how long so much more takes.
    pub(crate) fn rate(&self, batch: &str, messages_left: u64, bytes_left: u64) -> Rate {
        self.meters().get(batch).map(|meter| meter.rate(messages_left, bytes_left)).unwrap_or_default()
    }

    /// Takes the figures of all workers; to be called about every second.
    pub(crate) fn measure(&self, now: Instant) {
        let mut done: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for driven in self.drivers().values_mut() {
            let sum = done.entry(driven.batch.clone()).or_default();
            let view = driven.view.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(progress) = &view.progress else {
                driven.counted = (0, 0);
                continue;
            };
            let live = progress.snapshot();
            let figures = (live.messages_done, live.bytes_done);
            // Less than before: a new pass began to count.
            let (messages, bytes) = if figures.0 < driven.counted.0 {
                figures
            } else {
                (figures.0 - driven.counted.0, figures.1.saturating_sub(driven.counted.1))
            };
            driven.counted = figures;
            sum.0 += messages;
            sum.1 += bytes;
        }
        let mut meters = self.meters();
        for (batch, (messages, bytes)) in done {
            meters.entry(batch).or_default().add(now, messages, bytes);
        }
    }

    fn take(&self, is_wanted: impl Fn(&Driven) -> bool) -> Vec<Driven> {
        let mut drivers = self.drivers();
        let ids: Vec<MailboxId> =
            drivers.iter().filter(|(_, driven)| is_wanted(driven)).map(|(id, _)| *id).collect();
        ids.iter().filter_map(|id| drivers.remove(id)).collect()
    }

    fn drivers(&self) -> MutexGuard<'_, BTreeMap<MailboxId, Driven>> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meters(&self) -> MutexGuard<'_, BTreeMap<String, Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn end(stopped: Vec<Driven>) {
    for driven in &stopped {
        driven.stop.cancel();
    }
    for driven in stopped {
        if let Err(error) = driven.task.await {
            tracing::error!(%error, "A driver broke down.");
        }
    }
}

impl Yard {
    fn endpoint(&self, name: &str) -> Result<Endpoint, PassError> {
        self.ledger.endpoint(name)?.ok_or(PassError::Local(LocalError::NoMailbox))
    }

    /// A turn for who only looks.
    async fn look(&self, mailbox: MailboxId, endpoint: &Endpoint) -> Turn {
        self.turns(endpoint).take(Pass::Incremental, mailbox, Errand::Background).await
    }

    /// The turns at an endpoint, by its numbers as they are now.
    fn turns(&self, endpoint: &Endpoint) -> Turns {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let known = turns.entry(endpoint.name.clone()).or_insert_with(Turns::new);
        known.adjust(endpoint);
        known.clone()
    }
}

#[cfg(test)]
mod tests;
