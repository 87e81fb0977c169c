//! What the operator should look at beside the verdict. Pure; the facts are gathered by the checker.

use serde::{Deserialize, Serialize};

/// One thing to look at. Never changes a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What it is about.
    pub kind: AdviceKind,
    /// The advice, with the names and figures that it rests on.
    pub text: String,
}

/// What a piece of advice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    /// A TTL that makes the change slow.
    Ttl,
    /// An MX record that should be deleted.
    LeftoverMx,
    /// The MX target itself: an alias, missing, another tenant's.
    MxTarget,
    /// The domain's SPF record.
    Spf,
    /// The `autodiscover` name.
    Autodiscover,
    /// Parent and zone, or servers among themselves, do not say the same.
    Delegation,
    /// A server that did not answer and was not needed.
    Server,
}
