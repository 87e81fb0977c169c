//! What the worker wants of OAuth: a token that is good at this moment.

use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;
use secrecy::SecretString;

/// An access token and how long it is good for.
#[derive(Clone, Debug)]
pub struct Token {
    /// The bearer token.
    pub secret: SecretString,
    /// When the target stops taking it.
    pub expires: Timestamp,
}

/// Why there is no token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// The token endpoint said no: wrong secret, missing consent, unknown tenant. Asking again does not help.
    #[error("the token endpoint refused: {0}")]
    Refused(String),
    /// The token endpoint cannot be reached, or failed. Asking again may help.
    #[error("no token: {0}")]
    Unreachable(String),
}

/// Gives tokens for the target; one app-only token opens every mailbox that it may.
pub trait TokenSource: Send + Sync {
    /// A token with some minutes left, from a cache where possible.
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send + '_>>;

    /// The target no longer takes this token: the next one must be new, unless it already is.
    fn discard(&self, token: &Token);
}
