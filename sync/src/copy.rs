//! The pump: bodies from the source (or the spool) to one target folder, pipelined from end to end.
//!
//! ```text
//! stage -> ask -> read -> write -> collect -> settle
//!   |       |      |        |         |          |
//! intents  FETCH  bodies  APPEND   answers    outcomes
//! durable                                     durable
//! ```
//! Six futures of one task, joined by bounded channels; each hands on as soon as it can. What holds at any moment:
//! - No byte of a message leaves before its intent is durable.
//! - A literal that is begun is ended with exactly its bytes, or its connection is dropped: the target never takes
//!   half a message.
//! - Every answer of the target is settled, also when the source is lost; only what was sent whole and not
//!   answered is in doubt when the pump ends.
//! - Memory is the bytes between `read` and `write` (a budget) and at most [`WINDOW_MESSAGES`] records a window.

mod read;
mod settle;
mod stage;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mailferry_imap::net::{Session, Tag};
use mailferry_imap::response::{Code, Status, StatusText};
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, Ledger, Message, SkippedFacts};
use mailferry_spool::{Body, Spool};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::context::Limits;
use crate::print::Print;
use crate::progress::Progress;
use crate::trouble::Trouble;

/// The most messages whose intents are made durable together.
pub(crate) const WINDOW_MESSAGES: usize = 128;

/// The most bytes of such a window; one larger message is a window of its own.
const WINDOW_BYTES: u64 = 8 << 20;

/// The most APPENDs without an answer.
pub(crate) const MAX_FLIGHTS: usize = 256;

/// How bodies are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asking {
    /// Many with one FETCH.
    Together,
    /// Each with a FETCH of its own: for servers that do not say which body is coming.
    Singly,
}

/// What is to be pumped.
pub(crate) struct Job<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) spool: &'a Spool,
    pub(crate) progress: &'a Progress,
    pub(crate) limits: Limits,
    /// The folder; its `target_validity` is known.
    pub(crate) folder: &'a Folder,
    /// The target's UIDNEXT before this run.
    pub(crate) uid_next: u32,
    /// How many more refusals the session may see.
    pub(crate) refusals_left: u32,
    pub(crate) asking: Asking,
    /// The most APPENDs without an answer; [`MAX_FLIGHTS`] at most.
    pub(crate) flights: usize,
    /// Memory for bodies on their way, shared with whatever else is pumped for this mailbox.
    pub(crate) budget: &'a Budget,
    /// Once cancelled, nothing new is begun.
    pub(crate) halt: &'a CancellationToken,
    /// Asked between windows: whether something more urgent waits.
    pub(crate) interrupt: &'a (dyn Fn() -> bool + Sync),
}

/// Memory for bodies between source and target, of which everything that is pumped for a mailbox takes its part.
pub(crate) struct Budget {
    /// In KiB.
    free: Arc<Semaphore>,
    size: u32,
}

