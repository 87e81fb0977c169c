//! Exchange's manners: refusals in every form, throttling obeyed to the moment, sizes that are estimates.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::fault::{Counts, Fault, Rule, throttled};
use mailferry_tests::mail::exact;
use mailferry_tests::stand::{Options, Person, Stand};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

/// `INBOX` with messages of these sizes; nothing is migrated yet.
async fn stand(sizes: &[usize]) -> (Stand, Person) {
    let options = Options { sync: "settle = \"1s\"".to_owned(), ..Options::default() };
    let stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let messages = sizes
        .iter()
        .enumerate()
        .map(|(n, size)| exact(&["INBOX"], *size, &format!("number {n}"), 1_500_000_000 + n as i64));
    stand.source.load(&terry.login, messages).unwrap();
    (stand, terry)
}

/// Reason and subject of what was skipped.
async fn skipped(stand: &Stand, person: &Person) -> Vec<(String, String)> {
    let shown = stand.cli(&["mailbox", "show", &person.address, "--skipped"]).await.unwrap().json().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    shown["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["reason"]), text(&one["subject"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_for_the_target_stays_alone_in_whatever_words() {
    for (fault, reason) in [
        (Fault::Answer("NO Maximum size of appendable message has been exceeded".to_owned()), "too-large"),
        (Fault::Answer("BAD Command Argument Error. 11".to_owned()), "Command Argument Error. 11"),
        (Fault::AnswerThenBye(String::new(), "Connection closed. 14".to_owned()), "Connection closed. 14"),
    ] {
        let (mut stand, terry) = stand(&[2_000, 90_000, 3_000, 4_000]).await;
        stand.target.relay.refuse_larger(50_000, fault);
        stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
        stand.synced("B1", PATIENCE).await.unwrap();
        let skipped = skipped(&stand, &terry).await;
        assert_eq!(skipped.len(), 1, "{skipped:?}");
        assert!(skipped[0].0.contains(reason) && skipped[0].1 == "number 1", "{skipped:?}");
        let account = stand.account(&terry).await.unwrap();
        assert_eq!(
            (account.missing.len(), account.extra.len(), account.changed.len()),
            (1, 0, 0),
            "{account}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_many_are_refused_the_connection_is_left_before_the_tenth() {
    let sizes: Vec<usize> = (0..40).map(|n| if n % 2 == 0 { 2_000 + n } else { 60_000 + n }).collect();
    let (mut stand, terry) = stand(&sizes).await;
    let refusal = Fault::Answer("NO Maximum size of appendable message has been exceeded".to_owned());
    stand.target.relay.refuse_larger(50_000, refusal);
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced("B1", PATIENCE).await.unwrap();
    assert_eq!(skipped(&stand, &terry).await.len(), 20);
    // Those that were on their way before the first answer came nobody can call back.
    assert!(stand.target.relay.given_up() <= 1, "closed {} times", stand.target.relay.given_up());
    let account = stand.account(&terry).await.unwrap();
    assert_eq!((account.missing.len(), account.extra.len(), account.changed.len()), (20, 0, 0), "{account}");
}

/// Everything that a target sees of us.
fn contacts(counts: &Counts) -> u64 {
    counts.connections + counts.commands.values().sum::<u64>()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_target_is_left_alone_until_its_time_even_by_who_was_killed_meanwhile() {
    let (mut stand, terry) = stand(&[2_000; 120]).await;
    stand.target.relay.order(Rule::next("APPEND", throttled(8_000)).after(40));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    let is_shown = |batch: &Value| batch["mailboxes"][0]["throttled_until"].is_string();
    let shown = stand.reaches("B1", PATIENCE, is_shown).await.unwrap();
    let until = shown["mailboxes"][0]["throttled_until"].clone();
    assert!(shown["status"]["throttled"] == 1 && shown["status"]["throttled_until"] == until, "{shown:#}");
    let before = contacts(&stand.target.relay.counts());
    // An operator's impatience and a crash change nothing.
    stand.cli(&["batch", "sync-now", "B1"]).await.unwrap().done().unwrap();
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    stand.cli(&["batch", "sync-now", "B1"]).await.unwrap().done().unwrap();
    loop {
        let seen = contacts(&stand.target.relay.counts());
        // The moments of the daemon compare as text.
        let batch = stand.batch("B1").await.unwrap();
        if batch["gate"]["at"].as_str().unwrap() >= until.as_str().unwrap() {
            break;
        }
        assert_eq!(seen, before, "contacted before its time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let resumed = std::time::Instant::now();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    println!("80 messages {:?} after the pause", resumed.elapsed());
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "{account}");
}

/// missing, doubled, differing, foreign, replaced of a verification, and its exit code.
async fn verified(stand: &Stand) -> ([u64; 5], i32) {
    let said = stand.cli(&["batch", "verify", "B1"]).await.unwrap();
    let report = said.json().unwrap();
    let figure = |what: &str| report["mailboxes"][0][what].as_u64().unwrap();
    (["missing", "doubled", "differing", "foreign", "replaced"].map(figure), said.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_behind_our_back_is_found_and_estimated_sizes_alarm_nobody() {
    for estimates in [false, true] {
        let (mut stand, terry) = stand(&[2_000; 30]).await;
        if estimates {
            stand.target.relay.estimate_sizes();
        }
        stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
        stand.synced_whole("B1", PATIENCE).await.unwrap();
        assert_eq!(verified(&stand).await, ([0, 0, 0, 0, 0], 0), "estimates: {estimates}");

        let mut target = stand.look(&terry).await.unwrap();
        target.say("SELECT INBOX").await.unwrap();
        // One deleted, one there twice, one with other flags.
        target.say("UID STORE 1 +FLAGS (\\Deleted)").await.unwrap();
        target.say("UID EXPUNGE 1").await.unwrap();
        target.say("UID COPY 2 INBOX").await.unwrap();
        target.say("UID STORE 3 +FLAGS (\\Flagged)").await.unwrap();
        // One with another date, one with another text.
        let lines = target.say("UID FETCH 4:5 (BODY.PEEK[])").await.unwrap();
        let bodies: Vec<&str> =
            lines.iter().filter_map(|line| Some(line.split_once("BODY[] ")?.1.split_once('\n')?.1)).collect();
        let altered = format!("{}altered\r\n", &bodies[1][..2_000]);
        for (date, body) in
            [("1-Jan-2001 00:00:00 +0000", &bodies[0][..2_000]), ("14-Jul-2017 02:40:04 +0000", &altered)]
        {
            let size = body.len();
            target.say(&format!("APPEND INBOX () \"{date:>26}\" {{{size}+}}\r\n{body}")).await.unwrap();
        }
        target.say("UID STORE 4:5 +FLAGS (\\Deleted)").await.unwrap();
        target.say("UID EXPUNGE 4:5").await.unwrap();
        // Flags, date, and the text by its size: where sizes are estimates, nothing but the whole body would show that. Both that
        // were put there anew stand in place of our copies.
        let differing = if estimates { 2 } else { 3 };
        assert_eq!(verified(&stand).await, ([1, 1, differing, 0, 2], 6), "estimates: {estimates}");
    }
}
