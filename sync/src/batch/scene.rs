//! What hooks are told of, read from the ledger: what is so at this moment, and for how long already. One look serves all
//! of them; only the latest counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use mailferry_dnscheck::Verdict;
use mailferry_ledger::{Batch, BatchState, Mailbox, MailboxId, MailboxState};
use serde_json::{Map, Value, json};
use tokio::sync::watch::Sender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{BatchError, Batches, Desk, LOOK};
use crate::credentials::Known;
use crate::gate;
use crate::hooks::{Event, Hook, Reading, Scene, Standing, Teller, forget_others};
use crate::stragglers::{self, Straggler};
use crate::watch::{self, Cutover};

/// How many mailboxes or stragglers are named.
const MOST_NAMED: usize = 20;
/// A domain of which nobody can say anything for less than this is no news: servers are away for a moment.
const LULL: SignedDuration = SignedDuration::from_mins(20);
/// More of the same trouble is told again no sooner than this.
const PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// A mailbox that fails for so long does not get well by itself.
const FAILED_FOR: Duration = Duration::from_secs(3600);
/// A user who has not come for so long must be asked to.
const WAITING_FOR: Duration = Duration::from_secs(72 * 3600);

/// What keeps a mailbox from going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Failed,
    Waiting,
}

/// Which mailboxes are in trouble, and since when this program has seen it.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<MailboxId, (Trouble, Instant)>);

impl Troubles {
    /// A mailbox that is tried again is not well yet. Returns the trouble if it lasts.
    fn see(&mut self, mailbox: &Mailbox, waits: bool, now: Instant) -> Option<Trouble> {
        let before = self.0.get(&mailbox.id).copied();
        let trouble = match mailbox.state {
            _ if waits => Some(Trouble::Waiting),
            MailboxState::Failed => Some(Trouble::Failed),
            MailboxState::Queued | MailboxState::Syncing | MailboxState::IncrementalSyncing => {
                before.map(|(trouble, _)| trouble)
            }
            MailboxState::Synced | MailboxState::Stopped => None,
        };
        let Some(trouble) = trouble else {
            self.0.remove(&mailbox.id);
            return None;
        };
        let since = before.filter(|(known, _)| *known == trouble).map_or(now, |(_, since)| since);
        self.0.insert(mailbox.id, (trouble, since));
        let long = match trouble {
            Trouble::Failed => FAILED_FOR,
            Trouble::Waiting => WAITING_FOR,
        };
        (now.saturating_duration_since(since) >= long).then_some(trouble)
    }

    fn keep(&mut self, there: &BTreeSet<MailboxId>) {
        self.0.retain(|mailbox, _| there.contains(mailbox));
    }
}

impl Batches {
    /// Tells these hooks what happens, until told to stop.
    pub async fn tell(&self, hooks: Vec<Hook>, shutdown: CancellationToken) {
        forget_others(&self.desk.ledger, &hooks).await;
        let events: BTreeSet<Event> = hooks.iter().flat_map(|hook| &hook.on).copied().collect();
        let scenes = Sender::new(Arc::new(Scene::default()));
        let mut tellers = JoinSet::new();
        for hook in hooks {
            let name = hook.name.clone();
            match Teller::new(hook, self.desk.ledger.clone()) {
                Ok(teller) => {
                    tellers.spawn(teller.run(scenes.subscribe(), shutdown.clone()));
                }
                Err(error) => {
                    error!(hook = name, %error, "What a hook was told is not known: it is told nothing.")
                }
            }
        }
        if !tellers.is_empty() {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.show(&events, &scenes) => {}
            }
        }
        shutdown.cancelled().await;
        while let Some(ended) = tellers.join_next().await {
            if let Err(error) = ended {
                error!(%error, "A hook broke down.");
            }
        }
    }

    async fn show(&self, events: &BTreeSet<Event>, scenes: &Sender<Arc<Scene>>) {
        let mut troubles = Troubles::default();
        let period = self.desk.watch.interval().min(LOOK).max(Duration::from_millis(200));
        loop {
            let (desk, events) = (self.desk.clone(), events.clone());
            let began = Instant::now();
            let look = move || {
                let scene = desk.scene(&events, &mut troubles, began);
                (scene, troubles)
            };
            // With many mailboxes it takes a while.
            match tokio::task::spawn_blocking(look).await {
                Ok((scene, kept)) => {
                    troubles = kept;
                    match scene {
                        Ok(scene) => {
                            scenes.send_replace(Arc::new(scene));
                        }
                        Err(error) => error!(%error, "What hooks are told of is not known."),
                    }
                }
                Err(error) => return error!(%error, "The look for the hooks broke down."),
            }
            tokio::time::sleep(period.max(began.elapsed() * 20)).await;
        }
    }
}

