//! Who may come in: connections in total, per address and per login; refused logins per address, and per login from wherever.
//! Pure; time is passed in.
//!
//! Refused logins of one address close the door to it for a while; those under way count as if they would be refused, or as
//! many could be tried at once as there are connections: beyond it they wait for one another. Refused logins of one *name*, from however many
//! addresses, close it to nobody (a lock-out would be a gift to whoever wants it): answers about that name come later and
//! later. Whoever gives the right password from an address that had none refused is never kept waiting.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::ProxyLimits;
use crate::door::Logins;

/// Addresses, and names, with refused logins that are remembered; beyond it those whose time is up are forgotten.
const MAX_REMEMBERED: usize = 100_000;

/// The first delay of an answer; it doubles with each further refusal.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// The doorkeeper.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: ProxyLimits,
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    by_login: HashMap<Box<str>, usize>,
    refused: Memory<IpAddr>,
    /// Logins that the source has not answered.
    trying: HashMap<IpAddr, usize>,
    /// By a hash: names may be long, and of those that do not exist there are many.
    guessed: Memory<u64>,
    hasher: RandomState,
}

/// What a refused login leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// How long the answer is kept back.
    pub(crate) delay: Duration,
}

impl Admission {
    pub(crate) fn new(limits: &ProxyLimits) -> Self {
        Self {
            limits: *limits,
            open: 0,
            by_address: HashMap::new(),
            by_login: HashMap::new(),
            refused: Memory::default(),
            trying: HashMap::new(),
            guessed: Memory::default(),
            hasher: RandomState::new(),
        }
    }

    /// Other limits from here on; who is in stays.
    pub(crate) fn set_limits(&mut self, limits: &ProxyLimits) {
        self.limits = *limits;
    }

    /// Lets a connection in, or not. Let in, it must [`leave`](Self::leave).
    pub(crate) fn enter(&mut self) -> bool {
        let welcome = self.open < self.limits.max_connections;
        self.open += usize::from(welcome);
        welcome
    }

    /// A connection that was let in ended.
    pub(crate) fn leave(&mut self) {
        self.open -= 1;
    }

    /// Counts a connection for its address, or refuses it. Counted, it must be [released](Self::release_address).
    pub(crate) fn take_address(&mut self, address: IpAddr) -> bool {
        take(&mut self.by_address, site(address), self.limits.max_connections_per_address)
    }

    pub(crate) fn release_address(&mut self, address: IpAddr) {
        release(&mut self.by_address, &site(address));
    }

    /// Counts a session for its login, or refuses it. Counted, it must be [released](Self::release_login).
    pub(crate) fn take_login(&mut self, login: &str) -> bool {
        take(&mut self.by_login, folded(login).into_boxed_str(), self.limits.max_connections_per_login)
    }

    pub(crate) fn release_login(&mut self, login: &str) {
        release(&mut self.by_login, folded(login).as_str());
    }

    /// The source refused a login from there, of this name where it could be read.
    pub(crate) fn on_refused(&mut self, address: IpAddr, login: Option<&str>, now: Instant) -> Refusal {
        let window = self.limits.login_window;
        self.refused.add(site(address), window, now);
        let Some(login) = login else { return Refusal { delay: Duration::ZERO } };
        let name = self.hasher.hash_one(folded(login));
        let count = self.guessed.add(name, self.limits.guess_window, now);
        Refusal { delay: self.delay(count) }
    }

    /// How long the answer to an accepted login of this name is kept back.
    pub(crate) fn delay_of_accepted(&self, address: IpAddr, login: &str, now: Instant) -> Duration {
        let limits = &self.limits;
        if self.refused.count(&site(address), limits.login_window, now) == 0 {
            return Duration::ZERO;
        }
        let name = self.hasher.hash_one(folded(login));
        self.delay(self.guessed.count(&name, limits.guess_window, now))
    }

