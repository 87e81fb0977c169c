//! Mailferry ledger.
