//! What a pass would do, before anything is written: folders, figures, and what stays behind and why.

use mailferry_imap::InternalDate;
use serde::{Deserialize, Serialize};

/// The plan of one mailbox.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct MailboxPlan {
    /// The mailbox's address.
    pub address: String,
    /// Every folder that the source lists, those that stay behind too.
    pub folders: Vec<PlannedFolder>,
    /// Messages at the source.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that are on the target already.
    pub mirrored: u64,
    /// Messages that would be copied.
    pub to_copy: u64,
    /// Their bytes.
    pub bytes_to_copy: u64,
    /// Messages above the size limit.
    pub too_large: u64,
    /// Messages beyond the item limit.
    pub over_item_limit: u64,
    /// The messages that would be skipped, the first [`MAX_LISTED`] of them.
    pub skipped: Vec<PlannedSkip>,
}

/// How many skipped messages a plan lists; the counts are exact beyond it.
pub const MAX_LISTED: usize = 1_000;

/// One folder of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedFolder {
    /// Its name at the source.
    pub source: String,
    /// Its name at the target; `None` when it stays behind.
    pub target: Option<String>,
    /// Why it is renamed or left out, if it is.
    pub why: Option<String>,
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One message that would be skipped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlannedSkip {
    /// Its folder at the source.
    pub folder: String,
    /// Its UID.
    pub uid: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its INTERNALDATE.
    pub date: InternalDate,
    /// `too-large` or `item-limit`.
    pub reason: String,
}

impl crate::worker::MailboxWorker {
    /// What a pass would do; nothing is written anywhere.
    ///
    /// # Errors
    /// [`crate::error::PassError`].
    pub async fn plan(&mut self) -> Result<MailboxPlan, crate::error::PassError> {
        todo!()
    }
}
