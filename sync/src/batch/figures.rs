//! Ledger and live figures become what is shown, and what the gate judges.

use jiff::Timestamp;
use mailferry_dnscheck::Moment;
use mailferry_ledger::{Batch, Counts, Mailbox, MailboxState, Route};

use super::status::{
    BatchStatus, Credential, FolderStatus, MailboxDetail, MailboxStates, MailboxStatus, SkippedMessage, Tally,
};
use super::{BatchError, Desk, ShowSkipped, domains};
use crate::credentials::{Awaits, Known, Pick};
use crate::csv::domain_of;
use crate::fleet::{Glance, derive, is_started};
use crate::gate::{self, DomainFacts, Facts, Gate, MailboxFacts, Moved};
use crate::{early, evidence, steady, stragglers, throttle, watch};

impl Desk {
    pub(super) fn batch_status(&self, batch: &Batch) -> Result<BatchStatus, BatchError> {
        let now = Timestamp::now();
        let mut states = MailboxStates::default();
        let mut tally = Tally::default();
        let mut throttled = 0;
        let mut throttled_until = None;
        let mailboxes = self.ledger.mailboxes(&batch.name)?;
        let count = mailboxes.len();
        let mut last_synced = (count > 0).then_some(Timestamp::MAX);
        for mailbox in &mailboxes {
            let glance = self.fleet.glance(mailbox.id);
            tally += self.tally(mailbox, &glance)?;
            let known = Known::of(&self.ledger, mailbox)?;
            match mailbox.state {
                _ if waits(mailbox, &known).is_some() => states.waiting_for_login += 1,
                MailboxState::Queued => states.queued += 1,
                MailboxState::Syncing => states.syncing += 1,
                MailboxState::Synced => states.synced += 1,
                MailboxState::IncrementalSyncing => states.incremental_syncing += 1,
                MailboxState::Failed => states.failed += 1,
                MailboxState::Stopped => states.stopped += 1,
            }
            last_synced = last_synced.and_then(|oldest| mailbox.last_synced.map(|synced| synced.min(oldest)));
            if let Some(until) = waits_until(mailbox, &glance).filter(|until| *until > now) {
                throttled += 1;
                throttled_until = throttled_until.max(Some(until));
            }
        }
        let bytes_left = tally.bytes_total.saturating_sub(tally.bytes_done);
        Ok(BatchStatus {
            name: batch.name.clone(),
            endpoint: batch.endpoint.clone(),
            state: derive(batch.state, &states, tally.pending, tally.skipped).to_string(),
            created: batch.created,
            started: batch.started,
            last_synced,
            mailboxes: u32::try_from(count).unwrap_or(u32::MAX),
            states,
            throttled,
            throttled_until,
            tally,
            rate: self.fleet.rate(&batch.name, tally.pending, bytes_left),
            include: batch.include.clone(),
            exclude: batch.exclude.clone(),
        })
    }

    pub(super) fn mailbox_status(&self, mailbox: Mailbox) -> Result<MailboxStatus, BatchError> {
        let glance = self.fleet.glance(mailbox.id);
        let tally = self.tally(&mailbox, &glance)?;
        let sessions = self.tenant.sessions(mailbox.id);
        let throttled_until = waits_until(&mailbox, &glance).filter(|until| *until > Timestamp::now());
        let (doing, trouble) = glance.live.map(|live| (live.state, live.trouble)).unzip();
        let doing = doing.filter(|state| !state.is_empty());
        let known = Known::of(&self.ledger, &mailbox)?;
        let waits = waits(&mailbox, &known);
        let (declared_moved, declared_by) = mailbox.declared_moved.unzip();
        Ok(MailboxStatus {
            credential: credential(&known),
            address: mailbox.address,
            batch: mailbox.batch,
            user_name: match mailbox.user_name.is_empty() {
                true => mailbox.client_login.unwrap_or_default(),
                false => mailbox.user_name,
            },
            state: waits.map_or_else(|| mailbox.state.to_string(), |_| "WaitingForLogin".to_owned()),
            detail: match mailbox.state {
                _ if waits.is_some() => waits.map(|awaits| awaits.to_string()),
                MailboxState::Syncing | MailboxState::IncrementalSyncing => doing.or(mailbox.error),
                MailboxState::Queued
                | MailboxState::Synced
                | MailboxState::Failed
                | MailboxState::Stopped => mailbox.error.or(trouble.flatten()),
            },
            route: mailbox.route.to_string(),
            declared_moved,
            declared_by,
            last_synced: mailbox.last_synced,
            throttled_until,
            throttling: throttle::of(&self.ledger, mailbox.id)?,
            sessions: sessions.0,
            sessions_allowed: sessions.1,
            retry_at: glance.retry_at,
            early: early::of(&self.ledger, mailbox.id)?,
            tally,
        })
    }

    pub(super) fn mailbox_detail(
        &self,
        mailbox: Mailbox,
        skipped: ShowSkipped,
    ) -> Result<MailboxDetail, BatchError> {
        let id = mailbox.id;
        let known = self.ledger.folders(id)?;
        let mut folders = Vec::new();
        for folder in &known {
            folders.push(FolderStatus {
                source: folder.source.to_text(),
                target: folder.target.to_text(),
                tally: tally(&self.ledger.counts(id, folder.id)?),
                held_deletions: folder.held_deletions,
                gone: folder.gone,
            });
        }
        let mut listed = Vec::new();
        if skipped == ShowSkipped::Listed {
            for one in self.ledger.skipped(id) {
                let one = one?;
                if let Some(folder) = known.iter().find(|folder| folder.id == one.folder) {
                    listed.push(SkippedMessage::of(one, folder));
                }
            }
        }
        Ok(MailboxDetail { status: self.mailbox_status(mailbox)?, folders, skipped: listed })
    }

