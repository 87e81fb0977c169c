//! Listening, letting in, and the owner of all sessions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mailferry_imap::net::Security;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admission::Admission;
use crate::book::{Book, count};
use crate::learner::Learner;
use crate::mirror::Mirror;
use crate::session::serve;
use crate::{Listen, ProxyConfig, ProxyError};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) config: ProxyConfig,
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) book: Arc<Book>,
    pub(crate) mirror: Mirror,
    pub(crate) learner: Learner,
    pub(crate) admission: Mutex<Admission>,
}

impl Shared {
    pub(crate) fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One bound address.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    security: Security,
}

/// Binds one address. An IPv6 one takes IPv4 too, unless that is bound on its own.
pub(crate) fn bind(listen: Listen, all: &[Listen]) -> Result<Door, ProxyError> {
    let failed = |source| ProxyError::Listen { address: listen.address, source };
    let listener = bound(listen.address, all).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Door { listener, address, security: listen.security })
}

fn bound(address: SocketAddr, all: &[Listen]) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        let alone = all.iter().any(|other| other.address.is_ipv4() && other.address.port() == address.port());
        socket.set_only_v6(alone)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts on all doors until `shutdown`; then waits for the sessions, which the same token sends home.
pub(crate) async fn run(shared: Arc<Shared>, doors: Vec<Door>, shutdown: CancellationToken) {
    let mut accepting = JoinSet::new();
    for door in doors {
        accepting.spawn(accept(shared.clone(), door, shutdown.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(shared: Arc<Shared>, door: Door, shutdown: CancellationToken) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.listener.accept() => match accepted {
                Ok((tcp, peer)) => admit(&shared, &mut sessions, tcp, peer, door.security, &shutdown),
                Err(error) => {
                    // Out of file descriptors, mostly: those who are in come first.
                    warn!(%error, "Connection not accepted.");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = sessions.join_next() => {}
            () = shutdown.cancelled() => break,
        }
    }
    drop(door);
    while sessions.join_next().await.is_some() {}
}

fn admit(
    shared: &Arc<Shared>,
    sessions: &mut JoinSet<()>,
    tcp: TcpStream,
    peer: SocketAddr,
    security: Security,
    shutdown: &CancellationToken,
) {
    if !shared.admission().enter(peer.ip()) {
        count(&shared.book.counters.turned_away);
        return;
    }
    count(&shared.book.counters.connections);
    let place = Place { shared: shared.clone(), page: shared.book.open(peer) };
    let (shared, shutdown) = (shared.clone(), shutdown.clone());
    sessions.spawn(async move {
        let page = place.page.clone();
        serve(shared, page, tcp, security, shutdown).await;
        drop(place);
    });
}

/// A session's place: given back however it ends.
struct Place {
    shared: Arc<Shared>,
    page: Arc<crate::book::Page>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.book.close(&self.page);
        self.shared.admission().leave(self.page.peer.ip());
    }
}
