//! The way to the source: TCP, TLS or STARTTLS, and its greeting.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mailferry_imap::net::{Security, Server, TlsClient};
use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::filter::list_range;
use crate::proxy_protocol::{self, Ends};
use crate::stream::{Stream, tune};

/// The longest line that the source may say before a login.
const MAX_LINE: usize = 64 * 1024;

/// How a greeting begins that wants a login.
const OK: &[u8] = b"* OK";

/// How one begins that wants none.
const BYE: &[u8] = b"* BYE";

/// How long one address of the source has before the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// A source that greeted.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    /// Its greeting, as it is or (after STARTTLS) with the capabilities that it has under TLS.
    pub(crate) greeting: Bytes,
    /// What came behind the greeting.
    pub(crate) rest: BytesMut,
}

impl Upstream {
    /// How TLS with the source began, if there is TLS.
    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        match &self.stream {
            Stream::Tls(tls) => tls.get_ref().1.handshake_kind(),
            Stream::Plain(_) => None,
        }
    }
}

/// Connects, tells by a PROXY header whose connection it is if that is wanted, and reads the greeting. The caller bounds
/// the time.
pub(crate) async fn connect(server: &Server, tls: &TlsClient, tell: Option<Ends>) -> io::Result<Upstream> {
    let mut tcp = reach(&server.host, server.port).await?;
    tune(&tcp)?;
    if let Some(ends) = tell {
        tcp.write_all(&proxy_protocol::header(ends)?).await?;
    }
    let mut rest = BytesMut::new();
    match server.security {
        Security::None => {
            let mut stream = Stream::Plain(tcp);
            let greeting = line(&mut stream, &mut rest).await?;
            Ok(Upstream { stream, greeting, rest })
        }
        Security::Ssl => {
            let mut stream = secured(tcp, server, tls).await?;
            let greeting = line(&mut stream, &mut rest).await?;
            Ok(Upstream { stream, greeting, rest })
        }
        Security::Tls => starttls(tcp, server, tls).await,
    }
}

/// Connects to whichever of the name's addresses answers first; each has a head start over the next one.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: VecDeque<SocketAddr> = lookup_host((host, port)).await?.collect();
    if let (Some(only), 1) = (addresses.front(), addresses.len()) {
        return TcpStream::connect(only).await;
    }
    first_of(addresses).await
}

async fn first_of(mut addresses: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut trying = JoinSet::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.pop_front() {
            Some(address) => {
                trying.spawn(TcpStream::connect(address));
            }
            None if trying.is_empty() => return Err(failed),
            None => {}
        }
        tokio::select! {
            Some(tried) = trying.join_next() => match tried.map_err(io::Error::other).flatten() {
                Ok(tcp) => return Ok(tcp),
                Err(error) => failed = error,
            },
            () = sleep(STAGGER), if !addresses.is_empty() => {}
        }
    }
}

async fn secured(tcp: TcpStream, server: &Server, tls: &TlsClient) -> io::Result<Stream> {
    let name = ServerName::try_from(server.host.clone()).map_err(io::Error::other)?;
    Stream::connect(tls.config(), name, tcp).await
}

async fn starttls(tcp: TcpStream, server: &Server, tls: &TlsClient) -> io::Result<Upstream> {
    let mut rest = BytesMut::new();
    let mut stream = Stream::Plain(tcp);
    let greeting = line(&mut stream, &mut rest).await?;
    if !begins(&greeting, OK) {
        // PREAUTH cannot be secured (RFC 9051 section 7.1.4); BYE is passed on.
        let Some((bye, text)) = greeting.split_at_checked(BYE.len()).filter(|(word, _)| begins(word, BYE))
        else {
            return Err(io::Error::other("no STARTTLS after PREAUTH"));
        };
        let greeting = [bye, without_code(text)].concat().into();
        return Ok(Upstream { stream, greeting, rest });
    }
    let answer = ask(&mut stream, &mut rest, "mf1 STARTTLS\r\n", |_| ()).await?;
    if !begins(&answer, b"mf1 OK") {
        return Err(io::Error::other("the source refused STARTTLS"));
    }
    if !rest.is_empty() {
        return Err(io::Error::other("the source spoke in the clear behind STARTTLS"));
    }
    let Stream::Plain(tcp) = stream else { return Err(io::Error::other("TLS twice")) };
    let mut stream = secured(tcp, server, tls).await?;
    let mut capabilities = None;
    let listed = |line: &Bytes| {
        if begins(line, b"* CAPABILITY ") {
            capabilities = Some(line.slice(13..));
        }
    };
    ask(&mut stream, &mut rest, "mf2 CAPABILITY\r\n", listed).await?;
    let greeting = with_capabilities(&greeting, capabilities.as_deref());
    Ok(Upstream { stream, greeting, rest })
}

