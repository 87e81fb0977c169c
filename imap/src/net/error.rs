//! What can go wrong with a server, and whose fault it is.

use std::io;
use std::sync::Arc;

use crate::response::{Code, Status};

/// Every error names the server (`host:port`) that it is about. None holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection came about: name not found, refused, unreachable.
    #[error("{server}: cannot connect: {source}")]
    Connect {
        /// Whose.
        server: Arc<str>,
        /// Why.
        source: Arc<io::Error>,
    },
    /// TLS could not be agreed on, or the certificate was not good.
    #[error("{server}: TLS: {reason}")]
    Tls {
        /// Whose.
        server: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Nothing came, or nothing could be sent, for too long.
    #[error("{server}: timed out {doing}")]
    Timeout {
        /// Whose.
        server: Arc<str>,
        /// What was waited for.
        doing: &'static str,
    },
    /// The connection broke or ended without BYE.
    #[error("{server}: connection lost: {source}")]
    Lost {
        /// Whose.
        server: Arc<str>,
        /// How; `UnexpectedEof` where the server just closed it.
        source: Arc<io::Error>,
    },
    /// The server said BYE.
    #[error("{server}: server closed the connection: {text}")]
    Bye {
        /// Whose.
        server: Arc<str>,
        /// The code in brackets.
        code: Option<Code>,
        /// Its words.
        text: String,
    },
    /// The server does not speak IMAP as we know it.
    #[error("{server}: protocol error: {what}")]
    Protocol {
        /// Whose.
        server: Arc<str>,
        /// Where and what.
        what: String,
    },
    /// A command was answered NO or BAD.
    #[error("{server}: {command} refused: {status} {text}")]
    Refused {
        /// Whose.
        server: Arc<str>,
        /// The verb, without arguments.
        command: &'static str,
        /// NO or BAD.
        status: Status,
        /// The code in brackets.
        code: Option<Code>,
        /// Its words; secrets taken out where it echoed them.
        text: String,
    },
    /// The server cannot do what is needed here.
    #[error("{server}: does not support {what}")]
    Unsupported {
        /// Whose.
        server: Arc<str>,
        /// What.
        what: &'static str,
    },
    /// Something was asked that cannot be written in IMAP, or not at this moment: our own fault.
    #[error("{server}: {what}")]
    Misuse {
        /// Whose.
        server: Arc<str>,
        /// What.
        what: &'static str,
    },
}

impl Error {
    /// Whether the connection can no longer be used.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Unsupported { .. } | Self::Misuse { .. })
    }
}
