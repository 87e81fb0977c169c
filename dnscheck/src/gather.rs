//! What advice needs beside the MX answers, looked up side by side and within a bounded time. Whatever is not learned
//! in time gives no advice; nothing here can change a verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::advice::{Facts, Signed, Target};
use crate::ask::Reply;
use crate::walk::{Walker, Zone, fqdn, question};
use crate::{Answer, HostName, Outcome, answer, spf};

/// MX hosts that are looked up.
const MAX_TARGETS: usize = 16;

/// Everything that can be learned within `patience` about `name`.
pub(crate) async fn facts(
    walker: &Walker,
    name: &Name,
    zone: Option<&Zone>,
    answers: &[Answer],
    patience: Duration,
) -> Facts {
    let mut facts = Facts {
        delegated: zone.map(|zone| zone.delegated.clone()).unwrap_or_default(),
        claimed: zone.map(|zone| zone.claimed.clone()).unwrap_or_default(),
        ..Facts::default()
    };
    // Where nobody could say anything about mail, nobody will about the rest.
    if answers.iter().all(|answer| matches!(answer.outcome, Outcome::Failed(_))) {
        return facts;
    }
    let records = answers.iter().filter_map(|answer| match &answer.outcome {
        Outcome::Records(records) => Some(records),
        _ => None,
    });
    let hosts: BTreeSet<&HostName> = records.flatten().map(|record| &record.host).collect();
    let mut targets = JoinSet::new();
    for host in hosts.into_iter().filter(|host| !host.is_root()).take(MAX_TARGETS) {
        let (walker, host) = (walker.clone(), host.clone());
        targets.spawn(async move {
            let target = timeout(patience, target(&walker, &host)).await;
            (host, target.ok().flatten())
        });
    }
    let without = answers.iter().any(|answer| answer.outcome == Outcome::NoMx);
    let itself = async {
        let host = HostName::from(name);
        if without { target(walker, &host).await } else { None }
    };
    let autodiscover = HostName::from(format!("autodiscover.{}", HostName::from(name)));
    let (sender, autodiscover, itself, signed) = tokio::join!(
        senders(walker, name, patience),
        timeout(patience, target(walker, &autodiscover)),
        timeout(patience, itself),
        zone_signed(walker, zone, patience),
    );
    (facts.texts, facts.spf) = sender;
    facts.autodiscover = autodiscover.ok().flatten();
    facts.itself = itself.ok().flatten();
    facts.signed = signed;
    let found = targets.join_all().await;
    facts.targets = found.into_iter().filter_map(|(host, target)| Some((host, target?))).collect();
    facts
}

/// The TXT records of `name`, and what its SPF record leads to.
async fn senders(
    walker: &Walker,
    name: &Name,
    patience: Duration,
) -> (Option<Vec<String>>, Option<spf::Reach>) {
    let Some(texts) = timeout(patience, texts(walker, name)).await.ok().flatten() else {
        return (None, None);
    };
    let [record] = spf::records(&texts)[..] else { return (Some(texts), None) };
    let mut follower = spf::Follower::new(record);
    let follow = async {
        while let Some(name) = follower.next() {
            let found = match fqdn(&name) {
                Ok(name) => self::texts(walker, &name).await,
                Err(_) => None,
            };
            follower.take(found.as_deref());
        }
    };
    let followed = timeout(patience, follow).await;
    let mut reach = follower.end();
    reach.complete &= followed.is_ok();
    (Some(texts), Some(reach))
}

/// Whether the parent vouches for the zone, and whether it has keys.
async fn zone_signed(walker: &Walker, zone: Option<&Zone>, patience: Duration) -> Option<Signed> {
    let zone = zone?;
    let has = async |servers: &_, kind| {
        let reply =
            timeout(patience, walker.ask_any(servers, &question(&zone.apex, kind))).await.ok()?.ok()?;
        let answers = &reply.message.answers;
        Some(answers.iter().any(|record| record.name == zone.apex && record.record_type() == kind))
    };
    let (ds, keys) = tokio::join!(has(&zone.parents, RecordType::DS), has(&zone.servers, RecordType::DNSKEY));
    match (ds?, keys) {
        (true, Some(true)) => Some(Signed::Chained),
        (true, Some(false)) => Some(Signed::Broken),
        (false, Some(true)) => Some(Signed::Island),
        (false, Some(false)) => Some(Signed::Not),
        (_, None) => None,
    }
}

/// What `host` is, if anybody says.
async fn target(walker: &Walker, host: &HostName) -> Option<Target> {
    let name = fqdn(host).ok()?;
    let reply = walker.look_up(&name, RecordType::A).await.ok()?;
    if let Some(to) = leads_to(&reply, &name) {
        return Some(Target::Alias(to));
    }
    let has_address =
        |reply: &Reply| reply.message.answers.iter().any(|record| record.data.ip_addr().is_some());
    if has_address(&reply) {
        return Some(Target::Host);
    }
    // A resolver's negative answer does not show an alias on the way to it.
    let alias = walker.look_up(&name, RecordType::CNAME).await.ok()?;
    if let Some(to) = leads_to(&alias, &name) {
        return Some(Target::Alias(to));
    }
    if reply.message.metadata.response_code == ResponseCode::NXDomain {
        return Some(Target::Missing);
    }
    let reply = walker.look_up(&name, RecordType::AAAA).await.ok()?;
    Some(if has_address(&reply) { Target::Host } else { Target::Missing })
}

fn leads_to(reply: &Reply, name: &Name) -> Option<HostName> {
    let (end, _) = answer::follow(&reply.message.answers, name)?;
    (end != *name).then(|| HostName::from(&end))
}

/// The TXT records of `name`, if it exists and anybody says.
async fn texts(walker: &Walker, name: &Name) -> Option<Vec<String>> {
    let reply = walker.look_up(name, RecordType::TXT).await.ok()?;
    if reply.message.metadata.response_code == ResponseCode::NXDomain {
        return None;
    }
    let texts = reply.message.answers.iter().filter_map(|record| match &record.data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    });
    Some(texts.collect())
}
