use mailferry_imap::InternalDate;
use mailferry_ledger::Fingerprint;

use super::*;

fn uid(uid: u32) -> Uid {
    Uid::new(uid).unwrap()
}

/// `uid text seconds size flags`; the text is Message-ID and Subject.
fn side(lines: &[(u32, &str, i64, u64, &[&str])]) -> Side {
    let header = |text: &str| format!("Message-ID: <{text}>\nSubject: {text}\n\n");
    Side {
        candidates: lines
            .iter()
            .map(|(number, text, seconds, size, _)| Candidate {
                uid: uid(*number),
                print: Print::of_header(header(text).as_bytes()),
                date: InternalDate::new(*seconds, 0).unwrap(),
                size: *size,
            })
            .collect(),
        flags: lines
            .iter()
            .map(|(number, .., flags)| (uid(*number), flags.iter().copied().collect()))
            .collect(),
    }
}

/// `source target flags`; target 0 is skipped.
fn recorded(lines: &[(u32, u32, &[&str])]) -> Recorded {
    let mut recorded = Recorded::default();
    for (source, target, flags) in lines {
        let state = match Uid::new(*target) {
            Some(target) => MessageState::Mirrored { target_uid: Some(target) },
            None => MessageState::Skipped(mailferry_ledger::SkipReason::Stub),
        };
        let message = Message {
            state,
            size: 10,
            date: InternalDate::new(0, 0).unwrap(),
            flags: flags.iter().copied().collect(),
            print: Fingerprint([0; 16]),
        };
        recorded.note(uid(*source), &message, true);
    }
    recorded
}

fn found(compared: &Compared) -> Vec<(Option<u32>, Option<u32>, What)> {
    let mut found: Vec<_> =
        compared.differences.iter().map(|one| (one.source_uid, one.target_uid, one.what)).collect();
    found.sort_unstable();
    found
}

#[test]
fn every_kind_of_difference_is_found() {
    let ours = side(&[
        (1, "same", 1, 10, &["\\Seen", "$Label"]),
        (2, "missing", 2, 10, &[]),
        (3, "skipped", 3, 99, &[]),
        (4, "twice", 4, 10, &[]),
        (5, "flags", 5, 10, &["\\Seen"]),
        (6, "date", 6, 10, &[]),
        (7, "heading", 6, 10, &[]),
        (8, "revised", 6, 10, &[]),
        (9, "new", 6, 10, &[]),
        (10, "flagged since", 6, 10, &["\\Flagged"]),
    ]);
    let theirs = side(&[
        (11, "same", 1, 10, &["\\Seen"]),
        (12, "twice", 4, 10, &[]),
        (13, "twice", 4, 10, &[]),
        (14, "flags", 5, 10, &[]),
        (15, "date", 7, 10, &[]),
        (16, "foreign", 9, 10, &[]),
        (17, "another heading", 6, 10, &[]),
        (19, "flagged since", 6, 10, &[]),
        (20, "revised", 6, 10, &[]),
    ]);
    let recorded = recorded(&[
        (1, 11, &["\\Seen"]),
        (2, 99, &[]),
        (3, 0, &[]),
        (4, 12, &[]),
        (5, 14, &["\\Seen"]),
        (6, 15, &[]),
        (7, 17, &[]),
        (8, 18, &[]),
        (10, 19, &[]),
    ]);
    let compared = compare_sides(&ours, theirs, &recorded);
    assert_eq!(
        found(&compared),
        [
            (Some(4), Some(13), What::Doubled),
            (Some(5), Some(14), What::Flags),
            (Some(6), Some(15), What::Date),
            (Some(7), Some(17), What::Heading),
            (Some(8), Some(20), What::Replaced),
        ]
    );
    let missing: Vec<u32> = compared.missing.iter().map(|one| one.uid.value()).collect();
    assert_eq!(missing, [2]);
    let verdict = compared.verdict;
    let figures =
        (verdict.source, verdict.target, verdict.matched, verdict.skipped, verdict.pending, verdict.foreign);
    assert_eq!(figures, (10, 9, 7, 1, 1, 1));
}

#[test]
fn twins_may_have_each_others_flags_and_no_other_ones() {
    let ours = side(&[(1, "a", 1, 9, &["\\Seen"]), (2, "a", 1, 9, &[]), (3, "a", 1, 9, &["\\Draft"])]);
    let theirs = |last: &'static [&'static str]| {
        side(&[(7, "a", 1, 9, &[]), (8, "a", 1, 9, &["\\Draft"]), (9, "a", 1, 9, last)])
    };
    let differences = |last| found(&compare_sides(&ours, theirs(last), &Recorded::default()));
    assert_eq!(differences(&["\\Seen"]), []);
    assert_eq!(differences(&["\\Answered"]), [(Some(1), Some(9), What::Flags)]);
}

#[test]
fn sizes_count_only_where_the_target_keeps_them() {
    let many = |resized: u32| {
        let ours: Vec<_> = (1..=100).map(|n| (n, n.to_string())).collect();
        let ours: Vec<_> = ours.iter().map(|(n, text)| (*n, text.as_str(), 1, 10, &[][..])).collect();
        let theirs: Vec<_> = ours
            .iter()
            .map(|(n, text, ..)| (*n, *text, 1, if *n <= resized { 11 } else { 10 }, &[][..]))
            .collect();
        compare_sides(&side(&ours), side(&theirs), &Recorded::default()).differences.len()
    };
    assert_eq!((many(0), many(1), many(100)), (0, 1, 0));
}

#[test]
fn what_replaces_a_copy_and_says_the_same_is_as_good_as_it() {
    let ours = side(&[(1, "a", 1, 9, &[]), (2, "b", 1, 9, &[])]);
    let theirs = || side(&[(8, "a", 1, 9, &[]), (9, "b", 1, 9, &[])]);
    let recorded = recorded(&[(1, 6, &[]), (2, 7, &[])]);
    let mut compared = compare_sides(&ours, theirs(), &recorded);
    assert_eq!(found(&compared).len(), 2);
    let judged = [
        ((uid(1), uid(8)), Judgement::Like(Likeness::SameContent)),
        ((uid(2), uid(9)), Judgement::Like(Likeness::OtherContent)),
    ];
    compared.take_in(judged.into_iter().collect());
    assert_eq!(found(&compared), [(Some(2), Some(9), What::Replaced), (Some(2), Some(9), What::Content)]);
}
