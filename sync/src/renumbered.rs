//! A folder whose UIDVALIDITY at the target changed: what the ledger has as copies is found again under its new UIDs before
//! anything is done to them.
//!
//! Copies of messages that are gone at the source are found by what the ledger knows of them: they are to be deleted, not
//! forgotten. What another tool put there stays what it is.

use std::collections::BTreeMap;

use mailferry_imap::net::Selected;
use mailferry_imap::{Uid, UidSet};
use mailferry_ledger::{Folder, MailboxId, MessageState};
use tracing::info;

use crate::changes::Reflagged;
use crate::error::SideError;
use crate::look;
use crate::matching::{Candidate, pair};
use crate::print::Known;
use crate::reconcile::adopted_name;
use crate::succession::alone;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

/// What is known of the originals of a folder's copies.
pub(crate) struct Originals {
    /// Those that the source has.
    pub(crate) there: Vec<Candidate>,
    /// Those that were copied and that the source no longer has, as the ledger knows them.
    gone: Vec<Candidate>,
    /// Whether the source was asked in this very folder: only then what it does not have is gone.
    asked: bool,
}

impl Originals {
    /// Pairs with the target's messages; what is at the source comes first.
    pub(crate) fn pair(&self, there: &[Candidate]) -> BTreeMap<Uid, Uid> {
        let mut pairs = pair(&self.there, there);
        if !self.gone.is_empty() {
            let used: UidSet = pairs.values().copied().collect();
            let free: Vec<Candidate> =
                there.iter().filter(|candidate| !used.contains(candidate.uid)).copied().collect();
            let known = Known::from(free.iter().map(|candidate| candidate.print));
            let today = |one: &Candidate| Candidate { print: alone(known.today(one.print.whole)), ..*one };
            let gone: Vec<Candidate> = self.gone.iter().map(today).collect();
            pairs.extend(pair(&gone, &free));
        }
        pairs
    }

    /// What becomes of a message without a copy.
    pub(crate) fn unpaired(&self, uid: Uid) -> MessageState {
        match self.asked && self.gone.iter().any(|candidate| candidate.uid == uid) {
            true => MessageState::Gone,
            false => MessageState::Pending,
        }
    }
}

impl MailboxWorker {
    /// This folder as it is on the target today, opened: its copies have the UIDs that the ledger says. `None` if it is no
    /// longer there.
    pub(crate) async fn open_known(
        &mut self,
        folder: &Folder,
        report: &mut PassReport,
    ) -> Result<Option<(Folder, Selected)>, Trouble> {
        let mut folder = folder.clone();
        let Some(selected) = self.select_if_there(&folder).await? else { return Ok(None) };
        // With copies but without a UIDVALIDITY: the matching that found them was interrupted.
        let unknown = folder.target_validity.is_none()
            && self.context.ledger.counts(folder.mailbox, folder.id)?.mirrored == 0;
        if folder.target_validity == Some(selected.uid_validity) || unknown {
            return Ok(Some((folder, selected)));
        }
        if let Some(known) = self.context.ledger.folder(folder.mailbox, folder.id)? {
            folder.target_validity = known.target_validity;
            folder.target_uid_next = known.target_uid_next;
        }
        if folder.target_validity != Some(selected.uid_validity) {
            info!("UIDs at the target are not those that are known; matching.");
            Box::pin(self.get_ready(&mut folder, report)).await?;
        }
        Ok(self.select_if_there(&folder).await?.map(|selected| (folder, selected)))
    }

    /// These messages as the ledger has them by now; their copies may have other UIDs.
    pub(crate) fn read_again(
        &self,
        folder: &Folder,
        changed: Vec<Reflagged>,
    ) -> Result<Vec<Reflagged>, Trouble> {
        let mut again = Vec::new();
        for one in changed {
            if let Some(message) = self.context.ledger.message(folder.mailbox, folder.id, one.uid)? {
                again.push(Reflagged { message, ..one });
            }
        }
        Ok(again)
    }

    /// What is known of these messages.
    pub(crate) async fn originals(&mut self, folder: &Folder, wanted: &UidSet) -> Result<Originals, Trouble> {
        let source = self.source().await?;
        let (there, asked) = match source.be_in(folder).await {
            Ok(()) => {
                let found = look::candidates(&mut source.session, wanted).await;
                (found.map_err(Trouble::source)?, true)
            }
            // It is gone, or called otherwise: what is known of it must do.
            Err(Trouble::Replaced) => (Vec::new(), false),
            Err(Trouble::Source(SideError::Imap(error))) if !error.is_fatal() => (Vec::new(), false),
            Err(trouble) => return Err(trouble),
        };
        let found: UidSet = there.iter().map(|candidate| candidate.uid).collect();
        let mut gone = Vec::new();
        for uid in wanted.difference(&found).iter() {
            let message = self.context.ledger.message(folder.mailbox, folder.id, uid)?;
            if let Some(message) = message
                && matches!(message.state, MessageState::Mirrored { .. })
            {
                let print = alone(message.print);
                gone.push(Candidate { uid, print, date: message.date, size: message.size });
            }
        }
        Ok(Originals { there, gone, asked })
    }

    /// Which of our messages have copies that another tool made. Kept until they are known under their new UIDs.
    pub(crate) async fn note_adopting(&mut self, folder: &Folder) -> Result<UidSet, Trouble> {
        let ledger = self.context.ledger.clone();
        let name = adopting_name(folder);
        if let Some(json) = ledger.fact(&name)? {
            return Ok(serde_json::from_str(&json).unwrap_or_default());
        }
        let adopted = self.adopted(folder)?;
        let mut ours = UidSet::new();
        if adopted.is_empty() {
            return Ok(ours);
        }
        for message in ledger.messages(folder.mailbox, folder.id) {
            let (uid, message) = message?;
            if let MessageState::Mirrored { target_uid: Some(target_uid) } = message.state
                && adopted.contains(target_uid)
            {
                ours.insert(uid);
            }
        }
        let mut change = ledger.change();
        change.put_fact(&name, serde_json::to_string(&ours).unwrap_or_default());
        change.commit().await?;
        Ok(ours)
    }

    /// Where the copies are by now that another tool made.
    pub(crate) async fn settle_adopting(&mut self, folder: &Folder, ours: &UidSet) -> Result<(), Trouble> {
        if ours.is_empty() {
            return Ok(());
        }
        let ledger = self.context.ledger.clone();
        let mut adopted = Vec::new();
        for uid in ours.iter() {
            let message = ledger.message(folder.mailbox, folder.id, uid)?;
            if let Some(MessageState::Mirrored { target_uid: Some(target_uid) }) =
                message.map(|message| message.state)
            {
                adopted.push(target_uid);
            }
        }
        adopted.sort_unstable();
        let adopted: UidSet = adopted.into_iter().collect();
        let mut change = ledger.change();
        change.put_fact(&adopted_name(folder), serde_json::to_string(&adopted).unwrap_or_default());
        change.remove_fact(&adopting_name(folder));
        change.commit().await?;
        Ok(())
    }
}

fn adopting_name(folder: &Folder) -> String {
    format!("{}{}", adopting_names(folder.mailbox), folder.id)
}

/// What the names of a mailbox's facts about messages under way to new UIDs begin with.
pub(crate) fn adopting_names(mailbox: MailboxId) -> String {
    format!("adopting/{mailbox}/")
}
