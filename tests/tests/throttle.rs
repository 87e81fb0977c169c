//! How much the target is asked to bear: never before its time, by no path; never more sessions than allowed; and all mailboxes
//! get through.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::fault::{Counts, Rule, throttled};
use mailferry_tests::mail::exact;
use mailferry_tests::stand::{Options, Person, Stand};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that a target sees of us.
fn contacts(counts: &Counts) -> u64 {
    counts.connections + counts.commands.values().sum::<u64>()
}

async fn said(stand: &Stand, what: &[&str]) -> Value {
    stand.cli(what).await.unwrap().json().unwrap()
}

/// What is done to a mailbox that waits, in every way that there is.
async fn be_impatient(stand: &Stand, person: &Person, to: &str, mut look: impl AsyncFnMut(&str)) {
    let address = person.address.as_str();
    for path in [
        &["batch", "plan", "B1"][..],
        &["batch", "verify", "B1"],
        &["batch", "sync-now", "B1"],
        &["batch", "start", "B1"],
        &["mailbox", "retry", address],
        &["mailbox", "allow-deletions", address],
        &["mailbox", "export-skipped", address, "--to", to],
    ] {
        // Some of them say that it waits: that is no success, and no matter here.
        stand.cli(path).await.unwrap();
        look(&path.join(" ")).await;
    }
    stand.client(person).append("INBOX", "live", 2, 1_500).await.unwrap();
    look("a client").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_to_a_throttled_target_before_its_time_and_everything_goes_on_after_it() {
    let options = Options {
        sync: "settle = \"1s\"\nmax_message_bytes = 50000".to_owned(),
        dns: String::new(),
        ..Options::default()
    };
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let sizes = [2_000; 90].into_iter().chain([60_000]);
    let messages =
        sizes.enumerate().map(|(n, size)| exact(&["INBOX"], size, &format!("number {n}"), 1_500_000_000));
    stand.source.load(&terry.login, messages).unwrap();
    stand.target.relay.order(Rule::next("APPEND", throttled(20_000)).after(20));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let is_shown = |batch: &Value| batch["mailboxes"][0]["throttled_until"].is_string();
    let shown = stand.reaches("B1", PATIENCE, is_shown).await.unwrap();
    let until = shown["mailboxes"][0]["throttled_until"].as_str().unwrap().to_owned();
    let before = contacts(&stand.target.relay.counts());
    let human = stand.human(&["batch", "status", "B1"]).await.unwrap().stdout;
    assert!(human.contains("1 throttled until "), "{human}");

    let to = tempfile::tempdir().unwrap();
    let to = to.path().to_string_lossy().into_owned();
    let mut paths = 0;
    for restarted in [false, true] {
        if restarted {
            stand.kill().unwrap();
            stand.serve().await.unwrap();
            stand.proxy_open().await.unwrap();
        }
        let stand = &stand;
        let until = until.as_str();
        let paths = &mut paths;
        be_impatient(stand, &terry, &to, async move |path: &str| {
            let seen = contacts(&stand.target.relay.counts());
            // The moments of the daemon compare as text.
            if stand.batch("B1").await.unwrap()["gate"]["at"].as_str().unwrap() < until {
                assert_eq!(seen, before, "{path}: contacted before its time");
                *paths += 1;
            }
        })
        .await;
    }
    println!("{paths} of 16 before its time");
    stand.target.relay.forget_counts();
    let batch = stand.synced("B1", PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["skipped"], 1, "{batch:#}");
    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.missing.len(), account.extra.len(), account.changed.len()), (1, 0, 0), "{account}");
    // What clients did meanwhile and all the rest went in few sessions. What was on its way when the answer came is there.
    let counts = stand.target.relay.counts();
    assert!(counts.of("APPEND") >= 4 && counts.connections <= 8, "{counts:?}");
    let shown = said(&stand, &["mailbox", "show", &terry.address]).await;
    assert_eq!(shown["status"]["throttling"]["times"], 1, "{shown:#}");
    assert_eq!(shown["status"]["throttled_until"], Value::Null, "{shown:#}");
    let human = stand.human(&["mailbox", "show", &terry.address]).await.unwrap().stdout;
    assert!(
        human.contains("throttled    1 times, last at ") && human.contains("Request is throttled."),
        "{human}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_sessions_six_mailboxes_get_through() {
    let options =
        Options { target: "max_sessions = 2\nmax_sessions_per_mailbox = 2".to_owned(), ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let people: Vec<Person> = (0..6).map(|n| stand.add_person(&format!("user{n}")).unwrap()).collect();
    for (at, person) in people.iter().enumerate() {
        // The first has much more than the others.
        let count = if at == 0 { 400 } else { 20 };
        let messages = (0..count).map(|n| exact(&["INBOX"], 3_000, &format!("number {n}"), 1_500_000_000));
        stand.source.load(&person.login, messages).unwrap();
    }
    stand.start_batch("B1", &people).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    // One that is closed may be seen a moment longer.
    assert!(stand.target.relay.most_open() <= 4, "{}", stand.target.relay.most_open());
    let status = said(&stand, &["status"]).await;
    assert_eq!(
        (&status["target"]["sessions_max"], &status["target"]["waiting"]),
        (&2.into(), &0.into()),
        "{status:#}"
    );
    assert!(status["target"]["sessions"].as_u64().unwrap() <= 2, "{status:#}");
    for person in &people {
        let account = stand.account(person).await.unwrap();
        assert!(account.agrees(), "{account}");
    }
    // What a user does goes through though all sessions were others' a moment ago.
    stand.client(&people[5]).append("INBOX", "live", 1, 1_500).await.unwrap();
    assert!(stand.agreement(&people[5], PATIENCE).await.unwrap().agrees());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_mailbox_is_throttled_all_get_fewer_sessions_and_it_is_told() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let people: Vec<Person> = (0..2).map(|n| stand.add_person(&format!("user{n}")).unwrap()).collect();
    for person in &people {
        let messages = (0..20).map(|n| exact(&["INBOX"], 3_000, &format!("number {n}"), 1_500_000_000));
        stand.source.load(&person.login, messages).unwrap();
    }
    stand.target.relay.order(Rule { times: 2, ..Rule::next("AUTHENTICATE", throttled(2_000)) });
    stand.start_batch("B1", &people).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let target = said(&stand, &["status"]).await["target"].clone();
    assert_eq!(target["sessions_max"], 100, "{target:#}");
    assert!(target["sessions_allowed"].as_u64().unwrap() < 10, "{target:#}");
    assert!(target["reduced"]["words"].as_str().unwrap().contains("throttled"), "{target:#}");
    let human = stand.human(&["status"]).await.unwrap().stdout;
    assert!(human.contains("for the time being instead of 100"), "{human}");
    for person in &people {
        assert!(stand.account(person).await.unwrap().agrees());
    }
}
