//! What happens between the greeting and the login. Pure: bytes in, moves out.
//!
//! Commands pass to the source as they are, except STARTTLS, which is ours, COMPRESS, which there is none of, and ID, which is screened. One thing is added: after a login attempt nothing
//! more is sent on until the source has answered it, so that whatever the client sent behind it is there for
//! the relay. Lines and literals are bounded; nobody has proved who they are yet. What may hold a password is wiped when it
//! was read; the password itself is kept only where it is to be learnt, and only until the source has refused it.
//!
//! Whose login was accepted is only known while the source reads the same commands as we do. So what sources may read
//! in different ways does not reach them: odd tags, tabs for blanks, a bare CR or a NUL in a line. And where a literal
//! that came unasked may have been read as commands, the connection ends.
//!
//! Must not know: sockets, time.

mod command;
mod line;
mod refusal;
mod state;

use bytes::Bytes;
use mailferry_imap::command::{Complete, parse};
use mailferry_imap::token::{Part, Value};
use secrecy::SecretString;

use command::{Attempt, Current, Unanswered, Verb, wipe, words};
use line::{Line, Opening, Status, announced, first_word, has_stray_bytes, line_end, opening};
use refusal::{TOO_LARGE, refuse, stray_bytes, too_long, too_many};
use state::State;

use crate::filter::Leg;
use crate::id::{Fate, Screen, Unreadable, is_suspicious};
use crate::learner::Learning;
use crate::place::Trying;
use crate::sasl::{self, Layer, Sasl};

/// The longest line of a client that has not logged in.
const MAX_LINE: usize = 8 * 1024;

/// The longest line of a SASL exchange: tokens and tickets are large.
const MAX_SASL_LINE: usize = 64 * 1024;

/// The largest literal: names, passwords, ID values.
const MAX_LITERAL: u64 = 8 * 1024;

/// The largest command with all its literals.
const MAX_COMMAND: usize = 64 * 1024;

/// The most commands on their way to the source at once.
const MAX_UNANSWERED: usize = 100;

/// The longest that their tags are all together.
const MAX_TAGS: usize = 16 * 1024;

/// The most bytes that [`Door::on_client`] needs to see at once.
pub(crate) const MAX_BUFFERED: usize = MAX_SASL_LINE + 1;

/// What is to be done with what the client sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Move {
    /// Nothing yet: more bytes are needed.
    More,
    /// Nothing yet: it is the source's turn.
    Wait,
    /// Send that many bytes on to the source.
    Forward(usize),
    /// Forget that many bytes and send these on.
    Replace(usize, Vec<u8>),
    /// Forget that many bytes, and answer this.
    Answer(usize, Vec<u8>),
    /// Forget that many bytes, answer this, then TLS begins.
    StartTls(usize, Vec<u8>),
    /// Say this and close. What stands in the log.
    Close(Vec<u8>, &'static str),
}

/// What a line of the source meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// Nothing special.
    Line,
    /// The login was accepted.
    LoggedIn,
    /// The login was refused.
    Refused,
}

/// Whether logins are taken at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Logins {
    Welcome,
    /// Too many are under way from there: not yet.
    Later,
    /// Too many were refused from there.
    Barred,
}

/// A connection before its login.
#[derive(Debug)]
pub(crate) struct Door {
    leg: Leg,
    state: State,
    /// Commands, other than logins, that the source has not answered.
    unanswered: Vec<Unanswered>,
    learning: Learning,
    login: Login,
    /// The name of the last login that was refused.
    refused: Option<String>,
    /// What the client calls itself, until it is asked for.
    client_name: Option<String>,
    /// A login was not tried, until it is asked for.
    barred: bool,
}

/// What the login that was accepted was made with, as far as it could be read.
#[derive(Default, Debug)]
pub(crate) struct Login {
    pub(crate) name: Option<String>,
    /// Whose password it was, whoever was logged in: what counts for limits.
    pub(crate) tried: Option<String>,
    /// What may lie over the stream from here on.
    pub(crate) layer: Layer,
    /// Only where it is learnt, and together with a name.
    pub(crate) password: Option<SecretString>,
}

impl Door {
    pub(crate) fn new(leg: Leg, learning: Learning) -> Self {
        let (state, unanswered, login) = (State::Command, Vec::new(), Login::default());
        Self { leg, state, unanswered, learning, login, refused: None, client_name: None, barred: false }
    }

    /// What the client's leg is like.
    pub(crate) fn leg(&self) -> Leg {
        self.leg
    }

    /// The login that was accepted.
    pub(crate) fn login(self) -> Login {
        self.login
    }

