use proptest::prelude::*;

use super::*;

fn read(message: &[u8]) -> Gist {
    let mut reading = Reading::new();
    reading.feed(message);
    reading.end()
}

fn likeness(original: &str, copy: &str) -> Likeness {
    compare(&read(original.as_bytes()), &read(copy.as_bytes()))
}

const HEAD: &str = "From: Terry <t@contoso.edu>\r\nSubject: one\r\nDate: Tue, 1 Sep 2020 10:00:00 +0200\r\n";

fn mail(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

fn multipart(kind: &str, boundary: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
    mail(&format!(
        "Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\nignored\r\n{parts}--{boundary}--\r\nalso\r\n"
    ))
}

#[test]
fn what_exchange_changes_is_forgiven_and_nothing_else() {
    let plain = mail(
        "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe,  dear=\r\nest  \r\n\r\nyou\r\n",
    );
    let anew = "Received: x\r\nDate: Tue, 1 Sep 2020 08:00:00 +0000\r\nX-MS-Exchange-X: 1\r\nSubject:\r\n =?utf-8?B?b25l?=\r\n\
        From: \"Terry\" <T@contoso.edu>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZSwgZGVhcmVzdA0KeW91DQo=\r\n";
    assert_eq!(likeness(&plain, &plain), Likeness::SameBytes);
    assert_eq!(likeness(&plain, anew), Likeness::SameContent);
    assert_eq!(likeness(&plain, &anew.replace("R3LD", "R4LD")), Likeness::OtherContent);
    assert_eq!(likeness(&plain, &anew.replace("b25l", "b25m")), Likeness::OtherHeading);
    assert_eq!(likeness(&plain, &anew.replace("08:00", "08:01")), Likeness::OtherHeading);
    assert_eq!(likeness(&plain, &anew.replace("T@contoso", "X@contoso")), Likeness::OtherHeading);
}

#[test]
fn attachments_are_compared_by_their_bytes_whatever_their_encoding() {
    let text = "Content-Type: text/plain\r\n\r\nsee below";
    let file = |bytes: &str| {
        format!("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{bytes}")
    };
    let original = multipart("mixed", "a", &[text, &file("AAECAwQF\r\nBgcI")]);
    let anew = multipart(
        "mixed",
        "_000_b_",
        &["Content-Type: text/plain; charset=utf-8\r\n\r\nsee\r\nbelow \r\n", &file("AAECAw\r\nQFBgcI\r\n")],
    );
    assert_eq!(likeness(&original, &anew), Likeness::SameContent);
    let swapped = multipart("mixed", "a", &[text, &file("AAECAwQF\r\nBgcJ")]);
    assert_eq!(likeness(&original, &swapped), Likeness::OtherContent);
    assert_eq!(likeness(&original, &multipart("mixed", "a", &[text])), Likeness::OtherContent);
    let order = multipart("mixed", "a", &[&file("AAECAwQF\r\nBgcI"), text]);
    assert_eq!(likeness(&original, &order), Likeness::OtherContent);
    // Bytes that are text, as they are and encoded.
    let csv = multipart("mixed", "a", &["Content-Type: application/csv\r\n\r\na,b\r\nc,d\r\n"]);
    let encoded = multipart(
        "mixed",
        "a",
        &["Content-Type: application/csv\r\nContent-Transfer-Encoding: base64\r\n\r\nYSxiDQpjLGQNCg==\r\n"],
    );
    assert_eq!(likeness(&csv, &encoded), Likeness::SameContent);
}

#[test]
fn of_alternatives_the_best_one_counts() {
    let html = |words: &str| {
        format!("Content-Type: text/html\r\n\r\n<html><head></head><body><p>{words}</p></body></html>")
    };
    let original = multipart(
        "alternative",
        "a",
        &["Content-Type: text/plain\r\n\r\nhello *you*", &html("hello <b>you</b>")],
    );
    let framed = "Content-Type: text/html; charset=utf-8\r\n\r\n<HTML>\r\n<meta charset=utf-8><p>hello\r\n<b>you</b></p>";
    let anew = multipart("alternative", "b", &["Content-Type: text/plain\r\n\r\nhello you", framed]);
    assert_eq!(likeness(&original, &anew), Likeness::SameContent);
    let other = multipart(
        "alternative",
        "b",
        &["Content-Type: text/plain\r\n\r\nhello *you*", &html("hello <b>me</b>")],
    );
    assert_eq!(likeness(&original, &other), Likeness::OtherContent);
    // Two texts that are no alternatives both count, and so does a link.
    let mixed = |words: &str| {
        multipart(
            "mixed",
            "a",
            &[&format!("Content-Type: text/plain\r\n\r\n{words}"), &html("<a href=x>x</a>")],
        )
    };
    assert_eq!(likeness(&mixed("one"), &mixed("two")), Likeness::OtherContent);
    assert_eq!(likeness(&mixed("one"), &mixed("one").replace("href=x", "href=y")), Likeness::OtherContent);
}

#[test]
fn a_message_in_the_message_counts() {
    let with = |subject: &str, body: &str| {
        multipart(
            "mixed",
            "a",
            &[&format!("Content-Type: message/rfc822\r\n\r\nSubject: {subject}\r\n\r\n{body}")],
        )
    };
    assert_eq!(
        likeness(&with("inner", "words"), &with("=?utf-8?q?inner?=", "words ")),
        Likeness::SameContent
    );
    assert_eq!(likeness(&with("inner", "words"), &with("other", "words")), Likeness::OtherContent);
    assert_eq!(likeness(&with("inner", "words"), &with("inner", "other")), Likeness::OtherContent);
}

#[test]
fn text_without_a_charset_is_compared_by_what_all_charsets_have() {
    let original = [HEAD.as_bytes(), b"\r\nGr\xfc\xdfe to you\r\n"].concat();
    let guess = |text: &str| mail(&format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"));
    let likeness = |copy: &str| compare(&read(&original), &read(copy.as_bytes()));
    assert_eq!(likeness(&guess("Grüße to you")), Likeness::SameContent);
    assert_eq!(likeness(&guess("Gr??e to you")), Likeness::SameContent);
    assert_eq!(likeness(&guess("Grüße to me")), Likeness::OtherContent);
}

#[test]
fn what_is_no_mime_proves_nothing_by_reading_otherwise() {
    let broken = mail("Content-Type: multipart/mixed; boundary=a\r\n\r\n--b\r\n\r\ntext\r\n");
    assert_eq!(likeness(&broken, &mail("\r\nsomething else")), Likeness::Unclear);
    assert_eq!(likeness(&mail("\r\nsomething else"), &broken), Likeness::OtherContent);
}

#[test]
fn long_lines_and_deep_parts_are_bounded_and_read() {
    let long = mail(&format!("\r\n{} end\r\n", "word ".repeat(20_000)));
    assert_eq!(likeness(&long, &long.replace(" word", "\r\nword")), Likeness::SameContent);
    assert_eq!(likeness(&long, &long.replace("end", "and")), Likeness::OtherContent);
    let mut deep = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".repeat(500);
    deep.push('x');
    assert_eq!(read(deep.as_bytes()).grade, Grade::Broken);
}

proptest! {
    #[test]
    fn chunks_do_not_matter(cuts in proptest::collection::vec(0usize..600, 0..8)) {
        let mail = multipart("mixed", "a", &[
            "Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\nPABiAD4AaABpADwALwBiAD4A",
            "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\u{1b}$BF|K\\\u{1b}(B\r\n\r\nand\rmore",
        ]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(mail.len())).collect();
        cuts.extend([0, mail.len()]);
        cuts.sort_unstable();
        let mut reading = Reading::new();
        cuts.windows(2).for_each(|cut| reading.feed(&mail.as_bytes()[cut[0]..cut[1]]));
        prop_assert_eq!(reading.end(), read(mail.as_bytes()));
    }

    #[test]
    fn no_bytes_panic(pieces in proptest::collection::vec(prop_oneof![
        Just(b"Content-Type: multipart/mixed; boundary=b\r\n".to_vec()),
        Just(b"Content-Type: message/rfc822\r\n".to_vec()),
        Just(b"Content-Transfer-Encoding: quoted-printable\r\n".to_vec()),
        Just(b"Content-Type: text/html; charset=gb2312\r\n".to_vec()),
        Just(b"--b\r\n".to_vec()), Just(b"--b--\r\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"=\r\n<".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..50),
    ], 0..30)) {
        let _ = read(&pieces.concat());
    }
}
