//! The client against scripted servers.

use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::response::{Code, Response, Status};
use crate::{Flags, FolderName, InternalDate, UidSet};

/// Plays a server: lines that begin with `S: ` are sent, those with `C: ` must come. `\r\n` are added; a `\` at the end
/// of a line leaves them out. After the script the connection is closed.
fn play(script: &'static str, piece: usize) -> (DuplexStream, JoinHandle<()>) {
    let (ours, mut theirs) = duplex(1 << 16);
    let server = tokio::spawn(async move {
        for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            let (side, text) = line.split_at(3);
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
