//! The physical bound: a bare pump that streams the FETCH of one connection into pipelined APPENDs of up to four.
//!
//! It keeps no record, resolves no doubt and knows no limits: nothing that does can be faster. It runs as a process of its
//! own, so that what it uses can be told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use mailferry_benches::tls::Tls;
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf, split,
};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

/// Connections that write one mailbox.
const WRITERS: usize = 4;

/// Bytes that wait between reading and writing one mailbox.
const ON_THE_WAY: u32 = 8 << 20;

const BUFFER: usize = 256 << 10;

/// Longest line of an answer.
const MAX_LINE: u64 = 64 << 10;

/// What is pumped.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) ca_file: PathBuf,
    pub(crate) source: u16,
    pub(crate) target: u16,
    pub(crate) mailboxes: Vec<Mailbox>,
}

/// One mailbox, from where to where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mailbox {
    pub(crate) from: Login,
    pub(crate) to: Login,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: String,
}

/// The whole work of the file; how many messages were pumped.
pub(crate) async fn run(file: &Path) -> anyhow::Result<u64> {
    let work: Work = serde_json::from_slice(&std::fs::read(file)?)?;
    let tls = Tls::new(&work.ca_file)?;
    let mut mailboxes = JoinSet::new();
    for mailbox in work.mailboxes {
        mailboxes.spawn(pump(tls.clone(), work.source, work.target, mailbox));
    }
    let mut messages = 0;
    while let Some(pumped) = mailboxes.join_next().await {
        messages += pumped??;
    }
    Ok(messages)
}

struct Message {
    /// All of the command up to the literal.
    command: String,
    body: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

async fn pump(tls: Tls, source: u16, target: u16, mailbox: Mailbox) -> anyhow::Result<u64> {
    let mut reading = Wire::connect(&tls, source, &mailbox.from).await?;
    let mut making = Wire::connect(&tls, target, &mailbox.to).await?;
    let folders = reading.folders().await?;
    for at in 1..folders.len() {
        making.command(&format!("CREATE f{at}")).await?;
    }
    let room = Arc::new(Semaphore::new(ON_THE_WAY as usize));
    let mut writers = Vec::new();
    let mut writing = JoinSet::new();
    for _ in 0..WRITERS {
        let wire = Wire::connect(&tls, target, &mailbox.to).await?;
        let (sender, messages) = mpsc::unbounded_channel(); // Bounded by `room`.
        let waiting = Arc::new(AtomicU64::new(0));
        writing.spawn(append(wire, messages, waiting.clone()));
        writers.push((sender, waiting));
    }
    for (at, folder) in folders.iter().enumerate() {
        let name = if at == 0 { "INBOX".to_owned() } else { format!("f{at}") };
        reading.command(&format!("EXAMINE {folder}")).await?;
        reading.send("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])").await?;
        while let Some((command, size)) = reading.next_message(&name).await? {
            let share = u32::try_from(size).unwrap_or(u32::MAX).min(ON_THE_WAY);
            let permit = room.clone().acquire_many_owned(share).await?;
            let mut body = vec![0; size];
            reading.read.read_exact(&mut body).await?;
            reading.line().await?; // `)`
            let least = writers.iter().min_by_key(|(_, waiting)| waiting.load(Ordering::Relaxed));
            let (sender, waiting) = least.context("no writer")?;
            waiting.fetch_add(size as u64 + 1, Ordering::Relaxed);
            if sender.send(Message { command, body, _room: permit }).is_err() {
                break; // Its own error says why.
            }
        }
    }
    drop(writers);
    let mut messages = 0;
    while let Some(written) = writing.join_next().await {
        messages += written??;
    }
    Ok(messages)
}

/// Writes without waiting for answers, which are counted beside.
async fn append(
    wire: Wire,
    mut messages: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<AtomicU64>,
) -> anyhow::Result<u64> {
    let Wire { mut read, mut write, .. } = wire;
    let answers = tokio::spawn(async move {
        let mut stored = 0;
        loop {
            let line = line(&mut read).await?;
            if line.starts_with("end ") {
                return anyhow::Ok(stored);
            }
            if line.starts_with("p ") {
                ensure!(line.starts_with("p OK"), "APPEND answered {line}");
                stored += 1;
            }
        }
    });
    let mut sent = 0;
    loop {
        let message = match messages.try_recv() {
            Ok(message) => Some(message),
            Err(_) => {
                write.flush().await?;
                messages.recv().await
            }
        };
        let Some(message) = message else { break };
        write.write_all(message.command.as_bytes()).await.context("APPEND")?;
        write.write_all(&message.body).await.context("APPEND")?;
        write.write_all(b"\r\n").await.context("APPEND")?;
        waiting.fetch_sub(message.body.len() as u64 + 1, Ordering::Relaxed);
        sent += 1;
    }
    write.write_all(b"end LOGOUT\r\n").await.context("LOGOUT")?;
    write.flush().await.context("LOGOUT")?;
    let stored = answers.await??;
    ensure!(stored == sent, "{sent} sent, {stored} stored");
    Ok(stored)
}

/// A connection, logged in.
struct Wire {
    read: BufReader<ReadHalf<TlsStream<TcpStream>>>,
    write: BufWriter<WriteHalf<TlsStream<TcpStream>>>,
}

impl Wire {
    async fn connect(tls: &Tls, port: u16, login: &Login) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        let (read, write) = split(tls.connect(tcp).await?);
        let read = BufReader::with_capacity(BUFFER, read);
        let mut wire = Self { read, write: BufWriter::with_capacity(BUFFER, write) };
        wire.line().await?;
        wire.command(&format!("LOGIN {} \"{}\"", login.name, login.password)).await.context("LOGIN")?;
        Ok(wire)
    }

