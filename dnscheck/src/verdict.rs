//! From answers to a verdict. Pure.
//!
//! A host counts as cut over if it is the pinned one, is accepted by the operator, or has one of the forms that
//! Microsoft gives to Office 365 and is not known as the source's. Then, in this order:
//! 1. Whoever shows a host that does not count, or no host, is believed, whatever others failed to say:
//!    `source`, `none`, `null`, or `mixed` when others say otherwise.
//! 2. Servers that name different hosts make it `mixed`, even if all hosts count. Preferences may differ.
//! 3. Whoever had to be heard and was not makes it `unknown`: every address of every authoritative server, and
//!    at least one resolver if there are any. The one pardon: an address to which this machine has no route
//!    (no IPv6), if the same server answered at another address.
//! 4. What is left is `office365`, or `filtered` when an accepted host is among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Answer, Failure, HostClass, HostName, Outcome, Policy, Role};

/// Where a domain's mail goes, on the evidence of one observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// To hosts that are neither Office 365 nor accepted.
    Source,
    /// Partly to Office 365 and partly elsewhere, or servers disagree.
    Mixed,
    /// To Office 365 only, and everybody who was asked says so.
    Office365,
    /// To accepted third-party filters, perhaps beside Office 365, and everybody says so.
    Filtered,
    /// There is no MX record.
    None,
    /// A null MX: the domain takes no mail.
    Null,
    /// A server that must be heard was not: nothing may be concluded.
    Unknown,
}

/// A verdict and the sentences that justify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The conclusion.
    pub verdict: Verdict,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// The highest TTL, in seconds, of what leads mail elsewhere: for so long caches may hold it once it is gone.
    pub other_ttl: Option<u32>,
}

/// What one answer says about where mail goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Hosts(BTreeSet<HostName>),
    NullMx,
    NoMx,
    NoSuchName,
}

/// Judges one observation's answers.
pub fn rule(answers: &[Answer], policy: &Policy) -> Ruling {
    let mut heard: BTreeMap<Says, Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        if let Some(says) = Says::of(&answer.outcome) {
            heard.entry(says).or_default().push(answer);
        }
    }
    let unheard = unheard(answers);
    let hosts = heard.keys().filter_map(Says::hosts).flatten();
    let classes: BTreeMap<&HostName, HostClass> = hosts.map(|host| (host, policy.classify(host))).collect();
    let counting = classes.values().any(|class| class.counts());
    let other =
        classes.values().any(|class| !class.counts()) || heard.keys().any(|says| says.hosts().is_none());

    let verdict = match (counting, other) {
        (false, false) => Verdict::Unknown,
        (_, true) if heard.len() > 1 => Verdict::Mixed,
        (true, true) => Verdict::Mixed,
        (false, true) => match heard.keys().next() {
            Some(Says::NullMx) => Verdict::Null,
            Some(Says::NoMx | Says::NoSuchName) => Verdict::None,
            Some(Says::Hosts(_)) | None => Verdict::Source,
        },
        (true, false) if heard.len() > 1 => Verdict::Mixed,
        (true, false) if !unheard.is_empty() => Verdict::Unknown,
        (true, false) if classes.values().any(|class| *class == HostClass::Accepted) => Verdict::Filtered,
        (true, false) => Verdict::Office365,
    };

    let mut reasons = Vec::new();
    if heard.is_empty() {
        reasons.push("nobody answered".to_owned());
    }
    let all = if heard.len() == 1 { "all that answered, " } else { "" };
    reasons.extend(heard.iter().map(|(says, by)| format!("{all}{}: {says}", names(by))));
    reasons.extend(classes.iter().map(|(host, class)| format!("{host} {class}")));
    reasons.extend(unheard);
    let other_ttl = answers.iter().filter_map(|answer| other_ttl(answer, policy)).max();
    Ruling { verdict, reasons, other_ttl }
}

fn other_ttl(answer: &Answer, policy: &Policy) -> Option<u32> {
    match &answer.outcome {
        Outcome::Records(records) => {
            let other = records.iter().filter(|record| !policy.classify(&record.host).counts());
            other.map(|record| record.ttl).max()
        }
        Outcome::NullMx | Outcome::NoMx | Outcome::NoSuchName => answer.ttl,
        Outcome::Alias(_) | Outcome::Failed(_) => None,
    }
}

/// Who had to be heard and was not, a sentence each.
fn unheard(answers: &[Answer]) -> Vec<String> {
    let role = |role| answers.iter().filter(move |answer| answer.role == role);
    let mut unheard = Vec::new();
    if role(Role::Authoritative).next().is_none() {
        unheard.push("no authoritative server was asked".to_owned());
    }
    for answer in role(Role::Authoritative).filter(|answer| Says::of(&answer.outcome).is_none()) {
        let pardoned = answer.outcome == Outcome::Failed(Failure::NoRoute)
            && role(Role::Authoritative)
                .any(|other| other.server == answer.server && Says::of(&other.outcome).is_some());
        if !pardoned {
            unheard.push(format!("not heard, and needed: {answer}"));
        }
    }
    let resolvers = role(Role::Resolver).count();
    if resolvers > 0 && role(Role::Resolver).all(|answer| Says::of(&answer.outcome).is_none()) {
        unheard.push(format!("none of {resolvers} resolvers gave an answer"));
    }
    unheard
}

fn names(answers: &[&Answer]) -> String {
    let names: BTreeSet<&str> = answers.iter().map(|answer| answer.server.as_str()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

impl Says {
    fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Records(records) => {
                Some(Self::Hosts(records.iter().map(|mx| mx.host.clone()).collect()))
            }
            Outcome::NullMx => Some(Self::NullMx),
            Outcome::NoMx => Some(Self::NoMx),
            Outcome::NoSuchName => Some(Self::NoSuchName),
            // An alias that the checker could not follow to its end says nothing about mail.
            Outcome::Alias(_) | Outcome::Failed(_) => None,
        }
    }

    fn hosts(&self) -> Option<&BTreeSet<HostName>> {
        match self {
            Self::Hosts(hosts) => Some(hosts),
            Self::NullMx | Self::NoMx | Self::NoSuchName => None,
        }
    }
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(hosts) => {
                let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
                f.write_str(&hosts.join(", "))
            }
            Self::NullMx => f.write_str("null MX, the domain takes no mail"),
            Self::NoMx => f.write_str("no MX, mail goes to the domain's own address, if anywhere"),
            Self::NoSuchName => f.write_str("no such name"),
        }
    }
}

impl Verdict {
    /// Whether this verdict keeps the cutover clock running.
    pub fn is_cut_over(self) -> bool {
        matches!(self, Self::Office365 | Self::Filtered)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Mixed => "mixed",
            Self::Office365 => "office365",
            Self::Filtered => "filtered",
            Self::None => "none",
            Self::Null => "null",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests;
