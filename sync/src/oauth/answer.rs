//! What a token endpoint's answer means. Pure: status and body in, a token or whose fault it is out.
//!
//! Entra's error codes are not promised to be stable, so they only choose the advice; whether to try again hangs on
//! the HTTP status and OAuth's own error word.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::fault::Fault;

/// An answer as it came.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// A token and how long it lives.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) secret: SecretString,
    pub(super) life: Duration,
}

/// Entra's number for an error (`AADSTS7000215`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Code(pub u32);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AADSTS{}", self.0)
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OauthError {
    /// The endpoint was not reached, or TLS failed, or it did not answer in time.
    #[error("the token endpoint {host} is not reached: {why}")]
    Unreachable {
        /// Its host.
        host: String,
        /// What happened.
        why: String,
    },
    /// The endpoint is busy or broken at the moment.
    #[error("the token endpoint answers {status}: {why}")]
    Busy {
        /// HTTP status.
        status: u16,
        /// Its words.
        why: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The endpoint refuses this application.
    #[error("the token endpoint refuses: {}{why}", code.map(|code| format!("{code}: ")).unwrap_or_default())]
    Refused {
        /// Entra's number, if it gave one.
        code: Option<Code>,
        /// Its words, first sentence.
        why: String,
    },
    /// What came is not an answer to a token request: most likely not a token endpoint.
    #[error("the answer {status} is none of a token endpoint: {why}")]
    Malformed {
        /// HTTP status.
        status: u16,
        /// What is wrong.
        why: &'static str,
    },
    /// The assertion could not be signed.
    #[error("the assertion cannot be signed: {why}")]
    Signing {
        /// What is wrong.
        why: String,
    },
}

impl OauthError {
    /// Whether waiting can help, and how long the endpoint asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Signing { .. } => None,
        }
    }

    /// Whether trying again later can help without anybody's doing.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } => true,
            Self::Refused { .. } | Self::Malformed { .. } | Self::Signing { .. } => false,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. } => Fault::Target,
            Self::Busy { status: 429, .. } => Fault::Throttled,
            Self::Busy { .. } => Fault::Target,
            Self::Refused { .. } | Self::Malformed { .. } | Self::Signing { .. } => Fault::Usage,
        }
    }

    /// What to do next.
    pub fn next(&self) -> String {
        match self {
            Self::Unreachable { host, .. } => {
                format!(
                    "check that this machine reaches {host} and trusts its certificate ([target] token_url, ca_file)"
                )
            }
            Self::Busy { .. } => "nothing: it is asked again by itself".into(),
            Self::Refused { code, .. } => code.and_then(advice).unwrap_or(DEFAULT_ADVICE).into(),
            Self::Malformed { .. } => "check [target] tenant and token_url".into(),
            Self::Signing { .. } => "check [target] certificate_file and private_key_file".into(),
        }
    }
}

const DEFAULT_ADVICE: &str =
    "check tenant, client_id and credential of [target] against the app registration in Entra";

fn advice(Code(code): Code) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "the client secret is wrong: put its value (not its id) into client_secret_file",
        7_000_222 => {
            "the client secret has expired: create a new one in Entra and put it into client_secret_file"
        }
        700_016 => "client_id is not an application of this tenant: check [target] client_id and tenant",
        90_002 | 900_023 | 900_021 => "there is no such tenant: check [target] tenant",
        700_027 | 5_002_727 => {
            "the certificate is not registered with the application, or the key is another's: upload certificate_file \
             in Entra under \"Certificates & secrets\""
        }
        700_024 => "the assertion is outside its time: set this machine's clock",
        7_000_216 | 7_000_218 => {
            "Entra misses the credential: set client_secret_file, or certificate_file and private_key_file"
        }
        7_000_112 => "the application is disabled: enable it in Entra under \"Enterprise applications\"",
        500_011 | 500_014 | 650_052 => {
            "the tenant has no \"Office 365 Exchange Online\", or it is disabled: check [target] scope and the licences"
        }
        70_011 | 1_002_012 => "the scope must end in /.default: check [target] scope",
        53_003 | 530_035 => {
            "conditional access blocks the application: exempt it, or allow this machine's address"
        }
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Success {
    access_token: String,
    expires_in: Life,
    token_type: Option<String>,
}

// Entra sends a number; its predecessor and some gateways a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Life {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Failure {
    error: String,
    #[serde(default)]
    error_description: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

