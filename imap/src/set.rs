//! Sets of UIDs (RFC 3501 `sequence-set`), kept as sorted ranges: a folder's UIDs are mostly consecutive, so that
//! half a million of them are a few hundred bytes.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::Uid;

/// A set of UIDs: sorted ranges that neither overlap nor touch.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(Uid, Uid)>", into = "Vec<(Uid, Uid)>")]
pub struct UidSet {
    ranges: Vec<Range>,
}

/// Both ends are in it; `first <= last`; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Range {
    first: u32,
    last: u32,
}

impl UidSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// From the wire: `1:3,7,12:9`. `None` for anything else, `*` and the empty text among it.
    pub fn parse(wire: &[u8]) -> Option<Self> {
        let ranges: Option<Vec<_>> = wire_ranges(wire).collect();
        Some(Self::from_ranges(ranges?))
    }

    /// From numbers in any order; zeroes are left out.
    pub fn from_numbers(numbers: impl IntoIterator<Item = u32>) -> Self {
        Self::from_ranges(numbers.into_iter().filter(|n| *n != 0).map(|n| (n, n)).collect())
    }

    /// Sorted first: a peer's descending numbers must not cost their square.
    fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.iter_mut().for_each(|(first, last)| (*first, *last) = (*first.min(last), *first.max(last)));
        ranges.sort_unstable();
        let mut set = Self::new();
        ranges.into_iter().for_each(|(first, last)| set.insert_numbers(first, last));
        set
    }

    /// Takes one UID in.
    pub fn insert(&mut self, uid: Uid) {
        self.insert_numbers(uid.value(), uid.value());
    }

    /// Takes all from `first` to `last` in, both included; nothing when they are the wrong way round.
    pub fn insert_range(&mut self, first: Uid, last: Uid) {
        if first <= last {
            self.insert_numbers(first.value(), last.value());
        }
    }

    /// Takes one UID out.
    pub fn remove(&mut self, uid: Uid) {
        let mut one = Self::new();
        one.insert(uid);
        *self = self.difference(&one);
    }

    /// Whether a UID is in it.
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.ranges.partition_point(|range| range.last < uid.value());
        self.ranges.get(at).is_some_and(|range| range.first <= uid.value())
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many UIDs are in it.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.last - range.first) + 1).sum()
    }

    /// The smallest.
    pub fn first(&self) -> Option<Uid> {
        self.ranges.first().and_then(|range| Uid::new(range.first))
    }

    /// The greatest.
    pub fn last(&self) -> Option<Uid> {
        self.ranges.last().and_then(|range| Uid::new(range.last))
    }

    /// All of them, ascending. A set that a peer named may hold four thousand million: bound what you collect.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges.iter().flat_map(|range| range.first..=range.last).filter_map(Uid::new)
    }

    /// The ranges, ascending; they neither overlap nor touch.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<u32>> + '_ {
        self.ranges.iter().map(|range| range.first..=range.last)
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut merged = Self { ranges: Vec::with_capacity(self.ranges.len() + other.ranges.len()) };
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        loop {
            let left_first = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.first <= b.first,
                (None, None) => return merged,
                (ours, _) => ours.is_some(),
            };
            if let Some(range) = if left_first { left.next() } else { right.next() } {
                merged.insert_numbers(range.first, range.last);
            }
        }
    }

    /// What is in this one and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self::new();
        let mut taken = other.ranges.iter().peekable();
        for range in &self.ranges {
            let mut first = range.first;
            // One that reaches beyond this range is looked at again for the next one.
            while let Some(hole) = taken.peek() {
                if hole.last < first {
                    taken.next();
                    continue;
                }
                if hole.first > range.last {
                    break;
                }
                if hole.first > first {
                    left.ranges.push(Range { first, last: hole.first - 1 });
                }
                if hole.last >= range.last {
                    first = 0;
                    break;
                }
                first = hole.last + 1;
                taken.next();
            }
            if first != 0 {
                left.ranges.push(Range { first, last: range.last });
            }
        }
        left
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.difference(&self.difference(other))
    }

    /// The same set in parts of at most so many UIDs each, ascending.
    pub fn parts(&self, most: u32) -> impl Iterator<Item = Self> + '_ {
        let most = most.max(1);
        let mut ranges = self.ranges.iter().copied();
        let mut rest: Option<Range> = ranges.next();
        std::iter::from_fn(move || {
            let mut part = Self::new();
            let mut room = most;
            while room > 0
                && let Some(Range { first, last }) = rest
            {
                let end = last.min(first.saturating_add(room - 1));
                part.ranges.push(Range { first, last: end });
                room -= end - first + 1;
                rest = if end < last { Some(Range { first: end + 1, last }) } else { ranges.next() };
            }
            (!part.is_empty()).then_some(part)
        })
    }

    /// The wire form in pieces of at most `max_wire_bytes` each (a single range may need up to 21).
    pub fn chunks(&self, max_wire_bytes: usize) -> impl Iterator<Item = String> + '_ {
        let mut ranges = self.ranges.iter().map(ToString::to_string).peekable();
        std::iter::from_fn(move || {
            let mut chunk = ranges.next()?;
            while let Some(next) = ranges.next_if(|next| chunk.len() + 1 + next.len() <= max_wire_bytes) {
                chunk.push(',');
                chunk.push_str(&next);
            }
            Some(chunk)
        })
    }

    fn insert_numbers(&mut self, first: u32, last: u32) {
        // Mostly they come ascending: at the end there is nothing to search or to move.
        match self.ranges.last_mut() {
            None => return self.ranges.push(Range { first, last }),
            Some(end) if first > end.last.saturating_add(1) => {
                return self.ranges.push(Range { first, last });
            }
            Some(end) if first >= end.first => return end.last = end.last.max(last),
            Some(_) => {}
        }
        let from = self.ranges.partition_point(|range| range.last.saturating_add(1) < first);
        let to = self.ranges.partition_point(|range| range.first <= last.saturating_add(1));
        let merged = match self.ranges.get(from..to) {
            Some([begin, ..]) if to > from => {
                let end = self.ranges[to - 1].last;
                Range { first: first.min(begin.first), last: last.max(end) }
            }
            _ => Range { first, last },
        };
        self.ranges.splice(from..to, [merged]);
    }
}

