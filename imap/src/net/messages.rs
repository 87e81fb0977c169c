//! The session's verbs for the messages of the folder that is open.

use super::{Error, Session};
use crate::response::{Code, Fetched, Response};
use crate::token::quote;
use crate::{Flags, FolderName, Uid, UidSet, UidValidity, set};

/// The longest command, in bytes: Exchange refuses 4,096.
const MAX_COMMAND: usize = 3_900;
/// How STORE changes flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// `+FLAGS.SILENT`
    Add,
    /// `-FLAGS.SILENT`
    Remove,
    /// `FLAGS.SILENT`
    Replace,
}

/// One message that was copied or moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transferred {
    /// Its UID in the open folder.
    pub from: Uid,
    /// UIDVALIDITY of the folder that it went to.
    pub validity: UidValidity,
    /// Its UID there.
    pub to: Uid,
}

impl Session {
    /// UID FETCH of facts: `items` is the inside of the parentheses (`UID FLAGS INTERNALDATE RFC822.SIZE`). Sets are
    /// cut into commands below the limit, which are pipelined. Also told: flags that changed meanwhile, which have no
    /// more than that in them. Not for bodies, whose bytes are thrown away here: see [`super::Writer::fetch_bodies`].
    ///
    /// # Errors
    /// A refusal is told when all commands are answered; what came until then was told.
    pub async fn uid_fetch(
        &mut self,
        set: &UidSet,
        items: &str,
        mut on: impl FnMut(Fetched) + Send,
    ) -> Result<(), Error> {
        let items = format!(" ({items})");
        let lines = chunked(set, "UID FETCH ", &items);
        self.pipeline("UID FETCH", lines, |response| {
            if let Response::Fetch(fetched) = response {
                on(*fetched);
            }
        })
        .await
        .map(drop)
    }

    /// UID STORE … .SILENT. With [`StoreKind::Replace`] and no flags all are taken away; else no flags do nothing.
    pub async fn uid_store(&mut self, set: &UidSet, kind: StoreKind, flags: &Flags) -> Result<(), Error> {
        let item = match kind {
            StoreKind::Add => "+FLAGS.SILENT",
            StoreKind::Remove => "-FLAGS.SILENT",
            StoreKind::Replace => "FLAGS.SILENT",
        };
        let flags = flags.to_string();
        if flags.is_empty() && kind != StoreKind::Replace {
            return Ok(());
        }
        let change = format!(" {item} ({flags})");
        let lines = chunked(set, "UID STORE ", &change);
        self.pipeline("UID STORE", lines, |_| {}).await.map(drop)
    }

    /// UID EXPUNGE (UIDPLUS).
    pub async fn uid_expunge(&mut self, set: &UidSet) -> Result<(), Error> {
        let lines = chunked(set, "UID EXPUNGE ", "");
        self.pipeline("UID EXPUNGE", lines, |_| {}).await.map(drop)
    }

    /// UID SEARCH. Its answer may be as long as [`super::Limits::max_line`].
    pub async fn uid_search(&mut self, criteria: &str) -> Result<UidSet, Error> {
        let mut found = UidSet::new();
        let mut unread = false;
        self.run("UID SEARCH", &format!("UID SEARCH {criteria}"), |response| match response {
            Response::Search(uids) => found = found.union(&uids),
            Response::ESearch(search) => found = found.union(&search.all),
            Response::Other(line) => {
                unread |= line.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case(b"* SEARCH"));
            }
            _ => {}
        })
        .await?;
        if unread {
            return Err(self.protocol("a SEARCH response that does not read"));
        }
        Ok(found)
    }

    /// UID COPY; what the server told by COPYUID.
    pub async fn uid_copy(&mut self, set: &UidSet, folder: &FolderName) -> Result<Vec<Transferred>, Error> {
        self.transfer("UID COPY", set, folder).await
    }

    /// UID MOVE (RFC 6851); what the server told by COPYUID.
    pub async fn uid_move(&mut self, set: &UidSet, folder: &FolderName) -> Result<Vec<Transferred>, Error> {
        self.transfer("UID MOVE", set, folder).await
    }

    async fn transfer(
        &mut self,
        verb: &'static str,
        set: &UidSet,
        folder: &FolderName,
    ) -> Result<Vec<Transferred>, Error> {
        let mut name = Vec::new();
        if !quote(folder.wire(), &mut name) {
            return Err(self.misuse("a folder name with a line end"));
        }
        let tail = [b" ".as_slice(), &name].concat();
        let begin = format!("{verb} ");
        let room = MAX_COMMAND.saturating_sub(begin.len() + tail.len()).max(64);
        let lines = set
            .chunks(room)
            .map(|chunk| [begin.as_bytes(), chunk.as_bytes(), &tail].concat())
            .collect::<Vec<_>>();
        let mut moved = Vec::new();
        let mut note = |code: Option<Code>| {
            if let Some(Code::CopyUid(validity, source, target)) = code {
                // No more than we asked for, whatever the server's sets say.
                let asked = usize::try_from(set.len()).unwrap_or(usize::MAX);
                let pairs = set::exact_pairs(&source, &target, asked).unwrap_or_default();
                let ours = pairs.into_iter().filter(|(from, _)| set.contains(*from));
                moved.extend(ours.map(|(from, to)| Transferred { from, validity, to }));
            }
        };
        let answers = self
            .pipeline(verb, lines.into_iter(), |response| {
                if let Response::Status(text) = response {
                    note(text.code);
                }
            })
            .await?;
        answers.into_iter().for_each(|answer| note(answer.code));
        Ok(moved)
    }
}

fn chunked<'a>(set: &'a UidSet, begin: &'a str, end: &'a str) -> impl Iterator<Item = String> + 'a {
    let room = MAX_COMMAND.saturating_sub(begin.len() + end.len() + 16).max(64);
    set.chunks(room).map(move |chunk| format!("{begin}{chunk}{end}"))
}
