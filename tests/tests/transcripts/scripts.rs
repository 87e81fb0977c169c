//! What is said: every form of a login, and sessions that do what mail clients do and some things that they do not.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mailferry_tests::mail;
use mailferry_tests::script::{Proof, SCRAM_FIRST, SCRAM_NONCE, Step, Until, ask, bye, go, tell};
use mailferry_tests::source::Kind;
use mailferry_tests::stand::Person;

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An ID that Dovecot's login process does not always understand when it comes in crumbs.
pub fn identified() -> Vec<Step> {
    vec![ask("a1 ID (\"name\" \"transcript\" \"version\" \"1\")"), ask("a2 NOOP"), bye()]
}

/// What is answered without a login, and what is not.
pub fn before_login() -> Vec<Step> {
    vec![
        ask("a1 CAPABILITY"),
        ask("a2 NOOP"),
        ask("a3 ID NIL"),
        ask("a5 SELECT INBOX"),
        ask("a6 LOGIN"),
        ask("a7 noop"),
        bye(),
    ]
}

/// Dovecot has enough of them after the third.
pub fn nonsense(kind: Kind) -> Vec<Step> {
    let last = if kind == Kind::Dovecot { "* BYE" } else { "a3 " };
    vec![ask("a1 XYZZY"), ask("a2 FETCH 1 BODY[]"), go("a3 LOGIN one", last), Step::HalfClose]
}

/// Every form of a login that is accepted; behind each something that only works when logged in.
pub fn logins(kind: Kind, odd: &Person, plain: &Person) -> Vec<(String, Vec<Step>, usize)> {
    let (user, password) = (&odd.login, &odd.password);
    let (ulen, plen) = (user.len(), password.len());
    let sasl = |person: &Person| BASE64_STANDARD.encode(format!("\0{}\0{}", person.login, person.password));
    let (b64_user, b64_password) = (BASE64_STANDARD.encode(user), BASE64_STANDARD.encode(password));
    let mut forms: Vec<(&str, Vec<Step>, usize)> = vec![
        ("atoms", vec![ask(&format!("a1 LOGIN {} {}", plain.login, plain.password))], 1),
        ("quoted", vec![ask(&format!("a1 login {} {}", quoted(user), quoted(password)))], 0),
        (
            "synchronising literals",
            vec![
                go(&format!("a1 LOGIN {{{ulen}}}"), "+"),
                go(&format!("{user} {{{plen}}}"), "+"),
                tell(password, "a1"),
            ],
            0,
        ),
        ("PLAIN", vec![go("a1 AUTHENTICATE PLAIN", "+"), tell(&sasl(odd), "a1")], 0),
        (
            "AUTHENTICATE LOGIN",
            vec![go("a1 AUTHENTICATE LOGIN", "+"), go(&b64_user, "+"), tell(&b64_password, "a1")],
            0,
        ),
        (
            "refused, cancelled, garbled, then right",
            vec![
                ask(&format!("b1 LOGIN {user} wrong")),
                go("b2 AUTHENTICATE PLAIN", "+"),
                tell("*", "b2"),
                go("b3 AUTHENTICATE PLAIN", "+"),
                tell("this is no base64!", "b3"),
                ask("b4 AUTHENTICATE XYZZY"),
                go("b5 AUTHENTICATE PLAIN", "+"),
                tell(&BASE64_STANDARD.encode(format!("\0{user}\0wrong")), "b5"),
                ask(&format!("a1 LOGIN {} {}", quoted(user), quoted(password))),
            ],
            0,
        ),
    ];
    if kind != Kind::Courier {
        forms.push((
            "non-synchronising literals",
            vec![tell(&format!("a1 LOGIN {{{ulen}+}}\n{user} {{{plen}+}}\n{password}"), "a1")],
            0,
        ));
        forms.push(("SASL-IR", vec![ask(&format!("a1 AUTHENTICATE PLAIN {}", sasl(odd)))], 0));
        forms.push((
            "SASL-IR of LOGIN, cancelled, then to its end",
            vec![
                go(&format!("b1 AUTHENTICATE LOGIN {b64_user}"), "+"),
                tell("*", "b1"),
                go(&format!("a1 AUTHENTICATE LOGIN {b64_user}"), "+"),
                tell(&b64_password, "a1"),
            ],
            0,
        ));
        forms.push((
            "behind LOGIN in the same packet",
            vec![tell(
                &format!(
                    "a1 LOGIN {} {}\na2 NOOP\na3 LIST \"\" INBOX\na4 CAPABILITY",
                    plain.login, plain.password
                ),
                "a4",
            )],
            1,
        ));
        let token = BASE64_STANDARD.encode(format!("user={user}\x01auth=Bearer nonsense\x01\x01"));
        forms.push((
            "XOAUTH2 is not there",
            vec![
                ask(&format!("b1 AUTHENTICATE XOAUTH2 {token}")),
                ask(&format!("a1 LOGIN {} {}", quoted(user), quoted(password))),
            ],
            0,
        ));
    }
    if kind != Kind::Dovecot {
        let (user, password) = (plain.login.clone(), plain.password.clone());
        forms.push((
            "CRAM-MD5",
            vec![
                go("a1 AUTHENTICATE CRAM-MD5", "+"),
                Step::Prove { how: Proof::Cram, user, password, until: Until::Line("a1 OK") },
            ],
            1,
        ));
    }
    if kind == Kind::Cyrus {
        let (user, password) = (plain.login.clone(), plain.password.clone());
        let first = BASE64_STANDARD.encode(format!("{SCRAM_FIRST}{user}{SCRAM_NONCE}"));
        forms.push((
            "SCRAM-SHA-256",
            vec![
                go("a1 AUTHENTICATE SCRAM-SHA-256", "+"),
                go(&first, "+"),
                Step::Prove { how: Proof::Scram, user, password, until: Until::Line("+") },
                go("", "a1 OK"),
            ],
            1,
        ));
    }
    let behind = |mut steps: Vec<Step>| {
        // What stands behind the login in the same packet is lost by some servers themselves; see below.
        if let Some(Step::Say(_, until @ Until::Tag(_))) = steps.last_mut()
            && *until == Until::Tag("a1".to_owned())
        {
            *until = Until::Line("a1 OK");
        }
        steps.extend([ask("y1 NOOP"), ask("y2 SELECT INBOX"), bye()]);
        steps
    };
    forms.into_iter().map(|(name, steps, person)| (name.to_owned(), behind(steps), person)).collect()
}

