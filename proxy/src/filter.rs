//! Capability lists: the only bytes of the source that the proxy ever changes.
//!
//! Taken out is what cannot be honoured through a proxy: `COMPRESS` (the relay must be able to see lines), SASL
//! mechanisms with channel binding or the client's certificate (`SCRAM-*-PLUS`, `EXTERNAL`: the channel ends here), referrals
//! (they lead around the proxy), `UNAUTHENTICATE` (a second login would be nobody's that we know) and the source's `STARTTLS`
//! (TLS with the client is ours). Order, case and everything else stay as they are.

use std::ops::Range;

/// What the client's leg is like, which decides about `STARTTLS` and logins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leg {
    /// Encrypted, or plain because the listener is configured so.
    Open,
    /// Plain on a listener that wants STARTTLS: it is announced, logins are not (RFC 9051 section 6.2.1), nor literals that
    /// come unasked: they are not taken there.
    BeforeStartTls,
}

/// The line with its capability list filtered, or `None` when it stays as it is.
pub(crate) fn filtered(line: &[u8], leg: Leg) -> Option<Vec<u8>> {
    let Range { start, end } = list_range(line)?;
    let list = &line[start..end];
    let mut kept = Vec::with_capacity(line.len() + 24);
    kept.extend_from_slice(&line[..start]);
    for item in list.split_inclusive(|byte| *byte == b' ') {
        let name = item.strip_suffix(b" ").unwrap_or(item);
        if honoured(name, leg) {
            kept.extend_from_slice(item);
        }
    }
    // Where the last item went, its leading space is still there.
    while kept.len() > start && kept.last() == Some(&b' ') && list.last() != Some(&b' ') {
        kept.pop();
    }
    if leg == Leg::BeforeStartTls {
        if kept.last() != Some(&b' ') {
            kept.push(b' ');
        }
        kept.extend_from_slice(b"STARTTLS LOGINDISABLED");
    }
    kept.extend_from_slice(&line[end..]);
    (kept != line).then_some(kept)
}

/// The capability list that a line carries.
pub(crate) fn list(line: &[u8]) -> Option<&[u8]> {
    line.get(list_range(line)?)
}

/// Where it stands.
pub(crate) fn list_range(line: &[u8]) -> Option<Range<usize>> {
    let start = list_start(line)?;
    let end = line[start..].iter().position(|byte| matches!(byte, b'\r' | b'\n' | b']'))? + start;
    Some(start..end)
}

/// Whether a line that begins with these bytes carries a capability list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carries {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// More bytes will tell.
    Perhaps,
}

/// Looks at the first bytes of a line, which may be cut anywhere.
pub(crate) fn carries_list(start: &[u8]) -> Carries {
    match place(start) {
        Place::At(_) => Carries::Yes,
        Place::Nowhere => Carries::No,
        Place::Undecided => Carries::Perhaps,
    }
}

fn list_start(line: &[u8]) -> Option<usize> {
    match place(line) {
        Place::At(start) => Some(start),
        Place::Nowhere | Place::Undecided => None,
    }
}

enum Place {
    At(usize),
    Nowhere,
    Undecided,
}

/// Finds the first byte of the list: after `* CAPABILITY ` or `<tag or *> <status> [CAPABILITY `, with any number of blanks
/// between the words, and none before the bracket, as lenient clients read them.
fn place(line: &[u8]) -> Place {
    if line.first() == Some(&b'+') {
        return Place::Nowhere;
    }
    let Some(space) = memchr::memchr2(b' ', b'\n', line) else { return Place::Undecided };
    if space == 0 || line[space] == b'\n' {
        return Place::Nowhere;
    }
    let at = behind_blanks(line, space);
    let untagged = &line[..space] == b"*";
    let statuses: &[&[u8]] =
        if untagged { &[b"OK", b"NO", b"BAD", b"PREAUTH", b"BYE"] } else { &[b"OK", b"NO", b"BAD"] };
    let mut decided = if untagged { word(line, at, b"CAPABILITY ") } else { Place::Nowhere };
    for status in statuses {
        match (word(line, at, status), &decided) {
            (Place::At(end), _) => return word(line, behind_blanks(line, end), b"[CAPABILITY "),
            (Place::Undecided, Place::Nowhere) => decided = Place::Undecided,
            (Place::Undecided | Place::Nowhere, _) => {}
        }
    }
    decided
}

fn behind_blanks(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|byte| **byte == b' ').count()
}

/// Where the line goes on behind a word that may stand at this place.
fn word(line: &[u8], at: usize, word: &[u8]) -> Place {
    let length = word.len().min(line.len() - at);
    match line[at..at + length].eq_ignore_ascii_case(&word[..length]) {
        true if length == word.len() => Place::At(at + length),
        true => Place::Undecided,
        false => Place::Nowhere,
    }
}

