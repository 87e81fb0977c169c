//! Hooks with the real binary: a program, a web address that is away at first, and a crash at the worst moment.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mailferry_tests::dns::{Dns, Secondary};
use mailferry_tests::mail::{Recipe, exact};
use mailferry_tests::stand::{Options, Stand, dns_options};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

const PATIENCE: Duration = Duration::from_secs(90);
const OFFICE: &str = "0 contoso-edu.mail.protection.outlook.com.";
const TOKEN: &str = "h00k-t0ken";
const PATH: &str = "/services/only-friends-know";

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_are_told_of_a_cutover_from_its_begin_to_the_open_gate() {
    let mut dns = Dns::start(&["contoso.edu"], Secondary::Absent).unwrap();
    dns.set_mx("contoso.edu", 1, &["10 mail"]).unwrap();
    let options = Options {
        dns: dns_options(&dns, Duration::from_secs(3), Duration::from_secs(2)),
        ..Options::default()
    };
    let mut stand = Stand::prepare(options).await.unwrap();
    let web = Web::start(stand.leaf().server().unwrap(), 2).await;
    let heard = program(stand.path(), "hook", "cat >> heard");
    program(stand.path(), "hang", "sleep 1000");
    let token = secret(stand.path(), "token", TOKEN);
    let address = secret(stand.path(), "address", &format!("https://{}{PATH}", web.address));
    let on = "on = [\"mx-changed\", \"cutover-confirmed\", \"straggler\", \"gate-open\"]";
    let by_web = format!("{on}\nurl_file = \"{address}\"\ntoken_file = \"{token}\"");
    let hooks = format!(
        "[[hooks]]\nname = \"hangs\"\n{on}\ncommand = [\"{folder}/hang\"]\ntimeout = \"1s\"\n\
         [[hooks]]\nname = \"program\"\n{on}\ncommand = [\"{folder}/hook\"]\n\
         [[hooks]]\nname = \"web\"\n{by_web}\nca_file = \"{ca}\"\n\
         [[hooks]]\nname = \"strange\"\n{by_web}\n",
        folder = stand.path().display(),
        ca = stand.authority.ca_file.display()
    );
    stand.reconfigure(|options| options.hooks = hooks).unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.cli(&["serve", "--check"]).await.unwrap().done().unwrap();
    let strange = stand.human(&["hook", "test", "strange"]).await.unwrap();
    assert!(strange.code == 7 && strange.stderr.contains("UnknownIssuer"), "{strange:?}");
    stand.serve().await.unwrap();
    stand.add_endpoint().await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.source.load(&terry.login, Recipe::small(2, 5).mailbox()).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let declare = ["mailbox", "declare-moved", &terry.address, "--reason", "seen at work there"];
    stand.cli(&declare).await.unwrap().done().unwrap();
    // What is so when a hook hears of a domain first is no news to it.
    logged(&stand, "changes from here on", 4).await;

    dns.set_mx("contoso.edu", 1, &[OFFICE]).unwrap();
    let events = |all: &[Value]| -> Vec<String> {
        all.iter().map(|one| one["event"].as_str().unwrap().to_owned()).collect()
    };
    let confirmed = |all: &[Value]| events(all).contains(&"cutover-confirmed".to_owned());
    let all = until(|| read(&heard), confirmed).await;
    assert_eq!(all[0]["event"], "mx-changed", "{all:?}");
    assert_eq!((&all[0]["was"], &all[0]["verdict"]), (&"source".into(), &"office365".into()));
    assert_eq!((&all[0]["domain"], &all[0]["hook"]), (&"contoso.edu".into(), &"program".into()));
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let late = exact(&["INBOX"], 2_000, "a secret subject", i64::try_from(now).unwrap());
    stand.source.load(&terry.login, std::iter::once(late)).unwrap();
    stand.sync_again("B1", PATIENCE).await.unwrap();

    let whole = |all: &[Value]| {
        let events = events(all);
        ["straggler", "gate-open"].iter().all(|event| events.contains(&(*event).to_owned()))
    };
    let by_program = until(|| read(&heard), whole).await;
    let by_web = until(|| web.heard(), |all| whole(all) && confirmed(all)).await;
    let straggler = by_program.iter().find(|one| one["event"] == "straggler").unwrap();
    assert_eq!((&straggler["batch"], &straggler["total"]), (&"B1".into(), &1.into()), "{straggler}");
    assert_eq!(straggler["latest"][0]["address"], terry.address.as_str());
    for all in [&by_program, &by_web] {
        let mut ids: Vec<&str> = all.iter().map(|one| one["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len(), "each once: {all:?}");
        let text = format!("{all:?}");
        assert!(!text.contains("secret") && !text.contains("pass word"), "{text}");
    }
    assert!(web.refused() >= 2, "it was away at first");
    let log = std::fs::read_to_string(stand.log()).unwrap();
    for why in ["A hook was not told.", "answered 503", "no end within 1s", "UnknownIssuer"] {
        assert!(log.contains(why), "{why}: {log}");
    }
    for secret in [TOKEN, PATH, "a secret subject"] {
        assert!(!log.contains(secret) && !strange.stderr.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_telling_and_noting_it_tells_again_with_the_same_id() {
    let mut dns = Dns::start(&["contoso.edu"], Secondary::Absent).unwrap();
    dns.set_mx("contoso.edu", 1, &["10 mail"]).unwrap();
    let options = Options {
        dns: dns_options(&dns, Duration::from_secs(3600), Duration::from_secs(1)),
        ..Options::default()
    };
    let mut stand = Stand::prepare(options).await.unwrap();
    // It has heard, and does not end while the file is there: serve cannot know yet.
    let heard = program(stand.path(), "hook", "cat >> heard; while [ -e hold ]; do sleep 0.1; done");
    let hold = stand.path().join("hold");
    std::fs::write(&hold, "").unwrap();
    let hooks = format!(
        "[[hooks]]\nname = \"ops\"\non = [\"mx-changed\"]\ncommand = [\"{}\"]\ntimeout = \"10m\"",
        stand.path().join("hook").display()
    );
    stand.reconfigure(|options| options.hooks = hooks).unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();
    stand.serve().await.unwrap();
    stand.add_endpoint().await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    logged(&stand, "changes from here on", 1).await;
    dns.set_mx("contoso.edu", 1, &[OFFICE]).unwrap();
    let first = until(|| read(&heard), |all| !all.is_empty()).await;
    // A hook that hangs keeps nobody waiting.
    stand.sync_again("B1", PATIENCE).await.unwrap();
    stand.kill().unwrap();
    std::fs::remove_file(&hold).unwrap();
    stand.serve().await.unwrap();
    let again = until(|| read(&heard), |all| all.len() > 1).await;
    assert_eq!(again[0]["id"], first[0]["id"]);
    assert_eq!(again[1]["id"], first[0]["id"], "{again:?}");

    // Noted, it is not told a third time; what comes next is.
    logged(&stand, "A hook was told.", 1).await;
    stand.kill().unwrap();
    stand.serve().await.unwrap();
    dns.set_mx("contoso.edu", 1, &["10 mail"]).unwrap();
    let third = until(|| read(&heard), |all| all.len() > 2).await;
    assert_eq!((&third[2]["was"], &third[2]["verdict"]), (&"office365".into(), &"source".into()));
    assert_ne!(third[2]["id"], first[0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_human_is_called_for_held_deletions_and_a_hook_can_be_tried() {
    let options = Options { sync: "max_deletions = 1".into(), ..Options::default() };
    let mut stand = Stand::prepare(options).await.unwrap();
    let heard = program(stand.path(), "hook", "cat >> heard");
    program(stand.path(), "bad", "echo no route to host >&2; exit 7");
    let hook = |name: &str, file: &str| {
        let file = stand.path().join(file);
        format!("[[hooks]]\nname = \"{name}\"\non = [\"needs-human\"]\ncommand = [\"{}\"]\n", file.display())
    };
    let hooks = hook("ops", "hook") + &hook("broken", "bad");
    // Looks are as far apart as those at DNS.
    let dns = "resolvers = []\nroots = [\"127.0.0.1\"]\nport = 9\ntimeout = \"1s\"\ninterval = \"2s\"";
    stand
        .reconfigure(|options| {
            options.hooks = hooks;
            options.dns = dns.into();
        })
        .unwrap();
    stand.cli(&["init"]).await.unwrap().done().unwrap();

    stand.cli(&["hook", "test", "ops"]).await.unwrap().done().unwrap();
    let [test] = &read(&heard)[..] else { panic!() };
    assert_eq!(test["event"], "test");
    let bad = stand.human(&["hook", "test", "broken"]).await.unwrap();
    assert_eq!(bad.code, 7, "{bad:?}");
    assert!(bad.stderr.contains("exit code 7: no route to host"), "{bad:?}");
    let none = stand.human(&["hook", "test", "nobody"]).await.unwrap();
    assert!(none.code == 1 && none.stderr.contains("ops, broken"), "{none:?}");

    stand.serve().await.unwrap();
    stand.add_endpoint().await.unwrap();
    let terry = stand.add_person("terry.adams").unwrap();
    let messages = (0..20).map(|one| exact(&["INBOX"], 1_000, &format!("number {one}"), 1_700_000_000 + one));
    stand.source.load(&terry.login, messages).unwrap();
    stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
    stand.synced_whole("B1", PATIENCE).await.unwrap();
    let home = stand.source.dovecot().unwrap().instance().home(&terry.login);
    for file in std::fs::read_dir(home.join("Maildir/cur")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    stand.sync_again("B1", PATIENCE).await.unwrap();
    let all = until(|| read(&heard), |all| all.len() > 1).await;
    assert_eq!((&all[1]["event"], &all[1]["what"]), (&"needs-human".into(), &"held-deletions".into()));
    assert_eq!(all[1]["addresses"][0], terry.address.as_str(), "{all:?}");
    assert!(all[1]["next"].as_str().unwrap().contains("allow-deletions"));
}

/// A program in `folder` that works there.
fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\ncd {}\n{text}\n", folder.display())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
    folder.join("heard")
}

/// A file with a secret, for its owner only.
fn secret(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, format!("{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

fn read(heard: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(heard).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

async fn until(read: impl Fn() -> Vec<Value>, what: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let all = read();
        if what(&all) {
            return all;
        }
        assert!(began.elapsed() < PATIENCE, "never told: {all:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until `serve` has logged this so often.
async fn logged(stand: &Stand, line: &str, times: usize) {
    let began = Instant::now();
    while std::fs::read_to_string(stand.log()).unwrap_or_default().matches(line).count() < times {
        assert!(began.elapsed() < PATIENCE, "never logged: {line}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A receiver that is not well at first.
struct Web {
    address: std::net::SocketAddr,
    state: Arc<Mutex<WebState>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct WebState {
    heard: Vec<Value>,
    refused: usize,
}

impl Web {
    /// Refuses so many requests with 503 before it takes any.
    async fn start(tls: Arc<rustls::ServerConfig>, refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(WebState::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let tls = TlsAcceptor::from(tls);
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = tls.accept(stream).await {
                    Self::answer(stream, &shared, refusals).await;
                }
            }
        });
        Self { address, state, task }
    }

    async fn answer(stream: TlsStream<TcpStream>, state: &Mutex<WebState>, refusals: usize) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let head = head.to_lowercase();
        assert!(
            head.starts_with(&format!("post {PATH} http/1.1\r\n"))
                && head.contains("content-type: application/json")
        );
        let welcome = head.contains(&format!("authorization: bearer {TOKEN}"));
        let answer = {
            let mut state = state.lock().unwrap();
            if !welcome || state.refused < refusals {
                state.refused += 1;
                "503 Service Unavailable"
            } else {
                state.heard.push(serde_json::from_slice(&body).unwrap());
                "204 No Content"
            }
        };
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn heard(&self) -> Vec<Value> {
        self.state.lock().unwrap().heard.clone()
    }

    fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}
