//! The daemon's parts, put together and taken apart again.

use super::{
    desk,
    front::Keeper,
    host, reload,
    signals::{Ask, Signals},
    sockets::Sockets,
    view::View,
};
use crate::{
    config::{Config, check, hooks},
    failure::Failure,
};
use jiff::Timestamp;
use mailferry_admin::{parts::Parts, problem::Problem, server};
use mailferry_ledger::{Ledger, OpenError, Vault};
use mailferry_spool::{Limits, Spool};
use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// How long everything else may take to come to its end after the proxy's drain.
const AFTER_DRAIN: Duration = Duration::from_secs(10);

/// Runs the daemon until a signal, or a failure of its state, ends it.
pub async fn run(file: PathBuf, mut config: Config, sockets: Sockets) -> Result<(), Failure> {
    // First of all: from here on a second SIGTERM is counted, and nothing is left half open by the first.
    let mut signals = Signals::new().map_err(|error| Problem::local(format!("signals: {error}")))?;
    let (ledger, notices) = open_ledger(&config).await?;
    let vault = Vault::load(&config.key_file).map_err(|error| Problem::usage(error.to_string()))?;
    let spool = Spool::new(Limits {
        memory_bytes: config.spool.memory.0,
        disk_bytes: config.spool.disk.0,
        dir: config.spool_dir(),
    });
    let hooks = hooks::told(&config).map_err(|(key, why)| Problem::usage(format!("{key}: {why}")))?;
    let batches = desk::open(&config, ledger.clone(), vault.clone(), spool.clone())?;
    let keeper = Keeper::new(config.proxy.clone(), (ledger.clone(), spool.clone(), vault), sockets);
    keeper.open().map_err(|why| {
        Problem::local(format!("the proxy cannot be opened: {why}"))
            .next("is the port taken? ports below 1024 need root or CAP_NET_BIND_SERVICE")
    })?;

    let shutdown = CancellationToken::new();
    let views =
        View { keeper: keeper.clone(), spool, ledger: ledger.clone(), notices, shutdown: shutdown.clone() };
    let parts = Parts {
        batches: batches.clone(),
        ledger: ledger.clone(),
        rules: desk::rules(&config),
        views: Arc::new(views),
        started: Timestamp::now(),
    };
    // The admin side ends last: while things drain, an operator wants to see them.
    let admin_stop = CancellationToken::new();
    let mut admin = open_admin(&config, parts, &admin_stop).await?;

    let mut work = Tasks::default();
    let (stop, proxy) = (shutdown.clone(), keeper.clone());
    work.add("proxy", async move { proxy.run(stop).await });
    let stop = shutdown.clone();
    let (told, by) = (hooks, batches.clone());
    work.add("hooks", async move { by.tell(told, stop).await });
    let stop = shutdown.clone();
    work.add("sync", async move { batches.run(stop).await });
    info!(
        socket = %config.admin.socket.display(),
        state_dir = %config.state_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        "Mailferry serves."
    );
    tell_systemd("READY=1");

    let ended = loop {
        tokio::select! {
            ask = signals.next() => match ask {
                Ask::Stop(name) => {
                    info!(signal = name, "Told to stop; draining.");
                    break Ok(());
                }
                Ask::Reload => reload::run(&file, &mut config, &keeper),
            },
            what = ledger.failed() => {
                error!(error = what, "The ledger failed; nothing more can be promised, so we stop.");
                break Err(Problem::local(format!("the ledger failed: {what}"))
                    .next("when the disk is sound, start again: that is always safe").into());
            }
            name = work.ended() => {
                error!(task = name, "A part of the daemon ended by itself; we stop.");
                break Err(Problem::local(format!("the {name} part of the daemon ended by itself"))
                    .next("start again: that is always safe; the log says what happened").into());
            }
        }
    };

    tell_systemd("STOPPING=1");
    shutdown.cancel();
    let drain = config.proxy.as_ref().map(|proxy| proxy.limits.drain.0).unwrap_or_default() + AFTER_DRAIN;
    let drained = async {
        work.finish().await;
        admin_stop.cancel();
        admin.finish().await;
    };
    tokio::select! {
        () = drained => info!("Everything came to its end."),
        () = tokio::time::sleep(drain) => warn!("Not everything came to its end in time; the ledger knows what is done."),
        ask = signals.stop() => warn!(signal = ask, "Told again to stop; not waiting any longer."),
    }
    // Nobody connects to what nobody serves; a path that is gone already is as good.
    let _ = std::fs::remove_file(&config.admin.socket);
    ended
}

