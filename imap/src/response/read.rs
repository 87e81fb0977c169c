//! Reading of responses.

use bytes::Bytes;

use super::{
    Code, ESearch, Earlier, Fetched, FolderStatus, Listed, Namespace, Namespaces, NewKeywords, Response,
    Status, StatusText,
};
use crate::token::{Cursor, Part, Text, digits};
use crate::{Capabilities, Flags, FolderName, InternalDate, ModSeq, Uid, UidSet, UidValidity};

/// Flags of one list beyond this are left out: no honest folder has so many, and keeping them sorted is not free.
const MAX_FLAGS: usize = 1_000;

pub(super) fn response(parts: &[Part]) -> Response {
    let mut cursor = Cursor::new(parts);
    let line = cursor.rest();
    match cursor.peek() {
        Some(b'+') => {
            cursor.eat(b'+');
            cursor.skip_blanks();
            Response::Continue(cursor.rest())
        }
        Some(b'*') => {
            cursor.eat(b'*');
            cursor.skip_blanks();
            untagged(&mut cursor).unwrap_or(Response::Other(line))
        }
        // Exchange 2014 left the `* OK` out.
        Some(b'[') => Response::Status(status_text(Status::Ok, line)),
        Some(_) => tagged(&mut cursor).unwrap_or(Response::Other(line)),
        None => Response::Other(line),
    }
}

fn tagged(cursor: &mut Cursor<'_>) -> Option<Response> {
    let tag = cursor.atom()?;
    cursor.skip_blanks();
    let word = status_word(cursor)?;
    let status = status(&word)?;
    Some(Response::Tagged { tag, text: status_text(status, cursor.rest()) })
}

fn status(word: &[u8]) -> Option<Status> {
    [(b"OK".as_slice(), Status::Ok), (b"NO", Status::No), (b"BAD", Status::Bad)]
        .into_iter()
        .find_map(|(known, status)| known.eq_ignore_ascii_case(word).then_some(status))
}

/// A word that a bracket ends as well: `OK[ALERT]`.
fn status_word(cursor: &mut Cursor<'_>) -> Option<Bytes> {
    let rest = cursor.rest();
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let word = rest.slice(..length);
    (length > 0 && word.iter().all(|byte| cursor.eat(*byte))).then_some(word)
}

fn untagged(cursor: &mut Cursor<'_>) -> Option<Response> {
    if let Some(number) = cursor.number() {
        cursor.skip_blanks();
        let number = u32::try_from(number).ok()?;
        let word = cursor.atom()?;
        cursor.skip_blanks();
        return match word.to_ascii_uppercase().as_slice() {
            b"FETCH" => {
                let mut fetched = Fetched { seq: number, ..Fetched::default() };
                fetch_items(cursor, &mut fetched)?;
                Some(Response::Fetch(Box::new(fetched)))
            }
            b"EXISTS" => Some(Response::Exists(number)),
            b"EXPUNGE" => Some(Response::Expunge(number)),
            b"RECENT" => Some(Response::Recent(number)),
            _ => None,
        };
    }
    let word = status_word(cursor)?.to_ascii_uppercase();
    if let Some(status) = status(&word) {
        return Some(Response::Status(status_text(status, cursor.rest())));
    }
    cursor.skip_blanks();
    match word.as_slice() {
        b"BYE" => Some(Response::Bye(status_text(Status::No, cursor.rest()))),
        b"PREAUTH" => Some(Response::PreAuth(status_text(Status::Ok, cursor.rest()))),
        b"CAPABILITY" => Some(Response::Capability(Capabilities::parse(&cursor.rest()))),
        b"ENABLED" => Some(Response::Enabled(Capabilities::parse(&cursor.rest()))),
        b"FLAGS" => flag_list(cursor).map(|(flags, _)| Response::Flags(flags)),
        b"LIST" | b"LSUB" | b"XLIST" => listed(cursor).map(Response::List),
        b"STATUS" => folder_status(cursor).map(Response::FolderStatus),
        b"SEARCH" => search(cursor).map(Response::Search),
        b"ESEARCH" => esearch(cursor).map(Response::ESearch),
        b"VANISHED" => vanished(cursor),
        b"NAMESPACE" => namespaces(cursor).map(Response::Namespace),
        _ => None,
    }
}

fn status_text(status: Status, rest: Bytes) -> StatusText {
    let rest = rest.trim_ascii();
    let (code, text) = match bracketed(rest) {
        Some((inner, text)) => (Some(code(inner)), text),
        None => (None, rest),
    };
    StatusText { status, code, text: String::from_utf8_lossy(text.trim_ascii()).into_owned() }
}

