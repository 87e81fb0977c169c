//! The door before a model of a source: whoever the proxy takes for logged in is who the source logged in, nothing is
//! sent on in another order or form than it came, no login passes before TLS, and STARTTLS leaves nothing behind.
//!
//! The first two bytes choose what the source is like. The client's turns are what the client sends; of the server's turns
//! only the length counts: so many lines of the source arrive, together up to a cut.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Cuts, Script, Side};
use crate::door::{Door, Heard, Logins, MAX_BUFFERED, Move};
use crate::filter::Leg;
use crate::learner::Learning;

/// See the module.
pub fn run(input: &[u8]) {
    let [flags, kind, script @ ..] = input else { return };
    let leg = if flags & 1 == 0 { Leg::Open } else { Leg::BeforeStartTls };
    let logins = if flags & 2 == 0 { Logins::Welcome } else { Logins::Barred };
    let scripted = flags & 4 != 0;
    let mut entry = Entry {
        door: Door::new(leg, Learning::Off),
        logins,
        buffered: Vec::new(),
        // A source that says just anything is no model of one.
        source: (!scripted).then(|| Source {
            kind: Kind::new(*kind),
            secure: leg == Leg::Open,
            ..Source::default()
        }),
    };
    for (side, chunk) in Script::new(script).chunks(Cuts::AsMarked) {
        let over = match (side, &mut entry.source) {
            (Side::Client, _) => entry.on_client(&chunk),
            (Side::Server, None) => entry.on_lines(chunk.split_inclusive(|byte| *byte == b'\n')),
            (Side::Server, Some(source)) => {
                let count = chunk.len().min(source.said.len());
                let lines: Vec<_> = source.said.drain(..count).collect();
                entry.on_lines(lines.iter().map(Vec::as_slice))
            }
        };
        match (over, entry.source.as_ref()) {
            (Over::No, _) => {}
            (Over::Closed, _) | (Over::LoggedIn, None) => return,
            (Over::LoggedIn, Some(source)) => {
                let name = entry.door.login().name;
                let user = source.user.as_deref().map(String::from_utf8_lossy);
                assert!(user.is_some(), "nobody logged in, least of all {name:?}");
                assert!(name.is_none() || name.as_deref() == user.as_deref(), "{name:?} is {user:?}");
                assert!(source.said.is_empty(), "nothing was sent on behind the login");
                return;
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    No,
    Closed,
    LoggedIn,
}

/// As the session's entry does it, without sockets.
struct Entry {
    door: Door,
    logins: Logins,
    buffered: Vec<u8>,
    source: Option<Source>,
}

impl Entry {
    fn on_client(&mut self, chunk: &[u8]) -> Over {
        self.buffered.extend_from_slice(chunk);
        loop {
            match self.door.on_client(&self.buffered, self.logins) {
                Move::More => {
                    assert!(self.buffered.len() < MAX_BUFFERED, "more than is ever read");
                    return Over::No;
                }
                Move::Wait => return Over::No,
                Move::Forward(bytes) => {
                    let forwarded: Vec<u8> = self.buffered.drain(..bytes).collect();
                    if let Some(source) = &mut self.source {
                        source.receive(&forwarded);
                    }
                }
                Move::Replace(bytes, other) => {
                    self.buffered.drain(..bytes);
                    if let Some(source) = &mut self.source {
                        source.receive(&other);
                    }
                }
                // Asking for a literal that the source does not hear of.
                Move::Answer(0, answer) => assert!(answer.starts_with(b"+ ")),
                Move::Answer(bytes, answer) => {
                    assert!(bytes > 0 && answer.ends_with(b"\r\n"));
                    let line: Vec<u8> = self.buffered.drain(..bytes).collect();
                    assert_eq!(memchr::memchr(b'\n', &line), Some(line.len() - 1), "one line is answered");
                }
                Move::StartTls(bytes, answer) => {
                    assert!(answer.ends_with(b"\r\n"));
                    assert_eq!(bytes, self.buffered.len(), "nothing in the clear stays behind STARTTLS");
                    assert_eq!(self.door.leg(), Leg::BeforeStartTls, "TLS once");
                    self.buffered.clear();
                    self.door.on_tls();
                    if let Some(source) = &mut self.source {
                        source.secure = true;
                    }
                }
                Move::Close(..) => return Over::Closed,
            }
        }
    }

    fn on_lines<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> Over {
        for line in lines {
            if self.door.on_server_line(line) == Heard::LoggedIn {
                return Over::LoggedIn;
            }
        }
        self.on_client(b"")
    }
}

/// Ways in which sources differ.
#[derive(Clone, Copy, Default)]
struct Kind {
    /// `{5+}` is a literal; if not, it is refused and what follows is a command.
    literal_plus: bool,
    /// Tabs and several blanks part words.
    loose_blanks: bool,
    /// A bare CR ends a line.
    bare_cr: bool,
    /// A literal may follow anything, not only a blank.
    tight_literals: bool,
    /// An initial response is passed over.
    deaf_to_initial: bool,
    /// A NUL ends a line's text.
    nul_ends: bool,
}

impl Kind {
    fn new(bits: u8) -> Self {
        let is = |bit: u8| bits & (1 << bit) != 0;
        Self {
            literal_plus: is(0),
            loose_blanks: is(1),
            bare_cr: is(2),
            tight_literals: is(3),
            deaf_to_initial: is(4),
            nul_ends: is(5),
        }
    }
}

/// A source that takes all passwords that begin with `y`.
#[derive(Default)]
struct Source {
    kind: Kind,
    secure: bool,
    input: Vec<u8>,
    /// The command under way.
    words: Vec<Vec<u8>>,
    awaits: Awaits,
    /// Lines that have not arrived.
    said: VecDeque<Vec<u8>>,
    user: Option<Vec<u8>>,
}

#[derive(Default)]
enum Awaits {
    #[default]
    Command,
    Literal(usize),
    Rest,
    /// Steps of an exchange so far.
    Sasl {
        tag: Vec<u8>,
        mechanism: Vec<u8>,
        responses: Vec<Vec<u8>>,
    },
}

impl Source {
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            match std::mem::take(&mut self.awaits) {
                Awaits::Literal(size) => {
                    if self.input.len() < size {
                        self.awaits = Awaits::Literal(size);
                        return;
                    }
                    self.words.push(self.input.drain(..size).collect());
                    self.awaits = Awaits::Rest;
                }
                awaits => {
                    let Some(line) = self.line() else {
                        self.awaits = awaits;
                        return;
                    };
                    match awaits {
                        Awaits::Sasl { tag, mechanism, mut responses } => {
                            if line == b"*" {
                                self.say(&tag, "BAD cancelled");
                            } else {
                                responses.push(line);
                                self.on_sasl(tag, mechanism, responses);
                            }
                        }
                        Awaits::Command => {
                            self.words.clear();
                            self.on_text(&line);
                        }
                        Awaits::Rest | Awaits::Literal(_) => self.on_text(&line),
                    }
                }
            }
        }
    }

    /// The next line without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let is_end = |at: &usize| match self.input[*at] {
            b'\n' => true,
            b'\r' => self.kind.bare_cr && *at + 1 < self.input.len(),
            _ => false,
        };
        let end = (0..self.input.len()).find(is_end)?;
        let ends_crlf = self.input[end] == b'\r' && self.input.get(end + 1) == Some(&b'\n');
        let mut line: Vec<u8> = self.input.drain(..=end + usize::from(ends_crlf)).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if self.kind.nul_ends {
            line.truncate(memchr::memchr(0, &line).unwrap_or(line.len()));
        }
        Some(line)
    }

    fn say(&mut self, tag: &[u8], text: &str) {
        self.said.push_back([tag, b" ", text.as_bytes(), b"\r\n"].concat());
    }

    /// Text of a command up to a line end.
    fn on_text(&mut self, line: &[u8]) {
        let (text, literal) = self.announced(line);
        if !self.split(text) {
            let tag = self.words.first().cloned().unwrap_or_default();
            return self.say(&tag, "BAD syntax");
        }
        match literal {
            None => self.execute(),
            Some((size, false)) => {
                self.say(b"+", "go");
                self.awaits = Awaits::Literal(size);
            }
            Some((size, true)) if self.kind.literal_plus => self.awaits = Awaits::Literal(size),
            Some((_, true)) => {
                let tag = self.words.first().cloned().unwrap_or_default();
                self.say(&tag, "BAD no such literals");
            }
        }
    }

    /// The literal that a text ends with: its size, and whether it comes unasked.
    fn announced<'a>(&self, line: &'a [u8]) -> (&'a [u8], Option<(usize, bool)>) {
        let parsed = (|| {
            let inner = line.strip_suffix(b"}")?;
            let (inner, unasked) = inner.strip_suffix(b"+").map_or((inner, false), |inner| (inner, true));
            let brace = inner.iter().rposition(|byte| *byte == b'{')?;
            let digits = str::from_utf8(&inner[brace + 1..]).ok()?;
            let size: usize =
                digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
            let is_apart = inner[..brace].ends_with(b" ");
            (is_apart || self.kind.tight_literals).then_some((&inner[..brace], (size, unasked)))
        })();
        parsed.map_or((line, None), |(text, literal)| (text, Some(literal)))
    }

    /// Splits a text into words; false where it does not read.
    fn split(&mut self, text: &[u8]) -> bool {
        let is_blank = |byte: u8| byte == b' ' || (self.kind.loose_blanks && byte == b'\t');
        let mut rest = text;
        if !self.words.is_empty() {
            rest = rest.strip_prefix(b" ").unwrap_or(rest);
        }
        while let Some(first) = rest.first().copied() {
            if self.kind.loose_blanks && is_blank(first) {
                rest = &rest[1..];
                continue;
            }
            if first == b'"' {
                let (mut word, mut at) = (Vec::new(), 1);
                loop {
                    match rest.get(at) {
                        None => return false,
                        Some(b'"') => break,
                        Some(b'\\') => {
                            word.extend(rest.get(at + 1));
                            at += 2;
                        }
                        Some(byte) => {
                            word.push(*byte);
                            at += 1;
                        }
                    }
                }
                self.words.push(word);
                rest = &rest[at + 1..];
                match rest.first() {
                    None => {}
                    Some(byte) if is_blank(*byte) => rest = &rest[1..],
                    Some(_) => return false,
                }
                continue;
            }
            let length = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
            self.words.push(rest[..length].to_vec());
            rest = rest.get(length + 1..).unwrap_or_default();
        }
        true
    }

    fn execute(&mut self) {
        let words = std::mem::take(&mut self.words);
        let [tag, verb, arguments @ ..] = words.as_slice() else {
            let tag = words.first().filter(|tag| !tag.is_empty()).map_or(&b"*"[..], Vec::as_slice);
            return self.say(tag, "BAD no command");
        };
        let verb = verb.to_ascii_uppercase();
        match (verb.as_slice(), arguments) {
            (b"LOGIN", [user, password]) => {
                self.log_in(tag, user, password);
            }
            (b"AUTHENTICATE", [mechanism, initial @ ..]) if initial.len() < 2 && self.user.is_none() => {
                assert!(self.secure, "a login in the clear");
                let initial = if self.kind.deaf_to_initial { &[] } else { initial };
                self.on_sasl(tag.clone(), mechanism.to_ascii_uppercase(), initial.to_vec());
            }
            (b"STARTTLS", _) => panic!("STARTTLS is the proxy's"),
            (b"NOOP" | b"CAPABILITY", []) | (b"ID", _) => self.say(tag, "OK done"),
            (b"SELECT", [_]) if self.user.is_some() => self.say(tag, "OK [READ-WRITE] done"),
            _ => self.say(tag, "BAD what"),
        }
    }

    fn log_in(&mut self, tag: &[u8], user: &[u8], password: &[u8]) {
        assert!(self.secure, "a login in the clear");
        if self.user.is_some() {
            self.say(tag, "BAD once is enough");
        } else if password.first() == Some(&b'y') {
            self.user = Some(user.to_vec());
            self.say(tag, "OK in");
        } else {
            self.say(tag, "NO no");
        }
    }

    fn on_sasl(&mut self, tag: Vec<u8>, mechanism: Vec<u8>, responses: Vec<Vec<u8>>) {
        let clear: Option<Vec<Vec<u8>>> =
            responses.iter().map(|response| STANDARD.decode(response.trim_ascii()).ok()).collect();
        let Some(clear) = clear else { return self.say(&tag, "BAD base64") };
        match (mechanism.as_slice(), clear.as_slice()) {
            (b"PLAIN", []) | (b"LOGIN", [] | [_]) => {
                self.say(b"+", "more");
                self.awaits = Awaits::Sasl { tag, mechanism, responses };
            }
            (b"PLAIN", [message]) => {
                let fields: Vec<&[u8]> = message.split(|byte| *byte == 0).collect();
                // The authzid is not cared for.
                let [_, user, password] = fields.as_slice() else { return self.say(&tag, "NO fields") };
                self.log_in(&tag, user, password);
            }
            (b"LOGIN", [user, password]) => self.log_in(&tag, user, password),
            _ => self.say(&tag, "NO such mechanism"),
        }
    }
}
