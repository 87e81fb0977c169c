//! Proof of promise 5: both sides read anew and compared message by message.

use serde::{Deserialize, Serialize};

/// What the comparison of one mailbox found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The mailbox's address.
    pub address: String,
    /// Folder by folder.
    pub folders: Vec<FolderVerdict>,
    /// Messages at the source.
    pub source: u64,
    /// Of these, found on the target.
    pub matched: u64,
    /// Left out on purpose: too large, beyond the item limit, refused.
    pub skipped: u64,
    /// Missing on the target though nothing says why.
    pub missing: u64,
    /// Copies that stand twice on the target.
    pub doubled: u64,
    /// On the target only: mail that arrived there by itself.
    pub foreign: u64,
    /// Matched, but flags or INTERNALDATE are not the same.
    pub differing: u64,
}

impl VerifyReport {
    /// Whether every source message is on the target once, or listed as skipped.
    pub fn holds(&self) -> bool {
        self.missing == 0 && self.doubled == 0
    }
}

/// One folder's comparison.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FolderVerdict {
    /// Its name at the source.
    pub source_folder: String,
    /// Its name at the target.
    pub target_folder: String,
    /// Messages at the source.
    pub source: u64,
    /// Messages on the target.
    pub target: u64,
    /// Found on both.
    pub matched: u64,
    /// Left out on purpose.
    pub skipped: u64,
    /// Messages on the target that are not at the source.
    pub foreign: u64,
    /// What does not agree; at most [`MAX_LISTED`].
    pub differences: Vec<Difference>,
}

/// How many differences of one folder are listed.
pub const MAX_LISTED: usize = 1_000;

/// One thing that does not agree.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// UID at the source, if it is there.
    pub source_uid: Option<u32>,
    /// UID on the target, if it is there.
    pub target_uid: Option<u32>,
    /// What is different.
    pub what: What,
}

/// Kinds of differences.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Not on the target.
    Missing,
    /// Twice on the target.
    Doubled,
    /// Other system flags.
    Flags,
    /// Another INTERNALDATE.
    Date,
    /// Another RFC822.SIZE, where the target is known to keep messages as they are.
    Size,
}

impl crate::worker::MailboxWorker {
    /// Reads both sides anew and compares them.
    ///
    /// # Errors
    /// [`crate::error::PassError`].
    pub async fn verify(&mut self) -> Result<VerifyReport, crate::error::PassError> {
        todo!()
    }
}
