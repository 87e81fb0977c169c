//! Power cuts: what was acknowledged is there, and nothing is there by half.
//!
//! All that is certain to survive a cut is what was synced: of each file the content at its last sync, of each
//! folder the entries at its last sync. [`Platter`] keeps just that. Of everything written since, any 512-byte block,
//! length or entry may be old or new. A cut strikes in the middle of a commit, after the store's own flush and before
//! the sync, when most is in the air; or while the ledger is being opened. The next round goes on with what the cut
//! left.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SECTOR: usize = 512;
/// Messages in one commit: all or none of them must be there.
const TOGETHER: u32 = 7;

/// What is on the disk for certain.
#[derive(Default)]
struct Synced {
    files: BTreeMap<PathBuf, Vec<u8>>,
    folders: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// After how many more syncs of the log the cut comes.
    countdown: Option<u32>,
    random: u64,
    /// Where the cut leaves what it leaves; empty before.
    left: PathBuf,
    /// What was acknowledged at the cut.
    acknowledged_at_cut: Option<u32>,
}

#[derive(Clone, Default)]
struct Platter {
    synced: Arc<Mutex<Synced>>,
    acknowledged: Arc<AtomicU32>,
}

impl Disk for Platter {
    fn sync_file(&self, _file: &File, path: &Path) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap();
        if path.ends_with("store/db")
            && let Some(countdown) = &mut synced.countdown
        {
            if *countdown == 0 {
                self.strike(&mut synced, path.parent().unwrap());
            } else {
                *countdown -= 1;
            }
        }
        synced.files.insert(path.to_owned(), fs::read(path)?);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.synced.lock().unwrap().folders.insert(path.to_owned(), entries(path));
        Ok(())
    }

    fn free(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl Platter {
    /// A disk on which all that is in a folder is certain.
    fn holding(folder: &Path) -> Self {
        let platter = Self::default();
        platter.synced.lock().unwrap().hold(folder);
        platter
    }

    /// The power goes.
    fn strike(&self, synced: &mut Synced, store: &Path) {
        synced.countdown = None;
        synced.acknowledged_at_cut = Some(self.acknowledged.load(Ordering::SeqCst));
        synced.cut(store);
    }
}

fn entries(path: &Path) -> BTreeSet<OsString> {
    fs::read_dir(path).map(|all| all.map(|one| one.unwrap().file_name()).collect()).unwrap_or_default()
}

impl Synced {
    fn chance(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random & 1 == 0
    }

    fn hold(&mut self, folder: &Path) {
        for name in entries(folder) {
            let path = folder.join(&name);
            if path.is_dir() {
                self.hold(&path);
            } else {
                self.files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
        self.folders.insert(folder.to_owned(), entries(folder));
    }

    /// Writes what a cut at this moment leaves of a folder.
    fn cut(&mut self, folder: &Path) {
        let target = self.left.join(folder.file_name().unwrap());
        fs::create_dir_all(&target).unwrap();
        let certain = self.folders.get(folder).cloned().unwrap_or_default();
        let now = entries(folder);
        for name in certain.union(&now).cloned().collect::<Vec<_>>() {
            let path = folder.join(&name);
            let in_the_air = certain.contains(&name) != now.contains(&name);
            if in_the_air && self.chance() {
                continue;
            }
            if path.is_dir() {
                self.left = target.clone();
                self.cut(&path);
                self.left = target.parent().unwrap().to_owned();
            } else {
                let old = self.files.get(&path).cloned().unwrap_or_default();
                let new = fs::read(&path).unwrap_or_else(|_| old.clone());
                // The store syncs a snapshot itself before it gives it this name.
                let whole = name.to_string_lossy().starts_with("snap.");
                let mixed = if whole { new } else { self.mix(&old, &new) };
                fs::write(target.join(&name), mixed).unwrap();
            }
        }
    }

    /// Of two contents of a file any mixture of sectors, and either length.
    fn mix(&mut self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let length = if self.chance() { old.len() } else { new.len() };
        // Now and then all or nothing reached the disk.
        let only = match (self.chance(), self.chance()) {
            (true, true) => Some(true),
            (true, false) => Some(false),
            (false, _) => None,
        };
        let mut mixed = vec![0; length];
        for start in (0..length).step_by(SECTOR) {
            let take_old = only.unwrap_or_else(|| self.chance());
            let source = if take_old { old } else { new };
            let end = (start + SECTOR).min(length).min(source.len());
            if start < end {
                mixed[start..end].copy_from_slice(&source[start..end]);
            }
        }
        mixed
    }
}

/// Commit `number` writes these messages with its number as their size, and rewrites an old one.
async fn commit(ledger: &Ledger, number: u32) {
    let mut change = ledger.change();
    for part in 0..TOGETHER {
        change.put_message(TERRY, INBOX, uid(number * TOGETHER + part + 1), mirrored(u64::from(number)));
    }
    let rewritten = number / 2;
    for part in 0..TOGETHER {
        change.note_intent(TERRY, INBOX, uid(rewritten * TOGETHER + part + 1), intent());
    }
    change.commit().await.unwrap();
}

/// The number of commits that are there, every one of them whole.
fn whole_commits(ledger: &Ledger) -> u32 {
    let sizes: Vec<_> = ledger.messages(TERRY, INBOX).map(|one| one.unwrap()).collect();
    for (index, (uid, message)) in sizes.iter().enumerate() {
        assert_eq!(uid.value(), index as u32 + 1, "a hole among the messages");
        assert_eq!(message.size, u64::from(index as u32 / TOGETHER));
    }
    assert_eq!(sizes.len() as u32 % TOGETHER, 0, "half a commit");
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, sizes.len() as u64);
    sizes.len() as u32 / TOGETHER
}

async fn rounds(number: u32, seed: u64) {
    let mut random = seed;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut place = tempfile::tempdir().unwrap();
    drop(furnished(place.path()).await);
    let mut there = 0;
    for round in 0..number {
        let platter = Platter::holding(place.path());
        let left = tempfile::tempdir().unwrap();
        {
            // Zero strikes while the ledger is being opened.
            let mut synced = platter.synced.lock().unwrap();
            synced.countdown = Some((next() % 30) as u32 / 2);
            synced.random = next() | 1;
            synced.left = left.path().to_owned();
        }
        platter.acknowledged.store(there, Ordering::SeqCst);
        let ledger = Ledger::open_with(place.path(), care(platter.clone())).unwrap();
        assert_eq!(ledger.set_aside, None, "round {round}");
        let ledger = ledger.ledger;
        assert_eq!(whole_commits(&ledger), there);
        let mut made = there;
        while platter.synced.lock().unwrap().acknowledged_at_cut.is_none() {
            commit(&ledger, made).await;
            made += 1;
            platter.acknowledged.store(made, Ordering::SeqCst);
            if made > there + 50 {
                // Nobody asked for a sync: the cut comes all the same.
                let mut synced = platter.synced.lock().unwrap();
                platter.strike(&mut synced, &place.path().join("store"));
            }
        }
        let acknowledged = platter.synced.lock().unwrap().acknowledged_at_cut.unwrap();
        drop(ledger);

        let opened = Ledger::open(left.path()).unwrap();
        let why = opened.ledger.rebuilt().unwrap().map(|mark| mark.why);
        assert_eq!(why, None, "round {round}: the cut left a store that does not open");
        there = whole_commits(&opened.ledger);
        assert!(there >= acknowledged, "round {round}: {acknowledged} acknowledged, {there} there");
        assert!(there <= made);
        place = left;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_cuts() {
    let number =
        std::env::var("MAILFERRY_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    // Several short lives and one long one: young stores and aged ones.
    for seed in 1..=4 {
        rounds(number, 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed)).await;
    }
}
