//! The folders of both sides: new ones made, renamed ones renamed, subscriptions carried over, vanished ones noticed.

use std::collections::{BTreeMap, BTreeSet};

use mailferry_imap::net;
use mailferry_imap::response::{FolderStatus, Listed};
use mailferry_imap::{FolderName, Uid, UidSet};
use mailferry_ledger::{Fingerprint, Folder, Mailbox, MessageState};
use tracing::{debug, info, warn};

use crate::folders::{self, Fate, Planned, SourceKind};
use crate::look::{self, Fact};
use crate::matching::{Candidate, pair};
use crate::pace::{Meaning, meaning};
use crate::print::Print;
use crate::reconcile::Adoption;
use crate::transfer::{Unknown, moving_name};
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

/// So many folders are asked for by name before a listing.
const MAX_NAMED: usize = 100;

/// What the source lists, and what is to become of it.
pub(crate) struct Listing {
    pub(crate) plan: Vec<Planned>,
    pub(crate) status: BTreeMap<FolderName, FolderStatus>,
    pub(crate) subscribed: BTreeSet<FolderName>,
    /// The target's folders; `None` when there was no need to ask.
    pub(crate) target: Option<Vec<Listed>>,
}

impl MailboxWorker {
    /// Asks the source, and the target where something is new. Writes nothing.
    pub(crate) async fn list(&mut self, mailbox: &Mailbox) -> Result<Listing, Trouble> {
        let known: BTreeMap<FolderName, FolderName> = self
            .context
            .ledger
            .folders(self.mailbox)?
            .into_iter()
            .filter(|folder| !folder.gone)
            .map(|folder| (folder.source, folder.target))
            .collect();
        let mut named = self.hints.take_named();
        named.retain(|name| !known.contains_key(name));
        let source = self.source().await?;
        source.leave().await?;
        let namespaces = source.namespaces().await?;
        // Asked for by name: Dovecot's list of a Maildir goes by its time in seconds, and leaves a folder out that was made
        // in the second in which it was looked at last, until somebody asks for it.
        for name in named.iter().take(MAX_NAMED) {
            match source.session.status(name).await {
                Err(error) if error.is_fatal() => return Err(Trouble::source(error)),
                Ok(_) | Err(_) => {}
            }
        }
        let root = FolderName::from_wire(&b""[..]);
        let mut listed = source.session.list_status(&root, "*").await.map_err(Trouble::source)?;
        let inbox = FolderName::from_wire(&b"INBOX"[..]);
        if mailbox.user_root.is_none() && !listed.iter().any(|(listed, _)| listed.name.is_inbox()) {
            // Every login has one (RFC 9051 section 5.1), listed or not: Cyrus without `unixhierarchysep` lists nothing
            // to a login with a dot.
            match source.session.status(&inbox).await {
                Ok(status) => {
                    warn!("The source does not list INBOX; it is copied nevertheless.");
                    let unlisted = Listed { name: inbox, delimiter: None, attributes: Vec::new() };
                    listed.push((unlisted, Some(status)));
                }
                Err(error) if !error.is_fatal() => {}
                Err(error) => return Err(Trouble::source(error)),
            }
        }
        let subscribed = match source.session.lsub(&root, "*").await {
            Ok(subscribed) => subscribed.into_iter().map(|listed| listed.name).collect(),
            Err(error) if !error.is_fatal() => BTreeSet::new(),
            Err(error) => return Err(Trouble::source(error)),
        };
        let exchange = source.session.capabilities().has("CLIENTACCESSRULES");
        let view = folders::Source {
            listed: listed.iter().map(|(listed, _)| listed.clone()).collect(),
            namespaces,
            user_root: mailbox.user_root.clone(),
            kind: if exchange { SourceKind::Exchange } else { SourceKind::Plain },
        };
        let status = listed
            .into_iter()
            .filter_map(|(listed, status)| Some((listed.name, status?)))
            .collect::<BTreeMap<_, _>>();
        let mut plan = folders::plan(&view, &[], &known);
        let is_new = |planned: &Planned| {
            matches!(planned.fate, Fate::Copy { .. }) && !known.contains_key(&planned.source)
        };
        let mut target = None;
        if plan.iter().any(is_new) {
            let there = self.target().await?.list().await?;
            plan = folders::plan(&view, &there, &known);
            target = Some(there);
        }
        Ok(Listing { plan, status, subscribed, target })
    }

