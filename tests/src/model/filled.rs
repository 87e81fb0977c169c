//! Another tool that copied some of the mailbox before.

use std::collections::BTreeMap;

use super::sides::{THEIR_OWN, mapped, read};
use super::user::{FLAGS, spelled};
use crate::mail::Dice;
use crate::stand::{Person, Stand};

/// How often it put a message into a folder of the target: by folder, content and INTERNALDATE.
pub type Filled = BTreeMap<(String, String, i64), usize>;

/// Copies most of what the source holds, some of it twice, some with flags of its own, in no order.
pub async fn fill(stand: &Stand, person: &Person, dice: &mut Dice) -> anyhow::Result<Filled> {
    let mut filled = Filled::new();
    let source = read(&mut stand.talk_directly(person).await?).await?;
    let mut target = stand.look(person).await?;
    let mut letters = Vec::new();
    for (name, folder) in &source {
        let copies = folder.iter().flat_map(|(mail, count)| std::iter::repeat_n(mail, *count));
        for mail in copies {
            let times = [0, 1, 1, 1, 2][dice.below(5) as usize];
            letters.extend(std::iter::repeat_n((mapped(name), mail), times));
        }
        if !THEIR_OWN.contains(&mapped(name).as_str()) && dice.below(3) > 0 {
            target.ask(&format!("CREATE \"{}\"", mapped(name))).await?;
        }
    }
    while !letters.is_empty() {
        let (folder, (text, date, flags)) = letters.swap_remove(dice.below(letters.len() as u64) as usize);
        let other = FLAGS[dice.below(8) as usize];
        let flags = if dice.below(4) == 0 && other.starts_with('\\') { other } else { flags };
        // Made by whoever comes first.
        target.ask(&format!("CREATE \"{folder}\"")).await?;
        let date_text = spelled(*date, "+0000");
        let size = text.len();
        target.say(&format!("APPEND \"{folder}\" ({flags}) \"{date_text}\" {{{size}+}}\r\n{text}")).await?;
        *filled.entry((folder, text.clone(), *date)).or_default() += 1;
    }
    Ok(filled)
}
