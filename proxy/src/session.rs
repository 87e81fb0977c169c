//! One client's session from its first byte to its last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailferry_imap::net::Security;
use mailferry_spool::Seen;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::Blindness;
use crate::book::{Page, count};
use crate::door::Login;
use crate::filter::Leg;
use crate::learner::Accepted;
use crate::listener::Shared;
use crate::login::{LoggedIn, Outcome, enter};
use crate::relay::{Passed, Relay};
use crate::stream::{Stream, tune};
use crate::upstream;

/// How often a session that is to end is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long a tap may go on after its session.
const SETTLE: Duration = Duration::from_secs(10);

/// Serves one connection until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    page: Arc<Page>,
    tcp: TcpStream,
    security: Security,
    shutdown: CancellationToken,
) {
    let ended = tokio::select! {
        ended = Box::pin(entered(&shared, &page, tcp, security)) => ended,
        () = page.kick.cancelled() => Ok(Outcome::Ended("kicked")),
        () = shutdown.cancelled() => Ok(Outcome::Ended("shutdown")),
    };
    let ended = match ended {
        Ok(Outcome::LoggedIn(session)) => relayed(&shared, &page, *session, &shutdown).await,
        Ok(Outcome::Ended(how)) => Ok(how),
        Err(error) => Err(error),
    };
    let info = page.info();
    let (up, down, mirrored) = (info.bytes_up, info.bytes_down, info.mirrored);
    let blind = info.blind.map(tracing::field::display);
    match ended {
        Ok(how) => info!(conn = page.id, up, down, mirrored, blind, took = ?info.age, how, "Session ended."),
        Err(error) if is_gone(&error) => {
            info!(conn = page.id, up, down, mirrored, blind, took = ?info.age, how = "gone", "Session ended.");
        }
        Err(error) => {
            info!(conn = page.id, up, down, mirrored, blind, took = ?info.age, how = "broke", %error, "Session ended.");
        }
    }
}

/// Whether a peer just went away, as many clients do.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// TLS, the source, the login.
async fn entered(shared: &Shared, page: &Page, tcp: TcpStream, security: Security) -> io::Result<Outcome> {
    let limits = &shared.config.limits;
    let counters = &shared.book.counters;
    tune(&tcp)?;
    let acceptor = shared.acceptor.as_ref();
    let mut client = match (security, acceptor) {
        (Security::Ssl, Some(acceptor)) => {
            let accepted =
                timeout(limits.handshake, acceptor.accept(tcp)).await.map_err(io::Error::from).flatten();
            let tls = accepted.inspect_err(|_| count(&counters.failed_handshakes))?;
            Stream::Tls(Box::new(TlsStream::Server(tls)))
        }
        (Security::Ssl, None) => return Err(io::Error::other("no certificate")),
        (Security::Tls | Security::None, _) => Stream::Plain(tcp),
    };
    let connected = timeout(limits.handshake, upstream::connect(&shared.config.source, &shared.config.tls));
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
    let leg = if security == Security::Tls { Leg::BeforeStartTls } else { Leg::Open };
    enter(shared, page, client, source, (leg, acceptor)).await
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
    if let Login { name: Some(login), password: Some(password) } = &login {
        shared.learner.offer(Accepted { login: login.clone(), password: password.clone() });
    }
    let (tap, listening) = match login.name {
        Some(name) => {
            let (tap, listening) = shared.mirror.tap(name, page.clone(), &shared.config.limits);
            (Some(tap), Some(tokio::spawn(listening)))
        }
        None => (None, None),
    };
    let relay =
        Relay::new((client, client_rest), (source, source_rest), tap, (&page.bytes_up, &page.bytes_down));
    let ended = watched(shared, page, relay, shutdown).await;
    let totals = &shared.book.counters;
    totals.bytes_up.fetch_add(page.bytes_up.load(Ordering::Relaxed), Ordering::Relaxed);
    totals.bytes_down.fetch_add(page.bytes_down.load(Ordering::Relaxed), Ordering::Relaxed);
    // The relay is gone and with it the tap's sender: the task ends when it has seen everything.
    if let Some(listening) = listening
        && !settled(listening, SETTLE).await
    {
        debug!(conn = page.id, "Tap lost.");
        page.set_blind(Blindness::Slow);
        count(&totals.blind);
        if let Some(mailbox) = page.info().mailbox {
            shared.mirror.spool.offer(Seen::Everything { mailbox });
        }
    }
    ended
}

/// Whether a tap ended well. A disk that hangs must not keep the places of sessions that are over.
async fn settled(mut listening: JoinHandle<()>, limit: Duration) -> bool {
    let ended = timeout(limit, &mut listening).await;
    listening.abort();
    matches!(ended, Ok(Ok(())))
}

/// Lets the relay run, and ends it in good order: when a side stays half-closed without a byte, when an operator says so,
/// and at shutdown as soon as it is at rest.
async fn watched(
    shared: &Shared,
    page: &Page,
    mut relay: Relay<'_, Stream, Stream>,
    shutdown: &CancellationToken,
) -> io::Result<&'static str> {
    tokio::select! {
        passed = relay.run() => match passed? {
            Passed::Closed => return Ok("closed"),
            Passed::HalfClosed => {}
        },
        () = page.kick.cancelled() => return farewell(relay, "kicked").await,
        () = shutdown.cancelled() => {}
    }
    let limits = &shared.config.limits;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut quiet, mut drained) = (Duration::ZERO, Duration::ZERO);
    let mut seen = page.info();
    loop {
        tokio::select! {
            passed = relay.run() => if passed? == Passed::Closed { return Ok("closed") },
            () = page.kick.cancelled() => return farewell(relay, "kicked").await,
            _ = look.tick() => {
                let now = page.info();
                let moved = (now.bytes_up, now.bytes_down) != (seen.bytes_up, seen.bytes_down);
                quiet = if moved { Duration::ZERO } else { quiet + LOOK };
                seen = now;
                if shutdown.is_cancelled() {
                    drained += LOOK;
                    if (relay.at_rest() && quiet >= 2 * LOOK) || drained >= limits.drain {
                        return farewell(relay, "shutdown").await;
                    }
                } else if quiet >= limits.linger {
                    return Ok("half-closed too long");
                }
            }
        }
    }
}

/// A last word where one may be said, then the end.
async fn farewell(mut relay: Relay<'_, Stream, Stream>, how: &'static str) -> io::Result<&'static str> {
    if relay.between_lines() {
        let client = relay.client();
        let said = async {
            client.write_all(b"* BYE Please connect again.\r\n").await?;
            client.shutdown().await
        };
        // A client that does not read is not waited for.
        let _ = timeout(Duration::from_secs(1), said).await;
    }
    Ok(how)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tap_that_hangs_is_given_up() {
        assert!(settled(tokio::spawn(async {}), SETTLE).await);
        assert!(!settled(tokio::spawn(std::future::pending()), Duration::ZERO).await);
    }
}
