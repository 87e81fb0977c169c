//! A raw IMAP conversation: bytes out, bytes in, nothing understood but line ends and tags. Shares no code with the product.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long anything may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// How the connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// No TLS.
    Plain,
    /// TLS from the first byte.
    Tls,
    /// STARTTLS first; the greeting and its answer are not part of the record.
    StartTls,
}

/// One connection.
pub struct Teletype {
    stream: Box<dyn Both>,
    /// All that came in.
    pub heard: Vec<u8>,
    /// How much of it was asked about already.
    seen: usize,
    /// Whether the other side said that it is done.
    pub ended: bool,
}

impl Teletype {
    /// Connects from 127.0.0.1.
    pub async fn connect(
        address: SocketAddr,
        way: Way,
        tls: &Arc<rustls::ClientConfig>,
    ) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address).await?, way, tls).await
    }

    /// Connects from another loopback address.
    pub async fn connect_from(
        from: [u8; 4],
        address: SocketAddr,
        way: Way,
        tls: &Arc<rustls::ClientConfig>,
    ) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        Self::over(socket.connect(address).await?, way, tls).await
    }

    /// Talks over a connection that stands.
    pub async fn over(tcp: TcpStream, way: Way, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<Self> {
        tcp.set_nodelay(true)?;
        match way {
            Way::Plain => Ok(Self::new(Box::new(tcp))),
            Way::Tls => Ok(Self::new(secured(Box::new(tcp), tls).await?)),
            Way::StartTls => {
                let mut plain = Self::new(Box::new(tcp));
                plain.line().await?;
                let secured = plain.starttls(tls).await?;
                Ok(Self::new(secured.stream))
            }
        }
    }

    /// STARTTLS, and TLS behind it.
    pub async fn starttls(mut self, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<Self> {
        let answer = self.ask("s0 STARTTLS").await?;
        if !answer.starts_with("s0 OK") {
            bail!("STARTTLS: {answer}");
        }
        Ok(Self { stream: secured(self.stream, tls).await?, ..self })
    }

    fn new(stream: Box<dyn Both>) -> Self {
        Self { stream, heard: Vec::new(), seen: 0, ended: false }
    }

    /// Sends as one write.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sent).await.context("nobody reads")??;
        Ok(())
    }

    /// Sends every byte by itself, as far as TLS and TCP let one.
    pub async fn send_bytewise(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for byte in bytes {
            self.send(&[*byte]).await?;
        }
        Ok(())
    }

    /// Says that nothing more will come.
    pub async fn half_close(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Reads once; whether anything came.
    pub async fn read(&mut self) -> anyhow::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let got = timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await;
        match got {
            Err(_) => bail!("nothing comes; so far: {}", self.tail()),
            Ok(Ok(0) | Err(_)) => {
                self.ended = true;
                Ok(false)
            }
            Ok(Ok(_)) => Ok(true),
        }
    }

    /// The next whole line, without its end; at the end of the connection an error.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            let rest = &self.heard[self.seen..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).trim_end().to_owned();
                self.seen += end + 1;
                return Ok(line);
            }
            if !self.read().await? {
                bail!("connection ended; so far: {}", self.tail());
            }
        }
    }

    /// Reads up to the answer with this tag, and gives it; at the end of the connection an error.
    pub async fn tagged(&mut self, tag: &str) -> anyhow::Result<String> {
        let start = format!("{tag} ");
        loop {
            let line = self.line().await?;
            if line.starts_with(&start) {
                return Ok(line);
            }
        }
    }

    /// How much of what came was asked about.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Looks at what came from there on once more.
    pub fn look_again(&mut self, from: usize) {
        self.seen = from;
    }

    /// Reads up to a line that begins like this.
    pub async fn until(&mut self, start: &str) -> anyhow::Result<String> {
        loop {
            let line = self.line().await?;
            if line.starts_with(start) {
                return Ok(line);
            }
        }
    }

    /// Sends a command and reads up to its answer.
    pub async fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        self.tagged(command.split(' ').next().unwrap_or_default()).await
    }

    /// Reads to the end of the connection; what came and was not asked about.
    pub async fn rest(&mut self) -> anyhow::Result<String> {
        while self.read().await? {}
        let rest = String::from_utf8_lossy(&self.heard[self.seen..]).into_owned();
        self.seen = self.heard.len();
        Ok(rest)
    }

    fn tail(&self) -> String {
        String::from_utf8_lossy(&self.heard[self.heard.len().saturating_sub(500)..]).into_owned()
    }
}

async fn secured(stream: Box<dyn Both>, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<Box<dyn Both>> {
    let connector = TlsConnector::from(tls.clone());
    let handshake = connector.connect(ServerName::try_from("localhost")?, stream);
    Ok(Box::new(timeout(PATIENCE, handshake).await.context("TLS handshake hangs")??))
}
