//! A private Courier. Its programs have `/etc/courier` and `/run/courier` compiled in, so they run in a mount namespace
//! of their own where `/etc` and `/run` are folders of the stand; this machine's are not touched. That needs root.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail, ensure};

use crate::certs::Leaf;
use crate::child::Server;
use crate::mail::{Loaded, Message};
use crate::maildir::{self, Manner};
use crate::owner::Owner;
use crate::place::{free_port, loopback};
use crate::unpacked::Unpacked;

/// A running instance.
#[derive(Debug)]
pub struct Courier {
    _server: Server,
    unpacked: Unpacked,
    owner: Owner,
    dir: PathBuf,
    /// Who may log in, with the fields of the database and those of its shadow.
    users: Mutex<Vec<(String, String, String)>>,
    /// Plain port; STARTTLS too.
    pub imap: SocketAddr,
    /// Implicit TLS.
    pub imaps: SocketAddr,
}

/// Why Courier cannot run here, if so.
pub fn impossible() -> Option<String> {
    let tried = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    let possible = rustix::process::geteuid().is_root() && tried.is_ok_and(|status| status.success());
    (!possible).then(|| "Courier needs root and a mount namespace (unshare --mount)".to_owned())
}

impl Courier {
    /// Starts it below `dir`.
    pub async fn start(dir: &Path, leaf: &Leaf) -> anyhow::Result<Self> {
        if let Some(why) = impossible() {
            bail!(why);
        }
        let unpacked = Unpacked::find("courier")?;
        let owner = Owner::detect()?;
        for folder in ["etc/courier/shared", "run/courier/authdaemon"] {
            std::fs::create_dir_all(dir.join(folder))?;
        }
        owner.folder(&dir.join("home"))?;
        for file in ["passwd", "group", "nsswitch.conf", "hosts", "ld.so.cache", "services", "protocols"] {
            let from = Path::new("/etc").join(file);
            if from.exists() {
                std::fs::copy(from, dir.join("etc").join(file))?;
            }
        }
        // STARTTLS is carried out as this user, which only an installed package has.
        for (file, line) in
            [("passwd", "courier:x:0:0::/nonexistent:/bin/false\n"), ("group", "courier:x:0:\n")]
        {
            std::fs::File::options()
                .append(true)
                .open(dir.join("etc").join(file))?
                .write_all(line.as_bytes())?;
        }
        std::fs::write(
            dir.join("etc/courier/authdaemonrc"),
            "authmodulelist=\"authuserdb\"\nauthmodulelistorig=\"authuserdb\"\ndaemons=3\n\
             authdaemonvar=/run/courier/authdaemon\nDEBUG_LOGIN=0\nDEFAULTOPTIONS=\"\"\nLOGGEROPTS=\"\"\n",
        )?;
        let mut both = std::fs::read(&leaf.certificate_file)?;
        both.extend(std::fs::read(&leaf.private_key_file)?);
        std::fs::write(dir.join("both.pem"), both)?;
        for attempt in 0..3 {
            let (imap, imaps) = (loopback(free_port()?), loopback(free_port()?));
            let script = dir.join("run.sh");
            std::fs::write(&script, self::script(dir, &unpacked, imap, imaps))?;
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh"]).arg(&script);
            command.env("LD_LIBRARY_PATH", unpacked.libraries()?).env("TZ", "Asia/Kolkata");
            let mut server = Server::start("courier", command, &dir.join("out.log"))?;
            let greeted = server.greets(imap).await;
            let courier = Self {
                _server: server,
                unpacked: unpacked.clone(),
                owner: owner.clone(),
                dir: dir.to_owned(),
                users: Mutex::default(),
                imap,
                imaps,
            };
            match greeted {
                Ok(()) => return Ok(courier),
                Err(error) if attempt == 2 => return Err(error),
                Err(_) => {}
            }
        }
        bail!("no free port for courier")
    }

