//! Greetings, STARTTLS and logins.

use super::*;

#[tokio::test]
async fn logins() {
    let (mut session, server) = session(
        "S: * OK hello
        C: M1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2
        S: M1 OK done
        C: M2 LOGIN \"joe\" \"pass\\\"word\"
        S: M2 NO LOGIN joe pass\"word is wrong
        C: M3 AUTHENTICATE PLAIN YQBiAHBhc3Mid29yZA==
        S: M3 BAD YQBiAHBhc3Mid29yZA== is wrong
        C: M4 AUTHENTICATE XOAUTH2 dXNlcj1qb2UBYXV0aD1CZWFyZXIgcGFzcyJ3b3JkAQE=
        S: + eyJzdGF0dXMiOiI0MDAifQ==
        C: 
        S: M4 NO AUTHENTICATE failed.
        C: M5 LOGIN {4}
        S: * OK wait
        S: + go
        C: jo\u{eb} {9}
        S: + go
        C: pass\"word
        S: M5 OK [CAPABILITY IMAP4rev1 LITERAL+] in
        C: M6 LOGOUT
        S: * BYE bye
        S: M6 OK",
        2,
    )
    .await;
    assert_eq!(session.greeting(), "hello");
    let error = session.login("joe", &secret()).await.unwrap_err();
    assert_eq!(error.to_string(), "test:143: LOGIN refused: NO LOGIN joe [secret] is wrong");
    let error = session.authenticate_plain("a", "b", &secret()).await.unwrap_err();
    assert_eq!(error.to_string(), "test:143: AUTHENTICATE PLAIN refused: BAD [secret] is wrong");
    let error = session.authenticate_xoauth2("joe", &secret()).await.unwrap_err();
    let told = "test:143: AUTHENTICATE XOAUTH2 refused: NO AUTHENTICATE failed. {\"status\":\"400\"}";
    assert_eq!(error.to_string(), told);
    session.login("jo\u{eb}", &secret()).await.unwrap();
    assert!(session.capabilities().has("LITERAL+") && !session.capabilities().has("SASL-IR"));
    assert!(!format!("{session:?}").contains("pass"));
    session.logout().await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn a_password_does_not_leave_where_it_must_not() {
    let (mut session, _server) = session("S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello", 9).await;
    assert!(matches!(session.login("joe", &secret()).await, Err(Error::Unsupported { .. })));
    let plain = session.authenticate_plain("", "joe", &secret()).await;
    assert!(matches!(plain, Err(Error::Unsupported { .. })));
    assert_eq!(session.halves().0.queued(), 0);
}

#[tokio::test]
async fn authenticate_without_initial_response_asks_again_what_the_server_can_do() {
    let (mut session, server) = session(
        "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello
        C: M1 AUTHENTICATE PLAIN
        S: +
        C: AGIAcGFzcyJ3b3Jk
        S: M1 OK in
        C: M2 CAPABILITY
        S: * CAPABILITY IMAP4rev1 UIDPLUS
        S: M2 OK done",
        1,
    )
    .await;
    session.authenticate_plain("", "b", &secret()).await.unwrap();
    assert!(session.capabilities().has("UIDPLUS"));
    server.await.unwrap();
}

#[tokio::test]
async fn greetings_that_are_none() {
    for (greeting, expected) in [
        ("S: * BYE [ALERT] go away", "test:143: server closed the connection: go away"),
        ("S: 220 smtp.example.org ESMTP", "test:143: protocol error: no IMAP greeting"),
        ("S: \u{15}\u{3}", "test:143: protocol error: no IMAP greeting"),
        ("S: M1 OK hello", "test:143: protocol error: no IMAP greeting"),
        ("", "test:143: connection lost: closed by the server"),
    ] {
        let (io, _server) = play(greeting, 9);
        let error = wrap(io, "test:143", limits()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

async fn start_tls(script: &'static str) -> Result<(), Error> {
    let (io, _server) = play(script, 1_000);
    let mut session = Session::greeted(io::Stream::Other(Box::new(io)), "test:143".into(), limits()).await?;
    session.start_tls().await
}

#[tokio::test]
async fn nothing_said_in_the_clear_survives_starttls() {
    let injected = start_tls(
        "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hello
        C: M1 STARTTLS
        S: M1 OK go|* CAPABILITY IMAP4rev1 LITERAL+|M2 OK done",
    )
    .await;
    assert_eq!(injected.unwrap_err().to_string(), "test:143: protocol error: plaintext after STARTTLS");
    let injected = start_tls(
        "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hello
        C: M1 STARTTLS
        S: M1 OK go|x\\",
    )
    .await;
    assert_eq!(injected.unwrap_err().to_string(), "test:143: protocol error: plaintext after STARTTLS");
    let none = start_tls("S: * OK [CAPABILITY IMAP4rev1] hello").await;
    assert!(matches!(none, Err(Error::Unsupported { what: "STARTTLS", .. })));
    let before = start_tls("S: * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hello").await;
    assert!(matches!(before, Err(Error::Unsupported { what: "STARTTLS", .. })));
    start_tls("S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hello\n C: M1 STARTTLS\n S: M1 OK go").await.unwrap();
}