fn tell_systemd(state: &str) {
    host::tell_systemd(state, &[]).unwrap_or_else(|error| debug!(%error, "systemd could not be told."));
}

async fn open_ledger(config: &Config) -> Result<(Ledger, Vec<String>), Failure> {
    let dir = config.ledger_dir();
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&dir))
        .await
        .map_err(|error| Problem::local(format!("the ledger does not open: {error}")))?
        .map_err(|error| {
            let problem = Problem::local(error.to_string());
            match error {
                OpenError::InUse { .. } => {
                    problem.next("stop the other one first, or give this one a state_dir of its own")
                }
                OpenError::Newer { .. } => problem,
                OpenError::Io { .. } => problem.next("look at the folder's owner, mode and disk"),
            }
        })?;
    let mut notices = Vec::new();
    if let Ok(Some(rebuilt)) = opened.ledger.rebuilt() {
        notices.push(format!(
            "the ledger was damaged ({}) and was set aside as {}: add endpoints and batches again; what is on Office 365 already is matched, not copied",
            rebuilt.why,
            rebuilt.set_aside.display()
        ));
    }
    Ok((opened.ledger, notices))
}

async fn open_admin(config: &Config, parts: Parts, stop: &CancellationToken) -> Result<Tasks, Failure> {
    let refused = |error: server::ListenError| {
        let problem = Problem::local(error.to_string());
        match error {
            server::ListenError::InUse(_) => {
                problem.next("stop the other daemon first, or give this one another [admin] socket")
            }
            server::ListenError::NotASocket(_) | server::ListenError::Io { .. } => {
                problem.next("change [admin] in the configuration, or who runs the daemon")
            }
        }
    };
    let router = mailferry_admin::router(parts);
    let mut tasks = Tasks::default();
    if let Some(address) = config.admin.tcp {
        let token =
            check::admin_token(config).map_err(|why| Problem::usage(format!("admin.token_file: {why}")))?;
        let listener = server::listen_tcp(address).await.map_err(refused)?;
        info!(listen = %address, "Admin side listens on TCP.");
        let (router, stop) = (router.clone(), stop.clone());
        tasks.add("admin TCP", async move { said(server::serve_tcp(listener, router, token, stop).await) });
    }
    let listener = server::listen_unix(&config.admin.socket).await.map_err(refused)?;
    let stop = stop.clone();
    tasks.add("admin", async move { said(server::serve_unix(listener, router, stop).await) });
    Ok(tasks)
}

fn said(ended: io::Result<()>) {
    if let Err(error) = ended {
        error!(%error, "The admin side failed.");
    }
}

/// Tasks with names, all awaited.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    fn add(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// The name of the next one that ends.
    async fn ended(&mut self) -> &'static str {
        let (id, panicked) = match self.set.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, None),
            Some(Err(error)) => (error.id(), Some(error)),
            None => std::future::pending().await,
        };
        let name = self.names.get(&id).copied().unwrap_or("unnamed");
        if let Some(error) = panicked {
            error!(task = name, %error, "A part of the daemon panicked.");
        }
        name
    }

    async fn finish(&mut self) {
        while !self.set.is_empty() {
            self.ended().await;
        }
    }
}
