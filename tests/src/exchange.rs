//! What Exchange makes of a message: it keeps no bytes but properties, and writes MIME anew from them.
//!
//! Written after MS-OXCMAIL (2.1.3.5: the saved bodies and attachments are combined anew, header fields are generated
//! from properties) and after what people saw: other boundaries, encodings and charsets, decoded and encoded names and
//! subjects, fields of its own, a text beside HTML that is made of the HTML. What a message says stays: words,
//! attachments, who, when, about what. Pure, and the same for the same message.

mod encode;

use std::fmt::Write as _;

use mail_parser::{Address, HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use encode::{base64_lines, folded, quoted_printable, word};

/// The deepest message in a message that is written anew; what lies deeper goes as it is.
const DEEPEST: u32 = 10;

/// The message as Exchange would give it back. `number` makes what it invents its own.
pub fn rewritten(message: &[u8], number: u64) -> Vec<u8> {
    let Some(parsed) = MessageParser::new().parse(message) else { return message.to_vec() };
    let mut out = Writer { out: Vec::with_capacity(message.len() + 1024), number, boundaries: 0 };
    out.message(&parsed, 0);
    out.out
}

struct Writer {
    out: Vec<u8>,
    number: u64,
    boundaries: u32,
}

impl Writer {
    fn message(&mut self, message: &Message<'_>, depth: u32) {
        let Some(root) = message.parts.first() else { return };
        self.trace(message, root);
        self.properties(message, depth);
        self.others(message, root);
        self.part(message, 0, depth);
    }

    /// Received and Return-Path, as they are.
    fn trace(&mut self, message: &Message<'_>, root: &MessagePart<'_>) {
        for header in &root.headers {
            if matches!(header.name, HeaderName::Received | HeaderName::ReturnPath) {
                self.as_it_is(message, header.name(), header.offset_start, header.offset_end);
            }
        }
    }

    /// What is generated from properties.
    fn properties(&mut self, message: &Message<'_>, depth: u32) {
        for (name, addresses) in [
            ("From", message.from()),
            ("Sender", message.sender()),
            ("Reply-To", message.reply_to()),
            ("To", message.to()),
            ("CC", message.cc()),
            ("Bcc", message.bcc()),
        ] {
            if let Some(addresses) = addresses {
                self.field(name, &people(addresses));
            }
        }
        if let Some(subject) = message.subject() {
            let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
            let subject: String = subject.chars().filter(|c| !c.is_control()).take(255).collect();
            self.field("Subject", &phrase(&subject));
            self.field("Thread-Topic", &phrase(&subject));
        }
        if let Some(date) = message.date().filter(|date| date.is_valid()) {
            let date = mail_parser::DateTime::from_timestamp(date.to_timestamp());
            self.field("Date", &date.to_rfc822());
        }
        match message.message_id() {
            Some(id) => self.field("Message-ID", &format!("<{id}>")),
            None if depth == 0 => {
                let id = format!("<STANDIN{:08X}@namprd00.prod.example>", self.number);
                self.field("Message-ID", &id);
            }
            None => {}
        }
    }

    /// Everything else, in the order in which it came, and what Exchange adds.
    fn others(&mut self, message: &Message<'_>, root: &MessagePart<'_>) {
        for header in &root.headers {
            match header.name {
                HeaderName::Received
                | HeaderName::ReturnPath
                | HeaderName::From
                | HeaderName::Sender
                | HeaderName::ReplyTo
                | HeaderName::To
                | HeaderName::Cc
                | HeaderName::Bcc
                | HeaderName::Subject
                | HeaderName::Date
                | HeaderName::MessageId
                | HeaderName::MimeVersion => {}
                _ if header.name().to_ascii_lowercase().starts_with("content-") => {}
                _ => self.as_it_is(message, header.name(), header.offset_start, header.offset_end),
            }
        }
        self.field("X-MS-Has-Attach", "");
        self.field("X-MS-Exchange-Organization-SCL", "-1");
        self.field("X-MS-TNEF-Correlator", "");
        self.field("MIME-Version", "1.0");
    }

    /// A part's own header fields and its content.
    fn part(&mut self, message: &Message<'_>, at: u32, depth: u32) {
        let Some(part) = message.parts.get(at as usize) else { return };
        match &part.body {
            PartType::Multipart(parts) => self.multipart(message, part, parts, depth),
            PartType::Message(inner) if depth < DEEPEST => {
                self.described(part, "message/rfc822", None);
                self.out.extend_from_slice(b"\r\n");
                self.message(inner, depth + 1);
            }
            PartType::Message(inner) => self.attachment(part, inner.raw_message()),
            PartType::Html(html) => self.text(part, "text/html", &with_charset(html)),
            PartType::Text(text) => self.text(part, &type_of(part, "text/plain"), text),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => self.attachment(part, bytes),
        }
    }

    fn multipart(&mut self, message: &Message<'_>, part: &MessagePart<'_>, parts: &[u32], depth: u32) {
        self.boundaries += 1;
        let boundary = format!("_{:03}_{:016X}namprd00_", self.boundaries, self.number);
        let mut parameters = format!("; boundary=\"{boundary}\"");
        for name in ["type", "report-type"] {
            if let Some(value) = part.content_type().and_then(|kind| kind.attribute(name)) {
                let _ = write!(parameters, ";\r\n\t{name}=\"{value}\"");
            }
        }
        let kind = type_of(part, "multipart/mixed");
        self.field_raw("Content-Type", &format!("{kind}{parameters}"));
        self.out.extend_from_slice(b"\r\n");
        let html = parts.iter().find_map(|at| match &message.parts.get(*at as usize)?.body {
            PartType::Html(html) => Some(html),
            _ => None,
        });
        for at in parts {
            self.out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            match (html, message.parts.get(*at as usize).map(|part| (part, &part.body))) {
                // Only the best body is kept: the other one is made of it.
                (Some(html), Some((part, PartType::Text(_)))) if kind == "multipart/alternative" => {
                    self.text(part, "text/plain", &mail_parser::decoders::html::html_to_text(html));
                }
                _ => self.part(message, *at, depth),
            }
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    }

    fn text(&mut self, part: &MessagePart<'_>, kind: &str, text: &str) {
        let mut lines: Vec<&str> = text.split('\n').map(str::trim_end).collect();
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        let mut text = lines.join("\r\n");
        text.push_str("\r\n");
        self.described(part, kind, Some("utf-8"));
        let is_plain = |line: &str| line.len() < 900 && line.chars().all(|c| matches!(c, ' '..='~' | '\t'));
        if text.split("\r\n").all(is_plain) && !text.contains('=') {
            self.field("Content-Transfer-Encoding", "7bit");
            self.out.extend_from_slice(b"\r\n");
            self.out.extend_from_slice(text.as_bytes());
        } else if text.len().is_multiple_of(2) {
            self.field("Content-Transfer-Encoding", "quoted-printable");
            self.out.extend_from_slice(b"\r\n");
            self.out.extend_from_slice(quoted_printable(&text).as_bytes());
        } else {
            self.field("Content-Transfer-Encoding", "base64");
            self.out.extend_from_slice(b"\r\n");
            self.out.extend_from_slice(base64_lines(text.as_bytes()).as_bytes());
        }
    }

    fn attachment(&mut self, part: &MessagePart<'_>, bytes: &[u8]) {
        self.described(part, &type_of(part, "application/octet-stream"), None);
        self.field("Content-Transfer-Encoding", "base64");
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(base64_lines(bytes).as_bytes());
    }

    fn described(&mut self, part: &MessagePart<'_>, kind: &str, charset: Option<&str>) {
        let mut value = kind.to_owned();
        if let Some(charset) = charset {
            let _ = write!(value, "; charset=\"{charset}\"");
        }
        if let Some(name) = part.attachment_name() {
            let _ = write!(value, ";\r\n\tname=\"{}\"", phrase(&name.replace(['"', '\r', '\n'], "_")));
        }
        self.field_raw("Content-Type", &value);
        if let Some(disposition) = part.content_disposition() {
            self.field("Content-Disposition", disposition.ctype());
        }
        if let Some(id) = part.content_id() {
            self.field("Content-ID", &format!("<{id}>"));
        }
    }

    fn as_it_is(&mut self, message: &Message<'_>, name: &str, from: u32, to: u32) {
        let raw = message.raw_message.get(from as usize..to as usize).unwrap_or_default();
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b':');
        for line in raw.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // A field ends with a line end; what follows the last one is nothing.
            if !line.trim_ascii().is_empty() {
                self.out.extend_from_slice(line);
                self.out.extend_from_slice(b"\r\n");
            }
        }
        if !self.out.ends_with(b"\n") {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn field(&mut self, name: &str, value: &str) {
        let value = value.replace(['\r', '\n'], " ");
        self.field_raw(name, &folded(name, &value));
    }

    fn field_raw(&mut self, name: &str, value: &str) {
        self.out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
}

fn type_of(part: &MessagePart<'_>, otherwise: &str) -> String {
    match part.content_type() {
        Some(kind) => match kind.subtype() {
            Some(subtype) => format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase(),
            None => otherwise.to_owned(),
        },
        None => otherwise.to_owned(),
    }
}

/// Names and addresses, written anew.
fn people(addresses: &Address<'_>) -> String {
    let people = addresses.iter().map(|one| match (one.name(), one.address()) {
        (Some(name), Some(address)) if name.is_ascii() => {
            format!("\"{}\" <{address}>", name.replace(['"', '\\'], " "))
        }
        (Some(name), Some(address)) => format!("{} <{address}>", word(name)),
        (None, Some(address)) => address.to_owned(),
        (Some(name), None) => phrase(name),
        (None, None) => String::new(),
    });
    people.filter(|one| !one.is_empty()).collect::<Vec<_>>().join(", ")
}

fn phrase(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") { text.to_owned() } else { word(text) }
}

/// HTML says its new charset.
fn with_charset(html: &str) -> String {
    let meta = "<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">";
    match html.to_ascii_lowercase().find("<head>") {
        Some(at) => format!("{}\r\n{meta}{}", &html[..at + 6], &html[at + 6..]),
        None => html.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MAIL: &str = "Received: from a by b;\r\n\tTue, 1 Sep 2020 10:00:00 +0200\r\n\
        Subject: =?iso-8859-1?q?Gr=FC=DFe?= to\r\n you\r\nX-Mine: kept\r\n\
        From: =?utf-8?b?SsO2cmc=?= <j@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0200\r\n\
        Message-ID: <a@contoso.edu>\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Hello  \r\n--x\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        AAEC\r\nAwQ=\r\n--x--\r\n";

    #[test]
    fn other_bytes_say_the_same() {
        let anew = rewritten(MAIL.as_bytes(), 7);
        assert_eq!(anew, rewritten(MAIL.as_bytes(), 7));
        let (before, after) =
            (MessageParser::new().parse(MAIL).unwrap(), MessageParser::new().parse(&anew).unwrap());
        assert_eq!(after.subject(), Some("Grüße to you"));
        assert_eq!(before.date().unwrap().to_timestamp(), after.date().unwrap().to_timestamp());
        assert_eq!(before.message_id(), after.message_id());
        assert_eq!(after.from().unwrap().first().unwrap().name(), Some("Jörg"));
        assert_eq!(after.attachment(0).unwrap().contents(), [0, 1, 2, 3, 4]);
        assert_eq!(after.body_text(0).unwrap().trim_end(), "Hello");
        let text = String::from_utf8(anew).unwrap();
        assert!(
            !text.contains("boundary=x") && text.contains("X-Mine: kept") && text.contains("X-MS-Exchange-"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() < 1000), "{text}");
    }

    #[test]
    fn without_an_id_one_is_invented() {
        let anew = rewritten(b"Subject: x\r\n\r\nbody\r\n", 9);
        assert!(String::from_utf8(anew).unwrap().contains("Message-ID: <STANDIN00000009@"));
    }
}
