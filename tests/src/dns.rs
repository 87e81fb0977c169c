//! Real authoritative DNS servers: Knot DNS from Debian, private instances on loopback ports.
//!
//! [`Knot`] is one server with the zones that it was given; [`Dns`] is the usual stand of two or three: a parent
//! that delegates, a primary that holds the domains, and if wanted a secondary that can be left behind. A name
//! server's host name leads to its private port by the address book ([`Dns::name_servers`]), since DNS itself has no
//! place for ports. All is blocking and takes milliseconds; servers end with their values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::child::Server;
use crate::place::{Place, free_port, loopback};

/// How long a server may take to answer for the first time, or to show a change.
const PATIENCE: Duration = Duration::from_secs(20);
/// Attempts to find a port that is free for UDP and TCP both.
const PORTS: u32 = 5;

/// A parent, a primary and perhaps a secondary, for domains below one or more top-level zones.
#[derive(Debug)]
pub struct Dns {
    /// Holds the zone above each domain and delegates; where a walk begins.
    pub parent: Knot,
    /// `ns1` of each domain.
    pub primary: Knot,
    /// `ns2` of each domain; changes do not reach it until [`Dns::refresh_secondary`].
    pub secondary: Option<Knot>,
    domains: Vec<String>,
}

/// Whether a stand has a second name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secondary {
    /// `ns1` only.
    Absent,
    /// `ns2`, a server instance of its own, holding a copy of the zones.
    Present,
}

/// One Knot DNS server.
#[derive(Debug)]
pub struct Knot {
    server: Server,
    address: SocketAddr,
    zones: BTreeMap<String, Zone>,
    place: Place,
}

/// A zone's records as they stand in its file.
#[derive(Debug, Clone)]
struct Zone {
    serial: u32,
    /// Lines of a zone file, in the order in which they were given; owners relative to the zone.
    records: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    owner: String,
    ttl: u32,
    kind: String,
    data: String,
}

impl Dns {
    /// Starts the servers. Each domain begins with `MX 10 mail.<domain>`, TTL 3600, and `mail` at 127.0.0.1.
    pub fn start(domains: &[&str], secondary: Secondary) -> anyhow::Result<Self> {
        let mut above: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for domain in domains {
            let (_, parent) = domain.split_once('.').with_context(|| format!("{domain}: no parent"))?;
            above.entry(parent).or_default().push(domain);
        }
        let parents: Vec<&str> = above.keys().copied().collect();
        let mut parent = Knot::start(&parents)?;
        let mut primary = Knot::start(domains)?;
        for (zone, domains) in &above {
            let mut change = parent.change(zone);
            for domain in domains {
                let label = domain.strip_suffix(zone).unwrap_or(domain).trim_end_matches('.');
                let servers = match secondary {
                    Secondary::Absent => vec![format!("ns1.{domain}.")],
                    Secondary::Present => vec![format!("ns1.{domain}."), format!("ns2.{domain}.")],
                };
                let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
                change = change.set(label, "NS", 3600, &servers);
                for server in ["ns1", "ns2"] {
                    change = change.set(&format!("{server}.{label}"), "A", 3600, &["127.0.0.1"]);
                }
            }
            change.apply()?;
        }
        for domain in domains {
            let own: &[&str] = match secondary {
                Secondary::Absent => &["ns1"],
                Secondary::Present => &["ns1", "ns2"],
            };
            primary
                .change(domain)
                .set("@", "NS", 3600, own)
                .set("ns2", "A", 3600, &["127.0.0.1"])
                .set("mail", "A", 3600, &["127.0.0.1"])
                .set("@", "MX", 3600, &["10 mail"])
                .apply()?;
        }
        let secondary = match secondary {
            Secondary::Absent => None,
            Secondary::Present => Some(Knot::start(domains)?),
        };
        let domains = domains.iter().map(ToString::to_string).collect();
        let mut dns = Self { parent, primary, secondary, domains };
        dns.refresh_secondary()?;
        Ok(dns)
    }

    /// Sets the domain's MX records, `"10 mail.contoso.edu."` each (absolute names end in a dot), at the primary
    /// and at the secondary if there is one. No records: no MX.
    pub fn set_mx(&mut self, domain: &str, ttl: u32, records: &[&str]) -> anyhow::Result<()> {
        self.set_mx_at_primary(domain, ttl, records)?;
        self.refresh_secondary()
    }

