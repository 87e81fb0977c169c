//! What the configuration names, looked at: files are there and parse, keys match their certificates, secrets
//! can be read, addresses make sense. All problems at once.

use super::{
    Certificate, Config, ConfigError, ListenSecurity, Place, Problem, SECRET_VARIABLE, TOKEN_VARIABLE, hooks,
};
use mailferry_ledger::Vault;
use mailferry_sync::oauth::{self, Credential, Tokens};
use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use secrecy::SecretString;
use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a file with a secret may be, bytes.
const SECRET_LIMIT: u64 = 64 * 1024;

/// What Exchange allows one user by default.
const MANY_OF_ONE: u32 = 16;

/// A longer drain does not fit into the unit's TimeoutStopSec=.
const LONG_DRAIN: Duration = Duration::from_secs(25);

/// Looks at everything that `config`, read from `file`, names. `Ok` holds warnings.
pub fn check(file: &Path, config: &Config) -> Result<Vec<Problem>, ConfigError> {
    let mut found = Found { warnings: Vec::new(), problems: Vec::new() };
    paths(config, &mut found);
    target(config, &mut found);
    proxy(config, &mut found);
    limits(config, &mut found);
    dns(config, &mut found);
    for one in hooks::look(config) {
        match one {
            hooks::Found::Problem(key, why) => found.problem(key, why),
            hooks::Found::Warning(key, why) => found.warning(key, why),
        }
    }
    admin(config, &mut found);
    let text = std::fs::read_to_string(file).unwrap_or_default();
    for problem in found.problems.iter_mut().chain(&mut found.warnings) {
        problem.place = Place::of_key(&text, &problem.key);
    }
    if found.problems.is_empty() {
        return Ok(found.warnings);
    }
    Err(ConfigError { file: file.to_owned(), problems: found.problems })
}

struct Found {
    warnings: Vec<Problem>,
    problems: Vec<Problem>,
}

impl Found {
    fn problem(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { place: None, key: key.into(), message: message.into() });
    }

    fn warning(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem { place: None, key: key.into(), message: message.into() });
    }
}

fn paths(config: &Config, found: &mut Found) {
    match std::fs::metadata(&config.state_dir) {
        Ok(meta) if !meta.is_dir() => {
            found.problem("state_dir", format!("{} is not a folder", config.state_dir.display()))
        }
        Ok(_) => {}
        Err(error) => found.problem("state_dir", unreadable(&config.state_dir, &error)),
    }
    if let Err(error) = Vault::keep_outside(&config.key_file, &config.state_dir) {
        found.problem("key_file", error.to_string());
    } else if let Err(error) = Vault::load(&config.key_file) {
        let missing = !config.key_file.exists();
        let hint = if missing { "; `mailferry init` makes one" } else { "" };
        found.problem("key_file", format!("{error}{hint}"));
    }
    if config.log.level.parse::<tracing_subscriber::EnvFilter>().is_err() {
        found.problem("log.level", format!("{:?} is not a level such as \"info\"", config.log.level));
    }
}

fn target(config: &Config, found: &mut Found) {
    let target = &config.target;
    let before = found.problems.len();
    if target.port == 0 {
        found.problem("target.port", "0 is not a port; Office 365 has 993");
    }
    for (key, value) in [
        ("target.host", &target.host),
        ("target.tenant", &target.tenant),
        ("target.client_id", &target.client_id),
    ] {
        if value.trim().is_empty() {
            found.problem(key, "is empty");
        }
    }
    for (key, sessions) in [
        ("target.max_sessions", target.max_sessions),
        ("target.max_sessions_per_mailbox", target.max_sessions_per_mailbox),
    ] {
        if sessions == 0 {
            found.problem(key, "0 would let nothing through");
        }
    }
    if target.max_sessions_per_mailbox > MANY_OF_ONE {
        found.warning(
            "target.max_sessions_per_mailbox",
            "is more than the 16 connections that Exchange gives one user by default",
        );
    }
    if let Some(path) = &target.ca_file
        && let Err(message) = chain(path)
    {
        found.problem("target.ca_file", message);
    }
    match (&target.client_secret_file, &target.certificate_file, &target.private_key_file) {
        (None, Some(certificate_file), Some(private_key_file)) => {
            let pair = Certificate {
                certificate_file: certificate_file.clone(),
                private_key_file: private_key_file.clone(),
            };
            certificate("target", &pair, found);
        }
        (None, Some(_), None) => found.problem("target.certificate_file", "private_key_file is missing"),
        (None, None, Some(_)) => found.problem("target.private_key_file", "certificate_file is missing"),
        (Some(_), None, None) | (None, None, None) => {
            if let Some(path) = &target.client_secret_file
                && let Ok(meta) = std::fs::metadata(path)
            {
                private("target.client_secret_file", path, &meta, found);
            }
            if let Err(message) = client_secret(config) {
                found.problem("target.client_secret_file", message);
            }
        }
        (Some(_), _, _) => found.problem(
            "target.client_secret_file",
            "either a client secret or a certificate with its private key, not both",
        ),
    }
    // Each file by itself is good: are they good together?
    if found.problems.len() == before
        && let Err((key, why)) = tokens(config)
    {
        found.problem(key, why);
    }
}

