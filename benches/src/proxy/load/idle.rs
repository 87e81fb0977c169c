//! Many sessions that are there and say nothing.

use mailferry_benches::session::Session;
use tokio::task::JoinSet;

use super::At;
use crate::mail::{MESSAGES, Reader};

const AT_ONCE: usize = 16;

/// Opens `count` sessions, logged in and with a folder open. Dropped, they end.
pub(crate) async fn open(at: &At<'_>, readers: &[Reader], count: usize) -> anyhow::Result<Vec<Session>> {
    let mut clients = JoinSet::new();
    for first in 0..AT_ONCE {
        let (way, tls) = (at.way.clone(), at.tls.clone());
        let readers = readers.to_vec();
        clients.spawn(async move {
            let at = At { way: &way, tls: &tls };
            let mut sessions = Vec::new();
            for client in (first..count).step_by(AT_ONCE) {
                let mut session = at.log_in(client / AT_ONCE, &readers[client % readers.len()]).await?;
                session.select(MESSAGES.folder).await?;
                session.rest();
                sessions.push(session);
            }
            anyhow::Ok(sessions)
        });
    }
    let mut sessions = Vec::new();
    while let Some(client) = clients.join_next().await {
        sessions.extend(client??);
    }
    Ok(sessions)
}
