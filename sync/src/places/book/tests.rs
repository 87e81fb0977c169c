use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SLICE: Duration = Duration::from_secs(300);
const USERS: Errand = Errand::Interactive;
const PASS: Errand = Errand::Background;

fn mailbox(number: u32) -> MailboxId {
    MailboxId(number)
}

fn book(capacity: usize) -> (Book, Instant) {
    (Book::new(capacity, SLICE), Instant::now())
}

/// Enqueues and grants; who got a place.
fn ask(book: &mut Book, owner: u32, errand: Errand, now: Instant) -> (Ticket, Option<PlaceId>) {
    let ticket = book.enqueue(mailbox(owner), errand);
    let granted = book.grant(now);
    assert!(granted.iter().all(|(got, _)| *got == ticket), "nobody else was free to get one");
    (ticket, granted.first().map(|(_, id)| *id))
}

fn wanted(book: &Book, now: Instant) -> Vec<PlaceId> {
    book.wanted(now).into_iter().collect()
}

#[test]
fn places_are_given_in_turn_and_users_go_first() {
    let (mut book, now) = book(1);
    let first = ask(&mut book, 1, PASS, now).1.unwrap();
    let (second, third) = (ask(&mut book, 2, PASS, now).0, ask(&mut book, 3, PASS, now).0);
    let user = ask(&mut book, 4, USERS, now).0;
    let mut order = Vec::new();
    let mut held = first;
    for _ in 0..3 {
        book.give_back(held);
        let granted = book.grant(now);
        assert_eq!(granted.len(), 1);
        order.push(granted[0].0);
        held = granted[0].1;
    }
    assert_eq!(order, [user, second, third]);
}

#[test]
fn of_eight_places_one_goes_to_the_background_however_busy_users_are() {
    let (mut book, now) = book(1);
    let mut held = ask(&mut book, 1, PASS, now).1.unwrap();
    let pass = book.enqueue(mailbox(2), PASS);
    for owner in 10..30 {
        book.enqueue(mailbox(owner), USERS);
    }
    let mut before = 0;
    loop {
        book.give_back(held);
        let granted = book.grant(now);
        held = granted[0].1;
        if granted[0].0 == pass {
            break;
        }
        before += 1;
    }
    assert_eq!(before, 7);
}

#[test]
fn a_spare_place_is_for_when_nobody_waits_and_goes_back_when_somebody_does() {
    let (mut book, now) = book(4);
    let large = ask(&mut book, 1, PASS, now).1.unwrap();
    book.limit(mailbox(1), 3);
    let spare = [(); 2].map(|()| book.spare(mailbox(1), now).unwrap());
    assert_eq!(book.spare(mailbox(1), now), None, "its limit");
    let small = ask(&mut book, 2, PASS, now).1.unwrap();
    assert_eq!(book.spare(mailbox(2), now), None, "all taken");
    assert_eq!(wanted(&book, now), []);
    // The last one of who has the most; nobody else is disturbed.
    let (waiting, none) = ask(&mut book, 3, PASS, now);
    assert_eq!((none, wanted(&book, now)), (None, vec![spare[1]]));
    ask(&mut book, 4, USERS, now);
    assert_eq!(wanted(&book, now), spare);
    // Whoever rests is asked before anybody at work.
    book.turn_to(small, Doing::Rest, now);
    assert_eq!(wanted(&book, now), [spare[1], small]);
    book.turn_to(large, Doing::Rest, now);
    assert_eq!(wanted(&book, now), [large, small]);
    book.leave(waiting);
    assert_eq!(wanted(&book, now).len(), 1);
}

#[test]
fn a_pass_makes_room_for_a_user_at_once_and_for_another_pass_when_it_had_its_time() {
    let (mut book, now) = book(2);
    let old = ask(&mut book, 1, PASS, now).1.unwrap();
    let young = ask(&mut book, 2, PASS, now + SLICE / 2).1.unwrap();
    ask(&mut book, 3, PASS, now);
    assert_eq!(wanted(&book, now + SLICE - Duration::from_secs(1)), []);
    assert_eq!(wanted(&book, now + SLICE), [old]);
    assert_eq!(wanted(&book, now + SLICE * 2), [old], "one waits, one goes");
    ask(&mut book, 4, USERS, now);
    assert_eq!(wanted(&book, now), [old]);
    assert_eq!(wanted(&book, now + SLICE * 2), [old, young]);
    // What users do is not asked to make room for anybody.
    book.turn_to(old, Doing::Work(USERS), now);
    book.turn_to(young, Doing::Work(USERS), now);
    assert_eq!(wanted(&book, now + SLICE * 2), []);
}

#[test]
fn when_there_are_fewer_places_those_beyond_go_and_spare_ones_first() {
    let (mut book, now) = book(4);
    let first = ask(&mut book, 1, PASS, now).1.unwrap();
    let user = ask(&mut book, 2, USERS, now).1.unwrap();
    let spare = [(); 2].map(|()| book.spare(mailbox(1), now).unwrap());
    book.resize(3);
    assert_eq!(wanted(&book, now), [spare[1]]);
    book.resize(2);
    assert_eq!(wanted(&book, now), spare);
    book.resize(1);
    assert_eq!(wanted(&book, now), [first, spare[0], spare[1]]);
    book.give_back(user);
    assert_eq!(wanted(&book, now), spare);
    book.give_back(spare[0]);
    book.give_back(spare[1]);
    assert_eq!(wanted(&book, now), []);
    assert_eq!(book.spare(mailbox(1), now), None);
}

