//! The way through a message's parts, line by line. Memory: one line, one header, and so many marks as it has parts.

use mail_parser::{MessageParser, MimeHeaders};
use mailferry_ledger::Fingerprint;

use super::decode::Transfer;
use super::heading::Heading;
use super::text::{Markup, Text};
use super::{Digest, Grade};

/// Longer lines go in pieces.
const MAX_LINE: usize = 8 * 1024;
/// So much of a header is kept.
const MAX_HEADER: usize = 256 * 1024;
/// So many parts are told apart; further ones run together into the last.
const MAX_LEAVES: usize = 1_000;
/// The longest boundary (RFC 2046 section 5.1.1).
const MAX_BOUNDARY: usize = 70;
/// So deep parts lie in parts; what lies deeper is read as text.
const MAX_DEPTH: usize = 50;

/// What was found.
pub(super) struct Read {
    pub(super) heading: Heading,
    pub(super) leaves: Vec<Leaf>,
    pub(super) grade: Grade,
}

/// A text, an attachment, or the heading of a message in the message.
#[derive(Clone, Copy)]
pub(super) struct Leaf {
    pub(super) exact: Fingerprint,
    pub(super) loose: Fingerprint,
    kind: Kind,
    /// How many multiparts it lies in.
    depth: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PlainText,
    Html,
    Other,
}

pub(super) struct Walk {
    line: Vec<u8>,
    /// The line under way is the rest of a longer one.
    goes_on: bool,
    levels: Vec<Level>,
    state: State,
    heading: Option<Heading>,
    leaves: Vec<Leaf>,
    grade: Grade,
    scratch: Vec<u8>,
}

/// A multipart that is open.
struct Level {
    boundary: Vec<u8>,
    /// Where its leaves begin, if they are alternatives.
    alternatives: Option<usize>,
    default: Default,
    parts: u32,
}

/// What a part is that does not say so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Default {
    Text,
    Message,
}

enum State {
    /// In a header.
    Header(Vec<u8>, Of),
    /// In content.
    Content(Content, Transfer, Kind),
    /// Before the first part, or after the last: nobody sees it.
    Between,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Message,
    Part,
}

