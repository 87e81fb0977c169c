//! The proxy's keeper: opens it when its endpoint is there, again when the endpoint changes, and shows it.

use super::sockets::Sockets;
use crate::config::{self, ListenSecurity};
use arc_swap::ArcSwapOption;
use mailferry_admin::shape::{Front, Metric, MetricKind, Session};
use mailferry_imap::net::{Security, Server, TlsClient, Trust};
use mailferry_ledger::{Endpoint, Ledger, Vault};
use mailferry_proxy::{CertificateFiles, Learning, Listen, Proxy, ProxyConfig, TellSource};
use mailferry_spool::Spool;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How often the endpoint's record is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Between two proxies, so that one which ends at once does not keep us busy.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an attempt to open that failed is rested.
const REST: Duration = Duration::from_secs(10);

/// The proxy's place in the daemon. Clones share it.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    /// As it was last read; whether there is one at all does not change.
    config: ArcSwapOption<config::Proxy>,
    ledger: Ledger,
    spool: Spool,
    vault: Vault,
    state: Mutex<State>,
    sockets: Mutex<Sockets>,
}

enum State {
    Off,
    Waiting,
    Failed(String),
    Open(Box<Endpoint>, Proxy),
}

impl Keeper {
    /// Nothing listens yet.
    pub fn new(config: Option<config::Proxy>, kept: (Ledger, Spool, Vault), sockets: Sockets) -> Self {
        let (ledger, spool, vault) = kept;
        let state = Mutex::new(if config.is_some() { State::Waiting } else { State::Off });
        let (config, sockets) = (ArcSwapOption::from_pointee(config), Mutex::new(sockets));
        Self { inner: Arc::new(Inner { config, ledger, spool, vault, state, sockets }) }
    }

    /// Opens the proxy if it can be opened at this moment. The error is for the operator.
    pub fn open(&self) -> Result<(), String> {
        let Some(config) = self.inner.config.load_full() else { return Ok(()) };
        let Some(endpoint) = self.endpoint(&config)? else { return Ok(()) };
        let proxy = self.proxy(&config, &endpoint)?;
        let addresses: Vec<String> = proxy.addresses().iter().map(ToString::to_string).collect();
        info!(listen = addresses.join(", "), endpoint = endpoint.name, "Proxy opened.");
        *self.state() = State::Open(Box::new(endpoint), proxy);
        Ok(())
    }

    /// Keeps the proxy open until told to stop, then lets its sessions come to rest.
    pub async fn run(&self, shutdown: CancellationToken) {
        let Some(config) = self.inner.config.load_full() else { return shutdown.cancelled().await };
        if matches!(*self.state(), State::Waiting) {
            warn!(endpoint = config.endpoint, "The proxy waits for its endpoint: mailferry endpoint add.");
        }
        while !shutdown.is_cancelled() {
            let open = match &*self.state() {
                State::Open(endpoint, proxy) => Some((endpoint.clone(), proxy.clone())),
                State::Off | State::Waiting | State::Failed(_) => None,
            };
            match open {
                Some((endpoint, proxy)) => {
                    self.serve(&config, &endpoint, &proxy, &shutdown).await;
                    let _ = tokio::time::timeout(PAUSE, shutdown.cancelled()).await;
                }
                None => self.try_open(&shutdown).await,
            }
        }
    }

    async fn try_open(&self, shutdown: &CancellationToken) {
        let rest = match self.open() {
            Ok(()) => LOOK,
            Err(why) => {
                error!(error = why, "The proxy cannot be opened.");
                *self.state() = State::Failed(why);
                REST
            }
        };
        if !matches!(*self.state(), State::Open(..)) {
            let _ = tokio::time::timeout(rest, shutdown.cancelled()).await;
        }
    }

    /// Serves clients until told to stop, or until the endpoint is another.
    async fn serve(
        &self,
        config: &config::Proxy,
        endpoint: &Endpoint,
        proxy: &Proxy,
        shutdown: &CancellationToken,
    ) {
        let stop = shutdown.child_token();
        let running = proxy.run(stop.clone());
        tokio::pin!(running);
        loop {
            tokio::select! {
                () = &mut running => break,
                () = tokio::time::sleep(LOOK), if !stop.is_cancelled() => {
                    let same = match self.endpoint(config) {
                        Ok(Some(now)) => {
                            proxy.set_learning(learning(&now));
                            (&now.server, now.port, now.security, &now.trust)
                                == (&endpoint.server, endpoint.port, endpoint.security, &endpoint.trust)
                        }
                        Ok(None) => false,
                        // What cannot be read at the moment is no reason to cut anybody.
                        Err(_) => true,
                    };
                    if !same {
                        warn!("The proxy's endpoint was changed: its sessions end and begin anew.");
                        stop.cancel();
                    }
                }
            }
        }
        *self.state() = State::Waiting;
    }

    /// Takes over what can change while the proxy runs. The error is for the operator; nothing changed then.
    pub fn reload(&self, now: &config::Proxy) -> Result<(), String> {
        let Some(running) = self.inner.config.load_full() else { return Ok(()) };
        let taken = running.with_changes_of(now);
        if let State::Open(endpoint, proxy) = &*self.state() {
            let config = proxy_config(&taken, endpoint, &self.inner.vault)?;
            proxy.reload(&config).map_err(|error| error.to_string())?;
        }
        self.inner.config.store(Some(Arc::new(taken)));
        Ok(())
    }

    /// Ends a client's session; false when there is none of this number.
    pub fn kick(&self, conn: u64) -> bool {
        match &*self.state() {
            State::Open(_, proxy) => proxy.kick(conn),
            State::Off | State::Waiting | State::Failed(_) => false,
        }
    }

