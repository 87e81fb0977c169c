//! What every tool took for every job, the ratios that count, and the goals beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mailferry_benches::{median, shown};
use mailferry_tests::mail::Loaded;
use serde_json::{Value, json};

use crate::tools::{Ran, Tool};

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Job {
    /// One mailbox for the first time.
    First,
    /// The same, unchanged.
    Again,
    /// The same after some changes.
    Changed,
    /// One mailbox over lines with latency.
    Far,
    /// Twenty mailboxes at once.
    Many,
}

/// What Mailferry is to reach in a job.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// Its time, at most so many times another tool's.
    Time(Tool, f64),
    /// Its memory, in MB.
    Memory(f64),
}

impl Job {
    pub(crate) const ALL: [Self; 5] = [Self::First, Self::Again, Self::Changed, Self::Far, Self::Many];

    /// As the environment has it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again => "again",
            Self::Changed => "changed",
            Self::Far => "far",
            Self::Many => "many",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::First => "first copy of one mailbox",
            Self::Again => "again, nothing changed",
            Self::Changed => "again, 1 % new, 1 % other flags, 0.5 % gone",
            Self::Far => "first copy, round trip 10 ms to the source, 40 ms to the target",
            Self::Many => "first copy of 20 mailboxes at once",
        }
    }

    fn goals(self) -> &'static [Goal] {
        match self {
            Self::First => {
                &[Goal::Time(Tool::Pump, 1.0 / 0.9), Goal::Time(Tool::Mbsync, 1.0), Goal::Memory(64.0)]
            }
            Self::Again => &[Goal::Time(Tool::Mbsync, 1.0)],
            Self::Changed => &[Goal::Time(Tool::Mbsync, 0.7)],
            Self::Far => &[Goal::Time(Tool::Pump, 1.0 / 0.9), Goal::Time(Tool::Mbsync, 0.2)],
            Self::Many => &[Goal::Time(Tool::Pump, 1.0 / 0.9)],
        }
    }
}

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    loaded: BTreeMap<Job, Loaded>,
    ran: BTreeMap<(Job, Tool), Vec<Ran>>,
}

impl Report {
    /// What a first copy carries.
    pub(crate) fn begin(&mut self, job: Job, loaded: Loaded) {
        println!("{}: {} messages, {:.0} MB", job.name(), loaded.messages, loaded.bytes as f64 / 1e6);
        self.loaded.insert(job, loaded);
    }

    pub(crate) fn add(&mut self, job: Job, tool: Tool, ran: Ran) {
        println!("  {} {}: {:.2} s", job.key(), tool.name(), ran.took.as_secs_f64());
        self.ran.entry((job, tool)).or_default().push(ran);
    }

    fn median(&self, job: Job, tool: Tool, of: impl Fn(&Ran) -> f64) -> Option<f64> {
        median(self.ran.get(&(job, tool))?.iter().map(of).collect())
    }

    fn seconds(&self, job: Job, tool: Tool) -> Option<f64> {
        self.median(job, tool, |ran| ran.took.as_secs_f64())
    }

    /// What is compared, what it is, what it is to be, and whether it is.
    fn goals(&self, job: Job) -> Vec<(String, f64, f64)> {
        let measured = job.goals().iter().filter_map(|goal| match *goal {
            Goal::Time(tool, at_most) => {
                let ratio = self.seconds(job, Tool::Mailferry)? / self.seconds(job, tool)?;
                Some((format!("time / {}'s", tool.name()), ratio, at_most))
            }
            Goal::Memory(at_most) => {
                let peak = self.median(job, Tool::Mailferry, |ran| ran.peak)?;
                Some(("MB of memory".to_owned(), peak, at_most))
            }
        });
        measured.collect()
    }

    fn jobs(&self) -> impl Iterator<Item = Job> {
        Job::ALL.into_iter().filter(|job| self.ran.keys().any(|(measured, _)| measured == job))
    }

    /// For reading: medians.
    pub(crate) fn table(&self) -> String {
        let mut text = "\nmedians\n".to_owned();
        for job in self.jobs() {
            let _ = writeln!(text, "{}", job.name());
            for tool in Tool::ALL {
                let Some(seconds) = self.seconds(job, tool) else { continue };
                let rate = self.loaded.get(&job).map(|loaded| loaded.messages as f64 / seconds);
                let rate = rate.map(|rate| format!("{rate:8.0} messages/s")).unwrap_or_default();
                let cpu = self.median(job, tool, |ran| ran.cpu).unwrap_or_default();
                let peak = self.median(job, tool, |ran| ran.peak).unwrap_or_default();
                let _ = writeln!(
                    text,
                    "  {:10}{:>8} s {rate:20}{:>8} CPU s{:>8} MB",
                    tool.name(),
                    shown(seconds),
                    shown(cpu),
                    shown(peak)
                );
            }
            for (name, value, at_most) in self.goals(job) {
                let reached = if value <= at_most { "reached" } else { "NOT reached" };
                let _ =
                    writeln!(text, "    {name}: {} (goal: <= {}) {reached}", shown(value), shown(at_most));
            }
        }
        text
    }

    /// For programs: every round too.
    pub(crate) fn json(&self) -> Value {
        let mut jobs = serde_json::Map::new();
        for job in self.jobs() {
            let tools: serde_json::Map<String, Value> = Tool::ALL
                .into_iter()
                .filter_map(|tool| {
                    let rounds: Vec<Value> = self.ran.get(&(job, tool))?.iter().map(json_of).collect();
                    Some((
                        tool.name().to_owned(),
                        json!({"rounds": rounds, "seconds": self.seconds(job, tool)}),
                    ))
                })
                .collect();
            let goals: Vec<Value> = self
                .goals(job)
                .into_iter()
                .map(|(name, value, at_most)| json!({"name": name, "value": value, "at_most": at_most}))
                .collect();
            let loaded = self
                .loaded
                .get(&job)
                .map(|loaded| json!({"messages": loaded.messages, "bytes": loaded.bytes}));
            jobs.insert(
                job.key().to_owned(),
                json!({"name": job.name(), "loaded": loaded, "tools": tools, "goals": goals}),
            );
        }
        Value::Object(jobs)
    }
}

fn json_of(ran: &Ran) -> Value {
    json!({"seconds": ran.took.as_secs_f64(), "cpu_seconds": ran.cpu, "peak_mb": ran.peak})
}
