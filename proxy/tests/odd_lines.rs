//! Command lines that a server may read otherwise than we do: whatever a real Dovecot makes of them, no message is ever told
//! as one of a folder that it is not in.
#![allow(clippy::unwrap_used)]

mod stand;

use stand::{Port, Stand};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Lines that may open `Work`.
const ODD: [&str; 26] = [
    "a\tSELECT Work",
    "a SELECT\tWork",
    "a SELECT Work\t",
    "a  SELECT  Work",
    "  a SELECT Work",
    "\ta SELECT Work",
    "a NOOP\rb SELECT Work",
    "a NOOP\r\rb SELECT Work",
    "a NOOP\nb SELECT Work",
    "a NOOP\n\nb SELECT Work\n",
    "a SELECT Work\0",
    "a SELECT Work\0x",
    "a\0 SELECT Work",
    "\0a SELECT Work",
    "a SELECT \"Wo\\rk\"",
    "a SELECT \"Work\"x",
    "a \"SELECT\" Work",
    "a {6+}\r\nSELECT Work",
    "{1+}\r\na SELECT Work",
    "a SELECT {4}\r\nWork",
    "a NOOP {3}\r\nb SELECT Work",
    "a NOOP {3}x\r\nb SELECT Work",
    "a SEARCH SUBJECT {9 }\r\nb SELECT Work",
    "* SELECT Work",
    "+ SELECT Work",
    "s SELECT INBOX\r\ns SELECT Work",
];

/// Lines that do, and that we are to understand.
const PLAIN: [&str; 6] = [
    "a SELECT Work",
    "a select Work",
    "a SeLeCt \"Work\"",
    "a SELECT {4+}\r\nWork",
    "A.1-b_c/d SELECT Work",
    "\r\na SELECT Work",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_told_as_one_of_another_folder() {
    let stand = Stand::start("odd-lines").await;
    stand
        .python(
            "m = login()\nexpect(m.create('Work'))\nfor folder in ('INBOX', 'Work'):\n    \
             expect(m.append(folder, None, None, b'Subject: x\\r\\n\\r\\n' + folder.encode() * 9))\nm.logout()\n",
        )
        .await;
    let appended = stand.seen().await;
    let told = |folder: &str| {
        let start = format!("Appended {folder};");
        let line = appended.iter().find(|line| line.starts_with(&start)).unwrap();
        line.replacen("Appended", "Fetched", 1)
    };
    let (inbox, work) = (told("INBOX"), told("Work"));
    for line in ODD.into_iter().chain(PLAIN) {
        stand.spool.forget(stand.ann);
        converse(stand.port(Port::Plain), line).await;
        let seen = stand.seen().await;
        let fetched: Vec<_> = seen.iter().filter(|told| told.starts_with("Fetched")).collect();
        assert!(fetched.iter().all(|told| [&inbox, &work].contains(told)), "{line}: {fetched:?}");
        if PLAIN.contains(&line) {
            assert_eq!(fetched, [&work], "{line}");
        }
    }
    stand.stop().await;
}

/// Logs in, opens INBOX, says this line and fetches the first message of whatever is open then.
async fn converse(port: u16, line: &str) {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    for (said, tag) in [
        ("l LOGIN ann@example.com secret\r\n".to_owned(), "l"),
        ("s0 SELECT INBOX\r\n".to_owned(), "s0"),
        (format!("{line}\r\nq FETCH 1 (UID BODY.PEEK[])\r\n"), "q"),
    ] {
        stream.get_mut().write_all(said.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.starts_with(&format!("{tag} ")) {
            answer.clear();
            if stream.read_line(&mut answer).await.unwrap() == 0 {
                return;
            }
        }
    }
}
