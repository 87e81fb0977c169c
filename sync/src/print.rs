//! What tells a message apart when it must be found again: Message-ID, From and Subject.
//!
//! Exchange writes MIME anew, so neither size nor body can be compared, and these three come back folded and encoded
//! otherwise. So they are taken for what they say: the Message-ID without its brackets, the address of the From, and of the
//! decoded Subject the letters and digits that every charset has. The Date is left out: where it does not read, another
//! one may come back, and INTERNALDATE tells more.
//!
//! The ledger keeps prints, so they must come out the same for ever: `prints_never_change` holds some. Ledgers
//! of the first versions hold prints over the four fields as they stand ([`Print::old`]); those are still known.

use std::collections::HashMap;

use bytes::Bytes;
use mail_parser::MessageParser;
use mailferry_imap::response::Fetched;
use mailferry_ledger::Fingerprint;

/// What a FETCH must ask for so that [`Print::of_fetched`] can answer.
pub const ITEMS: &str =
    "UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]";

/// The fields, in the order in which they were hashed once.
const FIELDS: [&str; 4] = ["message-id", "date", "from", "subject"];

/// The most of a header that is looked at, in bytes.
const MAX_HEADER: usize = 256 * 1024;

/// So much of a Subject counts, in letters and digits: Exchange keeps 255 characters of one.
const MAX_SUBJECT: usize = 200;

/// A message's print.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Print {
    /// Over Message-ID, From and Subject.
    pub whole: Fingerprint,
    /// Over the Message-ID alone, where there is one.
    pub id: Option<Fingerprint>,
    /// Over From and Subject, where they were seen: a target may invent a Message-ID.
    pub rest: Option<u64>,
    /// The beginning of what the first versions took for the print.
    pub old: u64,
    /// Whether From and Subject read in one way only; else they may come back as something else.
    pub plain: bool,
}

impl Print {
    /// From a header, or from some fields of one.
    pub fn of_header(header: &[u8]) -> Self {
        let mut values: [Option<Vec<u8>>; 4] = Default::default();
        let mut plain = true;
        for_each_field(header, |name, value| {
            let known = FIELDS.iter().position(|field| name.eq_ignore_ascii_case(field.as_bytes()));
            if let Some(slot) = known.and_then(|at| values.get_mut(at)) {
                plain &= slot.is_none() && value.is_ascii();
                slot.get_or_insert_with(|| even_out(value));
            }
        });
        let [id, date, from, subject] = values.map(Option::unwrap_or_default);
        let old = beginning(Fingerprint::of(&[&id, &date, &from, &subject]));
        let id = bare_id(&id);
        let (sender, words) = read(&from, &subject);
        plain &= from.is_empty() || !sender.is_empty();
        let (sender, words) = (sender.as_bytes(), words.as_bytes());
        Self {
            whole: Fingerprint::of(&[b"2", &id, sender, words]),
            id: (!id.is_empty()).then(|| Fingerprint::of(&[&id])),
            rest: Some(beginning(Fingerprint::of(&[sender, words]))),
            old,
            plain,
        }
    }

    /// From the answer to a FETCH of [`ITEMS`].
    pub fn of_fetched(fetched: &Fetched) -> Self {
        Self::of_header(&header_of(fetched))
    }

    /// Of which the ledger knows no more than this.
    pub fn recorded(whole: Fingerprint) -> Self {
        Self { whole, id: None, rest: None, old: 0, plain: false }
    }

    /// Whether this is the message of which the ledger has that print.
    pub fn is(&self, recorded: Fingerprint) -> bool {
        self.whole == recorded || self.old == beginning(recorded)
    }
}

/// Prints of the ledger as they would be made today, as far as these messages tell.
pub struct Known(HashMap<u64, Fingerprint>);

impl Known {
    /// From all that a side holds.
    pub fn from(prints: impl Iterator<Item = Print>) -> Self {
        Self(prints.map(|print| (print.old, print.whole)).collect())
    }

    /// The print of today for one of the ledger.
    pub fn today(&self, recorded: Fingerprint) -> Fingerprint {
        self.0.get(&beginning(recorded)).copied().unwrap_or(recorded)
    }
}

