//! From observations over time to a confirmed cutover. Pure: it reads no clock of its own.
//!
//! The clock starts at the first observation that is `office365` or `filtered`, and stands confirmed at the first
//! observation that shows this to have held for the whole wait, and until every cache has dropped the last other
//! record that was seen. [`Course`] is its whole memory: it is kept by the caller beside the observations, so these
//! may be thinned out and need no order of their own. What it counts and what not:
//! - **Any other verdict** but `unknown` breaks it: it starts anew with the next good observation.
//! - **`unknown`** is the absence of an observation: it neither counts nor breaks. But while it is the last word,
//!   nothing is confirmed.
//! - **Time is counted by the steady clock** of [`Moment`], which nobody can set; the wall clock is for people, and can
//!   only make the clock start anew.
//! - **Gaps.** Time between two good observations counts in full up to `max_gap`. After a longer gap, by either of
//!   the two clocks, the clock starts anew: nobody can say that the record was not put back meanwhile, and then caches
//!   hold the old one again. (Equal zone serials prove nothing: some large providers never change theirs.)
//! - **The wall clock** may step. After a step back of more than [`STEP`] the length of the gap before it is not known
//!   where the machine was off, and the clock starts anew. (One that is hidden in a longer gap that reaches across a restart of
//!   the machine is not seen.)
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

/// A moment, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By the wall clock, for people: it may be set back and forward.
    pub at: Timestamp,
    /// Time that is known to have passed since some beginning: it never goes back, and never faster than time itself.
    pub steady: SignedDuration,
}

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
    pub since: Option<Moment>,
    /// How long it must hold: the wait, or longer where an old record may be cached longer.
    pub required: SignedDuration,
    /// How long it has held, as far as observations show.
    pub held: SignedDuration,
    /// The first observation that showed it to have held long enough, as long as nothing speaks against it.
    pub confirmed_at: Option<Moment>,
    /// One sentence: why the clock stands where it stands.
    pub reason: String,
}

/// The clock while observations are told to it: everything that it must remember of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The last observation, of any verdict.
    last: Option<(Moment, Verdict)>,
    /// The good run that is under way.
    run: Option<Run>,
    confirmed_at: Option<Moment>,
    /// The TTL of an old record that was being served when last heard.
    served: Option<SignedDuration>,
    /// The longest TTL of an old record ever seen.
    longest: SignedDuration,
    /// For how long after the last observation caches may still hold an old record that is known to be gone.
    cached: SignedDuration,
    /// Why the run started where it did.
    origin: Origin,
}

/// Good observations without a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    start: Moment,
    end: Moment,
    /// For how long from its start caches may have held an old record.
    cached: SignedDuration,
}

/// Why a run starts where it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    /// The record was changed.
    #[default]
    Change,
    /// Nobody looked for too long.
    Gap,
    /// The wall clock stepped back.
    Step,
}

/// What the clock takes from one observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    moment: Moment,
    verdict: Verdict,
    ttl: SignedDuration,
}

impl Course {
    /// A clock that begins where others looked before: `longest` is the TTL of the longest-lived other record that they saw,
    /// and caches may hold it from just now on.
    #[must_use]
    pub fn after(longest: SignedDuration) -> Self {
        let longest = longest.min(MAX_TTL);
        Self { longest, cached: longest, origin: Origin::Gap, ..Self::default() }
    }

    /// Takes one observation in; `steady` is the moment of [`Observation::at`] by the steady clock.
    pub fn observe(&mut self, observation: &Observation, steady: SignedDuration, rules: &Rules) {
        let ttl = SignedDuration::from_secs(i64::from(observation.other_ttl.unwrap_or(0))).min(MAX_TTL);
        let moment = Moment { at: observation.at, steady };
        self.take(&Sample { moment, verdict: observation.verdict, ttl }, rules);
    }

