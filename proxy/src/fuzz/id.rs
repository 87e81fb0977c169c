//! The door before a source that believes fields of `ID`: however a client writes them, none of the reserved ones reaches
//! it; all other fields and all other commands do, as they were.

use super::{Cuts, Script, Side};
use crate::door::{Door, Logins, Move};
use crate::filter::Leg;
use crate::learner::Learning;

/// See the module.
pub fn run(input: &[u8]) {
    let script = Script::new(input);
    let mut door = Door::new(Leg::Open, Learning::Off);
    let (mut waiting, mut taken, mut source) = (Vec::new(), Vec::new(), Source::default());
    'all: for (side, chunk) in script.chunks(Cuts::AsMarked) {
        if side == Side::Server {
            continue;
        }
        waiting.extend_from_slice(&chunk);
        loop {
            match door.on_client(&waiting, Logins::Barred) {
                Move::More => break,
                Move::Wait => {
                    let Some(line) = source.answers() else { break };
                    door.on_server_line(&line);
                }
                Move::Forward(bytes) => {
                    source.heard.extend_from_slice(&waiting[..bytes]);
                    taken.extend(waiting.drain(..bytes));
                }
                Move::Replace(bytes, other) => {
                    source.heard.extend_from_slice(&other);
                    taken.extend(waiting.drain(..bytes));
                }
                Move::Answer(bytes, _) => drop(waiting.drain(..bytes)),
                Move::StartTls(..) => panic!("the leg is open"),
                Move::Close(..) => break 'all,
            }
        }
        while let Some(line) = source.answers() {
            door.on_server_line(&line);
        }
    }
    let (sent, said) = (commands(&source.heard).0, commands(&taken).0);
    assert!(sent.len() >= said.len(), "a command was lost");
    for (sent, said) in sent.iter().zip(&said) {
        assert_eq!(sent.is_id(), said.is_id());
        if !said.is_id() {
            assert_eq!(sent.raw.escape_ascii().to_string(), said.raw.escape_ascii().to_string());
            continue;
        }
        let kept: Vec<_> = said.fields().into_iter().filter(|(key, _)| !is_reserved(key)).collect();
        assert_eq!(sent.fields(), kept, "{}", said.raw.escape_ascii());
    }
    // Of one that is not whole yet, too.
    let begun = commands(&source.heard).1;
    assert!(!begun.is_id() || begun.fields().iter().all(|(key, _)| !is_believed(key)));
}

/// Whether the source goes by a field of this name.
fn is_believed(key: &[u8]) -> bool {
    let key = key.to_ascii_lowercase();
    let names = [
        "x-originating-",
        "x-connected-",
        "x-proxy-",
        "x-session-",
        "x-forward-",
        "x-client-transport",
        "x-multiplex",
    ];
    names.iter().any(|name| key.starts_with(name.as_bytes()))
}

/// The same, or no quoted string holds it, and then no field is called so.
fn is_reserved(key: &[u8]) -> bool {
    is_believed(key) || key.iter().any(|byte| b"\0\r\n".contains(byte))
}

/// Answers every command once it is whole, and asks for every literal that waits to be asked for.
#[derive(Default)]
struct Source {
    heard: Vec<u8>,
    answered: usize,
    /// Up to where literals were asked for.
    asked: usize,
}

impl Source {
    fn answers(&mut self) -> Option<Vec<u8>> {
        let (commands, begun) = commands(&self.heard);
        if let Some(command) = commands.get(self.answered) {
            self.answered += 1;
            let tag = command.raw.split(|byte| b" \r\n".contains(byte)).next().unwrap_or_default();
            return Some([if tag.is_empty() { b"*" } else { tag }, b" OK done\r\n"].concat());
        }
        let waits =
            self.heard.ends_with(&begun.raw) && announced(&begun.raw).is_some_and(|literal| literal.waits);
        if waits && self.heard.len() > self.asked {
            self.asked = self.heard.len();
            return Some(b"+ go\r\n".to_vec());
        }
        None
    }
}

