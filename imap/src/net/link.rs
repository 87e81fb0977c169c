//! What the two halves of a connection tell each other.
//!
//! Only the reader hears the server. Through the link it lets the writer know that a synchronising literal may go,
//! or was refused, or that the connection is lost; the writer lets the reader know what the server owes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Error, Tag};
use crate::response::Code;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) server: Arc<str>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Commands that were sent and not answered.
    owed: u32,
    literal: Literal,
    /// Whether something waits in the writer's buffer: the server cannot answer what it has not got.
    unsent: Unsent,
    /// When bytes went last.
    written: Instant,
    bye: Option<(Option<Code>, String)>,
    lost: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unsent {
    Nothing,
    Something,
}

/// How far a literal of ours is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Literal {
    /// None under way.
    Done,
    /// The server was asked for its `+`.
    Asked(Tag),
    /// It said `+`, or needs not be asked: bytes go, and it owes us nothing meanwhile.
    Open,
    /// It answered the command instead.
    Refused(Tag),
}

/// What became of a literal that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Granted,
    Refused,
}

impl Link {
    pub(super) fn new(server: Arc<str>) -> Arc<Self> {
        let state = State {
            owed: 0,
            literal: Literal::Done,
            unsent: Unsent::Nothing,
            written: Instant::now(),
            bye: None,
            lost: None,
        };
        Arc::new(Self { server, state: Mutex::new(state), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of ours panics while it holds the lock; if it did, the numbers are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What the writer tells.

    pub(super) fn sent(&self) {
        self.state().owed += 1;
    }

    pub(super) fn queued(&self) {
        self.state().unsent = Unsent::Something;
    }

    pub(super) fn wrote(&self) {
        self.state().written = Instant::now();
    }

    pub(super) fn flushed(&self) {
        self.state().unsent = Unsent::Nothing;
    }

    pub(super) fn ask(&self, tag: Tag) {
        self.state().literal = Literal::Asked(tag);
    }

    pub(super) fn open(&self) {
        self.state().literal = Literal::Open;
    }

    pub(super) fn close(&self) {
        self.state().literal = Literal::Done;
    }

    /// Waits until the reader has heard the answer to [`ask`](Self::ask). Cancel safe.
    pub(super) async fn answer(&self) -> Result<Answer, Error> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if let Some(lost) = &state.lost {
                    return Err(lost.clone());
                }
                match state.literal {
                    Literal::Asked(_) => {}
                    Literal::Done | Literal::Open => return Ok(Answer::Granted),
                    Literal::Refused(_) => {
                        state.literal = Literal::Done;
                        return Ok(Answer::Refused);
                    }
                }
            }
            changed.await;
        }
    }

    /// Whether the reader found the connection lost, and why.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.state().lost.clone().map_or(Ok(()), Err)
    }

    pub(super) fn owed(&self) -> u32 {
        self.state().owed
    }

    // What the reader tells.

    /// A `+` came. Whether a literal was waiting for it.
    pub(super) fn continued(&self) -> bool {
        let mut state = self.state();
        let waited = matches!(state.literal, Literal::Asked(_));
        if waited {
            state.literal = Literal::Open;
            self.changed.notify_one();
        }
        waited
    }

    /// A tagged answer came.
    pub(super) fn answered(&self, tag: Tag) {
        let mut state = self.state();
        state.owed = state.owed.saturating_sub(1);
        if state.literal == Literal::Asked(tag) {
            state.literal = Literal::Refused(tag);
            self.changed.notify_one();
        }
    }

    pub(super) fn said_bye(&self, code: Option<Code>, text: &str) {
        self.state().bye = Some((code, text.to_owned()));
    }

    /// The connection ended; gives back how it is to be told: a BYE that came before explains it.
    pub(super) fn lost(&self, error: Error) -> Error {
        let mut state = self.state();
        let error = explained(error, &state);
        let first = state.lost.get_or_insert(error).clone();
        self.changed.notify_one();
        first
    }

    /// The same for an error after which the reader may still hear something.
    pub(super) fn explained(&self, error: Error) -> Error {
        let state = self.state();
        state.lost.clone().unwrap_or_else(|| explained(error, &state))
    }

    /// For how long yet the server may stay silent; `None` while it owes nothing.
    pub(super) fn patience(&self, idle: Duration) -> Option<Duration> {
        let state = self.state();
        let waits = state.owed > 0 && state.literal != Literal::Open && state.unsent == Unsent::Nothing;
        waits.then(|| idle.saturating_sub(state.written.elapsed()))
    }
}

/// A BYE explains why the connection broke.
fn explained(error: Error, state: &State) -> Error {
    match (&error, &state.bye) {
        (Error::Lost { server, .. } | Error::Timeout { server, .. }, Some((code, text))) => {
            Error::Bye { server: Arc::clone(server), code: code.clone(), text: text.clone() }
        }
        _ => error,
    }
}
