//! The proxy as its operator meets it: kicks, SIGHUP, descriptors that run out, and what stands in the log.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use mailferry_tests::stand::{Options, Person, Stand};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whatever is waited for is there long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of the proxy's implicit TLS.
struct Client(BufReader<TlsStream<TcpStream>>);

impl Client {
    async fn connect(stand: &Stand, name: &str) -> Self {
        let tcp = TcpStream::connect(stand.proxy()).await.unwrap();
        let tls = TlsConnector::from(stand.authority.client().unwrap());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self(BufReader::new(soon(tls.connect(name, tcp)).await.unwrap()))
    }

    async fn logged_in(stand: &Stand, person: &Person) -> Self {
        let mut client = Self::connect(stand, "localhost").await;
        assert!(client.line().await.starts_with("* OK"));
        client.ask("i ID (\"name\" \"Test client\" \"version\" \"1\")").await;
        let login = format!("l LOGIN {} \"{}\"", person.login, person.password);
        assert!(client.ask(&login).await.starts_with("l OK"));
        client
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.0.read_line(&mut line)).await.unwrap();
        line
    }

    /// Sends a command; its answer.
    async fn ask(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        loop {
            let line = self.line().await;
            if !line.starts_with("* ") {
                return line;
            }
        }
    }
}

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes")
}

