//! `/v1/mailboxes`.

use super::{body, reading};
use crate::{
    parts::Parts,
    problem::Problem,
    shape::{By, Done},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use mailferry_sync::{
    batch::{MailboxDetail, MailboxStatus, ShowSkipped},
    stragglers::Straggler,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    batch: Option<String>,
}

pub(super) async fn list(
    State(parts): State<Parts>,
    Query(Which { batch }): Query<Which>,
) -> Result<Json<Vec<MailboxStatus>>, Problem> {
    reading(move || parts.batches.mailboxes(batch.as_deref())).await
}

#[derive(Debug, Deserialize)]
pub(super) struct How {
    skipped: Option<String>,
}

pub(super) async fn show(
    State(parts): State<Parts>,
    Path(address): Path<String>,
    Query(How { skipped }): Query<How>,
) -> Result<Json<MailboxDetail>, Problem> {
    let skipped = if skipped.is_some() { ShowSkipped::Listed } else { ShowSkipped::Counted };
    reading(move || parts.batches.mailbox(&address, skipped)).await
}

pub(super) async fn declare_moved(
    State(parts): State<Parts>,
    Path(address): Path<String>,
    bytes: Bytes,
) -> Result<Json<Done>, Problem> {
    let By { by } = body(&bytes)?;
    if by.trim().is_empty() {
        return Err(Problem::usage("who says so is missing: it is recorded"));
    }
    Ok(Json(Done { outcome: parts.batches.declare_moved(&address, &by).await? }))
}

pub(super) async fn allow_deletions(
    State(parts): State<Parts>,
    Path(address): Path<String>,
    bytes: Bytes,
) -> Result<Json<Done>, Problem> {
    let By { by } = body(&bytes)?;
    Ok(Json(Done { outcome: parts.batches.allow_deletions(&address, &by).await? }))
}

pub(super) async fn stragglers(State(parts): State<Parts>) -> Result<Json<Vec<Straggler>>, Problem> {
    reading(move || parts.batches.stragglers()).await
}

pub(super) async fn retry(
    State(parts): State<Parts>,
    Path(address): Path<String>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(Done { outcome: parts.batches.retry(&address).await? }))
}
