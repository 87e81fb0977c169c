//! Messages that are the same but for their flags: whichever of them a copy is taken for, the flags are right in the end.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::fault::{Fault, Rule, Way};
use mailferry_tests::stand::{Options, Stand};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_doubt_whose_original_is_gone_is_taken_for_its_twin_with_the_right_flags() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    client.say("CREATE Work").await.unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();

    // Of two twins the first arrives and nobody hears of it; the second does not arrive.
    let letter = format!(
        "Subject: twin\r\nMessage-ID: <twin@contoso.edu>\r\n\r\n{}",
        format!("{}\r\n", "x".repeat(74)).repeat(500)
    );
    stand.target.relay.order(Rule::next("APPEND", Fault::LoseAnswer));
    stand.target.relay.cut_after(Way::ToServer, letter.len() as u64 * 3 / 2);
    let date = "\" 1-Sep-2020 10:00:00 +0000\"";
    for flags in ["", "\\Seen \\Flagged"] {
        let size = letter.len();
        client.say(&format!("APPEND Work ({flags}) {date} {{{size}+}}\r\n{letter}")).await.unwrap();
    }
    stand.cli(&["batch", "sync-now", "B1"]).await.unwrap().done().unwrap();
    let started = Instant::now();
    let mut target = stand.look(&terry).await.unwrap();
    while target.list("Work").await.unwrap().is_empty() {
        assert!(started.elapsed() < PATIENCE, "nothing arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Before it is found out what became of them, the first is gone at the source.
    stand.target.relay.go_down().await;
    stand.target.relay.clear_orders();
    assert_eq!(target.list("Work").await.unwrap().len(), 1);
    client.say("SELECT Work").await.unwrap();
    client.say("UID STORE 1 +FLAGS (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    stand.target.relay.come_back().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.same(&terry, PATIENCE).await.unwrap();
    let found = target.list("Work").await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1, "\\Flagged \\Seen");
}
