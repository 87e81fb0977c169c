//! One client's session from its first byte to its last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailferry_imap::net::Security;
use mailferry_spool::Seen;
use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{
    Instant as Deadline, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::book::{Page, count};
use crate::door::Login;
use crate::filter::Leg;
use crate::learner::Accepted;
use crate::listener::{Entrance, Shared, Speaker, TOO_MANY};
use crate::login::{FAREWELL, LoggedIn, Outcome, enter};
use crate::mirror::Mirror;
use crate::notices::Notice;
use crate::place::Place;
use crate::proxy_protocol::{self, Ends};
use crate::relay::{Passed, Relay};
use crate::sasl::Layer;
use crate::stream::{Stream, tune};
use crate::watch::Watch;
use crate::{Blindness, TellSource, upstream};

/// How often a session that is to end is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long an operator's word waits for the end of a line.
const LINE_END: Duration = Duration::from_secs(5);

/// How long a tap may go on after its session.
const SETTLE: Duration = Duration::from_secs(10);

/// Serves one connection until it ends.
pub(crate) async fn serve(
    mut place: Place,
    tcp: TcpStream,
    (entrance, speaker): (Arc<Entrance>, Speaker),
    shutdown: CancellationToken,
) {
    let (shared, page) = (place.shared.clone(), place.page.clone());
    // Those who are greeted already are told goodbye by `enter`; these end whatever is under way.
    let kicked = async {
        page.kick.cancelled().await;
        sleep(FAREWELL).await;
    };
    let drained = async {
        shutdown.cancelled().await;
        sleep_until(shared.drained_at()).await;
    };
    let ended = tokio::select! {
        ended = Box::pin(entered(&mut place, tcp, &entrance, speaker, &shutdown)) => ended,
        () = kicked => Ok(Outcome::Ended("kicked")),
        () = drained => Ok(Outcome::Ended("shutdown")),
    };
    let ended = match ended {
        Ok(Outcome::LoggedIn(session)) => relayed(&shared, &page, *session, &shutdown).await,
        Ok(Outcome::Ended(how)) => Ok(how),
        Err(error) => Err(error),
    };
    let (how, error) = match &ended {
        Ok(how) => (*how, None),
        Err(error) if is_gone(error) => ("gone", None),
        Err(error) => ("broke", Some(tracing::field::display(error))),
    };
    let info = page.info();
    let mailbox = info.mailbox.map_or_else(|| "unknown".to_owned(), |mailbox| mailbox.to_string());
    info!(
        conn = page.id,
        mailbox,
        client = info.client_name,
        tls = info.tls,
        up = info.bytes_up,
        down = info.bytes_down,
        mirrored = info.mirrored,
        blind = info.blind.map(tracing::field::display),
        took = ?info.age,
        how,
        error,
        "Session ended."
    );
}

/// Whether a peer just went away, as many clients do.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// PROXY header, TLS, the source, the login.
async fn entered(
    place: &mut Place,
    mut tcp: TcpStream,
    entrance: &Entrance,
    speaker: Speaker,
    shutdown: &CancellationToken,
) -> io::Result<Outcome> {
    let (shared, page) = (place.shared.clone(), place.page.clone());
    let (limits, counters) = (shared.limits(), &shared.book.counters);
    let security = entrance.listen.security;
    tune(&tcp)?;
    let mut server = tcp.local_addr()?;
    let soon = Deadline::now() + limits.handshake;
    if speaker == Speaker::Balancer {
        match timeout_at(soon, proxy_protocol::receive(&mut tcp)).await.map_err(io::Error::from).flatten()? {
            Ok(Some(ends)) => {
                page.set_behind(ends.client);
                server = ends.server;
            }
            Ok(None) => {}
            Err(error) => {
                debug!(conn = page.id, %error, "Balancer turned away.");
                shared.tell(Notice::HeaderRefused, page.client().ip());
                return turned_away(tcp, security, NO_HEADER).await;
            }
        }
        if !place.take_address() {
            count(&counters.turned_away);
            shared.tell(Notice::AddressFull, page.client().ip());
            return turned_away(tcp, security, TOO_MANY).await;
        }
    }
    let acceptor = shared.acceptor.as_ref();
    let mut client = match (security, acceptor) {
        (Security::Ssl, Some(acceptor)) => {
            let accepted = timeout_at(soon, accept_tls(tcp, acceptor, &shared, &page));
            let Ok(client) = accepted.await else {
                count(&counters.failed_handshakes);
                return Ok(Outcome::Ended("too long without TLS"));
            };
            client.inspect_err(|_| count(&counters.failed_handshakes))?
        }
        (Security::Ssl, None) => return Err(io::Error::other("no certificate")),
        (Security::Tls | Security::None, _) => Stream::Plain(tcp),
    };
    note_tls(&page, &client);
    let ends = Ends { client: page.client(), server };
    let (header, id) = match shared.config.tell_source {
        TellSource::Nothing => (None, None),
        TellSource::ProxyProtocol => (Some(ends), None),
        TellSource::Id => (None, Some(ends)),
    };
    let connected =
        timeout(limits.handshake, upstream::connect(&shared.config.source, &shared.config.tls, header));
    let source = match connected.await.map_err(io::Error::from).flatten() {
        Ok(source) => source,
        Err(error) => {
            count(&counters.source_unreachable);
            debug!(conn = page.id, %error, "Source not reached.");
            client
                .write_all(b"* BYE [UNAVAILABLE] The mail server cannot be reached, try again later.\r\n")
                .await?;
            client.shutdown().await?;
            return Ok(Outcome::Ended("source unreachable"));
        }
    };
    if let Some(handshake) = source.handshake() {
        count(&counters.source_handshakes);
        if handshake == HandshakeKind::Resumed {
            count(&counters.source_resumed);
        }
    }
    let leg = if security == Security::Tls { Leg::BeforeStartTls } else { Leg::Open };
    enter(place, client, (source, id), (leg, acceptor), shutdown).await
}

/// For balancers that do not say whom they speak for.
const NO_HEADER: &[u8] = b"* BYE A PROXY header is required from your address.\r\n";

/// Says why where that costs no handshake.
async fn turned_away(mut tcp: TcpStream, security: Security, why: &[u8]) -> io::Result<Outcome> {
    if security != Security::Ssl {
        timeout(FAREWELL, tcp.write_all(why)).await.map_err(io::Error::from).flatten()?;
        tcp.shutdown().await?;
    }
    Ok(Outcome::Ended("turned away"))
}

/// The handshake. A PROXY header in its place comes from a balancer that the configuration does not name.
async fn accept_tls(
    tcp: TcpStream,
    acceptor: &TlsAcceptor,
    shared: &Shared,
    page: &Page,
) -> io::Result<Stream> {
    let mut start = [0; 16];
    let seen = tcp.peek(&mut start).await?;
    if proxy_protocol::is_header(&start[..seen]) {
        shared.tell(Notice::HeaderForged, page.client().ip());
        return Err(io::Error::other("a PROXY header that nobody asked for"));
    }
    Stream::accept(acceptor, tcp).await
}

/// Notes version and cipher of a client's leg that is encrypted.
pub(crate) fn note_tls(page: &Page, client: &Stream) {
    let Stream::Tls(tls) = client else { return };
    let (_, session) = tls.get_ref();
    if let (Some(version), Some(suite)) = (session.protocol_version(), session.negotiated_cipher_suite()) {
        page.set_tls(format!("{version:?} {:?}", suite.suite()));
    }
}

/// The relay, with a tap beside it where the name is known.
async fn relayed(
    shared: &Shared,
    page: &Arc<Page>,
    session: LoggedIn,
    shutdown: &CancellationToken,
) -> io::Result<&'static str> {
    count(&shared.book.counters.logins);
    let LoggedIn { client, client_rest, source, source_rest, login } = session;
    let watch = match login.layer {
        Layer::None => Watch::new(),
        Layer::Unknown => Watch::blind(),
    };
    if let Login { name: Some(login), password: Some(password), .. } = &login {
        shared.learner.offer(Accepted { login: login.clone(), password: password.clone() });
    }
    let (tap, listening) = match login.name {
        Some(name) => {
            let (tap, listening) = shared.mirror.tap(name, page.clone(), &shared.limits());
            (Some(tap), Some(tokio::spawn(listening)))
        }
        None => (None, None),
    };
    let relay = Relay::new(
        (client, client_rest),
        (source, source_rest),
        (watch, tap),
        (&page.bytes_up, &page.bytes_down),
    )
    .with_client_name(&page.client_name);
    let ended = watched(shared, page, relay, shutdown).await;
    let totals = &shared.book.counters;
    totals.bytes_up.fetch_add(page.bytes_up.load(Ordering::Relaxed), Ordering::Relaxed);
    totals.bytes_down.fetch_add(page.bytes_down.load(Ordering::Relaxed), Ordering::Relaxed);
    page.set_over();
    if let Some(listening) = listening {
        if page.misses() {
            listening.abort();
            on_missed(&shared.mirror, page);
        } else if !settled(listening, SETTLE).await {
            // The relay is gone and with it the tap's sender: the task ends when it has seen everything.
            on_lost(&shared.mirror, page);
        }
    }
    ended
}

