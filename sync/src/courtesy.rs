//! How a worker behaves among others: it waits until it may, for its turn and for its place, and makes way between two steps.

use std::sync::Arc;

use mailferry_imap::MailboxId;
use tracing::debug;

use crate::context::WorkerContext;
use crate::tenant::{Doing, Errand, Place, Waits};
use crate::throttle;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

impl MailboxWorker {
    /// Gives the turn at the endpoint back where it is over, and goes on when it comes again; meanwhile what users do is
    /// carried over.
    pub(crate) async fn await_turn(&mut self, report: &mut PassReport) -> Result<(), Trouble> {
        let Some(turn) = self.turn.take_if(|turn| turn.is_over()) else { return Ok(()) };
        debug!("Others wait for a turn at the endpoint.");
        self.hang_up();
        self.progress.say("waiting for its turn");
        let spool = self.context.spool.clone();
        let mut turn = std::pin::pin!(turn.give_back());
        let mut serves = true;
        loop {
            self.turn_to(Doing::Rest);
            let called_back = self.called_back();
            tokio::select! {
                turn = &mut turn => {
                    self.turn = Some(turn);
                    self.turn_to(Doing::Work(Errand::Background));
                    return Ok(());
                }
                () = spool.changed(self.mailbox), if serves => {
                    self.hints.gather(&spool, self.mailbox);
                    self.turn_to(Doing::Work(Errand::Interactive));
                    if let Err(trouble) = Box::pin(self.serve_hints(report)).await {
                        // The pass will meet it, too, and say so.
                        self.heed(&trouble).await?;
                        serves = false;
                    }
                }
                () = called_back => self.target = None,
            }
        }
    }

    /// Gives the session at the target back where others wait for theirs. To be called between two steps; the next one opens
    /// it again, in turn.
    pub(crate) fn make_way(&mut self) {
        if self.target.as_ref().is_some_and(|target| target.place.is_wanted()) {
            debug!("Others wait for a session at the target.");
            self.target = None;
        }
    }

    /// Whether the target has not asked this mailbox to wait, in this run of the daemon or in an earlier one.
    pub(crate) fn may_contact_target(&self) -> Result<(), Trouble> {
        match self.waits()? {
            Some(waits) => Err(Trouble::Waits(waits)),
            None => Ok(()),
        }
    }

    /// How long it waits, if it does.
    pub(crate) fn waits(&self) -> Result<Option<Waits>, Trouble> {
        let tenant = &self.context.target.tenant;
        if let Some((waits, strikes)) = throttle::waits(&self.context.ledger, &self.record()?)? {
            tenant.resume(self.mailbox, &waits, strikes);
        }
        Ok(tenant.waits(self.mailbox))
    }

    /// Ends when others wait for the session at the target.
    pub(crate) fn called_back(&self) -> impl Future<Output = ()> + Send + use<> {
        let place = self.target.as_ref().map(|target| target.place.wanted());
        async move {
            match place {
                Some(wanted) => wanted.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Says what this worker does from now on.
    pub(crate) fn turn_to(&mut self, doing: Doing) {
        if let Doing::Work(errand) = doing {
            self.errand = errand;
        }
        if let Some(target) = &self.target {
            target.place.turn_to(doing);
        }
    }
}

/// A place for a session at the target. A pass that waits for one goes first as soon as its user does something.
pub(crate) async fn place(context: Arc<WorkerContext>, mailbox: MailboxId, errand: Errand) -> Place {
    let (tenant, spool) = (&context.target.tenant, &context.spool);
    let place = tokio::select! {
        place = tenant.place(mailbox, errand) => place,
        () = spool.changed(mailbox), if errand == Errand::Background => {
            tenant.place(mailbox, Errand::Interactive).await
        }
    };
    place.turn_to(Doing::Work(errand));
    place
}
