//! Mailferry sync.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod csv;
pub mod fault;
pub mod gate;
pub mod oauth;
pub mod token;
