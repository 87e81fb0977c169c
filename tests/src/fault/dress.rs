//! What makes a Dovecot look like Exchange Online to its clients. Pure: lines in, lines out.

use bytes::Bytes;

/// Whose manners the relay shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dress {
    /// The server's own, byte for byte.
    Plain,
    /// Exchange Online's.
    Exchange,
}

const BEFORE_LOGIN: &str = "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";
const AFTER_LOGIN: &str = "IMAP4 IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES \
     CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+";
const FLAGS: &str = "\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent";

/// Longest command line, without literals.
const LINE_LIMIT: usize = 4096;

/// What Exchange answers instead of its mail store, if it does: the text after the tag.
pub fn refusal(line: &[u8], verb: &str, authenticated: bool) -> Option<String> {
    if line.len() > LINE_LIMIT {
        return Some("BAD Command Error. 10".to_owned());
    }
    let text = unquoted(&String::from_utf8_lossy(line)).to_ascii_uppercase();
    match verb {
        "LOGIN" => Some("NO LOGIN failed.".to_owned()),
        "AUTHENTICATE" if !text.contains(" XOAUTH2") => Some("NO AUTHENTICATE failed.".to_owned()),
        "STARTTLS" | "ENABLE" | "COMPRESS" | "SORT" | "THREAD" | "NOTIFY" | "GETMETADATA" => {
            Some("BAD Command Error. 12".to_owned())
        }
        "LIST" if text.contains(" RETURN ") || text.contains("LIST (") => {
            Some("BAD Command Argument Error. 12".to_owned())
        }
        "SELECT" | "EXAMINE" if text.contains("(CONDSTORE") || text.contains("(QRESYNC") => {
            Some("BAD Command Argument Error. 12".to_owned())
        }
        "STATUS" if text.contains("HIGHESTMODSEQ") => Some("BAD Command Argument Error. 12".to_owned()),
        "FETCH" | "UID FETCH" if text.contains("MODSEQ") || text.contains("CHANGEDSINCE") => {
            Some("BAD Command Argument Error. 12".to_owned())
        }
        "SEARCH" | "UID SEARCH" if text.contains(" RETURN ") || text.contains("KEYWORD ") => {
            Some("BAD Command Argument Error. 11".to_owned())
        }
        "STORE" | "UID STORE" if text.contains("UNCHANGEDSINCE") => {
            Some("BAD Command Argument Error. 12".to_owned())
        }
        "STORE" | "UID STORE" | "APPEND" if authenticated && names_keyword(&text) => {
            Some("BAD Command Argument Error. 11".to_owned())
        }
        _ => None,
    }
}

/// The line without what stands in quotes: folder names and dates may contain anything.
fn unquoted(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Whether the last parenthesised list of the line (or what follows FLAGS) names a flag that is no system flag.
fn names_keyword(upper: &str) -> bool {
    let list = match (upper.rfind('('), upper.rfind(')')) {
        (Some(open), Some(close)) if open < close => &upper[open + 1..close],
        _ => match upper.find("FLAGS") {
            Some(at) => upper[at..].split_once(' ').map_or("", |(_, list)| list),
            None => return false,
        },
    };
    let allowed = FLAGS.to_ascii_uppercase();
    list.split_whitespace().any(|flag| !allowed.split(' ').any(|known| known == flag))
}

/// A server line as Exchange would say it, without the capabilities in `hidden`; `None`: it would not say it.
pub fn server_line(line: &Bytes, authenticated: bool, hidden: &[String]) -> Option<Bytes> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(_) => return Some(line.clone()),
    };
    let upper = text.to_ascii_uppercase();
    if upper.starts_with("* CAPABILITY") {
        let words = if authenticated { AFTER_LOGIN } else { BEFORE_LOGIN };
        let shown = words.split(' ').filter(|word| !hidden.iter().any(|hidden| hidden == word));
        return Some(Bytes::from(format!("* CAPABILITY {}\r\n", shown.collect::<Vec<_>>().join(" "))));
    }
    if upper.starts_with("* OK [HIGHESTMODSEQ") || upper.starts_with("* ENABLED") {
        return None;
    }
    if upper.starts_with("* OK [PERMANENTFLAGS (") && !upper.contains("()") {
        return Some(Bytes::from(format!("* OK [PERMANENTFLAGS ({FLAGS})] Permanent flags\r\n")));
    }
    if upper.starts_with("* FLAGS (") {
        return Some(Bytes::from(format!("* FLAGS ({FLAGS})\r\n")));
    }
    if upper.starts_with("* OK [CAPABILITY") {
        return Some(Bytes::from_static(
            b"* OK The Microsoft Exchange IMAP4 service is ready. [TQBhAGkAbABmAGUAcgByAHkA]\r\n",
        ));
    }
    Some(line.clone())
}

/// The line with another RFC822.SIZE in it, if there is one: what Exchange reckons a message might have.
pub fn estimated(line: Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(&line) else { return line };
    let Some((before, after)) = text.split_once("RFC822.SIZE ") else { return line };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let Ok(size) = after[..end].parse::<u64>() else { return line };
    Bytes::from(format!("{before}RFC822.SIZE {}{}", size + size / 3 + 700, &after[end..]))
}

/// The text of a tagged answer (after the tag) as Exchange words it.
pub fn answer(verb: &str, text: &str) -> String {
    match verb {
        "AUTHENTICATE" if text.starts_with("OK") => "OK AUTHENTICATE completed.".to_owned(),
        "AUTHENTICATE" => "NO AUTHENTICATE failed.".to_owned(),
        "SELECT" | "EXAMINE" => text.replace("[NOMODSEQ] ", ""),
        "EXPUNGE" | "UID EXPUNGE" if text.starts_with("OK [HIGHESTMODSEQ") => {
            "OK EXPUNGE completed.".to_owned()
        }
        "CREATE" if text.starts_with("NO [ALREADYEXISTS]") => "NO Mailbox already exists".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_refused_and_system_flags_are_not() {
        let refused = |line: &str, verb| refusal(line.as_bytes(), verb, true).is_some();
        assert!(refused("a UID STORE 1:3 +FLAGS.SILENT (\\Seen $Forwarded)\r\n", "UID STORE"));
        assert!(refused("a STORE 1 +FLAGS Work\r\n", "STORE"));
        assert!(!refused("a STORE 1 +FLAGS.SILENT \\Flagged\r\n", "STORE"));
        assert!(!refused(
            "a APPEND \"Sent Items\" (\\Seen) \" 1-Jul-2020 10:00:00 +0000\" {5}\r\n",
            "APPEND"
        ));
        assert!(!refused("a APPEND INBOX \" 1-Jul-2020 10:00:00 +0000\" {5}\r\n", "APPEND"));
        assert!(!refused("a APPEND \"Old (flags x)\" {5}\r\n", "APPEND"));
        assert!(refused("a APPEND INBOX (\\Seen Work) {5+}\r\n", "APPEND"));
    }

    #[test]
    fn nothing_of_condstore_is_shown() {
        assert_eq!(server_line(&Bytes::from_static(b"* OK [HIGHESTMODSEQ 5] Highest\r\n"), true, &[]), None);
        let flags = server_line(&Bytes::from_static(b"* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\n"), true, &[]);
        assert!(!String::from_utf8_lossy(&flags.unwrap_or_default()).contains("\\*"));
    }
}
