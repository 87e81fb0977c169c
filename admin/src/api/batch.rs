//! `/v1/batches`.

use super::{body, reading};
use crate::{
    parts::Parts,
    problem::Problem,
    shape::{BatchDetail, Done, RemoveBatch},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use mailferry_sync::batch::{
    BatchError, BatchPlan, BatchStatus, BatchVerification, NewBatch, Removal, Report, Start,
};
use serde::Deserialize;

pub(super) async fn list(State(parts): State<Parts>) -> Result<Json<Vec<BatchStatus>>, Problem> {
    reading(move || parts.batches.status()).await
}

pub(super) async fn show(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<BatchDetail>, Problem> {
    reading(move || {
        let status = parts.batches.batch_status(&name)?;
        let mailboxes = parts.batches.mailboxes(Some(&name))?;
        let gate = parts.batches.gate(&name)?;
        Ok::<_, BatchError>(BatchDetail { status, mailboxes, gate })
    })
    .await
}

/// What stands behind the `?` of a new batch; the CSV file is the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    endpoint: String,
    start: Start,
}

pub(super) async fn add(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    query: Result<Query<New>, axum::extract::rejection::QueryRejection>,
    csv: Bytes,
) -> Result<Json<BatchStatus>, Problem> {
    let Query(New { endpoint, start }) = query.map_err(|error| Problem::usage(error.body_text()))?;
    Ok(Json(parts.batches.add(NewBatch { name, endpoint, csv: csv.into(), start }).await?))
}

pub(super) async fn start(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(Done { outcome: parts.batches.start(&name).await? }))
}

pub(super) async fn stop(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(Done { outcome: parts.batches.stop(&name).await? }))
}

pub(super) async fn sync_now(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(Done { outcome: parts.batches.sync_now(&name).await? }))
}

pub(super) async fn plan(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<BatchPlan>, Problem> {
    Ok(Json(parts.batches.plan(&name).await?))
}

pub(super) async fn verify(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<BatchVerification>, Problem> {
    Ok(Json(parts.batches.verify(&name).await?))
}

pub(super) async fn report(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<Report>, Problem> {
    reading(move || parts.batches.report(&name)).await
}

pub(super) async fn remove(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Json<Report>, Problem> {
    let RemoveBatch { force_reason, by } = body(&bytes)?;
    let removal = match force_reason {
        None => Removal::ThroughGate,
        Some(reason) if reason.trim().is_empty() => {
            return Err(Problem::usage("a forced removal needs a reason: it is recorded"));
        }
        Some(reason) => Removal::Forced { reason, by },
    };
    Ok(Json(parts.batches.remove(&name, removal).await?))
}
