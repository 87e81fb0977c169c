//! The session's verbs for folders.

use std::collections::VecDeque;

use super::session::WINDOW;
use super::{Error, Event, Session, Tag};
use crate::response::{Code, FolderStatus, Listed, Namespaces, NewKeywords, Response};
use crate::{Flags, FolderName, ModSeq, Uid, UidValidity};

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

impl Session {
    /// NAMESPACE.
    pub async fn namespace(&mut self) -> Result<Namespaces, Error> {
        let mut found = None;
        self.run("NAMESPACE", "NAMESPACE", |response| {
            if let Response::Namespace(namespaces) = response {
                found = Some(namespaces);
            }
        })
        .await?;
        found.ok_or_else(|| self.protocol("no namespace told"))
    }

    /// LIST. `pattern` is a wire name too; `*` and `%` are wildcards in it.
    pub async fn list(&mut self, reference: &FolderName, pattern: &str) -> Result<Vec<Listed>, Error> {
        self.list_by("LIST", reference, pattern).await
    }

    /// LSUB.
    pub async fn lsub(&mut self, reference: &FolderName, pattern: &str) -> Result<Vec<Listed>, Error> {
        self.list_by("LSUB", reference, pattern).await
    }

    async fn list_by(
        &mut self,
        verb: &'static str,
        reference: &FolderName,
        pattern: &str,
    ) -> Result<Vec<Listed>, Error> {
        let line = self.line(verb, &[reference.wire(), pattern.as_bytes()])?;
        let mut found = Vec::new();
        self.run_bytes(verb, &line, |response| {
            if let Response::List(listed) = response {
                found.push(listed);
            }
        })
        .await?;
        Ok(found)
    }

    /// LIST with the STATUS of each folder: one command where the server has LIST-STATUS, else one STATUS a folder,
    /// pipelined. Folders that cannot be selected, or whose STATUS is refused, have none.
    pub async fn list_status(
        &mut self,
        reference: &FolderName,
        pattern: &str,
    ) -> Result<Vec<(Listed, Option<FolderStatus>)>, Error> {
        let mut found: Vec<(Listed, Option<FolderStatus>)> = Vec::new();
        if self.capabilities.has("LIST-STATUS") {
            let mut line = self.line("LIST", &[reference.wire(), pattern.as_bytes()])?;
            line.extend_from_slice(format!(" RETURN (STATUS ({}))", self.status_items()).as_bytes());
            let mut statuses = Vec::new();
            self.run_bytes("LIST", &line, |response| match response {
                Response::List(listed) => found.push((listed, None)),
                Response::FolderStatus(status) => statuses.push(status),
                _ => {}
            })
            .await?;
            for status in statuses {
                if let Some((_, place)) = found.iter_mut().find(|(listed, _)| listed.name == status.name) {
                    *place = Some(status);
                }
            }
            return Ok(found);
        }
        found.extend(self.list(reference, pattern).await?.into_iter().map(|listed| (listed, None)));
        let mut lines = Vec::new();
        for (at, (listed, _)) in found.iter().enumerate() {
            let closed = ["\\Noselect", "\\NonExistent"];
            if !listed.attributes.iter().any(|is| closed.iter().any(|not| not.eq_ignore_ascii_case(is))) {
                lines.push((at, self.status_line(&listed.name)?));
            }
        }
        let mut open: VecDeque<(Tag, usize)> = VecDeque::new();
        let mut lines = lines.into_iter();
        loop {
            while open.len() < WINDOW
                && let Some((at, line)) = lines.next()
            {
                open.push_back((self.writer.send_bytes(&line).await?, at));
            }
            if open.is_empty() {
                return Ok(found);
            }
            self.writer.flush().await?;
            match self.reader.next().await? {
                Event::Untagged(Response::FolderStatus(status)) => {
                    if let Some((_, place)) = found.iter_mut().find(|(listed, _)| listed.name == status.name)
                    {
                        *place = Some(status);
                    }
                }
                Event::Tagged { tag, .. } => open.retain(|(known, _)| *known != tag),
                _ => {}
            }
        }
    }

