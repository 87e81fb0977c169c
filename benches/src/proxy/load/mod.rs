//! The load: a client that does as little as it can, so that the servers have the processors.
//!
//! It speaks TLS 1.3 with one cipher, never resumes a session, and looks at no byte but the last lines of an answer.

pub(crate) mod bulk;
pub(crate) mod idle;
pub(crate) mod login;
pub(crate) mod paced;
mod session;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

pub(crate) use session::Session;

use crate::mail::Reader;
use crate::servers::Way;

/// The one cipher, by its name at OpenSSL.
pub(crate) const CIPHER: &str = "TLS_AES_256_GCM_SHA384";

/// How clients do TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    pub(crate) fn new(ca_file: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file)?)?;
        let provider = CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384],
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name: ServerName::try_from("localhost")? })
    }
}

/// Where sessions go and how.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) way: &'a Way,
    pub(crate) tls: &'a Tls,
}

impl At<'_> {
    /// A session of client number `client`, greeted.
    pub(crate) async fn connect(&self, client: usize) -> anyhow::Result<Session> {
        let socket = TcpSocket::new_v4()?;
        // Some clients to an address: limits for one address are not what is measured.
        let last = u8::try_from(client % 16)? + 1;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        let tcp = socket.connect(self.way.address).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(self.tls.config.clone());
        let stream = connector.connect(self.tls.name.clone(), tcp).await.context("TLS")?;
        Session::greeted(stream).await
    }

    /// The same, logged in.
    pub(crate) async fn log_in(&self, client: usize, reader: &Reader) -> anyhow::Result<Session> {
        let mut session = self.connect(client).await?;
        session.command(&format!("LOGIN {} \"{}\"", reader.login, reader.password)).await?;
        Ok(session)
    }
}

/// What was done in which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Done {
    pub(crate) fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }

    pub(crate) fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}
