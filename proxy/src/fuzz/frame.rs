//! The framer: nothing is lost, cuts make no difference, and a literal has as many bytes as it was announced with.
//!
//! The first byte says which side it is and how long lines may be. Handing over refuses the literal that is awaited.

use bytes::Bytes;
use mailferry_imap::frame::{FrameError, Framer, Literal, Piece};

use super::{Cuts, HAND_OVER, Script, same_for_all_cuts};

/// Short enough for a fuzzer to reach.
const SHORT_LINES: usize = 100;

#[derive(PartialEq, Eq, Debug)]
enum Seen {
    Line(Bytes, Option<Literal>),
    Data(Vec<u8>),
    Failed(FrameError),
}

/// See the module.
pub fn run(input: &[u8]) {
    let Some((flags, script)) = input.split_first() else { return };
    let seen = same_for_all_cuts(|cuts| play(*flags, script, cuts));
    let mut joined = Vec::new();
    for seen in &seen {
        match seen {
            Seen::Line(text, literal) => {
                assert_eq!(memchr::memchr(b'\n', text), Some(text.len() - 1), "one line");
                assert!(literal.is_none() || text.trim_ascii_end().ends_with(b"}"), "announced");
                joined.extend_from_slice(text);
            }
            Seen::Data(bytes) => joined.extend_from_slice(bytes),
            Seen::Failed(_) => {}
        }
    }
    let fed: Vec<u8> = Script { turns: vec![(super::Side::Client, script)] }
        .said(super::Side::Client)
        .into_iter()
        .filter(|byte| *byte != HAND_OVER)
        .collect();
    let rest = fed.strip_prefix(&joined[..]).expect("what comes out is what went in");
    if !matches!(seen.last(), Some(Seen::Failed(_))) {
        assert!(!rest.contains(&b'\n'), "only the beginning of a line is kept");
    }
}

fn play(flags: u8, script: &[u8], cuts: Cuts) -> Vec<Seen> {
    let framer = if flags & 1 == 0 { Framer::client() } else { Framer::server() };
    let mut framer = if flags & 2 == 0 { framer } else { framer.with_max_line(SHORT_LINES) };
    let mut seen = Vec::new();
    let (mut expected, mut turns) = (0, 0);
    for turn in script.split(|byte| *byte == HAND_OVER) {
        if turns > 0 {
            let was_between = framer.is_between();
            framer.refuse_literal();
            if framer.is_between() && !was_between {
                expected = 0;
            }
        }
        turns += 1;
        for (_, chunk) in (Script { turns: vec![(super::Side::Client, turn)] }).chunks(cuts) {
            let mut input = Bytes::from(chunk);
            loop {
                match framer.next(&mut input) {
                    Ok(Some(Piece::Line { text, literal })) => {
                        assert_eq!(expected, 0, "a line within a literal");
                        expected = literal.map_or(0, |literal| literal.size);
                        seen.push(Seen::Line(text, literal));
                    }
                    Ok(Some(Piece::Data { bytes, left })) => {
                        assert!(!bytes.is_empty());
                        expected -= bytes.len() as u64;
                        assert_eq!(left, expected, "what is left of a literal");
                        match seen.last_mut() {
                            Some(Seen::Data(data)) => data.extend_from_slice(&bytes),
                            _ => seen.push(Seen::Data(bytes.to_vec())),
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        let again = framer.next(&mut Bytes::from_static(b"* OK\r\n"));
                        assert_eq!(again, Err(error), "failure sticks");
                        seen.push(Seen::Failed(error));
                        return seen;
                    }
                }
            }
            assert!(input.is_empty());
        }
    }
    seen
}
