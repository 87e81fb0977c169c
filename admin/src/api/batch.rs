//! `/v1/batches`.

use super::{body, reading, streaming};
use crate::{
    parts::Parts,
    problem::Problem,
    shape::{BatchDetail, Done, RemoveBatch, Verify},
    stream::Gone,
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    response::Response,
};
use mailferry_sync::batch::{
    BatchError, BatchPlan, BatchStatus, BatchVerification, NewBatch, Removal, Report, Start, account::Which,
};
use serde::Deserialize;
use std::ops::ControlFlow;

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
        Ok::<_, BatchError>(BatchDetail { status, mailboxes, gate, target: parts.batches.target() })
    })
    .await
}

/// What stands behind the `?` of a new batch; the CSV file is the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    endpoint: String,
    start: Start,
    /// Folders, as JSON lists of texts.
    #[serde(default)]
    include: Option<String>,
    #[serde(default)]
    exclude: Option<String>,
}

fn folders(list: Option<String>) -> Result<Vec<String>, Problem> {
    let read = |list: String| serde_json::from_str(&list);
    let list = list.map(read).transpose();
    Ok(list.map_err(|error| Problem::usage(format!("include, exclude: {error}")))?.unwrap_or_default())
}

pub(super) async fn add(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    query: Result<Query<New>, axum::extract::rejection::QueryRejection>,
    csv: Bytes,
) -> Result<Json<BatchStatus>, Problem> {
    let Query(New { endpoint, start, include, exclude }) =
        query.map_err(|error| Problem::usage(error.body_text()))?;
    let (include, exclude) = (folders(include)?, folders(exclude)?);
    let new = NewBatch { name, endpoint, csv: csv.into(), start, include, exclude };
    Ok(Json(parts.batches.add(new).await?))
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
    bytes: Bytes,
) -> Result<Json<BatchVerification>, Problem> {
    let Verify { depth } = body(&bytes)?;
    Ok(Json(parts.batches.verify(&name, depth).await?))
}

pub(super) async fn report(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<Report>, Problem> {
    reading(move || parts.batches.report(&name)).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    messages: Which,
}

/// The account, streamed.
pub(super) async fn account(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    query: Result<Query<Told>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Told { messages }) = query.map_err(|error| Problem::usage(error.body_text()))?;
    if parts.batches.batch_status(&name).is_err() {
        parts.batches.report(&name)?; // A name that is not there is a 404.
    }
    Ok(streaming(move |outlet| {
        let each = |line| match outlet.blocking_item(line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Gone) => ControlFlow::Break(()),
        };
        Ok(parts.batches.account(&name, messages, each)?)
    }))
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
