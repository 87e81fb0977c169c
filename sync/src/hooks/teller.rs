//! Tells one hook what it does not know yet, and keeps what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mailferry_ledger::{Ledger, ReadError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::judge::{Judgement, Mark};
use super::{Event, Hook, Scene};

/// The pause after a first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// So many failures in a row: the receiver is away, whatever it is told.
const AWAY: u32 = 3;

/// One hook at work.
pub(crate) struct Teller {
    hook: Hook,
    ledger: Ledger,
    marks: BTreeMap<String, Mark>,
    failures: BTreeMap<String, Failure>,
    /// While the receiver is away nothing is tried before.
    away: Failure,
}

#[derive(Clone, Copy)]
struct Failure {
    times: u32,
    until: Instant,
}

impl Failure {
    fn none() -> Self {
        Self { times: 0, until: Instant::now() }
    }

    fn again(self) -> Self {
        let pause = FIRST_PAUSE * 2u32.saturating_pow(self.times.min(16));
        Self { times: self.times + 1, until: Instant::now() + pause.min(LONGEST_PAUSE) }
    }
}

impl Teller {
    /// With what it was told before.
    pub(crate) fn new(hook: Hook, ledger: Ledger) -> Result<Self, ReadError> {
        let prefix = prefix(&hook.name);
        let mut marks = BTreeMap::new();
        for (name, json) in ledger.facts(&prefix)? {
            // What does not read was not written by us: told once more.
            if let (Some(name), Ok(mark)) = (name.strip_prefix(&prefix), serde_json::from_str(&json)) {
                marks.insert(name.to_owned(), mark);
            }
        }
        Ok(Self { hook, ledger, marks, failures: BTreeMap::new(), away: Failure::none() })
    }

    /// Tells until told to stop. A delivery that is under way then is broken off, and made again after the next start.
    pub(crate) async fn run(mut self, mut scenes: watch::Receiver<Arc<Scene>>, shutdown: CancellationToken) {
        let work = async {
            // The first scene is none: nobody has looked yet.
            if scenes.changed().await.is_err() {
                return;
            }
            loop {
                let scene = scenes.borrow_and_update().clone();
                let again = self.tell(&scene, &scenes).await;
                tokio::select! {
                    changed = scenes.changed() => if changed.is_err() { return },
                    () = until(again) => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Tells what is due, as long as nothing newer is known; returns when something is due again.
    async fn tell(&mut self, scene: &Scene, scenes: &watch::Receiver<Arc<Scene>>) -> Option<Instant> {
        self.forget(scene).await;
        let now = Timestamp::now();
        let mut due = Vec::new();
        for standing in &scene.standings {
            if !self.hook.on.contains(&standing.event) {
                continue;
            }
            let name = standing.name();
            match standing.judge(&self.hook.name, self.marks.get(&name), now) {
                Judgement::Nothing => {
                    self.failures.remove(&name);
                }
                Judgement::Note(mark) => {
                    if let (Kept::Yes, Event::MxChanged) = (self.keep(&name, mark).await, standing.event) {
                        info!(hook = self.hook.name, "A hook hears of this domain's changes from here on.");
                    }
                }
                Judgement::Tell { body, mark } => due.push((name, body, mark)),
            }
        }
        // Whoever failed before lets others go first.
        due.sort_by_key(|(name, ..)| self.failures.get(name).map_or(0, |failure| failure.times));
        let mut again: Option<Instant> = None;
        for (name, body, mark) in due {
            let known = self.failures.get(&name).copied().unwrap_or_else(Failure::none);
            let free = match self.away.times {
                AWAY.. => known.until.max(self.away.until),
                _ => known.until,
            };
            if free > Instant::now() {
                again = Some(again.map_or(free, |again| again.min(free)));
                continue;
            }
            if scenes.has_changed().unwrap_or(false) {
                return Some(Instant::now());
            }
            let event = body["event"].clone();
            let told = match self.hook.deliver(body).await {
                Ok(()) => self.keep(&name, mark).await,
                Err(error) => {
                    warn!(hook = self.hook.name, %event, times = known.times + 1, %error, "A hook was not told.");
                    Kept::No
                }
            };
            match told {
                Kept::Yes => {
                    info!(hook = self.hook.name, %event, "A hook was told.");
                    self.failures.remove(&name);
                    self.away = Failure::none();
                }
                Kept::No => {
                    let failure = known.again();
                    again = Some(again.map_or(failure.until, |again| again.min(failure.until)));
                    self.failures.insert(name, failure);
                    self.away = self.away.again();
                }
            }
        }
        again
    }

    /// What is there no longer may come again under the same name, and is news then.
    async fn forget(&mut self, scene: &Scene) {
        let there: std::collections::BTreeSet<String> =
            scene.standings.iter().map(|standing| standing.name()).collect();
        self.failures.retain(|name, _| there.contains(name));
        let gone: Vec<String> = self.marks.keys().filter(|name| !there.contains(*name)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let mut change = self.ledger.change();
        for name in &gone {
            change.remove_fact(&format!("{}{name}", prefix(&self.hook.name)));
        }
        match change.commit().await {
            Ok(()) => self.marks.retain(|name, _| there.contains(name)),
            Err(error) => warn!(%error, "What a hook was told is not forgotten."),
        }
    }

    async fn keep(&mut self, name: &str, mark: Mark) -> Kept {
        let mut change = self.ledger.change();
        let json = serde_json::to_string(&mark).unwrap_or_default();
        change.put_fact(&format!("{}{name}", prefix(&self.hook.name)), json);
        match change.commit().await {
            Ok(()) => {
                self.marks.insert(name.to_owned(), mark);
                Kept::Yes
            }
            Err(error) => {
                warn!(hook = self.hook.name, %error, "What a hook was told is not kept.");
                Kept::No
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Kept {
    Yes,
    No,
}

/// Forgets what was told to hooks that are not configured any more.
pub(crate) async fn forget_others(ledger: &Ledger, hooks: &[Hook]) {
    let Ok(facts) = ledger.facts("told/") else { return };
    let mut change = ledger.change();
    for (name, _) in facts {
        if !hooks.iter().any(|hook| name.starts_with(&prefix(&hook.name))) {
            change.remove_fact(&name);
        }
    }
    if !change.is_empty()
        && let Err(error) = change.commit().await
    {
        warn!(%error, "What old hooks were told is not forgotten.");
    }
}

/// Names of hooks have no slash.
fn prefix(hook: &str) -> String {
    format!("told/{hook}/")
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
