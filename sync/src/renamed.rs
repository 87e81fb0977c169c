//! Folders that the source calls otherwise: found by their UIDVALIDITY and messages, renamed on the target with all that is
//! below them.

use std::collections::{BTreeMap, BTreeSet};

use mailferry_imap::net;
use mailferry_imap::{FolderName, UidSet};
use mailferry_ledger::{Folder, MessageState};
use tracing::info;

use crate::folders::Planned;
use crate::listing::Listing;
use crate::look;
use crate::pace::{Meaning, meaning};
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

impl MailboxWorker {
    /// Folders of the ledger whose name another folder has by now, while one of their UIDVALIDITY is new.
    pub(crate) fn displaced(&self, listing: &Listing, known: &[Folder]) -> Vec<Folder> {
        let validity_of = |name: &FolderName| listing.status.get(name).and_then(|status| status.uid_validity);
        let is_new = |name: &FolderName| !known.iter().any(|folder| !folder.gone && folder.source == *name);
        let displaced = |folder: &&Folder| {
            !folder.gone
                && validity_of(&folder.source).is_some_and(|validity| validity != folder.source_validity)
                && listing
                    .status
                    .iter()
                    .any(|(name, status)| is_new(name) && status.uid_validity == Some(folder.source_validity))
        };
        known.iter().filter(displaced).cloned().collect()
    }

    /// Whether a new folder is one that vanished: the same UIDVALIDITY, and messages that are the same to the last one
    /// looked at. Where no other folder has this UIDVALIDITY, few or none of them need be left.
    pub(crate) async fn find_renamed(
        &mut self,
        vanished: &[Folder],
        planned: &Planned,
        listing: &Listing,
    ) -> Result<Option<Folder>, Trouble> {
        let ledger = self.context.ledger.clone();
        let Some(status) = listing.status.get(&planned.source) else { return Ok(None) };
        let unique = |old: &Folder| {
            let listed = listing.status.values().filter(|other| other.uid_validity == status.uid_validity);
            let mut gone =
                vanished.iter().filter(|one| one.source_validity == old.source_validity && one.id != old.id);
            listed.count() == 1 && gone.next().is_none()
        };
        for old in vanished.iter().filter(|old| Some(old.source_validity) == status.uid_validity) {
            let mut sample = BTreeMap::new();
            for message in ledger.messages(old.mailbox, old.id) {
                let (uid, message) = message?;
                if message.state != MessageState::Gone {
                    sample.insert(uid, message);
                }
                if sample.len() >= 50 {
                    break;
                }
            }
            let last = ledger.last_uid(old.mailbox, old.id)?;
            let few_will_do = unique(old) && last.is_some() && status.uid_next > last;
            if sample.is_empty() {
                if few_will_do {
                    return Ok(Some(old.clone()));
                }
                continue;
            }
            let source = self.source().await?;
            source.examine(&planned.source).await?;
            let uids: UidSet = sample.keys().copied().collect();
            let facts = look::facts(&mut source.session, &uids).await.map_err(Trouble::source)?;
            let same = facts.iter().all(|fact| {
                sample
                    .get(&fact.uid)
                    .is_some_and(|message| message.date == fact.date && message.size == fact.size)
            });
            if same && (few_will_do || facts.len() * 2 > sample.len()) {
                return Ok(Some(old.clone()));
            }
        }
        Ok(None)
    }

    /// Renames a folder as at the source. `None` if the target cannot: then it is copied as a new one, and the old one goes.
    pub(crate) async fn rename(
        &mut self,
        old: &Folder,
        planned: &Planned,
        name: &FolderName,
        listing: &Listing,
        there: &mut BTreeSet<FolderName>,
    ) -> Result<Option<Folder>, Trouble> {
        // It may have gone along with another one meanwhile.
        let old = &self.context.ledger.folder(self.mailbox, old.id)?.unwrap_or_else(|| old.clone());
        let folder = Folder {
            source: planned.source.clone(),
            source_delimiter: planned.delimiter,
            target: name.clone(),
            ..old.clone()
        };
        let all = self.context.ledger.folders(self.mailbox)?;
        if old.target != *name {
            let stays = |below: &&Folder| {
                let status = listing.status.get(&below.source);
                let there = status.is_some_and(|status| status.uid_validity == Some(below.source_validity));
                there && !below.gone && below.id != old.id && goes_along(below, old)
            };
            if all.iter().any(|below| stays(&below)) {
                info!("What is below a renamed folder is where it was; the folder is copied anew.");
                return Ok(None);
            }
            let target = self.target().await?;
            target.leave().await?;
            match target.session.rename(&old.target, name).await {
                Ok(()) => {}
                Err(net::Error::Refused { code, text, .. })
                    if matches!(meaning(code.as_ref(), &text), Meaning::Item | Meaning::NoFolder) =>
                {
                    let listed = target.list().await?;
                    let has = |name: &FolderName| listed.iter().any(|listed| listed.name == *name);
                    // Done by an earlier attempt, if the new name is there and the old one is not.
                    if has(&old.target) || !has(name) {
                        info!(text, "The target does not rename a folder; it is copied anew.");
                        return Ok(None);
                    }
                }
                Err(error) => return Err(Trouble::target(error)),
            }
            there.retain(|known| !known.wire().starts_with(old.target.wire()));
            there.insert(name.clone());
            info!("Folder renamed as at the source.");
        }
        let mut change = self.context.ledger.change();
        if old.target != *name {
            // Whatever is below it went along on both sides, also what the source no longer has; and what is known under older
            // UIDs.
            let went: Vec<&Folder> = all.iter().filter(|below| goes_along(below, old)).collect();
            self.be_unsure_of(went.iter().map(|below| below.id), &mut change)?;
            for below in went {
                let rest = below.target.wire().get(old.target.wire().len()..).unwrap_or_default();
                let target = FolderName::from_wire([name.wire(), rest].concat());
                let source = source_name(below, old, planned, &all);
                change.put_folder(Folder { source, target, ..below.clone() });
            }
        }
        change.put_folder(folder.clone());
        change.commit().await?;
        Ok(Some(folder))
    }
}

/// Whether a folder of the ledger goes along when another is renamed on the target. What is below INBOX does not (RFC 3501
/// section 6.3.5).
fn goes_along(below: &Folder, old: &Folder) -> bool {
    match below.target.wire().strip_prefix(old.target.wire()).map(<[u8]>::first) {
        Some(None) => true,
        Some(Some(first)) => *first == b'/' && !old.target.is_inbox(),
        None => false,
    }
}

/// The name that it has at the source by now: who does not know it takes it for one that vanished, and its name at the target
/// for taken, when a pass comes no further than this.
fn source_name(below: &Folder, old: &Folder, planned: &Planned, all: &[Folder]) -> FolderName {
    let rest = below.source.wire().strip_prefix(old.source.wire());
    let rest = rest.filter(|rest| !rest.is_empty() && rest.first().copied() == old.source_delimiter);
    let name = rest.map(|rest| FolderName::from_wire([planned.source.wire(), rest].concat()));
    let is_free = |name: &FolderName| all.iter().all(|other| other.gone || other.source != *name);
    name.filter(|name| !below.gone && is_free(name)).unwrap_or_else(|| below.source.clone())
}
