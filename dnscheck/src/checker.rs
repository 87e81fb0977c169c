//! The check of a domain: walk to its servers, ask them all, judge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::debug;

use crate::advice::{Facts, advise};
use crate::ask::{Asker, Reply};
use crate::known::Known;
use crate::observation::{Answer, Failure, Outcome, Role};
use crate::outside::Outside;
use crate::places::Places;
use crate::walk::{Walker, Zone, fqdn, question};
use crate::{HostName, Observation, Policy, answer, gather, roots, verdict};

/// Questions under way at one authoritative server: below every rate limit that we know of.
const AT_ONE_SERVER: usize = 16;
/// Questions under way at one resolver, at least. All resolvers together get half of what there is.
const AT_ONE_RESOLVER: usize = 4;
/// Zones that an alias may lead through.
const MAX_ZONES: u32 = 8;
/// A walk may take this many timeouts.
const PATIENCE: u32 = 20;
/// The gathering of facts for advice may take this many timeouts.
const GATHERING: u32 = 5;

/// Whom to ask, and what counts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Resolvers to ask beside the authoritative servers; may be empty.
    pub resolvers: Vec<SocketAddr>,
    /// Where the walk begins; the built-in root servers by default.
    pub roots: Vec<SocketAddr>,
    /// Where to ask a name server of this host name, in place of its published address: for closed networks.
    pub name_servers: BTreeMap<String, SocketAddr>,
    /// The port of name servers that are not in `name_servers`.
    pub port: u16,
    /// Third-party filter hosts (and everything below them) that count as cut over.
    pub accept: Vec<String>,
    /// The Office 365 host of each domain, where the operator pins it (domain -> host).
    pub expect: BTreeMap<String, String>,
    /// How long to wait for one answer; a silent server is asked several times, the last time over TCP, for three
    /// times as long at most.
    pub timeout: Duration,
    /// Questions under way at once, and so the sockets in use; half as many domains are under way at once.
    pub at_once: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            roots: roots::addresses(),
            name_servers: BTreeMap::new(),
            port: 53,
            accept: Vec::new(),
            expect: BTreeMap::new(),
            timeout: Duration::from_secs(3),
            at_once: 256,
        }
    }
}

/// Checks domains; cheap to clone, one for the whole program.
#[derive(Debug, Clone)]
pub struct Checker {
    config: Arc<Config>,
    asker: Asker,
    outside: Outside,
    known: Arc<Known>,
}

impl Checker {
    /// A checker with this configuration.
    pub fn new(config: Config) -> Self {
        let places = Places::new(config.at_once, AT_ONE_SERVER);
        let at_one_resolver = config.at_once / 2 / config.resolvers.len().max(1);
        let outside = Outside::new(config.timeout, places.sharing(at_one_resolver.max(AT_ONE_RESOLVER)));
        let asker = Asker::new(config.timeout, places);
        Self { config: Arc::new(config), asker, outside, known: Arc::default() }
    }

    /// Asks everybody about `domain` and judges what they say.
    ///
    /// `old_mx` names the source's MX hosts; they never count by their form, even if the source is Office 365
    /// itself. Give what the operator says, not what an earlier check saw. Never fails: what could not be
    /// learned is in the observation. Takes seconds, and a minute or so where servers are silent.
    pub async fn check(&self, domain: &str, old_mx: &[String]) -> Observation {
        let mut host = HostName::from(domain);
        let name = fqdn(&host).and_then(|name| match name.is_root() {
            true => Err(Failure::Malformed("the root is not a mail domain".to_owned())),
            false => Ok(name),
        });
        let name = match name {
            Ok(name) => name,
            Err(failure) => {
                let answers = vec![unreached(&host, failure)];
                return self.judge(host, None, answers, old_mx, &Facts::default());
            }
        };
        host = HostName::from(&name);
        let (config, known) = (Arc::clone(&self.config), Arc::clone(&self.known));
        let walker = Walker::new(self.asker.clone(), self.outside.clone(), config, known);
        let ((zone, mut answers), resolved) =
            tokio::join!(self.ask_authoritative(&walker, &name), self.ask_resolvers(&walker, &name));
        answers.extend(resolved);
        let patience = self.config.timeout * GATHERING;
        let facts = gather::facts(&walker, &name, zone.as_ref(), &answers, patience).await;
        let apex = zone.map(|zone| HostName::from(&zone.apex));
        let observation = self.judge(host, apex, answers, old_mx, &facts);
        debug!(domain = %observation.domain, verdict = %observation.verdict, "Domain checked.");
        observation
    }

