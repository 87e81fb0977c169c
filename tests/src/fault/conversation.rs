//! One relayed connection as both directions see it: what was asked, what is owed, what must be put in.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;

use super::dress::{self, Dress};
use super::rule::{Fault, due};
use super::{Shared, locked};

/// After so many refused APPENDs Exchange closes the connection.
const MAX_REFUSED: u32 = 10;

/// A command that the server works on.
struct Pending {
    verb: String,
    folder: Option<String>,
    fault: Option<Fault>,
}

/// What to do with a client's line.
pub enum Order {
    /// Send it on.
    Forward,
    /// Swallow the command; its answer has been or will be put in.
    Swallow(Refusal),
    /// End the connection.
    Cut,
}

/// An answer that the relay gives itself.
pub struct Refusal {
    answer: String,
    bye: Option<String>,
}

/// What to do with a server's line.
pub enum Said {
    /// Send this on.
    Forward(Bytes),
    /// Say nothing.
    Nothing,
    /// End the connection.
    Cut,
}

#[derive(Default)]
struct State {
    authenticated: bool,
    /// Client lines are not commands until this tag is answered (AUTHENTICATE, IDLE).
    raw_until: Option<String>,
    selected: Option<String>,
    pending: HashMap<String, Pending>,
    injected: VecDeque<Bytes>,
    /// APPENDs refused so far.
    refused: u32,
    ending: bool,
    fetched: Fetched,
}

#[derive(Default)]
struct Fetched {
    uid: Option<u32>,
    body: bool,
}

/// Shared by the two directions of a connection.
#[derive(Default)]
pub struct Conversation {
    state: Mutex<State>,
    /// Something was put in for the client.
    pub changed: Notify,
}

