//! `make demo`: the whole path on real servers, every step in front of the reader's eyes.
//!
//! Nothing is asked, nothing outside one temporary folder is touched, and everything ends with this process, whether
//! it succeeds, fails or is interrupted.

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mailferry_tests::child::interrupted;
use mailferry_tests::dns::{Dns, Secondary};
use mailferry_tests::mail::{self, Recipe};
use mailferry_tests::stand::{ENDPOINT, Options, Person, Stand, dns_options};
use serde_json::json;
use tokio::process::Command;

const DOMAIN: &str = "contoso.edu";
const BATCH: &str = "IMAPBatch1";
/// In place of 72 hours.
const WAIT: Duration = Duration::from_secs(8);
/// In place of 24 hours.
const QUIET: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    let ended = tokio::select! {
        ended = demo() => ended,
        name = interrupted() => Err(anyhow::anyhow!("interrupted by {name}")),
    };
    match ended {
        Ok(()) => {
            println!("\nDemo finished in {:.0} s; every server is stopped.", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nDemo failed after {:.0} s: {error:#}", started.elapsed().as_secs_f64());
            ExitCode::FAILURE
        }
    }
}

fn step(number: u32, text: &str) {
    println!("\n\x1b[1m[{number}] {text}\x1b[0m");
}

fn note(text: &str) {
    println!("    {text}");
}

async fn demo() -> anyhow::Result<()> {
    println!("Mailferry: a demonstration on real servers, all of them on 127.0.0.1 and gone afterwards.");

    step(1, "The servers");
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent)?;
    // An operator shortens the old record's life before the move; the clock waits for it.
    dns.set_mx(DOMAIN, 5, &["10 mail"])?;
    let options = Options { dns: dns_options(&dns, WAIT, QUIET), ..Options::default() };
    let mut stand = Stand::prepare(options).await?;
    note(&format!("old server     Dovecot, port {}", stand.source.imaps().port()));
    note(&format!(
        "Office 365     Dovecot dressed as Exchange Online, port {}: XOAUTH2 with signed app tokens only",
        stand.target.address().port()
    ));
    note(&format!("token endpoint {}", stand.tokens.url()));
    note(&format!(
        "DNS            Knot: parent zone at {}, {DOMAIN} at {}",
        dns.parent.address(),
        dns.primary.address()
    ));

    step(2, "Mail on the old server: real messages and generated ones, nested and non-ASCII folders");
    let people = load(&stand)?;

    step(3, "First command: the daemon (proxy, sync, DNS check)");
    show(&stand, &["init"]).await?;
    show(&stand, &["serve", "--check"]).await?;
    println!("\n$ mailferry serve &");
    stand.serve().await?;

    step(4, "The endpoint");
    let port = stand.source_relay.address().port().to_string();
    let ca = stand.authority.ca_file.to_string_lossy().into_owned();
    let server = ["--server", "localhost", "--port", &port, "--security", "ssl", "--ca-file", &ca];
    show(&stand, &[&["endpoint", "test"][..], &server].concat()).await?;
    show(&stand, &[&["endpoint", "add", ENDPOINT][..], &server].concat()).await?;
    stand.proxy_open().await?;
    note(&format!("clients now reach the old server through Mailferry, port {}", stand.proxy().port()));

    step(5, "Second command: the batch, from Microsoft's CSV");
    let csv = stand.csv(BATCH, &people)?;
    println!("\n$ cut -d, -f1,2 {BATCH}.csv");
    for line in std::fs::read_to_string(&csv)?.lines() {
        note(&line.split(',').take(2).collect::<Vec<_>>().join(","));
    }
    let csv = csv.to_string_lossy().into_owned();
    show(&stand, &["batch", "add", BATCH, "--endpoint", ENDPOINT, "--csv", &csv]).await?;
    show(&stand, &["batch", "plan", BATCH]).await?;

    step(6, "The copy runs while people work through the proxy");
    copy_with_clients(&mut stand, &people).await?;
    show(&stand, &["batch", "status", BATCH]).await?;

    step(7, "Mail still goes to the old server: the gate is closed");
    show(&stand, &["dns", "check", DOMAIN]).await?;
    let refused = show_any(&stand, &["batch", "remove", BATCH]).await?;
    ensure!(refused == 4, "the gate should be closed (exit code 4), not {refused}");

    step(8, "The MX record is flipped in the real DNS server");
    let office = "0 contoso-edu.mail.protection.outlook.com.";
    dns.set_mx(DOMAIN, 3600, &[office])?;
    note(&format!("{DOMAIN}. 3600 IN MX {office}"));
    show(&stand, &["dns", "check", DOMAIN]).await?;
    note(&format!(
        "In a real migration the clock is 72 hours, and 24 hours without a straggler. \
         HERE IT IS SHORTENED to {} s and {} s.",
        WAIT.as_secs(),
        QUIET.as_secs()
    ));
    for person in &people {
        let reason = ["mailbox", "declare-moved", &person.address, "--reason", "works in Outlook on the web"];
        show(&stand, &reason).await?;
    }
    show(&stand, &["batch", "sync-now", BATCH]).await?;
    gate_opens(&stand).await?;
    show(&stand, &["dns", "status"]).await?;

    step(9, "Both sides are read anew and compared; then the batch is removed");
    show(&stand, &["batch", "verify", BATCH]).await?;
    show(&stand, &["batch", "remove", BATCH]).await?;

    step(10, "The final account, by a reader that shares no code with Mailferry (Python's imaplib)");
    final_account(&mut stand, &people).await
}

