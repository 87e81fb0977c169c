//! Of those who answered, those who did not, and of signatures.

use std::collections::{BTreeMap, BTreeSet};

use super::{Advice, AdviceKind, Case, Signed};
use crate::{Answer, Failure, HostName, Outcome, Role};

/// What an answer says, for comparing: hosts, without TTLs that differ from cache to cache.
fn says(answer: &Answer) -> Option<Option<BTreeSet<(u16, &HostName)>>> {
    match &answer.outcome {
        Outcome::Records(records) => {
            Some(Some(records.iter().map(|record| (record.preference, &record.host)).collect()))
        }
        Outcome::NullMx => Some(Some(BTreeSet::new())),
        Outcome::NoMx | Outcome::NoSuchName => Some(None),
        Outcome::Alias(_) | Outcome::Failed(_) => None,
    }
}

/// A resolver against authoritative servers that are all of one mind.
pub(super) fn outside(case: &Case<'_>) -> Vec<Advice> {
    let role = |role| case.answers.iter().filter(move |answer| answer.role == role);
    let minds: BTreeSet<_> = role(Role::Authoritative).filter_map(says).collect();
    let Some(inside) = minds.first().filter(|_| minds.len() == 1) else { return Vec::new() };
    let different = role(Role::Resolver).filter(|answer| says(answer).is_some_and(|said| said != *inside));
    different
        .map(|answer| {
            let (server, outcome) = (&answer.server, &answer.outcome);
            let text = format!("resolver {server} says `{outcome}`, and all authoritative servers say otherwise");
            let next = match answer.ttl {
                // A cache never answers so.
                _ if answer.authoritative => {
                    "it answers from a zone of its own (split horizon): change the MX there too, or ask a resolver outside".to_owned()
                }
                Some(ttl) => format!(
                    "its cache lets go by {}; if it says so still, it sees another view of the zone (split horizon)",
                    case.after(ttl)
                ),
                None => "ask again; if it says so still, it sees another view of the zone (split horizon)".to_owned(),
            };
            Advice::new(AdviceKind::Outside, text, next)
        })
        .collect()
}

/// A signed zone can be broken by the very change of the MX, for those who validate only.
pub(super) fn signed(case: &Case<'_>) -> Vec<Advice> {
    let say = |text: &str, next: &str| vec![Advice::new(AdviceKind::Dnssec, text, next)];
    let microsoft = HostName::from("mx.microsoft");
    let dane = case.hosts().iter().any(|host| host.is_below(&microsoft));
    match case.facts.signed {
        Some(Signed::Broken) => say(
            "the parent has a DS record, and the zone no DNSKEY: validating resolvers answer SERVFAIL",
            "sign the zone again, or have the registrar remove the DS record",
        ),
        Some(Signed::Chained) if case.verdict.is_cut_over() => Vec::new(),
        Some(Signed::Chained) => say(
            "the zone is signed (DS at the parent): an MX that is changed and not signed again fails for all who validate",
            "change it where the signing is done, and ask a validating resolver after it; \
             before moving the zone to other servers have the DS record removed and wait for its TTL. \
             DANE for incoming mail needs an mx.microsoft host (Enable-DnssecForVerifiedDomain)",
        ),
        Some(Signed::Island) => say(
            "the zone is signed, and the parent has no DS record: nobody can check its signatures",
            "have the registrar enter the DS record, or leave the zone unsigned; the cutover needs neither",
        ),
        Some(Signed::Not) if dane => say(
            "the MX is below mx.microsoft, and the zone is not signed: DANE has no effect",
            "sign the zone if you want DANE; mail arrives without it",
        ),
        Some(Signed::Not) | None => Vec::new(),
    }
}

pub(super) fn delegation(case: &Case<'_>) -> Vec<Advice> {
    let (delegated, claimed) = (&case.facts.delegated, &case.facts.claimed);
    if delegated.is_empty() || claimed.is_empty() || delegated == claimed {
        return Vec::new();
    }
    let list = |set: &BTreeSet<HostName>| set.iter().map(HostName::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("the parent names {}; the zone names {}", list(delegated), list(claimed));
    let next = "make them the same, at the registrar or in the zone: each of them is asked by somebody";
    vec![Advice::new(AdviceKind::Delegation, text, next)]
}

/// Who failed, with what can be done. Whether it keeps the verdict open is among the reasons.
pub(super) fn failed(case: &Case<'_>) -> Vec<Advice> {
    let mut advice = Vec::new();
    for answer in case.answers {
        let Outcome::Failed(failure) = &answer.outcome else { continue };
        let next = match (answer.role, failure) {
            (Role::Resolver, Failure::Code(code))
                if code == "SERVFAIL"
                    && matches!(case.facts.signed, Some(Signed::Chained | Signed::Broken)) =>
            {
                "the zone is signed: look for expired or missing signatures, which the servers themselves do not notice"
            }
            (Role::Resolver, _) => "ask again; take it from `dns.resolvers` if it stays so",
            (Role::Authoritative, Failure::NoRoute) => {
                "ask from a machine with such an address too: nobody asked there"
            }
            (Role::Authoritative, Failure::Lame | Failure::Code(_)) => {
                "have it load the zone, or take it from the NS records at the registrar and in the zone"
            }
            (Role::Authoritative, Failure::Timeout | Failure::Silent | Failure::Io(_)) => {
                "bring it back, or take it from the NS records at the registrar and in the zone; \
                 is port 53 open from here, UDP and TCP?"
            }
            (Role::Authoritative, Failure::Malformed(_)) => {
                "look at the server, and at what is between here and it"
            }
            (Role::Authoritative, Failure::NoAddress | Failure::Walk(_)) => {
                "correct the delegation at the registrar, or check the domain's spelling"
            }
        };
        advice.push(Advice::new(AdviceKind::Server, answer.to_string(), next));
    }
    advice
}

/// Different serials: who is behind, by RFC 1982 where that can be told.
pub(super) fn versions(case: &Case<'_>) -> Vec<Advice> {
    let mut serials: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for answer in case.answers {
        if let Some(serial) = answer.serial {
            serials.entry(serial).or_default().insert(&answer.server);
        }
    }
    if serials.len() < 2 {
        return Vec::new();
    }
    let list = |servers: &BTreeSet<&str>| servers.iter().copied().collect::<Vec<_>>().join(", ");
    let each: Vec<_> =
        serials.iter().map(|(serial, servers)| format!("{} at {serial}", list(servers))).collect();
    let is_newest = |one: u32| serials.keys().all(|&other| is_behind_or_same(other, one));
    let newest = serials.keys().copied().find(|&serial| is_newest(serial));
    let behind: BTreeSet<&str> = serials
        .iter()
        .filter(|(serial, _)| newest.is_some_and(|newest| **serial != newest))
        .flat_map(|(_, servers)| servers.iter().copied())
        .collect();
    let next = match behind.is_empty() {
        true => "find out which of them is right, and have the others transfer it".to_owned(),
        false => format!(
            "have {} transfer the zone; if it stays behind, look at NOTIFY and at who may transfer",
            list(&behind)
        ),
    };
    let text = format!("the servers hold different versions of the zone: {}", each.join("; "));
    vec![Advice::new(AdviceKind::Delegation, text, next)]
}

fn is_behind_or_same(one: u32, other: u32) -> bool {
    other.wrapping_sub(one) < 1 << 31
}