fn proxy(config: &Config, found: &mut Found) {
    let Some(proxy) = &config.proxy else { return };
    if proxy.endpoint.trim().is_empty() {
        found.problem("proxy.endpoint", "is empty");
    }
    if proxy.listen.is_empty() {
        found.problem("proxy.listen", "is empty: no client could connect");
    }
    for (index, listen) in proxy.listen.iter().enumerate() {
        let key = format!("proxy.listen[{index}]");
        if listen.address.port() != 0
            && proxy.listen[..index].iter().any(|other| other.address == listen.address)
        {
            found.problem(format!("{key}.address"), format!("{} stands there twice", listen.address));
        }
        if listen.security == ListenSecurity::None && !listen.address.ip().is_loopback() {
            found.problem(
                format!("{key}.security"),
                "none is only for loopback addresses: passwords would travel unencrypted",
            );
        }
    }
    for (key, why) in proxy.limits.mistakes() {
        found.problem(format!("proxy.limits.{key}"), why);
    }
    if proxy.limits.drain.0 > LONG_DRAIN {
        found
            .warning("proxy.limits.drain", "is long: systemd's TimeoutStopSec= must be 20s longer than this");
    }
    let tls = proxy.listen.iter().any(|listen| listen.security != ListenSecurity::None);
    if tls && proxy.certificates.is_empty() {
        found.problem("proxy.certificates", "a listener with ssl or tls needs at least one certificate");
    }
    for (index, pair) in proxy.certificates.iter().enumerate() {
        certificate(&format!("proxy.certificates[{index}]"), pair, found);
    }
}

fn limits(config: &Config, found: &mut Found) {
    let sync = &config.sync;
    for (key, value) in [
        ("sync.max_message_bytes", sync.max_message_bytes.0),
        ("sync.max_items", sync.max_items),
        ("spool.memory", config.spool.memory.0),
    ] {
        if value == 0 {
            found.problem(key, "0 would let nothing through");
        }
    }
    if sync.memory.0 < 16 << 20 {
        found.problem("sync.memory", "is below 16MiB");
    }
    if sync.max_message_bytes.0 > u64::from(u32::MAX) {
        found.problem("sync.max_message_bytes", "is above what IMAP can carry, 4 GiB");
    }
    if sync.incremental_interval.0.is_zero() {
        found.problem("sync.incremental_interval", "must be longer than nothing");
    }
    if sync.settle.0 < std::time::Duration::from_secs(1) {
        found.problem(
            "sync.settle",
            "is below 1s: a message that the target still works on would be taken for lost and sent again",
        );
    }
}

fn dns(config: &Config, found: &mut Found) {
    let dns = &config.dns;
    if dns.port == 0 {
        found.problem("dns.port", "0 is not a port; DNS has 53");
    }
    if dns.interval.0.is_zero() {
        found.problem("dns.interval", "must be longer than nothing");
    }
    if dns.timeout.0.is_zero() {
        found.problem("dns.timeout", "must be longer than nothing");
    }
    if dns.resolvers.is_empty() {
        found.warning("dns.resolvers", "no public resolver is asked, only the authoritative servers");
    }
    if dns.wait.0 < std::time::Duration::from_secs(72 * 3600) {
        found.warning(
            "dns.wait",
            "is shorter than the 72h that other mail systems may need to see the change",
        );
    }
}

fn admin(config: &Config, found: &mut Found) {
    let admin = &config.admin;
    // sun_path has 108 bytes, the last of them NUL.
    if admin.socket.as_os_str().len() > 107 {
        found.problem("admin.socket", "is longer than the 107 bytes that a Unix socket's name may have");
    }
    if admin.tcp.is_some()
        && let Err(message) = admin_token(config)
    {
        found.problem("admin.token_file", message);
    }
    if let Some(address) = admin.tcp
        && !address.ip().is_loopback()
    {
        found.warning("admin.tcp", "the token travels unencrypted to this address: put TLS in front of it");
    }
}

