//! Folders of one mailbox copied side by side: exactly once and in order in each, whatever becomes of one of the lanes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::fault::{Fault, Rule, throttled};
use mailferry_tests::mail::{Dice, exact};
use mailferry_tests::stand::{Options, Person, Stand};

const PATIENCE: Duration = Duration::from_secs(180);
const FOLDERS: [&str; 5] = ["INBOX", "Sent", "Work", "Family", "Old"];

/// A mailbox of which every folder is worth a lane; nothing is migrated yet.
async fn stand(each: usize) -> (Stand, Person) {
    let sync = "settle = \"1s\"".to_owned();
    let stand = Stand::start(Options { sync, ..Options::default() }).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let messages = (0..each * FOLDERS.len()).map(|n| {
        let folder = FOLDERS[n % FOLDERS.len()];
        exact(&[folder], 1_000 + 37 * n, &format!("number {n:05}"), 1_500_000_000 + n as i64)
    });
    stand.source.load(&terry.login, messages).unwrap();
    (stand, terry)
}

/// Everything is there once, and in every folder in the source's order.
async fn arrived_in_order(stand: &mut Stand, terry: &Person) {
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let account = stand.account(terry).await.unwrap();
    assert!(account.agrees(), "{account}");
    let mut target = stand.look(terry).await.unwrap();
    for folder in FOLDERS {
        let name = if folder == "Sent" { "Sent Items" } else { folder };
        let subjects: Vec<String> =
            target.list(name).await.unwrap().into_iter().map(|(subject, ..)| subject).collect();
        assert!(!subjects.is_empty() && subjects.is_sorted(), "{folder}: {subjects:?}");
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(60), "not seen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn logged(stand: &Stand, words: &str) -> bool {
    std::fs::read_to_string(stand.log()).unwrap().contains(words)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_cut_amid_several_lanes_each_message_arrives_once_and_in_order() {
    let (mut stand, terry) = stand(120).await;
    let mut dice = Dice::new(7);
    // Slow enough that all strikes fall into the copy.
    stand.target.relay.set_latency(Duration::from_millis(10));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    for strike in 0..6 {
        stand.target.relay.forget_counts();
        let copying = || {
            let counts = stand.target.relay.counts();
            counts.of("AUTHENTICATE") > 2 && counts.of("APPEND") > 10
        };
        until("several lanes copy", copying).await;
        tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
        match strike % 3 {
            0 => {
                stand.kill().unwrap();
                stand.serve().await.unwrap();
            }
            1 => stand.target.relay.cut_all(),
            _ => stand.source_relay.cut_all(),
        }
    }
    stand.target.relay.set_latency(Duration::ZERO);
    arrived_in_order(&mut stand, &terry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_admits_no_further_session_costs_lanes_and_nothing_else() {
    let (mut stand, terry) = stand(100).await;
    stand.target.relay.set_latency(Duration::from_millis(20));
    let words =
        "NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=2)";
    stand.source_relay.order(Rule::every("LOGIN", Fault::Answer(words.to_owned())).after(2));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    arrived_in_order(&mut stand, &terry).await;
    assert!(logged(&stand, "admits no further session"));
    assert_eq!(stand.batch("B1").await.unwrap()["mailboxes"][0]["error"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_in_which_a_further_session_is_refused_say_nothing_of_the_password() {
    let (mut stand, terry) = stand(40).await;
    let refusal = Fault::Answer("NO [AUTHENTICATIONFAILED] Invalid credentials".to_owned());
    let mut rule = Rule::every("LOGIN", refusal).after(1);
    rule.times = 3;
    stand.source_relay.order(rule);
    let rule = Rule::next("AUTHENTICATE", Fault::Answer("NO Too many simultaneous connections".to_owned()));
    stand.target.relay.order(rule.after(1));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    arrived_in_order(&mut stand, &terry).await;
    assert!(logged(&stand, "admits no further session"));
    assert!(!logged(&stand, "asks to wait"));
    stand.sync_again("B1", PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_wait_in_one_lane_waits_in_all() {
    let (mut stand, terry) = stand(60).await;
    stand.target.relay.set_latency(Duration::from_millis(5));
    stand.target.relay.order(Rule::next("APPEND", throttled(5_000)).after(80));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let is_shown = |batch: &serde_json::Value| batch["mailboxes"][0]["throttled_until"].is_string();
    let shown = stand.reaches("B1", PATIENCE, is_shown).await.unwrap();
    let until = shown["mailboxes"][0]["throttled_until"].clone();
    let contacts = || {
        let counts = stand.target.relay.counts();
        counts.connections + counts.commands.values().sum::<u64>()
    };
    assert!(stand.target.relay.counts().of("AUTHENTICATE") > 2, "several lanes were at work");
    let before = contacts();
    loop {
        let seen = contacts();
        if stand.batch("B1").await.unwrap()["gate"]["at"].as_str().unwrap() >= until.as_str().unwrap() {
            break;
        }
        assert_eq!(seen, before, "contacted before its time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A message that was refused comes after those that were on their way behind it.
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_in_one_lane_stays_alone() {
    let (mut stand, terry) = stand(40).await;
    stand.target.relay.refuse_larger(8_350, Fault::Answer("BAD Command Argument Error. 11".to_owned()));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.missing.len(), account.extra.len(), account.changed.len()), (1, 0, 0), "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_logs_in_amid_the_copy_is_made_room_for() {
    let (mut stand, terry) = stand(150).await;
    stand.target.relay.set_latency(Duration::from_millis(20));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let sessions = async |stand: &Stand, are: fn(u64) -> bool| {
        let began = Instant::now();
        loop {
            let status = stand.cli(&["status"]).await.unwrap().json().unwrap();
            let sessions = status["target"]["sessions"].as_u64().unwrap();
            if are(sessions) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{status:#}");
        }
    };
    sessions(&stand, |sessions| sessions > 2).await;
    let mut client = stand.talk(&terry).await.unwrap();
    sessions(&stand, |sessions| sessions <= 2).await;
    stand.target.relay.set_latency(Duration::ZERO);
    arrived_in_order(&mut stand, &terry).await;
    client.say("NOOP").await.unwrap();
}
