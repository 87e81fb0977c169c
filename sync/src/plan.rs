//! What a pass would do, before anything is written: folders, figures, and what stays behind and why.

use std::collections::BTreeMap;

use mailferry_imap::{Flags, InternalDate};
use mailferry_ledger::{FolderId, MessageState, SkipReason};
use serde::{Deserialize, Serialize};

use crate::error::PassError;
use crate::folders::Fate;
use crate::limits::{Item, beyond_item_limit};
use crate::look::{self, Fact};
use crate::sides::from_uid;
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

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

impl MailboxWorker {
    /// What a pass would do; nothing is written anywhere.
    ///
    /// # Errors
    /// [`PassError`].
    pub async fn plan(&mut self) -> Result<MailboxPlan, PassError> {
        let mut attempt = 0;
        loop {
            match Box::pin(self.draw_plan()).await {
                Ok(plan) => return Ok(plan),
                Err(trouble) => self.weather(trouble, &mut attempt).await?,
            }
        }
    }

    async fn draw_plan(&mut self) -> Result<MailboxPlan, Trouble> {
        let ledger = self.context.ledger.clone();
        let mailbox = self.record()?;
        let limits = self.context.limits;
        let listing = self.list(&mailbox).await?;
        let mut plan = MailboxPlan { address: mailbox.address, ..MailboxPlan::default() };
        let mut items = Vec::new();
        let mut sizes = BTreeMap::new();
        // Folders have no number before the first pass: their place in the plan serves as one.
        for (place, planned) in (1..).zip(&listing.plan) {
            let place = FolderId(place);
            let (target, why) = match &planned.fate {
                Fate::Copy { target, why } => (Some(target.to_text()), why.map(|why| why.to_string())),
                Fate::Stay(stay) => (None, Some(stay.to_string())),
            };
            let copied = target.is_some();
            let name = planned.source.to_text();
            let mut folder = PlannedFolder { source: name.clone(), target, why, messages: 0, bytes: 0 };
            let known = ledger.folder_by_source(self.mailbox, &planned.source)?;
            let status = listing.status.get(&planned.source);
            if let Some(status) = status.filter(|status| copied && status.messages != Some(0)) {
                let source = self.source().await?;
                source.examine(&planned.source).await?;
                let facts = look::facts(&mut source.session, &from_uid(1)).await.map_err(Trouble::source)?;
                let known = known.filter(|known| Some(known.source_validity) == status.uid_validity);
                for fact in facts {
                    folder.messages += 1;
                    folder.bytes += fact.size;
                    let record = match &known {
                        Some(known) => ledger.message(known.mailbox, known.id, fact.uid)?,
                        None => None,
                    };
                    match record.map(|record| record.state) {
                        Some(MessageState::Mirrored { .. }) => plan.mirrored += 1,
                        Some(MessageState::Skipped(
                            SkipReason::Refused(_) | SkipReason::Unreadable(_) | SkipReason::Stub,
                        )) => {}
                        _ if fact.size > limits.max_message_bytes => {
                            plan.too_large += 1;
                            plan.list(&name, &fact, &SkipReason::TooLarge);
                        }
                        _ => {
                            sizes.insert((place, fact.uid), fact.size);
                            items.push(Item { folder: place, uid: fact.uid, date: fact.date });
                        }
                    }
                }
            }
            plan.messages += folder.messages;
            plan.bytes += folder.bytes;
            plan.folders.push(folder);
        }
        let stay = beyond_item_limit(&mut items, plan.mirrored, limits.max_items);
        plan.over_item_limit = stay.len() as u64;
        for item in stay {
            let size = sizes.remove(&(item.folder, item.uid)).unwrap_or_default();
            let at = usize::try_from(item.folder.0).unwrap_or(usize::MAX).saturating_sub(1);
            let name = plan.folders.get(at).map(|folder| folder.source.clone()).unwrap_or_default();
            let fact = Fact { uid: item.uid, flags: Flags::default(), date: item.date, size };
            plan.list(&name, &fact, &SkipReason::ItemLimit);
        }
        plan.to_copy = items.len() as u64;
        plan.bytes_to_copy = sizes.values().sum();
        Ok(plan)
    }
}

impl MailboxPlan {
    fn list(&mut self, folder: &str, fact: &Fact, reason: &SkipReason) {
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(PlannedSkip {
                folder: folder.to_owned(),
                uid: fact.uid.value(),
                size: fact.size,
                date: fact.date,
                reason: reason.to_string(),
            });
        }
    }
}
