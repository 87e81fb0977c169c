//! What the relay must know of the bytes that it passes: where capability lists stand, and when it must stop looking.
//!
//! Both directions are followed line by line, literals are skipped by their count. Nothing is held back but a line
//! that may turn out to carry a capability list. Bytes go out as slices of what came in. When step is lost
//! for sure (an accepted `COMPRESS`, a refused literal whose bytes came anyway), everything passes raw from
//! then on: what is not understood is never touched.
//!
//! Must not know: sockets, the tap, mailboxes.

use bytes::Bytes;

use crate::filter::{Carries, Leg, carries_list, filtered};

/// The longest line that is held back for its capability list.
const MAX_HELD: usize = 16 * 1024;

/// How much of a line's beginning is kept when it comes in parts: a tag, a verb and its first argument.
const HEAD: usize = 256;

/// How much of a line's end is kept when it comes in parts: enough for `~{18446744073709551615+}` and CRLF.
const TAIL: usize = 32;

/// Follows both directions of a session after its login.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    client: Side,
    server: Side,
    held: Vec<u8>,
    /// The tag of a synchronising literal's command, until the server answers it.
    awaiting: Option<Awaiting>,
    /// The tag of a `COMPRESS` that the client sent.
    compress: Option<Vec<u8>>,
    raw: bool,
}

#[derive(Debug)]
struct Awaiting {
    tag: Vec<u8>,
    size: u64,
}

impl Watch {
    /// Looks at bytes on their way to the source. They pass unchanged, so nothing is returned.
    pub(crate) fn on_client(&mut self, bytes: &[u8]) {
        if self.raw {
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (segment, after) = self.client.next(rest);
            rest = after;
            match segment {
                Segment::Literal | Segment::Part => {}
                Segment::Lost => return self.pass_raw(),
                Segment::Line { literal } => {
                    let start = self.client.start();
                    if let Some(tag) = compress_tag(start) {
                        self.compress = Some(tag.to_vec());
                    }
                    let tag = first_word(start);
                    match literal {
                        Some(literal) if literal.sync => {
                            self.awaiting = Some(Awaiting { tag: tag.to_vec(), size: literal.size });
                        }
                        Some(_) => {}
                        None => self.awaiting = None,
                    }
                    self.client.finish_line(literal, Follow::Command);
                }
            }
        }
    }

    /// Looks at bytes on their way to the client and says what is to be sent: `out` gets slices of `bytes`,
    /// and capability lists rewritten.
    pub(crate) fn on_server(&mut self, bytes: &Bytes, out: &mut Vec<Bytes>) {
        if self.raw {
            self.release(out);
            out.push(bytes.clone());
            return;
        }
        let mut passed = 0; // All before this went out or is held.
        let mut at = 0;
        while at < bytes.len() {
            if self.raw {
                break;
            }
            let begins_line = self.server.at_line_start();
            let (segment, after) = self.server.next(&bytes[at..]);
            let end = bytes.len() - after.len();
            match segment {
                Segment::Literal => {}
                Segment::Lost => self.pass_raw(),
                Segment::Part => {
                    if begins_line || !self.held.is_empty() {
                        push(out, bytes, passed, at);
                        passed = end;
                        self.held.extend_from_slice(&bytes[at..end]);
                        if carries_list(&self.held) == Carries::No || self.held.len() > MAX_HELD {
                            self.release(out);
                        }
                    }
                }
                Segment::Line { literal } => {
                    if !self.held.is_empty() {
                        self.held.extend_from_slice(&bytes[at..end]);
                        let line = std::mem::take(&mut self.held);
                        out.push(filtered(&line, Leg::Open).map_or_else(|| Bytes::from(line), Bytes::from));
                        passed = end;
                    } else if begins_line && let Some(line) = filtered(&bytes[at..end], Leg::Open) {
                        push(out, bytes, passed, at);
                        out.push(Bytes::from(line));
                        passed = end;
                    }
                    let follow = Follow::of_server_line(self.server.start());
                    if self.awaiting.is_some() || self.compress.is_some() {
                        self.on_answer();
                    }
                    self.server.finish_line(literal, follow);
                }
            }
            at = end;
        }
        if self.raw {
            self.release(out);
        }
        push(out, bytes, passed, bytes.len());
    }

    /// The stream ended: what is still held goes out.
    pub(crate) fn on_server_end(&mut self, out: &mut Vec<Bytes>) {
        self.release(out);
    }

