//! A real resolver with a cache, as somebody outside asks it: Unbound.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::authority::retried;
use super::software::own_copy;
use super::zone::ask_serial;
use crate::child::Server;
use crate::place::Place;

/// How long it may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A zone that only this instance knows, by which it shows that it is there.
const OWN: &str = "resolver.test";

/// One Unbound; its cache ends with it.
#[derive(Debug)]
pub struct Recursive {
    server: Server,
    address: SocketAddr,
    _place: Place,
}

/// How the resolver comes to a zone.
#[derive(Debug, Clone)]
pub enum View {
    /// It asks these servers, and caches what they say.
    Servers(Vec<SocketAddr>),
    /// The same, and it believes only what is signed by these keys (data of DS records).
    Validated(Vec<SocketAddr>, Vec<String>),
    /// It answers by itself, with these records as in a zone file with absolute names: another view of the zone.
    Own(Vec<String>),
}

impl Recursive {
    /// Starts a resolver on 127.0.0.1 that knows its way to these zones and to nothing else. Real delegations have no
    /// place for ports, so it is told each zone's servers.
    pub fn start(zones: &[(&str, View)]) -> anyhow::Result<Self> {
        retried(|address| Self::start_at(address, zones))
    }

    fn start_at(address: SocketAddr, zones: &[(&str, View)]) -> anyhow::Result<Self> {
        let place = Place::new()?;
        let file = place.path().join("unbound.conf");
        std::fs::write(&file, configuration(&place, address, zones))?;
        let mut command = Command::new(own_copy(&place, "/usr/sbin/unbound")?);
        command.arg("-d").arg("-c").arg(&file);
        let mut server = Server::start("unbound", command, &place.path().join("log"))?;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            server.alive()?;
            if ask_serial(address, OWN)?.is_some() {
                return Ok(Self { server, address, _place: place });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("unbound at {address} does not answer\n{}", server.tail())
    }

    /// Where it listens, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

fn configuration(place: &Place, address: SocketAddr, zones: &[(&str, View)]) -> String {
    let dir = place.path().display();
    let validates = zones.iter().any(|(_, view)| matches!(view, View::Validated(..)));
    let modules = if validates { "validator iterator" } else { "iterator" };
    let mut text = format!(
        "server:
    interface: {}
    port: {}
    access-control: 127.0.0.0/8 allow
    do-daemonize: no
    username: \"\"
    chroot: \"\"
    directory: \"{dir}\"
    pidfile: \"\"
    use-syslog: no
    do-not-query-localhost: no
    module-config: \"{modules}\"
    num-threads: 1
    do-ip6: no
    outgoing-range: 512
    num-queries-per-thread: 1024
    local-zone: \".\" refuse
    local-zone: \"{OWN}.\" static
    local-data: \"{OWN}. 60 IN SOA ns.{OWN}. root.{OWN}. 1 60 60 60 60\"
",
        address.ip(),
        address.port()
    );
    // Writing to a String cannot fail.
    for (zone, view) in zones {
        let (kind, records) = match view {
            View::Servers(_) | View::Validated(..) => ("transparent", &[][..]),
            View::Own(records) => ("static", &records[..]),
        };
        let _ = writeln!(text, "    local-zone: \"{zone}.\" {kind}");
        for record in records {
            let _ = writeln!(text, "    local-data: '{record}'");
        }
        if let View::Validated(_, anchors) = view {
            for anchor in anchors {
                let _ = writeln!(text, "    trust-anchor: \"{zone}. DS {anchor}\"");
            }
        }
    }
    text.push_str("remote-control:\n    control-enable: no\n");
    for (zone, view) in zones {
        if let View::Servers(servers) | View::Validated(servers, _) = view {
            let _ = writeln!(text, "stub-zone:\n    name: \"{zone}\"\n    stub-prime: no");
            for server in servers {
                let _ = writeln!(text, "    stub-addr: {}@{}", server.ip(), server.port());
            }
        }
    }
    text
}
