//! Endpoints, batches and mailboxes: the verbs that an operator has.
//!
//! Every verb is idempotent: said twice it does no harm, and after a crash saying it again is the right next step.
//! What is wanted of a batch is in the ledger before anything is done about it, so a start of the program goes on
//! with whatever was under way ([`Batches::run`]).

pub mod account;
mod add;
mod endpoints;
mod error;
mod figures;
mod mailboxes;
mod remove;
mod scene;
mod spec;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mailferry_ledger::{Batch, BatchState, Endpoint, Ledger, Mailbox, MailboxId, MailboxState, Vault};
use mailferry_spool::Spool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub use error::BatchError;
pub use remove::{Forced, Report};
pub use spec::{
    EndpointSpec, MAX_NAME, NewBatch, Outcome, Removal, ShowSkipped, Start, Verification,
    default_admin_separator, default_incremental_syncs, default_migrations,
};
pub use status::{
    BatchPlan, BatchStatus, BatchVerification, Credential, FolderStatus, MailboxDetail, MailboxProblem,
    MailboxStates, MailboxStatus, Rate, SkippedMessage, Tally,
};

use crate::context::{DeletionCap, Limits, Patience, TargetAccess};
use crate::csv::domain_of;
use crate::error::PassError;
use crate::fault::Fault;
use crate::fleet::{Fleet, Workers, is_started};
use crate::gate::Gate;
use crate::plan::estimate;
use crate::stragglers::{self, Straggler};
use crate::tenant::{TargetStatus, Tenant};
use crate::verify::Depth;
use crate::watch::{DnsSettings, Watch};

/// How often the gate's facts are looked at for passes that would be new evidence.
const LOOK: Duration = Duration::from_secs(60);

/// What the desk is made of.
pub struct Setup {
    /// The durable record.
    pub ledger: Ledger,
    /// What the taps saw.
    pub spool: Spool,
    /// Seals the passwords.
    pub vault: Vault,
    /// Office 365.
    pub target: TargetAccess,
    /// What goes and what stays. `memory_bytes` is that of all mailboxes together.
    pub limits: Limits,
    /// How many deletions one pass carries over.
    pub deletions: DeletionCap,
    /// How long is waited for what.
    pub patience: Patience,
    /// Time between incremental passes of a mailbox.
    pub incremental_interval: Duration,
    /// How DNS is watched.
    pub dns: DnsSettings,
    /// For how long no straggler may have come before a batch may be removed.
    pub quiet: SignedDuration,
}

/// The operator's desk: everything that the CLI and the admin socket ask of batches. Clones share one state.
#[derive(Clone)]
pub struct Batches {
    desk: Arc<Desk>,
}

struct Desk {
    ledger: Ledger,
    spool: Spool,
    vault: Vault,
    fleet: Fleet,
    watch: Watch,
    tenant: Tenant,
    quiet: SignedDuration,
    /// One verb that changes batches at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Batches {
    /// A desk; nothing runs before [`run`](Self::run).
    pub fn new(setup: Setup) -> Self {
        let tenant = setup.target.tenant.clone();
        let crew = Workers {
            ledger: setup.ledger.clone(),
            spool: setup.spool.clone(),
            vault: setup.vault.clone(),
            target: setup.target,
            limits: setup.limits,
            deletions: setup.deletions,
            patience: setup.patience,
            contexts: std::sync::Mutex::default(),
        };
        let Setup { ledger, spool, vault, incremental_interval, dns, quiet, .. } = setup;
        let fleet = Fleet::new(ledger.clone(), spool.clone(), Box::new(crew), incremental_interval);
        Self::with_fleet(ledger, spool, vault, fleet, tenant, dns, quiet)
    }

    fn with_fleet(
        ledger: Ledger,
        spool: Spool,
        vault: Vault,
        fleet: Fleet,
        tenant: Tenant,
        dns: DnsSettings,
        quiet: SignedDuration,
    ) -> Self {
        let watch = Watch::new(ledger.clone(), dns);
        let turn = tokio::sync::Mutex::default();
        Self { desk: Arc::new(Desk { ledger, spool, vault, fleet, watch, tenant, quiet, turn }) }
    }

