//! The configuration: one TOML file. A key that we do not know is an error, and so is everything that would fail
//! later: [`Config::load`] reads, [`check::check`] looks at what the file names.
//!
//! No secret stands in the file itself: it names files, or the environment has them. Messages therefore never
//! quote the file's lines.

mod address;
pub mod check;
pub mod hooks;
mod limits;
mod place;
pub mod units;

pub use address::{Address, Network};
pub use limits::ProxyLimits;
pub use place::Place;

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use units::{Size, Span};

/// Where the file is looked for when neither `--config` nor `MAILFERRY_CONFIG` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/mailferry/mailferry.toml";
/// Where the daemon listens for the other commands when the configuration does not say.
pub const DEFAULT_SOCKET: &str = "/run/mailferry/admin.sock";
/// Environment variable with the OAuth client secret, for those who want no file.
pub const SECRET_VARIABLE: &str = "MAILFERRY_CLIENT_SECRET";
/// Environment variable with the token of the admin TCP listener, for those who want no file.
pub const TOKEN_VARIABLE: &str = "MAILFERRY_ADMIN_TOKEN";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "defaults::state_dir")]
    pub state_dir: PathBuf,
    #[serde(default = "defaults::key_file")]
    pub key_file: PathBuf,
    pub target: Target,
    pub proxy: Option<Proxy>,
    #[serde(default)]
    pub sync: Sync,
    #[serde(default)]
    pub spool: Spool,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default)]
    pub hooks: Vec<hooks::Hook>,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub log: Log,
}

/// `[target]`: Office 365, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    #[serde(default = "defaults::target_host")]
    pub host: String,
    #[serde(default = "defaults::imaps")]
    pub port: u16,
    pub tenant: String,
    pub client_id: String,
    pub client_secret_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub private_key_file: Option<PathBuf>,
    pub token_url: Option<String>,
    #[serde(default = "defaults::scope")]
    pub scope: String,
    pub ca_file: Option<PathBuf>,
    #[serde(default = "defaults::max_sessions")]
    pub max_sessions: u32,
    #[serde(default = "defaults::max_sessions_per_mailbox")]
    pub max_sessions_per_mailbox: u32,
}

/// `[proxy]`: where clients come in, and which source they are relayed to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    pub endpoint: String,
    pub listen: Vec<Listen>,
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    #[serde(default)]
    pub tell_source: TellSource,
    #[serde(default)]
    pub limits: ProxyLimits,
}

impl Proxy {
    /// This one with what may change while clients are connected: limits, certificates, and who may send PROXY headers.
    pub fn with_changes_of(&self, now: &Self) -> Self {
        let mut taken = Self { certificates: now.certificates.clone(), limits: now.limits, ..self.clone() };
        for listen in &mut taken.listen {
            if let Some(now) = now.listen.iter().find(|other| other.address == listen.address) {
                listen.proxy_protocol_from.clone_from(&now.proxy_protocol_from);
            }
        }
        taken
    }
}

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub address: SocketAddr,
    pub security: ListenSecurity,
    #[serde(default)]
    pub proxy_protocol_from: Vec<Network>,
}

/// How the source learns the clients' addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TellSource {
    /// It does not.
    #[default]
    Nothing,
    /// By a PROXY header, version 2.
    ProxyProtocol,
    /// By `ID`.
    Id,
}

/// How clients are protected at a listener, in Microsoft's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenSecurity {
    /// No TLS at all.
    None,
    /// Implicit TLS.
    Ssl,
    /// STARTTLS.
    Tls,
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub certificate_file: PathBuf,
    pub private_key_file: PathBuf,
}

/// `[sync]`: limits and pace of the passes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sync {
    pub max_message_bytes: Size,
    pub max_items: u64,
    pub incremental_interval: Span,
    pub memory: Size,
    pub max_deletions: u32,
    pub settle: Span,
}

/// `[spool]`: how much of what the tap saw may be kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    pub memory: Size,
    pub disk: Size,
    pub dir: Option<PathBuf>,
}