/// Pairs of a COPYUID (RFC 4315): the n-th number of one set goes with the n-th of the other, in the order in which
/// they are written. Stops at the end of the shorter one and at the first thing that is no number.
pub fn pairs<'a>(source: &'a str, target: &'a str) -> impl Iterator<Item = (Uid, Uid)> + 'a {
    wire_numbers(source.as_bytes())
        .zip(wire_numbers(target.as_bytes()))
        .filter_map(|(from, to)| Some((Uid::new(from)?, Uid::new(to)?)))
}

/// The same where both sets must name equally many, and at most `most`; `None` otherwise.
pub fn exact_pairs(source: &str, target: &str, most: usize) -> Option<Vec<(Uid, Uid)>> {
    let count = |wire: &str| {
        wire_ranges(wire.as_bytes()).try_fold(0u64, |sum, range| {
            let (first, last) = range?;
            Some(sum + u64::from(first.abs_diff(last)) + 1)
        })
    };
    let (from, to) = (count(source)?, count(target)?);
    (from == to && usize::try_from(from).is_ok_and(|count| count <= most))
        .then(|| pairs(source, target).collect())
}

fn wire_numbers(wire: &[u8]) -> impl Iterator<Item = u32> + '_ {
    wire_ranges(wire).map_while(|range| range).flat_map(|(first, last)| first.min(last)..=first.max(last))
}

/// The ranges as they are written; a `None` among them where something is no range.
fn wire_ranges(wire: &[u8]) -> impl Iterator<Item = Option<(u32, u32)>> + '_ {
    wire.split(|byte| *byte == b',').map(|range| {
        let (first, last) = match memchr::memchr(b':', range) {
            Some(at) => (&range[..at], &range[at + 1..]),
            None => (range, range),
        };
        Some((uid_number(first)?, uid_number(last)?))
    })
}

/// One number above zero.
fn uid_number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0u32, |value, digit| value.checked_mul(10)?.checked_add(u32::from(digit - b'0')))?;
    (number != 0).then_some(number)
}

impl Extend<Uid> for UidSet {
    fn extend<I: IntoIterator<Item = Uid>>(&mut self, uids: I) {
        let more = Self::from_numbers(uids.into_iter().map(Uid::value));
        *self = if self.is_empty() { more } else { self.union(&more) };
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut set = Self::new();
        set.extend(uids);
        set
    }
}

impl From<Vec<(Uid, Uid)>> for UidSet {
    fn from(ranges: Vec<(Uid, Uid)>) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|(first, last)| set.insert_range(first, last));
        set
    }
}