#[test]
fn a_mailbox_beyond_its_limit_gives_back_though_nobody_waits() {
    let (mut book, now) = book(9);
    let first = ask(&mut book, 1, PASS, now).1.unwrap();
    let spare = [(); 3].map(|()| book.spare(mailbox(1), now).unwrap());
    ask(&mut book, 2, PASS, now);
    book.limit(mailbox(1), 2);
    assert_eq!(wanted(&book, now), spare[1..]);
    book.limit(mailbox(1), 0);
    assert_eq!(wanted(&book, now), [first, spare[0], spare[1], spare[2]]);
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u32, Errand),
    Leave(usize),
    Spare(u32),
    GiveBack(usize),
    /// Whoever is asked to go does so.
    Obey,
    TurnTo(usize, Doing),
    Resize(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let errand = prop_oneof![Just(PASS), Just(USERS)];
    let doing = prop_oneof![Just(Doing::Rest), Just(Doing::Work(PASS)), Just(Doing::Work(USERS))];
    let step = prop_oneof![
        4 => (0..6_u32, errand).prop_map(|(owner, errand)| Step::Ask(owner, errand)),
        1 => (0..9_usize).prop_map(Step::Leave),
        2 => (0..6_u32).prop_map(Step::Spare),
        2 => (0..9_usize).prop_map(Step::GiveBack),
        1 => Just(Step::Obey),
        1 => (0..9_usize, doing).prop_map(|(at, doing)| Step::TurnTo(at, doing)),
        1 => (1..7_usize).prop_map(Step::Resize),
        1 => (0..400_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    /// Never more than there are but for those who are asked to go; nobody waits beside a free place; who waits and stays
    /// gets one in the end if those who are asked obey and time passes.
    #[test]
    fn nobody_is_forgotten(steps in steps()) {
        let (mut book, mut now) = book(3);
        let mut waiting: Vec<Ticket> = Vec::new();
        let mut held: Vec<PlaceId> = Vec::new();
        let settle = |book: &mut Book, waiting: &mut Vec<Ticket>, held: &mut Vec<PlaceId>, now| {
            for (ticket, id) in book.grant(now) {
                waiting.retain(|known| *known != ticket);
                held.push(id);
            }
        };
        for step in steps {
            match step {
                Step::Ask(owner, errand) => waiting.push(book.enqueue(mailbox(owner), errand)),
                Step::Leave(at) if at < waiting.len() => book.leave(waiting.remove(at)),
                Step::Spare(owner) => {
                    let others = book.waiting();
                    if let Some(id) = book.spare(mailbox(owner), now) {
                        prop_assert_eq!(others, 0);
                        held.push(id);
                    }
                }
                Step::GiveBack(at) if at < held.len() => book.give_back(held.remove(at)),
                Step::Obey => for id in book.wanted(now) {
                    held.retain(|known| *known != id);
                    book.give_back(id);
                },
                Step::TurnTo(at, doing) if at < held.len() => book.turn_to(held[at], doing, now),
                Step::Resize(capacity) => book.resize(capacity),
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                Step::Leave(_) | Step::GiveBack(_) | Step::TurnTo(..) => {}
            }
            settle(&mut book, &mut waiting, &mut held, now);
            let wanted = book.wanted(now);
            prop_assert_eq!((book.in_use(), book.waiting()), (held.len(), waiting.len()));
            prop_assert!(held.len() <= book.capacity() + wanted.len());
            prop_assert!(waiting.is_empty() || held.len() >= book.capacity());
            prop_assert!(wanted.iter().all(|id| held.contains(id)));
            let too_many = held.len().saturating_sub(book.capacity());
            prop_assert!(wanted.len() <= too_many + waiting.len());
        }
        for _ in 0..400 {
            // Users' errands end by themselves.
            let busy: Vec<PlaceId> = held.clone();
            busy.iter().for_each(|id| book.turn_to(*id, Doing::Rest, now));
            now += SLICE;
            for id in book.wanted(now) {
                held.retain(|known| *known != id);
                book.give_back(id);
            }
            settle(&mut book, &mut waiting, &mut held, now);
        }
        prop_assert_eq!(waiting, Vec::<Ticket>::new());
    }
}

#[test]
fn with_more_mailboxes_than_places_all_get_their_share() {
    // Twelve mailboxes that never have enough, three places: who is asked goes to the end of the queue.
    let (mut book, mut now) = book(3);
    let mut owners: BTreeMap<Ticket, u32> = BTreeMap::new();
    let mut holders: BTreeMap<PlaceId, u32> = BTreeMap::new();
    let mut turns: BTreeMap<u32, u32> = BTreeMap::new();
    for owner in 0..12 {
        owners.insert(book.enqueue(mailbox(owner), PASS), owner);
    }
    for _ in 0..40 {
        for (ticket, id) in book.grant(now) {
            let owner = owners.remove(&ticket).unwrap();
            *turns.entry(owner).or_default() += 1;
            holders.insert(id, owner);
        }
        now += SLICE;
        for id in book.wanted(now) {
            book.give_back(id);
            let owner = holders.remove(&id).unwrap();
            owners.insert(book.enqueue(mailbox(owner), PASS), owner);
        }
    }
    assert!(turns.values().all(|turns| *turns == 10), "{turns:?}");
}