    /// Nothing up to the threshold, then doubling up to the maximum.
    fn delay(&self, refused: u32) -> Duration {
        let Some(beyond) = refused.checked_sub(self.limits.guesses_without_delay + 1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(beyond).filter(|_| beyond < 31).unwrap_or(u32::MAX);
        FIRST_DELAY.saturating_mul(factor).min(self.limits.max_login_delay)
    }

    /// Whether a login from there may be tried.
    pub(crate) fn logins(&self, address: IpAddr, now: Instant) -> Logins {
        let refused = self.refused.count(&site(address), self.limits.login_window, now);
        let Some(left) = self.limits.max_refused_logins.checked_sub(refused).filter(|left| *left > 0) else {
            return Logins::Barred;
        };
        let trying = self.trying.get(&site(address)).copied().unwrap_or(0);
        if u32::try_from(trying).is_ok_and(|trying| trying < left) { Logins::Welcome } else { Logins::Later }
    }

    /// The source is asked about a login from there. It must [end](Self::end_login).
    pub(crate) fn begin_login(&mut self, address: IpAddr) {
        *self.trying.entry(site(address)).or_default() += 1;
    }

    /// The source answered, or will not be heard.
    pub(crate) fn end_login(&mut self, address: IpAddr) {
        release(&mut self.trying, &site(address));
    }
}

fn take<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, limit: usize) -> bool {
    let open = counts.get(&key).copied().unwrap_or(0);
    let welcome = open < limit;
    if welcome {
        counts.insert(key, open + 1);
    }
    welcome
}

fn release<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: std::hash::Hash + Eq + std::borrow::Borrow<Q>,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Names that differ in case only are one name.
fn folded(login: &str) -> String {
    login.trim().to_lowercase()
}

/// Refusals that are remembered for a window's time.
#[derive(Debug)]
struct Memory<K> {
    refused: HashMap<K, Refused>,
}

#[derive(Debug)]
struct Refused {
    since: Instant,
    count: u32,
}

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self { refused: HashMap::new() }
    }
}

impl<K: std::hash::Hash + Eq> Memory<K> {
    /// One more; how many there are in this window.
    fn add(&mut self, key: K, window: Duration, now: Instant) -> u32 {
        if self.refused.len() >= MAX_REMEMBERED {
            self.refused.retain(|_, refused| now.duration_since(refused.since) < window);
            if self.refused.len() >= MAX_REMEMBERED {
                self.refused.clear();
            }
        }
        let refused = self.refused.entry(key).or_insert(Refused { since: now, count: 0 });
        if now.duration_since(refused.since) >= window {
            *refused = Refused { since: now, count: 0 };
        }
        refused.count = refused.count.saturating_add(1);
        refused.count
    }

