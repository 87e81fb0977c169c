//! One mailbox's worker: the only writer of its target mailbox.

use std::sync::Arc;
use std::time::Duration;

use mailferry_imap::MailboxId;
use mailferry_ledger::Mailbox;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::context::WorkerContext;
use crate::courtesy::place;
use crate::error::{LocalError, PassError};
use crate::fill::Closings;
use crate::hints::Hints;
use crate::lanes::Width;
use crate::plan::MailboxPlan;
use crate::progress::Progress;
use crate::retry::{Again, Retried};
use crate::sides::{Source, Target};
use crate::tenant::{Doing, Errand};
use crate::trouble::Trouble;
use crate::turn::Turn;
use crate::verify::{Courtesy, Depth, VerifyReport};

/// How thorough a pass is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Every folder is looked through, moved or not.
    Full,
    /// Folders whose marks did not move are skipped.
    Incremental,
}

/// What a worker is asked for. A dropped answer channel does no harm.
#[derive(Debug)]
pub enum Command {
    /// A pass.
    Pass(Pass, Turn, oneshot::Sender<Result<PassReport, PassError>>),
    /// What a pass would do.
    Plan(oneshot::Sender<Result<MailboxPlan, PassError>>),
    /// Both sides compared.
    Verify(Turn, Depth, oneshot::Sender<Result<VerifyReport, PassError>>),
    /// The operator's word: the next pass carries the held deletions over, whatever the cap.
    AllowDeletions(oneshot::Sender<()>),
    /// Messages become pending again where that makes sense.
    Retry(Again, oneshot::Sender<Result<Retried, PassError>>),
}

/// What a pass did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PassReport {
    /// Folders looked at.
    pub folders: u64,
    /// Of these, unmoved since the last pass.
    pub unmoved: u64,
    /// Folders known from before, or INBOX, that the source did not let us read this time.
    pub left_out: u64,
    /// Messages copied.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the copied, those whose body came from the spool.
    pub from_spool: u64,
    /// Messages found on the target instead of being copied.
    pub matched: u64,
    /// Messages whose flags were carried over.
    pub flagged: u64,
    /// Messages copied or moved on the target as at the source.
    #[serde(default)]
    pub transferred: u64,
    /// Copies deleted since the source message was.
    pub deleted: u64,
    /// Deletions held back by the cap.
    pub held: u64,
    /// Messages skipped in this pass.
    pub skipped: u64,
    /// Messages that are still not on the target.
    pub pending: u64,
    /// New messages that were seen in the source's INBOX since the last finished pass.
    pub inbox_arrivals: u64,
    /// Whether the source's INBOX was read: only then the pass says anything about mail that may have come there.
    pub inbox: InboxRead,
    /// How long it took.
    pub took: Duration,
}

impl PassReport {
    /// Adds what was done beside it: figures of messages.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.copied += other.copied;
        self.bytes += other.bytes;
        self.from_spool += other.from_spool;
        self.matched += other.matched;
        self.flagged += other.flagged;
        self.transferred += other.transferred;
        self.deleted += other.deleted;
        self.held += other.held;
        self.skipped += other.skipped;
        self.inbox_arrivals += other.inbox_arrivals;
    }
}

/// Whether a pass knows what is in the source's INBOX.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboxRead {
    /// It was not there, or could not be looked at.
    #[default]
    No,
    /// It does.
    Yes,
}

/// Whether the next pass keeps to the cap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deletions {
    /// It does.
    Capped,
    /// An operator said that all deletions are to be carried over.
    All,
}

/// How a worker comes by its sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// In turn, however long that takes: the mailbox's first.
    InTurn,
    /// Only what is free, until somebody waits.
    Spare,
}

/// The worker of one mailbox.
pub struct MailboxWorker {
    pub(crate) mailbox: MailboxId,
    pub(crate) context: Arc<WorkerContext>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) source: Option<Source>,
    pub(crate) target: Option<Target>,
    /// Its pass's turn at the endpoint.
    pub(crate) turn: Option<Turn>,
    /// Told when what clients did takes a whole first pass: that has its turn like others.
    pub(crate) wish: Option<Arc<Notify>>,
    /// What it is at.
    pub(crate) errand: Errand,
    /// Whether it waits for its session at the target, or only has one that is spare.
    pub(crate) claim: Claim,
    pub(crate) hints: Arc<Hints>,
    pub(crate) allowed: Deletions,
    /// Many messages were refused in this pass.
    pub(crate) wary: bool,
    pub(crate) closings: Arc<Closings>,
    /// How many lanes the servers let us have.
    pub(crate) width: Width,
    /// Messages that were new in INBOX and were mirrored between passes.
    pub(crate) arrivals: u64,
    /// When early mail was looked for last.
    pub(crate) looked_for_early: Option<Instant>,
}