fn beginning(print: Fingerprint) -> u64 {
    let Fingerprint([a, b, c, d, e, f, g, h, ..]) = print;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The Message-ID without brackets and what stands around them.
fn bare_id(value: &[u8]) -> Vec<u8> {
    let inner = match value.iter().position(|byte| *byte == b'<') {
        Some(open) => value[open + 1..].split(|byte| *byte == b'>').next().unwrap_or_default(),
        None => value,
    };
    inner.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

/// The address of the From, and what counts of the Subject.
fn read(from: &[u8], subject: &[u8]) -> (String, String) {
    let header = [b"From: ", from, b"\r\nSubject: ", subject, b"\r\n\r\n"].concat();
    let Some(read) = MessageParser::new().parse_headers(&header) else { return Default::default() };
    let sender = read.from().and_then(|from| from.iter().find_map(|one| one.address()));
    let sender = sender.filter(|address| address.contains('@')).unwrap_or_default();
    let words = read.subject().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric);
    (
        sender.chars().filter(char::is_ascii_graphic).map(|c| c.to_ascii_lowercase()).collect(),
        words.take(MAX_SUBJECT).map(|c| c.to_ascii_lowercase()).collect(),
    )
}

/// The header fields of the answer to a FETCH; empty where there are none.
pub fn header_of(fetched: &Fetched) -> Bytes {
    let header = fetched.sections.iter().find(|(name, _)| name.starts_with("BODY[HEADER"));
    header.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

/// Collects a message's header while its body streams by.
#[derive(Debug, Default)]
pub struct HeaderTap {
    seen: Vec<u8>,
    complete: bool,
}

impl HeaderTap {
    /// The next bytes of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.complete {
            return;
        }
        // The end may lie across two chunks.
        let from = self.seen.len().saturating_sub(3);
        let room = MAX_HEADER - self.seen.len();
        self.seen.extend_from_slice(&chunk[..chunk.len().min(room)]);
        let tail = &self.seen[from..];
        let end =
            tail.windows(2).any(|two| two == b"\n\n") || tail.windows(3).any(|three| three == b"\n\r\n");
        self.complete = end || self.seen.len() >= MAX_HEADER;
    }

    /// The print of what was seen.
    pub fn print(&self) -> Print {
        Print::of_header(&self.seen)
    }

    /// The header's bytes.
    pub fn header(&self) -> &[u8] {
        &self.seen
    }
}

fn for_each_field(header: &[u8], mut on: impl FnMut(&[u8], &[u8])) {
    let mut rest = header;
    while !rest.is_empty() {
        let end = field_end(rest);
        let field = &rest[..end];
        rest = &rest[end..];
        if field.trim_ascii().is_empty() {
            return;
        }
        if let Some(colon) = field.iter().position(|byte| *byte == b':') {
            on(field[..colon].trim_ascii(), &field[colon + 1..]);
        }
    }
}

