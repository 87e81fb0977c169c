//! Opening: the lock, the look at every record, and what is done with a damaged store.
//!
//! ```text
//! <dir>/lock            who owns the ledger
//! <dir>/store/          the store
//! <dir>/store.damaged-* stores that were set aside
//! <dir>/rebuilding      a store is being set aside: written before it is renamed, gone when the new one is marked
//! ```
//! Whatever moment the process dies at, the next start either finds the damage again or finds `rebuilding` and marks
//! the new store: an empty ledger is never taken for a fresh one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mailferry_imap::MailboxId;

use crate::change::MessageAt;
use crate::codec::{self, Named, NamedText, Numbers, OwnerOf, Stored};
use crate::commit::Care;
use crate::error::{OpenError, ReadError};
use crate::key;
use crate::ledger::Rebuilt;
use crate::lock::Lock;
use crate::message::{Counts, Intent, Message, SkippedFacts};
use crate::record::{Batch, Endpoint, Folder, FolderId, Learned, Mailbox, Note, Observation};
use crate::store::{Store, StoreError, Writes};

/// What opening gives.
pub(crate) struct Found {
    pub(crate) lock: Lock,
    pub(crate) store: Store,
    pub(crate) store_dir: PathBuf,
    pub(crate) numbers: Numbers,
    pub(crate) set_aside: Option<PathBuf>,
}

/// Why a store was not taken.
enum Trouble {
    Damaged(String),
    Newer(String),
    Io(io::Error),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(what) => Self::Io(io::Error::new(io::ErrorKind::StorageFull, what)),
            StoreError::Damaged(what) => Self::Damaged(what),
            StoreError::Io(error) => Self::Io(error),
        }
    }
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Newer { .. } => Self::Newer(error.to_string()),
            ReadError::Damaged { what } | ReadError::Unavailable { what } => Self::Damaged(what),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes the lock and opens the store; a damaged one is set aside.
pub(crate) fn open(dir: &Path, care: &Care) -> Result<Found, OpenError> {
    let io = |error| OpenError::Io { dir: dir.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let lock = Lock::take(dir)?;
    let store_dir = dir.join("store");
    let (mut set_aside, mut why) = (None, None);
    if let Some(mark) = unfinished(dir, &store_dir).map_err(io)? {
        set_aside = Some(mark.set_aside.clone());
        why = Some(mark);
    }
    let (store, numbers) = match open_verified(&store_dir, care) {
        Ok(opened) => opened,
        Err(Trouble::Newer(what)) => return Err(OpenError::Newer { dir: dir.to_owned(), what }),
        Err(Trouble::Io(error)) => return Err(io(error)),
        Err(Trouble::Damaged(what)) => {
            let mark = put_aside(dir, &store_dir, what, care).map_err(io)?;
            set_aside = Some(mark.set_aside.clone());
            why = Some(mark);
            open_verified(&store_dir, care).map_err(|trouble| match trouble {
                Trouble::Io(error) => io(error),
                Trouble::Damaged(what) | Trouble::Newer(what) => io(io::Error::other(what)),
            })?
        }
    };
    let numbers = match why {
        Some(mark) => put_mark(dir, &store, numbers, &mark, care).map_err(io)?,
        None => numbers,
    };
    Ok(Found { lock, store, store_dir, numbers, set_aside })
}

fn open_verified(store_dir: &Path, care: &Care) -> Result<(Store, Numbers), Trouble> {
    let store = Store::open(store_dir, care.disk.clone())?;
    let numbers = store.read(&key::numbers())?;
    let numbers = numbers.map(|numbers| codec::decode::<Numbers>(&numbers)).transpose()?.unwrap_or_default();
    let acknowledged = store.acknowledged()?;
    if numbers.commits < acknowledged {
        let lost = acknowledged - numbers.commits;
        return Err(Trouble::Damaged(format!("the last {lost} acknowledged commits are not in it")));
    }
    let corrections = Verify::new(&store).run()?;
    if corrections.is_empty() {
        return Ok((store, numbers));
    }
    // No record vanished, so this is a fault of ours; the messages are the truth.
    tracing::warn!(counts = corrections.len(), "Counts in the ledger were wrong and are corrected.");
    let numbers = commit_directly(&store, numbers, corrections)?;
    Ok((store, numbers))
}

fn commit_directly(store: &Store, mut numbers: Numbers, mut writes: Writes) -> Result<Numbers, Trouble> {
    numbers.commits += 1;
    let value = codec::encode(&numbers).map_err(|error| Trouble::Io(io::Error::other(error)))?;
    writes.insert(key::numbers(), Some(value));
    store.write(writes, numbers.commits)?;
    Ok(numbers)
}

/// Looks at every record: known kind, known version, whole; and counts the messages anew.
///
/// Nothing that reading would call damage may pass here: the ledger would fail at every start.
struct Verify<'a> {
    store: &'a Store,
    folder: Option<(MailboxId, FolderId)>,
    counts: Counts,
    total: Counts,
    corrections: Writes,
    /// The kind of a long record and its parts so far.
    long: Option<(u8, Vec<u8>)>,
}

