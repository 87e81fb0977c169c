//! What SPF records (RFC 7208) lead to: who is included, and how many look-ups a receiver needs. Pure.

use std::collections::{BTreeSet, VecDeque};

use crate::HostName;

/// Look-ups that a receiver makes at most (RFC 7208, section 4.6.4).
pub(crate) const MAX_LOOKUPS: u32 = 10;
/// Records that are fetched to count; a record that needs more is beyond the limit anyway.
const MAX_FETCHES: usize = 20;

/// What one record asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Names whose own records are looked at, by `include` or `redirect`.
    pub(crate) includes: BTreeSet<HostName>,
    /// Terms that need a look-up, those for `includes` among them.
    pub(crate) lookups: u32,
    /// Whether a name depends on the message (`%{i}` …), so that it cannot be followed.
    pub(crate) has_macros: bool,
}

/// What a record leads to, directly and through others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// All names whose records are looked at.
    pub(crate) names: BTreeSet<HostName>,
    /// Look-ups, all together.
    pub(crate) lookups: u32,
    /// Whether all was followed to its end.
    pub(crate) complete: bool,
}

/// Follows one record; the caller fetches.
#[derive(Debug)]
pub(crate) struct Follower {
    reach: Reach,
    waiting: VecDeque<HostName>,
    fetched: usize,
}

/// The SPF records among a name's texts.
pub(crate) fn records(texts: &[String]) -> Vec<&str> {
    let is_spf = |text: &&str| {
        let head = text.get(..6).unwrap_or_default();
        head.eq_ignore_ascii_case("v=spf1") && matches!(text.as_bytes().get(6), None | Some(b' '))
    };
    texts.iter().map(String::as_str).filter(is_spf).collect()
}

/// Reads one record.
pub(crate) fn terms(record: &str) -> Terms {
    let mut terms = Terms::default();
    for term in record.split(' ').skip(1) {
        let term = term.trim_start_matches(['+', '-', '~', '?']).to_ascii_lowercase();
        if let Some(name) = term.strip_prefix("include:").or_else(|| term.strip_prefix("redirect=")) {
            terms.lookups = terms.lookups.saturating_add(1);
            if name.contains('%') {
                terms.has_macros = true;
            } else {
                terms.includes.insert(HostName::from(name));
            }
            continue;
        }
        let mechanism = term.split([':', '/']).next().unwrap_or_default();
        if matches!(mechanism, "a" | "mx" | "ptr" | "exists") {
            terms.lookups = terms.lookups.saturating_add(1);
        }
    }
    terms
}

impl Follower {
    /// Begins with the domain's own record.
    pub(crate) fn new(record: &str) -> Self {
        let reach = Reach { complete: true, ..Reach::default() };
        let mut follower = Self { reach, waiting: VecDeque::new(), fetched: 0 };
        follower.add(record);
        follower
    }

    /// The next name whose texts are needed.
    pub(crate) fn next(&mut self) -> Option<HostName> {
        let name = self.waiting.pop_front()?;
        if self.fetched == MAX_FETCHES {
            self.reach.complete = false;
            return None;
        }
        self.fetched += 1;
        Some(name)
    }

    /// The texts of the name that was asked for; nothing if nobody told.
    pub(crate) fn take(&mut self, texts: Option<&[String]>) {
        match texts.map(records).as_deref() {
            Some([record]) => self.add(record),
            Some(_) | None => self.reach.complete = false,
        }
    }

    /// What was found until now.
    pub(crate) fn end(mut self) -> Reach {
        self.reach.complete &= self.waiting.is_empty();
        self.reach
    }

    fn add(&mut self, record: &str) {
        let terms = terms(record);
        self.reach.lookups = self.reach.lookups.saturating_add(terms.lookups);
        self.reach.complete &= !terms.has_macros;
        for name in terms.includes {
            if self.reach.names.insert(name.clone()) {
                self.waiting.push_back(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn follow(zone: &BTreeMap<&str, Vec<&str>>, domain: &str) -> Reach {
        let texts = |name: &str| -> Option<Vec<String>> {
            zone.get(name).map(|texts| texts.iter().map(ToString::to_string).collect())
        };
        let own = texts(domain).unwrap();
        let mut follower = Follower::new(records(&own)[0]);
        while let Some(name) = follower.next() {
            follower.take(texts(name.as_str()).as_deref());
        }
        follower.end()
    }

    #[test]
    fn includes_are_followed_and_counted() {
        let zone = BTreeMap::from([
            (
                "contoso.edu",
                vec!["v=spf1 a mx:other.example/24 ?include:_spf.contoso.edu ip4:192.0.2.0/24 -all", "x"],
            ),
            (
                "_spf.contoso.edu",
                vec!["V=SPF1 include:SPF.protection.outlook.com. +ptr exists:x.example all"],
            ),
            ("spf.protection.outlook.com", vec!["v=spf1 ip4:192.0.2.1 redirect=spf2.outlook.com"]),
            ("spf2.outlook.com", vec!["v=spf1 -all"]),
            ("loop.edu", vec!["v=spf1 include:loop2.edu"]),
            ("loop2.edu", vec!["v=spf1 include:loop.edu"]),
            ("macro.edu", vec!["v=spf1 include:%{i}.x.edu include:gone.edu"]),
        ]);
        let reach = follow(&zone, "contoso.edu");
        assert_eq!((reach.lookups, reach.complete), (7, true));
        assert!(reach.names.contains(&HostName::from("spf.protection.outlook.com")));
        let reach = follow(&zone, "loop.edu");
        assert_eq!((reach.lookups, reach.complete, reach.names.len()), (3, true, 2));
        let reach = follow(&zone, "macro.edu");
        assert_eq!((reach.lookups, reach.complete), (2, false));
    }

    #[test]
    fn record_without_end_is_given_up() {
        let mut follower = Follower::new("v=spf1 include:a0.edu");
        let mut asked = 0;
        while follower.next().is_some() {
            asked += 1;
            let text = format!("v=spf1 include:a{asked}.edu include:b{asked}.edu");
            follower.take(Some(&[text]));
        }
        assert_eq!(asked, MAX_FETCHES);
        let reach = follower.end();
        assert!(!reach.complete && reach.lookups > MAX_LOOKUPS);
    }
}
