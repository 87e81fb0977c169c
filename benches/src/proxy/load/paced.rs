//! How long a client waits for an answer when there is little to do.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use super::At;
use crate::mail::{MESSAGES, Reader, SMALL};

const SESSIONS: usize = 100;

/// How often each of the sessions asks.
const PACE: Duration = Duration::from_millis(200);

/// Waiting times.
#[derive(Debug)]
pub(crate) struct Times {
    sorted: Vec<Duration>,
}

impl Times {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    /// In milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

/// NOOP in many sessions, which take turns.
pub(crate) async fn noop(at: &At<'_>, readers: &[Reader], span: Duration) -> anyhow::Result<Times> {
    let mut sessions = Vec::new();
    for client in 0..SESSIONS {
        let mut session = at.log_in(client, &readers[client % readers.len()]).await?;
        session.select(MESSAGES.folder).await?;
        sessions.push(session);
    }
    let begin = tokio::time::Instant::now() + Duration::from_millis(50);
    let mut clients = JoinSet::new();
    for (client, mut session) in sessions.into_iter().enumerate() {
        clients.spawn(async move {
            let first = begin + PACE * u32::try_from(client)? / u32::try_from(SESSIONS)?;
            let mut pace = interval_at(first, PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut times = Vec::new();
            while begin.elapsed() < span {
                pace.tick().await;
                let asked = Instant::now();
                session.command("NOOP").await?;
                times.push(asked.elapsed());
            }
            session.command("LOGOUT").await?;
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client??);
    }
    Ok(Times::new(times))
}

/// One small message after the other in one session.
pub(crate) async fn fetch(at: &At<'_>, reader: &Reader, span: Duration) -> anyhow::Result<Times> {
    let mut session = at.log_in(0, reader).await?;
    session.select(SMALL.folder).await?;
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < span {
        let uid = times.len() % SMALL.messages + 1;
        let asked = Instant::now();
        session.command(&format!("UID FETCH {uid} (UID FLAGS BODY.PEEK[])")).await?;
        times.push(asked.elapsed());
    }
    session.command("LOGOUT").await?;
    Ok(Times::new(times))
}
