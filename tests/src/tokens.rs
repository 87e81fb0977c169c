//! A token endpoint with the request and reply forms of Microsoft Entra: client credentials by secret or by signed
//! assertion, tokens as RS256 JWTs that the target trusts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::certs::Leaf;
use crate::fault::locked;
use crate::place::loopback;

/// Tenant of every stand.
pub const TENANT: &str = "contoso.onmicrosoft.com";
/// Registered application.
pub const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
/// Its secret.
pub const CLIENT_SECRET: &str = "s3cret~Value.with-odd+chars/and=more";
/// The scope that app-only IMAP asks for.
pub const SCOPE: &str = "https://outlook.office365.com/.default";
const AUDIENCE: &str = "https://outlook.office365.com";

/// What the target needs to verify tokens.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// PEM public key.
    pub public_key_file: PathBuf,
    /// `kid` of the tokens.
    pub key_id: String,
    /// `iss` of the tokens.
    pub issuer: String,
}

/// Key and certificate of the registered application, for assertions.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// PEM certificate.
    pub certificate_file: PathBuf,
    /// PEM key.
    pub private_key_file: PathBuf,
    public_key_file: PathBuf,
}

struct Signer {
    key: EncodingKey,
    trusted: Trusted,
    lifetime: AtomicU64,
    issued: AtomicU64,
    refused: AtomicU64,
    client: ClientCertificate,
    token_url: Mutex<String>,
}

/// The running endpoint. Dropped, it stops.
pub struct Endpoint {
    signer: Arc<Signer>,
    tls: Arc<rustls::ServerConfig>,
    address: SocketAddr,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Endpoint {
    /// Makes keys in `dir` and serves HTTPS at a free port.
    pub async fn start(dir: &Path, leaf: &Leaf) -> anyhow::Result<Self> {
        let (private, public) = rsa_pair(dir, "signing")?;
        let (client_private, client_public) = rsa_pair(dir, "client")?;
        let certificate_file = dir.join("client.pem");
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-days",
            "30",
            "-subj",
            "/CN=mailferry",
            "-key",
            &text(&client_private),
            "-out",
            &text(&certificate_file),
        ])?;
        let listener = TcpListener::bind(loopback(0)).await?;
        let address = listener.local_addr()?;
        let signer = Signer {
            key: EncodingKey::from_rsa_pem(&std::fs::read(&private)?)?,
            trusted: Trusted {
                public_key_file: public,
                key_id: "harness-1".to_owned(),
                issuer: format!("https://sts.windows.net/{TENANT}/"),
            },
            lifetime: AtomicU64::new(3600),
            issued: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            client: ClientCertificate {
                certificate_file,
                private_key_file: client_private,
                public_key_file: client_public,
            },
            token_url: Mutex::new(format!("https://localhost:{}/{TENANT}/oauth2/v2.0/token", address.port())),
        };
        let endpoint =
            Self { signer: Arc::new(signer), tls: leaf.server()?, address, serving: Mutex::new(None) };
        endpoint.serve(listener);
        Ok(endpoint)
    }

    fn serve(&self, listener: TcpListener) {
        let task = tokio::spawn(serve(listener, Arc::clone(&self.tls), Arc::clone(&self.signer)));
        *locked(&self.serving) = Some(task);
    }

    /// The token URL for the configuration.
    pub fn url(&self) -> String {
        locked(&self.signer.token_url).clone()
    }

    /// What the target must trust.
    pub fn trusted(&self) -> &Trusted {
        &self.signer.trusted
    }

    /// The application's certificate.
    pub fn client_certificate(&self) -> &ClientCertificate {
        &self.signer.client
    }

    /// How long tokens live from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.signer.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Tokens handed out so far.
    pub fn issued(&self) -> u64 {
        self.signer.issued.load(Ordering::Relaxed)
    }

    /// Requests refused so far.
    pub fn refused(&self) -> u64 {
        self.signer.refused.load(Ordering::Relaxed)
    }

    /// Refuses connections from now on.
    pub async fn go_down(&self) {
        let serving = locked(&self.serving).take();
        if let Some(task) = serving {
            task.abort();
            // Aborted on purpose.
            let _ = task.await;
        }
    }

    /// Serves again at the same address.
    pub async fn come_back(&self) -> anyhow::Result<()> {
        if locked(&self.serving).is_none() {
            self.serve(TcpListener::bind(self.address).await.context("token port taken")?);
        }
        Ok(())
    }

    /// A token as a client would get it, for readers that are not under test.
    pub fn token(&self) -> anyhow::Result<String> {
        self.signer.sign(CLIENT_ID)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(task) = locked(&self.serving).take() {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, signer: Arc<Signer>) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (acceptor, signer) = (acceptor.clone(), Arc::clone(&signer));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| {
                        let signer = Arc::clone(&signer);
                        async move { Ok::<_, Infallible>(signer.answer(request).await) }
                    });
                    // A broken client connection concerns nobody but that client.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        }
    }
}

/// Why a request was refused: Entra's code, its number and text.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    number: u32,
    text: String,
}

