use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::fault::Fault;

const CERTIFICATE: &[u8] = include_bytes!("testdata/certificate.pem");
const KEY: &str = include_str!("testdata/key.pem");
const PUBLIC: &[u8] = include_bytes!("testdata/public.pem");
const THUMBPRINT: &str = "vpihWFMiX-P7-j0Y9H27DnMsNjCpbw-ajqoMm44H-S8";

/// A token endpoint that answers each request with the next of these (the last one again and again) and keeps what
/// it was asked.
struct Endpoint {
    url: String,
    asked: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn start(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/contoso/oauth2/v2.0/token", listener.local_addr().unwrap());
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (kept, next) = (asked.clone(), AtomicUsize::new(0));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let body = request(&mut stream).await;
                kept.lock().unwrap().push(body);
                let index = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
                let (status, body) = &answers[index];
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn tokens(&self, credential: Credential) -> Tokens {
        Tokens::new(Config { token_url: self.url.clone(), ..config(credential) }).unwrap()
    }
}

async fn request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                assert!(head.starts_with("POST /contoso/oauth2/v2.0/token HTTP/1.1"), "{head}");
                return body.to_owned();
            }
        }
    }
}

fn config(credential: Credential) -> Config {
    Config {
        token_url: token_url("contoso.onmicrosoft.com"),
        scope: SCOPE.into(),
        client_id: "the-app".into(),
        credential,
        ca_file: None,
    }
}

fn secret() -> Credential {
    Credential::Secret("p&ss w0rd".to_owned().into())
}

fn certificate(key: &str) -> Credential {
    Credential::Certificate { certificate: CERTIFICATE.to_vec(), private_key: key.to_owned().into() }
}

