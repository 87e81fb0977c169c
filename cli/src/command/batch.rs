//! `batch …`.

use super::{
    done, mailbox, operator,
    status::{line, target},
    watch,
};
use crate::{
    args::{Batch, Global},
    client::{Daemon, segment},
    failure::Failure,
    output::{self, Format, Table, bytes, length, moment, number},
};
use hyper::Method;
use mailferry_admin::{
    problem::{Fault, Problem},
    shape::{BatchDetail, Done, RemoveBatch, Verify},
};
use mailferry_sync::{
    batch::{BatchStatus, MailboxStatus, Report, Start},
    csv,
    verify::Depth,
};
use std::{
    io::{self, Read},
    ops::ControlFlow,
    path::Path,
};

mod account;
mod progress;
mod report;

pub async fn run(global: &Global, batch: Batch, format: Format) -> Result<(), Failure> {
    let daemon = Daemon::find(global)?;
    match batch {
        Batch::Add { name, endpoint, csv, auto_start, include, exclude } => {
            let start = if auto_start { Start::AtOnce } else { Start::Later };
            let query = query(&endpoint, start, &include, &exclude);
            add(&daemon, &name, &query, &csv, format).await
        }
        Batch::Start { name, wait } => {
            let outcome = verb(&daemon, &name, "start").await?;
            if !wait {
                done(
                    outcome,
                    format,
                    &format!("batch {name} is started"),
                    &format!("batch {name} runs already"),
                );
                return Ok(());
            }
            progress::wait(&daemon, &name, format).await
        }
        Batch::Stop { name } => {
            let outcome = verb(&daemon, &name, "stop").await?;
            done(
                outcome,
                format,
                &format!("batch {name} is stopping"),
                &format!("batch {name} was stopped already"),
            );
            Ok(())
        }
        Batch::SyncNow { name } => {
            let outcome = verb(&daemon, &name, "sync-now").await?;
            done(
                outcome,
                format,
                &format!("an incremental pass of batch {name} begins"),
                &format!("batch {name} is at it already"),
            );
            Ok(())
        }
        Batch::Plan { name } => {
            let plan = daemon.write(Method::POST, &path(&name, "/plan"), &serde_json::json!({})).await?;
            account::plan(&plan, format)
        }
        Batch::Verify { name, content } => {
            let depth = if content { Depth::Content } else { Depth::Facts };
            let found = daemon.write(Method::POST, &path(&name, "/verify"), &Verify { depth }).await?;
            account::verification(&found, format)
        }
        Batch::Status { name: None, watch } => all(&daemon, watch.then_some(()), format).await,
        Batch::Status { name: Some(name), watch: true } => progress::watch(&daemon, &name, format).await,
        Batch::Status { name: Some(name), watch: false } => {
            let found: BatchDetail = daemon.read(&path(&name, "")).await?;
            match format {
                Format::Json => output::json(&found),
                Format::Human => output::say(&detail(&found)),
            }
            Ok(())
        }
        Batch::Report { name, format: kind, to } => {
            report::run(&daemon, &name, kind, to.as_deref(), format).await
        }
        Batch::Remove { name, force: _, reason } => {
            let body = RemoveBatch { force_reason: reason, by: operator() };
            let report: Report = daemon.write(Method::POST, &path(&name, "/remove"), &body).await?;
            match format {
                Format::Json => output::json(&report),
                Format::Human => output::say(&format!(
                    "batch {name} is removed; mailferry batch report {name} still shows its account\n"
                )),
            }
            Ok(())
        }
    }
}

fn path(name: &str, verb: &str) -> String {
    format!("/v1/batches/{}{verb}", segment(name))
}

async fn verb(daemon: &Daemon, name: &str, verb: &str) -> Result<Done, Failure> {
    daemon.write(Method::POST, &path(name, &format!("/{verb}")), &serde_json::json!({})).await
}

/// What stands behind the `?` of a new batch.
fn query(endpoint: &str, start: Start, include: &[String], exclude: &[String]) -> String {
    let start = match start {
        Start::AtOnce => "at-once",
        Start::Later => "later",
    };
    let mut query = format!("?endpoint={}&start={start}", segment(endpoint));
    for (key, folders) in [("include", include), ("exclude", exclude)] {
        if !folders.is_empty() {
            query.push_str(&format!("&{key}={}", segment(&serde_json::json!(folders).to_string())));
        }
    }
    query
}

async fn add(daemon: &Daemon, name: &str, query: &str, file: &Path, format: Format) -> Result<(), Failure> {
    let shown = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let csv = read_csv(file).map_err(|error| Problem::usage(format!("{shown}: {error}")))?;
    let path = path(name, query);
    let status: BatchStatus = daemon
        .send(Method::POST, &path, csv.into(), "text/csv")
        .await
        .map_err(|failure| in_file(failure, &shown))?;
    match format {
        Format::Json => output::json(&status),
        Format::Human => {
            output::say(&format!(
                "batch {name} has {} mailboxes and is {}\n",
                number(status.mailboxes.into()),
                status.state
            ));
            if status.states.waiting_for_login > 0 {
                output::say(&format!(
                    "{} have no password: each begins with its user's next login through the proxy\n",
                    number(status.states.waiting_for_login.into())
                ));
            }
            if status.state == "Created" {
                output::say(&format!(
                    "next: mailferry batch plan {name}, then mailferry batch start {name}\n"
                ));
            }
        }
    }
    Ok(())
}

