//! Bad input of every kind: one clear error with its place, the right exit code, nothing half done.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::place::free_port;
use mailferry_tests::stand::{ENDPOINT, Options, Said, Stand};

/// Exit code, and words that standard error must have; secrets it must not.
fn refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?} in {said:?}");
    }
    assert!(!said.stderr.contains("panicked"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_file_with_mistakes_is_refused_as_a_whole() {
    let stand = Stand::start(Options::default()).await.unwrap();
    let file = stand.path().join("bad.csv");
    let add = async |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        let path = file.to_string_lossy().into_owned();
        stand.human(&["batch", "add", "Bad", "--endpoint", ENDPOINT, "--csv", &path]).await.unwrap()
    };
    let good = "EmailAddress,UserName,Password\nterrya@contoso.edu,terry.adams,1091990\n";

    refused(&add(b"Email,User,Pass\na@b.c,a,secret-1\n").await, 1, &["bad.csv", "EmailAddress"]);
    refused(&add(b"EmailAddress,UserName\na@b.c,a\n").await, 1, &["bad.csv", "Password"]);
    let many = format!("{good}terrya@contoso.edu,other,x\nannb@contoso.edu\nno-address,u,secret-2\n");
    let said = add(many.as_bytes()).await;
    refused(&said, 1, &["bad.csv", "terrya@contoso.edu", "3", "4", "5"]);
    assert!(!said.stderr.contains("secret-2") && !said.stderr.contains("1091990"), "{said:?}");
    refused(&add(b"EmailAddress,UserName,Password\na@b.c,\xff\xfe,x\n").await, 1, &["bad.csv", "UTF-8", "2"]);
    refused(&add(b"").await, 1, &["bad.csv"]);
    let mut rows = "EmailAddress,UserName,Password\n".to_owned();
    for number in 0..50_001 {
        rows.push_str(&format!("u{number}@contoso.edu,u{number},p\n"));
    }
    refused(&add(rows.as_bytes()).await, 1, &["50000"]);
    let missing =
        stand.human(&["batch", "add", "Bad", "--endpoint", ENDPOINT, "--csv", "/nowhere.csv"]).await.unwrap();
    refused(&missing, 1, &["/nowhere.csv"]);
    std::fs::write(&file, good).unwrap();
    let path = file.to_string_lossy().into_owned();
    let elsewhere =
        stand.human(&["batch", "add", "Bad", "--endpoint", "Nowhere", "--csv", &path]).await.unwrap();
    refused(&elsewhere, 1, &["Nowhere"]);

    // Nothing half done: no batch, no mailbox.
    let batches = stand.cli(&["batch", "status"]).await.unwrap().done().unwrap();
    assert!(!batches.stdout.contains("Bad"), "{batches:?}");
    let mailboxes = stand.cli(&["mailbox", "list"]).await.unwrap().done().unwrap();
    assert!(!mailboxes.stdout.contains("contoso"), "{mailboxes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_names_their_place() {
    let stand = Stand::prepare(Options::default()).await.unwrap();
    stand.human(&["init"]).await.unwrap().done().unwrap();
    stand.human(&["serve", "--check"]).await.unwrap().done().unwrap();

    stand.write_config("stat_dir = \"/tmp\"").unwrap();
    for command in [&["serve"][..], &["serve", "--check"], &["status"]] {
        refused(&stand.human(command).await.unwrap(), 1, &["mailferry.toml:3", "stat_dir"]);
    }
    stand.write_config("").unwrap();
    let text = std::fs::read_to_string(stand.config()).unwrap();
    std::fs::write(stand.config(), text.replace("client_secret_file", "client_secret")).unwrap();
    refused(&stand.human(&["serve", "--check"]).await.unwrap(), 1, &["client_secret"]);
    std::fs::write(stand.config(), text.replace("client-secret", "no-such-file")).unwrap();
    refused(&stand.human(&["serve", "--check"]).await.unwrap(), 1, &["no-such-file"]);
    let nowhere = stand.human(&["--config", "/nowhere.toml", "serve"]).await.unwrap();
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_used_is_named_with_the_reason() {
    let stand = Stand::start(Options::default()).await.unwrap();
    let port = stand.source_relay.address().port().to_string();
    let ca = stand.authority.ca_file.to_string_lossy().into_owned();
    let test = async |port: &str, more: &[&str]| {
        let mut arguments = vec!["endpoint", "test", "--server", "localhost", "--port", port, "--security"];
        arguments.extend_from_slice(more);
        stand.human(&arguments).await.unwrap()
    };
    let good = test(&port, &["ssl", "--ca-file", &ca]).await.done().unwrap();
    assert!(good.stdout.contains("Dovecot"), "{good:?}");
    let plain = stand.source.imap().port().to_string();
    test(&plain, &["tls", "--ca-file", &ca]).await.done().unwrap();

    refused(&test(&port, &["ssl"]).await, 2, &["certificate"]);
    let closed = free_port().unwrap().to_string();
    refused(&test(&closed, &["ssl", "--ca-file", &ca]).await, 2, &[&closed, "refused"]);
    // TLS spoken to a port that speaks plain text.
    assert_eq!(test(&plain, &["ssl", "--ca-file", &ca]).await.code, 2);
    assert_eq!(test(&port, &["maybe"]).await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_source_password_fails_that_mailbox_only() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let good = stand.add_person("terry.adams").unwrap();
    let mut wrong = stand.add_person("ann.beebe").unwrap();
    wrong.password = "not her password".to_owned();
    stand.start_batch("B1", &[good.clone(), wrong.clone()]).await.unwrap();
    let batch = stand
        .reaches("B1", Duration::from_secs(60), |batch| {
            let states = &batch["status"]["states"];
            states["failed"] == 1 && states["synced"] == 1
        })
        .await
        .unwrap();
    let failed =
        batch["mailboxes"].as_array().unwrap().iter().find(|one| one["address"] == wrong.address).unwrap();
    let detail = failed["detail"].as_str().unwrap();
    assert!(detail.to_lowercase().contains("source"), "{detail}");
    assert!(!detail.contains(&wrong.password), "{detail}");

    let said = stand.human(&["batch", "start", "B1", "--wait"]).await.unwrap();
    assert!([2, 5].contains(&said.code), "{said:?}");
    let log = std::fs::read_to_string(stand.log()).unwrap();
    assert!(!log.contains(&wrong.password) && !log.contains(&good.password), "no password in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_serve_on_one_state_folder_is_refused_and_the_first_goes_on() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let said = stand.human(&["serve"]).await.unwrap();
    refused(&said, 7, &["state"]);
    stand.alive().unwrap();
    stand.cli(&["status"]).await.unwrap().done().unwrap();
    assert_eq!(stand.stop().unwrap(), Some(0), "SIGTERM is a clean end");
    let gone = stand.human(&["status"]).await.unwrap();
    assert_ne!(gone.code, 0, "{gone:?}");
    assert!(gone.stderr.contains("serve"), "says that the daemon does not run: {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_and_mistyped_commands_are_usage_errors() {
    let stand = Stand::start(Options::default()).await.unwrap();
    for arguments in [
        &["batch", "start", "Nothing"][..],
        &["batch", "stop", "Nothing"],
        &["batch", "status", "Nothing"],
        &["batch", "remove", "Nothing"],
        &["mailbox", "show", "nobody@contoso.edu"],
        &["endpoint", "show", "Nothing"],
        &["batch", "explode"],
        &["batch", "remove", "Nothing", "--force"],
    ] {
        assert_eq!(stand.human(arguments).await.unwrap().code, 1, "{arguments:?}");
    }
}
