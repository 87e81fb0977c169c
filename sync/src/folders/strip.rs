//! What comes off the front of the source's names: the user's root, or the personal namespace's prefix.

use mailferry_imap::response::Listed;

use super::{Source, Stay};

/// What comes off the front of the source's names.
pub(super) struct Strip {
    /// On the wire, with the delimiter at its end; empty for nothing.
    prefix: Vec<u8>,
    /// Whether it is the operator's `UserRoot`: then what lies outside stays behind.
    root: bool,
}

impl Strip {
    pub(super) fn of(source: &Source, listed: &[&Listed]) -> Self {
        let delimiter = listed.iter().find_map(|folder| folder.delimiter);
        if let (Some(root), Some(delimiter)) = (&source.user_root, delimiter) {
            let levels: Vec<Vec<u8>> =
                root.split('/').filter(|level| !level.is_empty()).map(mailferry_imap::utf7::encode).collect();
            let mut prefix = levels.join(&delimiter);
            // The path may have been given with the server's own delimiter.
            prefix.push(delimiter);
            return Self { prefix, root: true };
        }
        if let Some(personal) = source.namespaces.personal.first() {
            return Self { prefix: personal.prefix.wire().to_vec(), root: false };
        }
        // No NAMESPACE: where everything lies below INBOX, that is the prefix.
        let mut below =
            delimiter.map(|delimiter| [b"INBOX".as_slice(), &[delimiter]].concat()).unwrap_or_default();
        let others = || listed.iter().filter(|folder| !folder.name.is_inbox());
        if others().count() == 0 || !others().all(|folder| starts_with(folder.name.wire(), &below)) {
            below.clear();
        }
        Self { prefix: below, root: false }
    }

    /// The folder's levels below the prefix, and whether that was taken off.
    pub(super) fn levels(&self, source: &Source, folder: &Listed) -> Result<(Vec<Vec<u8>>, bool), Stay> {
        let split = |name: &[u8]| -> Vec<Vec<u8>> {
            match folder.delimiter {
                Some(delimiter) => name.split(|byte| *byte == delimiter).map(<[u8]>::to_vec).collect(),
                None => vec![name.to_vec()],
            }
        };
        let wire = folder.name.wire();
        if self.root {
            let root = &self.prefix[..self.prefix.len() - 1];
            if wire == root {
                return Ok((vec![b"INBOX".to_vec()], true));
            }
            let rest = starts_with(wire, &self.prefix).then(|| &wire[self.prefix.len()..]);
            return rest
                .filter(|rest| !rest.is_empty())
                .map(|rest| (split(rest), true))
                .ok_or(Stay::OutsideRoot);
        }
        if folder.name.is_inbox() {
            return Ok((vec![b"INBOX".to_vec()], false));
        }
        let foreign = source.namespaces.other.iter().chain(&source.namespaces.shared);
        let own_is_longer = |prefix: &[u8]| !self.prefix.is_empty() && self.prefix.len() > prefix.len();
        for namespace in foreign {
            let prefix = namespace.prefix.wire();
            let bare =
                namespace.delimiter.and_then(|delimiter| prefix.strip_suffix(&[delimiter])).unwrap_or(prefix);
            let inside = starts_with(wire, prefix) || wire == bare;
            if !prefix.is_empty() && inside && !(own_is_longer(prefix) && starts_with(wire, &self.prefix)) {
                return Err(Stay::NotOwn);
            }
        }
        if !self.prefix.is_empty() && starts_with(wire, &self.prefix) && wire.len() > self.prefix.len() {
            return Ok((split(&wire[self.prefix.len()..]), true));
        }
        Ok((split(wire), false))
    }
}

/// `INBOX` at the front in any case, all else exactly.
fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    let Some(start) = name.get(..prefix.len()) else { return false };
    let inbox = prefix.len().min(5);
    let same_head = if prefix[..inbox].eq_ignore_ascii_case(b"INBOX") {
        start[..inbox].eq_ignore_ascii_case(b"INBOX")
    } else {
        start[..inbox] == prefix[..inbox]
    };
    same_head && start[inbox..] == prefix[inbox..]
}