impl<'a> Verify<'a> {
    fn new(store: &'a Store) -> Self {
        let (counts, total) = Default::default();
        Self { store, folder: None, counts, total, corrections: Writes::new(), long: None }
    }

    fn run(mut self) -> Result<Writes, Trouble> {
        self.store.walk(|key, value| self.look(key, value))?;
        self.enter(None)?;
        self.end_long()?;
        Ok(self.corrections)
    }

    fn look(&mut self, key: &[u8], value: &[u8]) -> Result<(), Trouble> {
        match key.first().copied().unwrap_or_default() {
            key::MESSAGE => self.count(place(key)?, &codec::decode(value)?)?,
            key::INTENT => place(key).and_then(|_| sound::<Intent>(value))?,
            key::SKIPPED => place(key).and_then(|_| sound::<SkippedFacts>(value))?,
            key::COUNTS => self.check_counted(key, &codec::decode(value)?)?,
            key::ADDRESS => sound::<OwnerOf>(value)?,
            key::BATCH => sound::<Batch>(value)?,
            key::ENDPOINT => sound::<Endpoint>(value)?,
            key::FOLDER => sound::<Folder>(value)?,
            key::LEARNED => sound::<Learned>(value)?,
            key::NAME => sound::<Named>(value)?,
            key::MAILBOX => sound::<Mailbox>(value)?,
            kind @ (key::OBSERVATION | key::REPORT | key::FACT | key::NOTE) => {
                if key::last_number(key) == Some(0) {
                    self.end_long()?;
                }
                self.long.get_or_insert_with(|| (kind, Vec::new())).1.extend_from_slice(value);
            }
            key::META if key == key::numbers() => sound::<Numbers>(value)?,
            key::META if key == key::rebuilt() => sound::<Rebuilt>(value)?,
            key::BATCH_MAILBOX | key::LOGIN => {}
            kind => return Err(Trouble::Newer(format!("records of kind {kind:#04x}"))),
        }
        Ok(())
    }

    fn end_long(&mut self) -> Result<(), Trouble> {
        match self.long.take() {
            None => {}
            Some((key::OBSERVATION, whole)) => _ = codec::decode_long::<Observation>(whole)?,
            Some((key::NOTE, whole)) => _ = codec::decode_long::<Note>(whole)?,
            Some((_, whole)) => _ = codec::decode_long::<NamedText>(whole)?,
        }
        Ok(())
    }

    fn count(&mut self, at: MessageAt, message: &Message) -> Result<(), Trouble> {
        if self.folder != Some((at.mailbox, at.folder)) {
            self.enter(Some((at.mailbox, at.folder)))?;
        }
        self.counts.count(&message.state, message.size);
        Ok(())
    }

    /// Messages come in the order of mailboxes and folders: when the folder changes, the one before is counted.
    fn enter(&mut self, next: Option<(MailboxId, FolderId)>) -> Result<(), Trouble> {
        if let Some((mailbox, folder)) = self.folder {
            let counts = std::mem::take(&mut self.counts);
            self.total += counts;
            self.compare(mailbox, folder, counts)?;
            if next.is_none_or(|(next, _)| next != mailbox) {
                let total = std::mem::take(&mut self.total);
                self.compare(mailbox, key::WHOLE, total)?;
            }
        }
        self.folder = next;
        Ok(())
    }

    fn compare(&mut self, mailbox: MailboxId, folder: FolderId, counted: Counts) -> Result<(), Trouble> {
        let key = key::counts(mailbox, folder);
        let noted = self.store.read(&key)?.map(|noted| codec::decode::<Counts>(&noted)).transpose()?;
        let noted = noted.unwrap_or_default();
        none_vanished(&noted, &counted)?;
        if noted != counted {
            let value = codec::encode(&counted).map_err(|error| Trouble::Io(io::Error::other(error)))?;
            self.corrections.insert(key, Some(value));
        }
        Ok(())
    }

