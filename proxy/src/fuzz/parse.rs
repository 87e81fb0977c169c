//! What reads framed lines and their words: whatever comes, it ends, and what was written comes back.

use bytes::Bytes;
use mailferry_imap::frame::{Framer, Piece};
use mailferry_imap::token::{Cursor, Part, quote};
use mailferry_imap::{Capabilities, FolderName, InternalDate, UidSet, command, response, utf7};

use super::{Cuts, Script, Side};

/// See the module.
pub fn run(input: &[u8]) {
    let script = Script::new(input);
    parts(Framer::client(), &script.said(Side::Client), |parts| {
        command::parse(parts);
    });
    parts(Framer::server(), &script.said(Side::Server), |parts| {
        response::parse(parts);
        let mut cursor = Cursor::new(parts);
        while cursor.skip_value().is_some() {}
    });
    script.chunks(Cuts::AsMarked).for_each(|(_, word)| words(&word));
}

/// Frames what one side said; literals are kept and streamed in turn.
fn parts(mut framer: Framer, said: &[u8], mut read: impl FnMut(&[Part])) {
    let (mut input, mut parts, mut literal, mut count) =
        (Bytes::copy_from_slice(said), Vec::new(), Vec::new(), 0);
    while let Ok(Some(piece)) = framer.next(&mut input) {
        match piece {
            Piece::Line { text, literal: announced } => {
                parts.push(Part::Text(text));
                match announced {
                    None => read(&std::mem::take(&mut parts)),
                    Some(announced) => {
                        parts.push(Part::Streamed { size: announced.size });
                        response::fetch_so_far(&parts);
                    }
                }
            }
            Piece::Data { bytes, left } => {
                literal.extend_from_slice(&bytes);
                if left == 0 {
                    count += 1;
                    let kept = Bytes::from(std::mem::take(&mut literal));
                    if count % 2 == 0 {
                        parts.pop();
                        parts.push(Part::Literal(kept));
                    }
                }
            }
        }
    }
}

fn words(word: &[u8]) {
    if let Some(text) = utf7::decode(word) {
        assert_eq!(utf7::encode(&text), word, "no two names become one");
    }
    if let Ok(text) = str::from_utf8(word) {
        assert_eq!(utf7::decode(&utf7::encode(text)).as_deref(), Some(text), "every text has a name");
    }
    let name = FolderName::from_wire(Bytes::copy_from_slice(word));
    assert!(name.is_inbox() || name.wire() == word);
    if let Some(set) = UidSet::parse(word) {
        assert_eq!(UidSet::parse(set.to_string().as_bytes()), (!set.is_empty()).then_some(set), "a set");
    }
    if let Some(date) = InternalDate::parse(word) {
        assert_eq!(InternalDate::parse(date.to_string().as_bytes()), Some(date), "a date");
    }
    Capabilities::parse(word);
    let mut quoted = Vec::new();
    if quote(word, &mut quoted) {
        let parts = [Part::Text(quoted.into())];
        assert_eq!(Cursor::new(&parts).quoted().as_deref(), Some(word), "a quoted string");
    }
}
