//! `status`: the daemon in one screen.

use super::{batch, dns, watch};
use crate::{
    args::{Global, Watch},
    client::Daemon,
    failure::Failure,
    output::{self, Format, moment, number},
};
use jiff::Timestamp;
use mailferry_admin::shape::{DaemonStatus, Front};
use mailferry_sync::tenant::TargetStatus;
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

/// How many sessions Office 365 gets, and why no more.
pub fn target(target: &TargetStatus) -> String {
    let mut text = format!("target: {} sessions at Office 365", number(target.sessions.into()));
    text.push_str(&match &target.reduced {
        None => format!(" of {}", number(target.sessions_max.into())),
        Some(reduced) => format!(
            " of {}, for the time being instead of {}: it said at {} \"{}\"",
            number(target.sessions_allowed.into()),
            number(target.sessions_max.into()),
            moment(Some(reduced.since)),
            output::printable(&reduced.words),
        ),
    });
    if target.waiting > 0 {
        text.push_str(&format!("; {} mailboxes wait for one", number(target.waiting.into())));
    }
    text.push('\n');
    text
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
    text.push_str(&target(&status.target));
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

#[cfg(test)]
mod tests {
    use super::*;
    use mailferry_sync::tenant::Reduced;

    #[test]
    fn fewer_sessions_are_explained() {
        let mut status =
            TargetStatus { sessions: 12, sessions_allowed: 100, sessions_max: 100, ..Default::default() };
        assert_eq!(target(&status), "target: 12 sessions at Office 365 of 100\n");
        status.sessions_allowed = 6;
        status.waiting = 3;
        let words = "Too many\u{7} connections".to_owned();
        status.reduced = Some(Reduced { since: Timestamp::UNIX_EPOCH, words });
        let text = target(&status);
        assert!(text.starts_with(
            "target: 12 sessions at Office 365 of 6, for the time being instead of 100: it said at "
        ));
        assert!(
            text.ends_with("connections\"; 3 mailboxes wait for one\n") && !text.contains('\u{7}'),
            "{text}"
        );
    }
}
