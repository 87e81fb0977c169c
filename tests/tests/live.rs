//! People at work through the proxy: what they fetch is not fetched twice, what they append is there at once.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant};

use mailferry_tests::mail::{Recipe, exact};
use mailferry_tests::stand::{Options, Person, Stand};

const PATIENCE: Duration = Duration::from_secs(60);

async fn synced_stand(messages: u64) -> (Stand, Person) {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(21, messages).mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    (stand, terry)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_through_the_proxy_what_they_see_without() {
    let (stand, terry) = synced_stand(60).await;
    let direct = stand.client_at(&terry, stand.source.imaps().port(), serde_json::json!({}));
    let bare = direct.fetch("INBOX", "1:*", "(UID FLAGS BODY.PEEK[])").await.unwrap();
    for client in [
        stand.client(&terry),
        stand.client_starttls(&terry),
        stand.client_at(&terry, stand.proxy().port(), serde_json::json!({"mechanism": "PLAIN"})),
    ] {
        assert_eq!(client.fetch("INBOX", "1:*", "(UID FLAGS BODY.PEEK[])").await.unwrap(), bare);
    }
    let mut wrong = stand.client(&terry);
    wrong.password = "wrong".to_owned();
    let error = wrong.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap_err().to_string();
    assert!(error.contains("AUTHENTICATIONFAILED"), "the source's own words: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_a_client_fetched_is_not_fetched_again() {
    let (mut stand, terry) = synced_stand(10).await;
    // New mail reaches the old server by itself; the client is the first to read it.
    stand.source_relay.forget_counts();
    let new = (0..20).map(|n| exact(&["INBOX"], 3_000 + 5_000 * n, &format!("new {n}"), 1_700_000_000));
    stand.source.load(&terry.login, new).unwrap();
    let read = stand.client(&terry).fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap();
    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
    let counts = stand.source_relay.counts();
    for uid in read.keys() {
        let served = counts.bodies.get(&("INBOX".to_owned(), *uid)).copied();
        assert_eq!(served, Some(1), "UID {uid}: {counts:?}");
    }
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert_eq!(stand.source_relay.counts().bodies_served(), read.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appended_message_is_on_the_target_within_two_seconds_once() {
    let (stand, terry) = synced_stand(10).await;
    stand.source_relay.forget_counts();
    let client = stand.client(&terry);
    for (round, size) in [900, 40_000, 1_500_000].into_iter().enumerate() {
        let appended = client.append("INBOX", &format!("round-{round}"), 1, size).await.unwrap();
        let accepted = Instant::now();
        let account = stand.agreement(&terry, Duration::from_secs(10)).await.unwrap();
        println!(
            "{size} bytes on the target {:?} after the source's OK (reading included)",
            accepted.elapsed()
        );
        assert!(account.agrees(), "{account}");
        assert!(accepted.elapsed() < Duration::from_secs(2) + reading(&stand, &terry).await, "{appended:?}");
    }
    assert_eq!(
        stand.source_relay.counts().bodies_served(),
        0,
        "the bodies came from the client, not the source"
    );
}

/// What the independent reader itself takes.
async fn reading(stand: &Stand, person: &Person) -> Duration {
    let started = Instant::now();
    stand.account(person).await.unwrap();
    started.elapsed() * 2
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_clients_and_the_mirror_end_with_the_same_mail() {
    let mut stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(8, 200).mailbox()).unwrap();
    let one = stand.client(&terry).live(serde_json::json!({"seed": 1})).await.unwrap();
    let two = stand.client_starttls(&terry).live(serde_json::json!({"seed": 2})).await.unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    for client in [one, two] {
        let lived = client.stop().await.unwrap();
        println!("{lived:?}");
        assert!(lived.errors.is_empty(), "{lived:?}");
        assert!(lived.done > 50, "{lived:?}");
    }
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees(), "a pass that began when all was quiet leaves no difference: {account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_mbsync_work_through_the_proxy() {
    let (mut stand, terry) = synced_stand(40).await;
    let mail = stand.path().join("upload.eml");
    std::fs::write(&mail, "Subject: by curl\r\nMessage-ID: <curl@contoso.edu>\r\n\r\nbody\r\n").unwrap();
    let curl = |more: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--cacert"])
            .arg(&stand.authority.ca_file)
            .args(["--user", &format!("{}:{}", terry.login, terry.password)])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let root = format!("imaps://localhost:{}", stand.proxy().port());
    curl(&["-T", &mail.to_string_lossy(), &format!("{root}/INBOX")]);
    let listed = curl(&[&format!("{root}/")]);
    assert!(listed.contains("&ZeVnLIqe-"), "{listed}");

    // mbsync both pulls everything and pushes a message of its own.
    let local = stand.path().join("mbsync");
    std::fs::create_dir_all(local.join("INBOX/new")).unwrap();
    std::fs::create_dir_all(local.join("INBOX/cur")).unwrap();
    std::fs::create_dir_all(local.join("INBOX/tmp")).unwrap();
    std::fs::write(
        local.join("INBOX/new/1.local"),
        "Subject: by mbsync\nMessage-ID: <mbsync@contoso.edu>\n\nx\n",
    )
    .unwrap();
    let rc = stand.path().join("mbsyncrc");
    std::fs::write(&rc, mbsyncrc(&stand, &terry, &local.to_string_lossy())).unwrap();
    let output = Command::new("mbsync").arg("-c").arg(&rc).arg("all").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let account = stand.agreement(&terry, PATIENCE).await.unwrap();
    assert!(account.agrees(), "{account}");
    assert_eq!(account.source_messages, 42, "what curl and mbsync uploaded is there: {account}");
    stand.sync_again("B1", PATIENCE).await.unwrap();
    assert!(stand.account(&terry).await.unwrap().agrees());
}

fn mbsyncrc(stand: &Stand, person: &Person, local: &str) -> String {
    format!(
        r#"IMAPStore far
Host localhost
Port {port}
User {user}
Pass "{password}"
SSLType IMAPS
CertificateFile {ca}

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns INBOX Sent
Create Near
Sync All
SyncState *
"#,
        port = stand.proxy().port(),
        user = person.login,
        password = person.password,
        ca = stand.authority.ca_file.display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn offlineimap_works_through_the_proxy() {
    let (mut stand, terry) = synced_stand(20).await;
    let local = stand.path().join("offlineimap");
    std::fs::create_dir_all(&local).unwrap();
    let rc = local.join("rc");
    let text = format!(
        "[general]\naccounts = all\nmetadata = {dir}/meta\nui = quiet\n\n[Account all]\nlocalrepository = near\n\
         remoterepository = far\n\n[Repository near]\ntype = Maildir\nlocalfolders = {dir}/mail\n\n[Repository far]\n\
         type = IMAP\nremotehost = localhost\nremoteport = {port}\nremoteuser = {user}\nremotepass = {password}\nssl = yes\n\
         sslcacertfile = {ca}\nauth_mechanisms = PLAIN\nfolderfilter = lambda name: name in ['INBOX', 'Lists.rust-users']\n",
        dir = local.display(),
        port = stand.proxy().port(),
        user = terry.login,
        password = terry.password,
        ca = stand.authority.ca_file.display(),
    );
    std::fs::write(&rc, text).unwrap();
    let run = || {
        let output = Command::new("offlineimap").arg("-o").arg("-c").arg(&rc).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run();
    let inbox = local.join("mail/INBOX/new");
    let down: usize = ["new", "cur"]
        .iter()
        .map(|part| std::fs::read_dir(local.join("mail/INBOX").join(part)).unwrap().count())
        .sum();
    assert!(down > 3, "{down} messages came down");
    std::fs::write(inbox.join("1.local"), "Subject: by offlineimap\nMessage-ID: <off@contoso.edu>\n\nx\n")
        .unwrap();
    run();
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let account = stand.account(&terry).await.unwrap();
    assert!(account.agrees() && account.source_messages == 21, "{account}");
}
