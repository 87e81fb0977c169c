//! One connection, one command at a time.

use secrecy::SecretString;

use super::{Error, Reader, Writer};
use crate::response::{Code, Fetched, FolderStatus, Listed, Namespaces, StatusText};
use crate::{Capabilities, Flags, FolderName, ModSeq, Uid, UidSet, UidValidity};

/// A folder as SELECT or EXAMINE showed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selected {
    /// How many messages.
    pub exists: u32,
    /// Its UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The next UID, where it was told.
    pub uid_next: Option<Uid>,
    /// `None` where the server keeps none for this folder.
    pub highest_modseq: Option<ModSeq>,
    /// The flags that last; `None` where it was not told (then all of them: RFC 3501 section 7.1).
    pub permanent_flags: Option<Flags>,
    /// Whether new keywords may be made.
    pub keywords_allowed: bool,
    /// Whether it was opened read-only.
    pub read_only: bool,
}

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

/// One connection.
#[derive(Debug)]
pub struct Session {
    writer: Writer,
    reader: Reader,
}

impl Session {
    /// Both halves, for pipelining. Nothing may be outstanding when the serial verbs are used again.
    pub fn halves(&mut self) -> (&mut Writer, &mut Reader) {
        (&mut self.writer, &mut self.reader)
    }

    /// Both halves for good.
    pub fn into_halves(self) -> (Writer, Reader) {
        (self.writer, self.reader)
    }

    /// The reverse of [`into_halves`](Self::into_halves).
    pub fn from_halves(writer: Writer, reader: Reader) -> Self {
        Self { writer, reader }
    }

    /// What the server can do, as it said last.
    pub fn capabilities(&self) -> &Capabilities {
        todo!()
    }

    /// The server's greeting: its words.
    pub fn greeting(&self) -> &str {
        todo!()
    }

    /// LOGIN.
    pub async fn login(&mut self, user: &str, password: &SecretString) -> Result<(), Error> {
        let _ = (user, password);
        todo!()
    }

    /// AUTHENTICATE PLAIN; `authzid` is whose mailbox is opened, empty for one's own (RFC 4616).
    pub async fn authenticate_plain(
        &mut self,
        authzid: &str,
        user: &str,
        password: &SecretString,
    ) -> Result<(), Error> {
        let _ = (authzid, user, password);
        todo!()
    }

    /// AUTHENTICATE XOAUTH2.
    pub async fn authenticate_xoauth2(&mut self, user: &str, token: &SecretString) -> Result<(), Error> {
        let _ = (user, token);
        todo!()
    }

    /// Asks for the capabilities anew.
    pub async fn capability(&mut self) -> Result<&Capabilities, Error> {
        todo!()
    }

    /// NAMESPACE.
    pub async fn namespace(&mut self) -> Result<Namespaces, Error> {
        todo!()
    }

    /// LIST. `reference` and `pattern` are wire names.
    pub async fn list(&mut self, reference: &FolderName, pattern: &str) -> Result<Vec<Listed>, Error> {
        let _ = (reference, pattern);
        todo!()
    }

    /// LSUB.
    pub async fn lsub(&mut self, reference: &FolderName, pattern: &str) -> Result<Vec<Listed>, Error> {
        let _ = (reference, pattern);
        todo!()
    }

    /// LIST with the STATUS of each folder: one command where the server has LIST-STATUS, else one STATUS a folder,
    /// pipelined. Folders that cannot be selected have none.
    pub async fn list_status(&mut self) -> Result<Vec<(Listed, Option<FolderStatus>)>, Error> {
        todo!()
    }

    /// SELECT.
    pub async fn select(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        let _ = folder;
        todo!()
    }

    /// EXAMINE: SELECT that changes nothing.
    pub async fn examine(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        let _ = folder;
        todo!()
    }

    /// STATUS: MESSAGES, UIDNEXT, UIDVALIDITY, and HIGHESTMODSEQ where the server has CONDSTORE.
    pub async fn status(&mut self, folder: &FolderName) -> Result<FolderStatus, Error> {
        let _ = folder;
        todo!()
    }

    /// CREATE.
    pub async fn create(&mut self, folder: &FolderName) -> Result<(), Error> {
        let _ = folder;
        todo!()
    }

    /// RENAME.
    pub async fn rename(&mut self, from: &FolderName, to: &FolderName) -> Result<(), Error> {
        let _ = (from, to);
        todo!()
    }

    /// DELETE.
    pub async fn delete(&mut self, folder: &FolderName) -> Result<(), Error> {
        let _ = folder;
        todo!()
    }

    /// SUBSCRIBE.
    pub async fn subscribe(&mut self, folder: &FolderName) -> Result<(), Error> {
        let _ = folder;
        todo!()
    }

    /// UNSUBSCRIBE.
    pub async fn unsubscribe(&mut self, folder: &FolderName) -> Result<(), Error> {
        let _ = folder;
        todo!()
    }

    /// UID FETCH of facts: `items` is the inside of the parentheses (`UID FLAGS INTERNALDATE RFC822.SIZE`). Sets are
    /// cut into commands below the limit, which are pipelined. Not for bodies: see [`Writer::fetch_bodies`].
    pub async fn uid_fetch(
        &mut self,
        set: &UidSet,
        items: &str,
        on: impl FnMut(Fetched) + Send,
    ) -> Result<(), Error> {
        let _ = (set, items, on);
        todo!()
    }

    /// UID STORE … .SILENT.
    pub async fn uid_store(&mut self, set: &UidSet, kind: StoreKind, flags: &Flags) -> Result<(), Error> {
        let _ = (set, kind, flags);
        todo!()
    }

    /// UID EXPUNGE (UIDPLUS).
    pub async fn uid_expunge(&mut self, set: &UidSet) -> Result<(), Error> {
        let _ = set;
        todo!()
    }

    /// UID SEARCH.
    pub async fn uid_search(&mut self, criteria: &str) -> Result<UidSet, Error> {
        let _ = criteria;
        todo!()
    }

    /// UID COPY; the pairs (source, target) that the server told by COPYUID.
    pub async fn uid_copy(&mut self, set: &UidSet, folder: &FolderName) -> Result<Vec<(Uid, Uid)>, Error> {
        let _ = (set, folder);
        todo!()
    }

    /// UID MOVE (RFC 6851); the pairs (source, target) that the server told by COPYUID.
    pub async fn uid_move(&mut self, set: &UidSet, folder: &FolderName) -> Result<Vec<(Uid, Uid)>, Error> {
        let _ = (set, folder);
        todo!()
    }

    /// Any command that answers with nothing we need.
    pub async fn command(&mut self, verb: &'static str, arguments: &str) -> Result<StatusText, Error> {
        let _ = (verb, arguments);
        todo!()
    }

    /// NOOP.
    pub async fn noop(&mut self) -> Result<(), Error> {
        todo!()
    }

    /// LOGOUT; waits for the server's BYE.
    pub async fn logout(self) -> Result<(), Error> {
        todo!()
    }
}

#[allow(dead_code)]
fn _keep(code: Code) -> Code {
    code
}