/// Where the field ends that begins here: after the line that no continuation follows.
fn field_end(header: &[u8]) -> usize {
    let mut end = 0;
    loop {
        match header[end..].iter().position(|byte| *byte == b'\n') {
            Some(at) => end += at + 1,
            None => return header.len(),
        }
        let blank_line = header[..end].trim_ascii().is_empty();
        if blank_line || !matches!(header.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

/// Unfolded, runs of white space as one blank, none at the ends.
fn even_out(value: &[u8]) -> Vec<u8> {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAIL: &[u8] =
        b"Received: x\r\nMessage-ID: <a@b>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nFROM: A <a@b>\r\n\
        Subject: one\r\n two\r\n\r\nSubject: not this\r\n";

    #[test]
    fn order_folding_and_case_do_not_matter() {
        let other = b"Subject:  one two\nFrom: A\n <a@b>\nMessage-Id:\n <a@b>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n";
        assert_eq!(Print::of_header(MAIL), Print::of_header(other));
        assert_ne!(Print::of_header(MAIL), Print::of_header(b"Message-ID: <a@b>\r\n\r\n"));
        assert_eq!(Print::of_header(MAIL).id, Print::of_header(b"Message-ID: <a@b>\r\n\r\n").id);
    }

    #[test]
    fn prints_never_change() {
        let print = |header: &[u8]| Print::of_header(header).whole.to_string();
        let encoded = "From: =?utf-8?q?J=C3=B6rg?= <J@b.example>\r\nSubject: Re: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?= =?utf-8?b?R3LDvMOfZSA3?=\r\n\r\n";
        let printed = [print(MAIL), print(encoded.as_bytes()), print(b"")];
        let expected = [
            "86fd1a2d92d5fb48df011c95d4e3ab80",
            "ff48205abc1fd39326e6877df8a36c32",
            "4d2e6114e1abbb5bc699b849b4dcfc79",
        ];
        assert_eq!(printed, expected);
        let fields: [&[u8]; 4] = [b"<a@b>", b"Mon, 1 Jan 2024 00:00:00 +0000", b"A <a@b>", b"one two"];
        assert_eq!(Print::of_header(MAIL).old, beginning(Fingerprint::of(&fields)));
    }

    #[test]
    fn what_is_encoded_anew_has_the_same_print() {
        let before =
            b"From: \"Adams, Terry\" <Terry@Contoso.edu>\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe_to?= you\r\n\
            Message-ID:\r\n <A@b>\r\n\r\n";
        let after = "Subject: =?utf-8?B?R3LDvMOfZSB0byB5b3U=?=\r\nMessage-ID: <A@b>\r\n\
            From: =?utf-8?q?Adams,_Terry?= <terry@contoso.edu>\r\n\r\n";
        let (before, after) = (Print::of_header(before), Print::of_header(after.as_bytes()));
        assert_eq!((before.whole, before.id, before.rest), (after.whole, after.id, after.rest));
        assert_ne!(before.old, after.old);
        assert!(before.plain && after.plain);
        let other = Print::of_header(b"From: terry@contoso.edu\r\nSubject: Bye\r\nMessage-ID: <A@b>\r\n\r\n");
        assert_eq!(other.id, after.id);
        assert_ne!((other.whole, other.rest), (after.whole, after.rest));
    }

    #[test]
    fn what_may_read_otherwise_is_not_plain() {
        for header in [
            &b"Subject: Gr\xfc\xdfe\r\n\r\n"[..],
            b"Subject: a\r\nSubject: b\r\n\r\n",
            b"From: nobody at all\r\n\r\n",
        ] {
            assert!(!Print::of_header(header).plain, "{header:?}");
        }
    }

    #[test]
    fn prints_of_the_first_versions_are_known() {
        let print = Print::of_header(MAIL);
        let recorded =
            Fingerprint::of(&[b"<a@b>", b"Mon, 1 Jan 2024 00:00:00 +0000", b"A <a@b>", b"one two"]);
        assert!(print.is(recorded) && print.is(print.whole) && !print.is(Fingerprint([0; 16])));
        let known = Known::from([print].into_iter());
        assert_eq!(known.today(recorded), print.whole);
        assert_eq!(known.today(print.whole), print.whole);
    }

    #[test]
    fn no_fields_no_id() {
        for header in [&b""[..], b"\r\n", b"no colon at all", b"\n\n", b"Message-ID: \r\n\r\n"] {
            assert_eq!(Print::of_header(header).id, None);
            assert_eq!(Print::of_header(header).whole, Print::of_header(b"").whole);
        }
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(cuts in proptest::collection::vec(0usize..MAIL.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.extend([0, MAIL.len()]);
            cuts.sort_unstable();
            let mut tap = HeaderTap::default();
            cuts.windows(2).for_each(|cut| tap.feed(&MAIL[cut[0]..cut[1]]));
            prop_assert_eq!(tap.print(), Print::of_header(MAIL));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut tap = HeaderTap::default();
            bytes.chunks(7).for_each(|chunk| tap.feed(chunk));
            prop_assert_eq!(tap.header().len(), tap.seen.len());
            let _ = tap.print();
        }
    }
}
