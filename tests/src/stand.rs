//! All of it together: source and target behind relays, the token endpoint, and a running `mailferry serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::certs::{Authority, Leaf};
use crate::child::Server;
use crate::fault::{Dress, Relay, Setup};
use crate::place::{Place, free_port, loopback};
use crate::source::Source;
use crate::target::Exchange;
use crate::tokens::Endpoint;

mod config;
mod mailboxes;

pub use config::{Front, Options, Proof, dns_options};
pub use mailboxes::Person;

/// The endpoint that every stand adds.
pub const ENDPOINT: &str = "IMAPEndpoint";

/// Password of every mailbox at the bare target, for tools that know no tokens.
pub const TARGET_PASSWORD: &str = "bench password";

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// This, if the command succeeded.
    pub fn done(self) -> anyhow::Result<Self> {
        ensure!(self.code == 0, "exit code {}\n{}{}", self.code, self.stdout, self.stderr);
        Ok(self)
    }
}

/// A stand. Dropped, everything that it started ends.
pub struct Stand {
    serve: Option<Server>,
    /// The old server.
    pub source: Source,
    /// What `mailferry` knows as the old server: counts what it serves, and fails on demand.
    pub source_relay: Relay,
    /// Office 365.
    pub target: Exchange,
    /// Its token endpoint.
    pub tokens: Endpoint,
    /// Signs every certificate here.
    pub authority: Authority,
    leaf: Leaf,
    imaps: SocketAddr,
    imap: SocketAddr,
    options: Options,
    peak: u64,
    place: Place,
}

impl Stand {
    /// Starts every server and writes the configuration; `serve` is not started yet.
    pub async fn prepare(options: Options) -> anyhow::Result<Self> {
        let place = Place::new()?;
        let authority = Authority::new(place.path())?;
        let leaf = authority.leaf("server", &[])?;
        let lines = &options.source_lines;
        let source = Source::start(options.source, &place.folder("source")?, &leaf, lines).await?;
        let tokens = Endpoint::start(&place.folder("tokens")?, &leaf).await?;
        let target = Exchange::start(&place.folder("target")?, &leaf, tokens.trusted()).await?;
        let source_relay = Relay::start(Setup {
            upstream: source.imaps(),
            upstream_tls: Some(authority.client()?),
            tls: Some(leaf.server()?),
            dress: Dress::Plain,
        })
        .await?;
        let (imaps, imap) = (loopback(free_port()?), loopback(free_port()?));
        let stand = Self {
            serve: None,
            source,
            source_relay,
            target,
            tokens,
            authority,
            leaf,
            imaps,
            imap,
            options,
            peak: 0,
            place,
        };
        stand.write_config("")?;
        Ok(stand)
    }

    /// As `prepare`, then `init`, `serve` and the endpoint.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut stand = Self::prepare(options).await?;
        stand.cli(&["init"]).await?.done()?;
        stand.serve().await?;
        stand.add_endpoint().await?;
        Ok(stand)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.place.path().join("mailferry.toml")
    }

    /// The stand's folder.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Log of `serve`.
    pub fn log(&self) -> PathBuf {
        self.place.path().join("serve.log")
    }

    /// Starts `serve` and waits until it answers on its socket.
    pub async fn serve(&mut self) -> anyhow::Result<()> {
        let before = &self.options.serve_behind;
        let mut command = if before.is_empty() {
            Command::new(binary()?)
        } else {
            let mut unshare = Command::new("unshare");
            let script = format!("set -e; cd '{}'; {before}; exec \"$0\" \"$@\"", self.path().display());
            unshare.args(["--mount", "sh", "-c", &script]).arg(binary()?);
            unshare
        };
        command.arg("--config").arg(self.config()).arg("serve");
        let mut serve = Server::start("mailferry serve", command, &self.log())?;
        let started = Instant::now();
        loop {
            serve.alive()?;
            if self.cli(&["status"]).await?.code == 0 {
                break;
            }
            ensure!(started.elapsed() < Duration::from_secs(60), "serve does not answer\n{}", serve.tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.serve = Some(serve);
        Ok(())
    }

    /// Process id of `serve`.
    pub fn serve_pid(&mut self) -> anyhow::Result<u32> {
        Ok(self.running()?.pid())
    }

    /// The certificate that every server of this stand shows.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    fn running(&mut self) -> anyhow::Result<&mut Server> {
        self.serve.as_mut().context("serve does not run")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.note_peak();
        self.running()?.kill()?;
        self.serve = None;
        Ok(())
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        self.note_peak();
        let code = self.running()?.stop(Duration::from_secs(20))?;
        self.serve = None;
        Ok(code)
    }

    /// Whether `serve` still runs; an error shows the end of its log.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        self.running()?.alive()
    }

    fn note_peak(&mut self) {
        if let Some(peak) = self.serve.as_ref().and_then(|serve| serve.peak_memory().ok()) {
            self.peak = self.peak.max(peak);
        }
    }

    /// Highest resident memory that any `serve` of this stand had, in bytes.
    pub fn peak_memory(&mut self) -> u64 {
        self.note_peak();
        self.peak
    }

    /// Runs `mailferry --config … <arguments>`.
    pub async fn human(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut command = tokio::process::Command::new(binary()?);
        command.arg("--config").arg(self.config()).args(arguments);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(300), command.output())
            .await
            .with_context(|| format!("{arguments:?} does not end"))??;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The same with `--json`.
    pub async fn cli(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut all = vec!["--json"];
        all.extend_from_slice(arguments);
        self.human(&all).await
    }

    /// `endpoint add` for the source as this stand has it.
    pub async fn add_endpoint(&self) -> anyhow::Result<()> {
        self.add_endpoint_with(&[]).await
    }

    /// The same with further options.
    pub async fn add_endpoint_with(&self, more: &[&str]) -> anyhow::Result<()> {
        let port = match self.options.front {
            Front::Relays => self.source_relay.address().port(),
            Front::Bare => self.source.imaps().port(),
            Front::Ports { source, .. } => source,
        };
        let port = port.to_string();
        let ca = self.authority.ca_file.to_string_lossy().into_owned();
        let mut arguments = vec![
            "endpoint",
            "add",
            ENDPOINT,
            "--server",
            "localhost",
            "--port",
            &port,
            "--security",
            "ssl",
            "--ca-file",
            &ca,
        ];
        arguments.extend_from_slice(more);
        self.cli(&arguments).await?.done()?;
        self.proxy_open().await
    }

    /// Waits until the proxy accepts clients.
    pub async fn proxy_open(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while tokio::net::TcpStream::connect(self.imaps).await.is_err() {
            ensure!(
                started.elapsed() < Duration::from_secs(30),
                "the proxy does not listen\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        self.serve.as_ref().map(Server::tail).unwrap_or_default()
    }

    /// Where clients find the proxy (implicit TLS).
    pub fn proxy(&self) -> SocketAddr {
        self.imaps
    }

    /// Where clients find the proxy (STARTTLS).
    pub fn proxy_starttls(&self) -> SocketAddr {
        self.imap
    }
}

/// The binary under test: `MAILFERRY_BIN`, else `mailferry` beside or above our own executable (cargo's layout).
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MAILFERRY_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(3).map(|dir| dir.join("mailferry")).find(|path| path.is_file());
    found.context("no mailferry binary: run `cargo build` first or set MAILFERRY_BIN")
}