    /// Whether the session is passed without looking at it.
    pub(crate) fn is_raw(&self) -> bool {
        self.raw
    }

    /// A whole server line while an answer is of interest.
    fn on_answer(&mut self) {
        let start = self.server.start();
        let tag = first_word(start);
        if tag == b"*" {
            return;
        }
        if tag == b"+" {
            self.awaiting = None;
            return;
        }
        if self.awaiting.as_ref().is_some_and(|awaiting| awaiting.tag == tag) {
            // Refused (RFC 3501 section 7.5): the literal does not come, what comes next is a command.
            let untouched =
                self.awaiting.take().is_some_and(|awaiting| self.client.cancel_literal(awaiting.size));
            if !untouched {
                return self.pass_raw();
            }
        }
        if self.compress.as_ref().is_some_and(|compress| compress == tag) {
            self.compress = None;
            if status_is_ok(start, tag.len()) {
                self.pass_raw();
            }
        }
    }

    fn pass_raw(&mut self) {
        self.raw = true;
    }

    fn release(&mut self, out: &mut Vec<Bytes>) {
        if !self.held.is_empty() {
            out.push(Bytes::from(std::mem::take(&mut self.held)));
        }
    }
}

fn push(out: &mut Vec<Bytes>, bytes: &Bytes, from: usize, to: usize) {
    if from < to {
        out.push(bytes.slice(from..to));
    }
}

/// The command's tag if the line asks for compression (RFC 4978).
fn compress_tag(line: &[u8]) -> Option<&[u8]> {
    let tag = first_word(line);
    let rest = line.get(tag.len() + 1..)?;
    rest.get(..8).filter(|verb| verb.eq_ignore_ascii_case(b"COMPRESS")).map(|_| tag)
}

fn status_is_ok(line: &[u8], tag_length: usize) -> bool {
    line.get(tag_length + 1..tag_length + 3).is_some_and(|status| status.eq_ignore_ascii_case(b"OK"))
}

fn first_word(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(line.len());
    &line[..end]
}

/// What a line of this beginning may have at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Follow {
    /// A command: `{5}` at the end announces a literal.
    #[default]
    Command,
    /// Data of the server: the same.
    Data,
    /// Text for people: `{5}` means nothing.
    Text,
}

