//! Messages that clients fetch.

use expect_test::expect;

use super::{check, selected};

#[test]
fn fetched_bodies_are_told_once_their_uid_is_known() {
    selected(
        "
        C: a1 UID FETCH 7 (BODY.PEEK[])
        S: * 1 FETCH (UID 7 BODY[] {3}
        S: abc FLAGS (\\Seen))
        S: a1 OK done
        C: a2 FETCH 2 (UID RFC822)
        S: * 2 FETCH (RFC822 {5}
        S: {9}\\
        S: 
        S:  UID 8)
        S: a2 OK done
        C: a3 FETCH 3 BODY[]
        S: * 3 FETCH (BODY[] {2}
        S: zz)
        S: a3 OK nobody knows which
        C: a4 UID FETCH 7,8 (BODY.PEEK[HEADER] BODY.PEEK[1] BINARY[])
        S: * 1 FETCH (UID 7 BODY[HEADER] {3}
        S: abc BODY[1] {1}
        S: c BINARY[] ~{1}
        S: d)
        S: a4 OK done
        C: a5 UID FETCH 7 BODY[]
        S: * 1 FETCH (UID 7 BODY[] \"quoted\")
        S: * 2 FETCH (UID 8 BODY[] {0}
        S: )
        S: a5 OK done
    ",
        expect![[r#"
            Fetched INBOX;9/7 "abc"
            changed INBOX
            Fetched INBOX;9/8 "{9}\r\n"
            discarded
            Fetched INBOX;9/7 "quoted"
            Fetched INBOX;9/8 ""
        "#]],
    );
}

#[test]
fn sequence_numbers_are_followed() {
    selected(
        "
        C: a1 FETCH 1:* (UID FLAGS)
        S: * 1 FETCH (UID 7 FLAGS ())
        S: * 2 FETCH (UID 8 FLAGS ())
        S: * 3 FETCH (UID 9 FLAGS ())
        S: a1 OK done
        C: a2 NOOP
        S: * 1 EXPUNGE
        S: * 3 EXISTS
        S: a2 OK done
        C: a3 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: b)
        S: a3 OK done
        C: a4 FETCH 3 RFC822
        S: * 3 FETCH (RFC822 {1}
        S: x)
        S: a4 OK its UID was never told
        C: a5 NOOP
        S: * VANISHED 8
        S: a5 OK done
        C: a6 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: c)
        S: a6 OK done
        C: a7 NOOP
        S: * VANISHED 100
        S: a7 OK that one was not known: which number went is open
        C: a8 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: c)
        S: a8 OK done
    ",
        expect![[r#"
            changed INBOX
            Fetched INBOX;9/8 "b"
            discarded
            changed INBOX
            Fetched INBOX;9/9 "c"
            changed INBOX
            discarded
        "#]],
    );
}

#[test]
fn no_body_without_uidvalidity_nor_in_the_wrong_folder() {
    check(
        "
        C: s1 SELECT Nowhere
        S: * 3 EXISTS
        S: s1 OK no UIDVALIDITY
        C: a1 UID FETCH 7 BODY[]
        S: * 1 FETCH (UID 7 BODY[] {1}
        S: a)
        S: a1 OK done
        C: s2 SELECT A
        C: a2 UID FETCH 1 BODY.PEEK[]
        C: s3 EXAMINE B
        C: a3 UID FETCH 1 BODY.PEEK[]
        S: * OK [UIDVALIDITY 1] ok
        S: * 1 EXISTS
        S: s2 OK done
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: a)
        S: a2 OK done
        S: * OK [CLOSED] now B
        S: * 1 EXISTS
        S: * OK [UIDVALIDITY 2] ok
        S: s3 OK done
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: b)
        S: a3 OK done
        C: s4 SELECT C
        S: * OK [UIDVALIDITY 3] ok
        S: s4 NO gone
        C: a4 UID FETCH 1 BODY.PEEK[]
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: c)
        S: a4 BAD nothing is selected
        C: s5 SELECT A
        S: * OK [UIDVALIDITY 1] ok
        S: * 1 EXISTS
        S: * 1 FETCH (UID 1 FLAGS (\\Seen))
        S: s5 OK done
        C: a5 CLOSE
        S: a5 OK done
        C: a6 UID FETCH 1 BODY.PEEK[]
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: d)
        S: a6 OK odd
    ",
        expect![[r#"
            discarded
            Fetched A;1/1 "a"
            Fetched B;2/1 "b"
            discarded
            changed A
            discarded
        "#]],
    );
}

