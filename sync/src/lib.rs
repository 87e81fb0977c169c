//! Mailferry sync.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod context;
pub mod csv;
pub mod error;
pub mod fault;
mod fleet;
pub mod folders;
pub mod gate;
pub mod limits;
pub mod matching;
pub mod oauth;
pub mod pace;
pub mod plan;
pub mod print;
pub mod progress;
pub mod stragglers;
pub mod token;
pub mod verify;
pub mod watch;
pub mod worker;
