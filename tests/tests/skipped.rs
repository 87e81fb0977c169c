//! What stays at the source is within reach: exported byte for byte, tried again when the operator says so.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailferry_tests::fault::{Fault, Rule, Way};
use mailferry_tests::mail::{Message, exact};
use mailferry_tests::stand::{Options, Person, Stand};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// A stand where one message of a megabyte is too large, with a few others in odd folders, synced.
async fn stand_with_leftovers() -> (Stand, Person, Vec<Message>) {
    let options = Options { sync: "max_message_bytes = 100_000".to_owned(), ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mut messages: Vec<Message> =
        (0..20).map(|n| exact(&["INBOX"], 2000 + n, &format!("small {n}"), 1_500_000_000)).collect();
    messages.push(exact(&["INBOX"], 20_000_000, "the large one", 1_500_000_001));
    messages.push(exact(&["with \"quotes\" and 100%"], 100_001, "=cmd()", 1_500_000_002));
    for n in 0..120 {
        messages.push(exact(&["Lists", "日本語"], 100_001 + n, &format!("one of many {n}"), 1_500_000_003));
    }
    stand.source.load(&terry.login, messages.clone().into_iter()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let batch = stand.synced("B1", PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["skipped"], 122, "{batch:#}");
    (stand, terry, messages)
}

/// Files below `root` with their bytes, but for the manifest.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "manifest.csv" {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// What Dovecot serves of a file.
fn served(message: &Message) -> Vec<u8> {
    let text = String::from_utf8(message.content.clone()).unwrap();
    text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes()
}

async fn export(stand: &Stand, person: &Person, to: &Path) -> (i32, Value) {
    let to = to.to_string_lossy().into_owned();
    let said = stand.cli(&["mailbox", "export-skipped", &person.address, "--to", &to]).await.unwrap();
    let text = if said.stdout.is_empty() { &said.stderr } else { &said.stdout };
    (said.code, serde_json::from_str(text).unwrap_or_else(|_| panic!("{said:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_skipped_message_is_exported_byte_for_byte_and_once() {
    let (mut stand, terry, messages) = stand_with_leftovers().await;
    let to = stand.path().join("left");
    // The way to the source breaks amid the large one: nothing half stays, nothing is doubled.
    let cuts = stand.source_relay.cuts();
    stand.source_relay.cut_after(Way::ToClient, 7_000_000);
    let (code, said) = export(&stand, &terry, &to).await;
    assert_eq!((code, &said["exported"], &said["already"]), (0, &json!(122), &json!(0)), "{said:#}");

    assert_eq!(stand.source_relay.cuts(), cuts + 1, "else this proves less");
    let root = to.join("terry.adams@contoso.edu");
    let found = files(&root);
    let mut wanted: Vec<Vec<u8>> =
        messages.iter().filter(|message| message.content.len() > 100_000).map(served).collect();
    let mut given: Vec<Vec<u8>> = found.values().cloned().collect();
    wanted.sort();
    given.sort();
    assert_eq!(given.len(), wanted.len(), "{:?}", found.keys());
    assert!(given == wanted, "not byte for byte");

    let manifest = std::fs::read_to_string(root.join("manifest.csv")).unwrap();
    assert_eq!(manifest.lines().count(), 123);
    let row = manifest.lines().find(|row| row.contains("the large one")).unwrap();
    assert!(row.contains(",20000000,INBOX,") && row.ends_with(",too-large"), "{row}");
    assert!(manifest.contains("\"'=cmd()\""), "no formula for whoever opens it");
    for name in found.keys() {
        assert!(manifest.contains(&format!("{},", name.display())), "{name:?} is not listed");
    }

    // Once more: nothing is read from the source again. One file lost: that one is.
    let served_before = stand.source_relay.counts().of("UID FETCH");
    let (code, said) = export(&stand, &terry, &to).await;
    assert_eq!((code, &said["exported"], &said["already"]), (0, &json!(0), &json!(122)), "{said:#}");
    assert_eq!(stand.source_relay.counts().of("UID FETCH"), served_before);
    let lost = found.keys().next().unwrap();
    std::fs::remove_file(root.join(lost)).unwrap();
    let (_, said) = export(&stand, &terry, &to).await;
    assert_eq!((&said["exported"], &said["already"]), (&json!(1), &json!(121)), "{said:#}");
    assert_eq!(files(&root), found);
    assert!(stand.peak_memory() < 150_000_000, "streamed, not held");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_is_told_and_others_files_stay() {
    let (stand, terry, _) = stand_with_leftovers().await;
    let to = stand.path().join("left");
    // Somebody deletes the large one meanwhile, behind our back.
    let home = stand.source.dovecot().unwrap().instance().home(&terry.login);
    let large = files(&home).into_iter().find(|(_, bytes)| bytes.len() > 19_000_000);
    std::fs::remove_file(home.join(large.unwrap().0)).unwrap();
    let human = stand
        .human(&["mailbox", "export-skipped", &terry.address, "--to", &to.to_string_lossy()])
        .await
        .unwrap();
    assert_eq!(human.code, 5, "{human:?}");
    assert!(human.stdout.starts_with("121 messages"), "{human:?}");
    assert!(human.stdout.contains("1 were not given:\n  INBOX, UID 21: "), "{human:?}");

    // A file of somebody else's where one of ours would go.
    let root = to.join("terry.adams@contoso.edu");
    let found = files(&root);
    let victim = root.join(found.keys().next().unwrap());
    let manifest = root.join("manifest.csv");
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&victim, "precious").unwrap();
    let (code, said) = export(&stand, &terry, &to).await;
    assert_eq!(code, 1, "{said:#}");
    assert!(said["error"].as_str().unwrap().contains("is not of this export"), "{said:#}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(!manifest.exists());

    let (code, said) = export(&stand, &Person::new("nobody"), &to).await;
    assert_eq!(code, 1, "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_on_what_the_target_refused_and_leaves_what_is_too_large() {
    let options = Options { sync: "max_message_bytes = 100_000".to_owned(), ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let messages: Vec<Message> = [(2_000, "first"), (2_001, "second"), (100_001, "large")]
        .map(|(size, subject)| exact(&["INBOX"], size, subject, 1_500_000_000 + size as i64))
        .into();
    stand.source.load(&terry.login, messages.into_iter()).unwrap();
    // Refused together, and refused alone: quarantined.
    stand
        .target
        .relay
        .order(Rule::every("APPEND", Fault::Answer("BAD Command Argument Error. 11".to_owned())));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let batch = stand.synced("B1", PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["skipped"], 3, "{batch:#}");

    stand.target.relay.clear_orders();
    let said =
        stand.cli(&["mailbox", "retry", &terry.address]).await.unwrap().done().unwrap().json().unwrap();
    assert_eq!(said, json!({"messages": 2, "missing": 0, "stay": {"too-large": 1}, "after_pass": false}));
    let done = |batch: &Value| batch["status"]["tally"]["messages_done"] == json!(2);
    let batch = stand.reaches("B1", PATIENCE, done).await.unwrap();
    assert_eq!(batch["status"]["tally"]["skipped"], 1, "{batch:#}");
    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.missing.len(), account.extra.len(), account.changed.len()), (1, 0, 0), "{account}");
    let human = stand.human(&["mailbox", "retry", &terry.address]).await.unwrap().done().unwrap();
    assert!(human.stdout.contains("1 stay skipped (too-large)"), "{human:?}");

    // The limit was raised: it goes too.
    stand.stop().unwrap();
    stand.reconfigure(|options| options.sync = "max_message_bytes = 200_000".to_owned()).unwrap();
    stand.serve().await.unwrap();
    let said =
        stand.cli(&["mailbox", "retry", &terry.address]).await.unwrap().done().unwrap().json().unwrap();
    assert_eq!(said, json!({"messages": 1, "missing": 0, "stay": {}, "after_pass": false}));
    let done = |batch: &Value| batch["status"]["tally"]["messages_done"] == json!(3);
    stand.reaches("B1", PATIENCE, done).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}
