use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::HostName;

const HOUR: i64 = 3600;

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// The clock as it stands at `now` after these observations; the wall clock runs evenly.
fn read<'a>(observations: impl IntoIterator<Item = &'a Observation>, rules: &Rules, now: Timestamp) -> Clock {
    let mut course = Course::default();
    let mut steady = SignedDuration::ZERO;
    let mut last: Option<Timestamp> = None;
    let mut pass = |at: Timestamp| {
        let passed = last.map_or(SignedDuration::ZERO, |last| at.duration_since(last));
        last = Some(at);
        steady += passed.max(SignedDuration::ZERO);
        steady
    };
    for observation in observations {
        let steady = pass(observation.at);
        course.observe(observation, steady, rules);
        // What is kept is all that it knows.
        course = serde_json::from_str(&serde_json::to_string(&course).unwrap()).unwrap();
    }
    let steady = pass(now);
    course.read(Moment { at: now, steady }, rules)
}

fn observation(seconds: i64, verdict: Verdict, ttl: u32) -> Observation {
    Observation {
        domain: HostName::from("contoso.edu"),
        at: moment(seconds),
        zone: None,
        answers: Vec::new(),
        verdict,
        reasons: Vec::new(),
        other_ttl: (!verdict.is_cut_over()).then_some(ttl),
        advice: Vec::new(),
    }
}

/// Reads a course: lines `hour verdict [ttl=seconds]` or `hours a..b every n verdict`; the last line is `now hour`.
fn check(course: &str, expected: &Expect) {
    let mut observations = Vec::new();
    let mut now = None;
    for line in course.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["now", hour] => now = Some(moment(hour.parse::<i64>().unwrap() * HOUR)),
            ["hours", range, "every", step, verdict] => {
                let (from, to) = range.split_once("..").unwrap();
                let (from, to): (i64, i64) = (from.parse().unwrap(), to.parse().unwrap());
                for hour in (from..=to).step_by(step.parse().unwrap()) {
                    observations.push(observation(hour * HOUR, named(verdict), 3600));
                }
            }
            [hour, verdict] => {
                observations.push(observation(hour.parse::<i64>().unwrap() * HOUR, named(verdict), 3600));
            }
            [hour, verdict, ttl] => {
                let ttl = ttl.strip_prefix("ttl=").unwrap().parse().unwrap();
                observations.push(observation(hour.parse::<i64>().unwrap() * HOUR, named(verdict), ttl));
            }
            _ => panic!("{line}"),
        }
    }
    let clock = read(&observations, &Rules::default(), now.unwrap());
    let hours = |at: Moment| at.at.duration_since(moment(0)).as_hours();
    expected.assert_eq(&format!(
        "since {:?}, held {} of {}, confirmed {:?}: {}\n",
        clock.since.map(hours),
        clock.held.as_hours(),
        clock.required.as_hours(),
        clock.confirmed_at.map(hours),
        clock.reason
    ));
}

fn named(verdict: &str) -> Verdict {
    [
        Verdict::Source,
        Verdict::Mixed,
        Verdict::Office365,
        Verdict::Filtered,
        Verdict::None,
        Verdict::Null,
        Verdict::Unknown,
    ]
    .into_iter()
    .find(|candidate| candidate.to_string() == verdict)
    .unwrap()
}

