//! What the operator should look at beside the verdict. Pure; the checker gathers the facts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Answer, Failure, HostClass, HostName, MxRecord, Outcome, Policy, Role, Verdict};

/// Microsoft's own advice for every record of the cutover, in seconds.
const GOOD_TTL: u32 = 3600;

/// One thing to look at. Never changes a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What it is about.
    pub kind: AdviceKind,
    /// The advice, with the names and figures that it rests on.
    pub text: String,
}

/// What a piece of advice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    /// A TTL that makes the change slow.
    Ttl,
    /// An MX record that should be deleted.
    LeftoverMx,
    /// The MX target itself: an alias, missing, perhaps another tenant's.
    MxTarget,
    /// The domain's SPF record.
    Spf,
    /// The `autodiscover` name.
    Autodiscover,
    /// Parent and zone, or servers among themselves, do not say the same.
    Delegation,
    /// A server that did not answer and was not needed.
    Server,
}

/// What was learned beside the MX answers. Absent facts give no advice.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The domain's TXT records, if the question was answered.
    pub(crate) texts: Option<Vec<String>>,
    /// What the `autodiscover` name is, if the question was answered.
    pub(crate) autodiscover: Option<Target>,
    /// What each MX host is, where that was answered.
    pub(crate) targets: BTreeMap<HostName, Target>,
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

/// Names that belong to one of Microsoft's clouds.
struct Cloud {
    mx: &'static str,
    spf: &'static str,
    autodiscover: &'static [&'static str],
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        mx: "office365.us",
        spf: "spf.protection.office365.us",
        autodiscover: &["autodiscover.office365.us", "autodiscover-dod.office365.us"],
    },
    Cloud {
        mx: "partner.outlook.cn",
        spf: "spf.protection.partner.outlook.cn",
        autodiscover: &["autodiscover.partner.outlook.cn"],
    },
    Cloud { mx: "", spf: "spf.protection.outlook.com", autodiscover: &["autodiscover.outlook.com"] },
];

/// All advice for one observation, in a fixed order.
pub(crate) fn advise(
    domain: &HostName,
    answers: &[Answer],
    verdict: Verdict,
    policy: &Policy,
    facts: &Facts,
) -> Vec<Advice> {
    let records = distinct(answers);
    let mut advice = Vec::new();
    let mut say = |kind, text: String| advice.push(Advice { kind, text });

    if !verdict.is_cut_over()
        && let Some(ttl) = authoritative_ttl(answers).filter(|ttl| *ttl > GOOD_TTL)
    {
        say(
            AdviceKind::Ttl,
            format!(
                "the MX records' TTL is {ttl} s: lower it to {GOOD_TTL} at least {ttl} s before the switch"
            ),
        );
    }
    if verdict == Verdict::Mixed {
        for MxRecord { preference, host, .. } in
            records.iter().filter(|record| !policy.classify(&record.host).counts())
        {
            say(
                AdviceKind::LeftoverMx,
                format!("delete the MX record `{preference} {host}`: mail may still go there"),
            );
        }
    }
    for (host, target) in &facts.targets {
        match target {
            Target::Host => {}
            Target::Alias(to) => say(
                AdviceKind::MxTarget,
                format!("MX target {host} is an alias of {to}, which RFC 2181 forbids: name the host itself"),
            ),
            Target::Missing => {
                say(AdviceKind::MxTarget, format!("MX target {host} has no address: no mail can arrive"));
            }
        }
    }
    let hosts: BTreeSet<&HostName> = records.iter().map(|record| &record.host).collect();
    for host in hosts.iter().filter(|host| policy.expect.is_none() && looks_foreign(domain, host, policy)) {
        say(
            AdviceKind::MxTarget,
            format!("{host} does not look like {domain}'s own Office 365 host: check it, or set `expect`"),
        );
    }
    let cloud = CLOUDS.iter().find(|cloud| {
        let suffix = HostName::from(cloud.mx);
        suffix.is_root() || hosts.iter().any(|host| host.is_below(&suffix))
    });
    if let Some(cloud) = cloud {
        advice.extend(spf(facts, cloud));
        advice.extend(autodiscover(domain, facts, cloud));
    }
    advice.extend(delegation(facts));
    advice.extend(servers(answers));
    advice
}

fn distinct(answers: &[Answer]) -> Vec<MxRecord> {
    let mut records: BTreeMap<(u16, HostName), MxRecord> = BTreeMap::new();
    for answer in answers {
        if let Outcome::Records(given) = &answer.outcome {
            records.extend(given.iter().map(|mx| ((mx.preference, mx.host.clone()), mx.clone())));
        }
    }
    records.into_values().collect()
}

