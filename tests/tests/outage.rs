//! Target down, token endpoint down, spool disk full: clients notice nothing, the state is shown, work resumes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::client::Living;
use mailferry_tests::fault::{Fault, Rule};
use mailferry_tests::mail::{Recipe, exact};
use mailferry_tests::place::can_mount;
use mailferry_tests::stand::{Options, Person, Stand};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(150);

async fn synced_stand(options: Options) -> (Stand, Person) {
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(31, 50).mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    (stand, terry)
}

/// Works through the proxy for a while; not one step may fail.
async fn undisturbed(stand: &Stand, person: &Person, seed: u64) {
    let live = stand.client(person).live(json!({"seed": seed})).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let lived = live.stop().await.unwrap();
    println!("{lived:?}");
    assert!(lived.errors.is_empty() && lived.breaks == 0, "{lived:?}");
    assert!(lived.done > 30 && lived.slowest < 2.0, "{lived:?}");
}

/// Two people's programs at one mailbox, at work until they are told to stop.
async fn busy(stand: &Stand, person: &Person) -> [Living; 2] {
    let one = stand.client(person).live(json!({"seed": 11})).await.unwrap();
    let two = stand.client_starttls(person).live(json!({"seed": 12})).await.unwrap();
    [one, two]
}

/// They go on for a good while.
async fn going_on(stand: &Stand) {
    let started = Instant::now();
    let before = stand.source_relay.counts().of("APPEND");
    while stand.source_relay.counts().of("APPEND") < before + 25 {
        assert!(started.elapsed() < PATIENCE, "clients are stuck");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Not one step failed.
async fn noticed_nothing(clients: [Living; 2]) {
    for client in clients {
        let lived = client.stop().await.unwrap();
        println!("{lived:?}");
        assert!(lived.errors.is_empty() && lived.breaks == 0 && lived.done > 30, "{lived:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn target_and_token_endpoint_die_under_busy_clients_who_notice_nothing() {
    let (mut stand, terry) = synced_stand(Options::default()).await;
    let clients = busy(&stand, &terry).await;
    going_on(&stand).await;
    stand.target.relay.go_down().await;
    going_on(&stand).await;
    stand.reaches("B1", PATIENCE, |batch| trouble(batch, &["target", "refused", "connect"])).await.unwrap();
    stand.tokens.go_down().await;
    stand.target.relay.come_back().await.unwrap();
    going_on(&stand).await;
    // The token at hand is good for an hour: it is taken back.
    stand.target.relay.bye_all("Session invalidated - AccessTokenExpired");
    stand.reaches("B1", PATIENCE, |batch| trouble(batch, &["token", "oauth"])).await.unwrap();
    going_on(&stand).await;
    stand.tokens.come_back().await.unwrap();
    going_on(&stand).await;
    noticed_nothing(clients).await;
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_disk_fills_up_under_busy_clients_who_notice_nothing() {
    if !can_mount() {
        println!("left out: a small disk needs root and a mount namespace");
        return;
    }
    let options = Options {
        // Bodies go to the disk, and it is a small one.
        spool: "memory = \"1KiB\"".to_owned(),
        serve_behind: "mkdir -p state/spool; mount -t tmpfs -o size=2m none state/spool".to_owned(),
        ..Options::default()
    };
    let (mut stand, terry) = synced_stand(options).await;
    let clients = busy(&stand, &terry).await;
    going_on(&stand).await;
    // As the daemon sees it.
    let pid = stand.serve_pid().unwrap();
    let disk = format!("/proc/{pid}/root{}/state/spool/filler", stand.path().display());
    let mut filler = std::fs::File::create(&disk).unwrap();
    let full = loop {
        if let Err(error) = std::io::Write::write_all(&mut filler, &[0; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    going_on(&stand).await;
    let large = stand.client(&terry).append("INBOX", "large", 2, 3_000_000).await.unwrap();
    going_on(&stand).await;
    std::fs::remove_file(&disk).unwrap();
    going_on(&stand).await;
    noticed_nothing(clients).await;
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(large.digests.len(), 2);
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
    assert!(
        stand.source_relay.counts().bodies_served() > 1,
        "what the spool had no room for came from the source"
    );
}

fn trouble(batch: &Value, words: &[&str]) -> bool {
    let detail = batch["mailboxes"][0]["detail"].as_str().unwrap_or_default().to_lowercase();
    words.iter().any(|word| detail.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_target_down_clients_notice_nothing_and_work_resumes_by_itself() {
    let (mut stand, terry) = synced_stand(Options::default()).await;
    stand.target.relay.go_down().await;
    undisturbed(&stand, &terry, 1).await;
    let batch = stand
        .reaches("B1", PATIENCE, |batch| trouble(batch, &["target", "refused", "connect"]))
        .await
        .expect("the outage is shown");
    println!("shown: {}", batch["mailboxes"][0]["detail"]);
    stand.target.relay.come_back().await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_endpoint_down_clients_notice_nothing_and_work_resumes_by_itself() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(31, 50).mailbox()).unwrap();
    stand.tokens.go_down().await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    undisturbed(&stand, &terry, 2).await;
    let batch = stand
        .reaches("B1", PATIENCE, |batch| trouble(batch, &["token", "oauth"]))
        .await
        .expect("the outage is shown");
    println!("shown: {}", batch["mailboxes"][0]["detail"]);
    stand.tokens.come_back().await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_room_in_the_spool_clients_notice_nothing_and_the_pass_fills_the_gap() {
    // No memory and no disk to speak of: every body that the tap sees is refused.
    let options = Options { spool: "memory = \"1KiB\"\ndisk = \"1KiB\"".to_owned(), ..Options::default() };
    let (mut stand, terry) = synced_stand(options).await;
    undisturbed(&stand, &terry, 3).await;
    stand.client(&terry).append("INBOX", "large", 2, 3_000_000).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_spool_folder_gone_clients_notice_nothing_and_the_pass_fills_the_gap() {
    let (mut stand, terry) = synced_stand(Options::default()).await;
    // As good as a full disk, and root cannot get round it: no temporary file can be made.
    let spool = stand.path().join("state/spool");
    let _ = std::fs::remove_dir_all(&spool);
    std::fs::write(&spool, "not a folder").unwrap();
    undisturbed(&stand, &terry, 4).await;
    stand.client(&terry).append("INBOX", "large", 2, 3_000_000).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(9, 30).mailbox()).unwrap();
    stand.tokens.set_lifetime(Duration::from_secs(12));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let issued = stand.tokens.issued();
    assert_eq!(issued, 1, "one token for the whole pass");
    tokio::time::sleep(Duration::from_secs(10)).await;
    stand
        .source
        .load(&terry.login, (0..3).map(|n| exact(&["INBOX"], 900 + n, "late", 1_650_000_000)))
        .unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert!(stand.tokens.issued() > issued, "asked again when most of its life was over");
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_expires_during_the_copy_costs_nothing() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(9, 150).mailbox()).unwrap();
    let expired = "Session invalidated - AccessTokenExpired";
    let fault = Fault::AnswerThenBye(format!("BAD {expired}"), expired.to_owned());
    stand.target.relay.order(Rule::next("APPEND", fault).after(20));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    assert!(stand.tokens.issued() > 1, "a new token, not the old one again");
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}
