//! A user who types IMAP by hand: one connection, one command at a time, every answer as text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stand::{Person, Stand};

/// One connection.
pub struct Talk {
    stream: BufReader<TlsStream<TcpStream>>,
    tag: u32,
}

impl Talk {
    /// Connects and reads the greeting.
    pub async fn connect(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(tls).connect(ServerName::try_from("localhost")?, tcp).await?;
        let mut talk = Self { stream: BufReader::new(stream), tag: 0 };
        let greeting = talk.line().await?;
        ensure!(greeting.starts_with("* OK"), "{greeting}");
        Ok(talk)
    }

    /// Says a command; everything up to its answer, which must be OK.
    pub async fn say(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let lines = self.ask(command).await?;
        let ok = lines.last().is_some_and(|last| last.starts_with("OK"));
        ensure!(ok, "{command}: {lines:?}");
        Ok(lines)
    }

    /// Says a command; everything up to its answer, the answer without its tag last.
    pub async fn ask(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let tag = self.send(command).await?;
        self.answer(&tag).await
    }

    /// Says a command that ends with a literal, which is sent once the server asks for it; everything up to the answer.
    pub async fn ask_with(&mut self, command: &str, literal: &[u8]) -> anyhow::Result<Vec<String>> {
        let tag = self.send(&format!("{command} {{{}}}", literal.len())).await?;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if line.starts_with('+') {
                self.stream.write_all(literal).await?;
                self.stream.write_all(b"\r\n").await?;
                self.stream.flush().await?;
                break;
            }
            if let Some(answer) = line.strip_prefix(&tag).and_then(|rest| rest.strip_prefix(' ')) {
                lines.push(answer.to_owned());
                return Ok(lines);
            }
            lines.push(line);
        }
        lines.extend(self.answer(&tag).await?);
        Ok(lines)
    }

    /// Appends a message; its UID.
    pub async fn append(&mut self, folder: &str, flags: &str, message: &str) -> anyhow::Result<u32> {
        let size = message.len();
        let lines = self.say(&format!("APPEND \"{folder}\" ({flags}) {{{size}+}}\r\n{message}")).await?;
        let told = lines.last().and_then(|last| last.split_once("[APPENDUID ")).context("no APPENDUID")?.1;
        let uid = told.split([' ', ']']).nth(1).context("no UID")?;
        Ok(uid.parse()?)
    }

    /// Each message of a folder in its order: its subject, its flags but `\Recent`, and its UID.
    pub async fn list(&mut self, folder: &str) -> anyhow::Result<Vec<(String, String, u32)>> {
        let opened = self.ask(&format!("EXAMINE \"{folder}\"")).await?;
        if !opened.last().is_some_and(|last| last.starts_with("OK")) {
            return Ok(Vec::new());
        }
        let lines = self.ask("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?;
        let mut found = Vec::new();
        // Others are news of flags.
        for line in lines.iter().filter(|line| line.contains(" FETCH (") && line.contains("BODY[HEADER")) {
            let subject =
                line.split_once("Subject: ").map_or("", |(_, rest)| rest.lines().next().unwrap_or(""));
            let flags =
                line.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |it| it.0);
            let mut flags: Vec<&str> =
                flags.split(' ').filter(|flag| !matches!(*flag, "" | "\\Recent")).collect();
            flags.sort_unstable();
            let uid = line.split_once("UID ").context("no UID")?.1;
            let uid = uid.split([' ', ')']).next().context("no UID")?.parse()?;
            found.push((subject.to_owned(), flags.join(" "), uid));
        }
        self.say("UNSELECT").await?;
        Ok(found)
    }

    /// The names of all folders, sorted.
    pub async fn folders(&mut self) -> anyhow::Result<Vec<String>> {
        self.folders_with(|_| true).await
    }

    /// The names of those that can be opened, sorted.
    pub async fn selectable(&mut self) -> anyhow::Result<Vec<String>> {
        self.folders_with(|line| !line.contains("\\Noselect") && !line.contains("\\NonExistent")).await
    }

    async fn folders_with(&mut self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
        let lines = self.say("LIST \"\" *").await?;
        let named = lines.iter().filter(|line| line.starts_with("* LIST") && wanted(line));
        let mut names: Vec<String> = named
            .filter_map(|line| line.splitn(3, '"').nth(2))
            .filter_map(|rest| rest.split_once(' '))
            .map(|(_, name)| name.trim_matches('"').to_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Sends a command; its tag.
    pub async fn send(&mut self, command: &str) -> anyhow::Result<String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(tag)
    }

    async fn answer(&mut self, tag: &str) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if let Some(answer) = line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                lines.push(answer.to_owned());
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// One response with its literals in it.
    async fn line(&mut self) -> anyhow::Result<String> {
        let mut text = Vec::new();
        loop {
            if self.stream.read_until(b'\n', &mut text).await? == 0 {
                bail!("closed by the server");
            }
            let end = text.trim_ascii_end();
            let announced = end.ends_with(b"}").then(|| end.iter().rposition(|byte| *byte == b'{')).flatten();
            let size =
                announced.and_then(|at| str::from_utf8(&end[at + 1..end.len() - 1]).ok()?.parse().ok());
            let Some(size) = size else {
                return Ok(String::from_utf8_lossy(&text).trim_end().to_owned());
            };
            let from = text.len();
            let size: usize = size;
            text.resize(from + size, 0);
            self.stream.read_exact(&mut text[from..]).await?;
        }
    }
}

impl Stand {
    /// A person at the proxy.
    pub async fn talk(&self, person: &Person) -> anyhow::Result<Talk> {
        self.talk_at(person, self.proxy()).await
    }

    /// A person at the source itself.
    pub async fn talk_directly(&self, person: &Person) -> anyhow::Result<Talk> {
        self.talk_at(person, self.source.imaps()).await
    }

    async fn talk_at(&self, person: &Person, address: SocketAddr) -> anyhow::Result<Talk> {
        let mut talk = Talk::connect(address, self.authority.client()?).await?;
        talk.say(&format!("LOGIN \"{}\" \"{}\"", person.login, person.password)).await?;
        Ok(talk)
    }

    /// Waits until both sides hold the same.
    pub async fn same(&self, person: &Person, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            // What moves while it is read ends the reading.
            let account = self.account(person).await;
            match account {
                Ok(account) if account.agrees() => return Ok(()),
                Ok(account) => ensure!(started.elapsed() < patience, "{account}"),
                Err(error) => ensure!(started.elapsed() < patience, "{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Somebody who looks at a person's mailbox on the target itself.
    pub async fn look(&self, person: &Person) -> anyhow::Result<Talk> {
        let mut talk = Talk::connect(self.target.direct(), self.authority.client()?).await?;
        let word = format!("user={}\x01auth=Bearer {}\x01\x01", person.address, self.tokens.token()?);
        let word = base64::engine::general_purpose::STANDARD.encode(word);
        talk.say(&format!("AUTHENTICATE XOAUTH2 {word}")).await?;
        Ok(talk)
    }
}
