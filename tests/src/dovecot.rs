//! A private Dovecot: its own configuration, folders and ports. `source` and `target` dress it differently.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::certs::Leaf;
use crate::child::Server;
use crate::owner::Owner;
use crate::place::{free_port, loopback};

/// How mail lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Maildir++, folders as `.A.B`: `maildir` can load it without IMAP. Separator `.`.
    Maildir,
    /// single-dbox with real directories. Separator `/`.
    Sdbox,
}

/// What the two kinds of server differ in.
#[derive(Debug, Clone)]
pub struct Dress {
    /// Names the instance in logs and paths.
    pub name: &'static str,
    /// Storage and, with it, the separator.
    pub storage: Storage,
    /// Special-use folders created for everybody: name and attribute (empty: none).
    pub folders: Vec<(&'static str, &'static str)>,
    /// Lines added at the end of the configuration.
    pub more: String,
    /// `TZ` of the server: the zone of every INTERNALDATE that it shows.
    pub zone: &'static str,
}

/// A running instance.
#[derive(Debug)]
pub struct Instance {
    server: Server,
    dir: PathBuf,
    storage: Storage,
    /// Plain port; STARTTLS too.
    pub imap: SocketAddr,
    /// Implicit TLS.
    pub imaps: SocketAddr,
    owner: Owner,
}

impl Instance {
    /// Writes the configuration below `dir`, starts Dovecot and waits until both ports greet.
    pub async fn start(dir: &Path, dress: Dress, leaf: &Leaf) -> anyhow::Result<Self> {
        let owner = Owner::detect()?;
        // Ports are probed before use; somebody else may take one in between, so a few tries.
        for attempt in 0..3 {
            let (imap, imaps) = (loopback(free_port()?), loopback(free_port()?));
            let config = dir.join("dovecot.conf");
            std::fs::create_dir_all(dir.join("home"))?;
            owner.give(&dir.join("home"))?;
            for file in ["users", "masters"] {
                if !dir.join(file).exists() {
                    std::fs::write(dir.join(file), "")?;
                }
            }
            std::fs::write(&config, configuration(dir, &dress, leaf, imap, imaps, &owner))?;
            let mut command = Command::new("dovecot");
            command.arg("-F").arg("-c").arg(&config).env("TZ", dress.zone);
            let mut server = Server::start(dress.name, command, &dir.join("out.log"))?;
            let greeted = server.greets(imap).await;
            let instance = Self {
                server,
                dir: dir.to_owned(),
                storage: dress.storage,
                imap,
                imaps,
                owner: owner.clone(),
            };
            match greeted {
                Ok(()) => return Ok(instance),
                Err(error) if attempt == 2 => return Err(error.context(instance.log())),
                Err(_) => {}
            }
        }
        bail!("no free port for {}", dress.name)
    }