impl Desk {
    /// Everything that these events are about.
    pub(super) fn scene(
        &self,
        events: &BTreeSet<Event>,
        troubles: &mut Troubles,
        now: Instant,
    ) -> Result<Scene, BatchError> {
        let mut standings = Vec::new();
        for domain in watch::domains(&self.ledger)? {
            if let Some(cutover) = watch::cutover(&self.ledger, &domain)? {
                standings.push(mx(&cutover));
                standings.push(confirmed(&cutover));
            }
        }
        let mut there = BTreeSet::new();
        for batch in self.ledger.batches()? {
            if batch.state == BatchState::Removing {
                continue;
            }
            let mailboxes = self.ledger.mailboxes(&batch.name)?;
            there.extend(mailboxes.iter().map(|mailbox| mailbox.id));
            if events.contains(&Event::Straggler) {
                standings.push(self.stragglers_of(&batch, &mailboxes)?);
            }
            if events.contains(&Event::GateOpen) {
                standings.push(open(&batch, &self.gate(&batch)?));
            }
            if events.contains(&Event::NeedsHuman) {
                standings.extend(self.troubles_of(&batch, &mailboxes, troubles, now)?);
            }
        }
        troubles.keep(&there);
        if let Some(rebuilt) = self.ledger.rebuilt()? {
            standings.push(Standing {
                event: Event::NeedsHuman,
                subject: format!("ledger@{}", rebuilt.at),
                reading: Reading::Count { number: 1, pause: PAUSE },
                text: format!(
                    "the ledger was damaged ({}) and was set aside as {}",
                    rebuilt.why,
                    rebuilt.set_aside.display()
                ),
                next: "add endpoints and batches again; what is on Office 365 already is matched, not copied"
                    .into(),
                facts: facts([("what", json!("ledger-rebuilt"))]),
            });
        }
        standings.retain(|standing| events.contains(&standing.event));
        Ok(Scene { standings })
    }

    fn stragglers_of(&self, batch: &Batch, mailboxes: &[Mailbox]) -> Result<Standing, BatchError> {
        let mut total = 0;
        let mut recent: Vec<Straggler> = Vec::new();
        for mailbox in mailboxes {
            let record = stragglers::recorded(&self.ledger, mailbox.id)?;
            total += record.total;
            recent.extend(record.recent.into_iter().rev().take(MOST_NAMED));
            recent.sort_by_key(|straggler| std::cmp::Reverse(straggler.seen));
            recent.truncate(MOST_NAMED);
        }
        let latest: Vec<Value> = recent
            .iter()
            .map(|one| {
                json!({
                    "address": one.address, "seen": one.seen, "way": one.trace.way, "from": one.trace.from,
                    "next": one.next,
                })
            })
            .collect();
        Ok(Standing {
            event: Event::Straggler,
            subject: subject(batch),
            reading: Reading::Count { number: total, pause: SignedDuration::ZERO },
            text: format!(
                "{total} messages of batch {} still came to the source after the cutover",
                batch.name
            ),
            next: "mailferry stragglers shows who still delivers".into(),
            facts: facts([("batch", json!(batch.name)), ("total", json!(total)), ("latest", json!(latest))]),
        })
    }

