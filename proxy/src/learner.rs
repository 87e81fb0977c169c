//! Learning passwords from logins that the source accepted, on an endpoint that says so.
//!
//! A session hands over what its client logged in with and goes on; one task, behind a bounded queue, finds out whose
//! mailbox it is and keeps what is news, sealed. Whoever waits for a password hears of it through the ledger. What nobody
//! needs is wiped where it lies: no mailbox of a batch of this endpoint, a name that its row does not spell, the password
//! that is kept already, a full queue.
//!
//! Must not know: passes, and what is done with a password.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use mailferry_imap::MailboxId;
use mailferry_ledger::{Learned, Ledger, Mailbox, ReadError, Sealed, Vault, VaultError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::book::count;
use crate::mirror::Mirror;

/// Logins that may wait. Users log in again; nothing is lost for long.
const QUEUE: usize = 1024;

/// A password that the source refused to the passes is taken up again only so much later, though a client got in with
/// it: something is wrong with one of the two, and accounts get locked for refused logins.
const AGAIN: SignedDuration = SignedDuration::from_mins(15);

/// Whether passwords are learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learning {
    /// They are.
    On,
    /// They are not: nothing is even looked at.
    Off,
}

/// What a client logged in with.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) login: String,
    pub(crate) password: SecretString,
}

/// The sessions' end.
#[derive(Debug)]
pub(crate) struct Learner {
    is_on: AtomicBool,
    queue: mpsc::Sender<Accepted>,
}

/// The task's end.
pub(crate) struct Pupil {
    queue: mpsc::Receiver<Accepted>,
    endpoint: String,
    vault: Option<Vault>,
    mirror: Mirror,
}

/// Both ends.
pub(crate) fn learner(endpoint: String, vault: Option<Vault>, mirror: Mirror) -> (Learner, Pupil) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let learner = Learner { is_on: AtomicBool::new(false), queue: sender };
    (learner, Pupil { queue, endpoint, vault, mirror })
}

impl Learner {
    pub(crate) fn set(&self, learning: Learning) {
        self.is_on.store(learning == Learning::On, Ordering::Relaxed);
    }

    pub(crate) fn learning(&self) -> Learning {
        if self.is_on.load(Ordering::Relaxed) { Learning::On } else { Learning::Off }
    }

    /// Takes what a client just logged in with, or wipes it. Never waits.
    pub(crate) fn offer(&self, accepted: Accepted) {
        if self.learning() == Learning::On && self.queue.try_send(accepted).is_err() {
            debug!("No room for a password to be learnt.");
        }
    }
}

impl Pupil {
    /// Learns until `done`, and then what is waiting still.
    pub(crate) async fn run(mut self, done: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                accepted = self.queue.recv() => match accepted {
                    Some(accepted) => self.learn(accepted).await,
                    None => return,
                },
                () = done.cancelled() => return,
            }
        }
    }

    async fn learn(&self, accepted: Accepted) {
        let Some(vault) = self.vault.clone() else { return };
        let (ledger, endpoint) = (self.mirror.ledger.clone(), self.endpoint.clone());
        let now = Timestamp::now();
        let looked = self.mirror.blocking(move || look(&ledger, &vault, &endpoint, accepted, now)).await;
        let (mailbox, login, sealed) = match looked {
            Some(Ok(Some(news))) => news,
            Some(Ok(None)) | None => return,
            Some(Err(error)) => return warn!(%error, "A password was not learnt."),
        };
        match self.mirror.ledger.learn(mailbox, login, sealed, now).await {
            Ok(()) => {
                count(&self.mirror.book.counters.learned);
                info!(%mailbox, "A password was learnt.");
            }
            Err(error) => warn!(%mailbox, %error, "A password was not learnt."),
        }
    }
}

/// Why nothing was learnt.
#[derive(Debug, thiserror::Error)]
enum Unlearnt {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// What is to be kept of a login, sealed; `None` where it is no news, or nobody's.
fn look(
    ledger: &Ledger,
    vault: &Vault,
    endpoint: &str,
    accepted: Accepted,
    now: Timestamp,
) -> Result<Option<(MailboxId, String, Sealed)>, Unlearnt> {
    let Some(found) = ledger.mailbox_by_login(endpoint, &accepted.login)? else { return Ok(None) };
    // Through an administrator's login the passes see other folder names than the user's own login shows.
    if !found.is_spelled() || found.mailbox.user_root.is_some() {
        return Ok(None);
    }
    let mailbox = found.mailbox;
    let news = match ledger.learned(mailbox.id)? {
        Some(kept) => is_news(&kept, vault, &mailbox.address, &accepted, now),
        None => !is_given(&mailbox, vault, &accepted),
    };
    if !news {
        return Ok(None);
    }
    let context = Learned::sealed_for(&mailbox.address, &accepted.login);
    let sealed = vault.seal(&accepted.password, &context)?;
    Ok(Some((mailbox.id, accepted.login, sealed)))
}

/// Whether a login says more than what is kept.
fn is_news(kept: &Learned, vault: &Vault, address: &str, accepted: &Accepted, now: Timestamp) -> bool {
    let same = vault
        .open(&kept.password, &Learned::sealed_for(address, &kept.login))
        .is_ok_and(|password| is_same(&password, &accepted.password));
    // What does not open was sealed with a key that is no more: this one is better. Under another of the user's names the
    // same password is the same.
    !same || kept.refused.is_some_and(|refused| now.duration_since(refused) >= AGAIN)
}

/// Whether the CSV file has this very login.
fn is_given(mailbox: &Mailbox, vault: &Vault, accepted: &Accepted) -> bool {
    let given = mailbox.password.as_ref();
    let given = given.and_then(|sealed| vault.open(sealed, &mailbox.address.to_lowercase()).ok());
    mailbox.user_name == accepted.login
        && given.is_some_and(|password| is_same(&password, &accepted.password))
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests;
