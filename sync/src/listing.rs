//! The folders of both sides: new ones made, renamed ones renamed, subscriptions carried over, vanished ones noticed.

use std::collections::{BTreeMap, BTreeSet};

use mailferry_imap::net;
use mailferry_imap::response::{FolderStatus, Listed};
use mailferry_imap::{FolderName, UidSet};
use mailferry_ledger::{Folder, Mailbox, MessageState};
use tracing::{debug, info, warn};

use crate::error::LocalError;
use crate::folders::filter::Filter;
use crate::folders::{self, Fate, Planned, SourceKind, Stay};
use crate::pace::{Meaning, meaning};
use crate::rooted::Subscriptions;
use crate::transfer::Unknown;
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

/// So many folders are asked for by name before a listing.
const MAX_NAMED: usize = 100;

/// What the source lists, and what is to become of it.
pub(crate) struct Listing {
    pub(crate) plan: Vec<Planned>,
    pub(crate) status: BTreeMap<FolderName, FolderStatus>,
    pub(crate) subscribed: Subscriptions,
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
        let mut listed = self.list_source(mailbox.user_root.as_deref()).await?;
        let source = self.source().await?;
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
        // Dovecot goes on listing a folder that was deleted while somebody had it open.
        let mut ghosts = BTreeSet::new();
        for (listed, status) in &mut listed {
            if status.is_some() || !is_real(listed) {
                continue;
            }
            match source.session.status(&listed.name).await {
                Ok(told) => *status = Some(told),
                Err(net::Error::Refused { code, text, .. })
                    if meaning(code.as_ref(), &text) == Meaning::NoFolder =>
                {
                    ghosts.insert(listed.name.clone());
                }
                Err(error) if !error.is_fatal() => {}
                Err(error) => return Err(Trouble::source(error)),
            }
        }
        listed.retain(|(listed, _)| !ghosts.contains(&listed.name));
        let subscribed = self.subscriptions(mailbox.user_root.as_deref()).await?;
        let exchange = self.source().await?.session.capabilities().has("CLIENTACCESSRULES");
        let view = folders::Source {
            listed: listed.iter().map(|(listed, _)| listed.clone()).collect(),
            namespaces,
            user_root: mailbox.user_root.clone(),
            kind: if exchange { SourceKind::Exchange } else { SourceKind::Plain },
            filter: self.filter(mailbox)?,
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
        self.hints.leave_out(plan.iter().filter_map(|planned| match planned.fate {
            Fate::Stay(Stay::Excluded | Stay::NotIncluded) => Some(planned.source.clone()),
            Fate::Stay(_) | Fate::Copy { .. } => None,
        }));
        Ok(Listing { plan, status, subscribed, target })
    }

    /// Which folders the batch takes.
    fn filter(&self, mailbox: &Mailbox) -> Result<Filter, Trouble> {
        let batch =
            self.context.ledger.batch(&mailbox.batch)?.ok_or(Trouble::Local(LocalError::NoMailbox))?;
        Filter::parse(&batch.include, &batch.exclude)
            .map_err(|(line, error)| Trouble::Local(LocalError::Folder(format!("{line:?}: {error}"))))
    }

