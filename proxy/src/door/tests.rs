//! Transcripts of both sides' lines and the moves that they lead to, replayed whole and bytewise.

mod hostile;
mod id;

use std::fmt::Write;

use expect_test::{Expect, expect};
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
            Move::Close(answer, _) => {
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
    assert!(matches!(injected, Move::Close(..)), "{injected:?}");
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