    /// What is recorded, and where a pass has just listed more than it has recorded, that.
    fn tally(&self, mailbox: &Mailbox, glance: &Glance) -> Result<Tally, BatchError> {
        let mut tally = tally(&self.ledger.mailbox_counts(mailbox.id)?);
        // Between passes the ledger knows better: what was matched is done though nobody copied it.
        let at_work = matches!(mailbox.state, MailboxState::Syncing | MailboxState::IncrementalSyncing);
        if let Some(live) = glance.live.as_ref().filter(|_| at_work) {
            let messages = live.messages_total.saturating_sub(live.messages_done);
            let bytes = live.bytes_total.saturating_sub(live.bytes_done);
            tally.pending = tally.pending.max(messages);
            tally.messages_total = tally.messages_done + tally.pending;
            tally.bytes_total = tally.bytes_total.max(tally.bytes_done + bytes);
        }
        Ok(tally)
    }

    pub(super) fn gate(&self, batch: &Batch) -> Result<Gate, BatchError> {
        let now = steady::now(&self.ledger)?;
        Ok(gate::judge(&self.facts(batch, now)?, now))
    }

    /// Asks for a pass of every mailbox of which one would be new evidence for the gate.
    pub(super) fn look(&self) -> Result<(), BatchError> {
        let now = steady::now(&self.ledger)?;
        for batch in self.ledger.batches()?.iter().filter(|batch| is_started(batch.state)) {
            let facts = self.facts(batch, now)?;
            for wanted in gate::unread(&facts, now) {
                let mailbox = self.ledger.mailbox_by_address(&wanted.address)?;
                // One that failed is tried again in its own time.
                if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.state == MailboxState::Synced) {
                    self.fleet.sync_now(mailbox.id);
                }
            }
        }
        Ok(())
    }

    fn facts(&self, batch: &Batch, now: Moment) -> Result<Facts, BatchError> {
        let mailboxes = self.ledger.mailboxes(&batch.name)?;
        let mut domain_facts = Vec::new();
        for domain in domains(&mailboxes) {
            let cutover = watch::cutover(&self.ledger, &domain)?;
            let cutover = cutover.as_ref();
            domain_facts.push(DomainFacts {
                verdict: cutover.map(|cutover| cutover.verdict.to_string()),
                since: cutover.and_then(|cutover| cutover.since),
                confirmed: cutover.and_then(|cutover| self.watch.confirmed(cutover, now)),
                due: cutover.and_then(|cutover| cutover.due),
                observed: cutover.map(|cutover| cutover.observed.at),
                domain,
            });
        }
        let mut mailbox_facts = Vec::new();
        for mailbox in mailboxes {
            let last_synced = evidence::synced(&self.ledger, &mailbox)?;
            let counts = self.ledger.mailbox_counts(mailbox.id)?;
            mailbox_facts.push(MailboxFacts {
                domain: domain_of(&mailbox.address).unwrap_or_default(),
                moved: match (mailbox.route, mailbox.declared_moved) {
                    (Route::Target, _) => Moved::Switched,
                    (Route::Source | Route::Held, Some((at, by))) => Moved::Declared { at, by },
                    (Route::Source | Route::Held, None) => Moved::No,
                },
                last_synced,
                pending: counts.pending,
                skipped: counts.skipped,
                last_straggler: stragglers::recorded(&self.ledger, mailbox.id)?.loud(),
                address: mailbox.address,
            });
        }
        Ok(Facts {
            batch: batch.name.clone(),
            domains: domain_facts,
            mailboxes: mailbox_facts,
            quiet: self.quiet,
        })
    }
}

/// What a mailbox waits for that has nothing else to do.
pub(super) fn waits(mailbox: &Mailbox, known: &Known) -> Option<Awaits> {
    match mailbox.state {
        MailboxState::Queued | MailboxState::Synced | MailboxState::Failed => known.awaits(),
        MailboxState::Syncing | MailboxState::IncrementalSyncing | MailboxState::Stopped => None,
    }
}

fn credential(known: &Known) -> Credential {
    let from = match known.pick() {
        Pick::Given => "csv",
        Pick::Learned(_) => "learned",
        Pick::Awaits(_) | Pick::Nothing => "none",
    };
    let learned = known.learned();
    Credential {
        from: from.to_owned(),
        learned: learned.map(|learned| learned.at),
        login: learned.map(|learned| learned.login.clone()),
        refused: learned.and_then(|learned| learned.refused),
    }
}

fn waits_until(mailbox: &Mailbox, glance: &Glance) -> Option<Timestamp> {
    glance.live.as_ref().and_then(|live| live.throttled_until).max(mailbox.throttled_until)
}

fn tally(counts: &Counts) -> Tally {
    Tally {
        messages_done: counts.mirrored,
        messages_total: counts.mirrored + counts.pending,
        bytes_done: counts.mirrored_bytes,
        bytes_total: counts.mirrored_bytes + counts.pending_bytes,
        pending: counts.pending,
        skipped: counts.skipped,
        gone: counts.gone,
    }
}
