//! The old server: Dovecot, Cyrus or Courier as Debian ships them.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use crate::certs::Leaf;
use crate::courier::Courier;
use crate::cyrus::Cyrus;
use crate::dovecot::{Dress, Instance, Storage};
use crate::mail::Loaded;
use crate::maildir::{self, Manner};

/// The administrator of every source: `user*master` at Dovecot, SASL PLAIN with an identity at Cyrus, `#shared.` at Courier.
pub const MASTER: &str = "mailadmin";
/// Its password.
pub const MASTER_PASSWORD: &str = "P@ssw0rd, mailadmin";

/// Which server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// With COMPRESS, CONDSTORE, QRESYNC; Maildir, a master user.
    #[default]
    Dovecot,
    /// With nearly every extension that there is; folders below INBOX.
    Cyrus,
    /// With few; folders below INBOX. Needs root (see `courier`).
    Courier,
}

/// A running source.
#[derive(Debug)]
pub enum Source {
    /// See [`Kind::Dovecot`].
    Dovecot(Dovecot),
    /// See [`Kind::Cyrus`].
    Cyrus(Cyrus),
    /// See [`Kind::Courier`].
    Courier(Courier),
}

impl Source {
    /// Starts it below `dir`; `lines` stand at the end of Dovecot's configuration.
    pub async fn start(kind: Kind, dir: &Path, leaf: &Leaf, lines: &str) -> anyhow::Result<Self> {
        Ok(match kind {
            Kind::Dovecot => Self::Dovecot(Dovecot::start_with(dir, leaf, lines).await?),
            Kind::Cyrus => {
                let cyrus = Cyrus::start(dir, leaf).await?;
                cyrus.add_admin(MASTER, MASTER_PASSWORD)?;
                Self::Cyrus(cyrus)
            }
            Kind::Courier => {
                let courier = Courier::start(dir, leaf).await?;
                courier.add_admin(MASTER, MASTER_PASSWORD)?;
                Self::Courier(courier)
            }
        })
    }

    /// A user with an empty mailbox.
    pub fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        match self {
            Self::Dovecot(dovecot) => dovecot.add_user(user, password),
            Self::Cyrus(cyrus) => cyrus.add_user(user, password),
            Self::Courier(courier) => courier.add_user(user, password),
        }
    }

    /// Puts messages straight into the user's Maildir. Cyrus has none: it is filled by APPEND.
    pub fn load(
        &self,
        user: &str,
        messages: impl Iterator<Item = crate::mail::Message>,
    ) -> anyhow::Result<Loaded> {
        match self {
            Self::Dovecot(dovecot) => dovecot.load(user, messages),
            Self::Courier(courier) => courier.load(user, messages),
            Self::Cyrus(_) => anyhow::bail!("Cyrus keeps no Maildir"),
        }
    }

    /// Port with STARTTLS and plain text.
    pub fn imap(&self) -> SocketAddr {
        match self {
            Self::Dovecot(dovecot) => dovecot.imap(),
            Self::Cyrus(cyrus) => cyrus.imap,
            Self::Courier(courier) => courier.imap,
        }
    }

    /// Port with implicit TLS.
    pub fn imaps(&self) -> SocketAddr {
        match self {
            Self::Dovecot(dovecot) => dovecot.imaps(),
            Self::Cyrus(cyrus) => cyrus.imaps,
            Self::Courier(courier) => courier.imaps,
        }
    }

    /// The Dovecot behind it.
    pub fn dovecot(&self) -> anyhow::Result<&Dovecot> {
        match self {
            Self::Dovecot(dovecot) => Some(dovecot),
            Self::Cyrus(_) | Self::Courier(_) => None,
        }
        .context("this source is no Dovecot")
    }
}

/// A running Dovecot source.
#[derive(Debug)]
pub struct Dovecot {
    instance: Instance,
}

impl Dovecot {
    /// Starts it below `dir`. Its zone is east of Greenwich by a half hour, so dates carry `+0530`.
    pub async fn start(dir: &Path, leaf: &Leaf) -> anyhow::Result<Self> {
        Self::start_with(dir, leaf, "").await
    }

    /// The same with lines at the end of its configuration.
    pub async fn start_with(dir: &Path, leaf: &Leaf, lines: &str) -> anyhow::Result<Self> {
        let dress = Dress {
            name: "source",
            storage: Storage::Maildir,
            folders: vec![
                ("Drafts", "\\Drafts"),
                ("Sent", "\\Sent"),
                ("Trash", "\\Trash"),
                ("Junk", "\\Junk"),
            ],
            // No penalty for wrong passwords: all clients here have one address.
            more: format!(
                "mail_plugins = zlib\nprotocol imap {{\n  mail_plugins = zlib imap_zlib\n}}\n\
                 service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n{lines}"
            ),
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

    /// Another password for a user.
    pub fn set_password(&self, user: &str, password: &str) -> anyhow::Result<()> {
        self.instance.set_password(user, password)
    }

    /// Puts messages straight into the user's Maildir.
    pub fn load(
        &self,
        user: &str,
        messages: impl Iterator<Item = crate::mail::Message>,
    ) -> anyhow::Result<Loaded> {
        maildir::load(&self.instance.home(user), self.instance.owner(), Manner::Dovecot, messages)
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
