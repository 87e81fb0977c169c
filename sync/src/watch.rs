//! The eye on DNS: observes every domain of every batch, time and again, and records what it saw.
//!
//! Observations go into the ledger as they were made, and are thinned out while nothing changes ([`Timeline`]). What the
//! clock must remember is kept by itself ([`Course`]). Beside them a short fact per domain ([`Cutover`]) says since
//! when mail has gone to Office 365 and whether that is confirmed, so that gate, stragglers and status need not read
//! the history. The hosts that a domain's MX named before the change are recorded once: they never count as moved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mailferry_dnscheck::clock::{Rules, STEP};
use mailferry_dnscheck::{Checker, Clock, Course, HostClass, Moment, Observation, Outcome, Policy, Verdict};
use mailferry_ledger::{CommitError, Ledger, Note, ReadError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::csv::domain_of;
use crate::steady;
use crate::timeline::Timeline;

/// Domains that are looked at together; the checker bounds its questions by itself.
const AT_ONCE: usize = 32;

/// How the watch asks and what it demands.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    /// Asks.
    pub checker: Checker,
    /// What the clock demands.
    pub rules: Rules,
    /// Time between observations of a domain at which nothing happens.
    pub interval: Duration,
    /// Source MX hosts that the operator named, beside those that were observed.
    pub old: Vec<String>,
}

/// Where the mail of one domain goes, as last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// The domain, lower case.
    pub domain: String,
    /// The last verdict.
    pub verdict: Verdict,
    /// When it was last observed.
    pub observed: Moment,
    /// When the verdict last changed.
    pub changed: Timestamp,
    /// When mail began to go to Office 365: every server has agreed since.
    pub since: Option<Moment>,
    /// When that had held for the whole waiting time.
    pub confirmed: Option<Moment>,
    /// When it will have, if nothing changes.
    pub due: Option<Timestamp>,
    /// One sentence: why the clock stands where it stands.
    pub reason: String,
}

/// What a domain's MX named before the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldMx {
    /// When that was observed.
    pub at: Timestamp,
    /// The hosts, by name.
    pub hosts: Vec<String>,
}

/// Where the mail of a domain goes; `None` before the first observation.
///
/// # Errors
/// [`ReadError`].
pub fn cutover(ledger: &Ledger, domain: &str) -> Result<Option<Cutover>, ReadError> {
    // A fact that does not read was written by nobody we know: the next observation replaces it.
    Ok(ledger.fact(&cutover_name(domain))?.and_then(|json| serde_json::from_str(&json).ok()))
}

/// What the MX of a domain named before the change, once observed.
///
/// # Errors
/// [`ReadError`].
pub fn old_mx(ledger: &Ledger, domain: &str) -> Result<Option<OldMx>, ReadError> {
    Ok(ledger.fact(&old_mx_name(domain))?.and_then(|json| serde_json::from_str(&json).ok()))
}

/// Every domain of every batch, lower case, in order.
///
/// # Errors
/// [`ReadError`].
pub fn domains(ledger: &Ledger) -> Result<Vec<String>, ReadError> {
    let domains: BTreeSet<String> =
        ledger.all_mailboxes()?.iter().filter_map(|mailbox| domain_of(&mailbox.address)).collect();
    Ok(domains.into_iter().collect())
}

/// This moment, by the clocks that [`Cutover`] is read with.
///
/// # Errors
/// [`ReadError`].
pub fn now(ledger: &Ledger) -> Result<Moment, ReadError> {
    steady::now(ledger)
}

/// What was seen of a domain so far.
///
/// # Errors
/// [`ReadError`].
pub fn timeline(ledger: &Ledger, domain: &str) -> Result<Timeline, ReadError> {
    kept(ledger, &timeline_name(domain))
}

/// What the clock remembers of a domain. Where it has no memory of its own (an earlier version kept none) it begins anew,
/// and only the TTLs of what was observed then count on.
fn course(ledger: &Ledger, domain: &str) -> Result<Course, ReadError> {
    let kept = ledger.fact(&format!("clock/{domain}"))?;
    if let Some(course) = kept.and_then(|json| serde_json::from_str(&json).ok()) {
        return Ok(course);
    }
    let seen = ledger.observations(domain, Timestamp::UNIX_EPOCH)?;
    let ttl = |one: &mailferry_ledger::Observation| {
        // One that does not read may have had any.
        serde_json::from_str::<Observation>(&one.evidence).map_or(Some(u32::MAX), |one| one.other_ttl)
    };
    let longest = seen.iter().filter_map(ttl).max();
    Ok(longest
        .map_or_else(Course::default, |seconds| Course::after(SignedDuration::from_secs(i64::from(seconds)))))
}

