//! The operator's desk, made from the configuration: who we are at Office 365, limits, DNS.

use crate::{config::Config, failure::Failure};
use mailferry_ledger::{Ledger, Vault};
use mailferry_spool::Spool;
use mailferry_sync::batch::Batches;

/// Puts it together; nothing runs yet.
pub fn open(_config: &Config, _ledger: Ledger, _vault: Vault, _spool: Spool) -> Result<Batches, Failure> {
    Ok(Batches {})
}
