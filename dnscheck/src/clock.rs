//! From observations over time to a confirmed cutover. Pure: it reads no clock of its own.
//!
//! The clock starts at the first observation that is `office365` or `filtered`, and stands confirmed at the first
//! observation that shows this to have held for the whole wait, and until every cache has dropped the last other
//! record that was seen. What it counts and what not:
//! - **Any other verdict** but `unknown` breaks it: it starts anew with the next good observation.
//! - **`unknown`** is the absence of an observation: it neither counts nor breaks. But while it is the last word,
//!   nothing is confirmed.
//! - **Gaps.** Time between two good observations counts in full up to `max_gap`. After a longer gap the clock
//!   starts anew: nobody can say that the record was not put back meanwhile, and then caches hold the old one
//!   again. (Equal zone serials prove nothing: some large providers never change theirs.)
//! - **The wall clock** may step. After a step back of more than [`STEP`] times before and after it cannot be
//!   compared, and the clock starts anew. A step forward looks like a gap and is treated as one; one shorter than
//!   `max_gap` cannot be told from time that passed.
//! - **Only observations count**, never the time since the last one; and when that one is older than `max_gap`
//!   nothing is confirmed until the domain is looked at again.
//! - **Old records** may be cached for their TTL from the moment at which they were last served: each TTL seen is
//!   counted from the next usable observation after it, so that lowering the TTL just before the switch does not
//!   shorten the wait below what the longer TTL demands. A TTL counts up to [`MAX_TTL`].

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Observation, Verdict};

/// Steps back of the wall clock up to this are taken for jitter, as time servers cause it.
pub const STEP: SignedDuration = SignedDuration::from_mins(5);
/// Nobody caches for longer: resolvers cut TTLs to a week at most (unbound to a day, BIND to a week).
pub const MAX_TTL: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the clock demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long the condition must hold at least.
    pub wait: Duration,
    /// The longest time without a usable observation that still counts as unbroken. Observations must come
    /// more often than this.
    pub max_gap: Duration,
}

/// How far a domain's cutover is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Since when the condition has held without a break; none while it does not hold.
    pub since: Option<Timestamp>,
    /// How long it must hold: the wait, or longer where an old record may be cached longer.
    pub required: SignedDuration,
    /// How long it has held, as far as observations show.
    pub held: SignedDuration,
    /// The first observation that showed it to have held long enough, as long as nothing speaks against it.
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
    let mut course = Course::new(rules);
    for observation in observations {
        course.observe(&Sample::from(observation));
    }
    course.read(now)
}

/// What the clock takes from one observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    at: Timestamp,
    verdict: Verdict,
    ttl: SignedDuration,
}

/// The clock while observations are told to it.
#[derive(Debug)]
struct Course {
    wait: SignedDuration,
    max_gap: SignedDuration,
    /// The last observation, of any verdict.
    last: Option<Sample>,
    /// Start and end of the good run that is under way.
    run: Option<(Timestamp, Timestamp)>,
    confirmed_at: Option<Timestamp>,
    /// The TTL of an old record that was being served when last heard.
    served: Option<SignedDuration>,
    /// The longest TTL of an old record ever seen.
    longest: SignedDuration,
    /// Until when caches may hold an old record that is known to be gone.
    cached_until: Option<Timestamp>,
    /// Why the run started where it did.
    origin: &'static str,
}

impl Course {
    fn new(rules: &Rules) -> Self {
        Self {
            wait: signed(rules.wait),
            max_gap: signed(rules.max_gap),
            last: None,
            run: None,
            confirmed_at: None,
            served: None,
            longest: SignedDuration::ZERO,
            cached_until: None,
            origin: "",
        }
    }

    fn observe(&mut self, sample: &Sample) {
        let stepped_back = self.last.is_some_and(|last| last.at.duration_since(sample.at) > STEP);
        if stepped_back {
            self.stop();
            self.origin = ", from when the machine's clock was set back";
        }
        self.last = Some(*sample);
        if sample.verdict == Verdict::Unknown {
            return;
        }
        if let Some(ttl) = self.served.take() {
            self.may_be_cached(sample.at, ttl);
        }
        if !sample.verdict.is_cut_over() {
            self.stop();
            self.origin = "";
            self.served = Some(sample.ttl);
            self.longest = self.longest.max(sample.ttl);
            return;
        }
        let start = match self.run {
            Some((start, end)) if sample.at.duration_since(end) <= self.max_gap => start,
            Some(_) => {
                self.confirmed_at = None;
                self.origin = ", from the end of a gap in observation that was too long to count";
                self.may_be_cached(sample.at, self.longest);
                sample.at
            }
            None => sample.at,
        };
        self.run = Some((start, sample.at));
        if sample.at.duration_since(start) >= self.required(start) {
            self.confirmed_at.get_or_insert(sample.at);
        }
    }

    fn stop(&mut self) {
        self.run = None;
        self.confirmed_at = None;
    }

    /// A record of this TTL was served until `until` at the latest.
    fn may_be_cached(&mut self, until: Timestamp, ttl: SignedDuration) {
        let end = until.saturating_add(ttl).unwrap_or(Timestamp::MAX);
        self.cached_until = Some(self.cached_until.map_or(end, |known| known.max(end)));
    }

    fn required(&self, start: Timestamp) -> SignedDuration {
        let cached = self.cached_until.map_or(SignedDuration::ZERO, |until| until.duration_since(start));
        self.wait.max(cached)
    }

    fn read(self, now: Timestamp) -> Clock {
        let Some(last) = self.last else {
            return self.standing("never looked at".to_owned());
        };
        let Some((start, end)) = self.run else {
            return self.standing(format!("the last observation, {:.0}, is {}", last.at, last.verdict));
        };
        let (required, held) = (self.required(start), end.duration_since(start));
        let age = now.duration_since(end);
        let (confirmed_at, reason) = if last.verdict == Verdict::Unknown {
            (None, "the last observation could not tell; good before".to_owned())
        } else if age > self.max_gap {
            (None, format!("last looked at {end:.0}: too long ago to say that it still holds"))
        } else if age < -STEP {
            (None, format!("last looked at {end:.0}, which is in the future: the clock was set back"))
        } else if self.confirmed_at.is_some() {
            (self.confirmed_at, format!("held since {start:.0}"))
        } else {
            (None, format!("holds since {start:.0}{}", self.origin))
        };
        Clock { since: Some(start), required, held, confirmed_at, reason }
    }

    fn standing(&self, reason: String) -> Clock {
        Clock {
            since: None,
            required: self.wait.max(self.served.unwrap_or_default()),
            held: SignedDuration::ZERO,
            confirmed_at: None,
            reason,
        }
    }
}

impl From<&Observation> for Sample {
    fn from(observation: &Observation) -> Self {
        let ttl = SignedDuration::from_secs(i64::from(observation.other_ttl.unwrap_or(0))).min(MAX_TTL);
        Self { at: observation.at, verdict: observation.verdict, ttl }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
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

    /// How long the condition must still be seen to hold; everything that is required while it does not hold.
    pub fn remaining(&self) -> SignedDuration {
        self.required.saturating_sub(self.held).max(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests;
