//! What a proxy is made of, checked before anything listens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mailferry_imap::net::{Security, Server, TlsClient};
use mailferry_ledger::Vault;

use crate::Network;

/// Everything that a proxy needs to know.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where clients come in.
    pub listen: Vec<Listen>,
    /// Certificates for clients: chosen by the name that the client asks for, the first one where none fits.
    pub certificates: Vec<CertificateFiles>,
    /// The endpoint's name: only mailboxes that are read from it are anybody's here.
    pub endpoint: String,
    /// The source that clients are relayed to.
    pub source: Server,
    /// Trust and resumption for the source.
    pub tls: TlsClient,
    /// How the source learns the client's address.
    pub tell_source: TellSource,
    /// Bounds.
    pub limits: ProxyLimits,
    /// Seals what is learnt; without it nothing is.
    pub vault: Option<Vault>,
}

/// One listening address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS from the first byte (`Ssl`), STARTTLS (`Tls`), or none, which is only for loopback addresses.
    pub security: Security,
    /// Balancers: a connection from there must begin with a PROXY header, and nobody else's may.
    pub proxy_protocol_from: Vec<Network>,
}

impl Listen {
    /// For clients that connect by themselves.
    pub fn new(address: SocketAddr, security: Security) -> Self {
        Self { address, security, proxy_protocol_from: Vec::new() }
    }
}

/// How the source learns the client's address.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TellSource {
    /// Not at all: it sees the proxy's.
    #[default]
    Nothing,
    /// By a PROXY header (version 2) before anything else.
    ProxyProtocol,
    /// By `ID` (RFC 2971) with Dovecot's fields, where the source announces `ID`.
    Id,
}

/// One certificate with its chain, and its key, both PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate first, then its issuers.
    pub certificate_file: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub private_key_file: PathBuf,
}

/// Bounds of a proxy. None of them touches a session that is logged in and behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyLimits {
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address (an office behind one address has many).
    pub max_connections_per_address: usize,
    /// Sessions at once that are logged in by one name.
    pub max_connections_per_login: usize,
    /// Refused logins that one address may have within [`login_window`](Self::login_window).
    pub max_refused_logins: u32,
    /// See [`max_refused_logins`](Self::max_refused_logins).
    pub login_window: Duration,
    /// Refused logins of one name, from wherever, within [`guess_window`](Self::guess_window) before answers are delayed.
    pub guesses_without_delay: u32,
    /// See [`guesses_without_delay`](Self::guesses_without_delay).
    pub guess_window: Duration,
    /// The longest that an answer to a login is delayed.
    pub max_login_delay: Duration,
    /// How long a PROXY header with a TLS handshake, and separately the way to the source's greeting, may take.
    pub handshake: Duration,
    /// How long a client may take from the greeting to its login (RFC 9051 section 5.4 leaves it open).
    pub login: Duration,
    /// How long a client that is logged in may leave unread what waits for it, without taking a byte.
    pub write: Duration,
    /// How long a half-closed session may go on without a byte.
    pub linger: Duration,
    /// At shutdown: how long sessions may take to come to rest before they are cut.
    pub drain: Duration,
    /// How often certificate files are looked at.
    pub certificate_look: Duration,
    /// The most bytes that wait for one session's tap; beyond it the tap goes blind.
    pub tap_bytes: usize,
    /// The same for all sessions together.
    pub tap_bytes_total: usize,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_connections_per_address: 2_000,
            max_connections_per_login: 500,
            max_refused_logins: 60,
            login_window: Duration::from_secs(60),
            guesses_without_delay: 20,
            guess_window: Duration::from_secs(600),
            max_login_delay: Duration::from_secs(15),
            handshake: Duration::from_secs(20),
            login: Duration::from_secs(180),
            write: Duration::from_secs(1800),
            linger: Duration::from_secs(60),
            drain: Duration::from_secs(20),
            certificate_look: Duration::from_secs(10),
            tap_bytes: 8 << 20,
            tap_bytes_total: 32 << 20,
        }
    }
}

/// Why a proxy could not be set up. Each says where.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No address to listen on.
    #[error("the proxy has no address to listen on")]
    NothingToListenOn,
    /// An address that needs a certificate, and none is configured.
    #[error("{0} wants TLS, but no certificate is configured")]
    NoCertificate(SocketAddr),
    /// Plain text beyond loopback.
    #[error("{0}: security none is only for loopback addresses")]
    PlainBeyondLoopback(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key that cannot be read.
    #[error("{path}: {reason}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}
