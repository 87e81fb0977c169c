//! What tells a message apart when it must be found again: Message-ID, Date, From and Subject.
//!
//! Exchange writes MIME anew, so neither size nor body can be compared; these four survive, but for folding and
//! blanks, which are evened out here.

use bytes::Bytes;
use mailferry_imap::response::Fetched;
use mailferry_ledger::Fingerprint;

/// What a FETCH must ask for so that [`Print::of_fetched`] can answer.
pub const ITEMS: &str =
    "UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]";

/// The fields, in the order in which they are hashed.
const FIELDS: [&str; 4] = ["message-id", "date", "from", "subject"];

/// The most of a header that is looked at, in bytes.
const MAX_HEADER: usize = 256 * 1024;

/// A message's print.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Print {
    /// Over all four fields.
    pub whole: Fingerprint,
    /// Over the Message-ID alone, where there is one.
    pub id: Option<Fingerprint>,
}

impl Print {
    /// From a header, or from some fields of one.
    pub fn of_header(header: &[u8]) -> Self {
        let mut values: [Option<Vec<u8>>; 4] = Default::default();
        for_each_field(header, |name, value| {
            let known = FIELDS.iter().position(|field| name.eq_ignore_ascii_case(field.as_bytes()));
            if let Some(slot) = known.and_then(|at| values.get_mut(at)) {
                slot.get_or_insert_with(|| even_out(value));
            }
        });
        let [id, date, from, subject] = values.map(Option::unwrap_or_default);
        Self {
            whole: Fingerprint::of(&[&id, &date, &from, &subject]),
            id: (!id.is_empty()).then(|| Fingerprint::of(&[&id])),
        }
    }

    /// From the answer to a FETCH of [`ITEMS`].
    pub fn of_fetched(fetched: &Fetched) -> Self {
        Self::of_header(&header_of(fetched))
    }
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
