//! One administrator's password for everybody's mailbox: each server has its own way.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use mailferry_tests::courier;
use mailferry_tests::mail::Recipe;
use mailferry_tests::source::{Kind, MASTER, MASTER_PASSWORD};
use mailferry_tests::stand::{ENDPOINT, Options, Person, Stand};

const PATIENCE: Duration = Duration::from_secs(120);

/// Two people with mail, copied by the administrator with rows of this form.
async fn copied(kind: Kind, endpoint: &[&str], header: &str, row: impl Fn(&Person) -> String) {
    let mut stand = Stand::prepare(Options { source: kind, ..Options::default() }).await.unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.serve().await.unwrap();
    stand.add_endpoint_with(endpoint).await.unwrap();
    let people = [stand.add_person("terry").unwrap(), stand.add_person("ann").unwrap()];
    let mut text = format!("{header}\r\n");
    for (seed, person) in people.iter().enumerate() {
        let recipe = Recipe { largest: 50_000, ..Recipe::small(seed as u64, 60) };
        match kind {
            Kind::Dovecot => drop(stand.source.load(&person.login, recipe.mailbox()).unwrap()),
            Kind::Cyrus | Kind::Courier => drop(stand.post(person, recipe.mailbox()).await.unwrap()),
        }
        text.push_str(&row(person));
        text.push_str("\r\n");
    }
    let csv = stand.path().join("B1.csv");
    std::fs::write(&csv, text).unwrap();
    let csv = csv.to_string_lossy().into_owned();
    let add = ["batch", "add", "B1", "--endpoint", ENDPOINT, "--csv", &csv, "--auto-start"];
    stand.cli(&add).await.unwrap().done().unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    for person in &people {
        let names = match kind {
            Kind::Dovecot => BTreeMap::new(),
            Kind::Cyrus | Kind::Courier => stand.names_below_inbox(person).await.unwrap(),
        };
        let account = stand.account_with(person, &names).await.unwrap();
        assert!(account.agrees(), "{kind:?} {}: {account}", person.login);
        assert!(account.source_messages > 40 && account.folders.len() > 3, "{kind:?}: {account}");
    }
    // Changes as well.
    let mut client = stand.talk_directly(&people[0]).await.unwrap();
    client
        .ask_with("APPEND INBOX", b"Subject: later\r\nMessage-ID: <later@contoso.edu>\r\n\r\nx\r\n")
        .await
        .unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let mut target = stand.look(&people[0]).await.unwrap();
    assert!(target.list("INBOX").await.unwrap().iter().any(|(subject, ..)| subject == "later"));
    // What the administrator is subscribed to says nothing: all of the user's folders are.
    let subscribed = target.say("LSUB \"\" *").await.unwrap();
    let all = subscribed.iter().any(|line| line.contains("Projekte/2024"));
    assert_eq!(all, kind == Kind::Courier, "{subscribed:?}");
    let verify = stand.cli(&["batch", "verify", "B1"]).await.unwrap();
    assert_eq!(verify.code, 0, "{kind:?}: {verify:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecots_master_user() {
    let row = |person: &Person| format!("{},{}*{MASTER},\"{MASTER_PASSWORD}\"", person.address, person.login);
    copied(Kind::Dovecot, &[], "EmailAddress,UserName,Password", row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_of_cyrus() {
    let row = |person: &Person| format!("{},{}*{MASTER},\"{MASTER_PASSWORD}\"", person.address, person.login);
    copied(Kind::Cyrus, &["--admin-login", "authzid"], "EmailAddress,UserName,Password", row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_shared_folders() {
    if let Some(why) = courier::impossible() {
        println!("left out: {why}");
        return;
    }
    let row = |person: &Person| {
        format!("{},{MASTER},\"{MASTER_PASSWORD}\",/#shared/{}", person.address, person.login)
    };
    copied(Kind::Courier, &[], "EmailAddress,UserName,Password,UserRoot", row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_where_nothing_is_is_an_error_and_no_empty_mailbox() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let person = stand.add_person("terry.adams").unwrap();
    stand.source.load(&person.login, Recipe::small(1, 10).mailbox()).unwrap();
    let csv = stand.path().join("B1.csv");
    let row = format!("{},{},\"{}\",/users/terry", person.address, person.login, person.password);
    std::fs::write(&csv, format!("EmailAddress,UserName,Password,UserRoot\r\n{row}\r\n")).unwrap();
    let csv = csv.to_string_lossy().into_owned();
    let add = ["batch", "add", "B1", "--endpoint", ENDPOINT, "--csv", &csv, "--auto-start"];
    stand.cli(&add).await.unwrap().done().unwrap();
    let batch = stand
        .reaches("B1", PATIENCE, |batch| {
            batch["mailboxes"].to_string().contains("lists nothing at the UserRoot")
        })
        .await
        .unwrap();
    assert_ne!(batch["status"]["state"], "Synced", "{batch:#}");
}
