//! One folder compared message by message. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mailferry_imap::{Flags, Uid, UidSet};
use mailferry_ledger::{Message, MessageState};

use super::{Difference, FolderVerdict, Judgement, What};
use crate::changes::bits;
use crate::content::Likeness;
use crate::matching::{Candidate, pair};
use crate::print::Print;

/// One side of a folder; both lists ascend by UID.
#[derive(Default)]
pub(super) struct Side {
    pub(super) candidates: Vec<Candidate>,
    pub(super) flags: Vec<(Uid, Flags)>,
}

impl Side {
    fn candidate(&self, uid: Uid) -> Option<&Candidate> {
        let at = self.candidates.binary_search_by_key(&uid, |candidate| candidate.uid).ok()?;
        self.candidates.get(at)
    }

    /// The system flags, as bits.
    fn flags(&self, uid: Uid) -> Option<u8> {
        let at = self.flags.binary_search_by_key(&uid, |(uid, _)| *uid).ok()?;
        self.flags.get(at).map(|(_, flags)| bits(flags))
    }
}

/// What the ledger knows of a folder, by source UID.
#[derive(Default)]
pub(super) struct Recorded {
    mirrored: BTreeMap<Uid, Copied>,
    skipped: UidSet,
}

/// A copy as recorded.
struct Copied {
    /// Its UID, where it is told and means anything in this folder.
    uid: Option<Uid>,
    /// The flags that were carried over last, as bits.
    flags: u8,
}

impl Recorded {
    /// `holds`: the target's folder is the one whose UIDs are recorded.
    pub(super) fn note(&mut self, uid: Uid, message: &Message, holds: bool) {
        match &message.state {
            MessageState::Mirrored { target_uid } => {
                let target_uid = target_uid.filter(|_| holds);
                self.mirrored.insert(uid, Copied { uid: target_uid, flags: bits(&message.flags) });
            }
            MessageState::Skipped(_) => self.skipped.insert(uid),
            MessageState::Pending | MessageState::Gone => {}
        }
    }
}

/// What came of it.
#[derive(Default)]
pub(super) struct Compared {
    /// Figures; names and differences are put in at the end.
    pub(super) verdict: FolderVerdict,
    pub(super) differences: Vec<Difference>,
    /// Messages and their copies.
    pub(super) pairs: Vec<(Uid, Uid)>,
    /// Messages that should be on the target and are not in this folder.
    pub(super) missing: Vec<Candidate>,
    /// Messages of the target that are copies of nothing here.
    pub(super) strays: Vec<Candidate>,
    /// Pairs whose bodies were read.
    pub(super) read: u64,
    pub(super) same_bytes: u64,
    pub(super) unclear: u64,
    /// Pairs that say the same in other bytes.
    pub(super) other_bytes: Vec<(Uid, Uid)>,
    pub(super) is_unopened: bool,
}

impl Compared {
    /// Of a folder that the source lists and does not open.
    pub(super) fn unopened() -> Self {
        Self { is_unopened: true, ..Self::default() }
    }

    /// Takes in what reading the bodies told.
    pub(super) fn take_in(&mut self, judged: BTreeMap<(Uid, Uid), Judgement>) {
        let mut proven = BTreeSet::new();
        let mut other = BTreeSet::new();
        for (source, target) in &self.pairs {
            let Some(judgement) = judged.get(&(*source, *target)) else { continue };
            self.read += u64::from(matches!(judgement, Judgement::Like(_)));
            let what = match judgement {
                Judgement::Like(Likeness::SameBytes) => {
                    self.same_bytes += 1;
                    proven.insert(source.value());
                    continue;
                }
                Judgement::Like(Likeness::SameContent) => {
                    self.other_bytes.push((*source, *target));
                    proven.insert(source.value());
                    continue;
                }
                Judgement::Like(Likeness::Unclear) => {
                    self.unclear += 1;
                    continue;
                }
                Judgement::Gone => continue,
                Judgement::Like(Likeness::OtherHeading) => What::Heading,
                Judgement::Like(Likeness::OtherContent) => What::Content,
                Judgement::NotGiven => What::NotGiven,
            };
            other.insert((source.value(), what));
            self.differences.push(Difference::new(Some(*source), Some(*target), what));
        }
        // What stands in a copy's place and says the same is as good as it.
        let mut seen = BTreeSet::new();
        self.differences.retain(|one| {
            let Some(source) = one.source_uid else { return true };
            let healed = one.what == What::Replaced && proven.contains(&source);
            let twice = one.what == What::Heading && !seen.insert(source);
            !healed && !twice
        });
    }
}

