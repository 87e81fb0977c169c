//! The whole end of a migration, from the lowered TTL to the removed batch; everything real but the hours, which are
//! seconds.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mailferry_tests::dns::{Dns, Secondary};
use mailferry_tests::mail::{Message, Recipe, exact};
use mailferry_tests::stand::{Options, Person, Stand, dns_options};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const DOMAIN: &str = "contoso.edu";
const OLD: &str = "10 mail";
const OFFICE: &str = "0 contoso-edu.mail.protection.outlook.com.";

/// Whether the record is put back while the clock runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flip {
    No,
    Yes,
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_lowered_ttl_to_the_removed_batch() {
    rehearse(Flip::No).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_the_old_record_put_back_in_the_middle() {
    rehearse(Flip::Yes).await;
}

async fn rehearse(flip: Flip) {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Present).unwrap();
    dns.set_mx(DOMAIN, 3, &[OLD]).unwrap();
    let options = Options {
        dns: dns_options(&dns, Duration::from_secs(5), Duration::from_secs(4)),
        ..Options::default()
    };
    let mut stand = Stand::start(options).await.unwrap();
    let people: Vec<Person> =
        ["ann", "bob", "terry.adams"].map(|login| stand.add_person(login).unwrap()).into();
    for (seed, person) in (1..).zip(&people) {
        stand.source.load(&person.login, Recipe::small(seed, 12).mailbox()).unwrap();
    }
    stand.start_batch("B1", &people).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    sees(&stand, |domain| domain["verdict"] == "source").await;

    dns.set_mx(DOMAIN, 1, &[OLD]).unwrap();
    sees(&stand, |domain| domain["timeline"].to_string().contains("(TTL 1 s)")).await;

    // Changed, but a name server is behind: some mail still goes to the source, and is carried over.
    dns.set_mx_at_primary(DOMAIN, 1, &[OFFICE]).unwrap();
    let mixed = sees(&stand, |domain| domain["verdict"] == "mixed").await;
    assert_eq!(mixed["since"], Value::Null, "{mixed}");
    arrive(&stand, &people[2], "while servers disagree");
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(stragglers(&stand).await, Vec::<Value>::new());

    dns.refresh_secondary().unwrap();
    let agreed = sees(&stand, |domain| domain["verdict"] == "office365").await;
    let mut since = agreed["since"].as_str().unwrap().to_owned();
    if flip == Flip::Yes {
        dns.set_mx(DOMAIN, 1, &[OLD]).unwrap();
        let back = sees(&stand, |domain| domain["verdict"] == "source").await;
        assert_eq!((&back["since"], &back["confirmed"]), (&Value::Null, &Value::Null), "{back}");
        assert_eq!(stand.cli(&["batch", "remove", "B1"]).await.unwrap().code, 4);
        dns.set_mx(DOMAIN, 1, &[OFFICE]).unwrap();
        let again = sees(&stand, |domain| domain["verdict"] == "office365").await;
        let later = again["since"].as_str().unwrap().to_owned();
        assert!(later > since, "the clock starts anew: {later} after {since}");
        since = later;
    }
    for person in &people {
        let declare = ["mailbox", "declare-moved", &person.address, "--reason", "seen at work there"];
        stand.cli(&declare).await.unwrap().done().unwrap();
    }
    let confirmed = sees(&stand, |domain| domain["confirmed"].is_string()).await;
    assert_eq!(confirmed["since"], since.as_str(), "it held without a break");

    // Somebody's DNS cache is broken.
    stand.sync_again("B1", PATIENCE).await.unwrap();
    arrive(&stand, &people[0], "after the confirmation");
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let found = stragglers(&stand).await;
    let [straggler] = &found[..] else { panic!("{found:?}") };
    assert_eq!(straggler["address"], people[0].address.as_str());
    assert_eq!(straggler["trace"]["way"], "old-mx", "{straggler}");
    assert_eq!(straggler["trace"]["from"], "mail.fabrikam.com [203.0.113.9]", "{straggler}");
    let said = stand.human(&["stragglers"]).await.unwrap().done().unwrap();
    assert!(said.stdout.contains("wait for its DNS cache"), "{said:?}");
    assert!(!said.stdout.contains("after the confirmation"), "a subject: {said:?}");
    let log = std::fs::read_to_string(stand.log()).unwrap();
    assert!(!log.contains("after the confirmation"), "a subject in the log");

    // Killed on the way, it knows all of that afterwards.
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    let batch = stand.reaches("B1", PATIENCE, |batch| batch["gate"]["open"] == true).await.unwrap();
    assert!(batch["gate"]["conditions"].as_array().unwrap().iter().all(|one| one["met"] == true), "{batch}");
    assert_eq!(sees(&stand, |domain| domain["confirmed"].is_string()).await["since"], since.as_str());
    stand.cli(&["batch", "remove", "B1"]).await.unwrap().done().unwrap();

    let again = stand.human(&["batch", "remove", "B1"]).await.unwrap();
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("it was removed at"), "{again:?}");
    let report = stand.cli(&["batch", "report", "B1"]).await.unwrap().done().unwrap().json().unwrap();
    assert_eq!(report["mailboxes"].as_array().unwrap().len(), 3);
    assert_eq!((&report["gate"]["open"], &report["forced"]), (&Value::Bool(true), &Value::Null));
    for person in &people {
        let account = stand.account(person).await.unwrap();
        assert!(account.agrees(), "stragglers were carried over, removal touches no mail: {account}");
    }
}

/// Delivers a message from outside to a person's old mailbox, by the old MX.
fn arrive(stand: &Stand, person: &Person, subject: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let plain = exact(&["INBOX"], 2_000, subject, i64::try_from(now).unwrap());
    let mut content = b"Received: from mail.fabrikam.com (mail.fabrikam.com [203.0.113.9])\r\n\
        \tby mail.contoso.edu (Postfix) with ESMTPS id 4F2A;\r\n\tFri, 31 Dec 2077 10:00:00 +0000\r\n"
        .to_vec();
    content.extend(&plain.content);
    stand.source.load(&person.login, std::iter::once(Message { content, ..plain })).unwrap();
}

async fn stragglers(stand: &Stand) -> Vec<Value> {
    let said = stand.cli(&["stragglers"]).await.unwrap().done().unwrap();
    said.json().unwrap().as_array().unwrap().clone()
}

/// Waits until `dns status` shows this of the domain.
async fn sees(stand: &Stand, what: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let said = stand.cli(&["dns", "status"]).await.unwrap().done().unwrap();
        let domains = said.json().unwrap();
        let domain = &domains[0];
        if what(domain) {
            return domain.clone();
        }
        assert!(began.elapsed() < PATIENCE, "never seen: {domain}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
