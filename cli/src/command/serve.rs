//! `serve`: the daemon, the only owner of the ledger; and `serve --check`.

mod daemon;
mod desk;
mod front;
mod host;
mod log;
mod reload;
mod signals;
mod sockets;
mod view;

pub use sockets::Sockets;

use crate::{
    args::{Global, Serve},
    config::{Config, ConfigError, Problem as ConfigProblem, check},
    failure::Failure,
    output::{self, Format},
};
use std::path::Path;

pub async fn run(global: &Global, serve: &Serve, sockets: Sockets, format: Format) -> Result<(), Failure> {
    let file = crate::config_file(global);
    let mut config = Config::load(&file)?;
    let warnings = check::check(&file, &config)?;
    if let Some(socket) = &global.socket {
        config.admin.socket.clone_from(socket);
    }
    if serve.check {
        checked(&file, warnings, format);
        return Ok(());
    }
    log::begin(&config.log);
    for line in lines(&file, warnings) {
        tracing::warn!("{line}");
    }
    host::raise_open_files(config.proxy.as_ref().map_or(0, |proxy| proxy.limits.max_connections));
    daemon::run(file, config, sockets).await
}

fn checked(file: &Path, warnings: Vec<ConfigProblem>, format: Format) {
    let warnings = lines(file, warnings);
    match format {
        Format::Json => {
            output::json(&serde_json::json!({ "config": file, "ok": true, "warnings": warnings }))
        }
        Format::Human => {
            for warning in &warnings {
                output::say(&format!("warning: {warning}\n"));
            }
            output::say(&format!("{} is good\n", file.display()));
        }
    }
}

fn lines(file: &Path, warnings: Vec<ConfigProblem>) -> Vec<String> {
    warnings
        .into_iter()
        .map(|warning| ConfigError { file: file.to_owned(), problems: vec![warning] }.to_string())
        .collect()
}
