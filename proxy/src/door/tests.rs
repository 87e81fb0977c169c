//! Transcripts of both sides' lines and the moves that they lead to, replayed whole and bytewise.

use std::fmt::Write;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

/// Lines `C: …` and `S: …`. Consecutive lines of the client are pipelined.
fn replay(transcript: &str, mut door: Door, logins: Logins, step: usize) -> String {
    let mut told = String::new();
    let mut buffered = Vec::new();
    for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        if told.contains("closed: ") {
            break;
        }
        let text = format!("{}\r\n", line.get(3..).unwrap_or_default());
        if line.starts_with('S') {
            match door.on_server_line(text.as_bytes()) {
                Heard::Line => {}
                heard @ (Heard::LoggedIn | Heard::Refused) => writeln!(told, "{heard:?}").unwrap(),
            }
            moves(&mut door, logins, &mut buffered, &mut told);
            continue;
        }
        for part in text.as_bytes().chunks(step) {
            buffered.extend_from_slice(part);
            if step == 1 {
                moves(&mut door, logins, &mut buffered, &mut told);
            }
        }
        moves(&mut door, logins, &mut buffered, &mut told);
    }
    if !buffered.is_empty() {
        writeln!(told, "waits: {}", buffered.escape_ascii()).unwrap();
    }
    if let Some(name) = door.client_name() {
        writeln!(told, "by {name}").unwrap();
    }
    let login = door.login();
    if let Some(name) = login.name {
        write!(told, "as {name}").unwrap();
        if let Some(password) = login.password {
            write!(told, " with {}", password.expose_secret()).unwrap();
        }
        told.push('\n');
    }
    told
}

fn moves(door: &mut Door, logins: Logins, buffered: &mut Vec<u8>, told: &mut String) {
    loop {
        let (bytes, answer) = match door.on_client(buffered, logins) {
            Move::More | Move::Wait => return,
            Move::Forward(bytes) => {
                write!(told, "{}", String::from_utf8_lossy(&buffered[..bytes]).replace('\r', "")).unwrap();
                (bytes, Vec::new())
            }
            Move::Replace(bytes, other) => {
                write!(told, "{}", String::from_utf8_lossy(&other).replace('\r', "")).unwrap();
                (bytes, Vec::new())
            }
            Move::Answer(bytes, answer) => (bytes, answer),
            Move::StartTls(bytes, answer) => {
                door.on_tls();
                (bytes, answer)
            }
            Move::Close(answer) => {
                let answer = String::from_utf8_lossy(&answer).replace("\r\n", " / ");
                writeln!(told, "closed: {answer}").unwrap();
                buffered.clear();
                return;
            }
        };
        if !answer.is_empty() {
            writeln!(told, "answered: {}", String::from_utf8_lossy(&answer).trim_end()).unwrap();
        }
        buffered.drain(..bytes);
    }
}

fn check_at(leg: Leg, logins: Logins, transcript: &str, expect: Expect) {
    let whole = replay(transcript, Door::new(leg, Learning::Off), logins, usize::MAX);
    expect.assert_eq(&whole);
    assert_eq!(replay(transcript, Door::new(leg, Learning::Off), logins, 1), whole, "bytewise");
}

fn check(transcript: &str, expect: Expect) {
    check_at(Leg::Open, Logins::Welcome, transcript, expect);
}

/// Of an `ID` in pieces of every length: what goes to the source, and the name that is noted.
fn check_id(transcript: &str, expect: Expect) {
    let replayed = |step| replay(transcript, Door::new(Leg::Open, Learning::Off), Logins::Welcome, step);
    let whole = replayed(usize::MAX);
    for step in 1..=transcript.len() {
        assert_eq!(replayed(step), whole, "in pieces of {step}");
    }
    expect.assert_eq(&whole);
}