impl Signer {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.grant(request).await {
            Ok(value) => {
                self.issued.fetch_add(1, Ordering::Relaxed);
                reply(StatusCode::OK, &value)
            }
            Err(refusal) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let description = format!(
                    "AADSTS{}: {} Trace ID: 00000000-0000-0000-0000-000000000000",
                    refusal.number, refusal.text
                );
                let value = json!({
                    "error": refusal.error,
                    "error_description": description,
                    "error_codes": [refusal.number],
                    "trace_id": "00000000-0000-0000-0000-000000000000",
                    "correlation_id": "00000000-0000-0000-0000-000000000000",
                });
                reply(refusal.status, &value)
            }
        }
    }

    async fn grant(&self, request: Request<Incoming>) -> Result<Value, Refusal> {
        if request.method() != Method::POST || !request.uri().path().ends_with("/oauth2/v2.0/token") {
            return Err(refusal("invalid_request", 900_144, "No such endpoint."));
        }
        if !request.uri().path().starts_with(&format!("/{TENANT}/")) {
            return Err(refusal("invalid_request", 90_002, "Tenant not found."));
        }
        let body = Limited::new(request.into_body(), 64 * 1024)
            .collect()
            .await
            .map_err(|_| refusal("invalid_request", 900_144, "The request body is unreadable."))?;
        let form = form(&body.to_bytes());
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if field("grant_type") != "client_credentials" {
            return Err(refusal("unsupported_grant_type", 70_003, "The grant type is not supported."));
        }
        if field("scope") != SCOPE {
            return Err(refusal("invalid_scope", 70_011, "The provided value for scope is not valid."));
        }
        if field("client_id") != CLIENT_ID {
            return Err(refusal(
                "unauthorized_client",
                700_016,
                "Application was not found in the directory.",
            ));
        }
        match (form.get("client_secret"), form.get("client_assertion")) {
            (Some(secret), None) if secret == CLIENT_SECRET => {}
            (Some(_), None) => return Err(refused(7_000_215, "Invalid client secret provided.")),
            (None, Some(assertion)) => {
                if field("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                {
                    return Err(refusal("invalid_request", 900_144, "client_assertion_type is wrong."));
                }
                self.verify(assertion)
                    .map_err(|error| refused(700_027, &format!("Client assertion failed: {error:#}.")))?;
            }
            _ => return Err(refused(7_000_218, "client_assertion or client_secret is needed.")),
        }
        let lifetime = self.lifetime.load(Ordering::Relaxed);
        let token = self.sign(CLIENT_ID).map_err(|_| refused(90_033, "A transient error has occurred."))?;
        Ok(json!({
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": token,
        }))
    }

    fn sign(&self, app: &str) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let lifetime = self.lifetime.load(Ordering::Relaxed);
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.trusted.key_id.clone());
        let claims = json!({
            "aud": AUDIENCE,
            "iss": self.trusted.issuer,
            "iat": now,
            "nbf": now.saturating_sub(5),
            "exp": now + lifetime,
            "appid": app,
            "idtyp": "app",
            "roles": ["IMAP.AccessAsApp"],
            "sub": "99999999-8888-7777-6666-555555555555",
            "tid": TENANT,
            "ver": "1.0",
        });
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }

    fn verify(&self, assertion: &str) -> anyhow::Result<()> {
        let header = jsonwebtoken::decode_header(assertion)?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::PS256) {
            bail!("algorithm {:?}", header.alg);
        }
        let text = assertion.split('.').next().unwrap_or_default();
        let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text)?;
        let raw: Value = serde_json::from_slice(&raw)?;
        if raw.get("x5t").is_none() && raw.get("x5t#S256").is_none() {
            bail!("no thumbprint in the header");
        }
        let key = DecodingKey::from_rsa_pem(&std::fs::read(&self.client.public_key_file)?)?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[locked(&self.token_url).clone()]);
        validation.set_issuer(&[CLIENT_ID]);
        validation.sub = Some(CLIENT_ID.to_owned());
        validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
        let claims = jsonwebtoken::decode::<Value>(assertion, &key, &validation)?.claims;
        if claims.get("jti").is_none() {
            bail!("no jti");
        }
        Ok(())
    }
}

fn refusal(error: &'static str, number: u32, text: &str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, error, number, text: text.to_owned() }
}

fn refused(number: u32, text: &str) -> Refusal {
    Refusal { status: StatusCode::UNAUTHORIZED, error: "invalid_client", number, text: text.to_owned() }
}

fn reply(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

/// `application/x-www-form-urlencoded`.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                let hex = std::str::from_utf8(&hex).unwrap_or_default();
                bytes.extend(u8::from_str_radix(hex, 16));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn rsa_pair(dir: &Path, stem: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (private, public) = (dir.join(format!("{stem}-private.pem")), dir.join(format!("{stem}-public.pem")));
    openssl(&[
        "genpkey",
        "-quiet",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        &text(&private),
    ])?;
    openssl(&["pkey", "-in", &text(&private), "-pubout", "-out", &text(&public)])?;
    Ok((private, public))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn openssl(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(arguments).output().context("openssl")?;
    if !output.status.success() {
        bail!("openssl {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let form = form(b"a=x%2By+z&scope=https%3A%2F%2Fh%2F.default");
        assert_eq!(form["a"], "x+y z");
        assert_eq!(form["scope"], "https://h/.default");
    }
}
