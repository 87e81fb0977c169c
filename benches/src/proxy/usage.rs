//! What a proxy's processes use, read from `/proc`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::servers::Way;

/// Processor seconds of a way's processes so far, with those of children that ended; nothing where there is no proxy.
pub(crate) fn cpu(way: &Way) -> anyhow::Result<Option<f64>> {
    let Some(root) = way.pid else { return Ok(None) };
    let ticks: u64 = tree(root)?.iter().filter_map(|pid| stat(*pid)).map(|stat| stat.ticks).sum();
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(Some(ticks as f64 / 100.0))
}

/// Memory of a way's processes, in KB (of 1,000 bytes).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) proportional: f64,
}

impl Memory {
    pub(crate) fn of(way: &Way) -> anyhow::Result<Option<Self>> {
        let Some(root) = way.pid else { return Ok(None) };
        let mut memory = Self { resident: 0.0, proportional: 0.0 };
        for pid in tree(root)? {
            // One that ended meanwhile has none.
            let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            memory.resident += kilobytes(&text, "Rss:");
            memory.proportional += kilobytes(&text, "Pss:");
        }
        ensure!(memory.resident > 0.0, "{} uses no memory", way.name);
        Ok(Some(memory))
    }
}

fn kilobytes(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<f64>().ok());
    kib.unwrap_or_default() * 1.024
}

/// Allows this many open files, here and in all that is started from here.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = Some(limit.maximum.map_or(wanted, |maximum| maximum.max(wanted)));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .with_context(|| format!("{wanted} open files are not allowed here: fewer MAILFERRY_BENCH_IDLE"))
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// Of `pid (name) state ppid …`: the name may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}

/// A process and all below it.
fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.get(pid).into_iter().flatten().copied().collect::<Vec<_>>());
        at += 1;
    }
    Ok(found)
}
