//! Login, SELECT, LOGOUT, sixteen at once.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{At, Done};
use crate::mail::{MESSAGES, Reader};

const AT_ONCE: usize = 16;

/// As many sessions as there are in `span`.
pub(crate) async fn at_once(at: &At<'_>, readers: &[Reader], span: Duration) -> anyhow::Result<Done> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..AT_ONCE {
        let (way, tls) = (at.way.clone(), at.tls.clone());
        let reader = readers[client % readers.len()].clone();
        clients.spawn(async move {
            let at = At { way: &way, tls: &tls };
            let mut count = 0;
            while started.elapsed() < span {
                let mut session = at.log_in(client, &reader).await?;
                session.select(MESSAGES.folder).await?;
                session.command("LOGOUT").await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut done = Done { count: 0, bytes: 0, took: Duration::ZERO };
    while let Some(client) = clients.join_next().await {
        done.count += client??;
    }
    done.took = started.elapsed();
    Ok(done)
}
