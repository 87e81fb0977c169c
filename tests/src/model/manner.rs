//! What sets one life apart from others, from its beginning to its end.

use crate::mail::Dice;
use crate::stand::{Options, Stand};

/// Deletions in one folder and pass that need no operator's word, where the cap is low.
pub const LOW_CAP: u64 = 5;

/// What lasts for a whole life. One thing at a time: what must hold is said the more exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it is with most people.
    Plain,
    /// Another tool copied some of it before.
    Filled,
    /// Few deletions need an operator's word.
    LowCap,
    /// The target does not know UIDPLUS: it tells no UIDs, and what is deleted stays there, marked.
    NoUidPlus,
}

impl Manner {
    /// What it will be like.
    pub fn new(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0..=2 => Self::Filled,
            3..=5 => Self::LowCap,
            6 => Self::NoUidPlus,
            _ => Self::Plain,
        }
    }

    /// Before the batch is there.
    pub async fn begin(self, stand: &mut Stand) -> anyhow::Result<()> {
        match self {
            Self::Plain | Self::Filled => Ok(()),
            Self::NoUidPlus => {
                stand.target.relay.hide("UIDPLUS");
                Ok(())
            }
            Self::LowCap => configure(stand, &format!("{}\nmax_deletions = {LOW_CAP}", super::SYNC)).await,
        }
    }

    /// As it was before, for the next life.
    pub async fn end(self, stand: &mut Stand) -> anyhow::Result<()> {
        stand.target.relay.hide_nothing();
        match self {
            Self::Plain | Self::Filled | Self::NoUidPlus => Ok(()),
            Self::LowCap => configure(stand, super::SYNC).await,
        }
    }
}

async fn configure(stand: &mut Stand, sync: &str) -> anyhow::Result<()> {
    stand.reconfigure(|options: &mut Options| sync.clone_into(&mut options.sync))?;
    stand.stop()?;
    stand.serve().await?;
    stand.proxy_open().await
}
