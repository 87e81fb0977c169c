//! What is known to have changed in one mailbox: bounded, coarser when there is too much of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailferry_imap::{FolderName, MessageKey};
use tokio::sync::Notify;

use crate::{Transfer, TransferKind};

/// More changed folders than this are told as "everything".
const MAX_FOLDERS: usize = 1_000;

/// More bodies than this are told as their folders; the bodies stay to be taken by key.
const MAX_BODIES: usize = 10_000;

/// More transferred messages than this are told as their folders.
const MAX_TRANSFERRED: usize = 50_000;

#[derive(Default, Debug)]
pub(crate) struct Hints {
    pub(crate) everything: bool,
    pub(crate) folders_changed: bool,
    folders: BTreeSet<FolderName>,
    transfers: Vec<Transfer>,
    /// Messages in them.
    transferred: usize,
    bodies: Vec<MessageKey>,
    pub(crate) notify: Arc<Notify>,
}

/// What [`Hints::drain`] hands out.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) everything: bool,
    pub(crate) folders_changed: bool,
    pub(crate) folders: BTreeSet<FolderName>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) bodies: Vec<MessageKey>,
}

impl Hints {
    pub(crate) fn add_folder(&mut self, folder: FolderName) {
        if self.everything {
            return;
        }
        self.folders.insert(folder);
        if self.folders.len() > MAX_FOLDERS {
            self.set_everything();
        }
    }

    pub(crate) fn add_transfer(&mut self, transfer: Transfer) {
        if transfer.kind == TransferKind::Move {
            self.add_folder(transfer.from.folder.clone());
        }
        self.add_folder(transfer.to.folder.clone());
        // Each costs a little by itself, however few messages it has.
        let transferred = self.transferred + transfer.pairs.len().max(10);
        if transferred <= MAX_TRANSFERRED {
            self.transferred = transferred;
            self.transfers.push(transfer);
        }
    }

    pub(crate) fn add_body(&mut self, key: MessageKey) {
        if self.bodies.len() < MAX_BODIES {
            self.bodies.push(key);
        } else {
            self.add_folder(key.folder);
        }
    }

    /// Covers all folders; bodies and transfers are still told, they save fetching.
    pub(crate) fn set_everything(&mut self) {
        self.everything = true;
        self.folders.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.everything
            && !self.folders_changed
            && self.folders.is_empty()
            && self.transfers.is_empty()
            && self.bodies.is_empty()
    }

    pub(crate) fn drain(&mut self) -> Drained {
        Drained {
            everything: std::mem::take(&mut self.everything),
            folders_changed: std::mem::take(&mut self.folders_changed),
            folders: std::mem::take(&mut self.folders),
            transfers: {
                self.transferred = 0;
                std::mem::take(&mut self.transfers)
            },
            bodies: std::mem::take(&mut self.bodies),
        }
    }
}
