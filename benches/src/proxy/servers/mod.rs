//! The ways to the source: directly, and through each of the proxies.

mod dovecot_proxy;
mod haproxy;
mod nginx;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use mailferry_benches::tls::CIPHER;
use mailferry_tests::child::Server;
use mailferry_tests::stand::Stand;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::load::bulk::Reading;

/// Names of all ways, as the environment and the report have them.
pub(crate) const NAMES: [&str; 6] = [DIRECT, HAPROXY, DOVECOT, NGINX, MAILFERRY, NEW];

pub(crate) const DIRECT: &str = "direct";
pub(crate) const HAPROXY: &str = "haproxy";
pub(crate) const DOVECOT: &str = "dovecot";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const MAILFERRY: &str = "mailferry";
/// Mailferry where every message is new to it.
pub(crate) const NEW: &str = "new";

/// One way to the source.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Whose processes it takes.
    pub(crate) pid: Option<u32>,
}

impl Way {
    pub(crate) fn direct(stand: &Stand) -> Self {
        Self { name: DIRECT, address: stand.source.imaps(), pid: None }
    }

    pub(crate) fn is_new(&self) -> bool {
        self.name == NEW
    }

    /// A message is new once.
    pub(crate) fn reading(&self) -> Reading {
        if self.is_new() { Reading::Once } else { Reading::Repeated }
    }
}

/// All ways, with the servers that they take.
pub(crate) struct Ways {
    ways: Vec<Way>,
    _haproxy: Option<Server>,
    _dovecot: Option<mailferry_tests::dovecot::Instance>,
    _nginx: Option<nginx::Nginx>,
}

impl Ways {
    /// Starts those that are wanted.
    pub(crate) async fn start(stand: &mut Stand, wanted: &[String]) -> anyhow::Result<Self> {
        let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted == name);
        let mut started = Self { ways: Vec::new(), _haproxy: None, _dovecot: None, _nginx: None };
        if is_wanted(DIRECT) {
            started.ways.push(Way::direct(stand));
        }
        if is_wanted(HAPROXY) {
            let (way, server) = haproxy::start(stand).await?;
            started.ways.push(way);
            started._haproxy = Some(server);
        }
        if is_wanted(DOVECOT) {
            let (way, server) = dovecot_proxy::start(stand).await?;
            started.ways.push(way);
            started._dovecot = Some(server);
        }
        if is_wanted(NGINX) {
            let (way, server) = nginx::start(stand).await?;
            started.ways.push(way);
            started._nginx = Some(server);
        }
        let (address, pid) = (stand.proxy(), Some(stand.serve_pid()?));
        for name in [MAILFERRY, NEW] {
            if is_wanted(name) {
                started.ways.push(Way { name, address, pid });
            }
        }
        Ok(started)
    }

    /// All ways; each round begins with another one.
    pub(crate) fn in_turn(&self, round: u64) -> impl Iterator<Item = &Way> {
        let first = usize::try_from(round).unwrap_or_default() % self.ways.len().max(1);
        self.ways[first..].iter().chain(&self.ways[..first])
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.ways.iter().map(|way| way.name).collect()
    }
}

/// What the source needs for a bench: many sessions, processes that are used again, one cipher, and no waiting for the
/// disk, so that the proxies are measured and not the source.
pub(crate) fn source_lines() -> String {
    format!(
        "ssl_cipher_suites = {CIPHER}\nmail_fsync = never\nprotocol imap {{\n  mail_max_userip_connections = 0\n}}\n\
         service imap {{\n  service_count = 0\n  process_limit = 6000\n}}\n\
         service imap-login {{\n  client_limit = 8000\n}}\n\
         service auth {{\n  client_limit = 20000\n}}\nservice anvil {{\n  client_limit = 20000\n}}\n"
    )
}

/// Waits until somebody listens.
async fn listens(server: &mut Server, address: SocketAddr) -> anyhow::Result<()> {
    let started = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        server.alive()?;
        ensure!(
            started.elapsed() < Duration::from_secs(20),
            "nobody listens at {address}\n{}",
            server.tail()
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
