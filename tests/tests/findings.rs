//! What lives thrown by dice (`model.rs`) once went wrong by, each told by itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::fault::{Fault, Rule, throttled};
use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::talk::Talk;

const PATIENCE: Duration = Duration::from_secs(60);

/// A mailbox that is not migrated yet, and its user at the source itself.
async fn stand(sync: &str) -> (Stand, Person, Talk) {
    let options = Options { sync: format!("settle = \"1s\"\n{sync}"), ..Options::default() };
    let stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let client = stand.talk_directly(&terry).await.unwrap();
    (stand, terry, client)
}

/// `count` letters into a folder, which is made.
async fn fill(client: &mut Talk, folder: &str, count: usize) {
    if folder != "INBOX" {
        client.say(&format!("CREATE {folder}")).await.unwrap();
    }
    for n in 0..count {
        client.append(folder, "", &letter(&format!("{folder}-{n}"))).await.unwrap();
    }
}

fn letter(subject: &str) -> String {
    format!(
        "Subject: {subject}\r\nMessage-ID: <{subject}@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\nx\r\n"
    )
}

async fn agree(stand: &mut Stand, person: &Person) {
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.account(person).await.unwrap();
    assert!(account.agrees(), "{account}");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_uid_nobody_told_is_found_before_anything_is_concluded() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "INBOX", 4).await;
    let relay = &stand.target.relay;
    relay.order(Rule::every("APPEND", Fault::ForgetAppendUid));
    // After the copying, when the UIDs are looked for.
    relay.order(Rule::next("SELECT", throttled(1_500)));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let throttled = |batch: &serde_json::Value| batch["mailboxes"][0]["throttled_until"].is_string();
    stand.reaches("B1", PATIENCE, throttled).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID STORE 1,2 +FLAGS (\\Flagged)").await.unwrap();
    client.say("UID STORE 3 +FLAGS (\\Deleted)").await.unwrap();
    client.say("UID EXPUNGE 3").await.unwrap();
    agree(&mut stand, &terry).await;
    assert_eq!(stand.target.relay.counts().of("APPEND"), 4, "each was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_takes_the_name_of_another_one_amid_the_copy_is_not_taken_for_it() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "INBOX", 3).await;
    fill(&mut client, "Family", 2).await;
    // INBOX goes first, and slowly.
    stand.target.relay.set_latency(Duration::from_millis(400));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    until("INBOX is being copied", || stand.target.relay.counts().of("APPEND") > 0).await;
    client.say("RENAME Family Work").await.unwrap();
    fill(&mut client, "Family", 1).await;
    stand.target.relay.set_latency(Duration::ZERO);
    agree(&mut stand, &terry).await;
    let mut target = stand.look(&terry).await.unwrap();
    assert_eq!(target.list("Family").await.unwrap().len(), 1);
    assert_eq!(target.list("Work").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_doubt_goes_with_its_folder() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "Work", 1).await;
    stand.target.relay.order(Rule::next("APPEND", Fault::LoseAnswer));
    stand.target.relay.order(Rule::next("AUTHENTICATE", throttled(1_500)).after(1));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let throttled = |batch: &serde_json::Value| batch["mailboxes"][0]["throttled_until"].is_string();
    stand.reaches("B1", PATIENCE, throttled).await.unwrap();
    client.say("DELETE Work").await.unwrap();
    agree(&mut stand, &terry).await;
    let names = stand.look(&terry).await.unwrap().folders().await.unwrap();
    assert!(!names.contains(&"Work".to_owned()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_renamed_to_what_the_target_has_already() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "Work", 2).await;
    let mut target = stand.look(&terry).await.unwrap();
    target.say("CREATE Old").await.unwrap();
    target.append("Old", "", &letter("foreign")).await.unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    client.say("RENAME Work Old").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let held: Vec<String> =
        target.list("Old").await.unwrap().into_iter().map(|(subject, ..)| subject).collect();
    assert_eq!(held, ["foreign", "Work-0", "Work-1"]);
    assert!(!target.folders().await.unwrap().contains(&"Work".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_of_an_old_name_is_not_the_one_that_was_open() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "Work", 3).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    client.say("SELECT Work").await.unwrap();
    client.say("UID STORE 1 +FLAGS (\\Seen)").await.unwrap();
    agree(&mut stand, &terry).await; // Work is open on the target.
    client.say("CLOSE").await.unwrap();
    client.say("RENAME Work Family").await.unwrap();
    fill(&mut client, "Work", 3).await;
    agree(&mut stand, &terry).await;
    client.say("SELECT Work").await.unwrap();
    client.say("UID STORE 2 +FLAGS (\\Answered)").await.unwrap();
    agree(&mut stand, &terry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_folder_goes_when_what_was_below_it_is_elsewhere() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "Work", 1).await;
    fill(&mut client, "Work.Deep", 1).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    client.say("DELETE Work").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    client.say("RENAME Work.Deep Other").await.unwrap();
    agree(&mut stand, &terry).await;
    let names = stand.look(&terry).await.unwrap().folders().await.unwrap();
    assert!(!names.iter().any(|name| name.starts_with("Work")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_along_with_a_renamed_folder_is_found_there() {
    let (mut stand, terry, mut client) = stand("").await;
    fill(&mut client, "Work", 1).await;
    fill(&mut client, "Work.Gone", 2).await;
    fill(&mut client, "Work.Few", 3).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    client.say("DELETE Work.Gone").await.unwrap();
    client.say("SELECT Work.Few").await.unwrap();
    client.say("UID STORE 1:2 +FLAGS (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    client.say("UNSELECT").await.unwrap();
    client.say("RENAME Work Other").await.unwrap();
    agree(&mut stand, &terry).await;
    let names = stand.look(&terry).await.unwrap().folders().await.unwrap();
    assert!(!names.iter().any(|name| name.contains("Gone") || name.starts_with("Work")), "{names:?}");
    assert_eq!(stand.target.relay.counts().of("APPEND"), 6, "each was sent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cap_holds_back_when_uids_change_is_not_forgotten() {
    // Of ten messages one may go.
    let (mut stand, terry, mut client) = stand("max_deletions = 0").await;
    fill(&mut client, "Work", 10).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    client.say("CREATE Other").await.unwrap();
    client.say("SELECT Work").await.unwrap();
    client.say("UID COPY 1:6 Other").await.unwrap();
    client.say("CLOSE").await.unwrap();
    client.say("DELETE Work").await.unwrap();
    client.say("RENAME Other Work").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    assert_eq!(target.list("Work").await.unwrap().len(), 10, "held");
    stand.cli(&["mailbox", "allow-deletions", &terry.address]).await.unwrap().done().unwrap();
    agree(&mut stand, &terry).await;
    assert_eq!(stand.target.relay.counts().of("APPEND"), 10, "each was sent once");
}
