//! Random changes against a plain map: what the ledger shows is what the map holds, restarts or not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Counts, SkipReason};

#[derive(Clone, Debug)]
enum Act {
    PutMailbox(u32),
    PutFolder(u32, u32),
    Put(u32, u32, u32, MessageState, u64),
    Settle(u32, u32, u32, MessageState, u64),
    Remove(u32, u32, u32),
    Intend(u32, u32, u32),
    TakeBack(u32, u32, u32),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Act>),
    ForgetFolder(u32, u32),
    RemoveMailbox(u32),
    Restart,
}

fn state() -> impl Strategy<Value = MessageState> {
    prop_oneof![
        Just(MessageState::Pending),
        (1..5_u32).prop_map(|target| MessageState::Mirrored { target_uid: Uid::new(target) }),
        Just(MessageState::Mirrored { target_uid: None }),
        Just(MessageState::Skipped(SkipReason::TooLarge)),
        Just(MessageState::Gone),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let (mailbox, folder, uid) = (1..4_u32, 1..4_u32, prop_oneof![1..6_u32, Just(u32::MAX)]);
    let place = (mailbox.clone(), folder.clone(), uid);
    prop_oneof![
        2 => mailbox.clone().prop_map(Act::PutMailbox),
        3 => (mailbox, folder).prop_map(|(mailbox, folder)| Act::PutFolder(mailbox, folder)),
        8 => (place.clone(), state(), 0..1000_u64)
            .prop_map(|((mailbox, folder, uid), state, size)| Act::Put(mailbox, folder, uid, state, size)),
        6 => (place.clone(), state(), 0..1000_u64)
            .prop_map(|((mailbox, folder, uid), state, size)| Act::Settle(mailbox, folder, uid, state, size)),
        3 => place.clone().prop_map(|(mailbox, folder, uid)| Act::Remove(mailbox, folder, uid)),
        4 => place.clone().prop_map(|(mailbox, folder, uid)| Act::Intend(mailbox, folder, uid)),
        2 => place.prop_map(|(mailbox, folder, uid)| Act::TakeBack(mailbox, folder, uid)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => prop::collection::vec(act(), 1..6).prop_map(Step::Commit),
        1 => (1..4_u32, 1..4_u32).prop_map(|(mailbox, folder)| Step::ForgetFolder(mailbox, folder)),
        1 => (1..4_u32).prop_map(Step::RemoveMailbox),
        2 => Just(Step::Restart),
    ]
}

/// Folders, messages and intents by their numbers; a mailbox is there when folder zero is.
#[derive(Clone, Default)]
struct Model {
    folders: BTreeMap<(u32, u32), ()>,
    messages: BTreeMap<(u32, u32, u32), (MessageState, u64)>,
    intents: BTreeMap<(u32, u32, u32), ()>,
}

impl Model {
    fn has(&self, mailbox: u32, folder: u32) -> bool {
        self.folders.contains_key(&(mailbox, folder))
    }

    /// Whether the act is allowed; done if so.
    fn act(&mut self, act: &Act) -> bool {
        match act.clone() {
            Act::PutMailbox(mailbox) => _ = self.folders.insert((mailbox, 0), ()),
            Act::PutFolder(mailbox, _) if !self.has(mailbox, 0) => return false,
            Act::PutFolder(mailbox, folder) => _ = self.folders.insert((mailbox, folder), ()),
            Act::Put(mailbox, folder, ..)
            | Act::Settle(mailbox, folder, ..)
            | Act::Intend(mailbox, folder, _)
                if !self.has(mailbox, folder) =>
            {
                return false;
            }
            Act::Put(mailbox, folder, uid, state, size) => {
                self.messages.insert((mailbox, folder, uid), (state, size));
            }
            Act::Settle(mailbox, folder, uid, state, size) => {
                self.messages.insert((mailbox, folder, uid), (state, size));
                self.intents.remove(&(mailbox, folder, uid));
            }
            Act::Remove(mailbox, folder, uid) => _ = self.messages.remove(&(mailbox, folder, uid)),
            Act::Intend(mailbox, folder, uid) => _ = self.intents.insert((mailbox, folder, uid), ()),
            Act::TakeBack(mailbox, folder, uid) => _ = self.intents.remove(&(mailbox, folder, uid)),
        }
        true
    }

    fn forget(&mut self, of: impl Fn(u32, u32) -> bool) {
        self.folders.retain(|(mailbox, folder), ()| !of(*mailbox, *folder));
        self.messages.retain(|(mailbox, folder, _), _| !of(*mailbox, *folder));
        self.intents.retain(|(mailbox, folder, _), ()| !of(*mailbox, *folder));
    }
}

fn add(change: &mut Change, act: Act) {
    match act {
        Act::PutMailbox(id) => change.put_mailbox(mailbox(MailboxId(id), &format!("user{id}@contoso.edu"))),
        Act::PutFolder(owner, id) => {
            change.put_folder(folder(MailboxId(owner), FolderId(id), &format!("Folder{id}")));
        }
        Act::Put(mailbox, folder, number, state, size) => {
            change.put_message(MailboxId(mailbox), FolderId(folder), uid(number), message(state, size));
        }
        Act::Settle(mailbox, folder, number, state, size) => {
            change.settle(MailboxId(mailbox), FolderId(folder), uid(number), message(state, size));
        }
        Act::Remove(mailbox, folder, number) => {
            change.remove_message(MailboxId(mailbox), FolderId(folder), uid(number));
        }
        Act::Intend(mailbox, folder, number) => {
            change.note_intent(MailboxId(mailbox), FolderId(folder), uid(number), intent());
        }
        Act::TakeBack(mailbox, folder, number) => {
            change.remove_intent(MailboxId(mailbox), FolderId(folder), uid(number));
        }
    }
}

fn compare(ledger: &Ledger, model: &Model) {
    for owner in 1..4 {
        let id = MailboxId(owner);
        assert_eq!(ledger.mailbox(id).unwrap().is_some(), model.has(owner, 0));
        let mut total = Counts::default();
        let mut skipped = Vec::new();
        for number in 1..4 {
            let place = FolderId(number);
            assert_eq!(ledger.folder(id, place).unwrap().is_some(), model.has(owner, number));
            let range = (owner, number, 0)..=(owner, number, u32::MAX);
            let expected: Vec<_> = model.messages.range(range.clone()).collect();
            let found: Vec<_> = ledger.messages(id, place).map(Result::unwrap).collect();
            assert_eq!(found.len(), expected.len());
            let mut counts = Counts::default();
            let name = FolderName::from_wire(format!("Folder{place}"));
            let mut unsettled: Vec<u32> = Vec::new();
            for ((uid, found), ((.., number), (state, size))) in found.iter().zip(expected) {
                assert_eq!((uid.value(), &found.state, found.size), (*number, state, *size));
                counts.count(state, *size);
                if matches!(state, MessageState::Skipped(_)) {
                    skipped.push((place, *uid));
                }
                let settled = !matches!(state, MessageState::Pending);
                assert_eq!(ledger.is_settled(id, &name, validity(7), *uid), settled);
                if !settled {
                    unsettled.push(uid.value());
                }
            }
            // Whatever the portions, together they say the same.
            for limit in [1, 2, 1000] {
                let (mut all, mut from) = (UidSet::default(), Uid::new(1));
                while let Some(first) = from {
                    let (some, last) = ledger.settled_from(id, &name, validity(7), first, limit);
                    all = all.union(&some);
                    from = last.and_then(|last| last.value().checked_add(1)).and_then(Uid::new);
                }
                let present: UidSet = found.iter().map(|(uid, _)| *uid).collect();
                let missing = present.difference(&all);
                assert_eq!(missing.iter().map(Uid::value).collect::<Vec<_>>(), unsettled);
                assert_eq!(all.len() + missing.len(), present.len());
            }
            assert_eq!(ledger.counts(id, place).unwrap(), counts);
            total += counts;
            let intents: Vec<_> = ledger.intents(id, place).map(|one| one.unwrap().0.value()).collect();
            assert_eq!(intents, model.intents.range(range).map(|((.., uid), ())| *uid).collect::<Vec<_>>());
        }
        assert_eq!(ledger.mailbox_counts(id).unwrap(), total);
        let listed: Vec<_> =
            ledger.skipped(id).map(|one| one.map(|one| (one.folder, one.uid)).unwrap()).collect();
        assert_eq!(listed, skipped);
    }
}

/// Most of the places are there from the beginning; otherwise nearly every change would be refused.
fn beginning() -> Step {
    let places = (1..4).flat_map(|mailbox| {
        let folders = (1..4).map(move |folder| Act::PutFolder(mailbox, folder));
        [Act::PutMailbox(mailbox)].into_iter().chain(folders)
    });
    Step::Commit(places.take(10).collect())
}

async fn follow(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path());
    let mut model = Model::default();
    for step in [beginning()].into_iter().chain(steps) {
        match step {
            Step::Commit(acts) => {
                let mut after = model.clone();
                let allowed = acts.iter().all(|act| after.act(act));
                let mut change = ledger.change();
                acts.into_iter().for_each(|act| add(&mut change, act));
                assert_eq!(change.commit().await.is_ok(), allowed);
                if allowed {
                    model = after;
                }
            }
            Step::ForgetFolder(mailbox, folder) => {
                ledger.forget_folder(MailboxId(mailbox), FolderId(folder)).await.unwrap();
                model.forget(|of, one| (of, one) == (mailbox, folder));
            }
            Step::RemoveMailbox(mailbox) => {
                ledger.remove_mailbox(MailboxId(mailbox)).await.unwrap();
                model.forget(|of, _| of == mailbox);
            }
            Step::Restart => {
                drop(ledger);
                ledger = open(dir.path());
            }
        }
        compare(&ledger, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_holds_what_a_map_would(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(follow(steps));
    }
}
