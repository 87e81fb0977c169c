//! A host or domain name as evidence shows it: lower case, ASCII (IDNA for others), without the final dot.

use std::fmt;

use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

/// A domain name in one canonical form, so that names compare caselessly and label by label.
///
/// The root is the empty name and shows as `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct HostName(String);

impl HostName {
    /// The name as text, without the final dot; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root, which as an MX target means "takes no mail" (RFC 7505).
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this name is `suffix` or lies below it, by whole labels: `notoutlook.com` is not below
    /// `outlook.com`. Nothing is below the root here: an empty suffix would match every name by accident.
    pub fn is_within(&self, suffix: &Self) -> bool {
        !suffix.is_root() && (self == suffix || self.is_below(suffix))
    }

    /// Whether this name has at least one label more than `suffix` and ends in it.
    pub fn is_below(&self, suffix: &Self) -> bool {
        !suffix.is_root()
            && self.0.strip_suffix(&suffix.0).is_some_and(|head| {
                // A label may hold a dot of its own, which shows as `\.`.
                head.len() > 1 && head.ends_with('.') && !head.ends_with("\\.")
            })
    }

    /// The leftmost label.
    pub fn first_label(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl From<&Name> for HostName {
    fn from(name: &Name) -> Self {
        Self::from(name.to_ascii().as_str())
    }
}

impl From<&str> for HostName {
    fn from(text: &str) -> Self {
        let text = text.trim();
        let ascii = match text.is_ascii() {
            true => None,
            // What has no IDNA form stays as it is, and is no name of anything.
            false => Name::from_utf8(text).ok().map(|name| name.to_ascii()),
        };
        let text = ascii.as_deref().unwrap_or(text);
        Self(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
    }
}

impl From<String> for HostName {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_match_by_whole_labels_and_caselessly() {
        let suffix = HostName::from("Outlook.COM.");
        assert!(HostName::from("mail.OUTLOOK.com").is_below(&suffix));
        assert!(HostName::from("outlook.com.").is_within(&suffix));
        assert!(!HostName::from("outlook.com").is_below(&suffix));
        assert!(!HostName::from("notoutlook.com").is_within(&suffix));
        assert!(!HostName::from(".outlook.com").is_below(&suffix));
        assert!(!HostName::from("mail.outlook.com").is_within(&HostName::from(".")));
        let dotted = Name::from_labels([&b"mail.outlook"[..], b"com"]).unwrap();
        assert!(!HostName::from(&dotted).is_below(&HostName::from("outlook.com")), "{dotted}");
    }

    #[test]
    fn international_names_have_one_form() {
        for text in
            ["münchen.example", "MÜNCHEN.Example.", "xn--mnchen-3ya.example", "mu\u{308}nchen.example"]
        {
            assert_eq!(HostName::from(text).as_str(), "xn--mnchen-3ya.example", "{text}");
        }
        assert!(HostName::from("mx.bücher.example").is_below(&HostName::from("xn--bcher-kva.example")));
    }

    #[test]
    fn root_is_shown_as_a_dot() {
        assert_eq!(HostName::from(&Name::root()).to_string(), ".");
        assert_eq!(
            HostName::from(&Name::from_ascii("MX1.Contoso.Edu.").unwrap()).to_string(),
            "mx1.contoso.edu"
        );
    }
}
