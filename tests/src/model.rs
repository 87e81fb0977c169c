//! One life of a mailbox, thrown by dice: its user at work through the proxy and behind its back, a network and a
//! target that fail at random, a process that is killed; and what must hold when all is quiet again.
//!
//! The same seed throws the same life: what is done, in which order, and which faults are ordered when. What cannot be
//! thrown is how far the sync is at that moment; so a seed that fails once is run many times (`tests/model.rs` says how).
//!
//! Nothing of the product's code is used here but its binary.

mod events;
mod filled;
mod manner;
mod sides;
mod user;
mod weather;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::mail::Dice;
use crate::stand::{Options, Person, Stand};
use events::Events;
use filled::Filled;
use manner::LOW_CAP;

use sides::{Beside, Gone, Sides};
use user::User;
use weather::Weather;

pub use manner::Manner;

/// How long a mailbox has to come to rest.
const PATIENCE: Duration = Duration::from_secs(90);

/// Steps of one life.
const STEPS: u64 = 26;

/// Lines of `[sync]`: as long as a target on this machine works on what a dead connection left it, and some more.
const SYNC: &str = "settle = \"1s\"";

/// What one life came to.
#[derive(Debug, Default)]
pub struct Lived {
    /// What was done, line by line.
    pub journal: String,
    /// What lasted for the whole life.
    pub manner: Option<Manner>,
    /// Messages at the source in the end.
    pub messages: u64,
    /// Mail that arrived at the target by itself.
    pub foreign: usize,
    /// Empty folders that are left on the target.
    pub left_over: usize,
    /// Times the process was killed.
    pub kills: u64,
}

/// A stand, and people for the lives of these seeds on it.
///
/// All of them at once, and before anybody logs in: Dovecot looks for new ones once a second at most.
pub async fn stand(seeds: impl IntoIterator<Item = u64>) -> anyhow::Result<(Stand, BTreeMap<u64, Person>)> {
    let options = Options { sync: SYNC.to_owned(), ..Options::default() };
    let stand = Stand::start(options).await?;
    let person = |seed| Ok((seed, stand.add_person(&format!("user{seed}"))?));
    let people = seeds.into_iter().map(person).collect::<anyhow::Result<_>>()?;
    Ok((stand, people))
}

/// Lives the life of this seed; an error says what does not hold.
pub async fn live(stand: &mut Stand, person: &Person, seed: u64, lived: &mut Lived) -> anyhow::Result<()> {
    let mut more = Dice::new(seed.wrapping_mul(0x517c_c1b7).wrapping_add(3));
    let manner = Manner::new(&mut more);
    manner.begin(stand).await?;
    let batch = format!("B{seed}");
    let mut life = Life {
        batch: batch.clone(),
        person: person.clone(),
        manner,
        user: User::new(person.clone(), seed),
        events: Events::new(&mut more),
        more,
        filled: Filled::new(),
        began: Instant::now(),
        lived,
    };
    life.lived.manner = Some(manner);
    let held = life.live(stand, Dice::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(7))).await;
    // Gone, so that the next life has the stand for itself.
    stand.cli(&["batch", "remove", &batch, "--force", "--reason", "lived"]).await?;
    manner.end(stand).await?;
    held
}

/// One life.
struct Life<'a> {
    batch: String,
    person: Person,
    manner: Manner,
    user: User,
    events: Events,
    /// Dice for what is not the user's daily work.
    more: Dice,
    filled: Filled,
    began: Instant,
    lived: &'a mut Lived,
}

