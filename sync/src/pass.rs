//! One pass: folders, facts, limits, bodies, marks.
//!
//! Order of work: what is in doubt, then what users just did (whenever it comes up), then INBOX and the other
//! folders, ascending UID in each.

use std::time::Duration;

use jiff::Timestamp;
use mailferry_ledger::{Folder, SourceMark};
use tokio::time::sleep;
use tracing::{debug, info};

use crate::error::{PassError, SideError};
use crate::pace::reconnect_after;
use crate::scan::{is_inbox, is_unmoved};
use crate::tenant::Waits;
use crate::throttle;
use crate::trouble::Trouble;
use crate::worker::{InboxRead, MailboxWorker, Pass, PassReport};

impl MailboxWorker {
    /// A pass with as many connections as it takes.
    pub(crate) async fn whole_pass(&mut self, pass: Pass) -> Result<PassReport, PassError> {
        let began = std::time::Instant::now();
        let mut report = PassReport { inbox_arrivals: self.arrivals, ..PassReport::default() };
        self.progress.begin();
        let mut attempt = 0;
        let result = loop {
            let before = self.settled();
            let result = self.attempt(pass, &mut report).await;
            match result {
                Ok(()) => break Ok(()),
                Err(trouble) => {
                    if self.settled() != before {
                        attempt = 0;
                    }
                    if let Err(error) = self.weather(trouble, &mut attempt).await {
                        break Err(error);
                    }
                }
            }
        };
        if result.is_ok() {
            self.closings.clear();
            self.wary = false;
            self.arrivals = 0;
        }
        report.took = began.elapsed();
        report.pending = self.context.ledger.mailbox_counts(self.mailbox).map(|counts| counts.pending)?;
        self.progress.say(if result.is_ok() { "idle" } else { "waiting" });
        result.map(|()| report)
    }

    /// After trouble: either the way is free for another attempt, or the pass is over.
    pub(crate) async fn weather(&mut self, trouble: Trouble, attempt: &mut u32) -> Result<(), PassError> {
        if let Err(trouble) = self.heed(&trouble).await {
            debug!(?trouble, "What the target said is not recorded.");
        }
        let passing = trouble.is_passing();
        let never_connected = matches!(
            &trouble,
            Trouble::Source(SideError::Imap(mailferry_imap::net::Error::Connect { .. }))
                | Trouble::Target(SideError::Imap(mailferry_imap::net::Error::Connect { .. }))
        ) && *attempt == 0;
        let error = match trouble {
            Trouble::Source(side) => PassError::Source(side),
            Trouble::Target(side) => PassError::Target(side),
            Trouble::TokenExpired => {
                PassError::Target(SideError::Other("the target does not take our token".to_owned()))
            }
            Trouble::Replaced => {
                self.hints.ask_everything(); // The folders must be listed anew.
                PassError::Source(SideError::Other(
                    "a folder was replaced while it was being copied".to_owned(),
                ))
            }
            Trouble::NoPlace => {
                PassError::Target(SideError::Other("no place for a further session".to_owned()))
            }
            Trouble::Local(local) => return Err(PassError::Local(local)),
            Trouble::Stopped => return Err(PassError::Stopped),
            Trouble::Throttled { text, .. } | Trouble::Waits(Waits { words: text, .. }) => {
                let left =
                    self.context.target.tenant.waits(self.mailbox).map_or(Duration::ZERO, |waits| waits.left);
                let until = Timestamp::now().checked_add(left).unwrap_or(Timestamp::MAX);
                self.progress.throttle(Some(until));
                self.progress.say("throttled by the target");
                return Err(PassError::Throttled { until, text });
            }
        };
        if !passing || never_connected || *attempt >= self.context.patience.attempts {
            return Err(error);
        }
        debug!(%error, attempt = *attempt, "Connecting anew.");
        let wait = reconnect_after(*attempt);
        *attempt += 1;
        if !wait.is_zero() {
            self.progress.say("waiting before connecting anew");
            sleep(wait).await;
        }
        Ok(())
    }

