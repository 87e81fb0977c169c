//! The copy: every message once, byte for byte, with its date and flags; a second run copies nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::mail::{self, Recipe};
use mailferry_tests::stand::{Options, Proof, Stand};

const PATIENCE: Duration = Duration::from_secs(120);

/// 10,000 messages and 700 MB with `MAILFERRY_TEST_FULL`, a few hundred otherwise.
fn recipe() -> Recipe {
    match std::env::var_os("MAILFERRY_TEST_FULL") {
        Some(_) => Recipe::full(),
        None => Recipe { largest: 8_000_000, ..Recipe::small(7, 600) },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_arrives_byte_for_byte_and_a_second_run_copies_nothing() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let loaded = stand.source.load(&terry.login, recipe().mailbox()).unwrap();
    let real = stand.source.load(&terry.login, mail::real().unwrap().into_iter()).unwrap();

    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let batch = stand.synced_whole("B1", PATIENCE * 4).await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], loaded.messages + real.messages, "{batch:#}");
    assert_eq!(batch["status"]["state"], "Synced", "{batch:#}");

    let account = stand.account(&terry).await.unwrap();
    println!("{account}");
    assert!(account.agrees(), "{account}");
    assert_eq!(account.source_messages, loaded.messages + real.messages);

    stand.source_relay.forget_counts();
    stand.target.relay.forget_counts();
    let took = stand.sync_again("B1", PATIENCE).await.unwrap();
    println!("second run: {took:?}");
    assert_eq!(stand.source_relay.counts().bodies_served(), 0);
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0);
    assert!(took < Duration::from_secs(3), "{took:?}");

    let verify = stand.cli(&["batch", "verify", "B1"]).await.unwrap();
    assert_eq!(verify.code, 0, "{verify:?}");

    let peak = stand.peak_memory();
    println!("peak memory of serve: {} MB", peak / 1_000_000);
    assert!(peak < 150_000_000, "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_source_follow_in_the_next_pass() {
    let mut stand = Stand::start(Options { proof: Proof::Certificate, ..Options::default() }).await.unwrap();
    let ann = stand.add_person("ann.beebe").unwrap();
    stand.source.load(&ann.login, Recipe::small(3, 80).mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&ann)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();

    // A client that knows nothing of the proxy works at the old server: new mail, flags, deletions, copies.
    let direct = stand.client_at(&ann, stand.source.imaps().port(), serde_json::json!({}));
    let live = direct.live(serde_json::json!({"pause": 0.0, "seed": 5})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lived = live.stop().await.unwrap();
    assert!(lived.errors.is_empty() && lived.done > 20, "{lived:?}");

    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.account(&ann).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_mailboxes_are_copied_at_once() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let mut people = Vec::new();
    for (seed, login) in ["terry.adams", "ann.beebe", "paul.cannon"].into_iter().enumerate() {
        let person = stand.add_person(login).unwrap();
        stand.source.load(login, Recipe::small(seed as u64, 60).mailbox()).unwrap();
        people.push(person);
    }
    stand.start_batch("B1", &people).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    for person in &people {
        let account = stand.account(person).await.unwrap();
        assert!(account.agrees(), "{}: {account}", person.login);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_somebody_filled_already_is_adopted() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(11, 40).mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();

    // The state is lost as a whole; the mail on the target is not copied a second time.
    stand.stop().unwrap();
    std::fs::remove_dir_all(stand.path().join("state")).unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.serve().await.unwrap();
    stand.add_endpoint().await.unwrap();
    stand.target.relay.forget_counts();
    stand.start_batch("B2", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B2", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0);
}
