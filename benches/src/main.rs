//! `make bench`: copies one mailbox with Mailferry and with mbsync, on the same servers, in turn, and prints the ratio.
//!
//! Both read the same Dovecot over TLS and write the same Dovecot over TLS, no relay in between. Mailferry's time runs
//! from `batch start` until its status says `Synced`, durable ledger included.
//!
//! `MAILFERRY_BENCH_MESSAGES` (10,000) and `MAILFERRY_BENCH_ROUNDS` (3) change the size.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mailferry_tests::mail::{Loaded, Recipe};
use mailferry_tests::stand::{ENDPOINT, Front, Options, Person, Stand, TARGET_PASSWORD};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(1200);
const SOURCE_USER: &str = "terry.adams";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tokio::select! {
        ended = bench() => ended,
        name = mailferry_tests::child::interrupted() => anyhow::bail!("interrupted by {name}"),
    }
}

async fn bench() -> anyhow::Result<()> {
    let messages = number("MAILFERRY_BENCH_MESSAGES", 10_000);
    let rounds = number("MAILFERRY_BENCH_ROUNDS", 3).max(1);
    let mut stand = Stand::start(Options { front: Front::Bare, ..Options::default() }).await?;
    let owner = stand.add_person(SOURCE_USER)?;
    // mbsync leaves out what is marked deleted and what has no end of header; the comparison is of what both copy.
    let mailbox = Recipe { messages, ..Recipe::full() }.mailbox().map(|mut message| {
        message.flags.deleted = false;
        if !message.content.windows(2).any(|two| two == b"\n\n")
            && !message.content.windows(4).any(|four| four == b"\r\n\r\n")
        {
            message.content.extend_from_slice(b"\r\n");
        }
        message
    });
    let loaded = stand.source.load(SOURCE_USER, mailbox)?;
    // Reading everything once warms the source's caches for both.
    stand.account(&owner).await?;
    println!("{} messages, {:.0} MB, {rounds} rounds in turn", loaded.messages, loaded.bytes as f64 / 1e6);

    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut ours_again = Vec::new();
    let mut theirs_again = Vec::new();
    for round in 0..rounds {
        let person = target(&stand, &owner, &format!("mailferry{round}"))?;
        let batch = format!("Round{round}");
        let copied = mailferry(&mut stand, &batch, &person).await?;
        ours_again.push(stand.sync_again(&batch, PATIENCE).await?);
        if round == 0 {
            let account = stand.account(&person).await?;
            ensure!(account.agrees(), "the copy is not exact: {account}");
        }
        stand.cli(&["batch", "remove", &batch, "--force", "--reason", "next round"]).await?.done()?;

        let person = target(&stand, &owner, &format!("mbsync{round}"))?;
        let rc = mbsyncrc(&stand, &person)?;
        let mbsynced = mbsync(&rc).await?;
        theirs_again.push(mbsync(&rc).await?);
        println!(
            "round {}: mailferry {}; mbsync {}; time ratio {:.2}",
            round + 1,
            speed(copied, loaded),
            speed(mbsynced, loaded),
            copied.as_secs_f64() / mbsynced.as_secs_f64()
        );
        ours.push(copied);
        theirs.push(mbsynced);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("first copy, median: mailferry {}; mbsync {}", speed(ours, loaded), speed(theirs, loaded));
    println!(
        "time ratio mailferry/mbsync: {:.2} (1 is as fast, less is faster)",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
    println!(
        "again, nothing changed, median: mailferry {:.2} s (asked and polled through the CLI); mbsync {:.2} s",
        median(ours_again).as_secs_f64(),
        median(theirs_again).as_secs_f64()
    );
    println!("peak memory of `mailferry serve`: {:.0} MB", stand.peak_memory() as f64 / 1e6);
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn speed(took: Duration, loaded: Loaded) -> String {
    let seconds = took.as_secs_f64();
    format!(
        "{seconds:.2} s, {:.0} messages/s, {:.1} MB/s",
        loaded.messages as f64 / seconds,
        loaded.bytes as f64 / 1e6 / seconds
    )
}

/// A fresh mailbox on the target that the one source mailbox goes to.
fn target(stand: &Stand, owner: &Person, name: &str) -> anyhow::Result<Person> {
    let person = Person { address: format!("{name}@contoso.edu"), ..owner.clone() };
    stand.target.add_user(&person.address, TARGET_PASSWORD)?;
    Ok(person)
}

async fn mailferry(stand: &mut Stand, batch: &str, person: &Person) -> anyhow::Result<Duration> {
    let csv = stand.csv(batch, std::slice::from_ref(person))?;
    let csv = csv.to_string_lossy();
    stand.cli(&["batch", "add", batch, "--endpoint", ENDPOINT, "--csv", &csv]).await?.done()?;
    let started = Instant::now();
    stand.cli(&["batch", "start", batch]).await?.done()?;
    stand.synced(batch, PATIENCE).await?;
    Ok(started.elapsed())
}

async fn mbsync(rc: &Path) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let output =
        Command::new("mbsync").arg("-q").arg("-c").arg(rc).arg("-a").output().await.context("mbsync")?;
    ensure!(output.status.success(), "mbsync: {}", String::from_utf8_lossy(&output.stderr));
    Ok(started.elapsed())
}

fn mbsyncrc(stand: &Stand, person: &Person) -> anyhow::Result<std::path::PathBuf> {
    let dir = stand.path().join(format!("mbsync-{}", person.address));
    std::fs::create_dir_all(&dir)?;
    let rc = dir.join("rc");
    let text = format!(
        "IMAPStore source\nHost localhost\nPort {source}\nUser {login}\nPass \"{password}\"\nSSLType IMAPS\n\
         CertificateFile {ca}\n\nIMAPStore target\nHost localhost\nPort {target}\nUser {address}\n\
         Pass \"{TARGET_PASSWORD}\"\nSSLType IMAPS\nCertificateFile {ca}\n\nChannel all\nFar :source:\n\
         Near :target:\n\
         Patterns * !Archive !\"Deleted Items\" !\"Junk Email\" !\"Sent Items\" !Outbox\nCreate Near\nSync Pull\nCopyArrivalDate yes\nSyncState {dir}/\n",
        source = stand.source.imaps().port(),
        login = person.login,
        password = person.password,
        target = stand.target.direct().port(),
        address = person.address,
        ca = stand.authority.ca_file.display(),
        dir = dir.display(),
    );
    std::fs::write(&rc, text)?;
    Ok(rc)
}
