//! One mailbox's driver: from "due" over "waiting for a place" to "passed", again and again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mailferry_dnscheck::Moment;
use mailferry_ledger::{Change, Endpoint, Mailbox, MailboxId, MailboxState, ReadError};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Yard;
use super::schedule::{Failure, Schedule};
use crate::credentials::{Known, Pick};
use crate::error::{LocalError, PassError, SideError};
use crate::evidence;
use crate::places::Errand;
use crate::progress::Progress;
use crate::retry::{Again, Retried};
use crate::throttle;
use crate::turn::Turn;
use crate::verify::{Depth, VerifyReport};
use crate::worker::{Command, InboxRead, Pass, PassReport};

/// How long a worker that has nothing to do is kept.
const LINGER: Duration = Duration::from_secs(600);
/// How long a worker has to end when it is told to; what it leaves undone is as after a crash.
const GRACE: Duration = Duration::from_secs(20);
/// A failure that may pass is shown as one from this many in a row on.
const SHOWN_FROM: u32 = 3;

/// What a driver is asked for.
pub(super) enum Order {
    /// A pass at once.
    SyncNow,
    /// A comparison of both sides.
    Verify(Turn, Depth, oneshot::Sender<Result<VerifyReport, PassError>>),
    /// Held deletions go.
    AllowDeletions(oneshot::Sender<()>),
    /// Messages are tried again.
    Retry(Again, oneshot::Sender<Result<Retried, PassError>>),
}

/// What others see of a driver.
#[derive(Default)]
pub(super) struct View {
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) retry_at: Option<Timestamp>,
    /// A pass runs.
    pub(super) passing: watch::Sender<bool>,
}

pub(super) struct Driver {
    id: MailboxId,
    endpoint: String,
    yard: Arc<Yard>,
    view: Arc<Mutex<View>>,
    orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
    schedule: Schedule,
    step: Step,
    worker: Option<Running>,
    /// Asked for another pass while one runs.
    again: bool,
    /// What the next pass is for.
    errand: Errand,
}

enum Step {
    Idle,
    Queueing(Pin<Box<dyn Future<Output = Option<Turn>> + Send>>),
    Passing(Passing),
}

struct Passing {
    pass: Pass,
    began: Moment,
    answer: oneshot::Receiver<Result<PassReport, PassError>>,
}

struct Running {
    commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    idle_at: Instant,
    wish: Arc<Notify>,
}

enum Event {
    Stop,
    Order(Order),
    Due,
    Turn(Option<Turn>),
    /// The mirror needs a pass for what clients did.
    Wish,
    Passed(Result<Result<PassReport, PassError>, oneshot::error::RecvError>),
    /// A client did something and there is no worker.
    Seen,
    /// The worker has had nothing to do for long.
    Idle,
    /// The worker ended by itself.
    Lost,
}

impl Driver {
    pub(super) fn new(
        mailbox: &Mailbox,
        endpoint: &str,
        yard: Arc<Yard>,
        view: Arc<Mutex<View>>,
        orders: mpsc::Receiver<Order>,
        stop: CancellationToken,
    ) -> Self {
        let mut schedule = Schedule::new(Instant::now().into_std(), yard.interval);
        // What cannot be read now is asked again before the target is.
        if let Ok(Some((waits, _))) = throttle::waits(&yard.ledger, mailbox) {
            schedule.on_throttled((Instant::now() + waits.left).into_std());
        }
        Self {
            id: mailbox.id,
            endpoint: endpoint.to_owned(),
            yard,
            view,
            orders,
            stop,
            schedule,
            step: Step::Idle,
            worker: None,
            again: false,
            errand: Errand::Background,
        }
    }

    pub(super) async fn drive(mut self) {
        loop {
            let passes = matches!(self.step, Step::Passing(_));
            self.view(|view| {
                view.passing.send_if_modified(|known| std::mem::replace(known, passes) != passes);
            });
            match self.next().await {
                Event::Stop => break,
                Event::Order(order) => self.obey(order).await,
                Event::Due => self.queue(),
                Event::Turn(turn) => self.begin(turn).await,
                Event::Wish => self.grant_wish(),
                Event::Passed(outcome) => self.passed(outcome).await,
                Event::Seen => self.mirror().await,
                Event::Idle => self.dismiss().await,
                Event::Lost => {
                    self.worker = None; // Its task is over; nobody may wait for it again.
                    self.lost().await;
                }
            }
        }
        self.dismiss().await;
    }

