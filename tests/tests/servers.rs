//! Cyrus and Courier, as Debian ships them: through the proxy, and copied byte for byte with what changes there later.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use mailferry_tests::account::Account;
use mailferry_tests::courier;
use mailferry_tests::mail::{Loaded, Recipe};
use mailferry_tests::source::Kind;
use mailferry_tests::stand::{Front, Options, Person, Stand};

const PATIENCE: Duration = Duration::from_secs(180);

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

/// 10,000 messages and 700 MB with `MAILFERRY_TEST_FULL`, a few hundred otherwise.
fn recipe() -> Recipe {
    match std::env::var_os("MAILFERRY_TEST_FULL") {
        Some(_) => Recipe::full(),
        None => Recipe::small(7, 400),
    }
}

/// Courier's Maildir can be written, Cyrus' store cannot.
async fn fill(stand: &Stand, kind: Kind, person: &Person) -> Loaded {
    let posted = match kind {
        Kind::Courier => {
            let (on_disk, by_imap) = (recipe().messages * 3 / 4, recipe().messages / 4);
            let loaded = stand.source.load(&person.login, recipe().mailbox().take(on_disk as usize)).unwrap();
            let more = Recipe { seed: 8, messages: by_imap, largest: 2_000_000 };
            let mut posted = stand.post(person, more.mailbox()).await.unwrap();
            posted.loaded.messages += loaded.messages;
            posted.loaded.bytes += loaded.bytes;
            posted
        }
        Kind::Cyrus | Kind::Dovecot => stand.post(person, recipe().mailbox()).await.unwrap(),
    };
    println!("{kind:?}: {:?}, refused {}", posted.loaded, posted.refused.len());
    for refused in posted.refused.iter().take(5) {
        println!("  {refused}");
    }
    assert!(posted.loaded.messages >= recipe().messages * 9 / 10, "{posted:?}");
    posted.loaded
}

async fn account(stand: &Stand, person: &Person) -> Account {
    let names: BTreeMap<String, String> = stand.names_below_inbox(person).await.unwrap();
    stand.account_with(person, &names).await.unwrap()
}

