//! The test of a source server before anything hangs on it: name, port, TLS, greeting, capabilities.
//!
//! It needs no login and changes nothing. What goes wrong is told as what it most likely is: a closed port, a
//! certificate that does not verify (with what it says), or the wrong `security` for this port.

mod certificate;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mailferry_imap::Capabilities;
use mailferry_imap::net::{Security, Server, Trust};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

pub use certificate::CertificateFacts;
pub use tls::TlsFacts;

use crate::fault::Fault;

/// Greetings and capability lines are far shorter.
const MAX_LINE: u64 = 16 * 1024;
/// A server that greets in plain text mostly does so at once; one that is silent for so long may wait for TLS.
const SILENCE: Duration = Duration::from_secs(1);
/// How many lines may come before the answer to one of our commands.
const MAX_LINES: usize = 100;

/// What a source server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointReport {
    /// Host name, as asked for.
    pub server: String,
    /// Port.
    pub port: u16,
    /// `none`, `ssl` or `tls`.
    pub security: Security,
    /// The addresses of the name.
    pub addresses: Vec<SocketAddr>,
    /// The one that answered.
    pub connected: SocketAddr,
    /// Milliseconds until the connection stood, without TLS: about one round trip.
    pub connect_ms: u64,
    /// The protection; `None` for `none`.
    pub tls: Option<TlsFacts>,
    /// The server's first line, without its end.
    pub greeting: String,
    /// What it can do before login, under TLS if there is any.
    pub capabilities: Vec<String>,
    /// What the operator should know, one sentence each.
    pub notes: Vec<String>,
}

/// What was found where another protection was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The server speaks before TLS does.
    PlainText,
    /// The server waits for TLS from the first byte.
    ImplicitTls,
    /// The server does not offer STARTTLS.
    NoStartTls,
}

/// Why a source server cannot be used as it was named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The name has no address.
    #[error("{host} has no address: {why}")]
    Name {
        /// The name.
        host: String,
        /// The resolver's words.
        why: String,
    },
    /// The machine is there and nobody listens.
    #[error("{host}:{port} refused the connection: nobody listens there")]
    Closed {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// No way there, or no answer.
    #[error("{host}:{port} is not reached: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What happened.
        why: String,
    },
    /// The certificate does not verify.
    #[error("the certificate of {host} does not verify: {why}{}", .certificate.as_ref().map(|facts| format!(" ({facts})")).unwrap_or_default())]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with it.
        why: String,
        /// What it says of itself.
        certificate: Option<Box<CertificateFacts>>,
    },
    /// TLS failed for another reason.
    #[error("TLS with {host}:{port} fails: {why}")]
    Tls {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What happened.
        why: String,
    },
    /// Another `security` is needed.
    #[error("security {configured:?} does not fit {host}:{port}: {}", found_words(*.found))]
    Security {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What was asked for.
        configured: Security,
        /// What is there.
        found: Found,
    },
    /// It is there and does not speak IMAP as expected.
    #[error("{host}:{port} does not speak IMAP: {what}")]
    NotImap {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What came instead.
        what: String,
    },
    /// The server turns us away.
    #[error("{host}:{port} turns us away: {text}")]
    Bye {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Its words.
        text: String,
    },
    /// The certificates to trust cannot be read.
    #[error("{0}")]
    Trust(String),
}

fn found_words(found: Found) -> &'static str {
    match found {
        Found::PlainText => "the server speaks plain text there",
        Found::ImplicitTls => "the server speaks TLS from the first byte there",
        Found::NoStartTls => "the server does not offer STARTTLS there",
    }
}

impl EndpointError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Trust(_) => Fault::Usage,
            Self::Security { .. }
            | Self::Name { .. }
            | Self::Closed { .. }
            | Self::Unreachable { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::NotImap { .. }
            | Self::Bye { .. } => Fault::Source,
        }
    }

    /// What to do next.
    pub fn next(&self) -> String {
        match self {
            Self::Name { .. } => "check the spelling of --server".into(),
            Self::Closed { .. } => {
                "check --port (993 for ssl, 143 for none and tls) and that the server runs".into()
            }
            Self::Unreachable { .. } => "check firewalls between this machine and the server".into(),
            Self::Certificate { .. } => {
                "use the name that the certificate has, or give --ca-file the authority that signed it".into()
            }
            Self::Tls { .. } => "check which TLS versions the server has; 1.2 and 1.3 can be used".into(),
            Self::Security { found: Found::ImplicitTls, .. } => "use --security ssl".into(),
            Self::Security { found: Found::PlainText, .. } => {
                "use --security tls, or none if the server has no STARTTLS".into()
            }
            Self::Security { found: Found::NoStartTls, .. } => {
                "use --security ssl on port 993, or none".into()
            }
            Self::NotImap { .. } => "check --port: something else listens there".into(),
            Self::Bye { .. } => "look into the server's log".into(),
            Self::Trust(_) => "check --ca-file".into(),
        }
    }
}

