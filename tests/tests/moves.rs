//! What clients move and copy is moved and copied on the target: no body passes again, and every copy is there once.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::fault::{Fault, Rule};
use mailferry_tests::mail::{Dice, exact};
use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::talk::Talk;

const PATIENCE: Duration = Duration::from_secs(60);

/// `INBOX` with this many messages, all on the target; nothing counted so far.
async fn synced_stand(messages: usize) -> (Stand, Person) {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mail = (0..messages)
        .map(|n| exact(&["INBOX"], 2_000 + 10 * n, &format!("number {n}"), 1_600_000_000 + n as i64));
    stand.source.load(&terry.login, mail).unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    for folder in ["Work", "Archive", "Other"] {
        client.say(&format!("CREATE {folder}")).await.unwrap();
        client.append(folder, "", &letter("first")).await.unwrap();
    }
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    stand.source_relay.forget_counts();
    stand.target.relay.forget_counts();
    (stand, terry)
}

fn letter(subject: &str) -> String {
    format!(
        "Subject: {subject}\r\nMessage-ID: <{subject}@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\nx\r\n"
    )
}

/// Waits until a folder of the target holds so many messages.
async fn holds(target: &mut Talk, folder: &str, count: usize) {
    let started = Instant::now();
    loop {
        let found = target.list(folder).await.unwrap();
        if found.len() == count {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{folder} holds {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// No body was asked of the source, none was sent to the target.
fn no_body_passed(stand: &Stand) {
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "{:?}", stand.source_relay.counts());
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0, "{:?}", stand.target.relay.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_a_move_and_a_copy_a_copy() {
    let (stand, terry) = synced_stand(12).await;
    let mut client = stand.talk(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID STORE 2 +FLAGS (\\Flagged \\Answered)").await.unwrap();
    client.say("UID MOVE 1:3 Work").await.unwrap();
    holds(&mut target, "Work", 4).await;
    client.say("UID COPY 5,4 Archive").await.unwrap();
    holds(&mut target, "Archive", 3).await;
    client.say("MOVE 1 Other").await.unwrap();
    holds(&mut target, "Other", 2).await;
    client.say("COPY 2:3 Other").await.unwrap();
    holds(&mut target, "Other", 4).await;
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
    let counts = stand.target.relay.counts();
    assert_eq!((counts.of("UID MOVE"), counts.of("UID EXPUNGE")), (2, 0), "{counts:?}");
    let flagged = target.list("Work").await.unwrap();
    assert!(flagged.iter().any(|(_, flags, _)| flags == "\\Answered \\Flagged"), "{flagged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_ways_back_and_copies_of_copies_end_with_one_copy_each() {
    let (stand, terry) = synced_stand(20).await;
    let mut client = stand.talk(&terry).await.unwrap();
    // The target hears nothing meanwhile: all of it waits.
    stand.target.relay.go_down().await;
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID MOVE 1:2 Work").await.unwrap();
    client.say("UID MOVE 10 Work").await.unwrap();
    client.say("UID COPY 5 Work").await.unwrap();
    client.say("UID COPY 5 Archive").await.unwrap();
    client.say("UID MOVE 5 Other").await.unwrap();
    // As clients do that know no MOVE.
    client.say("UID COPY 12 Work").await.unwrap();
    client.say("UID STORE 12 +FLAGS.SILENT (\\Deleted)").await.unwrap();
    client.say("UID EXPUNGE 12").await.unwrap();
    client.say("SELECT Work").await.unwrap();
    client.say("UID MOVE 2 Archive").await.unwrap();
    client.say("UID MOVE 4 INBOX").await.unwrap();
    client.say("UID COPY 3 Archive").await.unwrap();
    client.say("UID COPY 3 Archive").await.unwrap();
    client.say("CREATE New").await.unwrap();
    client.say("UID MOVE 3 New").await.unwrap();
    client.say("RENAME Archive Shelf").await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_and_moved_at_once_is_not_fetched() {
    let (stand, terry) = synced_stand(3).await;
    let mut client = stand.talk(&terry).await.unwrap();
    stand.target.relay.go_down().await;
    let uid = client.append("INBOX", "\\Seen", &letter("fresh")).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say(&format!("UID COPY {uid} Archive")).await.unwrap();
    client.say(&format!("UID MOVE {uid} Work")).await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "the client gave it");
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_messages_do_not_count_as_deleted() {
    // More than the cap of deletions.
    let (stand, terry) = synced_stand(1_150).await;
    let mut client = stand.talk(&terry).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID MOVE 1:1100 Work").await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
    let shown = stand.cli(&["mailbox", "show", &terry.address]).await.unwrap().json().unwrap();
    assert!(!shown.to_string().contains("\"held_deletions\":1"), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_answer_never_came_is_looked_up() {
    let (stand, terry) = synced_stand(30).await;
    let mut client = stand.talk(&terry).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    for (round, (verb, fault)) in [
        ("UID MOVE", Fault::LoseAnswer),
        ("UID MOVE", Fault::Cut),
        ("UID MOVE", Fault::Answer("NO not today".to_owned())),
        ("UID COPY", Fault::LoseAnswer),
        ("UID COPY", Fault::Cut),
        ("UID COPY", Fault::Answer("BAD what".to_owned())),
    ]
    .into_iter()
    .enumerate()
    {
        stand.target.relay.order(Rule::next(verb, fault));
        let (first, last) = (4 * round + 1, 4 * round + 3);
        client.say(&format!("UID STORE {last} +FLAGS (\\Flagged)")).await.unwrap();
        client.say(&format!("{verb} {first}:{last} Work")).await.unwrap();
        stand.same(&terry, PATIENCE).await.unwrap();
        assert!(!stand.target.relay.has_orders(), "round {round}: the fault struck");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_amid_moves_nothing_is_missing_and_nothing_twice() {
    let (mut stand, terry) = synced_stand(80).await;
    stand.target.relay.set_latency(Duration::from_millis(15));
    let mut dice = Dice::new(11);
    for kill in 0..10_u32 {
        let mut client = stand.talk(&terry).await.unwrap();
        client.say("SELECT INBOX").await.unwrap();
        let uid = 1 + 8 * kill;
        client.say(&format!("UID MOVE {}:{} Work", uid, uid + 2)).await.unwrap();
        client.say(&format!("UID COPY {}:{} Archive", uid + 3, uid + 4)).await.unwrap();
        client.say(&format!("UID STORE {uid}:{} +FLAGS (\\Flagged)", uid + 7)).await.unwrap();
        client.say("SELECT Work").await.unwrap();
        client.say("MOVE 1 Other").await.unwrap();
        tokio::time::sleep(Duration::from_millis(dice.below(400))).await;
        stand.kill().unwrap();
        stand.serve().await.unwrap();
    }
    stand.target.relay.set_latency(Duration::ZERO);
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_move_gets_a_copy_and_a_deletion() {
    let (mut stand, terry) = synced_stand(8).await;
    stand.target.relay.hide("MOVE");
    stand.stop().unwrap();
    stand.serve().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.source_relay.forget_counts();
    stand.target.relay.forget_counts();
    let mut client = stand.talk(&terry).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID MOVE 1:4 Work").await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    no_body_passed(&stand);
    let counts = stand.target.relay.counts();
    assert_eq!((counts.of("UID MOVE"), counts.of("UID COPY")), (0, 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_target_refuses_a_move_the_bodies_pass() {
    let (stand, terry) = synced_stand(8).await;
    let mut client = stand.talk(&terry).await.unwrap();
    stand.target.relay.order(Rule::every("UID MOVE", Fault::Answer("BAD Unknown command".to_owned())));
    client.say("SELECT INBOX").await.unwrap();
    client.say("UID MOVE 1:4 Work").await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
}
