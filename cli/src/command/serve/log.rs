//! Logs: human on a terminal, JSON otherwise; always on standard error.

use crate::config::{Log, LogFormat};
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, fmt};

/// Begins to log. `RUST_LOG` wins over the configuration.
pub fn begin(log: &Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&log.level));
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call within one process (tests) keeps the first.
    let _ = if human {
        builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