/// Compares a folder message by message.
pub(super) fn compare_sides(ours: &Side, theirs: Side, recorded: &Recorded) -> Compared {
    let theirs = &theirs;
    let mut differences = Vec::new();
    let mut pairs: BTreeMap<Uid, Uid> = BTreeMap::new();
    let mut lost = UidSet::new();
    // A copy that is where it was made.
    for (source, copied) in &recorded.mirrored {
        let Some(target) = copied.uid else { continue };
        if ours.candidate(*source).is_none() {
            continue;
        }
        match theirs.candidate(target) {
            Some(_) => {
                pairs.insert(*source, target);
            }
            None => lost.insert(*source),
        }
    }
    let known: BTreeSet<Uid> = pairs.values().copied().collect();
    // The rest is matched.
    let due: Vec<Candidate> = ours
        .candidates
        .iter()
        .filter(|one| !pairs.contains_key(&one.uid) && !recorded.skipped.contains(one.uid))
        .copied()
        .collect();
    let free: Vec<Candidate> =
        theirs.candidates.iter().filter(|one| !known.contains(&one.uid)).copied().collect();
    let matched = pair(&due, &free);
    for (source, target) in &matched {
        if lost.contains(*source) {
            differences.push(Difference::new(Some(*source), Some(*target), What::Replaced));
        }
    }
    pairs.extend(matched);

    let mut verdict = FolderVerdict {
        source: ours.candidates.len() as u64,
        target: theirs.candidates.len() as u64,
        matched: pairs.len() as u64,
        ..FolderVerdict::default()
    };
    let mut missing = Vec::new();
    for one in ours.candidates.iter().filter(|one| !pairs.contains_key(&one.uid)) {
        match (recorded.skipped.contains(one.uid), recorded.mirrored.contains_key(&one.uid)) {
            (true, _) => verdict.skipped += 1,
            (false, true) => missing.push(*one),
            (false, false) => verdict.pending += 1,
        }
    }
    compare_pairs(ours, theirs, recorded, &pairs, &mut differences);
    let strays = strays(ours, theirs, &pairs, &mut differences);
    verdict.foreign = strays.len() as u64;
    let pairs = pairs.into_iter().collect();
    Compared { verdict, differences, pairs, missing, strays, ..Compared::default() }
}

/// What differs between messages and their copies.
fn compare_pairs(
    ours: &Side,
    theirs: &Side,
    recorded: &Recorded,
    pairs: &BTreeMap<Uid, Uid>,
    differences: &mut Vec<Difference>,
) {
    let both = || {
        pairs
            .iter()
            .filter_map(|(source, target)| Some((ours.candidate(*source)?, theirs.candidate(*target)?)))
    };
    // Exchange estimates sizes and writes MIME anew; where nearly all are the same, the target keeps messages as they are.
    let resized = both().filter(|(one, copy)| one.size != copy.size).count();
    let keeps_messages = resized * 20 <= pairs.len();
    let mut reflagged: BTreeMap<_, Vec<(Uid, Uid)>> = BTreeMap::new();
    for (one, copy) in both() {
        let mut differ = |what| differences.push(Difference::new(Some(one.uid), Some(copy.uid), what));
        if other_heading(&one.print, &copy.print) {
            differ(What::Heading);
        }
        if one.date.unix() != copy.date.unix() {
            differ(What::Date);
        }
        if keeps_messages && one.size != copy.size {
            differ(What::Size);
        }
        let (flags, copied) = (ours.flags(one.uid), theirs.flags(copy.uid));
        if flags == copied {
            continue;
        }
        match recorded.mirrored.get(&one.uid) {
            // Changed at the source since: the next pass carries it over.
            Some(recorded) if Some(recorded.flags) == copied => {}
            Some(Copied { uid: Some(_), .. }) => differ(What::Flags),
            Some(_) | None => {
                let twins = (one.print, one.date.unix(), one.size);
                reflagged.entry(twins).or_default().push((one.uid, copy.uid));
            }
        }
    }
    // Of messages that are alike nobody can say which is whose copy: only what flags there are must be the same.
    for pairs in reflagged.into_values() {
        let mut copies: Vec<Uid> = pairs.iter().map(|(_, copy)| *copy).collect();
        let mut sources: Vec<Uid> = pairs.iter().map(|(source, _)| *source).collect();
        sources.retain(|source| {
            let flags = ours.flags(*source);
            let alike = copies.iter().position(|copy| theirs.flags(*copy) == flags);
            alike.map(|at| copies.remove(at)).is_none()
        });
        for (source, copy) in sources.into_iter().zip(copies) {
            differences.push(Difference::new(Some(source), Some(copy), What::Flags));
        }
    }
}

/// Whether a copy has another Message-ID, From or Subject. What reads in more than one way says nothing; a Message-ID that
/// the message has not may be the target's.
fn other_heading(one: &Print, copy: &Print) -> bool {
    let other_id = one.id.is_some() && one.id != copy.id;
    other_id || one.plain && one.rest != copy.rest
}

/// Copies that are one too many, told as differences; what is a copy of nothing is returned.
fn strays(
    ours: &Side,
    theirs: &Side,
    pairs: &BTreeMap<Uid, Uid>,
    differences: &mut Vec<Difference>,
) -> Vec<Candidate> {
    let used: BTreeSet<Uid> = pairs.values().copied().collect();
    let alike: BTreeMap<_, Uid> = pairs
        .iter()
        .filter_map(|(source, target)| Some((source, ours.candidate(*source)?, theirs.candidate(*target)?)))
        .flat_map(|(source, one, copy)| {
            let key = |of: &Candidate| (of.print.whole, of.date.unix());
            [(key(one), *source), (key(copy), *source)]
        })
        .collect();
    let mut strays = Vec::new();
    for copy in theirs.candidates.iter().filter(|copy| !used.contains(&copy.uid)) {
        match alike.get(&(copy.print.whole, copy.date.unix())) {
            Some(source) => {
                differences.push(Difference::new(Some(*source), Some(copy.uid), What::Doubled));
            }
            None => strays.push(*copy),
        }
    }
    strays
}

#[cfg(test)]
mod tests;
