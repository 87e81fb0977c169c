//! The operator's desk, made from the configuration: who we are at Office 365, limits, DNS.

use crate::{
    config::{Config, check},
    failure::Failure,
};
use jiff::SignedDuration;
use mailferry_admin::problem::Problem;
use mailferry_dnscheck::{Checker, clock::Rules};
use mailferry_imap::net::{Security, Server, TlsClient, Trust};
use mailferry_ledger::{Ledger, Vault};
use mailferry_spool::Spool;
use mailferry_sync::{
    batch::{Batches, Setup},
    context::{DeletionCap, Limits, Patience, TargetAccess},
    tenant::Tenant,
    watch::DnsSettings,
};
use std::sync::Arc;

/// Puts it together; nothing runs yet.
pub fn open(config: &Config, ledger: Ledger, vault: Vault, spool: Spool) -> Result<Batches, Failure> {
    let tokens = check::tokens(config).map_err(|(key, why)| Problem::usage(format!("{key}: {why}")))?;
    let server = Server {
        host: config.target.host.clone(),
        port: config.target.port,
        security: Security::Ssl,
        trust: config.target.ca_file.clone().map_or(Trust::System, Trust::CaFile),
    };
    let tls = TlsClient::new(&server.trust)
        .map_err(|error| Problem::usage(format!("certificates to trust for {}: {error}", server.host)))?;
    let tenant = Tenant::new(config.target.max_sessions, config.target.max_sessions_per_mailbox);
    let sync = &config.sync;
    Ok(Batches::new(Setup {
        ledger,
        spool,
        vault,
        target: TargetAccess { server, tls, tokens: Arc::new(tokens), tenant },
        limits: Limits {
            max_message_bytes: sync.max_message_bytes.0,
            max_items: sync.max_items,
            memory_bytes: sync.memory.0,
        },
        deletions: DeletionCap { messages: sync.max_deletions.into(), ..DeletionCap::default() },
        patience: Patience { settle: sync.settle.0, ..Patience::default() },
        incremental_interval: sync.incremental_interval.0,
        dns: DnsSettings {
            checker: Checker::new(config.dns.checker()),
            rules: rules(config),
            interval: config.dns.interval.0,
            old: config.dns.old.clone(),
        },
        quiet: SignedDuration::try_from(config.dns.straggler_quiet.0).unwrap_or(SignedDuration::MAX),
    }))
}

/// What the clock demands.
pub fn rules(config: &Config) -> Rules {
    Rules { wait: config.dns.wait.0, ..Rules::default() }
}
