use bytes::Bytes;
use mailferry_imap::{FolderName, MailboxId, MessageKey, Uid, UidValidity};
use proptest::prelude::*;

use crate::{Body, Full, Limits, Origin, Place, Seen, Spool, Transfer, TransferKind};

const ANN: MailboxId = MailboxId(1);

fn spool(memory_bytes: u64, disk_bytes: u64) -> (Spool, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Spool::new(Limits { memory_bytes, disk_bytes, dir: dir.path().join("spool") }), dir)
}

fn key(uid: u32) -> MessageKey {
    let validity = UidValidity::new(9).unwrap();
    MessageKey { mailbox: ANN, folder: FolderName::inbox(), validity, uid: Uid::new(uid).unwrap() }
}

fn written(spool: &Spool, bytes: &[u8]) -> Result<Body, Full> {
    let mut writer = spool.body(bytes.len() as u64)?;
    for part in bytes.chunks(70_000) {
        writer.write(part)?;
    }
    Ok(writer.finish().unwrap())
}

fn offer(spool: &Spool, uid: u32, bytes: &[u8]) {
    let body = written(spool, bytes).unwrap();
    spool.offer(Seen::Body { key: key(uid), body, origin: Origin::Fetched });
}

async fn read(body: &Body) -> Vec<u8> {
    let mut reader = body.open();
    let mut all = Vec::new();
    while let Some(chunk) = reader.next_chunk().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

fn told(seen: &[Seen]) -> Vec<String> {
    let tell = |seen: &Seen| match seen {
        Seen::Body { key, body, .. } => format!("body {key} {}", body.size()),
        Seen::FolderChanged { folder, .. } => format!("folder {folder}"),
        Seen::FoldersChanged { .. } => "folders".to_owned(),
        Seen::Transferred(transfer) => {
            let (from, to) = (&transfer.from.folder, &transfer.to.folder);
            format!("{:?} {} {from} to {to}", transfer.kind, transfer.pairs.len())
        }
        Seen::Everything { .. } => "everything".to_owned(),
    };
    seen.iter().map(tell).collect()
}

#[tokio::test]
async fn a_body_comes_out_as_it_went_in_from_memory_and_from_disk() {
    let (spool, dir) = spool(1 << 20, 4 << 20);
    for size in [0, 1, 262_144, 262_145, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let body = written(&spool, &bytes).unwrap();
        assert_eq!(read(&body).await, bytes);
        assert_eq!(read(&body).await, bytes, "a second reader starts at the first byte");
    }
    let left = std::fs::read_dir(dir.path().join("spool")).unwrap().count();
    assert_eq!(left, 0, "temporary files have no name");
    assert_eq!((spool.usage().memory_bytes, spool.usage().disk_bytes), (0, 0), "dropped bodies give back");
}

#[test]
fn a_body_of_another_size_than_announced_is_none() {
    let (spool, _dir) = spool(1000, 1000);
    let mut short = spool.body(5).unwrap();
    short.write(b"four").unwrap();
    assert!(short.finish().is_none());
    let mut long = spool.body(5).unwrap();
    assert_eq!(long.write(b"sixsix"), Err(Full));
    assert_eq!(long.write(b"five5"), Err(Full), "failure sticks");
    assert!(long.finish().is_none());
}

#[test]
fn the_oldest_makes_way_and_its_folder_is_told_instead() {
    let (spool, _dir) = spool(25, 0);
    offer(&spool, 1, b"0123456789");
    offer(&spool, 2, b"0123456789");
    offer(&spool, 3, b"0123456789");
    assert_eq!(told(&spool.drain(ANN)), ["folder INBOX", "body 1/9/2 10", "body 1/9/3 10"]);
    assert!(spool.take(&key(1)).is_none());
    assert_eq!(spool.usage().dropped, 1);
    assert_eq!(spool.usage().memory_bytes, 20);
}

#[test]
fn what_is_in_use_is_not_taken_away_so_the_newcomer_is_refused() {
    let (spool, _dir) = spool(10, 10);
    let held = written(&spool, b"0123456789").unwrap();
    assert_eq!(spool.body(10).unwrap_err(), Full);
    drop(held);
    assert!(spool.body(10).is_ok());
    assert_eq!(spool.usage().refused, 1);
}

#[test]
fn a_number_alone_claims_no_disk() {
    let (spool, _dir) = spool(1 << 20, 1 << 30);
    let _first = spool.body(1 << 30).unwrap();
    let _second = spool.body(1 << 30).unwrap();
    assert_eq!(spool.usage().disk_bytes, 0);
    assert_eq!(spool.body(u64::MAX).unwrap_err(), Full);
}

#[test]
fn a_disk_that_cannot_be_written_refuses_large_bodies_only() {
    let (_, dir) = spool(0, 0);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let spool = Spool::new(Limits { memory_bytes: 1 << 20, disk_bytes: 1 << 20, dir: file.join("below") });
    assert_eq!(spool.body(300_000).unwrap_err(), Full);
    assert!(spool.body(100).is_ok());
}

#[test]
fn hints_are_told_once_and_coarser_when_too_many() {
    let (spool, _dir) = spool(1000, 0);
    let folder = FolderName::from_text("Arbeit");
    for _ in 0..3 {
        spool.offer(Seen::FolderChanged { mailbox: ANN, folder: folder.clone() });
    }
    spool.offer(Seen::FoldersChanged { mailbox: ANN });
    spool.offer(Seen::FolderChanged { mailbox: MailboxId(2), folder });
    assert_eq!(told(&spool.drain(ANN)), ["folders", "folder Arbeit"]);
    assert!(spool.drain(ANN).is_empty());
    for number in 0..2_000 {
        spool.offer(Seen::FolderChanged { mailbox: ANN, folder: FolderName::from_text(&number.to_string()) });
    }
    assert_eq!(told(&spool.drain(ANN)), ["everything"]);
    assert_eq!(told(&spool.drain(MailboxId(2))), ["folder Arbeit"]);
}

#[test]
fn bodies_stay_after_being_told_until_taken() {
    let (spool, _dir) = spool(1000, 0);
    offer(&spool, 7, b"abc");
    offer(&spool, 7, b"abc");
    assert_eq!(told(&spool.drain(ANN)), ["body 1/9/7 3"]);
    assert!(spool.drain(ANN).is_empty());
    assert!(spool.holds(&key(7)));
    assert_eq!(spool.take(&key(7)).unwrap().size(), 3);
    assert!(!spool.holds(&key(7)));
    offer(&spool, 8, b"abc");
    spool.forget(ANN);
    assert!(spool.drain(ANN).is_empty() && !spool.holds(&key(8)));
    assert_eq!(spool.usage().memory_bytes, 0);
}

#[tokio::test]
async fn changed_waits_for_this_mailbox_and_never_misses() {
    let (spool, _dir) = spool(1000, 0);
    spool.offer(Seen::Everything { mailbox: MailboxId(2) });
    let waiting = tokio::spawn({
        let spool = spool.clone();
        async move { spool.changed(ANN).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    spool.offer(Seen::Everything { mailbox: ANN });
    waiting.await.unwrap();
    spool.changed(ANN).await;
    assert_eq!(told(&spool.drain(ANN)), ["everything"]);
}

proptest! {
    /// Whatever is offered, taken and dropped: the budgets hold, and with everything gone nothing is claimed.
    #[test]
    fn budgets_hold(actions in prop::collection::vec((0..4_u8, 1..20_u32, 0..60_usize), 0..200)) {
        let (spool, _dir) = spool(100, 0);
        let mut held = Vec::new();
        for (action, uid, size) in actions {
            match action {
                0 | 1 => if let Ok(body) = written(&spool, &Bytes::from(vec![b'x'; size])) {
                    spool.offer(Seen::Body { key: key(uid), body, origin: Origin::Appended });
                },
                2 => held.extend(spool.take(&key(uid))),
                _ => held.clear(),
            }
            prop_assert!(spool.usage().memory_bytes <= 100);
        }
        held.clear();
        spool.forget(ANN);
        prop_assert_eq!(spool.usage().memory_bytes, 0);
    }
}

fn transfer(pairs: u32) -> Seen {
    let place =
        |name: &str| Place { folder: FolderName::from_text(name), validity: UidValidity::new(9).unwrap() };
    let uid = |number| Uid::new(number).unwrap();
    Seen::Transferred(Transfer {
        mailbox: ANN,
        from: place("Work"),
        to: place("Archive"),
        pairs: (1..=pairs).map(|number| (uid(number), uid(number + 100))).collect(),
        kind: TransferKind::Move,
    })
}

#[test]
fn transfers_are_told_with_their_folders_and_too_many_as_folders_alone() {
    let (spool, _dir) = spool(1000, 0);
    spool.offer(transfer(3));
    spool.offer(Seen::Everything { mailbox: ANN });
    assert_eq!(told(&spool.drain(ANN)), ["everything", "Move 3 Work to Archive"]);
    spool.offer(transfer(49_990));
    spool.offer(transfer(1));
    spool.offer(transfer(1));
    let seen = told(&spool.drain(ANN));
    assert_eq!(
        seen,
        ["folder Archive", "folder Work", "Move 49990 Work to Archive", "Move 1 Work to Archive"]
    );
    spool.offer(transfer(1));
    assert_eq!(told(&spool.drain(ANN)).len(), 3, "room again");
}

#[tokio::test]
async fn a_body_is_shared_by_the_copies_of_its_message() {
    let (spool, _dir) = spool(10, 0);
    offer(&spool, 1, b"0123456789");
    assert!(spool.share(&key(1), key(2)));
    assert!(!spool.share(&key(7), key(8)));
    assert_eq!(read(&spool.take(&key(1)).unwrap()).await, b"0123456789");
    assert_eq!(read(&spool.take(&key(2)).unwrap()).await, b"0123456789");
    assert_eq!(spool.usage().memory_bytes, 0);
}

#[test]
fn nothing_is_given_up_where_that_makes_no_room() {
    let (spool, _dir) = spool(1000, 1 << 20);
    offer(&spool, 1, &[b'a'; 300]);
    let mut large = spool.body(400_000).unwrap();
    large.write(&[b'b'; 400_000]).unwrap();
    spool.offer(Seen::Body { key: key(2), body: large.finish().unwrap(), origin: Origin::Fetched });
    // Memory is short, and what lies on disk does not help.
    let under_way = spool.body(600).unwrap();
    assert!(spool.body(500).is_err(), "600 of 1000 are in use");
    assert!(spool.holds(&key(1)) && spool.holds(&key(2)));
    let next = spool.body(350).unwrap();
    assert!(!spool.holds(&key(1)) && spool.holds(&key(2)), "the one that helps went");
    drop((under_way, next));
    assert_eq!(spool.usage().memory_bytes, 0);
}

#[tokio::test]
async fn files_are_closed_in_threads_of_their_own_and_their_room_is_free_at_once() {
    let (spool, dir) = spool(0, 500_000);
    offer(&spool, 1, &[b'a'; 400_000]);
    let open_files = || {
        let ours = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
            std::fs::read_link(entry.ok()?.path()).ok().filter(|path| path.starts_with(dir.path()))
        });
        ours.count()
    };
    assert_eq!(open_files(), 1);
    drop(spool.take(&key(1)));
    assert_eq!(spool.usage().disk_bytes, 0);
    let started = std::time::Instant::now();
    while open_files() > 0 {
        assert!(started.elapsed().as_secs() < 20, "closed in the end");
        tokio::task::yield_now().await;
    }
}
