//! Whose login it is, and what was learnt from it: where the proxy's knowledge reaches the workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use mailferry_imap::MailboxId;
use tokio::sync::Notify;

use crate::change::Op;
use crate::error::{CommitError, ReadError};
use crate::key;
use crate::ledger::Ledger;
use crate::login::{Found, Strength, logins};
use crate::record::{Batch, BatchState, Endpoint, Learned};
use crate::scan::Scan;
use crate::vault::Sealed;

/// Of whom something was learnt since somebody asked. May be lost with the process: workers look by themselves at the start.
#[derive(Default)]
pub(crate) struct News {
    mailboxes: Mutex<BTreeSet<MailboxId>>,
    notify: Notify,
}

/// Logins and what was learnt from them.
impl Ledger {
    /// The mailbox, among those read from `endpoint`, whose user logs in by this name: by `ClientLogin` if the row has it,
    /// else by the user part of `UserName` or `UserRoot`, else by `EmailAddress`, else by what follows from these. Without
    /// regard to case, unless case is all that tells two apart. `None` where nobody or, at the strongest of these, more
    /// than one matches.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_by_login(&self, endpoint: &str, login: &str) -> Result<Option<Found>, ReadError> {
        let Some(endpoint) = self.endpoint(endpoint)? else { return Ok(None) };
        let prefix = key::of_login(login);
        let mut batches = BTreeMap::new();
        let mut found: Option<Found> = None;
        let mut alike = Alike::One;
        // Strongest first; those of one strength stand together.
        for entry in Scan::new(self, &prefix) {
            let entry = entry?;
            let Some(id) = key::last_number(&entry.key).map(MailboxId) else { continue };
            let Some(mailbox) = self.mailbox(id)? else { continue };
            if !self.is_read_from(&mailbox.batch, &endpoint, &mut batches)? {
                continue;
            }
            // The index says that there is such a name; the row says how it is spelled.
            let strength = entry.key.get(prefix.len()).copied();
            let names = logins(&mailbox, endpoint.admin_separator);
            let mut names = names.into_iter().filter(|(by, _)| strength == Some(*by as u8));
            let Some((by, name)) = names.find(|(_, name)| name.to_lowercase() == login.to_lowercase()) else {
                continue;
            };
            let here = if name == login { Alike::Spelled } else { Alike::One };
            match &found {
                None => (found, alike) = (Some(Found { mailbox, by }), here),
                Some(first) if first.by < by => break,
                Some(_) => match (alike, here) {
                    (Alike::Spelled, Alike::Spelled) => return Ok(None),
                    (Alike::Spelled, Alike::One | Alike::Many) => {}
                    (_, Alike::Spelled) => (found, alike) = (Some(Found { mailbox, by }), here),
                    (_, _) => alike = Alike::Many,
                },
            }
        }
        Ok(found.filter(|_| alike != Alike::Many))
    }

    fn is_read_from(
        &self,
        batch: &str,
        endpoint: &Endpoint,
        known: &mut BTreeMap<String, bool>,
    ) -> Result<bool, ReadError> {
        if let Some(known) = known.get(batch) {
            return Ok(*known);
        }
        let is = |batch: Batch| batch.endpoint == endpoint.name && batch.state != BatchState::Removing;
        let read = self.batch(batch)?.is_some_and(is);
        known.insert(batch.to_owned(), read);
        Ok(read)
    }

    /// What was learnt of a mailbox.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn learned(&self, mailbox: MailboxId) -> Result<Option<Learned>, ReadError> {
        self.record(&key::learned(mailbox))
    }

    /// Keeps what was just learnt of a mailbox, in place of what was learnt before, and tells whoever waits in
    /// [`newly_learned`](Self::newly_learned). Nothing is kept where its endpoint does not learn (any more), or its batch is
    /// being removed.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn learn(
        &self,
        mailbox: MailboxId,
        login: String,
        password: Sealed,
        at: Timestamp,
    ) -> Result<(), CommitError> {
        let learned = Learned { mailbox, login, password, at, refused: None, given_refused: false };
        self.commit(vec![Op::PutLearned(learned)]).await?;
        let news = self.news();
        news.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(mailbox);
        news.notify.notify_one();
        Ok(())
    }

    /// Waits until something was learnt, and says of whom. For one who asks at a time.
    pub async fn newly_learned(&self) -> Vec<MailboxId> {
        let news = self.news();
        loop {
            let heard = std::mem::take(&mut *news.mailboxes.lock().unwrap_or_else(PoisonError::into_inner));
            if !heard.is_empty() {
                return heard.into_iter().collect();
            }
            news.notify.notified().await;
        }
    }
}

/// How many mailboxes of the strongest match there are, and whether one is spelled as the login is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alike {
    One,
    Many,
    Spelled,
}

impl Found {
    /// Whether the row itself spells the name, so that what is learnt from its login is surely this mailbox's.
    pub fn is_spelled(&self) -> bool {
        self.by < Strength::Derived
    }
}
