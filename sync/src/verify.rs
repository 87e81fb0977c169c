//! Proof of promise 5: both sides read anew and compared message by message.
//!
//! The ledger says which copy was made of which message; what it does not know, or what is no longer there, is matched.
//! Everything else is what both sides say now: facts (UIDs, dates, flags, sizes where they mean something, Message-ID, From,
//! Subject), and on request the bodies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mailferry_imap::{FolderName, Uid};
use mailferry_ledger::MessageState;
use serde::{Deserialize, Serialize};

use crate::content::Likeness;
use crate::error::PassError;
use crate::folders::Fate;
use crate::look;
use crate::matching::{Candidate, pair};
use crate::sides::from_uid;
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

mod bodies;
mod compare;

use compare::{Compared, Recorded, Side, compare_sides};

/// How much of each message is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// What both servers list.
    #[default]
    Facts,
    /// The bodies too: every byte of both sides is read.
    Content,
}

/// Whether a comparison makes room for what users just did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Courtesy {
    /// Between windows of bodies, hints are served.
    ServeHints,
    /// There is nobody to serve, or it is short.
    None,
}

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
    /// Not copied yet: the next pass does it.
    #[serde(default)]
    pub pending: u64,
    /// Missing on the target though nothing says why.
    pub missing: u64,
    /// Missing in their folder on the target and found in another one.
    #[serde(default)]
    pub moved: u64,
    /// Copies in whose place another one stands that looks like it: revised on the target, or put there anew.
    #[serde(default)]
    pub replaced: u64,
    /// Copies that stand twice on the target.
    pub doubled: u64,
    /// Copies that say something else than the message, or that the target does not give.
    #[serde(default)]
    pub altered: u64,
    /// Matched, but flags, INTERNALDATE or size are not the same.
    pub differing: u64,
    /// On the target only: mail that arrived there by itself.
    pub foreign: u64,
    /// Of how many the bodies were compared.
    #[serde(default)]
    pub read: u64,
    /// Of these, how many were the same byte for byte; the others say the same in other bytes.
    #[serde(default)]
    pub same_bytes: u64,
    /// Read otherwise on both sides, and so odd that this proves nothing.
    #[serde(default)]
    pub unclear: u64,
    /// Folders that the source lists and does not open: nothing is said about them.
    #[serde(default)]
    pub unopened: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing differs.
    pub fn agrees(&self) -> bool {
        let found = self.missing + self.moved + self.replaced + self.doubled + self.altered + self.differing;
        found == 0
    }

    /// Whether every source message is on the target once, as it was, or listed as skipped.
    pub fn holds(&self) -> bool {
        self.agrees() && self.pending == 0
    }

    fn add(&mut self, verdict: FolderVerdict, found: &BTreeMap<What, u64>) {
        self.source += verdict.source;
        self.matched += verdict.matched;
        self.skipped += verdict.skipped;
        self.pending += verdict.pending;
        self.foreign += verdict.foreign;
        for (what, count) in found {
            let sum = match what {
                What::Missing => &mut self.missing,
                What::Moved => &mut self.moved,
                What::Replaced => &mut self.replaced,
                What::Doubled => &mut self.doubled,
                What::Heading | What::Content | What::Bytes | What::NotGiven => &mut self.altered,
                What::Flags | What::Date | What::Size => &mut self.differing,
            };
            *sum += count;
        }
        self.folders.push(verdict);
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
    /// Not copied yet.
    #[serde(default)]
    pub pending: u64,
    /// Messages on the target that are not at the source.
    pub foreign: u64,
    /// What does not agree; at most [`MAX_LISTED`].
    pub differences: Vec<Difference>,
}

/// How many differences of one folder are listed.
pub const MAX_LISTED: usize = 1_000;

/// One thing that does not agree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// UID at the source, if it is there.
    pub source_uid: Option<u32>,
    /// UID on the target, if it is there.
    pub target_uid: Option<u32>,
    /// What is different.
    pub what: What,
    /// In which folder of the target it is, if not in its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_folder: Option<String>,
}

impl Difference {
    fn new(source: Option<Uid>, target: Option<Uid>, what: What) -> Self {
        let number = |uid: Option<Uid>| uid.map(Uid::value);
        Self { source_uid: number(source), target_uid: number(target), what, target_folder: None }
    }
}

/// Kinds of differences.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Not on the target.
    Missing,
    /// In another folder of the target.
    Moved,
    /// The copy is gone, and in its place stands another one that looks like it.
    Replaced,
    /// Twice on the target.
    Doubled,
    /// Another Message-ID, From or Subject; where bodies were read, another Date, To or Cc too.
    Heading,
    /// Another text, or other attachments.
    Content,
    /// Other bytes, where the target is known to keep messages as they are.
    Bytes,
    /// The target lists it and does not hand it out.
    NotGiven,
    /// Other system flags.
    Flags,
    /// Another INTERNALDATE.
    Date,
    /// Another RFC822.SIZE, where the target is known to keep messages as they are.
    Size,
}