#[test]
fn holds_for_the_wait_and_is_confirmed() {
    check(
        "now 0",
        &expect![[r#"
        since None, held 0 of 72, confirmed None: never looked at
    "#]],
    );
    check(
        "0 source\nnow 0",
        &expect![[r#"
        since None, held 0 of 72, confirmed None: the last observation, 2026-09-21T14:13:20Z, is source
    "#]],
    );
    check(
        "0 source\nhours 1..72 every 1 office365\nnow 72",
        &expect![[r#"
        since Some(1), held 71 of 72, confirmed None: holds since 2026-09-21T15:13:20Z
    "#]],
    );
    check(
        "0 source\nhours 1..73 every 1 office365\nnow 73",
        &expect![[r#"
        since Some(1), held 72 of 72, confirmed Some(73): held since 2026-09-21T15:13:20Z
    "#]],
    );
    check(
        "hours 1..40 every 1 office365\nhours 41..80 every 1 filtered\nnow 80",
        &expect![[r#"
        since Some(1), held 79 of 72, confirmed Some(73): held since 2026-09-21T15:13:20Z
    "#]],
    );
}

#[test]
fn anything_else_starts_it_anew() {
    let expected = expect![[r#"
        since Some(82), held 18 of 72, confirmed None: holds since 2026-09-25T00:13:20Z
    "#]];
    for broken in ["source", "mixed", "none", "null"] {
        let course =
            format!("hours 0..80 every 1 office365\n81 {broken}\nhours 82..100 every 1 office365\nnow 100");
        check(&course, &expected);
    }
    check(
        "hours 0..80 every 1 office365\n81 mixed\nnow 81",
        &expect![[r#"
        since None, held 0 of 72, confirmed None: the last observation, 2026-09-24T23:13:20Z, is mixed
    "#]],
    );
}

#[test]
fn unknown_neither_breaks_nor_counts() {
    check(
        "hours 0..40 every 1 office365\n41 unknown\nhours 42..73 every 1 office365\nnow 73",
        &expect![[r#"
        since Some(0), held 73 of 72, confirmed Some(72): held since 2026-09-21T14:13:20Z
    "#]],
    );
    check(
        "hours 0..73 every 1 office365\n74 unknown\nnow 74",
        &expect![[r#"
        since Some(0), held 73 of 72, confirmed None: the last observation could not tell; good before
    "#]],
    );
    check(
        "hours 0..40 every 1 office365\nhours 41..50 every 1 unknown\n51 office365\nnow 51",
        &expect![[r#"
        since Some(51), held 0 of 72, confirmed None: holds since 2026-09-23T17:13:20Z, from the end of a gap in observation that was too long to count
    "#]],
    );
    check(
        "hours 0..100 every 1 unknown\nnow 100",
        &expect![[r#"
        since None, held 0 of 72, confirmed None: the last observation, 2026-09-25T18:13:20Z, is unknown
    "#]],
    );
}

#[test]
fn long_gap_starts_it_anew() {
    check(
        "0 office365\n73 office365\nnow 73",
        &expect![[r#"
        since Some(73), held 0 of 72, confirmed None: holds since 2026-09-24T15:13:20Z, from the end of a gap in observation that was too long to count
    "#]],
    );
    check(
        "hours 0..72 every 6 office365\nnow 73",
        &expect![[r#"
        since Some(0), held 72 of 72, confirmed Some(72): held since 2026-09-21T14:13:20Z
    "#]],
    );
    check(
        "hours 0..72 every 6 office365\nnow 80",
        &expect![[r#"
        since Some(0), held 72 of 72, confirmed None: last looked at 2026-09-24T14:13:20Z: too long ago to say that it still holds
    "#]],
    );
}

#[test]
fn old_record_that_is_cached_longer_lengthens_the_wait() {
    check(
        "0 source ttl=345600\nhours 1..80 every 1 office365\nnow 80",
        &expect![[r#"
        since Some(1), held 79 of 96, confirmed None: holds since 2026-09-21T15:13:20Z
    "#]],
    );
    // Lowered two hours before the switch: the longer TTL ends when it would have without that.
    check(
        "0 source ttl=345600\n2 source ttl=300\nhours 4..80 every 1 office365\nnow 80",
        &expect![[r#"
        since Some(4), held 76 of 94, confirmed None: holds since 2026-09-21T18:13:20Z
    "#]],
    );
    // Nonsense is cut to a week.
    check(
        "0 source ttl=2147483647\nhours 1..80 every 1 office365\nnow 80",
        &expect![[r#"
        since Some(1), held 79 of 168, confirmed None: holds since 2026-09-21T15:13:20Z
    "#]],
    );
    // The record may have been put back in the gap.
    check(
        "0 source ttl=345600\nhours 1..4 every 1 office365\n20 office365\nnow 20",
        &expect![[r#"
        since Some(20), held 0 of 96, confirmed None: holds since 2026-09-22T10:13:20Z, from the end of a gap in observation that was too long to count
    "#]],
    );
}

#[test]
fn clock_that_is_set_back_proves_nothing() {
    check(
        "hours 0..73 every 1 office365\n20 office365\nnow 20",
        &expect![[r#"
        since Some(20), held 0 of 72, confirmed None: holds since 2026-09-22T10:13:20Z, from when the machine's clock was set back
    "#]],
    );
    check(
        "hours 0..73 every 1 office365\nnow 20",
        &expect![[r#"
        since Some(0), held 73 of 72, confirmed None: last looked at 2026-09-24T15:13:20Z, which is in the future: the clock was set back
    "#]],
    );
    // Far ahead by mistake: the jump is a gap.
    check(
        "hours 0..3 every 1 office365\n900 office365\nnow 900",
        &expect![[r#"
        since Some(900), held 0 of 72, confirmed None: holds since 2026-10-29T02:13:20Z, from the end of a gap in observation that was too long to count
    "#]],
    );
}

#[test]
fn clock_keeps_its_form_as_json() {
    let observations = [observation(0, Verdict::Office365, 3600)];
    let clock = read(&observations, &Rules::default(), moment(0));
    let json = serde_json::to_string(&clock).unwrap();
    assert_eq!(serde_json::from_str::<Clock>(&json).unwrap(), clock);
    expect![[r#"{"since":{"at":"2026-09-21T14:13:20Z","steady":"PT0S"},"required":"PT72H","held":"PT0S","confirmed_at":null,"reason":"holds since 2026-09-21T14:13:20Z"}"#]].assert_eq(&json);
}

fn sample_of(observation: &Observation) -> Sample {
    let ttl = SignedDuration::from_secs(i64::from(observation.other_ttl.unwrap_or(0))).min(MAX_TTL);
    let steady = observation.at.duration_since(moment(0));
    Sample { moment: Moment { at: observation.at, steady }, verdict: observation.verdict, ttl }
}

/// What the module header demands, written as a search through all observations instead of a fold.
fn demanded(samples: &[Sample], wait: SignedDuration, max_gap: SignedDuration, at: usize) -> bool {
    let usable = |sample: &&Sample| sample.verdict != Verdict::Unknown;
    if !samples[at].verdict.is_cut_over() {
        return false;
    }
    (0..=at).any(|start| {
        let run: Vec<&Sample> = samples[start..=at].iter().filter(usable).collect();
        let unbroken = samples[start].verdict.is_cut_over()
            && run.iter().all(|sample| sample.verdict.is_cut_over())
            && run.windows(2).all(|pair| pair[1].moment.at.duration_since(pair[0].moment.at) <= max_gap);
        let long = samples[at].moment.at.duration_since(samples[start].moment.at) >= wait;
        let dropped =
            samples[..start].iter().enumerate().filter(|(_, old)| usable(old) && !old.verdict.is_cut_over());
        let expired = dropped.into_iter().all(|(index, old)| {
            // Nothing else is usable between an old record and the run's start at the latest.
            let next = samples[index + 1..].iter().find(usable).map_or(old.moment.at, |next| next.moment.at);
            samples[at].moment.at >= next.saturating_add(old.ttl).unwrap()
        });
        unbroken && long && expired
    })
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        20 => Just(Verdict::Office365),
        5 => Just(Verdict::Filtered),
        2 => Just(Verdict::Unknown),
        1 => Just(Verdict::Source),
        1 => Just(Verdict::Mixed),
        1 => Just(Verdict::None),
    ]
}

proptest! {
    /// With a wall clock that only goes forward: confirmed only if the search agrees.
    #[test]
    fn never_confirms_before_the_condition_held_throughout(
        steps in prop::collection::vec((0_i64..8, any_verdict(), 0_u32..30), 1..60),
        wait in 0_i64..20,
        max_gap in 1_i64..9,
    ) {
        let mut at = 0;
        let observations: Vec<Observation> = steps.iter().map(|&(step, verdict, ttl)| {
            at += step;
            observation(at * HOUR, verdict, ttl * 3600)
        }).collect();
        let samples: Vec<Sample> = observations.iter().map(sample_of).collect();
        let (wait, max_gap) = (SignedDuration::from_hours(wait), SignedDuration::from_hours(max_gap));
        let rules = Rules { wait: wait.unsigned_abs(), max_gap: max_gap.unsigned_abs() };
        for end in 0..samples.len() {
            let clock = read(&observations[..=end], &rules, samples[end].moment.at);
            if clock.is_confirmed() {
                prop_assert!(
                    (0..=end).any(|at| demanded(&samples, wait, max_gap, at)),
                    "confirmed without cause at {end}"
                );
                prop_assert!(samples[end].verdict.is_cut_over());
            } else if demanded(&samples, wait, max_gap, end) {
                // The only thing stricter than the search: after a gap the longest old TTL counts once more.
                let gapped = clock.since.is_some_and(|since| samples[..end].iter().any(|sample| {
                    sample.verdict.is_cut_over() && sample.moment.at < since.at
                }));
                prop_assert!(gapped, "not confirmed at {end}: {clock:?}");
            }
        }
    }

    /// Whatever the wall clock does: a confirmation has a run behind it in which every usable observation is good,
    /// that spans the wait by the times recorded, without a step back.
    #[test]
    fn never_confirms_across_a_step_back(
        steps in prop::collection::vec((-20_i64..8, any_verdict()), 1..60),
        wait in 1_i64..20,
    ) {
        let mut at = 0;
        let observations: Vec<Observation> = steps.iter().map(|&(step, verdict)| {
            at += step;
            observation(at * HOUR, verdict, 0)
        }).collect();
        let rules = Rules { wait: SignedDuration::from_hours(wait).unsigned_abs(), ..Rules::default() };
        for end in 0..observations.len() {
            let clock = read(&observations[..=end], &rules, observations[end].at);
            if !clock.is_confirmed() {
                continue;
            }
            let mut span = SignedDuration::ZERO;
            let mut later = observations[end].at;
            for observation in observations[..=end].iter().rev() {
                if observation.at > later || !(observation.verdict.is_cut_over() || observation.verdict == Verdict::Unknown) {
                    break;
                }
                later = observation.at;
                span = observations[end].at.duration_since(later);
            }
            prop_assert!(span >= SignedDuration::from_hours(wait), "{clock:?}");
        }
    }
}

#[test]
fn a_clock_that_begins_where_others_looked_remembers_what_may_be_cached() {
    let rules = Rules::default();
    let at = |hours: i64| Moment { at: moment(hours * HOUR), steady: SignedDuration::from_hours(hours) };
    let mut course = Course::after(SignedDuration::from_hours(100));
    for hours in 0..=100 {
        let good = observation(hours * HOUR, Verdict::Office365, 0);
        course.observe(&good, SignedDuration::from_hours(hours), &rules);
        let clock = course.read(at(hours), &rules);
        assert_eq!(clock.is_confirmed(), hours == 100, "{hours}: {clock:?}");
    }
    assert_eq!(Course::after(SignedDuration::MAX).read(at(0), &rules).since, None);
}
