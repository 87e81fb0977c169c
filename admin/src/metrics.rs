//! Prometheus' text format. Figures only: no address, no name of a person.

use crate::shape::{DomainStatus, Front, Metric, MetricKind};
use mailferry_sync::batch::BatchStatus;
use mailferry_sync::tenant::TargetStatus;
use std::fmt::Write;

/// The content type that Prometheus expects.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures of batches.
pub fn of_batches(batches: &[BatchStatus]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for batch in batches {
        let mut add = |name, help, extra: Option<(&'static str, &str)>, value: f64| {
            let labels = std::iter::once(("batch", batch.name.clone()))
                .chain(extra.map(|(label, value)| (label, value.to_owned())))
                .collect();
            metrics.push(Metric { name, help, kind: MetricKind::Gauge, labels, value });
        };
        let tally = &batch.tally;
        for (state, count) in [
            ("mirrored", tally.messages_done),
            ("pending", tally.pending),
            ("skipped", tally.skipped),
            ("gone", tally.gone),
        ] {
            add("messages", "Source messages by state.", Some(("state", state)), count as f64);
        }
        add("bytes_done", "Bytes on the target.", None, tally.bytes_done as f64);
        add("bytes_total", "Bytes known at the source and not skipped.", None, tally.bytes_total as f64);
        let states = &batch.states;
        for (state, count) in [
            ("Queued", states.queued),
            ("Syncing", states.syncing),
            ("Synced", states.synced),
            ("IncrementalSyncing", states.incremental_syncing),
            ("Failed", states.failed),
            ("Stopped", states.stopped),
            ("WaitingForLogin", states.waiting_for_login),
        ] {
            add("mailboxes", "Mailboxes by state.", Some(("state", state)), f64::from(count));
        }
        add("mailboxes_throttled", "Mailboxes that wait for the target.", None, f64::from(batch.throttled));
        add("batch_state", "1 for the state that the batch is in.", Some(("state", &batch.state)), 1.0);
        if let Some(at) = batch.last_synced {
            add("last_synced_seconds", "Oldest last synced time, Unix seconds.", None, at.as_second() as f64);
        }
    }
    metrics
}

/// Figures of the target.
pub fn of_target(target: &TargetStatus) -> Vec<Metric> {
    let gauge = |name, help, value: u32| Metric {
        name,
        help,
        kind: MetricKind::Gauge,
        labels: Vec::new(),
        value: f64::from(value),
    };
    vec![
        gauge("target_sessions", "Sessions open at the target.", target.sessions),
        gauge(
            "target_sessions_allowed",
            "Sessions that there may be at this moment.",
            target.sessions_allowed,
        ),
        gauge("target_sessions_max", "Sessions that there may be by the configuration.", target.sessions_max),
        gauge("target_waiting", "Mailboxes that wait for a session at the target.", target.waiting),
    ]
}

/// Figures of domains.
pub fn of_domains(domains: &[DomainStatus]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for status in domains {
        let mut add = |name, help, value| {
            let labels = vec![("domain", status.domain.clone())];
            metrics.push(Metric { name, help, kind: MetricKind::Gauge, labels, value });
        };
        let cut_over = matches!(status.verdict.as_deref(), Some("office365" | "filtered"));
        add("dns_cut_over", "1 when the last look found the domain cut over.", f64::from(u8::from(cut_over)));
        let confirmed = status.confirmed.is_some();
        add("dns_confirmed", "1 when the cutover is confirmed.", f64::from(u8::from(confirmed)));
        if let Some(at) = status.observed {
            add(
                "dns_observed_seconds",
                "When the domain was last looked at, Unix seconds.",
                at.as_second() as f64,
            );
        }
    }
    metrics
}

/// Figures of the proxy.
pub fn of_front(front: &Front) -> Vec<Metric> {
    let (open, sessions) = match front {
        Front::Off | Front::Waiting { .. } | Front::Failed { .. } => (0.0, 0),
        Front::Open { sessions, .. } => (1.0, sessions.len()),
    };
    let gauge = |name, help, value| Metric { name, help, kind: MetricKind::Gauge, labels: Vec::new(), value };
    vec![
        gauge("proxy_open", "1 while clients can connect.", open),
        gauge("proxy_sessions", "Clients that are connected.", sessions as f64),
    ]
}

/// The text that Prometheus reads; metrics of one name are put together under one heading.
pub fn text(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for (index, metric) in metrics.iter().enumerate() {
        if metrics[..index].iter().any(|earlier| earlier.name == metric.name) {
            continue;
        }
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP mailferry_{} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE mailferry_{} {kind}", metric.name);
        for same in metrics[index..].iter().filter(|same| same.name == metric.name) {
            let _ = write!(text, "mailferry_{}", same.name);
            for (position, (label, value)) in same.labels.iter().enumerate() {
                let open = if position == 0 { '{' } else { ',' };
                let _ = write!(text, "{open}{label}=\"{}\"", escaped(value));
            }
            let close = if same.labels.is_empty() { "" } else { "}" };
            let _ = writeln!(text, "{close} {}", same.value);
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_heading_a_name_and_labels_escaped() {
        let metric =
            |name, labels, value| Metric { name, help: "Help.", kind: MetricKind::Gauge, labels, value };
        let metrics = [
            metric("a", vec![("batch", "B\"\n".to_owned())], 1.0),
            metric("b", vec![], 2.5),
            metric("a", vec![("batch", "C".to_owned()), ("state", "x".to_owned())], 1e12),
        ];
        assert_eq!(
            text(&metrics),
            "# HELP mailferry_a Help.\n# TYPE mailferry_a gauge\n\
             mailferry_a{batch=\"B\\\"\\n\"} 1\nmailferry_a{batch=\"C\",state=\"x\"} 1000000000000\n\
             # HELP mailferry_b Help.\n# TYPE mailferry_b gauge\nmailferry_b 2.5\n"
        );
    }
}