    /// Cancel-safe: nothing that was received is lost.
    async fn next(&mut self) -> Event {
        let Self { id, yard, orders, stop, schedule, step, worker, .. } = self;
        let is_idle = matches!(step, Step::Idle);
        let due = Instant::from_std(schedule.due());
        let mirrors_from = schedule.mirrors_from();
        let has_worker = worker.is_some();
        let wish = worker.as_ref().map(|worker| worker.wish.clone());
        let idle_at = worker.as_ref().map_or_else(Instant::now, |worker| worker.idle_at);
        tokio::select! {
            biased;
            () = stop.cancelled() => Event::Stop,
            event = step.next() => event,
            order = orders.recv() => order.map_or(Event::Stop, Event::Order),
            () = ended(worker), if has_worker => Event::Lost,
            () = wished(wish) => Event::Wish,
            () = tokio::time::sleep_until(due), if is_idle => Event::Due,
            () = seen(yard, *id, mirrors_from), if !has_worker => Event::Seen,
            () = tokio::time::sleep_until(idle_at), if is_idle && has_worker => Event::Idle,
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::SyncNow => match self.step {
                Step::Passing(_) => self.again = true,
                Step::Idle | Step::Queueing(_) => self.schedule.on_asked(now()),
            },
            Order::Verify(turn, depth, answer) => self.command(Command::Verify(turn, depth, answer)).await,
            Order::AllowDeletions(answer) => {
                self.command(Command::AllowDeletions(answer)).await;
                self.again = matches!(self.step, Step::Passing(_));
                self.schedule.on_asked(now());
            }
            Order::Retry(again, answer) => {
                self.command(Command::Retry(again, answer)).await;
                self.again = matches!(self.step, Step::Passing(_));
                self.schedule.on_asked(now());
            }
        }
    }

    /// Whoever waits for the answer learns of a failure by its channel being dropped.
    async fn command(&mut self, command: Command) {
        if let Err(error) = self.hire().await {
            warn!(%error, "No worker.");
            return;
        }
        if let Some(worker) = &mut self.worker {
            worker.idle_at = Instant::now() + LINGER;
            if worker.commands.try_send(command).is_err() {
                warn!("The worker takes no command.");
            }
        }
    }

    fn queue(&mut self) {
        let yard = self.yard.clone();
        let (id, endpoint, errand) = (self.id, self.endpoint.clone(), self.errand);
        self.step = Step::Queueing(Box::pin(async move {
            let endpoint = yard.endpoint(&endpoint).ok()?;
            let pass = kind(yard.ledger.mailbox(id).ok()??.last_full);
            Some(yard.turns(&endpoint).take(pass, id, errand).await)
        }));
    }

    /// What a user did goes before the passes of others.
    fn grant_wish(&mut self) {
        let before = std::mem::replace(&mut self.errand, Errand::Interactive);
        match self.step {
            Step::Idle => self.schedule.on_wished(now()),
            Step::Queueing(_) if before == Errand::Background => self.queue(),
            Step::Queueing(_) | Step::Passing(_) => {}
        }
    }

    async fn begin(&mut self, turn: Option<Turn>) {
        self.step = Step::Idle;
        self.errand = Errand::Background;
        let mailbox = match self.yard.ledger.mailbox(self.id) {
            Ok(Some(mailbox)) => mailbox,
            Ok(None) => return self.stop.cancel(),
            Err(error) => return self.failed(&error.into()).await,
        };
        if let Err(error) = self.hire().await {
            return self.failed(&error).await;
        }
        let pass = kind(mailbox.last_full);
        let waits = matches!(throttle::waits(&self.yard.ledger, &mailbox), Ok(Some(_)));
        let state = match pass {
            Pass::Full => MailboxState::Syncing,
            Pass::Incremental => MailboxState::IncrementalSyncing,
        };
        self.record(move |mailbox| {
            mailbox.state = state;
            // The mirror may have been told to wait; whoever is killed now must still know of it.
            mailbox.throttled_until = mailbox.throttled_until.filter(|_| waits);
        })
        .await;
        self.view(|view| view.retry_at = None);
        let (answer, answered) = oneshot::channel();
        debug!(?pass, "Pass begins.");
        let began = match crate::steady::now(&self.yard.ledger) {
            Ok(began) => began,
            Err(error) => return self.failed(&error.into()).await,
        };
        // Without one the endpoint is gone, and hiring failed before.
        let Some(turn) = turn else { return self.lost().await };
        if let Some(worker) = &self.worker
            && worker.commands.try_send(Command::Pass(pass, turn, answer)).is_ok()
        {
            self.step = Step::Passing(Passing { pass, began, answer: answered });
            return;
        }
        self.lost().await;
    }

