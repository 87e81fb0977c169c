//! Hooks: a command or a web address is told when something happened that people wait for.
//!
//! There is no queue. What is so at this moment ([`Standing`]) is compared with what each hook was told last of the same
//! subject ([`Mark`], in the ledger); what differs is delivered, then marked ([`Teller`]). So a hook is told at least once
//! across restarts and crashes (again with the same id), nothing piles up while a receiver is away, and what has passed
//! by then is not told any more. A hook has a task of its own and one delivery at a time: nobody waits for it.
//!
//! What is told: names of domains, batches and mailboxes, figures, who still delivers to the source. Never a secret, a
//! subject or a body.

mod delivery;
mod judge;
mod teller;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use delivery::{Delivery, DeliveryError, InTheClear, Program, WebError, Webhook};
pub(crate) use judge::{Reading, Standing};
pub(crate) use teller::{Teller, forget_others};

/// What a hook can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A domain's verdict is another one.
    MxChanged,
    /// The cutover of a domain is confirmed.
    CutoverConfirmed,
    /// Mail still came to the source afterwards.
    Straggler,
    /// A batch may be removed.
    GateOpen,
    /// Something does not go on without a person.
    NeedsHuman,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::MxChanged, Self::CutoverConfirmed, Self::Straggler, Self::GateOpen, Self::NeedsHuman];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MxChanged => "mx-changed",
            Self::CutoverConfirmed => "cutover-confirmed",
            Self::Straggler => "straggler",
            Self::GateOpen => "gate-open",
            Self::NeedsHuman => "needs-human",
        })
    }
}

/// Somebody who is told.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Unique; what was told is kept under it.
    pub name: String,
    /// Of what.
    pub on: BTreeSet<Event>,
    /// How.
    pub delivery: Delivery,
    /// For one delivery as a whole.
    pub timeout: Duration,
}

impl Hook {
    /// Delivers something that did not happen, so that an operator sees whether it arrives.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn test(&self, at: Timestamp) -> Result<(), DeliveryError> {
        let mut body = Map::new();
        body.insert("id".into(), json!(format!("test/{at}")));
        body.insert("event".into(), json!("test"));
        body.insert("hook".into(), json!(self.name));
        body.insert("at".into(), json!(at));
        body.insert("text".into(), json!("a test of this hook: nothing happened"));
        body.insert("next".into(), json!(""));
        self.deliver(body).await
    }

    async fn deliver(&self, body: Map<String, Value>) -> Result<(), DeliveryError> {
        let mut bytes = Value::Object(body).to_string().into_bytes();
        bytes.push(b'\n');
        self.delivery.deliver(bytes, self.timeout).await
    }
}

/// What is so at one moment, of everything that hooks are told of.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(crate) standings: Vec<Standing>,
}
