//! Mailferry sync.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
mod changes;
pub mod context;
mod copy;
pub(crate) mod credentials;
pub mod csv;
pub mod early;
pub mod endpoint;
pub mod error;
mod evidence;
pub mod export;
pub mod fault;
mod fill;
mod fleet;
pub mod folders;
pub mod gate;
mod hints;
pub mod hooks;
pub mod limits;
mod listing;
mod look;
pub mod matching;
pub mod oauth;
pub mod pace;
mod pass;
pub mod plan;
pub mod print;
pub mod progress;
mod received;
mod reconcile;
pub mod retry;
mod scan;
mod sides;
mod skipped;
mod steady;
pub mod stragglers;
mod succession;
pub mod timeline;
pub mod token;
mod transfer;
mod trouble;
pub mod verify;
pub mod watch;
mod web;
pub mod worker;
