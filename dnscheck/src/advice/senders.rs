//! Of what Office 365 needs beside the MX: SPF and autodiscover.

use super::{Advice, AdviceKind, Case, Target};
use crate::{HostName, spf};

/// Names that belong to one of Microsoft's clouds.
struct Cloud {
    mx: &'static str,
    spf: &'static str,
    autodiscover: &'static [&'static str],
}

const WORLDWIDE: Cloud =
    Cloud { mx: "", spf: "spf.protection.outlook.com", autodiscover: &["autodiscover.outlook.com"] };

const OTHERS: [Cloud; 2] = [
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
];

/// The cloud that the MX records name, or that the operator expects.
fn cloud(case: &Case<'_>) -> &'static Cloud {
    let hosts = case.hosts();
    let named = |cloud: &&Cloud| {
        let suffix = HostName::from(cloud.mx);
        hosts.iter().chain(&case.policy.expect).any(|host| host.is_below(&suffix))
    };
    OTHERS.iter().find(named).unwrap_or(&WORLDWIDE)
}

pub(super) fn spf(case: &Case<'_>) -> Vec<Advice> {
    let Some(texts) = &case.facts.texts else { return Vec::new() };
    let say = |text: String, next: String| Advice::new(AdviceKind::Spf, text, next);
    let cloud = cloud(case);
    let include = format!("include:{}", cloud.spf);
    let record = match &spf::records(texts)[..] {
        [] => {
            return vec![say(
                "there is no SPF record: mail that Office 365 sends may be refused".to_owned(),
                format!("add the TXT record `v=spf1 {include} -all`, with your other senders in it"),
            )];
        }
        [record] => *record,
        several => {
            return vec![say(
                format!("there are {} SPF records, and with more than one none is valid", several.len()),
                format!("make them one, with `{include}` in it"),
            )];
        }
    };
    let mut advice = Vec::new();
    let own = HostName::from(cloud.spf);
    let reach = case.facts.spf.as_ref();
    let included =
        spf::terms(record).includes.contains(&own) || reach.is_some_and(|reach| reach.names.contains(&own));
    if !included {
        let doubt = match reach {
            Some(reach) if reach.complete => "",
            _ => ", as far as it could be followed",
        };
        advice.push(say(
            format!("the SPF record `{record}` does not lead to `{include}`{doubt}"),
            format!("put `{include}` before its `all`, before anybody sends from Office 365"),
        ));
    }
    if let Some(reach) = reach.filter(|reach| reach.lookups > spf::MAX_LOOKUPS) {
        let at_least = if reach.complete { "" } else { "at least " };
        advice.push(say(
            format!(
                "the SPF record needs {at_least}{} look-ups, and beyond {} it is void (RFC 7208, section 4.6.4)",
                reach.lookups,
                spf::MAX_LOOKUPS
            ),
            "take out senders that you no longer use, or write their networks as ip4 and ip6".to_owned(),
        ));
    }
    advice
}

pub(super) fn autodiscover(case: &Case<'_>) -> Vec<Advice> {
    let Some(target) = &case.facts.autodiscover else { return Vec::new() };
    let right = cloud(case).autodiscover;
    let name = format!("autodiscover.{}", case.domain);
    let text = match target {
        Target::Alias(to) if right.contains(&to.as_str()) => return Vec::new(),
        Target::Alias(to) => format!("{name} is an alias of {to}"),
        Target::Host => format!("{name} has an address of its own"),
        Target::Missing => format!("{name} does not exist"),
    };
    let next = format!("make it an alias (CNAME) of {} when clients move", right.join(" or "));
    vec![Advice::new(AdviceKind::Autodiscover, text, next)]
}
