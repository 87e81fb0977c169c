//! Records as bytes: one byte of version, then postcard.
//!
//! ```text
//! +---------+----------------------------+
//! | version | postcard of the record     |      short records
//! +---------+----------------------------+
//!
//! +---------+--------------+-------------+   +---------------------+
//! | version | length (be4) | first bytes |   | the next 2,048      |  ...   long ones, in parts under
//! +---------+--------------+-------------+   +---------------------+        keys of their own
//! ```
//! A version that is not ours is [`ReadError::Newer`], anything that does not fit is [`ReadError::Damaged`]; no
//! byte may be left over. Parts keep the store's pages small: large ones would go to files of their own, whose
//! removal is not ordered with the log.

use jiff::Timestamp;
use mailferry_imap::{MailboxId, UidValidity};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{CommitError, ReadError};
use crate::ledger::Rebuilt;
use crate::message::{Counts, Intent, Message, SkippedFacts};
use crate::record::{
    AdminLogin, Batch, BatchState, Endpoint, Folder, FolderId, Learned, Mailbox, Note, Observation, Security,
    Trust,
};

/// The longest short record.
const LONGEST: usize = 256 * 1024;
/// Bytes in one part of a long record.
const PART: usize = 2048;
/// Version and length before the first bytes of a long record.
const LONG_HEAD: usize = 5;

/// A record that is stored.
pub(crate) trait Stored: Serialize + DeserializeOwned {
    /// For errors.
    const KIND: &'static str;
    /// Raised whenever a field is added or a meaning changes; `decode` then learns the old one.
    const VERSION: u8 = 1;

    /// A record of an earlier version, from its postcard; `None` for a version that never was.
    fn earlier(_version: u8, _bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        None
    }
}

macro_rules! stored {
    ($($record:ty => $kind:literal),* $(,)?) => {
        $(impl Stored for $record {
            const KIND: &'static str = $kind;
        })*
    };
}

stored! {
    Mailbox => "mailbox",
    Folder => "folder",
    Learned => "learned credential",
    Message => "message",
    Intent => "intent",
    SkippedFacts => "skipped facts",
    Counts => "counts",
    Observation => "observation",
    Note => "note",
    Rebuilt => "rebuilt mark",
    Numbers => "numbers",
    OwnerOf => "address",
    Named => "folder name",
    NamedText => "text",
}

impl Stored for Batch {
    const KIND: &'static str = "batch";
    const VERSION: u8 = 2;

    fn earlier(version: u8, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        (version == 1)
            .then(|| postcard::take_from_bytes::<BatchV1>(bytes).map(|(old, rest)| (old.into(), rest)))
    }
}

/// A batch before folders could be chosen.
#[derive(Serialize, Deserialize)]
struct BatchV1 {
    name: String,
    endpoint: String,
    state: BatchState,
    created: Timestamp,
    started: Option<Timestamp>,
    auto_start: bool,
    error: Option<String>,
}

