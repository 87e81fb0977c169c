//! Log lines that do not flood: what happens again and again is told once per address and interval, with a count.
//! Pure; time is passed in. Bounded: beyond so many addresses the rest is counted together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// How long one line holds for what follows it.
const INTERVAL: Duration = Duration::from_secs(60);

/// Addresses that are told apart.
const MAX_APART: usize = 1000;

/// Stands for all addresses, and for those that are not told apart.
pub(crate) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Notice {
    /// `max_connections` is reached.
    Full,
    /// `max_connections_per_address` is reached.
    AddressFull,
    /// A balancer that is named sent no PROXY header, or a bad one.
    HeaderRefused,
    /// Somebody who is not named sent one.
    HeaderForged,
    /// The system gives no more descriptors.
    NoDescriptors,
    /// The system refused to accept for another reason.
    NotAccepted,
    /// Too many refused logins from there.
    Barred,
    /// `max_connections_per_login` is reached.
    LoginFull,
    /// Refused logins of one name, from wherever: answers are delayed.
    Guessed,
    /// The source is to be told clients' addresses by `ID` and does not announce it.
    NoId,
}

/// One line's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub(crate) notice: Notice,
    pub(crate) address: IpAddr,
    /// How often it happened since it was last told.
    pub(crate) times: u64,
}

/// What was told, and what was not yet.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    told: HashMap<(Notice, IpAddr), Told>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    untold: u64,
}

impl Notices {
    /// It happened: a line, unless one was written a short while ago.
    pub(crate) fn on(&mut self, notice: Notice, address: IpAddr, now: Instant) -> Option<Due> {
        let mut address = address.to_canonical();
        if self.told.len() >= MAX_APART && !self.told.contains_key(&(notice, address)) {
            address = ANY;
        }
        match self.told.get_mut(&(notice, address)) {
            Some(told) if now.duration_since(told.at) < INTERVAL => {
                told.untold += 1;
                None
            }
            Some(told) => {
                let times = told.untold + 1;
                *told = Told { at: now, untold: 0 };
                Some(Due { notice, address, times })
            }
            None => {
                self.told.insert((notice, address), Told { at: now, untold: 0 });
                Some(Due { notice, address, times: 1 })
            }
        }
    }

    /// Counts whose interval is over; what has been quiet is forgotten. In no order.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        self.told.retain(|(notice, address), told| {
            if now.duration_since(told.at) < INTERVAL {
                return true;
            }
            if told.untold == 0 {
                return false;
            }
            due.push(Due { notice: *notice, address: *address, times: told.untold });
            *told = Told { at: now, untold: 0 };
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_address_and_interval_with_a_count() {
        let mut notices = Notices::default();
        let start = Instant::now();
        let one: IpAddr = [192, 0, 2, 1].into();
        let mut on = |address: IpAddr, seconds: u64| {
            let due = notices.on(Notice::Full, address, start + Duration::from_secs(seconds));
            due.map_or(0, |due| due.times)
        };
        assert_eq!([on(one, 0), on(one, 1), on(one, 59)], [1, 0, 0]);
        assert_eq!(on([192, 0, 2, 2].into(), 59), 1, "another address");
        assert_eq!(on("::ffff:192.0.2.1".parse().unwrap(), 60), 3, "with those in between");
        assert_eq!(on(one, 61), 0);
        let due = notices.due(start + Duration::from_secs(119));
        assert!(due.is_empty(), "{due:?}: too early for the one, nothing untold for the other");
        let due = notices.due(start + Duration::from_secs(120));
        assert_eq!(due, [Due { notice: Notice::Full, address: one, times: 1 }]);
        assert!(notices.due(start + Duration::from_secs(180)).is_empty());
        assert!(notices.told.is_empty(), "what is quiet is forgotten");
    }

    #[test]
    fn a_million_addresses_are_a_few_lines() {
        let mut notices = Notices::default();
        let start = Instant::now();
        let lines = (0..1_000_000_u32)
            .filter_map(|n| notices.on(Notice::AddressFull, Ipv4Addr::from_bits(n | 1 << 30).into(), start))
            .count();
        assert_eq!(lines, MAX_APART + 1);
        assert_eq!(notices.due(start + INTERVAL)[0].times, 1_000_000 - MAX_APART as u64 - 1);
    }
}
