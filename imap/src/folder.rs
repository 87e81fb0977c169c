//! Folder names: what RFC 3501 calls mailbox names. They are bytes; only INBOX is special.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A folder's name as it stands on the wire, unquoted: modified UTF-7 (RFC 3501 section 5.1.3) where the
/// server keeps to the standard, any bytes where it does not. No byte of it is ever lost.
///
/// `INBOX` compares equal in any case (it is normalised when made); all other names are case-sensitive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderName(Bytes);

impl FolderName {
    /// The one folder that every account has.
    pub fn inbox() -> Self {
        Self(Bytes::from_static(b"INBOX"))
    }

    /// From the bytes between the quotes, escapes already undone.
    pub fn from_wire(name: impl Into<Bytes>) -> Self {
        let name = name.into();
        if name.eq_ignore_ascii_case(b"INBOX") { Self::inbox() } else { Self(name) }
    }

    /// From text as people write it: encoded as modified UTF-7.
    pub fn from_text(name: &str) -> Self {
        Self::from_wire(crate::utf7::encode(name))
    }

    /// The bytes for the wire, not yet quoted.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is INBOX itself.
    pub fn is_inbox(&self) -> bool {
        self.0.as_ref() == b"INBOX"
    }

    /// For people: decoded where it is valid modified UTF-7, else as it stands with odd bytes replaced.
    pub fn to_text(&self) -> String {
        crate::utf7::decode(&self.0).unwrap_or_else(|| String::from_utf8_lossy(&self.0).into_owned())
    }

    /// The levels of the name between `delimiter`s; the whole name where there is none.
    pub fn levels(&self, delimiter: Option<u8>) -> Vec<&[u8]> {
        match delimiter {
            Some(delimiter) => self.0.split(|byte| *byte == delimiter).collect(),
            None => vec![&self.0],
        }
    }
}

impl fmt::Debug for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl Serialize for FolderName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for FolderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name: Vec<u8> = Deserialize::deserialize(deserializer)?;
        Ok(Self::from_wire(name))
    }
}
