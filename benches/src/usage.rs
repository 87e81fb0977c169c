//! What processes use, read from `/proc`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Processor seconds of a process and all below it so far, with those of children that ended.
pub fn cpu(root: u32) -> anyhow::Result<f64> {
    let ticks: u64 = tree(root)?.iter().filter_map(|pid| stat(*pid)).map(|stat| stat.ticks).sum();
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(ticks as f64 / 100.0)
}

/// Memory of processes, in KB (of 1,000 bytes).
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident.
    pub resident: f64,
    /// The same, with what processes share counted once.
    pub proportional: f64,
}

impl Memory {
    /// Of a process and all below it.
    pub fn of(root: u32) -> anyhow::Result<Self> {
        let mut memory = Self { resident: 0.0, proportional: 0.0 };
        for pid in tree(root)? {
            // One that ended meanwhile has none.
            let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            memory.resident += kilobytes(&text, "Rss:");
            memory.proportional += kilobytes(&text, "Pss:");
        }
        ensure!(memory.resident > 0.0, "process {root} uses no memory");
        Ok(memory)
    }
}

/// Processor seconds of children of ours that ended, in steps of 10 ms.
pub fn children_cpu() -> anyhow::Result<f64> {
    let own = stat(std::process::id()).context("/proc/self/stat")?;
    Ok(own.children_ticks as f64 / 100.0)
}

/// The highest resident memory of a process since its start, or since that was forgotten, in MB.
pub fn peak(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(kilobytes(&text, "VmHWM:") / 1000.0)
}

/// Begins the highest resident memory anew.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("peak memory cannot be reset")
}

/// Short-lived processes, whose highest memory is looked at until they end.
#[derive(Default)]
pub struct Watched {
    peaks: BTreeMap<u32, f64>,
}

impl Watched {
    /// One more.
    pub fn add(&mut self, pid: u32) {
        self.peaks.insert(pid, 0.0);
    }

    /// Looks until the last one ended; the sum of their peaks, in MB.
    pub async fn watch(mut self) -> f64 {
        loop {
            let mut there = false;
            for (pid, highest) in &mut self.peaks {
                // One that ended has no memory any more.
                let now = peak(*pid).unwrap_or_default();
                there |= now > 0.0;
                *highest = now.max(*highest);
            }
            if !there {
                return self.peaks.values().sum();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

fn kilobytes(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<f64>().ok());
    kib.unwrap_or_default() * 1.024
}

/// Allows this many open files, here and in all that is started from here.
pub fn raise_descriptor_limit(wanted: u64) -> anyhow::Result<()> {
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
    /// Its own, with those of children that ended.
    ticks: u64,
    children_ticks: u64,
}

/// Of `pid (name) state ppid …`: the name may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let sum = |fields: &[&str]| fields.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    let (ticks, children_ticks) = (sum(fields.get(11..15)?), sum(fields.get(13..15)?));
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks, children_ticks })
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
