//! From the greeting to the login: carries out what the [`Door`] decides.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mailferry_imap::Capabilities;
use mailferry_imap::frame::{Framer, Piece};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant as Deadline, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize;

use crate::book::{Page, count};
use crate::door::{Door, Heard, Login, Logins, MAX_BUFFERED, Move};
use crate::filter::{Leg, filtered, list};
use crate::id::{self, Answer};
use crate::listener::Shared;
use crate::notices::{ANY, Notice};
use crate::place::{Place, Trying};
use crate::proxy_protocol::{self, Ends};
use crate::session::{GOODBYE, note_tls};
use crate::stream::Stream;
use crate::upstream::Upstream;

/// How long a last word may take.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// At shutdown: how long a client that has not logged in must have been silent before it is told goodbye.
const SILENCE: Duration = Duration::from_secs(1);

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

/// What is read of a client while it is the source's turn: enough to see that it speaks.
const AHEAD: usize = 8 * 1024;

/// How long a login that is not taken yet waits before it is looked at again.
const AGAIN: Duration = Duration::from_millis(100);

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
    place: &'a mut Place,
    shared: Arc<Shared>,
    page: Arc<Page>,
    client: Stream,
    from_client: Wiped,
    source: Stream,
    from_source: Framer,
    /// The source is behind a literal: what comes is the rest of a response, whatever it looks like.
    within_response: bool,
    /// To our own `ID`.
    answer: Answer,
    door: Door,
}

/// The client's half of the connection. Closed, it still hears the answers to what it said, as far as the source gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    Open,
    /// Nothing more will come from the client.
    Done,
    /// And the source knows.
    Told,
}

/// What came of what the source said.
enum Verdict {
    /// Nothing yet.
    Open,
    /// Logged in; what came behind the answer.
    In(Bytes),
    /// Logged in, and not let in.
    Full,
}

/// Passes the greeting on and everything up to an accepted login.
pub(crate) async fn enter(
    place: &mut Place,
    client: Stream,
    (upstream, id): (Upstream, Option<Ends>),
    (leg, acceptor): (Leg, Option<&TlsAcceptor>),
    shutdown: &CancellationToken,
) -> io::Result<Outcome> {
    let Upstream { stream: source, greeting, rest } = upstream;
    let (limit, learning) = (place.shared.limits().login, place.shared.learner.learning());
    let mut entry = Entry {
        shared: place.shared.clone(),
        page: place.page.clone(),
        place,
        client,
        from_client: Wiped(BytesMut::with_capacity(USUAL)),
        source,
        from_source: Framer::server().with_max_line(MAX_BUFFERED),
        within_response: false,
        answer: Answer::No,
        door: Door::new(leg, learning),
    };
    let entered = async {
        if let Some(ends) = id {
            entry.introduce(&greeting, ends).await?;
        }
        entry.say_line(&greeting).await?;
        if greeting.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"* PREAUTH")) {
            return Ok(entry.logged_in(Bytes::from(rest)));
        }
        entry.run(rest.freeze(), acceptor, Deadline::now() + limit, shutdown).await
    };
    // A client that reads nothing is not waited for, nor a source.
    match timeout(limit + FAREWELL, entered).await {
        Ok(outcome) => outcome,
        Err(_) => Ok(Outcome::Ended("too long without a login, and deaf")),
    }
}

