//! App-only OAuth (client credentials) for Office 365: one token for the whole tenant.
//!
//! The application proves itself by a client secret or by an assertion that its certificate signs. The token is
//! cached, renewed when three quarters of its life are over, and asked for once however many workers wait for it.
//! A renewal that fails is no harm while the old token lives: it is handed out until shortly before its end. After a
//! failure the endpoint is left alone for a moment, so that fifty workers are not fifty requests.
//!
//! No error, log or `Debug` output carries a secret, an assertion or a token.

mod answer;
mod assertion;
mod http;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::token::{Token, TokenError, TokenSource};

pub use answer::{Code, OauthError};
pub use assertion::KeyError;

/// The scope of an app-only token for IMAP.
pub const SCOPE: &str = "https://outlook.office365.com/.default";

/// How long the endpoint is left alone after a failure, unless it says so itself.
const PAUSE: Duration = Duration::from_secs(5);
/// A token with less life than this is not handed out.
const TOO_LATE: Duration = Duration::from_secs(30);

/// Microsoft's token endpoint of a tenant (its id or one of its domains).
pub fn token_url(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token")
}

/// How the application proves who it is.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A client secret (its value, never its id).
    Secret(SecretString),
    /// A certificate whose key signs an assertion.
    Certificate {
        /// PEM: the certificate as uploaded to Entra.
        certificate: Vec<u8>,
        /// PEM: its RSA private key (PKCS#8 or PKCS#1).
        private_key: SecretString,
    },
}

/// Where and as whom to ask.
#[derive(Debug, Clone)]
pub struct Config {
    /// The token endpoint; [`token_url`] gives Microsoft's. Plain `http` only to this machine itself.
    pub token_url: String,
    /// [`SCOPE`], unless another cloud wants another.
    pub scope: String,
    /// The application's id.
    pub client_id: String,
    /// Its proof.
    pub credential: Credential,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// What is wrong with the configuration, before anything was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a URL that a secret may be sent to.
    #[error("token_url {url:?} must begin with https:// (http:// only for this machine itself)")]
    Url {
        /// As configured.
        url: String,
    },
    /// The file cannot be read or holds no certificate.
    #[error("ca_file {}: {why}", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The client secret is empty.
    #[error("the client secret is empty")]
    EmptySecret,
}

/// The tenant's token, fetched and renewed as needed. Clones share it.
#[derive(Clone)]
pub struct Tokens {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    proof: Proof,
    client: http::Client,
    // Held across the request: whoever comes meanwhile waits for its outcome instead of asking again.
    state: Mutex<State>,
    discarded: std::sync::Mutex<Option<Token>>,
}

enum Proof {
    Secret(SecretString),
    Key(assertion::Key),
}

#[derive(Default)]
struct State {
    token: Option<Cached>,
    failed: Option<Failed>,
}

struct Cached {
    token: Token,
    renew: Instant,
    expires: Instant,
}

struct Failed {
    error: OauthError,
    until: Instant,
}

impl Tokens {
    /// Checks the configuration (key and certificate belong together, the URL is safe); asks nothing yet.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let proof = match &config.credential {
            Credential::Secret(secret) => {
                if secret.expose_secret().is_empty() {
                    return Err(ConfigError::EmptySecret);
                }
                Proof::Secret(secret.clone())
            }
            Credential::Certificate { certificate, private_key } => {
                Proof::Key(assertion::Key::new(certificate, private_key)?)
            }
        };
        let client = http::Client::new(&config)?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                proof,
                client,
                state: Mutex::default(),
                discarded: std::sync::Mutex::default(),
            }),
        })
    }

    /// A token with a good part of its life before it.
    pub async fn access_token(&self) -> Result<Token, OauthError> {
        let mut state = self.shared.state.lock().await;
        let now = Instant::now();
        if state.token.as_ref().is_some_and(|cached| self.is_discarded(&cached.token)) {
            state.token = None;
        }
        if let Some(cached) = &state.token
            && now < cached.renew
        {
            return Ok(cached.token.clone());
        }
        if let Some(failed) = &state.failed
            && now < failed.until
        {
            return state.usable(now).ok_or_else(|| failed.error.clone());
        }
        let asked = Timestamp::now();
        match self.shared.ask().await {
            Ok(granted) => {
                debug!(life = ?granted.life, "Token granted.");
                // Counted from before the request: its way here is part of its life.
                let (renew, expires) = (now + granted.life * 3 / 4, now + granted.life);
                let token = Token { secret: granted.secret, expires: asked + granted.life };
                *state = State { token: Some(Cached { token: token.clone(), renew, expires }), failed: None };
                Ok(token)
            }
            Err(error) => {
                warn!(%error, "No token.");
                let until = Instant::now() + error.retry_after().unwrap_or(PAUSE);
                state.failed = Some(Failed { error: error.clone(), until });
                state.usable(Instant::now()).ok_or(error)
            }
        }
    }

    fn is_discarded(&self, token: &Token) -> bool {
        self.discarded()
            .as_ref()
            .is_some_and(|old| old.secret.expose_secret() == token.secret.expose_secret())
    }

    fn discarded(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.shared.discarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenSource for Tokens {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send + '_>> {
        Box::pin(async {
            self.access_token().await.map_err(|error| {
                let words = format!("{error} ({})", error.next());
                if error.is_passing() { TokenError::Unreachable(words) } else { TokenError::Refused(words) }
            })
        })
    }

    fn discard(&self, token: &Token) {
        *self.discarded() = Some(token.clone());
    }
}

impl State {
    /// The old token while it can still be used: its renewal failed.
    fn usable(&self, now: Instant) -> Option<Token> {
        let cached = self.token.as_ref()?;
        (now + TOO_LATE < cached.expires).then(|| cached.token.clone())
    }
}

impl Shared {
    async fn ask(&self) -> Result<answer::Granted, OauthError> {
        let assertion = match &self.proof {
            Proof::Secret(_) => None,
            Proof::Key(key) => {
                let claims = assertion::Claims {
                    audience: &self.config.token_url,
                    client_id: &self.config.client_id,
                    now: Timestamp::now(),
                    id: assertion::random_id()?,
                };
                Some(key.sign(&claims)?)
            }
        };
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &self.config.client_id),
            ("scope", &self.config.scope),
        ];
        match (&self.proof, &assertion) {
            (Proof::Secret(secret), _) => {
                form.push(("client_secret", secret.expose_secret()));
            }
            (Proof::Key(_), assertion) => {
                form.push((
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
                form.push(("client_assertion", assertion.as_deref().unwrap_or_default()));
            }
        }
        let reply = self.client.post(&form).await?;
        // A server that echoes what it was sent must not bring the secret into a log.
        answer::read(&reply, form.last().map(|(_, secret)| *secret).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