impl From<BatchV1> for Batch {
    fn from(old: BatchV1) -> Self {
        Self {
            name: old.name,
            endpoint: old.endpoint,
            state: old.state,
            created: old.created,
            started: old.started,
            auto_start: old.auto_start,
            error: old.error,
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl Stored for Endpoint {
    const KIND: &'static str = "endpoint";
    const VERSION: u8 = 3;

    fn earlier(version: u8, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
        let first = || postcard::take_from_bytes::<EndpointV1>(bytes).map(|(old, rest)| (old.into(), rest));
        let second = || postcard::take_from_bytes::<EndpointV2>(bytes).map(|(old, rest)| (old.into(), rest));
        match version {
            1 => Some(first()),
            2 => Some(second()),
            _ => None,
        }
    }
}

/// An endpoint before administrators could log in by an identity of their own: what the first version had, and a separator.
#[derive(Serialize, Deserialize)]
struct EndpointV2 {
    old: EndpointV1,
    admin_separator: char,
}

impl From<EndpointV2> for Endpoint {
    fn from(old: EndpointV2) -> Self {
        Self { admin_separator: old.admin_separator, ..old.old.into() }
    }
}

/// An endpoint before it had a separator of its own.
#[derive(Serialize, Deserialize)]
struct EndpointV1 {
    name: String,
    server: String,
    port: u16,
    security: Security,
    trust: Trust,
    max_concurrent_migrations: u32,
    max_concurrent_incremental_syncs: u32,
    learn_credentials: bool,
}

impl From<EndpointV1> for Endpoint {
    fn from(old: EndpointV1) -> Self {
        Self {
            name: old.name,
            server: old.server,
            port: old.port,
            security: old.security,
            trust: old.trust,
            max_concurrent_migrations: old.max_concurrent_migrations,
            max_concurrent_incremental_syncs: old.max_concurrent_incremental_syncs,
            learn_credentials: old.learn_credentials,
            admin_separator: Self::ADMIN_SEPARATOR,
            admin_login: AdminLogin::Name,
        }
    }
}

/// The numbers that the ledger hands out, and how many commits it has made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) commits: u64,
    pub(crate) next_mailbox: u32,
    pub(crate) next_folder: u32,
    pub(crate) next_note: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { commits: 0, next_mailbox: 1, next_folder: 1, next_note: 1 }
    }
}

/// What an address leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OwnerOf(pub(crate) MailboxId);

/// What a folder's name at the source leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) folder: FolderId,
    pub(crate) validity: UidValidity,
}

/// A text and its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NamedText {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A short record as bytes.
pub(crate) fn encode<T: Stored>(record: &T) -> Result<Vec<u8>, CommitError> {
    let bytes = encode_any(record)?;
    if bytes.len() > LONGEST {
        return Err(CommitError::Unfit { kind: T::KIND, why: format!("{} bytes long", bytes.len()) });
    }
    Ok(bytes)
}

fn encode_any<T: Stored>(record: &T) -> Result<Vec<u8>, CommitError> {
    postcard::to_extend(record, vec![T::VERSION])
        .map_err(|error| CommitError::Unfit { kind: T::KIND, why: error.to_string() })
}

/// A short record from bytes.
pub(crate) fn decode<T: Stored>(bytes: &[u8]) -> Result<T, ReadError> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Err(damaged::<T>("is empty"));
    };
    let read = match version == T::VERSION {
        true => postcard::take_from_bytes(rest),
        false => T::earlier(version, rest).ok_or(ReadError::Newer { kind: T::KIND, version })?,
    };
    match read {
        Ok((record, [])) => Ok(record),
        Ok(_) => Err(damaged::<T>("is longer than it should be")),
        Err(error) => Err(damaged::<T>(&error.to_string())),
    }
}

fn damaged<T: Stored>(why: &str) -> ReadError {
    ReadError::Damaged { what: format!("{} record: {why}", T::KIND) }
}

/// A long record as its parts.
pub(crate) fn encode_long<T: Stored>(record: &T) -> Result<Vec<Vec<u8>>, CommitError> {
    let plain = encode_any(record)?;
    let length = u32::try_from(plain.len() - 1)
        .map_err(|_| CommitError::Unfit { kind: T::KIND, why: format!("{} bytes long", plain.len()) })?;
    let mut whole = Vec::with_capacity(plain.len() + LONG_HEAD);
    whole.push(T::VERSION);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(&plain[1..]);
    Ok(whole.chunks(PART).map(<[u8]>::to_vec).collect())
}

/// How many parts a long record has, by its first one.
pub(crate) fn parts_of<T: Stored>(first: &[u8]) -> Result<u32, ReadError> {
    let Some((&version, rest)) = first.split_first() else {
        return Err(damaged::<T>("is empty"));
    };
    if version != T::VERSION {
        return Err(ReadError::Newer { kind: T::KIND, version });
    }
    let Some((length, _)) = rest.split_first_chunk() else {
        return Err(damaged::<T>("has no length"));
    };
    let whole = u64::from(u32::from_be_bytes(*length)) + LONG_HEAD as u64;
    u32::try_from(whole.div_ceil(PART as u64)).map_err(|_| damaged::<T>("has an impossible length"))
}

