use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Reads each line by itself; `{n}` is followed by its literal after a `|`: `* 1 FETCH (BODY[1] {3}|abc|)`.
fn check(lines: &str, expected: Expect) {
    let mut story = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.push_str(&format!("{:?}\n", parse(&parts(line.as_bytes()))));
    }
    expected.assert_eq(&story);
}

fn parts(line: &[u8]) -> Vec<Part> {
    line.split(|byte| *byte == b'|')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => Part::Text([part, b"\r\n"].concat().into()),
            _ => Part::Literal(Bytes::copy_from_slice(part)),
        })
        .collect()
}

proptest! {
    #[test]
    fn hostile_lines_do_not_panic(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        parse(&parts(&line));
    }

    #[test]
    fn nor_do_likely_ones(
        words in proptest::collection::vec(
            prop_oneof![
                Just("* "), Just("A1 "), Just("OK "), Just("12 "), Just("FETCH "), Just("("), Just(")"), Just("UID "),
                Just("BODY[] "), Just("BODY["), Just("{3}|abc|"), Just("FLAGS "), Just("\\Seen "), Just("\""), Just("[COPYUID "),
                Just("1:4294967295 "), Just("] "), Just("ESEARCH "), Just("LIST "), Just("STATUS "), Just("NAMESPACE "),
                Just("VANISHED "), Just("SEARCH "), Just("NIL "), Just("99999999999999999999 "), Just("INTERNALDATE "),
            ],
            0..20,
        )
    ) {
        let parts = parts(words.concat().as_bytes());
        parse(&parts);
        fetch_so_far(&parts);
    }
}

#[test]
fn statuses() {
    check(
        "A1 OK done",
        expect![[r#"
        Tagged { tag: b"A1", text: StatusText { status: Ok, code: None, text: "done" } }
    "#]],
    );
}
