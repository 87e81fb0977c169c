//! Folders: names that the target does not take as they are, and renames that are followed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use mailferry_tests::mail::exact;
use mailferry_tests::stand::{Options, Stand};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_renamed_is_renamed_with_all_below_and_not_copied_again() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let folders: [&[&str]; 5] =
        [&["INBOX"], &["Projekte"], &["Projekte", "2024"], &["Projekte", "2024", "Über"], &["Work"]];
    let messages = folders.iter().enumerate().flat_map(|(at, folder)| {
        (0..4).map(move |n| exact(folder, 2000 + 10 * at + n, &format!("{folder:?} {n}"), 1_500_000_000))
    });
    stand.source.load(&terry.login, messages).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    assert!(stand.account(&terry).await.unwrap().agrees());
    let appended = stand.target.relay.counts().of("APPEND");
    assert_eq!(appended, 20);

    // Behind the proxy's back, and by a client of it. Not while a pass is listing folders: one that is missed in a list
    // is copied anew. And Dovecot's list leaves out a folder that was made in the second of the last look, until it is
    // asked for it by name.
    let mut behind = stand.talk_directly(&terry).await.unwrap();
    behind.say("RENAME Work Arbeit.Neu").await.unwrap();
    behind.say("STATUS Arbeit.Neu (MESSAGES)").await.unwrap();
    stand.talk(&terry).await.unwrap().say("RENAME Projekte Vorhaben").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
    assert_eq!(account.target_messages, 20, "{account}");
    assert_eq!(stand.target.relay.counts().of("APPEND"), appended, "renamed, not copied");

    // A new folder takes an old name; the renamed one keeps its own.
    behind.say("CREATE Work").await.unwrap();
    stand.client(&terry).append("Work", "new", 2, 2_000).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees() && account.target_messages == 22, "{account}");
    let report = stand.cli(&["batch", "report", "B1"]).await.unwrap().done().unwrap().json().unwrap();
    let folders = report["folders"].as_array().unwrap();
    assert!(folders.iter().all(|folder| folder["adds_up"] == json!(true)), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_collide_or_are_reserved_get_others_and_no_message_is_lost() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let folders: [&[&str]; 6] =
        [&["INBOX"], &["Foo"], &["foo"], &["foo", "below"], &["Calendar"], &["Gesendete Elemente"]];
    let messages = folders
        .iter()
        .enumerate()
        .map(|(at, folder)| exact(folder, 2000 + at, &format!("{folder:?}"), 1_500_000_000 + at as i64));
    stand.source.load(&terry.login, messages).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let shown = stand.cli(&["mailbox", "show", &terry.address]).await.unwrap().json().unwrap();
    let names: BTreeMap<String, String> = shown["folders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|folder| {
            let name = |side: &str| folder[side].as_str().unwrap().to_owned();
            (name("source"), name("target"))
        })
        .collect();
    let target = |source: &str| names[source].as_str();
    assert_eq!((target("Foo"), target("foo"), target("foo.below")), ("Foo", "foo (2)", "foo (2)/below"));
    assert_eq!((target("Calendar"), target("Gesendete Elemente")), ("Calendar (2)", "Gesendete Elemente"));
    let account = stand.account_with(&terry, &names).await.unwrap();
    assert!(account.agrees() && account.target_messages == 6, "{account}");
}
