use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Frames a transcript whole, bytewise and at every split; each must give the same and lose no byte.
fn check(framer: fn() -> Framer, transcript: &[u8], expected: Expect) {
    let whole = frame(framer(), &[transcript]);
    expected.assert_eq(&whole);
    let bytewise: Vec<&[u8]> = transcript.chunks(1).collect();
    assert_eq!(frame(framer(), &bytewise), whole, "bytewise");
    for at in 0..=transcript.len() {
        let (left, right) = transcript.split_at(at);
        assert_eq!(frame(framer(), &[left, right]), whole, "split at {at}");
    }
}

fn frame(mut framer: Framer, chunks: &[&[u8]]) -> String {
    let mut story = String::new();
    let (mut joined, mut data) = (Vec::new(), Vec::new());
    let fed = chunks.concat();
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            match framer.next(&mut input) {
                Ok(Some(Piece::Line { text, literal })) => {
                    joined.extend_from_slice(&text);
                    let literal = match literal {
                        Some(Literal { size, sync: Sync::Yes }) => format!(" -> {size} bytes after +"),
                        Some(Literal { size, sync: Sync::No }) => format!(" -> {size} bytes"),
                        None => String::new(),
                    };
                    writeln!(story, "line {}{literal}", shown(&text)).unwrap();
                }
                Ok(Some(Piece::Data { bytes, left })) => {
                    assert!(!bytes.is_empty());
                    joined.extend_from_slice(&bytes);
                    data.extend_from_slice(&bytes);
                    if left == 0 {
                        writeln!(story, "data {}", shown(&data)).unwrap();
                        data.clear();
                    }
                }
                Ok(None) => {
                    assert!(input.is_empty());
                    break;
                }
                Err(error) => {
                    assert_eq!(framer.next(&mut Bytes::from_static(b"a OK\r\n")), Err(error), "it sticks");
                    assert!(fed.starts_with(&joined));
                    writeln!(story, "failed: {error}").unwrap();
                    return story;
                }
            }
        }
    }
    assert!(fed.starts_with(&joined) && fed.len() - joined.len() == framer.begun.len(), "bytes were lost");
    if !data.is_empty() {
        writeln!(story, "part {}", shown(&data)).unwrap();
    }
    if !framer.begun.is_empty() {
        writeln!(story, "begun {}", shown(&framer.begun)).unwrap();
    }
    story
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"")
}

