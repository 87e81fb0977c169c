//! `make bench-proxy`: clients at one source, directly and through haproxy, Dovecot's proxy, nginx and Mailferry, in turn.
//!
//! All proxies stand before the same real Dovecot, show the same certificate and speak TLS 1.3 with the same cipher on both
//! legs, but for nginx, whose mail proxy knows no TLS to the source. The load is made here, by a client that shares nothing
//! with our proxy. Mailferry is the release build with its tap on: once for mailboxes whose messages are mirrored already,
//! once for mailboxes that are all new to it.
//!
//! Figures drift with the machine, so the ways take turns in rounds, and what counts is the ratio to haproxy.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `MAILFERRY_BENCH_ROUNDS` | 3 | how often each way has its turn; the median counts |
//! | `MAILFERRY_BENCH_SECONDS` | 2 | how long one measurement takes |
//! | `MAILFERRY_BENCH_IDLE` | 2000 | idle sessions for the memory of one |
//! | `MAILFERRY_BENCH_MODES` | all | `login,bulk,large,append,noop,fetch,idle` |
//! | `MAILFERRY_BENCH_WAYS` | all | `direct,haproxy,dovecot,nginx,mailferry,new` |
//! | `MAILFERRY_BENCH_JSON` | none | a file for all figures |

mod load;
mod mail;
mod report;
mod servers;

use std::time::Duration;

use anyhow::Context;
use mailferry_benches::tls::{CIPHER, Tls};
use mailferry_benches::usage::{self, Memory};
use mailferry_benches::{list, number};
use mailferry_tests::stand::{Front, Options, Stand};
use tokio::time::sleep;

use crate::load::{bulk, idle, login, paced};
use crate::report::{Figure, Report};
use crate::servers::{Way, Ways};

/// How long the first copy of the mailboxes may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sessions that come and go before memory is looked at.
const WARM: usize = 16;

/// How long it takes until what is given back when idle is given back.
const SETTLE: Duration = Duration::from_secs(2);

/// What is measured, as the environment has it.
struct Plan {
    rounds: u64,
    span: Duration,
    idle: usize,
    modes: Vec<String>,
    ways: Vec<String>,
}

impl Plan {
    fn of_environment() -> anyhow::Result<Self> {
        let plan = Self {
            rounds: number("MAILFERRY_BENCH_ROUNDS", 3).max(1),
            span: Duration::from_secs(number("MAILFERRY_BENCH_SECONDS", 2).max(1)),
            idle: usize::try_from(number("MAILFERRY_BENCH_IDLE", 2000))?.max(1),
            modes: list(
                "MAILFERRY_BENCH_MODES",
                &["login", "bulk", "large", "append", "noop", "fetch", "idle"],
            )?,
            ways: list("MAILFERRY_BENCH_WAYS", &servers::NAMES)?,
        };
        Ok(plan)
    }

