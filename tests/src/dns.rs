//! Real DNS servers from Debian, private instances on loopback ports: Knot, NSD and BIND as authoritative servers,
//! Unbound as the resolver of somebody outside.
//!
//! [`Authority`] is one authoritative server with the zones that it was given; [`Dns`] is the usual stand of two or
//! three: a parent that delegates, a primary that holds the domains, and if wanted a secondary that can be left behind.
//! A name server's host name leads to its private port by the address book ([`Dns::name_servers`]), since DNS itself
//! has no place for ports. All is blocking and takes milliseconds; servers end with their values, and read nothing
//! of the machine's own configuration.

mod authority;
mod recursive;
mod software;
mod zone;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;

pub use authority::{Authority, Change};
pub use recursive::{Recursive, View};
pub use software::Software;

use zone::Zone;

/// The address that name servers have in the zones; the port is in the address book.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// A parent, a primary and perhaps a secondary, for domains below one or more top-level zones.
#[derive(Debug)]
pub struct Dns {
    /// Holds the zone above each domain and delegates; where a walk begins.
    pub parent: Authority,
    /// `ns1` of each domain.
    pub primary: Authority,
    /// `ns2` of each domain; changes do not reach it until [`Dns::refresh_secondary`].
    pub secondary: Option<Authority>,
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

impl Dns {
    /// Starts the servers. Each domain begins with `MX 10 mail.<domain>`, TTL 3600, and `mail` at 127.0.0.1.
    pub fn start(domains: &[&str], secondary: Secondary) -> anyhow::Result<Self> {
        Self::start_with(Software::Knot, domains, secondary)
    }

    /// The same with this software; the secondary runs another one.
    pub fn start_with(software: Software, domains: &[&str], secondary: Secondary) -> anyhow::Result<Self> {
        let own: &[&str] = match secondary {
            Secondary::Absent => &["ns1"],
            Secondary::Present => &["ns1", "ns2"],
        };
        let (mut above, mut zones) = (BTreeMap::new(), BTreeMap::new());
        for domain in domains {
            let (label, parent) = domain.split_once('.').with_context(|| format!("{domain}: no parent"))?;
            let parent: &mut Zone = above.entry(parent.to_owned()).or_insert_with(|| Zone::new(LOCAL));
            let servers: Vec<String> = own.iter().map(|server| format!("{server}.{label}")).collect();
            let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
            parent.set(label, "NS", 3600, &servers);
            for server in servers {
                parent.set(server, "A", 3600, &["127.0.0.1"]);
            }
            let mut zone = Zone::new(LOCAL);
            zone.serial += 1;
            zone.set("@", "NS", 3600, own);
            zone.set("ns2", "A", 3600, &["127.0.0.1"]);
            zone.set("mail", "A", 3600, &["127.0.0.1"]);
            zone.set("@", "MX", 3600, &["10 mail"]);
            zones.insert((*domain).to_owned(), zone);
        }
        let parent = Authority::start_with(software, &above)?;
        let primary = Authority::start_with(software, &zones)?;
        let secondary = match secondary {
            Secondary::Absent => None,
            Secondary::Present => Some(Authority::start_with(software.other(), &zones)?),
        };
        Ok(Self { parent, primary, secondary, domains: zones.into_keys().collect() })
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
        let parents = self.parent.zone_names();
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
