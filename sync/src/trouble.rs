//! What stops work in the middle, before anybody decided whether to try again.

use std::time::Duration;

use mailferry_imap::net;
use mailferry_imap::response::Code;
use mailferry_ledger::{CommitError, ReadError, VaultError};

use crate::error::{LocalError, SideError};
use crate::pace::{Complaint, Meaning, meaning};
use crate::tenant::Waits;

/// What stopped the work.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The source, or the way to it.
    Source(SideError),
    /// The target, or the way to it.
    Target(SideError),
    /// The target asks us to wait; for so long, where it said so.
    Throttled { stated: Option<Duration>, text: String },
    /// The target asked us to wait before, and the time has not come.
    Waits(Waits),
    /// The target no longer takes our token.
    TokenExpired,
    /// A folder of the source is another one by now, under the same name.
    Replaced,
    /// Our own side.
    Local(LocalError),
    /// A further session has to go: others wait, or a server no longer admits it.
    NoPlace,
    /// Told to stop.
    Stopped,
}

impl Trouble {
    /// From an error of the source's connection.
    pub(crate) fn source(error: net::Error) -> Self {
        Self::Source(error.into())
    }

    /// From an error of the target's connection.
    pub(crate) fn target(error: net::Error) -> Self {
        match said(&error).map(|(code, text)| (meaning(code, text), text.to_owned())) {
            Some((Meaning::Throttled(stated), text)) => Self::Throttled { stated, text },
            Some((Meaning::TokenExpired, _)) => Self::TokenExpired,
            _ => Self::Target(error.into()),
        }
    }

    /// What the target finds too much, and its words.
    pub(crate) fn complaint(&self) -> Option<(Complaint, &str)> {
        let (code, text) = match self {
            Self::Target(SideError::Imap(error)) => said(error)?,
            Self::Target(SideError::Other(text) | SideError::Login(text)) => (None, text.as_str()),
            Self::Throttled { text, .. } => {
                return Some((Complaint::of(None, text).unwrap_or(Complaint::Budget), text));
            }
            Self::Source(_)
            | Self::Target(SideError::Token(_))
            | Self::Waits(_)
            | Self::TokenExpired
            | Self::Replaced
            | Self::NoPlace
            | Self::Local(_)
            | Self::Stopped => return None,
        };
        Complaint::of(code, text).map(|complaint| (complaint, text))
    }

    /// Whether it is about one connection: others to the same servers may go on with what they have begun.
    pub(crate) fn is_of_one_session(&self) -> bool {
        match self {
            Self::Source(SideError::Imap(_))
            | Self::Target(SideError::Imap(_))
            | Self::Replaced
            | Self::NoPlace => true,
            Self::Source(_)
            | Self::Target(_)
            | Self::Throttled { .. }
            | Self::Waits(_)
            | Self::TokenExpired
            | Self::Local(_)
            | Self::Stopped => false,
        }
    }

    /// Of two at once the one that decides what happens next: who asks to wait is obeyed, and for the longer time.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Throttled { stated: one, .. }, Self::Throttled { stated: two, .. }) if one >= two => self,
            (_, Self::Throttled { .. }) => other,
            (Self::Throttled { .. }, _) => self,
            _ if self.is_passing() && !other.is_passing() => other,
            (Self::Source(_) | Self::Target(_), Self::TokenExpired) if self.is_passing() => other,
            _ => self,
        }
    }

    /// Whether a new connection may help at once.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Source(SideError::Imap(error)) => reconnecting_helps(error, Unavailable::No),
            Self::Target(SideError::Imap(error)) => reconnecting_helps(error, Unavailable::Yes),
            Self::TokenExpired | Self::Replaced | Self::NoPlace => true,
            Self::Source(_)
            | Self::Target(_)
            | Self::Throttled { .. }
            | Self::Waits(_)
            | Self::Local(_)
            | Self::Stopped => false,
        }
    }
}

/// Whether the server's words are to be searched for "unavailable".
#[derive(Clone, Copy)]
enum Unavailable {
    Yes,
    No,
}

fn reconnecting_helps(error: &net::Error, unavailable: Unavailable) -> bool {
    match error {
        net::Error::Timeout { .. }
        | net::Error::Lost { .. }
        | net::Error::Bye { .. }
        | net::Error::Connect { .. }
        | net::Error::Protocol { .. } => true,
        net::Error::Refused { code, text, .. } => match unavailable {
            Unavailable::Yes => meaning(code.as_ref(), text) == Meaning::Unavailable,
            Unavailable::No => false,
        },
        net::Error::Tls { .. } | net::Error::Unsupported { .. } | net::Error::Misuse { .. } => false,
    }
}

/// The server's own words, where it said any.
fn said(error: &net::Error) -> Option<(Option<&Code>, &str)> {
    match error {
        net::Error::Refused { code, text, .. } | net::Error::Bye { code, text, .. } => {
            Some((code.as_ref(), text))
        }
        net::Error::Connect { .. }
        | net::Error::Tls { .. }
        | net::Error::Timeout { .. }
        | net::Error::Lost { .. }
        | net::Error::Protocol { .. }
        | net::Error::Unsupported { .. }
        | net::Error::Misuse { .. } => None,
    }
}

impl From<CommitError> for Trouble {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoMailbox(_) => Self::Local(LocalError::NoMailbox),
            error => Self::Local(error.into()),
        }
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Local(error.into())
    }
}

impl From<VaultError> for Trouble {
    fn from(error: VaultError) -> Self {
        Self::Local(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_target_closed_counts_more_than_that_it_did() {
        let error = || net::Error::Timeout { server: "target".into(), doing: "writing" };
        let closed = || Trouble::target(error());
        let throttled = || Trouble::Throttled { stated: None, text: String::new() };
        for (one, other) in [(closed(), throttled()), (throttled(), closed())] {
            assert!(matches!(one.or_worse(other), Trouble::Throttled { .. }));
        }
        assert!(matches!(closed().or_worse(Trouble::TokenExpired), Trouble::TokenExpired));
        assert!(matches!(closed().or_worse(Trouble::Stopped), Trouble::Stopped));
    }
}
