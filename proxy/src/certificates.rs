//! The certificates that clients are shown: chosen by name, exchanged without dropping anybody.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::{CertificateFiles, ProxyError};

/// The certificates in use.
#[derive(Debug)]
pub(crate) struct Certificates {
    keys: ArcSwap<Vec<Arc<CertifiedKey>>>,
    watched: Mutex<Watched>,
}

/// The files, and how they stood.
#[derive(Debug)]
struct Watched {
    files: Vec<CertificateFiles>,
    /// When they were last read, be it in vain.
    read: Vec<Option<Stamp>>,
    /// At the last look.
    seen: Vec<Option<Stamp>>,
}

/// What changes when a file is written or another takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Certificates {
    /// Reads them all, or says which one is bad.
    pub(crate) fn read(files: &[CertificateFiles]) -> Result<Arc<Self>, ProxyError> {
        // First how they stand: what is written while they are read is seen at the next look.
        let watched = Mutex::new(Watched::new(files));
        Ok(Arc::new(Self { keys: ArcSwap::from_pointee(read_all(files)?), watched }))
    }

    /// Reads these; on an error the old ones stay.
    pub(crate) fn reload(&self, files: &[CertificateFiles]) -> Result<(), ProxyError> {
        let watched = Watched::new(files);
        self.keys.store(Arc::new(read_all(files)?));
        *self.watched() = watched;
        Ok(())
    }

    /// Looks at the files, and reads them when they changed and have kept still since the last look: who renews a
    /// certificate writes two files. What does not fit together is told once and waited out with the old ones.
    pub(crate) fn look(&self) {
        let mut watched = self.watched();
        let now = stamps(&watched.files);
        let still = now == watched.seen;
        watched.seen = now;
        if !still || watched.seen == watched.read {
            return;
        }
        watched.read = watched.seen.clone();
        match read_all(&watched.files) {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                info!("Certificate files changed; they are taken in.");
            }
            Err(error) => {
                warn!(%error, "Certificate files changed and are not good; the old ones stay in use.")
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Watched {
    fn new(files: &[CertificateFiles]) -> Self {
        let now = stamps(files);
        Self { files: files.to_vec(), read: now.clone(), seen: now }
    }
}

/// How each file stands; `None` for one that is not there.
fn stamps(files: &[CertificateFiles]) -> Vec<Option<Stamp>> {
    let paths = files.iter().flat_map(|files| [&files.certificate_file, &files.private_key_file]);
    let stamp = |path| {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    };
    paths.map(stamp).collect()
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
