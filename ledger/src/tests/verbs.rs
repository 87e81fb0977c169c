//! What is put is found again: by its key, its indexes, in order, counted, after a restart.

use secrecy::SecretString;

use super::*;
use crate::record::{AdminLogin, Endpoint, Note, Observation, Security, SourceMark, Trust};
use crate::{CommitError, Counts, Health, OpenError, Sealed, SkipReason, SkippedFacts, Vault};

#[tokio::test]
async fn every_record_comes_back_as_it_was_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sealed: Sealed = {
        let vault = Vault::create(&dir.path().join("key")).unwrap();
        vault.seal(&SecretString::from("1091990"), "terrya@contoso.edu").unwrap()
    };
    let endpoint = Endpoint {
        name: "IMAPEndpoint".into(),
        server: "imap.contoso.com".into(),
        port: 993,
        security: "Ssl".parse::<Security>().unwrap(),
        trust: Trust::CaFile("/etc/ca.pem".into()),
        max_concurrent_migrations: 50,
        max_concurrent_incremental_syncs: 25,
        learn_credentials: true,
        admin_separator: '%',
        admin_login: AdminLogin::Authzid,
    };
    let mut terry = mailbox(TERRY, "terrya@contoso.edu");
    terry.password = Some(sealed.clone());
    terry.declared_moved = Some((moment(), "said so".into()));
    terry.throttled_until = Some(moment());
    let mut inbox = folder(TERRY, INBOX, "INBOX");
    inbox.source = FolderName::from_wire(vec![0xFF, b'/', 0x80]);
    inbox.seen = Some(SourceMark { uid_next: Some(9), messages: 3, highest_modseq: None });
    let observation = Observation {
        domain: "contoso.edu".into(),
        at: moment(),
        verdict: "mixed".into(),
        evidence: "é".repeat(10_000),
    };
    let note = Note {
        at: moment(),
        who: "root".into(),
        batch: Some("IMAPBatch1".into()),
        address: None,
        what: "removed by force".into(),
        reason: "no time".into(),
    };
    let ledger = open(&dir.path().join("ledger"));
    let mut change = ledger.change();
    change.put_endpoint(endpoint.clone());
    change.put_batch(batch("IMAPBatch1"));
    change.put_mailbox(terry.clone());
    change.put_folder(inbox.clone());
    change.put_message(TERRY, INBOX, uid(5), mirrored(300));
    change.note_intent(TERRY, INBOX, uid(6), intent());
    change.put_observation(observation.clone());
    change.put_note(note.clone());
    change.put_report("OldBatch", "{}".repeat(50_000));
    change.put_fact("cutover/contoso.edu", "1".into());
    change.commit().await.unwrap();
    drop(ledger);

    let ledger = open(&dir.path().join("ledger"));
    assert_eq!(ledger.endpoint("IMAPEndpoint").unwrap(), Some(endpoint.clone()));
    assert_eq!(ledger.endpoints().unwrap(), [endpoint]);
    assert_eq!(ledger.batches().unwrap(), [batch("IMAPBatch1")]);
    assert_eq!(ledger.mailboxes("IMAPBatch1").unwrap(), [terry.clone()]);
    assert_eq!(ledger.mailbox_by_address("TerryA@Contoso.edu").unwrap(), Some(terry));
    assert_eq!(ledger.folder_by_source(TERRY, &inbox.source).unwrap(), Some(inbox.clone()));
    assert_eq!(ledger.folders(TERRY).unwrap(), [inbox]);
    assert_eq!(ledger.message(TERRY, INBOX, uid(5)).unwrap(), Some(mirrored(300)));
    assert_eq!(ledger.intents(TERRY, INBOX).map(Result::unwrap).collect::<Vec<_>>(), [(uid(6), intent())]);
    assert_eq!(ledger.last_observation("contoso.edu").unwrap().as_ref(), Some(&observation));
    assert_eq!(ledger.observations("Contoso.EDU", moment()).unwrap(), [observation]);
    assert_eq!(ledger.notes().unwrap(), [note]);
    assert_eq!(ledger.report("OldBatch").unwrap(), Some("{}".repeat(50_000)));
    assert_eq!(ledger.facts("cutover/").unwrap(), [("cutover/contoso.edu".to_owned(), "1".to_owned())]);
    assert_eq!(ledger.rebuilt().unwrap(), None);
    assert_eq!(ledger.health(), Health::Good);
}