/// A fact that may be begun anew: what does not read was written by nobody we know, and the clock then starts again.
fn kept<T: Default + serde::de::DeserializeOwned>(ledger: &Ledger, name: &str) -> Result<T, ReadError> {
    Ok(ledger.fact(name)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

fn timeline_name(domain: &str) -> String {
    format!("timeline/{domain}")
}

fn cutover_name(domain: &str) -> String {
    format!("cutover/{domain}")
}

fn old_mx_name(domain: &str) -> String {
    format!("old-mx/{domain}")
}

/// The watch. One runs for the whole program.
pub(crate) struct Watch {
    ledger: Ledger,
    settings: DnsSettings,
    wake: Notify,
    /// When this watch began; unknown where the ledger does not read.
    began: Option<Moment>,
}

impl Watch {
    pub(crate) fn new(ledger: Ledger, settings: DnsSettings) -> Self {
        let began = steady::now(&ledger).ok();
        Self { ledger, settings, wake: Notify::new(), began }
    }

    /// When a cutover was confirmed, if this watch has seen that it still is: what an earlier run recorded was judged by
    /// the configuration of that time.
    pub(crate) fn confirmed(&self, cutover: &Cutover, now: Moment) -> Option<Moment> {
        let seen = self.began.is_some_and(|began| cutover.observed >= began);
        cutover.confirmed_at(now, &self.settings.rules).filter(|_| seen)
    }

    pub(crate) fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Batches came, started or went: look at all domains at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Observes until told to stop. Several domains at a time: one whose servers are silent delays no other.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut due: BTreeMap<String, Instant> = BTreeMap::new();
        let mut looks = JoinSet::new();
        let mut under_way: BTreeMap<Id, String> = BTreeMap::new();
        self.wake.notify_one();
        loop {
            let next = due.values().min().copied();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => {
                    due = self.all_due();
                    due.retain(|domain, _| !under_way.values().any(|other| other == domain));
                }
                Some(look) = looks.join_next_with_id() => {
                    let (id, observation) = match look {
                        Ok((id, observation)) => (id, Some(observation)),
                        Err(error) => {
                            warn!(%error, "A look at DNS broke down.");
                            (error.id(), None)
                        }
                    };
                    let Some(domain) = under_way.remove(&id) else { continue };
                    let pause = self.looked(&domain, observation).await;
                    due.insert(domain, Instant::now() + pause);
                }
                () = sleep_until(next), if looks.len() < AT_ONCE => {}
            }
            let now = Instant::now();
            let ready: Vec<String> =
                due.iter().filter(|(_, at)| **at <= now).map(|(domain, _)| domain.clone()).collect();
            for domain in ready.into_iter().take(AT_ONCE - looks.len()) {
                match self.old_hosts(&domain) {
                    Ok(old) => {
                        let (checker, name) = (self.settings.checker.clone(), domain.clone());
                        let look = looks.spawn(async move { checker.check(&name, &old).await });
                        due.remove(&domain);
                        under_way.insert(look.id(), domain);
                    }
                    Err(error) => {
                        warn!(%error, "The old MX is not known.");
                        due.insert(domain, now + self.settings.interval);
                    }
                }
            }
        }
    }

    fn all_due(&self) -> BTreeMap<String, Instant> {
        let now = Instant::now();
        match domains(&self.ledger) {
            Ok(domains) => domains.into_iter().map(|domain| (domain, now)).collect(),
            Err(error) => {
                warn!(%error, "The domains are not known.");
                BTreeMap::new()
            }
        }
    }

    /// Records what was seen; returns how long to wait before the next look.
    async fn looked(&self, domain: &str, observation: Option<Observation>) -> Duration {
        let Some(observation) = observation else { return self.settings.interval };
        match self.record(domain, &observation).await {
            Ok(cutover) => pause(&self.settings, &cutover),
            Err(error) => {
                warn!(%error, "An observation is not recorded.");
                self.settings.interval
            }
        }
    }

    fn old_hosts(&self, domain: &str) -> Result<Vec<String>, ReadError> {
        let mut hosts = self.settings.old.clone();
        hosts.extend(old_mx(&self.ledger, domain)?.map(|old| old.hosts).unwrap_or_default());
        Ok(hosts)
    }

    async fn record(&self, domain: &str, observation: &Observation) -> Result<Cutover, RecordError> {
        let before = cutover(&self.ledger, domain)?;
        let rules = &self.settings.rules;
        let mut change = self.ledger.change();
        let steady = steady::stamp(&self.ledger, &mut change)?.steady;
        let mut course = course(&self.ledger, domain)?;
        course.observe(observation, steady, rules);
        let now = Moment { at: observation.at, steady };
        let after = Cutover::new(domain, observation, now, &course.read(now, rules), before.as_ref());
        change.put_fact(&format!("clock/{domain}"), serde_json::to_string(&course)?);

        let mut timeline = timeline(&self.ledger, domain)?;
        for spare in timeline.add(observation) {
            change.remove_observation(domain, spare);
        }
        change.put_fact(&timeline_name(domain), serde_json::to_string(&timeline)?);
        change.put_observation(mailferry_ledger::Observation {
            domain: domain.to_owned(),
            at: observation.at,
            verdict: observation.verdict.to_string(),
            evidence: serde_json::to_string(observation)?,
        });
        change.put_fact(&cutover_name(domain), serde_json::to_string(&after)?);
        if observation.verdict == Verdict::Source && old_mx(&self.ledger, domain)?.is_none() {
            let hosts = source_hosts(observation);
            if !hosts.is_empty() {
                let old = OldMx { at: observation.at, hosts };
                change.put_fact(&old_mx_name(domain), serde_json::to_string(&old)?);
            }
        }
        for what in happened(before.as_ref(), &after) {
            info!("{what}.");
            change.put_note(Note {
                at: observation.at,
                who: "mailferry".into(),
                batch: None,
                address: None,
                what,
                reason: after.reason.clone(),
            });
        }
        change.commit().await?;
        debug!(verdict = %after.verdict, "Observed.");
        Ok(after)
    }
}

