//! Which message on the target is which message of the source, where the ledger does not say.
//!
//! Pure. Both sides are multisets: messages that the source holds twice are on the target twice, so equal ones
//! are paired in ascending order of their UIDs, each at most once. Strong evidence is used up first.

use std::collections::{BTreeMap, VecDeque};

use mailferry_imap::{InternalDate, Uid};

use crate::print::Print;

/// One message on either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its UID on its side.
    pub uid: Uid,
    /// Its print.
    pub print: Print,
    /// Its INTERNALDATE.
    pub date: InternalDate,
    /// Its RFC822.SIZE.
    pub size: u64,
}

/// Kinds of evidence, strongest first.
#[derive(Clone, Copy, Debug)]
enum Evidence {
    /// Print, moment and size.
    All,
    /// Print and moment; the target may have written the MIME anew.
    PrintAndMoment,
    /// Print and size; only where a Message-ID is part of the print: those without may be anything.
    PrintAndSize,
    /// The print, with a Message-ID.
    Print,
    /// Message-ID and moment: From or Subject came back as something else.
    IdAndMoment,
    /// From, Subject and moment: the target may have given a Message-ID to what has none at the source.
    RestAndMoment,
}

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum On {
    Source,
    Target,
}

impl Evidence {
    const ALL: [Self; 6] = [
        Self::All,
        Self::PrintAndMoment,
        Self::PrintAndSize,
        Self::Print,
        Self::IdAndMoment,
        Self::RestAndMoment,
    ];

    /// What must be equal on both sides; `None` where this evidence says nothing about the message.
    fn key(self, of: &Candidate, on: On) -> Option<([u8; 16], i64, u64)> {
        let moment = of.date.unix();
        match self {
            Self::All => Some((of.print.whole.0, moment, of.size)),
            Self::PrintAndMoment => Some((of.print.whole.0, moment, 0)),
            Self::PrintAndSize => of.print.id.map(|_| (of.print.whole.0, 0, of.size)),
            Self::Print => of.print.id.map(|_| (of.print.whole.0, 0, 0)),
            Self::IdAndMoment => of.print.id.map(|id| (id.0, moment, 0)),
            Self::RestAndMoment if on == On::Source && of.print.id.is_some() => None,
            Self::RestAndMoment => of.print.rest.map(|rest| ([0; 16], moment, rest)),
        }
    }
}

