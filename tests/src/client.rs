//! A mail user: Python's imaplib by `scripts/client.py`, through the proxy or directly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::{child, python};

const SCRIPT: &str = include_str!("../scripts/client.py");
const LOGIN: &str = include_str!("../scripts/login.py");

/// Where and as whom a user logs in.
#[derive(Debug, Clone)]
pub struct Client {
    /// Port on localhost.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Trusted authority.
    pub ca: PathBuf,
    /// Further fields of the job: `starttls`, `mechanism`.
    pub manner: Value,
}

/// What APPEND did.
#[derive(Debug, Deserialize)]
pub struct Appended {
    /// sha256 of each message.
    pub digests: Vec<String>,
    /// Unix time when the last was accepted.
    pub at: f64,
}

/// What a busy user met.
#[derive(Debug, Deserialize)]
pub struct Lived {
    /// Steps that went well.
    pub done: u64,
    /// Broken connections.
    pub breaks: u64,
    /// What should not have happened.
    pub errors: Vec<String>,
    /// Longest step in seconds.
    pub slowest: f64,
}

/// A user at work in a process of its own.
pub struct Living {
    child: Child,
    output: BufReader<tokio::process::ChildStdout>,
}

impl Client {
    fn job(&self, more: Value) -> Value {
        let mut job = json!({"port": self.port, "user": self.user, "password": self.password, "ca": self.ca});
        for part in [&self.manner, &more] {
            for (key, value) in part.as_object().into_iter().flatten() {
                job[key] = value.clone();
            }
        }
        job
    }

    /// Downloads bodies: UID -> sha256. `items` as in FETCH, `uids` as a set.
    pub async fn fetch(
        &self,
        folder: &str,
        uids: &str,
        items: &str,
    ) -> anyhow::Result<BTreeMap<u32, String>> {
        let job = self.job(json!({"do": "fetch", "folder": folder, "uids": uids, "items": items}));
        let answer = python::run(SCRIPT, &job).await?;
        Ok(serde_json::from_value(answer["bodies"].clone())?)
    }

    /// Appends messages of `size` bytes.
    pub async fn append(&self, folder: &str, name: &str, count: u64, size: u64) -> anyhow::Result<Appended> {
        let job =
            self.job(json!({"do": "append", "folder": folder, "name": name, "count": count, "size": size}));
        Ok(serde_json::from_value(python::run(SCRIPT, &job).await?)?)
    }

    /// Logs in by one form (`quoted`, `literals`, `literals-plus`, `plain`, `plain-at-once`, `sasl-login`) and out again; the
    /// answer to the login.
    pub async fn log_in(&self, form: &str) -> anyhow::Result<String> {
        let answer = python::run(LOGIN, &self.job(json!({"form": form}))).await?;
        Ok(answer["answer"].as_str().unwrap_or_default().to_owned())
    }

    /// Starts to work: appends, reads, flags, deletes, copies. `more` may say `seed`, `tolerant`, `pause`, `deletes`.
    pub async fn live(&self, more: Value) -> anyhow::Result<Living> {
        let mut job = self.job(more);
        job["do"] = json!("live");
        let mut child = python::start(SCRIPT, &job).await?;
        let mut output = BufReader::new(child.stdout.take().context("stdout")?);
        let mut line = String::new();
        output.read_line(&mut line).await?;
        Ok(Living { child, output })
    }
}

impl Living {
    /// Tells it to stop and asks how it was.
    pub async fn stop(mut self) -> anyhow::Result<Lived> {
        child::signal(self.child.id().context("it ended early")?, Signal::TERM)?;
        let mut line = String::new();
        tokio::time::timeout(Duration::from_secs(90), self.output.read_line(&mut line)).await??;
        self.child.wait().await?;
        serde_json::from_str(&line).with_context(|| format!("answer: {line}"))
    }
}
