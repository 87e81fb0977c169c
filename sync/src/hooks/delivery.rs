//! One delivery: a program with JSON on its standard input, or a POST of the same. Bounded in time and in what is read.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

use crate::web::{self, HttpClient};

/// How much of what a program complains of is read.
const COMPLAINT: usize = 4096;
/// How much of it is shown, characters.
const SHOWN: usize = 200;
/// How long the end of a complaint is waited for when the program itself is over: what it left running may hold its
/// standard error open.
const AFTERTHOUGHT: Duration = Duration::from_millis(500);
/// The search path of programs; nothing else of our environment is theirs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a hook is told.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// By a program.
    Program(Program),
    /// By a POST.
    Webhook(Box<Webhook>),
}

/// A program and its arguments. No shell reads them.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its file.
    pub file: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Where to POST. The path of such an address is often all that keeps strangers out: it is not shown.
#[derive(Clone)]
pub struct Webhook {
    uri: Uri,
    token: Option<SecretString>,
    client: HttpClient,
}

/// Whether what is told may travel in the clear to another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTheClear {
    /// It may; a token never does.
    Allowed,
    /// Only to this machine.
    Refused,
}

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It is no such address.
    #[error("is not an http or https address")]
    Url,
    /// Names of people and hosts would travel in the clear.
    #[error("goes to another machine unencrypted: use https, or say allow_http = true")]
    Open,
    /// Its token would travel in the clear.
    #[error("a token goes by https only")]
    Clear,
    /// The authority's file.
    #[error("{0}")]
    CaFile(String),
    /// A header cannot carry it.
    #[error("the token has characters that a header cannot carry")]
    Token,
}

/// Why a hook was not told, or may not have been.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The program does not start.
    #[error("{file} does not start: {why}")]
    Start {
        /// The program.
        file: String,
        /// The operating system's words.
        why: String,
    },
    /// The program ended otherwise than with 0.
    #[error("{file} ended with {how}{complaint}")]
    Ended {
        /// The program.
        file: String,
        /// Exit code or signal.
        how: String,
        /// The end of its standard error, if it wrote any.
        complaint: String,
    },
    /// It took too long.
    #[error("no end within {0:?}")]
    Slow(Duration),
    /// Nobody there.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Who.
        host: String,
        /// Why.
        why: String,
    },
    /// An answer other than 2xx.
    #[error("{host} answered {status}")]
    Answered {
        /// Who.
        host: String,
        /// The status.
        status: u16,
    },
}

impl Delivery {
    /// Makes it.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn deliver(&self, body: Vec<u8>, timeout: Duration) -> Result<(), DeliveryError> {
        match self {
            Self::Program(program) => program.deliver(&body, timeout).await,
            Self::Webhook(webhook) => tokio::time::timeout(timeout, webhook.deliver(body))
                .await
                .map_err(|_| DeliveryError::Slow(timeout))?,
        }
    }
}

impl Program {
    async fn deliver(&self, body: &[u8], timeout: Duration) -> Result<(), DeliveryError> {
        let file = self.file.display().to_string();
        let failed =
            |error: std::io::Error| DeliveryError::Start { file: file.clone(), why: error.to_string() };
        let mut child = Command::new(&self.file)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut group = Group::of(&child);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let mut complaint = Vec::new();
        let write = async {
            if let Some(mut stdin) = stdin {
                // Who does not read it does not want it; the exit code counts.
                let _ = stdin.write_all(body).await;
            }
        };
        let mut talk = Box::pin(async { tokio::join!(write, listen(stderr, &mut complaint)) });
        let mut silent = false;
        let work = async {
            tokio::select! {
                status = child.wait() => return status,
                _ = &mut talk => silent = true,
            }
            child.wait().await
        };
        let status = tokio::time::timeout(timeout, work).await;
        let Ok(status) = status else {
            group.kill();
            // Killed, it ends at once; if the kernel holds it, whoever reaps orphans will.
            let _ = tokio::time::timeout(AFTERTHOUGHT, child.wait()).await;
            return Err(DeliveryError::Slow(timeout));
        };
        group.over();
        let status = status.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        if !silent {
            let _ = tokio::time::timeout(AFTERTHOUGHT, &mut talk).await;
        }
        drop(talk);
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        Err(DeliveryError::Ended { file, how, complaint: shown(&complaint) })
    }
}

/// Reads a complaint to its end, keeps its beginning.
async fn listen(stderr: Option<ChildStderr>, complaint: &mut Vec<u8>) {
    if let Some(mut stderr) = stderr {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut piece).await {
            let room = COMPLAINT.saturating_sub(complaint.len());
            complaint.extend_from_slice(&piece[..read.min(room)]);
        }
    }
}

/// The first line of it, in characters that a log can carry.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line: String = line.trim().chars().filter(|one| !one.is_control()).take(SHOWN).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// A program and whatever it started, killed together unless it is over.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// The program was waited for: its number may be somebody else's.
    fn over(&mut self) {
        self.0 = None;
    }

    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // Whoever is gone already is as good as killed.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Webhook {
    /// To this address, with this token if there is one; `ca_file` (PEM) in place of the system's authorities.
    ///
    /// # Errors
    /// [`WebError`].
    pub fn new(
        url: &str,
        token: Option<SecretString>,
        ca_file: Option<&Path>,
        in_the_clear: InTheClear,
    ) -> Result<Self, WebError> {
        let uri: Uri = url.parse().map_err(|_| WebError::Url)?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(WebError::Url);
        }
        if web::safe_uri(url).is_none() {
            match (&token, in_the_clear) {
                (Some(_), _) => return Err(WebError::Clear),
                (None, InTheClear::Refused) => return Err(WebError::Open),
                (None, InTheClear::Allowed) => {}
            }
        }
        if let Some(token) = &token {
            bearer(token).ok_or(WebError::Token)?;
        }
        let tls = web::tls(ca_file).map_err(|error| WebError::CaFile(error.to_string()))?;
        Ok(Self { uri, token, client: web::client(tls) })
    }

    async fn deliver(&self, body: Vec<u8>) -> Result<(), DeliveryError> {
        let host = self.uri.host().unwrap_or_default().to_owned();
        let unreachable = |why: String| DeliveryError::Unreachable { host: host.clone(), why };
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("mailferry/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = self.token.as_ref().and_then(bearer) {
            request = request.header(AUTHORIZATION, token);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| unreachable(error.to_string()))?;
        // The body of the answer is not read. A redirection is not followed: the operator names the receiver.
        let response = self.client.request(request).await.map_err(|error| unreachable(web::chain(&error)))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(DeliveryError::Answered { host, status: response.status().as_u16() })
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
