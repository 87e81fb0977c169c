use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Reads each line by itself; `{n}` is followed by its literal after a `|`: `* 1 FETCH (BODY[1] {3}|abc|)`.
fn check(lines: &str, expected: Expect) {
    let mut story = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.push_str(&format!("{line}\n  {:?}\n", parse(&parts(line.as_bytes()))));
    }
    expected.assert_eq(&story);
}

fn parts(line: &[u8]) -> Vec<Part> {
    line.split(|byte| *byte == b'|')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            0 => Part::Text([part, b"\r\n"].concat().into()),
            _ => Part::Literal(Bytes::copy_from_slice(part)),
        })
        .collect()
}

proptest! {
    #[test]
    fn hostile_lines_do_not_panic(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        parse(&parts(&line));
    }

    #[test]
    fn nor_do_likely_ones(
        words in proptest::collection::vec(
            prop_oneof![
                Just("* "), Just("A1 "), Just("OK "), Just("12 "), Just("FETCH "), Just("("), Just(")"), Just("UID "),
                Just("BODY[] "), Just("BODY["), Just("{3}|abc|"), Just("FLAGS "), Just("\\Seen "), Just("\""), Just("[COPYUID "),
                Just("1:4294967295 "), Just("] "), Just("ESEARCH "), Just("LIST "), Just("STATUS "), Just("NAMESPACE "),
                Just("VANISHED "), Just("SEARCH "), Just("NIL "), Just("99999999999999999999 "), Just("INTERNALDATE "),
            ],
            0..20,
        )
    ) {
        let parts = parts(words.concat().as_bytes());
        parse(&parts);
        fetch_so_far(&parts);
    }
}

