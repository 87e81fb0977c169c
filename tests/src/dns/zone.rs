//! A zone as it stands in its file, and what a server says of it.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A zone's records as they stand in its file.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub(super) serial: u32,
    /// Lines of a zone file, in the order in which they were given; owners relative to the zone.
    pub(super) records: Vec<Line>,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) owner: String,
    pub(super) ttl: u32,
    pub(super) kind: String,
    pub(super) data: String,
}

impl Zone {
    pub(super) fn new(address: SocketAddr) -> Self {
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

    /// Replaces all records of this owner and type.
    pub(super) fn set(&mut self, owner: &str, kind: &str, ttl: u32, data: &[&str]) {
        self.records.retain(|line| !(line.owner == owner && line.kind == kind));
        self.records.extend(data.iter().map(|data| Line {
            owner: owner.to_owned(),
            ttl,
            kind: kind.to_owned(),
            data: (*data).to_owned(),
        }));
    }

    pub(super) fn text(&self, name: &str) -> String {
        let mut text =
            format!("$ORIGIN {name}.\n@ 3600 SOA ns1 hostmaster {} 3600 600 86400 300\n", self.serial);
        for Line { owner, ttl, kind, data } in &self.records {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{owner} {ttl} {kind} {data}");
        }
        text
    }
}

/// Whether the server says anything about a zone within a tenth of a second, an error too.
pub(super) fn is_answering(server: SocketAddr, zone: &str) -> anyhow::Result<bool> {
    Ok(ask(server, &soa_query(zone)?)?.is_some())
}

/// The serial that the server gives for a zone. None if it answers with an error, or not at all within a tenth of a
/// second.
pub(super) fn ask_serial(server: SocketAddr, zone: &str) -> anyhow::Result<Option<u32>> {
    let query = soa_query(zone)?;
    let Some(reply) = ask(server, &query)? else { return Ok(None) };
    // One record in the answer section.
    if reply.get(6..8) != Some(&[0, 1]) {
        return Ok(None);
    }
    // A SOA record alone in the answer section ends in serial and four more numbers; what the server may put behind
    // it (authority, additional) is found by asking for the SOA's own length.
    let Some(record) = reply.get(query.len()..) else { return Ok(None) };
    // Owner as a pointer (2), type, class, TTL (8), length (2).
    let Some(length) = record.get(10..12) else { return Ok(None) };
    let end = 12 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    let serial = end.checked_sub(20).and_then(|at| record.get(at..at + 4));
    Ok(serial.map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
}

/// Made by hand: nothing of ours tests itself.
fn soa_query(zone: &str) -> anyhow::Result<Vec<u8>> {
    let mut query = vec![0x4d, 0x46, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in zone.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 6, 0, 1]);
    Ok(query)
}

fn ask(server: SocketAddr, query: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let local = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut reply = [0; 1500];
    match socket.send(query).and_then(|_| socket.recv(&mut reply)) {
        Ok(len) => Ok(Some(reply[..len].to_vec()).filter(|reply| reply.get(..2) == query.get(..2))),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused => {
                Ok(None)
            }
            _ => Err(error.into()),
        },
    }
}
