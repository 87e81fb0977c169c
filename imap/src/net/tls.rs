//! TLS for the client side.

use super::Trust;

/// Trust and sessions to resume, shared by all connections of an endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsClient {}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of trusted certificates could not be read.
    #[error("{path}: {source}")]
    CaFile {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is no certificate to trust.
    #[error("no trusted certificates found {0}")]
    NoRoots(String),
    /// rustls refused.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl TlsClient {
    /// Reads the trusted certificates.
    pub fn new(trust: &Trust) -> Result<Self, TlsError> {
        let _ = trust;
        todo!()
    }
}