#[tokio::test]
async fn a_second_owner_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let Err(OpenError::InUse { pid, .. }) = Ledger::open(dir.path()) else { panic!("opened twice") };
    assert_eq!(pid, Some(std::process::id()));
    drop(ledger);
    open(dir.path());
}

#[tokio::test]
async fn a_folder_is_scanned_in_order_over_many_pages_and_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let mut change = ledger.change();
    change.put_folder(folder(TERRY, FolderId(2), "Sent"));
    change.put_folder(folder(TERRY, FolderId(3), "Trash"));
    for number in (1..=2000).rev() {
        change.put_message(TERRY, FolderId(2), uid(number * 3), mirrored(u64::from(number)));
    }
    change.put_message(TERRY, INBOX, uid(u32::MAX), mirrored(1));
    change.put_message(TERRY, FolderId(3), uid(1), mirrored(1));
    change.commit().await.unwrap();

    let uids: Vec<u32> = ledger.messages(TERRY, FolderId(2)).map(|one| one.unwrap().0.value()).collect();
    assert_eq!(uids, (1..=2000).map(|number| number * 3).collect::<Vec<_>>());
    let from: Vec<u32> =
        ledger.messages_from(TERRY, FolderId(2), uid(5996)).map(|one| one.unwrap().0.value()).collect();
    assert_eq!(from, [5997, 6000]);
    assert_eq!(ledger.last_uid(TERRY, FolderId(2)).unwrap(), Some(uid(6000)));
    assert_eq!(ledger.last_uid(TERRY, FolderId(4)).unwrap(), None);
    let bytes = (1..=2000).sum::<u64>();
    let counts = Counts { mirrored: 2000, mirrored_bytes: bytes, ..Counts::default() };
    assert_eq!(ledger.counts(TERRY, FolderId(2)).unwrap(), counts);
    assert_eq!(ledger.mailbox_counts(TERRY).unwrap().mirrored, 2002);
}

#[tokio::test]
async fn settling_writes_the_outcome_and_ends_the_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let inbox = FolderName::inbox();
    let mut change = ledger.change();
    change.put_message(TERRY, INBOX, uid(5), message(MessageState::Pending, 300));
    change.note_intent(TERRY, INBOX, uid(5), intent());
    change.commit().await.unwrap();
    assert_eq!(ledger.intent(TERRY, INBOX, uid(5)).unwrap(), Some(intent()));
    assert!(ledger.has_intents(TERRY).unwrap());
    assert!(!ledger.is_settled(TERRY, &inbox, validity(7), uid(5)));

    let mut change = ledger.change();
    change.settle(TERRY, INBOX, uid(5), mirrored(300));
    change.commit().await.unwrap();
    assert!(!ledger.has_intents(TERRY).unwrap());
    assert!(ledger.is_settled(TERRY, &inbox, validity(7), uid(5)));
    assert!(!ledger.is_settled(TERRY, &inbox, validity(8), uid(5)), "another UIDVALIDITY is another message");
    assert!(!ledger.is_settled(TERRY, &inbox, validity(7), uid(6)));
    assert!(!ledger.is_settled(MailboxId(9), &inbox, validity(7), uid(5)));
    let counts = Counts { mirrored: 1, mirrored_bytes: 300, ..Counts::default() };
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap(), counts);
}

