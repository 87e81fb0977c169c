//! What the source is asked for: all that it lists, or for a row with a `UserRoot` what lies there. With it, what the user is
//! subscribed to.

use std::collections::BTreeSet;

use mailferry_imap::response::{FolderStatus, Listed};
use mailferry_imap::{FolderName, utf7};

use crate::error::SideError;
use crate::trouble::Trouble;
use crate::worker::MailboxWorker;

/// Which folders are subscribed to.
pub(crate) enum Subscriptions {
    /// These.
    To(BTreeSet<FolderName>),
    /// All: below a `UserRoot` the source tells what the administrator is subscribed to, and what is not subscribed to on
    /// Office 365 many clients do not show.
    ToAll,
    /// The source does not say.
    Unknown,
}

impl Subscriptions {
    /// Whether a folder is to be subscribed to, of which this is recorded so far.
    pub(crate) fn wanted(&self, folder: &FolderName, recorded: bool) -> bool {
        match self {
            Self::To(folders) => folders.contains(folder),
            Self::ToAll => true,
            Self::Unknown => recorded,
        }
    }
}

impl MailboxWorker {
    /// The source's folders with their STATUS. Virtual folders, such as Courier's `#shared.`, are in no list unless they
    /// are asked for.
    pub(crate) async fn list_source(
        &mut self,
        user_root: Option<&str>,
    ) -> Result<Vec<(Listed, Option<FolderStatus>)>, Trouble> {
        let everything = FolderName::from_wire(&b""[..]);
        let session = &mut self.source().await?.session;
        let Some(root) = user_root else {
            return session.list_status(&everything, "*").await.map_err(Trouble::source);
        };
        let delimiter = session.list(&everything, "").await.map_err(Trouble::source)?;
        let delimiter = delimiter.first().and_then(|listed| listed.delimiter).unwrap_or(b'/');
        let name = wire_root(root, delimiter);
        let below = FolderName::from_wire([name.as_bytes(), &[delimiter]].concat());
        let mut listed = session.list_status(&everything, &name).await.map_err(Trouble::source)?;
        listed.extend(session.list_status(&below, "*").await.map_err(Trouble::source)?);
        if listed.is_empty() {
            listed = session.list_status(&everything, "*").await.map_err(Trouble::source)?;
        }
        let is_inside = |listed: &Listed| {
            let rest = listed.name.wire().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.first().is_none_or(|first| *first == delimiter))
        };
        match listed.iter().any(|(listed, _)| is_inside(listed)) {
            true => Ok(listed),
            // Else the mailbox would count as synced, with nothing in it.
            false => Err(Trouble::Source(SideError::Other(format!(
                "the source lists nothing at the UserRoot {root}, which is {name} there"
            )))),
        }
    }

    /// What the user is subscribed to.
    pub(crate) async fn subscriptions(&mut self, user_root: Option<&str>) -> Result<Subscriptions, Trouble> {
        if user_root.is_some() {
            return Ok(Subscriptions::ToAll);
        }
        let everything = FolderName::from_wire(&b""[..]);
        match self.source().await?.session.lsub(&everything, "*").await {
            // With this attribute only something below it is subscribed to (RFC 3501 section 6.3.9).
            Ok(told) => Ok(Subscriptions::To(
                told.into_iter()
                    .filter(|listed| {
                        !listed.attributes.iter().any(|word| word.eq_ignore_ascii_case("\\Noselect"))
                    })
                    .map(|listed| listed.name)
                    .collect(),
            )),
            Err(error) if !error.is_fatal() => Ok(Subscriptions::Unknown),
            Err(error) => Err(Trouble::source(error)),
        }
    }
}

/// A `UserRoot` as the source writes it.
fn wire_root(root: &str, delimiter: u8) -> String {
    let levels = root.split('/').filter(|level| !level.is_empty()).map(utf7::encode);
    let levels: Vec<String> = levels.map(|level| String::from_utf8_lossy(&level).into_owned()).collect();
    levels.join(&char::from(delimiter).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_written_as_the_source_does() {
        assert_eq!(wire_root("/users/terry.adams", b'/'), "users/terry.adams");
        assert_eq!(wire_root("/#shared/terry/", b'.'), "#shared.terry");
        assert_eq!(wire_root("#shared.terry", b'.'), "#shared.terry");
        assert_eq!(wire_root("/Benutzer/Jörg", b'/'), "Benutzer/J&APY-rg");
    }
}
