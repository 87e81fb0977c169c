//! What needs no source: addresses, certificates, limits.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailferry_imap::net::{Security, Server, TlsClient, Trust};
use mailferry_ledger::Ledger;
use mailferry_proxy::{CertificateFiles, Listen, Proxy, ProxyConfig, ProxyError, ProxyLimits};
use mailferry_spool::{Limits, Spool};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

struct Place {
    dir: tempfile::TempDir,
    ledger: Ledger,
    spool: Spool,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
        let spool = Spool::new(Limits { memory_bytes: 0, disk_bytes: 0, dir: dir.path().to_owned() });
        Self { dir, ledger, spool }
    }

    /// A certificate for this name, in files named after `files`.
    fn certificate(&self, files: &str, name: &str) -> CertificateFiles {
        let identity = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let path = |end: &str| -> PathBuf { self.dir.path().join(format!("{files}.{end}")) };
        std::fs::write(path("pem"), identity.cert.pem()).unwrap();
        std::fs::write(path("key"), identity.signing_key.serialize_pem()).unwrap();
        CertificateFiles { certificate_file: path("pem"), private_key_file: path("key") }
    }

    /// A proxy whose source does not answer: nothing listens there.
    fn proxy(
        &self,
        listen: &[(&str, Security)],
        certificates: Vec<CertificateFiles>,
    ) -> Result<Proxy, ProxyError> {
        let listen = listen
            .iter()
            .map(|(address, security)| Listen { address: address.parse().unwrap(), security: *security });
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let source =
            Server { host: "127.0.0.1".to_owned(), port, security: Security::None, trust: Trust::Off };
        let config = ProxyConfig {
            listen: listen.collect(),
            certificates,
            source,
            tls: TlsClient::new(&Trust::Off).unwrap(),
            limits: ProxyLimits {
                max_connections_per_address: 2,
                drain: Duration::from_millis(200),
                ..ProxyLimits::default()
            },
            endpoint: "E".to_owned(),
            vault: None,
        };
        Proxy::new(config, self.ledger.clone(), self.spool.clone())
    }
}

fn error(proxy: Result<Proxy, ProxyError>) -> String {
    proxy.err().unwrap().to_string()
}

#[tokio::test]
async fn what_cannot_be_is_said_before_anything_listens() {
    let place = Place::new();
    let good = place.certificate("good", "mail.example");
    assert_eq!(error(place.proxy(&[], vec![good.clone()])), "the proxy has no address to listen on");
    assert_eq!(
        error(place.proxy(&[("0.0.0.0:0", Security::None)], vec![good.clone()])),
        "0.0.0.0:0: security none is only for loopback addresses"
    );
    assert_eq!(
        error(place.proxy(&[("127.0.0.1:0", Security::Tls)], Vec::new())),
        "127.0.0.1:0 wants TLS, but no certificate is configured"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(
        error(place.proxy(&[(&address, Security::None)], Vec::new()))
            .starts_with(&format!("cannot listen on {address}: "))
    );
    let missing = CertificateFiles { certificate_file: "/nowhere/x.pem".into(), ..good.clone() };
    assert!(
        error(place.proxy(&[("127.0.0.1:0", Security::Ssl)], vec![missing]))
            .starts_with("/nowhere/x.pem: no certificate read")
    );
    let other = place.certificate("other", "other.example");
    let mixed = CertificateFiles { private_key_file: other.private_key_file, ..good };
    let mixed = error(place.proxy(&[("127.0.0.1:0", Security::Ssl)], vec![mixed]));
    assert!(mixed.contains("other.key: does not belong to the certificate"), "{mixed}");
}

/// The certificate that is shown to who asks for this name.
async fn shown(address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let tls = TlsConnector::from(TlsClient::new(&Trust::Off).unwrap().config());
    let tcp = TcpStream::connect(address).await.unwrap();
    let stream = tls.connect(ServerName::try_from(name.to_owned()).unwrap(), tcp).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn read(path: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(path).unwrap()
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_exchanged_while_it_runs() {
    let place = Place::new();
    let files = [place.certificate("one", "one.example"), place.certificate("two", "*.two.example")];
    let proxy = place.proxy(&[("127.0.0.1:0", Security::Ssl)], files.to_vec()).unwrap();
    let address = proxy.addresses()[0];
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
        async move { proxy.run(shutdown).await }
    });
    let [one, two] = [read(&files[0].certificate_file), read(&files[1].certificate_file)];
    assert_eq!(shown(address, "one.example").await, one);
    assert_eq!(shown(address, "imap.two.example").await, two);
    assert_eq!(shown(address, "third.example").await, one, "the first where none fits");

    place.certificate("two", "*.two.example");
    proxy.reload_certificates().unwrap();
    assert_eq!(shown(address, "imap.two.example").await, read(&files[1].certificate_file));
    std::fs::write(&files[0].certificate_file, "nonsense").unwrap();
    assert!(proxy.reload_certificates().unwrap_err().to_string().contains("one.pem"));
    assert_eq!(shown(address, "one.example").await, one, "the old ones stay");
    shutdown.cancel();
    running.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn connections_are_limited_by_address_and_kicked() {
    let place = Place::new();
    let files = place.certificate("one", "one.example");
    let proxy = Arc::new(place.proxy(&[("127.0.0.1:0", Security::Ssl)], vec![files]).unwrap());
    let address = proxy.addresses()[0];
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
        async move { proxy.run(shutdown).await }
    });
    // Two that never begin their handshake, and a third.
    let mut first = TcpStream::connect(address).await.unwrap();
    let _second = TcpStream::connect(address).await.unwrap();
    let mut third = TcpStream::connect(address).await.unwrap();
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)), "turned away");
    assert_eq!((proxy.counters().turned_away, proxy.counters().open), (1, 2));
    let sessions = proxy.sessions();
    assert_eq!(sessions.len(), 2);
    assert!(proxy.kick(sessions[0].id) && !proxy.kick(99));
    assert!(matches!(first.read(&mut [0]).await, Ok(0) | Err(_)), "kicked");
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(proxy.counters().open, 0);
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_stay_without_a_login() {
    let place = Place::new();
    let source = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port: source.local_addr().unwrap().port(),
        security: Security::None,
        trust: Trust::Off,
    };
    let listen = Listen { address: "127.0.0.1:0".parse().unwrap(), security: Security::None };
    let config = ProxyConfig {
        listen: vec![listen],
        certificates: Vec::new(),
        source: server,
        tls: TlsClient::new(&Trust::Off).unwrap(),
        limits: ProxyLimits { login: Duration::from_secs(1), ..ProxyLimits::default() },
        endpoint: "E".to_owned(),
        vault: None,
    };
    let proxy = Arc::new(Proxy::new(config, place.ledger.clone(), place.spool.clone()).unwrap());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
        async move { proxy.run(shutdown).await }
    });
    let _deaf = TcpStream::connect(proxy.addresses()[0]).await.unwrap();
    let (mut talkative, _) = source.accept().await.unwrap();
    let news = format!("* OK {}\r\n", "x".repeat(60_000)).into_bytes();
    // Until the proxy lets go of both.
    let talking = async { while talkative.write_all(&news).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), talking).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(proxy.counters().open, 0);
}