#[tokio::test]
async fn skipped_messages_are_listed_with_what_is_known_until_they_are_not_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let facts = |subject: &str| SkippedFacts { subject: subject.into(), ..SkippedFacts::default() };
    let refused = message(MessageState::Skipped(SkipReason::Refused("x".repeat(5000))), 10);
    let mut change = ledger.change();
    change.put_message(
        TERRY,
        INBOX,
        uid(1),
        message(MessageState::Skipped(SkipReason::TooLarge), 40_000_000),
    );
    change.put_skipped_facts(TERRY, INBOX, uid(1), facts(&"ö".repeat(5000)));
    change.put_message(TERRY, INBOX, uid(2), refused);
    change.put_message(TERRY, INBOX, uid(3), mirrored(1));
    change.put_skipped_facts(TERRY, INBOX, uid(3), facts("not skipped"));
    change.commit().await.unwrap();

    let skipped: Vec<_> = ledger.skipped(TERRY).map(Result::unwrap).collect();
    assert_eq!(skipped.iter().map(|one| one.uid.value()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(skipped[0].facts, facts(&"ö".repeat(150)));
    let one = |n| ledger.skipped_message(TERRY, INBOX, uid(n)).unwrap();
    assert_eq!((one(1), one(2), one(3)), (Some(skipped[0].clone()), Some(skipped[1].clone()), None));
    assert_eq!(skipped[0].message.state, MessageState::Skipped(SkipReason::TooLarge));
    let MessageState::Skipped(reason) = &skipped[1].message.state else { panic!() };
    assert_eq!(reason.to_string(), format!("refused: {}", "x".repeat(500)));
    assert_eq!(ledger.mailbox_counts(TERRY).unwrap().skipped_bytes, 40_000_010);

    let mut change = ledger.change();
    change.put_message(TERRY, INBOX, uid(1), message(MessageState::Pending, 40_000_000));
    change.remove_message(TERRY, INBOX, uid(2));
    change.commit().await.unwrap();
    assert_eq!(ledger.skipped(TERRY).count(), 0);
    let counts = ledger.mailbox_counts(TERRY).unwrap();
    assert_eq!((counts.skipped, counts.pending, counts.mirrored), (0, 1, 1));
}

#[tokio::test]
async fn updates_of_several_writers_do_not_undo_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let mut worker = ledger.change();
    worker.update_mailbox(TERRY, |mailbox| mailbox.last_synced = Some(moment()));
    let mut fleet = ledger.change();
    fleet.update_mailbox(TERRY, |mailbox| mailbox.state = MailboxState::Failed);
    fleet.update_mailbox(TERRY, |mailbox| mailbox.error = Some("e".repeat(10_000)));
    let (first, second) = tokio::join!(worker.commit(), fleet.commit());
    assert_eq!((first, second), (Ok(()), Ok(())));
    let terry = ledger.mailbox(TERRY).unwrap().unwrap();
    assert_eq!((terry.last_synced, terry.state), (Some(moment()), MailboxState::Failed));
    assert_eq!(terry.error.unwrap().len(), 2000);

    let mut nobody = ledger.change();
    nobody.update_mailbox(MailboxId(77), |_| panic!("not there"));
    nobody.update_batch("none", |_| panic!("not there"));
    nobody.commit().await.unwrap();
    let mut bad = ledger.change();
    bad.update_batch("IMAPBatch1", |_| panic!("a fault in the caller's update"));
    assert!(matches!(bad.commit().await, Err(CommitError::Unfit { .. })));
    assert_eq!(ledger.health(), Health::Good);
}

#[tokio::test]
async fn a_refused_change_leaves_nothing_behind_and_its_neighbours_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let mut good = ledger.change();
    good.put_message(TERRY, INBOX, uid(1), mirrored(1));
    let mut taken = ledger.change();
    taken.put_message(TERRY, INBOX, uid(2), mirrored(1));
    taken.put_mailbox(mailbox(MailboxId(2), "TERRYA@contoso.edu"));
    let mut orphan = ledger.change();
    orphan.put_message(TERRY, INBOX, uid(3), mirrored(1));
    orphan.put_message(MailboxId(5), INBOX, uid(3), mirrored(1));
    let mut nowhere = ledger.change();
    nowhere.note_intent(TERRY, FolderId(8), uid(3), intent());
    let mut large = ledger.change();
    let words: String = (0..30_000).map(|number| format!("keyword{number} ")).collect();
    let heavy = Message { flags: Flags::from_iter(words.split(' ')), ..mirrored(1) };
    large.put_message(TERRY, INBOX, uid(4), heavy);
    let results =
        tokio::join!(good.commit(), taken.commit(), orphan.commit(), nowhere.commit(), large.commit());
    assert_eq!(results.0, Ok(()));
    let address = "TERRYA@contoso.edu".to_owned();
    assert_eq!(results.1, Err(CommitError::AddressTaken { address, batch: "IMAPBatch1".into() }));
    assert_eq!(results.2, Err(CommitError::NoMailbox(MailboxId(5))));
    assert_eq!(results.3, Err(CommitError::NoFolder(TERRY, FolderId(8))));
    assert!(matches!(results.4, Err(CommitError::Unfit { kind: "message", .. })));
    assert_eq!(ledger.messages(TERRY, INBOX).count(), 1);
    assert_eq!(ledger.counts(TERRY, INBOX).unwrap().mirrored, 1);
}

