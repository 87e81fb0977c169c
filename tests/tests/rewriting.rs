//! Exactly once, on a target that writes every message anew: other bytes, other sizes, other header fields.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::fault::{Fault, Rule};
use mailferry_tests::mail::{self, Dice, Recipe};
use mailferry_tests::stand::{Options, Person, Stand};

const PATIENCE: Duration = Duration::from_secs(120);

async fn stand(messages: u64) -> (Stand, Person) {
    let stand =
        Stand::start(Options { sync: "settle = \"1s\"\n".to_owned(), ..Options::default() }).await.unwrap();
    stand.target.relay.rewrite_messages();
    let terry = stand.add_person("terry.adams").unwrap();
    let recipe = Recipe { largest: 100_000, ..Recipe::small(21, messages) };
    stand.source.load(&terry.login, recipe.mailbox()).unwrap();
    (stand, terry)
}

/// Every message once: counted by an independent reader, and compared by ourselves.
async fn once(stand: &Stand, person: &Person) {
    let account = stand.account(person).await.unwrap();
    for (folder, both) in &account.folders {
        assert_eq!(both.source, both.target, "{folder}: {account}");
    }
    let said = stand.cli(&["batch", "verify", "B1", "--content"]).await.unwrap();
    assert_eq!(said.code, 0, "{}", said.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_amid_the_copy_cost_no_message_and_no_second_copy() {
    let (mut stand, terry) = stand(400).await;
    let mut dice = Dice::new(21);
    stand.target.relay.set_latency(Duration::from_millis(5));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(500))).await;
        stand.kill().unwrap();
        stand.serve().await.unwrap();
    }
    stand.target.relay.set_latency(Duration::ZERO);
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    once(&stand, &terry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_never_came_are_looked_up_though_no_uid_is_told() {
    let (mut stand, terry) = stand(80).await;
    let relay = &stand.target.relay;
    relay.order(Rule::next("APPEND", Fault::LoseAnswer).after(5));
    relay.order(Rule::next("APPEND", Fault::Cut).after(20));
    relay.order(Rule::next("APPEND", Fault::LoseAnswer).after(40));
    relay.order(Rule::every("APPEND", Fault::ForgetAppendUid));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    once(&stand, &terry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_adopted_and_not_copied_again() {
    let (mut stand, terry) = stand(120).await;
    stand.source.load(&terry.login, mail::real().unwrap().into_iter()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    // All that is known of it is forgotten; the target is as another tool would have left it.
    stand.cli(&["batch", "stop", "B1"]).await.unwrap().done().unwrap();
    stand.cli(&["batch", "remove", "B1", "--force", "--reason", "test"]).await.unwrap().done().unwrap();
    let copied = stand.target.relay.counts().of("APPEND");
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    assert_eq!(stand.target.relay.counts().of("APPEND"), copied, "nothing is copied again");
    once(&stand, &terry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_uidvalidity_of_the_target_is_survived() {
    let (mut stand, terry) = stand(100).await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let copied = stand.target.relay.counts().of("APPEND");
    stand.target.instance().set_uid_validity(&terry.address, "INBOX", 77).unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    client.append("INBOX", "", "Subject: one more\r\n\r\nx\r\n").await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(stand.target.relay.counts().of("APPEND"), copied + 1);
    once(&stand, &terry).await;
}
