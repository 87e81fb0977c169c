//! Addresses that an Office 365 mailbox can have: RFC 5321 dot-strings in ASCII, with a domain of two labels or more.

use serde::Serialize;

/// Why something is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum AddressProblem {
    /// There must be exactly one.
    #[error("it must have one @")]
    At,
    /// Exchange Online takes ASCII only.
    #[error("it must be ASCII (write the domain in its xn-- form)")]
    NotAscii,
    /// Empty, longer than 64 bytes, or with a character or a dot where none may be.
    #[error("the part before @ is malformed")]
    LocalPart,
    /// Not a domain name of two labels or more.
    #[error("the domain is malformed")]
    Domain,
}

/// The domain of an address, lower case; `None` without one.
pub fn domain_of(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    (!domain.is_empty()).then(|| domain.to_ascii_lowercase())
}

pub(super) fn check(address: &str) -> Result<(), AddressProblem> {
    let (local, domain) = address.split_once('@').ok_or(AddressProblem::At)?;
    if domain.contains('@') {
        return Err(AddressProblem::At);
    }
    if !address.is_ascii() {
        return Err(AddressProblem::NotAscii);
    }
    if local.len() > 64 || !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext)) {
        return Err(AddressProblem::LocalPart);
    }
    if domain.len() > 253 || !domain.contains('.') || !domain.split('.').all(is_label) {
        return Err(AddressProblem::Domain);
    }
    Ok(())
}

/// RFC 5322 section 3.2.3.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let long = format!("{}@contoso.edu", "a".repeat(65));
        for (address, expected) in [
            ("terrya@contoso.edu", Ok(())),
            ("o'neil+x@mail.contoso.co.uk", Ok(())),
            ("a.b@xn--mnchen-3ya.de", Ok(())),
            ("terrya", Err(AddressProblem::At)),
            ("a@b@c.de", Err(AddressProblem::At)),
            ("müller@contoso.edu", Err(AddressProblem::NotAscii)),
            ("a@münchen.de", Err(AddressProblem::NotAscii)),
            ("@contoso.edu", Err(AddressProblem::LocalPart)),
            ("a..b@contoso.edu", Err(AddressProblem::LocalPart)),
            (".a@contoso.edu", Err(AddressProblem::LocalPart)),
            ("a b@contoso.edu", Err(AddressProblem::LocalPart)),
            (&long, Err(AddressProblem::LocalPart)),
            ("a@contoso", Err(AddressProblem::Domain)),
            ("a@", Err(AddressProblem::Domain)),
            ("a@-x.de", Err(AddressProblem::Domain)),
            ("a@x..de", Err(AddressProblem::Domain)),
            ("a@x.de.", Err(AddressProblem::Domain)),
        ] {
            assert_eq!(check(address), expected, "{address}");
        }
        assert_eq!(domain_of("a@Contoso.EDU").as_deref(), Some("contoso.edu"));
        assert_eq!(domain_of("a"), None);
    }
}
