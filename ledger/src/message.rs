//! Records of messages: their state, their intents, and the counts made from them.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use mailferry_imap::{Flags, InternalDate, Uid};
use serde::{Deserialize, Serialize};

use crate::record::FolderId;

/// Sixteen bytes that tell messages apart: what they are made from is the caller's choice and must stay the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The first 16 bytes of BLAKE3 over the parts, each preceded by its length so that parts cannot run together.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut print = [0; 16];
        print.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(print)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a message stays at the source.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// Above the largest message that the target takes.
    TooLarge,
    /// Not among the newest that the item limit lets through.
    ItemLimit,
    /// The target refused it for good; its words.
    Refused(String),
    /// A placeholder whose body the source cannot give (an archive's stub).
    Stub,
    /// The source lists it but does not hand it out; its words.
    Unreadable(String),
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("too-large"),
            Self::ItemLimit => f.write_str("item-limit"),
            Self::Refused(text) => write!(f, "refused: {text}"),
            Self::Stub => f.write_str("stub"),
            Self::Unreadable(text) => write!(f, "unreadable: {text}"),
        }
    }
}

/// The four states of a source message (promise 5); an unknown fate is `Pending` with an [`Intent`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Not yet on the target.
    Pending,
    /// On the target; its UID there where the target told it.
    Mirrored {
        /// UID in the target folder.
        target_uid: Option<Uid>,
    },
    /// Stays at the source.
    Skipped(SkipReason),
    /// Deleted at the source.
    Gone,
}

impl MessageState {
    /// Whether nobody needs the message's body any more.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Pending => false,
            Self::Mirrored { .. } | Self::Skipped(_) | Self::Gone => true,
        }
    }
}

/// One source message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Where it stands.
    pub state: MessageState,
    /// RFC822.SIZE in bytes.
    pub size: u64,
    /// INTERNALDATE.
    pub date: InternalDate,
    /// Flags and keywords as last carried over.
    pub flags: Flags,
    /// Tells it apart from others when it must be found again.
    pub print: Fingerprint,
}

/// Written before a message's bytes leave; while it is there, the message's fate is unknown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// The target folder's UIDNEXT before the APPEND: a stored copy lies at or above it.
    pub target_uid_next: u32,
    /// The message's fingerprint.
    pub print: Fingerprint,
    /// Its size in bytes.
    pub size: u64,
    /// Its INTERNALDATE.
    pub date: InternalDate,
}

/// What the account says about a skipped message besides its record. Over-long texts are cut when stored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SkippedFacts {
    /// The Subject, decoded.
    pub subject: String,
    /// The From, decoded.
    pub sender: String,
    /// The Date header as written.
    pub date: String,
}

/// A skipped message as the account lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// Its folder.
    pub folder: FolderId,
    /// Its UID at the source.
    pub uid: Uid,
    /// Its record; the state is `Skipped`.
    pub message: Message,
    /// What people recognise it by; empty where nothing was noted.
    pub facts: SkippedFacts,
}

/// Messages and bytes by state; exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Messages on the target.
    pub mirrored: u64,
    /// Messages not yet there.
    pub pending: u64,
    /// Messages that stay at the source.
    pub skipped: u64,
    /// Messages deleted at the source.
    pub gone: u64,
    /// Bytes of the mirrored ones.
    pub mirrored_bytes: u64,
    /// Bytes of the pending ones.
    pub pending_bytes: u64,
    /// Bytes of the skipped ones.
    pub skipped_bytes: u64,
}

impl Counts {
    /// What the source should report: mirrored, pending and skipped.
    pub fn at_source(&self) -> u64 {
        self.mirrored + self.pending + self.skipped
    }

    /// Every message that is recorded, those that are gone from the source among them.
    pub(crate) fn recorded(&self) -> u64 {
        self.at_source() + self.gone
    }

    /// Bytes of the messages at the source.
    pub fn bytes_at_source(&self) -> u64 {
        self.mirrored_bytes + self.pending_bytes + self.skipped_bytes
    }

    /// One message more.
    pub(crate) fn count(&mut self, state: &MessageState, size: u64) {
        let (number, bytes) = self.of(state);
        *number += 1;
        if let Some(bytes) = bytes {
            *bytes += size;
        }
    }

    /// One message less.
    pub(crate) fn uncount(&mut self, state: &MessageState, size: u64) {
        let (number, bytes) = self.of(state);
        *number = number.saturating_sub(1);
        if let Some(bytes) = bytes {
            *bytes = bytes.saturating_sub(size);
        }
    }

    fn of(&mut self, state: &MessageState) -> (&mut u64, Option<&mut u64>) {
        match state {
            MessageState::Pending => (&mut self.pending, Some(&mut self.pending_bytes)),
            MessageState::Mirrored { .. } => (&mut self.mirrored, Some(&mut self.mirrored_bytes)),
            MessageState::Skipped(_) => (&mut self.skipped, Some(&mut self.skipped_bytes)),
            MessageState::Gone => (&mut self.gone, None),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.mirrored += other.mirrored;
        self.pending += other.pending;
        self.skipped += other.skipped;
        self.gone += other.gone;
        self.mirrored_bytes += other.mirrored_bytes;
        self.pending_bytes += other.pending_bytes;
        self.skipped_bytes += other.skipped_bytes;
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}