enum Content {
    Text(Box<Text>),
    File(Box<File>),
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            line: Vec::new(),
            goes_on: false,
            levels: Vec::new(),
            state: State::Header(Vec::new(), Of::Message),
            heading: None,
            leaves: Vec::new(),
            grade: Grade::Proper,
            scratch: Vec::new(),
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let room = MAX_LINE - self.line.len();
            let take = end.unwrap_or(bytes.len()).min(room);
            self.line.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            let ends = end == Some(take);
            if ends {
                bytes = &bytes[1..];
            }
            if ends || self.line.len() == MAX_LINE {
                self.line_or_piece(ends);
            }
        }
    }

    fn line_or_piece(&mut self, ends: bool) {
        let mut line = std::mem::take(&mut self.line);
        let starts = !std::mem::replace(&mut self.goes_on, !ends);
        // A CR before a line end that is to come stays until then.
        let held = !ends && line.ends_with(b"\r");
        let text = if ends || held { line.strip_suffix(b"\r").unwrap_or(&line) } else { &line };
        self.piece(text, starts, ends);
        line.clear();
        if held {
            line.push(b'\r');
        }
        self.line = line;
    }

    fn piece(&mut self, text: &[u8], starts: bool, ends: bool) {
        if starts && text.starts_with(b"--") && self.boundary(text) {
            return;
        }
        match &mut self.state {
            State::Between => {}
            State::Content(..) => self.content(text, ends),
            State::Header(header, of) => {
                if starts && ends && text.trim_ascii().is_empty() {
                    return self.begin_body();
                }
                let first = header.is_empty();
                let is_field = !starts || matches!(text.first(), Some(b' ' | b'\t')) || text.contains(&b':');
                if is_field && !(first && text.starts_with(b"From ")) {
                    if header.len() + text.len() + 2 <= MAX_HEADER {
                        header.extend_from_slice(text);
                        if ends {
                            header.extend_from_slice(b"\r\n");
                        }
                    }
                } else if !(first && *of == Of::Message && text.starts_with(b"From ")) {
                    // A header without an end: some read what follows as text, some as more of the header.
                    self.grade = Grade::Broken;
                    self.begin_body();
                    self.piece(text, starts, ends);
                }
            }
        }
    }

    fn content(&mut self, text: &[u8], ends: bool) {
        let State::Content(content, transfer, _) = &mut self.state else { return };
        self.scratch.clear();
        if transfer.decode(text, ends, &mut self.scratch).is_err() {
            self.grade = Grade::Broken;
        }
        match content {
            Content::Text(content) => content.feed(&self.scratch),
            Content::File(content) => content.feed(&self.scratch),
        }
    }

    /// Whether the line is the boundary of an open multipart; then that is taken care of.
    fn boundary(&mut self, line: &[u8]) -> bool {
        let name = line[2..].trim_ascii_end();
        let bare = name.strip_suffix(b"--");
        let is = |level: &Level| name == level.boundary || bare.is_some_and(|bare| bare == level.boundary);
        let Some(at) = self.levels.iter().rposition(is) else { return false };
        self.end_content();
        while self.levels.len() > at + 1 {
            self.grade = Grade::Broken; // Some look for its own end only.
            self.end_level();
        }
        let Some(level) = self.levels.last_mut() else { return false };
        if name == level.boundary {
            level.parts += 1;
            self.state = State::Header(Vec::new(), Of::Part);
        } else {
            self.end_level();
            self.state = State::Between;
        }
        true
    }

    fn end_level(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if level.parts == 0 {
            self.grade = Grade::Broken;
        }
        // Of alternatives a target may keep the best one, and make the plain one of it.
        if let Some(from) = level.alternatives
            && self.leaves.get(from..).is_some_and(|leaves| leaves.iter().any(|leaf| leaf.kind == Kind::Html))
        {
            let depth = self.levels.len() + 1;
            let mut at = 0;
            self.leaves.retain(|leaf| {
                at += 1;
                at <= from || leaf.kind != Kind::PlainText || leaf.depth != depth
            });
        }
    }

    /// A header ended.
    fn begin_body(&mut self) {
        let State::Header(mut header, of) = std::mem::replace(&mut self.state, State::Between) else {
            return;
        };
        header.extend_from_slice(b"\r\n");
        if of == Of::Message {
            let heading = Heading::of(&header);
            match self.heading {
                None => self.heading = Some(heading),
                Some(_) => self.leaf(heading.print(), heading.loose_print(), Kind::Other),
            }
        }
        let read = MessageParser::new().parse_headers(&header);
        let kind = read.as_ref().and_then(|read| read.content_type());
        let encoding = read.as_ref().and_then(|read| read.content_transfer_encoding());
        let parameter = |name: &str| kind.and_then(|kind| kind.attribute(name));
        let default = match (of, self.levels.last()) {
            (Of::Part, Some(level)) => level.default,
            _ => Default::Text,
        };
        let (main, sub) = match (kind, default) {
            (Some(kind), _) => {
                (kind.ctype().to_ascii_lowercase(), kind.subtype().unwrap_or_default().to_ascii_lowercase())
            }
            (None, Default::Text) => ("text".to_owned(), "plain".to_owned()),
            (None, Default::Message) => ("message".to_owned(), "rfc822".to_owned()),
        };
        let transfer = Transfer::named(encoding).unwrap_or_else(|| {
            self.grade = Grade::Broken;
            Transfer::Identity
        });
        let identity = matches!(transfer, Transfer::Identity);
        match (main.as_str(), sub.as_str()) {
            ("multipart", sub) if self.levels.len() < MAX_DEPTH && identity => match parameter("boundary") {
                Some(boundary) => {
                    let boundary = boundary.trim_end().as_bytes().to_vec();
                    let is_taken = self.levels.iter().any(|level| level.boundary == boundary);
                    if is_taken || boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
                        self.grade = Grade::Broken;
                    }
                    let alternatives = (sub == "alternative").then_some(self.leaves.len());
                    let default = if sub == "digest" { Default::Message } else { Default::Text };
                    self.levels.push(Level { boundary, alternatives, default, parts: 0 });
                }
                None => {
                    self.grade = Grade::Broken;
                    self.begin_text(None, Markup::Plain, transfer);
                }
            },
            ("message", "rfc822" | "global") if identity => {
                self.state = State::Header(Vec::new(), Of::Message);
            }
            ("multipart", _) | ("message", "rfc822" | "global") => {
                self.grade = Grade::Broken; // Its content may not be encoded (RFC 2045 section 6.4).
                self.begin_text(None, Markup::Plain, transfer);
            }
            ("text", "html") => self.begin_text(parameter("charset"), Markup::Html, transfer),
            ("text" | "message", _) => self.begin_text(parameter("charset"), Markup::Plain, transfer),
            _ => {
                let kind = Kind::Other;
                self.state = State::Content(Content::File(Box::new(File::new())), transfer, kind);
            }
        }
    }

    fn begin_text(&mut self, charset: Option<&str>, markup: Markup, transfer: Transfer) {
        let kind = if markup == Markup::Html { Kind::Html } else { Kind::PlainText };
        self.state = State::Content(Content::Text(Box::new(Text::new(charset, markup))), transfer, kind);
    }

    /// The content under way is over; an empty one is as none.
    fn end_content(&mut self) {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Content(Content::Text(text), _, kind) => {
                if let Some(said) = text.end() {
                    self.grade = self.grade.max(said.grade);
                    self.leaf(said.exact, said.loose, kind);
                }
            }
            State::Content(Content::File(file), _, kind) => {
                if let Some(print) = file.end() {
                    self.leaf(print, print, kind);
                }
            }
            State::Header(header, of) => {
                if !header.is_empty() || of == Of::Message {
                    self.state = State::Header(header, of);
                    self.begin_body();
                    // Of a multipart that begins here there is nothing.
                    self.state = State::Between;
                }
            }
            State::Between => {}
        }
    }

    fn leaf(&mut self, exact: Fingerprint, loose: Fingerprint, kind: Kind) {
        let depth = self.levels.len();
        let is_full = self.leaves.len() >= MAX_LEAVES;
        match self.leaves.last_mut() {
            Some(last) if is_full => {
                last.exact = Fingerprint::of(&[&last.exact.0, &exact.0]);
                last.loose = Fingerprint::of(&[&last.loose.0, &loose.0]);
            }
            _ => self.leaves.push(Leaf { exact, loose, kind, depth }),
        }
    }

    pub(super) fn end(mut self) -> Read {
        if !self.line.is_empty() {
            self.line_or_piece(true);
        }
        self.end_content();
        while !self.levels.is_empty() {
            self.end_level();
        }
        Read { heading: self.heading.unwrap_or_default(), leaves: self.leaves, grade: self.grade }
    }
}

/// The bytes of an attachment. CR is left out and so are line ends behind the last byte: where a text goes as a file, they
/// are the encoding's.
struct File {
    digest: Digest,
    line_ends: u32,
    any: bool,
}

impl File {
    fn new() -> Self {
        Self { digest: Digest::default(), line_ends: 0, any: false }
    }

    fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
            let (body, end) = match piece.split_last() {
                Some((b'\r', body)) => (body, 0),
                Some((b'\n', body)) => (body, 1),
                _ => (piece, 0),
            };
            if !body.is_empty() {
                for _ in 0..std::mem::take(&mut self.line_ends) {
                    self.digest.add(b"\n");
                }
                self.digest.add(body);
                self.any = true;
            }
            self.line_ends = self.line_ends.saturating_add(end);
        }
    }

    fn end(self) -> Option<Fingerprint> {
        self.any.then(|| self.digest.end())
    }
}
