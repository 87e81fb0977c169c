//! One module a noun of the command line.

pub mod batch;
pub mod dns;
pub mod endpoint;
pub mod hook;
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
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()));
    named.unwrap_or_else(|| {
        let uid = rustix::process::getuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        name_of(&uid, &users).unwrap_or_else(|| format!("uid {uid}"))
    })
}

/// The name that belongs to `uid` in the text of `/etc/passwd`.
fn name_of(uid: &str, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_has_the_name_of_its_line() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nmail:x:8:8::/var/mail:\n";
        assert_eq!(name_of("8", users).as_deref(), Some("mail"));
        assert_eq!(name_of("99", users), None);
    }
}
