//! IMAP as Mailferry speaks and overhears it.
//!
//! Everything here is pure (bytes in, events out) but [`net`], the pipelined client, which is behind the
//! feature `net` and the crate's only I/O. Nothing here knows of ledgers, batches or Office 365.

pub mod date;
pub mod flags;
pub mod folder;
pub mod key;
pub mod set;
pub mod utf7;

pub use date::InternalDate;
pub use flags::{Flags, SystemFlag};
pub use folder::FolderName;
pub use key::{MailboxId, MessageKey, ModSeq, Uid, UidValidity};
pub use set::UidSet;
