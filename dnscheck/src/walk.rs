//! From the roots to every authoritative server of a domain.
//!
//! The walk follows delegations down to the zone that holds the name, then asks *all* servers of the parent, and
//! all servers of the zone itself, who serves it: whoever is named by any of them is asked by somebody's resolver,
//! so its word counts. What may be remembered from one walk to the next is in `known`; a walk asks a bounded number of
//! questions. A server that is not asked because there are too many could be the one that disagrees: such a zone is
//! not taken at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::task::JoinSet;
use tracing::debug;

use crate::ask::{Asker, Question, Reply};
use crate::known::Known;
use crate::observation::Failure;
use crate::outside::Outside;
use crate::{Config, HostName, answer};

/// Delegations on the way down: no real name is as deep.
const MAX_CUTS: u32 = 16;
/// Walks within walks, to find the address of a name server whose own name server's address …
const MAX_DEPTH: u32 = 4;
/// Questions for one check, against zones that multiply them on purpose.
const MAX_QUESTIONS: u32 = 600;
/// Servers asked side by side while one good answer is enough.
const SIDE_BY_SIDE: usize = 3;
/// Addresses of one name server that are asked.
const MAX_ADDRESSES: usize = 8;
/// Name servers of one zone that are asked; the largest real sets have 13.
const MAX_SERVERS: usize = 32;

/// Whoever holds a zone.
#[derive(Debug, Clone)]
pub(crate) struct Zone {
    /// The zone's name.
    pub(crate) apex: Name,
    /// Its servers.
    pub(crate) servers: Vec<NameServer>,
    /// The servers that the parent names; none where nobody told.
    pub(crate) delegated: BTreeSet<HostName>,
    /// The servers that the zone itself names; none where nobody told.
    pub(crate) claimed: BTreeSet<HostName>,
    /// The servers of the zone above; none above the root.
    pub(crate) parents: Vec<NameServer>,
}

/// A name server with the addresses at which to ask it; none when they were not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServer {
    pub(crate) host: String,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// One check's walker: shares the askers, has its own budget.
#[derive(Debug, Clone)]
pub(crate) struct Walker {
    asker: Asker,
    outside: Outside,
    config: Arc<Config>,
    book: Arc<BTreeMap<HostName, SocketAddr>>,
    known: Arc<Known>,
    budget: Arc<AtomicU32>,
}

/// Name servers as a message names them, with the addresses it gives along.
#[derive(Debug, Default)]
struct Named {
    hosts: BTreeMap<HostName, BTreeSet<SocketAddr>>,
    /// How long the shortest-lived of these names may be remembered, in seconds.
    ttl: Option<u32>,
}

/// Where a walk stands: a zone, and who is believed to hold it.
#[derive(Debug, Clone)]
struct Cut {
    zone: Name,
    servers: Vec<NameServer>,
}

/// Where a walk ended: the cut above, the cut whose servers hold the name, and the name's zone.
#[derive(Debug)]
struct Descent {
    parent: Option<Cut>,
    cut: Cut,
    apex: Name,
}

/// What an answer means for the walk.
enum Step {
    /// The name lies in a zone delegated further.
    Below { zone: Name, named: Named },
    /// This server holds the name's zone, whose apex is this.
    Here { apex: Name },
    /// This server holds the name's zone, and the name is an alias: its apex lies above.
    HereAbove,
}

impl Walker {
    pub(crate) fn new(asker: Asker, outside: Outside, config: Arc<Config>, known: Arc<Known>) -> Self {
        let book =
            config.name_servers.iter().map(|(host, at)| (HostName::from(host.as_str()), *at)).collect();
        let budget = Arc::new(AtomicU32::new(MAX_QUESTIONS));
        Self { asker, outside, config, book: Arc::new(book), known, budget }
    }

    /// One question to a server for what it holds, within this check's budget.
    pub(crate) async fn ask(&self, server: SocketAddr, question: &Question) -> Result<Reply, Failure> {
        self.spend()?;
        self.asker.ask(server, question).await
    }

    /// One question to one of the operator's resolvers, within this check's budget.
    pub(crate) async fn ask_outside(
        &self,
        resolver: SocketAddr,
        question: &Question,
    ) -> Result<Reply, Failure> {
        self.spend()?;
        self.outside.ask(resolver, &question.name, question.kind).await
    }

