//! One mailbox's worker: the only writer of its target mailbox.

use std::sync::Arc;
use std::time::Duration;

use mailferry_imap::MailboxId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::context::WorkerContext;
use crate::error::PassError;
use crate::plan::MailboxPlan;
use crate::progress::Progress;
use crate::verify::VerifyReport;

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
    Pass(Pass, oneshot::Sender<Result<PassReport, PassError>>),
    /// What a pass would do.
    Plan(oneshot::Sender<Result<MailboxPlan, PassError>>),
    /// Both sides compared.
    Verify(oneshot::Sender<Result<VerifyReport, PassError>>),
    /// The operator's word: the next pass carries the held deletions over, whatever the cap.
    AllowDeletions(oneshot::Sender<()>),
}

/// What a pass did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PassReport {
    /// Folders looked at.
    pub folders: u64,
    /// Of these, unmoved since the last pass.
    pub unmoved: u64,
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
    /// Copies deleted since the source message was.
    pub deleted: u64,
    /// Deletions held back by the cap.
    pub held: u64,
    /// Messages skipped in this pass.
    pub skipped: u64,
    /// Messages that are still not on the target.
    pub pending: u64,
    /// New messages that this pass saw in the source's INBOX.
    pub inbox_arrivals: u64,
    /// How long it took.
    pub took: Duration,
}

/// The worker of one mailbox.
pub struct MailboxWorker {
    mailbox: MailboxId,
    context: Arc<WorkerContext>,
    progress: Arc<Progress>,
}

impl MailboxWorker {
    /// A worker without connections.
    pub fn new(mailbox: MailboxId, context: Arc<WorkerContext>) -> Self {
        Self { mailbox, context, progress: Arc::default() }
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
        let _ = (pass, &self.context);
        todo!()
    }

    /// What a pass would do; nothing is written anywhere.
    ///
    /// # Errors
    /// [`PassError`].
    pub async fn plan(&mut self) -> Result<MailboxPlan, PassError> {
        todo!()
    }

    /// Reads both sides anew and compares them.
    ///
    /// # Errors
    /// [`PassError`].
    pub async fn verify(&mut self) -> Result<VerifyReport, PassError> {
        todo!()
    }

    /// The loop: what clients just did first (hints of the spool), then what is asked for, until told to stop. The
    /// mirror needs no permission of the fleet; whole passes are run when a command asks for them.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        let _ = (&mut self, &mut commands, shutdown);
        todo!()
    }
}
