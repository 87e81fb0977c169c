//! `/v1/dns`: what the watch recorded, and how long it is to go.

use super::reading;
use crate::{parts::Parts, problem::Problem, shape::DomainStatus};
use axum::{Json, extract::State};
use mailferry_dnscheck::Moment;
use mailferry_ledger::ReadError;
use mailferry_sync::watch;

pub(super) async fn status(State(parts): State<Parts>) -> Result<Json<Vec<DomainStatus>>, Problem> {
    reading(move || domains(&parts)).await
}

/// Every domain of every batch's addresses.
pub(super) fn domains(parts: &Parts) -> Result<Vec<DomainStatus>, Problem> {
    let now = watch::now(&parts.ledger).map_err(|error| Problem::local(error.to_string()))?;
    let unreadable = |error: ReadError| Problem::local(error.to_string());
    let domains = watch::domains(&parts.ledger).map_err(unreadable)?;
    domains.into_iter().map(|domain| of_domain(parts, domain, now).map_err(unreadable)).collect()
}

fn of_domain(parts: &Parts, domain: String, now: Moment) -> Result<DomainStatus, ReadError> {
    let cutover = watch::cutover(&parts.ledger, &domain)?;
    let recorded = parts.ledger.last_observation(&domain)?;
    let observation = recorded.and_then(|recorded| serde_json::from_str(&recorded.evidence).ok());
    let timeline = watch::timeline(&parts.ledger, &domain)?.stretches;
    let Some(cutover) = cutover else {
        return Ok(DomainStatus { domain, observation, timeline, ..DomainStatus::default() });
    };
    let confirmed = cutover.confirmed_at(now, &parts.rules);
    let remaining_seconds = match confirmed {
        Some(_) => None,
        None => cutover.due.map(|due| due.duration_since(now.at).as_secs().max(0)),
    };
    Ok(DomainStatus {
        domain,
        verdict: Some(cutover.verdict.to_string()),
        observed: Some(cutover.observed.at),
        since: cutover.since.map(|since| since.at),
        due: cutover.due,
        remaining_seconds,
        confirmed: confirmed.map(|confirmed| confirmed.at),
        reason: cutover.reason,
        observation,
        timeline,
    })
}
