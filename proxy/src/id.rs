//! The `ID` command before a login (RFC 2971).
//!
//! Sources that trust the proxy (Dovecot's `login_trusted_networks`) take the client's address, and more, from fields of
//! `ID`. So what a client sends is screened: such fields are taken out, whatever their case and form; all else passes as it
//! stands. And we send such an `ID` ourselves, whose answer the client never sees. After the login nothing is screened: who
//! the client is, is settled.
//!
//! Must not know: sockets, other commands.

use std::net::SocketAddr;

use bytes::Bytes;
use mailferry_imap::frame::Piece;
use mailferry_imap::token::quote;

use crate::proxy_protocol::Ends;

/// Fields by which sources take somebody's word for who the client is (all of Dovecot 2.2 to 2.4).
const RESERVED: [&[u8]; 7] = [
    b"x-originating-",
    b"x-connected-",
    b"x-proxy-",
    b"x-session-",
    b"x-forward-",
    b"x-client-transport",
    b"x-multiplex",
];

/// The longest program name that is noted.
const MAX_NAME: usize = 64;

/// How many more proxies may follow: ours is the only one.
const TTL: u32 = 4;

/// The tag of our own `ID`.
pub(crate) const TAG: &[u8] = b"mailferry-id";

/// Our own `ID`.
pub(crate) fn command(ends: Ends) -> Vec<u8> {
    let ip = |address: SocketAddr| address.ip().to_canonical();
    let tag = String::from_utf8_lossy(TAG);
    format!(
        "{tag} ID (\"x-originating-ip\" \"{}\" \"x-originating-port\" \"{}\" \"x-connected-ip\" \"{}\" \
         \"x-connected-port\" \"{}\" \"x-proxy-ttl\" \"{TTL}\")\r\n",
        ip(ends.client),
        ends.client.port(),
        ip(ends.server),
        ends.server.port(),
    )
    .into_bytes()
}

/// What the source says to our own `ID`.
#[derive(Debug)]
pub(crate) enum Answer {
    /// None is awaited.
    No,
    Awaited,
    /// Within `* ID`, behind a literal.
    Within,
}

impl Answer {
    /// Whether this is part of the answer, and not for the client.
    pub(crate) fn is(&mut self, piece: &Piece) -> bool {
        match (&self, piece) {
            (Self::No, _) | (Self::Awaited, Piece::Data { .. }) => false,
            (Self::Within, Piece::Data { .. }) => true,
            (Self::Awaited, Piece::Line { text, literal }) => {
                if text.get(..TAG.len() + 1).is_some_and(|start| start == [TAG, b" "].concat()) {
                    *self = Self::No;
                    return true;
                }
                let is_id = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"* ID "));
                if is_id && literal.is_some() {
                    *self = Self::Within;
                }
                is_id
            }
            (Self::Within, Piece::Line { literal, .. }) => {
                if literal.is_none() {
                    *self = Self::Awaited;
                }
                true
            }
        }
    }
}

/// A client's `ID` on its way.
#[derive(Debug)]
pub(crate) struct Screen {
    awaits: Awaits,
    /// Whether a field went out, and whether one was taken out: the first one that goes out has no blank before it.
    sent: Sent,
    name: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Awaits {
    List,
    /// With the blanks before it, where the key is a literal that comes.
    Key(Vec<u8>),
    Value(Field),
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Reserved,
    /// `name`.
    Name,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Nothing,
    /// All there was so far was taken out.
    Taken,
    Some,
}

/// What becomes of the literal that a text ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It passes, announcement and all.
    Passes,
    /// The source does not hear of it: it is asked for here.
    Ours,
}

/// This cannot be read as an `ID`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

impl Screen {
    pub(crate) fn new() -> Self {
        Self { awaits: Awaits::List, sent: Sent::Nothing, name: None }
    }

    /// What the client calls itself: cut, and cleaned of what has no place in a log.
    pub(crate) fn into_name(self) -> Option<String> {
        self.name
    }

