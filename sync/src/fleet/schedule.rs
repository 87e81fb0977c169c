//! When a mailbox has its next pass. Pure: moments and outcomes in, the next moment out.

use std::time::{Duration, Instant};

/// The first wait after a failure that may pass by itself, and the longest.
const PASSING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The same where somebody must do something first: trying often would only lock an account.
const STANDING: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// What kind of failure a pass ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Waiting may help.
    Passing,
    /// Somebody must do something.
    Standing,
}

/// The timetable of one mailbox.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    due: Instant,
    /// No traffic for this mailbox before then, not even for what clients just did.
    blocked: Option<Instant>,
    /// The target said when; an operator's impatience does not change that.
    throttled: bool,
    failures: u32,
}

impl Schedule {
    /// A mailbox that has its first pass at once: after a start nobody knows what happened before.
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        Self { interval, due: now, blocked: None, throttled: false, failures: 0 }
    }

    /// When the next pass is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// From when on what clients did may be carried over.
    pub(crate) fn mirrors_from(&self) -> Option<Instant> {
        self.blocked
    }

    /// A pass ended well.
    pub(crate) fn on_done(&mut self, now: Instant) {
        *self = Self { due: now + self.interval, ..Self::new(now, self.interval) };
    }

    /// A pass failed. `chance` (any byte) spreads mailboxes that failed together.
    pub(crate) fn on_failed(&mut self, now: Instant, failure: Failure, chance: u8) {
        self.failures = self.failures.saturating_add(1);
        let (first, longest) = match failure {
            Failure::Passing => PASSING,
            Failure::Standing => STANDING,
        };
        let doubled = first.saturating_mul(1 << (self.failures - 1).min(16)).min(longest);
        // Up to a quarter more.
        let wait = doubled + doubled * u32::from(chance) / 1024;
        self.block(now + wait);
    }

    /// The target asks to wait.
    pub(crate) fn on_throttled(&mut self, until: Instant) {
        self.block(until);
        self.throttled = true;
    }

    /// The operator wants a pass at once.
    pub(crate) fn on_asked(&mut self, now: Instant) {
        if self.throttled && self.blocked.is_some_and(|until| now < until) {
            return;
        }
        *self = Self::new(now, self.interval);
    }

    /// What clients did takes a pass: as soon as the last failure allows it.
    pub(crate) fn on_wished(&mut self, now: Instant) {
        self.due = self.due.min(self.blocked.map_or(now, |until| until.max(now)));
    }

    fn block(&mut self, until: Instant) {
        self.due = until;
        self.blocked = Some(until);
        self.throttled = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn passes_follow_the_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, DAY);
        assert_eq!(schedule.due(), start);
        schedule.on_done(start + secs(10));
        assert_eq!(schedule.due(), start + secs(10) + DAY);
        schedule.on_wished(start + secs(15));
        assert_eq!(schedule.due(), start + secs(15));
        schedule.on_asked(start + secs(20));
        assert_eq!(schedule.due(), start + secs(20));
    }

    #[test]
    fn failures_wait_longer_and_longer_and_never_forever() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, DAY);
        let mut waits = Vec::new();
        for _ in 0..40 {
            schedule.on_failed(start, Failure::Passing, 0);
            waits.push((schedule.due() - start).as_secs());
        }
        assert_eq!(waits[..7], [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits[39], 60);
        schedule.on_failed(start, Failure::Passing, 255);
        assert!(schedule.due() - start < secs(75));
        assert!(schedule.due() - start > secs(74));
        schedule.on_done(start);
        schedule.on_failed(start, Failure::Standing, 0);
        assert_eq!(schedule.due(), start + secs(60));
    }

    #[test]
    fn an_operator_ends_a_backoff_but_not_a_throttling() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, DAY);
        schedule.on_failed(start, Failure::Standing, 0);
        schedule.on_asked(start + secs(1));
        assert_eq!(schedule.due(), start + secs(1));
        assert_eq!(schedule.mirrors_from(), None);
        schedule.on_throttled(start + secs(300));
        schedule.on_asked(start + secs(2));
        assert_eq!(schedule.due(), start + secs(300));
        assert_eq!(schedule.mirrors_from(), Some(start + secs(300)));
        schedule.on_wished(start + secs(3));
        assert_eq!(schedule.due(), start + secs(300), "a wish of the mirror changes nothing, either");
        schedule.on_asked(start + secs(301));
        assert_eq!(schedule.due(), start + secs(301));
    }
}
