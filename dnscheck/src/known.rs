//! What a checker remembers for some minutes, so that a thousand domains don't ask the root servers a thousand times.
//!
//! Two things only, both far above any change that a cutover makes: who serves a top-level zone, and at which
//! addresses a name server is found. What is said *about* a domain is never remembered. Whoever else asks may have
//! the same memory, so a server that is found this way is one that outsiders ask too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::time::Instant;

use crate::HostName;
use crate::walk::NameServer;

/// Nothing is remembered for longer, whatever its TTL.
const LONGEST: Duration = Duration::from_secs(600);
/// Entries of each kind, against zones that name servers without end.
const MOST: usize = 10_000;

/// Shared by all walks of one checker.
#[derive(Debug, Default)]
pub(crate) struct Known {
    tops: Mutex<BTreeMap<Name, Entry<NameServer>>>,
    hosts: Mutex<BTreeMap<HostName, Entry<SocketAddr>>>,
}

#[derive(Debug)]
struct Entry<T> {
    until: Instant,
    value: Vec<T>,
}

impl Known {
    /// The servers of the top-level zone above `name`, if the root's servers named them not long ago.
    pub(crate) fn top_above(&self, name: &Name) -> Option<(Name, Vec<NameServer>)> {
        let top = name.trim_to(1);
        if top == *name {
            return None;
        }
        let servers = find(&self.tops, &top)?;
        Some((top, servers))
    }

    /// Remembers who serves a top-level zone.
    pub(crate) fn put_top(&self, zone: &Name, servers: &[NameServer], ttl: u32) {
        if zone.num_labels() == 1 {
            put(&self.tops, zone.clone(), servers.to_vec(), ttl);
        }
    }

    /// The addresses of a name server.
    pub(crate) fn addresses(&self, host: &HostName) -> Option<Vec<SocketAddr>> {
        find(&self.hosts, host)
    }

    /// Remembers the addresses of a name server.
    pub(crate) fn put_addresses(&self, host: &HostName, addresses: &[SocketAddr], ttl: u32) {
        put(&self.hosts, host.clone(), addresses.to_vec(), ttl);
    }
}

fn find<K: Ord, T: Clone>(map: &Mutex<BTreeMap<K, Entry<T>>>, key: &K) -> Option<Vec<T>> {
    let map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.get(key).filter(|entry| entry.until > Instant::now()).map(|entry| entry.value.clone())
}

fn put<K: Ord, T>(map: &Mutex<BTreeMap<K, Entry<T>>>, key: K, value: Vec<T>, ttl: u32) {
    let now = Instant::now();
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= MOST {
        map.retain(|_, entry| entry.until > now);
    }
    if map.len() < MOST {
        map.insert(key, Entry { until: now + LONGEST.min(Duration::from_secs(ttl.into())), value });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_top_level_zones_and_only_for_a_while() {
        let known = Known::default();
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        let servers = [NameServer { host: "ns.edu".into(), addresses: vec![at] }];
        known.put_top(&name("contoso.edu."), &servers, 9999);
        assert_eq!(known.top_above(&name("mail.contoso.edu.")), None);
        known.put_top(&name("edu."), &servers, 9999);
        assert_eq!(known.top_above(&name("Contoso.EDU.")), Some((name("edu."), servers.to_vec())));
        assert_eq!(known.top_above(&name("edu.")), None, "of itself its parent is to be asked");
        known.put_addresses(&HostName::from("ns.edu"), &[at], 60);
        assert_eq!(known.addresses(&HostName::from("NS.edu.")), Some(vec![at]));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(known.addresses(&HostName::from("ns.edu")), None);
        assert!(known.top_above(&name("contoso.edu.")).is_some());
        tokio::time::advance(LONGEST).await;
        assert_eq!(known.top_above(&name("contoso.edu.")), None);
    }
}
