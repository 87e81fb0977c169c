//! The client's side: commands, as far as their outcome matters, and the messages in APPEND.

use bytes::{Bytes, BytesMut};
use mailferry_imap::FolderName;
use mailferry_imap::MessageKey;
use mailferry_imap::command::{self, Command};
use mailferry_imap::frame::{Literal, Piece, Sync};
use mailferry_imap::response::{Code, Status, StatusText};
use mailferry_imap::token::{Part, Value};
use mailferry_spool::TransferKind;

use super::odd::is_odd;
use super::plain::{is_plain, is_sure};
use super::transfer::Transferring;
use super::{Blindness, BodyNumber, MAX_KEPT, MAX_PENDING, MAX_TEXT, Observed, Selected, Tap, Way};

/// A command that the client is in the middle of.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    parts: Vec<Part>,
    text: usize,
    /// How many parentheses are open.
    depth: i64,
    literal: Option<Fate>,
    /// A synchronising literal was announced and the source has not answered.
    awaits: bool,
    /// The source answered before the command was complete.
    answered: bool,
    /// The last byte of the message under way.
    last: u8,
    /// A message in it has bytes that a source may store as others.
    odd: bool,
    pub(crate) bodies: Vec<BodyNumber>,
}

/// Where a literal's bytes go.
#[derive(Debug)]
enum Fate {
    Keep(BytesMut),
    Body(BodyNumber, u64),
    Skip(u64),
}

/// A command whose answer is awaited.
#[derive(Debug)]
pub(crate) struct Pending {
    tag: Bytes,
    pub(crate) kind: Kind,
}

/// What a command does, as far as it matters here.
#[derive(Debug)]
pub(crate) enum Kind {
    /// SELECT and EXAMINE.
    Select(FolderName),
    Unselect,
    Close,
    Append(FolderName, Vec<BodyNumber>),
    /// STORE and EXPUNGE.
    Change,
    /// COPY and MOVE.
    Transfer(Transferring),
    /// REPLACE (RFC 8508): its message goes there, the old one goes away.
    Replace(FolderName),
    Fetch(Flags, Option<Asked>),
    /// CREATE, RENAME, DELETE, SUBSCRIBE, UNSUBSCRIBE; the folder that is there then.
    Folders(Option<FolderName>),
    /// STATUS, LIST and their like, and NOTIFY: what the source says of folders is no news.
    Lists,
    Compress,
    /// LOGIN, AUTHENTICATE, UNAUTHENTICATE, and the PROXYAUTH of Sun's servers.
    Identity,
    /// Its arguments did not read; if the source understood it, we do not know what changed.
    Unread,
    Other,
}

/// Whether a FETCH asked for flags, so that flags in its answer are no news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flags {
    Asked,
    NotAsked,
}

/// The range of whole messages that a FETCH asked for: the 100 and the 150 of `BODY[]<100.50>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    from: u64,
    to: u64,
}

impl Tap {
    pub(super) fn on_client_piece(&mut self, piece: Piece) {
        match piece {
            Piece::Line { text, literal } => {
                self.partial.text += text.len();
                self.partial.depth += depth(&text);
                if self.partial.text > MAX_TEXT {
                    return self.go_blind(Blindness::TooMuch);
                }
                if !is_plain(&text, literal) {
                    return self.go_blind(Blindness::Unframable);
                }
                match literal {
                    Some(literal) => {
                        // A copy: while the literal passes, a slice would keep a whole chunk alive.
                        self.partial.parts.push(Part::Text(Bytes::copy_from_slice(&text)));
                        self.on_client_literal(literal);
                    }
                    None => {
                        self.partial.parts.push(Part::Text(text));
                        self.on_command();
                    }
                }
            }
            Piece::Data { bytes, left } => {
                self.partial.awaits = false;
                match &mut self.partial.literal {
                    Some(Fate::Keep(kept)) => kept.extend_from_slice(&bytes),
                    Some(Fate::Body(body, _)) => {
                        let body = *body;
                        self.partial.odd |= is_odd(self.partial.last, &bytes, left);
                        self.partial.last = bytes.last().copied().unwrap_or_default();
                        self.see(Observed::Chunk(body, bytes));
                    }
                    Some(Fate::Skip(_)) | None => {}
                }
                if left == 0 {
                    self.end_client_literal();
                }
            }
        }
    }

    fn on_client_literal(&mut self, literal: Literal) {
        self.partial.awaits = literal.sync == Sync::Yes;
        let fate = if self.partial.depth == 0 && is_message(&self.partial.parts) {
            let body = self.next_body();
            self.partial.bodies.push(body);
            self.partial.last = 0;
            self.see(Observed::Begin { body, size: literal.size, key: None });
            Fate::Body(body, literal.size)
        } else if literal.size <= MAX_KEPT {
            Fate::Keep(BytesMut::new())
        } else {
            Fate::Skip(literal.size)
        };
        self.partial.literal = Some(fate);
        if literal.size == 0 {
            self.end_client_literal();
        }
    }

