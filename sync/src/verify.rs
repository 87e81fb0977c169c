//! Proof of promise 5: both sides read anew and compared message by message.

use std::collections::{BTreeMap, BTreeSet};

use mailferry_imap::{Flags, FolderName, Uid, UidSet};
use mailferry_ledger::MessageState;
use serde::{Deserialize, Serialize};

use crate::error::PassError;
use crate::folders::Fate;
use crate::look;
use crate::matching::{Candidate, pair};
use crate::print::Print;
use crate::sides::from_uid;
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

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
    /// Folders that the source lists and does not open: nothing is said about them.
    #[serde(default)]
    pub unopened: Vec<String>,
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

impl MailboxWorker {
    /// Reads both sides anew and compares them: every source message must be on the target once, or listed as skipped.
    ///
    /// # Errors
    /// [`PassError`].
    pub async fn verify(&mut self) -> Result<VerifyReport, PassError> {
        let mut attempt = 0;
        loop {
            match Box::pin(self.compare()).await {
                Ok(report) => return Ok(report),
                Err(trouble) => self.weather(trouble, &mut attempt).await?,
            }
        }
    }

    async fn compare(&mut self) -> Result<VerifyReport, Trouble> {
        self.may_contact_target()?;
        self.progress.say("verifying");
        let mailbox = self.record()?;
        let listing = self.list(&mailbox).await?;
        let mut report = VerifyReport { address: mailbox.address, ..VerifyReport::default() };
        for planned in &listing.plan {
            let Fate::Copy { target, .. } = &planned.fate else { continue };
            if !listing.status.contains_key(&planned.source) {
                report.unopened.push(planned.source.to_text());
                continue;
            }
            let verdict = self.compare_folder(&planned.source, target).await?;
            report.source += verdict.source;
            report.matched += verdict.matched;
            report.skipped += verdict.skipped;
            report.foreign += verdict.foreign;
            for difference in &verdict.differences {
                match difference.what {
                    What::Missing => report.missing += 1,
                    What::Doubled => report.doubled += 1,
                    What::Flags | What::Date | What::Size => report.differing += 1,
                }
            }
            report.folders.push(FolderVerdict {
                differences: verdict.differences.into_iter().take(MAX_LISTED).collect(),
                ..verdict
            });
        }
        self.progress.say("idle");
        Ok(report)
    }

    async fn compare_folder(
        &mut self,
        source_name: &FolderName,
        target_name: &FolderName,
    ) -> Result<FolderVerdict, Trouble> {
        let ledger = self.context.ledger.clone();
        let all = from_uid(1);
        let source = self.source().await?;
        let selected = source.examine(source_name).await?;
        let mut ours = Side::default();
        if selected.exists > 0 {
            ours.candidates = look::candidates(&mut source.session, &all).await.map_err(Trouble::source)?;
            ours.flags = look::flags(&mut source.session, &all, None).await.map_err(Trouble::source)?;
        }
        let target = self.target().await?;
        let mut theirs = Side::default();
        match target.session.examine(target_name).await {
            Ok(selected) if selected.exists > 0 => {
                theirs.candidates =
                    look::candidates(&mut target.session, &all).await.map_err(Trouble::target)?;
                theirs.flags = look::flags(&mut target.session, &all, None).await.map_err(Trouble::target)?;
            }
            Ok(_) => {}
            // Not there: then everything is missing.
            Err(error) if !error.is_fatal() => {}
            Err(error) => return Err(Trouble::target(error)),
        }
        // The session is in a folder that its owner does not know of.
        target.forget_selected();

        let folder = ledger.folder_by_source(self.mailbox, source_name)?;
        let folder = folder.filter(|folder| folder.source_validity == selected.uid_validity);
        let mut skipped = UidSet::new();
        if let Some(folder) = folder {
            for message in ledger.messages(folder.mailbox, folder.id) {
                let (uid, message) = message?;
                if matches!(message.state, MessageState::Skipped(_)) {
                    skipped.insert(uid);
                }
            }
        }
        let mut verdict = compare_sides(&ours, &theirs, &skipped);
        verdict.source_folder = source_name.to_text();
        verdict.target_folder = target_name.to_text();
        Ok(verdict)
    }
}