    async fn send(&mut self, command: &str) -> anyhow::Result<()> {
        self.write.write_all(format!("c {command}\r\n").as_bytes()).await?;
        self.write.flush().await?;
        Ok(())
    }

    /// The untagged lines of a command that is answered OK.
    async fn command(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        self.send(command).await?;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if let Some(status) = line.strip_prefix("c ") {
                ensure!(status.starts_with("OK"), "answered {status}");
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        line(&mut self.read).await
    }

    /// All folders as the server writes their names, INBOX first.
    async fn folders(&mut self) -> anyhow::Result<Vec<String>> {
        let mut folders = vec!["INBOX".to_owned()];
        for line in self.command("LIST \"\" *").await? {
            let Some((attributes, rest)) =
                line.strip_prefix("* LIST (").and_then(|rest| rest.split_once(") "))
            else {
                bail!("not understood: {line}");
            };
            let (_, name) = rest.split_once(' ').context("no name")?;
            if name != "INBOX" && !attributes.to_ascii_lowercase().contains("\\noselect") {
                folders.push(name.to_owned());
            }
        }
        Ok(folders)
    }

    /// The APPEND for the next message of a FETCH, and its size; none at the end.
    async fn next_message(&mut self, folder: &str) -> anyhow::Result<Option<(String, usize)>> {
        loop {
            let line = self.line().await?;
            if let Some(status) = line.strip_prefix("c ") {
                ensure!(status.starts_with("OK"), "FETCH answered {status}");
                return Ok(None);
            }
            let Some((facts, size)) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) else {
                continue;
            };
            let size: usize = size.parse()?;
            let flags = between(facts, "FLAGS (", ")")?;
            let flags: Vec<&str> =
                flags.split(' ').filter(|flag| flag.starts_with('\\') && *flag != "\\Recent").collect();
            let date = between(facts, "INTERNALDATE \"", "\"")?;
            let flags = flags.join(" ");
            return Ok(Some((format!("p APPEND {folder} ({flags}) \"{date}\" {{{size}+}}\r\n"), size)));
        }
    }
}

async fn line(read: &mut BufReader<ReadHalf<TlsStream<TcpStream>>>) -> anyhow::Result<String> {
    let mut line = Vec::new();
    read.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    ensure!(line.ends_with(b"\r\n"), "closed, or a line without an end");
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> anyhow::Result<&'a str> {
    let found = text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    found.map(|(found, _)| found).with_context(|| format!("no {start} in a FETCH"))
}
