//! Office 365 as its clients meet it: a real Dovecot that accepts signed app tokens, behind a relay with Exchange
//! Online's manners.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::certs::Leaf;
use crate::dovecot::{Dress, Instance, Storage};
use crate::fault::{self, Relay, Setup};
use crate::tokens::Trusted;

/// Folders that Exchange creates in every mailbox, with the attributes of a plain LIST.
const FOLDERS: [(&str, &str); 6] = [
    ("Drafts", "\\Drafts"),
    ("Sent Items", "\\Sent"),
    ("Deleted Items", "\\Trash"),
    ("Junk Email", "\\Junk"),
    ("Archive", ""),
    ("Outbox", ""),
];

/// A running target.
pub struct Exchange {
    instance: Instance,
    mailboxes: PathBuf,
    /// The front door: XOAUTH2 only, and every fault that a test orders.
    pub relay: Relay,
}

impl Exchange {
    /// Starts it below `dir`; tokens signed by `trusted` open any mailbox that exists.
    pub async fn start(dir: &Path, leaf: &Leaf, trusted: &Trusted) -> anyhow::Result<Self> {
        let keys = dir.join("keys/default/RS256");
        std::fs::create_dir_all(&keys)?;
        std::fs::copy(&trusted.public_key_file, keys.join(&trusted.key_id))?;
        // Any mailbox by one app token: both sides of the name comparison become the same constant.
        let oauth2 = dir.join("oauth2.conf");
        std::fs::write(
            &oauth2,
            format!(
                "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={keys}/\n\
                 issuers = {issuer}\nusername_attribute = appid\nusername_format = any\n\
                 active_attribute = idtyp\nactive_value = app\n",
                keys = dir.join("keys").display(),
                issuer = trusted.issuer,
            ),
        )?;
        let mailboxes = dir.join("mailboxes");
        std::fs::write(&mailboxes, "")?;
        // Stored as LF, `CR CR LF` would lose a byte: CRLF is kept as it comes.
        // The token says nothing about whose mailbox it opens: the first passdb knows whether there is one.
        let more = format!(
            "mail_save_crlf = yes\nauth_mechanisms = plain login xoauth2 oauthbearer\n\
             passdb {{\n  driver = passwd-file\n  mechanisms = xoauth2 oauthbearer\n  args = {mailboxes}\n  \
             result_success = continue\n  result_failure = return-fail\n}}\n\
             passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {oauth2}\n}}\n",
            mailboxes = mailboxes.display(),
            oauth2 = oauth2.display(),
        );
        let dress =
            Dress { name: "target", storage: Storage::Sdbox, folders: FOLDERS.to_vec(), more, zone: "UTC" };
        let instance = Instance::start(dir, dress, leaf).await?;
        let relay = Relay::start(Setup {
            upstream: instance.imap,
            upstream_tls: None,
            tls: Some(leaf.server()?),
            dress: fault::Dress::Exchange,
        })
        .await?;
        Ok(Self { instance, relay, mailboxes })
    }

    /// A mailbox. Its owner's password works at the bare server only, never at the front door.
    pub fn add_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let mut file = std::fs::File::options().append(true).open(&self.mailboxes)?;
        writeln!(file, "{user}:::::::nopassword=y")?;
        self.instance.add_user(user, password)
    }

    /// The front door, implicit TLS.
    pub fn address(&self) -> SocketAddr {
        self.relay.address()
    }

    /// The bare Dovecot behind it, implicit TLS: for independent readers and for tools that know no tokens.
    pub fn direct(&self) -> SocketAddr {
        self.instance.imaps
    }

    /// The server itself.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}
