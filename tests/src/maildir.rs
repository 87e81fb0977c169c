//! Loads a Maildir++ directly, much faster than any protocol: size, flags and keywords in the file name, INTERNALDATE
//! as modification time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;

use crate::mail::{Flags, Loaded, Message};
use crate::owner::Owner;

/// Whose way of keeping a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Names as IMAP writes them.
    Dovecot,
    /// Names in UTF-8, lines that end in LF alone (with a CR before it, it would serve two), keywords elsewhere.
    Courier,
}

/// Writes messages below `home`. The server sees them at its next look; loading again adds more.
pub fn load(
    home: &Path,
    owner: &Owner,
    manner: Manner,
    messages: impl Iterator<Item = Message>,
) -> anyhow::Result<Loaded> {
    let root = home.join("Maildir");
    make(home, owner)?;
    make(&root, owner)?;
    let mut keywords: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut loaded = Loaded::default();
    let batch = fs::read_dir(&root)?.count() as u64 + unique();
    for (index, message) in messages.enumerate() {
        let folder = folder(&root, &message.folder, owner, manner)?;
        let message = match manner {
            Manner::Dovecot => message,
            Manner::Courier => Message { content: bare(&message.content), keywords: Vec::new(), ..message },
        };
        let known = keywords.entry(folder.clone()).or_insert_with(|| keywords_of(&folder));
        let mut letters = letters(message.flags);
        for word in &message.keywords {
            let at = known.iter().position(|known| known == word).unwrap_or_else(|| {
                known.push(word.clone());
                known.len() - 1
            });
            letters.push(char::from(b'a' + u8::try_from(at).context("more than 26 keywords")?));
        }
        let size = message.content.len();
        let shown = size + bare_line_ends(&message.content);
        let name = format!("{}.M{batch}P{index}.harness,S={size},W={shown}:2,{letters}", message.date);
        let path = folder.join("cur").join(name);
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        file.write_all(&message.content)?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(u64::try_from(message.date)?))?;
        owner.give(&path)?;
        loaded.messages += 1;
        loaded.bytes += shown as u64;
    }
    for (folder, words) in keywords {
        let file = folder.join("dovecot-keywords");
        let lines: String = words.iter().enumerate().map(|(at, word)| format!("{at} {word}\n")).collect();
        fs::write(&file, lines)?;
        owner.give(&file)?;
    }
    Ok(loaded)
}

fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) * 100_000
}

fn folder(root: &Path, parts: &[String], owner: &Owner, manner: Manner) -> anyhow::Result<PathBuf> {
    if parts == ["INBOX"] {
        for part in ["cur", "new", "tmp"] {
            make(&root.join(part), owner)?;
        }
        return Ok(root.to_owned());
    }
    let level = |part: &String| match manner {
        Manner::Dovecot => format!(".{}", modified_utf7(part)),
        Manner::Courier => format!(".{part}"),
    };
    let name: String = parts.iter().map(level).collect();
    let folder = root.join(name);
    if !folder.join("cur").exists() {
        make(&folder, owner)?;
        for part in ["cur", "new", "tmp"] {
            make(&folder.join(part), owner)?;
        }
        let marker = folder.join("maildirfolder");
        fs::write(&marker, "")?;
        owner.give(&marker)?;
    }
    Ok(folder)
}

fn make(path: &Path, owner: &Owner) -> anyhow::Result<()> {
    if !path.exists() {
        fs::create_dir(path).with_context(|| path.display().to_string())?;
        owner.give(path)?;
    }
    Ok(())
}

fn keywords_of(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("dovecot-keywords")).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(_, word)| word.to_owned()).collect()
}

fn letters(flags: Flags) -> String {
    [(flags.draft, 'D'), (flags.flagged, 'F'), (flags.answered, 'R'), (flags.seen, 'S'), (flags.deleted, 'T')]
        .into_iter()
        .filter_map(|(set, letter)| set.then_some(letter))
        .collect()
}

/// With LF where CRLF was.
fn bare(content: &[u8]) -> Vec<u8> {
    let ends = |at: &usize| content[*at] == b'\r' && content.get(at + 1) == Some(&b'\n');
    (0..content.len()).filter(|at| !ends(at)).map(|at| content[at]).collect()
}

fn bare_line_ends(content: &[u8]) -> usize {
    let mut before = 0;
    let mut bare = 0;
    for &byte in content {
        bare += usize::from(byte == b'\n' && before != b'\r');
        before = byte;
    }
    bare
}

/// A name as on the wire (RFC 3501 section 5.1.3), in a dozen lines of its own: the harness shares no name handling with the product.
pub fn modified_utf7(name: &str) -> String {
    use base64::Engine as _;
    let mut out = String::new();
    let mut pending: Vec<u8> = Vec::new();
    for symbol in name.chars().map(Some).chain([None]) {
        match symbol {
            Some(symbol) if !(' '..='~').contains(&symbol) => {
                let mut units = [0; 2];
                pending.extend(symbol.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
                continue;
            }
            _ if !pending.is_empty() => {
                let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&pending);
                out.push_str(&format!("&{}-", text.replace('/', ",")));
                pending.clear();
            }
            _ => {}
        }
        match symbol {
            Some('&') => out.push_str("&-"),
            Some(symbol) => out.push(symbol),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_rfc() {
        assert_eq!(modified_utf7("Über & Co"), "&ANw-ber &- Co");
        assert_eq!(modified_utf7("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
    }
}
