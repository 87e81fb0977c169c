//! What the operating system tells the daemon.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Drain and end; which signal it was.
    Stop(&'static str),
    /// Take configuration and certificates in again.
    Reload,
}

impl Signals {
    /// From here on they are ours.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Ask {
        tokio::select! {
            _ = self.terminate.recv() => Ask::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Ask::Stop("SIGINT"),
            _ = self.hangup.recv() => Ask::Reload,
        }
    }

    /// The next one that means stop.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let Ask::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
