//! Certificates: one authority for a stand, and leaves for `localhost` and 127.0.0.1 that it signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate and its key as files that servers read.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// PEM chain: the leaf, then the authority.
    pub certificate_file: PathBuf,
    /// PEM key.
    pub private_key_file: PathBuf,
}

/// The stand's certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: PathBuf,
    /// What clients and `mailferry` trust.
    pub ca_file: PathBuf,
}

impl Authority {
    /// A new authority whose files lie in `dir`.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Mailferry test authority");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let ca_file = dir.join("ca.pem");
        std::fs::write(&ca_file, &pem)?;
        Ok(Self { issuer: Issuer::new(params, key), pem, dir: dir.to_owned(), ca_file })
    }

    /// A leaf for `localhost`, 127.0.0.1 and `names`, written as `<stem>.pem` and `<stem>.key`.
    pub fn leaf(&self, stem: &str, names: &[&str]) -> anyhow::Result<Leaf> {
        let mut sans = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        sans.extend(names.iter().map(|name| (*name).to_owned()));
        let mut params = CertificateParams::new(sans)?;
        params.distinguished_name.push(DnType::CommonName, stem);
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let certificate_file = self.dir.join(format!("{stem}.pem"));
        let private_key_file = self.dir.join(format!("{stem}.key"));
        std::fs::write(&certificate_file, format!("{}{}", leaf.pem(), self.pem))?;
        std::fs::write(&private_key_file, key.serialize_pem())?;
        Ok(Leaf { certificate_file, private_key_file })
    }

    /// A TLS client that trusts this authority alone.
    pub fn client(&self) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

impl Leaf {
    /// A TLS server that shows this certificate.
    pub fn server(&self) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.certificate_file)
            .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
            .context("certificate")?;
        let key = PrivateKeyDer::from_pem_file(&self.private_key_file).context("key")?;
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
