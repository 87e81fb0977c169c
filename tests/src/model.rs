//! One life of a mailbox, thrown by dice: its user at work through the proxy and behind its back, a network and a
//! target that fail at random, a process that is killed; and what must hold when all is quiet again.
//!
//! The same seed throws the same life: what is done, in which order, and which faults are ordered when. What cannot be
//! thrown is how far the sync is at that moment; so a seed that fails once is run many times (`tests/model.rs` says how).
//!
//! Nothing of the product's code is used here but its binary.

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
use sides::Sides;
use user::User;
use weather::Weather;

/// How long a mailbox has to come to rest.
const PATIENCE: Duration = Duration::from_secs(90);

/// Steps of one life.
const STEPS: u64 = 26;

/// What one life came to.
#[derive(Debug, Default)]
pub struct Lived {
    /// What was done, line by line.
    pub journal: String,
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
    // As long as a target on this machine works on what a dead connection left it, and some more.
    let options = Options { sync: "settle = \"1s\"".to_owned(), ..Options::default() };
    let stand = Stand::start(options).await?;
    let person = |seed| Ok((seed, stand.add_person(&format!("user{seed}"))?));
    let people = seeds.into_iter().map(person).collect::<anyhow::Result<_>>()?;
    Ok((stand, people))
}

/// Lives the life of this seed; an error says what does not hold.
pub async fn live(stand: &mut Stand, person: &Person, seed: u64, lived: &mut Lived) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(7));
    let batch = format!("B{seed}");
    let mut user = User::new(person.clone(), seed);
    let mut weather = Weather::new(&mut dice);

    let before = dice.below(12);
    for _ in 0..before {
        let step = user.step(stand, &mut dice).await?;
        note(lived, &began, &step);
    }
    let csv = stand.csv(&batch, std::slice::from_ref(person))?;
    let start =
        ["batch", "add", &batch, "--endpoint", crate::stand::ENDPOINT, "--csv", &csv.to_string_lossy()];
    stand.cli(&[&start[..], &["--auto-start"]].concat()).await?.done()?;
    note(lived, &began, "batch started");
    weather.begin(stand);
    stand.target.relay.write_down();
    stand.source_relay.write_down();
    for _ in 0..STEPS {
        if let Some(what) = weather.step(stand, &mut dice).await? {
            note(lived, &began, &what);
        }
        let step = user.step(stand, &mut dice).await?;
        note(lived, &began, &step);
        match dice.below(8) {
            0 => drop(stand.cli(&["batch", "sync-now", &batch]).await?.done()?),
            1 => tokio::time::sleep(Duration::from_millis(dice.below(300))).await,
            _ => {}
        }
    }
    weather.end(stand).await?;
    lived.kills = weather.kills();
    lived.foreign = user.foreign().len();
    note(lived, &began, "all is quiet");

    stand.sync_again(&batch, PATIENCE).await?;
    note(lived, &began, "a pass that began after that is over");
    let held = at_rest(stand, &batch, person, &user, lived).await;
    // Gone, so that the next life has the stand for itself.
    stand.cli(&["batch", "remove", &batch, "--force", "--reason", "lived"]).await?.done()?;
    held
}

fn note(lived: &mut Lived, began: &Instant, what: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(lived.journal, "{:6} ms  {what}", began.elapsed().as_millis());
}

/// Promises 4, 5 and 8.
async fn at_rest(
    stand: &mut Stand,
    batch: &str,
    person: &Person,
    user: &User,
    lived: &mut Lived,
) -> anyhow::Result<()> {
    let sides = Sides::read(stand, person).await?;
    lived.messages = sides.messages();
    lived.left_over = sides.left_over().len();
    let mut wrong = sides.differences(user.foreign());

    let status = stand.batch(batch).await?;
    let tally = &status["status"]["tally"];
    let (done, pending, skipped) = (&tally["messages_done"], &tally["pending"], &tally["skipped"]);
    if (done, pending, skipped) != (&json!(sides.messages()), &json!(0), &json!(0)) {
        wrong.push(format!("{} messages at the source, but the ledger says {tally}", sides.messages()));
    }
    let verified = stand.cli(&["batch", "verify", batch]).await?;
    let report: Value = verified.json()?;
    let found = ["missing", "doubled", "differing"].map(|what| report["mailboxes"][0][what].as_u64());
    if verified.code != 0 || found != [Some(0); 3] {
        wrong.push(format!("verify ends with {} and {report:#}", verified.code));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    stand.alive().context("after a life")
}
