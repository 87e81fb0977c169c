//! Whose turn it is before a login.

use super::command::{Attempt, Current};

#[derive(Debug)]
pub(super) enum State {
    /// Awaits a command.
    Command,
    /// Awaits the source's word about a literal.
    Go(Current, usize),
    /// A literal that the source does not hear of is to be asked for.
    Ask(Current, usize),
    /// Awaits the bytes of a literal.
    Literal(Current, usize),
    /// Awaits the rest of the command behind a literal.
    Rest(Current),
    /// Awaits the source's answer to a login.
    Verdict(Attempt),
    /// Awaits the client's line in a SASL exchange.
    Sasl(Attempt),
    /// The source may have taken a literal for commands: nothing is sure any more.
    Lost,
}

impl State {
    /// Whether a login is under way.
    pub(super) fn is_login(&self) -> bool {
        match self {
            Self::Verdict(_) | Self::Sasl(_) => true,
            Self::Go(current, _)
            | Self::Ask(current, _)
            | Self::Literal(current, _)
            | Self::Rest(current) => current.verb.is_login(),
            Self::Command | Self::Lost => false,
        }
    }
}
