//! `mailbox …`.

use super::{done, operator};
use crate::{
    args::{Global, Mailbox},
    client::{Daemon, segment},
    failure::Failure,
    output::{self, Format, Table, bytes, moment, number},
};
use hyper::Method;
use mailferry_admin::shape::{By, Done, Retry};
use mailferry_sync::{
    batch::{Credential, MailboxDetail, MailboxStatus},
    retry::{Again, Retried},
};

mod export;

pub async fn run(global: &Global, mailbox: Mailbox, format: Format) -> Result<(), Failure> {
    let daemon = Daemon::find(global)?;
    match mailbox {
        Mailbox::List { batch } => list(&daemon, batch.as_deref(), format).await,
        Mailbox::Show { address, skipped } => show(&daemon, &address, skipped.then_some(()), format).await,
        Mailbox::DeclareMoved { address, reason } => {
            declare_moved(&daemon, &address, reason.as_deref(), format).await
        }
        Mailbox::AllowDeletions { address } => {
            let path = format!("/v1/mailboxes/{}/allow-deletions", segment(&address));
            let outcome: Done = daemon.write(Method::POST, &path, &By { by: operator() }).await?;
            done(
                outcome,
                format,
                &format!("the deletions held for {address} are carried out"),
                &format!("no deletions are held for {address}"),
            );
            Ok(())
        }
        Mailbox::Retry { address, missing } => {
            let again = if missing { Again::SkippedAndMissing } else { Again::Skipped };
            let path = format!("/v1/mailboxes/{}/retry", segment(&address));
            let retried: Retried = daemon.write(Method::POST, &path, &Retry { again }).await?;
            match format {
                Format::Json => output::json(&retried),
                Format::Human => output::say(&retried_text(&address, &retried)),
            }
            Ok(())
        }
        Mailbox::ExportSkipped { address, to } => export::run(&daemon, &address, &to, format).await,
    }
}

async fn list(daemon: &Daemon, batch: Option<&str>, format: Format) -> Result<(), Failure> {
    let path = match batch {
        Some(batch) => format!("/v1/mailboxes?batch={}", segment(batch)),
        None => "/v1/mailboxes".into(),
    };
    let mailboxes: Vec<MailboxStatus> = daemon.read(&path).await?;
    match format {
        Format::Json => output::json(&mailboxes),
        Format::Human => output::say(&table(&mailboxes).text()),
    }
    Ok(())
}

fn retried_text(address: &str, retried: &Retried) -> String {
    if retried.after_pass {
        return format!("a pass of {address} is under way; skipped messages are tried again after it\n");
    }
    let mut text = match retried.messages {
        0 => format!("{address} is tried again\n"),
        messages => format!("{address} is tried again, {} skipped messages too\n", number(messages)),
    };
    if retried.missing > 0 {
        let missing = number(retried.missing);
        text.push_str(&format!("{missing} whose copies are gone from Office 365 are copied anew\n"));
    }
    for (reason, messages) in &retried.stay {
        let (messages, reason) = (number(*messages), output::printable(reason));
        text.push_str(&format!("{messages} stay skipped ({reason}): trying again changes nothing\n"));
    }
    if !retried.stay.is_empty() {
        text.push_str(&format!("mailferry mailbox export-skipped {address} --to DIR writes them to files\n"));
    }
    text
}

/// Mailboxes, one a row.
pub fn table(mailboxes: &[MailboxStatus]) -> Table {
    let mut table = Table::new(&[
        "MAILBOX",
        "BATCH",
        "STATE",
        "ROUTE",
        ">DONE",
        ">TOTAL",
        ">PENDING",
        ">SKIPPED",
        "LAST SYNCED",
        "DETAIL",
    ]);
    for one in mailboxes {
        let tally = &one.tally;
        table.row([
            one.address.clone(),
            one.batch.clone(),
            one.state.clone(),
            if one.declared_moved.is_some() { format!("{} (moved)", one.route) } else { one.route.clone() },
            number(tally.messages_done),
            number(tally.messages_total),
            number(tally.pending),
            number(tally.skipped),
            moment(one.last_synced),
            detail(one),
        ]);
    }
    table
}

fn detail(one: &MailboxStatus) -> String {
    let mut parts = Vec::new();
    if let Some(until) = one.throttled_until {
        parts.push(format!("throttled until {}", moment(Some(until))));
    }
    parts.extend(one.detail.clone());
    if let Some(at) = one.retry_at {
        parts.push(format!("tried again at {}", moment(Some(at))));
    }
    parts.join("; ")
}

async fn show(daemon: &Daemon, address: &str, skipped: Option<()>, format: Format) -> Result<(), Failure> {
    let query = if skipped.is_some() { "?skipped=1" } else { "" };
    let found: MailboxDetail = daemon.read(&format!("/v1/mailboxes/{}{query}", segment(address))).await?;
    match format {
        Format::Json => output::json(&found),
        Format::Human => {
            output::say(&human(&found, skipped));
        }
    }
    Ok(())
}

