//! The certificates that clients are shown: chosen by name, exchanged without dropping anybody.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsAcceptor;

use crate::{CertificateFiles, ProxyError};

/// The certificates in use.
#[derive(Debug)]
pub(crate) struct Certificates {
    keys: ArcSwap<Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Reads them all, or says which one is bad.
    pub(crate) fn read(files: &[CertificateFiles]) -> Result<Arc<Self>, ProxyError> {
        Ok(Arc::new(Self { keys: ArcSwap::from_pointee(read_all(files)?) }))
    }

    /// Reads them again; on an error the old ones stay.
    pub(crate) fn reload(&self, files: &[CertificateFiles]) -> Result<(), ProxyError> {
        self.keys.store(Arc::new(read_all(files)?));
        Ok(())
    }

    /// An acceptor that always shows the certificates in use. TLS 1.2 and 1.3, sessions resumed by tickets.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, rustls::Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys.load();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fitting = name.and_then(|name| keys.iter().find(|key| covers(key, &name)));
        fitting.or_else(|| keys.first()).cloned()
    }
}

fn covers(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.cert.first().map(ParsedCertificate::try_from);
    matches!(parsed, Some(Ok(certificate)) if verify_server_name(&certificate, name).is_ok())
}

fn read_all(files: &[CertificateFiles]) -> Result<Vec<Arc<CertifiedKey>>, ProxyError> {
    files.iter().map(|files| read_one(files).map(Arc::new)).collect()
}

fn read_one(files: &CertificateFiles) -> Result<CertifiedKey, ProxyError> {
    let bad = |path: &Path, reason: String| ProxyError::Certificate { path: path.to_owned(), reason };
    let path = &files.certificate_file;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(path, format!("no certificate read: {error}")))?;
    if chain.is_empty() {
        return Err(bad(path, "holds no certificate".to_owned()));
    }
    let path = &files.private_key_file;
    let key =
        PrivateKeyDer::from_pem_file(path).map_err(|error| bad(path, format!("no key read: {error}")))?;
    let key = ring::sign::any_supported_type(&key).map_err(|error| bad(path, error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(bad(path, format!("does not belong to the certificate: {error}"))),
    }
}
