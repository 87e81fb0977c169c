//! What a message says, whatever bytes say it: read while its body streams by, in bounded memory.
//!
//! Two readings of one message are compared by [`compare`]. Equal bytes are equal messages. Where a target writes MIME
//! anew (Exchange does), these must be equal: the decoded words of every text in it, in Unicode; the decoded bytes of
//! every attachment, in order, messages in the message read likewise; Subject, Date and the addresses of From, To and Cc,
//! decoded. Forgiven is what such a target changes: boundaries, transfer encodings, charsets, folding and order of fields,
//! fields of its own, white space between words, line ends, empty parts, the text beside HTML that is made of the HTML, and
//! HTML's own frame (`<html>`, `<head>`, `<meta>`, `<body>`).
//!
//! What does not say how it is to be read (8-bit text without a charset) is compared by the ASCII letters and digits in it;
//! what is no proper MIME at all is compared too, but a difference there proves nothing.

mod decode;
mod heading;
mod text;
mod walk;

use mailferry_ledger::Fingerprint;

use heading::Heading;
use walk::Walk;

/// What was read of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gist {
    bytes: Fingerprint,
    heading: Heading,
    /// Over every word and every attachment.
    exact: Fingerprint,
    /// The same, of text only ASCII letters and digits.
    loose: Fingerprint,
    grade: Grade,
}

/// How well a message says how it is to be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Grade {
    /// In one way only.
    #[default]
    Proper,
    /// Some text has no charset, or not the one that it names.
    Guessed,
    /// It is no proper MIME: everybody may make something else of it.
    Broken,
}

/// How two readings of what should be the same message compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Likeness {
    /// Byte for byte the same.
    SameBytes,
    /// Other bytes that say the same.
    SameContent,
    /// They read otherwise, but the original can be read in more than one way.
    Unclear,
    /// Another Subject, Date, From, To or Cc.
    OtherHeading,
    /// Other text or attachments.
    OtherContent,
}

/// Compares a copy with its original.
pub(crate) fn compare(original: &Gist, copy: &Gist) -> Likeness {
    if original.bytes == copy.bytes {
        return Likeness::SameBytes;
    }
    if !original.heading.allows(&copy.heading) {
        return if original.grade == Grade::Broken { Likeness::Unclear } else { Likeness::OtherHeading };
    }
    if original.exact == copy.exact {
        return Likeness::SameContent;
    }
    match original.grade {
        Grade::Proper => Likeness::OtherContent,
        Grade::Guessed | Grade::Broken if original.loose == copy.loose => Likeness::SameContent,
        Grade::Guessed => Likeness::OtherContent,
        Grade::Broken => Likeness::Unclear,
    }
}

/// Reads one message.
pub(crate) struct Reading {
    bytes: Digest,
    walk: Walk,
}

impl Reading {
    /// Before its first byte.
    pub(crate) fn new() -> Self {
        Self { bytes: Digest::default(), walk: Walk::new() }
    }

    /// The next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.add(bytes);
        self.walk.feed(bytes);
    }

    /// After its last byte.
    pub(crate) fn end(self) -> Gist {
        let read = self.walk.end();
        let (mut exact, mut loose) = (Digest::default(), Digest::default());
        for leaf in &read.leaves {
            exact.add(&leaf.exact.0);
            loose.add(&leaf.loose.0);
        }
        Gist {
            bytes: self.bytes.end(),
            heading: read.heading,
            exact: exact.end(),
            loose: loose.end(),
            grade: read.grade,
        }
    }
}

/// A hash under way.
#[derive(Default)]
struct Digest(blake3::Hasher);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn end(&self) -> Fingerprint {
        let mut print = [0; 16];
        print.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        Fingerprint(print)
    }
}

#[cfg(test)]
mod tests;