#[test]
fn statuses() {
    check(
        "
        A1 OK done
        a.b-7 no [AlreadyExists] Mailbox already exists
        A1 BAD Command Argument Error. 11
        A1 OK
        * OK [UNSEEN 12] Message 12 is first unseen
        * OK [UIDVALIDITY 3857529045] UIDs valid
        * ok [uidnext 4392] Predicted next UID
        * OK [HIGHESTMODSEQ 715194045007] Highest
        * OK [NOMODSEQ] Sorry
        * OK [PERMANENTFLAGS (\\Deleted \\Seen $Label1 odd]one \\*)] Limited
        * OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)] Permanent flags
        * OK [PERMANENTFLAGS ()] No permanent flags permitted.
        A2 OK [READ-ONLY] EXAMINE completed.
        A2 OK [READ-WRITE] SELECT completed.
        A3 OK [APPENDUID 38505 3955] APPEND completed
        A3 OK [APPENDUID 38505 3955:3957] MULTIAPPEND
        A3 OK [APPENDUID 0 0] a server without UIDs
        A4 OK [COPYUID 38505 304,319:320 3956:3958] Done
        A4 OK [COPYUID 38505 304 x] Done
        [COPYUID 14 3 415] Exchange of 2014
        A5 NO [TRYCREATE] no such folder
        A5 NO [THROTTLED] slow down
        A5 NO [LIMIT] too many
        * OK[ALERT] without a blank
        * OK [ALERT
        * BYE Session invalidated - AccessTokenExpired
        * BYE [UNAVAILABLE] shutting down
        * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hello
        * OK The Microsoft Exchange IMAP4 service is ready. [QQBCAEMA]
        * OK [UNSEEN x] what
        A1 BYE what
        A1
        ",
        expect![[r#"
            A1 OK done
              Tagged { tag: b"A1", text: StatusText { status: Ok, code: None, text: "done" } }
            a.b-7 no [AlreadyExists] Mailbox already exists
              Tagged { tag: b"a.b-7", text: StatusText { status: No, code: Some(AlreadyExists), text: "Mailbox already exists" } }
            A1 BAD Command Argument Error. 11
              Tagged { tag: b"A1", text: StatusText { status: Bad, code: None, text: "Command Argument Error. 11" } }
            A1 OK
              Tagged { tag: b"A1", text: StatusText { status: Ok, code: None, text: "" } }
            * OK [UNSEEN 12] Message 12 is first unseen
              Status(StatusText { status: Ok, code: Some(Unseen(12)), text: "Message 12 is first unseen" })
            * OK [UIDVALIDITY 3857529045] UIDs valid
              Status(StatusText { status: Ok, code: Some(UidValidity(UidValidity(3857529045))), text: "UIDs valid" })
            * ok [uidnext 4392] Predicted next UID
              Status(StatusText { status: Ok, code: Some(UidNext(Uid(4392))), text: "Predicted next UID" })
            * OK [HIGHESTMODSEQ 715194045007] Highest
              Status(StatusText { status: Ok, code: Some(HighestModSeq(ModSeq(715194045007))), text: "Highest" })
            * OK [NOMODSEQ] Sorry
              Status(StatusText { status: Ok, code: Some(NoModSeq), text: "Sorry" })
            * OK [PERMANENTFLAGS (\Deleted \Seen $Label1 odd]one \*)] Limited
              Status(StatusText { status: Ok, code: Some(PermanentFlags((\Deleted \Seen $Label1 odd]one), Allowed)), text: "Limited" })
            * OK [PERMANENTFLAGS (\Seen \Answered \Flagged \Deleted \Draft $MDNSent)] Permanent flags
              Status(StatusText { status: Ok, code: Some(PermanentFlags((\Answered \Flagged \Deleted \Seen \Draft $MDNSent), Refused)), text: "Permanent flags" })
            * OK [PERMANENTFLAGS ()] No permanent flags permitted.
              Status(StatusText { status: Ok, code: Some(PermanentFlags((), Refused)), text: "No permanent flags permitted." })
            A2 OK [READ-ONLY] EXAMINE completed.
              Tagged { tag: b"A2", text: StatusText { status: Ok, code: Some(ReadOnly), text: "EXAMINE completed." } }
            A2 OK [READ-WRITE] SELECT completed.
              Tagged { tag: b"A2", text: StatusText { status: Ok, code: Some(ReadWrite), text: "SELECT completed." } }
            A3 OK [APPENDUID 38505 3955] APPEND completed
              Tagged { tag: b"A3", text: StatusText { status: Ok, code: Some(AppendUid(UidValidity(38505), {3955})), text: "APPEND completed" } }
            A3 OK [APPENDUID 38505 3955:3957] MULTIAPPEND
              Tagged { tag: b"A3", text: StatusText { status: Ok, code: Some(AppendUid(UidValidity(38505), {3955:3957})), text: "MULTIAPPEND" } }
            A3 OK [APPENDUID 0 0] a server without UIDs
              Tagged { tag: b"A3", text: StatusText { status: Ok, code: Some(Other("APPENDUID 0 0")), text: "a server without UIDs" } }
            A4 OK [COPYUID 38505 304,319:320 3956:3958] Done
              Tagged { tag: b"A4", text: StatusText { status: Ok, code: Some(CopyUid(UidValidity(38505), "304,319:320", "3956:3958")), text: "Done" } }
            A4 OK [COPYUID 38505 304 x] Done
              Tagged { tag: b"A4", text: StatusText { status: Ok, code: Some(Other("COPYUID 38505 304 x")), text: "Done" } }
            [COPYUID 14 3 415] Exchange of 2014
              Status(StatusText { status: Ok, code: Some(CopyUid(UidValidity(14), "3", "415")), text: "Exchange of 2014" })
            A5 NO [TRYCREATE] no such folder
              Tagged { tag: b"A5", text: StatusText { status: No, code: Some(TryCreate), text: "no such folder" } }
            A5 NO [THROTTLED] slow down
              Tagged { tag: b"A5", text: StatusText { status: No, code: Some(Throttled), text: "slow down" } }
            A5 NO [LIMIT] too many
              Tagged { tag: b"A5", text: StatusText { status: No, code: Some(Other("LIMIT")), text: "too many" } }
            * OK[ALERT] without a blank
              Status(StatusText { status: Ok, code: Some(Other("ALERT")), text: "without a blank" })
            * OK [ALERT
              Status(StatusText { status: Ok, code: None, text: "[ALERT" })
            * BYE Session invalidated - AccessTokenExpired
              Bye(StatusText { status: No, code: None, text: "Session invalidated - AccessTokenExpired" })
            * BYE [UNAVAILABLE] shutting down
              Bye(StatusText { status: No, code: Some(Other("UNAVAILABLE")), text: "shutting down" })
            * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hello
              PreAuth(StatusText { status: Ok, code: Some(Capability([IMAP4REV1 STARTTLS])), text: "hello" })
            * OK The Microsoft Exchange IMAP4 service is ready. [QQBCAEMA]
              Status(StatusText { status: Ok, code: None, text: "The Microsoft Exchange IMAP4 service is ready. [QQBCAEMA]" })
            * OK [UNSEEN x] what
              Status(StatusText { status: Ok, code: Some(Other("UNSEEN x")), text: "what" })
            A1 BYE what
              Other(b"A1 BYE what")
            A1
              Other(b"A1")
        "#]],
    );
}

