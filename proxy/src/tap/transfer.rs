//! COPY and MOVE: which message became which, as COPYUID tells it (RFC 4315, RFC 6851).

use mailferry_imap::response::{Code, Status, StatusText};
use mailferry_imap::{FolderName, Uid, UidValidity, set};
use mailferry_spool::{Place, TransferKind};

use super::client::Kind;
use super::{Observed, Tap};

/// The most pairs of one command that are told; of more only the folders are.
const MAX_PAIRS: usize = 20_000;

/// A COPY or MOVE under way.
#[derive(Debug)]
pub(crate) struct Transferring {
    pub(super) to: FolderName,
    pub(super) kind: TransferKind,
    /// The folder that was open when it was sent; `None` where a change of it was under way.
    opened: Option<u64>,
    /// What COPYUID told so far.
    told: Told,
}

#[derive(Debug)]
enum Told {
    Nothing,
    Pairs(UidValidity, Vec<(Uid, Uid)>),
    /// Something that does not fit together.
    Odd,
}

impl Told {
    fn take(&mut self, validity: UidValidity, source: &str, target: &str) {
        let Some(more) = set::exact_pairs(source, target, MAX_PAIRS) else {
            *self = Self::Odd;
            return;
        };
        match self {
            Self::Nothing => *self = Self::Pairs(validity, more),
            Self::Pairs(known, pairs) if *known == validity && pairs.len() + more.len() <= MAX_PAIRS => {
                pairs.extend(more);
            }
            Self::Pairs(..) | Self::Odd => *self = Self::Odd,
        }
    }
}

impl Tap {
    /// A COPY or MOVE was sent.
    pub(super) fn transferring(&self, to: FolderName, kind: TransferKind) -> Transferring {
        let changes = |kind: &Kind| match kind {
            Kind::Select(_) | Kind::Unselect | Kind::Close | Kind::Identity | Kind::Unread => true,
            Kind::Append(..)
            | Kind::Change
            | Kind::Replace(_)
            | Kind::Transfer(_)
            | Kind::Fetch(..)
            | Kind::Folders(_)
            | Kind::Lists
            | Kind::Compress
            | Kind::Other => false,
        };
        let under_way = self.pending.iter().any(|pending| changes(&pending.kind));
        let opened = (!under_way).then_some(self.openings);
        Transferring { to, kind, opened, told: Told::Nothing }
    }

    /// `* OK [COPYUID …]`: of a MOVE, before its EXPUNGEs. It has no tag: told if only one command can be meant.
    pub(super) fn on_copied(&mut self, validity: UidValidity, source: &str, target: &str) {
        let mut under_way: Vec<&mut Transferring> = self
            .pending
            .iter_mut()
            .filter_map(|pending| match &mut pending.kind {
                Kind::Transfer(transferring) => Some(transferring),
                _ => None,
            })
            .collect();
        match under_way.as_mut_slice() {
            [] => {}
            [one] => one.told.take(validity, source, target),
            // Whose it is is open: of none is anything told.
            many => many.iter_mut().for_each(|one| one.told = Told::Odd),
        }
    }

    /// A COPY or MOVE was answered.
    pub(super) fn on_transferred(&mut self, mut transferring: Transferring, answer: &StatusText) {
        if let (Status::Ok, Some(Code::CopyUid(validity, source, target))) = (answer.status, &answer.code) {
            transferring.told.take(*validity, source, target);
        }
        let opened = transferring.opened == Some(self.openings);
        let from = self.selected.as_ref().filter(|_| opened).and_then(|selected| {
            Some(Place { folder: selected.folder.clone(), validity: selected.validity? })
        });
        let Transferring { to, kind, told, .. } = transferring;
        match (answer.status, from, told) {
            (Status::Ok, Some(from), Told::Pairs(validity, pairs)) if !pairs.is_empty() => {
                let to = Place { folder: to.clone(), validity };
                self.see(Observed::Transferred { from, to, pairs, kind });
            }
            (Status::Bad, _, Told::Nothing) => {}
            // A NO may come after half of it was done.
            (_, _, Told::Nothing | Told::Pairs(..) | Told::Odd) => self.hint_transfer(to.clone(), kind),
        }
        self.tell_grown(&to);
        self.tell_shrunk();
    }

    /// Tells the folders of a COPY or MOVE.
    pub(super) fn hint_transfer(&mut self, to: FolderName, kind: TransferKind) {
        if kind == TransferKind::Move {
            self.selected_changed();
        }
        self.folder_changed(to);
    }

    /// Messages of the open folder are gone: news that waits where a MOVE may have taken them away, so that the move is told
    /// first.
    pub(super) fn on_gone(&mut self) {
        let moves = self.pending.iter().any(|pending| match &pending.kind {
            Kind::Transfer(transferring) => transferring.kind == TransferKind::Move,
            _ => false,
        });
        match (&mut self.selected, moves) {
            (Some(selected), true) => selected.shrank = true,
            (Some(_), false) => self.selected_changed(),
            (None, _) => {}
        }
    }

    /// Tells the news that waited for a MOVE.
    pub(super) fn tell_shrunk(&mut self) {
        if self.selected.as_mut().is_some_and(|selected| std::mem::take(&mut selected.shrank)) {
            self.selected_changed();
        }
    }
}
