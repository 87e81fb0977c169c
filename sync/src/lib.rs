//! Mailferry sync.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod context;
pub mod csv;
pub mod error;
pub mod fault;
pub mod folders;
pub mod gate;
pub mod limits;
pub mod matching;
pub mod oauth;
pub mod pace;
pub mod plan;
pub mod print;
pub mod progress;
pub mod token;
pub mod verify;
pub mod worker;
