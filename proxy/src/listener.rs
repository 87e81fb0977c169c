//! Listening, letting in, and the owner of all sessions.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mailferry_imap::net::Security;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admission::Admission;
use crate::book::{Book, count};
use crate::certificates::Certificates;
use crate::learner::Learner;
use crate::mirror::Mirror;
use crate::notices::{ANY, Due, Notice, Notices};
use crate::place::Place;
use crate::session::serve;
use crate::{Listen, Network, ProxyConfig, ProxyError, ProxyLimits};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long accepting rests when the system has no descriptor left.
const REST: Duration = Duration::from_millis(100);

/// How often what happened too often to be told at once is told.
const LOOK: Duration = Duration::from_secs(5);

/// `ENFILE` and `EMFILE` of Linux: the whole system's descriptors are used up, or the process's.
const NO_DESCRIPTORS: [i32; 2] = [23, 24];

/// What all sessions share.
pub(crate) struct Shared {
    /// As it was at the start, but for limits and balancers, which may change.
    pub(crate) config: ProxyConfig,
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) book: Arc<Book>,
    pub(crate) mirror: Mirror,
    pub(crate) learner: Learner,
    limits: ArcSwap<ProxyLimits>,
    /// When the first session heard of the shutdown.
    shut_down: OnceLock<Deadline>,
    admission: Mutex<Admission>,
    notices: Mutex<Notices>,
}

impl Shared {
    pub(crate) fn new(
        config: ProxyConfig,
        (acceptor, certificates): (Option<TlsAcceptor>, Option<Arc<Certificates>>),
        mirror: Mirror,
        learner: Learner,
    ) -> Self {
        Self {
            acceptor,
            certificates,
            book: mirror.book.clone(),
            mirror,
            learner,
            limits: ArcSwap::from_pointee(config.limits),
            shut_down: OnceLock::new(),
            admission: Mutex::new(Admission::new(&config.limits)),
            notices: Mutex::default(),
            config,
        }
    }

    /// The limits as they are at this moment.
    pub(crate) fn limits(&self) -> ProxyLimits {
        **self.limits.load()
    }

    /// Until when sessions may come to rest, the same for all: to be asked once the shutdown was told.
    pub(crate) fn drained_at(&self) -> Deadline {
        *self.shut_down.get_or_init(Deadline::now) + self.limits().drain
    }

    pub(crate) fn set_limits(&self, limits: &ProxyLimits) {
        self.limits.store(Arc::new(*limits));
        self.admission().set_limits(limits);
    }

    pub(crate) fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line, or counts it for the next one.
    pub(crate) fn tell(&self, notice: Notice, address: IpAddr) {
        let due = self.notices().on(notice, address, Instant::now());
        if let Some(due) = due {
            self.say(due);
        }
    }

    fn tell_due(&self) {
        let due = self.notices().due(Instant::now());
        due.into_iter().for_each(|due| self.say(due));
    }

    fn say(&self, Due { notice, address, times }: Due) {
        let limits = self.limits();
        let address = (address != ANY).then_some(address).map(tracing::field::display);
        match notice {
            Notice::Full => {
                warn!(
                    address,
                    times,
                    max_connections = limits.max_connections,
                    "Turned away: all places are taken."
                );
            }
            Notice::AddressFull => warn!(
                address,
                times,
                max_connections_per_address = limits.max_connections_per_address,
                "Turned away: too many connections from there."
            ),
            Notice::HeaderRefused => {
                warn!(
                    address,
                    times,
                    "Turned away: a balancer that proxy_protocol_from names sent no good PROXY header."
                );
            }
            Notice::HeaderForged => {
                warn!(
                    address,
                    times,
                    "Turned away: a PROXY header from an address that proxy_protocol_from does not name."
                );
            }
            Notice::NoDescriptors => warn!(
                times,
                "No descriptor left for a new connection: raise LimitNOFILE= (or ulimit -n), or lower max_connections; those who are in stay."
            ),
            Notice::NotAccepted => warn!(times, "The system did not accept a connection."),
            Notice::Barred => {
                warn!(address, times, "Logins from there are not tried for a while: too many were refused.");
            }
            Notice::LoginFull => warn!(
                address,
                times,
                max_connections_per_login = limits.max_connections_per_login,
                "Login not let in: too many sessions by this name."
            ),
            Notice::NoId => {
                warn!(times, "The source does not announce ID: it is not told the clients' addresses.");
            }
            Notice::Guessed => {
                warn!(address, times, "Answers to logins are delayed: many were refused for one name.");
            }
        }
    }

    fn notices(&self) -> MutexGuard<'_, Notices> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one listening address.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// As configured.
    pub(crate) listen: Listen,
    /// As bound.
    pub(crate) address: SocketAddr,
    balancers: ArcSwap<Vec<Network>>,
}

impl Entrance {
    pub(crate) fn set_balancers(&self, networks: &[Network]) {
        self.balancers.store(Arc::new(networks.to_vec()));
    }