/// One in a hundred is new, others have other flags, are gone, moved, in a folder of another name.
async fn change(stand: &Stand, person: &Person) {
    let mut client = stand.talk_directly(person).await.unwrap();
    let new = Recipe { seed: 99, messages: (recipe().messages / 100).max(3), largest: 100_000 };
    stand.post(person, new.mailbox()).await.unwrap();
    client.say("CREATE INBOX.Moved").await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    client.say("STORE 1:20 +FLAGS.SILENT (\\Answered Later)").await.unwrap();
    client.say("STORE 11:15 -FLAGS.SILENT (\\Seen)").await.unwrap();
    client.say("STORE 31:35 +FLAGS.SILENT (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    // Courier has no MOVE: what clients do there instead.
    if client.say("CAPABILITY").await.unwrap().concat().contains(" MOVE") {
        client.say("MOVE 40:44 INBOX.Moved").await.unwrap();
    } else {
        client.say("COPY 40:44 INBOX.Moved").await.unwrap();
        client.say("STORE 40:44 +FLAGS.SILENT (\\Deleted)").await.unwrap();
        client.say("EXPUNGE").await.unwrap();
    }
    client.say("CLOSE").await.unwrap();
    client.say("RENAME INBOX.Lists INBOX.Circulars").await.unwrap();
    client.say("SUBSCRIBE INBOX.Moved").await.unwrap();
}

/// Keywords of the messages of a folder at the source, by UID.
async fn keywords_at_source(stand: &Stand, person: &Person) -> BTreeMap<u64, Vec<String>> {
    let mut client = stand.talk_directly(person).await.unwrap();
    client.say("EXAMINE INBOX").await.unwrap();
    let mut found = BTreeMap::new();
    for line in client.say("UID FETCH 1:* (FLAGS)").await.unwrap() {
        let Some((_, rest)) = line.split_once("FLAGS (") else { continue };
        let Some((flags, _)) = rest.split_once(')') else { continue };
        let Some(uid) = line.split_once("UID ").and_then(|(_, uid)| uid.split([' ', ')']).next()) else {
            continue;
        };
        let mut words: Vec<String> = flags
            .split(' ')
            .filter(|word| !word.is_empty() && !word.starts_with('\\'))
            .map(str::to_lowercase)
            .collect();
        words.sort_unstable();
        if !words.is_empty() {
            found.insert(uid.parse().unwrap(), words);
        }
    }
    found
}

/// The same as the ledger has them.
async fn keywords_in_ledger(stand: &Stand) -> BTreeMap<u64, Vec<String>> {
    let report = stand
        .cli(&["batch", "report", "B1", "--format", "json"])
        .await
        .unwrap()
        .done()
        .unwrap()
        .json()
        .unwrap();
    let folders = report["mailboxes"][0]["folders"].as_array().unwrap();
    let inbox = folders.iter().find(|folder| folder["source"] == "INBOX").unwrap();
    let messages = inbox["messages"].as_array().unwrap().iter();
    let there = messages.filter(|message| message["state"] != "gone");
    let words = there.filter_map(|message| {
        let words = message["keywords"].as_array()?.iter().filter_map(|word| word.as_str());
        let mut words: Vec<String> = words.map(str::to_lowercase).collect();
        words.sort_unstable();
        Some((message["uid"].as_u64()?, words))
    });
    words.collect()
}

async fn copied_exactly(kind: Kind) {
    let mut stand = Stand::start(Options { source: kind, ..Options::default() }).await.unwrap();
    let person = stand.add_person("terry").unwrap();
    let loaded = fill(&stand, kind, &person).await;
    stand.start_batch("B1", std::slice::from_ref(&person)).await.unwrap();
    let batch = stand.synced_whole("B1", PATIENCE * 4).await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], loaded.messages, "{kind:?}: {batch:#}");
    let first = account(&stand, &person).await;
    println!("{kind:?}: {first}");
    assert!(first.agrees(), "{kind:?}: {first}");
    assert_eq!(first.source_messages, loaded.messages, "{kind:?}");
    assert!(first.folders.len() > 5, "{kind:?}: {:?}", first.folders);
    let keywords = keywords_at_source(&stand, &person).await;
    assert!(keywords.len() > 5, "{kind:?}: {keywords:?}");
    assert_eq!(keywords_in_ledger(&stand).await, keywords, "{kind:?}");

    stand.source_relay.forget_counts();
    stand.target.relay.forget_counts();
    let took = stand.sync_again("B1", PATIENCE).await.unwrap();
    let commands: u64 = stand.source_relay.counts().commands.values().sum();
    println!("{kind:?}: second pass {took:?}, {commands} commands at the source");
    assert_eq!(stand.source_relay.counts().bodies_served(), 0, "{kind:?}");
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0, "{kind:?}");

    change(&stand, &person).await;
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let second = account(&stand, &person).await;
    assert!(second.agrees(), "{kind:?}: {second}");
    assert!(second.folders.contains_key("Moved"), "{kind:?}: {:?}", second.folders);
    assert!(second.folders.contains_key("Circulars/rust-users"), "{kind:?}: {:?}", second.folders);
    assert_eq!(keywords_in_ledger(&stand).await, keywords_at_source(&stand, &person).await, "{kind:?}");
    let subscribed = stand.look(&person).await.unwrap().say("LSUB \"\" *").await.unwrap();
    assert!(
        subscribed.iter().any(|line| line.trim_matches('"').ends_with(" Moved")),
        "{kind:?}: {subscribed:?}"
    );
    let verify = stand.cli(&["batch", "verify", "B1"]).await.unwrap();
    assert_eq!(verify.code, 0, "{kind:?}: {verify:?}");
    println!("{kind:?}: peak memory of serve: {} MB", stand.peak_memory() / 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_of_cyrus_arrives_byte_for_byte_and_its_changes_follow() {
    copied_exactly(Kind::Cyrus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_of_courier_arrives_byte_for_byte_and_its_changes_follow() {
    match courier::impossible() {
        Some(why) => println!("left out: {why}"),
        None => copied_exactly(Kind::Courier).await,
    }
}