impl MailboxWorker {
    /// A worker without connections.
    pub fn new(mailbox: MailboxId, context: Arc<WorkerContext>) -> Self {
        Self {
            mailbox,
            context,
            progress: Arc::default(),
            source: None,
            target: None,
            turn: None,
            wish: None,
            errand: Errand::Background,
            claim: Claim::InTurn,
            hints: Arc::default(),
            allowed: Deletions::Capped,
            wary: false,
            closings: Arc::default(),
            width: Width::default(),
            arrivals: 0,
            looked_for_early: None,
        }
    }

    /// The live figures.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Whose worker this is.
    pub fn mailbox(&self) -> MailboxId {
        self.mailbox
    }

    /// One pass. Dropping the future is safe at any point.
    ///
    /// # Errors
    /// [`PassError`]; what was done is done, and calling again goes on from there.
    pub async fn pass(&mut self, pass: Pass) -> Result<PassReport, PassError> {
        self.turn_to(Doing::Work(Errand::Background));
        let result = Box::pin(self.whole_pass(pass)).await;
        match &result {
            Ok(_) => self.progress.trouble(None),
            Err(_) => self.hang_up(),
        }
        result
    }

    /// The loop: what clients just did first (hints of the spool), then what is asked for, until told to stop. The
    /// mirror needs no permission of the fleet; whole passes are run when a command asks for them.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        // Nothing needs an end: whatever is dropped in the middle is in the ledger as what it is.
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.serve(&mut commands) => {}
        }
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) {
        let spool = self.context.spool.clone();
        let mut retry: Option<Instant> = None;
        loop {
            let linger = self.context.patience.linger;
            let connected = self.source.is_some() || self.target.is_some();
            self.turn_to(Doing::Rest);
            let called_back = self.called_back();
            // Whoever is ready: busy clients must not keep commands waiting.
            tokio::select! {
                () = spool.changed(self.mailbox) => {
                    self.hints.gather(&spool, self.mailbox);
                    retry = self.mirror().await;
                }
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    retry = self.mirror().await;
                }
                command = commands.recv() => match command {
                    Some(command) => {
                        self.obey(command).await;
                        // What came up while it ran.
                        if !self.hints.is_empty() {
                            retry.get_or_insert_with(Instant::now);
                        }
                    }
                    None => return,
                },
                () = sleep(linger), if connected => self.hang_up(),
                () = called_back => self.target = None,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        self.turn_to(Doing::Work(Errand::Background));
        match command {
            Command::Pass(pass, turn, answer) => {
                self.turn = Some(turn);
                // It serves what was hinted at so far, too.
                self.hints.gather(&self.context.spool.clone(), self.mailbox);
                self.hints.take_everything();
                let report = self.pass(pass).await;
                self.turn = None;
                let _ = answer.send(report);
            }
            Command::Plan(answer) => {
                let _ = answer.send(self.plan().await);
            }
            Command::Verify(_turn, depth, answer) => {
                let _ = answer.send(self.verify(depth, Courtesy::ServeHints).await);
            }
            Command::AllowDeletions(answer) => {
                self.allowed = Deletions::All;
                let _ = answer.send(());
            }
            Command::Retry(again, answer) => {
                let _ = answer.send(self.retry(again).await);
            }
        }
    }

    /// Serves hints. On trouble, says when to try again.
    async fn mirror(&mut self) -> Option<Instant> {
        if let Ok(Some(waits)) = self.waits() {
            return Some(Instant::now() + waits.left);
        }
        self.turn_to(Doing::Work(Errand::Interactive));
        let mut attempt = 0;
        while !self.hints.is_empty() {
            let synced = self.context.ledger.folders(self.mailbox).is_ok_and(|folders| !folders.is_empty());
            let takes_first_pass = !synced || self.hints.wants_everything() && self.has_no_full_pass();
            if let Some(wish) = self.wish.as_ref().filter(|_| takes_first_pass) {
                wish.notify_one();
                return None;
            }
            if !synced {
                self.hints.take_everything();
            }
            let result = match self.hints.take_everything() {
                true => match Box::pin(self.whole_pass(Pass::Incremental)).await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        self.hints.ask_everything();
                        Err(error)
                    }
                },
                false => {
                    let mut report = PassReport::default();
                    let served = Box::pin(self.serve_doubts_and_hints(&mut report)).await;
                    self.arrivals += report.inbox_arrivals;
                    match served {
                        Ok(()) => Ok(()),
                        Err(trouble) => self.weather(trouble, &mut attempt).await,
                    }
                }
            };
            match result {
                Ok(()) => {}
                Err(PassError::Local(LocalError::NoMailbox)) => return None,
                Err(error) => {
                    debug!(%error, "The mirror waits.");
                    self.progress.trouble(Some(error.to_string()));
                    self.hang_up();
                    // A refused login is not tried over and over: accounts get locked for that.
                    let wait = if error.may_pass() { MIRROR_AGAIN } else { MIRROR_AFTER_REFUSAL };
                    return Some(Instant::now() + wait);
                }
            }
        }
        self.progress.trouble(None);
        None
    }

    fn has_no_full_pass(&self) -> bool {
        self.record().is_ok_and(|mailbox| mailbox.last_full.is_none())
    }

    async fn serve_doubts_and_hints(&mut self, report: &mut PassReport) -> Result<(), Trouble> {
        self.settle_doubts(report).await?;
        self.serve_hints(report).await
    }

    /// The mailbox's record.
    pub(crate) fn record(&self) -> Result<Mailbox, Trouble> {
        self.context.ledger.mailbox(self.mailbox)?.ok_or(Trouble::Local(LocalError::NoMailbox))
    }

    /// The session at the source, opened where there is none.
    pub(crate) async fn source(&mut self) -> Result<&mut Source, Trouble> {
        if self.source.is_none() {
            let mailbox = self.record()?;
            self.source = Some(match self.claim {
                Claim::InTurn => Source::open(&self.context, &mailbox).await?,
                Claim::Spare => {
                    let opened = Source::open_another(&self.context, &mailbox).await;
                    opened.map_err(|trouble| self.or_no_place(trouble))?
                }
            });
        }
        self.source.as_mut().ok_or(Trouble::Stopped)
    }

    /// The session at the target, opened where there is none, and in turn. The only way to it: before the time that the target
    /// named, it gets nothing of this mailbox, whoever asks.
    pub(crate) async fn target(&mut self) -> Result<&mut Target, Trouble> {
        let tenant = self.context.target.tenant.clone();
        if let Some(waits) = tenant.waits(self.mailbox) {
            return Err(Trouble::Waits(waits));
        }
        if self.target.is_none() {
            self.may_contact_target()?;
            let place = match self.claim {
                Claim::InTurn => place(self.context.clone(), self.mailbox, self.errand).await,
                Claim::Spare => tenant.spare(self.mailbox).ok_or(Trouble::NoPlace)?,
            };
            // It may have taken a while.
            self.may_contact_target()?;
            let opened = Target::open(&self.context, &self.record()?, place).await;
            self.target = Some(match self.claim {
                Claim::InTurn => opened?,
                Claim::Spare => opened.map_err(|trouble| self.or_no_place(trouble))?,
            });
        }
        self.target.as_mut().ok_or(Trouble::Stopped)
    }

    /// Drops both sessions.
    pub(crate) fn hang_up(&mut self) {
        self.source = None;
        self.target = None;
    }

    /// Drops what trouble made useless.
    pub(crate) fn hang_up_after(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Source(_) => self.source = None,
            Trouble::Target(_) | Trouble::Throttled { .. } | Trouble::Waits(_) => self.target = None,
            Trouble::TokenExpired => {
                if let Some(target) = self.target.take() {
                    self.context.target.tokens.discard(&target.token);
                }
            }
            Trouble::Replaced | Trouble::NoPlace | Trouble::Local(_) | Trouble::Stopped => {}
        }
    }
}

/// When the mirror tries again after trouble; the fleet's passes have their own clock.
const MIRROR_AGAIN: Duration = Duration::from_secs(5);

/// The same when a login was refused.
const MIRROR_AFTER_REFUSAL: Duration = Duration::from_secs(300);
