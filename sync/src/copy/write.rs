//! Fourth and fifth: APPEND, and what the target answers.

use bytes::Bytes;
use mailferry_imap::Uid;
use mailferry_imap::net::{self, Append, Event, Reader, Writer};
use mailferry_imap::response::{Status, StatusText};
use mailferry_ledger::SkipReason;
use tokio::sync::mpsc;

use super::{Flight, Origin, Outcome, Piece, Sent, Shared, is_refusal, told_uid};
use crate::error::SideError;
use crate::pace::{Meaning, meaning};
use crate::print::HeaderTap;
use crate::skipped::facts_of;
use crate::trouble::Trouble;

/// How much of a header is kept for the account of a message that might be refused.
const KEPT_HEADER: usize = 8 * 1024;

/// What becomes of the body that is coming.
enum Body {
    /// None is.
    None,
    /// It is being sent.
    Open { uid: Uid, tap: HeaderTap },
    /// The target refused it before a byte of it left.
    Unwanted,
    /// It is above the limit, whatever the source said its size was.
    TooLarge { uid: Uid, size: u64, tap: HeaderTap },
}

/// Sends what comes, without waiting for answers.
pub(super) async fn write(
    shared: &Shared<'_>,
    writer: &mut Writer,
    pieces: mpsc::Receiver<Piece>,
    outcomes: mpsc::Sender<Outcome>,
) {
    let result = tokio::select! {
        biased;
        () = shared.dead.cancelled() => Ok(()),
        result = send_all(shared, writer, pieces, &outcomes) => result,
    };
    if let Err(trouble) = result {
        shared.stop(trouble);
    }
    shared.state().written = true;
    shared.moved.notify_one();
}

async fn send_all(
    shared: &Shared<'_>,
    writer: &mut Writer,
    mut pieces: mpsc::Receiver<Piece>,
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), Trouble> {
    let mut body = Body::None;
    loop {
        let piece = match pieces.try_recv() {
            Ok(piece) => Some(piece),
            Err(_) => {
                writer.flush().await.map_err(Trouble::target)?;
                let idle = matches!(body, Body::None);
                tokio::select! {
                    piece = pieces.recv() => piece,
                    () = shared.halt.cancelled(), if idle => None,
                }
            }
        };
        body = match (piece, body) {
            (None, body) => {
                spoil_if_open(shared, &body);
                return writer.flush().await.map_err(Trouble::target);
            }
            (Some(Piece::Broken), body) => {
                spoil_if_open(shared, &body);
                shared.halt.cancel();
                return Ok(());
            }
            (Some(Piece::Start { uid, size, origin }), _) => {
                if shared.halt.is_cancelled() {
                    return writer.flush().await.map_err(Trouble::target);
                }
                begin(shared, writer, uid, size, origin).await?
            }
            (Some(Piece::Chunk(bytes, _permit)), mut body) => {
                match &mut body {
                    Body::Open { tap, .. } => {
                        tap.feed(&bytes);
                        writer.chunk(&bytes).await.map_err(Trouble::target)?;
                    }
                    Body::TooLarge { tap, .. } => tap.feed(&bytes),
                    Body::None | Body::Unwanted => {}
                }
                body
            }
            (Some(Piece::End), body) => {
                end(shared, writer, body, outcomes).await?;
                Body::None
            }
        };
    }
}

/// A body that was begun will not be ended: only dropping the connection keeps the target from taking half of it.
fn spoil_if_open(shared: &Shared<'_>, body: &Body) {
    if matches!(body, Body::Open { .. }) {
        let mut state = shared.state();
        state.pumped.target_spoilt = true;
        // Its answer will never come. It is the last flight that is not whole.
        state.flights.retain(|flight| flight.sent == Sent::Whole);
    }
}

async fn begin(
    shared: &Shared<'_>,
    writer: &mut Writer,
    uid: Uid,
    size: u64,
    origin: Origin,
) -> Result<Body, Trouble> {
    let job = shared.job;
    if size > job.limits.max_message_bytes {
        return Ok(Body::TooLarge { uid, size, tap: HeaderTap::default() });
    }
    let facts = shared
        .state()
        .staged
        .get(&uid)
        .map(|staged| (staged.message.flags.without_keywords(), staged.message.date));
    let Some((flags, date)) = facts else { return Ok(Body::Unwanted) };
    if shared.places.available_permits() == 0 {
        writer.flush().await.map_err(Trouble::target)?;
    }
    if let Ok(place) = shared.places.acquire().await {
        place.forget(); // Given back with the answer.
    }
    let append =
        writer.append(&job.folder.target, &flags, Some(date), size).await.map_err(Trouble::target)?;
    let (tag, body) = match append {
        Append::Open(tag) => (tag, Body::Open { uid, tap: HeaderTap::default() }),
        Append::Refused(tag) => (tag, Body::Unwanted),
    };
    let flight = Flight { tag, uid, size, origin, sent: Sent::NotYet, print: None, facts: None };
    let early = {
        let mut state = shared.state();
        let early = state.early.remove(&tag);
        match &early {
            None => {
                state.flights.push_back(flight);
                None
            }
            Some(_) => early.map(|text| (flight, text)),
        }
    };
    shared.moved.notify_one();
    if let Some((flight, text)) = early {
        shared.places.add_permits(1);
        refused(shared, flight, &text);
        return Ok(Body::Unwanted);
    }
    Ok(body)
}

