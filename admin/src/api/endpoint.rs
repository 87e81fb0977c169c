//! `/v1/endpoints`.

use super::{body, reading};
use crate::{parts::Parts, problem::Problem, shape::Done};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use mailferry_sync::batch::EndpointSpec;

pub(super) async fn list(State(parts): State<Parts>) -> Result<Json<Vec<EndpointSpec>>, Problem> {
    reading(move || parts.batches.endpoints()).await
}

pub(super) async fn show(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<EndpointSpec>, Problem> {
    reading(move || parts.batches.endpoint(&name)).await
}

pub(super) async fn add(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Result<Json<Done>, Problem> {
    let spec: EndpointSpec = body(&bytes)?;
    if spec.name != name {
        return Err(Problem::usage(format!("the path names endpoint {name:?}, the body {:?}", spec.name)));
    }
    Ok(Json(Done { outcome: parts.batches.endpoint_add(spec).await? }))
}

pub(super) async fn remove(
    State(parts): State<Parts>,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(Done { outcome: parts.batches.endpoint_remove(&name).await? }))
}