fn grant(token: &str, seconds: u64) -> (u16, String) {
    (200, format!(r#"{{"token_type":"Bearer","expires_in":{seconds},"access_token":"{token}"}}"#))
}

fn refusal() -> (u16, String) {
    let body = r#"{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys for app 'the-app' are expired. Trace ID: 1","error_codes":[7000222]}"#;
    (401, body.into())
}

async fn ask(tokens: &Tokens) -> String {
    match tokens.access_token().await {
        Ok(token) => token.secret.expose_secret().to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test]
async fn a_client_secret_is_sent_in_entras_form_and_the_token_is_kept() {
    let endpoint = Endpoint::start(vec![grant("t1", 3600)]).await;
    let tokens = endpoint.tokens(secret());
    assert_eq!(ask(&tokens).await, "t1");
    assert_eq!(ask(&tokens).await, "t1");
    assert_eq!(
        endpoint.asked(),
        ["grant_type=client_credentials&client_id=the-app\
          &scope=https%3A%2F%2Foutlook.office365.com%2F.default&client_secret=p%26ss%20w0rd"]
    );
}

#[tokio::test]
async fn many_who_wait_are_one_request() {
    let endpoint = Endpoint::start(vec![grant("t1", 3600)]).await;
    let tokens = endpoint.tokens(secret());
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let tokens = tokens.clone();
        waiting.spawn(async move { ask(&tokens).await });
    }
    assert!(waiting.join_all().await.iter().all(|token| token == "t1"));
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_that_its_public_key_verifies() {
    let endpoint = Endpoint::start(vec![grant("t1", 3600)]).await;
    assert_eq!(ask(&endpoint.tokens(certificate(KEY))).await, "t1");
    let asked = endpoint.asked().remove(0);
    let (form, assertion) = asked.split_once("&client_assertion=").unwrap();
    assert_eq!(
        form,
        "grant_type=client_credentials&client_id=the-app&scope=https%3A%2F%2Foutlook.office365.com%2F.default\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[&endpoint.url]);
    rules.set_issuer(&["the-app"]);
    let key = DecodingKey::from_rsa_pem(PUBLIC).unwrap();
    let token = jsonwebtoken::decode::<serde_json::Value>(assertion, &key, &rules).unwrap();
    let claims = token.claims;
    assert_eq!(claims["sub"], "the-app");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(), 360);
    assert!(claims["jti"].as_str().unwrap().len() >= 22);
    // openssl x509 -outform der | openssl dgst -sha256 -binary | base64url
    let header = String::from_utf8(base64_url(assertion.split('.').next().unwrap())).unwrap();
    assert_eq!(header, format!(r#"{{"alg":"RS256","typ":"JWT","x5t#S256":"{THUMBPRINT}"}}"#));
}

fn base64_url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[tokio::test]
async fn a_refusal_is_clear_and_not_repeated_for_a_moment() {
    let endpoint = Endpoint::start(vec![refusal()]).await;
    let tokens = endpoint.tokens(secret());
    for _ in 0..3 {
        let error = tokens.access_token().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token endpoint refuses: AADSTS7000222: The provided client secret keys for app 'the-app' are expired."
        );
        assert_eq!(error.fault(), Fault::Usage);
        assert!(error.next().contains("create a new one"));
    }
    assert_eq!(endpoint.asked().len(), 1);
    let seen = TokenSource::token(&tokens).await.unwrap_err();
    assert!(matches!(&seen, TokenError::Refused(words) if words.contains("create a new one")), "{seen}");
}

#[tokio::test]
async fn a_discarded_token_is_asked_for_anew() {
    let endpoint = Endpoint::start(vec![grant("t1", 3600), grant("t2", 3600)]).await;
    let tokens = endpoint.tokens(secret());
    let first = tokens.access_token().await.unwrap();
    tokens.discard(&first);
    assert_eq!(ask(&tokens).await, "t2");
    // Said late, by somebody who still held the old one.
    tokens.discard(&first);
    assert_eq!(ask(&tokens).await, "t2");
    assert_eq!(endpoint.asked().len(), 2);
}

/// The clock is ours: what is due in an hour is due at once.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_is_renewed_when_three_quarters_of_its_life_are_over() {
    let endpoint = Endpoint::start(vec![grant("t1", 3600), grant("t2", 3600)]).await;
    let tokens = endpoint.tokens(secret());
    assert_eq!(ask(&tokens).await, "t1");
    later(2690).await;
    assert_eq!(ask(&tokens).await, "t1");
    later(20).await;
    assert_eq!(ask(&tokens).await, "t2");
}

#[tokio::test]
async fn an_old_token_outlives_a_failed_renewal_until_shortly_before_its_end() {
    let busy = (503, String::new());
    let endpoint = Endpoint::start(vec![grant("t1", 3600), busy]).await;
    let tokens = endpoint.tokens(secret());
    assert_eq!(ask(&tokens).await, "t1");
    later(2800).await;
    assert_eq!(ask(&tokens).await, "t1");
    assert_eq!(ask(&tokens).await, "t1");
    assert_eq!(endpoint.asked().len(), 2);
    later(780).await;
    assert_eq!(ask(&tokens).await, "error: the token endpoint answers 503: no further words");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let tokens =
        Tokens::new(Config { token_url: format!("http://127.0.0.1:{port}/token"), ..config(secret()) })
            .unwrap();
    let error = tokens.access_token().await.unwrap_err();
    assert!(matches!(&error, OauthError::Unreachable { host, .. } if host == "127.0.0.1"), "{error}");
    assert_eq!(error.fault(), Fault::Target);
    assert!(error.is_passing());
}

#[test]
fn keys_that_cannot_work_are_refused_before_anything_is_sent() {
    let key = |certificate: &[u8], key: &str| {
        let credential =
            Credential::Certificate { certificate: certificate.to_vec(), private_key: key.to_owned().into() };
        match Tokens::new(config(credential)) {
            Err(ConfigError::Key(error)) => Some(error),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    assert_eq!(key(CERTIFICATE, KEY), None);
    assert_eq!(key(b"", KEY), Some(KeyError::NoCertificate));
    assert_eq!(key(CERTIFICATE, ""), Some(KeyError::NoKey));
    assert_eq!(key(CERTIFICATE, include_str!("testdata/ec.pem")), Some(KeyError::NotRsa));
    assert_eq!(key(CERTIFICATE, include_str!("testdata/other.pem")), Some(KeyError::NotAPair));
    assert!(matches!(
        Tokens::new(config(Credential::Secret(String::new().into()))),
        Err(ConfigError::EmptySecret)
    ));
    let missing = Config { ca_file: Some("/nowhere.pem".into()), ..config(secret()) };
    assert!(matches!(Tokens::new(missing), Err(ConfigError::CaFile { .. })));
}

#[test]
fn nothing_prints_a_secret() {
    let config = config(secret());
    assert!(!format!("{config:?}").contains("p&ss"));
    assert!(!format!("{:?}", certificate(KEY)).contains("PRIVATE"));
}
