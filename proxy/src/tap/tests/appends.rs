//! What clients append.

use expect_test::expect;

use super::{check, replay, selected};

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
            changed Nowhere
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
            blind: unframable
        "#]],
    );
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