#[test]
fn ranges_are_joined_when_they_make_a_whole() {
    selected(
        "
        C: a1 UID FETCH 7 (RFC822.SIZE)
        S: * 1 FETCH (UID 7 RFC822.SIZE 6)
        S: a1 OK done
        C: a2 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a2 OK done
        C: a3 UID FETCH 7 BODY.PEEK[]<4.4>
        S: * 1 FETCH (UID 7 BODY[]<4> {2}
        S: ef)
        S: a3 OK done
        C: a4 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a4 OK done
        C: a5 UID FETCH 7 BODY.PEEK[]<3.2>
        S: * 1 FETCH (UID 7 BODY[]<3> {2}
        S: de)
        S: a5 OK not the next one
        C: a6 UID FETCH 8 BODY.PEEK[]<0.4>
        S: * 2 FETCH (UID 8 BODY[]<0> {4}
        S: size)
        S: a6 OK never told
        C: a7 UID FETCH 7 BODY.PEEK[]<0.9>
        S: * 1 FETCH (UID 7 BODY[]<0> {6}
        S: abcdef)
        S: a7 OK done
        C: a8 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a8 OK done
        C: a9 UNSELECT
        S: a9 OK done
    ",
        expect![[r#"
            Fetched INBOX;9/7 "abcdef"
            discarded
            Fetched INBOX;9/7 "abcdef"
            discarded
        "#]],
    );
}

#[test]
fn what_select_tells_of_the_past_is_no_news_of_the_old_folder() {
    selected(
        "
        C: q SELECT A (QRESYNC (1 2))
        S: * OK [UIDVALIDITY 1] ok
        S: * 3 EXISTS
        S: * VANISHED (EARLIER) 4
        S: * 1 FETCH (UID 1 FLAGS (\\Seen))
        S: q OK done
        C: a1 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: x)
        S: a1 OK done
    ",
        expect![[r#"
            discarded
        "#]],
    );
}

#[test]
fn a_changed_uidvalidity_ends_what_was_known() {
    selected(
        "
        S: * 1 FETCH (UID 7)
        S: * OK [UIDVALIDITY 10] changed
        C: a1 FETCH 1 RFC822
        S: * 1 FETCH (UID 7 RFC822 {1}
        S: x)
        S: a1 OK done
    ",
        expect![[r#"
            changed INBOX
            discarded
        "#]],
    );
}

#[test]
fn a_message_may_be_longer_than_the_source_said() {
    selected(
        "
        C: a1 UID FETCH 7 (RFC822.SIZE)
        S: * 1 FETCH (UID 7 RFC822.SIZE 6)
        S: a1 OK an estimate
        C: a2 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a2 OK done
        C: a3 UID FETCH 7 BODY.PEEK[]<4.2>
        S: * 1 FETCH (UID 7 BODY[]<4> {2}
        S: ef)
        S: a3 OK there is more
        C: a4 UID FETCH 7 (FLAGS BODY.PEEK[]<0.6>)
        C: a5 UID FETCH 8 BODY[]<0.99>
        S: * 1 FETCH (UID 7 BODY[]<0> {6}
        S: abcdef)
        S: a4 OK there is more
        S: a5 OK none
    ",
        expect![[r#"
            discarded
        "#]],
    );
}