    /// Brings folders of target and ledger in line with the source's. Returns those that are copied, in their order.
    pub(crate) async fn bring_folders_in_line(
        &mut self,
        listing: &Listing,
        report: &mut PassReport,
    ) -> Result<Vec<(Folder, FolderStatus)>, Trouble> {
        let ledger = self.context.ledger.clone();
        let known = ledger.folders(self.mailbox)?;
        let listed: BTreeSet<&FolderName> = listing.plan.iter().map(|planned| &planned.source).collect();
        let mut vanished: Vec<Folder> =
            known.iter().filter(|folder| !folder.gone && !listed.contains(&folder.source)).cloned().collect();
        let mut there: BTreeSet<FolderName> =
            listing.target.iter().flatten().map(|listed| listed.name.clone()).collect();
        let mut current = Vec::new();
        report.left_out = 0;
        for planned in &listing.plan {
            let Fate::Copy { target, .. } = &planned.fate else { continue };
            let status = listing.status.get(&planned.source);
            let Some((status, validity)) = status.and_then(|status| Some((status, status.uid_validity?)))
            else {
                warn!("A folder that the source lists gives no STATUS; it is left out of this pass.");
                let was_read = known.iter().any(|folder| !folder.gone && folder.source == planned.source);
                report.left_out += u64::from(was_read || target.is_inbox());
                continue;
            };
            let subscribed = listing.subscribed.contains(&planned.source);
            let named = || known.iter().filter(|folder| !folder.gone && folder.source == planned.source);
            let fitting = named().find(|folder| folder.source_validity == validity);
            let stale = named().find(|folder| folder.source_validity != validity);
            let folder = match fitting.or(stale) {
                Some(folder) if folder.source_validity == validity => {
                    if let Some(stale) = stale {
                        // The matching was interrupted: once more.
                        self.succeed(stale, folder, report).await?;
                    }
                    folder.clone()
                }
                other => {
                    let renamed = match other {
                        None => self.find_renamed(&vanished, planned, status).await?,
                        Some(_) => None,
                    };
                    if let Some(old) = renamed {
                        vanished.retain(|folder| folder.id != old.id);
                        self.rename(old, planned, target, &mut there).await?
                    } else {
                        let mut change = ledger.change();
                        let id = change.new_folder_id();
                        let fresh = Folder {
                            id,
                            mailbox: self.mailbox,
                            source: planned.source.clone(),
                            source_delimiter: planned.delimiter,
                            target: target.clone(),
                            source_validity: validity,
                            target_validity: other.and_then(|old| old.target_validity),
                            seen: None,
                            target_uid_next: other.and_then(|old| old.target_uid_next),
                            subscribed: false,
                            held_deletions: 0,
                            gone: false,
                        };
                        if other.is_none() {
                            self.make(target, &mut there).await?;
                        }
                        change.put_folder(fresh.clone());
                        change.commit().await?;
                        if let Some(old) = other {
                            self.succeed(old, &fresh, report).await?;
                        }
                        fresh
                    }
                }
            };
            let folder = match folder.subscribed == subscribed {
                true => folder,
                false => self.subscribe(folder, subscribed).await?,
            };
            current.push((folder, status.clone()));
        }
        // Moves into new folders, and out of those that vanished.
        self.serve_transfers(Unknown::Leave, report).await?;
        // What is below before what it is below.
        vanished.sort_by(|one, other| other.target.cmp(&one.target));
        for folder in vanished {
            self.folder_is_gone(&folder, report).await?;
        }
        Ok(current)
    }

    /// Makes a folder at the target unless it is there, parents first.
    pub(crate) async fn make(
        &mut self,
        name: &FolderName,
        there: &mut BTreeSet<FolderName>,
    ) -> Result<(), Trouble> {
        if name.is_inbox() || there.contains(name) {
            return Ok(());
        }
        let target = self.target().await?;
        match target.session.create(name).await {
            Ok(()) => {}
            // It is there, whoever made it.
            Err(net::Error::Refused { code, text, .. })
                if matches!(meaning(code.as_ref(), &text), Meaning::Item)
                    && target.session.status(name).await.is_ok() => {}
            Err(error) => return Err(Trouble::target(error)),
        }
        there.insert(name.clone());
        Ok(())
    }

