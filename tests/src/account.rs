//! The final account: what is on both sides, read by an independent client (`scripts/account.py`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::python;

/// Messages of a folder on both sides.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct Both {
    /// At the source.
    pub source: u64,
    /// At the target.
    pub target: u64,
}

/// The comparison.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// By target folder; folders empty on both sides are left out.
    pub folders: BTreeMap<String, Both>,
    /// On the source, not on the target.
    pub missing: Vec<Value>,
    /// On the target, not on the source.
    pub extra: Vec<Value>,
    /// Same bytes, other date or flags.
    pub changed: Vec<Value>,
    /// Source folders that the target lacks altogether.
    pub absent: Vec<String>,
    /// Messages read at the source.
    pub source_messages: u64,
    /// Messages read at the target.
    pub target_messages: u64,
    /// Bytes read at the source.
    pub bytes: u64,
}

impl Account {
    /// Whether both sides hold the same.
    pub fn agrees(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.changed.is_empty() && self.absent.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} messages ({} bytes) at the source, {} at the target; {} missing, {} extra, {} changed, {} folders absent",
            self.source_messages,
            self.bytes,
            self.target_messages,
            self.missing.len(),
            self.extra.len(),
            self.changed.len(),
            self.absent.len(),
        )?;
        for (what, list) in [("missing", &self.missing), ("extra", &self.extra), ("changed", &self.changed)] {
            for entry in list.iter().take(10) {
                writeln!(f, "  {what}: {entry}")?;
            }
        }
        for folder in &self.absent {
            writeln!(f, "  absent: {folder}")?;
        }
        Ok(())
    }
}

/// How to read one side.
#[derive(Debug, Clone)]
pub struct Side {
    /// Implicit TLS port on localhost.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Password or token.
    pub word: Word,
}

/// What opens a mailbox.
#[derive(Debug, Clone)]
pub enum Word {
    /// LOGIN.
    Password(String),
    /// XOAUTH2.
    Token(String),
}

impl Side {
    fn job(&self) -> Value {
        match &self.word {
            Word::Password(password) => json!({"port": self.port, "user": self.user, "password": password}),
            Word::Token(token) => json!({"port": self.port, "user": self.user, "token": token}),
        }
    }
}

/// Reads and compares. `folders` maps source names (as on the wire) where the usual rules do not hold.
pub async fn compare(
    source: &Side,
    target: &Side,
    folders: &BTreeMap<String, String>,
    ca: &std::path::Path,
) -> anyhow::Result<Account> {
    let job = json!({"source": source.job(), "target": target.job(), "folders": folders, "ca": ca});
    let answer = python::run(include_str!("../scripts/account.py"), &job).await?;
    Ok(serde_json::from_value(answer)?)
}
