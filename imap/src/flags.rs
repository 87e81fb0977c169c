//! Message flags and keywords (RFC 3501 section 2.3.2).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The five system flags that a client may set. `\Recent` is the server's own and never kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum SystemFlag {
    /// `\Seen`
    Seen = 1,
    /// `\Answered`
    Answered = 2,
    /// `\Flagged`
    Flagged = 4,
    /// `\Deleted`
    Deleted = 8,
    /// `\Draft`
    Draft = 16,
}

impl SystemFlag {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Flagged, Self::Deleted, Self::Seen, Self::Draft];

    /// As it stands on the wire.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
        }
    }
}

/// A message's flags: the system flags as a set, keywords by name (case kept, compared caselessly, sorted).
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Flags {
    system: u8,
    keywords: Vec<String>,
}

impl Flags {
    /// Takes one flag from the wire: a system flag, a keyword, or something to be left out (`\Recent`, `\*`).
    pub fn insert_wire(&mut self, flag: &str) {
        if let Some(system) =
            SystemFlag::ALL.into_iter().find(|system| system.wire().eq_ignore_ascii_case(flag))
        {
            self.insert(system);
        } else if !flag.starts_with('\\') && !flag.is_empty() {
            let folded = flag.to_ascii_lowercase();
            if let Err(place) =
                self.keywords.binary_search_by_key(&folded, |known| known.to_ascii_lowercase())
            {
                self.keywords.insert(place, flag.to_owned());
            }
        }
    }

    /// Sets a system flag.
    pub fn insert(&mut self, flag: SystemFlag) {
        self.system |= flag as u8;
    }

    /// Takes a system flag away.
    pub fn remove(&mut self, flag: SystemFlag) {
        self.system &= !(flag as u8);
    }

    /// Whether a system flag is set.
    pub fn contains(&self, flag: SystemFlag) -> bool {
        self.system & flag as u8 != 0
    }

    /// The system flags that are set, in writing order.
    pub fn system(&self) -> impl Iterator<Item = SystemFlag> + '_ {
        SystemFlag::ALL.into_iter().filter(|flag| self.contains(*flag))
    }

    /// The keywords, sorted without regard to case.
    pub fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// The same without keywords: what a server that keeps none can hold.
    pub fn without_keywords(&self) -> Self {
        Self { system: self.system, keywords: Vec::new() }
    }
}

impl fmt::Display for Flags {
    /// As the inside of an IMAP flag list: `\Seen \Flagged $Label1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = self.system().map(|flag| flag.wire());
        for (at, flag) in system.chain(self.keywords.iter().map(String::as_str)).enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(flag)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({self})")
    }
}

impl<'a> FromIterator<&'a str> for Flags {
    fn from_iter<I: IntoIterator<Item = &'a str>>(flags: I) -> Self {
        let mut set = Self::default();
        flags.into_iter().for_each(|flag| set.insert_wire(flag));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_from_the_wire_and_back() {
        let flags: Flags =
            ["\\seen", "$b", "\\Recent", "\\*", "A", "$B", "", "\\DELETED"].into_iter().collect();
        assert_eq!(flags.to_string(), "\\Deleted \\Seen $b A");
        assert_eq!(flags.without_keywords().to_string(), "\\Deleted \\Seen");
        assert!(flags.contains(SystemFlag::Seen) && !flags.contains(SystemFlag::Draft));
        assert_eq!(Flags::default().to_string(), "");
    }
}
