//! Real mail clients, once at the source itself and once through the proxy: the mail that they get is the same byte for
//! byte, with the same flags, and what they put there arrives as it would have.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mailferry_tests::mail::{Message, Recipe, real};
use mailferry_tests::stand::{Options, Person, Stand};
use serde_json::json;

/// Folder -> its messages, each with its flags.
type Mail = BTreeMap<PathBuf, Vec<(String, Vec<u8>)>>;

struct Office {
    stand: Stand,
    terry: Person,
    messages: u64,
}

/// Where a client connects, and where it keeps its things.
struct Way<'a> {
    office: &'a Office,
    name: &'static str,
    port: u16,
    dir: PathBuf,
}

impl Office {
    /// A mailbox that a running batch mirrors, with real mail and generated oddities.
    async fn open() -> Self {
        Self::with(real().unwrap()).await
    }

    async fn with(more: Vec<Message>) -> Self {
        let mut stand = Stand::start(Options::default()).await.unwrap();
        let terry = stand.add_person("terry.adams").unwrap();
        let messages = Recipe::small(51, 60).mailbox().chain(more);
        let messages = stand.source.load(&terry.login, messages).unwrap().messages;
        stand.start_batch("B1", std::slice::from_ref(&terry)).await.unwrap();
        stand.synced("B1", std::time::Duration::from_secs(120)).await.unwrap();
        Self { stand, terry, messages }
    }

    fn ways(&self) -> [Way<'_>; 2] {
        [("directly", self.stand.source.imaps()), ("through", self.stand.proxy())].map(|(name, address)| {
            let dir = self.stand.path().join("clients").join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Way { office: self, name, port: address.port(), dir }
        })
    }

    /// UIDs and digests of a folder, by the independent reader at a port.
    async fn digests(&self, folder: &str, port: u16) -> BTreeMap<u32, String> {
        let reader = self.stand.client_at(&self.terry, port, json!({}));
        reader.fetch(folder, "1:*", "(UID BODY.PEEK[])").await.unwrap()
    }

    async fn uids(&self, folder: &str) -> Vec<u32> {
        self.digests(folder, self.stand.source.imaps().port()).await.into_keys().collect()
    }

    /// A client puts a letter into Sent, once each way: what arrives is the same.
    async fn arrive_alike(&self, put: impl Fn(&Way<'_>)) {
        let before = self.uids("Sent").await;
        self.ways().iter().for_each(put);
        let after = self.uids("Sent").await;
        let new = &after[before.len()..];
        assert_eq!(new.len(), 2, "one each way: {before:?} {after:?}");
        let directly = &self.ways()[0];
        let [one, other] = [0, 1].map(|n| {
            let letter = directly.curl(&format!("Sent;UID={}", new[n]), &[]);
            String::from_utf8(unmarked(&letter)).unwrap()
        });
        assert!(one.contains("From here on {5}") && one.ends_with("bye\r\n"), "{one}");
        assert_eq!(one, other);
    }
}

impl Way<'_> {
    fn ca(&self) -> String {
        self.office.stand.authority.ca_file.display().to_string()
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a client; its output.
    fn run(&self, command: &mut Command) -> Vec<u8> {
        command.env("HOME", &self.dir).env("TERM", "xterm").current_dir(&self.dir);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}: {command:?}: {output:?}", self.name);
        output.stdout
    }

    fn curl(&self, path: &str, more: &[&str]) -> Vec<u8> {
        let user = format!("{}:{}", self.office.terry.login, self.office.terry.password);
        let url = format!("imaps://localhost:{}/{path}", self.port);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--cacert", &self.ca(), "--user", &user, &url]).args(more);
        self.run(&mut curl)
    }

    fn new_folder(&self, folder: &str) {
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(self.dir.join(folder).join(part)).unwrap();
        }
    }
}

/// All Maildir folders below a folder.
fn maildirs(dir: &Path) -> Mail {
    let mut mail = Mail::new();
    gather(dir, Path::new(""), &mut mail);
    mail.values_mut().for_each(|messages| messages.sort());
    mail
}