    async fn passed(&mut self, outcome: Result<Result<PassReport, PassError>, oneshot::error::RecvError>) {
        let Step::Passing(Passing { pass, began, .. }) = std::mem::replace(&mut self.step, Step::Idle) else {
            return;
        };
        match outcome {
            Ok(Ok(report)) if report.pending == 0 && report.left_out > 0 => {
                let words = format!("the source did not let {} of its folders be read", report.left_out);
                self.failed_by(&words, Failure::Passing).await;
            }
            Ok(Ok(report)) if report.pending == 0 => self.synced(pass, began, &report).await,
            Ok(Ok(report)) => {
                let words = format!("{} messages are still pending", report.pending);
                self.failed_by(&words, Failure::Passing).await;
            }
            Ok(Err(PassError::Throttled { until, text })) => self.throttled(until, text).await,
            // Told to stop: by us, and the reason is about to arrive.
            Ok(Err(PassError::Stopped)) => self.schedule.on_failed(now(), Failure::Passing, chance()),
            Ok(Err(error)) => self.failed(&error).await,
            Err(_) => self.lost().await,
        }
    }

    async fn synced(&mut self, pass: Pass, began: Moment, report: &PassReport) {
        info!(?pass, folders = report.folders, copied = report.copied, bytes = report.bytes, took = ?report.took, "Synced.");
        self.schedule.on_done(now());
        if std::mem::take(&mut self.again) {
            self.schedule.on_asked(now());
        }
        if let Some(worker) = &mut self.worker {
            worker.idle_at = Instant::now() + LINGER;
        }
        let mut change = self.yard.ledger.change();
        match report.inbox {
            InboxRead::No => warn!("The source's INBOX was not read: the pass is no evidence for the gate."),
            InboxRead::Yes => {
                if let Err(error) = evidence::note(&self.yard.ledger, &mut change, self.id, began) {
                    warn!(%error, "The pass is no evidence for the gate.");
                }
            }
        }
        change.update_mailbox(self.id, move |mailbox| {
            mailbox.state = MailboxState::Synced;
            mailbox.error = None;
            // A plan beside it may have been told to wait.
            mailbox.throttled_until = mailbox.throttled_until.filter(|until| *until > Timestamp::now());
            // What reached the source later than the beginning may have been missed: only this much is promised.
            mailbox.last_synced = Some(began.at);
            if pass == Pass::Full {
                mailbox.last_full = Some(began.at);
            }
        });
        self.commit(change).await;
    }

    async fn throttled(&mut self, until: Timestamp, text: String) {
        info!(%until, "The target asks to wait.");
        self.schedule.on_throttled(instant(until).into_std());
        self.view(|view| view.retry_at = Some(until));
        self.dismiss().await;
        self.record(move |mailbox| {
            mailbox.throttled_until = Some(until);
            mailbox.error = Some(text);
        })
        .await;
    }

    async fn lost(&mut self) {
        self.step = Step::Idle;
        self.failed_by("the worker ended unexpectedly", Failure::Passing).await;
    }

    async fn failed(&mut self, error: &PassError) {
        let awaits = matches!(error, PassError::Local(LocalError::AwaitsLogin(_)));
        if awaits {
            self.awaits_login(&error.to_string()).await;
        } else {
            self.failed_for(error).await;
        }
        let refused = matches!(error, PassError::Source(SideError::Login(_)));
        if (awaits || refused) && self.is_learned_meanwhile() {
            self.schedule.on_asked(now());
        }
    }

    /// A login that nobody had heard of when the pass began, and that the next one uses.
    fn is_learned_meanwhile(&self) -> bool {
        let known = || -> Result<bool, ReadError> {
            let Some(mailbox) = self.yard.ledger.mailbox(self.id)? else { return Ok(false) };
            let known = Known::of(&self.yard.ledger, &mailbox)?;
            Ok(known.has_substitute() || matches!(known.pick(), Pick::Learned(_)))
        };
        known().unwrap_or(false)
    }