    fn has(&self, mode: &str) -> bool {
        self.modes.iter().any(|wanted| wanted == mode)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tokio::select! {
        ended = bench() => ended,
        name = mailferry_tests::child::interrupted() => anyhow::bail!("interrupted by {name}"),
    }
}

async fn bench() -> anyhow::Result<()> {
    let plan = Plan::of_environment()?;
    usage::raise_descriptor_limit(2 * plan.idle as u64 + 1000)?;
    let options = Options { front: Front::Bare, source_lines: servers::source_lines(), ..Options::default() };
    let mut stand = Stand::start(options).await?;
    let people = mail::fill(&mut stand, plan.rounds, PATIENCE).await?;
    // What the first copy took is not what the proxy takes.
    restart(&mut stand).await?;
    let tls = Tls::new(&stand.authority.ca_file)?;
    let mut ways = Ways::start(&mut stand, &plan.ways).await?;
    println!(
        "TLS 1.3, {} on every leg (nginx: none to the source); rounds of {} s, {} of them",
        CIPHER,
        plan.span.as_secs(),
        plan.rounds
    );
    let mut report = Report::default();
    for round in 0..plan.rounds {
        for way in ways.in_turn(round) {
            let readers = if way.is_new() { people.new_in(round) } else { &people.known };
            let at = load::At { way, tls: &tls };
            let measured = measure(&plan, &at, readers, &people, &mut report).await;
            measured.with_context(|| format!("through {}", way.name))?;
            if plan.has("append") && !way.is_new() {
                mail::empty(&stand, &tls, &people.uploads).await?;
            }
        }
        println!("round {} of {} done", round + 1, plan.rounds);
    }
    if plan.has("idle") {
        // Fresh servers: what those before took for their work would be used again. And last: the source keeps
        // thousands of processes for a while.
        drop(ways);
        restart(&mut stand).await?;
        ways = Ways::start(&mut stand, &plan.ways).await?;
        for way in ways.in_turn(0).filter(|way| !way.is_new()) {
            memory_of_idle(&plan, way, &tls, &people, &mut report)
                .await
                .with_context(|| format!("idle through {}", way.name))?;
        }
    }
    println!("{}", report.table(&ways.names()));
    if let Some(file) = std::env::var_os("MAILFERRY_BENCH_JSON") {
        let text = serde_json::to_string_pretty(&report.json(&ways.names()))?;
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

async fn restart(stand: &mut Stand) -> anyhow::Result<()> {
    stand.stop()?;
    stand.serve().await?;
    stand.proxy_open().await
}

/// Processor seconds of a way's processes so far; nothing where there is no proxy.
fn cpu(way: &Way) -> anyhow::Result<Option<f64>> {
    way.pid.map(usage::cpu).transpose()
}

/// One turn of one way.
async fn measure(
    plan: &Plan,
    at: &load::At<'_>,
    readers: &[mail::Reader],
    people: &mail::People,
    report: &mut Report,
) -> anyhow::Result<()> {
    let way = at.way;
    // The session's cost is the same for new messages: they differ in what the tap does with bodies.
    let all = !way.is_new();
    if all && plan.has("login") {
        let before = cpu(way)?;
        let done = login::at_once(at, readers, plan.span).await?;
        report.add(way, Figure::Logins, done.per_second());
        report.add_cpu(way, Figure::LoginCpu, cpu(way)?, before, done.count as f64 / 1000.0);
    }
    if plan.has("bulk") {
        let before = cpu(way)?;
        let done = bulk::fetch(at, readers, &mail::MESSAGES, plan.span, way.reading()).await?;
        report.add(way, Figure::Bulk, done.megabytes_per_second());
        report.add_cpu(way, Figure::BulkCpu, cpu(way)?, before, done.gigabytes());
    }
    if plan.has("large") {
        let before = cpu(way)?;
        let done =
            bulk::fetch(at, &readers[..mail::LARGE_READERS], &mail::LARGE, plan.span, way.reading()).await?;
        report.add(way, Figure::Large, done.megabytes_per_second());
        report.add_cpu(way, Figure::LargeCpu, cpu(way)?, before, done.gigabytes());
    }
    if all && plan.has("append") {
        let before = cpu(way)?;
        let done = bulk::append(at, &people.uploads, &people.large, plan.span).await?;
        report.add(way, Figure::Append, done.megabytes_per_second());
        report.add_cpu(way, Figure::AppendCpu, cpu(way)?, before, done.gigabytes());
    }
    if all && plan.has("noop") {
        let times = paced::noop(at, readers, plan.span).await?;
        report.add(way, Figure::NoopMedian, times.percentile(50));
        report.add(way, Figure::NoopSlow, times.percentile(99));
    }
    if all && plan.has("fetch") {
        let times = paced::fetch(at, &readers[0], plan.span).await?;
        report.add(way, Figure::FetchMedian, times.percentile(50));
        report.add(way, Figure::FetchSlow, times.percentile(99));
    }
    Ok(())
}

/// What one session costs that is logged in, has a folder open and says nothing.
async fn memory_of_idle(
    plan: &Plan,
    way: &Way,
    tls: &Tls,
    people: &mail::People,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(pid) = way.pid else { return Ok(()) };
    let at = load::At { way, tls };
    // What the first sessions ever take is taken once.
    drop(idle::open(&at, &people.known, WARM).await?);
    sleep(SETTLE).await;
    let before = Memory::of(pid)?;
    let sessions = idle::open(&at, &people.known, plan.idle).await?;
    // What is given back when idle has had its time.
    sleep(SETTLE).await;
    let after = Memory::of(pid)?;
    report.add(way, Figure::IdleResident, (after.resident - before.resident) / plan.idle as f64);
    report.add(way, Figure::IdleShare, (after.proportional - before.proportional) / plan.idle as f64);
    drop(sessions);
    Ok(())
}
