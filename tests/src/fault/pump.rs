//! Sockets and tasks of a relay: one task a connection, two readers and two delayed writers in it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conversation::{Conversation, Ends, Order, Part, Refusal, Said};
use super::frame::{Framer, Piece, Speaker};
use super::rewrite::Appending;
use super::{Shared, Way, locked};

/// Chunks that may wait for their delayed delivery, each way.
const QUEUE: usize = 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Accepts until `end`; owns the connections' tasks.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let token = locked(&shared.connections).clone();
                let shared = Arc::clone(&shared);
                locked(&shared.counts).connections += 1;
                let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
                shared.most_open.fetch_max(open, Ordering::Relaxed);
                connections.spawn(async move {
                    let _open = Open(Arc::clone(&shared));
                    tokio::select! {
                        () = token.cancelled() => {}
                        // A connection that ends with an error ends: that is what its client sees as well.
                        _ = relay(client, shared) => {}
                    }
                });
            }
        }
    }
}

/// One connection.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn relay(client: TcpStream, shared: Arc<Shared>) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(shared.setup.upstream).await?;
    server.set_nodelay(true)?;
    let server: Box<dyn Stream> = match &shared.setup.upstream_tls {
        None => Box::new(server),
        Some(tls) => {
            let name = ServerName::try_from("localhost")?;
            Box::new(tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, server).await?)
        }
    };
    let client: Box<dyn Stream> = match &shared.setup.tls {
        None => Box::new(client),
        Some(tls) => Box::new(tokio_rustls::TlsAcceptor::from(Arc::clone(tls)).accept(client).await?),
    };
    let conversation = Arc::new(Conversation::default());
    locked(&shared.announce).push(Arc::clone(&conversation));
    let result = converse(client, server, &conversation, &shared).await;
    locked(&shared.announce).retain(|known| !Arc::ptr_eq(known, &conversation));
    result
}

async fn converse(
    client: Box<dyn Stream>,
    server: Box<dyn Stream>,
    conversation: &Conversation,
    shared: &Shared,
) -> anyhow::Result<()> {
    let (client_in, client_out) = tokio::io::split(client);
    let (server_in, server_out) = tokio::io::split(server);
    let (to_server, server_queue) = mpsc::channel(QUEUE);
    let (to_client, client_queue) = mpsc::channel(QUEUE);
    // Any error ends all four: a broken leg breaks the connection, as a cut cable would.
    tokio::try_join!(
        from_client(client_in, to_server, conversation, shared),
        from_server(server_in, to_client, conversation, shared),
        deliver(server_out, server_queue, Way::ToServer, shared),
        deliver(client_out, client_queue, Way::ToClient, shared),
    )?;
    Ok(())
}

/// Bytes on their way.
struct Due {
    when: Instant,
    bytes: Bytes,
}

fn due(delay: &AtomicU64, bytes: Bytes) -> Due {
    Due { when: Instant::now() + Duration::from_micros(delay.load(Ordering::Relaxed)), bytes }
}

async fn from_client(
    mut input: impl AsyncRead + Unpin,
    output: mpsc::Sender<Due>,
    conversation: &Conversation,
    shared: &Shared,
) -> anyhow::Result<()> {
    let mut framer = Framer::new(Speaker::Client);
    let mut buffer = vec![0; 64 * 1024];
    let mut swallowing: Option<Refusal> = None;
    let mut appending: Option<Appending> = None;
    loop {
        while let Some(piece) = framer.next() {
            let bytes = match piece {
                Piece::Data(bytes) => match &mut appending {
                    Some(appending) => {
                        appending.body(&bytes);
                        continue;
                    }
                    None => bytes,
                },
                Piece::Line { bytes, first, literal } => {
                    if first {
                        shared.note(Way::ToServer, &bytes);
                        match conversation.on_client(&bytes, shared) {
                            Order::Forward => {}
                            Order::Swallow(refusal) => swallowing = Some(refusal),
                            Order::Cut => anyhow::bail!("ordered"),
                        }
                    }
                    let waits = literal.is_some_and(|literal| literal.waits);
                    if swallowing.is_some() && (literal.is_none() || waits) {
                        if waits {
                            framer.literal_refused();
                        }
                        if let Some(refusal) = swallowing.take() {
                            conversation.refuse(refusal);
                        }
                        continue;
                    }
                    if first && swallowing.is_none() {
                        appending = Appending::begin(&bytes, literal, shared);
                        if appending.is_some() {
                            if waits {
                                conversation.go_on();
                            }
                            continue;
                        }
                    }
                    match appending.take() {
                        Some(appending) => appending.end(&bytes, shared),
                        None => bytes,
                    }
                }
            };
            if swallowing.is_none() {
                output.send(due(&shared.to_server_delay, bytes)).await.context("writer gone")?;
            }
        }
        let read = or_end(input.read(&mut buffer).await)?;
        if read == 0 {
            let rest = framer.rest();
            if !rest.is_empty() && swallowing.is_none() {
                output.send(due(&shared.to_server_delay, rest)).await.context("writer gone")?;
            }
            return Ok(());
        }
        framer.push(&buffer[..read]);
    }
}

