//! Names of files and folders, made from what strangers wrote: short, plain, and no two alike.

use mailferry_ledger::Fingerprint;
use mailferry_sync::batch::SkippedMessage;

/// The longest name, in bytes; file systems take 255.
const LONGEST: usize = 160;

/// Where a message goes, below its mailbox's folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    /// The folder, from the mail folder's name.
    pub folder: String,
    /// The file in it.
    pub file: String,
}

impl FileName {
    /// As the manifest has it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.folder, self.file)
    }
}

/// UIDVALIDITY and UID tell messages of a folder apart for good.
pub fn of_message(message: &SkippedMessage) -> FileName {
    FileName { folder: plain(&message.folder), file: format!("{}-{}.eml", message.uid_validity, message.uid) }
}

/// The mailbox's own folder.
pub fn of_address(address: &str) -> String {
    plain(&address.to_lowercase())
}

/// Letters and digits of any script, blanks and a few signs stay; where anything else was in it, a mark from the whole
/// name tells it apart from others that look the same now. Never empty, hidden, `..`, or a path; never a comma or quote.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '@' | '+' | '&');
    let mut plain: String = name.chars().map(|c| if keep(c) { c } else { '_' }).collect();
    while plain.len() > LONGEST {
        plain.pop();
    }
    let ends = |c: char| c == ' ' || c == '.';
    let trimmed = plain.trim_end_matches(ends).trim_start_matches(ends);
    if trimmed == name && !trimmed.is_empty() {
        return trimmed.to_owned();
    }
    let mark = Fingerprint::of(&[name.as_bytes()]).to_string();
    format!("{}~{}", if trimmed.is_empty() { "_" } else { trimmed }, &mark[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_elsewhere_and_no_two_become_one() {
        for same in ["INBOX", "Projekte.2024", "日本語", "Archiv & Ablage", "terry.adams@contoso.edu"] {
            assert_eq!(plain(same), same);
        }
        let odd = [
            "",
            ".",
            "..",
            "...",
            "../../etc",
            "/etc",
            "a/b",
            "a\\b",
            "a_b ",
            "a_b.",
            "a:b",
            "a*b",
            "a\0b",
            ".hidden",
            "a,b",
            "a\"b",
            "a\nb",
            "_",
            "~",
            "a~b",
        ];
        let mut names: Vec<String> = odd.iter().map(|name| plain(name)).collect();
        for name in &names {
            assert!(!name.is_empty() && !name.starts_with('.') && name.len() < 200, "{name:?}");
            assert!(!name.contains(['/', '\\', '\0', ',', '"', '\n', ':', '*']), "{name:?}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), odd.len(), "{names:?}");
        let long = "ö".repeat(300);
        assert!(plain(&long).len() < 200);
        assert_ne!(plain(&long), plain(&"ö".repeat(301)));
    }
}
