//! From a name to a session: TCP, TLS, greeting, capabilities.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::io::{BELOW_TLS, Stream};
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
    /// How long the server may owe us something, or take nothing, without a byte coming or going.
    pub idle: Duration,
    /// The longest response without its literals that is taken from it, in bytes. Only what came is held.
    pub max_line: usize,
    /// Literals up to this many bytes in one response are kept in [`crate::response::Fetched`]; what goes beyond is
    /// streamed.
    pub max_inline: usize,
}

impl Default for Limits {
    /// 60 s, 16 MiB (a SEARCH of a million messages), 256 KiB.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), max_line: 16 << 20, max_inline: 256 << 10 }
    }
}

/// Connects with [`Limits::default`]: TCP, TLS as asked, greeting, capabilities. `deadline` covers all of it.
///
/// # Errors
/// [`Error::Connect`], [`Error::Tls`], [`Error::Timeout`], [`Error::Bye`] where the greeting is one,
/// [`Error::Unsupported`] where STARTTLS was asked for and is not offered.
pub async fn connect(server: &Server, tls: &TlsClient, deadline: Duration) -> Result<Session, Error> {
    connect_with(server, tls, deadline, Limits::default()).await
}

/// The same with other limits.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(
    server: &Server,
    tls: &TlsClient,
    deadline: Duration,
    limits: Limits,
) -> Result<Session, Error> {
    // An IPv6 address needs brackets before a port.
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    let name: Arc<str> = format!("{host}:{}", server.port).into();
    match timeout(deadline, open(server, tls, Arc::clone(&name), limits)).await {
        Ok(session) => session,
        Err(_) => Err(Error::Timeout { server: name, doing: "connecting" }),
    }
}

/// A session over a stream that is already there: greeting and capabilities are read. For tests and relays; `name`
/// stands in errors.
///
/// # Errors
/// As [`connect`], but those of TCP and TLS.
pub async fn wrap<S>(io: S, name: &str, limits: Limits) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut session = Session::greeted(Stream::Other(Box::new(io)), name.into(), limits).await?;
    session.learn_capabilities().await?;
    Ok(session)
}

async fn open(server: &Server, tls: &TlsClient, name: Arc<str>, limits: Limits) -> Result<Session, Error> {
    let failed = |source| Error::Connect { server: Arc::clone(&name), source: Arc::new(source) };
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    // A peer that vanished without a word is found while nothing is owed, too.
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive).map_err(failed)?;

    let stream = match server.security {
        Security::None => Stream::Tcp(tcp),
        Security::Ssl => handshake(tcp, server, tls, &name).await?,
        Security::Tls => {
            let mut session = Session::greeted(Stream::Tcp(tcp), Arc::clone(&name), limits).await?;
            session.start_tls().await?;
            let Some(Stream::Tcp(tcp)) = session.into_stream() else {
                return Err(Error::Misuse { server: name, what: "STARTTLS on no TCP connection" });
            };
            let stream = handshake(tcp, server, tls, &name).await?;
            // The server greets no second time, and nothing that it said in the clear counts.
            let mut session = Session::ungreeted(stream, name, limits);
            session.learn_capabilities().await?;
            return Ok(session);
        }
    };
    let mut session = Session::greeted(stream, name, limits).await?;
    session.learn_capabilities().await?;
    Ok(session)
}

async fn handshake(
    tcp: TcpStream,
    server: &Server,
    tls: &TlsClient,
    name: &Arc<str>,
) -> Result<Stream, Error> {
    let failed = |reason: String| Error::Tls { server: Arc::clone(name), reason };
    let host = ServerName::try_from(server.host.clone()).map_err(|error| failed(error.to_string()))?;
    let tcp = BufReader::with_capacity(BELOW_TLS, tcp);
    let stream = TlsConnector::from(Arc::clone(&tls.config))
        .connect(host, tcp)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let (_, connection) = stream.get_ref();
    debug!(server = %name, version = ?connection.protocol_version(), kind = ?connection.handshake_kind(), "TLS agreed.");
    Ok(Stream::Tls(Box::new(stream)))
}
