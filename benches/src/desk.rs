//! The daemon's admin socket, asked without a process for each question: that would be measured too.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use mailferry_tests::stand::Stand;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The socket of one daemon.
pub struct Desk {
    socket: PathBuf,
}

/// A batch's status.
pub struct Status {
    /// When its last pass ended.
    pub last_synced: Option<String>,
    state: String,
    pending: Option<u64>,
    /// All of it, as JSON.
    pub text: String,
}

impl Status {
    /// Whether nothing is left to be done.
    pub fn is_synced(&self) -> bool {
        self.state.starts_with("Synced") && self.pending == Some(0)
    }
}

impl Desk {
    /// That of a stand's daemon.
    pub fn of(stand: &Stand) -> Self {
        Self { socket: stand.path().join("admin.sock") }
    }

    /// One batch's status.
    ///
    /// # Errors
    /// No answer, or none that says so.
    pub async fn batch(&self, name: &str) -> anyhow::Result<Status> {
        let text = self.ask("GET", &format!("/v1/batches/{name}")).await?;
        let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let status = &value["status"];
        Ok(Status {
            last_synced: status["last_synced"].as_str().map(str::to_owned),
            state: status["state"].as_str().unwrap_or_default().to_owned(),
            pending: status["tally"]["pending"].as_u64(),
            text,
        })
    }

    /// Asks for something to be done with a batch.
    ///
    /// # Errors
    /// It was refused.
    pub async fn post(&self, name: &str, verb: &str) -> anyhow::Result<()> {
        self.ask("POST", &format!("/v1/batches/{name}/{verb}")).await?;
        Ok(())
    }

    async fn ask(&self, method: &str, path: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.socket).await.context("admin socket")?;
        let request = format!("{method} {path} HTTP/1.0\r\nhost: mailferry\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {answer}");
        Ok(body.to_owned())
    }
}
