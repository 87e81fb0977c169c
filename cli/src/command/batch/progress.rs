//! Progress of one batch: a bar with rate and time left on a terminal, a line now and then elsewhere.

use crate::{
    client::Daemon,
    command::status::line,
    failure::Failure,
    output::{self, Format, bytes, length, moment, number},
};
use indicatif::{ProgressBar, ProgressStyle};
use mailferry_admin::problem::{Fault, Problem};
use mailferry_sync::batch::BatchStatus;
use std::time::Duration;

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How many looks go by between two lines where nothing can be redrawn.
const PLAIN_EVERY: u32 = 5;

/// Shows progress until Ctrl-C, or until the batch is gone.
pub async fn watch(daemon: &Daemon, name: &str, format: Format) -> Result<(), Failure> {
    follow(daemon, name, format, Until::Interrupted).await
}

/// Shows progress until the first pass of every mailbox has ended; a bad end is an error.
pub async fn wait(daemon: &Daemon, name: &str, format: Format) -> Result<(), Failure> {
    follow(daemon, name, format, Until::Settled).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Interrupted,
    Settled,
}

async fn follow(daemon: &Daemon, name: &str, format: Format, until: Until) -> Result<(), Failure> {
    let mut display = Display::new(format);
    loop {
        // The list, not the batch in full: that has a row for each mailbox, and this is asked every second.
        let batches: Vec<BatchStatus> = daemon.read("/v1/batches").await?;
        let Some(status) = batches.into_iter().find(|batch| batch.name == name) else {
            display.close();
            return Err(Problem::missing(format!("batch {name:?}"))
                .next("mailferry batch status shows those that there are; mailferry batch report shows removed ones")
                .into());
        };
        let ended = (until == Until::Settled).then(|| settled(&status)).flatten();
        display.show(&status, ended.is_some());
        if let Some(end) = ended {
            display.close();
            return end.map_err(Failure::from);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => {
                display.close();
                return Ok(());
            }
        }
    }
}

/// Has the batch come to an end of its own, and which?
fn settled(status: &BatchStatus) -> Option<Result<(), Problem>> {
    let name = &status.name;
    match status.state.as_str() {
        "Synced" => Some(Ok(())),
        "SyncedWithErrors" => Some(Err(Problem::new(
            Fault::Partial,
            format!(
                "batch {name} is synced with errors: {} mailboxes failed, {} messages skipped",
                status.states.failed,
                number(status.tally.skipped)
            ),
        )
        .next(format!(
            "mailferry batch status {name} and mailferry mailbox show ADDRESS --skipped say which and why"
        )))),
        "Failed" => Some(Err(Problem::new(
            Fault::Partial,
            format!("batch {name} failed: no mailbox could be synced"),
        )
        .next(format!("mailferry batch status {name} says why; mailferry batch start {name} tries again")))),
        "Stopping" | "Stopped" => {
            Some(Err(Problem::new(Fault::Partial, format!("batch {name} was stopped before it was synced"))
                .next(format!("mailferry batch start {name} goes on with it"))))
        }
        "Removing" => Some(Err(Problem::new(Fault::Partial, format!("batch {name} is being removed")))),
        _ => None,
    }
}

enum Display {
    Bar(ProgressBar),
    Plain { turn: u32, last: String },
    Json { last: String },
}

impl Display {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json { last: String::new() },
            Format::Human if output::terminal() => {
                let bar = ProgressBar::new(0);
                // The template is ours and known to be good; the default would do as well.
                if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {percent}% {msg}") {
                    bar.set_style(style.progress_chars("=> "));
                }
                Self::Bar(bar)
            }
            Format::Human => Self::Plain { turn: 0, last: String::new() },
        }
    }

    fn show(&mut self, status: &BatchStatus, last_look: bool) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(status.tally.bytes_total.max(1));
                let done =
                    if status.tally.bytes_total == 0 && last_look { 1 } else { status.tally.bytes_done };
                bar.set_position(done);
                bar.set_prefix(format!("{} {}", status.name, status.state));
                bar.set_message(figures(status));
            }
            Self::Plain { turn, last } => {
                let text = format!("{} {}: {}\n", status.name, status.state, figures(status));
                if (turn.is_multiple_of(PLAIN_EVERY) || last_look) && text != *last {
                    output::say(&text);
                    *last = text;
                }
                *turn += 1;
            }
            Self::Json { last } => {
                let text = line(status);
                if text != *last {
                    output::say(&text);
                    *last = text;
                }
            }
        }
    }

    fn close(self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}

fn figures(status: &BatchStatus) -> String {
    let tally = &status.tally;
    let mut text = format!(
        "{} of {} messages, {} of {}",
        number(tally.messages_done),
        number(tally.messages_total),
        bytes(tally.bytes_done),
        bytes(tally.bytes_total),
    );
    if status.rate.bytes_per_second >= 1.0 && tally.pending > 0 {
        text.push_str(&format!(", {}/s", bytes(status.rate.bytes_per_second as u64)));
    }
    if let Some(left) = status.rate.seconds_left {
        text.push_str(&format!(", {} left", length(left)));
    }
    if tally.skipped > 0 {
        text.push_str(&format!(", {} skipped", number(tally.skipped)));
    }
    if let Some(until) = status.throttled_until.filter(|_| status.throttled > 0) {
        text.push_str(&format!(", throttled until {}", moment(Some(until))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailferry_sync::batch::{MailboxStates, Rate, Tally};

    fn status(state: &str) -> BatchStatus {
        BatchStatus {
            name: "B".into(),
            endpoint: "E".into(),
            state: state.into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            started: None,
            last_synced: None,
            mailboxes: 2,
            states: MailboxStates { failed: 1, ..MailboxStates::default() },
            throttled: 0,
            throttled_until: None,
            tally: Tally {
                messages_done: 1_234,
                messages_total: 5_000,
                bytes_done: 1_000_000,
                bytes_total: 9_000_000,
                pending: 3_766,
                skipped: 3,
                ..Tally::default()
            },
            rate: Rate { messages_per_second: 10.0, bytes_per_second: 80_000.0, seconds_left: Some(100) },
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }

    #[test]
    fn waiting_ends_with_the_first_pass_and_its_exit_code() {
        for state in ["Created", "Syncing", "IncrementalSyncing"] {
            assert_eq!(settled(&status(state)), None, "{state}");
        }
        assert_eq!(settled(&status("Synced")), Some(Ok(())));
        for state in ["SyncedWithErrors", "Failed", "Stopped", "Stopping"] {
            let problem = settled(&status(state)).unwrap().unwrap_err();
            assert_eq!(problem.fault, Fault::Partial, "{state}");
            assert_eq!(problem.fault.exit_code(), 5);
        }
    }

    #[test]
    fn progress_has_rate_and_time_left() {
        assert_eq!(
            figures(&status("Syncing")),
            "1,234 of 5,000 messages, 1.0 MB of 9.0 MB, 80.0 kB/s, 1 min 40 s left, 3 skipped"
        );
    }
}
