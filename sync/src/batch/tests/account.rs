//! The account, and the choice of folders.

use std::ops::ControlFlow;

use super::super::account::{AccountLine, Which};
use super::*;
use mailferry_ledger::MessageState;

#[tokio::test]
async fn an_account_tells_every_message_and_stops_when_nobody_listens() {
    let office = Office::open().await;
    office.add("A", CSV, Start::Later).await.unwrap();
    let ann = office.ledger.mailbox_by_address("ann@contoso.edu").unwrap().unwrap().id;
    let mut change = office.ledger.change();
    let id = change.new_folder_id();
    change.put_folder(Folder {
        id,
        mailbox: ann,
        source: FolderName::inbox(),
        source_delimiter: None,
        target: FolderName::inbox(),
        source_validity: UidValidity::new(7).unwrap(),
        target_validity: None,
        seen: Some(mailferry_ledger::SourceMark { uid_next: None, messages: 2_500, highest_modseq: None }),
        target_uid_next: None,
        subscribed: false,
        held_deletions: 0,
        gone: false,
    });
    for number in 1..=3_000_u32 {
        let state = match number % 6 {
            0 => MessageState::Gone,
            1 => MessageState::Pending,
            2 => MessageState::Skipped(mailferry_ledger::SkipReason::TooLarge),
            _ => MessageState::Mirrored { target_uid: Uid::new(number) },
        };
        let date = InternalDate::new(0, 0).unwrap();
        let print = mailferry_ledger::Fingerprint([0; 16]);
        let message = mailferry_ledger::Message { state, size: 10, date, flags: Default::default(), print };
        change.put_message(ann, id, Uid::new(number).unwrap(), message);
    }
    change.commit().await.unwrap();

    let told = |which, most: usize| {
        let mut lines = Vec::new();
        let each = |line| {
            lines.push(line);
            if lines.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        office.batches.account("A", which, each).unwrap();
        lines
    };
    let lines = told(Which::All, usize::MAX);
    let kind = |line: &AccountLine| match line {
        AccountLine::Batch { .. } => 'b',
        AccountLine::Mailbox(_) => 'm',
        AccountLine::Folder(_) => 'f',
        AccountLine::Message(_) => '.',
    };
    let shape: String = lines.iter().map(kind).collect();
    assert_eq!(shape, format!("bmf{}m", ".".repeat(3_000)));
    let AccountLine::Folder(folder) = &lines[2] else { panic!("{:?}", lines[2]) };
    let counts = &folder.counts;
    assert_eq!(
        (counts.mirrored, counts.pending, counts.skipped, counts.gone, folder.adds_up),
        (1_500, 500, 500, 500, Some(true))
    );
    let states = |wanted: &str| {
        let of = |line: &&AccountLine| matches!(line, AccountLine::Message(one) if one.state == wanted);
        lines.iter().filter(of).count() as u64
    };
    assert_eq!(
        (states("mirrored"), states("pending"), states("skipped"), states("gone")),
        (counts.mirrored, counts.pending, counts.skipped, counts.gone)
    );
    assert_eq!(told(Which::Left, usize::MAX).len(), 4 + 1_000);
    assert_eq!(told(Which::All, 7).len(), 7);
    assert!(office.batches.account("none", Which::All, |_| ControlFlow::Continue(())).is_err());
}

#[tokio::test]
async fn the_choice_of_folders_holds_for_the_batchs_life() {
    let office = Office::open().await;
    let add = |include: &[&str], exclude: &[&str]| {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let (name, endpoint, csv) = ("A".into(), "E".into(), CSV.into());
        let new = NewBatch {
            name,
            endpoint,
            csv,
            start: Start::Later,
            include: lines(include),
            exclude: lines(exclude),
        };
        office.batches.add(new)
    };
    let refused = add(&["#Eingang#"], &[]).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Usage);
    assert!(office.batches.batch_status("A").is_err(), "nothing was imported");
    let status = add(&["#Inbox#"], &["Old"]).await.unwrap();
    assert_eq!((status.include, status.exclude), (vec!["#Inbox#".to_owned()], vec!["Old".to_owned()]));
    assert!(matches!(add(&[], &[]).await, Err(BatchError::OtherFolders(_))));
    add(&["#Inbox#"], &["Old"]).await.unwrap();
}
