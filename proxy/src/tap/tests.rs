//! Transcripts: each is replayed whole, bytewise and at every split of every line, and must tell the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use expect_test::{Expect, expect};
use mailferry_imap::MailboxId;
use proptest::prelude::*;

use super::*;

mod appends;
mod blind;
mod fetches;
mod model;
mod names;
mod transfers;

/// Sums up what a tap told: bodies by their bytes, the rest as it is; hints in a row once.
#[derive(Default)]
struct Account {
    open: BTreeMap<BodyNumber, (u64, Vec<u8>)>,
    told: Vec<String>,
}

impl Account {
    fn take(&mut self, tap: &mut Tap) {
        for observed in tap.take() {
            let told = match observed {
                Observed::Begin { body, size, .. } => {
                    assert!(self.open.insert(body, (size, Vec::new())).is_none());
                    continue;
                }
                Observed::Chunk(body, bytes) => {
                    self.open.get_mut(&body).unwrap().1.extend_from_slice(&bytes);
                    continue;
                }
                Observed::End(body, key, way) => {
                    let (size, bytes) = self.open.remove(&body).unwrap();
                    assert_eq!(bytes.len() as u64, size, "all announced bytes came");
                    format!(
                        "{way:?} {};{}/{} {:?}",
                        key.folder,
                        key.validity,
                        key.uid,
                        String::from_utf8_lossy(&bytes)
                    )
                }
                Observed::Discard(body) => {
                    self.open.remove(&body).unwrap();
                    "discarded".to_owned()
                }
                Observed::Transferred { from, to, pairs, kind } => {
                    let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{from}->{to}")).collect();
                    let (from, to) = (
                        format!("{};{}", from.folder, from.validity),
                        format!("{};{}", to.folder, to.validity),
                    );
                    format!("{kind:?} {from} to {to}: {}", pairs.join(" "))
                }
                Observed::FolderChanged(folder) => format!("changed {folder}"),
                Observed::FoldersChanged => "folders changed".to_owned(),
                Observed::Blind(why) => format!("blind: {why}"),
            };
            if self.told.last() != Some(&told) {
                self.told.push(told);
            }
        }
    }
}

/// Lines `C: …` and `S: …`, each with CRLF at its end but where it ends with `\`.
fn lines(transcript: &str) -> Vec<(char, Vec<u8>)> {
    let lines = transcript.lines().map(str::trim_start).filter(|line| !line.is_empty());
    let parsed = lines.map(|line| {
        let (side, text) = (line.chars().next().unwrap(), &line[3..]);
        let text = text.strip_suffix('\\').map_or_else(|| format!("{text}\r\n"), str::to_owned);
        assert!(side == 'C' || side == 'S', "{line}");
        (side, text.into_bytes())
    });
    parsed.collect()
}

fn replay(lines: &[(char, Vec<u8>)], cut: impl Fn(usize) -> Vec<usize>) -> String {
    let mut tap = Tap::new(MailboxId(1));
    let mut account = Account::default();
    for (side, text) in lines {
        let mut from = 0;
        for to in cut(text.len()).into_iter().chain([text.len()]) {
            let chunk = Bytes::copy_from_slice(&text[from..to]);
            if *side == 'C' {
                tap.on_client(chunk)
            } else {
                tap.on_server(chunk)
            }
            account.take(&mut tap);
            from = to;
        }
    }
    tap.on_end();
    account.take(&mut tap);
    let mut told = String::new();
    account.told.iter().for_each(|line| writeln!(told, "{line}").unwrap());
    if !account.open.is_empty() && tap.blind.is_none() {
        writeln!(told, "{} open", account.open.len()).unwrap();
    }
    told
}

fn check(transcript: &str, expect: Expect) {
    let lines = lines(transcript);
    let whole = replay(&lines, |_| Vec::new());
    expect.assert_eq(&whole);
    assert_eq!(replay(&lines, |length| (0..length).collect()), whole, "bytewise");
    for cut in 1..lines.iter().map(|(_, text)| text.len()).max().unwrap_or(0) {
        assert_eq!(
            replay(&lines, |length| if cut < length { vec![cut] } else { Vec::new() }),
            whole,
            "cut at {cut}"
        );
    }
}

const SELECT: &str = "
    C: s SELECT INBOX
    S: * 3 EXISTS
    S: * OK [UIDVALIDITY 9] ok
    S: s OK [READ-WRITE] done
";

fn selected(transcript: &str, expect: Expect) {
    check(&format!("{SELECT}{transcript}"), expect);
}