    /// SELECT.
    pub async fn select(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        self.open("SELECT", folder).await
    }

    /// EXAMINE: SELECT that changes nothing.
    pub async fn examine(&mut self, folder: &FolderName) -> Result<Selected, Error> {
        self.open("EXAMINE", folder).await
    }

    async fn open(&mut self, verb: &'static str, folder: &FolderName) -> Result<Selected, Error> {
        let mut line = self.line(verb, &[folder.wire()])?;
        if self.capabilities.has("CONDSTORE") {
            line.extend_from_slice(b" (CONDSTORE)");
        }
        let (mut exists, mut validity, mut uid_next, mut modseq) = (None, None, None, None);
        let mut permanent = None;
        let answer = self
            .run_bytes(verb, &line, |response| match response {
                Response::Exists(number) => exists = Some(number),
                Response::Status(text) => match text.code {
                    Some(Code::UidValidity(number)) => validity = Some(number),
                    Some(Code::UidNext(uid)) => uid_next = Some(uid),
                    Some(Code::HighestModSeq(number)) => modseq = Some(number).filter(|number| number.0 > 0),
                    Some(Code::NoModSeq) => modseq = None,
                    Some(Code::PermanentFlags(flags, new)) => permanent = Some((flags, new)),
                    _ => {}
                },
                _ => {}
            })
            .await?;
        let exists = exists.ok_or_else(|| self.protocol("a folder without EXISTS"))?;
        let uid_validity = validity.ok_or_else(|| self.unsupported("UIDVALIDITY"))?;
        let keywords_allowed = permanent.as_ref().is_none_or(|(_, new)| *new == NewKeywords::Allowed);
        Ok(Selected {
            exists,
            uid_validity,
            uid_next,
            highest_modseq: modseq,
            permanent_flags: permanent.map(|(flags, _)| flags),
            keywords_allowed,
            read_only: verb == "EXAMINE" || answer.code == Some(Code::ReadOnly),
        })
    }

    /// STATUS: MESSAGES, UIDNEXT, UIDVALIDITY, and HIGHESTMODSEQ where the server has CONDSTORE.
    pub async fn status(&mut self, folder: &FolderName) -> Result<FolderStatus, Error> {
        let line = self.status_line(folder)?;
        let mut found = None;
        self.run_bytes("STATUS", &line, |response| {
            if let Response::FolderStatus(status) = response {
                found = Some(status);
            }
        })
        .await?;
        found.ok_or_else(|| self.protocol("no STATUS told"))
    }

    fn status_items(&self) -> &'static str {
        if self.capabilities.has("CONDSTORE") {
            "MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ"
        } else {
            "MESSAGES UIDNEXT UIDVALIDITY"
        }
    }

    fn status_line(&self, folder: &FolderName) -> Result<Vec<u8>, Error> {
        let mut line = self.line("STATUS", &[folder.wire()])?;
        line.extend_from_slice(format!(" ({})", self.status_items()).as_bytes());
        Ok(line)
    }

    /// CREATE.
    pub async fn create(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("CREATE", &[folder]).await
    }

    /// RENAME.
    pub async fn rename(&mut self, from: &FolderName, to: &FolderName) -> Result<(), Error> {
        self.folders("RENAME", &[from, to]).await
    }

    /// DELETE.
    pub async fn delete(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("DELETE", &[folder]).await
    }

    /// SUBSCRIBE.
    pub async fn subscribe(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("SUBSCRIBE", &[folder]).await
    }

    /// UNSUBSCRIBE.
    pub async fn unsubscribe(&mut self, folder: &FolderName) -> Result<(), Error> {
        self.folders("UNSUBSCRIBE", &[folder]).await
    }

    async fn folders(&mut self, verb: &'static str, folders: &[&FolderName]) -> Result<(), Error> {
        let names: Vec<&[u8]> = folders.iter().map(|folder| folder.wire()).collect();
        let line = self.line(verb, &names)?;
        self.run_bytes(verb, &line, |_| {}).await.map(drop)
    }
}
