//! Whose fault an error is: what exit codes and "what next" hang on.

use serde::{Deserialize, Serialize};

/// Whose fault an error is. The CLI turns it into its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The command, the CSV file or the configuration (exit code 1).
    Usage,
    /// The source server (2).
    Source,
    /// Office 365 or its token endpoint (3).
    Target,
    /// The gate is closed (4).
    Gate,
    /// Part of the work is done; running again is safe (5).
    Partial,
    /// Verification found differences (6).
    Difference,
    /// Our own state folder or disk (7).
    Local,
    /// The target asks us to wait (75).
    Throttled,
}

impl Fault {
    /// The process exit code that stands for it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 1,
            Self::Source => 2,
            Self::Target => 3,
            Self::Gate => 4,
            Self::Partial => 5,
            Self::Difference => 6,
            Self::Local => 7,
            Self::Throttled => 75,
        }
    }
}