fn honoured(name: &[u8], leg: Leg) -> bool {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    let begins =
        |prefix: &[u8]| name.len() >= prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix);
    let channel_bound =
        begins(b"AUTH=") && name.len() > 5 && name[name.len() - 5..].eq_ignore_ascii_case(b"-PLUS");
    let unsafe_here = leg == Leg::BeforeStartTls
        && (begins(b"AUTH=") || is(b"LOGINDISABLED") || is(b"LITERAL+") || is(b"LITERAL-"));
    !(is(b"COMPRESS")
        || begins(b"COMPRESS=")
        || channel_bound
        || is(b"AUTH=EXTERNAL")
        || is(b"LOGIN-REFERRALS")
        || is(b"MAILBOX-REFERRALS")
        || is(b"STARTTLS")
        || is(b"UNAUTHENTICATE")
        || unsafe_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(line: &str) -> String {
        filtered(line.as_bytes(), Leg::Open)
            .map_or_else(|| "same".to_owned(), |line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn what_cannot_be_honoured_goes_and_nothing_else() {
        assert_eq!(open("* CAPABILITY IMAP4rev1 IDLE\r\n"), "same");
        assert_eq!(
            open("* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE\r\n"),
            "* CAPABILITY IMAP4rev1 IDLE\r\n"
        );
        assert_eq!(open("* CAPABILITY IMAP4rev1 compress=deflate\r\n"), "* CAPABILITY IMAP4rev1\r\n");
        assert_eq!(
            open(
                "* ok [CAPABILITY IMAP4rev1 STARTTLS AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-256-PLUS] hello ] COMPRESS=DEFLATE\r\n"
            ),
            "* ok [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256] hello ] COMPRESS=DEFLATE\r\n"
        );
        assert_eq!(
            open("a1 OK [CAPABILITY IMAP4rev1 LOGIN-REFERRALS MAILBOX-REFERRALS] in\r\n"),
            "a1 OK [CAPABILITY IMAP4rev1] in\r\n"
        );
        assert_eq!(
            open("* CAPABILITY AUTH=External AUTH=EXTERNALS LITERAL+\r\n"),
            "* CAPABILITY AUTH=EXTERNALS LITERAL+\r\n"
        );
        assert_eq!(open("a1 OK [CAPABILITY Unauthenticate IDLE] in\r\n"), "a1 OK [CAPABILITY IDLE] in\r\n");
        assert_eq!(
            open("* PREAUTH [CAPABILITY COMPRESS=DEFLATE IMAP4rev1] x\r\n"),
            "* PREAUTH [CAPABILITY IMAP4rev1] x\r\n"
        );
    }

    #[test]
    fn a_list_is_found_behind_long_tags_and_doubled_blanks() {
        let tag = "t".repeat(500);
        assert_eq!(
            open(&format!("{tag} OK [CAPABILITY A COMPRESS=DEFLATE] x\r\n")),
            format!("{tag} OK [CAPABILITY A] x\r\n")
        );
        assert_eq!(open("*  CAPABILITY A COMPRESS=DEFLATE\r\n"), "*  CAPABILITY A\r\n");
        assert_eq!(open("* CAPABILITY  COMPRESS=DEFLATE  A\r\n"), "* CAPABILITY   A\r\n");
        assert_eq!(open("a  OK   [CAPABILITY A STARTTLS] x\r\n"), "a  OK   [CAPABILITY A] x\r\n");
        assert_eq!(open("* OK[CAPABILITY A STARTTLS] x\r\n"), "* OK[CAPABILITY A] x\r\n");
    }

    #[test]
    fn a_list_is_found_with_every_status() {
        for status in ["OK", "NO", "BAD", "PREAUTH", "BYE"] {
            assert_eq!(
                open(&format!("* {status} [CAPABILITY A COMPRESS=DEFLATE] x\r\n")),
                format!("* {status} [CAPABILITY A] x\r\n")
            );
        }
        for status in ["OK", "NO", "BAD"] {
            assert_eq!(
                open(&format!("a {status} [CAPABILITY A COMPRESS] x\r\n")),
                format!("a {status} [CAPABILITY A] x\r\n")
            );
        }
        assert_eq!(open("a BYE [CAPABILITY A COMPRESS] x\r\n"), "same", "no answer begins like that");
    }

    #[test]
    fn text_that_only_looks_like_a_list_stays() {
        assert_eq!(open("* OK see [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE]\r\n"), "same");
        assert_eq!(open("* LIST () \"/\" COMPRESS=DEFLATE\r\n"), "same");
        assert_eq!(open("* CAPABILITYX COMPRESS=DEFLATE\r\n"), "same");
        assert_eq!(open("+ CAPABILITY COMPRESS=DEFLATE\r\n"), "same");
        assert_eq!(open("* CAPABILITY XCOMPRESS=DEFLATE X-STARTTLS\r\n"), "same");
    }

    #[test]
    fn before_starttls_no_login_is_announced() {
        let line =
            b"* CAPABILITY IMAP4rev1 LITERAL+ Literal- SASL-IR AUTH=PLAIN AUTH=LOGIN COMPRESS=DEFLATE\r\n";
        let kept = filtered(line, Leg::BeforeStartTls).unwrap();
        assert_eq!(kept, b"* CAPABILITY IMAP4rev1 SASL-IR STARTTLS LOGINDISABLED\r\n");
    }

    #[test]
    fn a_cut_line_is_undecided_for_no_longer_than_it_must() {
        let tag = "t".repeat(1000);
        let tagged = format!("{tag}  no  [CAPABILITY ");
        for line in [
            "* CAPABILITY ",
            "* OK [CAPABILITY ",
            "tag OK [capability ",
            "*   Capability ",
            "* OK[CAPABILITY ",
            &tagged,
        ] {
            for cut in 0..line.len() {
                assert_eq!(carries_list(&line.as_bytes()[..cut]), Carries::Perhaps, "{}", &line[..cut]);
            }
            assert_eq!(carries_list(line.as_bytes()), Carries::Yes);
        }
        for line in
            ["* 1", "* OK [U", "+", "+ x", "a OK x", "a\r\n", "* LIST", " x", "+x OK [", "* OKAY", "* OK  x"]
        {
            assert_eq!(carries_list(line.as_bytes()), Carries::No, "{line}");
        }
    }
}
