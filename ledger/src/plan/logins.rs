//! What hangs on an endpoint: the index of login names, which follows its separator, and what was learnt.

use std::collections::BTreeSet;

use super::{Plan, unreadable};
use crate::error::CommitError;
use crate::key;
use crate::login::logins;
use crate::record::{Batch, BatchState, Endpoint, Learned, Mailbox};
use crate::scan::PAGE;

impl Plan<'_> {
    pub(super) fn index_logins(&mut self, mailbox: &Mailbox, separator: char) {
        for (strength, login) in logins(mailbox, separator) {
            self.trial.insert(key::login(&login, strength, mailbox.id), Some(Vec::new()));
        }
    }

    pub(super) fn unindex_logins(&mut self, mailbox: &Mailbox, separator: char) {
        for (strength, login) in logins(mailbox, separator) {
            self.trial.insert(key::login(&login, strength, mailbox.id), None);
        }
    }

    /// The endpoint that a mailbox is read from.
    fn endpoint_of(&self, mailbox: &Mailbox) -> Result<Option<(Batch, Endpoint)>, CommitError> {
        let Some(batch) = self.record::<Batch>(&key::batch(&mailbox.batch))? else { return Ok(None) };
        let endpoint = self.record::<Endpoint>(&key::endpoint(&batch.endpoint))?;
        Ok(endpoint.map(|endpoint| (batch, endpoint)))
    }

    pub(super) fn separator(&self, mailbox: &Mailbox) -> Result<char, CommitError> {
        let endpoint = self.endpoint_of(mailbox)?;
        Ok(endpoint.map_or(Endpoint::ADMIN_SEPARATOR, |(_, endpoint)| endpoint.admin_separator))
    }

    pub(super) fn put_endpoint(&mut self, endpoint: &Endpoint) -> Result<(), CommitError> {
        let key = key::endpoint(&endpoint.name);
        let old = self.record::<Endpoint>(&key)?;
        let was = old.as_ref().map_or(Endpoint::ADMIN_SEPARATOR, |old| old.admin_separator);
        let forgets = !endpoint.learn_credentials && old.is_some_and(|old| old.learn_credentials);
        if forgets || was != endpoint.admin_separator {
            for mailbox in self.mailboxes_of(&endpoint.name)? {
                if forgets {
                    self.remove_if_there::<Learned>(key::learned(mailbox.id))?;
                }
                if was != endpoint.admin_separator {
                    self.unindex_logins(&mailbox, was);
                    self.index_logins(&mailbox, endpoint.admin_separator);
                }
            }
        }
        self.put(key, endpoint)
    }

    /// All mailboxes that are read from an endpoint, those of this very write among them.
    fn mailboxes_of(&self, endpoint: &str) -> Result<Vec<Mailbox>, CommitError> {
        let mut keys = BTreeSet::new();
        let end = key::behind(&[key::MAILBOX]);
        let mut from = vec![key::MAILBOX];
        loop {
            let page = self.store.page(&from, &end, PAGE).map_err(|error| unreadable(error.into()))?;
            keys.extend(page.iter().map(|entry| entry.key.clone()));
            match page.last() {
                Some(last) if page.len() == PAGE => from = [last.key.as_slice(), &[0]].concat(),
                _ => break,
            }
        }
        for writes in [&self.writes, &self.trial] {
            keys.extend(writes.keys().filter(|key| key.first() == Some(&key::MAILBOX)).cloned());
        }
        let mut found = Vec::new();
        for key in keys {
            let Some(mailbox) = self.record::<Mailbox>(&key)? else { continue };
            let batch = self.record::<Batch>(&key::batch(&mailbox.batch))?;
            if batch.is_some_and(|batch| batch.endpoint == endpoint) {
                found.push(mailbox);
            }
        }
        Ok(found)
    }

    /// Kept only where it may be kept at this very moment: whoever overheard it may come late.
    pub(super) fn put_learned(&mut self, mut learned: Learned) -> Result<(), CommitError> {
        let Some(mailbox) = self.record::<Mailbox>(&key::mailbox(learned.mailbox))? else {
            return Err(CommitError::NoMailbox(learned.mailbox));
        };
        let may = self.endpoint_of(&mailbox)?.is_some_and(|(batch, endpoint)| {
            endpoint.learn_credentials && batch.state != BatchState::Removing
        });
        if !may {
            return Ok(());
        }
        let key = key::learned(learned.mailbox);
        learned.given_refused |= self.record::<Learned>(&key)?.is_some_and(|old| old.given_refused);
        self.put(key, &learned)
    }
}
