//! The account before, during and after: the plan writes nothing, the report has one state for every message, and its
//! numbers are those of the source.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mailferry_tests::mail::{Message, exact};
use mailferry_tests::stand::{Options, Person, Stand};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn mailbox() -> Vec<Message> {
    let mut messages: Vec<Message> =
        (0..12).map(|n| exact(&["INBOX"], 2000 + n, &format!("in {n}"), 1_500_000_000)).collect();
    messages.extend((0..5).map(|n| exact(&["Sent"], 3000 + n, &format!("sent {n}"), 1_500_000_100)));
    messages.extend((0..3).map(|n| exact(&["Projekte", "2024"], 4000 + n, "project", 1_500_000_200)));
    messages.push(exact(
        &["Projekte", "2024", "Über <b>"],
        100_001,
        "<script>alert(1)</script>",
        1_500_000_300,
    ));
    messages.push(exact(&["Privat"], 5000, "private", 1_500_000_400));
    messages.push(exact(&["Privat", "Tief"], 5001, "private", 1_500_000_401));
    messages
}

async fn with_mailbox() -> (Stand, Person) {
    let options = Options { sync: "max_message_bytes = 100_000".to_owned(), ..Options::default() };
    let stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, mailbox().into_iter()).unwrap();
    (stand, terry)
}

async fn add(stand: &Stand, people: &[Person], more: &[&str]) -> (i32, String) {
    let csv = stand.csv("B1", people).unwrap();
    let csv = csv.to_string_lossy().into_owned();
    let mut all = vec!["batch", "add", "B1", "--endpoint", "IMAPEndpoint", "--csv", &csv];
    all.extend_from_slice(more);
    let said = stand.cli(&all).await.unwrap();
    (said.code, said.stdout + &said.stderr)
}

/// Commands that change something on the target.
fn writes(stand: &Stand) -> u64 {
    let counts = stand.target.relay.counts();
    let verbs = [
        "APPEND",
        "CREATE",
        "DELETE",
        "RENAME",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "STORE",
        "UID STORE",
        "COPY",
        "UID COPY",
        "MOVE",
        "UID MOVE",
        "EXPUNGE",
        "UID EXPUNGE",
        "SELECT",
    ];
    verbs.iter().map(|verb| counts.of(verb)).sum()
}