/// One side of a folder; both lists ascend by UID.
#[derive(Default)]
struct Side {
    candidates: Vec<Candidate>,
    flags: Vec<(Uid, Flags)>,
}

impl Side {
    fn candidate(&self, uid: Uid) -> Option<&Candidate> {
        let at = self.candidates.binary_search_by_key(&uid, |candidate| candidate.uid).ok()?;
        self.candidates.get(at)
    }

    fn system_flags(&self, uid: Uid) -> Option<Flags> {
        let at = self.flags.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
        self.flags.get(at).map(|(_, flags)| flags.without_keywords())
    }
}

/// Compares a folder message by message. Pure.
fn compare_sides(ours: &Side, theirs: &Side, skipped: &UidSet) -> FolderVerdict {
    let due: Vec<Candidate> =
        ours.candidates.iter().filter(|candidate| !skipped.contains(candidate.uid)).copied().collect();
    let pairs = pair(&due, &theirs.candidates);
    let mut verdict = FolderVerdict {
        source: ours.candidates.len() as u64,
        target: theirs.candidates.len() as u64,
        matched: pairs.len() as u64,
        skipped: (ours.candidates.len() - due.len()) as u64,
        ..FolderVerdict::default()
    };
    let mut differ = |source_uid: Option<Uid>, target_uid: Option<Uid>, what: What| {
        let number = |uid: Option<Uid>| uid.map(Uid::value);
        verdict.differences.push(Difference {
            source_uid: number(source_uid),
            target_uid: number(target_uid),
            what,
        });
    };
    // Exchange estimates sizes and writes MIME anew; where nearly all are the same, the target keeps messages as they are.
    let both = |source: &Uid, target: &Uid| Some((ours.candidate(*source)?, theirs.candidate(*target)?));
    let resized = pairs
        .iter()
        .filter_map(|(source, target)| both(source, target))
        .filter(|(a, b)| a.size != b.size)
        .count();
    let keeps_messages = resized * 20 <= pairs.len();
    let mut reflagged: BTreeMap<_, Vec<(Uid, Uid)>> = BTreeMap::new();
    for candidate in &due {
        let Some(target_uid) = pairs.get(&candidate.uid) else {
            differ(Some(candidate.uid), None, What::Missing);
            continue;
        };
        let (source_uid, target_uid) = (Some(candidate.uid), Some(*target_uid));
        let Some(copy) = target_uid.and_then(|uid| theirs.candidate(uid)) else { continue };
        if candidate.date.unix() != copy.date.unix() {
            differ(source_uid, target_uid, What::Date);
        }
        if keeps_messages && candidate.size != copy.size {
            differ(source_uid, target_uid, What::Size);
        }
        if ours.system_flags(candidate.uid) != theirs.system_flags(copy.uid) {
            let twins = (candidate.print, candidate.date.unix(), candidate.size);
            reflagged.entry(twins).or_default().push((candidate.uid, copy.uid));
        }
    }
    // Of messages that are alike nobody can say which is whose copy: only what flags there are must be the same.
    for pairs in reflagged.into_values() {
        let mut copies: Vec<Uid> = pairs.iter().map(|(_, copy)| *copy).collect();
        let mut sources: Vec<Uid> = pairs.iter().map(|(source, _)| *source).collect();
        sources.retain(|source| {
            let flags = ours.system_flags(*source);
            let alike = copies.iter().position(|copy| theirs.system_flags(*copy) == flags);
            alike.map(|at| copies.remove(at)).is_none()
        });
        for (source, copy) in sources.into_iter().zip(copies) {
            differ(Some(source), Some(copy), What::Flags);
        }
    }
    let used: BTreeSet<Uid> = pairs.values().copied().collect();
    let alike: BTreeMap<(Print, i64), Uid> =
        due.iter().map(|candidate| ((candidate.print, candidate.date.unix()), candidate.uid)).collect();
    let mut foreign = 0;
    for copy in theirs.candidates.iter().filter(|copy| !used.contains(&copy.uid)) {
        match alike.get(&(copy.print, copy.date.unix())) {
            Some(source_uid) => differ(Some(*source_uid), Some(copy.uid), What::Doubled),
            None => foreign += 1,
        }
    }
    verdict.foreign = foreign;
    verdict
}

