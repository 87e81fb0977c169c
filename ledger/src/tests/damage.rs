//! Damage is found, said and set aside; what a newer program wrote is left alone.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::store::Writes;
use crate::{CommitError, Health, OpenError, ReadError};

fn store(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// A ledger with some thousands of messages, closed.
async fn filled(dir: &Path) {
    let ledger = furnished(dir).await;
    for round in 0..5 {
        let mut change = ledger.change();
        for number in 1..=1000 {
            change.put_message(TERRY, INBOX, uid(round * 1000 + number), mirrored(1));
        }
        change.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_unfinished_snapshot_does_not_keep_the_ledger_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    // As kill -9 leaves it; the store by itself takes it for the newest snapshot and gives up.
    let planted = store(dir.path()).join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&planted, b"half").unwrap();
    let ledger = open(dir.path());
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, 5000);
    assert!(!planted.exists());
}

#[tokio::test]
async fn a_damaged_store_is_set_aside_and_its_successor_says_so() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let db = OpenOptions::new().write(true).open(store(dir.path()).join("db")).unwrap();
    for place in (0..db.metadata().unwrap().len()).step_by(4096) {
        db.write_all_at(&[0x5A; 64], place + 100).unwrap();
    }
    let opened = Ledger::open(dir.path()).unwrap();
    let set_aside = opened.set_aside.unwrap();
    assert!(set_aside.join("db").exists());
    let mark = opened.ledger.rebuilt().unwrap().unwrap();
    assert_eq!(mark.set_aside, set_aside);
    assert!(!mark.why.is_empty());
    assert_eq!(opened.ledger.batches().unwrap(), []);
    drop(opened.ledger);

    // The mark stays, and whatever is added is to be matched.
    let ledger = furnished(dir.path()).await;
    assert!(ledger.mailbox(TERRY).unwrap().unwrap().needs_matching);
    let mut change = ledger.change();
    change.update_mailbox(TERRY, |mailbox| mailbox.needs_matching = false);
    change.commit().await.unwrap();
    assert!(!ledger.mailbox(TERRY).unwrap().unwrap().needs_matching);
    let mut change = ledger.change();
    change.accept_rebuilt();
    change.commit().await.unwrap();
    assert_eq!(ledger.rebuilt().unwrap(), None);
}

#[tokio::test]
async fn a_store_that_lost_acknowledged_commits_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    drop(ledger);
    let old = fs::read(store(dir.path()).join("db")).unwrap();
    let ledger = open(dir.path());
    let mut change = ledger.change();
    change.put_message(TERRY, INBOX, uid(1), mirrored(1));
    change.commit().await.unwrap();
    drop(ledger);
    // The disk went back in time; the log by itself is sound.
    fs::write(store(dir.path()).join("db"), old).unwrap();
    for entry in fs::read_dir(store(dir.path())).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
    let opened = Ledger::open(dir.path()).unwrap();
    let why = opened.ledger.rebuilt().unwrap().unwrap().why;
    assert!(opened.set_aside.is_some() && why.contains("last 1 acknowledged"), "{why}");
}

#[tokio::test]
async fn a_vanished_log_is_never_taken_for_a_new_ledger() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    fs::remove_file(store(dir.path()).join("db")).unwrap();
    let opened = Ledger::open(dir.path()).unwrap();
    assert!(opened.set_aside.is_some() && opened.ledger.rebuilt().unwrap().is_some());
}

#[tokio::test]
async fn dying_while_a_store_is_set_aside_does_not_lose_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    fs::write(store(dir.path()).join("db"), b"nothing of use").unwrap();
    let set_aside = Ledger::open(dir.path()).unwrap().set_aside.unwrap();
    // Back to the moment after the rename.
    let mark = open(dir.path()).rebuilt().unwrap().unwrap();
    fs::remove_dir_all(store(dir.path())).unwrap();
    fs::write(dir.path().join("rebuilding"), crate::codec::encode(&mark).unwrap()).unwrap();
    let opened = Ledger::open(dir.path()).unwrap();
    assert_eq!(opened.set_aside, Some(set_aside));
    assert_eq!(opened.ledger.rebuilt().unwrap(), Some(mark));
    assert!(!dir.path().join("rebuilding").exists());
    drop(opened);
    // And to one before it: the mark was written for nothing.
    fs::write(dir.path().join("rebuilding"), b"\x01ha").unwrap();
    open(dir.path());
    assert!(!dir.path().join("rebuilding").exists());
}

