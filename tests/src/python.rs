//! Python as the second opinion: scripts of `tests/scripts`, given a job as JSON, answering in JSON.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Debian's own interpreter where there is one, so that a version manager's shim cannot change the outcome.
pub fn interpreter() -> PathBuf {
    let debian = PathBuf::from("/usr/bin/python3");
    if debian.exists() { debian } else { PathBuf::from("python3") }
}

/// Starts a script with its job on standard input.
pub async fn start(script: &str, job: &Value) -> anyhow::Result<Child> {
    let mut child = Command::new(interpreter())
        .arg("-c")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("python3")?;
    let mut input = child.stdin.take().context("stdin")?;
    input.write_all(job.to_string().as_bytes()).await?;
    drop(input);
    Ok(child)
}

/// Runs a script to its end.
pub async fn run(script: &str, job: &Value) -> anyhow::Result<Value> {
    finish(start(script, job).await?).await
}

/// Waits for a script's answer: the last line of its output.
pub async fn finish(child: Child) -> anyhow::Result<Value> {
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("answer: {text}"))
}
