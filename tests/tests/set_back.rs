//! A source folder that was set back: it gives UIDs a second time under the same UIDVALIDITY, to other messages. None of them
//! is taken for one that is known, and none is left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant, SystemTime};

use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::talk::Talk;

const PATIENCE: Duration = Duration::from_secs(60);

async fn append(client: &mut Talk, words: &str, count: u32) {
    for n in 1..=count {
        let letter =
            format!("Subject: {words}-{n}\r\nMessage-ID: <{n}.{}@contoso.edu>\r\n\r\nx\r\n", words.len());
        client.append("Work", "", &letter).await.unwrap();
    }
}

/// Another second, and nobody has the folder open.
async fn set_back(stand: &Stand, person: &Person) {
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (began, started) = (second(), Instant::now());
    let instance = stand.source.dovecot().unwrap().instance();
    stand.source_relay.go_down().await;
    while second() == began || instance.is_used_by(&person.login).unwrap() {
        assert!(started.elapsed() < PATIENCE, "somebody stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    instance.set_back(&person.login, "Work").unwrap();
    stand.source_relay.come_back().await.unwrap();
}

async fn synced_stand() -> (Stand, Person) {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    client.say("CREATE Work").await.unwrap();
    append(&mut client, "before", 4).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    (stand, terry)
}

async fn work_on_target(stand: &Stand, person: &Person) -> Vec<String> {
    let mut target = stand.look(person).await.unwrap();
    target.list("Work").await.unwrap().into_iter().map(|(subject, _, _)| subject).collect()
}

/// What came before anybody looked: fewer messages than there were, or more.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_under_known_uids_is_copied_and_what_had_them_is_deleted() {
    let (mut stand, terry) = synced_stand().await;
    for (words, count) in [("fewer", 3), ("more", 6)] {
        set_back(&stand, &terry).await;
        append(&mut stand.talk_directly(&terry).await.unwrap(), words, count).await;
        stand.sync_again("B1", PATIENCE).await.unwrap();
        stand.same(&terry, PATIENCE).await.unwrap();
        let expected: Vec<String> = (1..=count).map(|n| format!("{words}-{n}")).collect();
        assert_eq!(work_on_target(&stand, &terry).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_under_uids_that_were_gone_is_copied() {
    let (mut stand, terry) = synced_stand().await;
    set_back(&stand, &terry).await;
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    append(&mut stand.talk_directly(&terry).await.unwrap(), "after", 3).await;
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    assert_eq!(work_on_target(&stand, &terry).await, ["after-1", "after-2", "after-3"]);
    assert_eq!(stand.batch("B1").await.unwrap()["status"]["tally"]["messages_done"], 3);
}
