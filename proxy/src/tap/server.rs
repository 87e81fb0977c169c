//! The source's side: answers, news of the open folder, and where a message's body stands in a FETCH response.

use bytes::{Bytes, BytesMut};
use mailferry_imap::frame::Piece;
use mailferry_imap::response::{self, Code, Earlier, StatusText};
use mailferry_imap::token::Part;

use super::client::Kind;
use super::fetch::Overheard;
use super::selected::News;
use super::{Blindness, MAX_KEPT, MAX_TEXT, Observed, Tap};

/// A response that the source is in the middle of.
#[derive(Debug, Default)]
pub(crate) struct Response {
    parts: Vec<Part>,
    text: usize,
    literal: Option<Fate>,
    /// The message in it.
    pub(super) body: Option<Overheard>,
}

/// Where a literal's bytes go.
#[derive(Debug)]
enum Fate {
    Keep(BytesMut),
    Body,
    Skip,
}

impl Tap {
    pub(super) fn on_server_piece(&mut self, piece: Piece) {
        match piece {
            Piece::Line { text, literal } => {
                self.response.text += text.len();
                if self.response.text > MAX_TEXT {
                    return self.go_blind(Blindness::TooMuch);
                }
                if !self.goes_on(&text) {
                    // The source announced more or fewer bytes than the message had: no line is sure any more.
                    return self.go_blind(Blindness::Unframable);
                }
                match literal {
                    Some(literal) => {
                        // A copy: while the literal passes, a slice would keep a whole chunk alive.
                        self.response.parts.push(Part::Text(Bytes::copy_from_slice(&text)));
                        self.on_server_literal(literal.size);
                    }
                    None => {
                        self.response.parts.push(Part::Text(text));
                        self.on_response();
                    }
                }
            }
            Piece::Data { bytes, left } => {
                match (&mut self.response.literal, &self.response.body) {
                    (Some(Fate::Keep(kept)), _) => kept.extend_from_slice(&bytes),
                    (Some(Fate::Body), Some(overheard)) => {
                        let body = overheard.body;
                        self.see(Observed::Chunk(body, bytes));
                    }
                    (Some(Fate::Body | Fate::Skip) | None, _) => {}
                }
                if left == 0 {
                    self.end_server_literal();
                }
            }
        }
    }

    fn on_server_literal(&mut self, size: u64) {
        // The literal and the text before it.
        self.response.text += 2 * std::mem::size_of::<Part>();
        // Asked first: reading on from the beginning at each literal of a long ENVELOPE would cost their square.
        let may_be_body = self.response.body.is_none() && self.is_section_next();
        self.response.parts.push(Part::Streamed { size });
        let so_far = may_be_body.then(|| response::fetch_so_far(&self.response.parts)).flatten();
        let body = so_far.and_then(|(fetched, item)| self.begin_fetched(&fetched, &item, size));
        let fate = if body.is_some() {
            self.response.body = body;
            Fate::Body
        } else if size <= MAX_KEPT {
            self.response.parts.pop(); // Its bytes take this place.
            Fate::Keep(BytesMut::new())
        } else {
            Fate::Skip
        };
        self.response.literal = Some(fate);
        if size == 0 {
            self.end_server_literal();
        }
    }

    /// Whether a text may follow what came of the response: behind a message, more items or the end of the list.
    fn goes_on(&self, text: &[u8]) -> bool {
        let behind_body =
            self.response.body.is_some() && matches!(self.response.parts.last(), Some(Part::Streamed { .. }));
        !behind_body || matches!(text.first(), Some(b' ' | b')'))
    }

    /// Whether the text before a literal ends as the name of a message does: `BODY[]`, `BODY[]<0>`, `RFC822`.
    fn is_section_next(&self) -> bool {
        let Some(Part::Text(text)) = self.response.parts.last() else { return false };
        let before = text.iter().rposition(|byte| *byte == b'{').map_or(&text[..], |at| &text[..at]);
        let before = before.strip_suffix(b"~").unwrap_or(before).trim_ascii_end();
        let is_rfc822 = before.len() >= 6 && before[before.len() - 6..].eq_ignore_ascii_case(b"RFC822");
        is_rfc822 || before.ends_with(b"[]") || before.ends_with(b">")
    }

