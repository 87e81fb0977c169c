//! Second and third: FETCH, and the bodies that come.

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
    // A server may work on several FETCHes at once (Dovecot does when its output stalls) and give the later ones' bodies first.
    // Once the last body of those before has begun, nothing can come between.
    while shared.state().awaited > 0 {
        shared.begun.notified().await;
    }
    let set: UidSet = uids.iter().copied().collect();
    {
        let mut state = shared.state();
        state.asked += 1;
        state.awaited = uids.len();
    }
    let tag = writer.fetch_bodies(&set).await.map_err(Trouble::source)?;
    // Before the server can answer. Nobody there: the run is ending, and whoever ended it said why.
    let _ = out.send(Run::Fetch { tag, uids }).await;
    writer.flush().await.map_err(Trouble::source)
}

/// Hands the bodies on, in the order in which they were asked for.
pub(super) async fn read(
    shared: &Shared<'_>,
    reader: &mut Reader,
    mut runs: mpsc::Receiver<Run>,
    out: mpsc::Sender<Piece>,
) {
    let reading = async {
        let mut open = Open::default();
        while let Some(run) = runs.recv().await {
            open.take_in(run);
            while !open.asked.is_empty() {
                if answer(shared, reader, &mut open, &mut runs, &out).await?.is_err() {
                    return Ok(());
                }
            }
            for (uid, body) in std::mem::take(&mut open.spooled) {
                if spooled(shared, uid, &body, &out).await.is_err() {
                    return Ok(());
                }
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

/// What was asked and is not answered: what comes belongs to any of them.
#[derive(Default)]
struct Open {
    asked: Vec<Asked>,
    spooled: Vec<(Uid, Body)>,
}

struct Asked {
    tag: Tag,
    missing: Vec<Uid>,
    unnamed: bool,
}

impl Open {
    fn take_in(&mut self, run: Run) {
        match run {
            Run::Fetch { tag, uids } => self.asked.push(Asked { tag, missing: uids, unnamed: false }),
            Run::Spooled { uid, body } => self.spooled.push((uid, body)),
        }
    }

    fn expects(&self, event: &Event) -> bool {
        match event {
            Event::BodyStart { uid: Some(uid), .. } => {
                self.asked.iter().any(|asked| asked.missing.contains(uid))
            }
            Event::Tagged { tag, .. } => self.asked.iter().any(|asked| asked.tag == *tag),
            Event::BodyStart { uid: None, .. }
            | Event::BodyChunk(_)
            | Event::BodyEnd { .. }
            | Event::Untagged(_)
            | Event::Continue(_)
            | Event::Bye(_) => true,
        }
    }

    /// Whose body this is; one without a UID has a name only where a single one is awaited.
    fn claim(&mut self, uid: Option<Uid>) -> Option<Uid> {
        let Some(uid) = uid else {
            if let [Asked { missing, .. }] = self.asked.as_mut_slice()
                && missing.len() == 1
            {
                return missing.pop();
            }
            self.asked.iter_mut().for_each(|asked| asked.unnamed = true);
            return None;
        };
        self.asked.iter_mut().find_map(|asked| {
            let at = asked.missing.iter().position(|missing| *missing == uid)?;
            Some(asked.missing.remove(at))
        })
    }
}

/// What comes until one of the open FETCHes is answered.
async fn answer(
    shared: &Shared<'_>,
    reader: &mut Reader,
    open: &mut Open,
    runs: &mut mpsc::Receiver<Run>,
    out: &mpsc::Sender<Piece>,
) -> Result<Result<(), Nobody>, Trouble> {
    let mut current: Option<Uid> = None;
    loop {
        let event = reader.next().await.map_err(Trouble::source)?;
        // All that can be answered was told before it was sent; only as far as needed, so that little is asked ahead.
        while !open.expects(&event)
            && let Ok(run) = runs.try_recv()
        {
            open.take_in(run);
        }
        match event {
            Event::BodyStart { uid, size, .. } => {
                current = open.claim(uid);
                if current.is_some() {
                    shared.no_longer_awaited(1);
                }
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
                let Some(at) = open.asked.iter().position(|asked| asked.tag == answered) else { continue };
                let Asked { missing, unnamed, .. } = open.asked.remove(at);
                shared.no_longer_awaited(missing.len());
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

/// One chunk, as soon as the budget allows it.
async fn hand_on(shared: &Shared<'_>, chunk: Bytes, out: &mpsc::Sender<Piece>) -> Result<(), Nobody> {
    let permit = shared.job.budget.part(chunk.len()).await.ok_or(Nobody)?;
    out.send(Piece::Chunk(chunk, permit)).await.map_err(|_| Nobody)
}