/// What stands in the brackets, and what follows them.
fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    // A keyword may have a bracket in it, although it must not.
    let end = if starts_with_word(inner, b"PERMANENTFLAGS") {
        memchr::memmem::find(inner, b")]").map(|at| at + 1)
    } else {
        None
    };
    let end = end.or_else(|| memchr::memchr(b']', inner))?;
    Some((&inner[..end], &inner[end + 1..]))
}

fn starts_with_word(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

fn code(inner: &[u8]) -> Code {
    known_code(inner).unwrap_or_else(|| Code::Other(String::from_utf8_lossy(inner).into_owned()))
}

fn known_code(inner: &[u8]) -> Option<Code> {
    let inner = inner.trim_ascii();
    let at = inner.iter().position(u8::is_ascii_whitespace).unwrap_or(inner.len());
    let (word, rest) = inner.split_at(at);
    let rest = rest.trim_ascii();
    let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut next = || words.next();
    match word.to_ascii_uppercase().as_slice() {
        b"ALREADYEXISTS" => Some(Code::AlreadyExists),
        b"APPENDUID" => Some(Code::AppendUid(validity(next()?)?, UidSet::parse(next()?)?)),
        b"CAPABILITY" => Some(Code::Capability(Capabilities::parse(rest))),
        b"COPYUID" => {
            let (validity, source, target) = (validity(next()?)?, next()?, next()?);
            UidSet::parse(source)?;
            UidSet::parse(target)?;
            Some(Code::CopyUid(
                validity,
                str::from_utf8(source).ok()?.into(),
                str::from_utf8(target).ok()?.into(),
            ))
        }
        b"HIGHESTMODSEQ" => Some(Code::HighestModSeq(ModSeq(digits(rest)?))),
        b"NOMODSEQ" => Some(Code::NoModSeq),
        b"PERMANENTFLAGS" => {
            let parts = [Part::Text(Bytes::copy_from_slice(rest))];
            flag_list(&mut Cursor::new(&parts)).map(|(flags, new)| Code::PermanentFlags(flags, new))
        }
        b"READ-ONLY" => Some(Code::ReadOnly),
        b"READ-WRITE" => Some(Code::ReadWrite),
        b"THROTTLED" => Some(Code::Throttled),
        b"TRYCREATE" => Some(Code::TryCreate),
        b"UIDNEXT" => Some(Code::UidNext(uid(rest)?)),
        b"UIDVALIDITY" => Some(Code::UidValidity(validity(rest)?)),
        b"UNSEEN" => Some(Code::Unseen(small(rest)?)),
        _ => None,
    }
}

fn small(number: &[u8]) -> Option<u32> {
    u32::try_from(digits(number)?).ok()
}

fn uid(number: &[u8]) -> Option<Uid> {
    Uid::new(small(number)?)
}

fn validity(number: &[u8]) -> Option<UidValidity> {
    UidValidity::new(small(number)?)
}

fn flag_list(cursor: &mut Cursor<'_>) -> Option<(Flags, NewKeywords)> {
    let mut flags = Flags::default();
    let mut new = NewKeywords::Refused;
    let mut count = 0;
    if !cursor.eat(b'(') {
        return None;
    }
    loop {
        cursor.skip_blanks();
        if cursor.eat(b')') {
            return Some((flags, new));
        }
        let flag = match cursor.peek()? {
            b'"' => cursor.quoted()?,
            _ => cursor.atom()?,
        };
        count += 1;
        if flag.as_ref() == b"\\*" {
            new = NewKeywords::Allowed;
        } else if count <= MAX_FLAGS {
            flags.insert_wire(&String::from_utf8_lossy(&flag));
        }
    }
}

/// The items of a FETCH; `None` only where it is no list at all.
fn fetch_items(cursor: &mut Cursor<'_>, fetched: &mut Fetched) -> Option<()> {
    if !cursor.eat(b'(') {
        return None;
    }
    while fetch_item(cursor, fetched).is_some() {}
    Some(())
}

/// One item. `None` at the end, or where it does not read.
fn fetch_item(cursor: &mut Cursor<'_>, fetched: &mut Fetched) -> Option<()> {
    cursor.skip_blanks();
    let name = cursor.item_name()?;
    cursor.skip_blanks();
    if name.eq_ignore_ascii_case(b"UID") {
        fetched.uid = number_or_skip(cursor)?.and_then(|uid| Uid::new(u32::try_from(uid).ok()?));
    } else if name.eq_ignore_ascii_case(b"FLAGS") {
        fetched.flags = Some(flag_list(cursor)?.0);
    } else if name.eq_ignore_ascii_case(b"INTERNALDATE") {
        match cursor.string()? {
            Text::Bytes(date) => fetched.internal_date = InternalDate::parse(&date),
            Text::Nil | Text::Streamed { .. } => {}
        }
    } else if name.eq_ignore_ascii_case(b"RFC822.SIZE") {
        fetched.size = number_or_skip(cursor)?;
    } else if name.eq_ignore_ascii_case(b"MODSEQ") {
        let in_list = cursor.eat(b'(');
        fetched.modseq = Some(ModSeq(cursor.number()?));
        if in_list && !cursor.eat(b')') {
            return None;
        }
    } else {
        match cursor.peek() {
            Some(b'"') | None => {
                let text = cursor.string()?;
                if let Text::Bytes(bytes) = text {
                    fetched.sections.push((String::from_utf8_lossy(&name).to_ascii_uppercase(), bytes));
                }
            }
            Some(_) => cursor.skip_value()?,
        }
    }
    Some(())
}

/// A number, or `None` where something else stands in its place; the outer `None` where nothing does.
fn number_or_skip(cursor: &mut Cursor<'_>) -> Option<Option<u64>> {
    let number = cursor.number();
    if number.is_none() {
        cursor.skip_value()?;
    }
    Some(number)
}

pub(super) fn fetch_so_far(parts: &[Part]) -> Option<(Fetched, String)> {
    let mut cursor = Cursor::new(parts);
    if !cursor.eat(b'*') {
        return None;
    }
    cursor.skip_blanks();
    let seq = u32::try_from(cursor.number()?).ok()?;
    cursor.skip_blanks();
    if !cursor.atom()?.eq_ignore_ascii_case(b"FETCH") {
        return None;
    }
    cursor.skip_blanks();
    if !cursor.eat(b'(') {
        return None;
    }
    let mut fetched = Fetched { seq, ..Fetched::default() };
    loop {
        let before = cursor.clone();
        fetch_item(&mut cursor, &mut fetched)?;
        if cursor.is_at_end() {
            let mut cursor = before;
            cursor.skip_blanks();
            let name = cursor.item_name()?;
            return Some((fetched, String::from_utf8_lossy(&name).to_ascii_uppercase()));
        }
    }
}

fn listed(cursor: &mut Cursor<'_>) -> Option<Listed> {
    let mut attributes = Vec::new();
    if !cursor.eat(b'(') {
        return None;
    }
    loop {
        cursor.skip_blanks();
        if cursor.eat(b')') {
            break;
        }
        attributes.push(String::from_utf8_lossy(&cursor.atom()?).into_owned());
    }
    cursor.skip_blanks();
    let delimiter = delimiter(cursor)?;
    cursor.skip_blanks();
    Some(Listed { name: folder(cursor)?, delimiter, attributes })
}

fn delimiter(cursor: &mut Cursor<'_>) -> Option<Option<u8>> {
    match cursor.string()? {
        Text::Bytes(delimiter) => Some(delimiter.first().copied()),
        Text::Nil => Some(None),
        Text::Streamed { .. } => None,
    }
}

/// A folder's name at the end of a line: unquoted it may hold blanks and parentheses, although it must not.
fn folder(cursor: &mut Cursor<'_>) -> Option<FolderName> {
    match cursor.peek() {
        None | Some(b'"') => match cursor.string()? {
            Text::Bytes(name) => Some(FolderName::from_wire(name)),
            Text::Nil | Text::Streamed { .. } => None,
        },
        Some(_) => {
            let rest = cursor.rest();
            // LIST-EXTENDED puts `("CHILDINFO" (…))` behind the name.
            let end = memchr::memmem::find(&rest, b" (\"").unwrap_or(rest.len());
            let end = end - rest[..end].iter().rev().take_while(|byte| **byte == b' ').count();
            Some(FolderName::from_wire(rest.slice(..end)))
        }
    }
}

fn folder_status(cursor: &mut Cursor<'_>) -> Option<FolderStatus> {
    let name = match cursor.peek() {
        None | Some(b'"') => folder(cursor)?,
        Some(_) => {
            let rest = cursor.rest();
            let end = last_list(&rest)?;
            let name = rest.slice(..end - rest[..end].iter().rev().take_while(|byte| **byte == b' ').count());
            (0..end).for_each(|at| {
                cursor.eat(rest[at]);
            });
            FolderName::from_wire(name)
        }
    };
    let mut status = FolderStatus {
        name,
        messages: None,
        uid_next: None,
        uid_validity: None,
        unseen: None,
        highest_modseq: None,
        size: None,
    };
    cursor.skip_blanks();
    if !cursor.eat(b'(') {
        return None;
    }
    loop {
        cursor.skip_blanks();
        if cursor.eat(b')') {
            return Some(status);
        }
        let item = cursor.atom()?.to_ascii_uppercase();
        cursor.skip_blanks();
        if !cursor.peek()?.is_ascii_digit() {
            cursor.skip_value()?;
            continue;
        }
        let number = cursor.number()?;
        let small = u32::try_from(number).ok();
        match item.as_slice() {
            b"MESSAGES" => status.messages = small,
            b"UIDNEXT" => status.uid_next = small.and_then(Uid::new),
            b"UIDVALIDITY" => status.uid_validity = small.and_then(UidValidity::new),
            b"UNSEEN" => status.unseen = small,
            b"HIGHESTMODSEQ" => status.highest_modseq = Some(ModSeq(number)),
            b"SIZE" => status.size = Some(number),
            _ => {}
        }
    }
}

/// Where the list begins that ends a line.
fn last_list(line: &[u8]) -> Option<usize> {
    let mut depth = 0u32;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b')' => depth += 1,
            b'(' => depth = depth.checked_sub(1)?,
            _ => continue,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn search(cursor: &mut Cursor<'_>) -> Option<UidSet> {
    let mut numbers = Vec::new();
    loop {
        cursor.skip_blanks();
        match cursor.peek() {
            // `(MODSEQ 917162500)` ends it (RFC 7162).
            None | Some(b'(') => return Some(UidSet::from_numbers(numbers)),
            Some(_) => numbers.push(u32::try_from(cursor.number()?).ok()?),
        }
    }
}

fn esearch(cursor: &mut Cursor<'_>) -> Option<ESearch> {
    let mut found = ESearch::default();
    if cursor.eat(b'(') {
        cursor.atom()?;
        cursor.skip_blanks();
        match cursor.string()? {
            Text::Bytes(tag) => found.tag = Some(tag),
            Text::Nil | Text::Streamed { .. } => {}
        }
        if !cursor.eat(b')') {
            return None;
        }
    }
    loop {
        cursor.skip_blanks();
        let Some(item) = cursor.atom() else {
            return cursor.is_at_end().then_some(found);
        };
        if item.eq_ignore_ascii_case(b"UID") {
            continue;
        }
        cursor.skip_blanks();
        if item.eq_ignore_ascii_case(b"ALL") {
            found.all = UidSet::parse(&cursor.atom()?)?;
            continue;
        }
        if !cursor.peek()?.is_ascii_digit() {
            cursor.skip_value()?;
            continue;
        }
        let number = cursor.number()?;
        let small = u32::try_from(number).ok();
        match item.to_ascii_uppercase().as_slice() {
            b"COUNT" => found.count = small,
            b"MIN" => found.min = small,
            b"MAX" => found.max = small,
            b"MODSEQ" => found.modseq = Some(ModSeq(number)),
            _ => {}
        }
    }
}

fn vanished(cursor: &mut Cursor<'_>) -> Option<Response> {
    let mut earlier = Earlier::No;
    if cursor.eat(b'(') {
        if !cursor.atom()?.eq_ignore_ascii_case(b"EARLIER") || !cursor.eat(b')') {
            return None;
        }
        earlier = Earlier::Yes;
        cursor.skip_blanks();
    }
    Some(Response::Vanished { uids: UidSet::parse(&cursor.atom()?)?, earlier })
}

fn namespaces(cursor: &mut Cursor<'_>) -> Option<Namespaces> {
    let personal = namespace_list(cursor)?;
    let other = namespace_list(cursor)?;
    let shared = namespace_list(cursor)?;
    Some(Namespaces { personal, other, shared })
}

fn namespace_list(cursor: &mut Cursor<'_>) -> Option<Vec<Namespace>> {
    let mut list = Vec::new();
    cursor.skip_blanks();
    if !cursor.eat(b'(') {
        return matches!(cursor.string()?, Text::Nil).then_some(list);
    }
    loop {
        cursor.skip_blanks();
        if cursor.eat(b')') {
            return Some(list);
        }
        if !cursor.eat(b'(') {
            return None;
        }
        let prefix = match cursor.string()? {
            Text::Bytes(prefix) => prefix,
            Text::Nil => Bytes::new(),
            Text::Streamed { .. } => return None,
        };
        cursor.skip_blanks();
        let delimiter = delimiter(cursor)?;
        // Extensions: pairs of a name and a list.
        loop {
            cursor.skip_blanks();
            if cursor.eat(b')') {
                break;
            }
            cursor.skip_value()?;
        }
        // `INBOX.` stays as it is: FolderName only knows INBOX itself.
        list.push(Namespace { prefix: FolderName::from_wire(prefix), delimiter });
    }
}
