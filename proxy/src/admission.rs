//! Who may come in: connections in total and per address, refused logins per address. Pure; time is passed in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::ProxyLimits;

/// Addresses with refused logins that are remembered; beyond it those whose time is up are forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// The doorkeeper.
#[derive(Debug)]
pub(crate) struct Admission {
    max_connections: usize,
    max_per_address: usize,
    max_refused: u32,
    window: Duration,
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    refused: HashMap<IpAddr, Refused>,
}

#[derive(Debug)]
struct Refused {
    since: Instant,
    count: u32,
}

impl Admission {
    pub(crate) fn new(limits: &ProxyLimits) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_per_address: limits.max_connections_per_address,
            max_refused: limits.max_refused_logins,
            window: limits.login_window,
            open: 0,
            by_address: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// Lets a connection in, or not. Let in, it must [`leave`](Self::leave).
    pub(crate) fn enter(&mut self, address: IpAddr) -> bool {
        let count = self.by_address.get(&site(address)).copied().unwrap_or(0);
        let welcome = self.open < self.max_connections && count < self.max_per_address;
        if welcome {
            self.open += 1;
            self.by_address.insert(site(address), count + 1);
        }
        welcome
    }

    /// A connection ended.
    pub(crate) fn leave(&mut self, address: IpAddr) {
        self.open -= 1;
        if let Some(count) = self.by_address.get_mut(&site(address)) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&site(address));
            }
        }
    }

    /// The source refused a login from there.
    pub(crate) fn on_refused(&mut self, address: IpAddr, now: Instant) {
        if self.refused.len() >= MAX_REMEMBERED {
            let window = self.window;
            self.refused.retain(|_, refused| now.duration_since(refused.since) < window);
            if self.refused.len() >= MAX_REMEMBERED {
                self.refused.clear();
            }
        }
        let refused = self.refused.entry(site(address)).or_insert(Refused { since: now, count: 0 });
        if now.duration_since(refused.since) >= self.window {
            *refused = Refused { since: now, count: 0 };
        }
        refused.count = refused.count.saturating_add(1);
    }

    /// Whether a login from there may be tried.
    pub(crate) fn may_log_in(&self, address: IpAddr, now: Instant) -> bool {
        let refused = self.refused.get(&site(address));
        refused.is_none_or(|refused| {
            refused.count < self.max_refused || now.duration_since(refused.since) >= self.window
        })
    }
}

/// One customer's network counts as one address: the whole of an IPv4 address, the /64 of an IPv6 one.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (!0 << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        let limits = ProxyLimits {
            max_connections: 3,
            max_connections_per_address: 2,
            max_refused_logins: 2,
            login_window: Duration::from_secs(60),
            ..ProxyLimits::default()
        };
        Admission::new(&limits)
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn connections_are_counted_in_total_and_by_address() {
        let mut admission = admission();
        let enter = |admission: &mut Admission, address| admission.enter(at(address));
        assert!(enter(&mut admission, "192.0.2.1"));
        assert!(enter(&mut admission, "::ffff:192.0.2.1"));
        assert!(!enter(&mut admission, "192.0.2.1"), "two from one address");
        assert!(enter(&mut admission, "2001:db8::1"));
        assert!(!enter(&mut admission, "192.0.2.9"), "three in total");
        admission.leave(at("192.0.2.1"));
        assert!(enter(&mut admission, "2001:db8::2"));
        admission.leave(at("2001:db8::1"));
        assert!(enter(&mut admission, "2001:db8::3"));
        assert!(!enter(&mut admission, "2001:db8::4"), "one network");
    }

    #[test]
    fn refused_logins_close_the_door_for_a_while() {
        let mut admission = admission();
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        admission.on_refused(at("192.0.2.1"), start);
        assert!(admission.may_log_in(at("192.0.2.1"), start));
        admission.on_refused(at("192.0.2.1"), start);
        assert!(!admission.may_log_in(at("192.0.2.1"), start));
        assert!(admission.may_log_in(at("192.0.2.2"), start));
        assert!(admission.may_log_in(at("192.0.2.1"), later));
        admission.on_refused(at("192.0.2.1"), later);
        assert!(admission.may_log_in(at("192.0.2.1"), later));
    }
}
