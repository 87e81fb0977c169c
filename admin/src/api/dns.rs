//! `/v1/dns`: the observations that the ledger has, and what the clock makes of them.

use super::reading;
use crate::{parts::Parts, problem::Problem, shape::DomainStatus};
use axum::{Json, extract::State};
use jiff::Timestamp;
use mailferry_dnscheck::{Observation, clock};
use mailferry_sync::csv::domain_of;
use std::collections::BTreeSet;

pub(super) async fn status(State(parts): State<Parts>) -> Result<Json<Vec<DomainStatus>>, Problem> {
    reading(move || domains(&parts)).await
}

/// Every domain of every batch's addresses.
pub(super) fn domains(parts: &Parts) -> Result<Vec<DomainStatus>, Problem> {
    let mailboxes = parts.batches.mailboxes(None)?;
    let domains: BTreeSet<String> =
        mailboxes.iter().filter_map(|mailbox| domain_of(&mailbox.address)).collect();
    let now = Timestamp::now();
    domains.into_iter().map(|domain| of_domain(parts, domain, now)).collect()
}

fn of_domain(parts: &Parts, domain: String, now: Timestamp) -> Result<DomainStatus, Problem> {
    let recorded = parts
        .ledger
        .observations(&domain, Timestamp::MIN)
        .map_err(|error| Problem::local(error.to_string()))?;
    let observations: Vec<Observation> =
        recorded.iter().filter_map(|one| serde_json::from_str(&one.evidence).ok()).collect();
    let clock = clock::read(&observations, &parts.rules, now);
    let last = observations.last().cloned();
    Ok(DomainStatus {
        domain,
        verdict: last.as_ref().map(|last| last.verdict.to_string()),
        observed: last.as_ref().map(|last| last.at),
        since: clock.since,
        required_seconds: clock.required.as_secs(),
        remaining_seconds: clock.since.map(|_| clock.remaining().as_secs()),
        confirmed: clock.confirmed_at,
        reason: clock.reason,
        observation: last,
    })
}
