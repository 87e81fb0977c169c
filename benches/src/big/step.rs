//! What each step took, measured at the daemon from outside.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mailferry_benches::desk::Desk;
use mailferry_benches::{shown, usage};
use mailferry_tests::fault::Relay;
use mailferry_tests::stand::{Stand, binary};
use serde_json::{Value, json};

use crate::BATCH;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Between two questions for the status.
const PAUSE: Duration = Duration::from_millis(100);

struct Step {
    name: String,
    took: Duration,
    cpu: f64,
    peak: f64,
    /// Commands at the source, bodies among them.
    commands: Option<u64>,
    /// The slowest answer to a question for the status.
    slowest: Option<Duration>,
}

#[derive(Default)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    fn add(&mut self, step: Step) {
        println!(
            "  {}: {:.2} s, {:.1} CPU s, {:.0} MB{}{}",
            step.name,
            step.took.as_secs_f64(),
            step.cpu,
            step.peak,
            step.commands.map(|count| format!(", {count} commands at the source")).unwrap_or_default(),
            step.slowest.map(|took| format!(", slowest status {} ms", took.as_millis())).unwrap_or_default(),
        );
        self.0.push(step);
    }

    /// A pass, asked for by this verb, after which so many messages are accounted for and none is pending.
    pub(crate) async fn pass(
        &mut self,
        name: &str,
        stand: &mut Stand,
        counter: &Relay,
        verb: &str,
        messages: u64,
    ) -> anyhow::Result<()> {
        let desk = Desk::of(stand);
        let pid = stand.serve_pid()?;
        let synced_before = desk.batch(BATCH).await?.last_synced;
        counter.forget_counts();
        let cpu = usage::cpu(pid)?;
        usage::forget_peak(pid)?;
        let started = Instant::now();
        desk.post(BATCH, verb).await?;
        let mut slowest = Duration::ZERO;
        let status = loop {
            let asked = Instant::now();
            let status = desk.batch(BATCH).await?;
            slowest = slowest.max(asked.elapsed());
            if status.is_synced() && status.last_synced != synced_before {
                break status;
            }
            ensure!(started.elapsed() < PATIENCE, "not synced: {}", status.text);
            tokio::time::sleep(PAUSE.min(started.elapsed() / 20)).await;
        };
        let took = started.elapsed();
        let tally: Value = serde_json::from_str(&status.text)?;
        let tally = &tally["status"]["tally"];
        ensure!(
            tally["messages_done"] == messages && tally["skipped"] == 0,
            "{messages} messages: {tally:#}"
        );
        self.add(Step {
            name: name.to_owned(),
            took,
            cpu: usage::cpu(pid)? - cpu,
            peak: usage::peak(pid)?,
            commands: Some(counter.counts().commands.values().sum()),
            slowest: Some(slowest),
        });
        Ok(())
    }

    /// A command to the daemon; what it printed, as JSON where it can.
    pub(crate) async fn command(
        &mut self,
        name: &str,
        stand: &mut Stand,
        counter: &Relay,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let pid = stand.serve_pid()?;
        counter.forget_counts();
        let cpu = usage::cpu(pid)?;
        usage::forget_peak(pid)?;
        let started = Instant::now();
        let mut command = tokio::process::Command::new(binary()?);
        command.arg("--config").arg(stand.config()).arg("--json").args(arguments).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.context(name.to_owned())??;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        self.add(Step {
            name: name.to_owned(),
            took: started.elapsed(),
            cpu: usage::cpu(pid)? - cpu,
            peak: usage::peak(pid)?,
            commands: Some(counter.counts().commands.values().sum()),
            slowest: None,
        });
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops the daemon and starts it again: every record is looked at.
    pub(crate) async fn restart(&mut self, name: &str, stand: &mut Stand) -> anyhow::Result<()> {
        stand.stop()?;
        let started = Instant::now();
        stand.serve().await?;
        let took = started.elapsed();
        let pid = stand.serve_pid()?;
        self.add(Step {
            name: name.to_owned(),
            took,
            cpu: usage::cpu(pid)?,
            peak: usage::peak(pid)?,
            commands: None,
            slowest: None,
        });
        Ok(())
    }

    /// The highest memory of any step, in MB.
    pub(crate) fn peak(&self) -> f64 {
        self.0.iter().map(|step| step.peak).fold(0.0, f64::max)
    }

    /// For reading.
    pub(crate) fn table(&self) -> String {
        let mut text = "\n".to_owned();
        for step in &self.0 {
            let _ = write!(
                text,
                "{:34}{:>8} s{:>8} CPU s{:>6.0} MB",
                step.name,
                shown(step.took.as_secs_f64()),
                shown(step.cpu),
                step.peak
            );
            if let Some(commands) = step.commands {
                let _ = write!(text, "{commands:>8} commands");
            }
            if let Some(slowest) = step.slowest {
                let _ = write!(text, "  status within {} ms", slowest.as_millis());
            }
            text.push('\n');
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let steps = self.0.iter().map(|step| {
            json!({
                "name": step.name,
                "seconds": step.took.as_secs_f64(),
                "cpu_seconds": step.cpu,
                "peak_mb": step.peak,
                "commands": step.commands,
                "slowest_status_seconds": step.slowest.map(|took| took.as_secs_f64()),
            })
        });
        steps.collect()
    }
}
