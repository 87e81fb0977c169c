//! Messages: generated ones with every oddity that IMAP servers serve, the same for the same seed, and real ones.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Keywords that generated messages carry.
const KEYWORDS: [&str; 5] = ["Work", "$Forwarded", "NonJunk", "Later", "$label1"];

/// Folders of a generated mailbox: nested, with special use, non-ASCII, and characters that names may have.
pub const FOLDERS: [&[&str]; 12] = [
    &["INBOX"],
    &["Sent"],
    &["Drafts"],
    &["Trash"],
    &["Projekte", "2024", "Über München"],
    &["Projekte", "2024"],
    &["日本語", "受信"],
    &["Archiv & Ablage"],
    &["Lists", "rust-users"],
    &["INBOX", "Old"],
    &["with \"quotes\" and 100%"],
    &["Ελληνικά"],
];

/// The five flags that every server has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `\Draft`
    pub draft: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Seen`
    pub seen: bool,
    /// `\Deleted`
    pub deleted: bool,
}

/// One message as it lies on the source.
#[derive(Debug, Clone)]
pub struct Message {
    /// Folder, from the root down, in Unicode.
    pub folder: Vec<String>,
    /// The file's bytes. Dovecot serves bare LF as CRLF.
    pub content: Vec<u8>,
    /// INTERNALDATE, seconds since the epoch.
    pub date: i64,
    /// System flags.
    pub flags: Flags,
    /// Keywords.
    pub keywords: Vec<String>,
}

/// What was put into a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Messages.
    pub messages: u64,
    /// Bytes as IMAP serves them.
    pub bytes: u64,
}

/// What a generated mailbox is like.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// The same seed gives the same mailbox.
    pub seed: u64,
    /// Number of messages.
    pub messages: u64,
    /// Largest message in bytes; with 30 MB and 10,000 messages the mailbox has about 700 MB.
    pub largest: usize,
}

impl Recipe {
    /// The mailbox that the product is measured by: 10,000 messages, 300 bytes to 30 MB, about 700 MB.
    pub fn full() -> Self {
        Self { seed: 2026, messages: 10_000, largest: 30_000_000 }
    }

    /// A small one of the same kind.
    pub fn small(seed: u64, messages: u64) -> Self {
        Self { seed, messages, largest: 1_000_000 }
    }

    /// Its messages in order.
    pub fn mailbox(self) -> impl Iterator<Item = Message> {
        let mut generator = Generator::new(self.seed);
        (0..self.messages).map(move |index| generator.message(index, self))
    }
}

/// SplitMix64: small, good enough, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    /// True once in `count` throws.
    fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A number in the range whose logarithm is evenly spread: many small ones, few large ones.
    fn spread(&mut self, low: usize, high: usize) -> usize {
        let part = self.below(1 << 20) as f64 / f64::from(1 << 20);
        let value = (low as f64) * ((high as f64) / (low as f64)).powf(part);
        value as usize
    }
}

struct Generator {
    dice: Dice,
    block: Vec<u8>,
    last: Option<Message>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut block = Vec::with_capacity(1 << 20);
        while block.len() < 1 << 20 {
            for _ in 0..76 {
                block.push(letters[dice.below(64) as usize]);
            }
            block.extend_from_slice(b"\r\n");
        }
        Self { dice, block, last: None }
    }

    fn size(&mut self, index: u64, recipe: Recipe) -> usize {
        let size = match index % 1000 {
            // Ten in 10,000 carry most of the weight.
            500 => self.dice.spread(11_000_000, 30_000_000),
            at if at % 34 == 7 => self.dice.spread(200_000, 4_000_000),
            at if at % 6 == 1 => self.dice.spread(16_000, 200_000),
            3 => 300,
            _ => self.dice.spread(300, 16_000),
        };
        size.min(recipe.largest)
    }

    fn message(&mut self, index: u64, recipe: Recipe) -> Message {
        if index % 97 == 96
            && let Some(last) = self.last.clone()
        {
            // The source holds it twice, so must the target.
            return last;
        }
        let size = self.size(index, recipe);
        let content = self.content(index, size);
        let dice = &mut self.dice;
        let folder = if dice.once_in(2) { 0 } else { dice.below(FOLDERS.len() as u64) as usize };
        let date = match index % 40 {
            11 => 86_400 + dice.below(86_400 * 3000) as i64,
            // Dovecot replaces dates in the future by its own; all of these are past.
            12 => 946_684_799,
            _ => 1_100_000_000 + dice.below(600_000_000) as i64,
        };
        let flags = Flags {
            draft: dice.once_in(20),
            flagged: dice.once_in(6),
            answered: dice.once_in(4),
            seen: !dice.once_in(3),
            deleted: dice.once_in(25),
        };
        let keywords = KEYWORDS.iter().filter(|_| dice.once_in(9)).map(|word| (*word).to_owned()).collect();
        let message = Message {
            folder: FOLDERS[folder].iter().map(|part| (*part).to_owned()).collect(),
            content,
            date,
            flags,
            keywords,
        };
        self.last = Some(message.clone());
        message
    }

    fn content(&mut self, index: u64, size: usize) -> Vec<u8> {
        let mut text = format!(
            "From: Terry Adams <terrya@contoso.edu>\r\nTo: ann.beebe@contoso.edu\r\nSubject: Message {index}\r\n"
        );
        match index % 50 {
            // None at all.
            7 => {}
            // One that several messages share.
            at if at % 13 == 5 => {
                text.push_str(&format!("Message-ID: <shared-{}@contoso.edu>\r\n", index % 7))
            }
            _ => {
                text.push_str(&format!("Message-ID: <{index}.{}@contoso.edu>\r\n", self.dice.below(u64::MAX)))
            }
        }
        text.push_str("Date: Thu, 30 Feb 2017 25:61:00 +9999\r\nX-Empty:\r\n");
        if index % 101 == 100 {
            // A header and no blank line after it.
            return text.into_bytes();
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        match index % 31 {
            3 => bytes.extend_from_slice(b")\r\nA1 OK FETCH completed\r\n* 1 FETCH (BODY[] {4294967296}\r\n+ go on\r\n* BYE\r\n.\r\n..\r\n"),
            5 => bytes.extend_from_slice(b"Gr\xfc\xdfe, \xa9 8-bit \xff\xfe\x80\x01\x7f without a charset\r\n"),
            9 => bytes.extend_from_slice(b"bare\rcarriage\rreturns\r\r.\r\n"),
            13 => bytes.extend_from_slice("Grüße aus 東京, in UTF-8 🚀\r\n".as_bytes()),
            17 => bytes.extend(std::iter::repeat_n(b'x', 5000)),
            21 => bytes.extend_from_slice(b"\r\n\r\n\r\nFrom the start\r\n>From quoted\r\n"),
            _ => {}
        }
        self.fill(&mut bytes, size);
        if index % 29 == 4 {
            // A file with bare LF: the server shows CRLF.
            bytes.retain(|&byte| byte != b'\r');
        } else if index % 29 == 8 {
            // Some lines end in bare LF, others do not.
            bytes.extend_from_slice(b"one\ntwo\r\nthree\n");
        }
        bytes
    }

    fn fill(&mut self, bytes: &mut Vec<u8>, size: usize) {
        while bytes.len() < size {
            let lines = (self.block.len() / 78) as u64;
            let from = 78 * self.dice.below(lines) as usize;
            let take = (size - bytes.len()).min(self.block.len() - from);
            bytes.extend_from_slice(&self.block[from..from + take]);
        }
        // No bare CR or cut line at the very end: sizes must mean what they say.
        let len = bytes.len();
        if len >= 2 {
            bytes[len - 2..].copy_from_slice(b"\r\n");
        }
        if len >= 3 && bytes[len - 3] == b'\r' {
            bytes[len - 3] = b'=';
        }
    }
}

/// A message of exactly `size` bytes, as file and over IMAP.
pub fn exact(folder: &[&str], size: usize, subject: &str, date: i64) -> Message {
    let mut generator = Generator::new(size as u64);
    let mut content = format!(
        "From: Terry Adams <terrya@contoso.edu>\r\nSubject: {subject}\r\nMessage-ID: <{size}@contoso.edu>\r\n\r\n"
    )
    .into_bytes();
    generator.fill(&mut content, size);
    Message {
        folder: folder.iter().map(|part| (*part).to_owned()).collect(),
        content,
        date,
        flags: Flags::default(),
        keywords: Vec::new(),
    }
}

/// Where Debian's libpython3.x-testsuite keeps messages.
fn debian_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        let data = entry.path().join("test/test_email/data");
        if entry.file_name().to_string_lossy().starts_with("python3.") && data.is_dir() {
            folders.push(data);
        }
    }
    folders.sort();
    folders
}

/// Real messages: Debian's, and every `.eml` below `MAILFERRY_TEST_MAIL` if that is set. Left out are messages with NUL
/// (IMAP4rev1 cannot carry them), empty files, and those where a CR stands before a line end or at the end: Dovecot,
/// our target, drops that CR in APPEND, whoever sends it.
pub fn real() -> anyhow::Result<Vec<Message>> {
    let mut files = Vec::new();
    for folder in debian_folders() {
        gather(&folder, &mut files).with_context(|| folder.display().to_string())?;
    }
    if let Some(folder) = std::env::var_os("MAILFERRY_TEST_MAIL") {
        let folder = PathBuf::from(folder);
        gather(&folder, &mut files).with_context(|| folder.display().to_string())?;
    }
    files.sort();
    let mut dice = Dice::new(files.len() as u64);
    let mut messages = Vec::new();
    for file in files {
        let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
        if content.is_empty() || content.contains(&0) || cr_before_line_end(&content) {
            continue;
        }
        let folder = FOLDERS[dice.below(FOLDERS.len() as u64) as usize];
        messages.push(Message {
            folder: folder.iter().map(|part| (*part).to_owned()).collect(),
            content,
            date: 1_000_000_000 + dice.below(700_000_000) as i64,
            flags: Flags { seen: dice.once_in(2), flagged: dice.once_in(5), ..Flags::default() },
            keywords: Vec::new(),
        });
    }
    Ok(messages)
}

fn cr_before_line_end(content: &[u8]) -> bool {
    content.ends_with(b"\r") || content.windows(3).any(|three| three == b"\r\r\n")
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            gather(&path, files)?;
        } else if name.ends_with(".eml") || (name.starts_with("msg_") && name.ends_with(".txt")) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_mailbox() {
        let contents =
            |seed| Recipe::small(seed, 60).mailbox().map(|m| (m.content, m.date)).collect::<Vec<_>>();
        assert_eq!(contents(5), contents(5));
        assert_ne!(contents(5), contents(6));
    }

    #[test]
    fn the_full_mailbox_has_the_weight_that_it_claims() {
        let mut sizes: Vec<usize> = Vec::new();
        let mut generator = Generator::new(Recipe::full().seed);
        for index in 0..10_000 {
            sizes.push(generator.size(index, Recipe::full()));
        }
        let total: usize = sizes.iter().sum();
        assert!((600_000_000..800_000_000).contains(&total), "{total}");
        assert_eq!(sizes.iter().min(), Some(&300));
        assert!(sizes.iter().any(|&size| size > 25_000_000));
    }

    #[test]
    fn exact_is_exact_and_has_whole_lines() {
        let message = exact(&["INBOX"], 36_700_160, "limit", 0);
        assert_eq!(message.content.len(), 36_700_160);
        let bare = message.content.windows(2).filter(|pair| pair[1] == b'\n' && pair[0] != b'\r').count();
        assert_eq!(bare, 0);
    }
}
