//! The numbers that name a message: no UID without its folder's UIDVALIDITY (RFC 3501 section 2.3.1.1).

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::FolderName;

macro_rules! nonzero_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// `None` for zero, which IMAP never uses.
            pub const fn new(number: u32) -> Option<Self> {
                match NonZeroU32::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The plain number.
            pub const fn value(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

nonzero_number! {
    /// A message's unique identifier in one folder at one UIDVALIDITY.
    Uid
}
nonzero_number! {
    /// What must stay the same for a folder's UIDs to keep their meaning.
    UidValidity
}

/// A modification sequence (RFC 7162); 63 bits, zero where a folder keeps none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ModSeq(pub u64);

/// One person's whole account: the ledger's number for one CSV row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MailboxId(pub u32);

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One message at the source, for as long as its folder keeps its UIDVALIDITY.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MessageKey {
    /// Whose account.
    pub mailbox: MailboxId,
    /// The source's name of the folder.
    pub folder: FolderName,
    /// The folder's UIDVALIDITY when the UID was seen.
    pub validity: UidValidity,
    /// The UID.
    pub uid: Uid,
}

impl fmt::Display for MessageKey {
    /// Number of the mailbox, validity and UID. Folder names may be private: they are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.mailbox, self.validity, self.uid)
    }
}
