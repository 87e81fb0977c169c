//! One module a noun of the command line.

pub mod batch;
pub mod dns;
pub mod endpoint;
pub mod init;
pub mod mailbox;
pub mod serve;
pub mod sessions;
pub mod status;
pub mod stragglers;
mod watch;

use crate::{output, output::Format};
use mailferry_admin::shape::Done;
use mailferry_sync::batch::Outcome;

/// Says what a verb did: `done`, or what was so already.
fn done(done: Done, format: Format, text: &str, already: &str) {
    match (format, done.outcome) {
        (Format::Json, _) => output::json(&done),
        (Format::Human, Outcome::Done) => output::say(&format!("{text}\n")),
        (Format::Human, Outcome::Already) => output::say(&format!("{already}\n")),
    }
}

/// Who types: for the record of forced removals and declarations.
fn operator() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
