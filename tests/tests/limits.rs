//! Both limits of the procedure, at their exact boundaries, and refused messages.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::fault::{Fault, Rule};
use mailferry_tests::mail::exact;
use mailferry_tests::stand::{Options, Stand};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_goes_and_one_byte_more_is_listed() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let messages = [
        exact(&["INBOX"], 36_700_160, "just fits", 1_500_000_000),
        exact(&["INBOX"], 36_700_161, "one byte more", 1_500_000_001),
        exact(&["Sent"], 5_000, "small", 1_500_000_002),
    ];
    stand.source.load(&terry.login, messages.into_iter()).unwrap();

    let csv = stand.csv("B1", std::slice::from_ref(&terry)).unwrap();
    let csv = csv.to_string_lossy().into_owned();
    stand
        .cli(&["batch", "add", "B1", "--endpoint", "IMAPEndpoint", "--csv", &csv])
        .await
        .unwrap()
        .done()
        .unwrap();
    let plan = stand.cli(&["batch", "plan", "B1"]).await.unwrap();
    assert!(plan.stdout.contains("too-large"), "known before the copy starts: {plan:?}");
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0);
    stand.cli(&["batch", "start", "B1"]).await.unwrap().done().unwrap();
    let batch = stand.synced("B1", PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["skipped"], 1, "{batch:#}");

    let shown = stand.cli(&["mailbox", "show", &terry.address, "--skipped"]).await.unwrap().json().unwrap();
    let skipped = shown["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{shown:#}");
    assert_eq!(skipped[0]["reason"], "too-large");
    assert_eq!(skipped[0]["size"], 36_700_161);
    assert_eq!(skipped[0]["subject"], "one byte more");
    assert!(skipped[0]["sender"].as_str().unwrap().contains("terrya@contoso.edu"), "{shown:#}");

    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.missing.len(), account.extra.len(), account.changed.len()), (1, 0, 0), "{account}");
    assert_eq!(account.missing[0]["size"], 36_700_161, "{account}");
    assert!(stand.peak_memory() < 150_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_with_room_for_fifty_the_newest_go() {
    let options = Options { sync: "max_items = 50".to_owned(), ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    // Newest first in one folder, oldest first in the other: neither UID order nor folder order decides.
    let date = |n: usize| 1_500_000_000 + 1000 * if n.is_multiple_of(2) { n as i64 } else { 100 - n as i64 };
    let messages: Vec<_> = (0..60)
        .map(|n| {
            let folder: &[&str] = if n % 2 == 0 { &["INBOX"] } else { &["Lists", "rust-users"] };
            exact(folder, 1000 + n, &format!("number {n}"), date(n))
        })
        .collect();
    let mut dates: Vec<i64> = messages.iter().map(|message| message.date).collect();
    dates.sort_unstable();
    stand.source.load(&terry.login, messages.into_iter()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let batch = stand.synced("B1", PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], 50, "{batch:#}");

    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.target_messages, account.extra.len()), (50, 0), "{account}");
    let mut left: Vec<i64> = account.missing.iter().map(|entry| entry["date"].as_i64().unwrap()).collect();
    left.sort_unstable();
    assert_eq!(left, dates[..10], "the ten oldest stay: {account}");

    let shown = stand.cli(&["mailbox", "show", &terry.address, "--skipped"]).await.unwrap().json().unwrap();
    let skipped = shown["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 10, "{shown:#}");
    assert!(skipped.iter().all(|entry| entry["reason"] == "item-limit"), "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_target_refuses_is_quarantined_and_the_rest_goes() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let messages =
        (0..30).map(|n| exact(&["INBOX"], 2000 + n, &format!("number {n}"), 1_500_000_000 + n as i64));
    stand.source.load(&terry.login, messages).unwrap();
    // The eleventh APPEND is a message that Exchange will never take, whenever it is tried... which is once.
    let refusal = Fault::Answer("NO Maximum size of appendable message has been exceeded".to_owned());
    stand.target.relay.order(Rule::next("APPEND", refusal).after(10));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.extra.len(), account.changed.len()), (0, 0), "{account}");
    let shown = stand.cli(&["mailbox", "show", &terry.address, "--skipped"]).await.unwrap().json().unwrap();
    let skipped = shown["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), account.missing.len(), "every one that lacks is listed: {shown:#} {account}");
}