    /// Draws the consequences of trouble that hold for everybody, and drops what it made useless.
    pub(crate) async fn heed(&mut self, trouble: &Trouble) -> Result<(), Trouble> {
        let tenant = self.context.target.tenant.clone();
        // While the sessions that were too many still count.
        if let Some((complaint, words)) = trouble.complaint() {
            tenant.on_complaint(self.mailbox, complaint, words);
        }
        self.hang_up_after(trouble);
        if let Trouble::Throttled { stated, text } = trouble {
            let (wait, strikes) = tenant.on_throttled(self.mailbox, *stated, text);
            let ledger = &self.context.ledger;
            let mut change = ledger.change();
            let until = throttle::note(ledger, &mut change, self.mailbox, wait, strikes, text)?;
            info!(%until, "The target asks to wait.");
            change.commit().await?;
        }
        Ok(())
    }

    async fn attempt(&mut self, pass: Pass, report: &mut PassReport) -> Result<(), Trouble> {
        self.may_contact_target()?;
        self.progress.throttle(None);
        self.progress.say("listing folders");
        let mailbox = self.record()?;
        let listing = self.list(&mailbox).await?;
        self.settle_doubts(report).await?;
        let folders = self.bring_folders_in_line(&listing, report).await?;
        report.folders = folders.len() as u64;
        report.unmoved = 0;
        report.inbox = InboxRead::No;

        self.progress.say("comparing");
        let mut marks: Vec<(Folder, Option<SourceMark>)> = Vec::new();
        for (folder, status) in folders {
            let recorded = self.context.ledger.counts(folder.mailbox, folder.id)?.at_source();
            let unmoved = pass == Pass::Incremental && is_unmoved(&folder, &status, recorded);
            let mark = match unmoved {
                true => {
                    report.unmoved += 1;
                    None
                }
                false => self.scan(&folder, pass, report).await?.mark,
            };
            match unmoved || mark.is_some() {
                true if is_inbox(&folder) => report.inbox = InboxRead::Yes,
                true => {}
                false => report.left_out += 1,
            }
            marks.push((folder, mark));
        }
        let only: Vec<&Folder> = marks.iter().map(|(folder, _)| folder).collect();
        self.apply_item_limit(&only, report).await?;
        self.plan_progress(&only)?;

        self.copy_folders(marks, report).await?;
        if mailbox.needs_matching && self.context.ledger.mailbox_counts(self.mailbox)?.pending == 0 {
            let mut change = self.context.ledger.change();
            change.update_mailbox(self.mailbox, |mailbox| mailbox.needs_matching = false);
            change.commit().await?;
        }
        self.allowed = crate::worker::Deletions::Capped;
        match self.look_for_early_mail().await {
            // A figure is not worth a pass; who asks to wait is obeyed.
            Err(trouble @ (Trouble::Source(_) | Trouble::Target(_) | Trouble::TokenExpired)) => {
                debug!("Early mail was not looked for.");
                self.hang_up_after(&trouble);
                Ok(())
            }
            looked => looked,
        }
    }

    /// Everything whose fate is unknown, before anything else is done.
    pub(crate) async fn settle_doubts(&mut self, report: &mut PassReport) -> Result<(), Trouble> {
        for folder in self.context.ledger.folders(self.mailbox)? {
            if !folder.gone && self.context.ledger.intents(self.mailbox, folder.id).next().is_some() {
                // A folder that the source no longer has under this UIDVALIDITY is settled with its succession.
                let selected = self.source().await?.examine(&folder.source).await;
                match selected {
                    Ok(selected) if selected.uid_validity == folder.source_validity => {
                        self.reconcile(&folder, report).await?;
                        // What was not stored after all is to be copied.
                        self.hints.put_back([folder.source.clone()]);
                    }
                    Ok(_) => {}
                    Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => {}
                    Err(trouble) => return Err(trouble),
                }
            }
        }
        Ok(())
    }

    fn plan_progress(&self, folders: &[&Folder]) -> Result<(), Trouble> {
        let (mut messages, mut bytes) = (0, 0);
        for folder in folders {
            let counts = self.context.ledger.counts(folder.mailbox, folder.id)?;
            messages += counts.pending;
            bytes += counts.pending_bytes;
        }
        let done = self.progress.snapshot();
        self.progress.plan(done.messages_done + messages, done.bytes_done + bytes);
        Ok(())
    }

    /// How much is decided: what attempts are measured by.
    fn settled(&self) -> u64 {
        let counts = self.context.ledger.mailbox_counts(self.mailbox).unwrap_or_default();
        counts.mirrored + counts.skipped + counts.gone
    }
}