    /// Goes on with whatever was under way, then runs workers and the DNS watch until told to stop; returns when the
    /// last worker has ended.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.resume().await;
        let measure = async {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                second.tick().await;
                self.desk.fleet.measure(Instant::now());
            }
        };
        let look = async {
            let period = self.desk.watch.interval().min(LOOK);
            let mut often = tokio::time::interval(period.max(Duration::from_millis(200)));
            often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                often.tick().await;
                if let Err(error) = self.desk.look() {
                    error!(%error, "The gate's facts are not known.");
                }
            }
        };
        let learned = async {
            loop {
                for mailbox in self.desk.ledger.newly_learned().await {
                    self.learned(mailbox);
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = learned => {}
            () = self.desk.watch.run(shutdown.clone()) => {}
            () = measure => {}
            () = look => {}
        }
        self.desk.fleet.close().await;
    }

    /// Whoever waited for a password has one.
    fn learned(&self, id: MailboxId) {
        let state = self.desk.ledger.mailbox(id).ok().flatten().map(|mailbox| mailbox.state);
        let waits = match state {
            Some(MailboxState::Queued | MailboxState::Failed) => true,
            // A pass that fails for want of it looks again by itself.
            Some(MailboxState::Syncing | MailboxState::IncrementalSyncing | MailboxState::Stopped) | None => {
                false
            }
            Some(MailboxState::Synced) => {
                self.desk.fleet.glance(id).live.is_some_and(|live| live.trouble.is_some())
            }
        };
        if waits {
            self.desk.fleet.sync_now(id);
        }
    }

    async fn resume(&self) {
        let batches = match self.desk.ledger.batches() {
            Ok(batches) => batches,
            Err(error) => return error!(%error, "The batches are not known: nothing is started."),
        };
        for batch in batches {
            let resumed = match batch.state {
                BatchState::Stopping => self.stopped(&batch.name).await,
                BatchState::Removing => self.go_on_removing(&batch).await,
                state if is_started(state) => self.launch(&batch),
                _ => Ok(()),
            };
            match resumed {
                Ok(()) => info!(batch = %batch.name, state = %batch.state, "Batch resumed."),
                Err(error) => error!(batch = %batch.name, %error, "Batch not resumed."),
            }
        }
    }

    /// Adds a batch: all of the CSV file or nothing. The same file again renews the passwords, no more.
    ///
    /// # Errors
    /// [`BatchError::Csv`] with every problem, [`BatchError::NameTaken`], [`BatchError::NoEndpoint`].
    pub async fn add(&self, new: NewBatch) -> Result<BatchStatus, BatchError> {
        let _turn = self.desk.turn.lock().await;
        self.desk.add(&new).await?;
        self.desk.watch.wake();
        let batch = self.desk.batch(&new.name)?;
        if is_started(batch.state) {
            self.launch(&batch)?;
        }
        self.batch_status(&new.name)
    }

    /// Starts or resumes a batch; failed mailboxes are tried again at once.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`], [`BatchError::Removing`].
    pub async fn start(&self, name: &str) -> Result<Outcome, BatchError> {
        let _turn = self.desk.turn.lock().await;
        let batch = self.desk.batch(name)?;
        let mailboxes = self.desk.ledger.mailboxes(name)?;
        let failed = || mailboxes.iter().filter(|mailbox| mailbox.state == MailboxState::Failed);
        if is_started(batch.state) {
            failed().for_each(|mailbox| self.desk.fleet.sync_now(mailbox.id));
            return Ok(if failed().next().is_some() { Outcome::Done } else { Outcome::Already });
        }
        if batch.state == BatchState::Removing {
            return Err(BatchError::Removing(name.to_owned()));
        }
        let now = Timestamp::now();
        let mut change = self.desk.ledger.change();
        change.update_batch(name, move |batch| {
            batch.state = BatchState::Syncing;
            batch.started.get_or_insert(now);
            batch.error = None;
        });
        for mailbox in mailboxes {
            change.update_mailbox(mailbox.id, |mailbox| mailbox.state = MailboxState::Queued);
        }
        change.commit().await?;
        self.desk.watch.wake();
        self.launch(&self.desk.batch(name)?)?;
        Ok(Outcome::Done)
    }

    /// Stops a batch; what is under way ends cleanly.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`], [`BatchError::Removing`].
    pub async fn stop(&self, name: &str) -> Result<Outcome, BatchError> {
        let _turn = self.desk.turn.lock().await;
        let batch = self.desk.batch(name)?;
        match batch.state {
            BatchState::Stopped | BatchState::Created => return Ok(Outcome::Already),
            BatchState::Removing => return Err(BatchError::Removing(name.to_owned())),
            _ => {}
        }
        let mut change = self.desk.ledger.change();
        change.update_batch(name, |batch| batch.state = BatchState::Stopping);
        change.commit().await?;
        self.stopped(name).await?;
        Ok(Outcome::Done)
    }

    async fn stopped(&self, name: &str) -> Result<(), BatchError> {
        self.desk.fleet.stop(name).await;
        let mut change = self.desk.ledger.change();
        for mailbox in self.desk.ledger.mailboxes(name)? {
            change.update_mailbox(mailbox.id, |mailbox| mailbox.state = MailboxState::Stopped);
        }
        change.update_batch(name, |batch| batch.state = BatchState::Stopped);
        change.commit().await?;
        Ok(())
    }

    /// A pass of every mailbox of a started batch, as soon as there is a place.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`], [`BatchError::NotStarted`].
    pub async fn sync_now(&self, name: &str) -> Result<Outcome, BatchError> {
        let batch = self.desk.started(name)?;
        for mailbox in self.desk.ledger.mailboxes(&batch.name)? {
            self.desk.fleet.sync_now(mailbox.id);
        }
        Ok(Outcome::Done)
    }

    /// What passes of this batch would do, before anything is written.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`]; a mailbox that cannot be planned is listed in the plan.
    pub async fn plan(&self, name: &str) -> Result<BatchPlan, BatchError> {
        let batch = self.desk.batch(name)?;
        let endpoint = self.desk.endpoint(&batch.endpoint)?;
        let at_once = endpoint.max_concurrent_migrations;
        let (mut plans, problems) = self
            .each(name, move |desk: Arc<Desk>, mailbox| {
                let endpoint = endpoint.clone();
                async move { desk.fleet.plan(mailbox.id, &endpoint).await }
            })
            .await?;
        plans.sort_by(|a, b| a.address.cmp(&b.address));
        let estimate = estimate(&plans, at_once, self.desk.fleet.rate(name, 0, 0));
        Ok(BatchPlan { batch: batch.name, mailboxes: plans, problems, estimate })
    }

    /// Reads both sides of every mailbox anew and compares them, message by message.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`]; a mailbox that cannot be read is listed in the result.
    pub async fn verify(&self, name: &str, depth: Depth) -> Result<BatchVerification, BatchError> {
        let batch = self.desk.batch(name)?;
        let endpoint = self.desk.endpoint(&batch.endpoint)?;
        let (mut reports, problems) = self
            .each(name, move |desk: Arc<Desk>, mailbox| {
                let endpoint = endpoint.clone();
                async move { desk.fleet.verify(mailbox.id, &endpoint, depth).await }
            })
            .await?;
        reports.sort_by(|a, b| a.address.cmp(&b.address));
        let holds = problems.is_empty() && reports.iter().all(crate::verify::VerifyReport::holds);
        Ok(BatchVerification { batch: batch.name, holds, mailboxes: reports, problems })
    }

    /// Asks something of every mailbox; the endpoint's places keep that within bounds.
    async fn each<T, F, A>(&self, batch: &str, ask: F) -> Result<(Vec<T>, Vec<MailboxProblem>), BatchError>
    where
        T: Send + 'static,
        F: Fn(Arc<Desk>, Mailbox) -> A,
        A: Future<Output = Result<T, PassError>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let mut asked = std::collections::BTreeSet::new();
        for mailbox in self.desk.ledger.mailboxes(batch)? {
            let address = mailbox.address.clone();
            let answer = ask(self.desk.clone(), mailbox);
            asked.insert(address.clone());
            tasks.spawn(async move { (address, answer.await) });
        }
        let (mut answers, mut problems) = (Vec::new(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            if let Ok((address, _)) = &done {
                asked.remove(address);
            }
            match done {
                Ok((_, Ok(answer))) => answers.push(answer),
                Ok((address, Err(error))) => problems.push(MailboxProblem::new(address, &error)),
                Err(error) => error!(%error, "A question broke down."),
            }
        }
        // A mailbox without an answer is one that was not read: it must not pass for a good one.
        problems.extend(asked.into_iter().map(|address| MailboxProblem {
            address,
            error: "the question broke down; the log of serve says how".into(),
            fault: Fault::Local,
        }));
        problems.sort_by(|a, b| a.address.cmp(&b.address));
        Ok((answers, problems))
    }

    /// The sessions at the target, of all batches together.
    pub fn target(&self) -> TargetStatus {
        self.desk.tenant.status()
    }

    /// Every batch with its figures, by name.
    ///
    /// # Errors
    /// [`BatchError::Read`].
    pub fn status(&self) -> Result<Vec<BatchStatus>, BatchError> {
        self.desk.ledger.batches()?.iter().map(|batch| self.desk.batch_status(batch)).collect()
    }

    /// One batch with its figures.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`].
    pub fn batch_status(&self, name: &str) -> Result<BatchStatus, BatchError> {
        self.desk.batch_status(&self.desk.batch(name)?)
    }

    /// Judges the gate of a batch by what is recorded at this moment.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`].
    pub fn gate(&self, name: &str) -> Result<Gate, BatchError> {
        let batch = self.desk.batch(name)?;
        self.desk.gate(&batch)
    }

    /// Removes a batch: stops it, destroys its passwords and ledger rows, keeps its report. Removed already: the
    /// report that was kept.
    ///
    /// # Errors
    /// [`BatchError::Closed`] with the gate, [`BatchError::NoReason`], [`BatchError::NoBatch`].
    pub async fn remove(&self, name: &str, removal: Removal) -> Result<Report, BatchError> {
        let _turn = self.desk.turn.lock().await;
        let report = self.removed(name, removal).await;
        self.desk.watch.wake();
        report
    }

    /// The report of a batch, or of one that was removed.
    ///
    /// # Errors
    /// [`BatchError::NoBatch`].
    pub fn report(&self, name: &str) -> Result<Report, BatchError> {
        match self.desk.ledger.batch(name)? {
            Some(batch) => self.desk.report(&batch, None),
            None => self.desk.kept_report(name),
        }
    }

    /// Stragglers, latest first.
    ///
    /// # Errors
    /// [`BatchError::Read`].
    pub fn stragglers(&self) -> Result<Vec<Straggler>, BatchError> {
        let mut stragglers = Vec::new();
        for mailbox in self.desk.ledger.all_mailboxes()? {
            stragglers.extend(stragglers::recorded(&self.desk.ledger, mailbox.id)?.recent);
        }
        stragglers.sort_by(|a, b| b.arrived.cmp(&a.arrived).then_with(|| a.address.cmp(&b.address)));
        Ok(stragglers)
    }

    fn launch(&self, batch: &Batch) -> Result<(), BatchError> {
        let mailboxes = self.desk.ledger.mailboxes(&batch.name)?;
        self.desk.fleet.start(&batch.endpoint, &mailboxes);
        Ok(())
    }
}

impl Desk {
    fn endpoint(&self, name: &str) -> Result<Endpoint, BatchError> {
        self.ledger.endpoint(name)?.ok_or_else(|| BatchError::NoEndpoint(name.to_owned()))
    }

    fn batch(&self, name: &str) -> Result<Batch, BatchError> {
        self.ledger.batch(name)?.ok_or_else(|| BatchError::NoBatch(name.to_owned()))
    }

    fn mailbox(&self, address: &str) -> Result<Mailbox, BatchError> {
        self.ledger.mailbox_by_address(address)?.ok_or_else(|| BatchError::NoMailbox(address.to_owned()))
    }

    fn started(&self, name: &str) -> Result<Batch, BatchError> {
        let batch = self.batch(name)?;
        if is_started(batch.state) {
            return Ok(batch);
        }
        Err(BatchError::NotStarted { batch: batch.name, state: batch.state.to_string() })
    }
}

/// The domains of these mailboxes, in order.
fn domains(mailboxes: &[Mailbox]) -> std::collections::BTreeSet<String> {
    mailboxes.iter().filter_map(|mailbox| domain_of(&mailbox.address)).collect()
}

#[cfg(test)]
mod tests;
