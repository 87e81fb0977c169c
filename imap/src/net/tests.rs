//! The client against scripted servers.

use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::response::{Code, Response, Status};
use crate::{Flags, FolderName, InternalDate, UidSet};

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_of_a_server_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        words in proptest::collection::vec(proptest::sample::select(vec![
            "* ", "1 FETCH (", "BODY[] ", "{3}\r\n", "abc", ")", "\r\n", "M1 OK ", "UID 7 ", "\"", "+ ", "* BYE x\r\n", "X {2}\r\n",
        ]), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for stream in [bytes.as_slice(), words.concat().as_bytes()] {
                let (ours, mut theirs) = duplex(1 << 16);
                theirs.write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n").await.unwrap();
                theirs.write_all(stream).await.unwrap();
                drop(theirs);
                let mut session = wrap(ours, "test:143", Limits { idle: Duration::MAX, ..limits() }).await.unwrap();
                while session.halves().1.next().await.is_ok() {}
            }
        });
    }
}

mod appends;
mod logins;

/// Plays a server: lines that begin with `S: ` are sent, those with `C: ` must come. `\r\n` are added; a `\` at the end
/// of a line leaves them out, a `|` puts them in. After the script the connection is closed.
fn play(script: &'static str, piece: usize) -> (DuplexStream, JoinHandle<()>) {
    let (ours, mut theirs) = duplex(1 << 16);
    let server = tokio::spawn(async move {
        for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            let (side, text) = line.split_at(3);
            let text = text.replace('|', "\r\n");
            let text = match text.strip_suffix('\\') {
                Some(text) => text.to_owned(),
                None => format!("{text}\r\n"),
            };
            match side {
                "S: " => {
                    for chunk in text.as_bytes().chunks(piece) {
                        theirs.write_all(chunk).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
                "C: " => {
                    let mut came = vec![0; text.len()];
                    theirs.read_exact(&mut came).await.expect(&text);
                    assert_eq!(String::from_utf8_lossy(&came), text);
                }
                _ => panic!("{line}"),
            }
        }
    });
    (ours, server)
}

fn limits() -> Limits {
    Limits { idle: Duration::from_secs(5), ..Limits::default() }
}

async fn session(script: &'static str, piece: usize) -> (Session, JoinHandle<()>) {
    let (io, server) = play(script, piece);
    (wrap(io, "test:143", limits()).await.unwrap(), server)
}

fn secret() -> SecretString {
    SecretString::from("pass\"word")
}

#[tokio::test]
async fn bodies_come_the_same_however_the_bytes_fall() {
    for piece in [1, 2, 3, 7, 1_000] {
        let (mut session, server) = session(
            "S: * OK [CAPABILITY IMAP4rev1] hello
            C: M1 UID FETCH 1:9 (UID BODY.PEEK[])
            S: * 1 FETCH (UID 3 BODY[] {7}
            S: abcde
            S:  FLAGS (\\Seen))
            S: * 5 EXISTS
            S: * 2 FETCH (BODY[] \"quo\\\"ted\" UID 4)
            S: * 3 FETCH (UID 5 BODY[] NIL)
            S: * 4 FETCH (BODY[] {0}
            S:  UID 6)
            S: * 5 FETCH (UID 7 BODY[HEADER] {2}
            S: hi RFC822.SIZE 9)
            S: M1 OK note {5}",
            piece,
        )
        .await;
        let (writer, reader) = session.halves();
        writer.fetch_bodies(&UidSet::parse(b"1:9").unwrap()).await.unwrap();
        writer.flush().await.unwrap();
        let mut story = Vec::new();
        let mut body = Vec::new();
        loop {
            match reader.next().await.unwrap() {
                Event::BodyStart { seq, uid, size } => {
                    story.push(format!("start {seq} {:?} {size}", uid.map(|uid| uid.value())));
                }
                Event::BodyChunk(bytes) => body.extend_from_slice(&bytes),
                Event::BodyEnd { fetched } => {
                    let body = std::mem::take(&mut body).escape_ascii().to_string();
                    story.push(format!("end {:?} {:?} {body}", fetched.uid.unwrap().value(), fetched.flags));
                }
                Event::Untagged(Response::Fetch(fetched)) => {
                    story.push(format!("facts {:?} {:?}", fetched.uid.unwrap().value(), fetched.sections));
                }
                Event::Untagged(other) => story.push(format!("{other:?}")),
                Event::Tagged { tag, text } => {
                    story.push(format!("{tag} {} {}", text.status, text.text));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            story,
            [
                "start 1 Some(3) 7",
                "end 3 Some((\\Seen)) abcde\\r\\n",
                "Exists(5)",
                "start 2 Some(4) 7",
                "end 4 None quo\\\"ted",
                "facts 5 []",
                "start 4 None 0",
                "end 6 None ",
                "facts 7 [(\"BODY[HEADER]\", b\"hi\")]",
                "M1 OK note {5}",
            ]
        );
        assert_eq!(reader.outstanding(), 0);
        server.await.unwrap();
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_what_passes() {
    let (ours, mut theirs) = duplex(1 << 16);
    let server = tokio::spawn(async move {
        theirs.write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n* 1 FETCH (UID 1").await.unwrap();
        for _ in 0..1_000 {
            theirs.write_all(b" BODY[] {50000}\r\n").await.unwrap();
            theirs.write_all(&[b'x'; 50_000]).await.unwrap();
        }
        theirs.write_all(b")\r\n").await.unwrap();
    });
    let mut session = wrap(ours, "test:143", limits()).await.unwrap();
    let (_, reader) = session.halves();
    // The memory in which chunks lie: a handful of places, used over and over.
    let mut places = std::collections::BTreeSet::new();
    let mut bytes = 0;
    loop {
        match reader.next().await.unwrap() {
            Event::BodyChunk(chunk) => {
                places.insert(chunk.as_ptr() as usize >> 16);
                bytes += chunk.len();
            }
            Event::BodyEnd { .. } => break,
            _ => {}
        }
    }
    assert_eq!(bytes, 50_000_000);
    assert!(places.len() < 10, "{} places", places.len());
    server.await.unwrap();
}

#[tokio::test]
async fn a_literal_of_the_wrong_length_is_no_body() {
    for (script, told) in [
        // Too short; by the line end alone; before another item; too long; not even a message's body.
        ("* 1 FETCH (UID 3 BODY[] {5}|abcdef)|* 2 EXISTS", "abcde"),
        ("* 1 FETCH (UID 3 BODY[] {5}|abcde|)|* 2 EXISTS", "abcde"),
        ("* 1 FETCH (BODY[] {5}|abcdef UID 3 FLAGS ())|* 2 EXISTS", "abcde"),
        ("* 1 FETCH (UID 3 BODY[] {5}|abcdef BODY[1] {1}|x)|* 2 EXISTS", "abcde"),
        ("* 1 FETCH (UID 3 BODY[] {0}|a)|* 2 EXISTS", ""),
        ("* 1 FETCH (UID 3 BODY[] {7}|abcdef)|* 2 EXISTS", "abcdef)"),
        ("* 1 FETCH (UID 3 BODY[] {9}|abcdef)|* 2 EXISTS", "abcdef)\r\n"),
        ("* 1 FETCH (UID 3 BODY[1] {12}|abcdefabcdefg)|* 2 EXISTS", "abcdefabcdef"),
    ] {
        for piece in [1, 3, 1_000] {
            let script = format!("S: * OK [CAPABILITY IMAP4rev1] hello\nS: {script}");
            let (io, _server) = play(script.leak(), piece);
            let mut session = wrap(io, "test:143", Limits { max_inline: 10, ..limits() }).await.unwrap();
            let (_, reader) = session.halves();
            assert!(matches!(reader.next().await, Ok(Event::BodyStart { .. })));
            let mut body = Vec::new();
            let error = loop {
                match reader.next().await {
                    Ok(Event::BodyChunk(chunk)) => body.extend_from_slice(&chunk),
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(body.escape_ascii().to_string(), told.escape_default().to_string());
            assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
            // The honest response behind it is not told either.
            assert!(matches!(reader.next().await, Err(Error::Protocol { .. })));
            assert!(matches!(reader.try_next(), Err(Error::Protocol { .. })));
        }
    }
}

#[tokio::test]
async fn what_is_kept_of_one_response_is_bounded() {
    let (io, _server) = play(
        "S: * OK [CAPABILITY IMAP4rev1] hello
        S: * 1 FETCH (UID 7 BODY[1] {6}
        S: abcdef BODY[2] {5}
        S: ghijk BODY[3] {4}
        S: lmno)",
        3,
    );
    let mut session = wrap(io, "test:143", Limits { max_inline: 10, ..limits() }).await.unwrap();
    let (_, reader) = session.halves();
    let Event::BodyStart { size: 5, uid: Some(_), .. } = reader.next().await.unwrap() else { panic!() };
    let mut streamed = Vec::new();
    let fetched = loop {
        match reader.next().await.unwrap() {
            Event::BodyChunk(chunk) => streamed.extend_from_slice(&chunk),
            Event::BodyEnd { fetched } => break fetched,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(streamed, b"ghijk");
    let kept: Vec<_> = fetched.sections.iter().map(|(item, text)| (item.as_str(), text.as_ref())).collect();
    assert_eq!(kept, [("BODY[1]", b"abcdef".as_slice()), ("BODY[3]", b"lmno")]);
}

#[tokio::test]
async fn refusals_and_farewells_say_all_that_is_needed() {
    let (mut session, server) = session(
        "S: * OK [CAPABILITY IMAP4rev1] hello
        C: M1 NOOP
        S: M1 BAD Request is throttled. Suggested Backoff Time: 89000 milliseconds
        C: M2 EXAMINE \"INBOX\"
        S: M2 NO [NONEXISTENT] no
        C: M3 NOOP
        S: * BYE Session invalidated - AccessTokenExpired",
        4,
    )
    .await;
    let Err(Error::Refused { command, status, code, text, .. }) = session.noop().await else { panic!() };
    assert_eq!((command, status, code), ("NOOP", Status::Bad, None));
    assert_eq!(text, "Request is throttled. Suggested Backoff Time: 89000 milliseconds");
    let error = session.examine(&FolderName::inbox()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: Some(Code::Other(code)), .. } if code == "NONEXISTENT"));
    let error = session.noop().await.unwrap_err();
    assert!(matches!(&error, Error::Bye { text, .. } if text == "Session invalidated - AccessTokenExpired"));
    assert!(error.is_fatal());
    // It sticks, for both halves.
    assert_eq!(session.noop().await.unwrap_err().to_string(), error.to_string());
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (ours, _theirs) = duplex(1 << 10);
    let error = wrap(ours, "test:143", limits()).await.unwrap_err();
    assert_eq!(error.to_string(), "test:143: timed out waiting for the server's greeting");
}

#[tokio::test(start_paused = true)]
async fn silence_counts_only_while_something_is_owed() {
    let (ours, mut theirs) = duplex(1 << 20);
    theirs.write_all(b"* OK [CAPABILITY IMAP4rev1 LITERAL+] hello\r\n").await.unwrap();
    let mut session = wrap(ours, "test:143", limits()).await.unwrap();
    let (writer, reader) = session.halves();
    let hour = Duration::from_secs(3_600);
    assert!(tokio::time::timeout(hour, reader.next()).await.is_err(), "nothing owed");
    writer.append(&FolderName::inbox(), &Flags::default(), None, 3).await.unwrap();
    writer.flush().await.unwrap();
    assert!(tokio::time::timeout(hour, reader.next()).await.is_err(), "the server waits for us");
    writer.chunk(b"abc").await.unwrap();
    writer.finish().await.unwrap();
    assert!(tokio::time::timeout(hour, reader.next()).await.is_err(), "and has not got all of it");
    writer.flush().await.unwrap();
    let begun = tokio::time::Instant::now();
    let error = reader.next().await.unwrap_err();
    assert_eq!(error.to_string(), "test:143: timed out waiting for the server's answer");
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert!(matches!(
        writer.send("NOOP").await.err().or(writer.flush().await.err()),
        Some(Error::Timeout { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_is_given_up() {
    let (ours, mut theirs) = duplex(1 << 10);
    theirs.write_all(b"* OK [CAPABILITY IMAP4rev1 LITERAL+] hello\r\n").await.unwrap();
    let mut session = wrap(ours, "test:143", limits()).await.unwrap();
    let (writer, reader) = session.halves();
    writer.append(&FolderName::inbox(), &Flags::default(), None, 1 << 20).await.unwrap();
    let error = writer.chunk(&[b'x'; 1 << 20]).await.unwrap_err();
    assert_eq!(error.to_string(), "test:143: timed out sending");
    assert!(writer.flush().await.is_err());
    let _ = reader;
}

#[tokio::test]
async fn long_sets_are_pipelined_in_short_commands() {
    let (ours, theirs) = duplex(1 << 16);
    let server = tokio::spawn(async move {
        let (read, mut write) = tokio::io::split(theirs);
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(read));
        write.write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n").await.unwrap();
        let mut longest = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            longest = longest.max(line.len());
            let (tag, rest) = line.split_once(' ').unwrap();
            let set = rest.strip_prefix("UID FETCH ").unwrap().strip_suffix(" (UID FLAGS)").unwrap();
            for uid in UidSet::parse(set.as_bytes()).unwrap().iter() {
                write.write_all(format!("* 1 FETCH (UID {uid} FLAGS ())\r\n").as_bytes()).await.unwrap();
            }
            write.write_all(format!("{tag} OK done\r\n").as_bytes()).await.unwrap();
        }
        longest
    });
    let mut session = wrap(ours, "test:143", limits()).await.unwrap();
    let odd = UidSet::from_numbers((0..20_000).map(|n| 2 * n + 1));
    let mut told = Vec::new();
    session.uid_fetch(&odd, "UID FLAGS", |fetched| told.extend(fetched.uid)).await.unwrap();
    assert!(told.iter().copied().eq(odd.iter()));
    session.uid_fetch(&UidSet::new(), "UID", |_| panic!("nothing was asked")).await.unwrap();
    drop(session);
    let longest = server.await.unwrap();
    assert!((3_000..4_000).contains(&longest), "{longest}");
}

#[tokio::test]
async fn folders_with_their_status_without_list_status() {
    let (mut session, server) = session(
        "S: * OK [CAPABILITY IMAP4rev1] hello
        C: M1 LIST \"\" \"*\"
        S: * LIST (\\HasNoChildren) \"/\" Inbox
        S: * LIST (\\noselect) \"/\" \"a\"
        S: * LIST () \"/\" {3}
        S: a/b
        S: M1 OK done
        C: M2 STATUS \"INBOX\" (MESSAGES UIDNEXT UIDVALIDITY)
        C: M3 STATUS \"a/b\" (MESSAGES UIDNEXT UIDVALIDITY)
        S: * STATUS \"INBOX\" (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 1)
        S: M2 OK done
        S: M3 NO not now",
        5,
    )
    .await;
    let found = session.list_status(&FolderName::from_wire(""), "*").await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(listed, status)| (listed.name.to_text(), status.as_ref().and_then(|s| s.messages)))
        .collect();
    assert_eq!(found, [("INBOX".to_owned(), Some(3)), ("a".to_owned(), None), ("a/b".to_owned(), None)]);
    server.await.unwrap();
}

#[tokio::test]
async fn what_a_search_says_is_never_lost() {
    let (mut session, _server) = session(
        "S: * OK [CAPABILITY IMAP4rev1] hello
        C: M1 UID SEARCH ALL
        S: * SEARCH 5 3 4
        S: * SEARCH 9
        S: M1 OK done
        C: M2 UID SEARCH ALL
        S: * SEARCH 5 x
        S: M2 OK done",
        5,
    )
    .await;
    assert_eq!(session.uid_search("ALL").await.unwrap().to_string(), "3:5,9");
    assert!(matches!(session.uid_search("ALL").await, Err(Error::Protocol { .. })));
}

#[tokio::test]
async fn hostile_servers_end_in_errors() {
    let endless_line = [b"* OK ".as_slice(), &[b'x'; 100_000]].concat();
    let endless_literals = b"* 1 FETCH (X {1}\r\na ".repeat(100_000);
    for hostile in [
        endless_line.as_slice(),
        b"* LIST () \"/\" {99999999}\r\n",
        b"* 1 FETCH (ENVELOPE (NIL {99999999}\r\n",
        b"M7x OK what\r\n",
        b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n",
        b"* 1 FETCH (BODY[] x{3}\r\n",
        b"* 1 FETCH (BODY[] {3}\r\nabc\r\n)\r\n",
        b"* 1 FETCH (BODY[] {9}\r\nabc\r\n)\r\n",
        &endless_literals,
    ] {
        let (ours, mut theirs) = duplex(1 << 25);
        theirs.write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n").await.unwrap();
        theirs.write_all(hostile).await.unwrap();
        let limits = Limits { max_line: 50_000, ..limits() };
        let mut session = wrap(ours, "test:143", limits).await.unwrap();
        drop(theirs);
        let (_, reader) = session.halves();
        let error = loop {
            match reader.next().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        let begin = hostile[..hostile.len().min(40)].escape_ascii();
        let is_broken_in_body = hostile.ends_with(b"{9}\r\nabc\r\n)\r\n");
        assert!(matches!(error, Error::Protocol { .. }) != is_broken_in_body, "{begin}: {error}");
        assert_eq!(reader.next().await.unwrap_err().to_string(), error.to_string());
    }
}