/// Connects, secures, reads greeting and capabilities, and goes. `patience` is for all of it.
///
/// # Errors
/// [`EndpointError`] with what it most likely is.
pub async fn test(server: &Server, patience: Duration) -> Result<EndpointReport, EndpointError> {
    let call = Call { server, deadline: Instant::now() + patience };
    let tls = tls::Client::new(&server.trust).map_err(EndpointError::Trust)?;
    let addresses = call.addresses().await?;
    let began = Instant::now();
    let (stream, connected) = call.dial(&addresses).await?;
    let connect_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);

    let met = match server.security {
        Security::Ssl => {
            let (stream, facts) = call.secure(&tls, stream).await?;
            let mut line = Line::new(stream);
            let greeting = call.greeting(&mut line).await?;
            call.meet(line, greeting, Some(facts)).await?
        }
        Security::None => {
            let mut line = Line::new(stream);
            let greeting = call.plain_greeting(&mut line, connected).await?;
            call.meet(line, greeting, None).await?
        }
        Security::Tls => {
            let mut line = Line::new(stream);
            let greeting = call.plain_greeting(&mut line, connected).await?;
            call.start_tls(&mut line).await?;
            let (stream, facts) = call.secure(&tls, line.into_stream()).await?;
            call.meet(Line::new(stream), greeting, Some(facts)).await?
        }
    };
    let notes = notes(server, &met);
    Ok(EndpointReport {
        server: server.host.clone(),
        port: server.port,
        security: server.security,
        addresses,
        connected,
        connect_ms,
        tls: met.tls,
        greeting: met.greeting,
        capabilities: met.capabilities.iter().map(str::to_owned).collect(),
        notes,
    })
}

struct Met {
    greeting: String,
    capabilities: Capabilities,
    tls: Option<TlsFacts>,
}

fn notes(server: &Server, met: &Met) -> Vec<String> {
    let mut notes = Vec::new();
    if server.security == Security::None {
        notes.push("passwords and mail travel unencrypted".to_owned());
        if met.capabilities.has("STARTTLS") {
            notes.push("the server offers STARTTLS: use --security tls".to_owned());
        }
    } else if server.trust == Trust::Off {
        notes.push("the certificate was not verified".to_owned());
    }
    if let Some(certificate) = met.tls.as_ref().and_then(|tls| tls.certificate.as_ref())
        && let Some(days) = certificate.days_left(jiff::Timestamp::now())
        && days < 30
    {
        notes.push(format!("the certificate ends in {days} days"));
    }
    if met.capabilities.has("LOGINDISABLED") && !met.capabilities.has("AUTH=PLAIN") {
        notes.push("the server takes no password on this connection".to_owned());
    }
    notes
}

struct Call<'a> {
    server: &'a Server,
    deadline: Instant,
}

