//! Skipped messages handed out of the source byte for byte, so that nothing is out of reach.
//!
//! Bodies pass through in the pieces in which they come: memory does not grow with a message. Nothing is written
//! anywhere; the ledger is only read.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailferry_imap::net::Event;
use mailferry_imap::response::Status;
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, FolderId};
use tokio::sync::mpsc;

use crate::batch::SkippedMessage;
use crate::error::{PassError, SideError};
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

/// How many messages one FETCH asks for.
const TOGETHER: usize = 50;

/// Which messages are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Every skipped one.
    All,
    /// Those of these that are skipped.
    These(BTreeMap<FolderId, UidSet>),
}

impl Wanted {
    fn has(&self, folder: FolderId, uid: Uid) -> bool {
        match self {
            Self::All => true,
            Self::These(sets) => sets.get(&folder).is_some_and(|uids| uids.contains(uid)),
        }
    }
}

/// What is still to be handed out.
#[derive(Default)]
struct Rest(BTreeMap<FolderId, UidSet>);

impl Rest {
    fn len(&self) -> u64 {
        self.0.values().map(UidSet::len).sum()
    }
}

/// What comes of an export, in this order for each message: `Start`, `Chunk`…, `End` or `Broken`; or `NotGiven` alone.
#[derive(Debug)]
pub enum Step {
    /// A message begins.
    Start {
        /// What the account says about it.
        message: Box<SkippedMessage>,
        /// How many bytes will follow.
        bytes: u64,
    },
    /// Bytes of it.
    Chunk(Bytes),
    /// All of its bytes came.
    End,
    /// The rest will not come; the message may begin once more.
    Broken,
    /// The source does not give it, and why.
    NotGiven {
        /// The folder.
        folder: String,
        /// Its UID there.
        uid: u32,
        /// Why, for people.
        why: String,
    },
    /// The export ended early.
    Failed(PassError),
    /// Everything that was wanted was given, or told to be not given.
    Done,
}

/// Whoever waited for the messages is gone.
struct Nobody;

impl From<Nobody> for Trouble {
    fn from(Nobody: Nobody) -> Self {
        Self::Stopped
    }
}

impl MailboxWorker {
    /// Hands out what is wanted; its last step is `Done` or `Failed`.
    pub async fn export(&mut self, wanted: Wanted, out: mpsc::Sender<Step>) {
        let end = match self.hand_out_all(&wanted, &out).await {
            Ok(()) => Step::Done,
            Err(error) => Step::Failed(error),
        };
        let _ = out.send(end).await; // Nobody there: then nobody needs to know.
    }

    async fn hand_out_all(&mut self, wanted: &Wanted, out: &mpsc::Sender<Step>) -> Result<(), PassError> {
        let mut rest = Rest::default();
        for skipped in self.context.ledger.skipped(self.mailbox) {
            let skipped = skipped?;
            if wanted.has(skipped.folder, skipped.uid) {
                rest.0.entry(skipped.folder).or_default().insert(skipped.uid);
            }
        }
        let mut attempt = 0;
        loop {
            let before = rest.len();
            match Box::pin(self.hand_out(&mut rest, out)).await {
                Ok(()) => return Ok(()),
                Err(trouble) => {
                    if rest.len() < before {
                        attempt = 0;
                    }
                    self.weather(trouble, &mut attempt).await?;
                }
            }
        }
    }

    /// What is settled is taken out of `rest`: another attempt goes on from there.
    async fn hand_out(&mut self, rest: &mut Rest, out: &mpsc::Sender<Step>) -> Result<(), Trouble> {
        while let Some((&id, uids)) = rest.0.first_key_value() {
            let uids = uids.clone();
            match self.context.ledger.folder(self.mailbox, id)? {
                Some(folder) => match self.open(&folder).await? {
                    Ok(()) => self.hand_out_of(&folder, rest, out).await?,
                    Err(why) => not_given(out, &folder.source.to_text(), &uids, &why).await?,
                },
                None => not_given(out, "", &uids, "its folder is no longer in the ledger").await?,
            }
            rest.0.remove(&id);
        }
        Ok(())
    }

