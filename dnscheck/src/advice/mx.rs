//! Of the MX records and of their change.

use super::{Advice, AdviceKind, Case, Target};
use crate::{HostClass, HostName, Outcome, Policy, Role, Verdict};

/// Microsoft's own advice for every record of the cutover, in seconds.
const GOOD_TTL: u32 = 3600;

/// Before the change: whoever caches a record today holds it as long as today's TTL says.
pub(super) fn ttl(case: &Case<'_>) -> Vec<Advice> {
    if case.verdict != Verdict::Source {
        return Vec::new();
    }
    let longest = |role| {
        let given = case.answers.iter().filter(move |answer| {
            answer.role == role && matches!(answer.outcome, Outcome::Records(_) | Outcome::Alias(_))
        });
        given.filter_map(|answer| answer.ttl).max()
    };
    let Some(ttl) = longest(Role::Authoritative) else { return Vec::new() };
    let cached = longest(Role::Resolver).unwrap_or(0);
    if ttl > GOOD_TTL {
        let earliest = case.after(ttl.max(cached));
        return vec![Advice::new(
            AdviceKind::Ttl,
            format!("the MX records' TTL is {ttl} s: so long caches keep the old ones after the change"),
            format!(
                "lower it to {GOOD_TTL} s now; the MX may then be changed from {earliest} on, later if lowered later"
            ),
        )];
    }
    if cached > ttl {
        return vec![Advice::new(
            AdviceKind::Ttl,
            format!(
                "the MX records' TTL is {ttl} s, but a resolver holds them for {cached} s more: it was lowered not long ago"
            ),
            format!("change the MX from {} on, when that is over", case.after(cached)),
        )];
    }
    Vec::new()
}

pub(super) fn leftovers(case: &Case<'_>) -> Vec<Advice> {
    if case.verdict != Verdict::Mixed {
        return Vec::new();
    }
    // What only a cache still gives cannot be deleted.
    let mut left = case.records(&[Role::Authoritative]);
    left.retain(|record| !case.policy.classify(&record.host).counts());
    left.into_iter()
        .map(|record| {
            Advice::new(
                AdviceKind::LeftoverMx,
                format!(
                    "the MX record `{} {}` is left: mail may still go there",
                    record.preference, record.host
                ),
                format!("delete it everywhere; caches may use it for {} s after that", record.ttl),
            )
        })
        .collect()
}

pub(super) fn targets(case: &Case<'_>) -> Vec<Advice> {
    let domain = case.domain;
    let mut advice = Vec::new();
    let mut say = |text: String, next: String| advice.push(Advice::new(AdviceKind::MxTarget, text, next));
    for (host, target) in &case.facts.targets {
        match target {
            Target::Host => {}
            Target::Alias(to) => say(
                format!(
                    "MX target {host} is an alias of {to}, which RFC 2181 forbids: some senders deliver nothing"
                ),
                format!("name {to} itself in the MX record, if that is where mail shall go"),
            ),
            Target::Missing => say(
                format!("MX target {host} has no address: no mail can arrive there"),
                "correct the name in the MX record, or give the host its address".to_owned(),
            ),
        }
    }
    let unpinned = case.policy.expect.is_none();
    let mut derivable = true;
    for host in case.hosts() {
        let class = case.policy.classify(&host);
        if class == HostClass::Foreign && resembles(&host) {
            say(
                format!("MX target {host} resembles Office 365 and is none of its names"),
                "compare it, letter by letter, with the MX that the Microsoft 365 admin centre shows"
                    .to_owned(),
            );
        }
        if class != HostClass::Office365 || !unpinned {
            continue;
        }
        if host.is_below(&HostName::from("mx.microsoft")) {
            derivable = false;
            say(
                format!(
                    "{host} cannot be derived from {domain}: by its name alone it may be another tenant's"
                ),
                COMPARE.to_owned(),
            );
        } else if looks_foreign(domain, &host, case.policy) {
            say(
                format!(
                    "{host} does not look like {domain}'s own Office 365 host: it may be another tenant's"
                ),
                COMPARE.to_owned(),
            );
        }
        if host.is_below(&HostName::from("mail.eo.outlook.com")) {
            say(
                format!("{host} is of a form that Microsoft gave out before 2013"),
                "move to the MX that the Microsoft 365 admin centre shows today".to_owned(),
            );
        }
    }
    if case.verdict == Verdict::Source && unpinned && derivable {
        say(
            format!(
                "{domain}'s MX at Office 365 cannot be derived from its name (new ones are below mx.microsoft)"
            ),
            TAKE.to_owned(),
        );
    }
    advice
}

/// Where the truth about a tenant's host is.
const TAKE: &str = "take it from the Microsoft 365 admin centre (Graph: the domain's serviceConfigurationRecords), \
     and set `dns.expect`";
const COMPARE: &str = "compare it with the Microsoft 365 admin centre (Graph: the domain's \
     serviceConfigurationRecords), and set `dns.expect`";

/// Microsoft builds a tenant's host from the domain (`contoso.edu` -> `contoso-edu`, with or without more behind).
/// Hosts that do not begin so may be right, since the rule has exceptions; but they may be another tenant's.
fn looks_foreign(domain: &HostName, host: &HostName, policy: &Policy) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    // Long domains are cut, so only the beginning is compared.
    let domain: String = plain(domain.as_str()).chars().take(12).collect();
    policy.classify(host) == HostClass::Office365 && !plain(host.first_label()).starts_with(&domain)
}

/// Whether somebody who reads the name would take it for Office 365.
fn resembles(host: &HostName) -> bool {
    ["protection.outlook", "mx.microsoft", "protection.office365", "eo.outlook", "mail.protection."]
        .iter()
        .any(|part| host.as_str().contains(part))
}

pub(super) fn implicit(case: &Case<'_>) -> Vec<Advice> {
    let without = case.answers.iter().any(|answer| answer.outcome == Outcome::NoMx);
    if !without || !matches!(case.facts.itself, Some(Target::Host)) {
        return Vec::new();
    }
    let domain = case.domain;
    vec![Advice::new(
        AdviceKind::ImplicitMx,
        format!(
            "{domain} has no MX but an address: mail is delivered there all the same (RFC 5321, section 5.1)"
        ),
        "set the MX record; what that address accepts meanwhile is mail at the source".to_owned(),
    )]
}
