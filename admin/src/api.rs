//! The requests: paths, what they take, what they give. Each either succeeds with JSON or ends in a [`Problem`].

mod batch;
mod dns;
mod endpoint;
mod health;
mod mailbox;

use crate::{parts::Parts, problem::Problem, stream::Outlet};
use axum::{
    Json, Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::{StatusCode, Uri},
    response::Response,
    routing::{get, post},
};
use mailferry_sync::csv;
use serde::de::DeserializeOwned;

/// Every path under one roof.
pub fn router(parts: Parts) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/v1/status", get(health::status))
        .route("/v1/sessions", get(health::sessions))
        .route("/v1/sessions/{conn}/kick", post(health::kick))
        .route("/v1/endpoints", get(endpoint::list))
        .route("/v1/endpoints/{name}", get(endpoint::show).put(endpoint::add).delete(endpoint::remove))
        .route("/v1/batches", get(batch::list))
        .route("/v1/batches/{name}", get(batch::show).post(batch::add))
        .route("/v1/batches/{name}/start", post(batch::start))
        .route("/v1/batches/{name}/stop", post(batch::stop))
        .route("/v1/batches/{name}/sync-now", post(batch::sync_now))
        .route("/v1/batches/{name}/plan", post(batch::plan))
        .route("/v1/batches/{name}/verify", post(batch::verify))
        .route("/v1/batches/{name}/report", get(batch::report))
        .route("/v1/batches/{name}/account", get(batch::account))
        .route("/v1/batches/{name}/remove", post(batch::remove))
        .route("/v1/mailboxes", get(mailbox::list))
        .route("/v1/mailboxes/{address}", get(mailbox::show))
        .route("/v1/mailboxes/{address}/declare-moved", post(mailbox::declare_moved))
        .route("/v1/mailboxes/{address}/allow-deletions", post(mailbox::allow_deletions))
        .route("/v1/mailboxes/{address}/retry", post(mailbox::retry))
        .route("/v1/mailboxes/{address}/skipped", get(mailbox::skipped))
        .route("/v1/mailboxes/{address}/export", post(mailbox::export))
        .route("/v1/dns", get(dns::status))
        .route("/v1/stragglers", get(mailbox::stragglers))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // One byte more than a CSV file may have, so that its own message is heard.
        .layer(DefaultBodyLimit::max(csv::MAX_BYTES + 1))
        .with_state(parts)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::missing(format!("path {}", uri.path()))
        .next("daemon and command are of different versions? restart the daemon")
}

async fn wrong_method(uri: Uri) -> (StatusCode, Json<Problem>) {
    let problem = Problem::usage(format!("{} does not take this method", uri.path()));
    (StatusCode::METHOD_NOT_ALLOWED, Json(problem))
}

/// Reads a JSON body; an empty one is `{}`.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Problem::usage(format!("the request's body: {error}")))
}

/// Runs `read`, which may walk through much of the ledger, where it holds up nobody.
async fn reading<T: Send + 'static, E: Into<Problem> + Send + 'static>(
    read: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<Json<T>, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(value)) => Ok(Json(value)),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => {
            Err(Problem::local(format!("the request ended badly: {error}")).next("look at the daemon's log"))
        }
    }
}

/// Streams what `write` writes, from a thread that may wait for the ledger and for the reader.
fn streaming(write: impl FnOnce(&mut Outlet) -> Result<(), Problem> + Send + 'static) -> Response {
    let (mut outlet, response) = Outlet::new();
    tokio::task::spawn_blocking(move || {
        let end = write(&mut outlet);
        outlet.blocking_end(end);
    });
    response
}
