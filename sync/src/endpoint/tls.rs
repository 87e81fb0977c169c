//! A TLS handshake that remembers the certificate, also of a server that it turns down.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mailferry_imap::net::Trust;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, CertificateFacts};

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlsFacts {
    /// `TLSv1_3` …
    pub version: String,
    /// The cipher suite.
    pub cipher: String,
    /// Whether the certificate was verified.
    pub verified: bool,
    /// What the certificate says; `None` where it is not understood.
    pub certificate: Option<CertificateFacts>,
}

pub(super) enum Failure {
    Certificate {
        why: String,
        certificate: Option<CertificateFacts>,
    },
    /// The server spoke before TLS did.
    PlainText,
    Other(String),
}

/// Trust, loaded once.
pub(super) struct Client {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Client {
    pub(super) fn new(trust: &Trust) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        match trust {
            Trust::Off => return Ok(Self { verifier: None, provider }),
            Trust::System => {
                let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Trust::CaFile(file) => {
                let fail = |why: String| format!("{}: {why}", file.display());
                let found = CertificateDer::pem_file_iter(file).map_err(|error| fail(error.to_string()))?;
                for one in found {
                    let one = one.map_err(|error| fail(error.to_string()))?;
                    roots.add(one).map_err(|error| fail(error.to_string()))?;
                }
            }
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| format!("no certificates to trust: {error}"))?;
        Ok(Self { verifier: Some(verifier), provider })
    }

    pub(super) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Other(format!("{host:?} is no name that a certificate can have")))?;
        let witness = Arc::new(Witness {
            inner: self.verifier.clone(),
            provider: self.provider.clone(),
            seen: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Other(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        let outcome = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let certificate = witness.certificate();
        match outcome {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let facts = TlsFacts {
                    version: connection
                        .protocol_version()
                        .map(|version| format!("{version:?}"))
                        .unwrap_or_default(),
                    cipher: connection
                        .negotiated_cipher_suite()
                        .map(|suite| format!("{:?}", suite.suite()))
                        .unwrap_or_default(),
                    verified: self.verifier.is_some(),
                    certificate,
                };
                Ok((stream, facts))
            }
            Err(error) => Err(failure(&error, certificate)),
        }
    }
}

fn failure(error: &io::Error, certificate: Option<CertificateFacts>) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Failure::Certificate { why: why.to_string(), certificate }
        }
        Some(rustls::Error::InvalidMessage(_)) => Failure::PlainText,
        Some(other) => Failure::Other(other.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::Other("the server ends the connection".into())
        }
        None => Failure::Other(error.to_string()),
    }
}

/// Whether somebody speaks TLS there, whoever it is.
pub(super) async fn answers(address: SocketAddr, deadline: Instant) -> bool {
    let client = Client { verifier: None, provider: Arc::new(ring::default_provider()) };
    let attempt = async {
        let stream = TcpStream::connect(address).await.ok()?;
        client.handshake("localhost", stream).await.ok()
    };
    matches!(timeout_at(deadline, attempt).await, Ok(Some(_)))
}

/// Looks at the certificate before it is judged.
#[derive(Debug)]
struct Witness {
    /// `None`: any certificate will do.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl Witness {
    fn certificate(&self) -> Option<CertificateFacts> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().and_then(|der| certificate::read(der))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        match &self.inner {
            Some(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
