//! What the operator should look at beside the verdict. Pure; `gather` fetches the facts.
//!
//! `mx` speaks of the MX records and their change, `senders` of SPF and autodiscover, `servers` of those who answered
//! and of signatures.

mod mx;
mod senders;
mod servers;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::spf::Reach;
use crate::{Answer, HostName, MxRecord, Outcome, Policy, Role, Verdict};

/// One thing to look at. Never changes a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What it is about.
    pub kind: AdviceKind,
    /// What was found, with the names and figures that it rests on.
    pub text: String,
    /// What to do next.
    #[serde(default)]
    pub next: String,
}

/// What a piece of advice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    /// A TTL that makes the change slow.
    Ttl,
    /// An MX record that should be deleted.
    LeftoverMx,
    /// The MX target itself: an alias, missing, a look-alike, perhaps another tenant's.
    MxTarget,
    /// No MX record, but an address at which mail is delivered all the same.
    ImplicitMx,
    /// A resolver that says other than all authoritative servers: a cache, or another view of the zone.
    Outside,
    /// The domain's SPF record.
    Spf,
    /// The `autodiscover` name.
    Autodiscover,
    /// Signatures: what a signed zone needs, or what is wrong with them.
    Dnssec,
    /// Parent and zone, or servers among themselves, do not say the same.
    Delegation,
    /// A server that did not answer, or not well.
    Server,
}

/// What was learned beside the MX answers. Absent facts give no advice.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The domain's TXT records, if the question was answered.
    pub(crate) texts: Option<Vec<String>>,
    /// What the domain's SPF record leads to, if it has just one.
    pub(crate) spf: Option<Reach>,
    /// What the `autodiscover` name is, if the question was answered.
    pub(crate) autodiscover: Option<Target>,
    /// What each MX host is, where that was answered.
    pub(crate) targets: BTreeMap<HostName, Target>,
    /// What the domain itself is, asked where it has no MX.
    pub(crate) itself: Option<Target>,
    /// Whether the zone is signed.
    pub(crate) signed: Option<Signed>,
    /// Name servers that the parent names.
    pub(crate) delegated: BTreeSet<HostName>,
    /// Name servers that the zone itself names.
    pub(crate) claimed: BTreeSet<HostName>,
}

/// What a host name is in the DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// It has addresses.
    Host,
    /// It is an alias of another name.
    Alias(HostName),
    /// It does not exist, or has no address.
    Missing,
}

/// How far a zone is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Neither does the parent vouch for it nor has it keys.
    Not,
    /// The parent vouches for it (DS), and it has keys.
    Chained,
    /// It has keys, for which the parent does not vouch.
    Island,
    /// The parent vouches for it, and it has no keys: validating resolvers refuse it.
    Broken,
}

/// What advice rests on.
#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    domain: &'a HostName,
    at: Timestamp,
    answers: &'a [Answer],
    verdict: Verdict,
    policy: &'a Policy,
    facts: &'a Facts,
}

/// All advice for one observation, in a fixed order.
pub(crate) fn advise(
    domain: &HostName,
    at: Timestamp,
    answers: &[Answer],
    verdict: Verdict,
    policy: &Policy,
    facts: &Facts,
) -> Vec<Advice> {
    let case = Case { domain, at, answers, verdict, policy, facts };
    [
        mx::ttl(&case),
        mx::leftovers(&case),
        mx::targets(&case),
        mx::implicit(&case),
        servers::outside(&case),
        senders::spf(&case),
        senders::autodiscover(&case),
        servers::signed(&case),
        servers::delegation(&case),
        servers::failed(&case),
        servers::versions(&case),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Advice {
    fn new(kind: AdviceKind, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind, text: text.into(), next: next.into() }
    }
}

impl Case<'_> {
    /// All MX records that servers of these roles gave, each once, with its highest TTL.
    fn records(&self, roles: &[Role]) -> Vec<MxRecord> {
        let mut records: BTreeMap<(u16, HostName), MxRecord> = BTreeMap::new();
        for answer in self.answers.iter().filter(|answer| roles.contains(&answer.role)) {
            if let Outcome::Records(given) = &answer.outcome {
                for mx in given {
                    let kept = records.entry((mx.preference, mx.host.clone())).or_insert_with(|| mx.clone());
                    kept.ttl = kept.ttl.max(mx.ttl);
                }
            }
        }
        records.into_values().collect()
    }

    fn hosts(&self) -> BTreeSet<HostName> {
        self.records(&[Role::Authoritative, Role::Resolver]).into_iter().map(|record| record.host).collect()
    }

    /// The moment this many seconds after the check; whole seconds, as people read it.
    fn after(&self, seconds: u32) -> String {
        match self.at.checked_add(jiff::SignedDuration::from_secs(seconds.into())) {
            Ok(moment) => format!("{moment:.0}"),
            Err(_) => "the end of time".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
