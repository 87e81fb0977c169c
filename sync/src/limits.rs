//! Which messages stay behind by the limits. Pure, and known before anything is copied.

use mailferry_imap::{InternalDate, Uid};
use mailferry_ledger::FolderId;

/// One message that might be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its folder.
    pub folder: FolderId,
    /// Its UID.
    pub uid: Uid,
    /// Its INTERNALDATE.
    pub date: InternalDate,
}

/// Keeps in `items` those that go, and returns those that do not: with `taken` places used up already, the newest by
/// INTERNALDATE over the whole mailbox go, up to `max_items`. Among messages of the same moment the higher UID counts
/// as newer, then the folder that comes first.
pub fn beyond_item_limit(items: &mut Vec<Item>, taken: u64, max_items: u64) -> Vec<Item> {
    let room = usize::try_from(max_items.saturating_sub(taken)).unwrap_or(usize::MAX);
    if items.len() <= room {
        return Vec::new();
    }
    items.sort_unstable_by(|a, b| {
        let newer = b.date.unix().cmp(&a.date.unix());
        newer.then(b.uid.cmp(&a.uid)).then(a.folder.cmp(&b.folder))
    });
    items.split_off(room)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(folder: u32, uid: u32, seconds: i64) -> Item {
        let date = InternalDate::new(seconds, 0).unwrap();
        Item { folder: FolderId(folder), uid: Uid::new(uid).unwrap(), date }
    }

    #[test]
    fn the_newest_of_all_folders_go() {
        let mut items = vec![item(1, 1, 10), item(1, 2, 40), item(2, 1, 30), item(2, 2, 20)];
        let left = beyond_item_limit(&mut items, 0, 3);
        assert_eq!(left, [item(1, 1, 10)]);
        let left = beyond_item_limit(&mut items, 1, 3);
        assert_eq!(left, [item(2, 2, 20)]);
        assert_eq!(beyond_item_limit(&mut items, 0, 2), []);
        assert_eq!(beyond_item_limit(&mut items, 9, 2).len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_that_goes_is_older_than_what_stays(
            dates in proptest::collection::vec(0i64..50, 0..60), taken in 0u64..10, max in 0u64..70,
        ) {
            let all: Vec<Item> = dates.iter().zip(1..).map(|(date, uid)| item(1, uid, *date)).collect();
            let mut go = all.clone();
            let stay = beyond_item_limit(&mut go, taken, max);
            prop_assert_eq!(go.len() + stay.len(), all.len());
            prop_assert!(go.len() as u64 <= max.saturating_sub(taken));
            prop_assert!(stay.is_empty() || go.len() as u64 == max.saturating_sub(taken));
            let oldest = go.iter().map(|item| item.date.unix()).min().unwrap_or(i64::MAX);
            prop_assert!(stay.iter().all(|item| item.date.unix() <= oldest));
        }
    }
}
