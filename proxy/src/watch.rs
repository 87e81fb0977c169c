//! What the relay must know of the bytes that it passes: where capability lists stand, and when it must stop looking.
//!
//! Both directions are framed. Nothing is held back but a line that may turn out to carry a capability list. Bytes
//! go out as slices of what came in. When step is lost (an accepted `COMPRESS` or its like, a line that may or may not announce a
//! literal, a refused literal whose bytes came anyway), everything passes raw from then on: what is not understood is
//! never touched.
//!
//! Must not know: sockets, the tap, mailboxes.

use bytes::Bytes;
use mailferry_imap::frame::{Framer, Piece, Sync};

use crate::filter::{Carries, Leg, carries_list, filtered};
use crate::id::client_name;

/// The longest line that is held back for its capability list, its end included; a longer one passes as it stands, however
/// it is cut. As long as a line may be before the login.
const MAX_HELD: usize = 64 * 1024;

/// The longest line of the source that is followed. SEARCH answers on one line.
const MAX_LINE: usize = 4 << 20;

/// The longest line of a client that is followed: commands name sets. Servers take 64 KiB or so.
pub(crate) const MAX_COMMAND_LINE: usize = 256 << 10;

/// Commands behind which the stream may be another one: RFC 4978, and two that a source takes before a login or behind
/// UNAUTHENTICATE.
const TURNS: [&[u8]; 3] = [b"COMPRESS", b"STARTTLS", b"AUTHENTICATE"];

