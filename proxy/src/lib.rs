//! The transparent proxy: listens where the source's name points, relays every session to the source byte for byte, and
//! lets a tap overhear it for the mirror.
//!
//! **The client comes first.** Nothing here waits for the tap, the spool or the ledger; the only bytes ever rewritten are
//! capability lists ([`filter`]), fields of a client's `ID` that forge who it is ([`id`]), and STARTTLS, which ends here. What the tap does not understand makes it blind,
//! never wrong.
//!
//! A session's way: [`listener`] -> [`session`] ([`upstream`], [`login`]) -> [`relay`] (and beside it [`tap`], [`mirror`]).
//!
//! Must not know: the target, passes, batches.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admission;
mod book;
mod certificates;
mod config;
mod door;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod id;
mod known;
mod learner;
mod listener;
mod login;
mod mirror;
mod network;
mod notices;
mod place;
mod proxy_protocol;
mod relay;
mod sasl;
mod session;
mod stream;
mod tap;
mod upstream;
mod watch;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mailferry_imap::net::Security;
use mailferry_ledger::Ledger;
use mailferry_spool::Spool;
use tokio_util::sync::CancellationToken;

use book::Book;
use certificates::Certificates;
use learner::{Pupil, learner};
use listener::{Door, Entrance, Shared};
use mirror::Mirror;

pub use book::{ProxyCounters, SessionInfo};
pub use config::{CertificateFiles, Listen, ProxyConfig, ProxyError, ProxyLimits, TellSource};
pub use learner::Learning;
pub use listener::Listeners;
pub use network::{Network, NetworkError};
pub use tap::Blindness;

/// A proxy that listens. Clones share everything.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    entrances: Vec<Arc<Entrance>>,
    /// Until [`Proxy::run`] takes them.
    doors: Mutex<Vec<Door>>,
    pupil: Mutex<Option<Pupil>>,
}

impl Proxy {
    /// Reads the certificates and binds all addresses; [`run`](Self::run) serves them. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ProxyError`] says what and where; nothing is left listening then.
    pub fn new(config: ProxyConfig, ledger: Ledger, spool: Spool) -> Result<Self, ProxyError> {
        Self::with_listeners(config, ledger, spool, &mut Listeners::default()).map(|(proxy, _)| proxy)
    }

    /// The same with sockets that listen already where one is bound as configured. `listeners` then holds those of the
    /// proxy and no other; the addresses of those that were closed are given.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing new is left listening then but what `listeners` holds.
    pub fn with_listeners(
        config: ProxyConfig,
        ledger: Ledger,
        spool: Spool,
        listeners: &mut Listeners,
    ) -> Result<(Self, Vec<SocketAddr>), ProxyError> {
        let certificates = Self::check(&config)?;
        let acceptor = match &certificates {
            Some(certificates) => Some(certificates.acceptor()?),
            None => None,
        };
        let doors: Vec<Door> = config
            .listen
            .iter()
            .map(|listen| listener::open(listen, &config.listen, listeners))
            .collect::<Result<_, _>>()?;
        let entrances: Vec<_> = doors.iter().map(|door| door.entrance.clone()).collect();
        let addresses: Vec<_> = entrances.iter().map(|entrance| entrance.address).collect();
        let closed = listeners.keep(&addresses);
        let mirror = Mirror::new(config.endpoint.clone(), ledger, spool, Arc::new(Book::default()));
        let (learner, pupil) = learner(config.endpoint.clone(), config.vault.clone(), mirror.clone());
        let shared = Arc::new(Shared::new(config, (acceptor, certificates), mirror, learner));
        let (doors, pupil) = (Mutex::new(doors), Mutex::new(Some(pupil)));
        Ok((Self { inner: Arc::new(Inner { shared, entrances, doors, pupil }) }, closed))
    }

    /// What can be known of a configuration without listening: `serve --check`.
    ///
    /// # Errors
    /// As [`new`](Self::new), but for addresses that are taken.
    pub fn validate(config: &ProxyConfig) -> Result<(), ProxyError> {
        Self::check(config).map(|_| ())
    }

    fn check(config: &ProxyConfig) -> Result<Option<Arc<Certificates>>, ProxyError> {
        if config.listen.is_empty() {
            return Err(ProxyError::NothingToListenOn);
        }
        for listen in &config.listen {
            match listen.security {
                Security::None if !listen.address.ip().to_canonical().is_loopback() => {
                    return Err(ProxyError::PlainBeyondLoopback(listen.address));
                }
                Security::Ssl | Security::Tls if config.certificates.is_empty() => {
                    return Err(ProxyError::NoCertificate(listen.address));
                }
                Security::None | Security::Ssl | Security::Tls => {}
            }
        }
        if config.certificates.is_empty() {
            return Ok(None);
        }
        Certificates::read(&config.certificates).map(Some)
    }

    /// The addresses that it listens on, in the order of the configuration, with the ports that were given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.inner.entrances.iter().map(|entrance| entrance.address).collect()
    }

    /// Serves until `shutdown`, then lets the sessions come to rest within the drain limit and cuts what is left. Returns
    /// when every session has ended. Called a second time, it has nothing to do.
    pub async fn run(&self, shutdown: CancellationToken) {
        let doors = std::mem::take(&mut *self.inner.doors.lock().unwrap_or_else(PoisonError::into_inner));
        let pupil = self.inner.pupil.lock().unwrap_or_else(PoisonError::into_inner).take();
        let over = CancellationToken::new();
        let sessions = async {
            listener::run(self.inner.shared.clone(), doors, shutdown).await;
            over.cancel();
        };
        let learning = async {
            if let Some(pupil) = pupil {
                pupil.run(over.clone()).await;
            }
        };
        tokio::join!(sessions, learning);
    }

    /// Whether passwords are learnt from the logins that the source accepts. Off at first.
    pub fn set_learning(&self, learning: Learning) {
        self.inner.shared.learner.set(learning);
    }

    /// Takes over what can change while it runs: limits, certificates (others than before, too) and who may send PROXY
    /// headers. Sessions that are open keep their certificate and their place. Other addresses to listen on, another
    /// source and another way of telling it who comes need a new proxy.
    ///
    /// # Errors
    /// [`ProxyError::Certificate`]; nothing changed then.
    pub fn reload(&self, config: &ProxyConfig) -> Result<(), ProxyError> {
        let shared = &self.inner.shared;
        if let Some(certificates) = &shared.certificates {
            certificates.reload(&config.certificates)?;
        }
        shared.set_limits(&config.limits);
        for entrance in &self.inner.entrances {
            let same = |listen: &&Listen| listen.address == entrance.listen.address;
            if let Some(listen) = config.listen.iter().find(same) {
                entrance.set_balancers(&listen.proxy_protocol_from);
            }
        }
        Ok(())
    }

    /// The open sessions by number.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.inner.shared.book.sessions()
    }

    /// Ends a session; false when there is none of this number.
    pub fn kick(&self, session: u64) -> bool {
        self.inner.shared.book.kick(session)
    }

    /// Figures since the start.
    pub fn counters(&self) -> ProxyCounters {
        self.inner.shared.book.counters()
    }
}
