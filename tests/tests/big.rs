//! A large folder costs what a small one does: memory, and the commands of a pass over what did not change. The large form
//! of this is `make bench-big`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use mailferry_tests::courier;
use mailferry_tests::mail::{Flags, Message};
use mailferry_tests::source::Kind;
use mailferry_tests::stand::{Options, Person, Stand};

const PATIENCE: Duration = Duration::from_secs(300);

/// Of these the large mailbox has four times as many. More than are read at once: see `PAGE` of `sync/src/scan.rs`.
const FEW: u64 = 2_500;

fn small(count: u64) -> impl Iterator<Item = Message> {
    (0..count).map(|number| Message {
        folder: vec![if number % 5 == 4 { "Work".to_owned() } else { "INBOX".to_owned() }],
        content: format!(
            "From: ann@contoso.edu\r\nSubject: number {number}\r\nMessage-ID: <{number}@contoso.edu>\r\n\r\n{}",
            "A line like many others.\r\n".repeat(20)
        )
        .into_bytes(),
        date: 1_500_000_000 + 60 * i64::try_from(number).unwrap(),
        flags: Flags { seen: number % 3 != 0, ..Flags::default() },
        keywords: Vec::new(),
    })
}

struct Cost {
    /// Bytes, by the daemon's highest so far.
    memory: u64,
    /// Commands at the source in a pass that finds nothing.
    unchanged: u64,
}

async fn cost(stand: &mut Stand, kind: Kind, login: &str, messages: u64) -> (Person, Cost) {
    let person = stand.add_person(login).unwrap();
    stand.source.load(login, small(messages)).unwrap();
    // Dovecot looks at its file of users once a second at most.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // What no client ever opened has another UIDVALIDITY at Courier whenever it is looked at.
    let mut client = stand.talk_directly(&person).await.unwrap();
    for folder in ["INBOX", if kind == Kind::Courier { "INBOX.Work" } else { "Work" }] {
        client.say(&format!("SELECT {folder}")).await.unwrap();
    }
    drop(client);
    stand.start_batch(login, std::slice::from_ref(&person)).await.unwrap();
    let batch = stand.synced_whole(login, PATIENCE).await.unwrap();
    assert_eq!(batch["status"]["tally"]["messages_done"], messages, "{batch:#}");
    stand.source_relay.forget_counts();
    stand.sync_again(login, PATIENCE).await.unwrap();
    let counts = stand.source_relay.counts();
    assert_eq!(counts.bodies_served(), 0);
    let unchanged = counts.commands.values().sum();
    (person, Cost { memory: stand.peak_memory(), unchanged })
}

async fn compared(kind: Kind) {
    let mut stand = Stand::start(Options { source: kind, ..Options::default() }).await.unwrap();
    let (_, few) = cost(&mut stand, kind, "few", FEW).await;
    let (many, all) = cost(&mut stand, kind, "many", 4 * FEW).await;
    println!("{kind:?}: {} and {} MB", few.memory / 1_000_000, all.memory / 1_000_000);
    println!("{kind:?}: {} and {} commands in an unchanged pass", few.unchanged, all.unchanged);
    assert!(all.memory - few.memory < 24_000_000, "{} and {} bytes", few.memory, all.memory);
    assert!(all.unchanged <= few.unchanged + 1, "{} and {} commands", few.unchanged, all.unchanged);
    assert!(all.unchanged <= 16, "{}", all.unchanged);

    // All flags of a folder change, and half of it goes.
    let mut client = stand.talk_directly(&many).await.unwrap();
    let folder = if kind == Kind::Courier { "INBOX.Work" } else { "Work" };
    client.say(&format!("SELECT {folder}")).await.unwrap();
    client.say("STORE 1:* +FLAGS.SILENT (\\Answered)").await.unwrap();
    client.say("STORE 1:200 +FLAGS.SILENT (\\Deleted)").await.unwrap();
    client.say("EXPUNGE").await.unwrap();
    stand.sync_again("many", PATIENCE).await.unwrap();
    let verify = stand.cli(&["batch", "verify", "many"]).await.unwrap();
    assert_eq!(verify.code, 0, "{verify:?}");
    let tally = &stand.batch("many").await.unwrap()["status"]["tally"];
    assert_eq!(
        (&tally["messages_done"], &tally["gone"]),
        (&(4 * FEW - 200).into(), &200.into()),
        "{tally:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn four_times_as_many_messages_cost_no_more_memory_and_no_more_commands() {
    compared(Kind::Dovecot).await;
}

/// Without mod-sequences all flags are compared: that is one command as well.
#[tokio::test(flavor = "multi_thread")]
async fn nor_do_they_where_every_flag_must_be_asked_for() {
    match courier::impossible() {
        Some(why) => println!("left out: {why}"),
        None => compared(Kind::Courier).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_limit_is_planned_and_the_newest_go() {
    let options = Options { sync: "max_items = 2500".to_owned(), ..Options::default() };
    let mut stand = Stand::start(options).await.unwrap();
    let person = stand.add_person("terry.adams").unwrap();
    stand.source.load(&person.login, small(3_000)).unwrap();
    let csv = stand.csv("B1", std::slice::from_ref(&person)).unwrap();
    let csv = csv.to_string_lossy().into_owned();
    let add = ["batch", "add", "B1", "--endpoint", "IMAPEndpoint", "--csv", &csv];
    stand.cli(&add).await.unwrap().done().unwrap();
    let plan = stand.cli(&["batch", "plan", "B1"]).await.unwrap().done().unwrap().json().unwrap();
    let planned = &plan["mailboxes"][0];
    let figures = (&planned["to_copy"], &planned["over_item_limit"], &planned["messages"]);
    assert_eq!(figures, (&2_500.into(), &500.into(), &3_000.into()), "{planned:#}");
    assert_eq!(planned["skipped"].as_array().unwrap().len(), 500);
    assert!(planned["skipped"].as_array().unwrap().iter().all(|one| one["reason"] == "item-limit"));
    assert_eq!(stand.target.relay.counts().of("APPEND"), 0);
    stand.cli(&["batch", "start", "B1"]).await.unwrap().done().unwrap();
    let batch = stand.synced("B1", PATIENCE).await.unwrap();
    let tally = &batch["status"]["tally"];
    assert_eq!((&tally["messages_done"], &tally["skipped"]), (&2_500.into(), &500.into()), "{batch:#}");
    let account = stand.account(&person).await.unwrap();
    assert_eq!(
        (account.target_messages, account.extra.len(), account.changed.len()),
        (2_500, 0, 0),
        "{account}"
    );
    let newest_left = account.missing.iter().map(|one| one["date"].as_i64().unwrap()).max().unwrap();
    assert_eq!(newest_left, 1_500_000_000 + 60 * 499, "{account}");
    let shown = stand.cli(&["mailbox", "show", &person.address, "--skipped"]).await.unwrap().json().unwrap();
    let skipped = shown["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 500);
    assert!(skipped.iter().all(|one| one["subject"].as_str().unwrap().starts_with("number ")), "{shown:#}");
}