fn authoritative_ttl(answers: &[Answer]) -> Option<u32> {
    answers
        .iter()
        .filter(|answer| answer.role == Role::Authoritative && matches!(answer.outcome, Outcome::Records(_)))
        .filter_map(|answer| answer.ttl)
        .max()
}

/// Microsoft builds a tenant's host from the domain (`contoso.edu` -> `contoso-edu`, with or without more behind).
/// Hosts that do not begin so may be right, since the rule has exceptions; but they may be another tenant's.
fn looks_foreign(domain: &HostName, host: &HostName, policy: &Policy) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    // Long domains are cut, so only the beginning is compared.
    let domain: String = plain(domain.as_str()).chars().take(12).collect();
    policy.classify(host) == HostClass::Office365 && !plain(host.first_label()).starts_with(&domain)
}

fn spf(facts: &Facts, cloud: &Cloud) -> Option<Advice> {
    let texts = facts.texts.as_ref()?;
    let is_spf = |text: &&String| {
        let head = text.get(..6).unwrap_or_default();
        head.eq_ignore_ascii_case("v=spf1") && matches!(text.as_bytes().get(6), None | Some(b' '))
    };
    let records: Vec<&String> = texts.iter().filter(is_spf).collect();
    let include = format!("include:{}", cloud.spf);
    let text = match &records[..] {
        [] => format!("there is no SPF record: add `v=spf1 {include} -all`, with your other senders"),
        [record]
            if record.split(' ').any(|term| term.trim_start_matches('+').eq_ignore_ascii_case(&include)) =>
        {
            return None;
        }
        [record] => format!("the SPF record has no `{include}` of its own: `{record}`"),
        several => format!("there are {} SPF records, and only one is allowed", several.len()),
    };
    Some(Advice { kind: AdviceKind::Spf, text })
}

fn autodiscover(domain: &HostName, facts: &Facts, cloud: &Cloud) -> Option<Advice> {
    let right = cloud.autodiscover.join(" or ");
    let text = match facts.autodiscover.as_ref()? {
        Target::Alias(to) if cloud.autodiscover.contains(&to.as_str()) => return None,
        Target::Alias(to) => format!("autodiscover.{domain} is an alias of {to}, not of {right}"),
        Target::Host => {
            format!("autodiscover.{domain} has an address of its own: make it an alias of {right}")
        }
        Target::Missing => format!("autodiscover.{domain} does not exist: make it an alias of {right}"),
    };
    Some(Advice { kind: AdviceKind::Autodiscover, text })
}

fn delegation(facts: &Facts) -> Option<Advice> {
    if facts.delegated.is_empty() || facts.claimed.is_empty() || facts.delegated == facts.claimed {
        return None;
    }
    let list = |set: &BTreeSet<HostName>| set.iter().map(HostName::to_string).collect::<Vec<_>>().join(", ");
    let (delegated, claimed) = (list(&facts.delegated), list(&facts.claimed));
    let text = format!("the parent names {delegated}; the zone names {claimed}: make them the same");
    Some(Advice { kind: AdviceKind::Delegation, text })
}

fn servers(answers: &[Answer]) -> Vec<Advice> {
    // Whoever had to be heard and was not is among the reasons.
    let failed = answers.iter().filter(|answer| match &answer.outcome {
        Outcome::Failed(failure) => answer.role == Role::Resolver || *failure == Failure::NoRoute,
        _ => false,
    });
    let mut advice: Vec<Advice> =
        failed.map(|answer| Advice { kind: AdviceKind::Server, text: answer.to_string() }).collect();
    let serials: BTreeMap<u32, BTreeSet<&str>> = answers.iter().fold(BTreeMap::new(), |mut map, answer| {
        if let Some(serial) = answer.serial {
            map.entry(serial).or_default().insert(&answer.server);
        }
        map
    });
    if serials.len() > 1 {
        let each = serials.iter().map(|(serial, servers)| {
            format!("{} at {serial}", servers.iter().copied().collect::<Vec<_>>().join(", "))
        });
        let each = each.collect::<Vec<_>>().join("; ");
        let text = format!("the servers hold different versions of the zone: {each}");
        advice.push(Advice { kind: AdviceKind::Delegation, text });
    }
    advice
}

#[cfg(test)]
mod tests;
