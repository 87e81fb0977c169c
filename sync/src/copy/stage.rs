//! First: which messages go next, and their intents.

use mailferry_imap::{MessageKey, UidSet};
use mailferry_ledger::{Fingerprint, Intent, MessageState};
use tokio::sync::mpsc;

use super::{Item, Sent, Shared, Staged, WINDOW_BYTES, WINDOW_MESSAGES};
use crate::trouble::Trouble;

/// An intent is noted before the header was seen; who needs the print asks the source for it.
const UNKNOWN: Fingerprint = Fingerprint([0; 16]);

/// Makes windows: bodies out of the spool, intents durable, then on with them.
pub(super) async fn stage(shared: &Shared<'_>, todo: &UidSet, out: mpsc::Sender<Vec<Item>>) {
    let mut rest = todo.iter().peekable();
    let mut first = true;
    while rest.peek().is_some() {
        // The first window always goes, so that every run comes forward.
        if !first && (shared.job.interrupt)() {
            shared.state().pumped.interrupted = true;
            return;
        }
        first = false;
        match window(shared, &mut rest).await {
            Ok(window) if window.is_empty() => {}
            Ok(window) => {
                if shared.halt.is_cancelled() || out.send(window).await.is_err() {
                    return;
                }
            }
            Err(trouble) => return shared.stop(trouble),
        }
    }
}

async fn window(
    shared: &Shared<'_>,
    rest: &mut std::iter::Peekable<impl Iterator<Item = mailferry_imap::Uid> + Send>,
) -> Result<Vec<Item>, Trouble> {
    let job = shared.job;
    let (mailbox, folder) = (job.folder.mailbox, job.folder.id);
    let mut change = job.ledger.change();
    let mut window = Vec::new();
    let mut staged = Vec::new();
    let mut bytes = 0;
    let target_uid_next = job.uid_next.max(shared.state().highest.saturating_add(1));
    while window.len() < WINDOW_MESSAGES
        && let Some(uid) = rest.peek().copied()
    {
        let message = job.ledger.message(mailbox, folder, uid)?;
        let Some(message) = message.filter(|message| message.state == MessageState::Pending) else {
            rest.next();
            continue;
        };
        if !window.is_empty() && bytes + message.size > WINDOW_BYTES {
            break;
        }
        rest.next();
        bytes += message.size;
        let key = MessageKey {
            mailbox,
            folder: job.folder.source.clone(),
            validity: job.folder.source_validity,
            uid,
        };
        change.note_intent(
            mailbox,
            folder,
            uid,
            Intent { target_uid_next, print: UNKNOWN, size: message.size, date: message.date },
        );
        // A source may store what a client appends otherwise than it was sent: another size is another message.
        let body = job.spool.take(&key).filter(|body| body.size() == message.size);
        window.push(Item { uid, body });
        staged.push((uid, Staged { message, sent: Sent::NotYet }));
    }
    if !window.is_empty() {
        // Staged first: should the outcome of the commit be unknown, the intents are taken back all the same.
        shared.state().staged.extend(staged);
        change.commit().await?;
    }
    Ok(window)
}