/// A tap went, and nobody knows what it had still to say.
fn on_lost(mirror: &Mirror, page: &Page) {
    debug!(conn = page.id, "Tap lost.");
    page.set_blind(Blindness::Slow);
    count(&mirror.book.counters.blind);
    on_missed(mirror, page);
}

/// Anything may have changed since the tap went blind.
fn on_missed(mirror: &Mirror, page: &Page) {
    if let Some(mailbox) = page.info().mailbox {
        mirror.spool.offer(Seen::Everything { mailbox });
    }
}

/// Whether a tap ended well. A disk that hangs must not keep the places of sessions that are over.
async fn settled(mut listening: JoinHandle<()>, limit: Duration) -> bool {
    let ended = timeout(limit, &mut listening).await;
    listening.abort();
    matches!(ended, Ok(Ok(())))
}

/// Lets the relay run, and ends it in good order: when a side stays half-closed without a byte, when a client reads
/// nothing for very long, when an operator says so, and at shutdown as soon as it is at rest.
async fn watched(
    shared: &Shared,
    page: &Page,
    mut relay: Relay<'_, Stream, Stream>,
    shutdown: &CancellationToken,
) -> io::Result<&'static str> {
    let mut reads = Reads::new(page);
    loop {
        tokio::select! {
            passed = relay.run() => match passed? {
                Passed::Closed => return Ok("closed"),
                Passed::HalfClosed => break,
            },
            () = page.kick.cancelled() => return kicked(relay).await,
            () = shutdown.cancelled() => break,
            () = sleep_until(reads.look) => {
                if !reads.goes_on(page, &relay, shared.limits().write) {
                    return Ok("client reads nothing");
                }
            }
        }
    }
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut quiet = Duration::ZERO;
    let mut seen = page.bytes();
    loop {
        tokio::select! {
            passed = relay.run() => if passed? == Passed::Closed { return Ok("closed") },
            () = page.kick.cancelled() => return kicked(relay).await,
            _ = look.tick() => {
                let now = page.bytes();
                quiet = if now == seen { quiet + LOOK } else { Duration::ZERO };
                seen = now;
                if shutdown.is_cancelled() {
                    if (relay.at_rest() && quiet >= 2 * LOOK) || Deadline::now() >= shared.drained_at() {
                        return farewell(relay, "shutdown").await;
                    }
                } else if quiet >= shared.limits().linger {
                    return Ok("half-closed too long");
                }
            }
        }
    }
}

