//! Passwords that the proxy learns from clients' logins: used, kept sealed, replaced, forgotten.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use mailferry_tests::mail::Recipe;
use mailferry_tests::source::{MASTER, MASTER_PASSWORD};
use mailferry_tests::stand::{ENDPOINT, Options, Person, Stand};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);
const FORMS: [&str; 6] = ["quoted", "literals", "literals-plus", "plain", "plain-at-once", "sasl-login"];

/// A stand whose endpoint learns, and people with a few messages each.
async fn learning(logins: &[&str], separator: char) -> (Stand, Vec<Person>) {
    let source_lines = format!("auth_master_user_separator = {separator}\n");
    let mut stand = Stand::prepare(Options { source_lines, ..Options::default() }).await.unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.serve().await.unwrap();
    stand
        .add_endpoint_with(&["--learn-credentials", "--admin-separator", &separator.to_string()])
        .await
        .unwrap();
    let people: Vec<Person> = logins.iter().map(|login| stand.add_person(login).unwrap()).collect();
    for (seed, person) in (1..).zip(&people) {
        stand.source.load(&person.login, Recipe::small(seed, 8).mailbox()).unwrap();
    }
    (stand, people)
}

async fn add(stand: &Stand, rows: &str) {
    let file = stand.path().join("learn.csv");
    std::fs::write(&file, format!("EmailAddress,UserName,Password,ClientLogin\n{rows}")).unwrap();
    let file = file.to_string_lossy();
    let arguments = ["batch", "add", "B1", "--endpoint", ENDPOINT, "--csv", &file, "--auto-start"];
    stand.cli(&arguments).await.unwrap().done().unwrap();
}

async fn mailbox(stand: &Stand, person: &Person) -> Value {
    stand.cli(&["mailbox", "show", &person.address]).await.unwrap().done().unwrap().json().unwrap()["status"]
        .clone()
}

/// Waits until the mailbox is in this state.
async fn becomes(stand: &mut Stand, person: &Person, state: &str) -> Value {
    let is = |batch: &Value| {
        let mailboxes = batch["mailboxes"].as_array().into_iter().flatten();
        mailboxes
            .filter(|one| one["address"] == json!(person.address))
            .any(|one| one["state"] == json!(state) && one["tally"]["pending"] == json!(0))
    };
    stand.reaches("B1", PATIENCE, is).await.unwrap();
    mailbox(stand, person).await
}

/// Whether any file below `dir` has these bytes in it.
fn is_written(dir: &Path, secret: &str) -> Option<String> {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = is_written(&path, secret) {
                return Some(found);
            }
        } else if std::fs::read(&path)
            .unwrap_or_default()
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
        {
            return Some(path.display().to_string());
        }
    }
    None
}

