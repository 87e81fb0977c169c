//! Why a request could not be met: what happened, whose fault it is, what to do next.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mailferry_sync::batch::BatchError;
use serde::{Deserialize, Serialize};

pub use mailferry_sync::fault::Fault;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Problem {
    /// What happened and where, for a human.
    pub error: String,
    /// Whose fault it is; decides the exit code of the command line.
    pub fault: Fault,
    /// What the operator can do about it; empty when the message says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
    /// The facts behind it, where there are any: CSV problems, the gate's conditions, what differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// Is the thing asked for unknown (HTTP 404), rather than the request wrong (400)?
    #[serde(skip)]
    pub missing: Missing,
}

/// Whether a problem is that something named does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// It does, or that is not the point.
    #[default]
    No,
    /// It does not.
    Yes,
}

impl Problem {
    /// A problem of kind `fault`.
    pub fn new(fault: Fault, error: impl Into<String>) -> Self {
        Self { error: error.into(), fault, next: String::new(), details: None, missing: Missing::No }
    }

    /// The request is wrong.
    pub fn usage(error: impl Into<String>) -> Self {
        Self::new(Fault::Usage, error)
    }

    /// Our own disk or state.
    pub fn local(error: impl Into<String>) -> Self {
        Self::new(Fault::Local, error)
    }

    /// `what` (such as `batch "A"`) does not exist.
    pub fn missing(what: impl AsRef<str>) -> Self {
        Self { missing: Missing::Yes, ..Self::usage(format!("there is no {}", what.as_ref())) }
    }

    /// With advice.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    fn status(&self) -> StatusCode {
        match (self.fault, self.missing) {
            (_, Missing::Yes) => StatusCode::NOT_FOUND,
            (Fault::Usage, Missing::No) => StatusCode::BAD_REQUEST,
            (Fault::Gate | Fault::Partial | Fault::Difference, Missing::No) => StatusCode::CONFLICT,
            (Fault::Source | Fault::Target, Missing::No) => StatusCode::BAD_GATEWAY,
            (Fault::Throttled, Missing::No) => StatusCode::SERVICE_UNAVAILABLE,
            (Fault::Local, Missing::No) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        let missing = match error {
            BatchError::NoEndpoint(_)
            | BatchError::NoBatch(_)
            | BatchError::Removed { .. }
            | BatchError::NoMailbox(_) => Missing::Yes,
            _ => Missing::No,
        };
        Self {
            error: error.to_string(),
            fault: error.fault(),
            next: error.next(),
            details: error.details(),
            missing,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status(), Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_the_exit_code_of_the_design() {
        let codes = [
            (Fault::Usage, 1),
            (Fault::Source, 2),
            (Fault::Target, 3),
            (Fault::Gate, 4),
            (Fault::Partial, 5),
            (Fault::Difference, 6),
            (Fault::Local, 7),
            (Fault::Throttled, 75),
        ];
        for (fault, code) in codes {
            assert_eq!(fault.exit_code(), code, "{fault:?}");
        }
    }

    #[test]
    fn a_problem_survives_the_way_over_the_socket() {
        let problem = Problem::missing("batch \"A\"").next("mailferry batch status lists them");
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            json,
            r#"{"error":"there is no batch \"A\"","fault":"usage","next":"mailferry batch status lists them"}"#
        );
        let back: Problem = serde_json::from_str(&json).unwrap();
        assert_eq!(back.error, problem.error);
        assert_eq!(problem.status(), StatusCode::NOT_FOUND);
    }
}
