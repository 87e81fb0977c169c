use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn at(hour: i64) -> Moment {
    let at = Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap();
    Moment { at, steady: SignedDuration::from_hours(hour) }
}

/// Mail goes to Office 365 since hour 10, confirmed at hour 82.
fn domain() -> DomainFacts {
    DomainFacts {
        domain: "contoso.edu".into(),
        verdict: Some("office365".into()),
        since: Some(at(10)),
        confirmed: Some(at(82)),
        due: Some(at(82).at),
        observed: Some(at(110).at),
    }
}

fn mailbox(name: &str) -> MailboxFacts {
    MailboxFacts {
        address: format!("{name}@contoso.edu"),
        domain: "contoso.edu".into(),
        moved: Moved::Switched,
        last_synced: Some(at(107)),
        pending: 0,
        skipped: 0,
        last_straggler: None,
    }
}

fn facts() -> Facts {
    Facts {
        batch: "A".into(),
        domains: vec![domain()],
        mailboxes: vec![mailbox("ann"), mailbox("bob")],
        quiet: SignedDuration::from_hours(24),
    }
}

fn unmet(facts: &Facts, now: Moment) -> Vec<Kind> {
    let gate = judge(facts, now);
    let unmet: Vec<Kind> =
        gate.conditions.iter().filter(|condition| !condition.met).map(|condition| condition.kind).collect();
    assert_eq!(gate.open, unmet.is_empty());
    for condition in &gate.conditions {
        assert_eq!(condition.next.is_none(), condition.met, "{condition:?}");
    }
    unmet
}

