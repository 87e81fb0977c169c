//! What is written: APPEND in each of its forms, copies and moves.

use super::*;

/// Appends while the reader is driven; gives what came of it and the answer's code.
async fn append(session: &mut Session, flags: &Flags, body: &[u8]) -> (bool, Option<Code>) {
    let date = InternalDate::parse(b"01-Jul-2020 10:00:00 +0200");
    let folder = FolderName::from_text("a\"b\\c");
    let (writer, reader) = session.halves();
    let write = async {
        match writer.append(&folder, flags, date, body.len() as u64).await.unwrap() {
            Append::Refused(_) => return false,
            Append::Open(_) => writer.chunk(body).await.unwrap(),
        }
        writer.finish().await.unwrap();
        writer.flush().await.unwrap();
        true
    };
    let read = async {
        loop {
            if let Event::Tagged { text, .. } = reader.next().await.unwrap() {
                break text.code;
            }
        }
    };
    tokio::join!(write, read)
}

#[tokio::test]
async fn appends_with_each_kind_of_literal() {
    let seen: Flags = ["\\Seen", "$x"].into_iter().collect();
    let (mut free, server) = session(
        "S: * OK [CAPABILITY IMAP4rev1 LITERAL+] hello
        C: M1 APPEND \"a\\\"b\\\\c\" (\\Seen $x) \" 1-Jul-2020 10:00:00 +0200\" {5000+}
        C: 0\\
        S: * 1 EXISTS
        S: M1 OK [APPENDUID 7 9] done",
        3,
    )
    .await;
    // The script looks at the first byte of the body only.
    let (went, code) = append(&mut free, &seen, &[b'0'; 5_000]).await;
    assert!(went && matches!(code, Some(Code::AppendUid(..))));
    server.await.unwrap();

    let (mut small, server) = session(
        "S: * OK [CAPABILITY IMAP4rev1 LITERAL-] hello
        C: M1 APPEND \"a\\\"b\\\\c\" () \" 1-Jul-2020 10:00:00 +0200\" {3+}
        C: abc
        S: M1 OK done
        C: M2 APPEND \"a\\\"b\\\\c\" () \" 1-Jul-2020 10:00:00 +0200\" {4097}
        S: + go on {5}
        C: 1\\
        S: M2 NO [OVERQUOTA] full",
        1,
    )
    .await;
    assert_eq!(append(&mut small, &Flags::default(), b"abc").await, (true, None));
    let (went, code) = append(&mut small, &Flags::default(), &[b'1'; 4_097]).await;
    assert_eq!((went, code), (true, Some(Code::Other("OVERQUOTA".into()))));
    server.await.unwrap();

    for plus in ["S: +", "S: + ", "S: +OK", "S: + Ready for additional command text."] {
        let script = format!(
            "S: * OK [CAPABILITY IMAP4rev1] hello
            C: M1 APPEND \"a\\\"b\\\\c\" () \" 1-Jul-2020 10:00:00 +0200\" {{3}}
            S: * 4 EXISTS
            S: M1 NO [TRYCREATE] no such folder
            C: M2 APPEND \"a\\\"b\\\\c\" () \" 1-Jul-2020 10:00:00 +0200\" {{3}}
            {plus}
            C: abc
            S: M2 OK done"
        );
        let (mut asked, server) = session(script.leak(), 2).await;
        let refused = append(&mut asked, &Flags::default(), b"abc").await;
        assert_eq!(refused, (false, Some(Code::TryCreate)));
        assert_eq!(append(&mut asked, &Flags::default(), b"abc").await, (true, None));
        server.await.unwrap();
    }
}

#[tokio::test]
async fn the_writer_holds_to_what_it_announced() {
    let (mut session, _server) = session("S: * OK [CAPABILITY IMAP4rev1 LITERAL+] hello\n C: x", 9).await;
    let (writer, _) = session.halves();
    assert!(matches!(writer.chunk(b"x").await, Err(Error::Misuse { .. })));
    assert!(matches!(writer.send("NOOP\r\nM9 LOGOUT").await, Err(Error::Misuse { .. })));
    let odd = FolderName::from_wire(&b"a\r\nb"[..]);
    assert!(matches!(writer.append(&odd, &Flags::default(), None, 3).await, Err(Error::Misuse { .. })));
    writer.append(&FolderName::inbox(), &Flags::default(), None, 3).await.unwrap();
    assert!(matches!(writer.send("NOOP").await, Err(Error::Misuse { .. })));
    writer.chunk(b"ab").await.unwrap();
    assert!(matches!(writer.finish().await, Err(Error::Misuse { .. })));
    assert!(matches!(writer.chunk(b"cd").await, Err(Error::Misuse { .. })));
    writer.chunk(b"c").await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_append_is_the_end_of_the_writer() {
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n").await.unwrap();
    let mut session = wrap(ours, "test:143", limits()).await.unwrap();
    let (writer, reader) = session.halves();
    let (inbox, flags) = (FolderName::inbox(), Flags::default());
    let abandoned = tokio::time::timeout(Duration::from_secs(1), writer.append(&inbox, &flags, None, 9));
    assert!(abandoned.await.is_err());
    // The next command would be taken for the body.
    theirs.write_all(b"+ go\r\n* 1 EXISTS\r\n").await.unwrap();
    assert_eq!(reader.next().await.unwrap(), Event::Untagged(Response::Exists(1)));
    writer.send("NOOP").await.unwrap_err();
    writer.flush().await.unwrap_err();
    let mut came = vec![0; 100];
    let length = theirs.read(&mut came).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&came[..length]), "M1 APPEND \"INBOX\" () {9}\r\n");
}

#[tokio::test]
async fn copies_and_moves_tell_their_pairs() {
    let (mut session, server) = session(
        "S: * OK [CAPABILITY IMAP4rev1] hello
        C: M1 UID MOVE 3:4 \"a\"
        S: [COPYUID 14 3:4 415,414]
        S: * 2 EXPUNGE
        S: M1 OK moved
        C: M2 UID COPY 3:4 \"a\"
        S: M2 OK [COPYUID 14 1:4294967295 1:4294967295] copied",
        9,
    )
    .await;
    let (set, folder) = (UidSet::parse(b"3:4").unwrap(), FolderName::from_wire(&b"a"[..]));
    let moved = session.uid_move(&set, &folder).await.unwrap();
    let moved: Vec<_> =
        moved.iter().map(|one| (one.from.value(), one.validity.value(), one.to.value())).collect();
    assert_eq!(moved, [(3, 14, 415), (4, 14, 414)]);
    // More pairs than were asked for are not even looked at.
    assert_eq!(session.uid_copy(&set, &folder).await.unwrap(), []);
    server.await.unwrap();
}