    fn spend(&self) -> Result<(), Failure> {
        let spend = |left: u32| left.checked_sub(1);
        match self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::Walk(format!("more than {MAX_QUESTIONS} questions were needed"))),
        }
    }

    /// The zone that holds `name`, with every server that anybody names for it.
    pub(crate) async fn zone_of(&self, name: &Name) -> Result<Zone, Failure> {
        let Descent { parent, cut, apex } = self.descend(name.clone(), 0).await?;
        if apex.is_root() {
            let servers = cut.servers;
            let (delegated, claimed, parents) = Default::default();
            return Ok(Zone { apex, servers, delegated, claimed, parents });
        }
        // A server may hold parent and child both, and then never shows the delegation between them.
        let above = if apex == cut.zone { parent.unwrap_or(cut) } else { cut };
        let parents = above.servers.iter().flat_map(|server| &server.addresses).copied();
        let mut named = Named::default();
        for reply in self.ask_all(parents, &question(&apex, RecordType::NS)).await {
            named.add(&reply, &apex, &above.zone, self.config.port);
        }
        let delegated: BTreeSet<HostName> = named.hosts.keys().cloned().collect();
        let mut servers = self.locate(&named).await?;

        let known = servers.iter().flat_map(|server| &server.addresses).copied();
        let mut own = Named::default();
        for reply in self.ask_all(known, &question(&apex, RecordType::NS)).await {
            if reply.message.metadata.authoritative {
                own.add(&reply, &apex, &apex, self.config.port);
            }
        }
        let claimed: BTreeSet<HostName> = own.hosts.keys().cloned().collect();
        own.hosts.retain(|host, _| !delegated.contains(host));
        servers.extend(self.locate(&own).await?);
        if servers.is_empty() {
            return Err(Failure::Walk(format!("nobody names a server for {}", HostName::from(&apex))));
        }
        Ok(Zone { apex, servers, delegated, claimed, parents: above.servers })
    }

    /// Records of `name`, from the first resolver that has them, else from an authoritative server.
    pub(crate) async fn look_up(&self, name: &Name, kind: RecordType) -> Result<Reply, Failure> {
        self.look_up_at(name, kind, 0).await
    }

    async fn look_up_at(&self, name: &Name, kind: RecordType, depth: u32) -> Result<Reply, Failure> {
        let question = question(name, kind);
        for &resolver in &self.config.resolvers {
            if let Ok(reply) = self.ask_outside(resolver, &question).await
                && (!reply.message.answers.is_empty() || answer::is_sound_negative(&reply))
            {
                return Ok(reply);
            }
        }
        let Descent { cut, .. } = self.descend(name.clone(), depth).await?;
        self.ask_any(&cut.servers, &question)
            .await
            .map_err(|last| Failure::Walk(format!("{}: {last}", HostName::from(name))))
    }

    /// The first answer of a server that holds the zone asked about.
    pub(crate) async fn ask_any(
        &self,
        servers: &[NameServer],
        question: &Question,
    ) -> Result<Reply, Failure> {
        let holds = |reply: Reply| reply.message.metadata.authoritative.then_some(reply);
        self.first(servers, question, holds).await
    }

    /// Follows delegations from the roots to servers that hold `name`.
    fn descend(
        &self,
        name: Name,
        depth: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Descent, Failure>> + Send + '_>> {
        Box::pin(async move {
            let mut name = name;
            let roots = self.config.roots.iter();
            let servers = roots.map(|&at| NameServer { host: at.to_string(), addresses: vec![at] }).collect();
            let mut cut = Cut { zone: Name::root(), servers };
            let mut parent = None;
            if let Some((zone, servers)) = self.known.top_above(&name) {
                parent = Some(std::mem::replace(&mut cut, Cut { zone, servers }));
            }
            for _ in 0..MAX_CUTS {
                let zone = cut.zone.clone();
                let port = self.config.port;
                let classify = |reply: Reply| step(&reply, &name, &zone, port);
                let step = self
                    .first(&cut.servers, &question(&name, RecordType::SOA), classify)
                    .await
                    .map_err(|last| {
                        Failure::Walk(format!("no server of {} helped: {last}", HostName::from(&zone)))
                    })?;
                match step {
                    Step::Here { apex } => return Ok(Descent { parent, cut, apex }),
                    Step::HereAbove => name = name.base_name(),
                    Step::Below { zone, named } => {
                        debug!(zone = %zone, servers = named.hosts.len(), "Delegation.");
                        let servers = self.locate_some(&named, depth).await;
                        if servers.is_empty() {
                            let zone = HostName::from(&zone);
                            return Err(Failure::Walk(format!("no address of a server of {zone} was found")));
                        }
                        if cut.zone.is_root() {
                            self.known.put_top(&zone, &servers, named.ttl.unwrap_or_default());
                        }
                        parent = Some(std::mem::replace(&mut cut, Cut { zone, servers }));
                    }
                }
            }
            Err(Failure::Walk(format!("more than {MAX_CUTS} delegations")))
        })
    }

    /// The first answer that `useful` takes, asking a few servers at a time. The last failure, if none.
    async fn first<T: Send>(
        &self,
        servers: &[NameServer],
        question: &Question,
        useful: impl Fn(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut last = Failure::NoAddress;
        let mut addresses = servers.iter().flat_map(|server| &server.addresses).copied();
        let mut asked = JoinSet::new();
        let mut ask_next = |asked: &mut JoinSet<_>| {
            if let Some(at) = addresses.next() {
                let (walker, question) = (self.clone(), question.clone());
                asked.spawn(async move { walker.ask(at, &question).await });
            }
        };
        for _ in 0..SIDE_BY_SIDE {
            ask_next(&mut asked);
        }
        while let Some(joined) = asked.join_next().await {
            match joined {
                Ok(Ok(reply)) => match useful(reply) {
                    Some(found) => return Ok(found),
                    None => last = Failure::Lame,
                },
                Ok(Err(failure)) => last = failure,
                Err(error) => last = Failure::Io(error.to_string()),
            }
            ask_next(&mut asked);
        }
        Err(last)
    }

    /// Every answer that comes, in the order of the servers.
    async fn ask_all(&self, servers: impl Iterator<Item = SocketAddr>, question: &Question) -> Vec<Reply> {
        let mut asked = JoinSet::new();
        for (index, at) in servers.collect::<BTreeSet<_>>().into_iter().enumerate() {
            let (walker, question) = (self.clone(), question.clone());
            asked.spawn(async move { (index, walker.ask(at, &question).await) });
        }
        let mut replies = asked.join_all().await;
        replies.sort_by_key(|(index, _)| *index);
        replies.into_iter().filter_map(|(_, reply)| reply.ok()).collect()
    }

    /// All named servers with all their addresses: those that the message gave, which may leave out some or be old,
    /// and those that are found by looking.
    async fn locate(&self, named: &Named) -> Result<Vec<NameServer>, Failure> {
        if named.hosts.len() > MAX_SERVERS {
            return Err(Failure::Walk(format!("more than {MAX_SERVERS} name servers")));
        }
        let mut looking = JoinSet::new();
        for (host, glue) in &named.hosts {
            let (walker, host, mut addresses) = (self.clone(), host.clone(), glue.clone());
            looking.spawn(async move {
                if let Some(&at) = walker.book.get(&host) {
                    return (host, BTreeSet::from([at]));
                }
                addresses.extend(walker.addresses(&host, 0).await);
                (host, addresses)
            });
        }
        let mut found = looking.join_all().await;
        found.sort();
        if let Some((host, _)) = found.iter().find(|(_, addresses)| addresses.len() > MAX_ADDRESSES) {
            return Err(Failure::Walk(format!("{host} has more than {MAX_ADDRESSES} addresses")));
        }
        let server = |(host, addresses): (HostName, BTreeSet<_>)| NameServer {
            host: host.to_string(),
            addresses: addresses.into_iter().collect(),
        };
        Ok(found.into_iter().map(server).collect())
    }

    /// Named servers whose addresses are at hand; if there are none, the first that can be looked up.
    async fn locate_some(&self, named: &Named, depth: u32) -> Vec<NameServer> {
        let at_hand = named
            .hosts
            .iter()
            .map(|(host, glue)| NameServer { host: host.to_string(), addresses: self.at_hand(host, glue) });
        let at_hand: Vec<_> = at_hand.filter(|server| !server.addresses.is_empty()).collect();
        if !at_hand.is_empty() {
            return at_hand;
        }
        for host in named.hosts.keys().take(MAX_SERVERS) {
            let addresses = self.addresses(host, depth).await;
            if !addresses.is_empty() {
                return vec![NameServer { host: host.to_string(), addresses }];
            }
        }
        Vec::new()
    }

    fn at_hand(&self, host: &HostName, glue: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
        match self.book.get(host) {
            Some(&at) => vec![at],
            None => glue.iter().copied().take(MAX_ADDRESSES).collect(),
        }
    }

    async fn addresses(&self, host: &HostName, depth: u32) -> Vec<SocketAddr> {
        if let Some(known) = self.known.addresses(host) {
            return known;
        }
        let (Ok(name), true) = (fqdn(host), depth < MAX_DEPTH) else { return Vec::new() };
        let (four, six) = tokio::join!(
            self.look_up_at(&name, RecordType::A, depth + 1),
            self.look_up_at(&name, RecordType::AAAA, depth + 1)
        );
        let complete = four.is_ok() && six.is_ok();
        let replies = [four, six].into_iter().flatten();
        let records: Vec<Record> = replies.flat_map(|reply| reply.message.answers).collect();
        let ips = records.iter().filter_map(|record| record.data.ip_addr());
        let found: BTreeSet<_> = ips.map(|ip| SocketAddr::new(ip, self.config.port)).collect();
        let found: Vec<_> = found.into_iter().collect();
        if let (Some(ttl), true) = (records.iter().map(|record| record.ttl).min(), complete) {
            self.known.put_addresses(host, &found, ttl);
        }
        found
    }
}