    fn speaker(&self, peer: IpAddr) -> Speaker {
        let named = self.balancers.load().iter().any(|network| network.contains(peer));
        if named { Speaker::Balancer } else { Speaker::Client }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaker {
    Client,
    /// A balancer: a PROXY header comes first.
    Balancer,
}

/// One bound address.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    pub(crate) entrance: Arc<Entrance>,
}

/// Listening sockets that live longer than one proxy: from systemd or from the proxy before, so that nobody who connects
/// in between is refused.
#[derive(Default, Debug)]
pub struct Listeners {
    sockets: Vec<std::net::TcpListener>,
}

impl Listeners {
    /// Adds one that was inherited. What does not listen is closed.
    pub fn add(&mut self, socket: std::net::TcpListener) {
        if SockRef::from(&socket).is_listener().unwrap_or(false) {
            self.sockets.push(socket);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &std::net::TcpListener> {
        self.sockets.iter()
    }

    /// Closes those that are bound to none of these addresses, and gives the addresses that were closed.
    pub(crate) fn keep(&mut self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut closed = Vec::new();
        self.sockets.retain(|socket| match socket.local_addr() {
            Ok(address) if addresses.contains(&address) => true,
            Ok(address) => {
                closed.push(address);
                false
            }
            Err(_) => false,
        });
        closed
    }

    /// The one that is bound just so, or a new one.
    fn take(&mut self, address: SocketAddr, only_v6: bool) -> io::Result<std::net::TcpListener> {
        let fits = |socket: &&std::net::TcpListener| {
            socket.local_addr().is_ok_and(|bound| bound == address)
                && (address.is_ipv4() || SockRef::from(*socket).only_v6().is_ok_and(|only| only == only_v6))
        };
        if let Some(socket) = self.sockets.iter().find(fits) {
            socket.set_nonblocking(true)?;
            return socket.try_clone();
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket: std::net::TcpListener = socket.into();
        self.sockets.push(socket.try_clone()?);
        Ok(socket)
    }
}

/// Opens one address. An IPv6 one takes IPv4 too, unless that is bound on its own.
pub(crate) fn open(listen: &Listen, all: &[Listen], from: &mut Listeners) -> Result<Door, ProxyError> {
    let failed = |source| ProxyError::Listen { address: listen.address, source };
    let port = listen.address.port();
    let only_v6 = all.iter().any(|other| other.address.is_ipv4() && other.address.port() == port);
    let socket = from.take(listen.address, only_v6).map_err(failed)?;
    let listener = TcpListener::from_std(socket).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let balancers = ArcSwap::from_pointee(listen.proxy_protocol_from.clone());
    Ok(Door { listener, entrance: Arc::new(Entrance { listen: listen.clone(), address, balancers }) })
}

/// Accepts on all doors until `shutdown`; then waits for the sessions, which the same token sends home.
pub(crate) async fn run(shared: Arc<Shared>, doors: Vec<Door>, shutdown: CancellationToken) {
    let mut accepting = JoinSet::new();
    for door in doors {
        accepting.spawn(accept(shared.clone(), door, shutdown.clone()));
    }
    let sessions = async { while accepting.join_next().await.is_some() {} };
    tokio::select! {
        () = sessions => {}
        () = watch_certificates(&shared) => {}
        () = tell_what_is_due(&shared) => {}
    }
}

async fn tell_what_is_due(shared: &Shared) {
    loop {
        sleep(LOOK).await;
        shared.tell_due();
    }
}

/// Takes certificates in again when their files change.
async fn watch_certificates(shared: &Shared) {
    let Some(certificates) = &shared.certificates else { return std::future::pending().await };
    loop {
        sleep(shared.limits().certificate_look).await;
        certificates.look();
    }
}

async fn accept(shared: Arc<Shared>, door: Door, shutdown: CancellationToken) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.listener.accept() => match accepted {
                Ok((tcp, peer)) => admit(&shared, &mut sessions, tcp, peer, &door.entrance, &shutdown),
                Err(error) => rest(&shared, &error).await,
            },
            Some(_) = sessions.join_next() => {}
            () = shutdown.cancelled() => break,
        }
    }
    drop(door);
    while sessions.join_next().await.is_some() {}
}

/// Those who are in come first: what they close, the next one gets.
async fn rest(shared: &Shared, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        return; // The client did not wait.
    }
    let no_descriptors = error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code));
    shared.tell(if no_descriptors { Notice::NoDescriptors } else { Notice::NotAccepted }, ANY);
    sleep(REST).await;
}

fn admit(
    shared: &Arc<Shared>,
    sessions: &mut JoinSet<()>,
    tcp: TcpStream,
    peer: SocketAddr,
    entrance: &Arc<Entrance>,
    shutdown: &CancellationToken,
) {
    let speaker = entrance.speaker(peer.ip());
    let refused = match Place::enter(shared, peer) {
        None => Notice::Full,
        Some(mut place) => {
            // Behind a balancer the address is not known yet.
            if speaker == Speaker::Balancer || place.take_address() {
                count(&shared.book.counters.connections);
                let (entrance, shutdown) = (entrance.clone(), shutdown.clone());
                sessions.spawn(async move { serve(place, tcp, (entrance, speaker), shutdown).await });
                return;
            }
            Notice::AddressFull
        }
    };
    count(&shared.book.counters.turned_away);
    shared.tell(refused, peer.ip());
    turn_away(tcp, entrance.listen.security);
}

/// Says why, where that can be said without waiting for anything: under TLS it would cost a handshake.
fn turn_away(tcp: TcpStream, security: Security) {
    if security != Security::Ssl
        && let Ok(mut tcp) = tcp.into_std()
    {
        let _ = tcp.write_all(TOO_MANY);
    }
}

/// For those who find no place.
pub(crate) const TOO_MANY: &[u8] = b"* BYE [LIMIT] Too many connections, try again later.\r\n";