fn load(stand: &Stand) -> anyhow::Result<Vec<Person>> {
    let mut people = Vec::new();
    let real = mail::real()?;
    if real.is_empty() {
        note("no real messages here: install libpython3.11-testsuite or set MAILFERRY_TEST_MAIL");
    }
    for (seed, login) in ["terry.adams", "ann.beebe", "paul.cannon"].into_iter().enumerate() {
        let person = stand.add_person(login)?;
        let share: Vec<_> = real.iter().skip(seed).step_by(3).cloned().collect();
        let real = stand.source.load(login, share.into_iter())?;
        let recipe = Recipe { largest: 4_000_000, ..Recipe::small(seed as u64, 400) };
        let made = stand.source.load(login, recipe.mailbox())?;
        note(&format!(
            "{:<12} {:>4} real and {:>4} generated messages, {:>6.1} MB",
            login,
            real.messages,
            made.messages,
            (real.bytes + made.bytes) as f64 / 1e6
        ));
        people.push(person);
    }
    Ok(people)
}

/// Runs a command that must succeed, and shows it.
async fn show(stand: &Stand, arguments: &[&str]) -> anyhow::Result<()> {
    let code = show_any(stand, arguments).await?;
    ensure!(code == 0, "mailferry {} ended with {code}", arguments.join(" "));
    Ok(())
}

/// Runs a command and shows it; its exit code.
async fn show_any(stand: &Stand, arguments: &[&str]) -> anyhow::Result<i32> {
    let typed: Vec<String> = arguments
        .iter()
        .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() })
        .collect();
    println!("\n$ mailferry {}", typed.join(" "));
    let said = stand.human(arguments).await?;
    for line in said.stdout.lines().chain(said.stderr.lines()) {
        note(line);
    }
    if said.code != 0 {
        note(&format!("(exit code {})", said.code));
    }
    Ok(said.code)
}

