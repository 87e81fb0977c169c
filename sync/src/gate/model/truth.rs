//! The oracle: it knows the real time of everything, and no word of the product's own clocks.

use super::{GAP, QUIET, READ, WAIT};

/// What the oracle knows, in real minutes.
#[derive(Default)]
pub(super) struct Truth {
    /// Looks that told something: when, whether good, and the TTL of what was wrong.
    pub(super) looks: Vec<(i64, bool, i64)>,
    /// The last look of any kind told nothing.
    pub(super) blind: bool,
    /// When the last complete pass began.
    pub(super) pass: Option<i64>,
    /// Arrivals at the source INBOX.
    pub(super) arrivals: Vec<i64>,
    /// Times during which some server gave another record.
    pub(super) wrong: Vec<(i64, i64)>,
}

impl Truth {
    /// Whether the gate may be open at this moment; else why not.
    pub(super) fn allows(&self, now: i64) -> Result<(), String> {
        let Some(&(end, true, _)) = self.looks.last() else {
            return Err("the last look was not good".into());
        };
        if self.blind {
            return Err("the last look told nothing".into());
        }
        if now - end > GAP {
            return Err(format!("nobody has looked since {end}"));
        }
        let mut start = end;
        let mut first = self.looks.len() - 1;
        for (index, &(at, good, _)) in self.looks.iter().enumerate().rev() {
            if !good || start - at > GAP {
                break;
            }
            (start, first) = (at, index);
        }
        if end - start < WAIT {
            return Err(format!("held from {start} to {end} only"));
        }
        for (index, &(at, good, ttl)) in self.looks[..first].iter().enumerate() {
            let next = self.looks.get(index + 1).map_or(at, |next| next.0);
            if !good && end - next < ttl {
                return Err(format!("the record of {at} may be cached for {ttl} from {next}"));
            }
        }
        if let Some((from, to)) = self.wrong.iter().find(|(from, to)| *to.min(&now) - *from.max(&start) > GAP)
        {
            return Err(format!("the record was wrong from {from} to {to}"));
        }
        let Some(pass) = self.pass else { return Err("no pass".into()) };
        if pass <= start || pass < start + WAIT + QUIET {
            return Err(format!("the last pass was at {pass}, the run began at {start}"));
        }
        if now - pass > READ {
            return Err(format!("nobody has read the source since {pass}"));
        }
        match self.arrivals.iter().find(|arrived| **arrived < pass && pass - **arrived < QUIET) {
            Some(arrived) => Err(format!("{arrived} was a straggler, the last pass was at {pass}")),
            None => Ok(()),
        }
    }
}
