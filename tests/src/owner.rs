//! Who owns mail files: servers refuse root's, so the packaged `mail` user does when we are root.

use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::Context;

/// The user that mail servers here run as.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its name.
    pub name: String,
    root: bool,
}

impl Owner {
    /// `mail` for root, ourselves else.
    pub fn detect() -> anyhow::Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd")?;
        let root = uid == 0;
        let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found =
            users.find(
                |fields| if root { fields[0] == "mail" } else { fields.get(2) == Some(&&*uid.to_string()) },
            );
        match found {
            Some(fields) => Ok(Self {
                uid: fields[2].parse()?,
                gid: fields[3].parse()?,
                name: fields[0].to_owned(),
                root,
            }),
            None if root => anyhow::bail!("no user mail"),
            None => {
                let name = std::env::var("USER").unwrap_or_else(|_| "nobody".to_owned());
                Ok(Self { uid, gid: rustix::process::getegid().as_raw(), name, root })
            }
        }
    }

    /// Whether we are root and act for this user.
    pub fn is_served_by_root(&self) -> bool {
        self.root
    }

    /// Hands a file or folder over.
    pub fn give(&self, path: &Path) -> anyhow::Result<()> {
        if self.root {
            chown(path, Some(self.uid), Some(self.gid)).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// A folder of this user's, created with what is above it.
    pub fn folder(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        self.give(path)
    }
}