    fn count(&self, key: &K, window: Duration, now: Instant) -> u32 {
        let refused = self.refused.get(key);
        refused
            .filter(|refused| now.duration_since(refused.since) < window)
            .map_or(0, |refused| refused.count)
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
            max_connections_per_login: 2,
            max_refused_logins: 2,
            login_window: Duration::from_secs(60),
            guesses_without_delay: 3,
            guess_window: Duration::from_secs(600),
            max_login_delay: Duration::from_secs(5),
            ..ProxyLimits::default()
        };
        Admission::new(&limits)
    }

    fn may(admission: &Admission, from: IpAddr, now: Instant) -> bool {
        admission.logins(from, now) == Logins::Welcome
    }

    #[test]
    fn logins_under_way_count_as_if_they_would_be_refused() {
        let mut admission = admission();
        let (here, start) = (at("192.0.2.1"), Instant::now());
        admission.begin_login(here);
        assert_eq!(admission.logins(here, start), Logins::Welcome);
        admission.begin_login(here);
        assert_eq!(admission.logins(here, start), Logins::Later, "two that may be refused");
        assert_eq!(admission.logins(at("192.0.2.2"), start), Logins::Welcome);
        admission.end_login(here);
        assert_eq!(admission.logins(here, start), Logins::Welcome);
        admission.on_refused(here, None, start);
        assert_eq!(admission.logins(here, start), Logins::Later, "one was, one may be");
        admission.end_login(here);
        assert_eq!(admission.logins(here, start), Logins::Welcome);
        admission.on_refused(here, None, start);
        assert_eq!(admission.logins(here, start), Logins::Barred);
        assert!(admission.trying.is_empty());
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn connections_are_counted_in_total() {
        let mut admission = admission();
        assert_eq!([(); 4].map(|()| admission.enter()), [true, true, true, false]);
        admission.leave();
        assert!(admission.enter() && !admission.enter());
        admission.set_limits(&ProxyLimits { max_connections: 4, ..admission.limits });
        assert!(admission.enter() && !admission.enter());
        admission.set_limits(&ProxyLimits { max_connections: 1, ..admission.limits });
        admission.leave();
        assert!(!admission.enter(), "three are still in");
    }

    #[test]
    fn and_by_address() {
        let mut admission = admission();
        let mut take = |address| admission.take_address(at(address));
        assert!(take("192.0.2.1"));
        assert!(take("::ffff:192.0.2.1"));
        assert!(!take("192.0.2.1"), "two from one address");
        assert!(take("192.0.2.2"));
        assert!(take("2001:db8::1") && take("2001:db8::2"));
        assert!(!take("2001:db8::3"), "one network");
        admission.release_address(at("192.0.2.1"));
        assert!(admission.take_address(at("192.0.2.1")));
        for address in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] {
            admission.release_address(at(address));
        }
        assert!(admission.by_address.is_empty());
    }

    #[test]
    fn and_by_login() {
        let mut admission = admission();
        assert!(admission.take_login("Ann@example.com") && admission.take_login("ann@EXAMPLE.com "));
        assert!(!admission.take_login("ann@example.com"));
        assert!(admission.take_login("bob@example.com"));
        admission.release_login("ANN@example.com");
        assert!(admission.take_login("ann@example.com"));
        for login in ["ann@example.com", "ann@example.com", "bob@example.com"] {
            admission.release_login(login);
        }
        assert!(admission.by_login.is_empty());
    }

    #[test]
    fn refused_logins_close_the_door_for_a_while() {
        let mut admission = admission();
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        admission.on_refused(at("192.0.2.1"), None, start);
        assert!(may(&admission, at("192.0.2.1"), start));
        admission.on_refused(at("192.0.2.1"), None, start);
        assert!(!may(&admission, at("192.0.2.1"), start));
        assert!(may(&admission, at("192.0.2.2"), start));
        assert!(may(&admission, at("192.0.2.1"), later));
        admission.on_refused(at("192.0.2.1"), None, later);
        assert!(may(&admission, at("192.0.2.1"), later));
    }

    #[test]
    fn a_password_list_against_one_name_gets_slower_answers_and_locks_nobody_out() {
        let mut admission = admission();
        let start = Instant::now();
        // Each guess from another address: none of them is barred.
        let delays: Vec<u64> = (0..8)
            .map(|n| {
                let from = at(&format!("198.51.100.{n}"));
                assert!(may(&admission, from, start));
                let delay = admission.on_refused(from, Some("ann@example.com"), start).delay;
                u64::try_from(delay.as_millis()).unwrap()
            })
            .collect();
        assert_eq!(delays, [0, 0, 0, 500, 1000, 2000, 4000, 5000]);
        let accepted = |from: &str, login: &str, seconds: u64| {
            admission.delay_of_accepted(at(from), login, start + Duration::from_secs(seconds)).as_millis()
        };
        assert_eq!(accepted("192.0.2.1", "ann@example.com", 1), 0, "ann herself");
        assert_eq!(accepted("198.51.100.0", "ANN@example.com", 1), 5000, "a guesser who guessed right");
        assert_eq!(accepted("198.51.100.0", "bob@example.com", 1), 0);
        assert_eq!(accepted("198.51.100.0", "ann@example.com", 601), 0, "it is over");
        (0..100).for_each(|_| {
            let delay = admission.on_refused(at("198.51.100.9"), Some("ann@example.com"), start).delay;
            assert_eq!(delay, Duration::from_secs(5), "no delay beyond the maximum");
        });
    }

    #[test]
    fn a_flood_of_names_and_addresses_is_bounded() {
        let mut admission = admission();
        let start = Instant::now();
        for n in 0..250_000_u32 {
            let from = IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
            admission.on_refused(from, Some(&format!("nobody{n}")), start);
        }
        assert!(admission.refused.refused.len() <= MAX_REMEMBERED);
        assert!(admission.guessed.refused.len() <= MAX_REMEMBERED);
    }
}