#[test]
fn continuations() {
    check(
        "
        +
        + OK
        +OK
        + Ready for additional command text.
        + eyJzdGF0dXMiOiI0MDAifQ==
        ",
        expect![[r#"
            +
              Continue(b"")
            + OK
              Continue(b"OK")
            +OK
              Continue(b"OK")
            + Ready for additional command text.
              Continue(b"Ready for additional command text.")
            + eyJzdGF0dXMiOiI0MDAifQ==
              Continue(b"eyJzdGF0dXMiOiI0MDAifQ==")
        "#]],
    );
}

#[test]
fn folders() {
    check(
        r##"
        * LIST (\HasNoChildren) "/" "INBOX"
        * LIST (\HasNoChildren) "." INBOX.Sent
        * LIST (\Noselect \HasChildren) "\\" "Public Folders"
        * LIST () NIL inbox
        * list (\Marked) "/" "a \"quoted\" \\ name"
        * LSUB () "." "&AMk-t&AOk-"
        * XLIST (\HasNoChildren \Sent) "/" "Sent Items"
        * LIST (\HasNoChildren) "/" {3}|a"b|
        * LIST (\HasNoChildren) "/" {3}|a"b| ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))
        * LIST (\HasNoChildren) "/" Sent Items
        * LIST (\HasNoChildren) "/" "\\;
        * LIST \HasNoChildren "/" x
        * LIST (\HasNoChildren "/" x
        * STATUS "INBOX" (MESSAGES 231 UIDNEXT 44292 UIDVALIDITY 7 HIGHESTMODSEQ 99 UNSEEN 3 SIZE 5000000000)
        * STATUS blurdybloop (messages 231 uidnext 0 X-ODD (1 2) DELETED 5)
        * STATUS Sent Items (MESSAGES 2)
        * STATUS odd (name) (MESSAGES 3 )
        * STATUS {3}|a(b| (MESSAGES 4)
        * STATUS "x" (MESSAGES 99999999999)
        * STATUS "x"
        * NAMESPACE (("" "/")) NIL NIL
        * NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))
        * NAMESPACE (("" "/")("#mh/" "/" "X-PARAM" ("FLAG1" "FLAG2"))) nil ((NIL NIL))
        * NAMESPACE ((
        * FLAGS (\Answered \Flagged \Deleted \Seen \Draft \Recent $MDNSent NonJunk)
        * FLAGS ()
        * FLAGS
        * CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN
        * ENABLED CONDSTORE
        "##,
        expect![[r##"
            * LIST (\HasNoChildren) "/" "INBOX"
              List(Listed { name: "INBOX", delimiter: Some(47), attributes: ["\\HasNoChildren"] })
            * LIST (\HasNoChildren) "." INBOX.Sent
              List(Listed { name: "INBOX.Sent", delimiter: Some(46), attributes: ["\\HasNoChildren"] })
            * LIST (\Noselect \HasChildren) "\\" "Public Folders"
              List(Listed { name: "Public Folders", delimiter: Some(92), attributes: ["\\Noselect", "\\HasChildren"] })
            * LIST () NIL inbox
              List(Listed { name: "INBOX", delimiter: None, attributes: [] })
            * list (\Marked) "/" "a \"quoted\" \\ name"
              List(Listed { name: "a \"quoted\" \\ name", delimiter: Some(47), attributes: ["\\Marked"] })
            * LSUB () "." "&AMk-t&AOk-"
              List(Listed { name: "Été", delimiter: Some(46), attributes: [] })
            * XLIST (\HasNoChildren \Sent) "/" "Sent Items"
              List(Listed { name: "Sent Items", delimiter: Some(47), attributes: ["\\HasNoChildren", "\\Sent"] })
            * LIST (\HasNoChildren) "/" {3}|a"b|
              List(Listed { name: "a\"b", delimiter: Some(47), attributes: ["\\HasNoChildren"] })
            * LIST (\HasNoChildren) "/" {3}|a"b| ("CHILDINFO" ("SUBSCRIBED"))
              List(Listed { name: "a\"b", delimiter: Some(47), attributes: ["\\HasNoChildren"] })
            * LIST (\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))
              List(Listed { name: "foo", delimiter: Some(47), attributes: ["\\HasChildren"] })
            * LIST (\HasNoChildren) "/" Sent Items
              List(Listed { name: "Sent Items", delimiter: Some(47), attributes: ["\\HasNoChildren"] })
            * LIST (\HasNoChildren) "/" "\\;
              Other(b"* LIST (\\HasNoChildren) \"/\" \"\\\\;")
            * LIST \HasNoChildren "/" x
              Other(b"* LIST \\HasNoChildren \"/\" x")
            * LIST (\HasNoChildren "/" x
              Other(b"* LIST (\\HasNoChildren \"/\" x")
            * STATUS "INBOX" (MESSAGES 231 UIDNEXT 44292 UIDVALIDITY 7 HIGHESTMODSEQ 99 UNSEEN 3 SIZE 5000000000)
              FolderStatus(FolderStatus { name: "INBOX", messages: Some(231), uid_next: Some(Uid(44292)), uid_validity: Some(UidValidity(7)), unseen: Some(3), highest_modseq: Some(ModSeq(99)), size: Some(5000000000) })
            * STATUS blurdybloop (messages 231 uidnext 0 X-ODD (1 2) DELETED 5)
              FolderStatus(FolderStatus { name: "blurdybloop", messages: Some(231), uid_next: None, uid_validity: None, unseen: None, highest_modseq: None, size: None })
            * STATUS Sent Items (MESSAGES 2)
              FolderStatus(FolderStatus { name: "Sent Items", messages: Some(2), uid_next: None, uid_validity: None, unseen: None, highest_modseq: None, size: None })
            * STATUS odd (name) (MESSAGES 3 )
              FolderStatus(FolderStatus { name: "odd (name)", messages: Some(3), uid_next: None, uid_validity: None, unseen: None, highest_modseq: None, size: None })
            * STATUS {3}|a(b| (MESSAGES 4)
              FolderStatus(FolderStatus { name: "a(b", messages: Some(4), uid_next: None, uid_validity: None, unseen: None, highest_modseq: None, size: None })
            * STATUS "x" (MESSAGES 99999999999)
              FolderStatus(FolderStatus { name: "x", messages: None, uid_next: None, uid_validity: None, unseen: None, highest_modseq: None, size: None })
            * STATUS "x"
              Other(b"* STATUS \"x\"")
            * NAMESPACE (("" "/")) NIL NIL
              Namespace(Namespaces { personal: [Namespace { prefix: "", delimiter: Some(47) }], other: [], shared: [] })
            * NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))
              Namespace(Namespaces { personal: [Namespace { prefix: "INBOX.", delimiter: Some(46) }], other: [Namespace { prefix: "user.", delimiter: Some(46) }], shared: [Namespace { prefix: "", delimiter: Some(46) }] })
            * NAMESPACE (("" "/")("#mh/" "/" "X-PARAM" ("FLAG1" "FLAG2"))) nil ((NIL NIL))
              Namespace(Namespaces { personal: [Namespace { prefix: "", delimiter: Some(47) }, Namespace { prefix: "#mh/", delimiter: Some(47) }], other: [], shared: [Namespace { prefix: "", delimiter: None }] })
            * NAMESPACE ((
              Other(b"* NAMESPACE ((")
            * FLAGS (\Answered \Flagged \Deleted \Seen \Draft \Recent $MDNSent NonJunk)
              Flags((\Answered \Flagged \Deleted \Seen \Draft $MDNSent NonJunk))
            * FLAGS ()
              Flags(())
            * FLAGS
              Other(b"* FLAGS")
            * CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN
              Capability([IMAP4REV1 LITERAL+ AUTH=PLAIN])
            * ENABLED CONDSTORE
              Enabled([CONDSTORE])
        "##]],
    );
}

#[test]
fn messages() {
    check(
        r##"
        * 12 FETCH (FLAGS (\Seen $x) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 4286 UID 7)
        * 12 fetch (uid 7 flags () modseq (624140003))
        * 1 FETCH (UID 7 MODSEQ 5)
        * 1 FETCH (UID 7 BODY[HEADER.FIELDS (DATE "X (y)")] {4}|a: b|)
        * 1 FETCH (BODY[HEADER.FIELDS ("MESSAGE-ID" SUBJECT)] "Subject: \"x\"" UID 7)
        * 1 FETCH (BODY[1]{3}|abc|UID 7)
        * 1 FETCH (RFC822.HEADER {2}|ab| BODY[TEXT]<0> NIL BODY[2.MIME] {0}|| UID 7)
        * 1 FETCH (ENVELOPE ("Mon, 7 Feb 1994" {3}|a"b| (("Terry" NIL "gray" "x.edu")) NIL) UID 7)
        * 1 FETCH (BODYSTRUCTURE (("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)("A" "B")) UID 7)
        * 1 FETCH (BODYSTRUCTURE (broken (( UID 7)
        * 1 FETCH (UID 7 X-GM-MSGID 1278455344230334865 X-GM-LABELS ("\\Inbox" foo) EMAILID (M1) UID 8)
        * 1 FETCH (INTERNALDATE "odd" UID 7)
        * 1 FETCH (INTERNALDATE NIL RFC822.SIZE 18446744073709551616 UID 7)
        * 1 FETCH (FLAGS (\Seen "quoted")  UID  7 )
        * 1 FETCH ()
        * 1 FETCH
        * 99999999999 FETCH (UID 7)
        * 5 EXISTS
        * 0 EXISTS
        * 1 RECENT
        * 3 EXPUNGE
        * 3 expunge
        * 3 WHATEVER
        * VANISHED (EARLIER) 41,43:116,118
        * VANISHED 405,407
        * VANISHED
        * VANISHED (SOON) 1
        * SEARCH
        * SEARCH 2 84 882
        * search 9 3 3 0 4 (MODSEQ 917162500)
        * SEARCH 2 x
        * ESEARCH (TAG "A282") UID MIN 2 MAX 7 COUNT 3 ALL 2,4:7 MODSEQ 9
        * ESEARCH UID COUNT 0
        * ESEARCH (TAG A1) ALL 1,3 PARTIAL (1:2 3)
        * ESEARCH
        * ID ("name" "Dovecot")
        * QUOTA "" (STORAGE 10 512)
        * Server Unavailable. 15
        *
        garbage
        "##,
        expect![[r#"
            * 12 FETCH (FLAGS (\Seen $x) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 4286 UID 7)
              Fetch(Fetched { seq: 12, uid: Some(Uid(7)), flags: Some((\Seen $x)), internal_date: Some(InternalDate { seconds: 837596665, offset_minutes: -420 }), size: Some(4286), modseq: None, sections: [] })
            * 12 fetch (uid 7 flags () modseq (624140003))
              Fetch(Fetched { seq: 12, uid: Some(Uid(7)), flags: Some(()), internal_date: None, size: None, modseq: Some(ModSeq(624140003)), sections: [] })
            * 1 FETCH (UID 7 MODSEQ 5)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: Some(ModSeq(5)), sections: [] })
            * 1 FETCH (UID 7 BODY[HEADER.FIELDS (DATE "X (y)")] {4}|a: b|)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [("BODY[HEADER.FIELDS (DATE \"X (Y)\")]", b"a: b")] })
            * 1 FETCH (BODY[HEADER.FIELDS ("MESSAGE-ID" SUBJECT)] "Subject: \"x\"" UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [("BODY[HEADER.FIELDS (\"MESSAGE-ID\" SUBJECT)]", b"Subject: \"x\"")] })
            * 1 FETCH (BODY[1]{3}|abc|UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [("BODY[1]", b"abc")] })
            * 1 FETCH (RFC822.HEADER {2}|ab| BODY[TEXT]<0> NIL BODY[2.MIME] {0}|| UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [("RFC822.HEADER", b"ab"), ("BODY[2.MIME]", b"")] })
            * 1 FETCH (ENVELOPE ("Mon, 7 Feb 1994" {3}|a"b| (("Terry" NIL "gray" "x.edu")) NIL) UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH (BODYSTRUCTURE (("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)("A" "B")) UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH (BODYSTRUCTURE (broken (( UID 7)
              Fetch(Fetched { seq: 1, uid: None, flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH (UID 7 X-GM-MSGID 1278455344230334865 X-GM-LABELS ("\\Inbox" foo) EMAILID (M1) UID 8)
              Fetch(Fetched { seq: 1, uid: Some(Uid(8)), flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH (INTERNALDATE "odd" UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH (INTERNALDATE NIL RFC822.SIZE 18446744073709551616 UID 7)
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH (FLAGS (\Seen "quoted")  UID  7 )
              Fetch(Fetched { seq: 1, uid: Some(Uid(7)), flags: Some((\Seen quoted)), internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH ()
              Fetch(Fetched { seq: 1, uid: None, flags: None, internal_date: None, size: None, modseq: None, sections: [] })
            * 1 FETCH
              Other(b"* 1 FETCH")
            * 99999999999 FETCH (UID 7)
              Other(b"* 99999999999 FETCH (UID 7)")
            * 5 EXISTS
              Exists(5)
            * 0 EXISTS
              Exists(0)
            * 1 RECENT
              Recent(1)
            * 3 EXPUNGE
              Expunge(3)
            * 3 expunge
              Expunge(3)
            * 3 WHATEVER
              Other(b"* 3 WHATEVER")
            * VANISHED (EARLIER) 41,43:116,118
              Vanished { uids: {41,43:116,118}, earlier: Yes }
            * VANISHED 405,407
              Vanished { uids: {405,407}, earlier: No }
            * VANISHED
              Other(b"* VANISHED")
            * VANISHED (SOON) 1
              Other(b"* VANISHED (SOON) 1")
            * SEARCH
              Search({})
            * SEARCH 2 84 882
              Search({2,84,882})
            * search 9 3 3 0 4 (MODSEQ 917162500)
              Search({3:4,9})
            * SEARCH 2 x
              Other(b"* SEARCH 2 x")
            * ESEARCH (TAG "A282") UID MIN 2 MAX 7 COUNT 3 ALL 2,4:7 MODSEQ 9
              ESearch(ESearch { tag: Some(b"A282"), all: {2,4:7}, count: Some(3), min: Some(2), max: Some(7), modseq: Some(ModSeq(9)) })
            * ESEARCH UID COUNT 0
              ESearch(ESearch { tag: None, all: {}, count: Some(0), min: None, max: None, modseq: None })
            * ESEARCH (TAG A1) ALL 1,3 PARTIAL (1:2 3)
              ESearch(ESearch { tag: Some(b"A1"), all: {1,3}, count: None, min: None, max: None, modseq: None })
            * ESEARCH
              ESearch(ESearch { tag: None, all: {}, count: None, min: None, max: None, modseq: None })
            * ID ("name" "Dovecot")
              Other(b"* ID (\"name\" \"Dovecot\")")
            * QUOTA "" (STORAGE 10 512)
              Other(b"* QUOTA \"\" (STORAGE 10 512)")
            * Server Unavailable. 15
              Other(b"* Server Unavailable. 15")
            *
              Other(b"*")
            garbage
              Other(b"garbage")
        "#]],
    );
}

#[test]
fn heads_of_streamed_literals() {
    let mut story = String::new();
    for line in [
        "* 5 FETCH (UID 7 FLAGS (\\Seen) BODY[] {99}",
        "* 5 FETCH (BODY[HEADER] {3}|abc| RFC822 {99}",
        "* 5 FETCH (UID 7 BODY[2]<0>{99}",
        "* 5 FETCH (ENVELOPE (NIL {99}",
        "* LIST () \"/\" {99}",
    ] {
        let mut parts = parts(line.as_bytes());
        parts.push(Part::Streamed { size: 99 });
        story.push_str(&format!("{:?}\n", fetch_so_far(&parts)));
    }
    expect![[r#"
        Some((Fetched { seq: 5, uid: Some(Uid(7)), flags: Some((\Seen)), internal_date: None, size: None, modseq: None, sections: [] }, "BODY[]"))
        Some((Fetched { seq: 5, uid: None, flags: None, internal_date: None, size: None, modseq: None, sections: [("BODY[HEADER]", b"abc")] }, "RFC822"))
        Some((Fetched { seq: 5, uid: Some(Uid(7)), flags: None, internal_date: None, size: None, modseq: None, sections: [] }, "BODY[2]<0>"))
        None
        None
    "#]].assert_eq(&story);
}

#[test]
fn whole_messages() {
    assert!(["BODY[]", "body[]<0>", "RFC822", "BINARY[]"].iter().all(|item| is_whole_message(item)));
    assert!(
        !["BODY[1]", "BODY", "RFC822.HEADER", "RFC822.SIZE", "BODY[TEXT]<0>", ""]
            .iter()
            .any(|item| is_whole_message(item))
    );
}
