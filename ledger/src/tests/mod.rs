//! The ledger as its users see it, and as a power cut, a full disk or damage leaves it.

mod damage;
mod disk_full;
mod learned;
mod logins;
mod model;
mod power_cut;
mod verbs;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mailferry_imap::{Flags, FolderName, InternalDate, MailboxId, Uid, UidSet, UidValidity};

use crate::commit::Care;
use crate::disk::{Disk, RealDisk};
use crate::record::{
    AdminLogin, Batch, BatchState, Endpoint, Folder, FolderId, Mailbox, MailboxState, Security, Trust,
};
use crate::{Change, Fingerprint, Intent, Ledger, Message, MessageState};

pub(crate) const TERRY: MailboxId = MailboxId(1);
pub(crate) const INBOX: FolderId = FolderId(1);

pub(crate) fn open(dir: &Path) -> Ledger {
    let opened = Ledger::open(dir).unwrap();
    assert_eq!(opened.set_aside, None);
    opened.ledger
}

pub(crate) fn care(disk: impl Disk + 'static) -> Care {
    Care { disk: Arc::new(disk), reserve: 0, patience: Duration::from_secs(60) }
}

pub(crate) fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

pub(crate) fn validity(number: u32) -> UidValidity {
    UidValidity::new(number).unwrap()
}

pub(crate) fn moment() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub(crate) fn date() -> InternalDate {
    InternalDate::parse(b" 1-Jul-2020 02:44:25 -0700").unwrap()
}

pub(crate) fn batch(name: &str) -> Batch {
    Batch {
        name: name.into(),
        endpoint: "IMAPEndpoint".into(),
        state: BatchState::Created,
        created: moment(),
        started: None,
        auto_start: false,
        error: None,
        include: Vec::new(),
        exclude: Vec::new(),
    }
}

pub(crate) fn endpoint(name: &str) -> Endpoint {
    Endpoint {
        name: name.into(),
        server: "imap.contoso.com".into(),
        port: 993,
        security: Security::Ssl,
        trust: Trust::System,
        max_concurrent_migrations: 50,
        max_concurrent_incremental_syncs: 25,
        learn_credentials: true,
        admin_separator: Endpoint::ADMIN_SEPARATOR,
        admin_login: AdminLogin::Name,
    }
}

pub(crate) fn mailbox(id: MailboxId, address: &str) -> Mailbox {
    Mailbox::new(id, "IMAPBatch1", address, &format!("user{id}"))
}

pub(crate) fn folder(mailbox: MailboxId, id: FolderId, source: &str) -> Folder {
    Folder {
        id,
        mailbox,
        source: FolderName::from_wire(source.as_bytes().to_vec()),
        source_delimiter: Some(b'/'),
        target: FolderName::from_wire(source.as_bytes().to_vec()),
        source_validity: validity(7),
        target_validity: None,
        seen: None,
        target_uid_next: None,
        subscribed: true,
        held_deletions: 0,
        gone: false,
    }
}

pub(crate) fn message(state: MessageState, size: u64) -> Message {
    let flags = Flags::from_iter(["\\Seen", "$Label1"]);
    Message { state, size, date: date(), flags, print: Fingerprint::of(&[b"one", b"two"]) }
}

pub(crate) fn mirrored(size: u64) -> Message {
    message(MessageState::Mirrored { target_uid: None }, size)
}

pub(crate) fn intent() -> Intent {
    Intent { target_uid_next: 11, print: Fingerprint::of(&[b"one"]), size: 300, date: date() }
}

/// One batch, one mailbox, its INBOX.
pub(crate) fn furnish(change: &mut Change) {
    change.put_batch(batch("IMAPBatch1"));
    change.put_mailbox(mailbox(TERRY, "terrya@contoso.edu"));
    change.put_folder(folder(TERRY, INBOX, "INBOX"));
}

pub(crate) async fn furnished(dir: &Path) -> Ledger {
    let ledger = open(dir);
    let mut change = ledger.change();
    furnish(&mut change);
    change.commit().await.unwrap();
    ledger
}

/// The first step of a removal; the rest is dropped.
async fn begin_removal(ledger: &Ledger) {
    let mut removal = Box::pin(ledger.remove_batch("IMAPBatch1", "{}".into()));
    // One look sends the first step to the writer. Another one, after it was done, would send the next.
    tokio::select! {
        biased;
        _ = &mut removal => panic!("it has more than one step"),
        () = std::future::ready(()) => {}
    }
    while ledger.unfinished_removals().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}