struct Command {
    raw: Vec<u8>,
    tokens: Vec<Vec<u8>>,
}

impl Command {
    fn is_id(&self) -> bool {
        self.tokens.get(1).is_some_and(|verb| verb.eq_ignore_ascii_case(b"ID"))
    }

    fn fields(&self) -> Vec<(&[u8], &[u8])> {
        let pairs = self.tokens[2..].chunks(2);
        pairs.map(|pair| (pair[0].as_slice(), pair.get(1).map_or(&b""[..], Vec::as_slice))).collect()
    }
}

/// The whole commands of a stream, and what of the next one came, but for the bytes of a literal that is not whole.
fn commands(stream: &[u8]) -> (Vec<Command>, Command) {
    let (mut commands, mut start, mut at) = (Vec::new(), 0, 0);
    let mut literals = Vec::new();
    let mut seen = stream.len();
    while let Some(newline) = memchr::memchr(b'\n', &stream[at..]) {
        let end = at + newline + 1;
        match announced(&stream[at..end]) {
            Some(literal) if literal.size <= stream.len() - end => {
                literals.push(end - start..end + literal.size - start);
                at = end + literal.size;
            }
            Some(_) => {
                seen = end;
                break;
            }
            None => {
                let raw = stream[start..end].to_vec();
                commands.push(Command { tokens: tokens(&raw, &literals), raw });
                literals.clear();
                (start, at) = (end, end);
            }
        }
    }
    let raw = stream[start..seen].to_vec();
    (commands, Command { tokens: tokens(&raw, &literals), raw })
}

struct Literal {
    size: usize,
    waits: bool,
}

fn announced(line: &[u8]) -> Option<Literal> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let (line, waits) = line.strip_suffix(b"+").map_or((line, true), |line| (line, false));
    let brace = line.iter().rposition(|byte| *byte == b'{')?;
    let digits = str::from_utf8(&line[brace + 1..]).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(|size| Literal { size, waits })
}

/// Words, strings and literals in a row; lists make no difference, as for a source that reads anything.
fn tokens(raw: &[u8], literals: &[std::ops::Range<usize>]) -> Vec<Vec<u8>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < raw.len() {
        if let Some(literal) = literals.iter().find(|literal| literal.start == at && literal.end > at) {
            tokens.push(raw[literal.clone()].to_vec());
            at = literal.end;
            continue;
        }
        match raw[at] {
            b' ' | b'(' | b')' | b'\r' | b'\n' => at += 1,
            b'"' => {
                let mut token = Vec::new();
                at += 1;
                while at < raw.len() && raw[at] != b'"' {
                    at += usize::from(raw[at] == b'\\' && at + 1 < raw.len());
                    token.push(raw[at]);
                    at += 1;
                }
                at += 1;
                // One without an end is none.
                if at <= raw.len() {
                    tokens.push(token);
                }
            }
            _ => {
                let length =
                    raw[at..].iter().position(|byte| b" ()\r\n\"".contains(byte)).unwrap_or(raw.len() - at);
                let word = &raw[at..at + length];
                at += length;
                let is_announcement = memchr::memchr(b'\n', &raw[at..]).is_some_and(|newline| {
                    let behind = at + newline + 1;
                    literals.iter().any(|literal| literal.start == behind)
                        && raw[at..behind].iter().all(|byte| b"\r\n".contains(byte))
                });
                if is_announcement {
                    // A literal of nothing leaves nothing else behind.
                    let behind = at + memchr::memchr(b'\n', &raw[at..]).map_or(0, |newline| newline + 1);
                    if literals.iter().any(|literal| literal.start == behind && literal.is_empty()) {
                        tokens.push(Vec::new());
                    }
                } else {
                    tokens.push(word.to_vec());
                }
            }
        }
    }
    tokens
}