async fn end(
    shared: &Shared<'_>,
    writer: &mut Writer,
    body: Body,
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), Trouble> {
    match body {
        Body::None | Body::Unwanted => {}
        Body::Open { uid, tap } => {
            let header = tap.header();
            let print = tap.print();
            let kept = Bytes::copy_from_slice(&header[..header.len().min(KEPT_HEADER)]);
            {
                let mut state = shared.state();
                if let Some(flight) = state.flights.iter_mut().rev().find(|flight| flight.uid == uid) {
                    flight.sent = Sent::Whole;
                    flight.print = Some(print);
                    flight.facts = Some(kept);
                }
                if let Some(staged) = state.staged.get_mut(&uid) {
                    staged.sent = Sent::Whole;
                }
            }
            writer.finish().await.map_err(Trouble::target)?;
        }
        Body::TooLarge { uid, size, tap } => {
            let facts = facts_of(tap.header());
            let _ = outcomes.send(Outcome::Skipped { uid, reason: SkipReason::TooLarge, size, facts }).await;
        }
    }
    Ok(())
}

/// Hears the answers until all are there.
pub(super) async fn collect(shared: &Shared<'_>, reader: &mut Reader, outcomes: mpsc::Sender<Outcome>) {
    loop {
        let (open, written) = {
            let state = shared.state();
            (!state.flights.is_empty(), state.written)
        };
        if written && !open {
            return;
        }
        let event = tokio::select! {
            event = reader.next() => event,
            () = shared.moved.notified() => continue,
        };
        match event {
            Ok(Event::Tagged { tag, text }) => {
                let flight = {
                    let mut state = shared.state();
                    let at = state.flights.iter().position(|flight| flight.tag == tag);
                    match at.and_then(|at| state.flights.remove(at)) {
                        Some(flight) => flight,
                        None => {
                            state.early.insert(tag, text);
                            continue;
                        }
                    }
                };
                shared.places.add_permits(1);
                if is_refusal(&text) {
                    refused(shared, flight, &text);
                    continue;
                }
                let target_uid = told_uid(shared.job.folder, &text);
                if let Some(uid) = target_uid {
                    let mut state = shared.state();
                    state.highest = state.highest.max(uid.value());
                }
                let print = flight.print.unwrap_or_else(|| HeaderTap::default().print());
                let outcome = Outcome::Stored {
                    uid: flight.uid,
                    target_uid,
                    size: flight.size,
                    print,
                    origin: flight.origin,
                };
                if outcomes.send(outcome).await.is_err() {
                    return;
                }
            }
            // Whatever is lost is told by the error that follows a BYE.
            Ok(_) => {}
            Err(error) => {
                {
                    let mut state = shared.state();
                    state.pumped.target_spoilt = true;
                    if let net::Error::Bye { text, .. } = &error {
                        state.pumped.closed_on =
                            state.flights.front().map(|flight| (flight.uid, text.clone()));
                    }
                }
                shared.stop(Trouble::target(error));
                shared.dead.cancel();
                return;
            }
        }
    }
}

/// An APPEND was refused: it is certain that nothing was stored.
fn refused(shared: &Shared<'_>, flight: Flight, text: &StatusText) {
    let mut state = shared.state();
    if let Some(staged) = state.staged.get_mut(&flight.uid) {
        staged.sent = Sent::NotYet;
    }
    state.pumped.refusals += 1;
    // Answered before its end was sent, or not understood: what followed may have been taken for commands.
    let out_of_step = flight.sent == Sent::NotYet && flight.size > 0 || text.status == Status::Bad;
    let trouble = match meaning(text.code.as_ref(), &text.text) {
        Meaning::Throttled(stated) => Some(Trouble::Throttled { stated, text: text.text.clone() }),
        Meaning::TokenExpired => Some(Trouble::TokenExpired),
        Meaning::NoFolder => {
            state.pumped.no_folder = true;
            shared.halt.cancel();
            None
        }
        Meaning::Unavailable | Meaning::Full => Some(Trouble::Target(SideError::Other(text.text.clone()))),
        Meaning::TooLarge | Meaning::Item => {
            state.pumped.refused.push((flight.uid, text.text.clone()));
            None
        }
    };
    if let Some(trouble) = trouble {
        shared.halt_for(&trouble);
        state.pumped.note(trouble);
    }
    if flight.sent == Sent::NotYet && flight.size > 0 {
        // The rest of the body must not follow.
        shared.dead.cancel();
    }
    if out_of_step || state.pumped.refusals >= shared.job.refusals_left {
        state.pumped.target_spoilt = true;
        shared.halt.cancel();
    }
}
