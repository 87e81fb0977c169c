//! Client lines that every source reads alike. Of any other the tap says nothing: a source that reads it otherwise may open
//! another folder, or make the session somebody else's, behind our back.

use mailferry_imap::command::Command;
use mailferry_imap::frame::Literal;
use mailferry_imap::token::Part;

/// Whether a line's text is read alike: no control characters but tabs in quoted strings (a source may take a tab for a
/// blank, or NUL for the end), and at its end nothing that may announce a literal after all, as `{5 }` does.
pub(super) fn is_plain(text: &[u8], literal: Option<Literal>) -> bool {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if literal.is_none() && text.trim_ascii_end().ends_with(b"}") {
        return false;
    }
    let (mut before, mut quoted) = (0, false);
    text.iter().all(|byte| {
        let (was, escaped) = (before, quoted && before == b'\\');
        before = if escaped { 0 } else { *byte };
        match byte {
            b'"' if quoted => quoted = escaped,
            b'"' => quoted = matches!(was, b' ' | b'('),
            b'\t' => return quoted,
            byte => return !byte.is_ascii_control(),
        }
        true
    })
}

/// Whether a complete command is one: tag and name written as they are to be, or one of the things that are none.
pub(super) fn is_sure(command: Option<&Command>, parts: &[Part]) -> bool {
    match (command, parts.first()) {
        (Some(command), Some(Part::Text(first))) => {
            !first.starts_with(b" ")
                && command.tag.iter().all(is_of_tag)
                && command.verb.bytes().all(is_of_verb)
        }
        _ => is_none(parts),
    }
}

/// RFC 3501 section 9: any ASTRING-CHAR but `+`.
fn is_of_tag(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !br#"(){%*"\+"#.contains(byte)
}

fn is_of_verb(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" -_.".contains(&byte)
}

/// `DONE`, and the empty line that some clients send behind a literal.
fn is_none(parts: &[Part]) -> bool {
    match parts {
        [Part::Text(text)] => {
            let text = text.trim_ascii();
            text.is_empty() || text.eq_ignore_ascii_case(b"DONE")
        }
        _ => false,
    }
}
