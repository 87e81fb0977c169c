//! What the daemon asks of the machine: many open files, and systemd's ear.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixDatagram},
};
use tracing::{debug, warn};

/// Below this many open files a busy proxy will not do: a client needs two, a mailbox worker a few.
const FEW: u64 = 4096;

/// Raises the limit of open files to what the machine allows, and gives it.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit at all.
    let (before, allowed) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let now = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => allowed,
        Err(_) => before,
    };
    if now < FEW {
        warn!(limit = now, "Few open files are allowed; set LimitNOFILE=, or ulimit -n.");
    }
    now
}

/// Tells systemd (`READY=1`, `STOPPING=1`, …) when it wants to know (`NOTIFY_SOCKET`).
pub fn tell_systemd(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let told = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    }
    .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        debug!(%error, "systemd could not be told.");
    }
}