    /// Text up to a literal's announcement or with the line's end: what of it goes out.
    pub(crate) fn on_text(&mut self, text: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        loop {
            let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
            let (blank, behind) = rest.split_at(blanks);
            match (&self.awaits, behind) {
                (Awaits::End, [] | [b'\n'] | [b'\r', b'\n']) => {
                    out.extend_from_slice(rest);
                    return Ok(out);
                }
                (Awaits::End, _) => return Err(Unreadable),
                (Awaits::List, [b'(', ..]) => {
                    out.extend_from_slice(&rest[..=blanks]);
                    rest = &behind[1..];
                    self.awaits = Awaits::Key(Vec::new());
                }
                (Awaits::List, _) => {
                    let (token, length) = token(behind).ok_or(Unreadable)?;
                    if !token.eq_ignore_ascii_case(b"NIL") {
                        return Err(Unreadable);
                    }
                    out.extend_from_slice(&rest[..blanks + length]);
                    rest = &behind[length..];
                    self.awaits = Awaits::End;
                }
                (Awaits::Key(_), [b')', ..]) => {
                    out.extend_from_slice(&rest[..=blanks]);
                    rest = &behind[1..];
                    self.awaits = Awaits::End;
                }
                // A literal comes.
                (Awaits::Key(_), []) => {
                    self.awaits = Awaits::Key(blank.to_vec());
                    return Ok(out);
                }
                (Awaits::Value(field), []) => {
                    if *field != Field::Reserved {
                        out.extend_from_slice(blank);
                    }
                    return Ok(out);
                }
                (Awaits::Key(_), _) => {
                    let (token, length) = token(behind).ok_or(Unreadable)?;
                    let field = field(&token);
                    self.key(field, blank, &behind[..length], &mut out);
                    rest = &behind[length..];
                }
                (Awaits::Value(field), _) => {
                    let field = *field;
                    let (token, length) = token(behind).ok_or(Unreadable)?;
                    if field != Field::Reserved {
                        out.extend_from_slice(&rest[..blanks + length]);
                    }
                    self.value(field, &token);
                    rest = &behind[length..];
                }
            }
        }
    }

    /// What becomes of the literal that comes now.
    pub(crate) fn fate(&self) -> Result<Fate, Unreadable> {
        match self.awaits {
            Awaits::List | Awaits::End => Err(Unreadable),
            Awaits::Key(_) | Awaits::Value(Field::Reserved) => Ok(Fate::Ours),
            Awaits::Value(Field::Name | Field::Other) => Ok(Fate::Passes),
        }
    }

    /// A literal: what goes out in its place, `None` for itself.
    pub(crate) fn on_literal(&mut self, literal: &[u8]) -> Option<Vec<u8>> {
        match &self.awaits {
            Awaits::Key(blank) => {
                let (blank, mut quoted, mut out) = (blank.clone(), Vec::new(), Vec::new());
                // What no quoted string can hold is no field's name.
                let field = if quote(literal, &mut quoted) { field(literal) } else { Field::Reserved };
                self.key(field, &blank, &quoted, &mut out);
                Some(out)
            }
            Awaits::Value(field) => {
                let field = *field;
                self.value(field, literal);
                (field == Field::Reserved).then(Vec::new)
            }
            Awaits::List | Awaits::End => Some(Vec::new()),
        }
    }

    fn key(&mut self, field: Field, blank: &[u8], key: &[u8], out: &mut Vec<u8>) {
        self.awaits = Awaits::Value(field);
        match (field, self.sent) {
            (Field::Reserved, Sent::Some) => {}
            (Field::Reserved, Sent::Nothing | Sent::Taken) => self.sent = Sent::Taken,
            (Field::Name | Field::Other, sent) => {
                if sent != Sent::Taken {
                    out.extend_from_slice(blank);
                }
                out.extend_from_slice(key);
                self.sent = Sent::Some;
            }
        }
    }

    fn value(&mut self, field: Field, value: &[u8]) {
        self.awaits = Awaits::Key(Vec::new());
        if field == Field::Name && !value.is_empty() {
            let clean =
                |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
            self.name.get_or_insert_with(|| value.iter().take(MAX_NAME).map(clean).collect());
        }
    }
}

/// What a client calls itself in an `ID` that is one line.
pub(crate) fn client_name(command: &[u8]) -> Option<String> {
    let mut screen = Screen::new();
    screen.on_text(command.splitn(3, |byte| *byte == b' ').nth(2)?).ok()?;
    screen.into_name()
}

