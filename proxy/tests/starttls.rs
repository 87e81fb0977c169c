//! STARTTLS on both legs, and those who stop or speak in the clear where TLS begins.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::time::Duration;

use mailferry_imap::net::{Security, TlsClient, Trust};
use mailferry_proxy::{CertificateFiles, Listen, ProxyConfig};
use scripted::{Peer, Stand, soon};
use tokio::net::TcpStream;

/// With a source that wants STARTTLS.
async fn stand() -> Stand {
    Stand::configured(|config: &mut ProxyConfig| {
        config.source.security = Security::Tls;
        config.source.trust = Trust::Off;
        config.tls = TlsClient::new(&Trust::Off).unwrap();
    })
    .await
}

const UNREACHED: &str = "* BYE [UNAVAILABLE] The mail server cannot be reached, try again later.\r\n";

#[tokio::test]
async fn of_a_source_that_speaks_in_the_clear_where_tls_should_begin_the_client_hears_nothing() {
    let stand = stand().await;
    for injected in [
        "mf1 OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nmf2 OK done\r\n",
        "mf1 OK go\r\nm",
        "mf1 NO not today\r\n",
        "mf1 BAD what\r\n",
        "* OK mf1 OK go\r\nmf1 NO not today\r\n",
    ] {
        let mut client = Peer(TcpStream::connect(stand.proxy.addresses()[0]).await.unwrap());
        let mut source = Peer(soon(stand.source.accept()).await.unwrap().0);
        source.say("* OK [ALERT] ready\r\n").await;
        source.hears("mf1 STARTTLS\r\n").await;
        source.say(injected).await;
        assert_eq!(client.rest().await, UNREACHED, "{injected:?}");
        assert_eq!(source.rest().await, "", "{injected:?}");
    }
    stand.stop().await;
}

#[tokio::test]
async fn a_source_that_wants_no_login_is_not_spoken_to_and_one_that_says_goodbye_is_heard() {
    let stand = stand().await;
    for (greeting, heard) in [
        ("* PREAUTH in already\r\n", UNREACHED),
        ("* BYE [REFERRAL imap://evil.example/] full\r\n", "* BYE full\r\n"),
    ] {
        let mut client = Peer(TcpStream::connect(stand.proxy.addresses()[0]).await.unwrap());
        let mut source = Peer(soon(stand.source.accept()).await.unwrap().0);
        source.say(greeting).await;
        client.hears(heard).await;
        drop(source);
        assert_eq!(client.rest().await, "");
    }
    stand.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_for_tls_and_does_not_begin_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = CertificateFiles {
        certificate_file: dir.path().join("cert.pem"),
        private_key_file: dir.path().join("key.pem"),
    };
    std::fs::write(&files.certificate_file, key.cert.pem()).unwrap();
    std::fs::write(&files.private_key_file, key.signing_key.serialize_pem()).unwrap();
    let stand = Stand::configured(|config: &mut ProxyConfig| {
        config.listen = vec![Listen::new("127.0.0.1:0".parse().unwrap(), Security::Tls)];
        config.certificates = vec![files];
        config.limits.handshake = Duration::from_millis(200);
    })
    .await;
    for begun in ["", "\u{16}\u{3}\u{1}", "a LOGIN ann secret\r\n"] {
        let mut session = stand.greeted().await;
        session.client.say("s STARTTLS\r\n").await;
        session.client.hears("s OK Begin TLS negotiation now.\r\n").await;
        session.client.say(begun).await;
        assert_eq!(session.source.rest().await, "", "nothing of it reaches the source");
        session.client.rest().await;
    }
    assert_eq!(stand.proxy.counters().failed_handshakes, 3);
    stand.stop().await;
}
