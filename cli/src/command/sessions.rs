//! `sessions list`, `sessions kick`.

use crate::{
    args::Global,
    client::Daemon,
    failure::Failure,
    output::{self, Format, Table},
};
use hyper::Method;
use mailferry_admin::shape::{Done, Session};
use mailferry_sync::batch::Outcome;

pub async fn list(global: &Global, format: Format) -> Result<(), Failure> {
    let sessions: Vec<Session> = Daemon::find(global)?.read("/v1/sessions").await?;
    match format {
        Format::Json => output::json(&sessions),
        Format::Human => {
            let mut table = Table::new(&[
                ">CONN",
                "CLIENT",
                "PROGRAM",
                "TLS",
                "LOGIN",
                "MAILBOX",
                ">FOR",
                ">IN",
                ">OUT",
                ">MIRRORED",
                "TAP",
            ]);
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            for one in &sessions {
                table.row([
                    one.conn.to_string(),
                    one.client.to_string(),
                    or_dash(&one.client_name),
                    // The version says enough on a screen; `--json` has the cipher too.
                    one.tls.as_deref().and_then(|tls| tls.split(' ').next()).unwrap_or("-").to_owned(),
                    or_dash(&one.login),
                    or_dash(&one.mailbox),
                    output::length(one.seconds),
                    output::bytes(one.bytes_in),
                    output::bytes(one.bytes_out),
                    output::number(one.mirrored),
                    one.blind.as_ref().map_or_else(|| "sees".into(), |why| format!("blind: {why}")),
                ]);
            }
            output::say(&table.text());
        }
    }
    Ok(())
}

pub async fn kick(global: &Global, conns: &[u64], format: Format) -> Result<(), Failure> {
    let daemon = Daemon::find(global)?;
    for conn in conns {
        let path = format!("/v1/sessions/{conn}/kick");
        let done: Done = daemon.write(Method::POST, &path, &serde_json::json!({})).await?;
        match format {
            Format::Json => output::json(&serde_json::json!({ "conn": conn, "outcome": done.outcome })),
            Format::Human => output::say(&match done.outcome {
                Outcome::Done => format!("session {conn} ends; its client may connect again\n"),
                Outcome::Already => format!("there is no session {conn}\n"),
            }),
        }
    }
    Ok(())
}
