//! The user: works through the proxy, and at the source itself where it knows nothing; and people who write to the
//! target.

use anyhow::Context;

use super::sides::{FOREIGN, Mail, mapped};
use crate::mail::Dice;
use crate::stand::{Person, Stand};
use crate::talk::Talk;

/// Names for new folders.
const NAMES: [&str; 5] = ["Work", "Lists", "Family", "&ANw-ber uns", "2024"];

/// Folders of the server, which nobody renames.
pub(super) const FIXED: [&str; 5] = ["INBOX", "Sent", "Drafts", "Trash", "Junk"];

/// What a user does with flags.
pub(super) const FLAGS: [&str; 8] =
    ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Forwarded", "Work", "\\Seen \\Flagged"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Which way the user goes to the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Proxy,
    Behind,
}

/// A message as it was written.
#[derive(Clone)]
struct Letter {
    text: String,
    date: String,
}

/// The user of one mailbox.
pub struct User {
    person: Person,
    seed: u64,
    letters: Vec<Letter>,
    foreign: Vec<Mail>,
    validities: u32,
    /// Letters of which there are several from the first.
    pub(super) twins: u32,
    proxy: Option<Talk>,
    direct: Option<Talk>,
}

impl User {
    /// Somebody who has not done anything yet.
    pub fn new(person: Person, seed: u64) -> Self {
        Self {
            person,
            seed,
            letters: Vec::new(),
            foreign: Vec::new(),
            validities: 0,
            twins: 0,
            proxy: None,
            direct: None,
        }
    }

    /// Mail that arrived at the target by itself.
    pub fn foreign(&self) -> &[Mail] {
        &self.foreign
    }

    /// Does something; what, in words. A connection that breaks on the way is no error: the next step opens another one.
    pub async fn step(&mut self, stand: &Stand, dice: &mut Dice) -> anyhow::Result<String> {
        // A fixed number of throws a step: one that fails does not change the steps after it.
        let mut own = Dice::new(dice.below(u64::MAX));
        let by = Self::by(&mut own);
        let done = match own.below(20) {
            0 => self.receive(stand, &mut own).await,
            1 => self.new_validity(stand, &mut own).await,
            kind => self.work(stand, by, kind, &mut own).await,
        };
        match done {
            Ok(what) => Ok(what),
            Err(error) => Ok(format!("{by:?}: {}", self.hang_up_after(&error))),
        }
    }

    /// The next step opens other connections; what went wrong, in words.
    pub(super) fn hang_up_after(&mut self, error: &anyhow::Error) -> String {
        self.hang_up();
        format!("{error:#}").lines().next().unwrap_or_default().to_owned()
    }

    /// The next step opens other connections.
    pub(super) fn hang_up(&mut self) {
        self.proxy = None;
        self.direct = None;
    }

    /// Which way they go this time.
    pub(super) fn by(own: &mut Dice) -> By {
        if own.below(3) == 0 { By::Behind } else { By::Proxy }
    }

    /// Whose mailbox it is.
    pub(super) fn person(&self) -> &Person {
        &self.person
    }

