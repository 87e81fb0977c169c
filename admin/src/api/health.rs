//! Is the daemon alive, ready, and what is it doing?

use super::{dns, reading};
use crate::{
    metrics,
    parts::{Draining, Parts},
    problem::Problem,
    shape::{DaemonStatus, Done, Front, Session},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use mailferry_sync::batch::Outcome;

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 while clients and commands are served as configured, else 503 and why not.
pub(super) async fn ready(State(parts): State<Parts>) -> Response {
    let reason = match (parts.views.draining(), parts.views.front()) {
        (Draining::Yes, _) => "draining: the daemon is about to end".to_owned(),
        (Draining::No, Front::Off | Front::Open { .. }) => return "ready\n".into_response(),
        (Draining::No, Front::Waiting { endpoint }) => format!("the proxy waits for endpoint {endpoint}"),
        (Draining::No, Front::Failed { error }) => format!("the proxy is not open: {error}"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

pub(super) async fn status(State(parts): State<Parts>) -> Result<Json<DaemonStatus>, Problem> {
    reading(move || {
        Ok::<_, Problem>(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            started: parts.started,
            notices: parts.views.notices(),
            proxy: parts.views.front(),
            target: parts.batches.target(),
            batches: parts.batches.status()?,
            domains: dns::domains(&parts)?,
        })
    })
    .await
}

pub(super) async fn sessions(State(parts): State<Parts>) -> Result<Json<Vec<Session>>, Problem> {
    match parts.views.front() {
        Front::Open { sessions, .. } => Ok(Json(sessions)),
        Front::Off | Front::Waiting { .. } | Front::Failed { .. } => Ok(Json(Vec::new())),
    }
}

/// Ends a session. One that is gone already is as good.
pub(super) async fn kick(State(parts): State<Parts>, Path(conn): Path<u64>) -> Json<Done> {
    let outcome = if parts.views.kick(conn) { Outcome::Done } else { Outcome::Already };
    Json(Done { outcome })
}

pub(super) async fn metrics(State(parts): State<Parts>) -> Result<Response, Problem> {
    let text = reading(move || {
        let mut all = metrics::of_front(&parts.views.front());
        all.extend(metrics::of_batches(&parts.batches.status()?));
        all.extend(metrics::of_target(&parts.batches.target()));
        all.extend(metrics::of_domains(&dns::domains(&parts)?));
        all.extend(parts.views.metrics());
        Ok::<_, Problem>(metrics::text(&all))
    })
    .await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text.0).into_response())
}