/// Lines of the log with this text, as soon as there are so many.
async fn logged(stand: &Stand, text: &str, many: usize) -> Vec<Value> {
    let looking = async {
        loop {
            let log = std::fs::read_to_string(stand.log()).unwrap();
            let lines: Vec<Value> = log
                .lines()
                .filter(|line| line.contains(text))
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.len() >= many {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(looking).await
}

async fn hang_up(stand: &mut Stand, times: usize) {
    let pid = stand.serve_pid().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    logged(stand, "certificates, limits and balancers are taken over", times).await;
}

async fn stand() -> (Stand, Person) {
    let stand = Stand::start(Options::default()).await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    (stand, terry)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_listed_kicked_and_told_in_one_line_without_a_name() {
    let (stand, terry) = stand().await;
    let csv = stand.csv("B1", std::slice::from_ref(&terry)).unwrap().to_string_lossy().into_owned();
    let add = ["batch", "add", "B1", "--endpoint", "IMAPEndpoint", "--csv", &csv];
    stand.cli(&add).await.unwrap().done().unwrap();
    let mut client = Client::logged_in(&stand, &terry).await;
    assert!(client.ask("s SELECT INBOX").await.starts_with("s OK"));
    let listed = soon(async {
        loop {
            let listed = stand.cli(&["sessions", "list"]).await.unwrap().json().unwrap();
            if !listed[0]["login"].is_null() {
                return listed;
            }
        }
    })
    .await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    let one = &listed[0];
    assert_eq!(
        (&one["login"], &one["mailbox"]),
        (&terry.login.as_str().into(), &terry.address.as_str().into())
    );
    assert_eq!(one["client_name"], "Test client");
    let conn = one["conn"].as_u64().unwrap().to_string();
    stand.cli(&["sessions", "kick", &conn]).await.unwrap().done().unwrap();
    assert_eq!(client.line().await, "* BYE Please connect again.\r\n");
    assert_eq!(client.line().await, "", "it is over");

    let line = logged(&stand, "\"how\":\"kicked\"", 1).await.remove(0);
    let again = soon(async {
        loop {
            // Its line is written a moment before its page is closed.
            if stand.cli(&["sessions", "list"]).await.unwrap().json().unwrap() == Value::Array(Vec::new()) {
                return stand.cli(&["sessions", "kick", &conn]).await.unwrap();
            }
        }
    });
    let again = again.await;
    assert!(again.stdout.contains("already"), "there is none any more: {again:?}");
    assert_eq!(line["message"], "Session ended.");
    assert_eq!(
        (&line["level"], &line["how"], &line["client"]),
        (&"INFO".into(), &"kicked".into(), &"Test client".into())
    );
    assert_eq!(line["conn"].to_string(), conn);
    assert!(line["tls"].as_str().unwrap().starts_with("TLSv1_3 "), "{line}");
    assert!(line["up"].as_u64().unwrap() > 0 && line["down"].as_u64().unwrap() > 0, "{line}");
    assert!(line["mailbox"].is_string() && line["mailbox"] != "unknown", "{line}");
    for field in ["mirrored", "took"] {
        assert!(!line[field].is_null(), "{field}: {line}");
    }
    assert!(line["blind"].is_null() && line["error"].is_null(), "{line}");
    let log = std::fs::read_to_string(stand.log()).unwrap();
    for secret in [terry.login.as_str(), &terry.address, &terry.password] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_certificates_change_under_the_feet_of_those_who_are_in() {
    let (mut stand, terry) = stand().await;
    let mut before = Client::logged_in(&stand, &terry).await;
    let shown = |client: &Client| client.0.get_ref().get_ref().1.peer_certificates().unwrap()[0].clone();
    let first = shown(&before);

    let other = stand.authority.leaf("other", &["other.example"]).unwrap();
    stand.write_config("[proxy.limits]\nmax_connections_per_login = 1").unwrap();
    let config = std::fs::read_to_string(stand.config()).unwrap();
    let (certificate, key) = (&stand.leaf().certificate_file, &stand.leaf().private_key_file);
    let config = config
        .replace(&certificate.display().to_string(), &other.certificate_file.display().to_string())
        .replace(&key.display().to_string(), &other.private_key_file.display().to_string());
    std::fs::write(stand.config(), &config).unwrap();
    hang_up(&mut stand, 1).await;

    let mut after = Client::connect(&stand, "other.example").await;
    assert_ne!(shown(&after), first, "another certificate");
    after.line().await;
    let login = format!("l LOGIN {} \"{}\"", terry.login, terry.password);
    assert!(after.ask(&login).await.starts_with("l NO [LIMIT] "), "one is in, and no more than one may be");
    assert!(before.ask("n NOOP").await.starts_with("n OK"), "who is in stays");

    // A mistake changes nothing.
    std::fs::write(
        stand.config(),
        config.replace("max_connections_per_login = 1", "max_connections_per_login = -1"),
    )
    .unwrap();
    let pid = stand.serve_pid().unwrap().to_string();
    Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    logged(&stand, "the running one stays", 1).await;
    assert!(before.ask("n NOOP").await.starts_with("n OK"));

    std::fs::write(
        stand.config(),
        config.replace("max_connections_per_login = 1", "max_connections_per_login = 2"),
    )
    .unwrap();
    hang_up(&mut stand, 2).await;
    let mut third = Client::connect(&stand, "other.example").await;
    third.line().await;
    assert!(third.ask(&login).await.starts_with("l OK"));
}

/// Of the daemon; the hard limit stays, or it could not be raised again.
fn limit_files(pid: u32, files: usize) {
    let limit = format!("--nofile={files}:");
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_descriptor_new_clients_wait_and_those_who_are_in_go_on() {
    let (mut stand, terry) = stand().await;
    let mut before = Client::logged_in(&stand, &terry).await;
    let pid = stand.serve_pid().unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit_files(pid, open);
    let (starttls, waiting) = (stand.proxy_starttls(), stand.proxy());
    let late = tokio::spawn(async move {
        let mut line = String::new();
        BufReader::new(TcpStream::connect(starttls).await.unwrap()).read_line(&mut line).await.unwrap();
        line
    });
    let _others = [TcpStream::connect(waiting).await.unwrap(), TcpStream::connect(waiting).await.unwrap()];
    let line = logged(&stand, "No descriptor left", 1).await.remove(0);
    assert_eq!(line["level"], "WARN");
    assert!(line["message"].as_str().unwrap().contains("LimitNOFILE="), "it says what to do: {line}");
    for _ in 0..10 {
        assert!(before.ask("n NOOP").await.starts_with("n OK"));
    }
    limit_files(pid, 4096);
    let greeting = soon(late).await.unwrap();
    assert!(greeting.starts_with("* OK") || greeting.starts_with("* BYE [UNAVAILABLE]"), "{greeting:?}");
    Client::logged_in(&stand, &terry).await;
    stand.alive().unwrap();
}
