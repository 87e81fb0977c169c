//! What was seen of a domain, in stretches during which nothing changed: short enough to be shown, and the measure by
//! which recorded observations are thinned out.
//!
//! Of each stretch the first and the last observation stay in the ledger; those between say nothing that these two do
//! not. A domain that changes all the time keeps its last [`MOST`] stretches.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mailferry_dnscheck::{Observation, Outcome, Role, Verdict};
use serde::{Deserialize, Serialize};

/// How many stretches are kept.
pub const MOST: usize = 100;
/// How much of what servers said is kept of a stretch, characters.
const LONGEST: usize = 600;

/// Time during which every observation was the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The first observation.
    pub from: Timestamp,
    /// The last one so far.
    pub to: Timestamp,
    /// How many there were.
    pub looks: u64,
    /// What all of them concluded.
    pub verdict: Verdict,
    /// What the servers said.
    pub says: String,
}

/// A domain's stretches, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Oldest first.
    pub stretches: Vec<Stretch>,
}

impl Timeline {
    /// Takes an observation in; returns the moments of those that need not be kept any longer.
    pub fn add(&mut self, observation: &Observation) -> Vec<Timestamp> {
        let (at, verdict, says) = (observation.at, observation.verdict, says(observation));
        let mut spare = Vec::new();
        match self.stretches.last_mut() {
            Some(last) if last.verdict == verdict && last.says == says && last.to <= at => {
                if last.to != last.from && last.to != at {
                    spare.push(last.to);
                }
                last.to = at;
                last.looks += 1;
            }
            _ => self.stretches.push(Stretch { from: at, to: at, looks: 1, verdict, says }),
        }
        while self.stretches.len() > MOST {
            let oldest = self.stretches.remove(0);
            spare.extend([oldest.from, oldest.to]);
        }
        spare
    }
}

/// What the servers said, servers that agree together. The TTL is told where it is the zone's own: a resolver's runs down.
fn says(observation: &Observation) -> String {
    let mut by_answer: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for answer in &observation.answers {
        let said = match (&answer.outcome, answer.role, answer.ttl) {
            (Outcome::Failed(_), _, _) | (_, Role::Resolver, _) | (_, _, None) => answer.outcome.to_string(),
            (outcome, Role::Authoritative, Some(ttl)) => format!("{outcome} (TTL {ttl} s)"),
        };
        by_answer.entry(said).or_default().push(&answer.server);
    }
    let mut parts = Vec::new();
    for (said, mut servers) in by_answer {
        servers.sort_unstable();
        servers.dedup();
        parts.push(format!("{}: {said}", servers.join(", ")));
    }
    let mut text = parts.join("; ");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(second: i64, host: &str, ttl: u32) -> Observation {
        let answer = |role: &str, server: &str, ttl: u32| {
            serde_json::json!({
                "role": role, "server": server, "address": null, "name": "contoso.edu", "transport": "udp",
                "authoritative": true, "ttl": ttl,
                "outcome": {"records": [{"preference": 10, "host": host, "ttl": ttl}]},
            })
        };
        serde_json::from_value(serde_json::json!({
            "domain": "contoso.edu", "at": Timestamp::from_second(second).unwrap(), "verdict": "source", "reasons": [],
            "answers": [answer("authoritative", "ns1", ttl), answer("resolver", "1.1.1.1", second as u32)],
        }))
        .unwrap()
    }

    #[test]
    fn what_stays_the_same_is_one_stretch() {
        let mut timeline = Timeline::default();
        let mut kept = std::collections::BTreeSet::new();
        for second in 0..1_000 {
            let ttl = if second < 500 { 3600 } else { 300 };
            let observation = observation(second, "mail.contoso.edu", ttl);
            kept.insert(observation.at);
            for spare in timeline.add(&observation) {
                assert!(kept.remove(&spare), "{spare} was not kept");
            }
        }
        let [before, after] = &timeline.stretches[..] else { panic!("{timeline:?}") };
        assert_eq!((before.looks, after.looks), (500, 500));
        assert_eq!(before.says, "1.1.1.1: 10 mail.contoso.edu; ns1: 10 mail.contoso.edu (TTL 3600 s)");
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [before.from, before.to, after.from, after.to]);
    }

    #[test]
    fn what_changes_all_the_time_stays_bounded() {
        let mut timeline = Timeline::default();
        let mut kept = std::collections::BTreeSet::new();
        for second in 0..1_000 {
            let observation =
                observation(second, if second % 2 == 0 { "a.example" } else { "b.example" }, 60);
            kept.insert(observation.at);
            timeline.add(&observation).iter().for_each(|spare| {
                kept.remove(spare);
            });
        }
        assert_eq!((timeline.stretches.len(), kept.len()), (MOST, MOST));
    }
}
