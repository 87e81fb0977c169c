//! What the admin side sees of the parts that only the wiring knows.

use super::front::Keeper;
use mailferry_admin::{
    parts::{Draining, Views},
    shape::{Front, Metric, MetricKind},
};
use mailferry_ledger::{Health, Ledger};
use mailferry_spool::Spool;
use tokio_util::sync::CancellationToken;

/// The daemon, seen from outside.
pub struct View {
    pub keeper: Keeper,
    pub spool: Spool,
    pub ledger: Ledger,
    /// What was found at the start.
    pub notices: Vec<String>,
    /// Cancelled when the daemon is on its way out.
    pub shutdown: CancellationToken,
}

impl Views for View {
    fn front(&self) -> Front {
        self.keeper.front()
    }

    fn kick(&self, conn: u64) -> bool {
        self.keeper.kick(conn)
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.keeper.metrics();
        let usage = self.spool.usage();
        let one = |name, help, kind, value: u64| Metric {
            name,
            help,
            kind,
            labels: Vec::new(),
            value: value as f64,
        };
        metrics.extend([
            one("spool_memory_bytes", "Memory that bodies hold.", MetricKind::Gauge, usage.memory_bytes),
            one("spool_disk_bytes", "Disk that bodies hold.", MetricKind::Gauge, usage.disk_bytes),
            one("spool_bodies", "Bodies that wait for the mirror.", MetricKind::Gauge, usage.bodies),
            one("spool_offered_total", "Observations of the taps.", MetricKind::Counter, usage.offered),
            one(
                "spool_offered_bodies_total",
                "Bodies of the taps.",
                MetricKind::Counter,
                usage.offered_bodies,
            ),
            one("spool_taken_total", "Bodies that the mirror took.", MetricKind::Counter, usage.taken),
            one(
                "spool_dropped_total",
                "Bodies given up for younger ones.",
                MetricKind::Counter,
                usage.dropped,
            ),
            one("spool_refused_total", "Bodies that found no room.", MetricKind::Counter, usage.refused),
        ]);
        let good = u64::from(self.ledger.health() == Health::Good);
        metrics.push(one("ledger_good", "1 while the last commit was made.", MetricKind::Gauge, good));
        metrics
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = self.notices.clone();
        match self.ledger.health() {
            Health::Good => {}
            Health::Full(what) => notices.push(format!(
                "the ledger's disk is full ({what}); it goes on by itself when there is space"
            )),
            Health::Failed(what) => notices.push(format!("the ledger failed: {what}")),
        }
        notices
    }

    fn draining(&self) -> Draining {
        if self.shutdown.is_cancelled() { Draining::Yes } else { Draining::No }
    }
}
