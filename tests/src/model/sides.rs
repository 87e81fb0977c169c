//! What both sides hold, read by hand, and what of it does not agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;

use super::filled::Filled;
use crate::stand::{Person, Stand};
use crate::talk::Talk;

/// Folders that every target mailbox has by itself.
pub const THEIR_OWN: [&str; 7] =
    ["INBOX", "Drafts", "Sent Items", "Deleted Items", "Junk Email", "Archive", "Outbox"];

/// A header line that mail has which arrived at the target by itself.
pub const FOREIGN: &str = "X-Arrived: by itself";

/// One message as it must be on both sides: content, INTERNALDATE, system flags.
pub type Mail = (String, i64, String);

/// How often each message is in a folder.
type Folder = BTreeMap<Mail, usize>;

/// Both sides, by the folder's name at the target.
pub struct Sides {
    source: BTreeMap<String, Folder>,
    target: BTreeMap<String, Folder>,
    /// Which folders somebody subscribed to.
    subscribed: [BTreeSet<String>; 2],
}

/// What the target may hold beside one copy of each message of the source.
pub struct Beside<'a> {
    /// Mail that arrived there by itself: all of it, wherever.
    pub foreign: &'a [Mail],
    /// What another tool put there: none of it may be gone.
    pub filled: &'a Filled,
    /// Copies of what is gone at the source.
    pub gone: Gone,
}

/// What becomes of copies of what is gone at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// They are gone, too.
    Away,
    /// They are still there, marked `\\Deleted`.
    Marked,
    /// So many wait for an operator's word.
    Held(u64),
}

impl Sides {
    /// Reads both mailboxes whole.
    pub async fn read(stand: &Stand, person: &Person) -> anyhow::Result<Self> {
        let (mut source, mut target) = (stand.talk_directly(person).await?, stand.look(person).await?);
        let subscribed = [subscribed(&mut source).await?, subscribed(&mut target).await?];
        let source = read(&mut source).await?;
        let source = source.into_iter().map(|(name, folder)| (mapped(&name), folder)).collect();
        Ok(Self { source, target: read(&mut target).await?, subscribed })
    }

