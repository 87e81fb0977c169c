//! Reading: every look-up that the others need, each a few key look-ups or one ordered scan.

use jiff::Timestamp;
use mailferry_imap::{FolderName, MailboxId, Uid, UidSet, UidValidity};

use crate::change::{MessageAt, Text};
use crate::codec::{self, Named, NamedText, OwnerOf, Stored};
use crate::error::ReadError;
use crate::key;
use crate::ledger::{Ledger, Rebuilt};
use crate::message::{Counts, Intent, Message, Skipped, SkippedFacts};
use crate::record::{Batch, Endpoint, Folder, FolderId, Mailbox, Note, Observation};
use crate::scan::{Intents, Messages, Scan, SkippedMessages};
use crate::store::{Entry, Store};

/// Reads. All of them fail with [`ReadError`] only, and block for a disk access at the most.
impl Ledger {
    /// The mark left by damage, until [`Change::accept_rebuilt`](crate::Change::accept_rebuilt).
    ///
    /// # Errors
    /// [`ReadError`], as all reads.
    pub fn rebuilt(&self) -> Result<Option<Rebuilt>, ReadError> {
        self.record(&key::rebuilt())
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn endpoint(&self, name: &str) -> Result<Option<Endpoint>, ReadError> {
        self.record(&key::endpoint(name))
    }

    /// All endpoints by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, ReadError> {
        self.all(&[key::ENDPOINT], |entry| codec::decode(&entry.value))
    }

