//! One authoritative server and the zones that it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;

use super::software::{Reload, Software, delegation_signers, knotc};
use super::zone::{Zone, ask_serial, is_answering};
use crate::child::{Server, signal};
use crate::place::{Place, free_port, loopback};

/// How long a server may take to answer for the first time, or to show a change.
const PATIENCE: Duration = Duration::from_secs(20);
/// A signal that comes while a server loads may be lost: it is repeated so often.
const REMINDER: Duration = Duration::from_millis(500);
/// A server that signs counts a zone's serial on by itself, by less than this.
const SIGNED_STEP: u32 = 10;
/// Attempts to find a port that is free for UDP and TCP both.
const PORTS: u32 = 5;

/// One authoritative server.
#[derive(Debug)]
pub struct Authority {
    software: Software,
    server: Server,
    address: SocketAddr,
    zones: BTreeMap<String, Zone>,
    /// Those that the server signs by itself.
    signed: BTreeSet<String>,
    place: Place,
}

impl Authority {
    /// Starts a server on 127.0.0.1 with these zones, each with its SOA, `NS ns1` and `ns1` at 127.0.0.1.
    pub fn start(software: Software, zones: &[&str]) -> anyhow::Result<Self> {
        retried(|address| Self::start_at(software, address, zones))
    }

    /// Starts a server at this address: another loopback address, IPv6, a port that was in use before.
    pub fn start_at(software: Software, address: SocketAddr, zones: &[&str]) -> anyhow::Result<Self> {
        let zones = zones.iter().map(|zone| ((*zone).to_owned(), Zone::new(address)));
        Self::start_holding(software, address, zones.collect())
    }

    /// Starts a server with zones that are there already.
    pub(super) fn start_with(software: Software, zones: &BTreeMap<String, Zone>) -> anyhow::Result<Self> {
        retried(|address| Self::start_holding(software, address, zones.clone()))
    }

    fn start_holding(
        software: Software,
        address: SocketAddr,
        zones: BTreeMap<String, Zone>,
    ) -> anyhow::Result<Self> {
        let place = Place::new()?;
        let signed = BTreeSet::new();
        let command = software.prepare(&place, address, zones.keys(), &signed)?;
        for (name, zone) in &zones {
            std::fs::write(zone_file(&place, name), zone.text(name))?;
        }
        let server = Server::start(software.name(), command, &place.path().join("log"))?;
        let mut authority = Self { software, server, address, zones, signed, place };
        let names: Vec<String> = authority.zones.keys().cloned().collect();
        for name in names {
            authority.wait_for_serial(&name)?;
        }
        Ok(authority)
    }