    /// Opens a folder; `Err` says why its messages cannot be had.
    async fn open(&mut self, folder: &Folder) -> Result<Result<(), String>, Trouble> {
        match self.source().await?.examine(&folder.source).await {
            Ok(selected) if selected.uid_validity == folder.source_validity => Ok(Ok(())),
            Ok(_) => Ok(Err("its folder has another UIDVALIDITY: the next pass finds it again".to_owned())),
            Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => {
                Ok(Err(format!("its folder cannot be opened: {error}")))
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn hand_out_of(
        &mut self,
        folder: &Folder,
        rest: &mut Rest,
        out: &mpsc::Sender<Step>,
    ) -> Result<(), Trouble> {
        let mut together = TOGETHER;
        loop {
            let Some(rest) = rest.0.get_mut(&folder.id).filter(|rest| !rest.is_empty()) else {
                return Ok(());
            };
            let asked: UidSet = rest.iter().take(together).collect();
            let mut settled = UidSet::new();
            let answered = self.hand_out_these(folder, &asked, together, &mut settled, out).await;
            *rest = rest.difference(&settled);
            match answered? {
                Answered::Whole => {}
                Answered::Unnamed => together = 1,
            }
        }
    }

    async fn hand_out_these(
        &mut self,
        folder: &Folder,
        asked: &UidSet,
        together: usize,
        settled: &mut UidSet,
        out: &mpsc::Sender<Step>,
    ) -> Result<Answered, Trouble> {
        let ledger = self.context.ledger.clone();
        let source = self.source().await?;
        let (writer, reader) = source.session.halves();
        let tag = writer.fetch_bodies(asked).await.map_err(Trouble::source)?;
        writer.flush().await.map_err(Trouble::source)?;
        let mut current: Option<Uid> = None;
        let mut unnamed = false;
        let answer = loop {
            match reader.next().await {
                Ok(Event::BodyStart { uid, size, .. }) => {
                    // A body without a name has one only where a single one is awaited.
                    let named = uid.or_else(|| asked.first().filter(|_| asked.len() == 1));
                    unnamed |= named.is_none();
                    let named = named.filter(|uid| asked.contains(*uid) && !settled.contains(*uid));
                    let found = named.map(|uid| ledger.skipped_message(folder.mailbox, folder.id, uid));
                    // Another pass may have taken it on meanwhile: that is told below.
                    let Some(found) = found.transpose()?.flatten() else { continue };
                    current = named;
                    let message = Box::new(SkippedMessage::of(found, folder));
                    send(out, Step::Start { message, bytes: size }).await?;
                }
                Ok(Event::BodyChunk(chunk)) if current.is_some() => send(out, Step::Chunk(chunk)).await?,
                Ok(Event::BodyEnd { fetched }) => {
                    let Some(uid) = current.take() else { continue };
                    if fetched.uid.is_some_and(|told| told != uid) {
                        // Told only after the body, and it is another one's.
                        unnamed = true;
                        send(out, Step::Broken).await?;
                    } else {
                        send(out, Step::End).await?;
                        settled.insert(uid);
                    }
                }
                Ok(Event::Tagged { tag: answered, text }) if answered == tag => break text,
                Ok(
                    Event::BodyChunk(_)
                    | Event::Tagged { .. }
                    | Event::Untagged(_)
                    | Event::Continue(_)
                    | Event::Bye(_),
                ) => {}
                Err(error) => {
                    if current.is_some() {
                        send(out, Step::Broken).await?;
                    }
                    return Err(Trouble::source(error));
                }
            }
        };
        let missing = asked.difference(settled);
        if unnamed && together > 1 {
            return Ok(Answered::Unnamed);
        }
        for uid in missing.iter() {
            let why = match ledger.skipped_message(folder.mailbox, folder.id, uid)? {
                None => "it is no longer skipped".to_owned(),
                Some(_) if answer.status != Status::Ok => format!("the source says: {}", answer.text),
                Some(_) => "the source does not have it any more, or does not give it".to_owned(),
            };
            not_given(out, &folder.source.to_text(), &UidSet::from_numbers([uid.value()]), &why).await?;
            settled.insert(uid);
        }
        Ok(Answered::Whole)
    }
}

/// How a FETCH of several bodies went.
enum Answered {
    /// All that was asked is settled.
    Whole,
    /// The server does not say which body is coming: the rest is to be asked for one by one.
    Unnamed,
}

async fn send(out: &mpsc::Sender<Step>, step: Step) -> Result<(), Nobody> {
    out.send(step).await.map_err(|_| Nobody)
}

async fn not_given(out: &mpsc::Sender<Step>, folder: &str, uids: &UidSet, why: &str) -> Result<(), Nobody> {
    for uid in uids.iter() {
        let (folder, why) = (folder.to_owned(), why.to_owned());
        send(out, Step::NotGiven { folder, uid: uid.value(), why }).await?;
    }
    Ok(())
}
