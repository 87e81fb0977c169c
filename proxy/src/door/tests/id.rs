//! The client's `ID`, and ours.

use expect_test::{Expect, expect};

use super::*;

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
        "ID (\"a\" ~{1}",
        "ID (\"a\" ~{1+}",
        "ID (~{1+}",
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