#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Cutover {
    fn new(
        domain: &str,
        observation: &Observation,
        observed: Moment,
        clock: &Clock,
        before: Option<&Self>,
    ) -> Self {
        let changed = before
            .filter(|before| before.verdict == observation.verdict)
            .map_or(observation.at, |before| before.changed);
        Self {
            domain: domain.to_owned(),
            verdict: observation.verdict,
            observed,
            changed,
            since: clock.since,
            confirmed: clock.confirmed_at,
            due: clock.since.and_then(|_| observed.at.checked_add(clock.remaining()).ok()),
            reason: clock.reason.clone(),
        }
    }

    /// When the cutover was confirmed, unless nobody has looked for so long that it may have been undone.
    pub fn confirmed_at(&self, now: Moment, rules: &Rules) -> Option<Moment> {
        let unseen = Duration::try_from(now.gap_since(self.observed)).unwrap_or_default();
        // Seen in the future: the wall clock was set back, and does not tell how long ago that was.
        let in_order = self.observed.at.duration_since(now.at) <= STEP;
        self.confirmed.filter(|_| unseen <= rules.max_gap && in_order)
    }
}

/// The MX hosts that nobody could take for Office 365's. One that has its form can be seen in a [`Verdict::Source`]
/// when another host is pinned; were it remembered as old, it would not count once the pin is put right. A source
/// that is Office 365 itself is for the operator to name ([`DnsSettings::old`]).
fn source_hosts(observation: &Observation) -> Vec<String> {
    let by_form = Policy::default();
    let mut hosts = BTreeSet::new();
    for answer in &observation.answers {
        if let Outcome::Records(records) = &answer.outcome {
            let old = records.iter().filter(|record| by_form.classify(&record.host) != HostClass::Office365);
            hosts.extend(old.map(|record| record.host.to_string()));
        }
    }
    hosts.into_iter().collect()
}

/// What is worth a note.
fn happened(before: Option<&Cutover>, after: &Cutover) -> Vec<String> {
    let mut happened = Vec::new();
    let domain = &after.domain;
    match before {
        None => happened.push(format!("mail for {domain}: {}", after.verdict)),
        Some(before) if before.verdict != after.verdict => {
            happened.push(format!("mail for {domain}: {} became {}", before.verdict, after.verdict));
        }
        Some(_) => {}
    }
    let had = |field: fn(&Cutover) -> Option<Moment>| before.is_some_and(|before| field(before).is_some());
    if after.since.is_some() && !had(|cutover| cutover.since) {
        happened.push(format!("mail for {domain} goes to Office 365"));
    }
    if after.since.is_none() && had(|cutover| cutover.since) {
        happened.push(format!(
            "mail for {domain} no longer goes to Office 365 for certain: the clock starts again"
        ));
    }
    if after.confirmed.is_some() && !had(|cutover| cutover.confirmed) {
        happened.push(format!("the cutover of {domain} is confirmed"));
    }
    happened
}

/// How long until the next look: soon while things move, rarely when they are settled, and never so rarely that the
/// clock would take the gap for a break.
fn pause(settings: &DnsSettings, cutover: &Cutover) -> Duration {
    let still = Duration::try_from(cutover.observed.at.duration_since(cutover.changed)).unwrap_or_default();
    let moves = matches!(cutover.verdict, Verdict::Mixed | Verdict::Unknown) || still < settings.interval * 4;
    let pause = if cutover.confirmed.is_some() {
        settings.interval * 4
    } else if moves {
        settings.interval / 3
    } else {
        settings.interval
    };
    pause.min(settings.rules.max_gap / 3).max(Duration::from_millis(200))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