/// `[dns]`: who is asked, and what counts as cut over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    pub resolvers: Vec<Address>,
    pub roots: Vec<Address>,
    pub name_servers: BTreeMap<String, Address>,
    pub port: u16,
    pub wait: Span,
    pub straggler_quiet: Span,
    pub interval: Span,
    pub timeout: Span,
    pub at_once: usize,
    pub accept: Vec<String>,
    pub old: Vec<String>,
    pub expect: BTreeMap<String, String>,
}

/// `[admin]`: where the other commands and the monitoring reach the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub socket: PathBuf,
    pub tcp: Option<SocketAddr>,
    pub token_file: Option<PathBuf>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

mod defaults {
    use std::path::PathBuf;

    pub(super) fn state_dir() -> PathBuf {
        "/var/lib/mailferry".into()
    }
    pub(super) fn key_file() -> PathBuf {
        "/etc/mailferry/key".into()
    }
    pub(super) fn target_host() -> String {
        "outlook.office365.com".into()
    }
    pub(super) fn imaps() -> u16 {
        993
    }
    pub(super) fn scope() -> String {
        "https://outlook.office365.com/.default".into()
    }
    pub(super) fn max_sessions() -> u32 {
        100
    }
    pub(super) fn max_sessions_per_mailbox() -> u32 {
        4
    }
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            max_message_bytes: Size(36_700_160),
            max_items: 500_000,
            incremental_interval: Span(Duration::from_secs(24 * 3600)),
            memory: Size(256 << 20),
            max_deletions: 1_000,
            settle: Span(Duration::from_secs(3)),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { memory: Size(64 << 20), disk: Size(4 << 30), dir: None }
    }
}

impl Default for Dns {
    fn default() -> Self {
        let hours = |hours: u64| Span(Duration::from_secs(hours * 3600));
        Self {
            resolvers: vec![
                Address::ip([1, 1, 1, 1].into()),
                Address::ip([8, 8, 8, 8].into()),
                Address::ip([9, 9, 9, 9].into()),
            ],
            roots: Vec::new(),
            name_servers: BTreeMap::new(),
            port: 53,
            wait: hours(72),
            straggler_quiet: hours(24),
            interval: Span(Duration::from_secs(15 * 60)),
            timeout: Span(Duration::from_secs(5)),
            at_once: 256,
            accept: Vec::new(),
            old: Vec::new(),
            expect: BTreeMap::new(),
        }
    }
}

impl Dns {
    /// The same in the checker's terms.
    pub fn checker(&self) -> mailferry_dnscheck::Config {
        let at = |address: &Address| address.with_default_port(self.port);
        let default = mailferry_dnscheck::Config::default();
        mailferry_dnscheck::Config {
            resolvers: self.resolvers.iter().map(at).collect(),
            roots: if self.roots.is_empty() { default.roots } else { self.roots.iter().map(at).collect() },
            name_servers: self
                .name_servers
                .iter()
                .map(|(name, address)| (name.clone(), at(address)))
                .collect(),
            port: self.port,
            accept: self.accept.clone(),
            expect: self.expect.clone(),
            timeout: self.timeout.0,
            at_once: self.at_once,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into(), tcp: None, token_file: None }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

impl Config {
    /// Reads and parses `file`. What the file names is not looked at: see [`check::check`].
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read(file)?)
    }

    /// Parses `text` as the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError {
            file: file.to_owned(),
            problems: vec![Problem {
                place: error.span().map(|span| Place::at(text, span.start)),
                key: String::new(),
                message: error.message().trim_end().to_owned(),
            }],
        })
    }

    /// The folder of the ledger.
    pub fn ledger_dir(&self) -> PathBuf {
        self.state_dir.join("ledger")
    }

    /// The folder of the spool's temporary files.
    pub fn spool_dir(&self) -> PathBuf {
        self.spool.dir.clone().unwrap_or_else(|| self.state_dir.join("spool"))
    }

    /// Where tokens are asked for.
    pub fn token_url(&self) -> String {
        self.target.token_url.clone().unwrap_or_else(|| {
            format!("https://login.microsoftonline.com/{}/oauth2/v2.0/token", self.target.tenant)
        })
    }
}