    /// Sets the domain's MX records at the primary alone: the secondary stays behind.
    pub fn set_mx_at_primary(&mut self, domain: &str, ttl: u32, records: &[&str]) -> anyhow::Result<()> {
        self.primary.change(domain).set("@", "MX", ttl, records).apply()
    }

    /// Brings the secondary to the primary's state.
    pub fn refresh_secondary(&mut self) -> anyhow::Result<()> {
        let Some(secondary) = &mut self.secondary else { return Ok(()) };
        for domain in &self.domains {
            secondary.copy_zone(domain, &self.primary)?;
        }
        Ok(())
    }

    /// Where a walk begins: the value of `roots` in the configuration.
    pub fn roots(&self) -> Vec<SocketAddr> {
        vec![self.parent.address()]
    }

    /// The address book: which server stands behind each name server's host name.
    pub fn name_servers(&self) -> BTreeMap<String, SocketAddr> {
        let parents = self.parent.zones.keys();
        let mut book: BTreeMap<_, _> =
            parents.map(|zone| (format!("ns1.{zone}"), self.parent.address())).collect();
        for domain in &self.domains {
            book.insert(format!("ns1.{domain}"), self.primary.address());
            if let Some(secondary) = &self.secondary {
                book.insert(format!("ns2.{domain}"), secondary.address());
            }
        }
        book
    }
}

impl Knot {
    /// Starts a server on 127.0.0.1 with these zones, each with its SOA, `NS ns1` and `ns1` at 127.0.0.1.
    pub fn start(zones: &[&str]) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..PORTS {
            match Self::start_at(loopback(free_port()?), zones) {
                Ok(knot) => return Ok(knot),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt")?)
    }

    /// Starts a server at this address: another loopback address, IPv6, a port that was in use before.
    pub fn start_at(address: SocketAddr, zones: &[&str]) -> anyhow::Result<Self> {
        let place = Place::new()?;
        for folder in ["run", "db", "zones"] {
            place.folder(folder)?;
        }
        let zones = zones.iter().map(|zone| ((*zone).to_owned(), Zone::new(address))).collect();
        let dir = place.path();
        std::fs::write(dir.join("knot.conf"), configuration(&place, address, &zones))?;
        for (name, zone) in &zones {
            std::fs::write(zone_file(&place, name), zone.text(name))?;
        }
        let mut command = Command::new("/usr/sbin/knotd");
        command.arg("-c").arg(dir.join("knot.conf"));
        let server = Server::start("knotd", command, &dir.join("log"))?;
        let mut knot = Self { server, address, zones, place };
        let names: Vec<String> = knot.zones.keys().cloned().collect();
        for name in names {
            knot.wait_for_serial(&name)?;
        }
        Ok(knot)
    }

    /// Where it listens, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Begins a change of one zone; nothing happens until [`Change::apply`].
    pub fn change<'a>(&'a mut self, zone: &str) -> Change<'a> {
        let edited = self.zones.get(zone).cloned().unwrap_or_else(|| Zone::new(self.address));
        Change { zone: zone.to_owned(), edited, knot: self }
    }

    /// Takes a zone's records and serial from another server.
    pub fn copy_zone(&mut self, zone: &str, from: &Self) -> anyhow::Result<()> {
        let edited = from.zones.get(zone).with_context(|| format!("{zone}: not there"))?.clone();
        self.load(zone, edited)
    }

    /// Drops a zone's content: the server stays named for it and answers SERVFAIL, until the next change.
    pub fn break_zone(&mut self, zone: &str) -> anyhow::Result<()> {
        std::fs::remove_file(zone_file(&self.place, zone))?;
        self.control(&["-f", "zone-purge", zone])
    }

    /// The zone's serial as the server should be giving it.
    pub fn serial(&self, zone: &str) -> Option<u32> {
        self.zones.get(zone).map(|zone| zone.serial)
    }

    fn load(&mut self, name: &str, zone: Zone) -> anyhow::Result<()> {
        ensure!(self.zones.contains_key(name), "{name}: not a zone of this server");
        std::fs::write(zone_file(&self.place, name), zone.text(name))?;
        self.zones.insert(name.to_owned(), zone);
        self.control(&["-b", "zone-reload", name])?;
        self.wait_for_serial(name)
    }

    fn control(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let socket = self.place.path().join("run/knot.sock");
        let output = Command::new("/usr/sbin/knotc").arg("-s").arg(socket).args(arguments).output()?;
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "knotc {arguments:?}: {out}{error}\n{}", self.server.tail());
        Ok(())
    }

    /// Asks until the server gives the serial that it was told.
    fn wait_for_serial(&mut self, zone: &str) -> anyhow::Result<()> {
        let wanted = self.zones.get(zone).map(|zone| zone.serial);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            self.server.alive()?;
            if ask_serial(self.address, zone)? == wanted {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{zone} at {} does not show serial {wanted:?}\n{}", self.address, self.server.tail())
    }
}