/// What is known so far: kept while connections are made anew.
#[derive(Default)]
struct Proof {
    folders: Vec<Proven>,
    done: BTreeSet<FolderName>,
    /// Of the folder under way: what reading the bodies of a pair told.
    judged: BTreeMap<(Uid, Uid), Judgement>,
}

/// What reading both bodies of a pair told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Judgement {
    Like(Likeness),
    /// The source no longer gives it.
    Gone,
    /// The target does not give it.
    NotGiven,
}

/// A folder that is compared.
struct Proven {
    source: FolderName,
    target: FolderName,
    compared: Compared,
}

impl MailboxWorker {
    /// Reads both sides anew and compares them: every source message must be on the target once, or listed as skipped.
    ///
    /// # Errors
    /// [`PassError`].
    pub(crate) async fn verify(
        &mut self,
        depth: Depth,
        courtesy: Courtesy,
    ) -> Result<VerifyReport, PassError> {
        let proof = self.prove(depth, courtesy).await?;
        let address = self.record().map(|mailbox| mailbox.address).unwrap_or_default();
        Ok(proof.report(address))
    }

    /// Messages that are recorded as mirrored and are nowhere on the target become pending again; how many.
    pub(crate) async fn recopy_missing(&mut self) -> Result<u64, PassError> {
        let proof = self.prove(Depth::Facts, Courtesy::None).await?;
        let ledger = self.context.ledger.clone();
        let mut recopied = 0;
        for one in &proof.folders {
            let Some(folder) = ledger.folder_by_source(self.mailbox, &one.source)? else { continue };
            for chunk in one.compared.missing.chunks(2_000) {
                let mut change = ledger.change();
                for candidate in chunk {
                    let message = ledger.message(folder.mailbox, folder.id, candidate.uid)?;
                    let Some(mut message) = message else { continue };
                    if matches!(message.state, MessageState::Mirrored { target_uid: Some(_) }) {
                        message.state = MessageState::Pending;
                        change.put_message(folder.mailbox, folder.id, candidate.uid, message);
                        recopied += 1;
                    }
                }
                change.commit().await?;
            }
        }
        Ok(recopied)
    }

    async fn prove(&mut self, depth: Depth, courtesy: Courtesy) -> Result<Proof, PassError> {
        let mut proof = Proof::default();
        let mut attempt = 0;
        loop {
            let before = (proof.folders.len(), proof.judged.len());
            let Err(trouble) = Box::pin(self.compare(depth, courtesy, &mut proof)).await else {
                self.progress.say("idle");
                return Ok(proof);
            };
            if (proof.folders.len(), proof.judged.len()) != before {
                attempt = 0;
            }
            match self.weather(trouble, &mut attempt).await {
                // Hours of reading are not given up for it.
                Err(PassError::Throttled { until, .. }) if depth == Depth::Content => {
                    let wait = until.as_millisecond() - Timestamp::now().as_millisecond();
                    let wait = std::time::Duration::from_millis(wait.max(0).unsigned_abs());
                    tokio::time::sleep(wait).await;
                    self.progress.throttle(None);
                }
                other => other?,
            }
        }
    }

    async fn compare(&mut self, depth: Depth, courtesy: Courtesy, proof: &mut Proof) -> Result<(), Trouble> {
        self.may_contact_target()?;
        self.progress.say("verifying");
        let mailbox = self.record()?;
        let listing = self.list(&mailbox).await?;
        for planned in &listing.plan {
            let Fate::Copy { target, .. } = &planned.fate else { continue };
            if proof.done.contains(&planned.source) {
                continue;
            }
            let compared = match listing.status.contains_key(&planned.source) {
                true => {
                    let mut compared = self.compare_folder(&planned.source, target).await?;
                    if depth == Depth::Content {
                        let names = (&planned.source, target);
                        self.judge(names, &compared.pairs, courtesy, &mut proof.judged).await?;
                        compared.take_in(std::mem::take(&mut proof.judged));
                    }
                    compared
                }
                false => Compared::unopened(),
            };
            proof.done.insert(planned.source.clone());
            proof.folders.push(Proven { source: planned.source.clone(), target: target.clone(), compared });
        }
        self.look_elsewhere(&mut proof.folders).await
    }

    async fn compare_folder(
        &mut self,
        source_name: &FolderName,
        target_name: &FolderName,
    ) -> Result<Compared, Trouble> {
        let ledger = self.context.ledger.clone();
        let all = from_uid(1);
        let source = self.source().await?;
        let selected = source.examine(source_name).await?;
        let mut ours = Side::default();
        if selected.exists > 0 {
            ours.candidates = look::candidates(&mut source.session, &all).await.map_err(Trouble::source)?;
            ours.flags = look::flags(&mut source.session, &all).await.map_err(Trouble::source)?;
        }
        let (theirs, target_validity) = self.target_side(target_name, Flags::Wanted).await?;

        let folder = ledger.folder_by_source(self.mailbox, source_name)?;
        let folder = folder.filter(|folder| folder.source_validity == selected.uid_validity);
        let mut recorded = Recorded::default();
        if let Some(folder) = folder {
            let holds = folder.target_validity.is_some() && folder.target_validity == target_validity;
            for message in ledger.messages(folder.mailbox, folder.id) {
                let (uid, message) = message?;
                recorded.note(uid, &message, holds);
            }
        }
        Ok(compare_sides(&ours, theirs, &recorded))
    }