    /// Nothing failed, and no clock helps: the ledger's news does.
    async fn awaits_login(&mut self, words: &str) {
        self.schedule.on_failed(now(), Failure::Standing, chance());
        info!("The mailbox waits for its user's next login.");
        self.view(|view| view.retry_at = None);
        self.dismiss().await;
        let words = words.to_owned();
        self.record(move |mailbox| {
            mailbox.state = MailboxState::Queued;
            mailbox.error = Some(words);
        })
        .await;
    }

    async fn failed_for(&mut self, error: &PassError) {
        let failure = if error.may_pass() { Failure::Passing } else { Failure::Standing };
        self.failed_by(&error.to_string(), failure).await;
    }

    async fn failed_by(&mut self, words: &str, failure: Failure) {
        self.schedule.on_failed(now(), failure, chance());
        let wait = self.schedule.due().saturating_duration_since(now());
        warn!(error = words, attempt = self.schedule.failures(), ?wait, "Pass failed.");
        let retry_at = Timestamp::now().checked_add(wait).ok();
        self.view(|view| view.retry_at = retry_at);
        self.dismiss().await;
        let is_shown = failure == Failure::Standing || self.schedule.failures() >= SHOWN_FROM;
        let words = words.to_owned();
        self.record(move |mailbox| {
            mailbox.state = if is_shown { MailboxState::Failed } else { MailboxState::Queued };
            mailbox.error = Some(words);
        })
        .await;
    }

    /// A worker for what a client did; it finds that in the spool by itself.
    async fn mirror(&mut self) {
        if let Err(error) = self.hire().await {
            self.failed(&error).await;
        }
    }

    async fn hire(&mut self) -> Result<(), PassError> {
        if self.worker.is_some() {
            return Ok(());
        }
        let endpoint: Endpoint = self.yard.endpoint(&self.endpoint)?;
        let (commands, received) = mpsc::channel(8);
        let shutdown = CancellationToken::new();
        let hired = self.yard.crew.hire(self.id, &endpoint, received, shutdown.clone())?;
        self.view(|view| view.progress = Some(hired.progress));
        let task = tokio::spawn(tracing::Instrument::in_current_span(hired.run));
        let idle_at = Instant::now() + LINGER;
        self.worker = Some(Running { commands, shutdown, task, idle_at, wish: hired.wish });
        Ok(())
    }

    async fn dismiss(&mut self) {
        self.view(|view| view.progress = None);
        let Some(mut worker) = self.worker.take() else { return };
        worker.shutdown.cancel();
        drop(worker.commands);
        if tokio::time::timeout(GRACE, &mut worker.task).await.is_err() {
            warn!("The worker does not end; it is cut off.");
            worker.task.abort();
            let _ = worker.task.await;
        }
    }

    fn view(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn record(&mut self, update: impl FnOnce(&mut Mailbox) + Send + 'static) {
        let mut change = self.yard.ledger.change();
        change.update_mailbox(self.id, update);
        self.commit(change).await;
    }

    /// A record that cannot be written costs a pass after the next start, nothing more.
    async fn commit(&mut self, change: Change) {
        if let Err(error) = change.commit().await {
            warn!(%error, "The mailbox's state is not recorded.");
        }
    }
}

impl Step {
    async fn next(&mut self) -> Event {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Queueing(turn) => Event::Turn(turn.await),
            Self::Passing(passing) => Event::Passed((&mut passing.answer).await),
        }
    }
}

async fn wished(wish: Option<Arc<Notify>>) {
    match wish {
        Some(wish) => wish.notified().await,
        None => std::future::pending().await,
    }
}

async fn ended(worker: &mut Option<Running>) {
    if let Some(worker) = worker {
        let _ = (&mut worker.task).await;
    }
}

async fn seen(yard: &Yard, mailbox: MailboxId, from: Option<std::time::Instant>) {
    if let Some(from) = from {
        tokio::time::sleep_until(Instant::from_std(from)).await;
    }
    yard.spool.changed(mailbox).await;
}

fn kind(last_full: Option<Timestamp>) -> Pass {
    if last_full.is_some() { Pass::Incremental } else { Pass::Full }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn instant(at: Timestamp) -> Instant {
    let wait = at.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(wait).unwrap_or_default()
}

fn chance() -> u8 {
    let mut byte = [0];
    // Without randomness the retries only come closer together.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}