/// Whether a client takes what waits for it. Looked at seldom: a slow client is none of our business, and one that reads
/// nothing costs a chunk and its socket's buffers.
struct Reads {
    look: Deadline,
    bytes: (u64, u64),
    waiting: bool,
}

impl Reads {
    /// The first look is soon, and finds nothing wrong.
    fn new(page: &Page) -> Self {
        Self { look: Deadline::now(), bytes: page.bytes(), waiting: false }
    }

    /// False when something waited at the last look and nothing moved since.
    fn goes_on(&mut self, page: &Page, relay: &Relay<'_, Stream, Stream>, limit: Duration) -> bool {
        let now = page.bytes();
        let stuck = self.waiting && relay.client_is_behind() && now.1 == self.bytes.1;
        *self = Self { look: Deadline::now() + limit, bytes: now, waiting: relay.client_is_behind() };
        !stuck
    }
}

/// An operator's word waits for the end of a line, so that the client can be told, but not for long.
async fn kicked(mut relay: Relay<'_, Stream, Stream>) -> io::Result<&'static str> {
    let until = Deadline::now() + LINE_END;
    while !relay.between_lines() && Deadline::now() < until {
        tokio::select! {
            passed = relay.run() => if passed? == Passed::Closed { return Ok("closed") },
            () = sleep(LOOK) => {}
        }
    }
    farewell(relay, "kicked").await
}

/// A last word where one may be said, then the end.
async fn farewell(mut relay: Relay<'_, Stream, Stream>, how: &'static str) -> io::Result<&'static str> {
    if relay.between_lines() {
        let client = relay.client();
        let said = async {
            client.write_all(GOODBYE).await?;
            client.shutdown().await
        };
        // A client that does not read is not waited for.
        let _ = timeout(FAREWELL, said).await;
    }
    Ok(how)
}

/// What a client hears when we end its session.
pub(crate) const GOODBYE: &[u8] = b"* BYE Please connect again.\r\n";

#[cfg(test)]
mod tests {
    use mailferry_imap::MailboxId;
    use mailferry_ledger::Ledger;
    use mailferry_spool::{Limits, Spool};

    use super::*;
    use crate::book::Book;

    #[tokio::test]
    async fn a_tap_that_was_lost_leaves_everything_to_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
        let spool = Spool::new(Limits { memory_bytes: 100, disk_bytes: 0, dir: dir.path().join("spool") });
        let mirror = Mirror::new("E".into(), ledger, spool, Arc::new(Book::default()));
        let page = mirror.book.open(([127, 0, 0, 1], 1).into());
        page.set_login(Some("ann".to_owned()), Some(MailboxId(7)));
        on_lost(&mirror, &page);
        assert_eq!((page.info().blind, mirror.book.counters().blind), (Some(Blindness::Slow), 1));
        let told = mirror.spool.drain(MailboxId(7));
        assert!(matches!(told.as_slice(), [Seen::Everything { mailbox: MailboxId(7) }]), "{told:?}");
    }

    #[tokio::test]
    async fn a_tap_that_hangs_is_given_up() {
        assert!(settled(tokio::spawn(async {}), SETTLE).await);
        assert!(!settled(tokio::spawn(std::future::pending()), Duration::ZERO).await);
    }
}