/// The greeting's text with the list that holds under TLS in place of the one that was said in the clear. Another code
/// (a referral, an alert) is left out: anybody on the way may have put it there.
fn with_capabilities(greeting: &[u8], capabilities: Option<&[u8]>) -> Bytes {
    let (ok, text) = greeting.split_at_checked(OK.len()).unwrap_or((OK, b"\r\n"));
    let text = match list_range(greeting) {
        Some(list) => {
            let behind = &greeting[list.end..];
            behind.strip_prefix(b"]").unwrap_or(behind)
        }
        None => without_code(text),
    };
    let mut line = BytesMut::from(ok);
    if let Some(capabilities) = capabilities {
        line.extend_from_slice(b" [CAPABILITY ");
        line.extend_from_slice(capabilities.trim_ascii());
        line.extend_from_slice(b"]");
    }
    line.extend_from_slice(text);
    line.freeze()
}

/// What stands behind a status, less its response code.
fn without_code(text: &[u8]) -> &[u8] {
    if !text.trim_ascii_start().starts_with(b"[") {
        return text;
    }
    match memchr::memchr(b']', text) {
        Some(end) => &text[end + 1..],
        None => b"\r\n",
    }
}

/// Sends a command of our own and reads up to its answer, which is returned.
async fn ask(
    stream: &mut Stream,
    rest: &mut BytesMut,
    command: &str,
    mut untagged: impl FnMut(&Bytes),
) -> io::Result<Bytes> {
    stream.write_all(command.as_bytes()).await?;
    stream.flush().await?;
    let tag = &command.as_bytes()[..4];
    loop {
        let line = line(stream, rest).await?;
        if begins(&line, tag) {
            return Ok(line);
        }
        untagged(&line);
    }
}

async fn line(stream: &mut Stream, rest: &mut BytesMut) -> io::Result<Bytes> {
    loop {
        if let Some(newline) = memchr::memchr(b'\n', rest) {
            return Ok(rest.split_to(newline + 1).freeze());
        }
        if rest.len() > MAX_LINE {
            return Err(io::Error::other("the source's line is too long"));
        }
        if stream.read_buf(rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn begins(line: &[u8], with: &[u8]) -> bool {
    line.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[tokio::test]
    async fn an_address_that_is_dead_does_not_hide_the_next_one() {
        let refusing = free("127.0.0.1:0");
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        assert_eq!(first_of([refusing, address].into()).await.unwrap().peer_addr().unwrap(), address);
        // One that neither refuses nor answers: its queue is full, and nobody accepts.
        let mute = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        mute.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        mute.listen(0).unwrap();
        let deaf = mute.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(tcp)) = tokio::time::timeout(STAGGER, TcpStream::connect(deaf)).await {
            waiting.push(tcp);
        }
        assert_eq!(first_of([deaf, address].into()).await.unwrap().peer_addr().unwrap(), address);
        assert!(first_of([refusing, free("127.0.0.1:0")].into()).await.is_err());
        assert!(first_of([].into()).await.unwrap_err().to_string().contains("no address"));
    }

    /// An address where nothing listens.
    fn free(address: &str) -> SocketAddr {
        TcpListener::bind(address).unwrap().local_addr().unwrap()
    }

    #[test]
    fn the_greeting_tells_what_holds_under_tls() {
        let told = |greeting: &str, list: Option<&str>| {
            let line = with_capabilities(greeting.as_bytes(), list.map(str::as_bytes));
            String::from_utf8(line.to_vec()).unwrap()
        };
        let list = Some("IMAP4rev1 AUTH=PLAIN\r\n");
        assert_eq!(
            told("* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n", list),
            "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n"
        );
        assert_eq!(told("* OK ready\r\n", list), "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n");
        for code in ["ALERT", "alert", "REFERRAL imap://evil.example/", "UNKNOWN x"] {
            let greeting = format!("* OK [{code}] ready\r\n");
            assert_eq!(told(&greeting, list), "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n", "{code}");
        }
        assert_eq!(told("* OK  [ALERT\r\n", list), "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN]\r\n");
        assert_eq!(told("* OK [CAPABILITY X] ready\r\n", None), "* OK ready\r\n");
        assert_eq!(told("* OK [CAPABILITY X\r\n", list), "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN]\r\n");
    }

    #[test]
    fn a_greeting_in_small_letters_is_one_under_tls_too() {
        for greeting in ["* ok ready\r\n", "* ok [capability IMAP4rev1 STARTTLS] ready\r\n"] {
            let line = with_capabilities(greeting.as_bytes(), Some(b"IMAP4rev1 AUTH=PLAIN\r\n"));
            assert_eq!(line, "* ok [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n");
        }
    }
}
