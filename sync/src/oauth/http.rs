//! One HTTPS POST to the token endpoint: bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Uri};

use super::answer::Reply;
use super::{Config, ConfigError, OauthError};
use crate::web::{self, HttpClient};

/// For everything: connecting, TLS, request and answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// An answer is about 2 KB.
const MOST_BYTES: usize = 64 * 1024;
/// Longest wait that an endpoint can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub(super) struct Client {
    uri: Uri,
    host: String,
    inner: HttpClient,
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let (uri, host) = web::safe_uri(&config.token_url)
            .ok_or_else(|| ConfigError::Url { url: config.token_url.clone() })?;
        let tls = web::tls(config.ca_file.as_deref())
            .map_err(|web::CaFileError { file, why }| ConfigError::CaFile { file, why })?;
        Ok(Self { uri, host, inner: web::client(tls) })
    }

    pub(super) async fn post(&self, form: &[(&str, &str)]) -> Result<Reply, OauthError> {
        let unreachable = |why: String| OauthError::Unreachable { host: self.host.clone(), why };
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(encoded(form))))
            .map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let response = self.inner.request(request).await.map_err(|error| web::chain(&error))?;
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            let body = body.map_err(|error| web::chain(error.as_ref()))?.to_bytes().to_vec();
            Ok(Reply { status, retry_after, body })
        };
        match tokio::time::timeout(DEADLINE, exchange).await {
            Ok(outcome) => outcome.map_err(unreachable),
            Err(_) => Err(unreachable(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encoded(&[("a", "b c&d=é"), ("e", "~")]), "a=b%20c%26d%3D%C3%A9&e=~");
    }
}