/// How many logins the source refused.
fn refused(stand: &Stand) -> usize {
    stand.source.dovecot().unwrap().instance().log().matches("auth failed").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_learnt_from_every_form_of_login_and_carries_the_passes() {
    let names = ["ann", "bob.b", "carl", "dora", "eve", "frank"];
    let (mut stand, people) = learning(&names, '*').await;
    // Half of them by ClientLogin alone.
    let rows: String = (0..)
        .zip(&people)
        .map(|(number, Person { address, login, .. })| match number % 2 {
            0 => format!("{address},{login},,\n"),
            _ => format!("{address},,,{login}\n"),
        })
        .collect();
    add(&stand, &rows).await;
    for person in &people {
        let waits = becomes(&mut stand, person, "WaitingForLogin").await;
        assert_eq!(waits["credential"]["from"], json!("none"), "{waits}");
        let words = "waiting for the user's next login through the proxy: no password is known yet";
        assert_eq!(waits["detail"], json!(words), "{waits}");
    }
    let batch = stand.batch("B1").await.unwrap();
    assert_eq!(batch["status"]["state"], json!("Syncing"), "{batch}");
    assert_eq!(batch["status"]["states"]["waiting_for_login"], json!(6), "{batch}");
    let plan = stand.human(&["batch", "plan", "B1"]).await.unwrap();
    assert_eq!(plan.code, 5, "{plan:?}");
    assert!(plan.stdout.contains("waiting for the user's next login"), "{plan:?}");

    // A login that the source refuses teaches nothing.
    let mut wrong = stand.client(&people[0]);
    wrong.password = "wrong".into();
    assert!(wrong.log_in("quoted").await.unwrap().starts_with("a NO"));
    assert_eq!(mailbox(&stand, &people[0]).await["state"], json!("WaitingForLogin"));

    for (person, form) in people.iter().zip(FORMS) {
        let answer = stand.client(person).log_in(form).await.unwrap();
        assert!(answer.starts_with("a OK"), "{form}: {answer}");
        let synced = becomes(&mut stand, person, "Synced").await;
        let credential = &synced["credential"];
        assert_eq!((&credential["from"], &credential["login"]), (&json!("learned"), &json!(person.login)));
        assert!(stand.account(person).await.unwrap().agrees(), "{form}");
    }
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let show = stand.human(&["mailbox", "show", &people[0].address]).await.unwrap();
    assert!(show.stdout.contains("from a login as ann"), "{show:?}");

    // Sealed at rest, in no log and in no answer; there after a crash.
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    for person in &people {
        assert_eq!(is_written(&stand.path().join("state"), &person.password), None);
        let log = std::fs::read_to_string(stand.log()).unwrap();
        assert!(!log.contains(&person.password));
        assert!(!mailbox(&stand, person).await.to_string().contains(&person.password));
    }

    // Turned off, it is forgotten; that is said, and the proxy goes on.
    stand.add_endpoint_with(&[]).await.unwrap();
    let forgotten = mailbox(&stand, &people[0]).await;
    assert_eq!(
        forgotten["credential"],
        json!({"from": "none", "learned": null, "login": null, "refused": null})
    );
    assert!(stand.client(&people[0]).log_in("plain").await.unwrap().starts_with("a OK"));
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    stand.proxy_open().await.unwrap();
    let failed = becomes(&mut stand, &people[0], "Failed").await;
    assert!(failed["detail"].as_str().unwrap().starts_with("no password for the source"), "{failed}");
    assert!(stand.client(&people[0]).log_in("plain").await.unwrap().starts_with("a OK"));
    assert_eq!(mailbox(&stand, &people[0]).await["credential"]["from"], json!("none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_is_not_tried_again_and_the_next_login_brings_the_new_one() {
    let (mut stand, people) = learning(&["ann"], '*').await;
    let mut ann = people[0].clone();
    add(&stand, &format!("{},{},,\n", ann.address, ann.login)).await;
    assert!(stand.client(&ann).log_in("quoted").await.unwrap().starts_with("a OK"));
    becomes(&mut stand, &ann, "Synced").await;

    stand.source.dovecot().unwrap().set_password(&ann.login, "a new, other one").unwrap();
    // Dovecot looks at its file once a second.
    let direct = stand.client_at(&ann, stand.source.imaps().port(), json!({}));
    while direct.log_in("plain").await.unwrap().starts_with("a OK") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stand.stop().unwrap();
    let before = refused(&stand);
    stand.serve().await.unwrap();
    stand.proxy_open().await.unwrap();
    let waits = becomes(&mut stand, &ann, "WaitingForLogin").await;
    assert!(waits["credential"]["refused"].is_string(), "{waits}");
    assert!(waits["detail"].as_str().unwrap().contains("no longer takes the password"), "{waits}");
    for _ in 0..3 {
        stand.cli(&["mailbox", "retry", &ann.address]).await.unwrap().done().unwrap();
        becomes(&mut stand, &ann, "WaitingForLogin").await;
    }
    assert_eq!(
        refused(&stand) - before,
        1,
        "accounts get locked: {}",
        stand.source.dovecot().unwrap().instance().log()
    );

    ann.password = "a new, other one".into();
    assert!(stand.client(&ann).log_in("sasl-login").await.unwrap().starts_with("a OK"));
    let synced = becomes(&mut stand, &ann, "Synced").await;
    assert_eq!(synced["credential"]["refused"], Value::Null, "{synced}");
    assert!(stand.account(&ann).await.unwrap().agrees());

    // What was sealed with a key that is no more: said, not hidden; the proxy relays, and learns anew.
    stand.stop().unwrap();
    std::fs::remove_file(stand.path().join("key")).unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.serve().await.unwrap();
    stand.proxy_open().await.unwrap();
    let failed = becomes(&mut stand, &ann, "Failed").await;
    assert!(failed["detail"].as_str().unwrap().contains("sealed with another key"), "{failed}");
    assert!(stand.client(&ann).log_in("plain").await.unwrap().starts_with("a OK"));
    becomes(&mut stand, &ann, "Synced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learnt_stands_in_for_an_outdated_file_and_an_administrators_login_stays() {
    let (mut stand, people) = learning(&["ann", "bob"], '%').await;
    let [ann, bob] = people.as_slice() else { panic!() };
    let rows = format!(
        "{},{},outdated,\n{},{}%{MASTER},\"{MASTER_PASSWORD}\",\n",
        ann.address, ann.login, bob.address, bob.login
    );
    add(&stand, &rows).await;
    let failed = becomes(&mut stand, ann, "Failed").await;
    assert!(failed["detail"].as_str().unwrap().contains("login refused"), "{failed}");
    becomes(&mut stand, bob, "Synced").await;
    for person in [ann, bob] {
        assert!(stand.client(person).log_in("literals").await.unwrap().starts_with("a OK"));
    }
    let synced = becomes(&mut stand, ann, "Synced").await;
    assert_eq!(synced["credential"]["from"], json!("learned"), "{synced}");

    // Bob's own login is known as his, and what he does is mirrored; the passes keep to the administrator's.
    stand.client(bob).append("INBOX", "bob", 1, 2_000).await.unwrap();
    let account = stand.agreement(bob, PATIENCE).await.unwrap();
    assert!(account.agrees() && account.source_messages == 9, "{account}");
    stand.stop().unwrap();
    let before = refused(&stand);
    stand.serve().await.unwrap();
    stand.proxy_open().await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(mailbox(&stand, bob).await["credential"]["from"], json!("csv"));
    assert_eq!(refused(&stand), before, "the outdated one is not tried again");

    // The file with the right password counts again.
    let rows = rows.replace("outdated", &format!("\"{}\"", ann.password));
    add(&stand, &rows).await;
    assert_eq!(mailbox(&stand, ann).await["credential"]["from"], json!("csv"));
    let forced = ["batch", "remove", "B1", "--force", "--reason", "pilot"];
    stand.cli(&forced).await.unwrap().done().unwrap();
    assert_eq!(is_written(&stand.path().join("state"), &ann.password), None);
}