/// Pairs (source, target), by source UID. What is in no pair has no partner.
pub fn pair(source: &[Candidate], target: &[Candidate]) -> BTreeMap<Uid, Uid> {
    let mut source: Vec<&Candidate> = source.iter().collect();
    let mut target: Vec<&Candidate> = target.iter().collect();
    source.sort_by_key(|candidate| candidate.uid);
    target.sort_by_key(|candidate| candidate.uid);
    let mut pairs = BTreeMap::new();
    for evidence in Evidence::ALL {
        let mut found: BTreeMap<_, VecDeque<Uid>> = BTreeMap::new();
        for candidate in &target {
            if let Some(key) = evidence.key(candidate, On::Target) {
                found.entry(key).or_default().push_back(candidate.uid);
            }
        }
        let mut used = Vec::new();
        source.retain(|candidate| {
            let key = evidence.key(candidate, On::Source);
            let partner = key.and_then(|key| found.get_mut(&key)).and_then(VecDeque::pop_front);
            if let Some(partner) = partner {
                pairs.insert(candidate.uid, partner);
                used.push(partner);
            }
            partner.is_none()
        });
        used.sort_unstable();
        target.retain(|candidate| used.binary_search(&candidate.uid).is_err());
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn message(uid: u32, text: &str, seconds: i64, size: u64) -> Candidate {
        Candidate {
            uid: Uid::new(uid).unwrap(),
            print: Print::of_header(text.as_bytes()),
            date: InternalDate::new(seconds, 0).unwrap(),
            size,
        }
    }

    fn pairs(source: &[Candidate], target: &[Candidate]) -> Vec<(u32, u32)> {
        pair(source, target).into_iter().map(|(a, b)| (a.value(), b.value())).collect()
    }

    const A: &str = "Message-ID: <a>\nSubject: a\n\n";

    #[test]
    fn twins_are_paired_in_order_and_once() {
        let source = [message(1, A, 5, 9), message(2, A, 5, 9), message(3, A, 5, 9)];
        let target = [message(71, A, 5, 9), message(70, A, 5, 9)];
        assert_eq!(pairs(&source, &target), [(1, 70), (2, 71)]);
    }

    #[test]
    fn the_same_id_with_other_bodies_is_told_apart_by_date_and_size() {
        let source = [message(1, A, 5, 9), message(2, A, 6, 9), message(3, A, 5, 8)];
        let target = [message(10, A, 5, 8), message(11, A, 6, 9), message(12, A, 5, 9)];
        assert_eq!(pairs(&source, &target), [(1, 12), (2, 11), (3, 10)]);
    }

    #[test]
    fn sizes_may_differ_where_the_target_rewrites() {
        assert_eq!(pairs(&[message(1, A, 5, 9)], &[message(4, A, 5, 1234)]), [(1, 4)]);
        let recoded = "Message-ID: <a>\nSubject: =?utf-8?q?a?=\n\n";
        assert_eq!(pairs(&[message(1, A, 5, 9)], &[message(4, recoded, 5, 1234)]), [(1, 4)]);
        assert_eq!(pairs(&[message(1, A, 5, 9)], &[message(4, recoded, 6, 9)]), [(1, 4)]);
        let other = "Message-ID: <a>\nSubject: b\n\n";
        assert_eq!(pairs(&[message(1, A, 5, 9)], &[message(4, other, 5, 1234)]), [(1, 4)]);
        assert_eq!(pairs(&[message(1, A, 5, 9)], &[message(4, other, 6, 9)]), []);
    }

    #[test]
    fn an_id_that_the_target_invents_is_no_obstacle() {
        let (none, invented) = ("Subject: a\n\n", "Message-ID: <new>\nSubject: =?utf-8?q?a?=\n\n");
        assert_eq!(pairs(&[message(1, none, 5, 9)], &[message(4, invented, 5, 99)]), [(1, 4)]);
        assert_eq!(pairs(&[message(1, none, 5, 9)], &[message(4, invented, 6, 99)]), []);
        // But what has an id is not taken for what has another one.
        assert_eq!(pairs(&[message(1, A, 5, 9)], &[message(4, invented, 5, 9)]), []);
    }

    #[test]
    fn a_message_without_an_id_needs_its_date() {
        assert_eq!(pairs(&[message(1, "\n", 5, 9)], &[message(4, "\n", 6, 9)]), []);
        assert_eq!(pairs(&[message(1, "\n", 5, 9)], &[message(4, "\n", 5, 7)]), [(1, 4)]);
    }

    proptest! {
        #[test]
        fn nobody_has_two_partners(
            left in proptest::collection::vec((0u8..4, 0i64..3, 0u64..3), 0..12),
            right in proptest::collection::vec((0u8..4, 0i64..3, 0u64..3), 0..12),
        ) {
            let make = |all: &[(u8, i64, u64)], base: u32| -> Vec<Candidate> {
                all.iter().zip(base..).map(|((text, date, size), uid)| {
                    let text = if *text == 0 { "\n".to_owned() } else { format!("Message-ID: <{text}>\n\n") };
                    message(uid, &text, *date, *size)
                }).collect()
            };
            let (source, target) = (make(&left, 1), make(&right, 1000));
            let found = pair(&source, &target);
            let partners: BTreeSet<_> = found.values().collect();
            prop_assert_eq!(partners.len(), found.len());
            // Nothing that stands on both sides alike is left without a partner.
            let mut rest: Vec<_> = right.clone();
            let alike = left.iter().filter(|one| {
                let at = rest.iter().position(|other| other == *one);
                at.map(|at| rest.swap_remove(at)).is_some()
            }).count();
            prop_assert!(found.len() >= alike);
        }
    }
}