/// A change of one zone. Owners are relative to the zone, `@` is the zone itself.
#[derive(Debug)]
#[must_use = "nothing changes until it is applied"]
pub struct Change<'a> {
    knot: &'a mut Knot,
    zone: String,
    edited: Zone,
}

impl Change<'_> {
    /// Replaces all records of this owner and type, data as in a zone file (`"10 mail"`, absolute names with a
    /// final dot). No data: the records are gone.
    pub fn set(mut self, owner: &str, kind: &str, ttl: u32, data: &[&str]) -> Self {
        self.edited.records.retain(|line| !(line.owner == owner && line.kind == kind));
        self.edited.records.extend(data.iter().map(|data| Line {
            owner: owner.to_owned(),
            ttl,
            kind: kind.to_owned(),
            data: (*data).to_owned(),
        }));
        self
    }

    /// Gives the zone the next serial and waits until the server answers with it.
    pub fn apply(mut self) -> anyhow::Result<()> {
        self.edited.serial += 1;
        self.knot.load(&self.zone, self.edited)
    }
}

impl Zone {
    fn new(address: SocketAddr) -> Self {
        let line = |owner: &str, kind: &str, data: String| Line {
            owner: owner.to_owned(),
            ttl: 3600,
            kind: kind.to_owned(),
            data,
        };
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let records = vec![line("@", "NS", "ns1".to_owned()), line("ns1", kind, address.ip().to_string())];
        Self { serial: 1, records }
    }

    fn text(&self, name: &str) -> String {
        let mut text =
            format!("$ORIGIN {name}.\n@ 3600 SOA ns1 hostmaster {} 3600 600 86400 300\n", self.serial);
        for Line { owner, ttl, kind, data } in &self.records {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{owner} {ttl} {kind} {data}");
        }
        text
    }
}

fn zone_file(place: &Place, zone: &str) -> PathBuf {
    place.path().join("zones").join(format!("{zone}.zone"))
}

fn configuration(place: &Place, address: SocketAddr, zones: &BTreeMap<String, Zone>) -> String {
    let dir = place.path().display();
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
    for zone in zones.keys() {
        let _ = writeln!(text, "  - domain: \"{zone}\"");
    }
    text
}

/// The serial that the server gives for a zone, by one datagram made by hand: nothing of ours tests itself. None if
/// it answers with an error, or not at all within a tenth of a second.
fn ask_serial(server: SocketAddr, zone: &str) -> anyhow::Result<Option<u32>> {
    const HEADER: [u8; 12] = [0x4d, 0x46, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let mut query = HEADER.to_vec();
    for label in zone.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 6, 0, 1]);
    let local = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut reply = [0; 1500];
    let len = match socket.send(&query).and_then(|_| socket.recv(&mut reply)) {
        Ok(len) => len,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused => {
                return Ok(None);
            }
            _ => return Err(error.into()),
        },
    };
    let reply = &reply[..len];
    let answered = reply.get(..2) == Some(&HEADER[..2]) && reply.get(6..8) == Some(&[0, 1]);
    // A SOA record alone in the answer section ends in serial and four more numbers; what the server may put behind
    // it (authority, additional) is found by asking for the SOA's own length.
    let start = query.len();
    let record = reply.get(start..).filter(|_| answered);
    let Some(record) = record else { return Ok(None) };
    // Owner as a pointer (2), type, class, TTL (8), length (2).
    let Some(length) = record.get(10..12) else { return Ok(None) };
    let end = 12 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    let serial = end.checked_sub(20).and_then(|at| record.get(at..at + 4));
    Ok(serial.map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
}
