//! The harness itself holds what it promises: without these, the other tests would prove nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use mailferry_tests::account::{Side, Word, compare};
use mailferry_tests::certs::Authority;
use mailferry_tests::client::Client;
use mailferry_tests::fault::{Dress, Fault, Relay, Rule, Setup, Way};
use mailferry_tests::mail::{self, Recipe};
use mailferry_tests::place::Place;
use mailferry_tests::python;
use mailferry_tests::source::Dovecot;
use mailferry_tests::target::Exchange;
use mailferry_tests::tokens::Endpoint;
use serde_json::json;

struct Servers {
    source: Dovecot,
    target: Exchange,
    tokens: Endpoint,
    authority: Authority,
    leaf: mailferry_tests::certs::Leaf,
    _place: Place,
}

async fn servers() -> Servers {
    let place = Place::new().unwrap();
    let authority = Authority::new(place.path()).unwrap();
    let leaf = authority.leaf("server", &[]).unwrap();
    let source = Dovecot::start(&place.folder("source").unwrap(), &leaf).await.unwrap();
    let tokens = Endpoint::start(&place.folder("tokens").unwrap(), &leaf).await.unwrap();
    let target = Exchange::start(&place.folder("target").unwrap(), &leaf, tokens.trusted()).await.unwrap();
    source.add_user("terry.adams", "1091990").unwrap();
    target.add_user("terrya@contoso.edu", "unused").unwrap();
    Servers { source, target, tokens, authority, leaf, _place: place }
}

impl Servers {
    fn sides(&self, target_port: u16) -> (Side, Side) {
        (
            Side {
                port: self.source.imaps().port(),
                user: "terry.adams".into(),
                word: Word::Password("1091990".into()),
            },
            Side {
                port: target_port,
                user: "terrya@contoso.edu".into(),
                word: Word::Token(self.tokens.token().unwrap()),
            },
        )
    }