    fn end_client_literal(&mut self) {
        let part = match self.partial.literal.take() {
            Some(Fate::Keep(kept)) => {
                self.partial.text += kept.len();
                Part::Literal(kept.freeze())
            }
            Some(Fate::Body(_, size) | Fate::Skip(size)) => Part::Streamed { size },
            None => return,
        };
        // The literal and the text before it.
        self.partial.text += 2 * std::mem::size_of::<Part>();
        self.partial.parts.push(part);
    }

    /// A command is complete.
    fn on_command(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        let command = command::parse(&partial.parts);
        if !is_sure(command.as_ref(), &partial.parts) {
            return self.go_blind(Blindness::Unframable); // A generous source may take it for some command.
        }
        let Some(command) = command.filter(|_| !partial.answered) else {
            // Something that the source refused before it was complete.
            partial.bodies.into_iter().for_each(|body| self.see(Observed::Discard(body)));
            return;
        };
        if self.pending.len() >= MAX_PENDING {
            return self.go_blind(Blindness::TooMuch);
        }
        if self.pending.iter().any(|pending| pending.tag == command.tag) {
            return self.go_blind(Blindness::Unframable); // Which of the two an answer is to stays open.
        }
        // Of an APPEND without a folder's name, or with bytes that the source may store as others (Dovecot makes bare
        // line feeds CRLF), no body is of use.
        let is_of_use = !partial.odd && command.arguments.first().is_some_and(|name| name.bytes().is_some());
        let (bodies, useless) =
            if is_of_use { (partial.bodies, Vec::new()) } else { (Vec::new(), partial.bodies) };
        useless.into_iter().for_each(|body| self.see(Observed::Discard(body)));
        let kind = self.kind(&command, bodies);
        // Copies, here and of names: slices would keep whole chunks alive.
        self.pending.push_back(Pending { tag: Bytes::copy_from_slice(&command.tag), kind });
    }

    /// `+`: the source is ready for a literal (or continues some other exchange).
    pub(super) fn on_continue(&mut self) {
        self.partial.awaits = false;
    }

    /// `A1 OK …`
    pub(super) fn on_tagged(&mut self, tag: &Bytes, answer: &StatusText) {
        if self.partial.tag().is_some_and(|partial| partial == tag) {
            if answer.status == Status::Ok {
                // It took the command for complete: what we take for a literal, it takes for commands.
                return self.go_blind(Blindness::Unframable);
            }
            if !self.partial.awaits {
                self.partial.answered = true;
                return;
            }
            let refused = std::mem::take(&mut self.partial);
            refused.bodies.into_iter().for_each(|body| self.see(Observed::Discard(body)));
            self.from_client.refuse_literal();
            if !self.from_client.is_between() {
                self.go_blind(Blindness::Unframable);
            }
            return;
        }
        let Some(at) = self.pending.iter().position(|pending| pending.tag == tag) else {
            if answer.status != Status::Bad {
                // It carried something out that we did not take for a command, such as what we took for a literal.
                self.go_blind(Blindness::Unframable);
            }
            return;
        };
        if let Some(pending) = self.pending.remove(at) {
            self.on_outcome(pending.kind, answer);
        }
    }

    fn on_outcome(&mut self, kind: Kind, answer: &StatusText) {
        match (kind, answer.status) {
            (Kind::Select(folder), status) => self.on_selected(folder, status),
            (Kind::Unselect, Status::Ok) => self.leave_folder(),
            (Kind::Close, Status::Ok) => {
                self.selected_changed();
                self.leave_folder();
            }
            (Kind::Append(folder, bodies), Status::Ok) => self.on_appended(folder, bodies, answer),
            (Kind::Append(folder, bodies), Status::No | Status::Bad) => {
                bodies.into_iter().for_each(|body| self.see(Observed::Discard(body)));
                self.tell_grown(&folder);
            }
            (Kind::Compress, Status::Ok) => self.go_blind(Blindness::Compressed),
            (Kind::Identity, Status::Ok) => self.go_blind(Blindness::OtherUser),
            (Kind::Unread, Status::Ok) => self.go_blind(Blindness::Unframable),
            (Kind::Transfer(transferring), _) => self.on_transferred(transferring, answer),
            // A NO may come after half of it was done.
            (kind @ (Kind::Change | Kind::Replace(_) | Kind::Folders(_)), Status::Ok | Status::No) => {
                self.hint(kind);
            }
            (Kind::Fetch(..) | Kind::Lists | Kind::Other, _) | (_, Status::No | Status::Bad) => {}
        }
    }