    /// Number of the life.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    async fn work(&mut self, stand: &Stand, by: By, kind: u64, own: &mut Dice) -> anyhow::Result<String> {
        let folders = self.folders(stand).await?;
        let made: Vec<&String> = folders.iter().filter(|name| !FIXED.contains(&name.as_str())).collect();
        let folder = pick(&folders, own).context("no folder")?.clone();
        match (kind, made.is_empty()) {
            (2..=7, _) => self.append(stand, by, &folder, own).await,
            (8..=10, _) => self.flag(stand, by, &folder, own).await,
            (11 | 12, _) => {
                let to = pick(&folders, own).context("no folder")?.clone();
                let verb = if own.below(3) == 0 { "COPY" } else { "MOVE" };
                let uids = self.some_of(stand, by, &folder, own).await?;
                self.say(stand, by, &format!("UID {verb} {uids} \"{to}\"")).await?;
                Ok(format!("{by:?}: {verb} {uids} of {folder} to {to}"))
            }
            (13 | 14, _) => {
                let uids = self.some_of(stand, by, &folder, own).await?;
                self.say(stand, by, &format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)")).await?;
                let expunge =
                    if own.below(3) == 0 { "EXPUNGE".to_owned() } else { format!("UID EXPUNGE {uids}") };
                self.say(stand, by, &expunge).await?;
                Ok(format!("{by:?}: deleted {uids} of {folder} by {expunge}"))
            }
            (15 | 16, _) | (_, true) => {
                let name = new_name(&made, own);
                self.say(stand, by, &format!("CREATE \"{name}\"")).await?;
                let more = self.append(stand, by, &name, own).await?;
                Ok(format!("{by:?}: CREATE {name}; {more}"))
            }
            (17, false) => {
                let old = pick(&made, own).context("no folder")?.to_string();
                let name = new_name(&made, own);
                self.say(stand, by, &format!("RENAME \"{old}\" \"{name}\"")).await?;
                Ok(format!("{by:?}: RENAME {old} {name}"))
            }
            (18, false) => {
                let old = pick(&made, own).context("no folder")?.to_string();
                self.say(stand, by, &format!("DELETE \"{old}\"")).await?;
                Ok(format!("{by:?}: DELETE {old}"))
            }
            (_, false) => {
                let old = pick(&made, own).context("no folder")?.to_string();
                self.say(stand, by, &format!("DELETE \"{old}\"")).await?;
                self.say(stand, by, &format!("CREATE \"{old}\"")).await?;
                let more = self.append(stand, by, &old, own).await?;
                Ok(format!("{by:?}: DELETE and CREATE {old}; {more}"))
            }
        }
    }

    async fn append(
        &mut self,
        stand: &Stand,
        by: By,
        folder: &str,
        own: &mut Dice,
    ) -> anyhow::Result<String> {
        let mut words = format!("{by:?}: APPEND to {folder}:");
        for _ in 0..=own.below(4) {
            let letter = self.letter(own);
            let flags = if own.below(2) == 0 { FLAGS[own.below(8) as usize] } else { "" };
            let (text, date) = (&letter.text, &letter.date);
            let size = text.len();
            let command = format!("APPEND \"{folder}\" ({flags}) \"{date}\" {{{size}+}}\r\n{text}");
            self.say(stand, by, &command).await?;
            let subject = text.lines().next().unwrap_or_default();
            words.push_str(&format!(" {subject:?} ({flags})"));
        }
        Ok(words)
    }

    /// A new message, or one that was written before.
    fn letter(&mut self, own: &mut Dice) -> Letter {
        if own.below(6) == 0
            && let Some(known) = pick(&self.letters, own)
        {
            return known.clone();
        }
        let number = self.letters.len();
        // Some have the Message-ID of another one, some have none; but then nothing else is the same.
        let id = match own.below(10) {
            0 => String::new(),
            1 => format!("Message-ID: <{}-{}@contoso.edu>\r\n", self.seed, number / 2),
            _ => format!("Message-ID: <{}-{number}@contoso.edu>\r\n", self.seed),
        };
        let letter = Letter { text: text(&format!("letter {number}"), &id, own), date: date(own) };
        self.letters.push(letter.clone());
        letter
    }

    async fn flag(&mut self, stand: &Stand, by: By, folder: &str, own: &mut Dice) -> anyhow::Result<String> {
        let uids = self.some_of(stand, by, folder, own).await?;
        let (sign, flags) = (["+", "+", "-"][own.below(3) as usize], FLAGS[own.below(8) as usize]);
        self.say(stand, by, &format!("UID STORE {uids} {sign}FLAGS ({flags})")).await?;
        Ok(format!("{by:?}: {sign}{flags} on {uids} of {folder}"))
    }

    /// Opens a folder and picks messages in it.
    async fn some_of(
        &mut self,
        stand: &Stand,
        by: By,
        folder: &str,
        own: &mut Dice,
    ) -> anyhow::Result<String> {
        self.say(stand, by, &format!("SELECT \"{folder}\"")).await?;
        let lines = self.say(stand, by, "UID SEARCH ALL").await?;
        let found = lines.iter().find_map(|line| line.strip_prefix("* SEARCH")).unwrap_or_default();
        let uids: Vec<&str> = found.split_ascii_whitespace().collect();
        let first = own.below(uids.len() as u64) as usize;
        let count = 1 + own.below(3) as usize;
        let uids: Vec<&str> = uids.into_iter().skip(first).take(count).collect();
        anyhow::ensure!(!uids.is_empty(), "{folder} is empty");
        Ok(uids.join(","))
    }

    /// Somebody writes to the mailbox on the target.
    async fn receive(&mut self, stand: &Stand, own: &mut Dice) -> anyhow::Result<String> {
        let mut talk = stand.look(&self.person).await?;
        // Nobody can look into a folder and delete it at one stroke: nothing arrives where that is about to be done.
        let kept: Vec<String> = self.folders(stand).await?.iter().map(|name| mapped(name)).collect();
        let mut folders = talk.selectable().await?;
        folders.retain(|name| kept.contains(name));
        let folder = if own.below(2) == 0 { "INBOX" } else { pick(&folders, own).context("no folder")? };
        let number = self.foreign.len();
        let id = format!("Message-ID: <{}-foreign-{number}@contoso.edu>\r\n{FOREIGN}\r\n", self.seed);
        let text = text(&format!("foreign {number}"), &id, own);
        let flags = ["", "\\Seen"][own.below(2) as usize];
        let seconds = 1_500_000_000 + own.below(100_000_000) as i64;
        let size = text.len();
        let date = spelled(seconds, "+0000");
        talk.say(&format!("APPEND \"{folder}\" ({flags}) \"{date}\" {{{size}+}}\r\n{text}")).await?;
        self.foreign.push((text, seconds, flags.to_owned()));
        Ok(format!("foreign {number} arrives in {folder} of the target"))
    }

    /// A folder gets another UIDVALIDITY: alone, or with new UIDs, as after a restored backup.
    async fn new_validity(&mut self, stand: &Stand, own: &mut Dice) -> anyhow::Result<String> {
        let folders = self.folders(stand).await?;
        let folder = pick(&folders, own).context("no folder")?;
        if FIXED.contains(&folder.as_str()) {
            self.validities += 1;
            let instance = stand.source.dovecot()?.instance();
            instance.set_uid_validity(&self.person.login, folder, 2_000_000_000 + self.validities)?;
        } else {
            for command in [
                "CREATE Restored".to_owned(),
                format!("SELECT \"{folder}\""),
                "UID MOVE 1:* Restored".to_owned(),
                "UNSELECT".to_owned(),
                format!("DELETE \"{folder}\""),
                format!("RENAME Restored \"{folder}\""),
            ] {
                self.say(stand, By::Behind, &command).await?;
            }
        }
        Ok(format!("{folder} has another UIDVALIDITY"))
    }

    pub(super) async fn folders(&mut self, stand: &Stand) -> anyhow::Result<Vec<String>> {
        self.talk(stand, By::Behind).await?.selectable().await
    }

    pub(super) async fn say(&mut self, stand: &Stand, by: By, command: &str) -> anyhow::Result<Vec<String>> {
        self.talk(stand, by).await?.say(command).await
    }

    async fn talk(&mut self, stand: &Stand, by: By) -> anyhow::Result<&mut Talk> {
        let (talk, person) = match by {
            By::Proxy => (&mut self.proxy, &self.person),
            By::Behind => (&mut self.direct, &self.person),
        };
        if talk.is_none() {
            *talk = Some(match by {
                By::Proxy => stand.talk(person).await?,
                By::Behind => stand.talk_directly(person).await?,
            });
        }
        talk.as_mut().context("no connection")
    }
}

