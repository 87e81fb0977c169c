//! HTTP and JSON for the operator: what the daemon knows and does, on a Unix socket (file permissions) and, with a
//! token, on TCP.
//!
//! Every answer is JSON (`/metrics` and the health checks are text); what fails ends in a [`problem::Problem`] that
//! says whose fault it is and what to do next. Nothing here decides: it asks `mailferry_sync::batch` and shows.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod metrics;
pub mod parts;
pub mod problem;
pub mod server;
pub mod shape;
pub mod stream;

pub use api::router;