    /// Tells what a command may have changed.
    pub(super) fn hint(&mut self, kind: Kind) {
        match kind {
            Kind::Close | Kind::Change => self.selected_changed(),
            Kind::Transfer(transferring) => self.hint_transfer(transferring.to, transferring.kind),
            Kind::Append(folder, bodies) => {
                bodies.into_iter().for_each(|body| self.see(Observed::Discard(body)));
                self.folder_changed(folder);
            }
            Kind::Replace(to) => {
                self.selected_changed();
                self.folder_changed(to);
            }
            Kind::Folders(made) => {
                self.see(Observed::FoldersChanged);
                made.into_iter().for_each(|made| self.folder_changed(made));
            }
            Kind::Select(_)
            | Kind::Unselect
            | Kind::Fetch(..)
            | Kind::Lists
            | Kind::Compress
            | Kind::Identity
            | Kind::Unread
            | Kind::Other => {}
        }
    }

    fn on_appended(&mut self, folder: FolderName, bodies: Vec<BodyNumber>, answer: &StatusText) {
        let told = match &answer.code {
            // One UID a message, ascending, in the order of the messages (RFC 4315 section 3, RFC 3502).
            Some(Code::AppendUid(validity, uids)) if uids.len() == bodies.len() as u64 => {
                Some((*validity, uids))
            }
            Some(_) | None => None,
        };
        let Some((validity, uids)) = told else {
            bodies.into_iter().for_each(|body| self.see(Observed::Discard(body)));
            return self.folder_changed(folder);
        };
        if bodies.is_empty() {
            return self.folder_changed(folder);
        }
        for (body, uid) in bodies.into_iter().zip(uids.iter()) {
            let key = MessageKey { mailbox: self.mailbox, folder: folder.clone(), validity, uid };
            self.see(Observed::End(body, key, Way::Appended));
        }
        self.tell_grown(&folder);
    }

    /// Whether the open folder grows by what the client itself appends: its news waits, so that the body comes first.
    pub(super) fn is_appending_here(&self) -> bool {
        let here = self.selected.as_ref().map(|selected| &selected.folder);
        let appends = |pending: &Pending| match &pending.kind {
            Kind::Append(folder, _) => Some(folder) == here,
            Kind::Transfer(transferring) => Some(&transferring.to) == here,
            _ => false,
        };
        self.pending.iter().any(appends)
    }

    /// Tells the news that waited for an APPEND.
    pub(super) fn tell_grown(&mut self, folder: &FolderName) {
        if self
            .selected
            .as_mut()
            .is_some_and(|selected| selected.folder == *folder && std::mem::take(&mut selected.grew))
        {
            self.selected_changed();
        }
    }

    fn on_selected(&mut self, folder: FolderName, status: Status) {
        self.leave_folder();
        let opened = self.opening.take();
        match status {
            Status::Ok => self.selected = Some(opened.unwrap_or_else(|| Selected::new(folder))),
            // After NO none is selected (RFC 3501 section 6.3.1). After BAD perhaps the old one is: then we say nothing of it.
            Status::No | Status::Bad => {}
        }
    }

    fn leave_folder(&mut self) {
        if self.selected.as_ref().is_some_and(|selected| selected.grew || selected.shrank) {
            self.selected_changed();
        }
        self.selected = None;
        self.openings += 1;
        for join in std::mem::take(&mut self.joins) {
            self.see(Observed::Discard(join.body));
        }
    }

    /// The folder that is being opened, when what the source says at the moment belongs to it: its SELECT is the oldest
    /// command without an answer.
    pub(super) fn opening(&mut self) -> Option<&mut Selected> {
        match self.pending.front() {
            Some(Pending { kind: Kind::Select(folder), .. }) => {
                Some(self.opening.get_or_insert_with(|| Selected::new(folder.clone())))
            }
            Some(_) | None => None,
        }
    }

    /// Whether messages may be on their way to the client.
    pub(crate) fn is_fetching(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.kind, Kind::Fetch(..)))
    }

    /// Whether the range from `from` on was asked to go beyond `to`, so that it is the message's end where it ends there.
    pub(super) fn asked_beyond(&self, from: u64, to: u64) -> bool {
        let mut asked = self.pending.iter().filter_map(|pending| {
            let Kind::Fetch(_, Some(asked)) = pending.kind else { return None };
            (asked.from == from).then_some(asked)
        });
        asked.next().is_some_and(|first| first.to > to) && asked.all(|other| other.to > to)
    }

    /// Whether flags in a FETCH response are no news.
    pub(super) fn flags_were_asked(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.kind, Kind::Fetch(Flags::Asked, _)))
    }
}

