//! What people recognise a skipped message by.

use mail_parser::{HeaderName, MessageParser};
use mailferry_ledger::SkippedFacts;

/// The longest text that is kept of each, in characters.
const MAX_TEXT: usize = 200;

/// From a message's header.
pub(crate) fn facts_of(header: &[u8]) -> SkippedFacts {
    let Some(message) = MessageParser::new().parse_headers(header) else { return SkippedFacts::default() };
    let sender =
        message.from().and_then(|from| from.first()).map(|from| match (from.name(), from.address()) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => String::new(),
        });
    SkippedFacts {
        subject: short(message.subject().unwrap_or_default()),
        sender: short(&sender.unwrap_or_default()),
        date: short(message.header_raw(HeaderName::Date).unwrap_or_default()),
    }
}

fn short(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_and_short() {
        let header = b"From: =?utf-8?q?J=C3=B6rg?= <j@b.example>\r\nSubject: =?utf-8?b?w4RwZmVs?=\r\n\
            Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\n";
        let facts = facts_of(header);
        assert_eq!(facts.subject, "Äpfel");
        assert_eq!(facts.sender, "Jörg <j@b.example>");
        assert_eq!(facts.date, "Mon, 1 Jan 2024 00:00:00 +0000");
        assert_eq!(facts_of(b""), SkippedFacts::default());
    }
}
