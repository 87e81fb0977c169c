//! `stragglers`.

use crate::{
    args::Global,
    client::Daemon,
    failure::Failure,
    output::{self, Format, Table, moment},
};
use mailferry_sync::stragglers::Straggler;

pub async fn run(global: &Global, format: Format) -> Result<(), Failure> {
    let stragglers: Vec<Straggler> = Daemon::find(global)?.read("/v1/stragglers").await?;
    match format {
        Format::Json => output::json(&stragglers),
        Format::Human if stragglers.is_empty() => output::say("no straggler\n"),
        Format::Human => {
            let mut table = Table::new(&["MAILBOX", ">UID", "ARRIVED", "SEEN"]);
            for one in &stragglers {
                table.row([
                    one.address.clone(),
                    one.uid.to_string(),
                    moment(Some(one.arrived)),
                    moment(Some(one.seen)),
                ]);
            }
            output::say(&table.text());
        }
    }
    Ok(())
}
