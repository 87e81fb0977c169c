//! A server that runs below us and ends with us.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// A child process. Dropped, it gets SIGTERM and, after five seconds, SIGKILL.
///
/// It is started below `setpriv --pdeathsig` so that it ends even when we are killed ourselves.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in the file `log`.
    pub fn start(name: &str, command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "TERM"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        let child = wrapped
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs; an error tells how it ended, with the end of its log.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Waits until it greets at this address as IMAP servers do.
    pub async fn greets(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            self.alive()?;
            if let Ok(stream) = TcpStream::connect(address).await {
                let mut line = String::new();
                let mut reader = BufReader::new(stream);
                let read = reader.read_line(&mut line);
                if matches!(tokio::time::timeout(Duration::from_secs(10), read).await, Ok(Ok(_)))
                    && line.starts_with("* OK")
                {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} does not greet at {address}\n{}", self.name, self.tail())
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// SIGKILL, and the child is reaped.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, then waits for the end; its exit code if it ended by itself within `patience`.
    pub fn stop(&mut self, patience: Duration) -> anyhow::Result<Option<i32>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status.code());
        }
        signal(self.child.id(), Signal::TERM)?;
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()?;
        Ok(None)
    }

    /// Highest resident memory of the process so far, in bytes (`VmHWM`).
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.split_whitespace().nth(1).context("VmHWM figure")?.parse()?;
        Ok(kib * 1024)
    }
}

/// Sends one signal to one process.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
    kill_process(pid, signal)?;
    Ok(())
}

/// Returns when SIGINT or SIGTERM came, with its name: programs that run stands end in good order then.
pub async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => "SIGINT",
        _ = term.recv() => "SIGTERM",
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop(Duration::from_secs(5)) {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}
