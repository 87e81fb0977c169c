//! The source dies: what a client sees through the proxy is what it would have seen without, and no byte of ours comes in
//! between.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::mail::{Recipe, exact};
use mailferry_tests::stand::{Options, Person, Stand};
use mailferry_tests::teletype::{Teletype, Way};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(150);

/// What the clients' way to the source's own door is called in messages, and through the proxy.
const WAYS: [&str; 2] = ["directly", "through the proxy"];

/// A mailbox with one message of 30 MB, and a batch that mirrors it: the source stands behind a relay that can die.
async fn stand() -> (Stand, Person) {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let large = exact(&["INBOX"], 30_000_000, "large", 1_500_000_000);
    stand.source.load(&terry.login, std::iter::once(large).chain(Recipe::small(61, 20).mailbox())).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    (stand, terry)
}

async fn connected(stand: &Stand, way: &str) -> Teletype {
    let tls = stand.authority.client().unwrap();
    let address = if way == WAYS[0] { stand.source_relay.address() } else { stand.proxy() };
    Teletype::connect(address, Way::Tls, &tls).await.unwrap()
}

/// Logged in, the folder with the large message selected.
async fn reader(stand: &Stand, person: &Person, way: &str) -> Teletype {
    let mut talk = connected(stand, way).await;
    let login = format!("l LOGIN {} \"{}\"", person.login, person.password);
    assert!(talk.ask(&login).await.unwrap().starts_with("l OK"), "{way}");
    assert!(talk.ask("s SELECT INBOX").await.unwrap().starts_with("s OK"), "{way}");
    talk
}

async fn readers(stand: &Stand, person: &Person) -> [Teletype; 2] {
    [reader(stand, person, WAYS[0]).await, reader(stand, person, WAYS[1]).await]
}

const FETCH: &[u8] = b"f FETCH 1:* BODY.PEEK[]\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_message_it_just_ends() {
    let (stand, terry) = stand().await;
    let mut whole = reader(&stand, &terry, WAYS[0]).await;
    whole.send(FETCH).await.unwrap();
    whole.tagged("f").await.unwrap();
    let from = |talk: &Teletype| {
        let text = String::from_utf8_lossy(&talk.heard);
        talk.heard[text.find("* 1 FETCH").unwrap()..].to_vec()
    };
    let whole = from(&whole);
    let mut talks = readers(&stand, &terry).await;
    for talk in &mut talks {
        talk.send(FETCH).await.unwrap();
        talk.until("* 1 FETCH").await.unwrap();
    }
    stand.source_relay.go_down().await;
    for (talk, way) in talks.iter_mut().zip(WAYS) {
        talk.rest().await.unwrap();
        let heard = from(talk);
        println!("{way}: {} of {} bytes came", heard.len(), whole.len());
        assert!(heard.len() < whole.len(), "{way}");
        assert!(whole.starts_with(&heard), "{way}: what came is what was said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_resting_clients_hear_what_it_said_last() {
    let (stand, terry) = stand().await;
    // Without a word.
    let mut talks = readers(&stand, &terry).await;
    talks[0].send(b"i IDLE\r\n").await.unwrap();
    talks[1].send(b"i IDLE\r\n").await.unwrap();
    let mut resting = readers(&stand, &terry).await;
    for talk in &mut talks {
        talk.until("+").await.unwrap();
    }
    stand.source_relay.cut_all();
    for talk in talks.iter_mut().chain(&mut resting) {
        assert_eq!(talk.rest().await.unwrap(), "");
    }
    // With one.
    let mut talks = readers(&stand, &terry).await;
    stand.source_relay.bye_all("Server shutting down.");
    for talk in &mut talks {
        assert_eq!(talk.rest().await.unwrap(), "* BYE Server shutting down.\r\n");
    }
    // While it is down nobody is kept waiting; once it is there again, everybody gets in.
    stand.source_relay.go_down().await;
    let tls = stand.authority.client().unwrap();
    assert!(Teletype::connect(stand.source_relay.address(), Way::Tls, &tls).await.is_err());
    let mut late = connected(&stand, WAYS[1]).await;
    assert!(late.rest().await.unwrap().starts_with("* BYE [UNAVAILABLE] "));
    stand.source_relay.come_back().await.unwrap();
    readers(&stand, &terry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_clients_connect_again_and_the_mirror_ends_with_the_same_mail() {
    let (mut stand, terry) = stand().await;
    let port = stand.source_relay.address().port();
    let direct = stand.client_at(&terry, port, json!({"tolerant": true}));
    let mut through = stand.client(&terry);
    through.manner = json!({"tolerant": true});
    let one = direct.live(json!({"seed": 21, "pause": 0.05})).await.unwrap();
    let two = through.live(json!({"seed": 22, "pause": 0.05})).await.unwrap();
    for _ in 0..5 {
        let (started, before) = (Instant::now(), stand.source_relay.counts().of("APPEND"));
        while stand.source_relay.counts().of("APPEND") < before + 15 {
            assert!(started.elapsed() < PATIENCE, "clients are stuck");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stand.source_relay.cut_all();
    }
    for (client, way) in [one, two].into_iter().zip(WAYS) {
        let mut lived = client.stop().await.unwrap();
        println!("{way}: {lived:?}");
        // One that was just being greeted is told so by the proxy; directly it hears nothing.
        lived.errors.retain(|error| !error.contains("[UNAVAILABLE]"));
        assert!(lived.errors.is_empty() && lived.breaks >= 2, "{way}: {lived:?}");
    }
    // Who works at the source itself is only seen by passes.
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
}