    fn end_server_literal(&mut self) {
        if let Some(Fate::Keep(kept)) = self.response.literal.take() {
            self.response.text += kept.len();
            self.response.parts.push(Part::Literal(kept.freeze()));
        }
    }

    /// A response is complete.
    fn on_response(&mut self) {
        let response = std::mem::take(&mut self.response);
        let Some(Part::Text(first)) = response.parts.first() else { return };
        if !matters(first) {
            return;
        }
        let ends =
            matches!(response.parts.last(), Some(Part::Text(text)) if text.trim_ascii_end().ends_with(b")"));
        if response.body.is_some() && !ends {
            return self.go_blind(Blindness::Unframable);
        }
        match response::parse(&response.parts) {
            response::Response::Tagged { tag, text } => self.on_tagged(&tag, &text),
            response::Response::Continue(_) => self.on_continue(),
            response::Response::Status(status) => self.on_status(&status),
            response::Response::Exists(exists) => self.on_exists(exists),
            response::Response::Expunge(seq) => {
                if let Some(selected) = &mut self.selected {
                    selected.on_expunge(seq);
                }
                self.on_gone();
            }
            response::Response::Vanished { uids, earlier: Earlier::No } => {
                if let Some(selected) = &mut self.selected {
                    selected.on_vanished(&uids);
                }
                self.on_gone();
            }
            response::Response::FolderStatus(status) => {
                if self.is_news_of_folders() {
                    self.folder_changed(status.name);
                }
            }
            response::Response::List(_) => {
                if self.is_news_of_folders() {
                    self.see(Observed::FoldersChanged);
                }
            }
            response::Response::Enabled(enabled) => self.names.on_enabled(&enabled),
            response::Response::Fetch(fetched) => self.on_fetched(&fetched, response.body),
            response::Response::Vanished { earlier: Earlier::Yes, .. }
            | response::Response::Bye(_)
            | response::Response::PreAuth(_)
            | response::Response::Capability(_)
            | response::Response::Flags(_)
            | response::Response::Recent(_)
            | response::Response::Search(_)
            | response::Response::ESearch(_)
            | response::Response::Namespace(_)
            | response::Response::Other(_) => {
                if let Some(overheard) = response.body {
                    self.give_up(&overheard);
                }
            }
        }
    }

    fn on_exists(&mut self, exists: u32) {
        if let Some(opening) = self.opening() {
            opening.on_exists(exists);
            return;
        }
        let appending = self.is_appending_here();
        let Some(selected) = &mut self.selected else { return };
        match (selected.on_exists(exists), appending) {
            (News::Yes, true) => selected.grew = true,
            (News::Yes, false) => self.selected_changed(),
            (News::No, _) => {}
        }
    }

    /// Whether the source says something of folders without being asked (NOTIFY, RFC 5465).
    fn is_news_of_folders(&self) -> bool {
        let asks = |kind: &Kind| matches!(kind, Kind::Lists | Kind::Folders(_) | Kind::Select(_));
        !self.pending.iter().any(|pending| asks(&pending.kind))
    }

    fn on_status(&mut self, status: &StatusText) {
        let validity = match &status.code {
            Some(Code::UidValidity(validity)) => *validity,
            Some(Code::CopyUid(validity, source, target)) => {
                return self.on_copied(*validity, source, target);
            }
            Some(_) | None => return,
        };
        if let Some(opening) = self.opening() {
            opening.validity = Some(validity);
        } else if let Some(selected) = &mut self.selected
            && selected.validity != Some(validity)
        {
            // It changed under the client's feet: the old numbers mean nothing.
            self.openings += 1;
            let folder = selected.folder.clone();
            *selected = super::Selected::new(folder);
            self.selected_changed();
        }
    }
}

/// Whether a response that begins so is acted on: numbered ones, VANISHED, ENABLED, statuses, answers, continuations, and what
/// is said of folders.
fn matters(first: &Bytes) -> bool {
    let Some(rest) = first.strip_prefix(b"* ") else { return true };
    matches!(rest.first(), Some(b'0'..=b'9' | b'V' | b'v' | b'O' | b'o' | b'N' | b'n' | b'B' | b'b'))
        || [&b"ENABLED"[..], b"STATUS ", b"LIST "]
            .iter()
            .any(|word| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}
