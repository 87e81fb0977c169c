//! `mailferry`: arguments, configuration, wiring, output. What it does is in the libraries.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(missing_docs, reason = "a binary has no readers of its interface but its own modules")]

mod args;
mod client;
mod command;
mod config;
mod failure;
mod output;

use args::{Cli, Command, Global};
use clap::Parser;
use failure::Failure;
use mailferry_admin::problem::Problem;
use output::Format;
use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let format = Format::of(&cli.global);
    // Fails only when one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli, format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

fn run(cli: Cli, format: Format) -> Result<(), Failure> {
    let global = cli.global.with_environment();
    let sockets = match cli.command {
        Command::Serve(_) => command::serve::Sockets::inherit(),
        _ => command::serve::Sockets::default(),
    };
    let mut runtime = match cli.command {
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Problem::local(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Init(init) => command::init::run(&global, &init, format),
            Command::Serve(serve) => command::serve::run(&global, &serve, sockets, format).await,
            Command::Status(watch) => command::status::run(&global, &watch, format).await,
            Command::Endpoint(endpoint) => command::endpoint::run(&global, endpoint, format).await,
            Command::Batch(batch) => command::batch::run(&global, batch, format).await,
            Command::Mailbox(mailbox) => command::mailbox::run(&global, mailbox, format).await,
            Command::Dns(dns) => command::dns::run(&global, dns, format).await,
            Command::Stragglers => command::stragglers::run(&global, format).await,
            Command::Hook(hook) => command::hook::run(&global, &hook, format).await,
            Command::Sessions(args::Sessions::List) => command::sessions::list(&global, format).await,
            Command::Sessions(args::Sessions::Kick { conn }) => {
                command::sessions::kick(&global, &conn, format).await
            }
        }
    });
    // A resolver thread of the system may hang for long; nothing of ours waits for it.
    runtime.shutdown_background();
    done
}

/// A command line that makes no sense ends with 1, help and version with 0.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        let message: Vec<&str> =
            text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:")).collect();
        let problem = Problem::usage(message.join(" ").trim_start_matches("error: ").trim())
            .next("mailferry help lists the commands");
        return Failure::from(problem).report(Format::Json);
    }
    let _ = error.print();
    ExitCode::from(1)
}

/// The configuration file to read.
fn config_file(global: &Global) -> PathBuf {
    global.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into())
}
