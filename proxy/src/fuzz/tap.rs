//! The tap: cuts make no difference, and no body is told that did not pass so.

use std::collections::BTreeMap;

use bytes::Bytes;
use mailferry_imap::MailboxId;

use super::{Cuts, Script, Side, same_for_all_cuts};
use crate::tap::{BodyNumber, Observed, Tap, Way};

/// What a session opens with where the first byte says so: most of what the tap does needs a folder.
const SELECTED: &[u8] =
    b"s SELECT INBOX\r\n\x1e* 3 EXISTS\r\n* OK [UIDVALIDITY 9] ok\r\ns OK [READ-WRITE] done\r\n\x1e";

/// See the module.
pub fn run(input: &[u8]) {
    let Some((flags, script)) = input.split_first() else { return };
    let script = if flags & 1 == 0 { script.to_vec() } else { [SELECTED, script].concat() };
    let script = Script::new(&script);
    same_for_all_cuts(|cuts| play(&script, cuts));
}

/// What was told. Bodies by all their bytes; the rest as it is, several times in a row once.
fn play(script: &Script<'_>, cuts: Cuts) -> Vec<String> {
    let mut tap = Tap::new(MailboxId(1));
    let mut account = Account::default();
    for (side, chunk) in script.chunks(cuts) {
        match side {
            Side::Client => tap.on_client(Bytes::from(chunk)),
            Side::Server => tap.on_server(Bytes::from(chunk)),
        }
        account.take(&mut tap, script);
    }
    tap.on_end();
    account.take(&mut tap, script);
    account.told
}

#[derive(Default)]
struct Account {
    open: BTreeMap<BodyNumber, (u64, Vec<u8>)>,
    told: Vec<String>,
    blind: bool,
}

impl Account {
    fn take(&mut self, tap: &mut Tap, script: &Script<'_>) {
        for observed in tap.take() {
            assert!(!self.blind, "a blind tap tells nothing: {observed:?}");
            let told = match observed {
                Observed::Begin { body, size, .. } => {
                    assert!(self.open.insert(body, (size, Vec::new())).is_none(), "a new number");
                    continue;
                }
                Observed::Chunk(body, bytes) => {
                    let (_, so_far) = self.open.get_mut(&body).expect("begun");
                    so_far.extend_from_slice(&bytes);
                    continue;
                }
                Observed::End(body, key, way) => {
                    let (size, bytes) = self.open.remove(&body).expect("begun");
                    assert_eq!(bytes.len() as u64, size, "all announced bytes came");
                    assert!(has_passed(&bytes, way, script), "{:?}", bytes.escape_ascii().to_string());
                    format!("{way:?} {key} {}", bytes.escape_ascii())
                }
                Observed::Discard(body) => {
                    assert!(self.open.remove(&body).is_some(), "begun");
                    "discarded".to_owned()
                }
                Observed::Blind(why) => {
                    self.blind = true;
                    format!("blind: {why}")
                }
                other => format!("{other:?}"),
            };
            if self.told.last() != Some(&told) {
                self.told.push(told);
            }
        }
    }
}

/// Whether a body's bytes stand in what its side said: in one piece, in pieces that follow each other (ranges), or in
/// a quoted string.
fn has_passed(body: &[u8], way: Way, script: &Script<'_>) -> bool {
    let said = match way {
        Way::Appended => script.said(Side::Client),
        Way::Fetched => script.said(Side::Server),
    };
    if memchr::memmem::find(&said, body).is_some() {
        return true;
    }
    if way == Way::Appended {
        return false;
    }
    let mut unescaped = Vec::with_capacity(said.len());
    let mut bytes = said.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => unescaped.extend(bytes.next()),
            byte => unescaped.push(*byte),
        }
    }
    memchr::memmem::find(&unescaped, body).is_some() || is_joined(body, &said)
}

/// Whether `body` is a row of literals of ranges, in order.
fn is_joined(body: &[u8], said: &[u8]) -> bool {
    let (mut rest, mut said) = (body, said);
    while !rest.is_empty() {
        let Some(at) = memchr::memmem::find(said, b"}\n")
            .map(|at| at + 2)
            .into_iter()
            .chain(memchr::memmem::find(said, b"}\r\n").map(|at| at + 3))
            .min()
        else {
            return false;
        };
        said = &said[at..];
        let common = rest.iter().zip(said).take_while(|(left, right)| left == right).count();
        rest = &rest[common..];
    }
    true
}