impl From<UidSet> for Vec<(Uid, Uid)> {
    fn from(set: UidSet) -> Self {
        set.ranges.iter().filter_map(|range| Some((Uid::new(range.first)?, Uid::new(range.last)?))).collect()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

impl fmt::Display for UidSet {
    /// The wire form; empty for the empty set, which IMAP cannot write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.ranges.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    fn set(wire: &str) -> UidSet {
        UidSet::parse(wire.as_bytes()).unwrap_or_else(|| panic!("{wire} is a set"))
    }

    #[test]
    fn wire_forms() {
        assert_eq!(set("5,1:3,4,9:7").to_string(), "1:5,7:9");
        assert_eq!(set("4294967295,4294967294,1").to_string(), "1,4294967294:4294967295");
        assert_eq!(set("1:4294967295").len(), 4_294_967_295);
        for wire in ["", ",", "1,", "*", "1:*", "0", "0:3", "4294967296", "1:2:3", "a", "1 2", "-1", "+1"] {
            assert_eq!(UidSet::parse(wire.as_bytes()), None, "{wire}");
        }
    }

    #[test]
    fn numbers_in_the_worst_order_do_not_cost_their_square() {
        let falling = UidSet::from_numbers((1..=300_000).rev().map(|n| n * 2));
        assert_eq!((falling.len(), falling.ranges().len()), (300_000, 300_000));
        assert_eq!(UidSet::from_numbers([0, 3, 0, 2]).to_string(), "2:3");
    }

    #[test]
    fn long_sets_are_cut_below_the_limit() {
        let odd: UidSet = (0..5_000).filter_map(|n| Uid::new(n * 2 + 1)).collect();
        let chunks: Vec<String> = odd.chunks(3_000).collect();
        assert!(chunks.len() > 5);
        assert!(chunks.iter().all(|chunk| chunk.len() <= 3_000));
        let joined = chunks.iter().fold(UidSet::new(), |all, chunk| all.union(&set(chunk)));
        assert_eq!(joined, odd);
        assert_eq!(UidSet::new().chunks(10).count(), 0);
        assert_eq!(set("1:9,11").chunks(1).collect::<Vec<_>>(), ["1:9", "11"]);
    }

    #[test]
    fn parts_are_the_set() {
        let parts = |wire: &str, most| set(wire).parts(most).map(|part| part.to_string()).collect::<Vec<_>>();
        assert_eq!(parts("1:5,7,9:12", 3), ["1:3", "4:5,7", "9:11", "12"]);
        assert_eq!(parts("1:5", 9), ["1:5"]);
        assert_eq!(parts("4294967290:4294967295", 4), ["4294967290:4294967293", "4294967294:4294967295"]);
        assert_eq!(UidSet::new().parts(3).count(), 0);
    }

    #[test]
    fn copyuid_pairs_keep_the_order_in_which_they_are_written() {
        let found: Vec<_> = pairs("304,319:320,2", "3956:3958,1").collect();
        assert_eq!(found, [(304, 3956), (319, 3957), (320, 3958), (2, 1)].map(|(a, b)| (uid(a), uid(b))));
        assert_eq!(pairs("1:4294967295", "1:4294967295").take(2).count(), 2);
        assert_eq!(pairs("1,x", "1,2").count(), 1);
        let exact = |from, to, most| exact_pairs(from, to, most).map(|pairs| pairs.len());
        assert_eq!(exact("304,319:320,2", "3956:3958,1", 4), Some(4));
        assert_eq!(exact("304,319:320,2", "3956:3958,1", 3), None, "more than anybody asked for");
        assert_eq!(exact("1:3", "1:2", 9), None, "which goes with which is open");
        assert_eq!(exact("1,x", "1,2", 9), None);
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(
            left in proptest::collection::vec((1u32..60, 0u32..6), 0..20),
            right in proptest::collection::vec((1u32..60, 0u32..6), 0..20),
        ) {
            let build = |ranges: &[(u32, u32)]| {
                let mut ours = UidSet::new();
                let mut model = BTreeSet::new();
                for (first, more) in ranges {
                    ours.insert_range(uid(*first), uid(first + more));
                    model.extend((*first..=first + more).map(uid));
                }
                (ours, model)
            };
            let ((a, model_a), (b, model_b)) = (build(&left), build(&right));
            prop_assert!(a.iter().eq(model_a.iter().copied()));
            prop_assert_eq!(a.len(), model_a.len() as u64);
            prop_assert!(a.union(&b).iter().eq(model_a.union(&model_b).copied()));
            prop_assert!(a.difference(&b).iter().eq(model_a.difference(&model_b).copied()));
            prop_assert!(a.intersection(&b).iter().eq(model_a.intersection(&model_b).copied()));
            prop_assert!((1..70).all(|n| a.contains(uid(n)) == model_a.contains(&uid(n))));
            for most in [1, 3, 1_000] {
                let parts: Vec<UidSet> = a.parts(most).collect();
                prop_assert!(parts.iter().all(|part| (1..=u64::from(most)).contains(&part.len())));
                prop_assert_eq!(parts.iter().fold(UidSet::new(), |all, part| all.union(part)), a.clone());
            }
            prop_assert!(a.ranges.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
            prop_assert_eq!(a.union(&b), model_a.union(&model_b).copied().collect::<UidSet>());
            if !a.is_empty() {
                prop_assert_eq!(UidSet::parse(a.to_string().as_bytes()), Some(a));
            }
        }

        #[test]
        fn no_bytes_panic(wire in "[0-9:,*a]{0,40}") {
            let _ = UidSet::parse(wire.as_bytes());
            let _ = pairs(&wire, &wire).take(10).count();
        }
    }
}