/// Follows both directions of a session after its login.
#[derive(Debug)]
pub(crate) struct Watch {
    client: Framer,
    server: Framer,
    /// The first line of the command that the client is in the middle of.
    command: Option<Bytes>,
    /// The tag of a synchronising literal's command, until the server answers it.
    awaiting: Option<Bytes>,
    /// The server is behind a literal: what comes is the rest of a response.
    within_response: bool,
    held: Vec<u8>,
    /// The tag of a command that the client sent behind which no lines may follow.
    turn: Option<Bytes>,
    /// What the client calls itself, until it is asked for.
    client_name: Option<String>,
    /// Commands without an answer.
    unanswered: u32,
    idle: bool,
    raw: bool,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            client: Framer::client().with_max_line(MAX_COMMAND_LINE),
            server: Framer::server().with_max_line(MAX_LINE),
            command: None,
            awaiting: None,
            within_response: false,
            held: Vec::new(),
            turn: None,
            client_name: None,
            unanswered: 0,
            idle: false,
            raw: false,
        }
    }

    /// What passes need not be lines.
    pub(crate) fn blind() -> Self {
        Self { raw: true, ..Self::new() }
    }

    /// Looks at bytes on their way to the source. They pass unchanged, so nothing is returned.
    pub(crate) fn on_client(&mut self, bytes: &Bytes) {
        let mut rest = bytes.clone();
        while !self.raw {
            match self.client.next(&mut rest) {
                Ok(Some(Piece::Data { .. })) => {}
                Ok(Some(Piece::Line { text, literal })) => {
                    let start = self.command.take().unwrap_or(text);
                    match literal {
                        Some(literal) => {
                            self.awaiting = (literal.sync == Sync::Yes).then(|| first_word(&start));
                            self.command = Some(start);
                        }
                        None => self.on_command(&start),
                    }
                }
                Ok(None) => return,
                Err(_) => self.pass_raw(),
            }
        }
    }

    /// Looks at bytes on their way to the client and says what is to be sent: `out` gets slices of `bytes`,
    /// and capability lists rewritten.
    pub(crate) fn on_server(&mut self, bytes: &Bytes, out: &mut impl Extend<Bytes>) {
        let mut rest = bytes.clone();
        let mut passed = 0; // All before this went out or is held.
        while !self.raw && !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let begins = self.server.is_between();
            match self.server.next(&mut rest) {
                Ok(Some(Piece::Data { .. })) => {}
                Ok(Some(Piece::Line { text, literal })) => {
                    let end = bytes.len() - rest.len();
                    if !self.held.is_empty() {
                        self.held.clear();
                        let line = rewritten(&text).map_or_else(|| text.clone(), Bytes::from);
                        out.extend(Some(line));
                        passed = end;
                    } else if begins && let Some(line) = rewritten(&text) {
                        push(out, bytes, passed, at);
                        out.extend(Some(Bytes::from(line)));
                        passed = end;
                    }
                    if !self.within_response && !text.starts_with(b"* ") {
                        self.on_status(&text);
                    }
                    self.within_response = literal.is_some();
                }
                Ok(None) => {
                    if (begins || !self.held.is_empty()) && at < bytes.len() {
                        push(out, bytes, passed, at);
                        passed = bytes.len();
                        self.held.extend_from_slice(&bytes[at..]);
                        if self.held.len() >= MAX_HELD || carries_list(&self.held) == Carries::No {
                            self.release(out);
                        }
                    }
                }
                Err(_) => self.pass_raw(),
            }
        }
        if self.raw {
            self.release(out);
        }
        push(out, bytes, passed, bytes.len());
    }

    /// The stream ended: what is still held goes out.
    pub(crate) fn on_server_end(&mut self, out: &mut impl Extend<Bytes>) {
        self.release(out);
    }

    /// What the client called itself in an `ID`. Told once.
    pub(crate) fn client_name(&mut self) -> Option<String> {
        self.client_name.take()
    }

    /// Whether no command is under way but IDLE.
    pub(crate) fn at_rest(&self) -> bool {
        let quiet = self.unanswered == 0 || (self.unanswered == 1 && self.idle);
        quiet && self.client.is_between() && self.between_server_lines()
    }

    /// Whether the source has finished its last line.
    pub(crate) fn between_server_lines(&self) -> bool {
        !self.raw && self.server.is_between()
    }

    /// The client finished a command (or IDLE's DONE) that began with this line.
    fn on_command(&mut self, start: &Bytes) {
        self.awaiting = None;
        let tag = first_word(start);
        if tag.eq_ignore_ascii_case(b"DONE") {
            self.idle = false;
            return;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.idle |= verb_is(start, b"IDLE");
        if TURNS.iter().any(|verb| verb_is(start, verb)) {
            if self.turn.replace(tag).is_some() {
                self.pass_raw(); // Which of them was accepted would not be seen.
            }
        } else if verb_is(start, b"ID") {
            self.client_name = client_name(start);
        }
    }

    /// A whole server line that is no data: an answer or a continuation.
    fn on_status(&mut self, line: &Bytes) {
        let tag = first_word(line);
        if tag == "+" {
            self.awaiting = None;
            return;
        }
        if self.awaiting.take_if(|awaiting| *awaiting == tag).is_some() {
            // Refused (RFC 3501 section 7.5): the literal does not come, what comes next is a command.
            self.client.refuse_literal();
            self.command = None;
            self.unanswered = self.unanswered.saturating_add(1);
            if !self.client.is_between() {
                return self.pass_raw();
            }
        }
        if self.turn.take_if(|turn| *turn == tag).is_some() && verb_is(line, b"OK") {
            return self.pass_raw();
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        self.idle &= self.unanswered > 0;
    }

    fn pass_raw(&mut self) {
        self.raw = true;
    }

    fn release(&mut self, out: &mut impl Extend<Bytes>) {
        if !self.held.is_empty() {
            out.extend(Some(Bytes::from(std::mem::take(&mut self.held))));
        }
    }
}

/// A line whose capability list is to be another one.
fn rewritten(line: &[u8]) -> Option<Vec<u8>> {
    if line.len() > MAX_HELD { None } else { filtered(line, Leg::Open) }
}

fn push(out: &mut impl Extend<Bytes>, bytes: &Bytes, from: usize, to: usize) {
    if from < to {
        out.extend(Some(bytes.slice(from..to)));
    }
}

fn first_word(line: &Bytes) -> Bytes {
    line.slice(..word_length(line))
}

fn word_length(line: &[u8]) -> usize {
    line.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(line.len())
}

fn verb_is(line: &[u8], verb: &[u8]) -> bool {
    let rest = line.get(word_length(line) + 1..).unwrap_or_default();
    rest[..word_length(rest)].eq_ignore_ascii_case(verb)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the server's bytes in pieces; the client's come first, whole.
    fn relayed(client: &str, server: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
        let mut watch = Watch::new();
        watch.on_client(&Bytes::copy_from_slice(client.as_bytes()));
        let mut out = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([server.len()]) {
            watch.on_server(&Bytes::copy_from_slice(&server[from..cut]), &mut out);
            from = cut;
        }
        watch.on_server_end(&mut out);
        (out.concat(), watch.raw)
    }

    fn at_every_split(client: &str, server: &str) -> (String, bool) {
        let whole = relayed(client, server.as_bytes(), &[]);
        for cut in 0..server.len() {
            assert_eq!(relayed(client, server.as_bytes(), &[cut]), whole, "cut at {cut}");
        }
        let bytewise: Vec<usize> = (0..server.len()).collect();
        assert_eq!(relayed(client, server.as_bytes(), &bytewise), whole, "bytewise");
        (String::from_utf8(whole.0).unwrap(), whole.1)
    }

    #[test]
    fn lists_are_filtered_in_lines_and_nowhere_else() {
        let server = "* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE\r\na1 OK note {5}\r\n\
            * CAPABILITY COMPRESS=DEFLATE X\r\n* 1 FETCH (BODY[] {41}\r\n* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE\r\n\
            BODY[2] {2}\r\n\r\n* CAPABILITY COMPRESS=DEFLATE)\r\na2 OK [CAPABILITY COMPRESS=DEFLATE Y] done\r\n";
        let relayed = at_every_split("", server).0;
        assert_eq!(
            relayed,
            "* CAPABILITY IMAP4rev1\r\na1 OK note {5}\r\n\
            * CAPABILITY X\r\n* 1 FETCH (BODY[] {41}\r\n* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE\r\n\
            BODY[2] {2}\r\n\r\n* CAPABILITY COMPRESS=DEFLATE)\r\na2 OK [CAPABILITY Y] done\r\n"
        );
    }

    #[test]
    fn after_compress_was_accepted_nothing_is_touched() {
        let tail = "* CAPABILITY COMPRESS=DEFLATE\r\n";
        let (relayed, raw) = at_every_split("c1 compress deflate\r\n", &format!("c1 OK go\r\n{tail}"));
        assert_eq!(relayed, format!("c1 OK go\r\n{tail}"));
        assert!(raw);
        let (relayed, raw) = at_every_split("c1 COMPRESS DEFLATE\r\n", &format!("c1 NO no\r\n{tail}"));
        assert_eq!(relayed, "c1 NO no\r\n* CAPABILITY\r\n".replace("CAPABILITY\r", "CAPABILITY \r"));
        assert!(!raw);
        for command in ["c1 STARTTLS", "c1 AUTHENTICATE GSSAPI", "c0 COMPRESS DEFLATE\r\nc1 COMPRESS DEFLATE"]
        {
            let (relayed, raw) = at_every_split(&format!("{command}\r\n"), &format!("c1 OK go\r\n{tail}"));
            assert_eq!(relayed, format!("c1 OK go\r\n{tail}"), "{command}");
            assert!(raw, "{command}");
        }
        // Behind a literal it is no answer.
        let (_, raw) = at_every_split("c1 COMPRESS DEFLATE\r\n", "* 1 FETCH (BODY[] {3}\r\nabcc1 OK go)\r\n");
        assert!(!raw);
        // Inside a literal it is no command.
        let (_, raw) = at_every_split("a APPEND x {12+}\r\nc1 COMPRESS \r\n", "c1 OK go\r\n");
        assert!(!raw);
    }

    #[test]
    fn a_refused_literal_is_followed_by_a_command() {
        let mut watch = Watch::new();
        let mut out = Vec::new();
        watch.on_client(&Bytes::from_static(b"a1 APPEND nowhere {300}\r\n"));
        watch.on_server(&Bytes::from_static(b"* OK still {3}\r\na1 NO [TRYCREATE] no\r\n"), &mut out);
        assert!(!watch.raw);
        watch.on_client(&Bytes::from_static(b"c2 COMPRESS DEFLATE\r\n"));
        watch.on_server(&Bytes::from_static(b"c2 OK go\r\n"), &mut out);
        assert!(watch.raw);
        let mut hasty = Watch::new();
        hasty.on_client(&Bytes::from_static(b"a1 APPEND nowhere {300}\r\nabc"));
        hasty.on_server(&Bytes::from_static(b"a1 NO no\r\n"), &mut out);
        assert!(hasty.raw, "what followed cannot be told apart");
    }

    #[test]
    fn a_number_beyond_all_is_passed_raw() {
        assert!(at_every_split("", "* 1 FETCH (BODY[] {99999999999999999999999}\r\nx").1);
        let huge = "* 1 FETCH (BODY[] {4294967296}\r\n* CAPABILITY COMPRESS=DEFLATE\r\n";
        assert_eq!(at_every_split("", huge), (huge.to_owned(), false));
    }

    #[test]
    fn of_a_line_without_end_little_is_kept() {
        let mut watch = Watch::new();
        let some = Bytes::from(vec![b'x'; 1 << 10]);
        (0..MAX_COMMAND_LINE >> 10).for_each(|_| watch.on_client(&some));
        assert!(watch.raw);
    }

    #[test]
    fn only_what_may_be_a_list_is_held_back() {
        let mut watch = Watch::new();
        let mut out = Vec::new();
        watch.on_server(&Bytes::from_static(b"* 3 FETCH (FLAGS"), &mut out);
        assert_eq!(out.concat(), b"* 3 FETCH (FLAGS");
        watch.on_server(&Bytes::from_static(b" ())\r\n* CAP"), &mut out);
        assert_eq!(out.concat(), b"* 3 FETCH (FLAGS ())\r\n");
        watch.on_server(&Bytes::from_static(b"ABILITY "), &mut out);
        let endless = Bytes::from(vec![b'x'; MAX_HELD]);
        watch.on_server(&endless, &mut out);
        assert_eq!(out.concat().len(), b"* 3 FETCH (FLAGS ())\r\n* CAPABILITY ".len() + MAX_HELD);
    }

    #[test]
    fn a_long_list_is_filtered_or_not_however_it_is_cut() {
        let (start, end) = ("* CAPABILITY COMPRESS=DEFLATE ", " STARTTLS\r\n");
        for (length, shorter) in
            [(MAX_HELD - 1, true), (MAX_HELD, true), (MAX_HELD + 1, false), (1 << 18, false)]
        {
            let line = format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()));
            let whole = relayed("", line.as_bytes(), &[]);
            assert_eq!(whole.0.len() < length, shorter, "{length}");
            for cut in [1, 20, 16 << 10, MAX_HELD - 1, length - 2, length - 1] {
                assert_eq!(relayed("", line.as_bytes(), &[cut]), whole, "{length} cut at {cut}");
            }
            let pieces: Vec<usize> = (0..length).step_by(1000).collect();
            assert_eq!(relayed("", line.as_bytes(), &pieces), whole, "{length} in pieces");
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::sample::select(vec![
            "* ",
            "a1 ",
            "OK ",
            "NO ",
            "CAPABILITY ",
            "[CAPABILITY ",
            " ",
            "long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-long-tag-",
            "COMPRESS ",
            "COMPRESS=DEFLATE ",
            "DEFLATE",
            "]",
            "\r\n",
            "\n",
            "{3}\r\n",
            "{3+}\r\n",
            "~{2}\r\n",
            "{4294967296}\r\n",
            "{99999999999999999999}\r\n",
            "FETCH (",
            "BODY[] ",
            "+ ",
            "\0",
            "}",
            "\"",
            "IDLE ",
            "abc",
        ]);
        prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        /// Two arbitrary streams, cut anywhere and interleaved: without a capability list, what leaves is what came in.
        #[test]
        fn what_leaves_is_what_came(client in pieces(), server in pieces(), cuts in prop::collection::vec((0..9_usize, 0..9_usize), 0..80)) {
            let server: Vec<u8> = String::from_utf8(server).unwrap().replace("CAPABILITY", "CAPABILITIES").into_bytes();
            let mut watch = Watch::new();
            let (mut to_server, mut to_client) = (client.as_slice(), server.as_slice());
            let mut out = Vec::new();
            for (up, down) in cuts.into_iter().chain([(usize::MAX, usize::MAX)]) {
                let (now, later) = to_server.split_at(up.min(to_server.len()));
                watch.on_client(&Bytes::copy_from_slice(now));
                to_server = later;
                let (now, later) = to_client.split_at(down.min(to_client.len()));
                watch.on_server(&Bytes::copy_from_slice(now), &mut out);
                to_client = later;
            }
            watch.on_server_end(&mut out);
            prop_assert_eq!(out.concat(), server);
        }

        /// Lists or not: where the stream is cut makes no difference.
        #[test]
        fn cuts_make_no_difference(client in "[a-z0-9 ]{0,20}", server in pieces(), cuts in prop::collection::vec(0..400_usize, 0..10)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(server.len())).collect();
            cuts.sort_unstable();
            prop_assert_eq!(relayed(&client, &server, &cuts), relayed(&client, &server, &[]));
        }
    }
}
