//! The mailboxes that are read and written: some that are mirrored, some that are new to the mirror, one to write to.

use std::time::Duration;

use anyhow::Context;
use mailferry_benches::tls::Tls;
use mailferry_tests::mail::{Dice, Flags, Message};
use mailferry_tests::stand::{Person, Stand};

use crate::load::At;
use crate::servers::Way;

/// Sessions that read in bulk at once, each its own mailbox.
const READERS: usize = 4;

/// How many of them have large messages too.
pub(crate) const LARGE_READERS: usize = 2;

/// What a bulk reader reads, and in which portions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portions {
    pub(crate) folder: &'static str,
    pub(crate) messages: usize,
    /// Messages that one command asks for.
    pub(crate) portion: usize,
}

/// Messages of 20 KB.
pub(crate) const MESSAGES: Portions = Portions { folder: "INBOX", messages: 1000, portion: 100 };
const MESSAGE: usize = 20_000;

/// Messages of 30 MB.
pub(crate) const LARGE: Portions = Portions { folder: "Large", messages: 2, portion: 1 };
const LARGE_MESSAGE: usize = 30_000_000;

/// Messages of 2 KB, read one at a time.
pub(crate) const SMALL: Portions = Portions { folder: "Small", messages: 200, portion: 1 };
const SMALL_MESSAGE: usize = 2_000;

/// Where messages are written to.
pub(crate) const UPLOADS: &str = "Sent";

/// Who logs in.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) login: String,
    pub(crate) password: String,
}

/// Everybody.
pub(crate) struct People {
    /// Their messages are mirrored, and nothing is under way.
    pub(crate) known: Vec<Reader>,
    /// For each round some whose batch is known and not begun.
    new: Vec<Vec<Reader>>,
    /// They write; their batch is not begun either, so that the mirror does not work beside the proxy.
    pub(crate) uploads: Vec<Reader>,
    /// What they write.
    pub(crate) large: Vec<u8>,
}

impl People {
    pub(crate) fn new_in(&self, round: u64) -> &[Reader] {
        usize::try_from(round).ok().and_then(|round| self.new.get(round)).map_or(&[], Vec::as_slice)
    }
}

/// Fills the source, copies what is to be known, and leaves the rest new.
pub(crate) async fn fill(stand: &mut Stand, rounds: u64, patience: Duration) -> anyhow::Result<People> {
    let text = text();
    let reader = |person: &Person| Reader { login: person.login.clone(), password: person.password.clone() };
    let filled = |name: &str, at: usize, stand: &Stand| -> anyhow::Result<Person> {
        let name = format!("{name}{at}");
        let person = stand.add_person(&name)?;
        let sizes = [(MESSAGES, MESSAGE), (SMALL, SMALL_MESSAGE), (LARGE, LARGE_MESSAGE)];
        for (portions, size) in &sizes[..if at < LARGE_READERS { 3 } else { 2 }] {
            let some =
                (0..portions.messages).map(|number| message(&name, portions.folder, number, *size, &text));
            stand.source.load(&person.login, some)?;
        }
        Ok(person)
    };
    let known = (0..READERS).map(|at| filled("known", at, stand)).collect::<Result<Vec<_>, _>>()?;
    let mut new = Vec::new();
    let mut not_begun = Vec::new();
    for round in 0..rounds {
        let people = (0..READERS)
            .map(|at| filled(&format!("new{round}."), at, stand))
            .collect::<Result<Vec<_>, _>>()?;
        new.push(people.iter().map(reader).collect());
        not_begun.extend(people);
    }
    let uploads =
        (0..2).map(|at| stand.add_person(&format!("upload{at}"))).collect::<Result<Vec<Person>, _>>()?;
    not_begun.extend(uploads.clone());

    stand.start_batch("Known", &known).await?;
    stand.synced_whole("Known", patience).await?;
    let csv = stand.csv("New", &not_begun)?;
    let csv = csv.to_string_lossy();
    let add = ["batch", "add", "New", "--endpoint", mailferry_tests::stand::ENDPOINT, "--csv", &csv];
    stand.cli(&add).await?.done()?;
    let known = known.iter().map(reader).collect();
    let uploads = uploads.iter().map(reader).collect();
    let large = message("upload", UPLOADS, 0, LARGE_MESSAGE, &text).content;
    Ok(People { known, new, uploads, large })
}

/// Takes out again what was written.
pub(crate) async fn empty(stand: &Stand, tls: &Tls, uploads: &[Reader]) -> anyhow::Result<()> {
    let way = Way::direct(stand);
    for reader in uploads {
        let mut session = At { way: &way, tls }.log_in(0, reader).await?;
        session.select(UPLOADS).await?;
        session.command("STORE 1:* +FLAGS.SILENT (\\Deleted)").await.or_else(|error| {
            // Nothing there.
            if error.to_string().contains("BAD") { Ok(0) } else { Err(error) }
        })?;
        session.command("EXPUNGE").await.context("empty")?;
        session.command("LOGOUT").await?;
    }
    Ok(())
}

/// A megabyte of lines that look like base64.
fn text() -> Vec<u8> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut dice = Dice::new(1);
    let mut text = Vec::with_capacity(1 << 20);
    while text.len() < 1 << 20 {
        text.extend((0..76).map(|_| letters[dice.below(64) as usize]));
        text.extend_from_slice(b"\r\n");
    }
    text
}

fn message(owner: &str, folder: &str, number: usize, size: usize, text: &[u8]) -> Message {
    let mut content = format!(
        "From: {owner}@contoso.edu\r\nTo: all@contoso.edu\r\nSubject: {folder} {number}\r\n\
         Date: Mon, 7 Feb 2022 21:52:25 +0000\r\nMessage-ID: <{folder}.{number}@{owner}>\r\n\r\n"
    )
    .into_bytes();
    while content.len() < size {
        let more = (size - content.len()).min(text.len());
        content.extend_from_slice(&text[..more]);
    }
    content.truncate(size - 2);
    content.extend_from_slice(b"\r\n");
    Message {
        folder: vec![folder.to_owned()],
        content,
        date: 1_644_270_745 + number as i64,
        flags: Flags { seen: true, ..Flags::default() },
        keywords: Vec::new(),
    }
}