    /// Whose password it was made with, while it still stands at the door.
    pub(crate) fn accepted(&self) -> Option<&str> {
        self.login.tried.as_deref()
    }

    /// Whose password the last login that was refused tried, where it could be read.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// What the client called itself in an `ID`. Told once.
    pub(crate) fn client_name(&mut self) -> Option<String> {
        self.client_name.take()
    }

    /// Whether a login was not tried since this was asked last.
    pub(crate) fn was_barred(&mut self) -> bool {
        std::mem::take(&mut self.barred)
    }

    /// Whether the source is asked about a login.
    pub(crate) fn tries(&self) -> Trying {
        if matches!(self.state, State::Verdict(_)) { Trying::Yes } else { Trying::No }
    }

    /// A command of our own went to the source.
    pub(crate) fn on_own_command(&mut self, tag: &[u8]) {
        self.unanswered.push(Unanswered { tag: tag.to_vec(), hasty: false });
    }

    /// Whether no command is under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Command) && self.unanswered.is_empty()
    }

    /// Looks at what the client sent and was not yet moved.
    pub(crate) fn on_client(&mut self, buffered: &[u8], logins: Logins) -> Move {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Command => self.on_command(buffered, logins),
            // Begun when logins were taken; the password is still to come.
            state @ (State::Literal(..) | State::Rest(_) | State::Sasl(_))
                if logins != Logins::Welcome && state.is_login() =>
            {
                self.barred |= logins == Logins::Barred;
                let next = if logins == Logins::Barred { too_many() } else { Move::Wait };
                self.stay(state, next)
            }
            State::Go(current, size) => self.stay(State::Go(current, size), Move::Wait),
            State::Verdict(attempt) => self.stay(State::Verdict(attempt), Move::Wait),
            State::Ask(current, size) => {
                self.stay(State::Literal(current, size), Move::Answer(0, b"+ Go on.\r\n".to_vec()))
            }
            State::Literal(current, size) => self.on_literal(current, size, buffered),
            State::Rest(current) => match line_end(buffered, MAX_LINE) {
                Line::Cut => self.stay(State::Rest(current), Move::More),
                Line::TooLong => too_long(),
                Line::Whole(end) if has_stray_bytes(&buffered[..end]) => stray_bytes(),
                Line::Whole(end) => self.on_text(current, &buffered[..end]),
            },
            State::Sasl(attempt) => self.on_sasl(attempt, buffered),
            State::Lost => self.stay(
                State::Lost,
                Move::Close(
                    b"* BYE A literal came unasked and was refused.\r\n".to_vec(),
                    "turned away: its literal came unasked and was refused",
                ),
            ),
        }
    }

    /// Looks at a whole line of the source.
    pub(crate) fn on_server_line(&mut self, line: &[u8]) -> Heard {
        let word = first_word(line);
        if word == b"+" {
            self.state = match std::mem::replace(&mut self.state, State::Command) {
                State::Go(current, size) => State::Literal(current, size),
                State::Verdict(attempt) if attempt.sasl.is_some() => State::Sasl(attempt),
                state @ (State::Command
                | State::Ask(..)
                | State::Literal(..)
                | State::Rest(_)
                | State::Verdict(_)
                | State::Sasl(_)
                | State::Lost) => state,
            };
            return Heard::Line;
        }
        if word == b"*" {
            return Heard::Line;
        }
        let status = Status::of(&line[word.len()..]);
        match &mut self.state {
            State::Verdict(attempt) | State::Sasl(attempt) if attempt.tag == word => {
                let lost = attempt.hasty && status == Status::Bad;
                let state =
                    std::mem::replace(&mut self.state, if lost { State::Lost } else { State::Command });
                match state {
                    State::Verdict(attempt) | State::Sasl(attempt) if status == Status::Ok => {
                        self.login = attempt.into_login();
                        Heard::LoggedIn
                    }
                    State::Verdict(attempt) | State::Sasl(attempt) => {
                        self.refused = attempt.into_login().tried;
                        Heard::Refused
                    }
                    State::Command
                    | State::Go(..)
                    | State::Ask(..)
                    | State::Literal(..)
                    | State::Rest(_)
                    | State::Lost => Heard::Line,
                }
            }
            State::Go(current, _) if current.tag == word => {
                let (login, lost) = (current.verb.is_login(), current.hasty && status == Status::Bad);
                self.state = if lost { State::Lost } else { State::Command };
                self.refused = None; // Of its arguments not even the first one came.
                match (login, status) {
                    // What looked like a literal was none to the source: whose login it is cannot be told.
                    (true, Status::Ok) => Heard::LoggedIn,
                    (true, Status::Bad | Status::Other) => Heard::Refused,
                    (false, _) => Heard::Line,
                }
            }
            State::Ask(current, _) | State::Literal(current, _) | State::Rest(current)
                if current.tag == word =>
            {
                self.state = State::Lost;
                Heard::Line
            }
            State::Lost => Heard::Line,
            State::Command
            | State::Go(..)
            | State::Ask(..)
            | State::Literal(..)
            | State::Rest(_)
            | State::Verdict(_)
            | State::Sasl(_) => {
                if let Some(at) = self.unanswered.iter().position(|unanswered| unanswered.tag == word)
                    && self.unanswered.remove(at).hasty
                    && status == Status::Bad
                {
                    self.state = State::Lost;
                }
                Heard::Line
            }
        }
    }

    /// TLS with the client stands: nothing that was said before counts (RFC 9051 section 6.2.1).
    pub(crate) fn on_tls(&mut self) {
        *self = Self::new(Leg::Open, self.learning);
    }

    fn stay(&mut self, state: State, next: Move) -> Move {
        self.state = state;
        next
    }

    fn on_command(&mut self, buffered: &[u8], logins: Logins) -> Move {
        let (tag, verb) = words(buffered);
        let limit = if verb == Verb::Authenticate { MAX_SASL_LINE } else { MAX_LINE };
        let end = match line_end(buffered, limit) {
            Line::Cut => return Move::More,
            Line::TooLong => return too_long(),
            Line::Whole(end) => end,
        };
        let line = &buffered[..end];
        if has_stray_bytes(line) {
            return stray_bytes();
        }
        match opening(line) {
            Opening::Command | Opening::Blank => {}
            // Sent on, its answer could be taken for another one's.
            Opening::Tag(tag) => return refuse(tag, line, b"BAD Not a command."),
            Opening::Odd => return refuse(b"*", line, b"BAD Not a command."),
        }
        match verb {
            Verb::StartTls => return self.on_starttls(tag, end, buffered),
            Verb::Compress => return refuse(tag, line, b"BAD COMPRESS is not available here."),
            Verb::Login | Verb::Authenticate if self.leg == Leg::BeforeStartTls => {
                return refuse(tag, line, b"NO [PRIVACYREQUIRED] Log in after STARTTLS.");
            }
            Verb::Login | Verb::Authenticate if logins == Logins::Later => return Move::Wait,
            Verb::Login | Verb::Authenticate if logins == Logins::Barred => {
                self.barred = true;
                return refuse(tag, line, b"NO [LIMIT] Too many refused logins, try again later.");
            }
            Verb::Login | Verb::Authenticate | Verb::Id | Verb::Other => {}
        }
        if tag.is_empty() {
            return Move::Forward(end); // The source says what is wrong with it.
        }
        let tags: usize = self.unanswered.iter().map(|unanswered| unanswered.tag.len()).sum();
        if self.unanswered.len() >= MAX_UNANSWERED
            || tags >= MAX_TAGS
            || self.unanswered.iter().any(|unanswered| unanswered.tag == tag)
        {
            // The answer to the other command would be taken for this one's: for an accepted login, in the worst case.
            return Move::Wait;
        }
        let screen = (verb == Verb::Id).then(Screen::new);
        let current = Current { tag: tag.to_vec(), verb, parts: Vec::new(), size: 0, hasty: false, screen };
        self.on_text(current, line)
    }

    fn on_text(&mut self, mut current: Current, text: &[u8]) -> Move {
        current.parts.push(Part::Text(Bytes::copy_from_slice(text)));
        current.size += text.len();
        let Ok(literal) = announced(text) else { return too_long() };
        let going = match current.going(text, literal) {
            Ok(going) => going,
            Err(Unreadable) => return self.on_unreadable(&current, text),
        };
        let Some(literal) = literal else {
            self.client_name = self.client_name.take().or(current.screen.take().and_then(Screen::into_name));
            self.on_complete(&current);
            return going.0.map_or(Move::Forward(text.len()), |other| Move::Replace(text.len(), other));
        };
        let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
        if literal.size > MAX_LITERAL || current.size + size > MAX_COMMAND {
            let answer = [current.tag.as_slice(), b" BAD Literal too large.\r\n", TOO_LARGE].concat();
            return Move::Close(answer, "turned away: a literal too large before a login");
        }
        let (going, fate) = going;
        if literal.sync {
            self.state = match fate {
                Fate::Passes => State::Go(current, size),
                Fate::Ours => State::Ask(current, size),
            };
        } else if literal.apart && self.leg == Leg::Open {
            current.hasty = true;
            self.state = State::Literal(current, size);
        } else {
            let answer = b"* BYE Literals are to be asked for here.\r\n".to_vec();
            return Move::Close(answer, "turned away: its literal came unasked");
        }
        going.map_or(Move::Forward(text.len()), |other| Move::Replace(text.len(), other))
    }

    /// An `ID` that cannot be read passes if nothing in it is reserved: the source says what is wrong with it.
    fn on_unreadable(&mut self, current: &Current, text: &[u8]) -> Move {
        let whole = matches!(announced(text), Ok(None)) && current.parts.len() == 1;
        if whole && !is_suspicious(text) {
            self.on_complete(current);
            return Move::Forward(text.len());
        }
        let answer = [current.tag.as_slice(), b" BAD Not an ID.\r\n* BYE Not an ID.\r\n"].concat();
        Move::Close(answer, "turned away: an ID that cannot be read")
    }

    fn on_literal(&mut self, mut current: Current, size: usize, buffered: &[u8]) -> Move {
        if buffered.len() < size {
            return self.stay(State::Literal(current, size), Move::More);
        }
        current.parts.push(Part::Literal(Bytes::copy_from_slice(&buffered[..size])));
        current.size += size;
        let other = current.screen.as_mut().and_then(|screen| screen.on_literal(&buffered[..size]));
        self.state = State::Rest(current);
        other.map_or(Move::Forward(size), |other| Move::Replace(size, other))
    }

    fn on_complete(&mut self, current: &Current) {
        let (tag, hasty) = (current.tag.clone(), current.hasty);
        if !current.verb.is_login() {
            return self.unanswered.push(Unanswered { tag, hasty });
        }
        let command = parse(&current.parts);
        let complete = command.as_ref().is_some_and(|command| command.complete == Complete::Yes);
        let arguments = command.map(|command| command.arguments).unwrap_or_default();
        let mut attempt = Attempt { tag, hasty, sasl: None, login: Login::default() };
        // A tab ends it for sources that take one for a blank.
        let tried =
            arguments.first().and_then(string).and_then(|name| name.split(|byte| *byte == b'\t').next());
        attempt.login.tried = tried.map(text);
        match arguments.as_slice() {
            arguments if current.verb == Verb::Authenticate => {
                let (mechanism, initial) =
                    (arguments.first().and_then(string), arguments.get(1).and_then(string));
                let sasl = attempt.sasl.insert(Sasl::new(mechanism.unwrap_or_default(), self.learning));
                if let Some(initial) = initial {
                    sasl.on_response(initial);
                }
            }
            // Anything else, sources may read in different ways.
            [name, password] if complete && !current.has_tabs() => {
                attempt.login.name = string(password).and(string(name)).map(text);
                if self.learning == Learning::On {
                    attempt.login.password = string(password).and_then(sasl::password);
                }
            }
            _ => {}
        }
        for argument in arguments {
            if let Value::Atom(bytes) | Value::Quoted(bytes) | Value::Literal(bytes) = argument {
                wipe(bytes);
            }
        }
        self.state = State::Verdict(attempt);
    }

    fn on_sasl(&mut self, mut attempt: Attempt, buffered: &[u8]) -> Move {
        match line_end(buffered, MAX_SASL_LINE) {
            Line::Cut => self.stay(State::Sasl(attempt), Move::More),
            Line::TooLong => too_long(),
            Line::Whole(end) if has_stray_bytes(&buffered[..end]) => stray_bytes(),
            Line::Whole(end) => {
                if let Some(sasl) = &mut attempt.sasl {
                    sasl.on_response(buffered[..end].trim_ascii());
                }
                self.stay(State::Verdict(attempt), Move::Forward(end))
            }
        }
    }

    fn on_starttls(&mut self, tag: &[u8], end: usize, buffered: &[u8]) -> Move {
        if self.leg == Leg::Open {
            return Move::Answer(end, [tag, b" BAD STARTTLS is not available here.\r\n"].concat());
        }
        if buffered.len() > end {
            // Plain text behind STARTTLS would be taken for what came under TLS (CVE-2011-0411 and its kin).
            let answer = b"* BYE Commands behind STARTTLS are not taken.\r\n".to_vec();
            return Move::Close(answer, "turned away: commands in the clear behind STARTTLS");
        }
        if !self.unanswered.is_empty() {
            return Move::Wait;
        }
        Move::StartTls(end, [tag, b" OK Begin TLS negotiation now.\r\n"].concat())
    }
}

fn string(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Atom(bytes) | Value::Quoted(bytes) | Value::Literal(bytes) => Some(bytes),
        Value::Streamed { .. } | Value::List(_) => None,
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