    /// Adds a user who may log in with `password` and whose mailbox exists.
    pub fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        append(&self.dir.join("users"), &format!("{user}:{{PLAIN}}{password}::::::\n"))
    }

    /// Gives a user another password, as when they changed it.
    pub fn set_password(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let file = self.dir.join("users");
        let users = std::fs::read_to_string(&file)?;
        let lines = users.lines().map(|line| match line.split_once(':') {
            Some((name, _)) if name == user => format!("{user}:{{PLAIN}}{password}::::::\n"),
            _ => format!("{line}\n"),
        });
        // Dovecot reads the file again when its time or size changes: whole, so it is put in place at once.
        let new = self.dir.join("users.new");
        std::fs::write(&new, lines.collect::<String>())?;
        std::fs::rename(new, file)?;
        Ok(())
    }

    /// Adds a user who may log in as anybody by `user*master`.
    pub fn add_master(&self, master: &str, password: &str) -> anyhow::Result<()> {
        append(&self.dir.join("masters"), &format!("{master}:{{PLAIN}}{password}\n"))
    }

    /// Where `user`'s mail lies.
    pub fn home(&self, user: &str) -> PathBuf {
        self.dir.join("home").join(user)
    }

    /// How mail lies there.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Who must own mail files.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Gives one of `user`'s folders another UIDVALIDITY; its UIDs stay.
    pub fn set_uid_validity(&self, user: &str, folder: &str, validity: u32) -> anyhow::Result<()> {
        self.doveadm(&["mailbox", "update", "-u", user, "--uid-validity", &validity.to_string(), folder])?;
        Ok(())
    }

    /// Sets a folder back to what it was when it was new, as a restored backup does: it is empty, and gives its UIDs from 1 on a
    /// second time under the same UIDVALIDITY. Nobody may have it open.
    pub fn set_back(&self, user: &str, folder: &str) -> anyhow::Result<()> {
        let status = self.doveadm(&["-f", "tab", "mailbox", "status", "-u", user, "uidvalidity", folder])?;
        let validity: u32 = status
            .lines()
            .last()
            .and_then(|line| line.split('\t').next_back())
            .context("no status")?
            .parse()?;
        self.doveadm(&["mailbox", "delete", "-u", user, folder])?;
        self.doveadm(&["mailbox", "create", "-u", user, folder])?;
        self.set_uid_validity(user, folder, validity)
    }

    fn doveadm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("doveadm");
        command.arg("-c").arg(self.dir.join("dovecot.conf")).args(arguments);
        let output = command.output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Whether anybody has a connection open as this user, or one that ended is still worked for.
    pub fn is_used_by(&self, user: &str) -> anyhow::Result<bool> {
        let who = self.doveadm(&["-f", "tab", "who", "-1", user])?;
        // One line is the heading.
        Ok(who.lines().filter(|line| !line.is_empty()).count() > 1)
    }

    /// The server's own log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("dovecot.log")).unwrap_or_default()
    }

    /// Process id of Dovecot's master.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

fn append(file: &Path, line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::options().append(true).open(file)?;
    file.write_all(line.as_bytes())?;
    Ok(())
}

fn configuration(
    dir: &Path,
    dress: &Dress,
    leaf: &Leaf,
    imap: SocketAddr,
    imaps: SocketAddr,
    owner: &Owner,
) -> String {
    let d = dir.display();
    let (location, separator) = match dress.storage {
        Storage::Maildir => ("maildir:~/Maildir", "."),
        Storage::Sdbox => ("sdbox:~/sdbox", "/"),
    };
    let mut boxes = String::new();
    for (name, attribute) in &dress.folders {
        let special = if attribute.is_empty() { String::new() } else { format!("special_use = {attribute}") };
        // Writing to a string cannot fail.
        let _ = write!(boxes, "  mailbox \"{name}\" {{\n    auto = create\n    {special}\n  }}\n");
    }
    let identity = if owner.is_served_by_root() {
        String::new()
    } else {
        format!(
            "default_internal_user = {user}\ndefault_login_user = {user}\ndefault_internal_group = {gid}\n\
             service imap-login {{\n  chroot =\n}}\nservice anvil {{\n  chroot =\n}}\n",
            user = owner.name,
            gid = owner.gid,
        )
    };
    format!(
        r#"base_dir = {d}/run
state_dir = {d}/state
instance_name = mailferry-{name}
log_path = {d}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
auth_cache_size = 0
auth_failure_delay = 0
mail_location = {location}
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 0
default_vsz_limit = 0
maildir_very_dirty_syncs = no
passdb {{
  driver = passwd-file
  master = yes
  args = {d}/masters
  result_success = continue
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
  default_fields = uid={uid} gid={gid} home={d}/home/%u
}}
namespace inbox {{
  inbox = yes
  prefix =
  separator = {separator}
{boxes}}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {plain}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
  client_limit = 2000
}}
service imap {{
  process_limit = 2000
}}
service auth {{
  client_limit = 8000
}}
service anvil {{
  client_limit = 8000
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{identity}{more}
"#,
        name = dress.name,
        certificate = leaf.certificate_file.display(),
        key = leaf.private_key_file.display(),
        uid = owner.uid,
        gid = owner.gid,
        plain = imap.port(),
        tls = imaps.port(),
        more = dress.more,
    )
}