    /// Where it listens, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(super) fn zone_names(&self) -> impl Iterator<Item = &String> {
        self.zones.keys()
    }

    /// Begins a change of one zone; nothing happens until [`Change::apply`].
    pub fn change<'a>(&'a mut self, zone: &str) -> Change<'a> {
        let edited = self.zones.get(zone).cloned().unwrap_or_else(|| Zone::new(self.address));
        Change { zone: zone.to_owned(), edited, authority: self }
    }

    /// Takes a zone's records and serial from another server.
    pub fn copy_zone(&mut self, zone: &str, from: &Self) -> anyhow::Result<()> {
        let edited = from.zones.get(zone).with_context(|| format!("{zone}: not there"))?.clone();
        self.load(zone, edited)
    }

    /// Drops a zone's content: the server stays named for it and answers SERVFAIL, until the next change.
    pub fn break_zone(&mut self, zone: &str) -> anyhow::Result<()> {
        std::fs::remove_file(zone_file(&self.place, zone))?;
        match self.software.reload() {
            Reload::Knotc => {
                knotc(&self.place, &["-f", "zone-purge", zone])?;
                self.wait_until_broken(zone)
            }
            // Told to load what is not there, these two keep what they have.
            Reload::Signal => self.restart(zone),
        }
    }

    /// What was ordered is not done yet.
    fn wait_until_broken(&mut self, zone: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        while !is_answering(self.address, zone)? || ask_serial(self.address, zone)?.is_some() {
            self.server.alive()?;
            ensure!(
                started.elapsed() < PATIENCE,
                "{} still has {zone}\n{}",
                self.address,
                self.server.tail()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Has the server sign a zone from here on (Knot only), with keys of its own; the data of the DS records for its
    /// parent.
    pub fn sign(&mut self, zone: &str) -> anyhow::Result<Vec<String>> {
        ensure!(self.software == Software::Knot, "only Knot signs here");
        self.signed.insert(zone.to_owned());
        self.edit_anew(zone)?;
        delegation_signers(&self.place, zone)
    }

    /// Has the server give the zone without signatures again.
    pub fn leave_unsigned(&mut self, zone: &str) -> anyhow::Result<()> {
        self.signed.remove(zone);
        self.edit_anew(zone)
    }

    fn edit_anew(&mut self, zone: &str) -> anyhow::Result<()> {
        let edited = self.zones.get_mut(zone).with_context(|| format!("{zone}: not there"))?;
        edited.serial += SIGNED_STEP;
        std::fs::write(zone_file(&self.place, zone), edited.text(zone))?;
        self.restart("")
    }

    /// The zone's serial as the server should be giving it.
    pub fn serial(&self, zone: &str) -> Option<u32> {
        self.zones.get(zone).map(|zone| zone.serial)
    }

    /// Starts the server anew; returns when all zones but this one (if it is any) are there again.
    fn restart(&mut self, broken: &str) -> anyhow::Result<()> {
        self.server.stop(PATIENCE)?;
        let command = self.software.prepare(&self.place, self.address, self.zones.keys(), &self.signed)?;
        self.server = Server::start(self.software.name(), command, &self.place.path().join("log"))?;
        let others: Vec<String> = self.zones.keys().filter(|name| *name != broken).cloned().collect();
        let started = Instant::now();
        while !broken.is_empty() && !is_answering(self.address, broken)? {
            self.server.alive()?;
            ensure!(started.elapsed() < PATIENCE, "{} is silent\n{}", self.address, self.server.tail());
            std::thread::sleep(Duration::from_millis(10));
        }
        others.iter().try_for_each(|name| self.wait_for_serial(name))
    }

    fn load(&mut self, name: &str, zone: Zone) -> anyhow::Result<()> {
        ensure!(self.zones.contains_key(name), "{name}: not a zone of this server");
        std::fs::write(zone_file(&self.place, name), zone.text(name))?;
        self.zones.insert(name.to_owned(), zone);
        match self.software.reload() {
            Reload::Knotc => knotc(&self.place, &["-b", "zone-reload", name])?,
            Reload::Signal => signal(self.pid(), Signal::HUP)?,
        }
        self.wait_for_serial(name)
    }

    /// Asks until the server gives the serial that it was told.
    fn wait_for_serial(&mut self, zone: &str) -> anyhow::Result<()> {
        let wanted = self.zones.get(zone).map(|zone| zone.serial);
        let started = Instant::now();
        let mut reminded = started;
        while started.elapsed() < PATIENCE {
            self.server.alive()?;
            let seen = ask_serial(self.address, zone)?;
            // Whoever signs may count on.
            if seen == wanted || (self.signed.contains(zone) && seen > wanted) {
                return Ok(());
            }
            if self.software.reload() == Reload::Signal && reminded.elapsed() > REMINDER {
                signal(self.pid(), Signal::HUP)?;
                reminded = Instant::now();
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
    authority: &'a mut Authority,
    zone: String,
    edited: Zone,
}

impl Change<'_> {
    /// Replaces all records of this owner and type, data as in a zone file (`"10 mail"`, absolute names with a
    /// final dot). No data: the records are gone.
    pub fn set(mut self, owner: &str, kind: &str, ttl: u32, data: &[&str]) -> Self {
        self.edited.set(owner, kind, ttl, data);
        self
    }

    /// Gives the zone the next serial and waits until the server answers with it.
    pub fn apply(mut self) -> anyhow::Result<()> {
        self.edited.serial += if self.authority.signed.contains(&self.zone) { SIGNED_STEP } else { 1 };
        self.authority.load(&self.zone, self.edited)
    }
}

/// Starts something at a port that is free for UDP and TCP both, or was a moment ago.
pub(super) fn retried<T>(start: impl Fn(SocketAddr) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut last = None;
    for _ in 0..PORTS {
        match start(loopback(free_port()?)) {
            Ok(started) => return Ok(started),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no attempt")?)
}

fn zone_file(place: &Place, zone: &str) -> PathBuf {
    place.path().join("zones").join(format!("{zone}.zone"))
}
