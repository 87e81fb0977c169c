//! The durable record of a migration: what is where, what was promised, what was skipped and why.
//!
//! The ledger is the truth (everything that a tap or a cache says is a hint). It lives in one folder that one
//! process owns at a time, and it speaks in our words only: nothing of the store underneath leaves this crate.
//!
//! Invariants:
//! - **Durable before done.** [`Change::commit`] returns once the change would survive a power cut.
//! - **All or nothing.** One change is there as a whole or not at all, also after `kill -9`.
//! - **One writer.** All changes pass through one thread, which merges what waits into one durable write.
//! - **Counts are exact.** They are written in the same batch as the messages that they count.
//! - **Nothing is misread.** Every value begins with its version; one that we do not know is an error.
//! - **Never empty silently.** A damaged store is set aside under a new name and the new one is marked, so that
//!   every mailbox made in it is rebuilt by matching both sides.
//!
//! What it must not know: IMAP connections, DNS, HTTP, when to copy what.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod change;
mod codec;
mod commit;
mod disk;
mod error;
mod key;
mod learned;
mod ledger;
mod lock;
mod login;
pub mod message;
mod open;
mod plan;
mod read;
pub mod record;
mod remove;
mod scan;
mod store;
#[cfg(test)]
mod tests;
mod vault;

pub use change::Change;
pub use error::{CommitError, OpenError, ReadError};
pub use ledger::{Health, Ledger, Opened, Rebuilt};
pub use login::{Found, Strength, UserName, user_and_admin};
pub use mailferry_imap::{MailboxId, Uid, UidValidity};
pub use message::{Counts, Fingerprint, Intent, Message, MessageState, SkipReason, Skipped, SkippedFacts};
pub use record::{
    AdminLogin, Batch, BatchState, Endpoint, Folder, FolderId, Learned, Mailbox, MailboxState, Note,
    Observation, Route, Security, SourceMark, Trust,
};
pub use scan::{Intents, Messages, SkippedMessages};
pub use vault::{Sealed, Vault, VaultError};
