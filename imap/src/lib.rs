//! IMAP as Mailferry speaks and overhears it.
//!
//! Everything here is pure (bytes in, events out) but [`net`], the pipelined client, which is behind the
//! feature `net` and the crate's only I/O. Nothing here knows of ledgers, batches or Office 365.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod capability;
pub mod command;
pub mod date;
pub mod flags;
pub mod folder;
pub mod frame;
pub mod key;
#[cfg(feature = "net")]
pub mod net;
pub mod response;
pub mod set;
pub mod token;
pub mod utf7;

pub use capability::Capabilities;
pub use date::InternalDate;
pub use flags::{Flags, SystemFlag};
pub use folder::FolderName;
pub use key::{MailboxId, MessageKey, ModSeq, Uid, UidValidity};
pub use set::UidSet;
