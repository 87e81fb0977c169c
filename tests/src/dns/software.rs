//! What differs from one authoritative server to the other: binary, configuration, how it is told to load anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::place::Place;

/// Which authoritative server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    /// Knot DNS.
    Knot,
    /// NSD of NLnet Labs.
    Nsd,
    /// BIND 9.
    Bind,
}

/// How a running server is made to read a zone's file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// By its own tool.
    Knotc,
    /// By SIGHUP.
    Signal,
}

impl Software {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Knot, Self::Nsd, Self::Bind];

    /// Another one, in a circle.
    pub fn other(self) -> Self {
        match self {
            Self::Knot => Self::Nsd,
            Self::Nsd => Self::Bind,
            Self::Bind => Self::Knot,
        }
    }

    /// The name of its process.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Knot => "knotd",
            Self::Nsd => "nsd",
            Self::Bind => "named",
        }
    }

    pub(super) fn reload(self) -> Reload {
        match self {
            Self::Knot => Reload::Knotc,
            Self::Nsd | Self::Bind => Reload::Signal,
        }
    }

    /// Writes the configuration; the command that starts the server with it.
    pub(super) fn prepare<'a>(
        self,
        place: &Place,
        address: SocketAddr,
        zones: impl Iterator<Item = &'a String>,
        signed: &BTreeSet<String>,
    ) -> anyhow::Result<Command> {
        for folder in ["run", "db", "zones"] {
            place.folder(folder)?;
        }
        let dir = place.path();
        let file = dir.join("server.conf");
        let text = match self {
            Self::Knot => knot(dir, address, zones, signed),
            Self::Nsd => nsd(dir, address, zones),
            Self::Bind => bind(dir, address, zones),
        };
        std::fs::write(&file, text)?;
        let mut command = match self {
            Self::Knot => Command::new("/usr/sbin/knotd"),
            Self::Nsd => Command::new("/usr/sbin/nsd"),
            Self::Bind => Command::new(own_copy(place, "/usr/sbin/named")?),
        };
        match self {
            Self::Knot => command.arg("-c").arg(file),
            Self::Nsd => command.arg("-d").arg("-c").arg(file),
            Self::Bind => command.args(["-g", "-n", "1", "-c"]).arg(file),
        };
        Ok(command)
    }
}

/// A copy of a binary. Debian confines some servers, by their path, to their folders below `/etc` and `/var`.
pub(super) fn own_copy(place: &Place, binary: &str) -> anyhow::Result<std::path::PathBuf> {
    let name = Path::new(binary).file_name().context("a file")?;
    let copy = place.path().join(name);
    if !copy.exists() {
        std::fs::copy(binary, &copy).with_context(|| format!("{binary}: is its package installed?"))?;
    }
    Ok(copy)
}

/// Has Knot load one zone.
pub(super) fn knotc(place: &Place, arguments: &[&str]) -> anyhow::Result<()> {
    let socket = place.path().join("run/knot.sock");
    let output = Command::new("/usr/sbin/knotc").arg("-s").arg(socket).args(arguments).output()?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "knotc {arguments:?}: {out}{error}");
    Ok(())
}

/// The data of the DS records (SHA-256) of a zone that Knot signs.
pub(super) fn delegation_signers(place: &Place, zone: &str) -> anyhow::Result<Vec<String>> {
    let output = Command::new("/usr/sbin/keymgr")
        .arg("-c")
        .arg(place.path().join("server.conf"))
        .args([zone, "ds"])
        .output()?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let data = out.lines().filter_map(|line| line.split_once(" DS ").map(|(_, data)| data.trim()));
    let sha256: Vec<String> =
        data.filter(|data| data.split(' ').nth(2) == Some("2")).map(str::to_owned).collect();
    ensure!(!sha256.is_empty(), "keymgr {zone} ds: {out}{error}");
    Ok(sha256)
}

fn knot<'a>(
    dir: &Path,
    address: SocketAddr,
    zones: impl Iterator<Item = &'a String>,
    signed: &BTreeSet<String>,
) -> String {
    let dir = dir.display();
    let mut text = format!(
        "server:
    rundir: \"{dir}/run\"
    listen: {}@{}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: \"{dir}/run/knot.sock\"
database:
    storage: \"{dir}/db\"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: \"{dir}/zones\"
    file: \"%s.zone\"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
    semantic-checks: off
zone:
",
        address.ip(),
        address.port()
    );
    for zone in zones {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - domain: \"{zone}\"");
        if signed.contains(zone) {
            let _ = writeln!(text, "    dnssec-signing: on");
        }
    }
    text
}

fn nsd<'a>(dir: &Path, address: SocketAddr, zones: impl Iterator<Item = &'a String>) -> String {
    let dir = dir.display();
    let mut text = format!(
        "server:
    ip-address: {}@{}
    server-count: 1
    username: \"\"
    chroot: \"\"
    zonesdir: \"{dir}/zones\"
    database: \"\"
    pidfile: \"{dir}/run/nsd.pid\"
    xfrdfile: \"{dir}/db/xfrd.state\"
    xfrdir: \"{dir}/db\"
    zonelistfile: \"{dir}/db/zone.list\"
    verbosity: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
",
        address.ip(),
        address.port()
    );
    for zone in zones {
        let _ = writeln!(text, "zone:\n    name: \"{zone}\"\n    zonefile: \"{zone}.zone\"");
    }
    text
}

fn bind<'a>(dir: &Path, address: SocketAddr, zones: impl Iterator<Item = &'a String>) -> String {
    let dir = dir.display();
    let (ip, port) = (address.ip(), address.port());
    let (four, six) = match address {
        SocketAddr::V4(_) => (format!("{ip};"), "none;".to_owned()),
        SocketAddr::V6(_) => ("none;".to_owned(), format!("{ip};")),
    };
    let mut text = format!(
        "options {{
    directory \"{dir}/run\";
    listen-on port {port} {{ {four} }};
    listen-on-v6 port {port} {{ {six} }};
    pid-file \"{dir}/run/named.pid\";
    session-keyfile \"{dir}/run/session.key\";
    managed-keys-directory \"{dir}/db\";
    bindkeys-file \"{dir}/run/none\";
    recursion no;
    notify no;
    dnssec-validation no;
    empty-zones-enable no;
    check-names primary ignore;
    check-mx ignore;
    check-mx-cname ignore;
    check-integrity no;
}};
controls {{ }};
"
    );
    for zone in zones {
        let _ = writeln!(text, "zone \"{zone}\" {{ type primary; file \"{dir}/zones/{zone}.zone\"; }};");
    }
    text
}