fn gather(dir: &Path, below: &Path, mail: &mut Mail) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if ["cur", "new"].contains(&&*name) {
            for file in std::fs::read_dir(&path).unwrap().map(Result::unwrap) {
                let file_name = file.file_name().into_string().unwrap();
                let flags = file_name.rsplit_once(":2,").map_or("", |(_, flags)| flags).to_owned();
                mail.entry(below.to_owned())
                    .or_default()
                    .push((flags, unmarked(&std::fs::read(file.path()).unwrap())));
            }
        } else if path.is_dir() {
            gather(&path, &below.join(name), mail);
        }
    }
}

/// Without what mbsync marks each message with, at random.
fn unmarked(message: &[u8]) -> Vec<u8> {
    let lines = message.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.starts_with(b"X-TUID: ")).collect::<Vec<_>>().concat()
}

/// `at_least` messages, and both ways the same.
fn same(what: &str, directly: &Mail, through: &Mail, at_least: u64) {
    let count: usize = directly.values().map(Vec::len).sum();
    assert!(count as u64 >= at_least, "{what}: {count} messages directly");
    println!("{what}: {count} messages in {} folders", directly.len());
    let folders = |mail: &Mail| mail.iter().map(|(name, all)| (name.clone(), all.len())).collect::<Vec<_>>();
    assert_eq!(folders(through), folders(directly), "{what}: folders through the proxy, and directly");
    for (folder, messages) in directly {
        for (n, (one, other)) in messages.iter().zip(&through[folder]).enumerate() {
            let shown =
                |message: &[u8]| String::from_utf8_lossy(&message[..message.len().min(300)]).into_owned();
            assert!(
                one == other,
                "{what}: message {n} of {folder:?} directly:\n{} {}\nthrough the proxy:\n{} {}",
                one.0,
                shown(&one.1),
                other.0,
                shown(&other.1)
            );
        }
    }
}

const LETTER: &str = "From: terry.adams@contoso.edu\nTo: lia@contoso.edu\nSubject: a letter\n\
    Date: Tue, 02 Jun 2015 10:00:00 +0000\nMessage-ID: <letter@contoso.edu>\n\n.\nFrom here on {5}\n\nbye\n";

