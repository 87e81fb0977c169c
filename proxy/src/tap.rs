//! The tap: overhears one mailbox's session and says what it saw.
//!
//! A pure state machine: bytes of both directions go in, in the order in which they passed (a command before its answer),
//! observations come out. It never guesses: a body is only told with the UID and UIDVALIDITY that the source itself gave,
//! and whatever cannot be framed makes it blind for good. It holds no body: bytes are handed on as they come.
//!
//! Must not know: sockets, the spool, the ledger, time.

mod client;
mod fetch;
mod names;
mod odd;
mod plain;
mod selected;
mod server;
mod transfer;

use std::collections::VecDeque;

use bytes::Bytes;
use mailferry_imap::frame::{FrameError, Framer};
use mailferry_imap::{FolderName, MailboxId, MessageKey, Uid};
use mailferry_spool::{Place, TransferKind};

use client::{Partial, Pending};
use names::Names;
use selected::Selected;
use server::Response;

use crate::watch::MAX_COMMAND_LINE;

/// The most commands that may be unanswered at once; more is no client that we can follow.
const MAX_PENDING: usize = 1_000;

/// The longest line of the source that is followed.
const MAX_LINE: usize = 4 << 20;

/// The largest literal that is kept, where it is no message: names, headers.
const MAX_KEPT: u64 = 64 * 1024;

/// The most bytes that a command or a response may have without its messages.
const MAX_TEXT: usize = 8 << 20;

/// What the tap saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Observed {
    /// A body begins. Its bytes follow as [`Chunk`](Self::Chunk)s of the same number.
    Begin {
        /// The tap's number for this body.
        body: BodyNumber,
        /// How many bytes there will be.
        size: u64,
        /// Which message it seems to be; only [`End`](Self::End) says for sure.
        key: Option<MessageKey>,
    },
    /// Bytes of a body.
    Chunk(BodyNumber, Bytes),
    /// A body is complete and this is its message.
    End(BodyNumber, MessageKey, Way),
    /// A body that nothing can be done with.
    Discard(BodyNumber),
    /// Messages were copied or moved. Says that the folders changed, too.
    Transferred {
        /// Where they were.
        from: Place,
        /// Where they went.
        to: Place,
        /// The UID there and here of each.
        pairs: Vec<(Uid, Uid)>,
        /// Copied or moved.
        kind: TransferKind,
    },
    /// Something in this folder is other than it was.
    FolderChanged(FolderName),
    /// Folders or subscriptions changed.
    FoldersChanged,
    /// The tap sees no more.
    Blind(Blindness),
}

/// Tells bodies of one tap apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct BodyNumber(u64);

/// How a body passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// To the client.
    Fetched,
    /// From the client.
    Appended,
}

/// Why a tap sees no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Blindness {
    /// The relay was faster than the tap.
    Slow,
    /// Compression was agreed on.
    Compressed,
    /// What passed cannot be told into lines and literals.
    Unframable,
    /// More unanswered commands, or larger ones, than are followed.
    TooMuch,
    /// The session logged in as somebody else.
    OtherUser,
}

impl std::fmt::Display for Blindness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Slow => "slow",
            Self::Compressed => "compressed",
            Self::Unframable => "unframable",
            Self::TooMuch => "too much",
            Self::OtherUser => "other user",
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tap {
    mailbox: MailboxId,
    from_client: Framer,
    from_server: Framer,
    /// The command that the client is in the middle of.
    partial: Partial,
    /// The response that the server is in the middle of.
    response: Response,
    pending: VecDeque<Pending>,
    selected: Option<Selected>,
    /// The folder that the SELECT whose answer is coming in opens.
    opening: Option<Selected>,
    /// How often the open folder was left, or its UIDVALIDITY changed.
    openings: u64,
    joins: Vec<fetch::Join>,
    names: Names,
    bodies: u64,
    blind: Option<Blindness>,
    out: Vec<Observed>,
}

impl Tap {
    /// For a session that just logged in.
    pub(crate) fn new(mailbox: MailboxId) -> Self {
        Self {
            mailbox,
            from_client: Framer::client().with_max_line(MAX_COMMAND_LINE),
            from_server: Framer::server().with_max_line(MAX_LINE),
            partial: Partial::default(),
            response: Response::default(),
            pending: VecDeque::new(),
            selected: None,
            opening: None,
            openings: 0,
            joins: Vec::new(),
            names: Names::default(),
            bodies: 0,
            blind: None,
            out: Vec::new(),
        }
    }

    /// Bytes from the client.
    pub(crate) fn on_client(&mut self, mut bytes: Bytes) {
        while self.blind.is_none() {
            match self.from_client.next(&mut bytes) {
                Ok(Some(piece)) => self.on_client_piece(piece),
                Ok(None) => return,
                Err(error) => self.on_unframable(error),
            }
        }
    }

    /// Bytes from the source.
    pub(crate) fn on_server(&mut self, mut bytes: Bytes) {
        while self.blind.is_none() {
            match self.from_server.next(&mut bytes) {
                Ok(Some(piece)) => self.on_server_piece(piece),
                Ok(None) => return,
                Err(error) => self.on_unframable(error),
            }
        }
    }

    /// What was seen since the last call.
    pub(crate) fn take(&mut self) -> Vec<Observed> {
        std::mem::take(&mut self.out)
    }

    /// Sees no more, for this reason or an earlier one.
    pub(crate) fn go_blind(&mut self, why: Blindness) {
        if self.blind.is_none() {
            self.blind = Some(why);
            self.partial = Partial::default();
            self.response = Response::default();
            self.pending.clear();
            self.selected = None;
            self.opening = None;
            self.joins.clear();
            self.out.push(Observed::Blind(why));
        }
    }

    /// The session is over. What the source did with commands that it did not answer is unknown.
    pub(crate) fn on_end(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.hint(pending.kind);
        }
        let partial = std::mem::take(&mut self.partial);
        partial.bodies.into_iter().for_each(|body| self.see(Observed::Discard(body)));
    }

    fn on_unframable(&mut self, error: FrameError) {
        match error {
            FrameError::LineTooLong(_) => self.go_blind(Blindness::TooMuch),
            FrameError::Ambiguous | FrameError::LiteralTooLarge => self.go_blind(Blindness::Unframable),
        }
    }

    fn next_body(&mut self) -> BodyNumber {
        self.bodies += 1;
        BodyNumber(self.bodies)
    }

    fn see(&mut self, observed: Observed) {
        self.out.push(self.names.told(observed));
    }

    /// Hints at a folder; several times in a row once.
    fn folder_changed(&mut self, folder: FolderName) {
        let observed = self.names.told(Observed::FolderChanged(folder));
        if self.out.last() != Some(&observed) {
            self.out.push(observed);
        }
    }

    fn selected_changed(&mut self) {
        if let Some(selected) = &self.selected {
            let folder = selected.folder.clone();
            self.folder_changed(folder);
        }
    }
}

#[cfg(test)]
mod tests;
