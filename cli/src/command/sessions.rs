//! `sessions list`.

use crate::{
    args::Global,
    client::Daemon,
    failure::Failure,
    output::{self, Format, Table},
};
use mailferry_admin::shape::Session;

pub async fn list(global: &Global, format: Format) -> Result<(), Failure> {
    let sessions: Vec<Session> = Daemon::find(global)?.read("/v1/sessions").await?;
    match format {
        Format::Json => output::json(&sessions),
        Format::Human => {
            let mut table = Table::new(&[
                ">CONN",
                "CLIENT",
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