#[test]
fn bodies_between_lines() {
    check(
        Framer::server,
        b"* 1 FETCH (BODY[] {3}\r\nabc UID 7)\r\n* 2 FETCH (BODY[] {0}\r\n UID 8)\r\na1 OK done\r\n",
        expect![[r#"
            line * 1 FETCH (BODY[] {3}\r\n -> 3 bytes
            data abc
            line  UID 7)\r\n
            line * 2 FETCH (BODY[] {0}\r\n -> 0 bytes
            line  UID 8)\r\n
            line a1 OK done\r\n
        "#]],
    );
    check(
        Framer::server,
        b"* 1 FETCH (BODY[HEADER] {2}\r\n\r\n BODY[TEXT]<0> ~{4}\r\n{9}\n BODY[1]{1}\r\nx RFC822 {2+}\r\nhi)\r\n",
        expect![[r#"
            line * 1 FETCH (BODY[HEADER] {2}\r\n -> 2 bytes
            data \r\n
            line  BODY[TEXT]<0> ~{4}\r\n -> 4 bytes
            data {9}\n
            line  BODY[1]{1}\r\n -> 1 bytes
            data x
            line  RFC822 {2+}\r\n -> 2 bytes
            data hi
            line )\r\n
        "#]],
    );
}

#[test]
fn names_as_literals() {
    check(
        Framer::server,
        b"* LIST (\\HasNoChildren) \"/\" {4}\r\na\"b\\\r\n* STATUS {1}\r\nx (MESSAGES 1)\r\n",
        expect![[r#"
            line * LIST (\\HasNoChildren) "/" {4}\r\n -> 4 bytes
            data a"b\\
            line \r\n
            line * STATUS {1}\r\n -> 1 bytes
            data x
            line  (MESSAGES 1)\r\n
        "#]],
    );
    check(
        Framer::server,
        b"* LIST () \"/\" report{5}\r\n* LIST () \"/\" \"a {5}\"\r\na OK\r\n",
        expect![[r#"
            line * LIST () "/" report{5}\r\n
            line * LIST () "/" "a {5}"\r\n
            line a OK\r\n
        "#]],
    );
}

#[test]
fn status_texts_hold_no_literals() {
    check(
        Framer::server,
        b"* OK hello {5}\r\nA1 OK note {5}\r\n+ go on {5}\r\n* BYE {7}\r\nA2 NO ({3}\r\n[COPYUID 1 2 3] {4}\r\n* ok[ALERT] x {2}\r\n",
        expect![[r#"
            line * OK hello {5}\r\n
            line A1 OK note {5}\r\n
            line + go on {5}\r\n
            line * BYE {7}\r\n
            line A2 NO ({3}\r\n
            line [COPYUID 1 2 3] {4}\r\n
            line * ok[ALERT] x {2}\r\n
        "#]],
    );
}

#[test]
fn a_literal_of_four_gigabytes_is_no_text() {
    check(
        Framer::server,
        b"* 1 FETCH (BODY[] {4294967296}\r\na1 OK not a line\r\n",
        expect![[r#"
            line * 1 FETCH (BODY[] {4294967296}\r\n -> 4294967296 bytes
            part a1 OK not a line\r\n
        "#]],
    );
    check(
        Framer::server,
        b"* 1 FETCH (BODY[] {18446744073709551616}\r\na1 OK not a line\r\n",
        expect![[r#"
            failed: a literal beyond all numbers
        "#]],
    );
}

#[test]
fn doubt_ends_it() {
    for doubtful in [
        b"* 1 FETCH (ENVELOPE (NIL \"odd \" quote\" NIL) BODY[] {3}\r\n".as_slice(),
        b"* 1 FETCH (BODY[] x{3}\r\n",
        b"* LIST () \"/\" \"open {3}\r\n",
    ] {
        check(
            Framer::server,
            doubtful,
            expect![[r#"
                failed: a line that may or may not announce a literal
            "#]],
        );
    }
    for doubtful in [
        b"a LOGIN x{3}\r\n".as_slice(),
        b"a {3}\r\n",
        b"a SELECT \"open {3}\r\n",
        b"{3}\r\n",
        b"a x {1}\r\nx{1}\r\n",
    ] {
        let mut framer = Framer::client();
        let mut last = Ok(None);
        for byte in doubtful {
            last = framer.next(&mut Bytes::copy_from_slice(&[*byte]));
            if last.is_err() {
                break;
            }
        }
        assert_eq!(last, Err(FrameError::Ambiguous), "{}", doubtful.escape_ascii());
    }
}

#[test]
fn what_clients_send() {
    check(
        Framer::client,
        b"1 LOGIN {4}\r\nuser {6+}\r\nsecret\r\n2 SEARCH TEXT \"x {5}\"\r\n3 APPEND a (\\Seen) {0}\r\n\r\n4 IDLE\nDONE\r\ndXNlcg==\r\n*\r\n5 APPEND b ~{2+}\r\n\0\0\r\n",
        expect![[r#"
            line 1 LOGIN {4}\r\n -> 4 bytes after +
            data user
            line  {6+}\r\n -> 6 bytes
            data secret
            line \r\n
            line 2 SEARCH TEXT "x {5}"\r\n
            line 3 APPEND a (\\Seen) {0}\r\n -> 0 bytes after +
            line \r\n
            line 4 IDLE\n
            line DONE\r\n
            line dXNlcg==\r\n
            line *\r\n
            line 5 APPEND b ~{2+}\r\n -> 2 bytes
            data \x00\x00
            line \r\n
        "#]],
    );
}

#[test]
fn braces_that_announce_nothing() {
    check(
        Framer::client,
        b"1 NOOP {}\r\n2 NOOP {a}\r\n3 NOOP {5-}\r\n4 NOOP {+}\r\n5 NOOP {5} \r\n6 NOOP {5}x\r\n7 NOOP }\r\n8 NOOP {-1}\r\n",
        expect![[r#"
            line 1 NOOP {}\r\n
            line 2 NOOP {a}\r\n
            line 3 NOOP {5-}\r\n
            line 4 NOOP {+}\r\n
            line 5 NOOP {5} \r\n
            line 6 NOOP {5}x\r\n
            line 7 NOOP }\r\n
            line 8 NOOP {-1}\r\n
        "#]],
    );
}

#[test]
fn a_refused_literal_does_not_come() {
    let mut framer = Framer::client();
    let mut input = Bytes::from_static(b"1 APPEND x {9}\r\n");
    assert!(matches!(framer.next(&mut input), Ok(Some(Piece::Line { literal: Some(_), .. }))));
    assert!(!framer.is_between());
    framer.refuse_literal();
    assert!(framer.is_between());
    let mut input = Bytes::from_static(b"2 NOOP\r\n");
    assert!(matches!(framer.next(&mut input), Ok(Some(Piece::Line { literal: None, .. }))));

    // Once its bytes come, or where it did not ask, there is nothing to refuse.
    for (announced, data) in [("1 APPEND x {9}\r\n", "2 N"), ("1 APPEND x {9+}\r\n", "")] {
        let mut framer = Framer::client();
        framer.next(&mut Bytes::from(announced)).unwrap();
        framer.next(&mut Bytes::from(data)).unwrap();
        framer.refuse_literal();
        assert!(matches!(framer.next(&mut Bytes::from_static(b"OOP\r\n")), Ok(Some(Piece::Data { .. }))));
    }
}

#[test]
fn lines_are_bounded() {
    let framer = || Framer::server().with_max_line(20);
    check(
        framer,
        b"* OK 3456789012345\r\n\r\n",
        expect![[r#"
        line * OK 3456789012345\r\n
        line \r\n
    "#]],
    );
    check(
        framer,
        b"* OK 34567890123456\r\n",
        expect![[r#"
        failed: a line of more than 20 bytes
    "#]],
    );
    let endless = [b'x'; 100];
    check(
        framer,
        &endless,
        expect![[r#"
        failed: a line of more than 20 bytes
    "#]],
    );
}

#[test]
fn literals_are_not_copied() {
    let mut input = Bytes::from(b"* 1 FETCH (BODY[] {3}\r\nabc)\r\n".to_vec());
    let at = input.as_ptr() as usize;
    let mut framer = Framer::server();
    framer.next(&mut input).unwrap();
    let Ok(Some(Piece::Data { bytes, .. })) = framer.next(&mut input) else { panic!("no data") };
    assert_eq!(bytes.as_ptr() as usize, at + 23);
}

proptest! {
    #[test]
    fn pieces_joined_are_the_input(
        lines in proptest::collection::vec(
            prop_oneof![
                Just("* 1 FETCH (BODY[] {3}\r\n"), Just("a1 OK note {5}\r\n"), Just("abc"), Just(" UID 7)\r\n"),
                Just("* LIST () \"/\" {2}\r\n"), Just("2 APPEND x {4+}\r\n"), Just("\n"), Just("{1}\r\n"),
                Just("\"a\\\" {2}"), Just("* 2 FETCH (FLAGS () BODY[1]{2}\r\n"), Just("\r\n"),
            ],
            0..30,
        ),
        cuts in proptest::collection::vec(1usize..40, 1..10),
    ) {
        let stream = lines.concat().into_bytes();
        for framer in [Framer::client, Framer::server] {
            let whole = frame(framer(), &[&stream]);
            let mut chunks = Vec::new();
            let (mut rest, mut cut) = (stream.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                chunks.push(chunk);
                rest = more;
            }
            prop_assert_eq!(frame(framer(), &chunks), whole);
        }
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_get_lost(stream in proptest::collection::vec(any::<u8>(), 0..200), cut in 1usize..50) {
        let chunks: Vec<&[u8]> = stream.chunks(cut).collect();
        frame(Framer::server().with_max_line(64), &chunks);
        frame(Framer::client().with_max_line(64), &chunks);
    }
}
