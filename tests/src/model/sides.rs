//! What both sides hold, read by hand, and what of it does not agree.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::stand::{Person, Stand};
use crate::talk::Talk;

/// Folders that every target mailbox has by itself.
const THEIR_OWN: [&str; 7] =
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
}

impl Sides {
    /// Reads both mailboxes whole.
    pub async fn read(stand: &Stand, person: &Person) -> anyhow::Result<Self> {
        let source = read(&mut stand.talk_directly(person).await?).await?;
        let source = source.into_iter().map(|(name, folder)| (mapped(&name), folder)).collect();
        let target = read(&mut stand.look(person).await?).await?;
        Ok(Self { source, target })
    }

    /// Messages at the source.
    pub fn messages(&self) -> u64 {
        self.source.values().flat_map(BTreeMap::values).map(|count| *count as u64).sum()
    }

    /// Empty folders that the source does not have (any more): no message is wrong there, but nobody needs them.
    pub fn left_over(&self) -> Vec<&str> {
        let names = self.target.iter().filter(|(name, theirs)| {
            let is_parent = self.target.keys().any(|other| other.starts_with(&format!("{name}/")));
            theirs.is_empty() && !self.source.contains_key(*name) && !is_parent
        });
        names.map(|(name, _)| name.as_str()).filter(|name| !THEIR_OWN.contains(name)).collect()
    }

    /// What does not agree, in words. `foreign` arrived at the target by itself.
    pub fn differences(&self, foreign: &[Mail]) -> Vec<String> {
        let mut wrong = Vec::new();
        let nothing = Folder::new();
        let mut found: Folder = Folder::new();
        for (name, theirs) in &self.target {
            let ours = self.source.get(name).unwrap_or(&nothing);
            let mut copies = theirs.clone();
            copies.retain(|mail, count| {
                let is_foreign = mail.0.contains(FOREIGN);
                if is_foreign {
                    *found.entry(mail.clone()).or_default() += *count;
                }
                !is_foreign
            });
            compare(name, ours, &copies, &mut wrong);
        }
        for (name, ours) in &self.source {
            if !self.target.contains_key(name) {
                wrong.push(format!("{name}: not on the target, {} messages", ours.len()));
            }
        }
        let mut planted = Folder::new();
        foreign.iter().for_each(|mail| *planted.entry(mail.clone()).or_default() += 1);
        compare("mail that arrived by itself", &planted, &found, &mut wrong);
        wrong
    }
}

fn compare(name: &str, ours: &Folder, theirs: &Folder, wrong: &mut Vec<String>) {
    let mut all: Vec<&Mail> = ours.keys().chain(theirs.keys()).collect();
    all.sort_unstable();
    all.dedup();
    for mail in all {
        let count = |side: &Folder| side.get(mail).copied().unwrap_or(0);
        if count(ours) != count(theirs) {
            let (text, date, flags) = mail;
            let subject =
                text.split_once("Subject: ").map_or("", |(_, rest)| rest.lines().next().unwrap_or(""));
            wrong.push(format!(
                "{name}: {subject:?} ({} bytes, date {date}, flags {flags:?}) {} times at the source, {} times on the target",
                text.len(),
                count(ours),
                count(theirs)
            ));
        }
    }
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

async fn read(talk: &mut Talk) -> anyhow::Result<BTreeMap<String, Folder>> {
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
