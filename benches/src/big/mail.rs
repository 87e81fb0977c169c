//! The big mailbox: written straight into the source's Maildir, since any protocol would take hours.

use std::time::Duration;

use mailferry_benches::session::Session;
use mailferry_benches::tls::Tls;
use mailferry_tests::mail::{Flags, Loaded, Message};
use mailferry_tests::source::Source;
use mailferry_tests::stand::{Person, Stand, TARGET_PASSWORD};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// So many folders share what is not in INBOX.
const OTHERS: u64 = 20;

/// How many messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    inbox: u64,
    /// In each of the others.
    other: u64,
}

impl Size {
    pub(crate) fn percent(percent: u64) -> Self {
        Self { inbox: 5_000 * percent, other: 1_000 * percent / OTHERS }
    }

    pub(crate) fn all(self) -> u64 {
        self.inbox + OTHERS * self.other
    }

    fn folders(self) -> impl Iterator<Item = (Vec<String>, u64)> {
        let others = (1..=OTHERS).map(move |at| (vec![format!("Folder {at}")], self.other));
        std::iter::once((vec!["INBOX".to_owned()], self.inbox)).chain(others)
    }
}

/// About 700 bytes.
fn message(folder: &[String], number: u64, round: &str) -> Message {
    let place = folder.join("/");
    let content = format!(
        "From: Terry Adams <terrya@contoso.edu>\r\nTo: ann.beebe@contoso.edu\r\nSubject: {place} {number}\r\n\
         Message-ID: <{number}.{round}.{}@contoso.edu>\r\nDate: Tue, 1 Sep 2020 10:00:00 +0000\r\n\r\n{}",
        place.replace(' ', ""),
        "A line like many others, in a message like many others.\r\n".repeat(9)
    );
    let at = i64::try_from(number).unwrap_or_default();
    Message {
        folder: folder.to_vec(),
        content: content.into_bytes(),
        date: 1_100_000_000 + at * 600,
        flags: Flags {
            seen: !number.is_multiple_of(3),
            flagged: number.is_multiple_of(50),
            ..Flags::default()
        },
        keywords: Vec::new(),
    }
}

pub(crate) fn load(stand: &Stand, owner: &Person, size: Size) -> anyhow::Result<Loaded> {
    let messages = size
        .folders()
        .flat_map(|(folder, count)| (0..count).map(move |number| message(&folder, number, "first")));
    stand.source.load(&owner.login, messages)
}

async fn session(stand: &Stand, owner: &Person) -> anyhow::Result<Session> {
    let tls = Tls::new(&stand.authority.ca_file)?;
    let tcp = TcpStream::connect(stand.source.imaps()).await?;
    let mut session = Session::greeted(tls.connect(tcp).await?).await?;
    session.log_in(&owner.login, &owner.password).await?;
    Ok(session)
}

/// Somebody who opens the target's INBOX now and then, as users do. In a folder that nobody ever opened every message is
/// `\Recent`, and Dovecot, our stand-in, looks at all of them with each that comes: an hour goes into that.
pub(crate) struct Onlooker(JoinHandle<anyhow::Result<()>>);

impl Onlooker {
    pub(crate) async fn at(stand: &Stand, owner: &Person) -> anyhow::Result<Self> {
        let tls = Tls::new(&stand.authority.ca_file)?;
        let tcp = TcpStream::connect(stand.target.direct()).await?;
        let mut session = Session::greeted(tls.connect(tcp).await?).await?;
        session.log_in(&owner.address, TARGET_PASSWORD).await?;
        Ok(Self(tokio::spawn(async move {
            loop {
                session.select("INBOX").await?;
                session.command("UNSELECT").await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })))
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the source calls a folder.
fn name_at(stand: &Stand, folder: &[String]) -> String {
    let below = match stand.source {
        Source::Courier(_) | Source::Cyrus(_) => "INBOX.",
        Source::Dovecot(_) => "",
    };
    match folder {
        [inbox] if inbox == "INBOX" => inbox.clone(),
        others => format!("\"{below}{}\"", others.join(".")),
    }
}

/// The server makes its lists of UIDs: that is its work and not what is measured.
pub(crate) async fn warm(stand: &Stand, owner: &Person, size: Size) -> anyhow::Result<()> {
    let mut session = session(stand, owner).await?;
    for (folder, _) in size.folders() {
        session.select(&name_at(stand, &folder)).await?;
    }
    session.command("LOGOUT").await?;
    Ok(())
}

/// One in a hundred is new, one in a hundred has other flags, one in two hundred is gone, in every folder. Returns how many
/// there are then.
pub(crate) async fn change(stand: &Stand, owner: &Person, size: Size) -> anyhow::Result<u64> {
    let mut there = 0;
    let mut session = session(stand, owner).await?;
    for (folder, count) in size.folders() {
        let (flagged, gone) = ((count / 100).max(1), (count / 200).max(1));
        session.select(&name_at(stand, &folder)).await?;
        session.command(&format!("STORE 1:{flagged} +FLAGS.SILENT (\\Answered)")).await?;
        let last = flagged + gone;
        session.command(&format!("STORE {}:{last} +FLAGS.SILENT (\\Deleted)", flagged + 1)).await?;
        session.command("EXPUNGE").await?;
        there += count + flagged - gone;
    }
    session.command("LOGOUT").await?;
    let new = size.folders().flat_map(|(folder, count)| {
        (count..count + (count / 100).max(1)).map(move |number| message(&folder, number, "new"))
    });
    stand.source.load(&owner.login, new)?;
    warm(stand, owner, size).await?;
    Ok(there)
}