    /// Brings folders of target and ledger in line with the source's. Returns those that are copied, in their order.
    pub(crate) async fn bring_folders_in_line(
        &mut self,
        listing: &Listing,
        report: &mut PassReport,
    ) -> Result<Vec<(Folder, FolderStatus)>, Trouble> {
        let ledger = self.context.ledger.clone();
        let known = ledger.folders(self.mailbox)?;
        // What became a mere name above others is gone as a folder.
        let (mut names, mut listed) = (BTreeSet::new(), BTreeSet::new());
        for planned in &listing.plan {
            match planned.fate {
                Fate::Stay(Stay::Container) => names.insert(&planned.source),
                Fate::Stay(_) | Fate::Copy { .. } => listed.insert(&planned.source),
            };
        }
        let not_listed = |known: &[Folder]| -> Vec<Folder> {
            known.iter().filter(|folder| !folder.gone && !listed.contains(&folder.source)).cloned().collect()
        };
        let mut there: BTreeSet<FolderName> = listing
            .target
            .iter()
            .flatten()
            .filter(|listed| is_real(listed))
            .map(|listed| listed.name.clone())
            .collect();
        // What gave its name to another folder, and is listed under a new one.
        let displaced: Vec<Folder> = self.displaced(listing, &known);
        for old in &displaced {
            for planned in &listing.plan {
                let Fate::Copy { target, .. } = &planned.fate else { continue };
                let taken = known.iter().any(|folder| !folder.gone && folder.source == planned.source);
                let old = std::slice::from_ref(old);
                if !taken && let Some(old) = self.find_renamed(old, planned, listing).await? {
                    self.rename(&old, planned, target, listing, &mut there).await?;
                }
            }
        }
        let mut known = if displaced.is_empty() { known } else { ledger.folders(self.mailbox)? };
        let mut vanished = not_listed(&known);
        let mut current = Vec::new();
        let mut wanted = BTreeMap::new();
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
            let mut renames = false;
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
                    let old = match other {
                        None => self.find_renamed(&vanished, planned, listing).await?,
                        Some(_) => None,
                    };
                    let renamed = match &old {
                        Some(old) => self.rename(old, planned, target, listing, &mut there).await?,
                        None => None,
                    };
                    if let Some(renamed) = renamed {
                        renames = true;
                        renamed
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
                        self.be_unsure_of([id], &mut change)?;
                        change.commit().await?;
                        match other {
                            Some(old) => {
                                self.succeed(old, &fresh, report).await?;
                                ledger.folder(self.mailbox, id)?.unwrap_or(fresh)
                            }
                            None => fresh,
                        }
                    }
                }
            };
            if renames {
                // What is below it went along.
                known = ledger.folders(self.mailbox)?;
                vanished = not_listed(&known);
            }
            wanted.insert(folder.id, listing.subscribed.wanted(&planned.source, folder.subscribed));
            current.push((folder, status.clone()));
        }
        self.carry_subscriptions(&mut current, &wanted).await?;
        // Moves into new folders, and out of those that vanished.
        self.serve_transfers(Unknown::Leave, report).await?;
        // What is below before what it is below.
        vanished.sort_by(|one, other| other.target.cmp(&one.target));
        for folder in vanished {
            let folder = ledger.folder(self.mailbox, folder.id)?.unwrap_or(folder);
            let is_empty = ledger.counts(folder.mailbox, folder.id)?.at_source() == 0;
            if is_empty && names.contains(&folder.source) {
                continue; // Its turn comes when what is below it is gone.
            }
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

    /// A folder is no longer listed. Only an explicit refusal to open it proves that it is gone.
    async fn folder_is_gone(&mut self, folder: &Folder, report: &mut PassReport) -> Result<(), Trouble> {
        let source = self.source().await?;
        match source.session.status(&folder.source).await {
            Ok(_) => return Ok(()),
            Err(error) if !error.is_fatal() => {}
            Err(error) => return Err(Trouble::source(error)),
        }
        let ledger = self.context.ledger.clone();
        self.reconcile_gone(folder, report).await?;
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
        let special = crate::folders::Role::ALL
            .into_iter()
            .any(|role| role.rank_of_name(&folder.target.to_text()).is_some());
        let target = self.target().await?;
        // STATUS of an open folder may tell what the session saw last, and servers end a session whose folder is deleted.
        target.leave().await?;
        let listed = target.list().await?;
        let is_below = |other: &Listed| {
            let rest = other.name.wire().strip_prefix(folder.target.wire());
            rest.is_some_and(|rest| rest.first().is_some_and(|first| Some(*first) == other.delimiter))
        };
        let children = listed.iter().any(is_below);
        // Last, so that no mail arrives there by itself between the look and the deletion.
        let empty = match target.session.status(&folder.target).await {
            Ok(status) => status.messages == Some(0),
            Err(error) if !error.is_fatal() => false,
            Err(error) => return Err(Trouble::target(error)),
        };
        if empty && !special && children {
            return Ok(()); // Its turn comes when what is below it is gone or elsewhere.
        }
        if empty && !special && !folder.target.is_inbox() {
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

/// Whether it is a folder, not only a name above others.
fn is_real(listed: &Listed) -> bool {
    let closed =
        |word: &String| ["\\Noselect", "\\NonExistent"].iter().any(|not| not.eq_ignore_ascii_case(word));
    !listed.attributes.iter().any(closed)
}