    /// Adds a user with an empty mailbox, which administrators see below `#shared.`.
    pub fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        self.add(user, password, "")?;
        let mut index = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("etc/courier/shared/index"))?;
        let home = self.dir.join("home").join(user);
        writeln!(index, "{user}\t{}\t{}\t{}\tMaildir", self.owner.uid, self.owner.gid, home.display())?;
        Ok(())
    }

    /// Adds somebody who may open everybody's folders: Courier's virtual shared folders.
    pub fn add_admin(&self, user: &str, password: &str) -> anyhow::Result<()> {
        self.add(user, password, "|options=group=administrators")
    }

    fn add(&self, user: &str, password: &str, options: &str) -> anyhow::Result<()> {
        let home = self.dir.join("home").join(user);
        for folder in ["", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"] {
            self.owner.folder(&home.join(folder))?;
        }
        let (uid, gid, at) = (self.owner.uid, self.owner.gid, home.display());
        let fields = format!("uid={uid}|gid={gid}|home={at}|mail={at}/Maildir{options}");
        let shadow = format!(
            "systempw={}|hmac-md5pw={}",
            self.hashed("-md5", password)?,
            self.hashed("-hmac-md5", password)?
        );
        let Ok(mut users) = self.users.lock() else { bail!("another test died adding a user") };
        users.push((user.to_owned(), fields, shadow));
        let (mut open, mut secret) = (String::new(), String::new());
        for (name, fields, shadow) in users.iter() {
            writeln!(open, "{name}\t{fields}")?;
            writeln!(secret, "{name}\t{shadow}")?;
        }
        self.database("userdb", &open)?;
        self.database("userdbshadow", &secret)
    }

    /// Puts messages straight into the user's Maildir.
    pub fn load(&self, user: &str, messages: impl Iterator<Item = Message>) -> anyhow::Result<Loaded> {
        maildir::load(&self.dir.join("home").join(user), &self.owner, Manner::Courier, messages)
    }

    fn hashed(&self, how: &str, password: &str) -> anyhow::Result<String> {
        let mut command = self.unpacked.command("usr/sbin/userdbpw")?;
        let hashed = told(command.arg(how), &format!("{password}\n"))?;
        Ok(hashed.trim().to_owned())
    }

    fn database(&self, name: &str, lines: &str) -> anyhow::Result<()> {
        let folder = self.dir.join("etc/courier");
        let mut command = self.unpacked.command("usr/lib/courier/courier-authlib/makedatprog")?;
        command.arg("-").arg(folder.join(format!("{name}.tmp"))).arg(folder.join(format!("{name}.dat")));
        told(&mut command, &format!("{lines}.\n"))?;
        Ok(())
    }
}

/// Runs a program with this input; its output.
fn told(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// What runs inside the namespace. Everything there ends with the shell, however that ends.
fn script(dir: &Path, unpacked: &Unpacked, imap: SocketAddr, imaps: SocketAddr) -> String {
    format!(
        r#"set -eu
mount --bind {d}/etc /etc
mount --bind {d}/run /run
set -a
. {packaged}
IMAP_CAPABILITY="$IMAP_CAPABILITY_ORIG"
IMAP_STARTTLS=YES
IMAP_TLS_REQUIRED=0
# IDLE looks each second.
IMAP_IDLE_TIMEOUT=1
# Gamin, which Courier wants for its locks, has its server at this path and one for each user and client name.
mount --bind {usr}/libexec /usr/libexec
GAM_CLIENT_ID=mailferry-{plain}
COURIERTLS={usr}/bin/couriertls
TLS_CERTFILE={d}/both.pem
TLS_VERIFYPEER=NONE
unset IMAP_TRASHFOLDERNAME IMAP_EMPTYTRASH
tcpd() {{
    exec setpriv --pdeathsig TERM {usr}/sbin/couriertcpd -address=127.0.0.1 -maxprocs=300 -maxperip=300 \
        -nodnslookup -noidentlookup "$@" {usr}/lib/courier/courier/imaplogin {usr}/bin/imapd Maildir
}}
ended() {{
    trap '' TERM
    kill $authd $plain $tls 2>/dev/null || true
    wait
    for process in /proc/[0-9]*; do
        if [ "$(cat $process/comm 2>/dev/null)" = gam_server ] && grep -qz "^$GAM_CLIENT_ID$" $process/cmdline; then
            kill "${{process#/proc/}}"
        fi
    done
    exit 0
}}
setpriv --pdeathsig TERM {usr}/lib/courier/courier-authlib/authdaemond &
authd=$!
(tcpd {plain}) &
plain=$!
(IMAP_TLS=1 && tcpd {tls} {usr}/bin/couriertls -server -tcpd) &
tls=$!
trap ended TERM INT
wait $plain
"#,
        d = dir.display(),
        packaged = unpacked.file("etc/courier/imapd").display(),
        usr = unpacked.file("usr").display(),
        plain = imap.port(),
        tls = imaps.port(),
    )
}
