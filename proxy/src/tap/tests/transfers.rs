//! COPY and MOVE: which message became which.

use expect_test::expect;

use super::{check, selected};

#[test]
fn copyuid_tells_which_message_became_which() {
    selected(
        "
        C: a1 UID COPY 7:8,5 Work
        S: a1 OK [COPYUID 12 7:8,5 100:102] done
        C: a2 COPY 1 {4+}
        C: Work
        S: a2 OK [COPYUID 12 7 103] done
        C: a3 UID MOVE 7:8 Archive
        S: * OK [COPYUID 13 7 21] half of it
        S: * 1 EXPUNGE
        S: * OK [COPYUID 13 8 22] the other half
        S: * 1 EXPUNGE
        S: a3 OK done
        C: a4 MOVE 1 Archive
        S: [COPYUID 13 5 23]
        S: * VANISHED 5
        S: a4 OK Exchange of 2014
        C: a5 MOVE 1 Archive
        S: * 1 EXPUNGE
        S: a5 OK [COPYUID 13 4 24] told at the end
    ",
        expect![[r#"
            Copy INBOX;9 to Work;12: 7->100 8->101 5->102
            Copy INBOX;9 to Work;12: 7->103
            Move INBOX;9 to Archive;13: 7->21 8->22
            changed INBOX
            Move INBOX;9 to Archive;13: 5->23
            changed INBOX
            Move INBOX;9 to Archive;13: 4->24
            changed INBOX
        "#]],
    );
}

#[test]
fn what_does_not_fit_together_is_a_hint_only() {
    selected(
        "
        C: a1 UID COPY 7:8 Work
        S: a1 OK [COPYUID 12 7:8 100:102] which is which
        C: a2 UID COPY 1:9999 Work
        S: a2 OK [COPYUID 12 1:4294967295 1:4294967295] more than are followed
        C: a3 UID COPY 7 Work
        S: a3 OK the source has no UIDPLUS
        C: a4 UID MOVE 7:8 Work
        S: * OK [COPYUID 12 7 1] one folder
        S: * OK [COPYUID 13 8 1] another folder
        S: a4 OK done
        C: a5 UID MOVE 7 Archive
        S: * OK [COPYUID 12 7 1] done
        S: * 1 EXPUNGE
        S: a5 NO but not all of it
        C: a6 UID MOVE 7 Archive
        S: * 1 EXPUNGE
        S: a6 BAD what
        C: a7 UID COPY 7 Work
        S: a7 BAD what
        C: a8 UID COPY 7 Work
        S: a8 OK [COPYUID 12  ] nothing was copied
    ",
        expect![[r#"
            changed Work
            changed INBOX
            changed Work
            changed INBOX
            changed Archive
            changed INBOX
            changed Work
        "#]],
    );
}

#[test]
fn whose_pairs_they_are_must_be_sure() {
    // Two under way: an untagged one may be of either, a tagged one says whose it is.
    selected(
        "
        C: a1 UID MOVE 7 Work
        C: a2 UID MOVE 8 Archive
        S: * OK [COPYUID 12 7 1] of the first, or of the second
        S: * 1 EXPUNGE
        S: a1 OK done
        S: a2 OK [COPYUID 13 8 1] done
        C: a3 UID COPY 7 Work
        C: a4 UID COPY 8 Archive
        S: a4 OK [COPYUID 13 8 1] done
        S: a3 OK [COPYUID 12 7 1] done
        S: * OK [COPYUID 13 8 1] nobody asked
    ",
        expect![[r#"
            changed INBOX
            changed Work
            changed INBOX
            changed Archive
            Copy INBOX;9 to Archive;13: 8->1
            Copy INBOX;9 to Work;12: 7->1
        "#]],
    );
    // Sent while another folder is being opened, or answered when another is open: of which folder are the UIDs?
    selected(
        "
        C: s1 SELECT Other
        C: a1 UID COPY 7 Work
        S: * OK [UIDVALIDITY 5] ok
        S: s1 OK done
        S: a1 OK [COPYUID 12 7 1] done
        C: a2 UID COPY 7 Work
        C: s2 SELECT INBOX
        S: * OK [UIDVALIDITY 9] ok
        S: s2 OK done
        S: a2 OK [COPYUID 12 7 2] out of order
        C: a3 UID COPY 7 Work
        S: * OK [UIDVALIDITY 10] it changed
        S: a3 OK [COPYUID 12 7 3] done
    ",
        expect![[r#"
            changed Work
            changed Other
            changed Work
            changed INBOX
            changed Work
        "#]],
    );
    check(
        "
        C: s SELECT INBOX
        S: s OK no UIDVALIDITY
        C: a1 UID COPY 7 Work
        S: a1 OK [COPYUID 12 7 1] done
    ",
        expect![[r#"
            changed Work
        "#]],
    );
}

#[test]
fn a_move_is_told_before_its_messages_are_gone() {
    selected(
        "
        C: a1 UID MOVE 7 Work
        S: * 1 EXPUNGE
        S: * OK [COPYUID 12 7 1] late
        C: a2 NOOP
        S: a2 OK not yet
        S: a1 OK done
        C: a3 UID MOVE 8 Work
        S: * 1 EXPUNGE
    ",
        expect![[r#"
            Move INBOX;9 to Work;12: 7->1
            changed INBOX
            changed Work
        "#]],
    );
    // Copied into the folder that is open: it grew by that.
    selected(
        "
        C: a1 UID COPY 7 INBOX
        S: * 4 EXISTS
        S: a1 OK [COPYUID 9 7 10] done
        C: a2 UID MOVE 8 INBOX
        S: * OK [COPYUID 9 8 11] done
        S: * 5 EXISTS
        S: * 1 EXPUNGE
        C: a3 UNSELECT
        S: a3 OK it is left before the answer came
    ",
        expect![[r#"
            Copy INBOX;9 to INBOX;9: 7->10
            changed INBOX
        "#]],
    );
}
