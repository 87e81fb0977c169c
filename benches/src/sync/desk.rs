//! The daemon's admin socket, asked without a process for each question: that would be measured too.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use mailferry_tests::stand::Stand;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) struct Desk {
    socket: PathBuf,
}

/// A batch's status.
pub(crate) struct Status {
    pub(crate) last_synced: Option<String>,
    state: String,
    pending: Option<u64>,
    pub(crate) text: String,
}

impl Status {
    pub(crate) fn is_synced(&self) -> bool {
        self.state.starts_with("Synced") && self.pending == Some(0)
    }
}

impl Desk {
    pub(crate) fn of(stand: &Stand) -> Self {
        Self { socket: stand.path().join("admin.sock") }
    }

    pub(crate) async fn batch(&self, name: &str) -> anyhow::Result<Status> {
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

    pub(crate) async fn post(&self, name: &str, verb: &str) -> anyhow::Result<()> {
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