async fn from_server(
    mut input: impl AsyncRead + Unpin,
    output: mpsc::Sender<Due>,
    conversation: &Conversation,
    shared: &Shared,
) -> anyhow::Result<()> {
    let mut framer = Framer::new(Speaker::Server);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(piece) = framer.next() {
            let bytes = match piece {
                Piece::Data(bytes) => bytes,
                Piece::Line { bytes, first, literal } => {
                    let part = if first { Part::Begins } else { Part::GoesOn };
                    shared.note(Way::ToClient, &bytes);
                    match conversation.on_server(bytes, part, literal.map(|literal| literal.size), shared) {
                        Said::Forward(bytes) => bytes,
                        Said::Nothing => continue,
                        Said::Cut => anyhow::bail!("ordered"),
                    }
                }
            };
            output.send(due(&shared.to_client_delay, bytes)).await.context("writer gone")?;
        }
        if framer.at_boundary() {
            let (injected, ends) = conversation.take_injected();
            for bytes in injected {
                output.send(due(&shared.to_client_delay, bytes)).await.context("writer gone")?;
            }
            if ends == Ends::Here {
                drop(output);
                // The writer delivers what is queued; then the connection is over in both directions.
                tokio::time::sleep(Duration::from_micros(shared.to_client_delay.load(Ordering::Relaxed)))
                    .await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                anyhow::bail!("said BYE");
            }
        }
        let read = tokio::select! {
            read = input.read(&mut buffer) => or_end(read)?,
            () = conversation.changed.notified() => continue,
        };
        if read == 0 {
            let rest = framer.rest();
            if !rest.is_empty() {
                output.send(due(&shared.to_client_delay, rest)).await.context("writer gone")?;
            }
            return Ok(());
        }
        framer.push(&buffer[..read]);
    }
}

/// Dovecot ends TLS by closing the connection: what it said before is still delivered.
fn or_end(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}

async fn deliver(
    mut output: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Due>,
    way: Way,
    shared: &Shared,
) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    while let Some(Due { when, bytes }) = queue.recv().await {
        if when > Instant::now() {
            output.flush().await?;
            tokio::time::sleep_until(when).await;
        }
        batch.clear();
        batch.extend_from_slice(&bytes);
        // What is due already goes in the same write.
        while batch.len() < 128 * 1024 && shared.is_prompt(way) {
            let Ok(Due { bytes, .. }) = queue.try_recv() else { break };
            batch.extend_from_slice(&bytes);
        }
        if let Some(keep) = shared.strike(way, batch.len()) {
            output.write_all(&batch[..keep]).await?;
            output.flush().await?;
            anyhow::bail!("cut after {keep} bytes");
        }
        output.write_all(&batch).await?;
        if queue.is_empty() {
            output.flush().await?;
        }
    }
    output.shutdown().await?;
    Ok(())
}

impl Shared {
    /// Whether nothing is delayed that way.
    fn is_prompt(&self, way: Way) -> bool {
        let delay = match way {
            Way::ToServer => &self.to_server_delay,
            Way::ToClient => &self.to_client_delay,
        };
        delay.load(Ordering::Relaxed) == 0
    }

    /// Counts bytes down to an ordered cut; how many of these still go when it strikes.
    fn strike(&self, way: Way, bytes: usize) -> Option<usize> {
        let mut cut = locked(&self.cut);
        let (ordered, left) = cut.as_mut()?;
        if *ordered != way {
            return None;
        }
        if *left > bytes as u64 {
            *left -= bytes as u64;
            return None;
        }
        let keep = usize::try_from(*left).unwrap_or(bytes);
        *cut = None;
        self.cuts.fetch_add(1, Ordering::Relaxed);
        Some(keep)
    }
}
