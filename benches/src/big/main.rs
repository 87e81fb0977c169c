//! `make bench-big`: one mailbox with 500,000 small messages in one folder and 100,000 in twenty others.
//!
//! What is measured is the daemon alone: time, processor, its highest resident memory in each step, the commands that it
//! gave the source, and the slowest answer to a question for the batch's status while it worked. There is nobody to compare
//! with: what counts is that memory stays below a bound and that a pass over an unchanged mailbox costs as much as one over
//! a small one.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `MAILFERRY_BENCH_PERCENT` | 100 | of the number of messages |
//! | `MAILFERRY_BENCH_SOURCE` | dovecot | or `courier`: no CONDSTORE there, so that flags are compared one by one |
//! | `MAILFERRY_BENCH_JSON` | none | a file for all figures |

mod mail;
mod step;

use std::time::Duration;

use anyhow::{Context, ensure};
use mailferry_benches::number;
use mailferry_tests::fault::{Dress, Relay, Setup};
use mailferry_tests::source::Kind;
use mailferry_tests::stand::{ENDPOINT, Front, Options, Stand};

use crate::mail::{Onlooker, Size};
use crate::step::Steps;

/// In MB: what the daemon may use, whatever the size of a mailbox.
const MEMORY: f64 = 256.0;

/// Microsoft's limit, as the default has it.
const DEFAULT_ITEMS: u64 = 500_000;

const BATCH: &str = "Big";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tokio::select! {
        ended = bench() => ended,
        name = mailferry_tests::child::interrupted() => anyhow::bail!("interrupted by {name}"),
    }
}

fn kind() -> anyhow::Result<Kind> {
    match std::env::var("MAILFERRY_BENCH_SOURCE").as_deref() {
        Err(_) | Ok("dovecot") => Ok(Kind::Dovecot),
        Ok("courier") => Ok(Kind::Courier),
        Ok(other) => anyhow::bail!("MAILFERRY_BENCH_SOURCE: {other} is neither dovecot nor courier"),
    }
}

/// Lines of `[sync]`.
fn limited_to(items: u64) -> String {
    format!("max_items = {items}\nmax_deletions = 100000")
}

async fn bench() -> anyhow::Result<()> {
    let percent = number("MAILFERRY_BENCH_PERCENT", 100).max(1);
    let size = Size::percent(percent);
    let limit = DEFAULT_ITEMS * percent / 100;
    let options = Options { source: kind()?, sync: limited_to(limit), ..Options::default() };
    let mut stand = Stand::prepare(options).await?;
    // It counts and does nothing else.
    let counter = Relay::start(Setup {
        upstream: stand.source.imaps(),
        upstream_tls: Some(stand.authority.client()?),
        tls: Some(stand.leaf().server()?),
        dress: Dress::Plain,
    })
    .await?;
    let ports = Front::Ports { source: counter.address().port(), target: stand.target.direct().port() };
    stand.reconfigure(|options| options.front = ports)?;
    stand.cli(&["init"]).await?.done()?;
    stand.serve().await?;
    stand.add_endpoint().await?;
    let owner = stand.add_person("terry.adams")?;
    println!("loading {} messages", size.all());
    mail::load(&stand, &owner, size)?;
    // Dovecot looks at its file of users once a second at most.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    mail::warm(&stand, &owner, size).await.context("first look at the source")?;
    let csv = stand.csv(BATCH, std::slice::from_ref(&owner))?;
    let csv = csv.to_string_lossy();
    stand.cli(&["batch", "add", BATCH, "--endpoint", ENDPOINT, "--csv", &csv]).await?.done()?;

    let mut steps = Steps::default();
    let plan = steps
        .command("plan, with the default limit", &mut stand, &counter, &["batch", "plan", BATCH])
        .await?;
    let over = size.all().saturating_sub(limit);
    let plan: serde_json::Value = serde_json::from_str(&plan).context("plan")?;
    let planned = &plan["mailboxes"][0];
    ensure!(planned["over_item_limit"] == over && planned["to_copy"] == size.all() - over, "{planned:#}");
    stand.stop()?;
    stand.reconfigure(|options| options.sync = limited_to(10 * limit))?;
    stand.serve().await?;
    steps.command("plan, with room for all", &mut stand, &counter, &["batch", "plan", BATCH]).await?;
    let onlooker = Onlooker::at(&stand, &owner).await?;
    steps.pass("first pass", &mut stand, &counter, "start", size.all()).await?;
    drop(onlooker);
    steps.pass("unchanged", &mut stand, &counter, "sync-now", size.all()).await?;
    let changed = mail::change(&stand, &owner, size).await.context("changes at the source")?;
    steps.pass("1 % new, 1 % flags, 0.5 % gone", &mut stand, &counter, "sync-now", changed).await?;
    steps.pass("unchanged again", &mut stand, &counter, "sync-now", changed).await?;
    steps.restart("start of the daemon", &mut stand).await?;
    steps.command("verify", &mut stand, &counter, &["batch", "verify", BATCH]).await?;
    steps.command("report", &mut stand, &counter, &["batch", "report", BATCH, "--format", "csv"]).await?;
    println!("{}", steps.table());
    if let Some(file) = std::env::var_os("MAILFERRY_BENCH_JSON") {
        std::fs::write(&file, serde_json::to_string_pretty(&steps.json())?)?;
    }
    ensure!(steps.peak() <= MEMORY, "{:.0} MB of memory where {MEMORY:.0} are allowed", steps.peak());
    Ok(())
}