    /// The same; Dovecot ends a session whose folder is deleted by who tidies up behind the last pass.
    pub async fn read_quietly(stand: &Stand, person: &Person) -> anyhow::Result<Self> {
        for _ in 0..2 {
            if let Ok(sides) = Self::read(stand, person).await {
                return Ok(sides);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Self::read(stand, person).await
    }

    /// Messages at the source.
    pub fn messages(&self) -> u64 {
        self.source.values().flat_map(BTreeMap::values).map(|count| *count as u64).sum()
    }

    /// Messages in a folder of the target.
    pub fn on_target(&self, name: &str) -> u64 {
        self.target.get(name).map_or(0, |folder| folder.values().map(|count| *count as u64).sum())
    }

    /// The source folder with the most messages: its name at the target, and how many.
    pub fn fullest(&self) -> Option<(&str, u64)> {
        let count = |folder: &Folder| folder.values().map(|count| *count as u64).sum();
        self.source.iter().map(|(name, folder)| (name.as_str(), count(folder))).max_by_key(|one| one.1)
    }

    /// Empty folders that the source does not have (any more): no message is wrong there, but nobody needs them.
    pub fn left_over(&self) -> Vec<&str> {
        let names = self.target.iter().filter(|(name, theirs)| {
            let is_parent = self.target.keys().any(|other| other.starts_with(&format!("{name}/")));
            theirs.is_empty() && !self.source.contains_key(*name) && !is_parent
        });
        names.map(|(name, _)| name.as_str()).filter(|name| !THEIR_OWN.contains(name)).collect()
    }

    /// What does not agree, in words.
    pub fn differences(&self, beside: &Beside<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut arrived = Folder::new();
        let mut surplus: Vec<(&str, Mail)> = Vec::new();
        for name in self.source.keys().chain(self.target.keys()).collect::<BTreeSet<_>>() {
            let nothing = Folder::new();
            let ours = self.source.get(name).unwrap_or(&nothing);
            let mut theirs = self.target.get(name).unwrap_or(&nothing).clone();
            if !self.target.contains_key(name) {
                wrong.push(format!("{name}: not on the target, {} messages", ours.len()));
            }
            theirs.retain(|mail, count| {
                let is_foreign = mail.0.contains(FOREIGN);
                if is_foreign {
                    *arrived.entry(mail.clone()).or_default() += *count;
                }
                !is_foreign
            });
            for (mail, ours, theirs) in unequal(ours, &theirs) {
                if ours > theirs {
                    wrong.push(format!("{name}: {}", told(mail, ours, theirs)));
                }
                surplus
                    .extend(std::iter::repeat_n((name.as_str(), mail.clone()), theirs.saturating_sub(ours)));
            }
        }
        let mut planted = Folder::new();
        beside.foreign.iter().for_each(|mail| *planted.entry(mail.clone()).or_default() += 1);
        for (mail, planted, arrived) in unequal(&planted, &arrived) {
            wrong.push(format!("mail that arrived by itself: {}", told(mail, planted, arrived)));
        }
        self.judge_surplus(surplus, beside, &mut wrong);
        let of = |side: usize, name: &String| self.subscribed[side].contains(name);
        for name in self.source.keys().filter(|name| of(0, name) != of(1, name)) {
            let (ours, theirs) = (of(0, name), of(1, name));
            wrong.push(format!("{name}: subscribed to at the source {ours}, on the target {theirs}"));
        }
        wrong
    }

    /// Whether what the target has beyond the source is what it may have.
    fn judge_surplus(&self, surplus: Vec<(&str, Mail)>, beside: &Beside<'_>, wrong: &mut Vec<String>) {
        // What another tool put there, wherever it went with its folder since.
        let mut filled: BTreeMap<(&str, i64), usize> = BTreeMap::new();
        for ((_, text, date), count) in beside.filled {
            *filled.entry((text, *date)).or_default() += count;
        }
        for ((text, date), count) in &filled {
            let alike = |mail: &&Mail| mail.0 == *text && mail.1 == *date;
            let there =
                self.target.values().flat_map(|folder| folder.keys().filter(alike).map(|mail| folder[mail]));
            let there: usize = there.sum();
            if there < *count {
                wrong.push(format!(
                    "{:?}: {there} of {count} copies are left that another tool made",
                    subject(text)
                ));
            }
        }
        let mut held = 0;
        for (name, mail) in &surplus {
            if let Some(left) = filled.get_mut(&(mail.0.as_str(), mail.1)).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            match beside.gone {
                Gone::Marked if mail.2.contains("\\Deleted") => {}
                Gone::Held(_) => held += 1,
                Gone::Away | Gone::Marked => {
                    wrong.push(format!("{name}: {} once more than at the source", told_one(mail)))
                }
            }
        }
        if let Gone::Held(said) = beside.gone
            && said != held
        {
            wrong.push(format!("{said} deletions are said to be held, but {held} copies are there"));
        }
    }

    /// Whether each message that another tool put there was taken for a copy, where nobody did anything since.
    pub fn not_adopted(&self, filled: &Filled) -> Vec<String> {
        let mut wrong = Vec::new();
        let count = |side: &BTreeMap<String, Folder>, of: &(String, String, i64)| -> usize {
            let folder = side.get(&of.0).into_iter().flatten();
            folder.filter(|(mail, _)| mail.0 == of.1 && mail.1 == of.2).map(|(_, count)| *count).sum()
        };
        for (of, filled) in filled {
            let (ours, theirs) = (count(&self.source, of), count(&self.target, of));
            if theirs != ours.max(*filled) {
                let subject = subject(&of.1);
                wrong.push(format!(
                    "{}: {subject:?} {ours} times at the source, {filled} times by another tool, but {theirs} times",
                    of.0
                ));
            }
        }
        wrong
    }
}

/// What is not as often on both sides: how often on either.
fn unequal<'a>(ours: &'a Folder, theirs: &'a Folder) -> Vec<(&'a Mail, usize, usize)> {
    let all: BTreeSet<&Mail> = ours.keys().chain(theirs.keys()).collect();
    let count = |side: &Folder, mail: &Mail| side.get(mail).copied().unwrap_or(0);
    all.into_iter()
        .map(|mail| (mail, count(ours, mail), count(theirs, mail)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect()
}

fn told(mail: &Mail, ours: usize, theirs: usize) -> String {
    format!("{} {ours} times at the source, {theirs} times on the target", told_one(mail))
}

fn told_one((text, date, flags): &Mail) -> String {
    format!("{:?} ({} bytes, date {date}, flags {flags:?})", subject(text), text.len())
}

fn subject(text: &str) -> &str {
    text.split_once("Subject: ").map_or("", |(_, rest)| rest.lines().next().unwrap_or(""))
}

/// The target's name of a source folder.
pub fn mapped(name: &str) -> String {
    match name {
        "Sent" => "Sent Items".to_owned(),
        "Trash" => "Deleted Items".to_owned(),
        "Junk" => "Junk Email".to_owned(),
        other => other.replace('.', "/"),
    }
}

/// The source's name of a target folder.
pub fn at_source(name: &str) -> String {
    match name {
        "Sent Items" => "Sent".to_owned(),
        "Deleted Items" => "Trash".to_owned(),
        "Junk Email" => "Junk".to_owned(),
        other => other.replace('/', "."),
    }
}

/// The folders, under their names at the target, that somebody subscribed to.
async fn subscribed(talk: &mut Talk) -> anyhow::Result<BTreeSet<String>> {
    let lines = talk.say("LSUB \"\" *").await?;
    let named = lines.iter().filter_map(|line| line.strip_prefix("* LSUB ")?.splitn(3, '"').nth(2));
    Ok(named.map(|name| mapped(name.trim().trim_matches('"'))).collect())
}

/// All that a mailbox holds.
pub async fn read(talk: &mut Talk) -> anyhow::Result<BTreeMap<String, Folder>> {
    let mut folders = BTreeMap::new();
    for name in talk.selectable().await? {
        let opened = talk.ask(&format!("EXAMINE \"{name}\"")).await?;
        // Dovecot may list a folder that it deleted while somebody else had it open.
        if opened.last().is_some_and(|last| last.starts_with("NO")) {
            continue;
        }
        let mut folder = Folder::new();
        if !opened.iter().any(|line| line == "* 0 EXISTS") {
            let lines = talk.say("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])").await?;
            for line in lines.iter().filter(|line| line.contains(" FETCH (") && line.contains("BODY[] ")) {
                *folder.entry(mail(line).with_context(|| format!("{name}: {line}"))?).or_default() += 1;
            }
        }
        folders.insert(name, folder);
    }
    Ok(folders)
}

fn mail(line: &str) -> anyhow::Result<Mail> {
    let between = |from: &str, to: &str| {
        let (_, rest) = line.split_once(from).with_context(|| format!("no {from}"))?;
        rest.split_once(to).map(|(found, _)| found).with_context(|| format!("no {to} after {from}"))
    };
    let mut flags: Vec<&str> = between("FLAGS (", ")")?.split(' ').collect();
    flags.retain(|flag| flag.starts_with('\\') && *flag != "\\Recent");
    flags.sort_unstable();
    let date = moment(between("INTERNALDATE \"", "\"")?).context("date")?;
    let (_, rest) = line.split_once("BODY[] ").context("no body")?;
    let size: usize = between("BODY[] {", "}")?.parse()?;
    let (_, body) = rest.split_once('\n').context("no literal")?;
    Ok((body.get(..size).context("a short literal")?.to_owned(), date, flags.join(" ")))
}

/// Seconds since the epoch of ` 1-Sep-2020 10:00:00 +0530`.
fn moment(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_ascii_whitespace();
    let (day, clock, zone) = (words.next()?, words.next()?, words.next()?);
    let mut day = day.split('-');
    let (date, month, year): (i64, &str, i64) =
        (day.next()?.parse().ok()?, day.next()?, day.next()?.parse().ok()?);
    let month = MONTHS.find(month)? as i64 / 3 + 1;
    let mut clock = clock.split(':').map_while(|part| part.parse::<i64>().ok());
    let seconds = clock.next()? * 3600 + clock.next()? * 60 + clock.next()?;
    let zone: i64 = zone.parse().ok()?;
    let offset = (zone / 100 * 60 + zone % 100) * 60;
    // Days from civil, after Howard Hinnant.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + date - 1 - 719_468;
    Some(days * 86_400 + seconds - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment(" 1-Jan-1970 05:30:00 +0530"), Some(0));
        assert_eq!(moment("29-Feb-2020 12:00:01 -0130"), Some(1_582_983_001));
    }
}
