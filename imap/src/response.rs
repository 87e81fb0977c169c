//! What a server says, as far as we act on it (RFC 3501 section 7). Tolerant; what is unknown stays raw.

mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

use crate::token::Part;
use crate::{Capabilities, Flags, FolderName, InternalDate, ModSeq, Uid, UidSet, UidValidity};

/// One response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// `A1 OK …`
    Tagged {
        /// The command's tag.
        tag: Bytes,
        /// How it went.
        text: StatusText,
    },
    /// `* OK …`, also a bare `[COPYUID …]`.
    Status(StatusText),
    /// `* BYE …`
    Bye(StatusText),
    /// `* PREAUTH …`
    PreAuth(StatusText),
    /// `+ …`, the text without the plus.
    Continue(Bytes),
    /// `* CAPABILITY …`
    Capability(Capabilities),
    /// `* FLAGS (…)`
    Flags(Flags),
    /// `* 5 EXISTS`
    Exists(u32),
    /// `* 5 RECENT`
    Recent(u32),
    /// `* 5 EXPUNGE`: a sequence number.
    Expunge(u32),
    /// `* VANISHED 1:3` (RFC 7162).
    Vanished {
        /// The UIDs that are gone.
        uids: UidSet,
        /// With `(EARLIER)`: gone before the session began; sequence numbers do not move.
        earlier: Earlier,
    },
    /// `* 5 FETCH (…)`
    Fetch(Box<Fetched>),
    /// `* LIST …` and `* LSUB …`, also `XLIST`.
    List(Listed),
    /// `* STATUS …`
    FolderStatus(FolderStatus),
    /// `* SEARCH …`: UIDs or sequence numbers, as the command asked; zeroes left out.
    Search(UidSet),
    /// `* ESEARCH …` (RFC 4731)
    ESearch(ESearch),
    /// `* NAMESPACE …` (RFC 2342)
    Namespace(Namespaces),
    /// `* ENABLED …`
    Enabled(Capabilities),
    /// Anything else, or what did not read as it should: its first part.
    Other(Bytes),
}

/// How a command went, or a greeting, or a warning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Done; or just information.
    Ok,
    /// Refused or failed.
    No,
    /// Not understood, or not now.
    Bad,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        })
    }
}

/// A status with its code and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusText {
    /// `OK`, `NO`, `BAD`. For BYE `No`, for PREAUTH `Ok`.
    pub status: Status,
    /// What stands in the brackets.
    pub code: Option<Code>,
    /// The rest, for people. The server's own words; may hold names.
    pub text: String,
}

/// A response code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Code {
    /// `ALREADYEXISTS`
    AlreadyExists,
    /// `APPENDUID validity uid` (RFC 4315)
    AppendUid(UidValidity, UidSet),
    /// `CAPABILITY …`
    Capability(Capabilities),
    /// `COPYUID validity source target` (RFC 4315): the sets as they are written; [`crate::set::pairs`] matches them.
    CopyUid(UidValidity, Box<str>, Box<str>),
    /// `HIGHESTMODSEQ n`
    HighestModSeq(ModSeq),
    /// `NOMODSEQ`
    NoModSeq,
    /// `PERMANENTFLAGS (…)`; `\*` told apart.
    PermanentFlags(Flags, NewKeywords),
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `THROTTLED`
    Throttled,
    /// `TRYCREATE`
    TryCreate,
    /// `UIDNEXT n`
    UidNext(Uid),
    /// `UIDVALIDITY n`
    UidValidity(UidValidity),
    /// `UNSEEN n`
    Unseen(u32),
    /// Any other, as it stands between the brackets.
    Other(String),
}

/// Whether a client may make keywords of its own (`\*` among PERMANENTFLAGS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewKeywords {
    /// It may.
    Allowed,
    /// Only those listed.
    Refused,
}

/// Whether VANISHED tells of the past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Earlier {
    /// `(EARLIER)`
    Yes,
    /// Gone just now.
    No,
}

/// What one FETCH response told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fetched {
    /// The sequence number.
    pub seq: u32,
    /// `UID`
    pub uid: Option<Uid>,
    /// `FLAGS`
    pub flags: Option<Flags>,
    /// `INTERNALDATE`
    pub internal_date: Option<InternalDate>,
    /// `RFC822.SIZE`
    pub size: Option<u64>,
    /// `MODSEQ`
    pub modseq: Option<ModSeq>,
    /// Other items by their name in upper case (`BODY[HEADER.FIELDS (MESSAGE-ID)]`, `RFC822.HEADER`), those that
    /// are strings. A section that is NIL is empty. Streamed ones are left out.
    pub sections: Vec<(String, Bytes)>,
}

/// One line of LIST or LSUB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The folder.
    pub name: FolderName,
    /// What parts the levels of its name.
    pub delimiter: Option<u8>,
    /// As the server wrote them: `\HasNoChildren`, `\Sent`.
    pub attributes: Vec<String>,
}

/// One line of STATUS; what was not told is `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FolderStatus {
    /// The folder.
    pub name: FolderName,
    /// `MESSAGES`
    pub messages: Option<u32>,
    /// `UIDNEXT`
    pub uid_next: Option<Uid>,
    /// `UIDVALIDITY`
    pub uid_validity: Option<UidValidity>,
    /// `UNSEEN`
    pub unseen: Option<u32>,
    /// `HIGHESTMODSEQ`
    pub highest_modseq: Option<ModSeq>,
    /// `SIZE` (RFC 8438)
    pub size: Option<u64>,
}

/// One line of ESEARCH.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ESearch {
    /// The command that it answers.
    pub tag: Option<Bytes>,
    /// `ALL`; empty where it was not told.
    pub all: UidSet,
    /// `COUNT`
    pub count: Option<u32>,
    /// `MIN`
    pub min: Option<u32>,
    /// `MAX`
    pub max: Option<u32>,
    /// `MODSEQ`
    pub modseq: Option<ModSeq>,
}

/// What NAMESPACE tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Namespaces {
    /// One's own.
    pub personal: Vec<Namespace>,
    /// Other people's.
    pub other: Vec<Namespace>,
    /// Shared by many.
    pub shared: Vec<Namespace>,
}

/// One namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// What its names begin with, with the delimiter: `INBOX.`
    pub prefix: FolderName,
    /// What parts its levels.
    pub delimiter: Option<u8>,
}

/// Reads one framed response. Never fails: what does not read as it should is [`Response::Other`], and a FETCH whose
/// end does not read tells what stood before it.
pub fn parse(parts: &[Part]) -> Response {
    read::response(parts)
}

/// Of a FETCH response that has come as far as its last part, a streamed literal: what it told so far, and the
/// name of the item that the literal belongs to.
pub fn fetch_so_far(parts: &[Part]) -> Option<(Fetched, String)> {
    read::fetch_so_far(parts)
}

/// Whether a FETCH item is a whole message: `BODY[]`, `BODY[]<0>`, `RFC822`, `BINARY[]`.
pub fn is_whole_message(item: &str) -> bool {
    let item = item.split('<').next().unwrap_or_default();
    ["BODY[]", "RFC822", "BINARY[]"].iter().any(|whole| whole.eq_ignore_ascii_case(item))
}