async fn with_planted(dir: &Path, key: Vec<u8>, value: Vec<u8>) {
    drop(furnished(dir).await);
    let store = crate::store::Store::open(&store(dir), Arc::new(RealDisk)).unwrap();
    store.write(Writes::from([(key, Some(value))]), 1).unwrap();
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_left_as_it_is() {
    let newer = [
        (crate::key::mailbox(MailboxId(3)), vec![2, 1, 1, 1]),
        (crate::key::part(&crate::key::note(1), 0), vec![9, 0, 0, 0, 0]),
        (b"zebra".to_vec(), vec![1]),
    ];
    for (key, value) in newer {
        let dir = tempfile::tempdir().unwrap();
        with_planted(dir.path(), key, value).await;
        for _ in 0..2 {
            let Err(OpenError::Newer { what, .. }) = Ledger::open(dir.path()) else { panic!("opened") };
            assert!(!what.is_empty());
        }
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

/// Whatever reading would call damage is found at the start: the ledger must not fail at every one.
#[tokio::test]
async fn a_record_that_does_not_decode_is_damage() {
    let long = crate::key::of_domain("contoso.edu");
    let mut short_key = crate::key::of_folder(crate::key::INTENT, TERRY, INBOX);
    short_key.push(1);
    let half =
        crate::codec::encode_long(&crate::codec::NamedText { name: "n".into(), text: "x".repeat(5000) });
    for (key, value) in [
        (crate::key::mailbox(MailboxId(3)), vec![1, 1]),
        (crate::key::name(TERRY, &FolderName::inbox()), vec![]),
        (crate::key::part(&long, 0), vec![1, 0, 0, 0, 1, 9]),
        (crate::key::part(&long, 3), vec![1]),
        (
            crate::key::part(&crate::key::text(crate::change::Text::Fact, "n"), 0),
            half.unwrap().swap_remove(0),
        ),
        (short_key, crate::codec::encode(&intent()).unwrap()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        with_planted(dir.path(), key.clone(), value).await;
        assert!(Ledger::open(dir.path()).unwrap().set_aside.is_some(), "{key:?}");
        open(dir.path());
    }
}

#[tokio::test]
async fn damage_that_shows_later_fails_the_ledger_until_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let key = crate::key::folder(TERRY, INBOX);
    ledger.shared().read(|store| Ok(store.write(Writes::from([(key, Some(vec![1]))]), 1)?)).unwrap();
    assert!(matches!(ledger.folder(TERRY, INBOX), Err(ReadError::Damaged { .. })));
    assert!(matches!(ledger.health(), Health::Failed(_)));
    assert!(ledger.failed().await.contains("folder"));
    let mut change = ledger.change();
    change.put_fact("any", "1".into());
    assert!(matches!(change.commit().await, Err(CommitError::Failed { .. })));
    drop(ledger);
    assert!(Ledger::open(dir.path()).unwrap().set_aside.is_some());
}

#[tokio::test]
async fn wrong_counts_are_corrected_when_the_ledger_opens() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    {
        let store = crate::store::Store::open(&store(dir.path()), Arc::new(RealDisk)).unwrap();
        let fewer = crate::Counts { mirrored: 3, gone: 5, ..crate::Counts::default() };
        let none = crate::Counts { mirrored_bytes: 7, ..crate::Counts::default() };
        let planted = [
            (TERRY, INBOX, fewer),
            (TERRY, FolderId(0), fewer),
            (TERRY, FolderId(9), none),
            (MailboxId(9), FolderId(0), none),
        ];
        let writes = planted.map(|(mailbox, folder, wrong)| {
            (crate::key::counts(mailbox, folder), Some(crate::codec::encode(&wrong).unwrap()))
        });
        store.write(Writes::from(writes), 1).unwrap();
    }
    let ledger = open(dir.path());
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, 5000);
    assert_eq!(ledger.mailbox_counts(TERRY).unwrap().at_source(), 5000);
    assert_eq!(ledger.mailbox_counts(TERRY).unwrap().gone, 0);
    assert_eq!(ledger.counts(TERRY, FolderId(9)).unwrap(), crate::Counts::default());
    assert_eq!(ledger.mailbox_counts(MailboxId(9)).unwrap(), crate::Counts::default());
}

/// A page of the store that is lost, or older than the rest, takes records along that nobody misses but their count.
#[tokio::test]
async fn a_ledger_with_fewer_messages_than_it_counts_is_damaged() {
    for (folder, number) in [(INBOX, 5001), (FolderId(9), 1)] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path()).await;
        {
            let store = crate::store::Store::open(&store(dir.path()), Arc::new(RealDisk)).unwrap();
            let more = crate::Counts { mirrored: number, ..crate::Counts::default() };
            let more = crate::codec::encode(&more).unwrap();
            store.write(Writes::from([(crate::key::counts(TERRY, folder), Some(more))]), 1).unwrap();
        }
        let opened = Ledger::open(dir.path()).unwrap();
        assert!(opened.set_aside.is_some());
        let why = opened.ledger.rebuilt().unwrap().unwrap().why;
        assert!(why.contains("1 messages"), "{why}");
    }
}

/// A folder that cannot be used is no damage: nothing is set aside.
#[tokio::test]
async fn a_folder_that_cannot_be_used_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "not a folder").unwrap();
    assert!(matches!(Ledger::open(&path), Err(OpenError::Io { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "not a folder");
}

/// Flips bytes all over the files of the store: whatever happens, nothing that was acknowledged is missing from a
/// ledger that opens and does not say that it was rebuilt.
#[tokio::test]
async fn no_flipped_byte_makes_records_vanish_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let length = fs::metadata(store(dir.path()).join("db")).unwrap().len();
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..40 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let db = OpenOptions::new().read(true).write(true).open(store(copy.path()).join("db")).unwrap();
        let place = seed % length;
        let mut byte = [0];
        db.read_exact_at(&mut byte, place).unwrap();
        db.write_all_at(&[byte[0] ^ 0x41], place).unwrap();
        let opened = match Ledger::open(copy.path()) {
            // A kind or a version that we do not know may be a newer program's: said, and left as it is.
            Err(OpenError::Newer { .. }) => continue,
            opened => opened.unwrap(),
        };
        if opened.set_aside.is_none() {
            let found = opened.ledger.messages(TERRY, INBOX).filter(|one| one.is_ok()).count();
            assert_eq!(found, 5000, "byte {place}");
            assert_eq!(opened.ledger.counts(TERRY, INBOX).unwrap().mirrored, 5000);
        } else {
            assert!(opened.ledger.rebuilt().unwrap().is_some());
        }
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