impl Conversation {
    /// A line of the client that begins a command.
    pub fn on_client(&self, line: &[u8], shared: &Shared) -> Order {
        let mut state = locked(&self.state);
        if state.raw_until.is_some() {
            return Order::Forward;
        }
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let tag = words.next().unwrap_or_default().to_owned();
        let mut verb = words.next().unwrap_or_default().to_ascii_uppercase();
        if verb == "UID" {
            verb = format!("UID {}", words.next().unwrap_or_default().to_ascii_uppercase());
        }
        *locked(&shared.counts).commands.entry(verb.clone()).or_default() += 1;
        if shared.setup.dress == Dress::Exchange
            && let Some(answer) = dress::refusal(line, &verb, state.authenticated)
        {
            return Order::Swallow(Refusal { answer: format!("{tag} {answer}\r\n"), bye: None });
        }
        let fault = due(&mut locked(&shared.rules), &verb).or_else(|| larger(&text, &verb, shared));
        match fault {
            Some(Fault::Cut) => return Order::Cut,
            Some(Fault::Answer(text)) => {
                state.refused += u32::from(verb == "APPEND");
                let gives_up = shared.setup.dress == Dress::Exchange && state.refused == MAX_REFUSED;
                if gives_up {
                    shared.given_up.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                let bye = gives_up.then(|| "Connection closed. 14".to_owned());
                return Order::Swallow(Refusal { answer: format!("{tag} {text}\r\n"), bye });
            }
            Some(Fault::AnswerThenBye(text, bye)) if text.is_empty() => {
                return Order::Swallow(Refusal { answer: String::new(), bye: Some(bye) });
            }
            Some(Fault::AnswerThenBye(text, bye)) => {
                return Order::Swallow(Refusal { answer: format!("{tag} {text}\r\n"), bye: Some(bye) });
            }
            Some(Fault::LoseAnswer | Fault::ForgetAppendUid) | None => {}
        }
        if matches!(verb.as_str(), "AUTHENTICATE" | "IDLE") {
            state.raw_until = Some(tag.clone());
        }
        let folder = matches!(verb.as_str(), "SELECT" | "EXAMINE").then(|| first_name(&text)).flatten();
        state.pending.insert(tag, Pending { verb, folder, fault });
        Order::Forward
    }

    /// The swallowed command is complete: its answer goes to the client.
    pub fn refuse(&self, refusal: Refusal) {
        let mut state = locked(&self.state);
        state.injected.push_back(Bytes::from(refusal.answer));
        if let Some(bye) = refusal.bye {
            state.injected.push_back(Bytes::from(format!("* BYE {bye}\r\n")));
            state.ending = true;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The client may send its literal.
    pub fn go_on(&self) {
        locked(&self.state)
            .injected
            .push_back(Bytes::from_static(b"+ Ready for additional command text.\r\n"));
        self.changed.notify_one();
    }

    /// `* BYE` and the end.
    pub fn bye(&self, text: &str) {
        let mut state = locked(&self.state);
        state.injected.push_back(Bytes::from(format!("* BYE {text}\r\n")));
        state.ending = true;
        drop(state);
        self.changed.notify_one();
    }

    /// What the relay has to say to the client; to be taken only between two responses.
    pub fn take_injected(&self) -> (Vec<Bytes>, Ends) {
        let mut state = locked(&self.state);
        let injected = state.injected.drain(..).collect();
        (injected, if state.ending { Ends::Here } else { Ends::Later })
    }

    /// A line of the server, or a part of one before or after a literal.
    pub fn on_server(&self, bytes: Bytes, first: Part, literal: Option<u64>, shared: &Shared) -> Said {
        let mut state = locked(&self.state);
        let dress = shared.setup.dress;
        if first == Part::Begins && !bytes.starts_with(b"* ") && !bytes.starts_with(b"+") {
            return tagged(&mut state, bytes, dress);
        }
        count_body(&mut state, &bytes, first, literal, shared);
        let bytes = match shared.estimates.load(std::sync::atomic::Ordering::Relaxed) {
            true => dress::estimated(bytes),
            false => bytes,
        };
        if dress == Dress::Exchange && first == Part::Begins && literal.is_none() {
            return match dress::server_line(&bytes, state.authenticated, &locked(&shared.hidden)) {
                Some(line) => Said::Forward(line),
                None => Said::Nothing,
            };
        }
        Said::Forward(bytes)
    }
}

/// What becomes of an APPEND of this size, if anything.
fn larger(line: &str, verb: &str, shared: &Shared) -> Option<Fault> {
    let (limit, fault) = locked(&shared.larger).clone().filter(|_| verb == "APPEND")?;
    let (_, announced) = line.trim_end().rsplit_once('{')?;
    let size: u64 = announced.trim_end_matches(['}', '+']).parse().ok()?;
    (size > limit).then_some(fault)
}

/// Whether the connection ends after what was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Yes.
    Here,
    /// No.
    Later,
}

/// Where a line stands in its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// At its beginning.
    Begins,
    /// After a literal.
    GoesOn,
}

fn tagged(state: &mut State, bytes: Bytes, dress: Dress) -> Said {
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Some((tag, rest)) = text.split_once(' ') else { return Said::Forward(bytes) };
    if state.raw_until.as_deref() == Some(tag) {
        state.raw_until = None;
    }
    let Some(pending) = state.pending.remove(tag) else { return Said::Forward(bytes) };
    let done = rest.starts_with("OK");
    match pending.verb.as_str() {
        "SELECT" | "EXAMINE" => state.selected = if done { pending.folder } else { None },
        "LOGIN" | "AUTHENTICATE" if done => state.authenticated = true,
        _ => {}
    }
    let mut rest = rest.trim_end_matches(['\r', '\n']).to_owned();
    match pending.fault {
        Some(Fault::LoseAnswer) => return Said::Cut,
        Some(Fault::ForgetAppendUid) => rest = without_append_uid(&rest),
        Some(Fault::Cut | Fault::Answer(_) | Fault::AnswerThenBye(..)) | None => {}
    }
    if dress == Dress::Exchange {
        rest = dress::answer(&pending.verb, &rest);
    }
    Said::Forward(Bytes::from(format!("{tag} {rest}\r\n")))
}

fn without_append_uid(rest: &str) -> String {
    match (rest.find("[APPENDUID"), rest.find("] ")) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &rest[..open], &rest[close + 2..]),
        _ => rest.to_owned(),
    }
}

/// Counts whole bodies: `BODY[]` or `RFC822` followed by a literal, with the UID wherever it stands.
fn count_body(state: &mut State, bytes: &Bytes, first: Part, literal: Option<u64>, shared: &Shared) {
    if first == Part::Begins {
        state.fetched = Fetched::default();
    }
    let text = String::from_utf8_lossy(bytes).to_ascii_uppercase();
    if first == Part::Begins && !text.contains(" FETCH (") {
        return;
    }
    if let Some(at) = text.find("UID ") {
        let digits: String = text[at + 4..].chars().take_while(char::is_ascii_digit).collect();
        state.fetched.uid = digits.parse().ok().or(state.fetched.uid);
    }
    if literal.is_some() {
        let before = text.rsplit_once(" {").map_or("", |(before, _)| before);
        state.fetched.body |= before.ends_with("BODY[]") || before.ends_with("RFC822");
        return;
    }
    if std::mem::take(&mut state.fetched.body) {
        let mut counts = locked(&shared.counts);
        match (state.fetched.uid, state.selected.clone()) {
            (Some(uid), Some(folder)) => *counts.bodies.entry((folder, uid)).or_default() += 1,
            _ => counts.bodies_unnamed += 1,
        }
    }
}

/// The folder that a SELECT or EXAMINE names (quoted or atom).
fn first_name(text: &str) -> Option<String> {
    let rest = text.trim_end().splitn(3, ' ').nth(2)?;
    match rest.strip_prefix('"') {
        Some(quoted) => Some(quoted.split('"').next()?.to_owned()),
        None => Some(rest.split(' ').next()?.to_owned()),
    }
}
