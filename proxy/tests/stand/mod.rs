//! A private Dovecot, a ledger with one mailbox and a proxy before it; everything on free ports, in one temporary folder.
#![allow(dead_code)]

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mailferry_imap::MailboxId;
use mailferry_imap::net::{Security, Server, TlsClient, Trust};
use mailferry_ledger::{AdminLogin, Batch, BatchState, Endpoint, Ledger, Mailbox};
use mailferry_proxy::{CertificateFiles, Listen, Proxy, ProxyConfig, ProxyLimits, TellSource};
use mailferry_spool::{Limits, Seen, Spool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// See the module.
pub struct Stand {
    pub proxy: Proxy,
    pub spool: Spool,
    pub ledger: Ledger,
    pub ann: MailboxId,
    pub shutdown: CancellationToken,
    running: JoinHandle<()>,
    pub dovecot: Dovecot,
}

/// The listeners, in the order of [`Proxy::addresses`].
#[derive(Clone, Copy)]
pub enum Port {
    Ssl,
    Tls,
    Plain,
}

impl Stand {
    pub async fn start(name: &str) -> Self {
        Self::with(name, Security::Ssl, ProxyLimits::default()).await
    }

    pub async fn with(name: &str, upstream: Security, limits: ProxyLimits) -> Self {
        Self::configured(name, upstream, "", |config, _| config.limits = limits).await
    }

    /// With further lines of Dovecot's configuration, and the proxy's changed before it starts.
    pub async fn configured(
        name: &str,
        upstream: Security,
        dovecot: &str,
        change: impl FnOnce(&mut ProxyConfig, &Dovecot),
    ) -> Self {
        let dovecot = Dovecot::start(name, dovecot);
        let folder = dovecot.folder.clone();
        let ledger = Ledger::open(&folder.join("ledger")).unwrap().ledger;
        let ann = mailbox(&ledger).await;
        let spool =
            Spool::new(Limits { memory_bytes: 32 << 20, disk_bytes: 256 << 20, dir: folder.join("spool") });
        let trust = Trust::CaFile(folder.join("cert.pem"));
        let port = if upstream == Security::Ssl { dovecot.tls } else { dovecot.plain };
        let listen = [Security::Ssl, Security::Tls, Security::None]
            .map(|security| Listen::new(SocketAddr::from(([127, 0, 0, 1], 0)), security));
        let mut config = ProxyConfig {
            listen: listen.to_vec(),
            certificates: vec![CertificateFiles {
                certificate_file: folder.join("cert.pem"),
                private_key_file: folder.join("key.pem"),
            }],
            tls: TlsClient::new(&trust).unwrap(),
            tell_source: TellSource::Nothing,
            source: Server { host: "127.0.0.1".to_owned(), port, security: upstream, trust },
            limits: ProxyLimits::default(),
            endpoint: "E".to_owned(),
            vault: None,
        };
        change(&mut config, &dovecot);
        let proxy = Proxy::new(config, ledger.clone(), spool.clone()).unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
            async move { proxy.run(shutdown).await }
        });
        Self { proxy, spool, ledger, ann, shutdown, running, dovecot }
    }

    pub fn port(&self, port: Port) -> u16 {
        self.proxy.addresses()[port as usize].port()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }

    /// Runs a program to its end, off the runtime.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.dovecot.folder).env("HOME", &self.dovecot.folder);
        command.env("CA", self.dovecot.folder.join("cert.pem"));
        for (name, port) in [("SSL", Port::Ssl), ("TLS", Port::Tls), ("PLAIN", Port::Plain)] {
            command.env(name, self.port(port).to_string());
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let shown =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program}: {shown}\n{}", self.dovecot.log());
        output
    }

    /// Runs a Python script with `imaplib` at hand; what it printed.
    pub async fn python(&self, script: &str) -> String {
        let script = format!("{PRELUDE}{script}");
        String::from_utf8(self.run("python3", &["-c", &script]).await.stdout).unwrap()
    }

    /// What the taps saw, once every session has ended, sorted.
    pub async fn seen(&self) -> Vec<String> {
        while self.proxy.counters().open > 0 {
            pause().await;
        }
        let mut told = Vec::new();
        for seen in self.spool.drain(self.ann) {
            told.push(match seen {
                Seen::Body { key, body, origin } => {
                    let mut reader = body.open();
                    let mut bytes = Vec::new();
                    while let Some(chunk) = reader.next_chunk().await.unwrap() {
                        bytes.extend_from_slice(&chunk);
                    }
                    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
                    format!("{origin:?} {};{} {} bytes, sum {sum}", key.folder, key.uid, bytes.len())
                }
                Seen::FolderChanged { folder, .. } => format!("changed {folder}"),
                Seen::FoldersChanged { .. } => "folders changed".to_owned(),
                Seen::Transferred(transfer) => {
                    let (from, to) = (&transfer.from.folder, &transfer.to.folder);
                    format!("{:?} {} from {from} to {to}", transfer.kind, transfer.pairs.len())
                }
                Seen::Everything { .. } => "everything".to_owned(),
            });
        }
        told.sort();
        told
    }
}

