//! The folder that a session has open: what its sequence numbers mean.

use std::collections::BTreeMap;

use mailferry_imap::{FolderName, Uid, UidSet, UidValidity};

/// Sequence numbers beyond this are not followed: bounds the map, and FETCH without UID is rare in folders of this size.
const MAX_FOLLOWED: u32 = 200_000;

/// How many RFC822.SIZEs are remembered for joining ranges.
const MAX_SIZES: usize = 2_000;

/// An open folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selected {
    pub(crate) folder: FolderName,
    /// `None` where the source did not say: then no message can be named.
    pub(crate) validity: Option<UidValidity>,
    /// It grew while an APPEND to it was under way, which was not told yet.
    pub(crate) grew: bool,
    /// Messages went while a MOVE was under way, which was not told yet.
    pub(crate) shrank: bool,
    exists: u32,
    /// By sequence number less one; shorter than the folder where nothing is known further on.
    uids: Vec<Option<Uid>>,
    sizes: BTreeMap<Uid, u64>,
}

/// Whether a count told something new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Yes,
    No,
}

impl Selected {
    pub(crate) fn new(folder: FolderName) -> Self {
        Self {
            folder,
            validity: None,
            grew: false,
            shrank: false,
            exists: 0,
            uids: Vec::new(),
            sizes: BTreeMap::new(),
        }
    }

    /// `* n EXISTS`.
    pub(crate) fn on_exists(&mut self, exists: u32) -> News {
        let news = if exists == self.exists { News::No } else { News::Yes };
        if exists < self.exists {
            // It never shrinks without EXPUNGE (RFC 3501 section 7.3.1): nothing that we knew is sure.
            self.uids.clear();
        }
        self.exists = exists;
        news
    }

    /// `* n EXPUNGE`.
    pub(crate) fn on_expunge(&mut self, seq: u32) {
        if let Some(at) = index(seq)
            && at < self.uids.len()
        {
            self.uids.remove(at);
        }
        self.exists = self.exists.saturating_sub(1);
    }

    /// `* VANISHED uids` (RFC 7162 section 3.2.10.2). A UID that we do not know leaves open which number went.
    pub(crate) fn on_vanished(&mut self, uids: &UidSet) {
        let count = u32::try_from(uids.len()).unwrap_or(u32::MAX);
        self.exists = self.exists.saturating_sub(count);
        let known = self.uids.iter().flatten().filter(|uid| uids.contains(**uid)).count();
        if u32::try_from(known) == Ok(count) {
            self.uids.retain(|uid| uid.is_none_or(|uid| !uids.contains(uid)));
        } else {
            self.uids.clear();
        }
    }

    /// A FETCH response told both numbers.
    pub(crate) fn learn(&mut self, seq: u32, uid: Uid) {
        if seq > MAX_FOLLOWED || seq > self.exists {
            return;
        }
        let Some(at) = index(seq) else { return };
        if at >= self.uids.len() {
            self.uids.resize(at + 1, None);
        }
        self.uids[at] = Some(uid);
    }

    /// The UID of a sequence number, where the source told it.
    pub(crate) fn uid(&self, seq: u32) -> Option<Uid> {
        self.uids.get(index(seq)?).copied().flatten()
    }

    /// A message's RFC822.SIZE was told.
    pub(crate) fn learn_size(&mut self, uid: Uid, size: u64) {
        if self.sizes.len() >= MAX_SIZES && !self.sizes.contains_key(&uid) {
            self.sizes.pop_first();
        }
        self.sizes.insert(uid, size);
    }

    /// A message's RFC822.SIZE, where it was told.
    pub(crate) fn size(&self, uid: Uid) -> Option<u64> {
        self.sizes.get(&uid).copied()
    }
}

fn index(seq: u32) -> Option<usize> {
    usize::try_from(seq.checked_sub(1)?).ok()
}
