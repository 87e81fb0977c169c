//! What the tap does not follow.

use bytes::Bytes;
use expect_test::expect;
use mailferry_imap::MailboxId;

use super::{check, replay, selected};
use crate::tap::{Blindness, MAX_TEXT, Observed, Tap};

#[test]
fn what_cannot_be_followed_makes_it_blind() {
    let after = "C: a2 CREATE x\nS: a2 OK done";
    check(
        &format!("C: a1 COMPRESS DEFLATE\nS: a1 OK go\n{after}"),
        expect![[r#"
        blind: compressed
    "#]],
    );
    check(
        &format!("C: a1 COMPRESS DEFLATE\nS: a1 NO no\n{after}"),
        expect![[r#"
            folders changed
            changed x
        "#]],
    );
    check(
        &format!("C: a1 UNAUTHENTICATE\nS: a1 OK bye\n{after}"),
        expect![[r#"
        blind: other user
    "#]],
    );
    check(
        &format!("S: * 1 FETCH (BODY[] {{99999999999999999999}}\n{after}"),
        expect![[r#"
        blind: unframable
    "#]],
    );
    check(
        &format!("C: a1 SELECT (odd)\nS: a1 OK fine\n{after}"),
        expect![[r#"
        blind: unframable
    "#]],
    );
    check(
        &format!("C: a1 NOOP\nS: a1 OK note {{5}}\n{after}"),
        expect![[r#"
            folders changed
            changed x
        "#]],
    );
}

#[test]
fn endless_literals_of_one_command_make_it_blind() {
    let mut tap = Tap::new(MailboxId(1));
    tap.on_client(Bytes::from_static(b"a1 SEARCH"));
    let literal = [b" {60000+}\r\n".as_slice(), &[b'x'; 60_000]].concat();
    for _ in 0..MAX_TEXT / 60_000 + 2 {
        tap.on_client(Bytes::copy_from_slice(&literal));
    }
    assert_eq!(tap.take(), [Observed::Blind(Blindness::TooMuch)]);
}

#[test]
fn names_in_literals_do_not_cost_their_square() {
    let mut tap = Tap::new(MailboxId(1));
    tap.on_server(Bytes::from_static(b"* 1 FETCH (ENVELOPE (NIL NIL ("));
    let name = Bytes::from_static(b"({1}\r\nx NIL \"a\" \"b\")");
    for _ in 0..60_000 {
        tap.on_server(name.clone());
    }
    tap.on_server(Bytes::from_static(b")) UID 7)\r\n"));
    assert_eq!(tap.take(), []);
}

#[test]
fn a_message_of_another_length_than_announced_makes_it_blind() {
    for rest in ["and more of it", " and more of it"] {
        selected(
            &format!(
                "C: a1 FETCH 1 (UID BODY[])\nS: * 1 FETCH (UID 7 BODY[] {{3}}\nS: abc{rest}\nS: )\nS: a1 OK done"
            ),
            expect![[r#"
                blind: unframable
            "#]],
        );
    }
}

#[test]
fn a_line_that_a_source_may_read_otherwise_makes_it_blind() {
    let told = |line: &str| {
        let lines = [
            ('C', b"s SELECT INBOX\r\n".to_vec()),
            ('S', b"* OK [UIDVALIDITY 9] ok\r\ns OK done\r\n".to_vec()),
            ('C', format!("{line}\r\n").into_bytes()),
            ('S', b"a OK done\r\n".to_vec()),
        ];
        let whole = replay(&lines, |_| Vec::new());
        assert_eq!(replay(&lines, |length| (0..length).collect()), whole, "bytewise");
        whole
    };
    for odd in [
        "a\tUNAUTHENTICATE",
        "a\t UNAUTHENTICATE",
        "a UNAUTHENTICATE\t",
        "a UNAUTHENTICATE\0x",
        "a NOOP\rb UNAUTHENTICATE",
        "a\"\tUNAUTHENTICATE",
        "a \"UNAUTHENTICATE\"",
        "a (UNAUTHENTICATE)",
        "a {15+}\r\nUNAUTHENTICATE",
        "a UID\tFETCH 1 BODY[]",
        "a SELECT INBOX\t(CONDSTORE)",
        "a SEARCH SUBJECT \"a\\\\\"\t",
        "UNAUTHENTICATE",
        "(a) UNAUTHENTICATE",
        " a UNAUTHENTICATE",
        "  a NOOP",
        "* NOOP",
        "+ NOOP",
        "a\"b NOOP",
        "\u{e4} NOOP",
        "a N\u{f6}OP",
        "a SEARCH SUBJECT {5 }",
        "a SEARCH SUBJECT {5-}",
        "a SEARCH SUBJECT {5} ",
        "a SEARCH SUBJECT x{5}",
    ] {
        assert_eq!(told(odd), "blind: unframable\n", "{odd:?}");
    }
    for plain in [
        "a  NOOP",
        "a SEARCH SUBJECT \"a\tb\"",
        "a SEARCH (SUBJECT \"\\\"a\tb\")",
        "a UID SEARCH X-GM-RAW \"\u{e4}\"",
        "a XAPPLEPUSHSERVICE aps-version 2",
    ] {
        assert_eq!(told(plain), "", "{plain:?}");
    }
}

#[test]
fn whoever_is_somebody_else_from_here_on_is_not_followed() {
    for verb in ["UNAUTHENTICATE", "unauthenticate", "PROXYAUTH joe", "LOGIN a b", "AUTHENTICATE PLAIN x"] {
        let lines = [('C', format!("a {verb}\r\n").into_bytes()), ('S', b"a OK done\r\n".to_vec())];
        assert_eq!(replay(&lines, |_| Vec::new()), "blind: other user\n", "{verb}");
    }
}

#[test]
fn what_the_source_takes_for_other_commands_than_we_do_makes_it_blind() {
    // A source without LITERAL+ takes what follows for commands.
    selected(
        "
        C: a1 SEARCH SUBJECT {15+}
        S: a1 BAD what
        C: b1 SELECT Work
        S: * OK [UIDVALIDITY 9] ok
        S: b1 OK done
        C: \
        C: c1 FETCH 1 (UID BODY[])
        S: * 1 FETCH (UID 7 BODY[] {3}
        S: abc)
        S: c1 OK done
    ",
        expect![[r#"
            blind: unframable
        "#]],
    );
    selected(
        "C: a1 SEARCH SUBJECT {15+}\nS: a1 OK found",
        expect![[r#"
            blind: unframable
        "#]],
    );
    selected(
        "C: a1 NOOP\nC: a1 SELECT Work\nS: a1 OK done",
        expect![[r#"
            blind: unframable
        "#]],
    );
    selected("C: DONE\nS: DONE BAD what\nC: done\nC: \nC: a1 NOOP\nS: a1 OK done", expect![""]);
}