impl Named {
    /// Adds the name servers of `zone` that a message names in whatever section, with the addresses that its
    /// sender may speak for: those of hosts within `sender`, the zone that it was asked as a server of.
    fn add(&mut self, reply: &Reply, zone: &Name, sender: &Name, port: u16) {
        let message = &reply.message;
        for record in message.answers.iter().chain(&message.authorities) {
            if let RData::NS(host) = &record.data
                && record.name == *zone
            {
                self.hosts.entry(HostName::from(&host.0)).or_default();
                self.ttl = Some(self.ttl.unwrap_or(record.ttl).min(record.ttl));
            }
        }
        for record in &message.additionals {
            if let (Some(ip), true) = (record.data.ip_addr(), sender.zone_of(&record.name))
                && let Some(addresses) = self.hosts.get_mut(&HostName::from(&record.name))
            {
                addresses.insert(SocketAddr::new(ip, port));
            }
        }
    }
}

/// What a server of `zone` says by this answer to a SOA question for `name`; nothing if it is no help.
fn step(reply: &Reply, name: &Name, zone: &Name, port: u16) -> Option<Step> {
    let message = &reply.message;
    if message.metadata.authoritative {
        let soa = message.answers.iter().chain(&message.authorities).find(|record| {
            matches!(record.data, RData::SOA(_)) && record.name.zone_of(name) && zone.zone_of(&record.name)
        });
        if let Some(soa) = soa {
            return Some(Step::Here { apex: soa.name.clone() });
        }
        let is_alias = message.answers.iter().any(|record| matches!(record.data, RData::CNAME(_)));
        return (is_alias && !name.is_root()).then_some(Step::HereAbove);
    }
    if message.metadata.response_code != ResponseCode::NoError {
        return None;
    }
    let below = message.authorities.iter().find(|record| {
        matches!(record.data, RData::NS(_))
            && record.name != *zone
            && zone.zone_of(&record.name)
            && record.name.zone_of(name)
    })?;
    let below = below.name.clone();
    let mut named = Named::default();
    named.add(reply, &below, zone, port);
    Some(Step::Below { zone: below, named })
}

/// The question for records of this kind.
pub(crate) fn question(name: &Name, kind: RecordType) -> Question {
    Question { name: name.clone(), kind }
}

/// The name for a question; non-ASCII names in their IDNA form.
pub(crate) fn fqdn(host: &HostName) -> Result<Name, Failure> {
    let mut name = Name::from_utf8(host.as_str())
        .or_else(|_| Name::from_ascii(host.as_str()))
        .map_err(|error| Failure::Malformed(format!("{host}: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests;
