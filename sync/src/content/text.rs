//! The words of a text: its charset undone, white space evened out, of HTML only what is shown and how.

use encoding_rs::{Decoder, Encoding, REPLACEMENT, UTF_8};
use mailferry_ledger::Fingerprint;

use super::{Digest, Grade};

/// The longest tag that is looked at.
const MAX_TAG: usize = 4 * 1024;

/// Tags that are no part of what HTML says.
const FRAME: [&str; 6] = ["!doctype", "html", "head", "meta", "body", "?xml"];

/// What marks text up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Markup {
    Plain,
    Html,
}

/// Reads one text.
pub(super) struct Text {
    decoder: Decoder,
    charset: Charset,
    markup: Markup,
    /// Inside of a tag, as far as it was seen.
    tag: Option<String>,
    decoded: String,
    words: Words,
    grade: Grade,
}

/// What is known of the charset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Charset {
    Named,
    /// An ISO 8859, whose bytes from 0x80 to 0x9f some read as Windows does.
    Iso,
    /// None, or one of 7 bits.
    Unnamed,
    /// Nobody here reads it.
    Unknown,
}

/// What came of a text.
pub(super) struct Said {
    pub(super) exact: Fingerprint,
    pub(super) loose: Fingerprint,
    pub(super) grade: Grade,
}

impl Text {
    pub(super) fn new(charset: Option<&str>, markup: Markup) -> Self {
        let name = charset.unwrap_or_default().trim().to_ascii_lowercase();
        let (encoding, charset) = match name.as_str() {
            "" | "us-ascii" | "ascii" | "ansi_x3.4-1968" => (UTF_8, Charset::Unnamed),
            name => match Encoding::for_label(name.as_bytes()) {
                Some(encoding) if encoding != REPLACEMENT => {
                    (encoding, if name.starts_with("iso-8859") { Charset::Iso } else { Charset::Named })
                }
                Some(_) | None => (UTF_8, Charset::Unknown),
            },
        };
        Self {
            decoder: encoding.new_decoder_with_bom_removal(),
            charset,
            markup,
            tag: None,
            decoded: String::new(),
            words: Words::default(),
            grade: Grade::Proper,
        }
    }

    /// The next bytes, their transfer encoding undone.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        match self.charset {
            Charset::Named => {}
            Charset::Iso if !bytes.iter().any(|byte| matches!(byte, 0x80..=0x9f)) => {}
            Charset::Iso => self.doubt(Grade::Guessed),
            Charset::Unnamed if bytes.is_ascii() => {}
            Charset::Unnamed => self.doubt(Grade::Guessed),
            Charset::Unknown => self.doubt(Grade::Broken),
        }
        self.decode(bytes, false);
    }

    fn doubt(&mut self, grade: Grade) {
        self.grade = self.grade.max(grade);
    }

    fn decode(&mut self, bytes: &[u8], last: bool) {
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.clear();
        decoded.reserve(self.decoder.max_utf8_buffer_length(bytes.len()).unwrap_or_default());
        let (_, _, had_errors) = self.decoder.decode_to_string(bytes, &mut decoded, last);
        if had_errors {
            self.doubt(Grade::Guessed);
        }
        for c in decoded.chars() {
            self.character(c);
        }
        self.decoded = decoded;
    }

    fn character(&mut self, c: char) {
        if self.markup == Markup::Plain {
            return self.words.add(c);
        }
        match (&mut self.tag, c) {
            (None, '<') => self.tag = Some(String::new()),
            (None, c) => self.words.add(c),
            (Some(_), '>') => self.end_tag(),
            (Some(tag), c) => {
                tag.push(c);
                if tag.len() > MAX_TAG {
                    self.flush_tag();
                }
            }
        }
    }

    fn end_tag(&mut self) {
        let name: String = self
            .tag
            .iter()
            .flat_map(|tag| tag.trim_start_matches('/').chars())
            .take_while(|c| !c.is_whitespace() && *c != '/')
            .collect();
        if FRAME.contains(&name.to_ascii_lowercase().as_str()) {
            self.tag = None;
            // What stands on both sides of it are two words.
            return self.words.add(' ');
        }
        self.flush_tag();
        self.words.add('>');
    }

    fn flush_tag(&mut self) {
        if let Some(tag) = self.tag.take() {
            self.words.add('<');
            tag.chars().for_each(|c| self.words.add(c));
        }
    }

    /// What it said; `None` where that was nothing.
    pub(super) fn end(mut self) -> Option<Said> {
        self.decode(&[], true);
        self.flush_tag();
        let Self { mut words, grade, .. } = self;
        words.flush();
        words.any.then(|| Said { exact: words.exact.end(), loose: words.loose.end(), grade })
    }
}

/// Words, one blank between them.
#[derive(Default)]
struct Words {
    exact: Digest,
    loose: Digest,
    /// Characters on their way into the hashes.
    exact_queue: String,
    loose_queue: String,
    blank: bool,
    any: bool,
}

impl Words {
    fn add(&mut self, c: char) {
        if c.is_whitespace() {
            self.blank = self.any;
            return;
        }
        if c.is_control() || matches!(c, '\u{feff}' | '\u{200b}') {
            return;
        }
        if std::mem::take(&mut self.blank) {
            self.exact_queue.push(' ');
        }
        self.any = true;
        self.exact_queue.push(c);
        if c.is_ascii_alphanumeric() {
            self.loose_queue.push(c);
        }
        if self.exact_queue.len() > 4096 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.exact.add(self.exact_queue.as_bytes());
        self.loose.add(self.loose_queue.as_bytes());
        self.exact_queue.clear();
        self.loose_queue.clear();
    }
}
