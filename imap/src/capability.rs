//! What a server says it can do (RFC 3501 section 7.2.1).

use std::fmt;

/// A set of capabilities, compared without regard to case.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Upper case, in the server's order, each once.
    names: Vec<String>,
}

impl Capabilities {
    /// From the words after `CAPABILITY`, parted by blanks. Bytes beyond ASCII are replaced.
    pub fn parse(words: &[u8]) -> Self {
        let words = words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect()
    }

    /// Whether one is there: `has("UIDPLUS")`, `has("auth=plain")`.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Upper case, in the server's order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether the server named none at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl FromIterator<String> for Capabilities {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut set = Self::default();
        for name in names {
            if !set.has(&name) {
                set.names.push(name.to_ascii_uppercase());
            }
        }
        set
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(" "))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_and_order_is_kept() {
        let known = Capabilities::parse(b" IMAP4rev1 literal+  UidPlus AUTH=PLAIN uidplus\r\n");
        assert!(known.has("LITERAL+") && known.has("uidplus") && known.has("auth=plain"));
        assert!(!known.has("LITERAL") && !known.has("") && !known.is_empty());
        assert_eq!(known.to_string(), "IMAP4REV1 LITERAL+ UIDPLUS AUTH=PLAIN");
        assert!(Capabilities::parse(b"").is_empty());
    }
}