    async fn subscribe(&mut self, folder: Folder, wanted: bool) -> Result<Folder, Trouble> {
        let target = self.target().await?;
        let done = match wanted {
            true => target.session.subscribe(&folder.target).await,
            false => target.session.unsubscribe(&folder.target).await,
        };
        match done {
            Ok(()) => {}
            Err(error) if !error.is_fatal() => debug!(%error, "Subscription not carried over."),
            Err(error) => return Err(Trouble::target(error)),
        }
        let mut change = self.context.ledger.change();
        change.update_folder(folder.mailbox, folder.id, move |folder| folder.subscribed = wanted);
        change.commit().await?;
        Ok(Folder { subscribed: wanted, ..folder })
    }

    /// Whether a new folder is one that vanished: the same UIDVALIDITY, and messages that are the same to the last one
    /// looked at.
    async fn find_renamed(
        &mut self,
        vanished: &[Folder],
        planned: &Planned,
        status: &FolderStatus,
    ) -> Result<Option<Folder>, Trouble> {
        let ledger = self.context.ledger.clone();
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
            if sample.is_empty() {
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
            if same && facts.len() * 2 > sample.len() {
                return Ok(Some(old.clone()));
            }
        }
        Ok(None)
    }

    async fn rename(
        &mut self,
        old: Folder,
        planned: &Planned,
        name: &FolderName,
        there: &mut BTreeSet<FolderName>,
    ) -> Result<Folder, Trouble> {
        let folder = Folder {
            source: planned.source.clone(),
            source_delimiter: planned.delimiter,
            target: name.clone(),
            ..old.clone()
        };
        if old.target != *name {
            let target = self.target().await?;
            match target.session.rename(&old.target, name).await {
                Ok(()) => {}
                // Done by an earlier attempt, if the new name is there and the old one is not.
                Err(error) if !error.is_fatal() => {
                    let gone = target.session.status(&old.target).await.is_err();
                    if !gone || target.session.status(name).await.is_err() {
                        return Err(Trouble::target(error));
                    }
                }
                Err(error) => return Err(Trouble::target(error)),
            }
            there.insert(name.clone());
            info!("Folder renamed as at the source.");
        }
        let mut change = self.context.ledger.change();
        change.put_folder(folder.clone());
        change.commit().await?;
        Ok(folder)
    }

