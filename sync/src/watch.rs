//! The eye on DNS: observes every domain of every batch, time and again, and records what it saw.
//!
//! Observations go into the ledger as they were made. Beside them a short fact per domain ([`Cutover`]) says since
//! when mail has gone to Office 365 and whether that is confirmed, so that gate, stragglers and status need not read
//! the history. The hosts that a domain's MX named before the change are recorded once: they never count as moved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mailferry_dnscheck::clock::{self, Rules};
use mailferry_dnscheck::{Checker, Clock, HostClass, Observation, Outcome, Policy, Verdict};
use mailferry_ledger::{CommitError, Ledger, Note, ReadError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::csv::domain_of;

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
    pub observed: Timestamp,
    /// When the verdict last changed.
    pub changed: Timestamp,
    /// When mail began to go to Office 365: every server has agreed since.
    pub since: Option<Timestamp>,
    /// When that had held for the whole waiting time.
    pub confirmed: Option<Timestamp>,
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
}

impl Watch {
    pub(crate) fn new(ledger: Ledger, settings: DnsSettings) -> Self {
        Self { ledger, settings, wake: Notify::new() }
    }

    pub(crate) fn rules(&self) -> Rules {
        self.settings.rules
    }

    pub(crate) fn interval(&self) -> Duration {
        self.settings.interval
    }