/// A long record from its parts, all joined.
pub(crate) fn decode_long<T: Stored>(mut whole: Vec<u8>) -> Result<T, ReadError> {
    if parts_of::<T>(&whole)? as usize != whole.len().div_ceil(PART) {
        return Err(damaged::<T>("lacks a part"));
    }
    whole.drain(1..LONG_HEAD);
    decode(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> NamedText {
        NamedText { name: "n".into(), text: "x".repeat(length) }
    }

    #[test]
    fn long_records_come_back_from_their_parts() {
        for length in [0, 1, 2036, 2037, 2038, 2039, 2040, 2048, 4096, 100_000] {
            let parts = encode_long(&text(length)).unwrap();
            assert_eq!(parts_of::<NamedText>(&parts[0]).unwrap() as usize, parts.len(), "{length}");
            assert_eq!(decode_long::<NamedText>(parts.concat()).unwrap(), text(length));
            if parts.len() > 1 {
                let short = parts[..parts.len() - 1].concat();
                assert!(
                    matches!(decode_long::<NamedText>(short), Err(ReadError::Damaged { .. })),
                    "{length}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_version_is_never_misread() {
        let mut bytes = encode(&Numbers::default()).unwrap();
        assert_eq!(bytes[0], 1);
        for version in (0..=u8::MAX).filter(|version| *version != 1) {
            bytes[0] = version;
            assert_eq!(decode::<Numbers>(&bytes), Err(ReadError::Newer { kind: "numbers", version }));
        }
    }

    #[test]
    fn an_endpoint_without_a_separator_has_the_usual_one() {
        let old = EndpointV1 {
            name: "E".into(),
            server: "imap.contoso.com".into(),
            port: 993,
            security: Security::Ssl,
            trust: Trust::System,
            max_concurrent_migrations: 50,
            max_concurrent_incremental_syncs: 25,
            learn_credentials: true,
        };
        let bytes = postcard::to_extend(&old, vec![1]).unwrap();
        let endpoint: Endpoint = decode(&bytes).unwrap();
        assert_eq!((endpoint.admin_separator, endpoint.learn_credentials), ('*', true));
        assert_eq!(decode::<Endpoint>(&encode(&endpoint).unwrap()).unwrap(), endpoint);
        let second = EndpointV2 { old, admin_separator: '%' };
        let second: Endpoint = decode(&postcard::to_extend(&second, vec![2]).unwrap()).unwrap();
        assert_eq!(second, Endpoint { admin_separator: '%', ..endpoint });
        assert!(matches!(decode::<Endpoint>(&[4]), Err(ReadError::Newer { version: 4, .. })));
    }

    #[test]
    fn a_batch_without_chosen_folders_takes_all() {
        let old = BatchV1 {
            name: "B".into(),
            endpoint: "E".into(),
            state: BatchState::Synced,
            created: Timestamp::UNIX_EPOCH,
            started: None,
            auto_start: true,
            error: Some("x".into()),
        };
        let batch: Batch = decode(&postcard::to_extend(&old, vec![1]).unwrap()).unwrap();
        assert_eq!((batch.state, batch.error.as_deref()), (BatchState::Synced, Some("x")));
        assert!(batch.include.is_empty() && batch.exclude.is_empty());
        assert_eq!(decode::<Batch>(&encode(&batch).unwrap()).unwrap(), batch);
    }

    #[test]
    fn bytes_too_few_or_too_many_are_damage() {
        let bytes = encode(&Numbers::default()).unwrap();
        for length in 0..bytes.len() {
            assert!(
                matches!(decode::<Numbers>(&bytes[..length]), Err(ReadError::Damaged { .. })),
                "{length}"
            );
        }
        assert!(matches!(decode::<Numbers>(&[bytes, vec![0]].concat()), Err(ReadError::Damaged { .. })));
    }
}
