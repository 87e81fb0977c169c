//! `kill -9` at random moments: nothing missing, nothing twice.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::fault::{Fault, Rule, Way, throttled};
use mailferry_tests::mail::{Dice, Recipe};
use mailferry_tests::stand::{Options, Stand};

const PATIENCE: Duration = Duration::from_secs(180);

/// `MAILFERRY_TEST_KILLS` kills, a few otherwise.
fn kills() -> u64 {
    std::env::var("MAILFERRY_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

fn seed() -> u64 {
    std::env::var("MAILFERRY_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(42)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_with_live_clients_nothing_is_missing_and_nothing_twice() {
    let mut dice = Dice::new(seed());
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(seed(), 150 * kills().max(8)).mailbox()).unwrap();
    // Slow enough that every kill strikes during the copy.
    stand.target.relay.set_latency(Duration::from_millis(5));
    let mut clients = Vec::new();
    for number in 0..2 {
        let manner = serde_json::json!({"seed": number, "tolerant": true, "pause": 0.02});
        clients.push(stand.client(&terry).live(manner).await.unwrap());
    }
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    for kill in 0..kills() {
        let moment = 30 + dice.below(700);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        stand.kill().unwrap();
        stand.serve().await.unwrap_or_else(|error| panic!("after kill {kill} at {moment} ms: {error:#}"));
    }
    for client in clients {
        let lived = client.stop().await.unwrap();
        println!("{lived:?}");
        assert!(lived.errors.is_empty(), "{lived:?}");
    }
    stand.target.relay.set_latency(Duration::ZERO);
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    println!("seed {}: {account}", seed());
    assert!(account.agrees(), "seed {}: {account}", seed());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_at_any_byte_cost_no_message_and_no_second_copy() {
    let mut dice = Dice::new(seed());
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand
        .source
        .load(&terry.login, Recipe { largest: 300_000, ..Recipe::small(seed(), 200) }.mailbox())
        .unwrap();
    stand.target.relay.cut_after(Way::ToServer, 100_000);
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    for cut in 0..8_u64 {
        let (relay, way) = match cut % 4 {
            0 => (&stand.target.relay, Way::ToServer),
            1 => (&stand.target.relay, Way::ToClient),
            2 => (&stand.source_relay, Way::ToClient),
            _ => (&stand.source_relay, Way::ToServer),
        };
        let bytes = match way {
            Way::ToServer if cut % 4 == 0 => dice.below(800_000),
            Way::ToServer | Way::ToClient => dice.below(3_000),
        };
        relay.cut_after(way, bytes);
        let before = relay.cuts();
        let started = std::time::Instant::now();
        while relay.cuts() == before && started.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        relay.clear_orders();
    }
    println!("{} cuts at the target, {} at the source", stand.target.relay.cuts(), stand.source_relay.cuts());
    assert!(stand.target.relay.cuts() + stand.source_relay.cuts() >= 2);
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "seed {}: {account}", seed());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_never_came_are_looked_up_not_repeated() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(4, 80).mailbox()).unwrap();
    let relay = &stand.target.relay;
    relay.order(Rule::next("APPEND", Fault::LoseAnswer).after(5));
    relay.order(Rule::next("APPEND", Fault::Cut).after(20));
    relay.order(Rule::next("APPEND", Fault::LoseAnswer).after(40));
    relay.order(Rule::every("APPEND", Fault::ForgetAppendUid));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_obeyed_and_shown_and_the_work_goes_on() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(4, 60).mailbox()).unwrap();
    stand.target.relay.order(Rule::next("APPEND", throttled(6_000)).after(20));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand
        .reaches("B1", PATIENCE, |batch| batch["mailboxes"][0]["throttled_until"].is_string())
        .await
        .expect("shown as throttled");
    let struck = std::time::Instant::now();
    let appends = stand.target.relay.counts().of("APPEND");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(stand.target.relay.counts().of("APPEND") <= appends + 8, "nothing is pushed during the pause");
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    println!("done {:?} after the throttling", struck.elapsed());
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}
