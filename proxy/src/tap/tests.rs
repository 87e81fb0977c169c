//! Transcripts: each is replayed whole, bytewise and at every split of every line, and must tell the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use expect_test::{Expect, expect};
use mailferry_imap::MailboxId;
use proptest::prelude::*;

use super::*;

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
fn fetched_bodies_are_told_once_their_uid_is_known() {
    selected(
        "
        C: a1 UID FETCH 7 (BODY.PEEK[])
        S: * 1 FETCH (UID 7 BODY[] {3}
        S: abc FLAGS (\\Seen))
        S: a1 OK done
        C: a2 FETCH 2 (UID RFC822)
        S: * 2 FETCH (RFC822 {5}
        S: {9}\\
        S: 
        S:  UID 8)
        S: a2 OK done
        C: a3 FETCH 3 BODY[]
        S: * 3 FETCH (BODY[] {2}
        S: zz)
        S: a3 OK nobody knows which
        C: a4 UID FETCH 7,8 (BODY.PEEK[HEADER] BODY.PEEK[1] BINARY[])
        S: * 1 FETCH (UID 7 BODY[HEADER] {3}
        S: abc BODY[1] {1}
        S: c BINARY[] ~{1}
        S: d)
        S: a4 OK done
        C: a5 UID FETCH 7 BODY[]
        S: * 1 FETCH (UID 7 BODY[] \"quoted\")
        S: * 2 FETCH (UID 8 BODY[] {0}
        S: )
        S: a5 OK done
    ",
        expect![[r#"
            Fetched INBOX;9/7 "abc"
            changed INBOX
            Fetched INBOX;9/8 "{9}\r\n"
            discarded
            Fetched INBOX;9/7 "quoted"
            Fetched INBOX;9/8 ""
        "#]],
    );
}

#[test]
fn sequence_numbers_are_followed() {
    selected(
        "
        C: a1 FETCH 1:* (UID FLAGS)
        S: * 1 FETCH (UID 7 FLAGS ())
        S: * 2 FETCH (UID 8 FLAGS ())
        S: * 3 FETCH (UID 9 FLAGS ())
        S: a1 OK done
        C: a2 NOOP
        S: * 1 EXPUNGE
        S: * 3 EXISTS
        S: a2 OK done
        C: a3 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: b)
        S: a3 OK done
        C: a4 FETCH 3 RFC822
        S: * 3 FETCH (RFC822 {1}
        S: x)
        S: a4 OK its UID was never told
        C: a5 NOOP
        S: * VANISHED 8
        S: a5 OK done
        C: a6 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: c)
        S: a6 OK done
        C: a7 NOOP
        S: * VANISHED 100
        S: a7 OK that one was not known: which number went is open
        C: a8 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: c)
        S: a8 OK done
    ",
        expect![[r#"
            changed INBOX
            Fetched INBOX;9/8 "b"
            discarded
            changed INBOX
            Fetched INBOX;9/9 "c"
            changed INBOX
            discarded
        "#]],
    );
}

#[test]
fn no_body_without_uidvalidity_nor_in_the_wrong_folder() {
    check(
        "
        C: s1 SELECT Nowhere
        S: * 3 EXISTS
        S: s1 OK no UIDVALIDITY
        C: a1 UID FETCH 7 BODY[]
        S: * 1 FETCH (UID 7 BODY[] {1}
        S: a)
        S: a1 OK done
        C: s2 SELECT A
        C: a2 UID FETCH 1 BODY.PEEK[]
        C: s3 EXAMINE B
        C: a3 UID FETCH 1 BODY.PEEK[]
        S: * OK [UIDVALIDITY 1] ok
        S: * 1 EXISTS
        S: s2 OK done
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: a)
        S: a2 OK done
        S: * OK [CLOSED] now B
        S: * 1 EXISTS
        S: * OK [UIDVALIDITY 2] ok
        S: s3 OK done
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: b)
        S: a3 OK done
        C: s4 SELECT C
        S: * OK [UIDVALIDITY 3] ok
        S: s4 NO gone
        C: a4 UID FETCH 1 BODY.PEEK[]
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: c)
        S: a4 BAD nothing is selected
        C: s5 SELECT A
        S: * OK [UIDVALIDITY 1] ok
        S: * 1 EXISTS
        S: * 1 FETCH (UID 1 FLAGS (\\Seen))
        S: s5 OK done
        C: a5 CLOSE
        S: a5 OK done
        C: a6 UID FETCH 1 BODY.PEEK[]
        S: * 1 FETCH (UID 1 BODY[] {1}
        S: d)
        S: a6 OK odd
    ",
        expect![[r#"
            discarded
            Fetched A;1/1 "a"
            Fetched B;2/1 "b"
            discarded
            changed A
            discarded
        "#]],
    );
}

#[test]
fn ranges_are_joined_when_they_make_a_whole() {
    selected(
        "
        C: a1 UID FETCH 7 (RFC822.SIZE)
        S: * 1 FETCH (UID 7 RFC822.SIZE 6)
        S: a1 OK done
        C: a2 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a2 OK done
        C: a3 UID FETCH 7 BODY.PEEK[]<4.4>
        S: * 1 FETCH (UID 7 BODY[]<4> {2}
        S: ef)
        S: a3 OK done
        C: a4 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a4 OK done
        C: a5 UID FETCH 7 BODY.PEEK[]<3.2>
        S: * 1 FETCH (UID 7 BODY[]<3> {2}
        S: de)
        S: a5 OK not the next one
        C: a6 UID FETCH 8 BODY.PEEK[]<0.4>
        S: * 2 FETCH (UID 8 BODY[]<0> {4}
        S: size)
        S: a6 OK never told
        C: a7 UID FETCH 7 BODY.PEEK[]<0.9>
        S: * 1 FETCH (UID 7 BODY[]<0> {6}
        S: abcdef)
        S: a7 OK done
        C: a8 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a8 OK done
        C: a9 UNSELECT
        S: a9 OK done
    ",
        expect![[r#"
            Fetched INBOX;9/7 "abcdef"
            discarded
            Fetched INBOX;9/7 "abcdef"
            discarded
        "#]],
    );
}

#[test]
fn appended_bodies_are_told_by_their_uid() {
    check(
        "
        C: a1 APPEND Sent (\\Seen) \"01-Jan-2020 00:00:00 +0000\" {3}
        S: + go
        C: abc
        S: a1 OK [APPENDUID 5 21] done
        C: a2 append {4+}
        C: Sent {6+}
        C: x{3}
        C: 
        S: a2 OK [APPENDUID 5 22] done
        C: a3 APPEND \"Se\\\"nt\" {1+}
        C: a (\\Seen) {2+}
        C: bb
        S: a3 OK [APPENDUID 5 30:31] done
        C: a4 APPEND Sent {1+}
        C: z
        S: a4 OK no UID told
        C: a5 APPEND Sent {1+}
        C: z
        S: a5 OK [APPENDUID 5 40:41] two for one
        C: a6 APPEND Sent {1+}
        C: z
        S: a6 NO full
        C: a7 APPEND Sent UTF8 (~{1+}
        C: z)
        S: a7 OK [APPENDUID 5 50] done
        C: a8 APPEND Sent CATENATE (TEXT {1+}
        C: z)
        S: a8 OK [APPENDUID 5 51] done
    ",
        expect![[r#"
            Appended Sent;5/21 "abc"
            Appended Sent;5/22 "x{3}\r\n"
            Appended Se"nt;5/30 "a"
            Appended Se"nt;5/31 "bb"
            discarded
            changed Sent
            discarded
            changed Sent
            discarded
            changed Sent
        "#]],
    );
}

#[test]
fn an_appended_body_is_told_before_the_folder_that_it_made_grow() {
    selected(
        "
        C: a1 APPEND INBOX {1+}
        C: a
        S: * 4 EXISTS
        S: a1 OK [APPENDUID 9 10] done
        C: a2 APPEND INBOX {1+}
        C: b
        S: * 5 EXISTS
        S: a2 NO that was somebody else's
        C: a3 APPEND Work {1+}
        C: c
        S: * 6 EXISTS
        S: a3 OK [APPENDUID 8 1] done
    ",
        expect![[r#"
            Appended INBOX;9/10 "a"
            changed INBOX
            discarded
            changed INBOX
            Appended Work;8/1 "c"
        "#]],
    );
}

#[test]
fn a_refused_literal_is_followed_by_a_command() {
    check(
        "
        C: a1 APPEND Nowhere {300}
        S: a1 NO [TRYCREATE] no
        C: a2 CREATE Nowhere
        S: a2 OK done
        C: a3 APPEND Nowhere {300+}
        S: a3 NO over quota, said early
        C: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\
        C: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\
        C: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxabc
        C: a4 DELETE Nowhere
        S: a4 OK done
    ",
        expect![[r#"
            discarded
            folders changed
            discarded
            folders changed
        "#]],
    );
    check(
        "
        C: a1 APPEND Nowhere {300}
        C: hasty
        S: a1 NO [TRYCREATE] no
        C: a2 CREATE Nowhere
        S: a2 OK done
    ",
        expect![[r#"
            discarded
        "#]],
    );
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
        C: a9 EXPUNGE
    ",
        expect![[r#"
            changed INBOX
            changed Work
            changed INBOX
            changed Old
            folders changed
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
fn what_cannot_be_followed_makes_it_blind() {
    let after = "C: a2 CREATE x\nS: a2 OK done";
    check(
        &format!("C: a1 COMPRESS DEFLATE\nS: a1 OK go\n{after}"),
        expect![[r#"
        blind: compressed
    "#]],
    );
    check(
        &format!("C: a1 COMPRESS DEFLATE\nS: a1 NO no\n{after}"),
        expect![[r#"
        folders changed
    "#]],
    );
    check(
        &format!("C: a1 UNAUTHENTICATE\nS: a1 OK bye\n{after}"),
        expect![[r#"
        blind: other user
    "#]],
    );
    check(
        &format!("C: a1 PROXYAUTH bob\nS: a1 OK bob\n{after}"),
        expect![[r#"
        blind: other user
    "#]],
    );
    check(
        &format!("S: * 1 FETCH (BODY[] {{99999999999999999999}}\n{after}"),
        expect![[r#"
        blind: unframable
    "#]],
    );
    check(
        &format!("C: a1 SELECT (odd)\nS: a1 OK fine\n{after}"),
        expect![[r#"
        blind: unframable
    "#]],
    );
    check(
        &format!("S: a1 OK note {{5}}\n{after}"),
        expect![[r#"
        folders changed
    "#]],
    );
}

#[test]
fn what_select_tells_of_the_past_is_no_news_of_the_old_folder() {
    selected(
        "
        C: q SELECT A (QRESYNC (1 2))
        S: * OK [UIDVALIDITY 1] ok
        S: * 3 EXISTS
        S: * VANISHED (EARLIER) 4
        S: * 1 FETCH (UID 1 FLAGS (\\Seen))
        S: q OK done
        C: a1 FETCH 1 RFC822
        S: * 1 FETCH (RFC822 {1}
        S: x)
        S: a1 OK done
    ",
        expect![[r#"
            discarded
        "#]],
    );
}

#[test]
fn a_changed_uidvalidity_ends_what_was_known() {
    selected(
        "
        S: * 1 FETCH (UID 7)
        S: * OK [UIDVALIDITY 10] changed
        C: a1 FETCH 1 RFC822
        S: * 1 FETCH (UID 7 RFC822 {1}
        S: x)
        S: a1 OK done
    ",
        expect![[r#"
            changed INBOX
            discarded
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

#[test]
fn endless_literals_of_one_command_make_it_blind() {
    let mut tap = Tap::new(MailboxId(1));
    tap.on_client(Bytes::from_static(b"a1 SEARCH"));
    let literal = [b" {60000+}\r\n".as_slice(), &[b'x'; 60_000]].concat();
    for _ in 0..MAX_TEXT / 60_000 + 2 {
        tap.on_client(Bytes::copy_from_slice(&literal));
    }
    assert_eq!(tap.take(), [Observed::Blind(Blindness::TooMuch)]);
}

#[test]
fn names_in_literals_do_not_cost_their_square() {
    let mut tap = Tap::new(MailboxId(1));
    tap.on_server(Bytes::from_static(b"* 1 FETCH (ENVELOPE (NIL NIL ("));
    let name = Bytes::from_static(b"({1}\r\nx NIL \"a\" \"b\")");
    for _ in 0..60_000 {
        tap.on_server(name.clone());
    }
    tap.on_server(Bytes::from_static(b")) UID 7)\r\n"));
    assert_eq!(tap.take(), []);
}

#[test]
fn appended_bytes_that_a_source_may_store_as_others_are_no_body() {
    let told = |body: &str| {
        let announced = format!("a1 APPEND Sent {{{}+}}\r\n", body.len());
        let append = [('C', announced.into_bytes()), ('C', body.into()), ('C', b"\r\n".to_vec())];
        let lines = [&append[..], &[('S', b"a1 OK [APPENDUID 5 1] done\r\n".to_vec())]].concat();
        let whole = replay(&lines, |_| Vec::new());
        assert_eq!(replay(&lines, |length| (0..length).collect()), whole, "bytewise");
        whole
    };
    assert_eq!(told("a\r\n\r\nb\r\nc"), "Appended Sent;5/1 \"a\\r\\n\\r\\nb\\r\\nc\"\n");
    for odd in ["a\r\nb\n", "\n", "a\rb\r\n", "a\r\r\n", "a\0b", "a\r\nb\r"] {
        assert_eq!(told(odd), "discarded\nchanged Sent\n", "{odd:?}");
    }
}

#[test]
fn parts_of_an_appended_message_are_no_message() {
    check(
        "
        C: a1 APPEND Sent  CATENATE  (URL \"/x\" TEXT {1+}
        C: z)
        S: a1 OK [APPENDUID 5 1] done
        C: a2 APPEND \"S(\" (\\Seen) ANNOTATION (/c (value.priv {1+}
        C: z)) {1+}
        C: m
        S: a2 OK [APPENDUID 5 2] done
        C: a3 APPEND  {4+}
        C: Sent {1+}
        C: m
        S: a3 NO no
        C: a4 DELETE x
        S: a4 OK done
    ",
        expect![[r#"
            changed Sent
            Appended S(;5/2 "m"
            discarded
            folders changed
        "#]],
    );
}

#[test]
fn a_message_of_another_length_than_announced_makes_it_blind() {
    for rest in ["and more of it", " and more of it"] {
        selected(
            &format!(
                "C: a1 FETCH 1 (UID BODY[])\nS: * 1 FETCH (UID 7 BODY[] {{3}}\nS: abc{rest}\nS: )\nS: a1 OK done"
            ),
            expect![[r#"
                blind: unframable
            "#]],
        );
    }
}

#[test]
fn a_message_may_be_longer_than_the_source_said() {
    selected(
        "
        C: a1 UID FETCH 7 (RFC822.SIZE)
        S: * 1 FETCH (UID 7 RFC822.SIZE 6)
        S: a1 OK an estimate
        C: a2 UID FETCH 7 BODY.PEEK[]<0.4>
        S: * 1 FETCH (UID 7 BODY[]<0> {4}
        S: abcd)
        S: a2 OK done
        C: a3 UID FETCH 7 BODY.PEEK[]<4.2>
        S: * 1 FETCH (UID 7 BODY[]<4> {2}
        S: ef)
        S: a3 OK there is more
        C: a4 UID FETCH 7 (FLAGS BODY.PEEK[]<0.6>)
        C: a5 UID FETCH 8 BODY[]<0.99>
        S: * 1 FETCH (UID 7 BODY[]<0> {6}
        S: abcdef)
        S: a4 OK there is more
        S: a5 OK none
    ",
        expect![[r#"
            discarded
        "#]],
    );
}
