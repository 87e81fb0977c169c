//! The signed assertion by which a certificate replaces a client secret (RFC 7523, as Entra wants it).
//!
//! Signed by ring through rustls, so no second RSA implementation gets near the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::sync::Arc;

use super::OauthError;

/// How long an assertion is good for. Microsoft: five to ten minutes at most.
const LIFE_SECONDS: i64 = 300;
/// How far another clock may be behind ours.
const SKEW_SECONDS: i64 = 60;

/// Why a certificate and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No certificate in the file.
    #[error("certificate_file holds no PEM certificate")]
    NoCertificate,
    /// No private key in the file.
    #[error("private_key_file holds no PEM private key")]
    NoKey,
    /// Entra takes RSA keys only, of 2,048 bits or more.
    #[error("private_key_file holds no RSA key that can be used")]
    NotRsa,
    /// They are not a pair.
    #[error("private_key_file is not the key of certificate_file")]
    NotAPair,
}

/// A certificate's key, ready to sign.
pub(super) struct Key {
    signer: Arc<dyn SigningKey>,
    thumbprint: String,
}

pub(super) struct Claims<'a> {
    pub(super) audience: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
    /// Never used twice.
    pub(super) id: String,
}

impl Key {
    pub(super) fn new(certificate: &[u8], private_key: &SecretString) -> Result<Self, KeyError> {
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(|_| KeyError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(private_key.expose_secret().as_bytes())
            .map_err(|_| KeyError::NoKey)?;
        let signer = ring::sign::any_supported_type(&key).map_err(|_| KeyError::NotRsa)?;
        if signer.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
            return Err(KeyError::NotRsa);
        }
        let thumbprint = URL_SAFE_NO_PAD.encode(sha256(&certificate));
        CertifiedKey::new(vec![certificate], Arc::clone(&signer))
            .keys_match()
            .map_err(|_| KeyError::NotAPair)?;
        Ok(Self { signer, thumbprint })
    }

    /// The assertion in compact form.
    pub(super) fn sign(&self, claims: &Claims<'_>) -> Result<String, OauthError> {
        let now = claims.now.as_second();
        let header = json!({ "alg": "RS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let payload = json!({
            "aud": claims.audience,
            "iss": claims.client_id,
            "sub": claims.client_id,
            "jti": claims.id,
            "iat": now,
            "nbf": now - SKEW_SECONDS,
            "exp": now + LIFE_SECONDS,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(payload));
        let failed = |why: &str| OauthError::Signing { why: why.to_owned() };
        let signer = self
            .signer
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or_else(|| failed("not an RSA key"))?;
        let signature = signer.sign(message.as_bytes()).map_err(|error| failed(&error.to_string()))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// 128 random bits as text.
pub(super) fn random_id() -> Result<String, OauthError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| OauthError::Signing { why: error.to_string() })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn sha256(data: &[u8]) -> Vec<u8> {
    // The hash of a suite that rustls always has: no further dependency for one digest at start.
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    suite.tls13().map(|suite| suite.common.hash_provider.hash(data).as_ref().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }
}