#[cfg(test)]
mod tests {
    use mailferry_imap::InternalDate;

    use super::*;

    /// `uid text seconds size flags`
    fn side(lines: &[(u32, &str, i64, u64, &[&str])]) -> Side {
        let uid = |uid: u32| Uid::new(uid).unwrap();
        Side {
            candidates: lines
                .iter()
                .map(|(number, text, seconds, size, _)| Candidate {
                    uid: uid(*number),
                    print: Print::of_header(format!("Message-ID: <{text}>\n\n").as_bytes()),
                    date: InternalDate::new(*seconds, 0).unwrap(),
                    size: *size,
                })
                .collect(),
            flags: lines
                .iter()
                .map(|(number, .., flags)| (uid(*number), flags.iter().copied().collect()))
                .collect(),
        }
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let ours = side(&[
            (1, "same", 1, 10, &["\\Seen", "$Label"]),
            (2, "missing", 2, 10, &[]),
            (3, "skipped", 3, 99, &[]),
            (4, "twice", 4, 10, &[]),
            (5, "flags", 5, 10, &["\\Seen"]),
            (6, "date", 6, 10, &[]),
        ]);
        let theirs = side(&[
            (11, "same", 1, 10, &["\\Seen"]),
            (12, "twice", 4, 10, &[]),
            (13, "twice", 4, 10, &[]),
            (14, "flags", 5, 10, &[]),
            (15, "date", 7, 10, &[]),
            (16, "foreign", 9, 10, &[]),
        ]);
        let skipped = UidSet::parse(b"3").unwrap();
        let verdict = compare_sides(&ours, &theirs, &skipped);
        let found: Vec<_> = verdict
            .differences
            .iter()
            .map(|difference| (difference.source_uid, difference.target_uid, difference.what))
            .collect();
        assert_eq!(
            found,
            [
                (Some(2), None, What::Missing),
                (Some(6), Some(15), What::Date),
                (Some(5), Some(14), What::Flags),
                (Some(4), Some(13), What::Doubled),
            ]
        );
        let figures = (verdict.source, verdict.target, verdict.matched, verdict.skipped, verdict.foreign);
        assert_eq!(figures, (6, 6, 4, 1, 1));
    }

    #[test]
    fn twins_may_have_each_others_flags_and_no_other_ones() {
        let ours = side(&[(1, "a", 1, 9, &["\\Seen"]), (2, "a", 1, 9, &[]), (3, "a", 1, 9, &["\\Draft"])]);
        let theirs = |last: &'static [&'static str]| {
            side(&[(7, "a", 1, 9, &[]), (8, "a", 1, 9, &["\\Draft"]), (9, "a", 1, 9, last)])
        };
        let differences = |last| compare_sides(&ours, &theirs(last), &UidSet::new()).differences;
        assert_eq!(differences(&["\\Seen"]), []);
        let found = differences(&["\\Answered"]);
        assert_eq!(found.iter().map(|one| one.what).collect::<Vec<_>>(), [What::Flags]);
        assert_eq!((found[0].source_uid, found[0].target_uid), (Some(1), Some(9)));
    }

    #[test]
    fn sizes_count_only_where_the_target_keeps_them() {
        let many = |resized: u32| {
            let ours: Vec<_> = (1..=100).map(|n| (n, n.to_string())).collect();
            let ours: Vec<_> = ours.iter().map(|(n, text)| (*n, text.as_str(), 1, 10, &[][..])).collect();
            let theirs: Vec<_> = ours
                .iter()
                .map(|(n, text, ..)| (*n, *text, 1, if *n <= resized { 11 } else { 10 }, &[][..]))
                .collect();
            compare_sides(&side(&ours), &side(&theirs), &UidSet::new()).differences.len()
        };
        assert_eq!((many(0), many(1), many(100)), (0, 1, 0));
    }
}
