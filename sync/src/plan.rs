//! What a pass would do, before anything is written: folders, figures, and what stays behind and why.

mod estimate;

use std::convert::Infallible;

use mailferry_imap::{InternalDate, Uid, UidSet};
use mailferry_ledger::{Folder, FolderId, Ledger, MessageState, SkipReason};
use serde::{Deserialize, Serialize};

use crate::error::PassError;
use crate::folders::Fate;
use crate::limits::{self, Newness};
use crate::look;
use crate::sides::from_uid;
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

pub use estimate::Estimate;
pub(crate) use estimate::estimate;

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
    /// Messages that an earlier pass gave up: refused, or not given by the source.
    #[serde(default)]
    pub given_up: u64,
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
        self.may_contact_target()?; // It may have to be asked for its folders.
        let mailbox = self.record()?;
        let limits = self.context.limits;
        let listing = self.list(&mailbox).await?;
        let mut plan = MailboxPlan { address: mailbox.address, ..MailboxPlan::default() };
        // Only where some may have to stay behind it matters which these are.
        let copied = listing.plan.iter().filter(|planned| matches!(planned.fate, Fate::Copy { .. }));
        let told = copied.filter_map(|planned| listing.status.get(&planned.source)?.messages);
        let crowded = told.map(u64::from).sum::<u64>() > limits.max_items;
        let mut items = Vec::new();
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
                let known = known.filter(|known| Some(known.source_validity) == status.uid_validity);
                let settled = match &known {
                    Some(known) => Settled::of(&ledger, known)?,
                    None => Settled::default(),
                };
                let mut seen = UidSet::new();
                look::sizes(&mut source.session, &from_uid(1), |uid, date, size| {
                    if seen.contains(uid) {
                        return;
                    }
                    seen.insert(uid);
                    folder.messages += 1;
                    folder.bytes += size;
                    if settled.mirrored.contains(uid) {
                        plan.mirrored += 1;
                    } else if settled.given_up.contains(uid) {
                        plan.given_up += 1;
                    } else if size > limits.max_message_bytes {
                        plan.too_large += 1;
                        plan.list(&name, uid, date, size, &SkipReason::TooLarge);
                    } else {
                        plan.to_copy += 1;
                        plan.bytes_to_copy += size;
                        if crowded {
                            items.push(Item { folder: place, uid, date, size });
                        }
                    }
                })
                .await
                .map_err(Trouble::source)?;
            }
            plan.messages += folder.messages;
            plan.bytes += folder.bytes;
            if !copied {
                // How many stay behind is worth knowing; they are not the plan's.
                folder.messages = status.and_then(|status| status.messages).unwrap_or_default().into();
            }
            plan.folders.push(folder);
        }
        let room = limits.max_items.saturating_sub(plan.mirrored);
        let Ok(cut) = limits::cut(room, |on| {
            items.iter().for_each(|item| on(item.newness()));
            Ok::<(), Infallible>(())
        });
        for item in items.iter().filter(|item| !cut.lets_go(item.newness())) {
            plan.over_item_limit += 1;
            plan.to_copy -= 1;
            plan.bytes_to_copy = plan.bytes_to_copy.saturating_sub(item.size);
            let at = usize::try_from(item.folder.0).unwrap_or(usize::MAX).saturating_sub(1);
            let name = plan.folders.get(at).map(|folder| folder.source.clone()).unwrap_or_default();
            plan.list(&name, item.uid, item.date, item.size, &SkipReason::ItemLimit);
        }
        Ok(plan)
    }
}

/// What an earlier pass settled in a folder.
#[derive(Default)]
struct Settled {
    mirrored: UidSet,
    /// Refused, unreadable, or a stub: not tried again by itself.
    given_up: UidSet,
}

impl Settled {
    fn of(ledger: &Ledger, folder: &Folder) -> Result<Self, Trouble> {
        let mut settled = Self::default();
        for message in ledger.messages(folder.mailbox, folder.id) {
            let (uid, message) = message?;
            match message.state {
                MessageState::Mirrored { .. } => settled.mirrored.insert(uid),
                MessageState::Skipped(
                    SkipReason::Refused(_) | SkipReason::Unreadable(_) | SkipReason::Stub,
                ) => settled.given_up.insert(uid),
                MessageState::Skipped(SkipReason::TooLarge | SkipReason::ItemLimit)
                | MessageState::Pending
                | MessageState::Gone => {}
            }
        }
        Ok(settled)
    }
}

/// A message that might be copied. Small: a crowded mailbox has a million of them.
struct Item {
    folder: FolderId,
    uid: Uid,
    date: InternalDate,
    size: u64,
}

impl Item {
    fn newness(&self) -> Newness {
        Newness::of(self.date, self.folder, self.uid)
    }
}

impl MailboxPlan {
    fn list(&mut self, folder: &str, uid: Uid, date: InternalDate, size: u64, reason: &SkipReason) {
        if self.skipped.len() < MAX_LISTED {
            self.skipped.push(PlannedSkip {
                folder: folder.to_owned(),
                uid: uid.value(),
                size,
                date,
                reason: reason.to_string(),
            });
        }
    }
}