    /// One batch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn batch(&self, name: &str) -> Result<Option<Batch>, ReadError> {
        self.record(&key::batch(name))
    }

    /// All batches by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn batches(&self) -> Result<Vec<Batch>, ReadError> {
        self.all(&[key::BATCH], |entry| codec::decode(&entry.value))
    }

    /// One mailbox.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox(&self, id: MailboxId) -> Result<Option<Mailbox>, ReadError> {
        self.record(&key::mailbox(id))
    }

    /// The mailbox with this `EmailAddress`, without regard to case.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_by_address(&self, address: &str) -> Result<Option<Mailbox>, ReadError> {
        match self.record(&key::address(address))? {
            Some(OwnerOf(id)) => self.mailbox(id),
            None => Ok(None),
        }
    }

    /// The numbers of a batch's mailboxes, ascending (the order of the CSV file).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_ids(&self, batch: &str) -> Result<Vec<MailboxId>, ReadError> {
        let id = |entry: Entry| {
            key::last_number(&entry.key).map(MailboxId).ok_or_else(|| odd_key("batch mailbox"))
        };
        self.all(&key::of_batch(batch), id)
    }

    /// The mailboxes of a batch, in the order of their numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailboxes(&self, batch: &str) -> Result<Vec<Mailbox>, ReadError> {
        let ids = self.mailbox_ids(batch)?;
        // One that was removed meanwhile is left out.
        ids.into_iter().filter_map(|id| self.mailbox(id).transpose()).collect()
    }

    /// All mailboxes, in the order of their numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn all_mailboxes(&self) -> Result<Vec<Mailbox>, ReadError> {
        self.all(&[key::MAILBOX], |entry| codec::decode(&entry.value))
    }

    /// One folder.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn folder(&self, mailbox: MailboxId, folder: FolderId) -> Result<Option<Folder>, ReadError> {
        self.record(&key::folder(mailbox, folder))
    }

    /// A mailbox's folders, gone ones too, in the order of their numbers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn folders(&self, mailbox: MailboxId) -> Result<Vec<Folder>, ReadError> {
        self.all(&key::of_mailbox(key::FOLDER, mailbox), |entry| codec::decode(&entry.value))
    }

    /// The folder that has this name at the source now; never a `gone` one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn folder_by_source(
        &self,
        mailbox: MailboxId,
        name: &FolderName,
    ) -> Result<Option<Folder>, ReadError> {
        match self.record::<Named>(&key::name(mailbox, name))? {
            Some(named) => self.folder(mailbox, named.folder),
            None => Ok(None),
        }
    }

    /// One message.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn message(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        uid: Uid,
    ) -> Result<Option<Message>, ReadError> {
        self.record(&key::at(key::MESSAGE, MessageAt { mailbox, folder, uid }))
    }

    /// A folder's messages by ascending UID, read page by page as they are asked for: memory does not grow with the
    /// folder. Changes made meanwhile are seen where the scan has not yet been.
    pub fn messages(&self, mailbox: MailboxId, folder: FolderId) -> Messages {
        Messages(Scan::new(self, &key::of_folder(key::MESSAGE, mailbox, folder)))
    }

    /// As [`messages`](Self::messages), from this UID on.
    pub fn messages_from(&self, mailbox: MailboxId, folder: FolderId, first: Uid) -> Messages {
        let first = key::at(key::MESSAGE, MessageAt { mailbox, folder, uid: first });
        Messages(Scan::new(self, &key::of_folder(key::MESSAGE, mailbox, folder)).starting_at(first))
    }

    /// The highest UID that a folder has a message for.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last_uid(&self, mailbox: MailboxId, folder: FolderId) -> Result<Option<Uid>, ReadError> {
        let prefix = key::of_folder(key::MESSAGE, mailbox, folder);
        let last = self.shared().read(|store| Ok(store.last(&prefix, &key::behind(&prefix))?))?;
        Ok(last.and_then(|entry| key::parse_at(&entry.key)).map(|at| at.uid))
    }

    /// One message's intent: while there is one, its fate is unknown.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn intent(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        uid: Uid,
    ) -> Result<Option<Intent>, ReadError> {
        self.record(&key::at(key::INTENT, MessageAt { mailbox, folder, uid }))
    }

    /// A folder's intents by ascending UID.
    pub fn intents(&self, mailbox: MailboxId, folder: FolderId) -> Intents {
        Intents(Scan::new(self, &key::of_folder(key::INTENT, mailbox, folder)))
    }

    /// Whether any message of the mailbox has an unknown fate.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn has_intents(&self, mailbox: MailboxId) -> Result<bool, ReadError> {
        let prefix = key::of_mailbox(key::INTENT, mailbox);
        self.shared().read(|store| Ok(!store.page(&prefix, &key::behind(&prefix), 1)?.is_empty()))
    }

    /// A mailbox's skipped messages by folder and UID, with what was noted about them; page by page.
    pub fn skipped(&self, mailbox: MailboxId) -> SkippedMessages {
        SkippedMessages(Scan::new(self, &key::of_mailbox(key::SKIPPED, mailbox)))
    }

    /// One skipped message with what was noted about it; `None` for one that is not skipped.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn skipped_message(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        uid: Uid,
    ) -> Result<Option<Skipped>, ReadError> {
        let at = MessageAt { mailbox, folder, uid };
        let (message, facts) = self.shared().read(|store| {
            let message: Option<Message> = record(store, &key::at(key::MESSAGE, at))?;
            let facts: Option<SkippedFacts> = record(store, &key::at(key::SKIPPED, at))?;
            Ok::<_, ReadError>((message, facts))
        })?;
        Ok(message.zip(facts).map(|(message, facts)| Skipped { folder, uid, message, facts }))
    }

    /// Messages and bytes of one folder.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn counts(&self, mailbox: MailboxId, folder: FolderId) -> Result<Counts, ReadError> {
        Ok(self.record(&key::counts(mailbox, folder))?.unwrap_or_default())
    }

    /// Messages and bytes of a whole mailbox; one look-up.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn mailbox_counts(&self, mailbox: MailboxId) -> Result<Counts, ReadError> {
        self.counts(mailbox, key::WHOLE)
    }

    /// Whether the ledger has this message as mirrored, skipped or gone, so that nobody needs its body. Quick; `false`
    /// whenever that is not certain.
    pub fn is_settled(
        &self,
        mailbox: MailboxId,
        folder: &FolderName,
        validity: UidValidity,
        uid: Uid,
    ) -> bool {
        let settled = || -> Result<bool, ReadError> {
            let Some(named) = self.record::<Named>(&key::name(mailbox, folder))? else { return Ok(false) };
            if named.validity != validity {
                return Ok(false);
            }
            let message = self.message(mailbox, named.folder, uid)?;
            Ok(message.is_some_and(|message| message.state.is_settled()))
        };
        settled().unwrap_or(false)
    }

    /// The same for many at once: which of the folder's messages from `first` on need no body, and the last UID that this
    /// is said of, `None` where it is said of all above. At most `limit` messages are looked at.
    pub fn settled_from(
        &self,
        mailbox: MailboxId,
        folder: &FolderName,
        validity: UidValidity,
        first: Uid,
        limit: usize,
    ) -> (UidSet, Option<Uid>) {
        let settled = || -> Result<(UidSet, Option<Uid>), ReadError> {
            let named = self.record::<Named>(&key::name(mailbox, folder))?;
            let Some(named) = named.filter(|named| named.validity == validity) else {
                return Ok((UidSet::default(), None));
            };
            let (mut settled, mut last, mut seen) = (UidSet::default(), None, 0);
            for found in self.messages_from(mailbox, named.folder, first).take(limit) {
                let (uid, message) = found?;
                (last, seen) = (Some(uid), seen + 1);
                if message.state.is_settled() {
                    settled.insert(uid);
                }
            }
            Ok((settled, last.filter(|_| seen == limit)))
        };
        settled().unwrap_or_default()
    }

    /// A domain's observations from `since` on, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn observations(&self, domain: &str, since: Timestamp) -> Result<Vec<Observation>, ReadError> {
        let prefix = key::of_domain(domain);
        self.long_from(key::observation(domain, since), &key::behind(&prefix))
    }

    /// A domain's last observation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last_observation(&self, domain: &str) -> Result<Option<Observation>, ReadError> {
        let prefix = key::of_domain(domain);
        let last = self.shared().read(|store| Ok(store.last(&prefix, &key::behind(&prefix))?))?;
        let Some(last) = last else { return Ok(None) };
        let long = &last.key[..last.key.len() - PART_NUMBER];
        Ok(self.long_from(long.to_vec(), &key::behind(long))?.pop())
    }

    /// All notes, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn notes(&self) -> Result<Vec<Note>, ReadError> {
        self.long_from(vec![key::NOTE], &key::behind(&[key::NOTE]))
    }

    /// The account of a removed batch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn report(&self, batch: &str) -> Result<Option<String>, ReadError> {
        self.text(Text::Report, batch)
    }

    /// The names of the batches of which an account is kept.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn reports(&self) -> Result<Vec<String>, ReadError> {
        self.texts(key::REPORT, |text| text.name)
    }

    /// A fact kept by [`Change::put_fact`](crate::Change::put_fact).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn fact(&self, name: &str) -> Result<Option<String>, ReadError> {
        self.text(Text::Fact, name)
    }

    /// The facts whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn facts(&self, prefix: &str) -> Result<Vec<(String, String)>, ReadError> {
        let mut facts = self.texts(key::FACT, |text| (text.name, text.text))?;
        facts.retain(|(name, _)| name.starts_with(prefix));
        Ok(facts)
    }

    pub(crate) fn record<T: Stored>(&self, key: &[u8]) -> Result<Option<T>, ReadError> {
        self.shared().read(|store| record(store, key))
    }

    /// Everything under a prefix, decoded; for what is small enough to be held.
    fn all<T>(
        &self,
        prefix: &[u8],
        decode: impl Fn(Entry) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let mut all = Vec::new();
        for entry in Scan::new(self, prefix) {
            all.push(decode(entry?)?);
        }
        Ok(all)
    }

    fn text(&self, kind: Text, name: &str) -> Result<Option<String>, ReadError> {
        let long = key::text(kind, name);
        let texts: Vec<NamedText> = self.long_from(long.clone(), &key::behind(&long))?;
        Ok(texts.into_iter().next().map(|text| text.text))
    }

    fn texts<T: Ord>(&self, kind: u8, of: impl Fn(NamedText) -> T) -> Result<Vec<T>, ReadError> {
        let texts: Vec<NamedText> = self.long_from(vec![kind], &key::behind(&[kind]))?;
        let mut texts: Vec<T> = texts.into_iter().map(of).collect();
        texts.sort();
        Ok(texts)
    }

    /// Long records between two keys, joined from their parts.
    fn long_from<T: Stored>(&self, from: Vec<u8>, to: &[u8]) -> Result<Vec<T>, ReadError> {
        let mut records = Vec::new();
        let mut whole: Vec<u8> = Vec::new();
        for entry in Scan::between(self, from, to.to_vec()) {
            let entry = entry?;
            if key::last_number(&entry.key) == Some(0) && !whole.is_empty() {
                records.push(codec::decode_long(std::mem::take(&mut whole))?);
            }
            whole.extend_from_slice(&entry.value);
        }
        if !whole.is_empty() {
            records.push(codec::decode_long(whole)?);
        }
        Ok(records)
    }
}

/// Bytes of a part's number at the end of a long record's keys.
const PART_NUMBER: usize = 4;

pub(crate) fn record<T: Stored>(store: &Store, key: &[u8]) -> Result<Option<T>, ReadError> {
    store.read(key)?.map(|value| codec::decode(&value)).transpose()
}

pub(crate) fn odd_key(kind: &str) -> ReadError {
    ReadError::Damaged { what: format!("a {kind} key has another form") }
}
