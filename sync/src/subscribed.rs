//! What people subscribe to at the source is subscribed to on the target.
//!
//! The ledger has what was carried over. Where it may not be what the target has (a folder is new or was renamed, an answer
//! was lost), that is written down before, and the target is asked once.

use std::collections::{BTreeMap, BTreeSet};

use mailferry_imap::FolderName;
use mailferry_imap::response::FolderStatus;
use mailferry_ledger::{Change, Folder, FolderId, MailboxId};
use tracing::debug;

use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

impl MailboxWorker {
    /// Folders of which is not known whether somebody subscribed to them on the target.
    fn unsure_of(&self) -> Result<BTreeSet<FolderId>, Trouble> {
        let fact = self.context.ledger.fact(&subscribing_name(self.mailbox))?;
        Ok(fact.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
    }

    /// Notes that this is to be found out of these folders.
    pub(crate) fn be_unsure_of(
        &self,
        folders: impl IntoIterator<Item = FolderId>,
        change: &mut Change,
    ) -> Result<(), Trouble> {
        let mut unsure = self.unsure_of()?;
        unsure.extend(folders);
        let json = serde_json::to_string(&unsure).unwrap_or_default();
        change.put_fact(&subscribing_name(self.mailbox), json);
        Ok(())
    }

    /// Subscribes on the target to what is wanted, by folder, and to nothing else of these.
    pub(crate) async fn carry_subscriptions(
        &mut self,
        folders: &mut [(Folder, FolderStatus)],
        wanted: &BTreeMap<FolderId, bool>,
    ) -> Result<(), Trouble> {
        let unsure = self.unsure_of()?;
        let is_due = |folder: &Folder| {
            let wanted = wanted.get(&folder.id).copied();
            wanted.filter(|wanted| *wanted != folder.subscribed || unsure.contains(&folder.id))
        };
        let due: Vec<FolderId> = folders
            .iter()
            .filter(|(folder, _)| is_due(folder).is_some())
            .map(|(folder, _)| folder.id)
            .collect();
        if due.is_empty() && unsure.is_empty() {
            return Ok(());
        }
        let ledger = self.context.ledger.clone();
        if due.iter().any(|id| !unsure.contains(id)) {
            let mut change = ledger.change();
            self.be_unsure_of(due, &mut change)?;
            change.commit().await?;
        }
        let target = self.target().await?;
        let root = FolderName::from_wire(&b""[..]);
        let there: Option<BTreeSet<FolderName>> = match target.session.lsub(&root, "*").await {
            Ok(there) => Some(there.into_iter().map(|listed| listed.name).collect()),
            Err(error) if !error.is_fatal() => None,
            Err(error) => return Err(Trouble::target(error)),
        };
        let mut change = ledger.change();
        for (folder, _) in folders {
            let Some(wanted) = is_due(folder) else { continue };
            if there.as_ref().is_none_or(|there| there.contains(&folder.target) != wanted) {
                let done = match wanted {
                    true => target.session.subscribe(&folder.target).await,
                    false => target.session.unsubscribe(&folder.target).await,
                };
                match done {
                    Ok(()) => {}
                    Err(error) if !error.is_fatal() => debug!(%error, "Subscription not carried over."),
                    Err(error) => return Err(Trouble::target(error)),
                }
            }
            folder.subscribed = wanted;
            change.update_folder(folder.mailbox, folder.id, move |folder| folder.subscribed = wanted);
        }
        change.remove_fact(&subscribing_name(self.mailbox));
        change.commit().await?;
        Ok(())
    }
}

/// Name of the fact about a mailbox's folders of which it is not known.
pub(crate) fn subscribing_name(mailbox: MailboxId) -> String {
    format!("subscribing/{mailbox}")
}