impl Budget {
    /// So many bytes, within reason.
    pub(crate) fn new(bytes: u64) -> Self {
        let size = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(256, 1 << 20);
        Self { free: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// A part for a chunk of this length. One above the whole budget takes all of it.
    async fn part(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(length / 1024 + 1).unwrap_or(u32::MAX).min(self.size);
        Arc::clone(&self.free).acquire_many_owned(kib).await.ok()
    }
}

/// What a run did, and what is left to look at.
#[derive(Default)]
pub(crate) struct Pumped {
    pub(crate) copied: u64,
    pub(crate) bytes: u64,
    pub(crate) from_spool: u64,
    pub(crate) skipped: u64,
    /// Target UIDs of copies that are `\Flagged`.
    pub(crate) flagged: UidSet,
    /// Copies whose UID the target did not tell.
    pub(crate) without_uid: u64,
    /// Asked for and not given; the source's words.
    pub(crate) not_given: Vec<(Uid, String)>,
    /// To be asked for one by one.
    pub(crate) unnamed: UidSet,
    /// Refused as such; the target's words.
    pub(crate) refused: Vec<(Uid, String)>,
    /// The target folder is not there.
    pub(crate) no_folder: bool,
    /// The run ended before all was staged since something more urgent waits.
    pub(crate) interrupted: bool,
    /// Something was sent whole and not answered.
    pub(crate) in_doubt: bool,
    /// The session at the source owes answers: it must be dropped.
    pub(crate) source_spoilt: bool,
    /// The session at the target is out of step: it must be dropped.
    pub(crate) target_spoilt: bool,
    /// How many refusals came.
    pub(crate) refusals: u32,
    /// What the target was taking in when it said BYE, and its words.
    pub(crate) closed_on: Option<(Uid, String)>,
    /// What stopped the run early.
    pub(crate) trouble: Option<Trouble>,
}

impl Pumped {
    /// Notes what went wrong. A writer may find the connection closed before the target's reason for it is heard.
    fn note(&mut self, trouble: Trouble) {
        self.trouble = Some(match self.trouble.take() {
            Some(known) => known.or_worse(trouble),
            None => trouble,
        });
    }
}

/// One message on its way.
struct Staged {
    message: Message,
    /// Whether its last byte was handed to the target's connection.
    sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    NotYet,
    Whole,
}

/// One message to be read.
struct Item {
    uid: Uid,
    body: Option<Body>,
}

/// What the source reader does next.
enum Run {
    /// The answer to one FETCH, of these.
    Fetch { tag: Tag, uids: Vec<Uid> },
    /// A body from the spool.
    Spooled { uid: Uid, body: Body },
}

/// What comes to the target writer.
enum Piece {
    Start {
        uid: Uid,
        size: u64,
        origin: Origin,
    },
    Chunk(Bytes, OwnedSemaphorePermit),
    End,
    /// The body that was begun will not be completed.
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Source,
    Spool,
}

/// An APPEND that waits for its answer.
struct Flight {
    tag: Tag,
    uid: Uid,
    size: u64,
    origin: Origin,
    sent: Sent,
    print: Option<Print>,
    facts: Option<Bytes>,
}

/// What is to be written into the ledger.
enum Outcome {
    Stored { uid: Uid, target_uid: Option<Uid>, size: u64, print: Print, origin: Origin },
    Skipped { uid: Uid, reason: mailferry_ledger::SkipReason, size: u64, facts: SkippedFacts },
}

/// What the six share.
struct Shared<'a> {
    job: &'a Job<'a>,
    state: Mutex<State>,
    /// Flights came or the writing ended.
    moved: Notify,
    /// Bodies that were asked for began, or will not come.
    begun: Notify,
    /// Nothing new is begun.
    halt: CancellationToken,
    /// The target's connection is of no use any more.
    dead: CancellationToken,
    /// Places for flights.
    places: Semaphore,
}

#[derive(Default)]
struct State {
    staged: BTreeMap<Uid, Staged>,
    flights: VecDeque<Flight>,
    /// Answers that came before their flight was noted.
    early: BTreeMap<Tag, StatusText>,
    written: bool,
    asked: u64,
    answered: u64,
    /// Bodies that were asked for and have not begun.
    awaited: usize,
    /// The highest target UID told so far: what is sent after that gets a higher one.
    highest: u32,
    pumped: Pumped,
}

impl Shared<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what went wrong and begins nothing new.
    fn stop(&self, trouble: Trouble) {
        self.halt_for(&trouble);
        self.state().pumped.note(trouble);
    }

    /// So many bodies have begun, or will not come.
    fn no_longer_awaited(&self, bodies: usize) {
        let mut state = self.state();
        state.awaited = state.awaited.saturating_sub(bodies);
        if state.awaited == 0 {
            self.begun.notify_one();
        }
    }

    /// Begins nothing new; what concerns the whole mailbox stops everything that is pumped for it.
    fn halt_for(&self, trouble: &Trouble) {
        match trouble.is_of_one_session() {
            true => self.halt.cancel(),
            false => self.job.halt.cancel(),
        }
    }
}

/// Pumps the messages of `todo` that the ledger has as pending.
pub(crate) async fn pump(job: &Job<'_>, source: &mut Session, target: &mut Session, todo: &UidSet) -> Pumped {
    let shared = Shared {
        job,
        state: Mutex::default(),
        moved: Notify::new(),
        begun: Notify::new(),
        halt: job.halt.child_token(),
        dead: CancellationToken::new(),
        places: Semaphore::new(job.flights.clamp(1, MAX_FLIGHTS)),
    };
    let (windows_out, windows_in) = mpsc::channel(1);
    let (runs_out, runs_in) = mpsc::channel(4);
    let (pieces_out, pieces_in) = mpsc::channel(1_024);
    let (outcomes_out, outcomes_in) = mpsc::channel(1_024);
    let (source_writer, source_reader) = source.halves();
    let (target_writer, target_reader) = target.halves();
    tokio::join!(
        stage::stage(&shared, todo, windows_out),
        read::ask(&shared, source_writer, windows_in, runs_out),
        read::read(&shared, source_reader, runs_in, pieces_out),
        write::write(&shared, target_writer, pieces_in, outcomes_out.clone()),
        write::collect(&shared, target_reader, outcomes_out),
        settle::settle(&shared, outcomes_in),
    );
    let mut state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.pumped.source_spoilt |= state.asked != state.answered;
    state.pumped.target_spoilt |= !state.flights.is_empty();
    settle::take_back(job, state).await
}

/// Whether an answer is a refusal.
fn is_refusal(text: &StatusText) -> bool {
    match text.status {
        Status::Ok => false,
        Status::No | Status::Bad => true,
    }
}

/// The UID that an APPENDUID tells, if it is of the folder as we know it.
fn told_uid(folder: &Folder, text: &StatusText) -> Option<Uid> {
    match &text.code {
        Some(Code::AppendUid(validity, uids)) if folder.target_validity == Some(*validity) => uids.first(),
        _ => None,
    }
}
