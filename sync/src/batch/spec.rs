//! What an operator gives: endpoints, batches, and how they are to be removed.

use std::path::PathBuf;

use mailferry_ledger::{AdminLogin, Endpoint, Security, Trust};
use serde::{Deserialize, Serialize};

use super::BatchError;

/// The longest name of an endpoint or batch, in characters (Microsoft's limit for batches).
pub const MAX_NAME: usize = 64;

/// A source server by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Its name.
    pub name: String,
    /// Host name.
    pub server: String,
    /// TCP port.
    pub port: u16,
    /// `none`, `ssl` or `tls`.
    pub security: String,
    /// PEM file to trust instead of the system's certificates.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether certificates are verified.
    #[serde(default)]
    pub verification: Verification,
    /// Mailboxes copied at once.
    #[serde(default = "default_migrations")]
    pub max_concurrent_migrations: u32,
    /// Mailboxes in an incremental pass at once.
    #[serde(default = "default_incremental_syncs")]
    pub max_concurrent_incremental_syncs: u32,
    /// Whether passwords are learnt from clients' logins through the proxy, so that the CSV file may leave them out.
    #[serde(default)]
    pub learn_credentials: bool,
    /// What stands between user and administrator in a `UserName` (`User*Admin`).
    #[serde(default = "default_admin_separator")]
    pub admin_separator: char,
    /// How an administrator logs in: `name`, or `authzid` for sources that know the user from SASL's identity.
    #[serde(default)]
    pub admin_login: AdminLogin,
}

/// Whether an endpoint's certificate is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// As it should be.
    #[default]
    On,
    /// The operator turned it off for this endpoint.
    Off,
}

/// The guide's example for `MaxConcurrentMigrations`.
pub fn default_migrations() -> u32 {
    50
}

/// The guide's example for `MaxConcurrentIncrementalSyncs`.
pub fn default_incremental_syncs() -> u32 {
    25
}

/// That of Dovecot and of Microsoft's example.
pub fn default_admin_separator() -> char {
    Endpoint::ADMIN_SEPARATOR
}

impl EndpointSpec {
    /// As the ledger keeps it.
    ///
    /// # Errors
    /// [`BatchError::Unfit`] names the field.
    pub fn endpoint(&self) -> Result<Endpoint, BatchError> {
        check_name("endpoint", &self.name)?;
        let unfit = |what, value: &str, why| BatchError::Unfit { what, value: value.to_owned(), why };
        let is_host = !self.server.is_empty()
            && !self.server.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
        if !is_host {
            return Err(unfit("server", &self.server, "is no host name"));
        }
        if self.port == 0 {
            return Err(unfit("port", "0", "is no port; 993 for ssl, 143 for none and tls"));
        }
        let security: Security = self
            .security
            .parse()
            .map_err(|_| unfit("security", &self.security, "must be none, ssl or tls"))?;
        let trust = match (&self.ca_file, self.verification) {
            (None, Verification::On) => Trust::System,
            (Some(file), Verification::On) => Trust::CaFile(file.clone()),
            (None, Verification::Off) => Trust::Off,
            (Some(_), Verification::Off) => {
                return Err(unfit("verification", "off", "makes no sense together with ca_file"));
            }
        };
        if self.max_concurrent_migrations == 0 {
            return Err(unfit("max_concurrent_migrations", "0", "must be 1 or more"));
        }
        if self.max_concurrent_incremental_syncs == 0 {
            return Err(unfit("max_concurrent_incremental_syncs", "0", "must be 1 or more"));
        }
        if self.max_concurrent_incremental_syncs > self.max_concurrent_migrations {
            return Err(unfit(
                "max_concurrent_incremental_syncs",
                &self.max_concurrent_incremental_syncs.to_string(),
                "must not be above max_concurrent_migrations",
            ));
        }
        let separator = self.admin_separator;
        // These stand in users' own names, or in other forms of administrators' ones.
        if separator.is_alphanumeric()
            || separator.is_whitespace()
            || separator.is_control()
            || "@._-/\\#\"".contains(separator)
        {
            return Err(unfit(
                "admin_separator",
                &separator.to_string(),
                "must be a character that no user's name has, such as * or %",
            ));
        }
        Ok(Endpoint {
            name: self.name.clone(),
            server: self.server.clone(),
            port: self.port,
            security,
            trust,
            max_concurrent_migrations: self.max_concurrent_migrations,
            max_concurrent_incremental_syncs: self.max_concurrent_incremental_syncs,
            learn_credentials: self.learn_credentials,
            admin_separator: self.admin_separator,
            admin_login: self.admin_login,
        })
    }
}