impl Follow {
    fn of_server_line(start: &[u8]) -> Self {
        let Some(rest) = start.strip_prefix(b"* ") else { return Self::Text };
        let word = first_word(rest);
        let status: [&[u8]; 5] = [b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"];
        if status.iter().any(|status| status.eq_ignore_ascii_case(word)) { Self::Text } else { Self::Data }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Literal {
    size: u64,
    sync: bool,
}

/// What [`Side::next`] found.
#[derive(Debug)]
enum Segment {
    /// Bytes of a literal.
    Literal,
    /// Bytes of a line that is not at its end.
    Part,
    /// The rest of a line, and the literal that its end seems to announce. [`Side::finish_line`] must follow.
    Line { literal: Option<Literal> },
    /// A number that cannot be: what follows cannot be framed.
    Lost,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    /// Bytes of the current literal that are still to come.
    literal: u64,
    /// The first bytes of the line, when complete: of the whole line, across its literals.
    head: Vec<u8>,
    /// The last bytes of the line's part so far.
    tail: Vec<u8>,
    /// Bytes of this line have been seen.
    within: bool,
}

impl Side {
    fn at_line_start(&self) -> bool {
        self.literal == 0 && !self.within
    }

    /// Splits off the next segment.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> (Segment, &'a [u8]) {
        if self.literal > 0 {
            let here = usize::try_from(self.literal).unwrap_or(usize::MAX).min(bytes.len());
            self.literal -= here as u64;
            return (Segment::Literal, &bytes[here..]);
        }
        let end = memchr::memchr(b'\n', bytes).map(|newline| newline + 1);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.head.len() < HEAD {
            self.head.extend_from_slice(&part[..part.len().min(HEAD - self.head.len())]);
        }
        self.within = true;
        if end.is_none() {
            self.keep_tail(part);
            return (Segment::Part, rest);
        }
        let literal = if self.tail.is_empty() || part.len() >= TAIL {
            announced(part)
        } else {
            self.keep_tail(part);
            announced(&self.tail)
        };
        self.tail.clear();
        match literal {
            Ok(literal) => (Segment::Line { literal }, rest),
            Err(Unframable) => (Segment::Lost, rest),
        }
    }

    fn keep_tail(&mut self, part: &[u8]) {
        self.tail.extend_from_slice(&part[part.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// The line's first bytes.
    fn start(&self) -> &[u8] {
        &self.head
    }

    fn finish_line(&mut self, literal: Option<Literal>, follow: Follow) {
        match literal {
            Some(literal) if follow != Follow::Text => {
                self.literal = literal.size; // The line goes on behind it.
            }
            Some(_) | None => {
                self.head.clear();
                self.within = false;
            }
        }
    }

    /// Takes an announced literal back; false when some of it came already.
    fn cancel_literal(&mut self, size: u64) -> bool {
        let untouched = self.literal == size && self.tail.is_empty();
        self.literal = 0;
        self.head.clear();
        self.within = false;
        untouched
    }
}

struct Unframable;

/// The literal that a line's end announces: `{5}`, `{5+}`, `~{5}` before the line break (RFC 9051 section 4.3).
fn announced(line: &[u8]) -> Result<Option<Literal>, Unframable> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(line) = line.strip_suffix(b"}") else { return Ok(None) };
    let (line, sync) = match line.strip_suffix(b"+").or_else(|| line.strip_suffix(b"-")) {
        Some(line) => (line, false),
        None => (line, true),
    };
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, number) = line.split_at(line.len() - digits);
    if digits == 0 || before.last() != Some(&b'{') {
        return Ok(None);
    }
    let size =
        number.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    size.map(|size| Some(Literal { size, sync })).ok_or(Unframable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the server's bytes in pieces; the client's come first, whole.
    fn relayed(client: &str, server: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
        let mut watch = Watch::default();
        watch.on_client(client.as_bytes());
        let mut out = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([server.len()]) {
            watch.on_server(&Bytes::copy_from_slice(&server[from..cut]), &mut out);
            from = cut;
        }
        watch.on_server_end(&mut out);
        (out.concat(), watch.is_raw())
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
        // Inside a literal it is no command.
        let (_, raw) = at_every_split("a APPEND x {12+}\r\nc1 COMPRESS \r\n", "c1 OK go\r\n");
        assert!(!raw);
    }

    #[test]
    fn a_refused_literal_is_followed_by_a_command() {
        let mut watch = Watch::default();
        let mut out = Vec::new();
        watch.on_client(b"a1 APPEND nowhere {300}\r\n");
        watch.on_server(&Bytes::from_static(b"* OK still {3}\r\na1 NO [TRYCREATE] no\r\n"), &mut out);
        watch.on_client(b"c2 COMPRESS DEFLATE\r\n");
        watch.on_server(&Bytes::from_static(b"c2 OK go\r\n"), &mut out);
        assert!(watch.is_raw());
        let mut hasty = Watch::default();
        hasty.on_client(b"a1 APPEND nowhere {300}\r\nabc");
        hasty.on_server(&Bytes::from_static(b"a1 NO no\r\n"), &mut out);
        assert!(hasty.is_raw(), "what followed cannot be told apart");
    }

    #[test]
    fn a_number_beyond_all_is_passed_raw() {
        assert!(at_every_split("", "* 1 FETCH (BODY[] {99999999999999999999999}\r\nx").1);
        let huge = "* 1 FETCH (BODY[] {4294967296}\r\n* CAPABILITY COMPRESS=DEFLATE\r\n";
        assert_eq!(at_every_split("", huge), (huge.to_owned(), false));
    }

    #[test]
    fn only_what_may_be_a_list_is_held_back() {
        let mut watch = Watch::default();
        let mut out = Vec::new();
        watch.on_server(&Bytes::from_static(b"* 3 FETCH (FLAGS"), &mut out);
        assert_eq!(out.concat(), b"* 3 FETCH (FLAGS");
        watch.on_server(&Bytes::from_static(b" ())\r\n* CAP"), &mut out);
        assert_eq!(out.concat(), b"* 3 FETCH (FLAGS ())\r\n");
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::sample::select(vec![
            "* ",
            "a1 ",
            "OK ",
            "NO ",
            "CAPABILITY ",
            "[CAPABILITY ",
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
            let mut watch = Watch::default();
            let (mut to_server, mut to_client) = (client.as_slice(), server.as_slice());
            let mut out = Vec::new();
            for (up, down) in cuts.into_iter().chain([(usize::MAX, usize::MAX)]) {
                let (now, later) = to_server.split_at(up.min(to_server.len()));
                watch.on_client(now);
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
