//! What is too large, and what sources read in different ways.

use expect_test::expect;
use proptest::prelude::*;

use super::*;

#[test]
fn numbers_and_lines_are_bounded() {
    check(
        "C: a1 LOGIN {9000}",
        expect![[r#"
        closed: a1 BAD Literal too large. / * BYE Too large before login. / 
    "#]],
    );
    check(
        "C: a1 LOGIN {99999999999999999999}",
        expect![[r#"
        closed: * BYE Too large before login. / 
    "#]],
    );
    let long = |verb: &str, length: usize| {
        Door::new(Leg::Open, Learning::Off)
            .on_client(format!("a1 {verb} {}", "x".repeat(length)).as_bytes(), Logins::Welcome)
    };
    assert_eq!(long("NOOP", 8000), Move::More);
    assert!(matches!(long("NOOP", 8200), Move::Close(..)));
    assert_eq!(long("AUTHENTICATE", 60_000), Move::More);
    assert!(matches!(long("AUTHENTICATE", 70_000), Move::Close(..)));
}

#[test]
fn what_sources_read_in_different_ways_does_not_reach_them() {
    check(
        "
        C: a1\tNOOP
        C: a2  LOGIN ann x
        C:  a3 LOGIN ann x
        C: + NOOP
        C: * NOOP
        C: \"a4 OK\" NOOP
        C: a5
        C: a5 LOGIN {3}
        S: + go
        C: ann x
        S: a5 OK in
    ",
        expect![[r#"
            answered: * BAD Not a command.
            answered: * BAD Not a command.
            answered: * BAD Not a command.
            answered: * BAD Not a command.
            answered: * BAD Not a command.
            answered: * BAD Not a command.
            answered: a5 BAD Not a command.
            a5 LOGIN {3}
            ann x
            LoggedIn
            as ann
        "#]],
    );
    for line in
        ["a1 NOOP\ra2 NOOP\r\n", "a1 NOOP\0\r\n", "a1 NOOP\r\r\n", "+ {5+}\r\n", "a1 LOGIN ann{5+}\r\n"]
    {
        let told = Door::new(Leg::Open, Learning::Off).on_client(line.as_bytes(), Logins::Welcome);
        assert!(matches!(told, Move::Close(..)), "{line:?}: {told:?}");
    }
    check(
        "C: a1 AUTHENTICATE PLAIN\nS: + \nC: AAA\0A",
        expect![[r#"
            a1 AUTHENTICATE PLAIN
            closed: * BYE Stray CR or NUL in a line. / 
        "#]],
    );
}

#[test]
fn commands_in_a_literal_that_was_refused_log_nobody_in() {
    // The source reads `a BAD`, then a login as bob and `a NOOP`; the door, one login as ann.
    check(
        "
        C: a LOGIN ann {17+}
        S: a BAD no such literals
        C: b LOGIN bob yes
        C: a NOOP
        S: b OK in
        S: a OK noop
    ",
        expect![[r#"
            a LOGIN ann {17+}
            closed: * BYE A literal came unasked and was refused. / 
        "#]],
    );
    // All at once.
    check(
        "
        C: a LOGIN ann {27+}
        C: b LOGIN bob yes
        C: c NOOP
        C:  x
        C: c LOGIN ann x
        S: a BAD no such literals
        S: b OK in
        S: c OK noop
    ",
        expect![[r#"
            a LOGIN ann {27+}
            b LOGIN bob yes
            c NOOP
             x
            Refused
            closed: * BYE A literal came unasked and was refused. / 
        "#]],
    );
    check(
        "C: i ID (\"x\" {8+}\nC: c NOOP\nC: )\nC: c LOGIN ann x\nS: i BAD no\nS: c OK noop",
        expect![[r#"
            i ID ("x" {8+}
            c NOOP
            )
            c LOGIN ann x
            closed: * BYE A literal came unasked and was refused. / 
        "#]],
    );
    // A refused password is no refused literal.
    check(
        "C: a LOGIN ann {1+}\nC: n\nS: a NO no\nC: b LOGIN ann {1+}\nC: y\nS: b OK in",
        expect![[r#"
            a LOGIN ann {1+}
            n
            Refused
            b LOGIN ann {1+}
            y
            LoggedIn
            as ann
        "#]],
    );
}

#[test]
fn a_login_whose_name_may_be_read_in_two_ways_has_none() {
    for login in ["LOGIN \tann yes", "LOGIN a(b yes", "LOGIN ann yes yes", "LOGIN ann pass{5}", "LOGIN ann"] {
        let told = replay(
            &format!("C: a {login}\nS: a OK in"),
            Door::new(Leg::Open, Learning::Off),
            Logins::Welcome,
            usize::MAX,
        );
        assert_eq!(told, format!("a {login}\nLoggedIn\n"));
    }
}

proptest! {
    /// What is sent on is what came, in order and unchanged, whatever it is; only what is no command and what is closed are not.
    #[test]
    fn what_is_sent_on_is_what_came(lines in prop::collection::vec("(a[0-9] )?(LOGIN|NOOP|authenticate|ID|x)?[ a-z\"{}0-9+\\\\]{0,12}", 0..8)) {
        let client: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let client = client.concat().into_bytes();
        let mut door = Door::new(Leg::Open, Learning::Off);
        let mut at = 0;
        for turn in 0..40 {
            match door.on_client(&client[at..], Logins::Welcome) {
                Move::Forward(bytes) => {
                    at += bytes;
                    prop_assert!(at <= client.len());
                }
                Move::Close(..) | Move::More => break,
                Move::Wait => { door.on_server_line(if turn % 2 == 0 { b"+ \r\n" } else { b"a1 NO\r\n" }); }
                Move::Answer(bytes, answer) => {
                    prop_assert!(answer.ends_with(b" BAD Not a command.\r\n"));
                    at += bytes;
                }
                Move::Replace(..) | Move::StartTls(..) => prop_assert!(false, "nothing of this is ours"),
            }
        }
    }
}

#[test]
fn there_is_no_compression() {
    check(
        "C: a COMPRESS DEFLATE\nC: b NOOP",
        expect![[r#"
        answered: a BAD COMPRESS is not available here.
        b NOOP
    "#]],
    );
}

#[test]
fn tags_that_wait_for_an_answer_are_bounded() {
    let mut door = Door::new(Leg::Open, Learning::Off);
    let (mut sent, mut last) = (0, String::new());
    while sent < MAX_UNANSWERED {
        last = format!("{sent}{} NOOP\r\n", "t".repeat(4000));
        match door.on_client(last.as_bytes(), Logins::Welcome) {
            Move::Forward(_) => sent += 1,
            next => {
                assert_eq!(next, Move::Wait);
                break;
            }
        }
    }
    assert_eq!(sent, 5);
    door.on_server_line(last.replace("5t", "0t").replace("NOOP", "OK done").as_bytes());
    assert_eq!(door.on_client(last.as_bytes(), Logins::Welcome), Move::Forward(last.len()));
}

#[test]
fn whose_password_was_tried_counts_whatever_stands_around_it() {
    for (command, tried) in [
        ("a LOGIN ann guess", Some("ann")),
        ("a LOGIN \"ann\" guess more", Some("ann")),
        ("a LOGIN ann", Some("ann")),
        ("a LOGIN ann\tguess", Some("ann")),
        ("a LOGIN ann\tguess more", Some("ann")),
        // As bob, with ann's password: some sources do not care for bob.
        ("a AUTHENTICATE PLAIN Ym9iAGFubgBndWVzcw==", Some("ann")),
        ("a AUTHENTICATE", None),
    ] {
        let line = format!("{command}\r\n");
        let mut door = Door::new(Leg::Open, Learning::Off);
        assert_eq!(door.on_client(line.as_bytes(), Logins::Welcome), Move::Forward(line.len()));
        assert_eq!(door.on_server_line(b"a NO no\r\n"), Heard::Refused);
        assert_eq!(door.refused(), tried, "{command}");
        let mut door = Door::new(Leg::Open, Learning::Off);
        door.on_client(line.as_bytes(), Logins::Welcome);
        assert_eq!(door.on_server_line(b"a OK in\r\n"), Heard::LoggedIn);
        assert_eq!(door.accepted(), tried, "{command}");
    }
}
