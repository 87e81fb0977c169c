//! How much the target is asked to bear, by what it says. Pure: words and moments in, numbers out.
//!
//! There are two numbers, and they move by different signs:
//! - **The sessions of one mailbox** (its lanes). What Exchange Online throttles is the user: budget and connections are
//!   counted for each mailbox. So whatever a mailbox is told while it has several sessions is laid to these.
//! - **The sessions of all mailboxes.** They are blamed only for what one mailbox cannot have caused: it had a single session
//!   and was told that there are too many; or, within a minute, at least two mailboxes and half of all that are at work
//!   complain. A single mailbox that has used up its budget says nothing about the others. A mailbox that never worked is
//!   not heard at all: "not connected" is what a missing permission sounds like, too.
//!
//! Both fall by half of what is in use, at once, and then not again for a while: everything that was on its way hears the
//! same. Both rise by one after some time in which the target took something.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mailferry_imap::MailboxId;

use crate::pace::Complaint;

/// After a fall nothing falls for so long.
const DEAF: Duration = Duration::from_secs(10);

/// How long a complaint is remembered for what others say.
const ALIKE: Duration = Duration::from_secs(60);

/// One more session of all after so long: from one to fifty in a quarter of an hour.
const RISE: Duration = Duration::from_secs(15);

/// One more session of a mailbox after so long. Budgets are filled again over minutes.
const RISE_OF_ONE: Duration = Duration::from_secs(60);

/// A number that falls by half and rises by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowance {
    most: usize,
    allowed: usize,
    rise: Duration,
    /// Not lower before then.
    deaf_until: Option<Instant>,
    /// Not higher before then.
    rises_at: Option<Instant>,
}

impl Allowance {
    fn new(most: usize, rise: Duration) -> Self {
        Self { most: most.max(1), allowed: most.max(1), rise, deaf_until: None, rises_at: None }
    }

    pub(crate) fn allowed(&self) -> usize {
        self.allowed
    }

    /// Whether it is lower than configured.
    pub(crate) fn is_reduced(&self) -> bool {
        self.allowed < self.most
    }

    /// Half of what is in use. Says whether anything fell.
    fn on_complaint(&mut self, in_use: usize, now: Instant, dice: u32) -> bool {
        self.rises_at = Some(now + self.next_rise(dice));
        if self.deaf_until.is_some_and(|until| now < until) {
            return false;
        }
        self.deaf_until = Some(now + DEAF);
        let half = (self.allowed.min(in_use.max(1)) / 2).max(1);
        let fell = half < self.allowed;
        self.allowed = half;
        fell
    }

    /// Says whether it rose.
    fn on_success(&mut self, now: Instant, dice: u32) -> bool {
        if !self.is_reduced() || self.rises_at.is_some_and(|at| now < at) {
            return false;
        }
        self.allowed += 1;
        self.rises_at = Some(now + self.next_rise(dice));
        true
    }

    /// Up to a half more, so that those who fell together do not rise together.
    fn next_rise(&self, dice: u32) -> Duration {
        self.rise + self.rise.mul_f64(f64::from(dice % 1_000) / 2_000.0)
    }
}

/// What was changed by a sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) mailbox: bool,
    pub(crate) all: bool,
}

/// Both numbers, and what they go by.
#[derive(Debug)]
pub(crate) struct Adaptation {
    all: Allowance,
    most_of_one: usize,
    mailboxes: BTreeMap<MailboxId, Allowance>,
    /// Who had a session that worked.
    worked: std::collections::BTreeSet<MailboxId>,
    complaints: BTreeMap<MailboxId, Instant>,
}

/// What is in use at the moment of a complaint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InUse {
    /// Sessions of the mailbox that is complained to.
    pub(crate) mailbox: usize,
    /// Sessions of all.
    pub(crate) all: usize,
    /// Mailboxes with a session.
    pub(crate) mailboxes: usize,
}

impl Adaptation {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            all: Allowance::new(most, RISE),
            most_of_one,
            mailboxes: BTreeMap::new(),
            worked: std::collections::BTreeSet::new(),
            complaints: BTreeMap::new(),
        }
    }

    /// Of all.
    pub(crate) fn all(&self) -> Allowance {
        self.all
    }

    /// Of one mailbox.
    pub(crate) fn of(&self, mailbox: MailboxId) -> Allowance {
        self.mailboxes.get(&mailbox).copied().unwrap_or_else(|| self.fresh())
    }

    /// A session of this mailbox works.
    pub(crate) fn on_connected(&mut self, mailbox: MailboxId) {
        self.worked.insert(mailbox);
    }

    /// The target took something.
    pub(crate) fn on_success(&mut self, mailbox: MailboxId, now: Instant, dice: u32) -> Changed {
        let rose = match self.mailboxes.get_mut(&mailbox) {
            Some(known) => known.on_success(now, dice),
            None => false,
        };
        if self.mailboxes.get(&mailbox).is_some_and(|known| !known.is_reduced()) {
            self.mailboxes.remove(&mailbox);
        }
        Changed { mailbox: rose, all: self.all.on_success(now, dice) }
    }

    /// The target complained to a mailbox.
    pub(crate) fn on_complaint(
        &mut self,
        mailbox: MailboxId,
        complaint: Complaint,
        in_use: InUse,
        now: Instant,
        dice: u32,
    ) -> Changed {
        if !self.worked.contains(&mailbox) && complaint == Complaint::NotConnected {
            return Changed::default();
        }
        let fresh = self.fresh();
        let known = self.mailboxes.entry(mailbox).or_insert(fresh);
        let fell = known.on_complaint(in_use.mailbox, now, dice);
        if !known.is_reduced() {
            self.mailboxes.remove(&mailbox);
        }
        if in_use.mailbox > 1 {
            return Changed { mailbox: fell, all: false };
        }
        self.complaints.retain(|_, at| now.saturating_duration_since(*at) < ALIKE);
        self.complaints.insert(mailbox, now);
        let is_common = match complaint {
            Complaint::Crowded => true,
            Complaint::Budget | Complaint::NotConnected => {
                let complained = self.complaints.len();
                complained >= 2 && complained * 2 >= in_use.mailboxes
            }
        };
        Changed { mailbox: fell, all: is_common && self.all.on_complaint(in_use.all, now, dice) }
    }

    fn fresh(&self) -> Allowance {
        Allowance::new(self.most_of_one, RISE_OF_ONE)
    }
}

#[cfg(test)]
mod tests;
