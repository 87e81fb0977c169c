//! What needs no source: addresses, certificates, limits.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailferry_imap::net::{Security, Server, TlsClient, Trust};
use mailferry_ledger::Ledger;
use mailferry_proxy::{
    CertificateFiles, Listen, Listeners, Proxy, ProxyConfig, ProxyError, ProxyLimits, TellSource,
};
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
        self.open(self.config(listen, certificates))
    }

    fn open(&self, config: ProxyConfig) -> Result<Proxy, ProxyError> {
        Proxy::new(config, self.ledger.clone(), self.spool.clone())
    }

    fn config(&self, listen: &[(&str, Security)], certificates: Vec<CertificateFiles>) -> ProxyConfig {
        let listen =
            listen.iter().map(|(address, security)| Listen::new(address.parse().unwrap(), *security));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let source =
            Server { host: "127.0.0.1".to_owned(), port, security: Security::None, trust: Trust::Off };
        ProxyConfig {
            listen: listen.collect(),
            certificates,
            source,
            tls: TlsClient::new(&Trust::Off).unwrap(),
            tell_source: TellSource::Nothing,
            limits: ProxyLimits {
                max_connections_per_address: 2,
                drain: Duration::from_millis(200),
                certificate_look: Duration::from_millis(20),
                ..ProxyLimits::default()
            },
            endpoint: "E".to_owned(),
            vault: None,
        }
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
    tls(address, name).await.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn read(path: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(path).unwrap()
}

/// A proxy that runs, until it is stopped.
struct Running {
    proxy: Proxy,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn new(proxy: Proxy) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
            async move { proxy.run(shutdown).await }
        });
        Self { proxy, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_exchanged_while_it_runs() {
    let place = Place::new();
    let files = [place.certificate("one", "one.example"), place.certificate("two", "*.two.example")];
    let config = place.config(&[("127.0.0.1:0", Security::Ssl)], files.to_vec());
    let running = Running::new(place.open(config.clone()).unwrap());
    let address = running.proxy.addresses()[0];
    let [one, two] = [read(&files[0].certificate_file), read(&files[1].certificate_file)];
    assert_eq!(shown(address, "one.example").await, one);
    assert_eq!(shown(address, "imap.two.example").await, two);
    assert_eq!(shown(address, "third.example").await, one, "the first where none fits");

    let third = place.certificate("three", "third.example");
    let mut more = config.clone();
    more.certificates.push(third.clone());
    running.proxy.reload(&more).unwrap();
    assert_eq!(shown(address, "third.example").await, read(&third.certificate_file), "one was added");
    std::fs::write(&third.certificate_file, "nonsense").unwrap();
    assert!(running.proxy.reload(&more).unwrap_err().to_string().contains("three.pem"));
    assert_ne!(shown(address, "third.example").await, one, "the old ones stay");
    running.proxy.reload(&config).unwrap();
    assert_eq!(shown(address, "third.example").await, one, "and was taken away");
    running.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn certificate_files_that_change_are_taken_in_by_themselves() {
    let place = Place::new();
    let files = place.certificate("one", "one.example");
    let running = Running::new(place.proxy(&[("127.0.0.1:0", Security::Ssl)], vec![files.clone()]).unwrap());
    let address = running.proxy.addresses()[0];
    let old = shown(address, "one.example").await;
    let idle = tls(address, "one.example").await;

    // A new certificate with the old key: they do not belong together, nothing changes.
    let other = place.certificate("other", "one.example");
    std::fs::copy(&other.certificate_file, &files.certificate_file).unwrap();
    let still = tokio::time::Instant::now() + Duration::from_millis(200);
    while tokio::time::Instant::now() < still {
        assert_eq!(shown(address, "one.example").await, old);
    }
    // The key follows; by renaming, as certificate tools do.
    std::fs::rename(&other.private_key_file, &files.private_key_file).unwrap();
    let new = read(&other.certificate_file);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while shown(address, "one.example").await != new {
        assert!(tokio::time::Instant::now() < deadline, "the new certificate is not shown");
    }
    assert_eq!(idle.get_ref().1.peer_certificates().unwrap()[0], old, "who is connected stays so");
    running.stop().await;
}

async fn tls(address: SocketAddr, name: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    let tls = TlsConnector::from(TlsClient::new(&Trust::Off).unwrap().config());
    let tcp = TcpStream::connect(address).await.unwrap();
    tls.connect(ServerName::try_from(name.to_owned()).unwrap(), tcp).await.unwrap()
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
    let listen = Listen::new("127.0.0.1:0".parse().unwrap(), Security::None);
    let config = ProxyConfig {
        listen: vec![listen],
        certificates: Vec::new(),
        source: server,
        tls: TlsClient::new(&Trust::Off).unwrap(),
        tell_source: TellSource::Nothing,
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

/// Waits for it, but not for ever.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

/// All that is said until the end.
async fn said(tcp: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // An end by reset is an end too.
    let _ = tcp.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn who_is_turned_away_is_told_why() {
    let place = Place::new();
    let files = place.certificate("one", "one.example");
    let mut config =
        place.config(&[("127.0.0.1:0", Security::Tls), ("127.0.0.1:0", Security::Ssl)], vec![files]);
    config.limits.max_connections = 1;
    let running = Running::new(place.open(config.clone()).unwrap());
    let [starttls, implicit] = running.proxy.addresses()[..] else { panic!() };
    // It says nothing, and keeps the one place.
    let first = TcpStream::connect(implicit).await.unwrap();
    until(|| running.proxy.counters().open > 0).await;
    let full = "* BYE [LIMIT] Too many connections, try again later.\r\n";
    assert_eq!(said(&mut TcpStream::connect(starttls).await.unwrap()).await, full);
    assert_eq!(said(&mut TcpStream::connect(implicit).await.unwrap()).await, "");
    config.limits.max_connections = 2;
    running.proxy.reload(&config).unwrap();
    let unreachable = "* BYE [UNAVAILABLE] The mail server cannot be reached, try again later.\r\n";
    assert_eq!(
        said(&mut TcpStream::connect(starttls).await.unwrap()).await,
        unreachable,
        "there is room now"
    );
    assert_eq!(running.proxy.counters().turned_away, 2);
    drop(first);
    running.stop().await;
}

/// A header for this client.
fn header(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4660 993\r\n").into_bytes()
}

#[tokio::test]
async fn behind_a_balancer_the_client_counts_and_nobody_else_may_speak_for_it() {
    let place = Place::new();
    let files = place.certificate("one", "one.example");
    let mut config =
        place.config(&[("127.0.0.1:0", Security::Tls), ("127.0.0.1:0", Security::Ssl)], vec![files]);
    config.limits.max_connections_per_address = 1;
    for listen in &mut config.listen {
        listen.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    }
    let running = Running::new(place.open(config.clone()).unwrap());
    let [starttls, implicit] = running.proxy.addresses()[..] else { panic!() };
    let connect = async |address: SocketAddr, first: &[u8]| {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(first).await.unwrap();
        tcp
    };
    // Two clients, each with its one place, though both come from one balancer.
    let one = connect(implicit, &header("203.0.113.1")).await;
    let two = connect(implicit, &header("203.0.113.2")).await;
    let clients = || {
        let clients = running.proxy.sessions().into_iter().map(|session| session.client.to_string());
        clients.collect::<Vec<_>>()
    };
    until(|| clients() == ["203.0.113.1:4660", "203.0.113.2:4660"]).await;
    let full = "* BYE [LIMIT] Too many connections, try again later.\r\n";
    assert_eq!(said(&mut connect(starttls, &header("203.0.113.1")).await).await, full);
    let unreachable = "* BYE [UNAVAILABLE] The mail server cannot be reached, try again later.\r\n";
    assert_eq!(said(&mut connect(starttls, &header("203.0.113.3")).await).await, unreachable);
    let itself = said(&mut connect(starttls, b"PROXY UNKNOWN\r\n").await).await;
    assert_eq!(itself, unreachable, "a balancer that looks whether we are well");
    let required = "* BYE A PROXY header is required from your address.\r\n";
    assert_eq!(said(&mut connect(starttls, b"a1 CAPABILITY\r\n").await).await, required);
    assert_eq!(said(&mut connect(implicit, b"a1 CAPABILITY\r\n").await).await, "");
    drop((one, two));
    until(|| running.proxy.counters().open == 0).await;
    // From here on this address is nobody's balancer: whoever comes is a client, and may not say to be another.
    config
        .listen
        .iter_mut()
        .for_each(|listen| listen.proxy_protocol_from = vec!["10.0.0.0/8".parse().unwrap()]);
    running.proxy.reload(&config).unwrap();
    assert_eq!(said(&mut connect(starttls, b"").await).await, unreachable);
    let failed = running.proxy.counters().failed_handshakes;
    assert_eq!(said(&mut connect(implicit, &header("203.0.113.1")).await).await, "");
    assert_eq!(running.proxy.counters().failed_handshakes, failed + 1);
    running.stop().await;
}

#[tokio::test]
async fn a_balancer_that_sends_no_header_is_not_waited_for() {
    let place = Place::new();
    let mut config = place.config(&[("127.0.0.1:0", Security::None)], Vec::new());
    config.limits.handshake = Duration::from_millis(200);
    config.listen[0].proxy_protocol_from = vec!["127.0.0.1".parse().unwrap()];
    let running = Running::new(place.open(config).unwrap());
    let mut mute = TcpStream::connect(running.proxy.addresses()[0]).await.unwrap();
    mute.write_all(b"PROXY TCP4 203.").await.unwrap();
    assert_eq!(said(&mut mute).await, "");
    running.stop().await;
}

#[tokio::test]
async fn who_does_not_end_a_handshake_is_let_go() {
    let place = Place::new();
    let files = place.certificate("one", "one.example");
    let mut config = place.config(&[("127.0.0.1:0", Security::Ssl)], vec![files]);
    config.limits.handshake = Duration::from_millis(200);
    let running = Running::new(place.open(config).unwrap());
    for begun in [b"".as_slice(), b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let failed = running.proxy.counters().failed_handshakes;
        let mut slow = TcpStream::connect(running.proxy.addresses()[0]).await.unwrap();
        slow.write_all(begun).await.unwrap();
        until(|| running.proxy.counters().failed_handshakes > failed).await;
        assert_eq!(said(&mut slow).await, "");
    }
    running.stop().await;
}

#[tokio::test]
async fn listening_sockets_outlive_a_proxy() {
    let place = Place::new();
    let mut listeners = Listeners::default();
    let config = place.config(&[("127.0.0.1:0", Security::None)], Vec::new());
    let open = |config: &ProxyConfig, listeners: &mut Listeners| {
        Proxy::with_listeners(config.clone(), place.ledger.clone(), place.spool.clone(), listeners).unwrap()
    };
    let (proxy, _) = open(&config, &mut listeners);
    let mut config = config;
    config.listen[0].address = proxy.addresses()[0];
    Running::new(proxy).stop().await;
    // Nobody serves, and nobody is refused.
    let mut waiting = TcpStream::connect(config.listen[0].address).await.unwrap();
    let (proxy, closed) = open(&config, &mut listeners);
    assert_eq!((proxy.addresses(), closed), (vec![config.listen[0].address], Vec::new()));
    let running = Running::new(proxy);
    assert!(said(&mut waiting).await.starts_with("* BYE [UNAVAILABLE]"));
    running.stop().await;
    // Another address: the old one is closed.
    let old = std::mem::replace(&mut config.listen[0].address, "127.0.0.1:0".parse().unwrap());
    let (_, closed) = open(&config, &mut listeners);
    assert_eq!(closed, [old]);
    assert!(TcpStream::connect(old).await.is_err());
}
