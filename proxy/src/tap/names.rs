//! How folders are written in a session: in modified UTF-7, or as plain UTF-8 once that was enabled (RFC 6855 section 3,
//! RFC 9051 section 5.1). Told are they as the sync knows them, in modified UTF-7.

use mailferry_imap::{Capabilities, FolderName, MessageKey};
use mailferry_spool::Place;

use super::Observed;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Names {
    #[default]
    ModifiedUtf7,
    Utf8,
}

impl Names {
    /// The source says what it enabled.
    pub(super) fn on_enabled(&mut self, enabled: &Capabilities) {
        if ["UTF8=ACCEPT", "IMAP4REV2"].iter().any(|name| enabled.has(name)) {
            *self = Self::Utf8;
        }
    }

    /// The same with folders as the sync knows them.
    pub(super) fn told(self, observed: Observed) -> Observed {
        match observed {
            Observed::Begin { body, size, key } => {
                Observed::Begin { body, size, key: key.map(|key| self.key(key)) }
            }
            Observed::End(body, key, way) => Observed::End(body, self.key(key), way),
            Observed::Transferred { from, to, pairs, kind } => {
                Observed::Transferred { from: self.place(from), to: self.place(to), pairs, kind }
            }
            Observed::FolderChanged(folder) => Observed::FolderChanged(self.folder(folder)),
            observed @ (Observed::Chunk(..)
            | Observed::Discard(_)
            | Observed::FoldersChanged
            | Observed::Blind(_)) => observed,
        }
    }

    fn key(self, key: MessageKey) -> MessageKey {
        MessageKey { folder: self.folder(key.folder), ..key }
    }

    fn place(self, place: Place) -> Place {
        Place { folder: self.folder(place.folder), ..place }
    }

    fn folder(self, folder: FolderName) -> FolderName {
        match (self, str::from_utf8(folder.wire())) {
            (Self::Utf8, Ok(text)) => FolderName::from_text(text),
            (Self::Utf8, Err(_)) | (Self::ModifiedUtf7, _) => folder,
        }
    }
}
