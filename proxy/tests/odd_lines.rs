//! Command lines that a server may read otherwise than we do: whatever a real Dovecot makes of them, no message is ever told
//! as one of a folder that it is not in.
#![allow(clippy::unwrap_used)]

mod stand;

use stand::Stand;

/// Lines that may open `Work`, as Python bytes.
const ODD: [&str; 26] = [
    r"a\tSELECT Work",
    r"a SELECT\tWork",
    r"a SELECT Work\t",
    r"a  SELECT  Work",
    r"  a SELECT Work",
    r"\ta SELECT Work",
    r"a NOOP\rb SELECT Work",
    r"a NOOP\r\rb SELECT Work",
    r"a NOOP\nb SELECT Work",
    r"a NOOP\n\nb SELECT Work\n",
    r"a SELECT Work\0",
    r"a SELECT Work\0x",
    r"a\0 SELECT Work",
    r"\0a SELECT Work",
    r#"a SELECT "Wo\\rk""#,
    r#"a SELECT "Work"x"#,
    r#"a "SELECT" Work"#,
    r"a {6+}\r\nSELECT Work",
    r"{1+}\r\na SELECT Work",
    r"a SELECT {4}\r\nWork",
    r"a NOOP {3}\r\nb SELECT Work",
    r"a NOOP {3}x\r\nb SELECT Work",
    r"a SEARCH SUBJECT {9 }\r\nb SELECT Work",
    r"* SELECT Work",
    r"+ SELECT Work",
    r"s SELECT INBOX\r\ns SELECT Work",
];

/// Lines that do, and that we are to understand.
const PLAIN: [&str; 6] = [
    r"a SELECT Work",
    r"a select Work",
    r#"a SeLeCt "Work""#,
    r"a SELECT {4+}\r\nWork",
    r"A.1-b_c/d SELECT Work",
    r"\r\na SELECT Work",
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
        stand
            .python(&format!(
                "r = Raw()\nr.line()\nr.send('l LOGIN ann@example.com secret\\r\\ns0 SELECT INBOX\\r\\n')\nr.until('s0')\n\
                 r.send(b'''{line}\\r\\n''')\nr.send('q FETCH 1 (UID BODY.PEEK[])\\r\\n')\nr.until('q')\nr.s.close()\n"
            ))
            .await;
        let seen = stand.seen().await;
        let fetched: Vec<_> = seen.iter().filter(|told| told.starts_with("Fetched")).collect();
        assert!(fetched.iter().all(|told| [&inbox, &work].contains(told)), "{line}: {fetched:?}");
        if PLAIN.contains(&line) {
            assert_eq!(fetched, [&work], "{line}");
        }
        println!("{line}: {fetched:?}");
    }
    stand.stop().await;
}
