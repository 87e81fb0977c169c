//! Why a pass ended early: whose fault it is, and what helps.

use jiff::Timestamp;
use mailferry_imap::net;
use mailferry_ledger::{CommitError, ReadError, VaultError};

use crate::credentials::Awaits;
use crate::fault::Fault;
use crate::token::TokenError;

/// Why a pass ended early. Everything done so far is in the ledger: starting again is always the right next step.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The source cannot be reached, refused the login, or does not answer as it should.
    #[error("source: {0}")]
    Source(SideError),
    /// The same of the target.
    #[error("target: {0}")]
    Target(SideError),
    /// The target asks us to wait.
    #[error("the target asks to wait until {until}: {text}")]
    Throttled {
        /// Until when, jitter included.
        until: Timestamp,
        /// Its words.
        text: String,
    },
    /// Our own state or disk, or a record that is gone.
    #[error("{0}")]
    Local(LocalError),
    /// Told to stop.
    #[error("stopped")]
    Stopped,
}

/// What went wrong with a server.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// The connection or an answer.
    #[error("{0}")]
    Imap(#[from] net::Error),
    /// The login was refused: trying again does not help until somebody changed something.
    #[error("login refused: {0}")]
    Login(String),
    /// No token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

/// What went wrong on our side.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The ledger took no change.
    #[error("{0}")]
    Commit(#[from] CommitError),
    /// The ledger gave no answer.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The password could not be opened.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The mailbox is no longer in the ledger.
    #[error("the mailbox is not in the ledger")]
    NoMailbox,
    /// The row has no password, and the endpoint does not learn any.
    #[error(
        "no password for the source: give it in the CSV file and add the batch again, or let the endpoint learn it (endpoint add ... --learn-credentials)"
    )]
    NoPassword,
    /// The batch chooses folders by words that this version does not know.
    #[error("the batch's choice of folders does not read: {0}")]
    Folder(String),
    /// Only the user's next login can tell the password.
    #[error("{0}")]
    AwaitsLogin(Awaits),
}

impl PassError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Source(_) => Fault::Source,
            Self::Target(_) => Fault::Target,
            Self::Throttled { .. } => Fault::Throttled,
            Self::Local(LocalError::NoPassword) => Fault::Source,
            // Nothing is wrong, and nothing but a login is to be done.
            Self::Local(LocalError::AwaitsLogin(_)) => Fault::Partial,
            Self::Local(_) => Fault::Local,
            Self::Stopped => Fault::Partial,
        }
    }

    /// Whether trying again by itself can help: refused logins and missing passwords need a person.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Source(side) | Self::Target(side) => {
                !matches!(side, SideError::Login(_) | SideError::Token(TokenError::Refused(_)))
            }
            Self::Local(
                LocalError::NoMailbox
                | LocalError::NoPassword
                | LocalError::AwaitsLogin(_)
                | LocalError::Vault(_),
            ) => false,
            Self::Throttled { .. } | Self::Local(_) | Self::Stopped => true,
        }
    }
}

impl From<CommitError> for PassError {
    fn from(error: CommitError) -> Self {
        Self::Local(error.into())
    }
}

impl From<ReadError> for PassError {
    fn from(error: ReadError) -> Self {
        Self::Local(error.into())
    }
}

impl From<VaultError> for PassError {
    fn from(error: VaultError) -> Self {
        Self::Local(error.into())
    }
}