    fn client(&self, port: u16) -> Client {
        Client {
            port,
            user: "terry.adams".into(),
            password: "1091990".into(),
            ca: self.authority.ca_file.clone(),
            manner: json!({}),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_sees_every_loaded_message_missing_from_an_empty_target() {
    let servers = servers().await;
    let loaded = servers.source.load("terry.adams", Recipe::small(1, 120).mailbox()).unwrap();
    let (source, target) = servers.sides(servers.target.address().port());
    let account = compare(&source, &target, &BTreeMap::new(), &servers.authority.ca_file).await.unwrap();
    assert_eq!(account.source_messages, loaded.messages, "{account}");
    assert_eq!(account.bytes, loaded.bytes, "{account}");
    assert_eq!(account.missing.len() as u64, loaded.messages, "{account}");
    assert!(account.absent.contains(&"Projekte.2024.&ANw-ber M&APw-nchen".to_owned()), "{account}");
}

const TALK: &str = r#"
import imaplib, json, ssl, sys
job = json.load(sys.stdin)
imap = imaplib.IMAP4_SSL("localhost", job["port"], ssl_context=ssl.create_default_context(cafile=job["ca"]))
said = {"before": imap.capabilities, "greeting": imap.welcome.decode()}
word = f"user={job['user']}\x01auth=Bearer {job['token']}\x01\x01".encode()
try:
    said["login"] = imap.authenticate("XOAUTH2", lambda _: word)[1][0].decode()
except imaplib.IMAP4.error as error:
    said["login"] = str(error)
else:
    imap._get_capabilities()
    said["after"] = imap.capabilities
    said["namespace"] = imap.namespace()[1][0].decode()
    said["folders"] = [line.decode() for line in imap.list()[1]]
    said["append"] = imap.append("INBOX", "(\\Seen)", None, b"Subject: x\r\n\r\ny\r\n")[1][0].decode()
    try:
        imap.append("INBOX", "(\\Seen Work)", None, b"Subject: x\r\n\r\ny\r\n")
    except imaplib.IMAP4.error as error:
        said["keyword"] = str(error)
    said["select"] = [str(imap.select()), str(imap.untagged_responses)]
    try:
        imap.uid("STORE", "1", "+FLAGS", "(Work)")
    except imaplib.IMAP4.error as error:
        said["store"] = str(error)
json.dump(said, sys.stdout)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_target_speaks_as_exchange_and_takes_signed_app_tokens_only() {
    let servers = servers().await;
    let port = servers.target.address().port();
    let ca = &servers.authority.ca_file;
    let token = servers.tokens.token().unwrap();
    let talk = async |user: &str, token: &str| {
        python::run(TALK, &json!({"port": port, "ca": ca, "user": user, "token": token})).await.unwrap()
    };

    let said = talk("terrya@contoso.edu", &token).await;
    assert_eq!(said["login"], "AUTHENTICATE completed.", "{said:#}");
    assert!(said["greeting"].as_str().unwrap().contains("Microsoft Exchange"), "{said:#}");
    let words = said["before"].to_string() + &said["after"].to_string();
    for absent in ["CONDSTORE", "QRESYNC", "AUTH=PLAIN", "SPECIAL-USE", "COMPRESS", "STARTTLS"] {
        assert!(!words.contains(absent), "{absent} in {words}");
    }
    assert_eq!(said["namespace"], r#"(("" "/")) NIL NIL"#);
    assert!(said["folders"].to_string().contains("Sent Items"), "{said:#}");
    assert!(said["append"].as_str().unwrap().contains("APPENDUID"), "{said:#}");
    assert!(said["keyword"].as_str().unwrap().contains("Command Argument Error. 11"), "{said:#}");
    assert!(said["store"].as_str().unwrap().contains("Command Argument Error. 11"), "{said:#}");
    let select = said["select"].to_string();
    assert!(!select.contains("\\\\*") && !select.contains("MODSEQ"), "{select}");

    let failed = "AUTHENTICATE failed";
    let unknown = talk("nobody@contoso.edu", &token).await;
    assert!(unknown["login"].as_str().unwrap().contains(failed), "{unknown:#}");
    let mut forged = token.clone();
    forged.replace_range(token.len() - 20..token.len() - 10, "AAAAAAAAAA");
    let forged = talk("terrya@contoso.edu", &forged).await;
    assert!(forged["login"].as_str().unwrap().contains(failed), "{forged:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_counts_cuts_and_comes_back() {
    let servers = servers().await;
    servers
        .source
        .load("terry.adams", (0..3).map(|n| mail::exact(&["INBOX"], 5000 + n, "x", 1_600_000_000)))
        .unwrap();
    let relay = Relay::start(Setup {
        upstream: servers.source.imaps(),
        upstream_tls: Some(servers.authority.client().unwrap()),
        tls: Some(servers.leaf.server().unwrap()),
        dress: Dress::Plain,
    })
    .await
    .unwrap();
    let client = servers.client(relay.address().port());

    let bodies = client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap();
    assert_eq!(bodies.len(), 3);
    assert_eq!(relay.counts().bodies_served(), 3);
    assert_eq!(relay.counts().bodies[&("INBOX".to_owned(), 2)], 1);

    relay.cut_after(Way::ToClient, 6000);
    assert!(client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.is_err());
    assert_eq!(relay.cuts(), 1);

    relay.order(Rule::next("APPEND", Fault::LoseAnswer));
    assert!(client.append("INBOX", "lost", 1, 1000).await.is_err());
    assert_eq!(client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap().len(), 4);

    relay.order(Rule::next("APPEND", Fault::Answer("NO Server Unavailable. 15".into())));
    let error = client.append("INBOX", "refused", 1, 1000).await.unwrap_err().to_string();
    assert!(error.contains("Server Unavailable. 15"), "{error}");
    assert_eq!(client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap().len(), 4);

    relay.go_down().await;
    assert!(client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.is_err());
    relay.come_back().await.unwrap();
    assert_eq!(client.fetch("INBOX", "1:*", "(UID BODY.PEEK[])").await.unwrap().len(), 4);
}

const KEEP: &str = r#"
import imaplib, json, ssl, sys
job = json.load(sys.stdin)
imap = imaplib.IMAP4_SSL("localhost", job["port"], ssl_context=ssl.create_default_context(cafile=job["ca"]))
imap.authenticate("XOAUTH2", lambda _: f"user={job['user']}\x01auth=Bearer {job['token']}\x01\x01".encode())
def append(text):
    # imaplib's own append rewrites line ends.
    tag = imap._new_tag()
    imap.send(tag + b" APPEND INBOX {%d+}\r\n" % len(text) + text + b"\r\n")
    while not imap.readline().startswith(tag):
        pass
changed = []
# Dovecot itself drops a CR that stands before CRLF or at the very end; the generator makes no such message.
for body in [b"a\rb\r\n", b"\xff\x01\x7f\r\n", b"", b".\r\n", b"no end"]:
    text = b"Subject: x\r\n\r\n" + body
    append(text)
    imap.select()
    number = imap.search(None, "ALL")[1][0].split()[-1]
    back = imap.fetch(number, "(BODY.PEEK[])")[1][0][1]
    if back != text:
        changed.append([repr(text), repr(back)])
json.dump({"changed": changed}, sys.stdout)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_target_gives_back_the_bytes_that_it_was_given() {
    let servers = servers().await;
    for port in [servers.target.address().port(), servers.target.direct().port()] {
        let job = json!({"port": port, "ca": servers.authority.ca_file, "user": "terrya@contoso.edu",
            "token": servers.tokens.token().unwrap()});
        let said = python::run(KEEP, &job).await.unwrap();
        assert_eq!(said["changed"], json!([]), "{said:#}");
    }
}
