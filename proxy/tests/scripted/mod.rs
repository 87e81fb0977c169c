//! A proxy between a client and a source that a test plays itself, byte by byte, both in plain text.
#![allow(dead_code)]

use std::time::Duration;

use mailferry_imap::net::{Security, Server, TlsClient, Trust};
use mailferry_ledger::Ledger;
use mailferry_proxy::{Listen, Proxy, ProxyConfig, ProxyLimits, TellSource};
use mailferry_spool::{Limits, Spool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever is waited for is there long before.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub struct Stand {
    pub proxy: Proxy,
    pub shutdown: CancellationToken,
    pub source: TcpListener,
    running: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// Both ends of one session.
pub struct Session {
    pub client: Peer,
    pub source: Peer,
}

/// One end.
pub struct Peer(pub TcpStream);

impl Stand {
    pub async fn start(limits: ProxyLimits) -> Self {
        Self::configured(|config| config.limits = limits).await
    }

    /// With the configuration changed before the proxy starts.
    pub async fn configured(change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
        let spool = Spool::new(Limits { memory_bytes: 0, disk_bytes: 0, dir: dir.path().to_owned() });
        let source = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = ProxyConfig {
            listen: vec![Listen::new("127.0.0.1:0".parse().unwrap(), Security::None)],
            certificates: Vec::new(),
            source: Server {
                host: "127.0.0.1".to_owned(),
                port: source.local_addr().unwrap().port(),
                security: Security::None,
                trust: Trust::Off,
            },
            tls: TlsClient::new(&Trust::Off).unwrap(),
            tell_source: TellSource::Nothing,
            limits: ProxyLimits::default(),
            endpoint: "E".to_owned(),
            vault: None,
        };
        change(&mut config);
        let proxy = Proxy::new(config, ledger, spool).unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
            async move { proxy.run(shutdown).await }
        });
        Self { proxy, shutdown, source, running, _dir: dir }
    }

    /// A session that was greeted.
    pub async fn greeted(&self) -> Session {
        let client = TcpStream::connect(self.proxy.addresses()[0]).await.unwrap();
        let (source, _) = soon(self.source.accept()).await.unwrap();
        let mut session = Session { client: Peer(client), source: Peer(source) };
        session.down("* OK ready\r\n").await;
        session
    }

    /// A session that is logged in.
    pub async fn logged_in(&self) -> Session {
        let mut session = self.greeted().await;
        session.up("l LOGIN ann secret\r\n").await;
        session.down("l OK in\r\n").await;
        session
    }

    /// Waits until no session is left.
    pub async fn empty(&self) {
        let waiting = async {
            while self.proxy.counters().open > 0 {
                tokio::task::yield_now().await;
            }
        };
        soon(waiting).await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.running).await.unwrap();
    }
}

impl Session {
    /// The client says it and the source hears it.
    pub async fn up(&mut self, text: &str) {
        self.client.say(text).await;
        self.source.hears(text).await;
    }

    /// The source says it and the client hears it.
    pub async fn down(&mut self, text: &str) {
        self.source.say(text).await;
        self.client.hears(text).await;
    }
}

impl Peer {
    pub async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Just this comes next.
    pub async fn hears(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        soon(self.0.read_exact(&mut heard)).await.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    /// All that comes up to the end.
    pub async fn rest(&mut self) -> String {
        let mut heard = Vec::new();
        // An end by reset is an end too.
        let _ = soon(self.0.read_to_end(&mut heard)).await;
        String::from_utf8_lossy(&heard).into_owned()
    }
}

/// Waits for it, but not for ever.
pub async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes")
}