#[test]
fn logins_of_all_forms() {
    check(
        "C: a1 LOGIN ann secret\nS: a1 OK in",
        expect![[r#"
        a1 LOGIN ann secret
        LoggedIn
        as ann
    "#]],
    );
    check(
        "C: a1 login \"a\\\"nn\" \"x\"\nS: * CAPABILITY X\nS: a1 OK in",
        expect![[r#"
        a1 login "a\"nn" "x"
        LoggedIn
        as a"nn
    "#]],
    );
    check(
        "C: a1 LOGIN {3}\nS: + go\nC: ann {6}\nS: +\nC: secret\nS: a1 OK in",
        expect![[r#"
        a1 LOGIN {3}
        ann {6}
        secret
        LoggedIn
        as ann
    "#]],
    );
    check(
        "C: a1 LOGIN {3+}\nC: ann {6+}\nC: secret\nS: a1 OK in",
        expect![[r#"
        a1 LOGIN {3+}
        ann {6+}
        secret
        LoggedIn
        as ann
    "#]],
    );
    check(
        "C: a1 AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=\nS: a1 OK in",
        expect![[r#"
        a1 AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=
        LoggedIn
        as ann
    "#]],
    );
    check(
        "C: a1 AUTHENTICATE PLAIN\nS: +\nC: AGFubgBzZWNyZXQ=\nS: a1 OK in",
        expect![[r#"
        a1 AUTHENTICATE PLAIN
        AGFubgBzZWNyZXQ=
        LoggedIn
        as ann
    "#]],
    );
    check(
        "C: a1 AUTHENTICATE GSSAPI\nS: +\nC: xxxx\nS: + yyyy\nC: zzzz\nS: a1 OK in",
        expect![[r#"
        a1 AUTHENTICATE GSSAPI
        xxxx
        zzzz
        LoggedIn
    "#]],
    );
}

#[test]
fn refused_and_cancelled_ones_may_be_followed_by_others() {
    check(
        "
        C: a1 LOGIN ann wrong
        S: a1 NO no
        C: a2 AUTHENTICATE PLAIN
        S: +
        C: *
        S: a2 BAD cancelled
        C: a3 LOGIN {3}
        S: a3 BAD no literals here
        C: a4 LOGIN bob right
        S: a4 OK in
    ",
        expect![[r#"
            a1 LOGIN ann wrong
            Refused
            a2 AUTHENTICATE PLAIN
            *
            Refused
            a3 LOGIN {3}
            Refused
            a4 LOGIN bob right
            LoggedIn
            as bob
        "#]],
    );
}

#[test]
fn what_stands_behind_a_login_waits_for_its_answer() {
    check(
        "C: a1 CAPABILITY\nC: a2 LOGIN ann x\nC: a3 SELECT INBOX\nS: a1 OK\nS: a2 OK in",
        expect![[r#"
        a1 CAPABILITY
        a2 LOGIN ann x
        LoggedIn
        a3 SELECT INBOX
        as ann
    "#]],
    );
    let mut door = Door::new(Leg::Open, Learning::Off);
    let sent = b"a2 LOGIN ann x\r\na3 SELECT INBOX\r\n";
    assert_eq!(door.on_client(sent, Logins::Welcome), Move::Forward(16));
    assert_eq!(door.on_client(&sent[16..], Logins::Welcome), Move::Wait);
}

#[test]
fn no_other_commands_answer_is_taken_for_a_logins() {
    check(
        "
        C: a NOOP
        C: a LOGIN bob wrong
        S: a OK noop
        S: a NO wrong
        C: b NOOP
        C: b LOGIN {3}
        S: b OK noop
        C: b2 NOOP
        S: b BAD no literals here
    ",
        expect![[r#"
            a NOOP
            a LOGIN bob wrong
            Refused
            b NOOP
            b LOGIN {3}
            Refused
            b2 NOOP
        "#]],
    );
}

#[test]
fn starttls_is_answered_here() {
    check_at(
        Leg::BeforeStartTls,
        Logins::Welcome,
        "C: a1 STARTTLS",
        expect![[r#"
        answered: a1 OK Begin TLS negotiation now.
    "#]],
    );
    check_at(
        Leg::BeforeStartTls,
        Logins::Welcome,
        "C: a1 NOOP\nC: a2 STARTTLS\nS: a1 OK",
        expect![[r#"
        a1 NOOP
        answered: a2 OK Begin TLS negotiation now.
    "#]],
    );
    check(
        "C: a1 STARTTLS\nC: a2 NOOP",
        expect![[r#"
        answered: a1 BAD STARTTLS is not available here.
        a2 NOOP
    "#]],
    );
    let mut door = Door::new(Leg::BeforeStartTls, Learning::Off);
    let injected = door.on_client(b"a1 STARTTLS\r\na2 LOGIN ann secret\r\n", Logins::Welcome);
    assert!(matches!(injected, Move::Close(_)), "{injected:?}");
}

#[test]
fn no_login_without_tls_nor_for_the_barred() {
    check_at(
        Leg::BeforeStartTls,
        Logins::Welcome,
        "C: a1 LOGIN ann x\nC: a2 AUTHENTICATE PLAIN\nC: a3 LOGIN {3}\nC: a4 STARTTLS\nC: a5 LOGIN ann x",
        expect![[r#"
            answered: a1 NO [PRIVACYREQUIRED] Log in after STARTTLS.
            answered: a2 NO [PRIVACYREQUIRED] Log in after STARTTLS.
            answered: a3 NO [PRIVACYREQUIRED] Log in after STARTTLS.
            answered: a4 OK Begin TLS negotiation now.
            a5 LOGIN ann x
        "#]],
    );
    check_at(
        Leg::BeforeStartTls,
        Logins::Welcome,
        "C: a1 LOGIN {3+}",
        expect![[r#"
        closed: a1 NO [PRIVACYREQUIRED] Log in after STARTTLS. / * BYE Not here. / 
    "#]],
    );
    check_at(
        Leg::Open,
        Logins::Barred,
        "C: a1 LOGIN ann x\nC: a2 NOOP",
        expect![[r#"
        answered: a1 NO [LIMIT] Too many refused logins, try again later.
        a2 NOOP
    "#]],
    );
}

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
    assert!(matches!(long("NOOP", 8200), Move::Close(_)));
    assert_eq!(long("AUTHENTICATE", 60_000), Move::More);
    assert!(matches!(long("AUTHENTICATE", 70_000), Move::Close(_)));
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
        assert!(matches!(told, Move::Close(_)), "{line:?}: {told:?}");
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
                Move::Close(_) | Move::More => break,
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
fn what_the_source_accepted_is_learnt_in_every_form_of_a_login() {
    let learnt = |transcript: &str| {
        let door = || Door::new(Leg::Open, Learning::On);
        let whole = replay(transcript, door(), Logins::Welcome, usize::MAX);
        assert_eq!(replay(transcript, door(), Logins::Welcome, 1), whole, "bytewise");
        whole.lines().filter(|line| line.starts_with("as ")).collect::<String>()
    };
    for (transcript, expected) in [
        ("C: a1 LOGIN ann s3cret\nS: a1 OK in", "as ann with s3cret"),
        ("C: a1 login \"ann\" \"s3\\\"c\\\\ret\"\nS: a1 OK in", "as ann with s3\"c\\ret"),
        ("C: a1 LOGIN {3}\nS: + go\nC: ann {6}\nS: +\nC: s3cret\nS: a1 OK in", "as ann with s3cret"),
        ("C: a1 LOGIN {3+}\nC: ann {6+}\nC: s3cret\nS: a1 OK in", "as ann with s3cret"),
        ("C: a1 LOGIN ann {6+}\nC: s3cret\nS: a1 OK in", "as ann with s3cret"),
        ("C: a1 AUTHENTICATE PLAIN AGFubgBzM2NyZXQ=\nS: a1 OK in", "as ann with s3cret"),
        ("C: a1 AUTHENTICATE PLAIN\nS: + \nC: AGFubgBzM2NyZXQ=\nS: a1 OK in", "as ann with s3cret"),
        (
            "C: a1 AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: YW5u\nS: + UGFzc3dvcmQ6\nC: czNjcmV0\nS: a1 OK in",
            "as ann with s3cret",
        ),
        ("C: a1 AUTHENTICATE LOGIN YW5u\nS: + UGFzc3dvcmQ6\nC: czNjcmV0\nS: a1 OK in", "as ann with s3cret"),
        // Only what was accepted: the second of two attempts, on one connection.
        ("C: a1 LOGIN ann wrong\nS: a1 NO no\nC: a2 LOGIN ann s3cret\nS: a2 OK in", "as ann with s3cret"),
        ("C: a1 LOGIN ann wrong\nS: a1 NO no", ""),
        ("C: a1 LOGIN ann wrong\nS: a1 BAD no", ""),
        ("C: a1 AUTHENTICATE PLAIN\nS: + \nC: *\nS: a1 BAD cancelled", ""),
        // Whoever acts as somebody else; three arguments; something that does not read.
        ("C: a1 AUTHENTICATE PLAIN Ym9iAGFubgBzM2NyZXQ=\nS: a1 OK in", ""),
        ("C: a1 LOGIN ann s3cret more\nS: a1 OK in", ""),
        ("C: a1 LOGIN ann (s3cret)\nS: a1 OK in", ""),
        ("C: a1 AUTHENTICATE\nS: a1 OK in", ""),
    ] {
        assert_eq!(learnt(transcript), expected, "{transcript}");
    }
}

#[test]
fn what_a_client_says_of_itself_passes_as_it_stands() {
    check_id(
        "
        C: a ID NIL
        S: * ID NIL
        S: a OK
        C: b id (\"name\" \"Thunder \\\"bird\\\"\"  \"version\" NIL )
        S: b OK
        C: c ID (\"x-Originatin\" \"1\" \"ax-originating-ip\" \"2\" \"vendor\" {3}
        S: + go
        C: x)y)
        S: c OK
        C: d ID ()
        S: d OK
    ",
        expect![[r#"
            a ID NIL
            b id ("name" "Thunder \"bird\""  "version" NIL )
            c ID ("x-Originatin" "1" "ax-originating-ip" "2" "vendor" {3}
            x)y)
            d ID ()
            by Thunder "bird"
        "#]],
    );
}

#[test]
fn what_it_forges_does_not() {
    check_id(
        "
        C: a ID (\"x-originating-ip\" \"6.6.6.6\" \"name\" \"Mutt\" \"X-Connected-Port\" \"1\" \"x-PROXY-ttl\" NIL)
        S: a OK
        C: b ID (\"name\" \"x\" \"x\\-session\\-ext-id\" \"y\" \"os\" \"x-originating-ip\")
        S: b OK
        C: c ID (\"x-forward-anything\" \"1\" \"x-client-transport\" \"TLS\" \"x-multiplex\" \"0\" )
        S: c OK
        C: d ID (x-originating-ip 6.6.6.6 vendor acme)
        S: d OK
    ",
        expect![[r#"
            a ID ("name" "Mutt")
            b ID ("name" "x" "os" "x-originating-ip")
            c ID ( )
            d ID (vendor acme)
            by Mutt
        "#]],
    );
}

#[test]
fn nor_does_it_as_a_literal() {
    // The source hears of no literal that is taken out, and the client is asked for it here.
    check_id(
        "
        C: a ID (\"name\" \"Mutt\" {16}
        C: X-Originating-IP {7}
        C: 6.6.6.6 \"os\" \"x\" {6}
        C: vendor {4}
        S: + go
        C: acme)
        S: a OK
        C: b ID ({16+}
        C: x-originating-ip {7+}
        C: 6.6.6.6 {4+}
        C: name {4+}
        C: Mutt)
        S: b OK
    ",
        expect![[r#"
            a ID ("name" "Mutt"answered: + Go on.
            answered: + Go on.
             "os" "x"answered: + Go on.
             "vendor" {4}
            acme)
            b ID ("name" {4+}
            Mutt)
            by Mutt
        "#]],
    );
}

#[test]
fn what_cannot_be_read_holds_nothing_that_a_source_could_take_for_a_field() {
    for innocent in
        ["ID", "ID (", "ID (\"name\")", "ID (\"a\" \"b\"\"c\" \"d\")", "ID (\"a\" (\"b\"))", "ID \"x\" 1"]
    {
        let told =
            replay(&format!("C: a {innocent}"), Door::new(Leg::Open, Learning::Off), Logins::Welcome, 1);
        assert_eq!(told, format!("a {innocent}\n"));
    }
    for forged in [
        "ID (\"x-originating-ip\" \"6.6.6.6\"",
        "ID (\"x-originating-ip\"\"6.6.6.6\")",
        "ID (\"a\" \"b\") (\"x-originating-ip\" \"6.6.6.6\")",
        "ID (\"a\" \"b\" (\"X-\\\\Originating-ip\" \"6.6.6.6\"))",
        "ID (\"a\" \"b\"{16}",
        "ID {3+}",
    ] {
        let told = replay(
            &format!("C: a {forged}"),
            Door::new(Leg::Open, Learning::Off),
            Logins::Welcome,
            usize::MAX,
        );
        assert_eq!(told, "closed: a BAD Not an ID. / * BYE Not an ID. / \n", "{forged}");
    }
}

#[test]
fn our_own_id_is_answered_before_its_tag_is_lent_to_a_client() {
    let mut door = Door::new(Leg::Open, Learning::Off);
    door.on_own_command(b"ours");
    assert!(!door.is_idle());
    assert_eq!(door.on_client(b"ours NOOP\r\n", Logins::Welcome), Move::Wait);
    assert_eq!(door.on_client(b"a NOOP\r\n", Logins::Welcome), Move::Forward(8));
    door.on_server_line(b"ours OK ID\r\n");
    assert_eq!(door.on_client(b"ours NOOP\r\n", Logins::Welcome), Move::Forward(11));
}