async fn copy_with_clients(stand: &mut Stand, people: &[Person]) -> anyhow::Result<()> {
    let (terry, ann) = (&people[0], &people[1]);
    let live = stand.client(ann).live(json!({"seed": 3, "pause": 0.05})).await?;
    show(stand, &["batch", "start", BATCH]).await?;

    let upload = stand.path().join("upload.eml");
    std::fs::write(
        &upload,
        "From: terry.adams\r\nSubject: sent with curl\r\nMessage-ID: <curl@contoso.edu>\r\n\r\nHello\r\n",
    )?;
    let url = format!("imaps://localhost:{}/Sent", stand.proxy().port());
    println!("\n$ curl --upload-file upload.eml {url}        (as {}, through the proxy)", terry.login);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--cacert"]).arg(&stand.authority.ca_file);
    curl.args(["--user", &format!("{}:{}", terry.login, terry.password), "--upload-file"])
        .arg(&upload)
        .arg(&url);
    finished(curl, "curl").await?;

    println!("\n$ mbsync -a        (as {}, through the proxy)", terry.login);
    let rc = stand.path().join("mbsyncrc");
    let local = stand.path().join("mbsync");
    std::fs::create_dir_all(&local)?;
    std::fs::write(&rc, mbsyncrc(stand, terry, &local.to_string_lossy()))?;
    let mut mbsync = Command::new("mbsync");
    mbsync.arg("-q").arg("-c").arg(&rc).arg("-a");
    let mbsync = tokio::spawn(finished(mbsync, "mbsync"));

    let started = Instant::now();
    loop {
        let batch = stand.batch(BATCH).await?;
        let status = &batch["status"];
        note(&format!(
            "{:>4.0} s  {:<18} {:>5} of {:>5} messages, {:>6.1} MB of {:>6.1}, {:>4.0}/s, pending {}",
            started.elapsed().as_secs_f64(),
            status["state"].as_str().unwrap_or("?"),
            status["tally"]["messages_done"],
            status["tally"]["messages_total"],
            status["tally"]["bytes_done"].as_f64().unwrap_or(0.0) / 1e6,
            status["tally"]["bytes_total"].as_f64().unwrap_or(0.0) / 1e6,
            status["rate"]["messages_per_second"].as_f64().unwrap_or(0.0),
            status["tally"]["pending"],
        ));
        if status["state"] == "Synced" && mbsync.is_finished() {
            break;
        }
        ensure!(started.elapsed() < PATIENCE, "the copy does not end");
        stand.alive()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    mbsync.await.context("mbsync")??;
    let lived = live.stop().await?;
    note(&format!(
        "{} worked meanwhile: {} steps (append, read, flag, copy, delete), {} errors, slowest {:.2} s",
        ann.login,
        lived.done,
        lived.errors.len(),
        lived.slowest
    ));
    ensure!(lived.errors.is_empty(), "a client met errors: {:?}", lived.errors);
    Ok(())
}

async fn finished(mut command: Command, name: &str) -> anyhow::Result<()> {
    let output =
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.with_context(|| name.to_owned())?;
    if !output.status.success() {
        bail!("{name}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn mbsyncrc(stand: &Stand, person: &Person, local: &str) -> String {
    format!(
        "IMAPStore far\nHost localhost\nPort {port}\nUser {user}\nPass \"{password}\"\nSSLType IMAPS\n\
         CertificateFile {ca}\n\nMaildirStore near\nPath {local}/\nInbox {local}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX Sent Drafts\nCreate Near\nSync Pull\nSyncState *\n",
        port = stand.proxy().port(),
        user = person.login,
        password = person.password,
        ca = stand.authority.ca_file.display(),
    )
}

async fn gate_opens(stand: &Stand) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut before = String::new();
    loop {
        let batch = stand.batch(BATCH).await?;
        let gate = &batch["gate"];
        let mut shown = String::new();
        for condition in gate["conditions"].as_array().into_iter().flatten() {
            let met = if condition["met"] == true { "met    " } else { "not met" };
            shown.push_str(&format!(
                "      {met}  {}: {}\n",
                condition["what"].as_str().unwrap_or("?"),
                condition["figure"].as_str().unwrap_or("?")
            ));
        }
        let summary: Vec<&serde_json::Value> =
            gate["conditions"].as_array().into_iter().flatten().map(|condition| &condition["met"]).collect();
        let summary = format!("{summary:?}");
        if summary != before {
            let state = if gate["open"] == true { "open" } else { "closed" };
            println!("    {:>4.0} s  the gate is {state}:\n{shown}", started.elapsed().as_secs_f64());
            before = summary;
        }
        if gate["open"] == true {
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "the gate does not open\n{shown}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn final_account(stand: &mut Stand, people: &[Person]) -> anyhow::Result<()> {
    let mut wrong = 0;
    for person in people {
        let account = stand.account(person).await?;
        println!("\n    {} -> {}", person.login, person.address);
        for (folder, both) in &account.folders {
            note(&format!("  {folder:<42} {:>5} -> {:>5}", both.source, both.target));
        }
        for line in account.to_string().lines() {
            note(&format!("  {line}"));
        }
        wrong += usize::from(!account.agrees());
    }
    note(&format!("\n    Highest memory of the daemon: {} MB", stand.peak_memory() / 1_000_000));
    ensure!(wrong == 0, "{wrong} mailboxes differ");
    println!("\n    Every message is on both sides once, byte for byte, with its date and flags.");
    Ok(())
}
