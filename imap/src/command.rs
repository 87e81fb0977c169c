//! What a client says, as far as the proxy acts on it (RFC 3501 section 6).

use std::fmt;

use bytes::Bytes;

use crate::token::{Cursor, Part, Value};

/// One command.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The tag as it stands.
    pub tag: Bytes,
    /// In upper case; `UID FETCH` is one verb.
    pub verb: String,
    /// Its arguments; as far as they read.
    pub arguments: Vec<Value>,
    /// Whether all arguments read.
    pub complete: Complete,
}

/// Whether all of a command was understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complete {
    /// It was.
    Yes,
    /// Something in it does not read.
    No,
}

/// Reads one framed command; `None` where there is no tag and verb (`DONE`, the base64 lines of AUTHENTICATE).
pub fn parse(parts: &[Part]) -> Option<Command> {
    let mut cursor = Cursor::new(parts);
    cursor.skip_blanks();
    let tag = cursor.atom()?;
    cursor.skip_blanks();
    let mut verb = word(&mut cursor)?;
    cursor.skip_blanks();
    if verb == "UID" {
        verb = format!("UID {}", word(&mut cursor)?);
    }
    let mut arguments = Vec::new();
    let mut complete = Complete::Yes;
    loop {
        cursor.skip_blanks();
        if cursor.is_at_end() {
            break;
        }
        match cursor.value() {
            Some(value) => arguments.push(value),
            None => {
                complete = Complete::No;
                break;
            }
        }
    }
    Some(Command { tag, verb, arguments, complete })
}

fn word(cursor: &mut Cursor<'_>) -> Option<String> {
    let word = cursor.atom()?;
    str::from_utf8(&word).ok().map(str::to_ascii_uppercase)
}

impl fmt::Debug for Command {
    /// Without arguments: they may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, verb, arguments, complete: _ } = self;
        write!(f, "{} {verb} ({} arguments)", tag.escape_ascii(), arguments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(parts: &[Part]) -> (String, Vec<String>) {
        let command = parse(parts).unwrap();
        assert_eq!(command.complete, Complete::Yes);
        (command.verb, command.arguments.iter().map(|value| format!("{value:?}")).collect())
    }

    #[test]
    fn commands_of_real_clients() {
        let text = |line: &'static str| Part::Text(Bytes::from_static(line.as_bytes()));
        assert_eq!(
            parsed(&[
                text("a1 login \"joe\\\"s\" {3}\r\n"),
                Part::Literal(Bytes::from_static(b"a b")),
                text("\r\n")
            ]),
            ("LOGIN".into(), vec![r#"Quoted(b"joe\"s")"#.into(), r#"Literal(b"a b")"#.into()])
        );
        assert_eq!(
            parsed(&[text("2 uid  fetch 1:* (UID BODY.PEEK[HEADER.FIELDS (DATE FROM)]<0.100>)\r\n")]),
            (
                "UID FETCH".into(),
                vec![
                    r#"Atom(b"1:*")"#.into(),
                    r#"List([Atom(b"UID"), Atom(b"BODY.PEEK[HEADER.FIELDS (DATE FROM)]<0.100>")])"#.into()
                ]
            )
        );
        assert_eq!(
            parsed(&[text("3 APPEND INBOX (\\Seen) {9+}\r\n"), Part::Streamed { size: 9 }, text("\r\n")]),
            (
                "APPEND".into(),
                vec![
                    r#"Atom(b"INBOX")"#.into(),
                    r#"List([Atom(b"\\Seen")])"#.into(),
                    "Streamed { size: 9 }".into()
                ]
            )
        );
        assert_eq!(parsed(&[text("4 NOOP\n")]), ("NOOP".into(), vec![]));
    }

    #[test]
    fn what_is_no_command() {
        for line in ["DONE\r\n", "dXNlcg==\r\n", "\r\n", "*\r\n", "a uid\r\n"] {
            assert_eq!(parse(&[Part::Text(Bytes::from_static(line.as_bytes()))]), None, "{line}");
        }
        let odd = parse(&[Part::Text(Bytes::from_static(b"a LOGIN joe )x\r\n"))]).unwrap();
        assert_eq!((odd.complete, odd.arguments.len()), (Complete::No, 1));
    }

    #[test]
    fn arguments_do_not_show() {
        let login = parse(&[Part::Text(Bytes::from_static(b"a LOGIN joe hunter2\r\n"))]).unwrap();
        assert_eq!(format!("{login:?}"), "a LOGIN (2 arguments)");
    }
}
