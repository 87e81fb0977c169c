//! The end of a batch: through the gate, or by force with a reason; what stays is its report.

use jiff::Timestamp;
use mailferry_ledger::{Batch, BatchState, Note};
use serde::{Deserialize, Serialize};

use super::account::Kept;
use super::{BatchError, BatchStatus, Batches, Desk, MailboxStatus, Removal};
use crate::fleet::is_started;
use crate::gate::Gate;
use crate::reconcile::adopted_names;
use crate::renumbered::adopting_names;
use crate::subscribed::subscribing_name;
use crate::{early, evidence, stragglers, throttle};

/// What is kept of a removed batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The batch as it was.
    pub batch: BatchStatus,
    /// When the report was made.
    pub at: Timestamp,
    /// Its mailboxes.
    pub mailboxes: Vec<MailboxStatus>,
    /// The gate's verdict at that moment.
    pub gate: Gate,
    /// Removed by force: who, and why.
    pub forced: Option<Forced>,
    /// Folders and skipped messages.
    #[serde(flatten)]
    pub kept: Kept,
}

/// Removal without the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

impl Batches {
    pub(super) async fn removed(&self, name: &str, removal: Removal) -> Result<Report, BatchError> {
        let desk = &self.desk;
        let Some(batch) = desk.ledger.batch(name)? else {
            return Err(match desk.kept_report(name) {
                Ok(report) => BatchError::Removed { batch: name.to_owned(), at: report.at },
                Err(error) => error,
            });
        };
        if batch.state == BatchState::Removing {
            // The decision was made and recorded; only the work is left.
            self.go_on_removing(&batch).await?;
            return desk.kept_report(name);
        }
        let forced = match removal {
            Removal::ThroughGate => None,
            Removal::Forced { reason, .. } if reason.trim().is_empty() => return Err(BatchError::NoReason),
            Removal::Forced { reason, by } => Some(Forced { reason, by }),
        };
        if forced.is_none() {
            let gate = desk.gate(&batch)?;
            if !gate.open {
                return Err(BatchError::Closed(gate));
            }
        }
        desk.fleet.stop(name).await;
        // What the workers did until they stopped counts too.
        let report = desk.report(&batch, forced.clone())?;
        if forced.is_none() && !report.gate.open {
            if is_started(batch.state) {
                desk.fleet.start(&batch.endpoint, &desk.ledger.mailboxes(name)?);
            }
            return Err(BatchError::Closed(report.gate));
        }
        if let Err(error) = desk.decide_removal(&batch, &report).await {
            // Nothing was decided: the work goes on.
            if is_started(batch.state) {
                desk.fleet.start(&batch.endpoint, &desk.ledger.mailboxes(name)?);
            }
            return Err(error);
        }
        desk.destroy(&batch, to_json(&report)?).await?;
        desk.watch.wake();
        Ok(report)
    }

    pub(super) async fn go_on_removing(&self, batch: &Batch) -> Result<(), BatchError> {
        self.desk.fleet.stop(&batch.name).await;
        // As it is kept, whoever wrote it.
        let report = match self.desk.ledger.report(&batch.name)? {
            Some(report) => report,
            None => to_json(&self.desk.report(batch, None)?)?,
        };
        self.desk.destroy(batch, report).await
    }
}

impl Desk {
    /// The account of a batch as it stands.
    pub(super) fn report(&self, batch: &Batch, forced: Option<Forced>) -> Result<Report, BatchError> {
        let at = Timestamp::now();
        let mailboxes = self.ledger.mailboxes(&batch.name)?;
        let kept = self.kept_of(&mailboxes)?;
        let mailboxes = mailboxes.into_iter().map(|mailbox| self.mailbox_status(mailbox));
        Ok(Report {
            batch: self.batch_status(batch)?,
            at,
            mailboxes: mailboxes.collect::<Result<_, _>>()?,
            gate: self.gate(batch)?,
            forced,
            kept,
        })
    }

    /// The account of a batch that was removed.
    pub(super) fn kept_report(&self, name: &str) -> Result<Report, BatchError> {
        let json = self.ledger.report(name)?.ok_or_else(|| BatchError::NoBatch(name.to_owned()))?;
        // A report that does not read was not written by us.
        serde_json::from_str(&json).map_err(|_| BatchError::NoBatch(name.to_owned()))
    }

    /// From here on there is no way back: report, reason and state are recorded together, and whatever happens now, the
    /// next start goes on with it.
    async fn decide_removal(&self, batch: &Batch, report: &Report) -> Result<(), BatchError> {
        let forced = report.forced.as_ref();
        let mut change = self.ledger.change();
        change.put_report(&batch.name, to_json(report)?);
        change.update_batch(&batch.name, |batch| batch.state = BatchState::Removing);
        change.put_note(Note {
            at: Timestamp::now(),
            who: forced.map_or_else(|| "mailferry".to_owned(), |forced| forced.by.clone()),
            batch: Some(batch.name.clone()),
            address: None,
            what: if forced.is_some() { "removed by force" } else { "removed through the gate" }.into(),
            reason: forced.map(|forced| forced.reason.clone()).unwrap_or_default(),
        });
        change.commit().await?;
        Ok(())
    }

    async fn destroy(&self, batch: &Batch, report: String) -> Result<(), BatchError> {
        // Facts go before the mailboxes: nobody would know whose they are afterwards.
        let mut change = self.ledger.change();
        for mailbox in self.ledger.mailboxes(&batch.name)? {
            self.spool.forget(mailbox.id);
            change.remove_fact(&stragglers::name(mailbox.id));
            change.remove_fact(&evidence::name(mailbox.id));
            change.remove_fact(&early::name(mailbox.id));
            change.remove_fact(&throttle::name(mailbox.id));
            change.remove_fact(&subscribing_name(mailbox.id));
            for names in [adopted_names(mailbox.id), adopting_names(mailbox.id)] {
                for (name, _) in self.ledger.facts(&names)? {
                    change.remove_fact(&name);
                }
            }
        }
        if !change.is_empty() {
            change.commit().await?;
        }
        self.ledger.remove_batch(&batch.name, report).await?;
        Ok(())
    }
}

fn to_json(report: &Report) -> Result<String, BatchError> {
    serde_json::to_string(report).map_err(|error| BatchError::Report(error.to_string()))
}
