//! One HTTPS POST to the token endpoint: bounded in time and size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::answer::Reply;
use super::{Config, ConfigError, OauthError};

/// For everything: connecting, TLS, request and answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// An answer is about 2 KB.
const MOST_BYTES: usize = 64 * 1024;
/// Longest wait that an endpoint can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub(super) struct Client {
    uri: Uri,
    host: String,
    inner: Legacy<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let (uri, host) =
            safe_uri(&config.token_url).ok_or_else(|| ConfigError::Url { url: config.token_url.clone() })?;
        let tls = tls(config.ca_file.as_deref())?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        // Tokens are asked for about once an hour: a kept connection would only be found dead.
        let inner = Legacy::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { uri, host, inner })
    }

    pub(super) async fn post(&self, form: &[(&str, &str)]) -> Result<Reply, OauthError> {
        let unreachable = |why: String| OauthError::Unreachable { host: self.host.clone(), why };
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(encoded(form))))
            .map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let response = self.inner.request(request).await.map_err(|error| chain(&error))?;
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            let body = body.map_err(|error| chain(error.as_ref()))?.to_bytes().to_vec();
            Ok(Reply { status, retry_after, body })
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(outcome) => outcome.map_err(unreachable),
            Err(_) => Err(unreachable(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }
}

/// A secret travels in the clear to this machine itself only (test stands).
fn safe_uri(url: &str) -> Option<(Uri, String)> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.to_owned();
    let is_own = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") => Some((uri, host)),
        Some("http") if is_own => Some((uri, host)),
        _ => None,
    }
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let fail = |why: String| ConfigError::CaFile { file: file.to_owned(), why };
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
        .map_err(|error| ConfigError::CaFile {
            file: ca_file.unwrap_or(Path::new("")).to_owned(),
            why: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn encoded(form: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in form {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte))
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

/// The whole chain of causes: hyper's first line alone says nothing.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
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

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encoded(&[("a", "b c&d=é"), ("e", "~")]), "a=b%20c%26d%3D%C3%A9&e=~");
    }
}
