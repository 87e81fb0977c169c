//! `kill -9` in the middle of `batch remove`, at many points of it: a removal that was decided is finished, one that was not
//! is as if nobody had asked; the report stays, the secrets go.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailferry_tests::mail::{Dice, Recipe};
use mailferry_tests::stand::{Options, Person, Stand, binary};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const REASON: &str = "the pilot is over";

/// `MAILFERRY_TEST_KILLS` removals, a few otherwise.
fn removals() -> u32 {
    std::env::var("MAILFERRY_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_killed_anywhere_is_finished_and_keeps_its_report() {
    let mut dice = Dice::new(7);
    let mut stand = Stand::prepare(Options::default()).await.unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.serve().await.unwrap();
    stand.add_endpoint_with(&["--learn-credentials"]).await.unwrap();
    let people: Vec<Person> = ["ann", "bob", "eve"].map(|login| stand.add_person(login).unwrap()).into();
    let mut messages = 0;
    for (seed, person) in (1..).zip(&people) {
        messages += stand.source.load(&person.login, Recipe::small(seed, 120).mailbox()).unwrap().messages;
    }

    // How long it takes when nobody disturbs it.
    stand.start_batch("B0", &people).await.unwrap();
    stand.synced_whole("B0", PATIENCE).await.unwrap();
    let began = Instant::now();
    assert_eq!(remove(&stand, "B0").wait().unwrap().code(), Some(0));
    let whole = began.elapsed();

    let (mut kills, mut cut) = (0, 0);
    for turn in 1..=removals() {
        let name = format!("B{turn}");
        stand.start_batch(&name, &people).await.unwrap();
        stand.synced_whole(&name, PATIENCE).await.unwrap();
        // The beginning is the client's own start.
        let mut moment = whole.mul_f64(0.3 + 0.8 * f64::from(turn) / f64::from(removals()));
        loop {
            let mut asked = remove(&stand, &name);
            tokio::time::sleep(moment).await;
            stand.kill().unwrap();
            asked.wait().unwrap();
            kills += 1;
            if dice.below(2) == 0 {
                // Once more, while it goes on with that.
                let mut serve = mailferry(&stand, &["serve"]);
                tokio::time::sleep(Duration::from_millis(20 + dice.below(150))).await;
                serve.kill().unwrap();
                serve.wait().unwrap();
                kills += 1;
            }
            stand.serve().await.unwrap();
            if is_gone(&stand, &name).await {
                break;
            }
            // Nothing was decided: all of it is there, and works.
            let batch = stand.synced_whole(&name, PATIENCE).await.unwrap();
            assert_eq!(batch["status"]["mailboxes"], 3, "{batch}");
            assert_eq!(batch["status"]["tally"]["messages_done"], messages, "{batch}");
            moment += whole / 10;
        }
        let log = std::fs::read_to_string(stand.log()).unwrap();
        cut += u32::from(log.contains(&format!("\"batch\":\"{name}\",\"state\":\"Removing\"")));

        let again = stand.human(&["batch", "remove", &name]).await.unwrap();
        assert!(again.code == 1 && again.stderr.contains("it was removed at"), "{again:?}");
        let report = stand.cli(&["batch", "report", &name]).await.unwrap().done().unwrap().json().unwrap();
        assert_eq!(report["forced"]["reason"], REASON);
        assert_eq!(report["batch"]["tally"]["messages_done"], messages, "{report}");
        let mailboxes = report["mailboxes"].as_array().unwrap();
        assert!(mailboxes.len() == 3 && mailboxes.iter().all(|one| one["credential"]["from"] == "csv"));
        assert!(!report.to_string().contains(&people[0].password));
    }
    println!("{kills} kills in {} removals of {whole:?}; {cut} were found half done", removals());
    assert!(cut > 0, "no kill hit a removal");

    // Nobody knows a password of these people any more.
    let mut file = "EmailAddress,UserName,Password\r\n".to_owned();
    people.iter().for_each(|person| file.push_str(&format!("{},{},\r\n", person.address, person.login)));
    let csv = stand.path().join("without.csv");
    std::fs::write(&csv, file).unwrap();
    let add = ["batch", "add", "C", "--endpoint", "IMAPEndpoint", "--csv", &csv.display().to_string()];
    stand.cli(&add).await.unwrap().done().unwrap();
    for mailbox in stand.batch("C").await.unwrap()["mailboxes"].as_array().unwrap() {
        assert_eq!(mailbox["credential"]["from"], "none", "{mailbox}");
        assert_eq!(mailbox["tally"]["messages_total"], 0, "{mailbox}");
    }
    for person in &people {
        let account = stand.account(person).await.unwrap();
        assert!(account.agrees(), "removal touches no mail: {account}");
    }
}

/// Whether the batch is gone; one that is going is waited for.
async fn is_gone(stand: &Stand, name: &str) -> bool {
    let began = Instant::now();
    loop {
        let said = stand.cli(&["batch", "status"]).await.unwrap().done().unwrap();
        let batches = said.json().unwrap();
        let all: Vec<&Value> = batches.as_array().unwrap().iter().collect();
        match all.iter().find(|batch| batch["name"] == name) {
            None => return true,
            Some(batch) if batch["state"] != "Removing" => return false,
            Some(_) => {}
        }
        assert!(began.elapsed() < PATIENCE, "a removal that does not end: {all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn remove(stand: &Stand, name: &str) -> Child {
    mailferry(stand, &["batch", "remove", name, "--force", "--reason", REASON])
}

fn mailferry(stand: &Stand, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary().unwrap());
    command.arg("--config").arg(stand.config()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
