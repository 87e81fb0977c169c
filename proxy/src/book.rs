//! The book of open sessions and the proxy's counters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use mailferry_imap::MailboxId;
use tokio_util::sync::CancellationToken;

use crate::Blindness;

/// One open session, for `sessions list`. Names are for operators' eyes, never for logs above debug.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its number since the proxy started.
    pub id: u64,
    /// The client: behind a balancer the one that it speaks for.
    pub client: SocketAddr,
    /// What it called itself (`ID`), cut and cleaned.
    pub client_name: Option<String>,
    /// TLS version and cipher on the client's leg.
    pub tls: Option<String>,
    /// How long ago it came.
    pub age: std::time::Duration,
    /// The name that it logged in by.
    pub login: Option<String>,
    /// The mailbox that this is; `None` for unknown users, who are relayed and not mirrored.
    pub mailbox: Option<MailboxId>,
    /// Bytes from the client.
    pub bytes_up: u64,
    /// Bytes from the source.
    pub bytes_down: u64,
    /// Bodies that its tap put into the spool.
    pub mirrored: u64,
    /// Why its tap sees no more, if so.
    pub blind: Option<Blindness>,
}

/// Figures since the proxy started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProxyCounters {
    /// Connections taken.
    pub connections: u64,
    /// Connections turned away by a limit.
    pub turned_away: u64,
    /// TLS handshakes with clients that failed.
    pub failed_handshakes: u64,
    /// Connections for which the source could not be reached.
    pub source_unreachable: u64,
    /// TLS handshakes with the source.
    pub source_handshakes: u64,
    /// Those of them that resumed an earlier session.
    pub source_resumed: u64,
    /// Logins that the source accepted.
    pub logins: u64,
    /// Passwords that were learnt.
    pub learned: u64,
    /// Logins that it refused.
    pub refused_logins: u64,
    /// Bytes from clients.
    pub bytes_up: u64,
    /// Bytes from the source.
    pub bytes_down: u64,
    /// Bodies that taps put into the spool.
    pub mirrored: u64,
    /// Taps that went blind.
    pub blind: u64,
    /// Sessions open now.
    pub open: u64,
}

/// The counters, while they count.
#[derive(Default, Debug)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) source_unreachable: AtomicU64,
    pub(crate) source_handshakes: AtomicU64,
    pub(crate) source_resumed: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) learned: AtomicU64,
    pub(crate) refused_logins: AtomicU64,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    pub(crate) mirrored: AtomicU64,
    pub(crate) blind: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One session's page, shared by its relay, its tap and those who look.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) id: u64,
    peer: SocketAddr,
    /// The client behind a balancer.
    behind: OnceLock<SocketAddr>,
    since: Instant,
    who: Mutex<(Option<String>, Option<MailboxId>)>,
    pub(crate) client_name: OnceLock<String>,
    tls: OnceLock<String>,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    pub(crate) mirrored: AtomicU64,
    blind: Mutex<Option<Blindness>>,
    over: AtomicBool,
    /// Ends the session.
    pub(crate) kick: CancellationToken,
}

impl Page {
    /// Who the client is: behind a balancer the one that it speaks for.
    pub(crate) fn client(&self) -> SocketAddr {
        self.behind.get().copied().unwrap_or(self.peer)
    }

    /// The peer is a balancer that speaks for this client. Told once.
    pub(crate) fn set_behind(&self, client: SocketAddr) {
        let _ = self.behind.set(client);
    }

    /// What the client calls itself; the first name counts.
    pub(crate) fn set_client_name(&self, name: String) {
        let _ = self.client_name.set(name);
    }

    pub(crate) fn set_tls(&self, version_and_cipher: String) {
        let _ = self.tls.set(version_and_cipher);
    }

    pub(crate) fn set_login(&self, login: Option<String>, mailbox: Option<MailboxId>) {
        *lock(&self.who) = (login, mailbox);
    }

    pub(crate) fn set_blind(&self, why: Blindness) {
        lock(&self.blind).get_or_insert(why);
    }

    /// Whether the mailbox changes without its tap seeing it.
    pub(crate) fn misses(&self) -> bool {
        match *lock(&self.blind) {
            Some(Blindness::Slow | Blindness::Compressed | Blindness::Unframable | Blindness::TooMuch) => {
                true
            }
            Some(Blindness::OtherUser) | None => false,
        }
    }

    /// Nothing passes any more.
    pub(crate) fn set_over(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Bytes up and down.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_up.load(Ordering::Relaxed), self.bytes_down.load(Ordering::Relaxed))
    }

    pub(crate) fn info(&self) -> SessionInfo {
        let (login, mailbox) = lock(&self.who).clone();
        SessionInfo {
            id: self.id,
            client: self.client(),
            client_name: self.client_name.get().cloned(),
            tls: self.tls.get().cloned(),
            age: self.since.elapsed(),
            login,
            mailbox,
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.bytes_down.load(Ordering::Relaxed),
            mirrored: self.mirrored.load(Ordering::Relaxed),
            blind: *lock(&self.blind),
        }
    }
}

/// All open sessions.
#[derive(Default, Debug)]
pub(crate) struct Book {
    pages: Mutex<BTreeMap<u64, Arc<Page>>>,
    last: AtomicU64,
    pub(crate) counters: Counters,
}

impl Book {
    /// A page for a new session; closed by [`close`](Self::close).
    pub(crate) fn open(&self, peer: SocketAddr) -> Arc<Page> {
        let page = Arc::new(Page {
            id: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            behind: OnceLock::new(),
            since: Instant::now(),
            who: Mutex::default(),
            client_name: OnceLock::new(),
            tls: OnceLock::new(),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            mirrored: AtomicU64::new(0),
            blind: Mutex::default(),
            over: AtomicBool::new(false),
            kick: CancellationToken::new(),
        });
        lock(&self.pages).insert(page.id, page.clone());
        page
    }

    pub(crate) fn close(&self, page: &Page) {
        lock(&self.pages).remove(&page.id);
    }

    pub(crate) fn sessions(&self) -> Vec<SessionInfo> {
        let pages: Vec<Arc<Page>> = lock(&self.pages).values().cloned().collect();
        pages.iter().map(|page| page.info()).collect()
    }

    pub(crate) fn kick(&self, id: u64) -> bool {
        let page = lock(&self.pages).get(&id).cloned();
        page.inspect(|page| page.kick.cancel()).is_some()
    }

    pub(crate) fn counters(&self) -> ProxyCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        ProxyCounters {
            connections: read(&counters.connections),
            turned_away: read(&counters.turned_away),
            failed_handshakes: read(&counters.failed_handshakes),
            source_unreachable: read(&counters.source_unreachable),
            source_handshakes: read(&counters.source_handshakes),
            source_resumed: read(&counters.source_resumed),
            logins: read(&counters.logins),
            learned: read(&counters.learned),
            refused_logins: read(&counters.refused_logins),
            bytes_up: read(&counters.bytes_up),
            bytes_down: read(&counters.bytes_down),
            mirrored: read(&counters.mirrored),
            blind: read(&counters.blind),
            open: lock(&self.pages).len() as u64,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
