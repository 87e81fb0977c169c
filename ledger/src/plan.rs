//! From changes to writes: which keys a change touches, with indexes and counts kept in step.
//!
//! A [`Plan`] gathers the changes of one durable write. Each is tried by itself on top of those before it: refused
//! ones leave no trace. Nothing here writes; the store is only read.

mod logins;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mailferry_imap::MailboxId;

use crate::change::{MessageAt, Op, Update};
use crate::codec::{self, Named, NamedText, Numbers, OwnerOf, Stored};
use crate::error::{CommitError, ReadError};
use crate::key;
use crate::ledger::Rebuilt;
use crate::message::{Counts, Message, MessageState, SkipReason, SkippedFacts};
use crate::record::{Batch, Endpoint, Folder, FolderId, Learned, Mailbox};
use crate::store::{Store, Writes};

/// Longest texts in records, in bytes: pages stay small, and no server fills our disk with its words.
const LONGEST_ERROR: usize = 2000;
const LONGEST_REASON: usize = 500;
const LONGEST_FACT: usize = 300;

/// The writes of some changes.
pub(crate) struct Plan<'a> {
    store: &'a Store,
    /// Of the accepted changes.
    writes: Writes,
    /// Of the change that is being tried.
    trial: Writes,
    numbers: Numbers,
    trial_numbers: Numbers,
    counts: BTreeMap<(MailboxId, FolderId), Counts>,
    trial_counts: Vec<Counted>,
    /// Folders that are known to be there, so that messages need not look each time.
    present: BTreeSet<(MailboxId, FolderId)>,
}

/// A message that came, went or changed.
struct Counted {
    mailbox: MailboxId,
    folder: FolderId,
    before: Option<(MessageState, u64)>,
    after: Option<(MessageState, u64)>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(store: &'a Store, numbers: Numbers) -> Self {
        Self {
            store,
            writes: Writes::new(),
            trial: Writes::new(),
            numbers,
            trial_numbers: numbers,
            counts: BTreeMap::new(),
            trial_counts: Vec::new(),
            present: BTreeSet::new(),
        }
    }

    /// Takes one change in, or refuses it whole.
    pub(crate) fn add(&mut self, ops: Vec<Op>) -> Result<(), CommitError> {
        let tried = ops.into_iter().try_for_each(|op| self.apply(op)).and_then(|()| self.load_counts());
        if tried.is_err() {
            self.trial.clear();
            self.trial_counts.clear();
            self.trial_numbers = self.numbers;
            self.present.clear();
            return tried;
        }
        self.writes.append(&mut self.trial);
        self.numbers = self.trial_numbers;
        for counted in std::mem::take(&mut self.trial_counts) {
            for folder in [counted.folder, key::WHOLE] {
                let counts = self.counts.entry((counted.mailbox, folder)).or_default();
                // One more first: a message that only changed must not make a count dip below zero.
                if let Some((state, size)) = &counted.after {
                    counts.count(state, *size);
                }
                if let Some((state, size)) = &counted.before {
                    counts.uncount(state, *size);
                }
            }
        }
        Ok(())
    }

    /// All writes of the accepted changes, and the numbers as they stand after them.
    pub(crate) fn finish(mut self) -> Result<(Writes, Numbers), CommitError> {
        self.numbers.commits += 1;
        for ((mailbox, folder), counts) in &self.counts {
            let value = (*counts != Counts::default()).then(|| codec::encode(counts)).transpose()?;
            self.writes.insert(key::counts(*mailbox, *folder), value);
        }
        self.writes.insert(key::numbers(), Some(codec::encode(&self.numbers)?));
        Ok((self.writes, self.numbers))
    }

