//! Where a domain's mail goes: asked at every authoritative server and at resolvers, judged, and timed.
//!
//! [`Checker::check`] does the asking and returns an [`Observation`]: every answer as it was given, a
//! [`Verdict`] with its reasons, and advice. Observations are kept by the caller; [`clock::Course`] turns
//! them into the answer to the one question that matters: has mail gone to Office 365, seen by
//! everybody, for long enough?
//!
//! `verdict` and `clock` are pure. Nothing here knows a ledger, a batch or a mailbox. A question that got no
//! usable answer is never taken for a good one.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advice;
mod answer;
mod ask;
mod checker;
pub mod clock;
#[cfg(test)]
mod fake;
mod gather;
mod host;
mod known;
mod observation;
mod outside;
mod places;
mod policy;
mod roots;
mod spf;
pub mod verdict;
mod walk;

pub use advice::{Advice, AdviceKind};
pub use checker::{Checker, Config};
pub use clock::{Clock, Course, Moment};
pub use host::HostName;
pub use observation::{Answer, Failure, MxRecord, Observation, Outcome, Role, Transport};
pub use policy::{HostClass, Policy};
pub use verdict::{Ruling, Verdict};