    /// What the admin side shows.
    pub fn front(&self) -> Front {
        let name =
            self.inner.config.load().as_ref().map(|config| config.endpoint.clone()).unwrap_or_default();
        let proxy = match &*self.state() {
            State::Off => return Front::Off,
            State::Waiting => return Front::Waiting { endpoint: name },
            State::Failed(error) => return Front::Failed { error: error.clone() },
            State::Open(_, proxy) => proxy.clone(),
        };
        let address = |id| self.inner.ledger.mailbox(id).ok().flatten().map(|mailbox| mailbox.address);
        let sessions = proxy
            .sessions()
            .into_iter()
            .map(|session| Session {
                conn: session.id,
                client: session.client,
                client_name: session.client_name,
                tls: session.tls,
                login: session.login,
                mailbox: session.mailbox.and_then(address),
                seconds: session.age.as_secs(),
                bytes_in: session.bytes_up,
                bytes_out: session.bytes_down,
                mirrored: session.mirrored,
                blind: session.blind.map(|why| format!("{why:?}").to_lowercase()),
            })
            .collect();
        Front::Open { endpoint: name, listen: proxy.addresses(), sessions }
    }

    /// The proxy's counters.
    pub fn metrics(&self) -> Vec<Metric> {
        let State::Open(_, proxy) = &*self.state() else { return Vec::new() };
        let counters = proxy.counters();
        [
            ("proxy_connections_total", "Connections taken.", counters.connections),
            ("proxy_turned_away_total", "Connections turned away by a limit.", counters.turned_away),
            (
                "proxy_failed_handshakes_total",
                "TLS handshakes with clients that failed.",
                counters.failed_handshakes,
            ),
            ("proxy_source_unreachable_total", "Connections without a source.", counters.source_unreachable),
            ("proxy_source_handshakes_total", "TLS handshakes with the source.", counters.source_handshakes),
            ("proxy_source_resumed_total", "Those that resumed a session.", counters.source_resumed),
            ("proxy_logins_total", "Logins that the source accepted.", counters.logins),
            ("proxy_learned_total", "Passwords learnt.", counters.learned),
            ("proxy_refused_logins_total", "Logins that the source refused.", counters.refused_logins),
            ("proxy_bytes_in_total", "Bytes from clients.", counters.bytes_up),
            ("proxy_bytes_out_total", "Bytes to clients.", counters.bytes_down),
            ("proxy_mirrored_total", "Bodies that taps put into the spool.", counters.mirrored),
            ("proxy_blind_total", "Taps that went blind.", counters.blind),
        ]
        .map(|(name, help, value)| Metric {
            name,
            help,
            kind: MetricKind::Counter,
            labels: Vec::new(),
            value: value as f64,
        })
        .into()
    }

    fn endpoint(&self, config: &config::Proxy) -> Result<Option<Endpoint>, String> {
        self.inner.ledger.endpoint(&config.endpoint).map_err(|error| error.to_string())
    }

    fn proxy(&self, config: &config::Proxy, endpoint: &Endpoint) -> Result<Proxy, String> {
        let config = proxy_config(config, endpoint, &self.inner.vault)?;
        let (ledger, spool) = (self.inner.ledger.clone(), self.inner.spool.clone());
        let mut sockets = self.inner.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let (proxy, closed) = Proxy::with_listeners(config, ledger, spool, sockets.listeners())
            .map_err(|error| error.to_string())?;
        sockets.hand_over(&closed);
        proxy.set_learning(learning(endpoint));
        Ok(proxy)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn learning(endpoint: &Endpoint) -> Learning {
    if endpoint.learn_credentials { Learning::On } else { Learning::Off }
}

fn proxy_config(config: &config::Proxy, endpoint: &Endpoint, vault: &Vault) -> Result<ProxyConfig, String> {
    let source = source(endpoint);
    let tls = TlsClient::new(&source.trust).map_err(|error| error.to_string())?;
    let listen = config.listen.iter().map(|listen| Listen {
        address: listen.address,
        security: security(listen.security),
        proxy_protocol_from: listen.proxy_protocol_from.iter().map(|network| network.0).collect(),
    });
    let certificates = config.certificates.iter().map(|pair| CertificateFiles {
        certificate_file: pair.certificate_file.clone(),
        private_key_file: pair.private_key_file.clone(),
    });
    Ok(ProxyConfig {
        listen: listen.collect(),
        certificates: certificates.collect(),
        source,
        tls,
        tell_source: match config.tell_source {
            config::TellSource::Nothing => TellSource::Nothing,
            config::TellSource::ProxyProtocol => TellSource::ProxyProtocol,
            config::TellSource::Id => TellSource::Id,
        },
        limits: config.limits.proxy(),
        endpoint: endpoint.name.clone(),
        vault: Some(vault.clone()),
    })
}

fn source(endpoint: &Endpoint) -> Server {
    Server {
        host: endpoint.server.clone(),
        port: endpoint.port,
        security: match endpoint.security {
            mailferry_ledger::Security::None => Security::None,
            mailferry_ledger::Security::Ssl => Security::Ssl,
            mailferry_ledger::Security::Tls => Security::Tls,
        },
        trust: match &endpoint.trust {
            mailferry_ledger::Trust::System => Trust::System,
            mailferry_ledger::Trust::CaFile(file) => Trust::CaFile(file.clone()),
            mailferry_ledger::Trust::Off => Trust::Off,
        },
    }
}

fn security(security: ListenSecurity) -> Security {
    match security {
        ListenSecurity::None => Security::None,
        ListenSecurity::Ssl => Security::Ssl,
        ListenSecurity::Tls => Security::Tls,
    }
}