/// The OAuth client secret, from its file or the environment. The error is the message for the operator.
pub fn client_secret(config: &Config) -> Result<SecretString, String> {
    secret(config.target.client_secret_file.as_deref(), SECRET_VARIABLE)
}

/// The source of tokens, all that it is made of checked; nothing is asked yet. The error has the key to blame.
pub fn tokens(config: &Config) -> Result<Tokens, (&'static str, String)> {
    let target = &config.target;
    let credential = match (&target.certificate_file, &target.private_key_file) {
        (Some(certificate_file), Some(private_key_file)) => {
            let certificate = std::fs::read(certificate_file)
                .map_err(|error| ("target.certificate_file", unreadable(certificate_file, &error)))?;
            let private_key = std::fs::read_to_string(private_key_file)
                .map_err(|error| ("target.private_key_file", unreadable(private_key_file, &error)))?;
            Credential::Certificate { certificate, private_key: private_key.into() }
        }
        (_, _) => {
            Credential::Secret(client_secret(config).map_err(|why| ("target.client_secret_file", why))?)
        }
    };
    Tokens::new(oauth::Config {
        token_url: config.token_url(),
        scope: target.scope.clone(),
        client_id: target.client_id.clone(),
        credential,
        ca_file: target.ca_file.clone(),
    })
    .map_err(|error| {
        let key = match &error {
            oauth::ConfigError::Url { .. } => "target.token_url",
            oauth::ConfigError::CaFile { .. } => "target.ca_file",
            oauth::ConfigError::Key(_) => "target.private_key_file",
            oauth::ConfigError::EmptySecret => "target.client_secret_file",
        };
        (key, error.to_string())
    })
}

/// The token of the admin TCP listener, from its file or the environment.
pub fn admin_token(config: &Config) -> Result<SecretString, String> {
    secret(config.admin.token_file.as_deref(), TOKEN_VARIABLE)
}

/// The secret in a file.
pub(super) fn secret_in(file: &Path) -> Result<SecretString, String> {
    secret(Some(file), "")
}

fn secret(file: Option<&Path>, variable: &str) -> Result<SecretString, String> {
    let text = match file {
        Some(path) => {
            let meta = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
            if meta.len() > SECRET_LIMIT {
                return Err(format!("{} is too long for a secret", path.display()));
            }
            std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?
        }
        None => std::env::var(variable)
            .map_err(|_| format!("is not set, and the environment has no {variable} either"))?,
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(match file {
            Some(path) => format!("{} is empty", path.display()),
            None => format!("{variable} is empty"),
        });
    }
    Ok(text.to_owned().into())
}

fn certificate(key: &str, pair: &Certificate, found: &mut Found) {
    let chain = match chain(&pair.certificate_file) {
        Ok(chain) => Some(chain),
        Err(message) => {
            found.problem(format!("{key}.certificate_file"), message);
            None
        }
    };
    if let Ok(meta) = std::fs::metadata(&pair.private_key_file) {
        private(&format!("{key}.private_key_file"), &pair.private_key_file, &meta, found);
    }
    let private_key = match private_key(&pair.private_key_file) {
        Ok(private_key) => Some(private_key),
        Err(message) => {
            found.problem(format!("{key}.private_key_file"), message);
            None
        }
    };
    let (Some(chain), Some(private_key)) = (chain, private_key) else { return };
    match CertifiedKey::from_der(chain, private_key, &default_provider()) {
        Ok(_) => {}
        Err(rustls::Error::InconsistentKeys(_)) => found.problem(
            format!("{key}.private_key_file"),
            format!(
                "{} is not the key of {}",
                pair.private_key_file.display(),
                pair.certificate_file.display()
            ),
        ),
        Err(error) => found.problem(format!("{key}.private_key_file"), format!("{error}")),
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{} has no PEM certificate", path.display())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{} is not PEM: {error}", path.display())),
    }
}

fn private_key(path: &PathBuf) -> Result<PrivateKeyDer<'static>, String> {
    let pem = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| format!("{} has no PEM private key", path.display()))
}

fn private(key: &str, path: &Path, meta: &std::fs::Metadata, found: &mut Found) {
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        found.warning(key, format!("{} can be read by everybody (mode {mode:o}); chmod 600", path.display()));
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests;
