//! A private Cyrus: everything that it reads and writes is named in its own `imapd.conf` and `cyrus.conf`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::certs::Leaf;
use crate::child::Server;
use crate::owner::Owner;
use crate::place::{free_port, loopback};
use crate::source::MASTER;
use crate::unpacked::Unpacked;

/// The realm of its password file.
const SERVER: &str = "cyrus.contoso.edu";

/// A running instance.
#[derive(Debug)]
pub struct Cyrus {
    _server: Server,
    unpacked: Unpacked,
    owner: Owner,
    dir: PathBuf,
    /// Plain port; STARTTLS too.
    pub imap: SocketAddr,
    /// Implicit TLS.
    pub imaps: SocketAddr,
}

impl Cyrus {
    /// Starts it below `dir`.
    pub async fn start(dir: &Path, leaf: &Leaf) -> anyhow::Result<Self> {
        let unpacked = Unpacked::find("cyrus")?;
        let owner = Owner::detect()?;
        for folder in ["", "lib", "lib/socket", "lib/db", "lib/proc", "lib/log", "lib/msg", "spool"] {
            owner.folder(&dir.join(folder))?;
        }
        // Cyrus reads its key as the user that it runs as.
        let (certificate, key) = (dir.join("server.pem"), dir.join("server.key"));
        std::fs::copy(&leaf.certificate_file, &certificate)?;
        std::fs::copy(&leaf.private_key_file, &key)?;
        owner.give(&key)?;
        for attempt in 0..3 {
            let (imap, imaps) = (loopback(free_port()?), loopback(free_port()?));
            let (settings, services) = (dir.join("imapd.conf"), dir.join("cyrus.conf"));
            std::fs::write(&settings, configuration(dir, &owner))?;
            std::fs::write(&services, self::services(&unpacked, &settings, imap, imaps))?;
            // Cyrus' master ends whatever is in its process group.
            let mut command = Command::new("setsid");
            command.arg(unpacked.file("usr/lib/cyrus/bin/master"));
            command.env("LD_LIBRARY_PATH", unpacked.libraries()?);
            command.arg("-C").arg(&settings).arg("-M").arg(&services);
            command.arg("-p").arg(dir.join("master.pid")).env("TZ", "Asia/Kolkata");
            let mut server = Server::start("cyrus", command, &dir.join("out.log"))?;
            match server.greets(imap).await {
                Ok(()) => {
                    return Ok(Self { _server: server, unpacked, owner, dir: dir.to_owned(), imap, imaps });
                }
                Err(error) if attempt == 2 => return Err(error),
                Err(_) => {}
            }
        }
        bail!("no free port for cyrus")
    }

    /// Adds somebody who may act as anybody: SASL PLAIN with the user for the identity.
    pub fn add_admin(&self, user: &str, password: &str) -> anyhow::Result<()> {
        ensure!(user == MASTER, "the configuration names {MASTER} as the administrator");
        self.add_user(user, password)
    }

    /// Adds a user, whose mailbox is created at the first login.
    pub fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut command = self.unpacked.command("usr/sbin/saslpasswd2")?;
        let file = self.dir.join("sasldb2");
        command.arg("-f").arg(&file).args(["-p", "-c", "-u", SERVER, user]);
        let mut child =
            command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("saslpasswd2")?;
        child.stdin.take().context("stdin")?.write_all(password.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "saslpasswd2: {}", String::from_utf8_lossy(&output.stderr));
        self.owner.give(&file)
    }
}

fn configuration(dir: &Path, owner: &Owner) -> String {
    format!(
        r"configdirectory: {d}/lib
partition-default: {d}/spool
defaultpartition: default
idlesocket: {d}/lib/socket/idle
cyrus_user: {user}
servername: {SERVER}
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {d}/sasldb2
sasl_mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256
allowplaintext: yes
failedloginpause: 0
admins: {MASTER}
unixhierarchysep: no
altnamespace: no
autocreate_quota: 0
autocreate_inbox_folders: Drafts | Sent | Trash | Junk
autocreate_subscribe_folders: Drafts | Sent | Trash | Junk
tls_server_cert: {d}/server.pem
tls_server_key: {d}/server.key
",
        d = dir.display(),
        user = owner.name,
    )
}

fn services(unpacked: &Unpacked, settings: &Path, imap: SocketAddr, imaps: SocketAddr) -> String {
    let command = |program: &str| {
        format!("{} -C {}", unpacked.file("usr/lib/cyrus/bin").join(program).display(), settings.display())
    };
    format!(
        r#"START {{
  recover cmd="{recover} -r"
}}
SERVICES {{
  imap cmd="{imapd} -U 100" listen="{imap}" prefork=1
  imaps cmd="{imapd} -s -U 100" listen="{imaps}" prefork=1
}}
EVENTS {{
}}
DAEMON {{
  idled cmd="{idled}"
}}
"#,
        recover = command("ctl_cyrusdb"),
        imapd = command("imapd"),
        idled = command("idled"),
    )
}
