use proptest::prelude::*;

use super::*;

fn mailbox(number: u32) -> MailboxId {
    MailboxId(number)
}

fn adaptation() -> (Adaptation, Instant) {
    let mut adaptation = Adaptation::new(100, 4);
    (0..100).for_each(|number| adaptation.on_connected(mailbox(number)));
    (adaptation, Instant::now())
}

fn in_use(mailbox: usize, all: usize, mailboxes: usize) -> InUse {
    InUse { mailbox, all, mailboxes }
}

#[test]
fn what_a_mailbox_with_several_sessions_hears_is_laid_to_these() {
    let (mut adaptation, now) = adaptation();
    for complaint in [Complaint::Crowded, Complaint::Budget, Complaint::NotConnected] {
        let changed = adaptation.on_complaint(mailbox(1), complaint, in_use(4, 80, 20), now, 0);
        assert!(!changed.all, "{complaint:?}");
    }
    // The three came together: one fall.
    assert_eq!((adaptation.of(mailbox(1)).allowed(), adaptation.all().allowed()), (2, 100));
    let later = now + DEAF;
    adaptation.on_complaint(mailbox(1), Complaint::Budget, in_use(2, 80, 20), later, 0);
    assert_eq!(adaptation.of(mailbox(1)).allowed(), 1);
    assert_eq!(adaptation.of(mailbox(2)).allowed(), 4, "another one's");
}

#[test]
fn one_mailbox_that_used_up_its_budget_slows_down_nobody_else() {
    let (mut adaptation, now) = adaptation();
    for minute in 0..100 {
        let now = now + Duration::from_secs(20) * minute;
        adaptation.on_complaint(mailbox(1), Complaint::Budget, in_use(1, 30, 30), now, 0);
    }
    assert_eq!(adaptation.all().allowed(), 100);
    // Two of thirty within a minute may be chance.
    adaptation.on_complaint(mailbox(2), Complaint::Budget, in_use(1, 30, 30), now + ALIKE * 40, 0);
    adaptation.on_complaint(mailbox(3), Complaint::Budget, in_use(1, 30, 30), now + ALIKE * 40, 0);
    assert_eq!(adaptation.all().allowed(), 100);
}

#[test]
fn where_half_complain_all_slow_down_by_half_of_what_is_in_use() {
    let (mut adaptation, now) = adaptation();
    let mut allowed = Vec::new();
    for number in 0..12 {
        let complaint = Complaint::NotConnected;
        adaptation.on_complaint(mailbox(number), complaint, in_use(1, 20, 20), now, 0);
        allowed.push(adaptation.all().allowed());
    }
    assert_eq!(allowed, [100, 100, 100, 100, 100, 100, 100, 100, 100, 10, 10, 10]);
}

#[test]
fn too_many_connections_for_one_session_are_everybodys() {
    let (mut adaptation, now) = adaptation();
    let mut allowed = Vec::new();
    for step in 0..7 {
        adaptation.on_complaint(mailbox(1), Complaint::Crowded, in_use(1, 24, 20), now + DEAF * step, 0);
        allowed.push(adaptation.all().allowed());
    }
    assert_eq!(allowed, [12, 6, 3, 1, 1, 1, 1], "never none");
}

#[test]
fn who_never_was_connected_lacks_a_permission_and_says_nothing_about_others() {
    let mut adaptation = Adaptation::new(100, 4);
    let now = Instant::now();
    for number in 0..50 {
        adaptation.on_complaint(mailbox(number), Complaint::NotConnected, in_use(1, 50, 50), now, 0);
    }
    assert_eq!(adaptation.all().allowed(), 100);
}

#[test]
fn success_brings_everything_back_step_by_step() {
    let (mut adaptation, now) = adaptation();
    adaptation.on_complaint(mailbox(1), Complaint::Crowded, in_use(4, 20, 9), now, 0);
    adaptation.on_complaint(mailbox(2), Complaint::Crowded, in_use(1, 20, 9), now, 0);
    assert_eq!((adaptation.of(mailbox(1)).allowed(), adaptation.all().allowed()), (2, 10));
    // Not at once.
    let changed = adaptation.on_success(mailbox(1), now + Duration::from_secs(1), 0);
    assert_eq!(changed, Changed::default());
    let mut steps = Vec::new();
    for second in (0..3_000).step_by(5) {
        let changed = adaptation.on_success(mailbox(1), now + Duration::from_secs(second), 999);
        if changed != Changed::default() {
            steps.push(second);
        }
    }
    assert_eq!((adaptation.of(mailbox(1)).allowed(), adaptation.all().allowed()), (4, 100));
    assert!(!adaptation.all().is_reduced() && adaptation.mailboxes.len() == 1, "the other one stays at one");
    assert!(steps.len() >= 90, "one by one: {steps:?}");
}

proptest! {
    /// Whatever comes: never none, never more than configured, a fall is at once and by half at least, a rise is by one.
    #[test]
    fn bounds_hold(events in prop::collection::vec((0..4_u8, 0..6_u32, 0..6_usize, 0..30_u64, any::<u32>()), 0..200)) {
        let (mut adaptation, mut now) = adaptation();
        for (kind, number, sessions, seconds, dice) in events {
            now += Duration::from_secs(seconds);
            let before = (adaptation.all().allowed(), adaptation.of(mailbox(number)).allowed());
            let complaint = match kind {
                0 => Some(Complaint::Budget),
                1 => Some(Complaint::Crowded),
                2 => Some(Complaint::NotConnected),
                _ => None,
            };
            let changed = match complaint {
                Some(complaint) => {
                    let in_use = in_use(sessions, sessions * 6, 6);
                    adaptation.on_complaint(mailbox(number), complaint, in_use, now, dice)
                }
                None => adaptation.on_success(mailbox(number), now, dice),
            };
            let after = (adaptation.all().allowed(), adaptation.of(mailbox(number)).allowed());
            prop_assert!((1..=100).contains(&after.0) && (1..=4).contains(&after.1));
            prop_assert_eq!((changed.all, changed.mailbox), (before.0 != after.0, before.1 != after.1));
            for (before, after) in [(before.0, after.0), (before.1, after.1)] {
                match complaint {
                    Some(_) => prop_assert!(after == before || after <= (before / 2).max(1)),
                    None => prop_assert!(after == before || after == before + 1),
                }
            }
        }
    }
}