/// Before something is looked at again.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

const PRELUDE: &str = r#"
import imaplib, os, ssl, sys, socket
trust = ssl.create_default_context(cafile=os.environ['CA'])
trust.check_hostname = False
def connect():
    return imaplib.IMAP4_SSL('127.0.0.1', int(os.environ['SSL']), ssl_context=trust)
def login(user='ann@example.com'):
    m = connect()
    m.login(user, 'secret')
    return m
def expect(answer, status='OK'):
    assert answer[0] == status, answer
    return answer[1]
class Raw:
    def __init__(self, port='PLAIN', tls=False):
        s = socket.create_connection(('127.0.0.1', int(os.environ[port])))
        s.settimeout(20)
        self.s = trust.wrap_socket(s) if tls else s
        self.f = self.s.makefile('rb')
    def send(self, text):
        self.s.sendall(text if isinstance(text, bytes) else text.encode())
    def line(self):
        return self.f.readline().decode().rstrip('\r\n')
    def until(self, tag):
        lines = []
        while True:
            line = self.line()
            lines.append(line)
            if line.startswith(tag) or not line:
                return lines
"#;

async fn mailbox(ledger: &Ledger) -> MailboxId {
    let mut change = ledger.change();
    let id = change.new_mailbox_id();
    change.put_endpoint(Endpoint {
        name: "E".to_owned(),
        server: "127.0.0.1".to_owned(),
        port: 993,
        security: mailferry_ledger::Security::Ssl,
        trust: mailferry_ledger::Trust::Off,
        max_concurrent_migrations: 1,
        max_concurrent_incremental_syncs: 1,
        learn_credentials: false,
        admin_separator: Endpoint::ADMIN_SEPARATOR,
        admin_login: AdminLogin::Name,
    });
    change.put_batch(Batch {
        name: "B".to_owned(),
        endpoint: "E".to_owned(),
        state: BatchState::Syncing,
        created: "2020-01-01T00:00:00Z".parse().unwrap(),
        started: None,
        auto_start: false,
        error: None,
        include: Vec::new(),
        exclude: Vec::new(),
    });
    change.put_mailbox(Mailbox::new(id, "B", "ann@example.com", "ann@example.com"));
    change.commit().await.unwrap();
    id
}

/// A Dovecot of our own; stopped and removed when dropped.
pub struct Dovecot {
    process: Child,
    pub folder: PathBuf,
    pub plain: u16,
    pub tls: u16,
}

impl Dovecot {
    fn start(name: &str, more: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mailferry-proxy-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("mail")).unwrap();
        let (uid, gid) = owner(&folder);
        chown(folder.join("mail"), Some(uid), Some(gid)).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let identity = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(folder.join("cert.pem"), identity.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), identity.signing_key.serialize_pem()).unwrap();
        let (plain, tls) = (free_port(), free_port());
        let path = folder.display();
        let config = format!(
            "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nprotocols = imap\n\
             listen = 127.0.0.1\nmail_plugins = zlib\nprotocol imap {{\n mail_plugins = zlib imap_zlib\n}}\n\
             ssl = yes\nssl_cert = <{path}/cert.pem\nssl_key = <{path}/key.pem\ndisable_plaintext_auth = no\n\
             auth_mechanisms = plain login\nauth_username_chars =\nauth_failure_delay = 0\n\
             first_valid_uid = 1\nfirst_valid_gid = 1\nmail_location = maildir:{path}/mail/%u\n\
             passdb {{\n driver = static\n args = password=secret\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={path}/mail/%u\n}}\n\
             namespace inbox {{\n inbox = yes\n separator = /\n}}\n\
             service imap-login {{\n chroot =\n inet_listener imap {{\n port = {plain}\n }}\n \
             inet_listener imaps {{\n port = {tls}\n ssl = yes\n }}\n}}\nservice anvil {{\n chroot =\n unix_listener anvil-auth-penalty {{\n mode = 0\n }}\n}}\n{more}\n"
        );
        std::fs::write(folder.join("dovecot.conf"), config).unwrap();
        let process = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(folder.join("dovecot.conf"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dovecot is installed (apt-get install dovecot-imapd)");
        let server = Self { process, folder, plain, tls };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", tls)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", server.log());
            std::thread::yield_now();
        }
        server
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Who may own the mail: Dovecot does not serve root.
fn owner(folder: &Path) -> (u32, u32) {
    let meta = std::fs::metadata(folder).unwrap();
    if meta.uid() == 0 { (65_534, 65_534) } else { (meta.uid(), meta.gid()) }
}

/// A port that outgoing connections are not given, given once by this process.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number =
            std::process::id().wrapping_mul(7_919).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(number % 22_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
