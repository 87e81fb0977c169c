//! The proxy's listening sockets over restarts: systemd keeps them (file descriptor store) and gives them back, so that a
//! client that connects meanwhile waits a moment and is not refused. Sockets of a `.socket` unit come the same way.

use super::host;
use listenfd::ListenFd;
use mailferry_proxy::Listeners;
use std::{net::SocketAddr, os::fd::AsFd};
use tracing::{info, warn};

/// See the module.
#[derive(Debug, Default)]
pub struct Sockets {
    listeners: Listeners,
}

impl Sockets {
    /// Those that the service manager gave (`LISTEN_FDS`). Before any other thread runs: the environment is changed.
    pub fn inherit() -> Self {
        let mut given = ListenFd::from_env();
        let mut listeners = Listeners::default();
        for index in 0..given.len() {
            // Anything else is not for us: whoever gave it knows what it is for.
            if let Ok(Some(socket)) = given.take_tcp_listener(index) {
                listeners.add(socket);
            }
        }
        Self { listeners }
    }

    /// For the proxy to take what fits.
    pub fn listeners(&mut self) -> &mut Listeners {
        &mut self.listeners
    }

    /// Tells the service manager to keep what the proxy listens on, and to forget what was closed.
    pub fn hand_over(&self, closed: &[SocketAddr]) {
        for address in closed {
            info!(%address, "A socket that was handed to us fits no listen address; it is closed.");
            let told = host::tell_systemd(&format!("FDSTOREREMOVE=1\nFDNAME={}", name(*address)), &[]);
            told.unwrap_or_else(|error| warn!(%error, "systemd could not be told to forget a socket."));
        }
        for socket in self.listeners.iter() {
            let Ok(address) = socket.local_addr() else { continue };
            let told = host::tell_systemd(&format!("FDSTORE=1\nFDNAME={}", name(address)), &[socket.as_fd()]);
            told.unwrap_or_else(|error| {
                warn!(%error, "systemd could not be given a socket: clients will be refused during a restart.");
            });
        }
    }
}

/// A descriptor's name may hold no colon.
fn name(address: SocketAddr) -> String {
    format!("mailferry-{}", address.to_string().replace(':', "_"))
}