    /// Counts are read before anything is accepted: reading may fail.
    fn load_counts(&mut self) -> Result<(), CommitError> {
        for index in 0..self.trial_counts.len() {
            let Counted { mailbox, folder, .. } = self.trial_counts[index];
            for folder in [folder, key::WHOLE] {
                if !self.counts.contains_key(&(mailbox, folder)) {
                    let counts = self.record(&key::counts(mailbox, folder))?.unwrap_or_default();
                    self.counts.insert((mailbox, folder), counts);
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), CommitError> {
        match op {
            Op::PutEndpoint(endpoint) => self.put_endpoint(&endpoint),
            Op::RemoveEndpoint(name) => self.remove_if_there::<Endpoint>(key::endpoint(&name)),
            Op::PutBatch(batch) => self.put_batch(batch),
            Op::RemoveBatch(name) => self.remove_if_there::<Batch>(key::batch(&name)),
            Op::PutMailbox(mailbox) => self.put_mailbox(*mailbox),
            Op::RemoveMailbox(id) => self.remove_mailbox(id),
            Op::PutLearned(learned) => self.put_learned(learned),
            Op::ForgetLearned(id) => self.remove_if_there::<Learned>(key::learned(id)),
            Op::PutFolder(folder) => self.put_folder(folder),
            Op::RemoveFolder(mailbox, folder) => self.remove_folder(mailbox, folder),
            Op::Update(update) => self.update(update),
            Op::PutMessage(at, message) => self.put_message(at, message),
            Op::RemoveMessage(at) => self.remove_message(at),
            Op::NoteIntent(at, intent) => {
                self.need_folder(at.mailbox, at.folder)?;
                self.put(key::at(key::INTENT, at), &intent)
            }
            Op::RemoveIntent(at) => self.remove_if_there::<crate::message::Intent>(key::at(key::INTENT, at)),
            Op::PutSkippedFacts(at, facts) => self.put_facts(at, facts),
            Op::PutObservation(mut observation) => {
                observation.domain = observation.domain.to_lowercase();
                self.put_long(key::observation(&observation.domain, observation.at), &observation)
            }
            Op::RemoveObservation(domain, at) => {
                self.remove_long::<crate::record::Observation>(&key::observation(&domain, at))
            }
            Op::PutNote(note) => {
                let number = self.trial_numbers.next_note;
                self.trial_numbers.next_note += 1;
                self.put_long(key::note(number), &note)
            }
            Op::PutText(kind, name, text) => self.put_long(key::text(kind, &name), &NamedText { name, text }),
            Op::RemoveText(kind, name) => self.remove_long::<NamedText>(&key::text(kind, &name)),
            Op::AcceptRebuilt => self.remove_if_there::<Rebuilt>(key::rebuilt()),
        }
    }

    fn update(&mut self, update: Update) -> Result<(), CommitError> {
        match update {
            Update::Batch(name, update) => {
                let Some(mut batch) = self.record::<Batch>(&key::batch(&name))? else { return Ok(()) };
                run(update, &mut batch)?;
                batch.name = name;
                self.put_batch(batch)
            }
            Update::Mailbox(id, update) => {
                let Some(mut mailbox) = self.record::<Mailbox>(&key::mailbox(id))? else { return Ok(()) };
                run(update, &mut mailbox)?;
                mailbox.id = id;
                self.put_mailbox(mailbox)
            }
            Update::Folder(mailbox, id, update) => {
                let Some(mut folder) = self.record::<Folder>(&key::folder(mailbox, id))? else {
                    return Ok(());
                };
                run(update, &mut folder)?;
                (folder.id, folder.mailbox) = (id, mailbox);
                self.put_folder(folder)
            }
            Update::Learned(id, update) => {
                let Some(mut learned) = self.record::<Learned>(&key::learned(id))? else { return Ok(()) };
                run(update, &mut learned)?;
                learned.mailbox = id;
                self.put(key::learned(id), &learned)
            }
        }
    }

    fn put_batch(&mut self, mut batch: Batch) -> Result<(), CommitError> {
        batch.error.iter_mut().for_each(|error| cut(error, LONGEST_ERROR));
        self.put(key::batch(&batch.name), &batch)
    }

    fn put_mailbox(&mut self, mut mailbox: Mailbox) -> Result<(), CommitError> {
        mailbox.error.iter_mut().for_each(|error| cut(error, LONGEST_ERROR));
        let id = mailbox.id;
        if let Some(OwnerOf(other)) = self.record(&key::address(&mailbox.address))?
            && other != id
        {
            let batch =
                self.record::<Mailbox>(&key::mailbox(other))?.map(|other| other.batch).unwrap_or_default();
            return Err(CommitError::AddressTaken { address: mailbox.address, batch });
        }
        match self.record::<Mailbox>(&key::mailbox(id))? {
            Some(old) => self.remove_indexes(&old)?,
            None => mailbox.needs_matching |= self.value(&key::rebuilt())?.is_some(),
        }
        self.trial_numbers.next_mailbox = self.trial_numbers.next_mailbox.max(id.0.saturating_add(1));
        self.put(key::address(&mailbox.address), &OwnerOf(id))?;
        let separator = self.separator(&mailbox)?;
        self.index_logins(&mailbox, separator);
        self.trial.insert(key::batch_mailbox(&mailbox.batch, id), Some(Vec::new()));
        self.put(key::mailbox(id), &mailbox)
    }

    fn remove_indexes(&mut self, mailbox: &Mailbox) -> Result<(), CommitError> {
        self.trial.insert(key::address(&mailbox.address), None);
        let separator = self.separator(mailbox)?;
        self.unindex_logins(mailbox, separator);
        self.trial.insert(key::batch_mailbox(&mailbox.batch, mailbox.id), None);
        Ok(())
    }

    fn remove_mailbox(&mut self, id: MailboxId) -> Result<(), CommitError> {
        if let Some(mailbox) = self.record::<Mailbox>(&key::mailbox(id))? {
            self.remove_indexes(&mailbox)?;
            self.trial.insert(key::mailbox(id), None);
            self.remove_if_there::<Learned>(key::learned(id))?;
            self.present.clear();
        }
        Ok(())
    }

    fn put_folder(&mut self, folder: Folder) -> Result<(), CommitError> {
        if self.value(&key::mailbox(folder.mailbox))?.is_none() {
            return Err(CommitError::NoMailbox(folder.mailbox));
        }
        if let Some(old) = self.record::<Folder>(&key::folder(folder.mailbox, folder.id))? {
            self.remove_name(&old)?;
        }
        if !folder.gone {
            let named = Named { folder: folder.id, validity: folder.source_validity };
            self.put(key::name(folder.mailbox, &folder.source), &named)?;
        }
        self.trial_numbers.next_folder = self.trial_numbers.next_folder.max(folder.id.0.saturating_add(1));
        self.put(key::folder(folder.mailbox, folder.id), &folder)
    }

    /// Takes the folder's name away from it, unless another folder has it by now.
    fn remove_name(&mut self, folder: &Folder) -> Result<(), CommitError> {
        let key = key::name(folder.mailbox, &folder.source);
        if self.record::<Named>(&key)?.is_some_and(|named| named.folder == folder.id) {
            self.trial.insert(key, None);
        }
        Ok(())
    }

    fn remove_folder(&mut self, mailbox: MailboxId, id: FolderId) -> Result<(), CommitError> {
        if let Some(folder) = self.record::<Folder>(&key::folder(mailbox, id))? {
            self.remove_name(&folder)?;
            self.trial.insert(key::folder(mailbox, id), None);
            self.present.clear();
        }
        Ok(())
    }

    fn put_message(&mut self, at: MessageAt, mut message: Message) -> Result<(), CommitError> {
        self.need_folder(at.mailbox, at.folder)?;
        if let MessageState::Skipped(SkipReason::Refused(text) | SkipReason::Unreadable(text)) =
            &mut message.state
        {
            cut(text, LONGEST_REASON);
        }
        let key = key::at(key::MESSAGE, at);
        let old = self.record::<Message>(&key)?;
        let was_skipped = old.as_ref().is_some_and(|old| matches!(old.state, MessageState::Skipped(_)));
        let is_skipped = matches!(message.state, MessageState::Skipped(_));
        if is_skipped && !was_skipped {
            self.put(key::at(key::SKIPPED, at), &SkippedFacts::default())?;
        } else if was_skipped && !is_skipped {
            self.trial.insert(key::at(key::SKIPPED, at), None);
        }
        self.put(key, &message)?;
        self.trial_counts.push(Counted {
            mailbox: at.mailbox,
            folder: at.folder,
            before: old.map(|old| (old.state, old.size)),
            after: Some((message.state, message.size)),
        });
        Ok(())
    }

    fn remove_message(&mut self, at: MessageAt) -> Result<(), CommitError> {
        let key = key::at(key::MESSAGE, at);
        if let Some(old) = self.record::<Message>(&key)? {
            self.trial.insert(key, None);
            if matches!(old.state, MessageState::Skipped(_)) {
                self.trial.insert(key::at(key::SKIPPED, at), None);
            }
            let before = Some((old.state, old.size));
            self.trial_counts.push(Counted { mailbox: at.mailbox, folder: at.folder, before, after: None });
        }
        Ok(())
    }

    fn put_facts(&mut self, at: MessageAt, mut facts: SkippedFacts) -> Result<(), CommitError> {
        let key = key::at(key::SKIPPED, at);
        if self.value(&key)?.is_none() {
            return Ok(());
        }
        [&mut facts.subject, &mut facts.sender, &mut facts.date]
            .into_iter()
            .for_each(|text| cut(text, LONGEST_FACT));
        self.put(key, &facts)
    }

    fn need_folder(&mut self, mailbox: MailboxId, folder: FolderId) -> Result<(), CommitError> {
        if self.present.contains(&(mailbox, folder)) {
            return Ok(());
        }
        if self.value(&key::mailbox(mailbox))?.is_none() {
            return Err(CommitError::NoMailbox(mailbox));
        }
        if self.value(&key::folder(mailbox, folder))?.is_none() {
            return Err(CommitError::NoFolder(mailbox, folder));
        }
        self.present.insert((mailbox, folder));
        Ok(())
    }

    fn put_long<T: Stored>(&mut self, key: Vec<u8>, record: &T) -> Result<(), CommitError> {
        self.remove_long::<T>(&key)?;
        for (number, part) in codec::encode_long(record)?.into_iter().enumerate() {
            self.trial.insert(key::part(&key, number as u32), Some(part));
        }
        Ok(())
    }

    fn remove_long<T: Stored>(&mut self, key: &[u8]) -> Result<(), CommitError> {
        let Some(first) = self.value(&key::part(key, 0))? else { return Ok(()) };
        for number in 0..codec::parts_of::<T>(&first).map_err(unreadable)? {
            self.trial.insert(key::part(key, number), None);
        }
        Ok(())
    }

    fn put<T: Stored>(&mut self, key: Vec<u8>, record: &T) -> Result<(), CommitError> {
        self.trial.insert(key, Some(codec::encode(record)?));
        Ok(())
    }

    fn remove_if_there<T: Stored>(&mut self, key: Vec<u8>) -> Result<(), CommitError> {
        if self.value(&key)?.is_some() {
            self.trial.insert(key, None);
        }
        Ok(())
    }

    fn record<T: Stored>(&self, key: &[u8]) -> Result<Option<T>, CommitError> {
        self.value(key)?.map(|value| codec::decode(&value)).transpose().map_err(unreadable)
    }

    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CommitError> {
        if let Some(value) = self.trial.get(key).or_else(|| self.writes.get(key)) {
            return Ok(value.clone());
        }
        self.store.read(key).map_err(|error| unreadable(error.into()))
    }
}

fn unreadable(error: ReadError) -> CommitError {
    CommitError::Failed { what: error.to_string() }
}

fn run<T: Stored>(update: Box<dyn FnOnce(&mut T) + Send>, record: &mut T) -> Result<(), CommitError> {
    catch_unwind(AssertUnwindSafe(|| update(record)))
        .map_err(|_| CommitError::Unfit { kind: T::KIND, why: "its update panicked".into() })
}

/// Cuts a text to at most so many bytes, between characters.
fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::RealDisk;
    use crate::tests::{INBOX, TERRY, folder, intent, mailbox, mirrored, uid};

    #[test]
    fn of_the_changes_of_one_write_a_refused_one_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Arc::new(RealDisk)).unwrap();
        let at = |number| MessageAt { mailbox: TERRY, folder: INBOX, uid: uid(number) };
        let terry = Box::new(mailbox(TERRY, "terrya@contoso.edu"));
        let good = |number| vec![Op::PutMessage(at(number), mirrored(1))];
        let mut plan = Plan::new(&store, Numbers::default());
        plan.add(vec![Op::PutMailbox(terry), Op::PutFolder(folder(TERRY, INBOX, "INBOX"))]).unwrap();
        plan.add(good(1)).unwrap();
        let ann = Box::new(mailbox(MailboxId(9), "ann@contoso.edu"));
        let nowhere = MessageAt { folder: FolderId(5), ..at(3) };
        let orphan = MessageAt { mailbox: MailboxId(9), folder: FolderId(9), uid: uid(1) };
        let refused = vec![
            Op::PutMailbox(ann),
            Op::PutFolder(folder(MailboxId(9), FolderId(9), "INBOX")),
            Op::PutMessage(at(2), mirrored(1)),
            Op::PutMessage(orphan, mirrored(1)),
            Op::NoteIntent(nowhere, intent()),
        ];
        assert_eq!(plan.add(refused), Err(CommitError::NoFolder(TERRY, FolderId(5))));
        assert_eq!(
            plan.add(vec![Op::PutMessage(orphan, mirrored(1))]),
            Err(CommitError::NoMailbox(MailboxId(9)))
        );
        plan.add(good(3)).unwrap();
        let (writes, numbers) = plan.finish().unwrap();

        let messages: Vec<_> = writes.keys().filter(|key| key[0] == key::MESSAGE).cloned().collect();
        assert_eq!(messages, [1, 3].map(|number| key::at(key::MESSAGE, at(number))));
        assert!(!writes.contains_key(&key::mailbox(MailboxId(9))));
        let counts: Counts = codec::decode(writes[&key::counts(TERRY, INBOX)].as_ref().unwrap()).unwrap();
        assert_eq!(counts.mirrored, 2);
        assert_eq!((numbers.commits, numbers.next_mailbox, numbers.next_folder), (1, 2, 2));
    }
}
