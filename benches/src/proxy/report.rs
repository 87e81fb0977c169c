//! Figures of all ways, their ratios to haproxy, and the goals beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mailferry_benches::{median, shown};
use serde_json::{Value, json};

use crate::servers::{HAPROXY, MAILFERRY, NEW, Way};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Figure {
    Logins,
    LoginCpu,
    Bulk,
    BulkCpu,
    Large,
    LargeCpu,
    Append,
    AppendCpu,
    NoopMedian,
    NoopSlow,
    FetchMedian,
    FetchSlow,
    IdleResident,
    IdleShare,
}

/// What Mailferry is to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Goal {
    NotBelowHaproxy,
    NotAboveHaproxy,
    Limit(f64),
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Logins => "login, SELECT, LOGOUT, 16 at once (/s)",
            Self::LoginCpu => "  CPU s per 1,000 logins",
            Self::Bulk => "FETCH of 20 KB messages, 4 sessions (MB/s)",
            Self::BulkCpu => "  CPU s per GB",
            Self::Large => "FETCH of 30 MB messages, 2 sessions (MB/s)",
            Self::LargeCpu => "  CPU s per GB",
            Self::Append => "APPEND of 30 MB, 2 sessions (MB/s)",
            Self::AppendCpu => "  CPU s per GB",
            Self::NoopMedian => "NOOP, 100 sessions paced, p50 (ms)",
            Self::NoopSlow => "  p99 (ms)",
            Self::FetchMedian => "FETCH of 2 KB, 1 session, p50 (ms)",
            Self::FetchSlow => "  p99 (ms)",
            Self::IdleResident => "idle session, RSS (KB)",
            Self::IdleShare => "  PSS (KB)",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Logins => "logins_per_second",
            Self::LoginCpu => "login_cpu_seconds_per_1000",
            Self::Bulk => "bulk_mb_per_second",
            Self::BulkCpu => "bulk_cpu_seconds_per_gb",
            Self::Large => "large_mb_per_second",
            Self::LargeCpu => "large_cpu_seconds_per_gb",
            Self::Append => "append_mb_per_second",
            Self::AppendCpu => "append_cpu_seconds_per_gb",
            Self::NoopMedian => "noop_p50_ms",
            Self::NoopSlow => "noop_p99_ms",
            Self::FetchMedian => "fetch_p50_ms",
            Self::FetchSlow => "fetch_p99_ms",
            Self::IdleResident => "idle_rss_kb",
            Self::IdleShare => "idle_pss_kb",
        }
    }

    fn goal(self) -> Goal {
        match self {
            Self::Logins | Self::Bulk | Self::Large | Self::Append => Goal::NotBelowHaproxy,
            Self::LoginCpu
            | Self::BulkCpu
            | Self::LargeCpu
            | Self::AppendCpu
            | Self::NoopMedian
            | Self::NoopSlow
            | Self::FetchMedian
            | Self::FetchSlow => Goal::NotAboveHaproxy,
            Self::IdleResident | Self::IdleShare => Goal::Limit(25.0),
        }
    }
}

impl Goal {
    fn name(self) -> String {
        match self {
            Self::NotBelowHaproxy => ">= haproxy".to_owned(),
            Self::NotAboveHaproxy => "<= haproxy".to_owned(),
            Self::Limit(limit) => format!("<= {limit:.0}"),
        }
    }

    /// Whether it is reached; nothing where there is no haproxy to compare with.
    fn is_reached(self, ours: f64, haproxy: Option<f64>) -> Option<bool> {
        match self {
            Self::NotBelowHaproxy => haproxy.map(|theirs| ours >= theirs),
            Self::NotAboveHaproxy => haproxy.map(|theirs| ours <= theirs),
            Self::Limit(limit) => Some(ours <= limit),
        }
    }
}

/// All that was measured.
#[derive(Default)]
pub(crate) struct Report {
    measured: BTreeMap<(Figure, &'static str), Vec<f64>>,
}

impl Report {
    pub(crate) fn add(&mut self, way: &Way, figure: Figure, value: f64) {
        self.measured.entry((figure, way.name)).or_default().push(value);
    }

    /// Processor time since `before`, for one of `units`.
    pub(crate) fn add_cpu(
        &mut self,
        way: &Way,
        figure: Figure,
        after: Option<f64>,
        before: Option<f64>,
        units: f64,
    ) {
        if let (Some(after), Some(before)) = (after, before) {
            self.add(way, figure, (after - before) / units);
        }
    }

    fn median(&self, figure: Figure, name: &'static str) -> Option<f64> {
        median(self.measured.get(&(figure, name))?.clone())
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = self.measured.keys().map(|(figure, _)| *figure).collect();
        figures.dedup();
        figures
    }

    /// For reading: medians, and below each figure the ratios to haproxy.
    pub(crate) fn table(&self, names: &[&'static str]) -> String {
        let mut text = format!("\n{:44}", "medians; (ratio to haproxy)");
        for name in names {
            let shown = if *name == NEW { "mailferry, new" } else { name };
            let _ = write!(text, "{shown:>17}");
        }
        text.push_str("   goal\n");
        for figure in self.figures() {
            let _ = write!(text, "{:44}", figure.name());
            let haproxy = self.median(figure, HAPROXY);
            for name in names {
                let Some(value) = self.median(figure, name) else {
                    let _ = write!(text, "{:>17}", "-");
                    continue;
                };
                let ratio = haproxy.map(|theirs| format!(" ({:.2})", value / theirs)).unwrap_or_default();
                let _ = write!(text, "{:>17}", format!("{}{ratio}", shown(value)));
            }
            let reached =
                self.median(figure, MAILFERRY).and_then(|ours| figure.goal().is_reached(ours, haproxy));
            let reached = match reached {
                Some(true) => "reached",
                Some(false) => "NOT reached",
                None => "",
            };
            let _ = writeln!(text, "   {} {reached}", figure.goal().name());
        }
        text
    }

    /// For programs: every value of every round too.
    pub(crate) fn json(&self, names: &[&'static str]) -> Value {
        let mut figures = serde_json::Map::new();
        for figure in self.figures() {
            let haproxy = self.median(figure, HAPROXY);
            let mut ways = serde_json::Map::new();
            for name in names {
                let Some(median) = self.median(figure, name) else { continue };
                let ratio = haproxy.map(|theirs| median / theirs);
                let rounds = &self.measured[&(figure, *name)];
                ways.insert(
                    (*name).to_owned(),
                    json!({"median": median, "ratio_to_haproxy": ratio, "rounds": rounds}),
                );
            }
            let goal = figure.goal();
            let ours = self.median(figure, MAILFERRY);
            let reached = ours.and_then(|ours| goal.is_reached(ours, haproxy));
            let entry =
                json!({"name": figure.name().trim(), "goal": goal.name(), "reached": reached, "ways": ways});
            figures.insert(figure.key().to_owned(), entry);
        }
        Value::Object(figures)
    }
}
