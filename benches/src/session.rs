//! One client's session: looks at no byte but the last lines of an answer.

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How much is read at once in bulk.
const CHUNK: usize = 64 * 1024;

/// The longest last line of an answer.
const MAX_LAST: usize = 1024;

/// A session that was greeted.
pub struct Session {
    stream: TlsStream<TcpStream>,
    tag: u64,
    buffer: Vec<u8>,
}

impl Session {
    /// Waits for the greeting.
    pub async fn greeted(stream: TlsStream<TcpStream>) -> anyhow::Result<Self> {
        let mut session = Self { stream, tag: 0, buffer: Vec::new() };
        session.answer("*").await.context("greeting")?;
        Ok(session)
    }

    /// Sends a command and reads its answer, which must be OK. Returns how many bytes came.
    pub async fn command(&mut self, command: &str) -> anyhow::Result<u64> {
        let tag = self.send(command, "").await?;
        self.answer(&tag).await.with_context(|| verb(command))
    }

    /// LOGIN.
    pub async fn log_in(&mut self, login: &str, password: &str) -> anyhow::Result<()> {
        self.command(&format!("LOGIN {login} \"{password}\"")).await?;
        Ok(())
    }

    /// Opens a folder.
    pub async fn select(&mut self, folder: &str) -> anyhow::Result<u64> {
        self.command(&format!("SELECT {folder}")).await
    }

    /// Appends one message without waiting for a `+`.
    pub async fn append(&mut self, folder: &str, message: &[u8]) -> anyhow::Result<()> {
        let tag =
            self.send(&format!("APPEND {folder} (\\Seen)"), &format!(" {{{}+}}", message.len())).await?;
        self.stream.write_all(message).await?;
        self.stream.write_all(b"\r\n").await?;
        self.stream.flush().await?;
        self.answer(&tag).await.context("APPEND")?;
        Ok(())
    }

    /// Gives back what bulk reading took: an idle session needs nothing.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
    }

    async fn send(&mut self, command: &str, end: &str) -> anyhow::Result<String> {
        self.tag += 1;
        let tag = format!("b{}", self.tag);
        self.stream.write_all(format!("{tag} {command}{end}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(tag)
    }

    /// Reads up to the line that begins with `tag`, which is the last one that comes.
    async fn answer(&mut self, tag: &str) -> anyhow::Result<u64> {
        self.buffer.resize(MAX_LAST + CHUNK, 0);
        let (mut bytes, mut kept) = (0, 0);
        loop {
            let read = self.stream.read(&mut self.buffer[kept..kept + CHUNK]).await?;
            ensure!(read > 0, "closed");
            bytes += read as u64;
            let seen = &self.buffer[..kept + read];
            if let Some(line) = last_line(seen)
                && let Some(status) = line.strip_prefix(tag.as_bytes())
                && status.first() == Some(&b' ')
            {
                if status.get(1..3) != Some(b"OK") {
                    bail!("answered {}", String::from_utf8_lossy(line).trim_end());
                }
                return Ok(bytes);
            }
            let keep = seen.len().min(MAX_LAST);
            let from = seen.len() - keep;
            self.buffer.copy_within(from..from + keep, 0);
            kept = keep;
        }
    }
}

/// The last line, if it is complete.
fn last_line(seen: &[u8]) -> Option<&[u8]> {
    let before = seen.strip_suffix(b"\r\n")?;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Some(&seen[start..])
}

fn verb(command: &str) -> String {
    // Never more: a LOGIN's password stands behind it.
    command.split(' ').next().unwrap_or_default().to_owned()
}