fn human(found: &MailboxDetail, skipped: Option<()>) -> String {
    let status = &found.status;
    let tally = &status.tally;
    let mut text = format!(
        "mailbox      {}\nbatch        {}\nlogin        {}\nstate        {}\nroute        {}\n",
        output::printable(&status.address),
        status.batch,
        output::printable(&status.user_name),
        status.state,
        status.route,
    );
    if let Some(at) = status.declared_moved {
        let by = output::printable(status.declared_by.as_deref().unwrap_or("-"));
        text.push_str(&format!("moved        declared {} by {by}\n", moment(Some(at))));
    }
    text.push_str(&format!("last synced  {}\n", moment(status.last_synced)));
    text.push_str(&format!("password     {}\n", output::printable(&password(&status.credential))));
    let detail = detail(status);
    if !detail.is_empty() {
        text.push_str(&format!("detail       {}\n", output::printable(&detail)));
    }
    if let Some(throttling) = &status.throttling {
        text.push_str(&format!(
            "throttled    {} times, last at {}: {}\n",
            number(throttling.times),
            moment(Some(throttling.last)),
            output::printable(&throttling.words),
        ));
    }
    if status.sessions > 0 {
        text.push_str(&format!(
            "sessions     {} at Office 365, {} allowed\n",
            number(status.sessions.into()),
            number(status.sessions_allowed.into()),
        ));
    }
    text.push_str(&format!(
        "messages     {} of {} mirrored ({} of {}), {} pending, {} skipped, {} gone\n\n",
        number(tally.messages_done),
        number(tally.messages_total),
        bytes(tally.bytes_done),
        bytes(tally.bytes_total),
        number(tally.pending),
        number(tally.skipped),
        number(tally.gone),
    ));
    let early = &status.early;
    if early.messages > 0 {
        text.truncate(text.trim_end().len());
        text.push_str(&format!(
            "\nearly mail   {} delivered to INBOX on Office 365 before the cutover, {} to {}\n\n",
            number(early.messages),
            moment(early.first),
            moment(early.last),
        ));
    }
    let mut table =
        Table::new(&["FOLDER", "ON OFFICE 365", ">DONE", ">TOTAL", ">PENDING", ">SKIPPED", ">GONE", "NOTE"]);
    for folder in &found.folders {
        let mut note = Vec::new();
        if folder.gone {
            note.push("gone from the source".to_owned());
        }
        if folder.held_deletions > 0 {
            note.push(format!(
                "{} deletions wait: mailbox allow-deletions",
                number(folder.held_deletions.into())
            ));
        }
        table.row([
            folder.source.clone(),
            folder.target.clone(),
            number(folder.tally.messages_done),
            number(folder.tally.messages_total),
            number(folder.tally.pending),
            number(folder.tally.skipped),
            number(folder.tally.gone),
            note.join("; "),
        ]);
    }
    text.push_str(&table.text());
    if skipped.is_some() {
        text.push('\n');
        let mut table = Table::new(&["FOLDER", ">UID", ">SIZE", "DATE", "SENDER", "SUBJECT", "REASON"]);
        for one in &found.skipped {
            table.row([
                one.folder.clone(),
                one.uid.to_string(),
                bytes(one.size),
                one.date.clone(),
                one.sender.clone(),
                one.subject.clone(),
                one.reason.clone(),
            ]);
        }
        if table.len() == 0 {
            text.push_str("nothing was skipped\n");
        } else {
            text.push_str(&table.text());
            text.push_str(&format!(
                "\nmailferry mailbox export-skipped {} --to DIR writes them to files\n",
                status.address
            ));
        }
    } else if tally.skipped > 0 {
        text.push_str(&format!(
            "\nmailferry mailbox show {} --skipped lists what was skipped and why\n",
            status.address
        ));
    }
    text
}

/// Where the password comes from; what it is nobody is told.
fn password(credential: &Credential) -> String {
    let learnt = credential.learned.map(|at| {
        let login = credential.login.as_deref().unwrap_or("-");
        let refused = credential
            .refused
            .map(|at| format!(", refused by the source {}", moment(Some(at))))
            .unwrap_or_default();
        format!("learnt {} from a login as {login}{refused}", moment(Some(at)))
    });
    match (credential.from.as_str(), learnt) {
        ("csv", None) => "from the CSV file".into(),
        ("csv", Some(learnt)) => format!("from the CSV file ({learnt})"),
        (_, Some(learnt)) => learnt,
        (_, None) => "not known".into(),
    }
}

async fn declare_moved(
    daemon: &Daemon,
    addresses: &[String],
    reason: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let by = match reason {
        Some(reason) => format!("{}: {reason}", operator()),
        None => operator(),
    };
    for address in addresses {
        let path = format!("/v1/mailboxes/{}/declare-moved", segment(address));
        let outcome: Done = daemon.write(Method::POST, &path, &By { by: by.clone() }).await?;
        match format {
            Format::Json => {
                output::json_line(&serde_json::json!({ "address": address, "outcome": outcome.outcome }))
            }
            Format::Human => done(
                outcome,
                format,
                &format!("{address} is declared moved to Office 365"),
                &format!("{address} was declared moved already"),
            ),
        }
    }
    Ok(())
}