pub(super) fn read(reply: &Reply, secret: &str) -> Result<Granted, OauthError> {
    let status = reply.status;
    if (200..300).contains(&status) {
        return granted(reply);
    }
    let failure: Option<Failure> = serde_json::from_slice(&reply.body).ok();
    let is_passing = matches!(status, 408 | 429 | 500..=599)
        || failure.as_ref().is_some_and(|failure| failure.error == "temporarily_unavailable");
    let why = failure.as_ref().map(|failure| words(failure, secret));
    if is_passing {
        let why = why.unwrap_or_else(|| "no further words".into());
        return Err(OauthError::Busy { status, why, retry_after: reply.retry_after });
    }
    match (failure, why) {
        (Some(failure), Some(why)) => Err(OauthError::Refused { code: code(&failure), why }),
        _ => Err(OauthError::Malformed { status, why: "it is not OAuth's JSON" }),
    }
}

fn granted(reply: &Reply) -> Result<Granted, OauthError> {
    let malformed = |why| OauthError::Malformed { status: reply.status, why };
    // serde's own error text could quote the body.
    let success: Success =
        serde_json::from_slice(&reply.body).map_err(|_| malformed("it has no access_token"))?;
    if success.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(malformed("its token_type is not Bearer"));
    }
    let seconds = match success.expires_in {
        Life::Number(seconds) => seconds,
        Life::Text(text) => text.trim().parse().map_err(|_| malformed("its expires_in is no number"))?,
    };
    // A day is far more than Entra gives; a peer's number must not overflow a clock.
    Ok(Granted {
        secret: SecretString::from(success.access_token),
        life: Duration::from_secs(seconds.min(86_400)),
    })
}

fn code(failure: &Failure) -> Option<Code> {
    let described = || {
        let digits = failure.error_description.strip_prefix("AADSTS")?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    failure.error_codes.first().copied().or_else(described).map(Code)
}

/// The endpoint's own words without code, trace ids and our secret, in one short line.
fn words(failure: &Failure, secret: &str) -> String {
    let mut text = failure.error_description.as_str();
    if text.starts_with("AADSTS") {
        text = text.split_once(':').map_or(text, |(_, rest)| rest);
    }
    let text = text.split(" Trace ID:").next().unwrap_or_default();
    let text = text.split(['\r', '\n']).find(|line| !line.trim().is_empty()).unwrap_or_default();
    let text = if text.trim().is_empty() { failure.error.as_str() } else { text };
    let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "[redacted]") };
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).take(300).collect();
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Granted, OauthError> {
        read(&Reply { status, retry_after: Some(Duration::from_secs(7)), body: body.into() }, "s3cret")
    }

    #[test]
    fn a_grant_is_read() {
        let granted = answer(200, r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#).unwrap();
        assert_eq!(granted.life, Duration::from_secs(3599));
        let granted = answer(200, r#"{"expires_in":"60","access_token":"t"}"#).unwrap();
        assert_eq!(granted.life, Duration::from_secs(60));
        let granted = answer(200, r#"{"expires_in":18446744073709551615,"access_token":"t"}"#).unwrap();
        assert_eq!(granted.life, Duration::from_secs(86_400));
    }

    #[test]
    fn what_is_no_grant_is_malformed() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"access_token":"t"}"#,
            r#"{"expires_in":1,"access_token":"t","token_type":"mac"}"#,
        ] {
            assert!(matches!(answer(200, body), Err(OauthError::Malformed { .. })), "{body}");
        }
        assert!(matches!(answer(404, "<html>"), Err(OauthError::Malformed { status: 404, .. })));
    }

    #[test]
    fn a_refusal_names_code_fault_and_next_step() {
        let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 255d Correlation ID: 255e\r\nTimestamp: x","error_codes":[7000215]}"#;
        let error = answer(401, body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token endpoint refuses: AADSTS7000215: Invalid client secret provided."
        );
        assert_eq!(error.fault(), Fault::Usage);
        assert!(error.next().contains("not its id"));
        assert!(!error.is_passing());
    }

    #[test]
    fn a_code_is_found_in_the_words_too() {
        let error = answer(400, r#"{"error":"x","error_description":"AADSTS90002: Tenant 'y' not found."}"#)
            .unwrap_err();
        assert_eq!(
            error,
            OauthError::Refused { code: Some(Code(90_002)), why: "Tenant 'y' not found.".into() }
        );
        let error = answer(400, r#"{"error":"unauthorized_client"}"#).unwrap_err();
        assert_eq!(error, OauthError::Refused { code: None, why: "unauthorized_client".into() });
        assert_eq!(error.next(), DEFAULT_ADVICE);
    }

    #[test]
    fn busy_is_passing_and_says_how_long() {
        for status in [429, 500, 503] {
            let error = answer(status, "overloaded").unwrap_err();
            assert!(error.is_passing());
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
        assert!(answer(400, r#"{"error":"temporarily_unavailable"}"#).unwrap_err().is_passing());
        assert_eq!(answer(429, "").unwrap_err().fault(), Fault::Throttled);
    }

    #[test]
    fn an_echoed_secret_is_taken_out() {
        let error = answer(400, r#"{"error":"x","error_description":"bad value s3cret given"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the token endpoint refuses: bad value [redacted] given");
    }
}
