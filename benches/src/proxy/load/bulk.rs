//! Much at once: messages read by FETCH, messages written by APPEND.

use std::time::{Duration, Instant};

use mailferry_benches::session::Session;
use tokio::task::JoinSet;

use super::{At, Done};
use crate::mail::{Portions, Reader, UPLOADS};

/// How long is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// Over and over for the given time.
    Repeated,
    /// Every message once.
    Once,
}

/// One session a reader; each reads all of `portions`.
pub(crate) async fn fetch(
    at: &At<'_>,
    readers: &[Reader],
    portions: &Portions,
    span: Duration,
    reading: Reading,
) -> anyhow::Result<Done> {
    let mut sessions = Vec::new();
    for (client, reader) in readers.iter().enumerate() {
        let mut session = at.log_in(client, reader).await?;
        session.select(portions.folder).await?;
        sessions.push(session);
    }
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for mut session in sessions {
        let Portions { messages, portion, .. } = *portions;
        clients.spawn(async move {
            let (mut count, mut bytes, mut from) = (0, 0, 1);
            while from <= messages {
                let to = (from + portion - 1).min(messages);
                bytes += session.command(&format!("UID FETCH {from}:{to} (UID FLAGS BODY.PEEK[])")).await?;
                count += 1;
                from = to + 1;
                match reading {
                    Reading::Repeated if started.elapsed() >= span => break,
                    Reading::Repeated if from > messages => from = 1,
                    Reading::Repeated | Reading::Once => {}
                }
            }
            anyhow::Ok((session, count, bytes))
        });
    }
    finished(started, clients).await
}

/// One session a writer.
pub(crate) async fn append(
    at: &At<'_>,
    writers: &[Reader],
    message: &[u8],
    span: Duration,
) -> anyhow::Result<Done> {
    let mut sessions = Vec::new();
    for (client, writer) in writers.iter().enumerate() {
        sessions.push(at.log_in(client, writer).await?);
    }
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for mut session in sessions {
        let message = message.to_vec();
        clients.spawn(async move {
            let (mut count, mut bytes) = (0, 0);
            while started.elapsed() < span {
                session.append(UPLOADS, &message).await?;
                count += 1;
                bytes += message.len() as u64;
            }
            anyhow::Ok((session, count, bytes))
        });
    }
    finished(started, clients).await
}

async fn finished(
    started: Instant,
    mut clients: JoinSet<anyhow::Result<(Session, u64, u64)>>,
) -> anyhow::Result<Done> {
    let mut done = Done { count: 0, bytes: 0, took: Duration::ZERO };
    let mut sessions = Vec::new();
    while let Some(client) = clients.join_next().await {
        let (session, count, bytes) = client??;
        done.count += count;
        done.bytes += bytes;
        sessions.push(session);
    }
    done.took = started.elapsed();
    for mut session in sessions {
        session.command("LOGOUT").await?;
    }
    Ok(done)
}
