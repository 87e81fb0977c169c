//! The transparent proxy: listens where the source's name points, relays every session to the source byte for byte, and
//! lets a tap overhear it for the mirror.
//!
//! **The client comes first.** Nothing here waits for the tap, the spool or the ledger; the only bytes ever rewritten are
//! capability lists ([`filter`]) and STARTTLS, which ends here. What the tap does not understand makes it blind,
//! never wrong.
//!
//! A session's way: [`listener`] -> [`session`] ([`upstream`], [`login`]) -> [`relay`] (and beside it [`tap`], [`mirror`]).
//!
//! Must not know: the target, passes, batches.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod book;
mod config;
mod filter;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use mailferry_ledger::Ledger;
use mailferry_spool::Spool;
use tokio_util::sync::CancellationToken;

pub use book::{ProxyCounters, SessionInfo};
pub use config::{CertificateFiles, Listen, ProxyConfig, ProxyError, ProxyLimits};

/// Why a tap sees no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Blindness {
    /// The relay was faster than the tap.
    Slow,
}

/// A proxy that listens. Clones share everything.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
}

struct Inner {
    config: ProxyConfig,
    ledger: Ledger,
    spool: Spool,
    book: book::Book,
}

impl Proxy {
    /// Reads the certificates and binds all addresses; [`run`](Self::run) serves them. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ProxyError`] says what and where; nothing is left listening then.
    pub fn new(config: ProxyConfig, ledger: Ledger, spool: Spool) -> Result<Self, ProxyError> {
        Ok(Self { inner: Arc::new(Inner { config, ledger, spool, book: book::Book::default() }) })
    }

    /// The addresses that it listens on, in the order of the configuration, with the ports that were given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Serves until `shutdown`, then lets the sessions come to rest within the drain limit and cuts what is left. Returns
    /// when every session has ended.
    pub async fn run(&self, shutdown: CancellationToken) {
        let _ = (shutdown, &self.inner.config, &self.inner.ledger, &self.inner.spool);
        todo!()
    }

    /// Reads the certificate files again; sessions that are open keep theirs.
    ///
    /// # Errors
    /// [`ProxyError::Certificate`]; the old ones stay in use then.
    pub fn reload_certificates(&self) -> Result<(), ProxyError> {
        todo!()
    }

    /// The open sessions by number.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.inner.book.sessions()
    }

    /// Ends a session; false when there is none of this number.
    pub fn kick(&self, session: u64) -> bool {
        self.inner.book.kick(session)
    }

    /// Figures since the start.
    pub fn counters(&self) -> ProxyCounters {
        self.inner.book.counters()
    }
}