    fn take(&mut self, sample: &Sample, rules: &Rules) {
        let now = sample.moment;
        if let Some((last, _)) = self.last {
            if last.at.duration_since(now.at) > STEP {
                self.stop();
                self.origin = Origin::Step;
            }
            self.cached = (self.cached - now.since(last)).max(SignedDuration::ZERO);
        }
        self.last = Some((now, sample.verdict));
        if sample.verdict == Verdict::Unknown {
            return;
        }
        if let Some(ttl) = self.served.take() {
            self.cached = self.cached.max(ttl);
        }
        if !sample.verdict.is_cut_over() {
            self.stop();
            self.origin = Origin::Change;
            self.served = Some(sample.ttl);
            self.longest = self.longest.max(sample.ttl);
            return;
        }
        match &mut self.run {
            Some(run) if now.gap_since(run.end) <= signed(rules.max_gap) => run.end = now,
            run => {
                if run.is_some() {
                    self.confirmed_at = None;
                    self.origin = Origin::Gap;
                }
                if run.is_some() || self.origin == Origin::Step {
                    self.cached = self.cached.max(self.longest);
                }
                *run = Some(Run { start: now, end: now, cached: self.cached });
            }
        }
        let long_enough = self.run.as_ref().is_some_and(|run| run.held() >= run.required(rules));
        self.confirmed_at = long_enough.then(|| self.confirmed_at.unwrap_or(now));
    }

    fn stop(&mut self) {
        self.run = None;
        self.confirmed_at = None;
    }

    /// Reads the clock at a moment.
    pub fn read(&self, now: Moment, rules: &Rules) -> Clock {
        let Some((last, verdict)) = self.last else {
            return self.standing("never looked at".to_owned(), rules);
        };
        let Some(run) = &self.run else {
            return self.standing(format!("the last observation, {:.0}, is {verdict}", last.at), rules);
        };
        let (start, end) = (run.start.at, run.end.at);
        let (confirmed_at, reason) = if verdict == Verdict::Unknown {
            (None, "the last observation could not tell; good before".to_owned())
        } else if now.gap_since(run.end) > signed(rules.max_gap) {
            (None, format!("last looked at {end:.0}: too long ago to say that it still holds"))
        } else if end.duration_since(now.at) > STEP {
            (None, format!("last looked at {end:.0}, which is in the future: the clock was set back"))
        } else if self.confirmed_at.is_some() && run.held() >= run.required(rules) {
            (self.confirmed_at, format!("held since {start:.0}"))
        } else {
            (None, format!("holds since {start:.0}{}", self.origin))
        };
        Clock {
            since: Some(run.start),
            required: run.required(rules),
            held: run.held(),
            confirmed_at,
            reason,
        }
    }

    fn standing(&self, reason: String, rules: &Rules) -> Clock {
        Clock {
            since: None,
            required: signed(rules.wait).max(self.served.unwrap_or_default()),
            held: SignedDuration::ZERO,
            confirmed_at: None,
            reason,
        }
    }
}

impl Run {
    fn held(&self) -> SignedDuration {
        self.end.since(self.start)
    }

    fn required(&self, rules: &Rules) -> SignedDuration {
        signed(rules.wait).max(self.cached)
    }
}

impl Moment {
    /// Time that has passed since `earlier` for certain.
    pub fn since(self, earlier: Self) -> SignedDuration {
        self.steady.saturating_sub(earlier.steady).max(SignedDuration::ZERO)
    }

    /// Time that may have passed since `earlier`: more than is certain where the machine was off.
    pub fn gap_since(self, earlier: Self) -> SignedDuration {
        self.since(earlier).max(self.at.duration_since(earlier.at))
    }

    /// The moment so much later; as late as can be where that has no name.
    #[must_use]
    pub fn later(self, by: SignedDuration) -> Self {
        let at = self.at.saturating_add(by).unwrap_or(Timestamp::MAX);
        Self { at, steady: self.steady.saturating_add(by) }
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    /// By the steady clock.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.steady.cmp(&other.steady).then_with(|| self.at.cmp(&other.at))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Change => "",
            Self::Gap => ", from the end of a gap in observation that was too long to count",
            Self::Step => ", from when the machine's clock was set back",
        })
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