/// Rows of a CSV file without quoted line ends, by the names of its columns.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let cells = |line: &str| {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        cells
    };
    let mut lines = text.lines();
    let header = cells(lines.next().unwrap());
    lines.map(|line| header.iter().cloned().zip(cells(line)).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_would_go_and_writes_nothing() {
    let (stand, terry) = with_mailbox().await;
    let (code, said) = add(&stand, std::slice::from_ref(&terry), &["--exclude", "privat"]).await;
    assert_eq!(code, 0, "{said}");
    let plan = stand.cli(&["batch", "plan", "B1"]).await.unwrap().done().unwrap().json().unwrap();
    let mailbox = &plan["mailboxes"][0];
    assert_eq!(
        (&mailbox["messages"], &mailbox["to_copy"], &mailbox["too_large"], &mailbox["mirrored"]),
        (&json!(21), &json!(20), &json!(1), &json!(0)),
        "{plan:#}"
    );
    let folder = |name: &str| {
        let folders = mailbox["folders"].as_array().unwrap().iter();
        folders
            .clone()
            .find(|folder| folder["source"] == name)
            .unwrap_or_else(|| panic!("{name}: {plan:#}"))
            .clone()
    };
    assert_eq!(folder("Sent")["target"], "Sent Items");
    assert_eq!(folder("Sent")["messages"], 5);
    assert_eq!(
        (&folder("Privat")["target"], &folder("Privat")["why"]),
        (&Value::Null, &json!("excluded by the batch"))
    );
    assert_eq!(folder("Privat.Tief")["target"], Value::Null);
    assert_eq!(mailbox["skipped"][0]["reason"], "too-large");
    assert!(plan["estimate"]["seconds"].as_u64().unwrap() > 0, "{plan:#}");
    assert_eq!(plan["estimate"]["basis"], "assumed");
    let human = stand.human(&["batch", "plan", "B1"]).await.unwrap().done().unwrap();
    for words in ["Sent Items", "(stays behind)", "excluded by the batch", "too-large", "about"] {
        assert!(human.stdout.contains(words), "{words}: {}", human.stdout);
    }
    assert_eq!(writes(&stand), 0, "{:?}", stand.target.relay.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_included_and_excluded_and_stay_so() {
    let (mut stand, terry) = with_mailbox().await;
    let people = std::slice::from_ref(&terry);
    for (choice, wrong) in [
        ("#Eingang#", "known words are"),
        ("Projekte/*", "wildcards are not known"),
        ("a//b", "a path has levels"),
    ] {
        let (code, said) = add(&stand, people, &["--include", choice]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(wrong), "{said}");
    }
    let choice = [
        "--include",
        "#inbox#",
        "--include",
        "#SentItems#",
        "--include",
        "PROJEKTE",
        "--exclude",
        "Projekte/2024/Über <b>",
    ];
    let (code, said) = add(&stand, people, &choice).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = add(&stand, people, &["--include", "#Inbox#"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("with other folders"), "{said}");
    let (code, said) = add(&stand, people, &choice).await;
    assert_eq!(code, 0, "the same again renews the passwords: {said}");

    stand.cli(&["batch", "start", "B1"]).await.unwrap().done().unwrap();
    let batch = stand.synced_whole("B1", PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], 20, "{batch:#}");
    assert_eq!(batch["status"]["include"], json!(["#inbox#", "#SentItems#", "PROJEKTE"]));

    // A client works in a folder that stays behind: nothing of it goes, and nothing else is held up.
    let client = stand.client(&terry);
    client.append("Privat", "left", 3, 2_000).await.unwrap();
    client.append("INBOX", "taken", 2, 2_000).await.unwrap();
    let done = |batch: &Value| batch["status"]["tally"]["messages_done"] == json!(22);
    stand.reaches("B1", PATIENCE, done).await.unwrap();
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    let absent: BTreeSet<&str> = account.absent.iter().map(String::as_str).collect();
    assert!(absent.iter().any(|name| name.contains("Privat")), "{account}");
    assert_eq!(
        (account.target_messages, account.extra.len(), account.changed.len()),
        (22, 0, 0),
        "{account}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_one_state_for_every_message_and_adds_up_to_the_source() {
    let (mut stand, terry) = with_mailbox().await;
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced("B1", PATIENCE).await.unwrap();

    let summary = stand.cli(&["batch", "report", "B1"]).await.unwrap().done().unwrap().json().unwrap();
    let folders = summary["folders"].as_array().unwrap();
    assert!(folders.iter().all(|folder| folder["adds_up"] == json!(true)), "{summary:#}");
    let at_source: u64 = folders.iter().map(|folder| folder["at_source"].as_u64().unwrap()).sum();
    assert_eq!(at_source, mailbox().len() as u64, "{summary:#}");

    // CSV: every message of the source, by folder, once.
    let file = stand.path().join("account.csv");
    let name = file.to_string_lossy().into_owned();
    let said = stand.human(&["batch", "report", "B1", "--format", "csv", "--to", &name]).await.unwrap();
    assert_eq!((said.code, said.stdout.as_str()), (0, ""), "{said:?}");
    let rows = rows(&std::fs::read_to_string(&file).unwrap());
    let mut by_folder: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        assert!(
            by_folder.entry(row["Folder"].clone()).or_default().insert(row["UID"].clone()),
            "twice: {row:?}"
        );
        assert!(["mirrored", "skipped"].contains(&row["State"].as_str()), "{row:?}");
    }
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for message in mailbox() {
        *expected.entry(message.folder.join(".")).or_default() += 1;
    }
    let counted: BTreeMap<String, usize> =
        by_folder.into_iter().map(|(name, uids)| (name, uids.len())).collect();
    assert_eq!(counted, expected);
    let skipped: Vec<_> = rows.iter().filter(|row| row["State"] == "skipped").collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!(
        (skipped[0]["Reason"].as_str(), skipped[0]["Size"].as_str(), skipped[0]["Subject"].as_str()),
        ("too-large", "100001", "<script>alert(1)</script>")
    );

    // JSON: the same in one document.
    let said = stand.human(&["batch", "report", "B1", "--format", "json"]).await.unwrap().done().unwrap();
    let document: Value = said.json().unwrap();
    let folders = document["mailboxes"][0]["folders"].as_array().unwrap();
    let messages: usize = folders.iter().map(|folder| folder["messages"].as_array().unwrap().len()).sum();
    assert_eq!(messages, mailbox().len(), "{document:#}");

    // The page: no stranger's text is markup.
    let page =
        stand.human(&["batch", "report", "B1", "--format", "html"]).await.unwrap().done().unwrap().stdout;
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"), "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("Über &lt;b&gt;"),
        "{page}"
    );
    assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("http://"), "{page}");

    // Removed: what is kept has the figures and what was skipped.
    stand.cli(&["batch", "remove", "B1", "--force", "--reason", "test"]).await.unwrap().done().unwrap();
    let kept = stand.cli(&["batch", "report", "B1"]).await.unwrap().done().unwrap().json().unwrap();
    assert_eq!(kept["folders"], summary["folders"], "{kept:#}");
    assert_eq!(kept["skipped"][0]["subject"], "<script>alert(1)</script>");
    let said = stand.human(&["batch", "report", "B1", "--format", "csv"]).await.unwrap().done().unwrap();
    assert_eq!(self::rows(&said.stdout).len(), 1, "{}", said.stdout);
    let page =
        stand.human(&["batch", "report", "B1", "--format", "html"]).await.unwrap().done().unwrap().stdout;
    assert!(page.contains("The batch is removed") && page.contains("too-large"), "{page}");
    let said = stand.human(&["batch", "report", "none", "--format", "csv"]).await.unwrap();
    assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{said:?}");
}
