//! Lines before a login: where they end, which literal they announce, and whether all sources read them alike.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Literal {
    pub(super) size: u64,
    /// The client waits for the source's word.
    pub(super) sync: bool,
    /// It stands where the grammar has literals: behind a blank or a parenthesis.
    pub(super) apart: bool,
}

#[derive(Debug)]
pub(super) struct Unframable;

/// The literal that a command's line ends with: `{5}`, `{5+}`, `~{5}` (RFC 9051 section 4.3).
pub(super) fn announced(line: &[u8]) -> Result<Option<Literal>, Unframable> {
    let Some(line) = text_of(line).strip_suffix(b"}") else { return Ok(None) };
    let (line, sync) = line.strip_suffix(b"+").map_or((line, true), |line| (line, false));
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, number) = line.split_at(line.len() - digits);
    if digits == 0 || before.last() != Some(&b'{') {
        return Ok(None);
    }
    let size =
        number.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    let before = before.strip_suffix(b"{").unwrap_or(before);
    let before = before.strip_suffix(b"~").unwrap_or(before);
    let apart = matches!(before.last(), Some(b' ' | b'('));
    size.map(|size| Some(Literal { size, sync, apart })).ok_or(Unframable)
}

pub(super) enum Line {
    Cut,
    TooLong,
    Whole(usize),
}

pub(super) fn line_end(buffered: &[u8], limit: usize) -> Line {
    match memchr::memchr(b'\n', &buffered[..buffered.len().min(limit)]) {
        Some(newline) => Line::Whole(newline + 1),
        None if buffered.len() >= limit => Line::TooLong,
        None => Line::Cut,
    }
}

/// What some sources take for the end of a line, and others do not: then one command is two.
pub(super) fn has_stray_bytes(line: &[u8]) -> bool {
    memchr::memchr2(b'\r', 0, text_of(line)).is_some()
}

/// How a line begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening<'a> {
    /// With a tag, a blank and a verb that every source reads as such (RFC 9051 section 9).
    Command,
    /// It is a tag and nothing else.
    Tag(&'a [u8]),
    /// There is nothing on it.
    Blank,
    /// Otherwise. A tag `+` would make an answer a continuation; one in quotes, another tag.
    Odd,
}

pub(super) fn opening(line: &[u8]) -> Opening<'_> {
    let text = text_of(line);
    let mut words = text.splitn(3, |byte| *byte == b' ');
    let is_word = |word: &[u8]| {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\+".contains(byte);
        !word.is_empty() && word.iter().all(is_plain)
    };
    match (words.next().unwrap_or_default(), words.next()) {
        (b"", None) => Opening::Blank,
        (tag, None) if is_word(tag) => Opening::Tag(tag),
        (tag, Some(verb)) if is_word(tag) && is_word(verb) => Opening::Command,
        _ => Opening::Odd,
    }
}

/// How a command went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Ok,
    Bad,
    Other,
}

impl Status {
    /// Of what stands behind the tag.
    pub(super) fn of(text: &[u8]) -> Self {
        let status = first_word(text.strip_prefix(b" ").unwrap_or_default());
        let is = |other: &[u8]| status.eq_ignore_ascii_case(other);
        if is(b"OK") {
            Self::Ok
        } else if is(b"BAD") {
            Self::Bad
        } else {
            Self::Other
        }
    }
}

pub(super) fn first_word(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(line.len());
    &line[..end]
}

/// A line without its end.
fn text_of(line: &[u8]) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.strip_suffix(b"\r").unwrap_or(text)
}
