//! What our few HTTP requests have in common: whom they trust, where secrets may go, how their errors read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Makes them, with or without TLS.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A file with certificates to trust that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .file.display())]
pub(crate) struct CaFileError {
    pub(crate) file: PathBuf,
    pub(crate) why: String,
}

/// A secret travels in the clear to this machine itself only (test stands).
pub(crate) fn safe_uri(url: &str) -> Option<(Uri, String)> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.to_owned();
    let is_own = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") => Some((uri, host)),
        Some("http") if is_own => Some((uri, host)),
        _ => None,
    }
}

pub(crate) fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, CaFileError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let fail = |why: String| CaFileError { file: file.to_owned(), why };
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| fail(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots.add(certificate).map_err(|error| fail(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fail("holds no PEM certificate".into()));
            }
        }
        None => {
            // What does not load is not trusted; an empty store fails at the handshake with a clear error.
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CaFileError {
            file: ca_file.unwrap_or(Path::new("")).to_owned(),
            why: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Requests are rare: a kept connection would only be found dead.
pub(crate) fn client(tls: ClientConfig) -> HttpClient {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

/// The whole chain of causes: hyper's first line alone says nothing.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_nowhere() {
        for (url, ok) in [
            ("https://login.microsoftonline.com/contoso/oauth2/v2.0/token", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://[::1]:8080/token", true),
            ("http://localhost/token", true),
            ("http://login.microsoftonline.com/x", false),
            ("http://127.0.0.1.evil.example/x", false),
            ("ftp://localhost/", false),
            ("login.microsoftonline.com", false),
            ("", false),
        ] {
            assert_eq!(safe_uri(url).is_some(), ok, "{url}");
        }
    }
}
