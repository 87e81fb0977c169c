//! `make bench-sync`: Mailferry, mbsync and a bare pump copy the same mailboxes between the same servers, in turn.
//!
//! All read the same Dovecot over TLS and write the same Dovecot over TLS. Mailferry's time runs from `batch start` (or
//! `sync-now`) until its status says `Synced`, durable ledger included; the others' from start to end of their processes.
//! Figures drift with the machine, so the tools take turns in rounds, and what counts is the ratio.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `MAILFERRY_BENCH_ROUNDS` | 3 | how often each tool has its turn; the median counts |
//! | `MAILFERRY_BENCH_PERCENT` | 100 | of the number of messages |
//! | `MAILFERRY_BENCH_JOBS` | all | `first,again,changed,far,many` |
//! | `MAILFERRY_BENCH_JSON` | none | a file for all figures |

mod jobs;
mod pump;
mod report;
mod tools;

use anyhow::Context;
use mailferry_benches::{list, number};

use crate::report::{Job, Report};

/// What is measured, as the environment has it.
pub(crate) struct Plan {
    rounds: u64,
    percent: u64,
    jobs: Vec<String>,
}

impl Plan {
    fn of_environment() -> anyhow::Result<Self> {
        Ok(Self {
            rounds: number("MAILFERRY_BENCH_ROUNDS", 3).max(1),
            percent: number("MAILFERRY_BENCH_PERCENT", 100).max(1),
            jobs: list("MAILFERRY_BENCH_JOBS", &Job::ALL.map(Job::key))?,
        })
    }

    fn has(&self, job: Job) -> bool {
        self.jobs.iter().any(|wanted| wanted == job.key())
    }

    /// So many messages, or the wanted part of them.
    fn share(&self, messages: u64) -> u64 {
        (messages * self.percent / 100).max(1)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(work) = tools::pump_work(&arguments) {
        pump::run(work).await?;
        return Ok(());
    }
    tokio::select! {
        ended = bench() => ended,
        name = mailferry_tests::child::interrupted() => anyhow::bail!("interrupted by {name}"),
    }
}

async fn bench() -> anyhow::Result<()> {
    let plan = Plan::of_environment()?;
    let mut report = Report::default();
    if [Job::First, Job::Again, Job::Changed].into_iter().any(|job| plan.has(job)) {
        jobs::one_mailbox(&plan, &mut report).await?;
    }
    if plan.has(Job::Far) {
        jobs::far(&plan, &mut report).await?;
    }
    if plan.has(Job::Many) {
        jobs::many(&plan, &mut report).await?;
    }
    println!("{}", report.table());
    if let Some(file) = std::env::var_os("MAILFERRY_BENCH_JSON") {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