impl Entry<'_> {
    async fn run(
        mut self,
        mut heard: Bytes,
        acceptor: Option<&TlsAcceptor>,
        mut deadline: Deadline,
        shutdown: &CancellationToken,
    ) -> io::Result<Outcome> {
        let kick = self.page.kick.clone();
        let mut half = Half::Open;
        let mut spoken = Deadline::now();
        let mut first = true;
        loop {
            match self.hear(&mut heard).await? {
                Verdict::Open => {}
                Verdict::In(behind) => return Ok(self.logged_in(behind)),
                Verdict::Full => return self.log_out().await,
            }
            if first && proxy_protocol::is_header(&self.from_client.0) {
                self.shared.tell(Notice::HeaderForged, self.page.client().ip());
                return self
                    .close(b"* BYE A PROXY header is not taken from your address.\r\n", "turned away")
                    .await;
            }
            // Nothing of ours comes in between what the source says.
            let mut room = AHEAD;
            let mut logins = Logins::Welcome;
            while self.from_source.is_between() {
                logins = self.logins();
                let next = self.door.on_client(&self.from_client.0, logins);
                self.place.set_trying(self.door.tries());
                if self.door.was_barred() {
                    self.shared.tell(Notice::Barred, self.page.client().ip());
                }
                match next {
                    Move::Wait if !self.from_client.0.is_empty() => break,
                    next @ (Move::More | Move::Wait) => {
                        if next == Move::More {
                            room = MAX_BUFFERED;
                        }
                        // What came of a line whose end will not come goes nowhere.
                        if half == Half::Done {
                            self.source.shutdown().await?;
                            half = Half::Told;
                        }
                        break;
                    }
                    Move::Forward(bytes) => {
                        let bytes = self.from_client.split_to(bytes);
                        self.source.write_all(&bytes.0).await?;
                        self.source.flush().await?;
                    }
                    Move::Replace(bytes, other) => {
                        let _ = self.from_client.split_to(bytes);
                        self.source.write_all(&other).await?;
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
                    Move::Close(answer, how) => return self.close(&answer, how).await,
                }
                first = false;
            }
            if let Some(name) = self.door.client_name() {
                self.page.set_client_name(name);
            }
            let is_late = logins == Logins::Later && !self.from_client.0.is_empty();
            let mut more = BytesMut::new();
            let at_rest = self.at_rest();
            let silent = async {
                shutdown.cancelled().await;
                sleep_until(spoken + SILENCE).await;
            };
            tokio::select! {
                read = self.client.read_buf(&mut self.from_client.0),
                    if half == Half::Open && self.from_client.0.len() < room =>
                {
                    if read? == 0 {
                        half = Half::Done;
                        deadline = deadline.min(Deadline::now() + self.shared.limits().linger);
                    }
                    spoken = Deadline::now();
                }
                read = self.source.read_buf(&mut more) => {
                    if read? == 0 {
                        self.client.shutdown().await?;
                        return Ok(Outcome::Ended(match half {
                            Half::Open => "source closed before a login",
                            Half::Done | Half::Told => "client left before its login",
                        }));
                    }
                    heard = more.freeze();
                    spoken = Deadline::now();
                }
                () = sleep_until(deadline) => {
                    return self.close(b"* BYE Too long without a login.\r\n", "too long without a login").await;
                }
                () = sleep(AGAIN), if is_late => {}
                () = silent, if at_rest => return self.close(GOODBYE, "shutdown").await,
                () = kick.cancelled() => return self.close(GOODBYE, "kicked").await,
            }
        }
    }

    /// Tells the source whose connection this is, before anything that the client may say; nobody waits for its answer.
    async fn introduce(&mut self, greeting: &[u8], ends: Ends) -> io::Result<()> {
        if !greeting.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"* OK ")) {
            return Ok(());
        }
        if !list(greeting).is_some_and(|list| Capabilities::parse(list).has("ID")) {
            self.shared.tell(Notice::NoId, ANY);
            return Ok(());
        }
        self.source.write_all(&id::command(ends)).await?;
        self.source.flush().await?;
        self.door.on_own_command(id::TAG);
        self.answer = Answer::Awaited;
        Ok(())
    }

    /// Whether no command is under way.
    fn at_rest(&self) -> bool {
        self.door.is_idle() && self.from_client.0.is_empty() && self.from_source.is_between()
    }

    /// With a last word, where it does not come in between what the source says.
    async fn close(mut self, word: &[u8], how: &'static str) -> io::Result<Outcome> {
        if self.from_source.is_between() {
            self.say(word).await?;
        }
        self.client.shutdown().await?;
        Ok(Outcome::Ended(how))
    }

    /// The source let in whom we do not: nothing stays logged in there.
    async fn log_out(mut self) -> io::Result<Outcome> {
        let word = async {
            self.source.write_all(b"mf9 LOGOUT\r\n").await?;
            self.source.shutdown().await
        };
        // Closing says the same.
        let _ = timeout(FAREWELL, word).await;
        self.close(b"* BYE Too many sessions by this name.\r\n", "too many sessions by this name").await
    }

    /// Passes on what the source said.
    async fn hear(&mut self, heard: &mut Bytes) -> io::Result<Verdict> {
        loop {
            let piece = self.from_source.next(heard).map_err(io::Error::other)?;
            if let Some(piece) = &piece
                && self.answer.is(piece)
            {
                if let Piece::Line { text, .. } = piece {
                    self.door.on_server_line(text);
                }
                continue;
            }
            let within = self.within_response;
            if let Some(Piece::Line { literal, .. }) = &piece {
                self.within_response = literal.is_some();
            }
            match piece {
                Some(Piece::Line { text, .. }) if within => self.say(&text).await?,
                Some(Piece::Line { text, .. }) => match self.door.on_server_line(&text) {
                    Heard::Line => self.say_line(&text).await?,
                    Heard::LoggedIn => {
                        self.place.set_trying(Trying::No);
                        let Some(answer) = self.welcome(&text).await else {
                            let refusal = [first_word(&text), FULL].concat();
                            self.say(&refusal).await?;
                            return Ok(Verdict::Full);
                        };
                        self.say_line(answer).await?;
                        return Ok(Verdict::In(std::mem::take(heard)));
                    }
                    Heard::Refused => {
                        count(&self.shared.book.counters.refused_logins);
                        self.keep_back_refusal().await;
                        self.say_line(&text).await?;
                    }
                },
                Some(Piece::Data { bytes, .. }) => self.say(&bytes).await?,
                None => return Ok(Verdict::Open),
            }
        }
    }

    /// The answer to an accepted login, if there is a place for it.
    async fn welcome<'t>(&mut self, answer: &'t Bytes) -> Option<&'t Bytes> {
        let Some(login) = self.door.accepted().map(str::to_owned) else { return Some(answer) };
        let address = self.page.client().ip();
        let delay = self.shared.admission().delay_of_accepted(address, &login, Instant::now());
        if delay > Duration::ZERO {
            sleep(delay).await;
        }
        if self.place.take_login(&login) {
            return Some(answer);
        }
        count(&self.shared.book.counters.turned_away);
        self.shared.tell(Notice::LoginFull, address);
        None
    }

    /// A refusal counts against the address and against the name; where a name had many, answers come late.
    async fn keep_back_refusal(&mut self) {
        let address = self.page.client().ip();
        let delay = self.shared.admission().on_refused(address, self.door.refused(), Instant::now()).delay;
        self.place.set_trying(Trying::No); // Refused first: it counts all the while.
        if delay > Duration::ZERO {
            self.shared.tell(Notice::Guessed, address);
            sleep(delay).await;
        }
    }

    fn logins(&self) -> Logins {
        self.shared.admission().logins(self.page.client().ip(), Instant::now())
    }

    async fn start_tls(self, acceptor: Option<&TlsAcceptor>) -> io::Result<Self> {
        let (Some(acceptor), Stream::Plain(tcp)) = (acceptor, self.client) else {
            return Err(io::Error::other("STARTTLS where there is no TLS"));
        };
        let handshake = timeout(self.shared.limits().handshake, Stream::accept(acceptor, tcp));
        let accepted = handshake.await.map_err(io::Error::from).flatten();
        let client = accepted.inspect_err(|_| count(&self.shared.book.counters.failed_handshakes))?;
        note_tls(&self.page, &client);
        let mut door = self.door;
        door.on_tls();
        Ok(Self { client, door, ..self })
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

/// In place of the source's OK.
const FULL: &[u8] = b" NO [LIMIT] Too many sessions by this name, close some and try again.\r\n";

/// The tag of an answer.
fn first_word(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b' ').next().unwrap_or_default()
}