    /// Checks many domains, several at a time; observations in the order of `domains`.
    pub async fn check_all(&self, domains: &[String], old_mx: &[String]) -> Vec<Observation> {
        self.check_each(domains, old_mx, |_| {}).await
    }

    /// The same; `seen` hears of each as soon as it is done.
    pub async fn check_each(
        &self,
        domains: &[String],
        old_mx: &[String],
        mut seen: impl FnMut(&Observation),
    ) -> Vec<Observation> {
        let old_mx: Arc<[String]> = old_mx.into();
        let mut waiting = domains.iter().cloned().enumerate();
        let mut under_way = JoinSet::new();
        let mut done = BTreeMap::new();
        let mut start = |under_way: &mut JoinSet<_>| {
            if let Some((index, domain)) = waiting.next() {
                let (checker, old_mx) = (self.clone(), Arc::clone(&old_mx));
                under_way.spawn(async move { (index, checker.check(&domain, &old_mx).await) });
            }
        };
        for _ in 0..(self.config.at_once / 2).max(1) {
            start(&mut under_way);
        }
        while let Some(joined) = under_way.join_next().await {
            start(&mut under_way);
            if let Ok((index, observation)) = joined {
                seen(&observation);
                done.insert(index, observation);
            }
        }
        done.into_values().collect()
    }

    fn judge(
        &self,
        domain: HostName,
        zone: Option<HostName>,
        answers: Vec<Answer>,
        old_mx: &[String],
        facts: &Facts,
    ) -> Observation {
        let policy = self.policy(&domain, old_mx);
        let ruling = verdict::rule(&answers, &policy);
        let at = Timestamp::now();
        let advice = advise(&domain, at, &answers, ruling.verdict, &policy, facts);
        Observation {
            domain,
            at,
            zone,
            answers,
            verdict: ruling.verdict,
            reasons: ruling.reasons,
            other_ttl: ruling.other_ttl,
            advice,
        }
    }

    fn policy(&self, domain: &HostName, old_mx: &[String]) -> Policy {
        let suffix = |text: &String| HostName::from(text.trim().trim_start_matches("*."));
        let expect = self.config.expect.iter().find(|(key, _)| HostName::from(key.as_str()) == *domain);
        Policy {
            accept: self.config.accept.iter().map(suffix).collect(),
            expect: expect.map(|(_, host)| HostName::from(host.as_str())),
            old: old_mx.iter().map(|host| HostName::from(host.as_str())).collect(),
        }
    }

    /// The zone and the answers of all its servers; an alias that leaves the zone is followed to the next.
    async fn ask_authoritative(&self, walker: &Walker, name: &Name) -> (Option<Zone>, Vec<Answer>) {
        let mut name = name.clone();
        let mut answers = Vec::new();
        for _ in 0..MAX_ZONES {
            let walk = tokio::time::timeout(self.config.timeout * PATIENCE, walker.zone_of(&name)).await;
            let zone = match walk.unwrap_or_else(|_| Err(Failure::Walk("it took too long".to_owned()))) {
                Ok(zone) => zone,
                Err(failure) => return (None, vec![unreached(&HostName::from(&name), failure)]),
            };
            answers = self.ask_servers(walker, &name, &zone).await;
            let aliases: BTreeSet<&HostName> = answers.iter().filter_map(alias).collect();
            // All must say the same for the alias to be followed; else they disagree, and that is the answer.
            let [target] = aliases.into_iter().collect::<Vec<_>>()[..] else { return (Some(zone), answers) };
            match fqdn(target) {
                Ok(target) if answers.iter().all(|answer| alias(answer).is_some()) => name = target,
                _ => return (Some(zone), answers),
            }
        }
        (None, answers)
    }