#[tokio::test(flavor = "multi_thread")]
async fn mbsync_gets_and_puts_the_same() {
    let office = Office::open().await;
    let [directly, through] = office.ways().map(|way| {
        let (dir, user, password) = (way.dir.display(), &office.terry.login, &office.terry.password);
        let rc = format!(
            "IMAPStore far\nHost localhost\nPort {}\nUser {user}\nPass \"{password}\"\nSSLType IMAPS\nCertificateFile {}\n\n\
             MaildirStore near\nPath {dir}/mail/\nInbox {dir}/mail/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nSync All\nSyncState {dir}/state/\n",
            way.port,
            way.ca(),
        );
        let rc = way.write("rc", &rc);
        way.new_folder("mail/INBOX");
        std::fs::create_dir_all(way.dir.join("state")).unwrap();
        way.run(Command::new("mbsync").arg("-c").arg(&rc).arg("all"));
        maildirs(&way.dir.join("mail"))
    });
    // It leaves out what is marked for deletion.
    same("mbsync", &directly, &through, office.messages * 9 / 10);
    office
        .arrive_alike(|way| {
            way.write("mail/Sent/cur/1.local:2,S", LETTER);
            way.run(Command::new("mbsync").args(["-c", "rc", "--push", "--new", "all:Sent"]));
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offlineimap_gets_and_puts_the_same() {
    // It dies of some real messages whose MIME structure is broken, and of quotes in a folder's name, wherever they come from.
    let office = Office::with(Vec::new()).await;
    let [directly, through] = office.ways().map(|way| {
        let rc = format!(
            "[general]\naccounts = all\nmetadata = {dir}/meta\nui = quiet\n\n[Account all]\nlocalrepository = near\n\
             remoterepository = far\n\n[Repository near]\ntype = Maildir\nlocalfolders = {dir}/mail\n\n[Repository far]\n\
             type = IMAP\nremotehost = localhost\nremoteport = {port}\nremoteuser = {user}\nremotepass = {password}\n\
             ssl = yes\nsslcacertfile = {ca}\nauth_mechanisms = PLAIN\nfolderfilter = lambda name: '\"' not in name\n",
            dir = way.dir.display(),
            port = way.port,
            user = office.terry.login,
            password = office.terry.password,
            ca = way.ca(),
        );
        way.write("rc", &rc);
        way.run(Command::new("offlineimap").args(["-o", "-c", "rc"]));
        maildirs(&way.dir.join("mail"))
    });
    same("offlineimap", &directly, &through, office.messages * 9 / 10);
    office
        .arrive_alike(|way| {
            way.write("mail/Sent/new/1.local", LETTER);
            way.run(Command::new("offlineimap").args(["-o", "-c", "rc", "-f", "Sent"]));
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neomutt_gets_and_puts_the_same() {
    let office = Office::open().await;
    let [directly, through] = office.ways().map(|way| {
        let rc = format!(
            "set folder = \"imaps://{user}@localhost:{port}/\"\nset imap_pass = \"{password}\"\n\
             set ssl_ca_certificates_file = \"{ca}\"\nset certificate_file = \"\"\nset ssl_verify_host = yes\n\
             set mbox_type = Maildir\nset mark_old = no\nset imap_peek = yes\nset header_cache = \"\"\n\
             unset confirmappend\nunset confirmcreate\nset quit = yes\nset wait_key = no\nset move = no\nset copy = no\n",
            user = office.terry.login,
            port = way.port,
            password = office.terry.password,
            ca = way.ca(),
        );
        way.write("rc", &rc);
        for folder in ["INBOX", "Sent"] {
            way.neomutt(&format!("={folder}"), &format!("{}/mail/{folder}", way.dir.display()));
        }
        maildirs(&way.dir.join("mail"))
    });
    let inbox = office.uids("INBOX").await.len() + office.uids("Sent").await.len();
    same("neomutt", &directly, &through, inbox as u64);
    office
        .arrive_alike(|way| {
            way.new_folder("letters");
            way.write("letters/cur/1.local:2,S", LETTER);
            way.neomutt(&format!("{}/letters", way.dir.display()), "=Sent");
        })
        .await;
}

impl Way<'_> {
    /// Copies every message of one folder into another, at the keyboard: `script` is the terminal.
    fn neomutt(&self, from: &str, to: &str) {
        let keys = format!("<tag-pattern>~A<enter><tag-prefix><copy-message>{to}<enter><exit>");
        let keys = self.write("keys", &format!("source {}/rc\npush \"{keys}\"\n", self.dir.display()));
        let command = format!("neomutt -n -R -F {} -f '{from}'", keys.display());
        self.run(Command::new("timeout").args(["120", "script", "-qec", &command, "typescript"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_imaplib_get_and_put_the_same() {
    let office = Office::open().await;
    for folder in ["INBOX", "Sent"] {
        let uids = office.uids(folder).await;
        let [directly, through] = office.ways().map(|way| {
            let all = uids.iter().map(|uid| (String::new(), way.curl(&format!("{folder};UID={uid}"), &[])));
            Mail::from([(PathBuf::from(folder), all.collect())])
        });
        same("curl", &directly, &through, uids.len() as u64);
        let [one, other] = office.ways().map(|way| way.port);
        assert_eq!(office.digests(folder, other).await, office.digests(folder, one).await);
    }
    let [listed, other] = office.ways().map(|way| way.curl("", &[]));
    assert_eq!(String::from_utf8_lossy(&other), String::from_utf8_lossy(&listed));
    office
        .arrive_alike(|way| {
            way.write("letter", &LETTER.replace('\n', "\r\n"));
            way.curl("Sent", &["-T", "letter"]);
        })
        .await;
}
