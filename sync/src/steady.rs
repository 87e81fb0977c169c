//! Time that nobody can set: by it the gate counts, whatever happens to the wall clock.
//!
//! It is the time since the ledger's beginning as far as it is known to have passed. Within one start of the machine the
//! kernel counts it (`/proc/uptime`: it includes sleep and knows no steps). Across a restart of the machine nobody counted:
//! then the time since that restart is certain, and the rest is left out. A note in the ledger, the anchor, ties the two
//! together. It is written with every fact that is judged by this time, so no such fact is later than the anchor.

use std::sync::OnceLock;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use mailferry_dnscheck::Moment;
use mailferry_ledger::{Change, Ledger, ReadError};
use serde::{Deserialize, Serialize};

/// The fact that holds the anchor.
const ANCHOR: &str = "steady";

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uptime {
    /// Which start of the machine.
    pub(crate) boot: String,
    /// Time since then.
    pub(crate) up: SignedDuration,
}

/// A moment of both: the kernel's time and ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    uptime: Uptime,
    steady: SignedDuration,
}

impl Anchor {
    /// The anchor at this uptime, reckoned from the last one.
    pub(crate) fn reckon(last: Option<&Self>, uptime: Uptime) -> Self {
        let steady = match last {
            None => uptime.up,
            Some(last) if last.uptime.boot == uptime.boot => {
                let passed = uptime.up.saturating_sub(last.uptime.up).max(SignedDuration::ZERO);
                last.steady.saturating_add(passed)
            }
            Some(last) => last.steady.saturating_add(uptime.up),
        };
        Self { uptime, steady }
    }

    #[cfg(test)]
    pub(crate) fn steady(&self) -> SignedDuration {
        self.steady
    }
}

/// This moment.
pub(crate) fn now(ledger: &Ledger) -> Result<Moment, ReadError> {
    Ok(Moment { at: Timestamp::now(), steady: anchor(ledger)?.steady })
}

/// This moment, and the anchor that must be in the ledger no later than any fact that names it.
pub(crate) fn stamp(ledger: &Ledger, change: &mut Change) -> Result<Moment, ReadError> {
    let anchor = anchor(ledger)?;
    if let Ok(json) = serde_json::to_string(&anchor) {
        change.put_fact(ANCHOR, json);
    }
    Ok(Moment { at: Timestamp::now(), steady: anchor.steady })
}

fn anchor(ledger: &Ledger) -> Result<Anchor, ReadError> {
    // What does not read was not written by us; what was judged by it is then in the future, and counts for nothing.
    let last = ledger.fact(ANCHOR)?.and_then(|json| serde_json::from_str(&json).ok());
    Ok(Anchor::reckon(last.as_ref(), uptime()))
}

/// Where the kernel does not tell, this program's own run is all that is certain.
fn uptime() -> Uptime {
    let read = |file: &str| std::fs::read_to_string(file).ok();
    let kernel = || {
        let boot = read("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let seconds: f64 = read("/proc/uptime")?.split(' ').next()?.parse().ok()?;
        Some(Uptime { boot, up: SignedDuration::try_from_secs_f64(seconds).ok()? })
    };
    kernel().unwrap_or_else(|| {
        static RUN: OnceLock<(String, Instant)> = OnceLock::new();
        let (boot, began) = RUN.get_or_init(|| {
            let mut dice = [0; 16];
            // Without random numbers the moment of the start tells this run from others.
            let _ = getrandom::fill(&mut dice);
            let boot = format!("run-{:x}-{}", u128::from_be_bytes(dice), Timestamp::now());
            (boot, Instant::now())
        });
        let up = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::ZERO);
        Uptime { boot: boot.clone(), up }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uptime_of(boot: &str, seconds: i64) -> Uptime {
        Uptime { boot: boot.into(), up: SignedDuration::from_secs(seconds) }
    }

    #[test]
    fn only_what_certainly_passed_is_counted() {
        let mut anchor = Anchor::reckon(None, uptime_of("a", 100));
        let mut seconds = |boot, up| {
            anchor = Anchor::reckon(Some(&anchor), uptime_of(boot, up));
            anchor.steady.as_secs()
        };
        assert_eq!(seconds("a", 160), 160);
        // A restart: off for hours, up for ten seconds.
        assert_eq!(seconds("b", 10), 170);
        assert_eq!(seconds("b", 70), 230);
        // A kernel that goes back is not believed.
        assert_eq!(seconds("b", 60), 230);
    }

    #[tokio::test]
    async fn the_kernel_tells_and_the_ledger_remembers() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap().ledger;
        let mut change = ledger.change();
        let first = stamp(&ledger, &mut change).unwrap();
        change.commit().await.unwrap();
        let second = now(&ledger).unwrap();
        assert!(second >= first && second.since(first) < SignedDuration::from_hours(1));
        assert_eq!(uptime().boot, uptime().boot);
    }
}