    /// The source gave a folder a new UIDVALIDITY: its messages are matched with what was known about the old UIDs.
    async fn succeed(&mut self, old: &Folder, new: &Folder, report: &mut PassReport) -> Result<(), Trouble> {
        info!("UIDVALIDITY changed at the source; matching.");
        let ledger = self.context.ledger.clone();
        let source = self.source().await?;
        let selected = source.examine(&new.source).await?;
        let all = crate::sides::from_uid(1);
        let ours = match selected.exists {
            0 => Vec::new(),
            _ => look::candidates(&mut source.session, &all).await.map_err(Trouble::source)?,
        };
        let facts = match selected.exists {
            0 => Vec::new(),
            _ => look::facts(&mut source.session, &all).await.map_err(Trouble::source)?,
        };
        let mut before = Vec::new();
        for message in ledger.messages(old.mailbox, old.id) {
            let (uid, message) = message?;
            match message.state {
                MessageState::Mirrored { .. } => {
                    let print = alone(message.print);
                    before.push(Candidate { uid, print, date: message.date, size: message.size });
                }
                MessageState::Pending | MessageState::Skipped(_) | MessageState::Gone => {}
            }
        }
        // The ledger keeps whole prints only: where ours has a Message-ID, an equal print has the same.
        let now: Vec<Candidate> = ours
            .iter()
            .map(|one| Candidate {
                print: one.print.id.map_or(one.print, |_| alone(one.print.whole)),
                ..*one
            })
            .collect();
        let pairs = pair(&now, &before);
        let flags: BTreeMap<Uid, _> = facts.into_iter().map(|fact| (fact.uid, fact)).collect();
        for chunk in ours.chunks(2_000) {
            let mut change = ledger.change();
            for candidate in chunk {
                let Some(old_uid) = pairs.get(&candidate.uid) else { continue };
                let Some(mut message) = ledger.message(old.mailbox, old.id, *old_uid)? else { continue };
                if let Some(fact) = flags.get(&candidate.uid) {
                    message.size = fact.size;
                }
                change.put_message(new.mailbox, new.id, candidate.uid, message);
                report.matched += 1;
            }
            change.commit().await?;
        }
        // The rest is new: in INBOX it may be stragglers.
        let rest: Vec<Fact> = ours
            .iter()
            .filter(|candidate| !pairs.contains_key(&candidate.uid))
            .filter_map(|candidate| flags.get(&candidate.uid).cloned())
            .collect();
        self.record_new(new, &rest, report).await?;
        if let Some(adopted) = ledger.fact(&format!("adopted/{}/{}", old.mailbox, old.id))? {
            let mut change = ledger.change();
            change.put_fact(&format!("adopted/{}/{}", new.mailbox, new.id), adopted);
            change.commit().await?;
        }
        if ledger.fact(&moving_name(old))?.is_some() {
            let mut change = ledger.change();
            change.remove_fact(&moving_name(old));
            change.commit().await?;
        }
        // What was in doubt under the old UIDs is matched under the new ones.
        if ledger.intents(old.mailbox, old.id).next().is_some() {
            self.adopt(new, Adoption::Filled, report).await?;
        }
        // What has no partner was deleted together with the old UIDs.
        let kept: UidSet = pairs.values().copied().collect();
        let before: UidSet = before.iter().map(|candidate| candidate.uid).collect();
        self.carry_deletions(old, &before.difference(&kept), report).await?;
        ledger.forget_folder(old.mailbox, old.id).await?;
        Ok(())
    }

    /// A folder is no longer listed. Only an explicit refusal to open it proves that it is gone.
    async fn folder_is_gone(&mut self, folder: &Folder, report: &mut PassReport) -> Result<(), Trouble> {
        let source = self.source().await?;
        match source.session.status(&folder.source).await {
            Ok(_) => return Ok(()),
            Err(error) if !error.is_fatal() => {}
            Err(error) => return Err(Trouble::source(error)),
        }
        let ledger = self.context.ledger.clone();
        let mut uids = UidSet::new();
        for message in ledger.messages(folder.mailbox, folder.id) {
            let (uid, message) = message?;
            if message.state != MessageState::Gone {
                uids.insert(uid);
            }
        }
        let held = report.held;
        self.carry_deletions(folder, &uids, report).await?;
        if report.held > held {
            return Ok(()); // It stays on the books until an operator's word.
        }
        let target = self.target().await?;
        let empty = match target.session.status(&folder.target).await {
            Ok(status) => status.messages == Some(0),
            Err(error) if !error.is_fatal() => false,
            Err(error) => return Err(Trouble::target(error)),
        };
        let special = crate::folders::Role::ALL
            .into_iter()
            .any(|role| role.rank_of_name(&folder.target.to_text()).is_some());
        let listed = target.list().await?;
        let is_below = |other: &Listed| {
            let rest = other.name.wire().strip_prefix(folder.target.wire());
            rest.is_some_and(|rest| rest.first().is_some_and(|first| Some(*first) == other.delimiter))
        };
        let children = listed.iter().any(is_below);
        if empty && !special && !children && !folder.target.is_inbox() {
            match target.session.delete(&folder.target).await {
                Ok(()) => info!("Folder deleted as at the source."),
                Err(error) if !error.is_fatal() => debug!(%error, "Empty folder left at the target."),
                Err(error) => return Err(Trouble::target(error)),
            }
        }
        let mut change = ledger.change();
        change.update_folder(folder.mailbox, folder.id, |folder| folder.gone = true);
        change.commit().await?;
        Ok(())
    }
}

/// A print that is known as a whole only, in a form in which it is evidence by itself.
fn alone(whole: Fingerprint) -> Print {
    Print { whole, id: Some(whole) }
}
