//! The old server: Dovecot as Debian ships it (COMPRESS and CONDSTORE included), Maildir, a master user.

use std::net::SocketAddr;
use std::path::Path;

use crate::certs::Leaf;
use crate::dovecot::{Dress, Instance, Storage};
use crate::mail::Loaded;
use crate::maildir;

/// The master user of every source: `user*master`.
pub const MASTER: &str = "mailadmin";
/// Its password.
pub const MASTER_PASSWORD: &str = "P@ssw0rd, mailadmin";

/// A running source.
#[derive(Debug)]
pub struct Dovecot {
    instance: Instance,
}

impl Dovecot {
    /// Starts it below `dir`. Its zone is east of Greenwich by a half hour, so dates carry `+0530`.
    pub async fn start(dir: &Path, leaf: &Leaf) -> anyhow::Result<Self> {
        let dress = Dress {
            name: "source",
            storage: Storage::Maildir,
            folders: vec![
                ("Drafts", "\\Drafts"),
                ("Sent", "\\Sent"),
                ("Trash", "\\Trash"),
                ("Junk", "\\Junk"),
            ],
            more: "mail_plugins = zlib\nprotocol imap {\n  mail_plugins = zlib imap_zlib\n}\n".to_owned(),
            zone: "Asia/Kolkata",
        };
        let instance = Instance::start(dir, dress, leaf).await?;
        instance.add_master(MASTER, MASTER_PASSWORD)?;
        Ok(Self { instance })
    }

    /// A user with an empty mailbox.
    pub fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        self.instance.add_user(user, password)
    }

    /// Puts messages straight into the user's Maildir.
    pub fn load(
        &self,
        user: &str,
        messages: impl Iterator<Item = crate::mail::Message>,
    ) -> anyhow::Result<Loaded> {
        maildir::load(&self.instance.home(user), self.instance.owner(), messages)
    }

    /// Port with STARTTLS and plain text.
    pub fn imap(&self) -> SocketAddr {
        self.instance.imap
    }

    /// Port with implicit TLS.
    pub fn imaps(&self) -> SocketAddr {
        self.instance.imaps
    }

    /// The server itself.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}