    async fn ask_servers(&self, walker: &Walker, name: &Name, zone: &Zone) -> Vec<Answer> {
        let mut asked = JoinSet::new();
        let mut index = 0;
        for server in &zone.servers {
            let addresses: Vec<Option<SocketAddr>> = match &server.addresses[..] {
                [] => vec![None],
                some => some.iter().copied().map(Some).collect(),
            };
            for address in addresses {
                let (walker, name, apex, host) =
                    (walker.clone(), name.clone(), zone.apex.clone(), server.host.clone());
                asked.spawn(async move { (index, ask_server(&walker, &name, &apex, host, address).await) });
                index += 1;
            }
        }
        in_order(asked).await
    }

    async fn ask_resolvers(&self, walker: &Walker, name: &Name) -> Vec<Answer> {
        let mut asked = JoinSet::new();
        for (index, &resolver) in self.config.resolvers.iter().enumerate() {
            let (walker, name) = (walker.clone(), name.clone());
            asked.spawn(async move { (index, ask_resolver(&walker, &name, resolver).await) });
        }
        in_order(asked).await
    }
}

async fn ask_server(
    walker: &Walker,
    name: &Name,
    apex: &Name,
    server: String,
    address: Option<SocketAddr>,
) -> Answer {
    let mut answer = Answer {
        role: Role::Authoritative,
        server,
        address,
        name: HostName::from(name),
        transport: None,
        authoritative: false,
        outcome: Outcome::Failed(Failure::NoAddress),
        ttl: None,
        serial: None,
        at: None,
    };
    let Some(address) = address else { return answer };
    let mx = walker.ask(address, &question(name, RecordType::MX)).await;
    answer.take(mx, name, Some(apex));
    if answer.transport.is_some() {
        let soa = walker.ask(address, &question(apex, RecordType::SOA)).await;
        answer.serial = soa.ok().as_ref().and_then(answer::serial);
    }
    answer
}

async fn ask_resolver(walker: &Walker, name: &Name, resolver: SocketAddr) -> Answer {
    let mut answer = Answer {
        role: Role::Resolver,
        server: resolver.to_string(),
        address: Some(resolver),
        name: HostName::from(name),
        transport: None,
        authoritative: false,
        outcome: Outcome::Failed(Failure::NoAddress),
        ttl: None,
        serial: None,
        at: None,
    };
    answer.take(walker.ask_outside(resolver, &question(name, RecordType::MX)).await, name, None);
    answer
}

impl Answer {
    fn take(&mut self, reply: Result<Reply, Failure>, name: &Name, zone: Option<&Name>) {
        self.at = Some(Timestamp::now());
        match reply {
            Ok(reply) => {
                (self.outcome, self.ttl) = answer::read(&reply, name, self.role, zone);
                self.transport = Some(reply.transport);
                self.authoritative = reply.message.metadata.authoritative;
            }
            Err(failure) => self.outcome = Outcome::Failed(failure),
        }
    }
}

/// The answer that stands for servers that were never found.
fn unreached(name: &HostName, failure: Failure) -> Answer {
    Answer {
        role: Role::Authoritative,
        server: format!("servers of {name}"),
        address: None,
        name: name.clone(),
        transport: None,
        authoritative: false,
        outcome: Outcome::Failed(failure),
        ttl: None,
        serial: None,
        at: Some(Timestamp::now()),
    }
}

fn alias(answer: &Answer) -> Option<&HostName> {
    match &answer.outcome {
        Outcome::Alias(target) => Some(target),
        _ => None,
    }
}

async fn in_order<K: Ord + Send + 'static>(asked: JoinSet<(K, Answer)>) -> Vec<Answer> {
    let mut answers = asked.join_all().await;
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests;