impl Partial {
    fn tag(&self) -> Option<&[u8]> {
        match self.parts.first() {
            Some(Part::Text(text)) => text.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).next(),
            Some(Part::Literal(_) | Part::Streamed { .. }) | None => None,
        }
    }
}

/// Whether the literal that the last part announces is a whole message: any literal of an APPEND but the folder's name,
/// and but a literal8. What stands in parentheses (CATENATE of RFC 4469, UTF8 of RFC 6855) is none either.
fn is_message(parts: &[Part]) -> bool {
    let (Some(Part::Text(first)), Some(Part::Text(last))) = (parts.first(), parts.last()) else {
        return false;
    };
    let mut words = first.split(|byte| *byte == b' ');
    let verb = words.nth(1).unwrap_or_default();
    if !verb.eq_ignore_ascii_case(b"APPEND") {
        return false;
    }
    let name_follows = parts.len() == 1
        && words.next().is_some_and(|word| word.starts_with(b"{") || word.starts_with(b"~{"));
    let announcement = last.iter().rposition(|byte| *byte == b'{').unwrap_or(0);
    let literal8 = announcement > 0 && last[announcement - 1] == b'~';
    !name_follows && !literal8
}

/// How many parentheses a text opens, less those that it closes; quoted ones do not count.
fn depth(text: &[u8]) -> i64 {
    let (mut depth, mut quoted) = (0, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth
}

impl Tap {
    fn kind(&self, command: &Command, bodies: Vec<BodyNumber>) -> Kind {
        let folder = |at: usize| {
            let name = command.arguments.get(at).and_then(Value::bytes);
            name.map(|name| FolderName::from_wire(Bytes::copy_from_slice(name)))
        };
        let known = |kind: Option<Kind>| kind.unwrap_or(Kind::Unread);
        let transfer = |kind| known(folder(1).map(|to| Kind::Transfer(self.transferring(to, kind))));
        match command.verb.as_str() {
            "SELECT" | "EXAMINE" => known(folder(0).map(Kind::Select)),
            "UNSELECT" => Kind::Unselect,
            "CLOSE" => Kind::Close,
            "APPEND" => known(folder(0).map(|folder| Kind::Append(folder, bodies))),
            "STORE" | "UID STORE" | "EXPUNGE" | "UID EXPUNGE" => Kind::Change,
            "COPY" | "UID COPY" => transfer(TransferKind::Copy),
            "MOVE" | "UID MOVE" => transfer(TransferKind::Move),
            "REPLACE" | "UID REPLACE" => known(folder(1).map(Kind::Replace)),
            "FETCH" | "UID FETCH" => {
                let items = command.arguments.get(1);
                Kind::Fetch(flags_asked(items), items.and_then(range_asked))
            }
            "CREATE" => Kind::Folders(folder(0)),
            "RENAME" => Kind::Folders(folder(1)),
            "DELETE" | "SUBSCRIBE" | "UNSUBSCRIBE" => Kind::Folders(None),
            "STATUS" | "LIST" | "LSUB" | "XLIST" | "RLIST" | "RLSUB" | "NOTIFY" => Kind::Lists,
            "COMPRESS" => Kind::Compress,
            "LOGIN" | "AUTHENTICATE" | "UNAUTHENTICATE" | "PROXYAUTH" => Kind::Identity,
            // None is possible after a login; whoever agrees to one speaks something else from here on.
            "STARTTLS" => Kind::Unread,
            _ => Kind::Other,
        }
    }
}

fn flags_asked(items: Option<&Value>) -> Flags {
    let is_asked = |value: &Value| {
        let flags: [&[u8]; 4] = [b"FLAGS", b"FAST", b"ALL", b"FULL"];
        value.bytes().is_some_and(|item| flags.iter().any(|flags| flags.eq_ignore_ascii_case(item)))
    };
    let asked = match items {
        Some(Value::List(items)) => items.iter().any(is_asked),
        Some(item) => is_asked(item),
        None => false,
    };
    if asked { Flags::Asked } else { Flags::NotAsked }
}

fn range_asked(items: &Value) -> Option<Asked> {
    let range = |item: &Value| {
        let (name, range) = item.text()?.split_once("[]<")?;
        let (from, count) = range.strip_suffix('>')?.split_once('.')?;
        let is_message = ["BODY", "BODY.PEEK"].iter().any(|known| known.eq_ignore_ascii_case(name));
        let from: u64 = from.parse().ok()?;
        is_message.then_some(Asked { from, to: from.saturating_add(count.parse().ok()?) })
    };
    match items {
        Value::List(items) => items.iter().find_map(range),
        item => range(item),
    }
}
