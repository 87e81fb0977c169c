//! Second and third: FETCH, and the bodies that come.

use std::sync::Arc;

use bytes::Bytes;
use mailferry_imap::net::{Event, Reader, Tag, Writer};
use mailferry_imap::{Uid, UidSet};
use mailferry_spool::Body;
use tokio::sync::mpsc;

use super::{Asking, Item, Origin, Piece, Run, Shared};
use crate::trouble::Trouble;

/// Writer and reader of the pieces are gone: there is nobody to read for.
struct Nobody;

/// Asks for what the spool does not have.
pub(super) async fn ask(
    shared: &Shared<'_>,
    writer: &mut Writer,
    mut windows: mpsc::Receiver<Vec<Item>>,
    out: mpsc::Sender<Run>,
) {
    let asking = async {
        while let Some(window) = windows.recv().await {
            let mut together = Vec::new();
            for item in window {
                match item.body {
                    None => {
                        together.push(item.uid);
                        if shared.job.asking == Asking::Singly {
                            fetch(shared, writer, std::mem::take(&mut together), &out).await?;
                        }
                    }
                    Some(body) => {
                        fetch(shared, writer, std::mem::take(&mut together), &out).await?;
                        if out.send(Run::Spooled { uid: item.uid, body }).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            fetch(shared, writer, together, &out).await?;
        }
        Ok::<(), Trouble>(())
    };
    let result = tokio::select! {
        result = asking => result,
        () = out.closed() => Ok(()),
    };
    if let Err(trouble) = result {
        shared.stop(trouble);
    }
}

async fn fetch(
    shared: &Shared<'_>,
    writer: &mut Writer,
    uids: Vec<Uid>,
    out: &mpsc::Sender<Run>,
) -> Result<(), Trouble> {
    if uids.is_empty() {
        return Ok(());
    }
    let set: UidSet = uids.iter().copied().collect();
    shared.state().asked += 1;
    let tag = writer.fetch_bodies(&set).await.map_err(Trouble::source)?;
    writer.flush().await.map_err(Trouble::source)?;
    // Nobody there: the run is ending, and whoever ended it said why.
    let _ = out.send(Run::Fetch { tag, uids }).await;
    Ok(())
}

/// Hands the bodies on, in the order in which they were asked for.
pub(super) async fn read(
    shared: &Shared<'_>,
    reader: &mut Reader,
    mut runs: mpsc::Receiver<Run>,
    out: mpsc::Sender<Piece>,
) {
    let reading = async {
        while let Some(run) = runs.recv().await {
            let handed = match run {
                Run::Fetch { tag, uids } => answer(shared, reader, tag, uids, &out).await?,
                Run::Spooled { uid, body } => spooled(shared, uid, &body, &out).await,
            };
            if handed.is_err() {
                return Ok(());
            }
        }
        Ok::<(), Trouble>(())
    };
    let result = tokio::select! {
        result = reading => result,
        () = out.closed() => Ok(()),
    };
    if let Err(trouble) = result {
        shared.stop(trouble);
        // A writer amid a body learns that the rest will not come.
        let _ = out.send(Piece::Broken).await;
    }
}

/// The answer to one FETCH.
async fn answer(
    shared: &Shared<'_>,
    reader: &mut Reader,
    tag: Tag,
    mut missing: Vec<Uid>,
    out: &mpsc::Sender<Piece>,
) -> Result<Result<(), Nobody>, Trouble> {
    let mut unnamed = false;
    let mut current: Option<Uid> = None;
    loop {
        match reader.next().await.map_err(Trouble::source)? {
            Event::BodyStart { uid, size, .. } => {
                let uid = match (uid, missing.as_slice()) {
                    (None, [only]) => Some(*only),
                    (None, _) => {
                        unnamed = true;
                        None
                    }
                    (uid, _) => uid,
                };
                let wanted = uid.and_then(|uid| missing.iter().position(|missing| *missing == uid));
                current = wanted.map(|at| missing.remove(at));
                if let Some(uid) = current
                    && out.send(Piece::Start { uid, size, origin: Origin::Source }).await.is_err()
                {
                    return Ok(Err(Nobody));
                }
            }
            Event::BodyChunk(chunk) => {
                if current.is_some() && hand_on(shared, chunk, out).await.is_err() {
                    return Ok(Err(Nobody));
                }
            }
            Event::BodyEnd { fetched } => {
                let Some(uid) = current.take() else { continue };
                // Told only after the body, and it is another one: what was begun must not be ended.
                let end =
                    if fetched.uid.is_some_and(|told| told != uid) { Piece::Broken } else { Piece::End };
                if out.send(end).await.is_err() {
                    return Ok(Err(Nobody));
                }
            }
            Event::Tagged { tag: answered, text } => {
                if answered != tag {
                    continue;
                }
                let mut state = shared.state();
                state.answered += 1;
                if unnamed {
                    state.pumped.unnamed.extend(missing);
                } else {
                    let words = if super::is_refusal(&text) { text.text } else { "not given".to_owned() };
                    state.pumped.not_given.extend(missing.into_iter().map(|uid| (uid, words.clone())));
                }
                return Ok(Ok(()));
            }
            Event::Untagged(_) | Event::Continue(_) | Event::Bye(_) => {}
        }
    }
}

async fn spooled(
    shared: &Shared<'_>,
    uid: Uid,
    body: &Body,
    out: &mpsc::Sender<Piece>,
) -> Result<(), Nobody> {
    let send = async |piece| out.send(piece).await.map_err(|_| Nobody);
    let mut reader = body.open();
    // The first bytes before the start: a body that cannot be read at all is asked of the source in the next run.
    let Ok(mut chunk) = reader.next_chunk().await else {
        shared.state().pumped.unnamed.insert(uid);
        return Ok(());
    };
    send(Piece::Start { uid, size: body.size(), origin: Origin::Spool }).await?;
    while let Some(bytes) = chunk {
        hand_on(shared, bytes, out).await?;
        chunk = match reader.next_chunk().await {
            Ok(chunk) => chunk,
            Err(_) => return send(Piece::Broken).await,
        };
    }
    send(Piece::End).await
}

/// One chunk, as soon as the budget allows it. A chunk above the whole budget takes all of it.
async fn hand_on(shared: &Shared<'_>, chunk: Bytes, out: &mpsc::Sender<Piece>) -> Result<(), Nobody> {
    let kib = u32::try_from(chunk.len() / 1024 + 1).unwrap_or(u32::MAX).min(shared.budget_size);
    let permit = Arc::clone(&shared.budget).acquire_many_owned(kib).await.map_err(|_| Nobody)?;
    out.send(Piece::Chunk(chunk, permit)).await.map_err(|_| Nobody)
}
