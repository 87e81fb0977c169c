//! `stragglers`: who still delivers to the source, and what to do about it; then each message.

use crate::{
    args::Global,
    client::Daemon,
    failure::Failure,
    output::{self, Format, Table, moment},
};
use mailferry_sync::stragglers::{Straggler, deliverers};

pub async fn run(global: &Global, format: Format) -> Result<(), Failure> {
    let stragglers: Vec<Straggler> = Daemon::find(global)?.read("/v1/stragglers").await?;
    match format {
        Format::Json => output::json(&stragglers),
        Format::Human if stragglers.is_empty() => output::say("no straggler\n"),
        Format::Human => {
            let mut table = Table::new(&["HOW", "FROM", ">COUNT", ">MAILBOXES", "LAST"]);
            let deliverers = deliverers(&stragglers);
            for one in &deliverers {
                table.row([
                    one.way.to_string(),
                    from(one.from.as_deref()),
                    one.count.to_string(),
                    one.mailboxes.to_string(),
                    moment(Some(one.last)),
                ]);
            }
            output::say(&table.text());
            let mut advice: Vec<_> = deliverers.iter().map(|one| (one.way, &one.next)).collect();
            advice.sort();
            advice.dedup();
            for (way, next) in advice {
                output::say(&format!("{way}: {next}\n"));
            }
            output::say("\n");
            let mut table = Table::new(&["MAILBOX", ">UID", "ARRIVED", "SEEN", "HOW", "FROM"]);
            for one in &stragglers {
                table.row([
                    one.address.clone(),
                    one.uid.to_string(),
                    moment(Some(one.arrived)),
                    moment(Some(one.seen)),
                    one.trace.way.to_string(),
                    from(one.trace.from.as_deref()),
                ]);
            }
            output::say(&table.text());
        }
    }
    Ok(())
}

/// A name that a stranger gave itself, printed.
fn from(name: Option<&str>) -> String {
    name.map_or_else(|| "-".into(), output::printable)
}
