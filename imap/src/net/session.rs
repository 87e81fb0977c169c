//! One connection, one command at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::timeout;

use super::connect::Limits;
use super::io::Stream;
use super::link::Link;
use super::{Error, Event, Reader, Tag, Writer};
use crate::response::{
    Code, Fetched, FolderStatus, Listed, Namespaces, NewKeywords, Response, Status, StatusText,
};
use crate::token::quote;
use crate::{Capabilities, Flags, FolderName, ModSeq, Uid, UidSet, UidValidity, set};

/// The longest command, in bytes: Exchange refuses 4,096.
const MAX_COMMAND: usize = 3_900;
/// Commands under way at once. Together they fit any socket's buffer, so that writing them never waits for a server
/// that waits for us to read.
const WINDOW: usize = 4;

/// A folder as SELECT or EXAMINE showed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selected {
    /// How many messages.
    pub exists: u32,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The next UID, where it was told.
    pub uid_next: Option<Uid>,
    /// `None` where the server keeps none for this folder.
    pub highest_modseq: Option<ModSeq>,
    /// The flags that last; `None` where it was not told (then all of them: RFC 3501 section 7.1).
    pub permanent_flags: Option<Flags>,
    /// Whether new keywords may be made.
    pub keywords_allowed: bool,
    /// Whether it was opened read-only.
    pub read_only: bool,
}