    /// Counts of a folder or mailbox that has no message are found from this side only.
    fn check_counted(&mut self, key: &[u8], counts: &Counts) -> Result<(), Trouble> {
        let folder = key.strip_suffix(&key::WHOLE.0.to_be_bytes()).unwrap_or(key);
        let messages = [&[key::MESSAGE], &folder[1..]].concat();
        if *counts != Counts::default() && self.store.page(&messages, &key::behind(&messages), 1)?.is_empty()
        {
            none_vanished(counts, &Counts::default())?;
            self.corrections.insert(key.to_vec(), None);
        }
        Ok(())
    }
}

/// Counts are written with the messages that they count: where fewer are found, the store lost some.
fn none_vanished(noted: &Counts, found: &Counts) -> Result<(), Trouble> {
    match noted.recorded().checked_sub(found.recorded()) {
        None | Some(0) => Ok(()),
        Some(lost) => Err(Trouble::Damaged(format!("{lost} messages that it counts are not in it"))),
    }
}

fn place(key: &[u8]) -> Result<MessageAt, Trouble> {
    key::parse_at(key).ok_or_else(|| Trouble::Damaged("a message's key has another form".into()))
}

fn sound<T: Stored>(value: &[u8]) -> Result<(), Trouble> {
    codec::decode::<T>(value)?;
    Ok(())
}

/// The mark of a setting aside that did not come to its end, where the store was renamed already.
fn unfinished(dir: &Path, store_dir: &Path) -> io::Result<Option<Rebuilt>> {
    let path = dir.join("rebuilding");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match codec::decode::<Rebuilt>(&bytes) {
        Ok(mark) if mark.set_aside.exists() => Ok(Some(mark)),
        // Half-written or written for nothing: the rename comes after it, so the store is where it was.
        Ok(_) | Err(_) if store_dir.exists() => {
            fs::remove_file(&path)?;
            Ok(None)
        }
        Ok(_) | Err(_) => Ok(Some(Rebuilt {
            at: Timestamp::now(),
            set_aside: dir.to_owned(),
            why: "the store vanished".into(),
        })),
    }
}

fn put_aside(dir: &Path, store_dir: &Path, why: String, care: &Care) -> io::Result<Rebuilt> {
    let at = Timestamp::now();
    let name = |number: u32| match number {
        0 => format!("store.damaged-{}", at.strftime("%Y%m%dT%H%M%SZ")),
        number => format!("store.damaged-{}-{number}", at.strftime("%Y%m%dT%H%M%SZ")),
    };
    let free = (0..).map(|number| dir.join(name(number))).find(|path| !path.exists());
    let set_aside = free.ok_or_else(|| io::Error::other("no free name for the damaged store"))?;
    tracing::error!(
        why,
        set_aside = %set_aside.display(),
        "The ledger was damaged. It is set aside and a new one begins; add the endpoints and batches again: \
         mailboxes will be matched against what is on the target, nothing is copied twice."
    );
    let mark = Rebuilt { at, set_aside, why };
    let bytes = codec::encode(&mark).map_err(io::Error::other)?;
    let path = dir.join("rebuilding");
    let mut file = File::create(&path)?;
    file.write_all(&bytes)?;
    care.disk.sync_file(&file, &path)?;
    care.disk.sync_folder(dir)?;
    fs::rename(store_dir, &mark.set_aside)?;
    care.disk.sync_folder(dir)?;
    Ok(mark)
}

fn put_mark(dir: &Path, store: &Store, numbers: Numbers, mark: &Rebuilt, care: &Care) -> io::Result<Numbers> {
    let value = codec::encode(mark).map_err(io::Error::other)?;
    let writes = Writes::from([(key::rebuilt(), Some(value))]);
    let numbers = commit_directly(store, numbers, writes).map_err(|trouble| match trouble {
        Trouble::Io(error) => error,
        Trouble::Damaged(what) | Trouble::Newer(what) => io::Error::other(what),
    })?;
    fs::remove_file(dir.join("rebuilding"))?;
    care.disk.sync_folder(dir)?;
    Ok(numbers)
}
