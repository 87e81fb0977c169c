//! One connection, one command at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::timeout;

use super::connect::Limits;
use super::io::Stream;
use super::link::Link;
use super::{Error, Event, Reader, Tag, Writer};
use crate::Capabilities;
use crate::response::{Code, Response, Status, StatusText};
use crate::token::quote;

/// Commands under way at once. Together they fit any socket's buffer, so that writing them never waits for a server
/// that waits for us to read.
pub(super) const WINDOW: usize = 4;

/// One connection.
#[derive(Debug)]
pub struct Session {
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) server: Arc<str>,
    pub(super) capabilities: Capabilities,
    greeting: StatusText,
    state: LoginState,
}

/// Whether the connection was logged in from the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LoginState {
    /// It was: PREAUTH.
    Before,
    /// The usual case.
    ByCommand,
}

impl Session {
    /// Both halves, for pipelining. Nothing may be outstanding when the serial verbs are used again.
    pub fn halves(&mut self) -> (&mut Writer, &mut Reader) {
        (&mut self.writer, &mut self.reader)
    }

    /// Both halves for good.
    pub fn into_halves(self) -> (Writer, Reader) {
        (self.writer, self.reader)
    }

    /// What the server can do, as it said last.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The server's greeting: its words. Empty after STARTTLS, since nobody vouches for what was said in the clear.
    pub fn greeting(&self) -> &str {
        &self.greeting.text
    }

    /// `host:port`, as errors name it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reads the greeting.
    pub(super) async fn greeted(stream: Stream, server: Arc<str>, limits: Limits) -> Result<Self, Error> {
        let mut session = Self::ungreeted(stream, server, limits);
        let Ok(greeting) = timeout(limits.idle, session.reader.next()).await else {
            return Err(Error::Timeout {
                server: session.server,
                doing: "waiting for the server's greeting",
            });
        };
        match greeting? {
            Event::Untagged(greeting @ (Response::Status(_) | Response::PreAuth(_))) => {
                session.take_greeting(greeting)?;
                Ok(session)
            }
            Event::Bye(text) => Err(Error::Bye { server: session.server, code: text.code, text: text.text }),
            _ => Err(session.protocol("no IMAP greeting")),
        }
    }

    fn take_greeting(&mut self, greeting: Response) -> Result<(), Error> {
        let text = match greeting {
            Response::PreAuth(text) => {
                self.state = LoginState::Before;
                text
            }
            Response::Status(text) if text.status == Status::Ok => text,
            _ => return Err(self.protocol("no IMAP greeting")),
        };
        if let Some(Code::Capability(capabilities)) = &text.code {
            self.capabilities = capabilities.clone();
        }
        self.greeting = text;
        Ok(())
    }

    pub(super) fn ungreeted(stream: Stream, server: Arc<str>, limits: Limits) -> Self {
        let (read, write) = tokio::io::split(stream);
        let link = Link::new(Arc::clone(&server));
        Self {
            writer: Writer::new(write, Arc::clone(&link), limits),
            reader: Reader::new(read, link, limits),
            server,
            capabilities: Capabilities::default(),
            greeting: StatusText { status: Status::Ok, code: None, text: String::new() },
            state: LoginState::ByCommand,
        }
    }

    /// STARTTLS, up to the server's OK. Whatever was read beyond it came in the clear: somebody in the middle may have
    /// put it there to be taken for the protected session's first words.
    pub(super) async fn start_tls(&mut self) -> Result<(), Error> {
        if self.capabilities.is_empty() && self.state == LoginState::ByCommand {
            self.capability().await?;
        }
        // STARTTLS is not allowed after PREAUTH: with a false one, somebody in the middle could keep it from being used.
        if self.state == LoginState::Before || !self.capabilities.has("STARTTLS") {
            return Err(self.unsupported("STARTTLS"));
        }
        self.command("STARTTLS", "").await?;
        if !self.reader.is_between() {
            return Err(self.protocol("plaintext after STARTTLS"));
        }
        Ok(())
    }

    pub(super) fn into_stream(self) -> Option<Stream> {
        let (read, write) = (self.reader.into_io(), self.writer.into_io());
        read.is_pair_of(&write).then(|| read.unsplit(write))
    }

    /// Asks for the capabilities unless they were told.
    pub(super) async fn learn_capabilities(&mut self) -> Result<(), Error> {
        if self.capabilities.is_empty() {
            self.capability().await?;
        }
        self.writer.learn(&self.capabilities);
        Ok(())
    }

    /// Asks for the capabilities anew.
    ///
    /// # Errors
    /// See [`Error`], as for all verbs below.
    pub async fn capability(&mut self) -> Result<&Capabilities, Error> {
        let mut told = None;
        self.run("CAPABILITY", "CAPABILITY", |response| {
            if let Response::Capability(capabilities) = response {
                told = Some(capabilities);
            }
        })
        .await?;
        self.capabilities = told.ok_or_else(|| self.protocol("no capabilities told"))?;
        self.writer.learn(&self.capabilities);
        Ok(&self.capabilities)
    }