impl Life<'_> {
    async fn live(&mut self, stand: &mut Stand, mut dice: Dice) -> anyhow::Result<()> {
        let mut weather = Weather::new(&mut dice);
        let before = dice.below(12);
        for _ in 0..before {
            self.work(stand, &mut dice).await?;
        }
        if self.manner == Manner::Filled {
            self.filled = filled::fill(stand, &self.person, &mut self.more).await?;
            self.note(&format!("another tool made {} copies", self.filled.values().sum::<usize>()));
        }
        let csv = stand.csv(&self.batch, std::slice::from_ref(&self.person))?;
        let csv = csv.to_string_lossy();
        let start = ["batch", "add", &self.batch, "--endpoint", crate::stand::ENDPOINT, "--csv", &csv];
        stand.cli(&[&start[..], &["--auto-start"]].concat()).await?.done()?;
        self.note("batch started");
        weather.begin(stand);
        stand.target.relay.write_down();
        stand.source_relay.write_down();
        if self.manner == Manner::Filled {
            self.adopted(stand, &mut weather).await?;
        }
        for _ in 0..STEPS {
            if let Some(what) = weather.step(stand, &mut dice).await? {
                self.note(&what);
            }
            self.work(stand, &mut dice).await?;
            if let Some(what) = self.events.step(stand, &mut self.user, &mut self.more).await? {
                self.note(&what);
            }
            match dice.below(8) {
                0 => drop(stand.cli(&["batch", "sync-now", &self.batch]).await?.done()?),
                1 => tokio::time::sleep(Duration::from_millis(dice.below(300))).await,
                _ => {}
            }
        }
        weather.end(stand).await?;
        self.lived.kills = weather.kills();
        self.lived.foreign = self.user.foreign().len();
        self.note("all is quiet");
        self.come_to_rest(stand).await?;
        self.at_rest(stand).await?;
        match self.manner {
            Manner::LowCap => self.beyond_the_cap(stand).await,
            Manner::Plain | Manner::Filled | Manner::NoUidPlus => Ok(()),
        }
    }

    async fn work(&mut self, stand: &Stand, dice: &mut Dice) -> anyhow::Result<()> {
        let step = self.user.step(stand, dice).await?;
        self.note(&step);
        Ok(())
    }

    fn note(&mut self, what: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.lived.journal, "{:6} ms  {what}", self.began.elapsed().as_millis());
    }

    /// Nobody does anything but the weather: what another tool copied is taken for copies, and nothing else.
    async fn adopted(&mut self, stand: &mut Stand, weather: &mut Weather) -> anyhow::Result<()> {
        for _ in 0..8 {
            if let Some(what) = weather.step(stand, &mut self.more).await? {
                self.note(&what);
            }
            tokio::time::sleep(Duration::from_millis(self.more.below(80))).await;
        }
        weather.end(stand).await?;
        stand.sync_again(&self.batch, PATIENCE).await?;
        self.note("adopted");
        let sides = Sides::read(stand, &self.person).await?;
        let wrong = sides.not_adopted(&self.filled);
        ensure!(wrong.is_empty(), "after the first pass\n{}", wrong.join("\n"));
        self.at_rest(stand).await.context("after the first pass")
    }

    /// Waits for a pass that began after everything; where deletions wait for an operator's word, gives it.
    async fn come_to_rest(&mut self, stand: &mut Stand) -> anyhow::Result<()> {
        stand.sync_again(&self.batch, PATIENCE).await?;
        self.note("a pass that began after that is over");
        let held = self.held(stand).await?;
        if held == 0 {
            return Ok(());
        }
        ensure!(self.manner == Manner::LowCap, "{held} deletions are held, far from the cap");
        let sides = Sides::read(stand, &self.person).await?;
        let wrong = sides.differences(&self.beside(Gone::Held(held)));
        ensure!(wrong.is_empty(), "while {held} deletions are held\n{}", wrong.join("\n"));
        self.allow(stand).await
    }

    /// An operator says that what was deleted is to be deleted.
    async fn allow(&mut self, stand: &mut Stand) -> anyhow::Result<()> {
        stand.cli(&["mailbox", "allow-deletions", &self.person.address]).await?.done()?;
        stand.sync_again(&self.batch, PATIENCE).await?;
        self.note("deletions were allowed");
        let held = self.held(stand).await?;
        ensure!(held == 0, "{held} deletions are held after an operator's word");
        Ok(())
    }

    /// Deletions that wait.
    async fn held(&self, stand: &Stand) -> anyhow::Result<u64> {
        let shown = stand.cli(&["mailbox", "show", &self.person.address]).await?.done()?.json()?;
        let folders = shown["folders"].as_array().context("no folders")?;
        Ok(folders.iter().filter_map(|folder| folder["held_deletions"].as_u64()).sum())
    }

    fn beside(&self, gone: Gone) -> Beside<'_> {
        Beside { foreign: self.user.foreign(), filled: &self.filled, gone }
    }

    /// Promises 4, 5 and 8.
    async fn at_rest(&mut self, stand: &mut Stand) -> anyhow::Result<()> {
        let sides = Sides::read_quietly(stand, &self.person).await?;
        self.lived.messages = sides.messages();
        self.lived.left_over = sides.left_over().len();
        let gone = if self.manner == Manner::NoUidPlus { Gone::Marked } else { Gone::Away };
        let mut wrong = sides.differences(&self.beside(gone));

        let status = stand.batch(&self.batch).await?;
        let tally = &status["status"]["tally"];
        let (done, pending, skipped) = (&tally["messages_done"], &tally["pending"], &tally["skipped"]);
        if (done, pending, skipped) != (&json!(sides.messages()), &json!(0), &json!(0)) {
            let shown = stand.cli(&["mailbox", "show", &self.person.address]).await?.done()?.json()?;
            let folders = &shown["folders"];
            let count = sides.messages();
            wrong.push(format!("{count} messages at the source, but the ledger says {tally} of {folders}"));
        }
        let verified = stand.cli(&["batch", "verify", &self.batch]).await?;
        let report: Value = verified.json()?;
        let found = ["missing", "differing", "doubled"].map(|what| report["mailboxes"][0][what].as_u64());
        // What another tool copied twice is there twice, either of them may be taken for the copy; so may what is only marked.
        let right = match (self.manner, found) {
            (_, [Some(0), Some(0), Some(0)]) => verified.code == 0,
            (Manner::Filled, [Some(0), Some(differing), Some(doubled)]) => {
                differing <= doubled && verified.code == 6
            }
            (Manner::NoUidPlus, [Some(0), Some(_), Some(_)]) => [0, 6].contains(&verified.code),
            _ => false,
        };
        if !right {
            wrong.push(format!("verify ends with {} and {report:#}", verified.code));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        stand.alive().context("after a life")
    }

    /// More is deleted than goes without an operator's word: nothing goes before it is given, not even after a restart.
    async fn beyond_the_cap(&mut self, stand: &mut Stand) -> anyhow::Result<()> {
        let sides = Sides::read(stand, &self.person).await?;
        let Some((folder, count)) = sides.fullest() else { return Ok(()) };
        let (folder, before) = (folder.to_owned(), sides.on_target(folder));
        if count <= LOW_CAP {
            return Ok(());
        }
        let by = User::by(&mut self.more);
        let name = sides::at_source(&folder);
        self.user.hang_up();
        self.user.empty(stand, by, &name).await?;
        self.note(&format!("{by:?}: emptied {name}"));
        if self.more.below(3) == 0 {
            stand.kill()?;
            stand.serve().await?;
            stand.proxy_open().await?;
            self.note("killed and started again");
        }
        stand.sync_again(&self.batch, PATIENCE).await?;
        let sides = Sides::read(stand, &self.person).await?;
        let (held, there) = (self.held(stand).await?, sides.on_target(&folder));
        ensure!(
            there == before,
            "of {before} copies in {folder} {there} are left before an operator said so"
        );
        ensure!(held == count, "{count} messages were deleted, but {held} deletions are held");
        self.user.hang_up();
        self.allow(stand).await?;
        self.at_rest(stand).await.context("after deletions were allowed")
    }
}