/// Logins with tokens; each is accepted in the end.
pub fn tokens(user: &str, token: &str) -> Vec<(&'static str, Vec<Step>)> {
    let xoauth2 = |token: &str| BASE64_STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"));
    let bearer = |token: &str| {
        let word = format!("n,a={user},\x01host=localhost\x01port=993\x01auth=Bearer {token}\x01\x01");
        BASE64_STANDARD.encode(word)
    };
    let mut forms = Vec::new();
    for (at_once, stepwise, refused, name, end, good, bad) in [
        ("XOAUTH2 at once", "XOAUTH2", "XOAUTH2 refused", "XOAUTH2", "", xoauth2(token), xoauth2("nonsense")),
        (
            "OAUTHBEARER at once",
            "OAUTHBEARER",
            "OAUTHBEARER refused",
            "OAUTHBEARER",
            "AQ==",
            bearer(token),
            bearer("nonsense"),
        ),
    ] {
        let begin = format!("a1 AUTHENTICATE {name}");
        let login = [go(&begin, "+"), go(&good, "a1 OK")];
        forms.push((at_once, vec![go(&format!("{begin} {good}"), "a1 OK")]));
        forms.push((stepwise, login.to_vec()));
        // The refusal is explained, and the client has to answer that.
        let mut steps = vec![
            go(&format!("b1 AUTHENTICATE {name} {bad}"), "+"),
            tell(end, "b1"),
            go(&format!("b2 AUTHENTICATE {name}"), "+"),
            go(&bad, "+"),
            tell("*", "b2"),
        ];
        steps.extend(login);
        forms.push((refused, steps));
    }
    for (_, steps) in &mut forms {
        steps.extend([ask("y1 NOOP"), ask("y2 SELECT INBOX"), bye()]);
    }
    forms
}

fn literal(message: &[u8]) -> Vec<u8> {
    [message, b"\r\n"].concat()
}

/// A message that every server here takes as it is.
pub fn appended(tag: &str, folder: &str, flags: &str, message: &[u8]) -> [Step; 2] {
    [
        Step::Say(
            format!("{tag} APPEND {folder} {flags}{{{}}}\r\n", message.len()).into_bytes(),
            Until::Line("+"),
        ),
        Step::Say(literal(message), Until::Tag(tag.to_owned())),
    ]
}

