use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

struct Script {
    dir: TempDir,
    program: Program,
}

fn script(text: &str) -> Script {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hook");
    std::fs::write(&file, format!("#!/bin/sh\ncd {}\n{text}\n", dir.path().display())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
    Script { dir, program: Program { file, arguments: vec!["a b; c".into(), "$HOME".into()] } }
}

impl Script {
    async fn deliver(&self, body: &[u8], timeout: Duration) -> Result<(), DeliveryError> {
        // Another test's fork may hold the file open for writing for a moment.
        loop {
            match self.program.deliver(body, timeout).await {
                Err(DeliveryError::Start { why, .. }) if why.contains("busy") => {
                    tokio::task::yield_now().await
                }
                other => return other,
            }
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_program_gets_the_json_its_arguments_and_nothing_of_ours() {
    let script = script("cat > body; printf '%s|' \"$@\" > arguments; env > environment");
    script.deliver(b"{\"id\":1}\n", PATIENCE).await.unwrap();
    assert_eq!(script.read("body"), "{\"id\":1}\n");
    assert_eq!(script.read("arguments"), "a b; c|$HOME|", "no shell reads them");
    let mut names: Vec<&str> = Vec::new();
    let environment = script.read("environment");
    names.extend(environment.lines().filter_map(|line| line.split('=').next()));
    names.retain(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["LANG", "PATH"]);
}

#[tokio::test]
async fn a_failure_says_how_and_what_was_complained() {
    let error = script("echo >&2; echo 'no route' >&2; exit 3").deliver(b"", PATIENCE).await.unwrap_err();
    assert!(error.to_string().ends_with("ended with exit code 3: no route"), "{error}");
    let error = script("kill -9 $$").deliver(b"", PATIENCE).await.unwrap_err();
    assert!(error.to_string().ends_with("ended with signal 9"), "{error}");
    let nobody = Program { file: "/nonexistent/hook".into(), arguments: Vec::new() };
    assert!(matches!(nobody.deliver(b"", PATIENCE).await, Err(DeliveryError::Start { .. })));
}

#[tokio::test]
async fn who_does_not_read_and_shouts_is_no_trouble() {
    let body = vec![b'x'; 1 << 20];
    script("exit 0").deliver(&body, PATIENCE).await.unwrap();
    let shout = script("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 1");
    let error = shout.deliver(&body, PATIENCE).await.unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
    // What it leaves running with its standard error open is not waited for.
    let leaving = script("sleep 1000 & echo $! > left; exit 0");
    leaving.deliver(b"", PATIENCE).await.unwrap();
    let left = Pid::from_raw(leaving.read("left").trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(left, Signal::KILL).unwrap();
}

#[tokio::test]
async fn at_its_timeout_it_is_killed_with_all_that_it_started() {
    let script = script("sleep 1000 & echo $! > inner; echo $$ > outer; wait");
    let error = script.deliver(b"", Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error, DeliveryError::Slow(Duration::from_secs(5)));
    let began = Instant::now();
    for name in ["outer", "inner"] {
        let pid = script.read(name).trim().to_owned();
        assert!(!pid.is_empty(), "it ran");
        while runs(&pid) {
            assert!(began.elapsed() < PATIENCE, "{name} {pid} lives");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn broken_off_it_is_killed_too() {
    let script = script("sleep 1000 & echo $! > inner; wait");
    let began = Instant::now();
    let delivery = script.deliver(b"", PATIENCE);
    let started = async {
        while script.read("inner").trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        other = delivery => panic!("{other:?}"),
        () = started => {}
    }
    let pid = script.read("inner").trim().to_owned();
    while runs(&pid) {
        assert!(began.elapsed() < PATIENCE, "{pid} lives");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A zombie, which somebody else has to reap, does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[test]
fn tokens_go_by_https_or_to_ourselves() {
    let token = || Some(SecretString::from("t0ken"));
    let new = |url: &str, token| Webhook::new(url, token, None, InTheClear::Refused).map(|_| ());
    let open = |url: &str, token| Webhook::new(url, token, None, InTheClear::Allowed).map(|_| ());
    assert!(new("https://hooks.example/x", token()).is_ok());
    assert!(new("http://127.0.0.1:8/x", token()).is_ok());
    assert!(matches!(new("http://hooks.example/x", None), Err(WebError::Open)));
    assert!(open("http://hooks.example/x", None).is_ok());
    assert!(matches!(open("http://hooks.example/x", token()), Err(WebError::Clear)));
    for url in ["", "hooks.example", "ftp://hooks.example/", "/x"] {
        assert!(matches!(new(url, None), Err(WebError::Url)), "{url}");
    }
    assert!(matches!(new("https://x/", Some(SecretString::from("a\nb"))), Err(WebError::Token)));
    let hook = Webhook::new("https://x/s3cret", token(), None, InTheClear::Refused).unwrap();
    let shown = format!("{hook:?}");
    assert!(!shown.contains("t0ken") && !shown.contains("s3cret"), "{shown}");
}
