//! Both bodies of every pair read and compared: both sides at once, many messages to a command, nothing kept of a body but
//! what it says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mailferry_imap::net::{self, Event, Session};
use mailferry_imap::response::{Status, StatusText};
use mailferry_imap::{FolderName, Uid, UidSet};

use super::{Courtesy, Judgement};
use crate::content::{Gist, Reading, compare};
use crate::error::SideError;
use crate::pace::{Meaning, meaning};
use crate::trouble::Trouble;
use crate::worker::{MailboxWorker, PassReport};

/// Pairs that are read before their results are compared, and before somebody else has a turn.
const WINDOW: usize = 500;
/// Messages to a FETCH: the command stays below 4,000 bytes.
const TOGETHER: usize = 100;
/// FETCHes under way at once.
const AHEAD: usize = 2;

impl MailboxWorker {
    /// Judges the pairs of a folder that are not judged yet.
    pub(super) async fn judge(
        &mut self,
        (source_name, target_name): (&FolderName, &FolderName),
        pairs: &[(Uid, Uid)],
        courtesy: Courtesy,
        judged: &mut BTreeMap<(Uid, Uid), Judgement>,
    ) -> Result<(), Trouble> {
        let rest: Vec<(Uid, Uid)> = pairs.iter().filter(|pair| !judged.contains_key(pair)).copied().collect();
        let mut validities = None;
        for window in rest.chunks(WINDOW) {
            self.progress.say("comparing bodies");
            self.make_way();
            if self.target.as_ref().is_some_and(|target| target.is_stale(Timestamp::now())) {
                self.target = None;
            }
            let at_source = self.source().await?.examine(source_name).await?.uid_validity;
            let target = self.target().await?;
            target.forget_selected();
            let on_target = target.session.examine(target_name).await.map_err(Trouble::target)?.uid_validity;
            if *validities.get_or_insert((at_source, on_target)) != (at_source, on_target) {
                return Err(Trouble::Replaced);
            }
            let (Some(source), Some(target)) = (&mut self.source, &mut self.target) else {
                return Err(Trouble::Stopped);
            };
            let sources: UidSet = window.iter().map(|(source, _)| *source).collect();
            let targets: UidSet = window.iter().map(|(_, target)| *target).collect();
            let (ours, theirs) = tokio::join!(
                gists(&mut source.session, &sources, On::Source),
                gists(&mut target.session, &targets, On::Target),
            );
            let (ours, theirs) = (ours?, theirs?);
            for (source, target) in window {
                let judgement = match (ours.get(source), theirs.get(target)) {
                    (Some(one), Some(copy)) => Judgement::Like(compare(one, copy)),
                    (None, _) => Judgement::Gone,
                    (Some(_), None) => Judgement::NotGiven,
                };
                judged.insert((*source, *target), judgement);
            }
            if courtesy == Courtesy::ServeHints {
                self.hints.gather(&self.context.spool, self.mailbox);
                if !self.hints.is_empty() {
                    Box::pin(self.serve_hints(&mut PassReport::default())).await?;
                }
            }
        }
        Ok(())
    }
}

/// Whose words are heard.
#[derive(Clone, Copy)]
enum On {
    Source,
    Target,
}

impl On {
    fn trouble(self, error: net::Error) -> Trouble {
        match self {
            Self::Source => Trouble::source(error),
            Self::Target => Trouble::target(error),
        }
    }

    /// That some messages are refused is told by their absence; a refusal of everything ends the reading.
    fn heard(self, text: &StatusText) -> Result<(), Trouble> {
        match (self, text.status, meaning(text.code.as_ref(), &text.text)) {
            (Self::Source, ..) | (Self::Target, Status::Ok, _) => Ok(()),
            (Self::Target, _, Meaning::Throttled(stated)) => {
                Err(Trouble::Throttled { stated, text: text.text.clone() })
            }
            (Self::Target, _, Meaning::TokenExpired) => Err(Trouble::TokenExpired),
            (Self::Target, _, Meaning::Unavailable) => {
                Err(Trouble::Target(SideError::Other(text.text.clone())))
            }
            (Self::Target, _, Meaning::Full | Meaning::NoFolder | Meaning::TooLarge | Meaning::Item) => {
                Ok(())
            }
        }
    }
}

/// What these messages of the open folder say; those that the server does not give are left out.
async fn gists(session: &mut Session, uids: &UidSet, on: On) -> Result<BTreeMap<Uid, Gist>, Trouble> {
    let trouble = |error| on.trouble(error);
    let (writer, reader) = session.halves();
    let all: Vec<Uid> = uids.iter().collect();
    let mut chunks = all.chunks(TOGETHER);
    let mut open = 0;
    let mut current: Option<(Option<Uid>, Reading)> = None;
    let mut found = BTreeMap::new();
    loop {
        while open < AHEAD
            && let Some(chunk) = chunks.next()
        {
            writer.fetch_bodies(&chunk.iter().copied().collect()).await.map_err(trouble)?;
            open += 1;
        }
        if open == 0 {
            return Ok(found);
        }
        writer.flush().await.map_err(trouble)?;
        match reader.next().await.map_err(trouble)? {
            Event::BodyStart { uid, .. } => current = Some((uid, Reading::new())),
            Event::BodyChunk(bytes) => {
                if let Some((_, reading)) = &mut current {
                    reading.feed(&bytes);
                }
            }
            Event::BodyEnd { fetched } => {
                if let Some((uid, reading)) = current.take()
                    && let Some(uid) = fetched.uid.or(uid).filter(|uid| uids.contains(*uid))
                {
                    found.insert(uid, reading.end());
                }
            }
            Event::Tagged { text, .. } => {
                open -= 1;
                on.heard(&text)?;
            }
            Event::Untagged(_) | Event::Continue(_) | Event::Bye(_) => {}
        }
    }
}