pub fn mail_session(kind: Kind, person: &Person) -> Vec<Step> {
    let folder = match kind {
        Kind::Dovecot => "Work",
        Kind::Cyrus | Kind::Courier => "INBOX.Work",
    };
    let one = b"From: a@contoso.edu\r\nSubject: one\r\nDate: Thu, 1 Jan 2015 10:00:00 +0000\r\n\r\nhello {5}\r\n* 1 EXPUNGE\r\n";
    let two =
        [b"From: b@contoso.edu\r\nSubject: two\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(500)].concat();
    let mut steps = vec![
        go(&format!("a1 LOGIN {} {}", person.login, person.password), "a1 OK"),
        ask("a2 CAPABILITY"),
        ask("a3 NAMESPACE"),
        ask("a4 LIST \"\" *"),
        ask("a5 LSUB \"\" *"),
        ask("a6 LIST \"\" \"\""),
        ask("a7 SELECT INBOX"),
        ask(&format!("a8 CREATE {folder}")),
        ask(&format!("a9 SUBSCRIBE {folder}")),
        ask("a10 SELECT Nowhere"),
        ask("a11 SELECT INBOX"),
    ];
    steps.extend(appended("b1", "INBOX", "(\\Seen) \"01-Jan-2015 10:00:00 +0000\" ", one));
    steps.extend(appended("b2", "INBOX", "", &two));
    steps.extend(appended("b3", folder, "(\\Flagged) ", one));
    steps.extend([
        // To a folder that is not there: refused before or after the literal, as the server likes.
        ask("b5 NOOP"),
        ask("c1 FETCH 1:* (FLAGS UID RFC822.SIZE)"),
        ask("c2 FETCH 1 (BODY.PEEK[])"),
        ask("c3 UID FETCH 1:* (UID BODY[])"),
        ask("c4 FETCH 2 (BODY.PEEK[]<0.1000>)"),
        ask("c5 FETCH 2 (BODY.PEEK[]<1000.70000>)"),
        ask("c6 FETCH 1 RFC822"),
        ask("c7 FETCH 1:2 (ENVELOPE BODYSTRUCTURE)"),
        ask("c8 FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)])"),
        ask("c9 FETCH 99 FLAGS"),
        ask("c10 FETCH 1 NONSENSE"),
        ask("c11 fetch 1 (uid BODY.PEEK[TEXT])"),
        ask("d1 STORE 1 +FLAGS (\\Answered)"),
        ask("d2 STORE 1 -FLAGS.SILENT (\\Seen)"),
        ask("d3 UID STORE 2 FLAGS (\\Deleted)"),
        ask(&format!("d4 COPY 1 {folder}")),
        ask("d5 SEARCH ALL"),
        ask("d6 UID SEARCH SUBJECT one"),
        ask("d7 SEARCH NONSENSE"),
        ask(&format!("d8 STATUS {folder} (MESSAGES UIDNEXT UNSEEN)")),
        ask("d9 EXPUNGE"),
        ask("d10 NOOP"),
        ask("d11 SEARCH CHARSET X-NONE SUBJECT x"),
        ask(&format!("e1 UID COPY 1 {folder}")),
        ask(&format!("e2 SELECT {folder}")),
        ask("e3 FETCH 1:* (UID FLAGS BODY.PEEK[])"),
        ask("e4 CHECK"),
        ask("e5 CLOSE"),
        ask("e6 FETCH 1 FLAGS"),
        ask("e7 XYZZY"),
        Step::Say(b"e8\r\n".to_vec(), Until::Line("")),
        ask("e9 LOGIN again again"),
        // Cyrus forgets what stands behind it in the same packet.
        go("e10 STARTTLS", "e10 "),
        ask(&format!("e11 RENAME {folder} {folder}2")),
        ask(&format!("e12 EXAMINE {folder}2")),
        ask("e13 SELECT INBOX"),
        ask(&format!("e14 DELETE {folder}2")),
    ]);
    if kind != Kind::Courier {
        let (size, message) = (one.len(), String::from_utf8_lossy(one).replace("\r\n", "\n"));
        steps.extend([
            tell(&format!("f1 APPEND INBOX (\\Draft) {{{size}+}}\n{message}"), "f1"),
            tell(&format!("f2 APPEND INBOX {{{size}+}}\n{message} (\\Seen) {{{size}+}}\n{message}"), "f2"),
            tell(&format!("f3 APPEND Nowhere {{{size}+}}\n{message}"), "f3"),
            tell("f3e APPEND INBOX {0+}\n", "f3e"),
            // Refused before the literal is asked for.
            ask("f3r APPEND Nowhere {10}"),
            ask("f4 UID FETCH 1:* (FLAGS BODY.PEEK[])"),
            ask(&format!("f5 CREATE {folder}3")),
            ask(&format!("f6 UID MOVE 1 {folder}3")),
            ask("f7 UID SEARCH RETURN (ALL COUNT) ALL"),
            ask(&format!("f8 STATUS {folder}3 (MESSAGES)")),
            ask("f9 UNSELECT"),
            ask("f10 ENABLE CONDSTORE"),
            ask("f11 SELECT INBOX"),
            ask("f12 FETCH 1 (FLAGS)"),
        ]);
    }
    steps.push(bye());
    steps
}

/// Real mail, in and out again, whole and in ranges.
pub fn odd_mail(person: &Person) -> Vec<Step> {
    let mut steps =
        vec![go(&format!("a1 LOGIN {} {}", person.login, person.password), "a1 OK"), ask("a2 SELECT INBOX")];
    let messages = mail::real().unwrap();
    for (n, message) in messages.iter().enumerate() {
        steps.extend(appended(&format!("b{n}"), "INBOX", "", &message.content));
    }
    for n in 1..=messages.len() {
        steps.push(ask(&format!("c{n} UID FETCH {n} (UID BODY.PEEK[])")));
        steps.push(ask(&format!("d{n} UID FETCH {n} (BODY.PEEK[]<0.700> BODYSTRUCTURE)")));
        steps.push(ask(&format!("e{n} UID FETCH {n} (BODY.PEEK[]<700.1000000> ENVELOPE)")));
    }
    steps.push(ask("f1 FETCH 1:* (RFC822)"));
    steps.push(bye());
    steps
}