/// Whether a text that cannot be read may hold a reserved field after all, for a source that reads otherwise.
pub(crate) fn is_suspicious(text: &[u8]) -> bool {
    let plain: Vec<u8> = text.iter().filter(|byte| **byte != b'\\').map(u8::to_ascii_lowercase).collect();
    RESERVED.iter().any(|reserved| memchr::memmem::find(&plain, reserved).is_some())
}

fn field(key: &[u8]) -> Field {
    let begins = |reserved: &&[u8]| {
        key.get(..reserved.len()).is_some_and(|start| start.eq_ignore_ascii_case(reserved))
    };
    if RESERVED.iter().any(begins) {
        Field::Reserved
    } else if key.eq_ignore_ascii_case(b"name") {
        Field::Name
    } else {
        Field::Other
    }
}

/// A quoted string or an atom at the beginning of a text: what it says, and its length as it stands.
fn token(text: &[u8]) -> Option<(Bytes, usize)> {
    let ends = |at: usize| matches!(text.get(at), None | Some(b' ' | b')' | b'\r' | b'\n'));
    if text.first() != Some(&b'"') {
        let length = text.iter().position(|byte| !byte.is_ascii_graphic() || b"(){\"\\%*".contains(byte));
        let length = length.unwrap_or(text.len());
        return (length > 0 && ends(length)).then(|| (Bytes::copy_from_slice(&text[..length]), length));
    }
    let mut said = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return ends(at + 1).then(|| (said.into(), at + 1)),
            b'\r' | b'\n' | 0 => return None,
            b'\\' => {
                said.push(*text.get(at + 1).filter(|byte| !b"\r\n\0".contains(byte))?);
                at += 2;
            }
            byte => {
                said.push(*byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mailferry_imap::frame::Framer;

    use super::*;

    /// What of the source's lines the client hears, however they are cut.
    fn heard(said: &str) -> String {
        let at = |step: usize| {
            let (mut framer, mut answer, mut out) = (Framer::server(), Answer::Awaited, Vec::new());
            for chunk in said.as_bytes().chunks(step) {
                let mut chunk = Bytes::copy_from_slice(chunk);
                while let Some(piece) = framer.next(&mut chunk).unwrap() {
                    if answer.is(&piece) {
                        continue;
                    }
                    match piece {
                        Piece::Line { text, .. } => out.extend_from_slice(&text),
                        Piece::Data { bytes, .. } => out.extend_from_slice(&bytes),
                    }
                }
            }
            String::from_utf8(out).unwrap()
        };
        let whole = at(usize::MAX);
        (1..said.len()).for_each(|step| assert_eq!(at(step), whole, "in pieces of {step}"));
        whole
    }

    #[test]
    fn the_answer_to_our_id_is_not_for_the_client() {
        assert_eq!(
            heard(
                "* ID (\"name\" \"Dovecot\")\r\nmailferry-id OK ID completed.\r\n* ID (\"name\" \"Dovecot\")\r\na OK\r\n"
            ),
            "* ID (\"name\" \"Dovecot\")\r\na OK\r\n"
        );
        assert_eq!(
            heard(
                "* id (\"name\" {7}\r\n* ID x\r \"os\" {1}\r\ny)\r\n* OK hello\r\nmailferry-id NO no\r\n* BYE\r\n"
            ),
            "* OK hello\r\n* BYE\r\n"
        );
        assert_eq!(heard("* BYE no\r\n"), "* BYE no\r\n");
    }

    #[test]
    fn our_id_has_plain_addresses() {
        let ends = Ends {
            client: "[::ffff:203.0.113.7]:4660".parse().unwrap(),
            server: "[2001:db8::1]:993".parse().unwrap(),
        };
        assert_eq!(
            String::from_utf8(command(ends)).unwrap(),
            "mailferry-id ID (\"x-originating-ip\" \"203.0.113.7\" \"x-originating-port\" \"4660\" \
             \"x-connected-ip\" \"2001:db8::1\" \"x-connected-port\" \"993\" \"x-proxy-ttl\" \"4\")\r\n"
        );
    }

    #[test]
    fn a_name_is_cut_and_cleaned() {
        let mut screen = Screen::new();
        let text = format!("(\"name\" \"a\x1b[31m\u{e9} {}\")\r\n", "x".repeat(100));
        assert_eq!(screen.on_text(text.as_bytes()).unwrap(), text.as_bytes());
        assert_eq!(screen.into_name().unwrap(), format!("a?[31m?? {}", "x".repeat(55)));
    }
}
