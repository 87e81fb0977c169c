//! `/v1/mailboxes`.

use super::{body, reading, streaming};
use crate::{
    parts::Parts,
    problem::Problem,
    shape::{By, Done, ExportSkipped, Exported, Retry},
    stream::{Gone, Outlet},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    response::Response,
};
use mailferry_imap::UidSet;
use mailferry_ledger::FolderId;
use mailferry_sync::{
    batch::{BatchError, MailboxDetail, MailboxStatus, ShowSkipped},
    export::{Step, Wanted},
    retry::Retried,
    stragglers::Straggler,
};
use serde::Deserialize;
use std::ops::ControlFlow;

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
    bytes: Bytes,
) -> Result<Json<Retried>, Problem> {
    let Retry { again } = body(&bytes)?;
    Ok(Json(parts.batches.retry(&address, again).await?))
}

/// Every skipped message, streamed.
pub(super) async fn skipped(
    State(parts): State<Parts>,
    Path(address): Path<String>,
) -> Result<Response, Problem> {
    parts.batches.mailbox(&address, ShowSkipped::Counted)?; // A name that is not there is a 404.
    Ok(streaming(move |outlet| {
        let each = |message| match outlet.blocking_item(message) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Gone) => ControlFlow::Break(()),
        };
        Ok(parts.batches.skipped(&address, each)?)
    }))
}

/// Skipped messages, byte for byte, streamed.
pub(super) async fn export(
    State(parts): State<Parts>,
    Path(address): Path<String>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let wanted = wanted(body(&bytes)?)?;
    let mut steps = parts.batches.export_skipped(&address, wanted)?;
    let (mut outlet, response) = Outlet::new();
    tokio::spawn(async move {
        while let Some(step) = steps.recv().await {
            let sent = match step {
                Step::Start { message, bytes } => {
                    outlet.item(Exported::Message { message: *message, bytes }).await
                }
                Step::Chunk(chunk) => outlet.bytes(chunk).await,
                Step::End => outlet.item(Exported::End).await,
                Step::Broken => outlet.item(Exported::Broken).await,
                Step::NotGiven { folder, uid, why } => {
                    outlet.item(Exported::NotGiven { folder, uid, why }).await
                }
                Step::Failed(error) => {
                    let error = BatchError::Pass { address, error: Box::new(error) };
                    return outlet.end(Err(error.into())).await;
                }
                Step::Done => return outlet.end(Ok(())).await,
            };
            if sent.is_err() {
                return; // Nobody reads any more; dropping `steps` ends the export.
            }
        }
    });
    Ok(response)
}

fn wanted(ask: ExportSkipped) -> Result<Wanted, Problem> {
    let Some(sets) = ask.folders else { return Ok(Wanted::All) };
    let set = |(folder, uids): (u32, String)| {
        let uids = UidSet::parse(uids.as_bytes())
            .ok_or_else(|| Problem::usage(format!("{uids:?} is no set of UIDs, such as 1:5,9")))?;
        Ok((FolderId(folder), uids))
    };
    Ok(Wanted::These(sets.into_iter().map(set).collect::<Result<_, Problem>>()?))
}
