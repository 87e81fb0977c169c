//! What happens beside the user's daily work, thrown by dice of their own, so that the lives of old seeds stay what they
//! were: the same letter many times, subscriptions, emptied folders, and a target whose folders get other UIDVALIDITYs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::sides::THEIR_OWN;
use super::user::{By, FIXED, FLAGS, User, date, pick, text};
use crate::mail::Dice;
use crate::stand::Stand;

/// How long a server may take to notice that everybody left.
const LEAVING: Duration = Duration::from_secs(20);

/// One life's events.
pub struct Events {
    /// How often folders of the target may still get another UIDVALIDITY.
    validities_left: u32,
    validities: u32,
}

impl Events {
    /// What it will be like.
    pub fn new(dice: &mut Dice) -> Self {
        Self { validities_left: dice.below(3) as u32, validities: 0 }
    }

    /// Perhaps something happens; what, in words.
    pub async fn step(
        &mut self,
        stand: &Stand,
        user: &mut User,
        dice: &mut Dice,
    ) -> anyhow::Result<Option<String>> {
        // A fixed number of throws, as for the user's steps.
        let (kind, mut own) = (dice.below(30), Dice::new(dice.below(u64::MAX)));
        let by = User::by(&mut own);
        let done = match kind {
            0 => user.write_many(stand, by, &mut own).await,
            1 | 2 => user.subscribe(stand, by, &mut own).await,
            3 => user.clear(stand, by, &mut own).await,
            4 | 5 if self.validities_left > 0 => {
                self.validities_left -= 1;
                self.validities += 1;
                // What fails here fails for the test's own fault.
                return Ok(Some(new_validity(stand, user, self.validities, &mut own).await?));
            }
            _ => return Ok(None),
        };
        Ok(Some(match done {
            Ok(what) => what,
            Err(error) => format!("{by:?}: {}", user.hang_up_after(&error)),
        }))
    }
}

impl User {
    /// The same letter, several times in one folder, with whatever flags.
    async fn write_many(&mut self, stand: &Stand, by: By, own: &mut Dice) -> anyhow::Result<String> {
        let folders = self.folders(stand).await?;
        let folder = pick(&folders, own).context("no folder")?.clone();
        self.twins += 1;
        let subject = format!("twin {}", self.twins);
        let id = match own.below(3) {
            0 => String::new(),
            _ => format!("Message-ID: <{}-twin-{}@contoso.edu>\r\n", self.seed(), self.twins),
        };
        let (text, date) = (text(&subject, &id, own), date(own));
        let count = 2 + own.below(3);
        for _ in 0..count {
            let flags = if own.below(2) == 0 { FLAGS[own.below(8) as usize] } else { "" };
            let command = format!("APPEND \"{folder}\" ({flags}) \"{date}\" {{{}+}}\r\n{text}", text.len());
            self.say(stand, by, &command).await?;
        }
        Ok(format!("{by:?}: {count} times {subject:?} to {folder}"))
    }

    async fn subscribe(&mut self, stand: &Stand, by: By, own: &mut Dice) -> anyhow::Result<String> {
        let folders = self.folders(stand).await?;
        let folder = pick(&folders, own).context("no folder")?.clone();
        let verb = if own.below(3) == 0 { "UNSUBSCRIBE" } else { "SUBSCRIBE" };
        self.say(stand, by, &format!("{verb} \"{folder}\"")).await?;
        Ok(format!("{by:?}: {verb} {folder}"))
    }

    /// A folder is emptied.
    async fn clear(&mut self, stand: &Stand, by: By, own: &mut Dice) -> anyhow::Result<String> {
        let folders = self.folders(stand).await?;
        let folder = pick(&folders, own).context("no folder")?.clone();
        self.empty(stand, by, &folder).await?;
        Ok(format!("{by:?}: emptied {folder}"))
    }

    /// Deletes all that a folder holds.
    pub(super) async fn empty(&mut self, stand: &Stand, by: By, folder: &str) -> anyhow::Result<()> {
        self.say(stand, by, &format!("SELECT \"{folder}\"")).await?;
        self.say(stand, by, "UID STORE 1:* +FLAGS.SILENT (\\Deleted)").await?;
        self.say(stand, by, "EXPUNGE").await?;
        Ok(())
    }
}

/// While nobody can reach the target, one of its folders gets another UIDVALIDITY: alone, or with new UIDs, as after a
/// restored backup.
async fn new_validity(stand: &Stand, user: &User, number: u32, own: &mut Dice) -> anyhow::Result<String> {
    let (address, instance) = (&user.person().address, stand.target.instance());
    stand.target.relay.go_down().await;
    let went = Instant::now();
    while instance.is_used_by(address)? {
        ensure!(went.elapsed() < LEAVING, "somebody stays at the target");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut talk = stand.look(user.person()).await?;
    let folders = talk.selectable().await?;
    let folder = pick(&folders, own).context("no folder")?.clone();
    let is_leaf = !folders.iter().any(|other| other.starts_with(&format!("{folder}/")));
    let is_made = !THEIR_OWN.contains(&folder.as_str()) && !FIXED.contains(&folder.as_str());
    let said = if is_made && is_leaf {
        talk.say("CREATE Aside").await?;
        talk.say(&format!("SELECT \"{folder}\"")).await?;
        talk.ask("UID MOVE 1:* Aside").await?;
        talk.say("UNSELECT").await?;
        for command in [format!("DELETE \"{folder}\""), format!("RENAME Aside \"{folder}\"")] {
            talk.say(&command).await?;
        }
        format!("{folder} of the target was restored with other UIDs")
    } else if folder.contains('&') {
        // The command line wants its name otherwise.
        "nothing happens at the target".to_owned()
    } else {
        drop(talk);
        instance.set_uid_validity(address, &folder, 2_000_000_000 + number)?;
        format!("{folder} of the target has another UIDVALIDITY")
    };
    stand.target.relay.come_back().await?;
    Ok(said)
}
