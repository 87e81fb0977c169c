//! The end of a batch: DNS watched, the clock, the gate closed and then open.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::dns::{Dns, Secondary};
use mailferry_tests::mail::Recipe;
use mailferry_tests::stand::{Options, Stand, dns_options};

const PATIENCE: Duration = Duration::from_secs(60);
const OFFICE: &str = "0 contoso-edu.mail.protection.outlook.com.";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_removed_only_when_every_condition_holds() {
    let mut dns = Dns::start(&["contoso.edu"], Secondary::Present).unwrap();
    dns.set_mx("contoso.edu", 1, &["10 mail"]).unwrap();
    let seconds = Duration::from_secs;
    let options = Options { dns: dns_options(&dns, seconds(4), seconds(2)), ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(2, 20).mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();

    let closed = stand.human(&["batch", "remove", "B1"]).await.unwrap();
    assert_eq!(closed.code, 4, "{closed:?}");
    let check = stand.cli(&["dns", "check", "contoso.edu"]).await.unwrap();
    assert!(check.stdout.contains("\"source\""), "{check:?}");

    // One name server of two is not enough.
    dns.set_mx_at_primary("contoso.edu", 1, &[OFFICE]).unwrap();
    let check = stand.cli(&["dns", "check", "contoso.edu"]).await.unwrap();
    assert!(check.stdout.contains("\"mixed\""), "{check:?}");
    dns.refresh_secondary().unwrap();
    let check = stand.cli(&["dns", "check", "contoso.edu"]).await.unwrap();
    assert!(check.stdout.contains("\"office365\""), "{check:?}");

    stand
        .cli(&["mailbox", "declare-moved", &terry.address, "--reason", "seen at work there"])
        .await
        .unwrap()
        .done()
        .unwrap();
    tokio::time::sleep(seconds(2)).await;
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let batch = stand.reaches("B1", PATIENCE, |batch| batch["gate"]["open"] == true).await.unwrap();
    assert!(batch["gate"]["conditions"].as_array().unwrap().iter().all(|one| one["met"] == true));

    // Survives a crash, then ends.
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    stand.reaches("B1", PATIENCE, |batch| batch["gate"]["open"] == true).await.unwrap();
    stand.cli(&["batch", "remove", "B1"]).await.unwrap().done().unwrap();
    assert_eq!(stand.cli(&["batch", "status", "B1"]).await.unwrap().code, 1);
    stand.cli(&["batch", "report", "B1"]).await.unwrap().done().unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "removal touches no mail: {account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn force_needs_a_reason_and_records_it() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    assert_eq!(stand.cli(&["batch", "remove", "B1"]).await.unwrap().code, 4);
    assert_eq!(stand.cli(&["batch", "remove", "B1", "--force"]).await.unwrap().code, 1);
    let reason = "the pilot is over";
    stand.cli(&["batch", "remove", "B1", "--force", "--reason", reason]).await.unwrap().done().unwrap();
    let report = stand.cli(&["batch", "report", "B1"]).await.unwrap().done().unwrap();
    assert!(report.stdout.contains(reason), "{report:?}");
}
