//! What differs from stand to stand, and the configuration file that comes of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::{ENDPOINT, Stand};
use crate::source::Kind;
use crate::tokens::{CLIENT_ID, CLIENT_SECRET, TENANT};

/// How the application proves itself to the token endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proof {
    /// `client_secret_file`.
    #[default]
    Secret,
    /// `certificate_file` and `private_key_file`.
    Certificate,
}

/// What the product connects to on both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Front {
    /// The relays: the old server's, which counts, and the one dressed as Exchange.
    #[default]
    Relays,
    /// The bare servers: for benches, where the relays would be measured too.
    Bare,
    /// Whatever listens at these ports of 127.0.0.1.
    Ports {
        /// For the old server.
        source: u16,
        /// For Office 365.
        target: u16,
    },
}

/// What differs from stand to stand: lines for sections of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lines of `[target]`.
    pub target: String,
    /// Lines of `[proxy]`.
    pub proxy: String,
    /// Lines of `[sync]`.
    pub sync: String,
    /// Lines of `[spool]`.
    pub spool: String,
    /// Lines of `[dns]`; without any, nobody is asked outside this machine.
    pub dns: String,
    /// Whole `[[hooks]]` entries.
    pub hooks: String,
    /// Shell commands in the stand's folder that come before `serve`, in a mount namespace of its own: mounts. Needs root.
    pub serve_behind: String,
    /// How tokens are asked for.
    pub proof: Proof,
    /// What stands in front of the servers.
    pub front: Front,
    /// Which server is the old one.
    pub source: Kind,
    /// Lines at the end of its configuration, if it is Dovecot.
    pub source_lines: String,
}

impl Stand {
    /// Writes the configuration anew, with `more` put before its first section.
    pub fn write_config(&self, more: &str) -> anyhow::Result<()> {
        let dir = self.place.path().display();
        let secret = self.place.path().join("client-secret");
        std::fs::write(&secret, format!("{CLIENT_SECRET}\n"))?;
        let restricted = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, restricted)?;
        let proof = match self.options.proof {
            Proof::Secret => format!("client_secret_file = \"{}\"", secret.display()),
            Proof::Certificate => {
                let pair = self.tokens.client_certificate();
                format!(
                    "certificate_file = \"{}\"\nprivate_key_file = \"{}\"",
                    pair.certificate_file.display(),
                    pair.private_key_file.display()
                )
            }
        };
        let target = match self.options.front {
            Front::Relays => self.target.address().port(),
            Front::Bare => self.target.direct().port(),
            Front::Ports { target, .. } => target,
        };
        let dns = if self.options.dns.is_empty() {
            // A port where nobody answers: no test asks the world.
            "resolvers = []\nroots = [\"127.0.0.1\"]\nport = 9\ntimeout = \"1s\"\ninterval = \"1h\""
        } else {
            &self.options.dns
        };
        let mut text = String::new();
        write!(
            text,
            r#"state_dir = "{dir}/state"
key_file = "{dir}/key"
{more}
[target]
host = "localhost"
port = {target}
tenant = "{TENANT}"
client_id = "{CLIENT_ID}"
{proof}
token_url = "{token_url}"
ca_file = "{ca}"
{more_target}
[proxy]
endpoint = "{ENDPOINT}"
listen = [{{ address = "{imaps}", security = "ssl" }}, {{ address = "{imap}", security = "tls" }}]
certificates = [{{ certificate_file = "{certificate}", private_key_file = "{key}" }}]
{proxy}
[sync]
{sync}
[spool]
{spool}
[dns]
{dns}
{hooks}
[admin]
socket = "{dir}/admin.sock"
[log]
level = "{level}"
"#,
            token_url = self.tokens.url(),
            ca = self.authority.ca_file.display(),
            imaps = self.imaps,
            imap = self.imap,
            certificate = self.leaf.certificate_file.display(),
            key = self.leaf.private_key_file.display(),
            more_target = self.options.target,
            proxy = self.options.proxy,
            sync = self.options.sync,
            spool = self.options.spool,
            hooks = self.options.hooks,
            level = std::env::var("MAILFERRY_TEST_LOG").unwrap_or_else(|_| "info".to_owned()),
        )?;
        std::fs::write(self.config(), text)?;
        Ok(())
    }

    /// Changes options; they hold from the next start of `serve`.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Options)) -> anyhow::Result<()> {
        change(&mut self.options);
        self.write_config("")
    }
}

/// Lines of `[dns]` for a stand whose domains are held by these servers: they alone are asked, every second, and the
/// clock is shortened to `wait`.
pub fn dns_options(dns: &crate::dns::Dns, wait: Duration, quiet: Duration) -> String {
    let list = |addresses: &[SocketAddr]| {
        let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        quoted.join(", ")
    };
    let book: Vec<String> =
        dns.name_servers().iter().map(|(name, address)| format!("\"{name}\" = \"{address}\"")).collect();
    format!(
        "resolvers = [{}]\nroots = [{}]\nname_servers = {{ {} }}\ninterval = \"1s\"\ntimeout = \"2s\"\n\
         wait = \"{}s\"\nstraggler_quiet = \"{}s\"",
        list(&[dns.primary.address()]),
        list(&dns.roots()),
        book.join(", "),
        wait.as_secs(),
        quiet.as_secs(),
    )
}
