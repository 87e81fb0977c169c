//! Encodings, written anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Base64 in lines of 76.
pub fn base64_lines(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 3 * 4 + bytes.len() / 27 + 8);
    for line in bytes.chunks(57) {
        STANDARD.encode_string(line, &mut text);
        text.push_str("\r\n");
    }
    text
}

/// Quoted-printable (RFC 2045 section 6.7) of a text whose lines end with CRLF.
pub fn quoted_printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive("\r\n") {
        let (line, end) = match line.strip_suffix("\r\n") {
            Some(line) => (line, "\r\n"),
            None => (line, ""),
        };
        let mut width = 0;
        for (at, byte) in line.bytes().enumerate() {
            let last = at + 1 == line.len();
            let plain = matches!(byte, b'!'..=b'<' | b'>'..=b'~') || (byte == b' ' || byte == b'\t') && !last;
            let needed = if plain { 1 } else { 3 };
            if width + needed > 75 {
                out.push_str("=\r\n");
                width = 0;
            }
            if plain {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("={byte:02X}"));
            }
            width += needed;
        }
        out.push_str(end);
    }
    out
}

/// Encoded words (RFC 2047) of a text: as many as it takes.
pub fn word(text: &str) -> String {
    let mut words = Vec::new();
    let mut part = String::new();
    for c in text.chars() {
        if part.len() + c.len_utf8() > 42 {
            words.push(std::mem::take(&mut part));
        }
        part.push(c);
    }
    if !part.is_empty() {
        words.push(part);
    }
    let words = words.iter().map(|part| format!("=?utf-8?B?{}?=", STANDARD.encode(part)));
    words.collect::<Vec<_>>().join(" ")
}

/// A field's value, folded at blanks so that lines stay below 76 where that can be.
pub fn folded(name: &str, value: &str) -> String {
    let mut out = String::new();
    let mut width = name.len() + 2;
    for (at, piece) in value.split(' ').enumerate() {
        if at > 0 {
            if width + piece.len() + 1 > 76 && !piece.is_empty() {
                out.push_str("\r\n");
                width = 0;
            }
            out.push(' ');
            width += 1;
        }
        out.push_str(piece);
        width += piece.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_decode_to_what_they_were() {
        let text = format!("{} = ä \r\nend ", "long ".repeat(40));
        let encoded = quoted_printable(&text);
        assert!(encoded.lines().all(|line| line.len() <= 76), "{encoded}");
        let decoded = mail_parser::decoders::quoted_printable::quoted_printable_decode(encoded.as_bytes());
        assert_eq!(decoded.as_deref(), Some(text.as_bytes()));
        assert!(base64_lines(&[7; 1000]).lines().all(|line| line.len() <= 76));
        assert!(word(&"ü".repeat(100)).split(' ').all(|word| word.len() <= 75));
        assert_eq!(folded("Subject", &"word ".repeat(30)).replace("\r\n", ""), "word ".repeat(30));
    }
}
