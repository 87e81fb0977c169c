//! What fails: connections cut at any byte, answers lost, refusals and throttling, tokens, servers that are away, and
//! `kill -9`.

use std::time::Duration;

use crate::fault::{Fault, Rule, Way, throttled};
use crate::mail::Dice;
use crate::stand::Stand;

/// Commands at the target whose answers may be lost.
const AT_TARGET: [&str; 14] = [
    "APPEND",
    "APPEND",
    "APPEND",
    "UID STORE",
    "UID EXPUNGE",
    "UID MOVE",
    "UID COPY",
    "CREATE",
    "RENAME",
    "DELETE",
    "SELECT",
    "STATUS",
    "LIST",
    "UID FETCH",
];

/// The same at the source, where the sync only looks and clients work.
const AT_SOURCE: [&str; 5] = ["UID FETCH", "EXAMINE", "LIST", "UID SEARCH", "SELECT"];

/// What Exchange says when it is ill.
const ILL: [&str; 3] = [
    "NO Server Unavailable. 15",
    "BAD User is authenticated but not connected.",
    "NO [SERVERBUG] Internal server error",
];

/// One life's weather.
pub struct Weather {
    /// Of ten steps, so many bring a fault.
    roughness: u64,
    /// How often the process may still be killed.
    kills_left: u64,
    kills: u64,
    /// The target tells no UIDs.
    forgetful: bool,
    latency: u64,
}

impl Weather {
    /// What it will be like.
    pub fn new(dice: &mut Dice) -> Self {
        Self {
            roughness: dice.below(6),
            kills_left: dice.below(3),
            kills: 0,
            forgetful: dice.below(4) == 0,
            latency: dice.below(4),
        }
    }

    /// How often the process was killed.
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// What lasts for the whole life.
    pub fn begin(&self, stand: &Stand) {
        stand.target.relay.set_latency(Duration::from_millis(self.latency));
        if self.forgetful {
            stand.target.relay.order(Rule::every("APPEND", Fault::ForgetAppendUid));
        }
    }

    /// Perhaps something fails now, or soon; what, in words.
    pub async fn step(&mut self, stand: &mut Stand, dice: &mut Dice) -> anyhow::Result<Option<String>> {
        let strikes = dice.below(10) < self.roughness;
        let kind = dice.below(16);
        let (number, bytes) = (dice.below(1_000), dice.below(6_000));
        if !strikes {
            return Ok(None);
        }
        let pick = |list: &[&'static str]| list[number as usize % list.len()];
        let target = &stand.target.relay;
        let source = &stand.source_relay;
        let what = match kind {
            0 | 1 => {
                target.cut_after(Way::ToServer, bytes);
                format!("cut after {bytes} bytes to the target")
            }
            2 => {
                target.cut_after(Way::ToClient, bytes / 3);
                format!("cut after {} bytes from the target", bytes / 3)
            }
            3 => {
                source.cut_after(Way::ToClient, bytes);
                format!("cut after {bytes} bytes from the source")
            }
            4 => {
                source.cut_after(Way::ToServer, bytes / 10);
                format!("cut after {} bytes to the source", bytes / 10)
            }
            5..=7 => {
                order(target, Rule::next(pick(&AT_TARGET), Fault::LoseAnswer).after(bytes % 3), "target")
            }
            8 => order(target, Rule::next(pick(&AT_TARGET), Fault::Cut).after(bytes % 3), "target"),
            9 => order(source, Rule::next(pick(&AT_SOURCE), Fault::LoseAnswer).after(bytes % 3), "source"),
            10 => {
                order(target, Rule::next(pick(&AT_TARGET), throttled(bytes / 20)).after(bytes % 3), "target")
            }
            11 => {
                let words = ILL[bytes as usize % ILL.len()].to_owned();
                order(target, Rule::next(pick(&AT_TARGET), Fault::Answer(words)).after(bytes % 3), "target")
            }
            12 => {
                target.bye_all("Session invalidated - AccessTokenExpired");
                "tokens expire".to_owned()
            }
            13 => {
                target.go_down().await;
                tokio::time::sleep(Duration::from_millis(bytes / 20)).await;
                target.come_back().await?;
                format!("the target was away for {} ms", bytes / 20)
            }
            14 => {
                source.cut_all();
                "every connection to the source was cut".to_owned()
            }
            _ if self.kills_left > 0 => {
                self.kills_left -= 1;
                self.kills += 1;
                stand.kill()?;
                stand.serve().await?;
                stand.proxy_open().await?;
                "killed and started again".to_owned()
            }
            _ => return Ok(None),
        };
        Ok(Some(what))
    }

    /// From now on all is well.
    pub async fn end(&self, stand: &mut Stand) -> anyhow::Result<()> {
        for relay in [&stand.target.relay, &stand.source_relay] {
            relay.clear_orders();
            relay.set_latency(Duration::ZERO);
        }
        if self.forgetful {
            stand.target.relay.order(Rule::every("APPEND", Fault::ForgetAppendUid));
        }
        stand.alive()
    }
}

fn order(relay: &crate::fault::Relay, rule: Rule, side: &str) -> String {
    let words = format!("at the {side}, after {} of them: {} suffers {:?}", rule.skip, rule.verb, rule.fault);
    relay.order(rule);
    words
}
