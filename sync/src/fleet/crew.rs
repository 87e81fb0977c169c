//! Where the fleet gets its workers from: real ones, or a test's.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use mailferry_imap::net::{self, Server, TlsClient};
use mailferry_ledger::{Endpoint, Ledger, MailboxId, Security, Trust, Vault};
use mailferry_spool::Spool;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::context::{DeletionCap, Limits, Patience, SourceAccess, TargetAccess, WorkerContext};
use crate::error::{PassError, SideError};
use crate::export::{Step, Wanted};
use crate::plan::MailboxPlan;
use crate::progress::Progress;
use crate::verify::{Courtesy, Depth, VerifyReport};
use crate::worker::{Command, MailboxWorker};

/// What becomes of a question, driven by whoever asked.
pub(crate) struct Answer<T>(pub(crate) Pin<Box<dyn Future<Output = Result<T, PassError>> + Send>>);

/// A worker about to run.
pub(crate) struct Hired {
    /// Its live figures.
    pub(crate) progress: Arc<Progress>,
    /// It wants a whole first pass for what clients did.
    pub(crate) wish: Arc<Notify>,
    /// Its loop.
    pub(crate) run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Makes workers.
pub(crate) trait Crew: Send + Sync + 'static {
    /// A worker that mirrors what clients do and runs the passes that it is asked for.
    fn hire(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
        commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Result<Hired, PassError>;
    /// What a pass of this mailbox would do.
    fn plan(&self, mailbox: MailboxId, endpoint: &Endpoint) -> Answer<MailboxPlan>;
    /// Both sides of this mailbox read anew.
    fn verify(&self, mailbox: MailboxId, endpoint: &Endpoint, depth: Depth) -> Answer<VerifyReport>;
    /// Skipped messages of this mailbox, read from the source. How it ends is told to `out`, too.
    fn export(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
        wanted: Wanted,
        out: mpsc::Sender<Step>,
    ) -> Answer<()>;
}

/// Real workers. Those of one endpoint share trust and TLS sessions.
pub(crate) struct Workers {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) vault: Vault,
    pub(crate) target: TargetAccess,
    /// `memory_bytes` is that of all workers together.
    pub(crate) limits: Limits,
    pub(crate) deletions: DeletionCap,
    pub(crate) patience: Patience,
    pub(crate) contexts: Mutex<BTreeMap<String, (Endpoint, Arc<WorkerContext>)>>,
}

impl Workers {
    fn worker(&self, mailbox: MailboxId, endpoint: &Endpoint) -> Result<MailboxWorker, PassError> {
        Ok(MailboxWorker::new(mailbox, self.context(endpoint)?))
    }

    fn context(&self, endpoint: &Endpoint) -> Result<Arc<WorkerContext>, PassError> {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, context)) = contexts.get(&endpoint.name)
            && known == endpoint
        {
            return Ok(context.clone());
        }
        let server = server(endpoint);
        let tls = TlsClient::new(&server.trust)
            .map_err(|error| PassError::Source(SideError::Other(error.to_string())))?;
        let context = Arc::new(WorkerContext {
            ledger: self.ledger.clone(),
            spool: self.spool.clone(),
            vault: self.vault.clone(),
            source: SourceAccess { server, tls },
            target: self.target.clone(),
            limits: Limits { memory_bytes: share(self.limits.memory_bytes, endpoint), ..self.limits },
            deletions: self.deletions,
            patience: self.patience,
        });
        contexts.insert(endpoint.name.clone(), (endpoint.clone(), context.clone()));
        Ok(context)
    }
}

impl Crew for Workers {
    fn hire(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
        commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Result<Hired, PassError> {
        let mut worker = self.worker(mailbox, endpoint)?;
        let wish = Arc::new(Notify::new());
        worker.wish = Some(wish.clone());
        Ok(Hired { progress: worker.progress(), wish, run: Box::pin(worker.run(commands, shutdown)) })
    }

    fn plan(&self, mailbox: MailboxId, endpoint: &Endpoint) -> Answer<MailboxPlan> {
        let worker = self.worker(mailbox, endpoint);
        Answer(Box::pin(async move { worker?.plan().await }))
    }

    fn verify(&self, mailbox: MailboxId, endpoint: &Endpoint, depth: Depth) -> Answer<VerifyReport> {
        let worker = self.worker(mailbox, endpoint);
        Answer(Box::pin(async move { worker?.verify(depth, Courtesy::None).await }))
    }

    fn export(
        &self,
        mailbox: MailboxId,
        endpoint: &Endpoint,
        wanted: Wanted,
        out: mpsc::Sender<Step>,
    ) -> Answer<()> {
        let worker = self.worker(mailbox, endpoint);
        Answer(Box::pin(async move {
            worker?.export(wanted, out).await;
            Ok(())
        }))
    }
}

/// A worker's part of the memory for all: every mailbox that may be at work at once has the same.
fn share(memory_bytes: u64, endpoint: &Endpoint) -> u64 {
    let workers = u64::from(endpoint.max_concurrent_migrations.max(1))
        + u64::from(endpoint.max_concurrent_incremental_syncs.max(1));
    (memory_bytes / workers).clamp(256 << 10, 16 << 20)
}

/// An endpoint in the client's words.
fn server(endpoint: &Endpoint) -> Server {
    Server {
        host: endpoint.server.clone(),
        port: endpoint.port,
        security: match endpoint.security {
            Security::None => net::Security::None,
            Security::Ssl => net::Security::Ssl,
            Security::Tls => net::Security::Tls,
        },
        trust: match &endpoint.trust {
            Trust::System => net::Trust::System,
            Trust::CaFile(file) => net::Trust::CaFile(file.clone()),
            Trust::Off => net::Trust::Off,
        },
    }
}
