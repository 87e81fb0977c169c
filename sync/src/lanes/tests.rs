use super::*;

#[test]
fn a_lane_is_worth_its_logins_or_is_not_there() {
    let mb = 1 << 20;
    assert_eq!(worthwhile(&[], 4), 1);
    assert_eq!(worthwhile(&[900 * mb], 4), 1, "one folder has one writer");
    assert_eq!(worthwhile(&[900 * mb, mb], 4), 1, "a few messages beside wait their turn");
    assert_eq!(worthwhile(&[900 * mb, 4 * mb], 4), 2);
    assert_eq!(worthwhile(&[50 * mb; 3], 4), 3, "no more than folders");
    assert_eq!(worthwhile(&[50 * mb; 12], 4), 4);
    assert_eq!(worthwhile(&[50 * mb; 12], 1), 1);
    assert_eq!(worthwhile(&[u64::MAX / 16; 12], usize::MAX), 12);
}

#[test]
fn what_was_refused_is_not_tried_again_for_a_while() {
    let now = Instant::now();
    let mut width = Width::default();
    assert_eq!(width.at_most(4, now), 4);
    width.refused(2, now);
    assert_eq!(width.at_most(4, now), 2);
    assert_eq!(width.at_most(1, now), 1);
    width.refused(0, now);
    assert_eq!(width.at_most(4, now), 1, "the first lane is always there");
    assert_eq!(width.at_most(4, now + REFUSED), 4);
}