#[tokio::test]
async fn the_living_folder_of_a_name_is_found_across_a_new_validity_and_a_rename() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let name = FolderName::inbox();
    let mut change = ledger.change();
    let id = change.new_folder_id();
    assert_eq!(id, FolderId(2));
    change.put_folder(Folder { source_validity: validity(8), ..folder(TERRY, id, "INBOX") });
    change.update_folder(TERRY, INBOX, |old| old.gone = true);
    change.put_message(TERRY, id, uid(1), mirrored(1));
    change.commit().await.unwrap();
    assert_eq!(ledger.folder_by_source(TERRY, &name).unwrap().unwrap().id, id);
    assert!(ledger.is_settled(TERRY, &name, validity(8), uid(1)));

    ledger.forget_folder(TERRY, INBOX).await.unwrap();
    assert_eq!(ledger.folder_by_source(TERRY, &name).unwrap().unwrap().id, id);
    assert_eq!(ledger.folders(TERRY).unwrap().len(), 1);

    let mut change = ledger.change();
    change.update_folder(TERRY, id, |folder| folder.source = FolderName::from_wire("Other"));
    change.commit().await.unwrap();
    assert_eq!(ledger.folder_by_source(TERRY, &name).unwrap(), None);
    assert_eq!(ledger.folder_by_source(TERRY, &FolderName::from_wire("Other")).unwrap().unwrap().id, id);
}

#[tokio::test]
async fn numbers_are_never_handed_out_twice() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let mut change = ledger.change();
    let (second, third) = (change.new_mailbox_id(), change.new_mailbox_id());
    assert_eq!((second, third), (MailboxId(2), MailboxId(3)));
    change.put_mailbox(mailbox(third, "ann@contoso.edu"));
    change.commit().await.unwrap();
    ledger.remove_mailbox(third).await.unwrap();
    drop(ledger);
    let ledger = open(dir.path());
    let mut change = ledger.change();
    assert_eq!(change.new_mailbox_id(), MailboxId(4));
    assert_eq!(change.new_folder_id(), FolderId(2));
}

#[tokio::test]
async fn a_removed_batch_leaves_its_report_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = furnished(dir.path()).await;
    let empty = ledger.shared().read(|store| Ok(store.page(&[], &[u8::MAX], 100_000)?)).unwrap();
    let mut change = ledger.change();
    change.put_batch(batch("IMAPBatch2"));
    for id in 2..5 {
        let id = MailboxId(id);
        let row = mailbox(id, &format!("user{id}@contoso.edu"));
        change.put_mailbox(crate::record::Mailbox { batch: "IMAPBatch2".into(), ..row });
        change.put_folder(folder(id, INBOX, "INBOX"));
        for number in 1..=3000 {
            change.put_message(id, INBOX, uid(number), mirrored(1));
        }
        change.put_message(id, INBOX, uid(9000), message(MessageState::Skipped(SkipReason::Stub), 1));
        change.note_intent(id, INBOX, uid(9001), intent());
    }
    change.commit().await.unwrap();
    ledger.remove_batch("IMAPBatch2", "{\"mirrored\":9000}".into()).await.unwrap();

    assert_eq!(ledger.batch("IMAPBatch2").unwrap(), None);
    assert_eq!(ledger.report("IMAPBatch2").unwrap().unwrap(), "{\"mirrored\":9000}");
    assert_eq!(ledger.reports().unwrap(), ["IMAPBatch2"]);
    let mut left = ledger.shared().read(|store| Ok(store.page(&[], &[u8::MAX], 100_000)?)).unwrap();
    left.retain(|entry| entry.key[0] != crate::key::REPORT);
    let keys =
        |entries: &[crate::store::Entry]| entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&left), keys(&empty));

    let mut late = ledger.change();
    late.settle(MailboxId(2), INBOX, uid(1), mirrored(1));
    assert_eq!(late.commit().await, Err(CommitError::NoMailbox(MailboxId(2))));
}

#[tokio::test]
async fn an_interrupted_removal_forgot_the_passwords_first_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::create(&dir.path().join("key")).unwrap();
    let ledger = furnished(&dir.path().join("ledger")).await;
    let sealed = vault.seal(&SecretString::from("secret"), "terry").unwrap();
    let mut change = ledger.change();
    change.update_mailbox(TERRY, |mailbox| mailbox.password = Some(sealed));
    change.commit().await.unwrap();
    begin_removal(&ledger).await;
    assert_eq!(ledger.mailbox(TERRY).unwrap().and_then(|mailbox| mailbox.password), None);
    ledger.remove_batch("IMAPBatch1", "{}".into()).await.unwrap();
    assert_eq!(ledger.mailbox(TERRY).unwrap(), None);
    assert_eq!(ledger.unfinished_removals().unwrap(), Vec::<String>::new());
}
