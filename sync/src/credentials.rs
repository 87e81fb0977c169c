//! With which login the source is asked for a mailbox, and what is waited for where there is none.
//!
//! The CSV file's own goes first as long as it works. What was learnt from a client's login goes where the file has none,
//! or where the source refuses the user's own password that it has. A learnt one that is refused is not tried again
//! before a newer one is learnt: accounts get locked for refused logins.

use std::fmt;

use jiff::Timestamp;
use mailferry_imap::net;
use mailferry_imap::response::Code;
use mailferry_ledger::{
    AdminLogin, CommitError, Endpoint, Learned, Ledger, Mailbox, ReadError, UserName, user_and_admin,
};

/// What is known of a mailbox's login at one moment.
#[derive(Debug)]
pub(crate) struct Known {
    given: Given,
    kind: UserName,
    learned: Option<Learned>,
    learns: Learns,
    identity: Option<Identity>,
}

/// Who logs in, and whose mailbox is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) admin: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Given {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Learns {
    Yes,
    No,
}

/// What the source is asked with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Pick {
    /// `UserName` and `Password` of the CSV file.
    Given,
    /// What was learnt.
    Learned(Box<Learned>),
    /// Nothing: the user is to log in through the proxy.
    Awaits(Awaits),
    /// Nothing, and nothing is learnt at this endpoint.
    Nothing,
}

/// What a mailbox waits for: its user's next login through the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaits {
    /// No password is known yet.
    First,
    /// The source refuses what was learnt at this moment.
    Newer(Timestamp),
}

impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waiting for the user's next login through the proxy: ")?;
        match self {
            Self::First => f.write_str("no password is known yet"),
            Self::Newer(learned) => {
                write!(f, "the source no longer takes the password learnt at {}", learned.strftime("%F %R"))
            }
        }
    }
}

impl Known {
    /// Reads it.
    pub(crate) fn of(ledger: &Ledger, mailbox: &Mailbox) -> Result<Self, ReadError> {
        let endpoint = match ledger.batch(&mailbox.batch)? {
            Some(batch) => ledger.endpoint(&batch.endpoint)?,
            None => None,
        };
        let separator = endpoint.as_ref().map_or(Endpoint::ADMIN_SEPARATOR, |one| one.admin_separator);
        let by_identity = endpoint.as_ref().is_some_and(|one| one.admin_login == AdminLogin::Authzid);
        let parted = user_and_admin(&mailbox.user_name, separator).filter(|_| by_identity);
        let identity =
            parted.map(|(user, admin)| Identity { user: user.to_owned(), admin: admin.to_owned() });
        let learns = endpoint.is_some_and(|endpoint| endpoint.learn_credentials);
        Ok(Self {
            given: if mailbox.password.is_some() { Given::Yes } else { Given::No },
            kind: mailbox.user_name_is(separator),
            learned: ledger.learned(mailbox.id)?,
            identity,
            learns: if learns { Learns::Yes } else { Learns::No },
        })
    }

    /// By whom and for whom the CSV file's password logs in, where these are told apart.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    /// What goes next.
    pub(crate) fn pick(&self) -> Pick {
        let given_refused = self.learned.as_ref().is_some_and(|learned| learned.given_refused);
        if self.given == Given::Yes && !(given_refused && self.kind == UserName::Own) {
            return Pick::Given;
        }
        match &self.learned {
            Some(learned) if learned.is_usable() => Pick::Learned(Box::new(learned.clone())),
            Some(learned) => Pick::Awaits(Awaits::Newer(learned.at)),
            None if self.learns == Learns::Yes => Pick::Awaits(Awaits::First),
            None => Pick::Nothing,
        }
    }

    /// Whether what was learnt may stand in for the CSV file's own password.
    pub(crate) fn has_substitute(&self) -> bool {
        self.kind == UserName::Own && self.learned.as_ref().is_some_and(Learned::is_usable)
    }

    /// What is waited for, if nothing else can be done.
    pub(crate) fn awaits(&self) -> Option<Awaits> {
        match self.pick() {
            Pick::Awaits(awaits) => Some(awaits),
            Pick::Given | Pick::Learned(_) | Pick::Nothing => None,
        }
    }
}

/// Notes that the source refused the CSV file's password: what was learnt goes first from now on.
pub(crate) async fn note_given_refused(ledger: &Ledger, mailbox: &Mailbox) -> Result<(), CommitError> {
    let mut change = ledger.change();
    change.update_learned(mailbox.id, |learned| learned.given_refused = true);
    change.commit().await
}

/// Notes that the source refused what was learnt, unless something newer was learnt meanwhile.
pub(crate) async fn note_refused(ledger: &Ledger, tried: &Learned) -> Result<(), CommitError> {
    let (password, now) = (tried.password.clone(), Timestamp::now());
    let mut change = ledger.change();
    change.update_learned(tried.mailbox, move |learned| {
        if learned.password == password {
            learned.refused = Some(now);
        }
    });
    change.commit().await
}

/// What a refused login says about the password (RFC 5530).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It is not the right one.
    Wrong,
    /// Something else is in the way, and goes by itself.
    Passing,
    /// Something else is in the way.
    Standing,
}

impl Refusal {
    /// `None` for what is no refusal.
    pub(crate) fn of(error: &net::Error) -> Option<Self> {
        let net::Error::Refused { code, .. } = error else { return None };
        let Some(Code::Other(code)) = code else { return Some(Self::Wrong) };
        let word = code.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        Some(match word.as_str() {
            "UNAVAILABLE" | "INUSE" | "LIMIT" | "SERVERBUG" => Self::Passing,
            "CONTACTADMIN" | "PRIVACYREQUIRED" | "CLIENTBUG" | "NOPERM" => Self::Standing,
            _ => Self::Wrong,
        })
    }
}

#[cfg(test)]
mod tests;
