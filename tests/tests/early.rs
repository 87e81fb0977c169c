//! Mail that other tenants deliver to the new mailbox before the cutover: told from what was copied, what was adopted and what
//! somebody put there.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mailferry_tests::dns::{Dns, Secondary};
use mailferry_tests::mail::{Message, Recipe, exact};
use mailferry_tests::stand::{Options, Person, Stand, dns_options};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);
const DOMAIN: &str = "contoso.edu";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_before_the_cutover_is_counted_and_nothing_else() {
    let mut dns = Dns::start(&[DOMAIN], Secondary::Absent).unwrap();
    dns.set_mx(DOMAIN, 1, &["10 mail"]).unwrap();
    let options = Options {
        dns: dns_options(&dns, Duration::from_secs(3600), Duration::from_secs(1)),
        ..Options::default()
    };
    let mut stand = Stand::start(options).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let inbox = |number: i64| exact(&["INBOX"], 2_000, &format!("number {number}"), 1_700_000_000 + number);
    stand.source.load(&terry.login, Recipe::small(3, 10).mailbox().chain((1..6).map(inbox))).unwrap();

    // Before the batch: a message that another tool copied, one that it copied and that is gone from the source since, one that
    // was delivered.
    put(&stand, &terry, &inbox(1));
    put(&stand, &terry, &inbox(100));
    put(&stand, &terry, &delivered("the first"));
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    // The domain may not have been looked at before the first pass had ended.
    sees(&stand, "source").await;
    pass(&mut stand, &terry, 6).await;
    let early = early(&stand, &terry).await;
    assert_eq!((&early["messages"], &early["others"]), (&json!(1), &json!(1)), "{early}");

    put(&stand, &terry, &delivered("the second"));
    pass(&mut stand, &terry, 7).await;
    let two = self::early(&stand, &terry).await;
    assert_eq!((&two["messages"], &two["others"], &two["first"]), (&json!(2), &json!(1), &early["first"]));

    // What is delivered from the cutover on is as it should be; what came a moment before is still counted.
    put(&stand, &terry, &delivered("the third"));
    tokio::time::sleep(Duration::from_secs(1)).await; // INTERNALDATE has whole seconds.
    dns.set_mx(DOMAIN, 1, &["0 contoso-edu.mail.protection.outlook.com."]).unwrap();
    sees(&stand, "office365").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    put(&stand, &terry, &delivered("the fourth"));
    pass(&mut stand, &terry, 8).await;
    assert_eq!(self::early(&stand, &terry).await["messages"], 3);
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    pass(&mut stand, &terry, 9).await;
    assert_eq!(self::early(&stand, &terry).await["messages"], 3);

    let said = stand.human(&["batch", "status", "B1"]).await.unwrap().done().unwrap();
    assert!(said.stdout.contains("early mail: 3 messages were delivered to 1 mailboxes"), "{said:?}");
    let said = stand.human(&["mailbox", "show", &terry.address]).await.unwrap().done().unwrap();
    assert!(said.stdout.contains("early mail   3 delivered"), "{said:?}");
    assert!(!std::fs::read_to_string(stand.log()).unwrap().contains("the first"), "a subject in the log");
}

/// As Office 365 delivers it.
fn delivered(subject: &str) -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let plain = exact(&["INBOX"], 2_000, subject, i64::try_from(now).unwrap());
    let mut content = b"Received: from AM0PR01MB1.eurprd01.prod.exchangelabs.com (2603:10a6::1)\r\n\
        \tby DB7PR01MB2.eurprd01.prod.outlook.com with HTTPS; Mon, 2 Nov 2026 10:00:00 +0000\r\n"
        .to_vec();
    content.extend(&plain.content);
    Message { content, ..plain }
}

/// Puts a message into the new mailbox, behind everybody's back.
fn put(stand: &Stand, person: &Person, message: &Message) {
    let file = stand.path().join("put.eml");
    std::fs::write(&file, &message.content).unwrap();
    let script = "import imaplib, ssl, sys\n\
        host, port, ca, user, token, date, file = sys.argv[1:]\n\
        imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))\n\
        imap.authenticate('XOAUTH2', lambda _: f'user={user}\\1auth=Bearer {token}\\1\\1'.encode())\n\
        print(imap.append('INBOX', '', float(date), open(file, 'rb').read()))\n\
        imap.logout()\n";
    let said = Command::new("python3")
        .args(["-c", script, "127.0.0.1", &stand.target.direct().port().to_string()])
        .arg(&stand.authority.ca_file)
        .args([&person.address, &stand.tokens.token().unwrap(), &message.date.to_string()])
        .arg(&file)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("'OK'"), "{said:?}");
}

/// A pass that has something to copy.
async fn pass(stand: &mut Stand, person: &Person, number: i64) {
    let message = exact(&["INBOX"], 2_000, &format!("number {number}"), 1_700_000_000 + number);
    stand.source.load(&person.login, std::iter::once(message)).unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
}

async fn early(stand: &Stand, person: &Person) -> Value {
    let said = stand.cli(&["mailbox", "show", &person.address]).await.unwrap().done().unwrap();
    said.json().unwrap()["status"]["early"].clone()
}

async fn sees(stand: &Stand, verdict: &str) {
    let began = Instant::now();
    loop {
        let said = stand.cli(&["dns", "status"]).await.unwrap().done().unwrap();
        let domains = said.json().unwrap();
        if domains[0]["verdict"] == verdict {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "never {verdict}: {domains}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
