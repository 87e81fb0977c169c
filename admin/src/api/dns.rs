//! `/v1/dns`: what the watch recorded, and how long it is to go.

use super::reading;
use crate::{parts::Parts, problem::Problem, shape::DomainStatus};
use axum::{Json, extract::State};
use jiff::Timestamp;
use mailferry_ledger::ReadError;
use mailferry_sync::watch;

pub(super) async fn status(State(parts): State<Parts>) -> Result<Json<Vec<DomainStatus>>, Problem> {
    reading(move || domains(&parts)).await
}

/// Every domain of every batch's addresses.
pub(super) fn domains(parts: &Parts) -> Result<Vec<DomainStatus>, Problem> {
    let now = Timestamp::now();
    let unreadable = |error: ReadError| Problem::local(error.to_string());
    let domains = watch::domains(&parts.ledger).map_err(unreadable)?;
    domains.into_iter().map(|domain| of_domain(parts, domain, now).map_err(unreadable)).collect()
}

fn of_domain(parts: &Parts, domain: String, now: Timestamp) -> Result<DomainStatus, ReadError> {
    let cutover = watch::cutover(&parts.ledger, &domain)?;
    let recorded = parts.ledger.last_observation(&domain)?;
    let observation = recorded.and_then(|recorded| serde_json::from_str(&recorded.evidence).ok());
    let Some(cutover) = cutover else {
        return Ok(DomainStatus { domain, observation, ..DomainStatus::default() });
    };
    let confirmed = cutover.confirmed_at(now, &parts.rules);
    let remaining_seconds = match confirmed {
        Some(_) => None,
        None => cutover.due.map(|due| due.duration_since(now).as_secs().max(0)),
    };
    Ok(DomainStatus {
        domain,
        verdict: Some(cutover.verdict.to_string()),
        observed: Some(cutover.observed),
        since: cutover.since,
        due: cutover.due,
        remaining_seconds,
        confirmed,
        reason: cutover.reason,
        observation,
    })
}