#[test]
fn changes_are_hinted_at() {
    selected(
        "
        C: a1 UID STORE 7 +FLAGS.SILENT (\\Deleted)
        S: a1 OK done
        C: a2 UID COPY 7 Work
        S: a2 OK done
        C: a3 UID MOVE 7 {3+}
        C: Old
        S: * 1 EXPUNGE
        S: a3 OK done
        C: a4 RENAME Old New
        S: a4 OK done
        C: a5 SUBSCRIBE New
        S: a5 NO no
        C: a6 IDLE
        S: + idling
        S: * 3 EXISTS
        C: DONE
        S: a6 OK done
        C: a7 STATUS Work (MESSAGES)
        S: * STATUS Work (MESSAGES 3)
        S: a7 OK done
        C: a8 STORE 1 FLAGS ()
        S: a8 BAD what
        C: b1 UID REPLACE 7 Drafts (\\Seen) {1+}
        C: x
        S: * OK [APPENDUID 5 1] done
        S: * 3 EXPUNGE
        S: b1 OK done
        C: b2 REPLACE 1 Drafts {1+}
        C: x
        S: b2 BAD what
        C: a9 EXPUNGE
    ",
        expect![[r#"
            changed INBOX
            changed Work
            changed INBOX
            changed Old
            changed INBOX
            folders changed
            changed New
            folders changed
            changed INBOX
            changed Drafts
            changed INBOX
        "#]],
    );
    selected(
        "C: a1 FETCH 1:* FLAGS\nS: * 1 FETCH (FLAGS (\\Seen))\nS: a1 OK done\nS: * 3 EXISTS",
        expect![""],
    );
    selected(
        "S: * 1 FETCH (FLAGS (\\Seen))",
        expect![[r#"
        changed INBOX
    "#]],
    );
    selected(
        "C: a1 FETCH 1 (BODY[1] ENVELOPE)\nS: * 1 FETCH (FLAGS (\\Seen))",
        expect![[r#"
        changed INBOX
    "#]],
    );
}

#[test]
fn what_the_source_says_of_folders_is_news_unless_asked_for() {
    selected(
        "
        C: a1 NOTIFY SET STATUS (personal (MessageNew MessageExpunge MailboxName))
        S: * STATUS Work (MESSAGES 3 UIDNEXT 4)
        S: a1 OK done
        C: a2 STATUS Work (MESSAGES)
        S: * STATUS Work (MESSAGES 3)
        S: a2 OK done
        C: a3 LIST \"\" *
        S: * LIST () \"/\" Work
        S: a3 OK done
        C: a4 NOOP
        S: * STATUS Old (MESSAGES 4 UIDNEXT 5)
        S: a4 OK done
        S: * list (\\NonExistent) \"/\" Work
    ",
        expect![[r#"
            changed Old
            folders changed
        "#]],
    );
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "* ",
        "a1 ",
        "a2 ",
        "OK ",
        "NO ",
        "SELECT ",
        "INBOX",
        "1 ",
        "2 ",
        "FETCH ",
        "(",
        ")",
        "UID ",
        "7 ",
        "BODY[] ",
        "BODY[]<0> ",
        "RFC822.SIZE 9 ",
        "{3}",
        "{3+}",
        "~{2}",
        "{0}",
        "\r\n",
        "\r\n",
        "\n",
        "EXISTS",
        "EXPUNGE",
        "VANISHED ",
        "1:4294967295",
        "APPEND ",
        "[APPENDUID 1 7] ",
        "[UIDVALIDITY 9] ",
        "COMPRESS ",
        "+ ",
        "\"",
        "\\",
        "\0",
        "abc",
        "4294967295 ",
        "FLAGS ",
        "MOVE ",
        "IDLE",
        "DONE",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    /// Whatever passes, however it is cut: no panic, no body that was not begun, and the cuts make no difference.
    #[test]
    fn anything_may_pass(turns in prop::collection::vec((any::<bool>(), pieces()), 0..8), cuts in prop::collection::vec(0..300_usize, 0..6)) {
        let lines: Vec<(char, Vec<u8>)> =
            turns.into_iter().map(|(client, bytes)| (if client { 'C' } else { 'S' }, bytes)).collect();
        let whole = replay(&lines, |_| Vec::new());
        let cut = replay(&lines, |length| {
            let mut cuts: Vec<usize> = cuts.iter().copied().filter(|cut| *cut < length).collect();
            cuts.sort_unstable();
            cuts
        });
        prop_assert_eq!(whole, cut);
    }
}
