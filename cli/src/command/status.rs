//! `status`: the daemon in one screen.

use super::{batch, dns, watch};
use crate::{
    args::{Global, Watch},
    client::Daemon,
    failure::Failure,
    output::{self, Format},
};
use jiff::Timestamp;
use mailferry_admin::shape::{DaemonStatus, Front};
use std::ops::ControlFlow;

pub async fn run(global: &Global, Watch { watch }: &Watch, format: Format) -> Result<(), Failure> {
    let daemon = Daemon::find(global)?;
    if *watch {
        return watch::run(async || {
            let status: DaemonStatus = daemon.read("/v1/status").await?;
            let text = match format {
                Format::Json => line(&status),
                Format::Human => human(&status),
            };
            Ok((text, ControlFlow::Continue(())))
        })
        .await;
    }
    let status: DaemonStatus = daemon.read("/v1/status").await?;
    match format {
        Format::Json => output::json(&status),
        Format::Human => output::say(&human(&status)),
    }
    Ok(())
}

/// One line of JSON, for `--watch --json`.
pub fn line(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).map(|text| text + "\n").unwrap_or_default()
}

fn human(status: &DaemonStatus) -> String {
    let up = Timestamp::now().duration_since(status.started).as_secs().max(0).unsigned_abs();
    let mut text = format!("mailferry {} runs for {}\n", status.version, output::length(up));
    text.push_str(&match &status.proxy {
        Front::Off => "proxy: off (no [proxy] in the configuration)\n".to_owned(),
        Front::Waiting { endpoint } => {
            format!("proxy: waits for endpoint {endpoint}; make it with mailferry endpoint add {endpoint}\n")
        }
        Front::Failed { error } => format!("proxy: not open: {error}\n"),
        Front::Open { endpoint, listen, sessions } => {
            let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
            format!("proxy: {} clients on {}, relayed to {endpoint}\n", sessions.len(), listen.join(", "))
        }
    });
    for notice in &status.notices {
        text.push_str(&format!("note: {}\n", output::printable(notice)));
    }
    text.push('\n');
    if status.batches.is_empty() {
        text.push_str("no batch; make one with mailferry batch add NAME --endpoint E --csv FILE\n");
    } else {
        text.push_str(&batch::table(&status.batches).text());
    }
    if !status.domains.is_empty() {
        text.push('\n');
        text.push_str(&dns::table(&status.domains).text());
    }
    text
}