#[test]
fn open_when_all_holds() {
    expect![[r#"
        the gate of batch A is open: 5 of 5 conditions met
          met      MX confirmed for every domain: 1 of 1 domains confirmed
          met      every user works on Office 365: 2 of 2 mailboxes moved
          met      every mailbox synced after mail began to go to Office 365: 2 of 2 mailboxes synced since
          met      nothing pending: 0 messages pending in 0 mailboxes
          met      no straggler at the source for 24h: 2 of 2 mailboxes quiet for 24h"#]]
    .assert_eq(&judge(&facts(), at(111)).to_string());
}

#[test]
fn closed_at_the_beginning_and_every_step_is_named() {
    let mut facts = facts();
    facts.domains[0] =
        DomainFacts { verdict: Some("source".into()), since: None, confirmed: None, due: None, ..domain() };
    facts.mailboxes[0].moved = Moved::No;
    facts.mailboxes[1].pending = 3;
    expect![[r#"
        the gate of batch A is closed: 0 of 5 conditions met
          not met  MX confirmed for every domain: 0 of 1 domains confirmed
                   next: contoso.edu is source: point its MX record at Office 365 and remove every other one (mailferry dns status)
          not met  every user works on Office 365: 1 of 2 mailboxes moved
                   next: when its user works on Office 365: mailferry mailbox declare-moved ann@contoso.edu
          not met  every mailbox synced after mail began to go to Office 365: 0 of 2 mailboxes synced since
                   next: first let mail for contoso.edu go to Office 365
          not met  nothing pending: 3 messages pending in 1 mailboxes
                   next: mailferry batch sync-now A, then mailferry mailbox show bob@contoso.edu
          not met  no straggler at the source for 24h: 0 of 2 mailboxes quiet for 24h
                   next: the time begins when the MX of contoso.edu is confirmed"#]]
    .assert_eq(&judge(&facts, at(5)).to_string());
}

#[test]
fn what_stays_at_the_source_is_told_where_nothing_is_pending() {
    let mut facts = facts();
    facts.mailboxes[0].skipped = 2;
    facts.mailboxes[1].skipped = 1;
    let gate = judge(&facts, at(111));
    assert!(gate.open, "an operator may leave them");
    expect!["0 messages pending in 0 mailboxes; 3 messages were skipped and are at the source only"]
        .assert_eq(&gate.conditions[3].figure);
}

#[test]
fn what_nobody_reads_any_more_is_not_quiet() {
    let late = |hours: i64| unmet(&facts(), at(107 + hours));
    assert_eq!((late(4), late(24), late(25)), (vec![], vec![], vec![Kind::NoStraggler]));
    let wanted = |hours: i64| unread(&facts(), at(107 + hours)).count();
    assert_eq!((wanted(12), wanted(13)), (0, 2), "a look is asked for before it closes");
}

#[test]
fn each_condition_closes_the_gate_alone() {
    let now = at(111);
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        unmet(&facts, now)
    };
    assert_eq!(with(&|_| {}), []);
    assert_eq!(with(&|facts| facts.mailboxes[1].moved = Moved::No), [Kind::Moved]);
    assert_eq!(with(&|facts| facts.mailboxes[1].pending = 1), [Kind::NothingPending]);
    assert_eq!(with(&|facts| facts.mailboxes[1].last_straggler = Some(at(100))), [Kind::NoStraggler]);
    // Never observed, never synced.
    assert_eq!(with(&|facts| facts.mailboxes[1].last_synced = None), [Kind::SyncedSince, Kind::NoStraggler]);
    // Confirmed in the future is not confirmed.
    assert_eq!(
        with(&|facts| facts.domains[0].confirmed = Some(at(112))),
        [Kind::MxConfirmed, Kind::NoStraggler]
    );
    // A mailbox whose domain nobody watches.
    assert_eq!(
        with(&|facts| facts.mailboxes[1].domain = "fabrikam.com".into()),
        [Kind::SyncedSince, Kind::NoStraggler]
    );
    // Nothing was proven about no domain at all.
    assert_eq!(
        with(&|facts| {
            facts.domains.clear();
            facts.mailboxes.clear()
        }),
        [Kind::MxConfirmed]
    );
}

#[test]
fn a_sync_at_the_very_moment_is_too_early() {
    let mut facts = facts();
    facts.quiet = SignedDuration::ZERO;
    facts.domains[0].confirmed = Some(at(10));
    facts.mailboxes[0].last_synced = Some(at(10));
    assert_eq!(unmet(&facts, at(30)), [Kind::SyncedSince]);
}

#[test]
fn quiet_counts_only_as_far_as_somebody_looked() {
    let mut facts = facts();
    // The quiet time ended at hour 106; the last look was at hour 105.
    facts.mailboxes[0].last_synced = Some(at(105));
    assert_eq!(unmet(&facts, at(111)), [Kind::NoStraggler]);
    let gate = judge(&facts, at(111));
    assert_eq!(gate.conditions[4].next.as_deref(), Some("look once more: mailferry batch sync-now A"));
    facts.mailboxes[0].last_synced = Some(at(106));
    assert_eq!(unmet(&facts, at(111)), []);
    // Before the quiet time has passed no look helps.
    assert_eq!(unmet(&facts, at(105)), [Kind::NoStraggler]);
}

#[test]
fn a_look_is_wanted_when_it_would_be_new_evidence() {
    let looks = |change: &dyn Fn(&mut Facts), hour: i64| {
        let mut facts = facts();
        change(&mut facts);
        unread(&facts, at(hour)).map(|mailbox| mailbox.address.clone()).collect::<Vec<_>>()
    };
    let ann = ["ann@contoso.edu"];
    assert!(looks(&|_| {}, 111).is_empty());
    // Read for the last time before mail began to go to Office 365.
    assert_eq!(looks(&|facts| facts.mailboxes[0].last_synced = Some(at(10)), 11), ann);
    assert!(looks(&|facts| facts.mailboxes[0].last_synced = Some(at(11)), 12).is_empty());
    // Read for the last time before the quiet time ended, at hour 106.
    assert!(looks(&|facts| facts.mailboxes[0].last_synced = Some(at(100)), 105).is_empty());
    assert_eq!(looks(&|facts| facts.mailboxes[0].last_synced = Some(at(100)), 106), ann);
    // The first pass comes by itself.
    assert!(looks(&|facts| facts.mailboxes[0].last_synced = None, 106).is_empty());
    // Nothing is known of the domain.
    assert!(looks(&|facts| facts.domains.clear(), 200).is_empty());
}

#[test]
fn at_most_so_many_are_named() {
    let mut facts = facts();
    facts.mailboxes =
        (0..50).map(|n| MailboxFacts { moved: Moved::No, ..mailbox(&format!("u{n}")) }).collect();
    let moved = &judge(&facts, at(111)).conditions[1];
    assert_eq!(moved.missing.len(), MOST_NAMED);
    assert_eq!(moved.figure, "0 of 50 mailboxes moved");
}

fn moments() -> impl Strategy<Value = Option<Moment>> {
    proptest::option::of((0_i64..120).prop_map(at))
}

fn any_mailbox() -> impl Strategy<Value = MailboxFacts> {
    (any::<bool>(), moments(), 0_u64..2, moments(), any::<bool>()).prop_map(
        |(is_moved, last_synced, pending, last_straggler, is_known)| MailboxFacts {
            address: "x@contoso.edu".into(),
            domain: if is_known { "contoso.edu" } else { "fabrikam.com" }.into(),
            moved: if is_moved { Moved::Declared { at: at(0).at, by: "op".into() } } else { Moved::No },
            last_synced,
            pending,
            skipped: 0,
            last_straggler,
        },
    )
}

proptest! {
    /// The gate's words, checked against the conditions as DESIGN states them, one mailbox at a time.
    #[test]
    fn it_never_opens_without_evidence(
        since in moments(),
        confirmed in moments(),
        mailboxes in proptest::collection::vec(any_mailbox(), 1..4),
        now in 0_i64..120,
        quiet in 0_i64..30,
    ) {
        let facts = Facts {
            batch: "A".into(),
            domains: vec![DomainFacts { since, confirmed, ..domain() }],
            mailboxes: mailboxes.clone(),
            quiet: SignedDuration::from_hours(quiet),
        };
        let gate = judge(&facts, at(now));
        let quiet = SignedDuration::from_hours(quiet);
        let holds = mailboxes.iter().all(|mailbox| {
            let (Some(since), Some(confirmed), Some(synced)) = (since, confirmed, mailbox.last_synced) else {
                return false;
            };
            let loud_until = mailbox.last_straggler.unwrap_or(confirmed).max(confirmed).later(quiet);
            mailbox.domain == "contoso.edu"
                && confirmed <= at(now)
                && mailbox.moved != Moved::No
                && mailbox.pending == 0
                && synced > since
                && loud_until <= at(now)
                && synced >= loud_until
        });
        prop_assert_eq!(gate.open, holds, "{}", gate);
    }

    /// Whatever makes things worse never opens it.
    #[test]
    fn it_is_monotone(mailboxes in proptest::collection::vec(any_mailbox(), 1..4), now in 0_i64..120) {
        let facts = Facts { mailboxes, ..facts() };
        let before = judge(&facts, at(now)).open;
        let mut worse = facts.clone();
        worse.mailboxes[0].pending += 1;
        prop_assert!(!judge(&worse, at(now)).open);
        let mut worse = facts.clone();
        worse.domains[0].confirmed = None;
        prop_assert!(!judge(&worse, at(now)).open);
        let mut worse = facts;
        worse.mailboxes.push(MailboxFacts { moved: Moved::No, ..mailbox("new") });
        prop_assert!(!judge(&worse, at(now)).open);
        let _ = before;
    }
}
