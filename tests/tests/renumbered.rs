//! A target whose folders get other UIDVALIDITYs, alone or with other UIDs: what is known of the copies is found again.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::fault::{Rule, throttled};
use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::talk::Talk;

const PATIENCE: Duration = Duration::from_secs(60);

fn letter(subject: &str) -> String {
    format!(
        "Subject: {subject}\r\nMessage-ID: <{subject}@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\nx\r\n"
    )
}

/// `Work` and `INBOX` with four messages each, of which `prepare` may put some on the target before; all synced.
async fn synced_stand(prepare: impl AsyncFn(&mut Talk)) -> (Stand, Person, Talk) {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    client.say("CREATE Work").await.unwrap();
    for folder in ["INBOX", "Work"] {
        for n in 1..=4 {
            client.append(folder, "", &letter(&format!("{folder}-{n}"))).await.unwrap();
        }
    }
    prepare(&mut stand.look(&terry).await.unwrap()).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    stand.source_relay.forget_counts();
    stand.target.relay.forget_counts();
    (stand, terry, client)
}

/// Nobody reaches the target; a session of an administrator there.
async fn closed(stand: &Stand, person: &Person) -> Talk {
    stand.target.relay.go_down().await;
    let started = Instant::now();
    while stand.target.instance().is_used_by(&person.address).unwrap() {
        assert!(started.elapsed() < PATIENCE, "somebody stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stand.look(person).await.unwrap()
}

/// The same messages, in another order: other UIDs under another UIDVALIDITY.
async fn restored(talk: &mut Talk, folder: &str) {
    for command in [
        "CREATE Aside",
        &format!("SELECT {folder}"),
        "UID MOVE 3:* Aside",
        "UID MOVE 1:2 Aside",
        "UNSELECT",
        &format!("DELETE {folder}"),
        &format!("RENAME Aside {folder}"),
    ] {
        talk.say(command).await.unwrap();
    }
}

fn no_body_passed(stand: &Stand) {
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "{:?}", stand.source_relay.counts());
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0, "{:?}", stand.target.relay.counts());
}

async fn subjects(stand: &Stand, person: &Person, folder: &str) -> Vec<String> {
    let mut target = stand.look(person).await.unwrap();
    let mut found: Vec<String> =
        target.list(folder).await.unwrap().into_iter().map(|(subject, _, _)| subject).collect();
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_deletions_meet_the_right_copies() {
    let (mut stand, terry, mut client) = synced_stand(async |_: &mut Talk| {}).await;
    let mut administrator = closed(&stand, &terry).await;
    restored(&mut administrator, "Work").await;
    drop(administrator);
    stand.target.instance().set_uid_validity(&terry.address, "INBOX", 4_000_000_000).unwrap();
    stand.target.relay.come_back().await.unwrap();
    for folder in ["Work", "INBOX"] {
        client.say(&format!("SELECT {folder}")).await.unwrap();
        client.say("UID STORE 1 +FLAGS (\\Deleted)").await.unwrap();
        client.say("EXPUNGE").await.unwrap();
        client.say("UID STORE 2 +FLAGS (\\Flagged)").await.unwrap();
    }
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_with_its_folder_is_deleted() {
    let (mut stand, terry, mut client) = synced_stand(async |_: &mut Talk| {}).await;
    let mut administrator = closed(&stand, &terry).await;
    restored(&mut administrator, "Work").await;
    drop(administrator);
    client.say("DELETE Work").await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    assert_eq!(subjects(&stand, &terry, "Work").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_at_once_cost_no_body_and_no_second_copy() {
    let (mut stand, terry, mut client) = synced_stand(async |_: &mut Talk| {}).await;
    let mut administrator = closed(&stand, &terry).await;
    restored(&mut administrator, "Work").await;
    drop(administrator);
    client.say("SELECT Work").await.unwrap();
    client.say("UID STORE 3 +FLAGS (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    client.say("UNSELECT").await.unwrap();
    stand.source.dovecot().unwrap().instance().set_uid_validity(&terry.login, "Work", 4_000_000_000).unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_tool_put_there_stays_under_its_new_uid() {
    let (mut stand, terry, mut client) = synced_stand(async |target: &mut Talk| {
        target.say("CREATE Work").await.unwrap();
        for n in [4, 2] {
            target.append("Work", "", &letter(&format!("Work-{n}"))).await.unwrap();
        }
    })
    .await;
    let mut administrator = closed(&stand, &terry).await;
    restored(&mut administrator, "Work").await;
    drop(administrator);
    client.say("SELECT Work").await.unwrap();
    client.say("UID STORE 1:* +FLAGS (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(subjects(&stand, &terry, "Work").await, ["Work-2", "Work-4"], "only ours went");
    no_body_passed(&stand);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_is_interrupted_is_done_again_and_what_was_there_stays() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    client.say("CREATE Work").await.unwrap();
    target.say("CREATE Work").await.unwrap();
    for n in 1..=3 {
        client.append("Work", "", &letter(&format!("Work-{n}"))).await.unwrap();
        target.append("Work", "\\Answered", &letter(&format!("Work-{n}"))).await.unwrap();
    }
    // When their flags are to be brought in line, after they were found.
    stand.target.relay.order(Rule::next("UID STORE", throttled(100)));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert!(!stand.target.relay.has_orders(), "it was interrupted");
    let flags: Vec<String> =
        target.list("Work").await.unwrap().into_iter().map(|(_, flags, _)| flags).collect();
    assert_eq!(flags, ["", "", ""]);
    client.say("SELECT Work").await.unwrap();
    client.say("UID STORE 1:* +FLAGS (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(subjects(&stand, &terry, "Work").await, ["Work-1", "Work-2", "Work-3"]);
}
