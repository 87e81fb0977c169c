//! From a name to a session.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Error, Session, TlsClient};

/// How the connection is protected; Microsoft's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Not at all.
    None,
    /// TLS from the first byte (port 993).
    Ssl,
    /// STARTTLS (port 143).
    Tls,
}

impl FromStr for Security {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "ssl" => Ok(Self::Ssl),
            "tls" => Ok(Self::Tls),
            _ => Err("security is none, ssl or tls"),
        }
    }
}

/// Whose certificates are good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Those that the operating system trusts.
    System,
    /// Those in a PEM file, and no others.
    CaFile(PathBuf),
    /// Any: an operator's own decision for one endpoint.
    Off,
}

/// Where a server is and how it is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS or not.
    pub security: Security,
    /// Whose certificates are good.
    pub trust: Trust,
}

/// Limits of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long the server may owe us something without a byte coming or going.
    pub idle: Duration,
    /// The longest line that is taken from it, in bytes.
    pub max_line: usize,
    /// Literals up to this many bytes are kept in [`crate::response::Fetched`]; larger ones are streamed.
    pub max_inline: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), max_line: 16 << 20, max_inline: 256 << 10 }
    }
}

/// Connects: TCP, TLS as asked, greeting, capabilities. `deadline` covers all of it.
pub async fn connect(server: &Server, tls: &TlsClient, deadline: Duration) -> Result<Session, Error> {
    let _ = (server, tls, deadline);
    todo!()
}

/// A session over a stream that is already there: greeting and capabilities are read. For tests and relays.
pub async fn wrap<S>(io: S, name: &str, limits: Limits) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let _ = (io, name, limits);
    todo!()
}
