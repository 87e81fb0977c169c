//! From the greeting to the login: carries out what the [`Door`] decides.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mailferry_imap::frame::{Framer, Piece};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant as Deadline, sleep_until, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use zeroize::Zeroize;

use crate::book::{Page, count};
use crate::door::{Door, Heard, Login, Logins, MAX_BUFFERED, Move};
use crate::filter::{Leg, filtered};
use crate::listener::Shared;
use crate::stream::Stream;
use crate::upstream::Upstream;

/// How long a last word may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A session whose login the source accepted.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) client: Stream,
    /// What the client sent behind its login.
    pub(crate) client_rest: Bytes,
    pub(crate) source: Stream,
    /// What the source sent behind its answer.
    pub(crate) source_rest: Bytes,
    /// What the client logged in with, where it could be read.
    pub(crate) login: Login,
}

/// How it went before the relay.
#[derive(Debug)]
pub(crate) enum Outcome {
    LoggedIn(Box<LoggedIn>),
    /// Over before a login: said goodbye, gone, too slow.
    Ended(&'static str),
}

/// Commands before a login are hardly longer. A buffer that grows leaves a copy behind that nobody wipes.
const USUAL: usize = 1024;

/// What a client sends before its login may hold a password: it is overwritten when it is done with.
#[derive(Default)]
struct Wiped(BytesMut);

impl Wiped {
    fn split_to(&mut self, bytes: usize) -> Self {
        Self(self.0.split_to(bytes))
    }

    /// What came behind the login is the relay's.
    fn into_rest(mut self) -> Bytes {
        if self.0.is_empty() { Bytes::new() } else { std::mem::take(&mut self.0).freeze() }
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

struct Entry<'a> {
    shared: &'a Shared,
    page: &'a Page,
    client: Stream,
    from_client: Wiped,
    source: Stream,
    from_source: Framer,
    door: Door,
}

/// Passes the greeting on and everything up to an accepted login.
pub(crate) async fn enter(
    shared: &Shared,
    page: &Page,
    client: Stream,
    upstream: Upstream,
    (leg, acceptor): (Leg, Option<&TlsAcceptor>),
) -> io::Result<Outcome> {
    let Upstream { stream: source, greeting, rest } = upstream;
    let mut entry = Entry {
        shared,
        page,
        client,
        from_client: Wiped(BytesMut::with_capacity(USUAL)),
        source,
        from_source: Framer::server().with_max_line(MAX_BUFFERED),
        door: Door::new(leg, shared.learner.learning()),
    };
    let entered = async {
        entry.say_line(&greeting).await?;
        if greeting.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"* PREAUTH")) {
            return Ok(entry.logged_in(Bytes::from(rest)));
        }
        entry.run(rest.freeze(), acceptor).await
    };
    // A client that reads nothing is not waited for, nor a source.
    match timeout(shared.config.limits.login + FAREWELL, entered).await {
        Ok(outcome) => outcome,
        Err(_) => Ok(Outcome::Ended("too long without a login, and deaf")),
    }
}

impl Entry<'_> {
    async fn run(mut self, mut heard: Bytes, acceptor: Option<&TlsAcceptor>) -> io::Result<Outcome> {
        let deadline = Deadline::now() + self.shared.config.limits.login;
        loop {
            if let Some(behind) = self.hear(&mut heard).await? {
                return Ok(self.logged_in(behind));
            }
            loop {
                match self.door.on_client(&self.from_client.0, self.logins()) {
                    Move::More | Move::Wait => break,
                    Move::Forward(bytes) => {
                        let bytes = self.from_client.split_to(bytes);
                        self.source.write_all(&bytes.0).await?;
                        self.source.flush().await?;
                    }
                    Move::Answer(bytes, answer) => {
                        let _ = self.from_client.split_to(bytes);
                        self.say(&answer).await?;
                    }
                    Move::StartTls(bytes, answer) => {
                        let _ = self.from_client.split_to(bytes);
                        self.say(&answer).await?;
                        self = self.start_tls(acceptor).await?;
                    }
                    Move::Close(answer) => {
                        self.say(&answer).await?;
                        self.client.shutdown().await?;
                        return Ok(Outcome::Ended("turned away"));
                    }
                }
            }
            let mut more = BytesMut::new();
            tokio::select! {
                read = self.client.read_buf(&mut self.from_client.0), if self.from_client.0.len() < MAX_BUFFERED => {
                    if read? == 0 {
                        return Ok(Outcome::Ended("client left before its login"));
                    }
                }
                read = self.source.read_buf(&mut more) => {
                    if read? == 0 {
                        self.client.shutdown().await?;
                        return Ok(Outcome::Ended("source closed before a login"));
                    }
                    heard = more.freeze();
                }
                () = sleep_until(deadline) => {
                    self.say(b"* BYE Too long without a login.\r\n").await?;
                    return Ok(Outcome::Ended("too long without a login"));
                }
            }
        }
    }

    /// Passes on what the source said. What came behind the answer to an accepted login is returned.
    async fn hear(&mut self, heard: &mut Bytes) -> io::Result<Option<Bytes>> {
        loop {
            match self.from_source.next(heard).map_err(io::Error::other)? {
                Some(Piece::Line { text, .. }) => {
                    let meant = self.door.on_server_line(&text);
                    self.say_line(&text).await?;
                    match meant {
                        Heard::Line => {}
                        Heard::LoggedIn => return Ok(Some(std::mem::take(heard))),
                        Heard::Refused => {
                            count(&self.shared.book.counters.refused_logins);
                            self.shared.admission().on_refused(self.page.peer.ip(), Instant::now());
                        }
                    }
                }
                Some(Piece::Data { bytes, .. }) => self.say(&bytes).await?,
                None => return Ok(None),
            }
        }
    }

    fn logins(&self) -> Logins {
        let welcome = self.shared.admission().may_log_in(self.page.peer.ip(), Instant::now());
        if welcome { Logins::Welcome } else { Logins::Barred }
    }

    async fn start_tls(self, acceptor: Option<&TlsAcceptor>) -> io::Result<Self> {
        let (Some(acceptor), Stream::Plain(tcp)) = (acceptor, self.client) else {
            return Err(io::Error::other("STARTTLS where there is no TLS"));
        };
        let handshake = timeout(self.shared.config.limits.handshake, acceptor.accept(tcp));
        let accepted = handshake.await.map_err(io::Error::from).flatten();
        let tls = accepted.inspect_err(|_| count(&self.shared.book.counters.failed_handshakes))?;
        let mut door = self.door;
        door.on_tls();
        Ok(Self { client: Stream::Tls(Box::new(TlsStream::Server(tls))), door, ..self })
    }

    async fn say_line(&mut self, line: &[u8]) -> io::Result<()> {
        match filtered(line, self.door.leg()) {
            Some(line) => self.say(&line).await,
            None => self.say(line).await,
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.client.write_all(bytes).await?;
        self.client.flush().await
    }

    fn logged_in(self, source_rest: Bytes) -> Outcome {
        Outcome::LoggedIn(Box::new(LoggedIn {
            client: self.client,
            client_rest: self.from_client.into_rest(),
            source: self.source,
            source_rest,
            login: self.door.login(),
        }))
    }
}
