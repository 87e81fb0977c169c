//! The client against a real Dovecot: a fake server proves our logic, this one our reading of IMAP.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mailferry_imap::net::{
    Append, Error, Event, Security, Server, Session, StoreKind, TlsClient, Trust, connect,
};
use mailferry_imap::response::{Code, Response, Status};
use mailferry_imap::{Flags, FolderName, InternalDate, Uid, UidSet};
use secrecy::SecretString;

/// A Dovecot of our own on free ports; stopped and removed when dropped.
struct Dovecot {
    process: Child,
    folder: PathBuf,
    plain: u16,
    tls: u16,
}

impl Dovecot {
    fn start(name: &str, extra: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mailferry-imap-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("mail")).unwrap();
        let (uid, gid) = match std::fs::metadata(&folder).unwrap().uid() {
            0 => (65_534, 65_534),
            _ => {
                let meta = std::fs::metadata(&folder).unwrap();
                (meta.uid(), meta.gid())
            }
        };
        chown(folder.join("mail"), Some(uid), Some(gid)).unwrap();
        let identity =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), identity.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), identity.signing_key.serialize_pem()).unwrap();
        let (plain, tls) = (free_port(), free_port());
        let path = folder.display();
        let config = format!(
            "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nprotocols = imap\nlisten = 127.0.0.1\n\
             ssl = yes\nssl_cert = <{path}/cert.pem\nssl_key = <{path}/key.pem\ndisable_plaintext_auth = no\n\
             auth_mechanisms = plain login\nauth_username_chars =\nauth_failure_delay = 0\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n\
             mail_location = maildir:{path}/mail/%u\nauth_master_user_separator = *\n\
             passdb {{\n driver = static\n args = password=secret\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={path}/mail/%u\n}}\n\
             namespace inbox {{\n inbox = yes\n separator = /\n mailbox Sent {{\n special_use = \\Sent\n auto = create\n }}\n}}\n\
             service imap-login {{\n chroot =\n inet_listener imap {{\n port = {plain}\n }}\n inet_listener imaps {{\n port = {tls}\n ssl = yes\n }}\n}}\n\
             service anvil {{\n chroot =\n}}\n{extra}\n"
        );
        std::fs::write(folder.join("dovecot.conf"), config).unwrap();
        let process = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(folder.join("dovecot.conf"))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dovecot is installed (apt-get install dovecot-imapd)");
        let server = Self { process, folder, plain, tls };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", tls)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", server.log());
            std::thread::yield_now();
        }
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn server(&self, security: Security) -> Server {
        let port = if security == Security::Ssl { self.tls } else { self.plain };
        Server { host: "127.0.0.1".to_owned(), port, security, trust: self.trust() }
    }

    fn trust(&self) -> Trust {
        Trust::CaFile(self.folder.join("cert.pem"))
    }

    async fn connect(&self, security: Security) -> Session {
        let server = self.server(security);
        connect(&server, &TlsClient::new(&server.trust).unwrap(), Duration::from_secs(10)).await.unwrap()
    }

    async fn login(&self, user: &str) -> Session {
        let mut session = self.connect(Security::Ssl).await;
        session.login(user, &secret()).await.unwrap();
        session
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that outgoing connections are not given, given once by this process.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number =
            std::process::id().wrapping_mul(7_919).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(number % 22_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn secret() -> SecretString {
    SecretString::from("secret")
}

fn uids(wire: &str) -> UidSet {
    UidSet::parse(wire.as_bytes()).unwrap()
}

async fn append(session: &mut Session, folder: &FolderName, flags: &Flags, date: &str, body: &[u8]) -> Uid {
    let date = InternalDate::parse(date.as_bytes()).unwrap();
    let (writer, reader) = session.halves();
    let write = async {
        let Append::Open(tag) = writer.append(folder, flags, Some(date), body.len() as u64).await.unwrap()
        else {
            panic!("refused")
        };
        for chunk in body.chunks(10_000) {
            writer.chunk(chunk).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), tag);
        writer.flush().await.unwrap();
        tag
    };
    let read = async {
        loop {
            if let Event::Tagged { tag, text } = reader.next().await.unwrap() {
                break (tag, text);
            }
        }
    };
    let (sent, (answered, text)) = tokio::join!(write, read);
    assert_eq!((sent, text.status), (answered, Status::Ok));
    let Some(Code::AppendUid(_, uids)) = text.code else { panic!("no APPENDUID in {text:?}") };
    uids.first().unwrap()
}

#[tokio::test]
async fn one_mailbox_from_login_to_logout() {
    let dovecot = Dovecot::start("verbs", "");
    for security in [Security::None, Security::Tls, Security::Ssl] {
        let session = dovecot.connect(security).await;
        assert!(session.capabilities().has("LITERAL+"), "{security:?}");
        session.logout().await.unwrap();
    }

    let mut session = dovecot.connect(Security::Tls).await;
    session.authenticate_plain("", "joe", &secret()).await.unwrap();
    session.logout().await.unwrap();

    let mut session = dovecot.connect(Security::Ssl).await;
    let refused = session.login("joe", &SecretString::from("wr\"ong\\")).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { command: "LOGIN", status: Status::No, .. }), "{refused}");
    assert!(!refused.is_fatal() && !format!("{refused:?}").contains("wr"));
    session.login("jo\u{eb}", &secret()).await.unwrap();
    session.logout().await.unwrap();

    let mut session = dovecot.login("joe").await;
    assert!(session.capabilities().has("UIDPLUS") && session.capabilities().has("condstore"));
    let namespaces = session.namespace().await.unwrap();
    assert_eq!(namespaces.personal[0].delimiter, Some(b'/'));

    let folder = FolderName::from_text("Été/\"quoted\" \\ & 日本");
    session.create(&folder).await.unwrap();
    session.subscribe(&folder).await.unwrap();
    let again = session.create(&folder).await.unwrap_err();
    assert!(matches!(again, Error::Refused { code: Some(Code::AlreadyExists), .. }), "{again}");
    let listed = session.list(&FolderName::from_wire(""), "*").await.unwrap();
    assert!(
        listed.iter().any(|listed| listed.name == folder && listed.delimiter == Some(b'/')),
        "{listed:?}"
    );
    assert!(listed.iter().any(|listed| listed.attributes.iter().any(|is| is == "\\Sent")), "{listed:?}");
    let subscribed = session.lsub(&FolderName::from_wire(""), "*").await.unwrap();
    assert_eq!(subscribed.len(), 1);

    let flags: Flags = ["\\Seen", "\\Flagged", "$Label1"].into_iter().collect();
    let big = b"Subject: big\r\n\r\n".iter().copied().chain((0..3_000_000u32).map(|n| b'a' + (n % 23) as u8));
    let big: Vec<u8> = big.collect();
    let small = b"Subject: {5}\r\n\r\n* 1 FETCH (BODY[] {5}\r\nbare\nlf \xff\xfe 8 bit\r\n".to_vec();
    let first = append(&mut session, &folder, &flags, " 1-Jul-2020 10:00:00 +0545", &big).await;
    let second = append(&mut session, &folder, &Flags::default(), "31-Dec-1999 23:59:59 -0800", &small).await;

    let statuses = session.list_status(&FolderName::from_wire(""), "*").await.unwrap();
    let (_, status) = statuses.iter().find(|(listed, _)| listed.name == folder).unwrap();
    assert_eq!(status.as_ref().unwrap().messages, Some(2));
    let status = session.status(&folder).await.unwrap();
    assert_eq!((status.messages, status.uid_next), (Some(2), Uid::new(second.value() + 1)));

    let selected = session.examine(&folder).await.unwrap();
    assert_eq!((selected.exists, selected.read_only), (2, true));
    assert_eq!(selected.uid_next, status.uid_next);
    assert!(selected.highest_modseq.is_some());
    let selected = session.select(&folder).await.unwrap();
    assert!(!selected.read_only && selected.keywords_allowed);

    let mut facts = Vec::new();
    let items = "UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ BODY.PEEK[HEADER.FIELDS (SUBJECT)]";
    session.uid_fetch(&uids("1:99"), items, |fetched| facts.push(fetched)).await.unwrap();
    assert_eq!(facts.len(), 2);
    assert_eq!((facts[0].uid, facts[0].size), (Some(first), Some(big.len() as u64)));
    assert_eq!(facts[0].flags.as_ref().unwrap(), &flags);
    assert_eq!(
        facts[0].internal_date.unwrap().unix(),
        1_593_576_900,
        "Maildir keeps the moment, not the zone"
    );
    assert_eq!(facts[1].internal_date.unwrap().unix(), 946_713_599);
    let (item, subject) = &facts[1].sections[0];
    assert_eq!(
        (item.as_str(), subject.as_ref()),
        ("BODY[HEADER.FIELDS (SUBJECT)]", b"Subject: {5}\r\n\r\n".as_slice())
    );

    let (writer, reader) = session.halves();
    let tag = writer.fetch_bodies(&uids("1:99")).await.unwrap();
    writer.flush().await.unwrap();
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    loop {
        match reader.next().await.unwrap() {
            Event::BodyStart { uid, size, .. } => {
                bodies.push(Vec::new());
                assert_eq!(uid, [Some(first), Some(second)][bodies.len() - 1]);
                assert_eq!(size, [big.len(), small.len() + 1][bodies.len() - 1] as u64);
            }
            Event::BodyChunk(chunk) => bodies.last_mut().unwrap().extend_from_slice(&chunk),
            Event::BodyEnd { fetched } => assert!(fetched.uid.is_some()),
            Event::Tagged { tag: known, text } => {
                assert_eq!((known, text.status), (tag, Status::Ok));
                break;
            }
            Event::Untagged(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(bodies[0] == big);

    session.uid_store(&uids("1:99"), StoreKind::Remove, &flags).await.unwrap();
    session.uid_store(&uids("1"), StoreKind::Add, &["\\Deleted"].into_iter().collect()).await.unwrap();
    assert_eq!(session.uid_search("UNDELETED").await.unwrap().iter().collect::<Vec<_>>(), [second]);
    let copied = session.uid_copy(&uids("1:2"), &FolderName::inbox()).await.unwrap();
    assert_eq!(copied.len(), 2);
    let moved = session.uid_move(&uids("2"), &FolderName::inbox()).await.unwrap();
    assert_eq!(moved.iter().map(|one| one.from).collect::<Vec<_>>(), [second]);
    session.uid_expunge(&uids("1:99")).await.unwrap();
    session.noop().await.unwrap();
    assert!(session.uid_search("ALL").await.unwrap().is_empty());
    let other = FolderName::from_text("Été/moved");
    session.rename(&folder, &other).await.unwrap();
    session.delete(&other).await.unwrap();
    let gone = session.examine(&other).await.unwrap_err();
    assert!(matches!(gone, Error::Refused { command: "EXAMINE", .. }));
    session.logout().await.unwrap();
}

#[tokio::test]
async fn literals_that_must_be_asked_for() {
    let dovecot = Dovecot::start(
        "literals",
        "imap_capability = IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE AUTH=PLAIN UIDPLUS",
    );
    let mut session = dovecot.login("joe").await;
    assert!(!session.capabilities().has("LITERAL+"), "{:?}", session.capabilities());
    let inbox = FolderName::inbox();
    let body = vec![b'x'; 100_000];
    append(&mut session, &inbox, &Flags::default(), " 1-Jul-2020 10:00:00 +0545", &body).await;
    append(&mut session, &inbox, &Flags::default(), " 1-Jul-2020 10:00:00 +0545", b"\r\n").await;

    // Refused before the body: the next command is understood.
    let (writer, reader) = session.halves();
    let (missing, flags) = (FolderName::from_text("missing"), Flags::default());
    let (answer, event) = tokio::join!(writer.append(&missing, &flags, None, 1 << 30), reader.next());
    let (Append::Refused(tag), Event::Tagged { tag: answered, text }) = (answer.unwrap(), event.unwrap())
    else {
        panic!("not refused")
    };
    assert_eq!((tag, text.code), (answered, Some(Code::TryCreate)));
    let mut exists = None;
    session
        .command_with("EXAMINE", "INBOX", |response| {
            if let Response::Exists(number) = response {
                exists = Some(number);
            }
        })
        .await
        .unwrap();
    assert_eq!(exists, Some(2));
}

#[tokio::test]
async fn certificates_are_verified() {
    let dovecot = Dovecot::start("trust", "");
    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = dovecot.folder.join("stranger.pem");
    std::fs::write(&file, stranger.cert.pem()).unwrap();
    for security in [Security::Ssl, Security::Tls] {
        let server = Server { trust: Trust::CaFile(file.clone()), ..dovecot.server(security) };
        let tls = TlsClient::new(&server.trust).unwrap();
        let error = connect(&server, &tls, Duration::from_secs(10)).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
        let server = Server { trust: Trust::Off, ..server };
        connect(&server, &TlsClient::new(&Trust::Off).unwrap(), Duration::from_secs(10)).await.unwrap();
    }
    let closed = Server { port: free_port(), ..dovecot.server(Security::None) };
    let tls = TlsClient::new(&Trust::Off).unwrap();
    let error = connect(&closed, &tls, Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(TlsClient::new(&Trust::CaFile(Path::new("/nonexistent.pem").into())).is_err());
    assert!(TlsClient::new(&Trust::CaFile(dovecot.folder.join("key.pem"))).is_err());
}