impl From<Endpoint> for EndpointSpec {
    fn from(endpoint: Endpoint) -> Self {
        let (ca_file, verification) = match endpoint.trust {
            Trust::System => (None, Verification::On),
            Trust::CaFile(file) => (Some(file), Verification::On),
            Trust::Off => (None, Verification::Off),
        };
        Self {
            name: endpoint.name,
            server: endpoint.server,
            port: endpoint.port,
            security: endpoint.security.to_string(),
            ca_file,
            verification,
            max_concurrent_migrations: endpoint.max_concurrent_migrations,
            max_concurrent_incremental_syncs: endpoint.max_concurrent_incremental_syncs,
            learn_credentials: endpoint.learn_credentials,
            admin_separator: endpoint.admin_separator,
            admin_login: endpoint.admin_login,
        }
    }
}

/// A batch to be added.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its name, at most [`MAX_NAME`] characters.
    pub name: String,
    /// The endpoint to read from.
    pub endpoint: String,
    /// The CSV file's bytes.
    pub csv: Vec<u8>,
    /// When it starts.
    pub start: Start,
    /// Which folders go (`crate::folders::filter`); none: all.
    pub include: Vec<String>,
    /// Which folders do not go.
    pub exclude: Vec<String>,
}

/// When a new batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At once (`--auto-start`).
    AtOnce,
    /// When told.
    Later,
}

/// What a verb did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// What was asked for.
    Done,
    /// Nothing: it was so already.
    Already,
}

/// How a batch is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// If the gate is open.
    ThroughGate,
    /// Whatever the gate says; the reason is recorded.
    Forced {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
}

/// Whether a mailbox's skipped messages are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowSkipped {
    /// List them.
    Listed,
    /// Figures only.
    Counted,
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), BatchError> {
    let unfit = |why| Err(BatchError::Unfit { what, value: name.to_owned(), why });
    if name.is_empty() || name.trim() != name {
        return unfit("a name is not empty and has no space around it");
    }
    if name.chars().count() > MAX_NAME {
        return unfit("a name has at most 64 characters");
    }
    if name.chars().any(|c| c.is_control() || c == '/') {
        return unfit("a name has no control character and no slash");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EndpointSpec {
        serde_json::from_str(
            r#"{"name":"IMAPEndpoint","server":"imap.contoso.com","port":993,"security":"Ssl"}"#,
        )
        .unwrap()
    }

    #[test]
    fn an_endpoint_is_what_microsofts_cmdlet_takes() {
        let endpoint = spec().endpoint().unwrap();
        assert_eq!(endpoint.security, Security::Ssl);
        assert_eq!(endpoint.trust, Trust::System);
        assert_eq!((endpoint.max_concurrent_migrations, endpoint.max_concurrent_incremental_syncs), (50, 25));
        let back = EndpointSpec::from(endpoint.clone());
        assert_eq!(back.endpoint().unwrap(), endpoint);
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused_by_field() {
        for (change, field) in [
            (
                Box::new(|spec: &mut EndpointSpec| spec.name = String::new())
                    as Box<dyn Fn(&mut EndpointSpec)>,
                "endpoint",
            ),
            (Box::new(|spec| spec.name = "a/b".into()), "endpoint"),
            (Box::new(|spec| spec.name = "x".repeat(65)), "endpoint"),
            (Box::new(|spec| spec.server = "imap .contoso.com".into()), "server"),
            (Box::new(|spec| spec.port = 0), "port"),
            (Box::new(|spec| spec.security = "starttls".into()), "security"),
            (Box::new(|spec| spec.admin_separator = '.'), "admin_separator"),
            (Box::new(|spec| spec.admin_separator = 'x'), "admin_separator"),
            (Box::new(|spec| spec.max_concurrent_migrations = 0), "max_concurrent_migrations"),
            (Box::new(|spec| spec.max_concurrent_incremental_syncs = 51), "max_concurrent_incremental_syncs"),
        ] {
            let mut spec = spec();
            change(&mut spec);
            match spec.endpoint() {
                Err(BatchError::Unfit { what, .. }) => assert_eq!(what, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
