//! The fields that people know a message by, as far as they read in one way only.

use mail_parser::{Address, HeaderName, Message, MessageParser};
use mailferry_ledger::Fingerprint;

/// So many characters of a Subject count: Exchange keeps 255.
const MAX_SUBJECT: usize = 250;

/// Subject, Date and addresses; `None` where nothing can be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Heading {
    subject: Option<Fingerprint>,
    /// Of the Subject only ASCII letters and digits, whatever it is encoded in.
    words: Option<Fingerprint>,
    from: Option<Fingerprint>,
    to: Option<Fingerprint>,
    cc: Option<Fingerprint>,
    date: Option<i64>,
}

impl Heading {
    /// Of a header.
    pub(super) fn of(header: &[u8]) -> Self {
        let Some(read) = MessageParser::new().parse_headers(header) else { return Self::default() };
        let (subject, words) = subject(&read, header);
        Self {
            subject,
            words,
            from: people(&read, header, &HeaderName::From),
            to: people(&read, header, &HeaderName::To),
            cc: people(&read, header, &HeaderName::Cc),
            date: Some(())
                .filter(|()| times(&read, &HeaderName::Date) == 1)
                .and_then(|()| read.date())
                .filter(|date| date.is_valid())
                .map(mail_parser::DateTime::to_timestamp),
        }
    }

    /// Whether a copy may have this one. What the original does not say for sure, nothing is demanded of.
    pub(super) fn allows(&self, copy: &Self) -> bool {
        fn same<T: PartialEq>(original: Option<T>, copy: Option<T>) -> bool {
            original.is_none() || original == copy
        }
        same(self.subject, copy.subject)
            && same(self.words, copy.words)
            && same(self.from, copy.from)
            && same(self.to, copy.to)
            && same(self.cc, copy.cc)
            && same(self.date, copy.date)
    }

    /// As a part of a message that it is in.
    pub(super) fn print(&self) -> Fingerprint {
        let bytes = |field: Option<Fingerprint>| field.map(|print| print.0).unwrap_or_default();
        let date = self.date.unwrap_or_default().to_be_bytes();
        Fingerprint::of(&[&bytes(self.subject), &bytes(self.from), &bytes(self.to), &bytes(self.cc), &date])
    }

    /// The same of what is beyond doubt in any encoding.
    pub(super) fn loose_print(&self) -> Fingerprint {
        let words = self.words.map(|print| print.0).unwrap_or_default();
        Fingerprint::of(&[&words, &self.date.unwrap_or_default().to_be_bytes()])
    }
}

/// The whole of it, and its words.
fn subject(read: &Message<'_>, header: &[u8]) -> (Option<Fingerprint>, Option<Fingerprint>) {
    if times(read, &HeaderName::Subject) > 1 {
        return (None, None);
    }
    let text = read.subject().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String =
        text.chars().take(MAX_SUBJECT).filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    let words: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let sure = is_plain(read, header, &HeaderName::Subject) && !text.contains(char::REPLACEMENT_CHARACTER);
    // Encoded words that do not decode may come back decoded, or encoded once more.
    let decoded = !text.contains("=?");
    let sure = sure && decoded;
    (sure.then(|| Fingerprint::of(&[text.as_bytes()])), decoded.then(|| Fingerprint::of(&[words.as_bytes()])))
}

/// All addresses of a field, in order.
fn people(read: &Message<'_>, header: &[u8], name: &HeaderName<'_>) -> Option<Fingerprint> {
    let people: Option<&Address<'_>> = match name {
        HeaderName::From => read.from(),
        HeaderName::To => read.to(),
        _ => read.cc(),
    };
    if times(read, name) > 1 || !is_plain(read, header, name) {
        return None;
    }
    let mut all = Vec::new();
    for one in people.into_iter().flat_map(Address::iter) {
        let address = one.address()?;
        // What is no address may come back as a name, or not at all.
        let (local, domain) = address.rsplit_once('@')?;
        let proper = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && !"<>@,;:()[]\\\"".contains(c))
        };
        if !proper(local) || !proper(domain) {
            return None;
        }
        all.push(address.to_ascii_lowercase());
    }
    Some(Fingerprint::of(&[all.join(",").as_bytes()]))
}

fn times(read: &Message<'_>, name: &HeaderName<'_>) -> usize {
    read.headers().iter().filter(|header| header.name == *name).count()
}

/// Whether the field's bytes are ASCII and proper.
fn is_plain(read: &Message<'_>, header: &[u8], name: &HeaderName<'_>) -> bool {
    let found = read.headers().iter().find(|header| header.name == *name);
    let Some(field) = found else { return true };
    let raw = header.get(field.offset_start as usize..field.offset_end as usize).unwrap_or_default();
    raw.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
}