impl Call<'_> {
    async fn addresses(&self) -> Result<Vec<SocketAddr>, EndpointError> {
        let fail = |why: String| EndpointError::Name { host: self.server.host.clone(), why };
        let asked = tokio::net::lookup_host((self.server.host.as_str(), self.server.port));
        let found = timeout_at(self.deadline, asked)
            .await
            .map_err(|_| fail("the resolver does not answer".into()))?
            .map_err(|error| fail(error.to_string()))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() { Err(fail("no record".into())) } else { Ok(addresses) }
    }

    /// One address after the other; each has its share of the time.
    async fn dial(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), EndpointError> {
        let mut last = self.unreachable("no address".into());
        for (index, address) in addresses.iter().enumerate() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((stream, *address)),
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = EndpointError::Closed { host: self.server.host.clone(), port: self.server.port };
                }
                Ok(Err(error)) => last = self.unreachable(error.to_string()),
                Err(_) => last = self.unreachable("no answer: a firewall may drop the packets".into()),
            }
        }
        Err(last)
    }

    async fn secure(
        &self,
        tls: &tls::Client,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), EndpointError> {
        let host = self.server.host.clone();
        let port = self.server.port;
        let handshake = timeout_at(self.deadline, tls.handshake(&self.server.host, stream));
        match handshake.await {
            Ok(Ok(secured)) => Ok(secured),
            Ok(Err(tls::Failure::Certificate { why, certificate })) => {
                Err(EndpointError::Certificate { host, why, certificate: certificate.map(Box::new) })
            }
            Ok(Err(tls::Failure::PlainText)) => Err(self.wrong(Found::PlainText)),
            Ok(Err(tls::Failure::Other(why))) => Err(EndpointError::Tls { host, port, why }),
            Err(_) => Err(EndpointError::Tls { host, port, why: "no answer".into() }),
        }
    }

    /// As [`greeting`](Self::greeting); where nothing comes, the server may be waiting for TLS.
    async fn plain_greeting(
        &self,
        line: &mut Line<TcpStream>,
        address: SocketAddr,
    ) -> Result<String, EndpointError> {
        let waits_for_tls = async {
            tokio::time::sleep(SILENCE).await;
            if !tls::answers(address, self.deadline).await {
                // Then it is only slow.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            greeting = timeout_at(self.deadline, line.next()) => match greeting {
                Ok(Ok(text)) => self.judge(&text),
                Ok(Err(LineError::NotText)) if tls::answers(address, self.deadline).await => {
                    Err(self.wrong(Found::ImplicitTls))
                }
                Ok(Err(error)) => Err(self.not_imap(error.to_string())),
                Err(_) => Err(self.not_imap("no greeting".into())),
            },
            () = waits_for_tls => Err(self.wrong(Found::ImplicitTls)),
        }
    }

    async fn greeting<S: AsyncRead + Unpin>(&self, line: &mut Line<S>) -> Result<String, EndpointError> {
        match timeout_at(self.deadline, line.next()).await {
            Ok(Ok(text)) => self.judge(&text),
            Ok(Err(error)) => Err(self.not_imap(error.to_string())),
            Err(_) => Err(self.not_imap("no greeting".into())),
        }
    }

    fn judge(&self, greeting: &str) -> Result<String, EndpointError> {
        if let Some(text) = greeting.strip_prefix("* BYE") {
            let (host, port) = (self.server.host.clone(), self.server.port);
            return Err(EndpointError::Bye { host, port, text: text.trim().to_owned() });
        }
        if greeting.starts_with("* OK") || greeting.starts_with("* PREAUTH") {
            return Ok(greeting.to_owned());
        }
        let shown: String = greeting.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(self.not_imap(format!("it greets with {shown:?}")))
    }

    async fn start_tls(&self, line: &mut Line<TcpStream>) -> Result<(), EndpointError> {
        let (_, capabilities) = self.ask(line, "c", "CAPABILITY").await?;
        if !capabilities.has("STARTTLS") {
            return Err(self.wrong(Found::NoStartTls));
        }
        let (answer, _) = self.ask(line, "s", "STARTTLS").await?;
        if !answer.starts_with("OK") {
            return Err(self.not_imap(format!("STARTTLS is answered by {answer:?}")));
        }
        // What came behind the answer in the clear must not be taken for what comes under TLS.
        if line.has_more() {
            return Err(self.not_imap("it goes on in the clear behind STARTTLS".into()));
        }
        Ok(())
    }

    async fn meet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut line: Line<S>,
        greeting: String,
        tls: Option<TlsFacts>,
    ) -> Result<Met, EndpointError> {
        let (answer, capabilities) = self.ask(&mut line, "c", "CAPABILITY").await?;
        if !answer.starts_with("OK") || capabilities.is_empty() {
            return Err(self.not_imap(format!("CAPABILITY is answered by {answer:?}")));
        }
        // Its farewell changes nothing.
        let _ = self.ask(&mut line, "l", "LOGOUT").await;
        Ok(Met { greeting, capabilities, tls })
    }

    /// A command's tagged answer without the tag, and the capabilities that came with it.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        line: &mut Line<S>,
        tag: &str,
        command: &str,
    ) -> Result<(String, Capabilities), EndpointError> {
        let exchange = async {
            line.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await.map_err(LineError::Io)?;
            line.stream.flush().await.map_err(LineError::Io)?;
            let mut capabilities = Capabilities::default();
            for _ in 0..MAX_LINES {
                let text = line.next().await?;
                if let Some(words) = text.strip_prefix("* CAPABILITY ") {
                    capabilities = Capabilities::parse(words.as_bytes());
                } else if let Some(answer) = text.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                    return Ok((answer.to_owned(), capabilities));
                }
            }
            Err(LineError::NotText)
        };
        match timeout_at(self.deadline, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.not_imap(format!("{command}: {error}"))),
            Err(_) => Err(self.not_imap(format!("{command} is not answered"))),
        }
    }

    fn unreachable(&self, why: String) -> EndpointError {
        EndpointError::Unreachable { host: self.server.host.clone(), port: self.server.port, why }
    }

    fn wrong(&self, found: Found) -> EndpointError {
        let (host, port) = (self.server.host.clone(), self.server.port);
        EndpointError::Security { host, port, configured: self.server.security, found }
    }

    fn not_imap(&self, what: String) -> EndpointError {
        EndpointError::NotImap { host: self.server.host.clone(), port: self.server.port, what }
    }
}

#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("{0}")]
    Io(io::Error),
    #[error("what comes is no text")]
    NotText,
    #[error("the connection ends")]
    End,
}

/// Lines of a peer, bounded.
struct Line<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + Unpin> Line<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    async fn next(&mut self) -> Result<String, LineError> {
        let mut bytes = Vec::new();
        let read = (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut bytes).await;
        match read {
            Ok(0) => Err(LineError::End),
            Ok(_) if !bytes.ends_with(b"\n") || bytes.contains(&0) => Err(LineError::NotText),
            Ok(_) => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            Err(error) => Err(LineError::Io(error)),
        }
    }

    fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    fn into_stream(self) -> S {
        self.stream.into_inner()
    }
}

#[cfg(test)]
mod tests;