/// The file's text, or the one problem that kept us from it.
pub fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|error| ConfigError {
        file: file.to_owned(),
        problems: vec![Problem {
            place: None,
            key: String::new(),
            message: format!("cannot be read: {error}"),
        }],
    })
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Option<Place>,
    /// Path of the key; empty when the parser itself refused the text.
    pub key: String,
    pub message: String,
}

/// Everything wrong with the configuration that could be found at once.
#[derive(Debug)]
pub struct ConfigError {
    pub file: PathBuf,
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(Place { line, column }) = problem.place {
                write!(f, "{line}:{column}:")?;
            }
            if !problem.key.is_empty() {
                write!(f, " {}:", problem.key)?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[target]\ntenant = \"contoso.onmicrosoft.com\"\nclient_id = \"1\"\n";

    fn error(text: &str) -> String {
        Config::parse(Path::new("m.toml"), text)
            .map(|_| "no error".to_owned())
            .unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let config = Config::parse(Path::new("m.toml"), GOOD).unwrap();
        assert_eq!(config.target.host, "outlook.office365.com");
        assert_eq!(config.target.port, 993);
        assert_eq!(config.sync.max_message_bytes, Size(36_700_160));
        assert_eq!(config.sync.max_items, 500_000);
        assert_eq!(config.dns.wait, Span(Duration::from_secs(72 * 3600)));
        assert_eq!(config.dns.resolvers.len(), 3);
        assert_eq!(config.admin.socket, Path::new("/run/mailferry/admin.sock"));
        assert_eq!(
            config.token_url(),
            "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
        );
        assert!(config.proxy.is_none());
    }

    #[test]
    fn every_parse_error_names_line_and_column() {
        for (text, expected) in [
            ("stat_dir = 1\n", "m.toml:1:1: unknown field `stat_dir`"),
            (
                "[target]\ntenant = \"a\"\nclient_id = \"b\"\nhots = \"x\"\n",
                "m.toml:4:1: unknown field `hots`",
            ),
            (
                "[target]\ntenant = \"a\"\nclient_id = \"b\"\nport = 99999\n",
                "m.toml:4:8: invalid value: integer `99999`",
            ),
            ("[target]\ntenant = \"a\"\n", "m.toml:1:1: missing field `client_id`"),
            ("state_dir = \"/tmp\"\n", "missing field `target`"),
            ("[target\n", "m.toml:1:8:"),
            (&format!("{GOOD}[sync]\nmemory = \"256 MoB\"\n"), "m.toml:5:10: \"256 MoB\" is not a size"),
            (&format!("{GOOD}[dns]\nwait = \"72\"\n"), "m.toml:5:8: \"72\" is not a length of time"),
            (
                &format!("{GOOD}[dns]\nresolvers = [\"one.one.one.one\"]\n"),
                "m.toml:5:13: \"one.one.one.one\" is not an address",
            ),
            (
                &format!(
                    "{GOOD}[proxy]\nendpoint = \"E\"\nlisten = [{{ address = \"*:993\", security = \"ssl\" }}]\n"
                ),
                "m.toml:6:23: invalid socket address",
            ),
            (
                &format!(
                    "{GOOD}[proxy]\nendpoint = \"E\"\nlisten = [{{ address = \"[::]:993\", security = \"starttls\" }}]\n"
                ),
                "m.toml:6:46: unknown variant `starttls`, expected one of `none`, `ssl`, `tls`",
            ),
        ] {
            let error = error(text);
            assert!(
                error.starts_with(expected) || error.contains(expected),
                "{text:?}\n  gives {error:?}\n  not   {expected:?}"
            );
        }
    }

    #[test]
    fn a_secret_put_into_the_file_by_mistake_is_not_repeated() {
        let error = error(&format!("{GOOD}client_secret = \"hunter2\"\n"));
        assert!(error.starts_with("m.toml:4:1: unknown field `client_secret`"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