    fn troubles_of(
        &self,
        batch: &Batch,
        mailboxes: &[Mailbox],
        troubles: &mut Troubles,
        now: Instant,
    ) -> Result<[Standing; 3], BatchError> {
        let (mut failed, mut waiting, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for mailbox in mailboxes {
            let waits = super::figures::waits(mailbox, &Known::of(&self.ledger, mailbox)?).is_some();
            match troubles.see(mailbox, waits, now) {
                Some(Trouble::Failed) => failed.push(&mailbox.address),
                Some(Trouble::Waiting) => waiting.push(&mailbox.address),
                None => {}
            }
            if self.ledger.folders(mailbox.id)?.iter().any(|folder| folder.held_deletions > 0) {
                held.push(&mailbox.address);
            }
        }
        let hours = |time: Duration| time.as_secs() / 3600;
        let name = &batch.name;
        Ok([
            needs(batch, "failed", &failed, format!("fail for more than {} h", hours(FAILED_FOR)), {
                "mailferry mailbox show ADDRESS says why".to_owned()
            }),
            needs(
                batch,
                "waiting-for-login",
                &waiting,
                format!("have waited for a login through the proxy for more than {} h", hours(WAITING_FOR)),
                format!(
                    "ask the users to start their mail program, or add their passwords: mailferry batch add {name} with the CSV file"
                ),
            ),
            needs(
                batch,
                "held-deletions",
                &held,
                "have more deletions at the source than the cap lets through".to_owned(),
                "mailferry mailbox show ADDRESS, then mailferry mailbox allow-deletions ADDRESS".to_owned(),
            ),
        ])
    }
}

fn mx(cutover: &Cutover) -> Standing {
    let still = cutover.observed.at.duration_since(cutover.changed);
    let reading = match cutover.verdict {
        Verdict::Unknown if still < LULL => Reading::Unclear,
        verdict => Reading::Word { word: verdict.to_string(), since: cutover.changed },
    };
    let mut facts = about(cutover);
    facts.insert("changed".into(), json!(cutover.changed));
    Standing {
        event: Event::MxChanged,
        subject: cutover.domain.clone(),
        reading,
        text: format!("mail for {}: {}", cutover.domain, cutover.verdict),
        next: "mailferry dns status shows what each server says".into(),
        facts,
    }
}

fn confirmed(cutover: &Cutover) -> Standing {
    Standing {
        event: Event::CutoverConfirmed,
        subject: cutover.domain.clone(),
        reading: Reading::Moment(cutover.confirmed.map(|confirmed| confirmed.at)),
        text: format!("the cutover of {} is confirmed", cutover.domain),
        next: "mailferry batch status shows what the gate still wants".into(),
        facts: about(cutover),
    }
}

fn about(cutover: &Cutover) -> Map<String, Value> {
    facts([
        ("domain", json!(cutover.domain)),
        ("verdict", json!(cutover.verdict)),
        ("since", json!(cutover.since.map(|since| since.at))),
        ("confirmed", json!(cutover.confirmed.map(|confirmed| confirmed.at))),
        ("due", json!(cutover.due)),
        ("reason", json!(cutover.reason)),
    ])
}

fn open(batch: &Batch, gate: &gate::Gate) -> Standing {
    Standing {
        event: Event::GateOpen,
        subject: subject(batch),
        reading: Reading::Count { number: gate.open.into(), pause: SignedDuration::ZERO },
        text: format!("batch {} may be removed: every condition of its gate holds", batch.name),
        next: format!("mailferry batch remove {}", batch.name),
        facts: facts([("batch", json!(batch.name))]),
    }
}

fn needs(batch: &Batch, what: &str, addresses: &[&String], how: String, next: String) -> Standing {
    let named: Vec<&String> = addresses.iter().copied().take(MOST_NAMED).collect();
    Standing {
        event: Event::NeedsHuman,
        subject: format!("{}/{what}", subject(batch)),
        reading: Reading::Count { number: addresses.len() as u64, pause: PAUSE },
        text: format!("{} mailboxes of batch {} {how}", addresses.len(), batch.name),
        next,
        facts: facts([
            ("what", json!(what)),
            ("batch", json!(batch.name)),
            ("mailboxes", json!(addresses.len())),
            ("addresses", json!(named)),
        ]),
    }
}

/// A batch that was removed and added again is another one.
fn subject(batch: &Batch) -> String {
    format!("{}@{}", batch.name, batch.created)
}

fn facts<const N: usize>(facts: [(&str, Value); N]) -> Map<String, Value> {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(state: MailboxState) -> Mailbox {
        Mailbox { state, ..Mailbox::new(MailboxId(7), "B", "a@contoso.edu", "a") }
    }

    #[test]
    fn trouble_counts_when_it_lasts() {
        let mut troubles = Troubles::default();
        let began = Instant::now();
        let mut see = |state, waits, minutes: u64| {
            troubles.see(&mailbox(state), waits, began + Duration::from_secs(60 * minutes))
        };
        assert_eq!(see(MailboxState::Failed, false, 0), None);
        assert_eq!(see(MailboxState::Failed, false, 59), None);
        assert_eq!(see(MailboxState::Syncing, false, 60), Some(Trouble::Failed), "tried again is not well");
        assert_eq!(see(MailboxState::Synced, false, 61), None);
        assert_eq!(see(MailboxState::Failed, false, 62), None, "it was well in between");
        assert_eq!(see(MailboxState::Failed, true, 200), None, "another trouble");
        assert_eq!(see(MailboxState::Failed, true, 200 + 72 * 60), Some(Trouble::Waiting));
        troubles.keep(&BTreeSet::new());
        assert!(troubles.0.is_empty());
    }
}
