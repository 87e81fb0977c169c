//! Which messages stay behind by the item limit. Pure, and known before anything is copied.

use mailferry_imap::{InternalDate, Uid};
use mailferry_ledger::FolderId;

/// How new a message is among those of its mailbox: greater is newer. By INTERNALDATE; among messages of the same moment the
/// higher UID counts as newer, then the folder that comes first. No two messages of a mailbox have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Newness(u128);

impl Newness {
    /// Of one message.
    pub fn of(date: InternalDate, folder: FolderId, uid: Uid) -> Self {
        // Flipping the sign bit puts moments before 1970 first.
        let moment = date.unix().cast_unsigned() ^ (1 << 63);
        Self(u128::from(moment) << 64 | u128::from(uid.value()) << 32 | u128::from(!folder.0))
    }
}

/// Where the newest end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut(Option<u128>);

impl Cut {
    /// Whether a message is among those that go.
    pub fn lets_go(self, message: Newness) -> bool {
        self.0.is_some_and(|least| message.0 >= least)
    }

    /// Nothing that lies above `last` and below or at it goes.
    fn above(last: u128) -> Self {
        Self(last.checked_add(1))
    }
}

/// Into so many steps a range is divided when the cut is looked for.
const STEPS: usize = 4_096;

/// So many are sorted; of more a part is chosen first.
const SORTED: u64 = 50_000;

/// The cut that lets the `room` newest go. `walk` shows all messages, in any order, each time that it is called, which is
/// three or four times: memory does not grow with their number.
///
/// # Errors
/// What `walk` fails with.
pub fn cut<E>(room: u64, mut walk: impl FnMut(&mut dyn FnMut(Newness)) -> Result<(), E>) -> Result<Cut, E> {
    let (mut least, mut greatest, mut count) = (u128::MAX, 0, 0);
    walk(&mut |Newness(one)| {
        (least, greatest, count) = (one.min(least), one.max(greatest), count + 1);
    })?;
    // Of those in the range so many go; of those above it all do.
    let (mut room, mut count) = (room, count);
    while count > SORTED && count > room {
        let width = (greatest - least) / STEPS as u128 + 1;
        let mut counts = vec![0_u64; STEPS];
        walk(&mut |Newness(one)| {
            if (least..=greatest).contains(&one)
                && let Some(count) =
                    usize::try_from((one - least) / width).ok().and_then(|at| counts.get_mut(at))
            {
                *count += 1;
            }
        })?;
        for (at, in_step) in counts.into_iter().enumerate().rev() {
            if in_step > room {
                least += at as u128 * width;
                greatest = greatest.min(least + (width - 1));
                count = in_step;
                break;
            }
            room -= in_step;
        }
    }
    if count <= room {
        return Ok(Cut(Some(least)));
    }
    let mut sorted = Vec::new();
    walk(&mut |Newness(one)| {
        if (least..=greatest).contains(&one) {
            sorted.push(one);
        }
    })?;
    sorted.sort_unstable_by(|one, other| other.cmp(one));
    let last = room.checked_sub(1).and_then(|at| sorted.get(usize::try_from(at).ok()?));
    Ok(last.map_or_else(|| Cut::above(greatest), |last| Cut(Some(*last))))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn message(folder: u32, uid: u32, seconds: i64) -> Newness {
        Newness::of(InternalDate::new(seconds, 0).unwrap(), FolderId(folder), Uid::new(uid).unwrap())
    }

    fn go(all: &[Newness], room: u64) -> Vec<Newness> {
        let walk = |on: &mut dyn FnMut(Newness)| {
            all.iter().for_each(|one| on(*one));
            Ok::<(), Infallible>(())
        };
        let cut = cut(room, walk).unwrap();
        all.iter().copied().filter(|one| cut.lets_go(*one)).collect()
    }

    #[test]
    fn the_newest_of_all_folders_go() {
        let all = [message(1, 1, 10), message(1, 2, 40), message(2, 1, 30), message(2, 2, 20)];
        assert_eq!(go(&all, 3), all[1..]);
        assert_eq!(go(&all, 2), all[1..3]);
        assert_eq!(go(&all, 0), []);
        assert_eq!(go(&all, 9), all);
        assert_eq!(go(&[], 9), []);
        // The same moment: the higher UID, then the folder that comes first.
        let twins = [message(1, 1, -5), message(1, 2, -5), message(2, 2, -5)];
        assert_eq!(go(&twins, 1), twins[1..2]);
        assert_eq!(go(&twins, 2), twins[1..]);
    }

    #[test]
    fn many_of_one_moment_are_cut_exactly() {
        let all: Vec<Newness> =
            (1..=130_000).map(|uid| message(1 + uid % 3, uid, i64::from(uid / 100_000))).collect();
        for room in [1, 29_999, 30_001, 30_002, 70_000, 129_999, 130_000] {
            assert_eq!(go(&all, room).len() as u64, room);
        }
        assert!(go(&all, 30_001).iter().all(|one| *one >= message(3, 100_000, 1)));
    }

    proptest! {
        #[test]
        fn nothing_that_goes_is_older_than_what_stays(
            dates in proptest::collection::vec(-20i64..50, 0..60), room in 0u64..70,
        ) {
            let all: Vec<Newness> = dates.iter().zip(1..).map(|(date, uid)| message(1, uid, *date)).collect();
            let newest = go(&all, room);
            prop_assert_eq!(newest.len() as u64, room.min(all.len() as u64));
            let oldest = newest.iter().min();
            prop_assert!(all.iter().all(|one| newest.contains(one) || oldest.is_none_or(|oldest| one < oldest)));
        }
    }
}