    /// What a folder of the target holds, and its UIDVALIDITY; nothing where it is not there.
    async fn target_side(
        &mut self,
        name: &FolderName,
        flags: Flags,
    ) -> Result<(Side, Option<mailferry_imap::UidValidity>), Trouble> {
        let all = from_uid(1);
        let target = self.target().await?;
        let mut side = Side::default();
        let mut validity = None;
        let examined = target.session.examine(name).await;
        // The session is in a folder that its owner does not know of.
        target.forget_selected();
        match examined {
            Ok(selected) => {
                validity = Some(selected.uid_validity);
                if selected.exists > 0 {
                    side.candidates =
                        look::candidates(&mut target.session, &all).await.map_err(Trouble::target)?;
                    if flags == Flags::Wanted {
                        side.flags = look::flags(&mut target.session, &all).await.map_err(Trouble::target)?;
                    }
                }
            }
            // Not there: then everything is missing.
            Err(error) if !error.is_fatal() => {
                // Unless the words mean something else.
                match Trouble::target(error) {
                    Trouble::Target(_) => {}
                    trouble => return Err(trouble),
                }
            }
            Err(error) => return Err(Trouble::target(error)),
        }
        Ok((side, validity))
    }

    /// What is missing in its folder may be in another one of the target.
    async fn look_elsewhere(&mut self, folders: &mut [Proven]) -> Result<(), Trouble> {
        if folders.iter().all(|one| one.compared.missing.is_empty()) {
            return Ok(());
        }
        for at in 0..folders.len() {
            let Some(there) = folders.get_mut(at) else { break };
            let name = there.target.to_text();
            let mut strays = std::mem::take(&mut there.compared.strays);
            let before = strays.len();
            find_moved(folders, &name, &mut strays);
            if let Some(there) = folders.get_mut(at) {
                there.compared.verdict.foreign -= (before - strays.len()) as u64;
            }
        }
        let compared: BTreeSet<FolderName> = folders.iter().map(|one| one.target.clone()).collect();
        let listed = self.target().await?.list().await?;
        for one in listed.into_iter().filter(|one| !compared.contains(&one.name)) {
            if folders.iter().all(|one| one.compared.missing.is_empty()) {
                break;
            }
            // One that cannot be opened has nothing in it.
            let (mut side, _) = self.target_side(&one.name, Flags::NotWanted).await?;
            find_moved(folders, &one.name.to_text(), &mut side.candidates);
        }
        Ok(())
    }
}

/// Whether flags are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    Wanted,
    NotWanted,
}

/// What is missing anywhere and found here is moved; `strays` keeps the rest.
fn find_moved(folders: &mut [Proven], name: &str, strays: &mut Vec<Candidate>) {
    for one in folders.iter_mut().filter(|one| !one.compared.missing.is_empty()) {
        let pairs = pair(&one.compared.missing, strays);
        one.compared.missing.retain(|candidate| !pairs.contains_key(&candidate.uid));
        for (source, target) in &pairs {
            let moved = Difference::new(Some(*source), Some(*target), What::Moved);
            one.compared.differences.push(Difference { target_folder: Some(name.to_owned()), ..moved });
        }
        let used: BTreeSet<Uid> = pairs.into_values().collect();
        strays.retain(|stray| !used.contains(&stray.uid));
    }
}

impl Proof {
    fn report(self, address: String) -> VerifyReport {
        let mut report = VerifyReport { address, ..VerifyReport::default() };
        // Where nearly all bytes are the same, the target keeps messages as they are; then all must be.
        let read: u64 = self.folders.iter().map(|one| one.compared.read).sum();
        let same: u64 = self.folders.iter().map(|one| one.compared.same_bytes).sum();
        let keeps_messages = (read - same) * 20 <= read;
        (report.read, report.same_bytes) = (read, same);
        for Proven { source, target, compared } in self.folders {
            if compared.is_unopened {
                report.unopened.push(source.to_text());
                continue;
            }
            report.unclear += compared.unclear;
            let Compared { mut verdict, mut differences, missing, other_bytes, .. } = compared;
            differences.extend(missing.iter().map(|one| Difference::new(Some(one.uid), None, What::Missing)));
            if keeps_messages {
                let other = |(a, b): &(Uid, Uid)| Difference::new(Some(*a), Some(*b), What::Bytes);
                differences.extend(other_bytes.iter().map(other));
            }
            let mut found = BTreeMap::new();
            for difference in &differences {
                *found.entry(difference.what).or_insert(0) += 1;
            }
            differences.sort_by_key(|one| (one.source_uid, one.target_uid, one.what));
            differences.truncate(MAX_LISTED);
            verdict.differences = differences;
            verdict.source_folder = source.to_text();
            verdict.target_folder = target.to_text();
            report.add(verdict, &found);
        }
        report
    }
}