    /// Batches came, started or went: look at all domains at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Observes until told to stop.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut due: BTreeMap<String, Instant> = BTreeMap::new();
        self.wake.notify_one();
        loop {
            let next = due.values().min().copied();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => due = self.all_due(),
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            let ready: Vec<String> =
                due.iter().filter(|(_, at)| **at <= now).map(|(domain, _)| domain.clone()).collect();
            for domain in ready {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    pause = self.observe(&domain) => { due.insert(domain, Instant::now() + pause); }
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

    /// Looks once and records; returns how long to wait before the next look.
    async fn observe(&self, domain: &str) -> Duration {
        let old = match self.old_hosts(domain) {
            Ok(old) => old,
            Err(error) => {
                warn!(%error, "The old MX is not known.");
                return self.settings.interval;
            }
        };
        let observation = self.settings.checker.check(domain, &old).await;
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
        let history = self.history(domain, before.as_ref(), observation)?;
        let clock = clock::read(&history, &self.settings.rules, observation.at);
        let after = Cutover::new(domain, observation, &clock, before.as_ref());

        let mut change = self.ledger.change();
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

    /// As much of the past as the clock can need: what holds since `since`, and the old record's TTL before it.
    fn history(
        &self,
        domain: &str,
        before: Option<&Cutover>,
        observation: &Observation,
    ) -> Result<Vec<Observation>, ReadError> {
        let run = before.and_then(|before| before.since).unwrap_or(observation.at);
        let from = run.checked_sub(SignedDuration::from_hours(8 * 24)).unwrap_or(Timestamp::MIN);
        let recorded = self.ledger.observations(domain, from)?;
        let mut history: Vec<Observation> =
            recorded.iter().filter_map(|one| serde_json::from_str(&one.evidence).ok()).collect();
        history.push(observation.clone());
        Ok(history)
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
    fn new(domain: &str, observation: &Observation, clock: &Clock, before: Option<&Self>) -> Self {
        let changed = before
            .filter(|before| before.verdict == observation.verdict)
            .map_or(observation.at, |before| before.changed);
        Self {
            domain: domain.to_owned(),
            verdict: observation.verdict,
            observed: observation.at,
            changed,
            since: clock.since,
            confirmed: clock.confirmed_at,
            due: clock.since.and_then(|since| since.checked_add(clock.required).ok()),
            reason: clock.reason.clone(),
        }
    }

    /// When the cutover was confirmed, unless nobody has looked for so long that it may have been undone.
    pub fn confirmed_at(&self, now: Timestamp, rules: &Rules) -> Option<Timestamp> {
        let unseen = Duration::try_from(now.duration_since(self.observed)).unwrap_or_default();
        self.confirmed.filter(|_| unseen <= rules.max_gap)
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
    let had = |field: fn(&Cutover) -> Option<Timestamp>| before.is_some_and(|before| field(before).is_some());
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
    let still = Duration::try_from(cutover.observed.duration_since(cutover.changed)).unwrap_or_default();
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
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn cutover(verdict: Verdict) -> Cutover {
        Cutover {
            domain: "contoso.edu".into(),
            verdict,
            observed: at(100_000),
            changed: at(0),
            since: None,
            confirmed: None,
            due: None,
            reason: String::new(),
        }
    }

    fn settings() -> DnsSettings {
        DnsSettings {
            checker: Checker::new(mailferry_dnscheck::Config::default()),
            rules: Rules::default(),
            interval: Duration::from_secs(900),
            old: Vec::new(),
        }
    }

    #[test]
    fn the_eye_is_quick_while_things_move() {
        let minutes = |cutover: &Cutover| pause(&settings(), cutover).as_secs() / 60;
        assert_eq!(minutes(&cutover(Verdict::Source)), 15);
        assert_eq!(minutes(&cutover(Verdict::Mixed)), 5);
        assert_eq!(minutes(&cutover(Verdict::Unknown)), 5);
        assert_eq!(minutes(&Cutover { changed: at(99_000), ..cutover(Verdict::Office365) }), 5);
        assert_eq!(minutes(&cutover(Verdict::Office365)), 15);
        assert_eq!(minutes(&Cutover { confirmed: Some(at(1)), ..cutover(Verdict::Office365) }), 60);
        let rare = DnsSettings { interval: Duration::from_secs(86_400), ..settings() };
        assert_eq!(pause(&rare, &cutover(Verdict::Source)), Duration::from_secs(7200));
    }

    #[test]
    fn what_happens_is_noted_once() {
        let source = cutover(Verdict::Source);
        let moved = Cutover { since: Some(at(5)), ..cutover(Verdict::Office365) };
        let confirmed = Cutover { confirmed: Some(at(9)), ..moved.clone() };
        assert_eq!(happened(None, &source), ["mail for contoso.edu: source"]);
        assert!(happened(Some(&source), &source).is_empty());
        assert_eq!(
            happened(Some(&source), &moved),
            ["mail for contoso.edu: source became office365", "mail for contoso.edu goes to Office 365"]
        );
        assert_eq!(happened(Some(&moved), &confirmed), ["the cutover of contoso.edu is confirmed"]);
        assert_eq!(happened(Some(&confirmed), &source).len(), 2);
    }

    /// What two servers say where the pin names a host that neither has.
    fn observation(hosts: &[&str]) -> Observation {
        let records: Vec<_> =
            hosts.iter().map(|host| serde_json::json!({"preference": 0, "host": host, "ttl": 60})).collect();
        let answer = serde_json::json!({
            "role": "authoritative", "server": "ns1.contoso.edu", "address": null, "name": "contoso.edu",
            "transport": "udp", "authoritative": true, "outcome": {"records": records}, "ttl": 60,
        });
        let observation = serde_json::json!({
            "domain": "contoso.edu", "at": at(0), "answers": [answer, answer], "verdict": "source",
            "reasons": [],
        });
        serde_json::from_value(observation).unwrap()
    }

    #[tokio::test]
    async fn wrong_pin_does_not_make_office_365_old() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap().ledger;
        let watch = Watch::new(ledger.clone(), settings());
        let office_365 = "Contoso-Edu.mail.protection.outlook.com";
        watch.record("contoso.edu", &observation(&[office_365])).await.unwrap();
        assert_eq!(old_mx(&ledger, "contoso.edu").unwrap(), None, "nothing of the source's was seen yet");
        watch.record("contoso.edu", &observation(&["Mail.contoso.edu.", office_365])).await.unwrap();
        assert_eq!(watch.old_hosts("contoso.edu").unwrap(), ["mail.contoso.edu"]);
        // Once is enough: what comes later may be the target's.
        watch.record("contoso.edu", &observation(&["mx.fabrikam.com"])).await.unwrap();
        assert_eq!(watch.old_hosts("contoso.edu").unwrap(), ["mail.contoso.edu"]);
    }

    #[test]
    fn a_confirmation_that_nobody_looks_after_is_none() {
        let confirmed = Cutover { confirmed: Some(at(9)), ..cutover(Verdict::Office365) };
        let rules = Rules::default();
        assert_eq!(confirmed.confirmed_at(at(100_000 + 6 * 3600), &rules), Some(at(9)));
        assert_eq!(confirmed.confirmed_at(at(100_001 + 6 * 3600), &rules), None);
    }
}
