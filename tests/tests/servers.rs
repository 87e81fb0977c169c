//! Cyrus and Courier, as Debian ships them, through the proxy and to the target.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::courier;
use mailferry_tests::source::Kind;
use mailferry_tests::stand::{Front, Options, Stand};

/// Kinds beside Dovecot that can run here.
fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind::Cyrus];
    match courier::impossible() {
        Some(why) => println!("left out: {why}"),
        None => kinds.push(Kind::Courier),
    }
    kinds
}

async fn filled_and_synced(kind: Kind, login: &str) {
    let options = Options { source: kind, front: Front::Bare, ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let person = stand.add_person(login).unwrap();
    for (client, name) in [(stand.client(&person), "tls"), (stand.client_starttls(&person), "starttls")] {
        let appended = client.append("INBOX", name, 5, 20_000).await.unwrap();
        let read = client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap();
        assert!(appended.digests.iter().all(|digest| read.values().any(|d| d == digest)), "{kind:?}");
        let direct = stand.client_at(&person, stand.source.imaps().port(), serde_json::json!({}));
        assert_eq!(direct.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap(), read, "{kind:?}");
    }
    stand.start_batch("B1", std::slice::from_ref(&person)).await.unwrap();
    let batch = stand.synced("B1", Duration::from_secs(60)).await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], serde_json::json!(10), "{kind:?}: {batch:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_filled_through_the_proxy_and_stands_on_the_target() {
    for kind in kinds() {
        filled_and_synced(kind, "terry").await;
    }
}

/// Cyrus without `unixhierarchysep`, as Debian has it, opens INBOX for a login with a dot and lists nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_the_source_does_not_list_is_copied() {
    filled_and_synced(Kind::Cyrus, "terry.adams").await;
}