/// How STORE changes flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// `+FLAGS.SILENT`
    Add,
    /// `-FLAGS.SILENT`
    Remove,
    /// `FLAGS.SILENT`
    Replace,
}

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
        self.run("CAPABILITY", "CAPABILITY", |response| match response {
            Response::Capability(capabilities) => told = Some(capabilities),
            _ => {}
        })
        .await?;
        self.capabilities = told.ok_or_else(|| self.protocol("no capabilities told"))?;
        self.writer.learn(&self.capabilities);
        Ok(&self.capabilities)
    }

    /// NAMESPACE.
    pub async fn namespace(&mut self) -> Result<Namespaces, Error> {
        let mut found = None;
        self.run("NAMESPACE", "NAMESPACE", |response| match response {
            Response::Namespace(namespaces) => found = Some(namespaces),
            _ => {}
        })
        .await?;
        found.ok_or_else(|| self.protocol("no namespace told"))
    }

    /// LIST. `pattern` is a wire name too; `*` and `%` are wildcards in it.
    pub async fn list(&mut self, reference: &FolderName, pattern: &str) -> Result<Vec<Listed>, Error> {
        self.list_by("LIST", reference, pattern).await
    }

    /// LSUB.
    pub async fn lsub(&mut self, reference: &FolderName, pattern: &str) -> Result<Vec<Listed>, Error> {
        self.list_by("LSUB", reference, pattern).await
    }

    async fn list_by(
        &mut self,
        verb: &'static str,
        reference: &FolderName,
        pattern: &str,
    ) -> Result<Vec<Listed>, Error> {
        let line = self.line(verb, &[reference.wire(), pattern.as_bytes()])?;
        let mut found = Vec::new();
        self.run_bytes(verb, &line, |response| match response {
            Response::List(listed) => found.push(listed),
            _ => {}
        })
        .await?;
        Ok(found)
    }

    /// LIST with the STATUS of each folder: one command where the server has LIST-STATUS, else one STATUS a folder,
    /// pipelined. Folders that cannot be selected, or whose STATUS is refused, have none.
    pub async fn list_status(
        &mut self,
        reference: &FolderName,
        pattern: &str,
    ) -> Result<Vec<(Listed, Option<FolderStatus>)>, Error> {
        let mut found: Vec<(Listed, Option<FolderStatus>)> = Vec::new();
        if self.capabilities.has("LIST-STATUS") {
            let mut line = self.line("LIST", &[reference.wire(), pattern.as_bytes()])?;
            line.extend_from_slice(format!(" RETURN (STATUS ({}))", self.status_items()).as_bytes());
            let mut statuses = Vec::new();
            self.run_bytes("LIST", &line, |response| match response {
                Response::List(listed) => found.push((listed, None)),
                Response::FolderStatus(status) => statuses.push(status),
                _ => {}
            })
            .await?;
            for status in statuses {
                if let Some((_, place)) = found.iter_mut().find(|(listed, _)| listed.name == status.name) {
                    *place = Some(status);
                }
            }
            return Ok(found);
        }
        found.extend(self.list(reference, pattern).await?.into_iter().map(|listed| (listed, None)));
        let mut lines = Vec::new();
        for (at, (listed, _)) in found.iter().enumerate() {
            let closed = ["\\Noselect", "\\NonExistent"];
            if !listed.attributes.iter().any(|is| closed.iter().any(|not| not.eq_ignore_ascii_case(is))) {
                lines.push((at, self.status_line(&listed.name)?));
            }
        }
        let mut open: VecDeque<(Tag, usize)> = VecDeque::new();
        let mut lines = lines.into_iter();
        loop {
            while open.len() < WINDOW
                && let Some((at, line)) = lines.next()
            {
                open.push_back((self.writer.send_bytes(&line).await?, at));
            }
            if open.is_empty() {
                return Ok(found);
            }
            self.writer.flush().await?;
            match self.reader.next().await? {
                Event::Untagged(Response::FolderStatus(status)) => {
                    if let Some((_, place)) = found.iter_mut().find(|(listed, _)| listed.name == status.name)
                    {
                        *place = Some(status);
                    }
                }
                Event::Tagged { tag, .. } => open.retain(|(known, _)| *known != tag),
                _ => {}
            }
        }
    }

    /// SELECT.
    pub async fn select(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        self.open("SELECT", folder).await
    }

    /// EXAMINE: SELECT that changes nothing.
    pub async fn examine(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        self.open("EXAMINE", folder).await
    }

    async fn open(&mut self, verb: &'static str, folder: &FolderName) -> Result<Selected, Error> {
        let mut line = self.line(verb, &[folder.wire()])?;
        if self.capabilities.has("CONDSTORE") {
            line.extend_from_slice(b" (CONDSTORE)");
        }
        let (mut exists, mut validity, mut uid_next, mut modseq) = (None, None, None, None);
        let mut permanent = None;
        let answer = self
            .run_bytes(verb, &line, |response| match response {
                Response::Exists(number) => exists = Some(number),
                Response::Status(text) => match text.code {
                    Some(Code::UidValidity(number)) => validity = Some(number),
                    Some(Code::UidNext(uid)) => uid_next = Some(uid),
                    Some(Code::HighestModSeq(number)) => modseq = Some(number).filter(|number| number.0 > 0),
                    Some(Code::NoModSeq) => modseq = None,
                    Some(Code::PermanentFlags(flags, new)) => permanent = Some((flags, new)),
                    _ => {}
                },
                _ => {}
            })
            .await?;
        let exists = exists.ok_or_else(|| self.protocol("a folder without EXISTS"))?;
        let uid_validity = validity.ok_or_else(|| self.unsupported("UIDVALIDITY"))?;
        let keywords_allowed = permanent.as_ref().is_none_or(|(_, new)| *new == NewKeywords::Allowed);
        Ok(Selected {
            exists,
            uid_validity,
            uid_next,
            highest_modseq: modseq,
            permanent_flags: permanent.map(|(flags, _)| flags),
            keywords_allowed,
            read_only: verb == "EXAMINE" || answer.code == Some(Code::ReadOnly),
        })
    }

    /// STATUS: MESSAGES, UIDNEXT, UIDVALIDITY, and HIGHESTMODSEQ where the server has CONDSTORE.
    pub async fn status(&mut self, folder: &FolderName) -> Result<FolderStatus, Error> {
        let line = self.status_line(folder)?;
        let mut found = None;
        self.run_bytes("STATUS", &line, |response| match response {
            Response::FolderStatus(status) => found = Some(status),
            _ => {}
        })
        .await?;
        found.ok_or_else(|| self.protocol("no STATUS told"))
    }

    fn status_items(&self) -> &'static str {
        if self.capabilities.has("CONDSTORE") {
            "MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ"
        } else {
            "MESSAGES UIDNEXT UIDVALIDITY"
        }
    }

    fn status_line(&self, folder: &FolderName) -> Result<Vec<u8>, Error> {
        let mut line = self.line("STATUS", &[folder.wire()])?;
        line.extend_from_slice(format!(" ({})", self.status_items()).as_bytes());
        Ok(line)
    }

    /// CREATE.
    pub async fn create(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("CREATE", &[folder]).await
    }

    /// RENAME.
    pub async fn rename(&mut self, from: &FolderName, to: &FolderName) -> Result<(), Error> {
        self.folders("RENAME", &[from, to]).await
    }

    /// DELETE.
    pub async fn delete(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("DELETE", &[folder]).await
    }

    /// SUBSCRIBE.
    pub async fn subscribe(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("SUBSCRIBE", &[folder]).await
    }

    /// UNSUBSCRIBE.
    pub async fn unsubscribe(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("UNSUBSCRIBE", &[folder]).await
    }

    async fn folders(&mut self, verb: &'static str, folders: &[&FolderName]) -> Result<(), Error> {
        let names: Vec<&[u8]> = folders.iter().map(|folder| folder.wire()).collect();
        let line = self.line(verb, &names)?;
        self.run_bytes(verb, &line, |_| {}).await.map(drop)
    }

    /// UID FETCH of facts: `items` is the inside of the parentheses (`UID FLAGS INTERNALDATE RFC822.SIZE`). Sets are
    /// cut into commands below the limit, which are pipelined. Also told: flags that changed meanwhile, which have no
    /// more than that in them. Not for bodies, whose bytes are thrown away here: see [`Writer::fetch_bodies`].
    ///
    /// # Errors
    /// A refusal is told when all commands are answered; what came until then was told.
    pub async fn uid_fetch(
        &mut self,
        set: &UidSet,
        items: &str,
        mut on: impl FnMut(Fetched) + Send,
    ) -> Result<(), Error> {
        let items = format!(" ({items})");
        let lines = chunked(set, "UID FETCH ", &items);
        self.pipeline("UID FETCH", lines, |response| match response {
            Response::Fetch(fetched) => on(*fetched),
            _ => {}
        })
        .await
        .map(drop)
    }

    /// UID STORE … .SILENT. With [`StoreKind::Replace`] and no flags all are taken away; else no flags do nothing.
    pub async fn uid_store(&mut self, set: &UidSet, kind: StoreKind, flags: &Flags) -> Result<(), Error> {
        let item = match kind {
            StoreKind::Add => "+FLAGS.SILENT",
            StoreKind::Remove => "-FLAGS.SILENT",
            StoreKind::Replace => "FLAGS.SILENT",
        };
        let flags = flags.to_string();
        if flags.is_empty() && kind != StoreKind::Replace {
            return Ok(());
        }
        let change = format!(" {item} ({flags})");
        let lines = chunked(set, "UID STORE ", &change);
        self.pipeline("UID STORE", lines, |_| {}).await.map(drop)
    }

    /// UID EXPUNGE (UIDPLUS).
    pub async fn uid_expunge(&mut self, set: &UidSet) -> Result<(), Error> {
        let lines = chunked(set, "UID EXPUNGE ", "");
        self.pipeline("UID EXPUNGE", lines, |_| {}).await.map(drop)
    }

    /// UID SEARCH. Its answer may be as long as [`Limits::max_line`].
    pub async fn uid_search(&mut self, criteria: &str) -> Result<UidSet, Error> {
        let mut found = UidSet::new();
        let mut unread = false;
        self.run("UID SEARCH", &format!("UID SEARCH {criteria}"), |response| match response {
            Response::Search(uids) => found = found.union(&uids),
            Response::ESearch(search) => found = found.union(&search.all),
            Response::Other(line) => {
                unread |= line.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case(b"* SEARCH"));
            }
            _ => {}
        })
        .await?;
        if unread {
            return Err(self.protocol("a SEARCH response that does not read"));
        }
        Ok(found)
    }

    /// UID COPY; the pairs (source, target) that the server told by COPYUID.
    pub async fn uid_copy(&mut self, set: &UidSet, folder: &FolderName) -> Result<Vec<(Uid, Uid)>, Error> {
        self.transfer("UID COPY", set, folder).await
    }

    /// UID MOVE (RFC 6851); the pairs (source, target) that the server told by COPYUID.
    pub async fn uid_move(&mut self, set: &UidSet, folder: &FolderName) -> Result<Vec<(Uid, Uid)>, Error> {
        self.transfer("UID MOVE", set, folder).await
    }

    async fn transfer(
        &mut self,
        verb: &'static str,
        set: &UidSet,
        folder: &FolderName,
    ) -> Result<Vec<(Uid, Uid)>, Error> {
        let mut name = Vec::new();
        if !quote(folder.wire(), &mut name) {
            return Err(self.misuse("a folder name with a line end"));
        }
        let tail = [b" ".as_slice(), &name].concat();
        let begin = format!("{verb} ");
        let room = MAX_COMMAND.saturating_sub(begin.len() + tail.len()).max(64);
        let lines = set
            .chunks(room)
            .map(|chunk| [begin.as_bytes(), chunk.as_bytes(), &tail].concat())
            .collect::<Vec<_>>();
        let mut moved = Vec::new();
        let mut note = |code: Option<Code>| {
            if let Some(Code::CopyUid(_, source, target)) = code {
                // No more than we asked for, whatever the server's sets say.
                let asked = usize::try_from(set.len()).unwrap_or(usize::MAX);
                moved
                    .extend(set::pairs(&source, &target).take(asked).filter(|(from, _)| set.contains(*from)));
            }
        };
        let answers = self
            .pipeline(verb, lines.into_iter(), |response| match response {
                Response::Status(text) => note(text.code),
                _ => {}
            })
            .await?;
        answers.into_iter().for_each(|answer| note(answer.code));
        Ok(moved)
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

    async fn run_bytes(
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
    async fn pipeline<L: AsRef<[u8]>>(
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
    fn line(&self, verb: &str, arguments: &[&[u8]]) -> Result<Vec<u8>, Error> {
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

fn chunked<'a>(set: &'a UidSet, begin: &'a str, end: &'a str) -> impl Iterator<Item = String> + 'a {
    let room = MAX_COMMAND.saturating_sub(begin.len() + end.len() + 16).max(64);
    set.chunks(room).map(move |chunk| format!("{begin}{chunk}{end}"))
}
