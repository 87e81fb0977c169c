//! From answers to a verdict. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Answer, HostName};

/// Where a domain's mail goes, on the evidence of one observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// To hosts that are neither Office 365 nor accepted.
    Source,
    /// Partly to Office 365 and partly elsewhere, or servers disagree.
    Mixed,
    /// To Office 365 only, and everybody who was asked says so.
    Office365,
    /// To accepted third-party filters, perhaps beside Office 365, and everybody says so.
    Filtered,
    /// There is no MX record.
    None,
    /// A null MX: the domain takes no mail.
    Null,
    /// A server that must be heard was not: nothing may be concluded.
    Unknown,
}

/// What counts as cut over for one domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Third-party filters: these hosts and everything below them count as cut over.
    pub accept: Vec<HostName>,
    /// The one Office 365 host of this tenant; when set, no other Office 365 host counts.
    pub expect: Option<HostName>,
    /// Hosts known to be the source's; they never count by their form alone.
    pub old: Vec<HostName>,
}

/// A verdict and the sentences that justify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The conclusion.
    pub verdict: Verdict,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
}

/// Judges one observation's answers.
pub fn rule(answers: &[Answer], policy: &Policy) -> Ruling {
    let _ = (answers, policy);
    Ruling { verdict: Verdict::Unknown, reasons: Vec::new() }
}

impl Verdict {
    /// Whether this verdict keeps the cutover clock running.
    pub fn is_cut_over(self) -> bool {
        matches!(self, Self::Office365 | Self::Filtered)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Mixed => "mixed",
            Self::Office365 => "office365",
            Self::Filtered => "filtered",
            Self::None => "none",
            Self::Null => "null",
            Self::Unknown => "unknown",
        })
    }
}