    /// Any command that answers with nothing we need. `arguments` as on the wire.
    pub async fn command(&mut self, verb: &'static str, arguments: &str) -> Result<StatusText, Error> {
        self.command_with(verb, arguments, |_| {}).await
    }

    /// Any command; `on` is told each untagged response.
    pub async fn command_with(
        &mut self,
        verb: &'static str,
        arguments: &str,
        on: impl FnMut(Response) + Send,
    ) -> Result<StatusText, Error> {
        let line = if arguments.is_empty() { verb.to_owned() } else { format!("{verb} {arguments}") };
        self.run(verb, &line, on).await
    }

    /// NOOP.
    pub async fn noop(&mut self) -> Result<(), Error> {
        self.command("NOOP", "").await.map(drop)
    }

    /// LOGOUT; waits for the server's farewell.
    pub async fn logout(mut self) -> Result<(), Error> {
        match self.command("LOGOUT", "").await {
            Ok(_) | Err(Error::Bye { .. } | Error::Lost { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    // Below the verbs.

    pub(super) async fn run(
        &mut self,
        command: &'static str,
        line: &str,
        on: impl FnMut(Response) + Send,
    ) -> Result<StatusText, Error> {
        self.run_bytes(command, line.as_bytes(), on).await
    }

    pub(super) async fn run_bytes(
        &mut self,
        command: &'static str,
        line: &[u8],
        on: impl FnMut(Response) + Send,
    ) -> Result<StatusText, Error> {
        let tag = self.writer.send_bytes(line).await?;
        self.writer.flush().await?;
        let answer = self.answer(tag, on).await?;
        self.accept(command, answer)
    }

    /// Reads up to one command's answer.
    pub(super) async fn answer(
        &mut self,
        wanted: Tag,
        mut on: impl FnMut(Response) + Send,
    ) -> Result<StatusText, Error> {
        loop {
            match self.reader.next().await? {
                Event::Tagged { tag, text } if tag == wanted => return Ok(text),
                Event::Untagged(response) => on(response),
                Event::BodyEnd { fetched } => on(Response::Fetch(fetched)),
                Event::Tagged { .. }
                | Event::Continue(_)
                | Event::BodyStart { .. }
                | Event::BodyChunk(_)
                | Event::Bye(_) => {}
            }
        }
    }

    /// Commands of one kind, several under way; their answers in the order in which they came.
    pub(super) async fn pipeline<L: AsRef<[u8]>>(
        &mut self,
        command: &'static str,
        mut lines: impl Iterator<Item = L> + Send,
        mut on: impl FnMut(Response) + Send,
    ) -> Result<Vec<StatusText>, Error> {
        let mut open: VecDeque<Tag> = VecDeque::new();
        let mut answers = Vec::new();
        let mut refused = None;
        loop {
            while open.len() < WINDOW
                && refused.is_none()
                && let Some(line) = lines.next()
            {
                open.push_back(self.writer.send_bytes(line.as_ref()).await?);
            }
            if open.is_empty() {
                return refused.map_or(Ok(answers), Err);
            }
            self.writer.flush().await?;
            match self.reader.next().await? {
                Event::Tagged { tag, text } => {
                    open.retain(|known| *known != tag);
                    match self.accept(command, text) {
                        Ok(answer) => answers.push(answer),
                        Err(error) => refused = refused.or(Some(error)),
                    }
                }
                Event::Untagged(response) => on(response),
                Event::BodyEnd { fetched } => on(Response::Fetch(fetched)),
                Event::Continue(_) | Event::BodyStart { .. } | Event::BodyChunk(_) | Event::Bye(_) => {}
            }
        }
    }

    pub(super) fn accept(&self, command: &'static str, answer: StatusText) -> Result<StatusText, Error> {
        match answer.status {
            Status::Ok => Ok(answer),
            status @ (Status::No | Status::Bad) => Err(Error::Refused {
                server: Arc::clone(&self.server),
                command,
                status,
                code: answer.code,
                text: answer.text,
            }),
        }
    }

    /// A verb with quoted arguments.
    pub(super) fn line(&self, verb: &str, arguments: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let mut line = verb.as_bytes().to_vec();
        for argument in arguments {
            line.push(b' ');
            if !quote(argument, &mut line) {
                return Err(self.misuse("a name with a line end"));
            }
        }
        Ok(line)
    }

    pub(super) fn protocol(&self, what: &str) -> Error {
        Error::Protocol { server: Arc::clone(&self.server), what: what.to_owned() }
    }

    pub(super) fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported { server: Arc::clone(&self.server), what }
    }

    pub(super) fn misuse(&self, what: &'static str) -> Error {
        Error::Misuse { server: Arc::clone(&self.server), what }
    }
}
