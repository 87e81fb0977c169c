//! Stragglers where they are easily overlooked: each would let the gate open though mail still comes to the source.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mailferry_tests::dns::{Dns, Secondary};
use mailferry_tests::mail::{Message, exact};
use mailferry_tests::stand::{Options, Stand, dns_options};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn below_a_user_root_inbox_goes_by_another_name() {
    let dns = office();
    let mut stand = stand(&dns).await;
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, (1..4).map(|number| message(&["Mine"], number))).unwrap();
    let csv = stand.path().join("rooted.csv");
    let row = format!("{},{},\"{}\",/Mine\r\n", terry.address, terry.login, terry.password);
    std::fs::write(&csv, format!("EmailAddress,UserName,Password,UserRoot\r\n{row}")).unwrap();
    let csv = csv.display().to_string();
    let add = ["batch", "add", "B1", "--endpoint", "IMAPEndpoint", "--csv", &csv, "--auto-start"];
    stand.cli(&add).await.unwrap().done().unwrap();
    confirmed(&mut stand).await;

    stand.source.load(&terry.login, std::iter::once(message(&["Mine"], 4))).unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let found = stragglers(&stand).await;
    assert!(found.len() == 1 && found[0]["address"] == terry.address.as_str(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_was_built_anew_does_not_hide_what_came_meanwhile() {
    let dns = office();
    let mut stand = stand(&dns).await;
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, (1..9).map(|number| message(&["INBOX"], number))).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    confirmed(&mut stand).await;

    let home = stand.source.dovecot().unwrap().instance().home(&terry.login);
    for file in std::fs::read_dir(home.join("Maildir")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("dovecot") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let late = arriving();
    stand.source.load(&terry.login, std::iter::once(late)).unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let log = std::fs::read_to_string(stand.log()).unwrap();
    assert!(log.contains("UIDVALIDITY changed at the source"), "{log}");
    let found = stragglers(&stand).await;
    assert_eq!(found.len(), 1, "{found:?}");
}

/// The MX was changed long ago.
fn office() -> Dns {
    let mut dns = Dns::start(&["contoso.edu"], Secondary::Absent).unwrap();
    dns.set_mx("contoso.edu", 1, &["0 contoso-edu.mail.protection.outlook.com."]).unwrap();
    dns
}

async fn stand(dns: &Dns) -> Stand {
    let dns = dns_options(dns, Duration::from_secs(2), Duration::from_secs(3600));
    Stand::start(Options { dns, ..Options::default() }).await.unwrap()
}

fn message(folder: &[&str], number: i64) -> Message {
    exact(folder, 2_000, &format!("number {number}"), 1_700_000_000 + number)
}

fn arriving() -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // INTERNALDATE has whole seconds: this one is not the confirmation's.
    exact(&["INBOX"], 2_000, "late", i64::try_from(now + 1).unwrap())
}

/// Waits until the cutover is confirmed and a pass has begun since.
async fn confirmed(stand: &mut Stand) {
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let began = Instant::now();
    loop {
        let said = stand.cli(&["dns", "status"]).await.unwrap().done().unwrap();
        let domains = said.json().unwrap();
        if domains[0]["confirmed"].is_string() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "never confirmed: {domains}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stand.sync_again("B1", PATIENCE).await.unwrap();
}

async fn stragglers(stand: &Stand) -> Vec<Value> {
    let said = stand.cli(&["stragglers"]).await.unwrap().done().unwrap();
    said.json().unwrap().as_array().unwrap().clone()
}