pub(super) fn pick<'a, T>(list: &'a [T], own: &mut Dice) -> Option<&'a T> {
    list.get(own.below(list.len() as u64) as usize)
}

/// A name for a folder, at the root or below one that is there.
fn new_name(made: &[&String], own: &mut Dice) -> String {
    let name = NAMES[own.below(5) as usize];
    match pick(made, own) {
        Some(parent) if own.below(3) == 0 && parent.matches('.').count() < 2 => format!("{parent}.{name}"),
        _ => name.to_owned(),
    }
}

pub(super) fn text(subject: &str, more: &str, own: &mut Dice) -> String {
    let lines = match own.below(8) {
        0 => 0,
        1 => own.below(900),
        _ => own.below(30),
    };
    let body: String =
        (0..lines).map(|line| format!("line {line} of {subject}, {}\r\n", own.below(1 << 40))).collect();
    format!(
        "Subject: {subject}\r\nFrom: a@contoso.edu\r\n{more}Date: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\n{body}"
    )
}

pub(super) fn date(own: &mut Dice) -> String {
    let zone = ["+0000", "+0200", "-0730"][own.below(3) as usize];
    spelled(1_400_000_000 + own.below(200_000_000) as i64, zone)
}

/// A moment as APPEND takes it; the zone is only written behind it.
pub(super) fn spelled(seconds: i64, zone: &str) -> String {
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil from days, after Howard Hinnant.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    format!(
        "{date:2}-{}-{} {:02}:{:02}:{:02} {zone}",
        MONTHS[month as usize - 1],
        year + era * 400,
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}
