//! Fills a mailbox by IMAP, for servers whose store nobody else may write: folders below INBOX, messages with their dates,
//! flags and keywords, as far as the server takes them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::mail::{Flags, Loaded, Message};
use crate::maildir::modified_utf7;
use crate::stand::{Person, Stand};
use crate::talk::Talk;

/// What became of it.
#[derive(Debug, Clone, Default)]
pub struct Posted {
    /// What the server took.
    pub loaded: Loaded,
    /// What it refused, and its words: messages that break rules, names that it does not have.
    pub refused: Vec<String>,
}

/// A folder's name at a server that has all folders below INBOX and a dot between levels.
pub fn below_inbox(parts: &[String]) -> String {
    let levels = parts.iter().skip_while(|part| *part == "INBOX").map(|part| modified_utf7(part));
    [vec!["INBOX".to_owned()], levels.collect()].concat().join(".")
}

impl Stand {
    /// Appends messages at the source itself. What goes into a folder that the server does not make goes into INBOX.
    pub async fn post(
        &self,
        person: &Person,
        messages: impl Iterator<Item = Message>,
    ) -> anyhow::Result<Posted> {
        let mut talk = self.talk_directly(person).await?;
        let mut posted = Posted::default();
        let mut folders: BTreeMap<Vec<String>, String> = BTreeMap::new();
        let mut made: BTreeSet<String> = ["INBOX".to_owned()].into();
        for message in messages {
            let folder = match folders.get(&message.folder) {
                Some(folder) => folder.clone(),
                None => {
                    let name = below_inbox(&message.folder);
                    let answer = match made.contains(&name) {
                        true => "OK".to_owned(),
                        false => {
                            talk.ask(&format!("CREATE {}", quoted(&name))).await?.pop().unwrap_or_default()
                        }
                    };
                    let there = answer.starts_with("OK") || answer.contains("xists");
                    let folder = if there { name } else { "INBOX".to_owned() };
                    if !there {
                        posted.refused.push(format!("folder {:?}: {answer}", message.folder));
                    }
                    made.insert(folder.clone());
                    folders.insert(message.folder.clone(), folder.clone());
                    folder
                }
            };
            let content = crlf(&message.content);
            let words = words(message.flags, &message.keywords);
            let answer = append(&mut talk, &folder, &words, message.date, &content).await?;
            if answer.starts_with("OK") {
                posted.loaded.messages += 1;
                posted.loaded.bytes += content.len() as u64;
            } else {
                posted.refused.push(answer);
            }
        }
        Ok(posted)
    }

    /// How a source's folders below INBOX are called at the target, by their names on the wire: for
    /// [`account_with`](Self::account_with).
    pub async fn names_below_inbox(&self, person: &Person) -> anyhow::Result<BTreeMap<String, String>> {
        let special = |name: &str| match name {
            "Sent" => Some("Sent Items"),
            "Trash" => Some("Deleted Items"),
            "Junk" => Some("Junk Email"),
            _ => None,
        };
        let names = self.talk_directly(person).await?.folders().await?;
        let below = names.into_iter().filter_map(|name| {
            let name = name.replace("\\\"", "\"");
            let own = name.strip_prefix("INBOX.")?.to_owned();
            let target = special(&own).map_or_else(|| own.replace('.', "/"), str::to_owned);
            Some((name, target))
        });
        Ok(below.collect())
    }
}

async fn append(
    talk: &mut Talk,
    folder: &str,
    flags: &str,
    date: i64,
    content: &[u8],
) -> anyhow::Result<String> {
    let date = internal_date(date).context("a date before 1970")?;
    let command = format!("APPEND {} ({flags}) \"{date}\"", quoted(folder));
    talk.ask_with(&command, content).await?.pop().context("no answer")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn words(flags: Flags, keywords: &[String]) -> String {
    let system = [
        (flags.draft, "\\Draft"),
        (flags.flagged, "\\Flagged"),
        (flags.answered, "\\Answered"),
        (flags.seen, "\\Seen"),
        (flags.deleted, "\\Deleted"),
    ];
    let set = system.into_iter().filter_map(|(set, word)| set.then_some(word));
    set.chain(keywords.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// As IMAP carries it: servers refuse a bare LF.
fn crlf(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut before = 0;
    for &byte in content {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

/// Days and months by Howard Hinnant's `civil_from_days`; the zone is UTC.
fn internal_date(seconds: i64) -> Option<String> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (u64::try_from(seconds).ok()? / 86_400, u64::try_from(seconds).ok()? % 86_400);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    let name = MONTHS.get(usize::try_from(month).ok()?)?;
    let year = era * 400 + year + later;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    Some(format!("{day:02}-{name}-{year} {hour:02}:{minute:02}:{second:02} +0000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |seconds| internal_date(seconds).unwrap_or_default();
        assert_eq!(date(0), "01-Jan-1970 00:00:00 +0000");
        assert_eq!(date(946_684_799), "31-Dec-1999 23:59:59 +0000");
        assert_eq!(date(951_782_400), "29-Feb-2000 00:00:00 +0000");
        assert_eq!(date(1_700_000_000), "14-Nov-2023 22:13:20 +0000");
    }
}
