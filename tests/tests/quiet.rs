//! How soon a quiet system shows on the target what a client did. Each step is waited for and its time printed
//! (`--nocapture`); none is asserted.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use mailferry_tests::mail::exact;
use mailferry_tests::stand::{Options, Stand};
use mailferry_tests::talk::Talk;

const PATIENCE: Duration = Duration::from_secs(60);

fn letter(subject: &str) -> String {
    format!(
        "Subject: {subject}\r\nMessage-ID: <{subject}@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\nx\r\n"
    )
}

/// Waits until a folder of the target is as wanted.
async fn shows(
    target: &mut Talk,
    what: &str,
    since: Instant,
    folder: &str,
    wanted: impl Fn(&[(String, String, u32)]) -> bool,
) {
    loop {
        let found = target.list(folder).await.unwrap();
        if wanted(&found) {
            println!("{what}: {} ms", since.elapsed().as_millis());
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: {folder} holds {} messages", found.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_shows_on_the_target() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let mail =
        (0..500).map(|n| exact(&["INBOX"], 2_000 + n, &format!("number {n}"), 1_600_000_000 + n as i64));
    stand.source.load(&terry.login, mail).unwrap();
    let mut client = stand.talk_directly(&terry).await.unwrap();
    for n in 0..30 {
        client.say(&format!("CREATE Folder{n}")).await.unwrap();
        client.append(&format!("Folder{n}"), "", &letter("first")).await.unwrap();
    }
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();

    let mut client = stand.talk(&terry).await.unwrap();
    let mut target = stand.look(&terry).await.unwrap();
    for round in ["first", "again"] {
        if round == "again" {
            stand.target.relay.cut_all(); // As after a pause: the mirror has to log in.
        }
        let since = Instant::now();
        client.append("Sent", "\\Seen", &letter(round)).await.unwrap();
        shows(&mut target, &format!("{round}: APPEND to Sent"), since, "Sent Items", |all| {
            all.iter().any(|one| one.0 == round)
        })
        .await;

        client.say("SELECT INBOX").await.unwrap();
        let flag = if round == "first" { "\\Flagged" } else { "\\Answered" };
        let since = Instant::now();
        client.say(&format!("STORE 20 +FLAGS ({flag})")).await.unwrap();
        shows(&mut target, &format!("{round}: flag"), since, "INBOX", |all| {
            all.iter().any(|one| one.1.contains(flag))
        })
        .await;

        let before = target.list("Folder1").await.unwrap().len();
        let since = Instant::now();
        client.say("MOVE 30:32 Folder1").await.unwrap();
        shows(&mut target, &format!("{round}: MOVE of 3"), since, "Folder1", |all| all.len() == before + 3)
            .await;

        let gone = if round == "first" { ["number 4", "number 5"] } else { ["number 6", "number 7"] };
        let since = Instant::now();
        client.say("STORE 5:6 +FLAGS.SILENT (\\Deleted)").await.unwrap();
        client.say("EXPUNGE").await.unwrap();
        shows(&mut target, &format!("{round}: deletion of 2"), since, "INBOX", |all| {
            !all.iter().any(|one| gone.contains(&one.0.as_str()))
        })
        .await;

        let name = format!("Renamed{round}");
        let since = Instant::now();
        client.say(&format!("RENAME Folder{} {name}", if round == "first" { 8 } else { 9 })).await.unwrap();
        shows(&mut target, &format!("{round}: RENAME"), since, &name, |all| all.len() == 1).await;

        let since = Instant::now();
        client.say(&format!("CREATE New{round}")).await.unwrap();
        loop {
            if target.folders().await.unwrap().contains(&format!("New{round}")) {
                break println!("{round}: CREATE: {} ms", since.elapsed().as_millis());
            }
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let since = Instant::now();
        client.append("INBOX", "", &"x".repeat(3_000_000)).await.unwrap();
        let accepted = Instant::now();
        println!("{round}: APPEND of 3 MB took {} ms at the source", (accepted - since).as_millis());
        shows(&mut target, &format!("{round}: APPEND of 3 MB"), accepted, "INBOX", |all| {
            all.last().is_some_and(|one| one.0.is_empty())
        })
        .await;
        client.say("STORE * +FLAGS.SILENT (\\Deleted)").await.unwrap();
        client.say("EXPUNGE").await.unwrap();
        shows(&mut target, &format!("{round}: its deletion"), Instant::now(), "INBOX", |all| {
            all.last().is_some_and(|one| !one.0.is_empty())
        })
        .await;
        client.say("UNSELECT").await.unwrap();
    }
    stand.same(&terry, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_blind_tap_did_not_see_is_found_while_its_session_goes_on() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand
        .source
        .load(&terry.login, std::iter::once(exact(&["INBOX"], 2_000, "first", 1_600_000_000)))
        .unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let mut client = stand.talk(&terry).await.unwrap();
    client.say("SELECT INBOX").await.unwrap();
    // A source might take it for a command.
    client.send("\tNOOP").await.unwrap();
    let blind = |listed: &serde_json::Value| listed.to_string().contains("unframable");
    let since = Instant::now();
    while !blind(&stand.cli(&["sessions", "list"]).await.unwrap().json().unwrap()) {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stand.same(&terry, PATIENCE).await.unwrap();
    client.say("STORE 1 +FLAGS (\\Flagged)").await.unwrap();
    client.append("Drafts", "", &letter("unseen")).await.unwrap();
    let since = Instant::now();
    stand.same(&terry, 3 * PATIENCE).await.unwrap();
    println!("unseen, and on the target after {} s", since.elapsed().as_secs());
}