/// One byte more than is allowed, at most: that is enough for the message.
fn read_csv(file: &Path) -> io::Result<Vec<u8>> {
    let limit = csv::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The daemon saw bytes only; here we know from where. `details` tells problems of the file from others.
fn in_file(failure: Failure, shown: &str) -> Failure {
    match failure {
        Failure::Problem(mut problem) if problem.fault == Fault::Usage && problem.details.is_some() => {
            problem.error = format!("{shown}: {}", problem.error);
            Failure::Problem(problem)
        }
        other => other,
    }
}

async fn all(daemon: &Daemon, watch: Option<()>, format: Format) -> Result<(), Failure> {
    if watch.is_some() {
        return watch::run(async || {
            let batches: Vec<BatchStatus> = daemon.read("/v1/batches").await?;
            let text = match format {
                Format::Json => line(&batches),
                Format::Human => table(&batches).text(),
            };
            Ok((text, ControlFlow::Continue(())))
        })
        .await;
    }
    let batches: Vec<BatchStatus> = daemon.read("/v1/batches").await?;
    match format {
        Format::Json => output::json(&batches),
        Format::Human => output::say(&table(&batches).text()),
    }
    Ok(())
}

/// Batches, one a row.
pub fn table(batches: &[BatchStatus]) -> Table {
    let mut table = Table::new(&[
        "BATCH",
        "ENDPOINT",
        "STATE",
        ">MAILBOXES",
        ">DONE",
        ">TOTAL",
        ">PENDING",
        ">SKIPPED",
        ">RATE",
        ">LEFT",
        "LAST SYNCED",
    ]);
    for one in batches {
        let tally = &one.tally;
        table.row([
            one.name.clone(),
            one.endpoint.clone(),
            state(one),
            number(one.mailboxes.into()),
            number(tally.messages_done),
            number(tally.messages_total),
            number(tally.pending),
            number(tally.skipped),
            rate(one),
            one.rate.seconds_left.map_or_else(|| "-".into(), length),
            moment(one.last_synced),
        ]);
    }
    table
}

fn state(one: &BatchStatus) -> String {
    let mut state = one.state.clone();
    if let Some(until) = one.throttled_until
        && one.throttled > 0
    {
        state.push_str(&format!(", {} throttled until {}", one.throttled, moment(Some(until))));
    }
    if one.states.waiting_for_login > 0 {
        state.push_str(&format!(", {} waiting for a login", number(one.states.waiting_for_login.into())));
    }
    state
}

fn rate(one: &BatchStatus) -> String {
    if one.rate.bytes_per_second < 1.0 || one.tally.pending == 0 {
        return "-".into();
    }
    format!("{}/s", bytes(one.rate.bytes_per_second as u64))
}

/// What users at the source do not see.
fn early(mailboxes: &[MailboxStatus]) -> String {
    let with: Vec<_> = mailboxes.iter().filter(|mailbox| mailbox.early.messages > 0).collect();
    let messages: u64 = with.iter().map(|mailbox| mailbox.early.messages).sum();
    let Some(first) = with.first() else { return String::new() };
    format!(
        "\nearly mail: {} messages were delivered to {} mailboxes on Office 365 before the cutover; at the source nobody sees them\n  \
         next: tell these users to look there, and change the MX soon (mailferry mailbox show {})\n",
        number(messages),
        number(with.len() as u64),
        output::printable(&first.address),
    )
}

fn detail(found: &BatchDetail) -> String {
    let mut text = table(std::slice::from_ref(&found.status)).text();
    for (what, folders) in [("only", &found.status.include), ("without", &found.status.exclude)] {
        if !folders.is_empty() {
            text.push_str(&format!("{what} {}\n", output::printable(&folders.join(", "))));
        }
    }
    text.push('\n');
    text.push_str(&mailbox::table(&found.mailboxes).text());
    if found.target.reduced.is_some() || found.target.waiting > 0 {
        text.push_str(&format!("\n{}", target(&found.target)));
    }
    text.push_str(&early(&found.mailboxes));
    text.push_str(&format!("\n{}\n", output_lines(&found.gate.to_string())));
    text
}

/// Our own text of several lines, strangers' control characters taken out of each.
fn output_lines(text: &str) -> String {
    text.lines().map(output::printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_the_file_name_it_and_others_do_not() {
        let mut problem = Problem::usage("the CSV file has 1 problem(s):\n  row 2: is empty");
        problem.details = Some(serde_json::json!([]));
        let Failure::Problem(named) = in_file(problem.into(), "a.csv") else { panic!("not a problem") };
        assert!(named.error.starts_with("a.csv: the CSV file has 1 problem"), "{}", named.error);
        let Failure::Problem(other) = in_file(Problem::missing("endpoint \"E\"").into(), "a.csv") else {
            panic!()
        };
        assert_eq!(other.error, "there is no endpoint \"E\"");
    }

    #[test]
    fn a_file_that_is_not_there_says_so() {
        assert_eq!(read_csv(Path::new("/nonexistent.csv")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
