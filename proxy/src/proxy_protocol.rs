//! The PROXY protocol (haproxy's `proxy-protocol.txt`), versions 1 and 2: a load balancer in front of us says whom it
//! speaks for, and we say the same to the source (version 2).
//!
//! A header is read to its last byte and not a byte further: what follows belongs to TLS or IMAP. It is bounded; the
//! caller bounds the time. Who may send one is not decided here.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What a version 2 header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a version 1 header begins with.
const WORD: &[u8; 6] = b"PROXY ";

/// The longest version 1 header, as the specification has it.
const MAX_V1: usize = 107;

/// The longest version 2 header that is read: addresses and what balancers add to them (TLS facts, their own identifiers).
const MAX_V2: usize = 4096;

/// The two ends of a connection, as the client had it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Why there is no header to go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("no PROXY header")]
    Missing,
    #[error("a PROXY header without end")]
    TooLong,
    #[error("a PROXY header that makes no sense")]
    Malformed,
}

/// Whether these first bytes of a connection are those of a header.
pub(crate) fn is_header(start: &[u8]) -> bool {
    start.starts_with(SIGNATURE)
        || [b"PROXY TCP4 ".as_slice(), b"PROXY TCP6 ", b"PROXY UNKNOWN"]
            .iter()
            .any(|begin| start.starts_with(begin))
}

/// Takes the header off a connection. `None`: the balancer speaks for itself (UNKNOWN, LOCAL), or for something
/// that has no IP address.
pub(crate) async fn receive(tcp: &mut TcpStream) -> io::Result<Result<Option<Ends>, HeaderError>> {
    let mut header = Vec::new();
    let mut ahead = [0; 256];
    loop {
        let seen = tcp.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (taken, whole) = match take(&mut header, &ahead[..seen]) {
            Ok(taken) => taken,
            Err(error) => return Ok(Err(error)),
        };
        tcp.read_exact(&mut ahead[..taken]).await?;
        if whole == Whole::Yes {
            return Ok(parse(&header));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whole {
    Yes,
    No,
}

/// Takes what belongs to the header off what came: how much that was, and whether the header is whole.
pub(crate) fn take(header: &mut Vec<u8>, came: &[u8]) -> Result<(usize, Whole), HeaderError> {
    let had = header.len();
    header.extend_from_slice(came);
    let length = length(header)?;
    // Without an end in sight all of it belongs to the header.
    header.truncate(length.unwrap_or(header.len()));
    let whole = if length == Some(header.len()) { Whole::Yes } else { Whole::No };
    Ok((header.len() - had, whole))
}

/// How long the header is that begins like this, as soon as that can be told.
fn length(start: &[u8]) -> Result<Option<usize>, HeaderError> {
    let begins = |with: &[u8]| {
        let length = start.len().min(with.len());
        start[..length] == with[..length]
    };
    if begins(SIGNATURE) {
        let Some(size) = start.get(14..16) else { return Ok(None) };
        let length = 16 + usize::from(u16::from_be_bytes([size[0], size[1]]));
        return if length > MAX_V2 { Err(HeaderError::TooLong) } else { Ok(Some(length)) };
    }
    if !begins(WORD) {
        return Err(HeaderError::Missing);
    }
    match memchr::memchr(b'\n', &start[..start.len().min(MAX_V1)]) {
        Some(newline) => Ok(Some(newline + 1)),
        None if start.len() >= MAX_V1 => Err(HeaderError::TooLong),
        None => Ok(None),
    }
}

pub(crate) fn parse(header: &[u8]) -> Result<Option<Ends>, HeaderError> {
    let config = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    let (parsed, length) = ProxyHeader::parse(header, config).map_err(|_| HeaderError::Malformed)?;
    if length != header.len() {
        return Err(HeaderError::Malformed);
    }
    match parsed.proxied_address() {
        Some(address) if address.protocol == Protocol::Stream => {
            Ok(Some(Ends { client: canonical(address.source), server: canonical(address.destination) }))
        }
        Some(_) => Err(HeaderError::Malformed),
        None => Ok(None),
    }
}

/// The version 2 header that tells these ends.
pub(crate) fn header(ends: Ends) -> io::Result<Vec<u8>> {
    let (client, server) = (canonical(ends.client), canonical(ends.server));
    // Both of one family, or the receiver could not read them.
    let (client, server) = if client.is_ipv4() == server.is_ipv4() {
        (client, server)
    } else {
        (mapped(client), mapped(server))
    };
    let header = ProxyHeader::with_address(ProxiedAddress::stream(client, server));
    let mut bytes = [0; MAX_V1];
    let length = header.encode_to_slice_v2(&mut bytes).map_err(|_| io::Error::other("no PROXY header"))?;
    Ok(bytes[..length].to_vec())
}

/// As the address was before a socket for both families dressed it up.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    let ip: Ipv6Addr = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddr::new(ip.into(), address.port())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of these bytes, sent in pieces of at most `step`, and what is left of them.
    async fn received(bytes: &[u8], step: usize) -> (String, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        sender.set_nodelay(true).unwrap();
        let (mut tcp, _) = listener.accept().await.unwrap();
        let sending = async {
            for piece in bytes.chunks(step) {
                // What was refused is not read to its end.
                if sender.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(sender);
        };
        let receiving = async {
            let told = match receive(&mut tcp).await {
                Ok(Ok(Some(ends))) => format!("{} to {}", ends.client, ends.server),
                Ok(Ok(None)) => "itself".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => format!("{:?}", error.kind()),
            };
            let mut rest = Vec::new();
            let _ = tcp.read_to_end(&mut rest).await;
            (told, rest)
        };
        tokio::join!(sending, receiving).1
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[0x20 | command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn headers_are_taken_to_their_last_byte_however_they_are_cut() {
        let four = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x34, 0x03, 0xe1];
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[16..32].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        six[33] = 9;
        six[35] = 143;
        let extras = [four.as_slice(), &[4, 1, 44], &[0; 300]].concat();
        for (header, told) in [
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 4660 993\r\n".to_vec(), "203.0.113.7:4660 to 192.0.2.1:993"),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 9 143\r\n".to_vec(),
                "[2001:db8::7]:9 to [2001:db8::1]:143",
            ),
            (
                b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.1 9 143\r\n".to_vec(),
                "203.0.113.7:9 to 192.0.2.1:143",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "itself"),
            (b"PROXY UNKNOWN 203.0.113.7 192.0.2.1 1 2\r\n".to_vec(), "itself"),
            (v2(1, 0x11, &four), "203.0.113.7:4660 to 192.0.2.1:993"),
            (v2(1, 0x21, &six), "[2001:db8::7]:9 to [2001:db8::1]:143"),
            (v2(1, 0x11, &extras), "203.0.113.7:4660 to 192.0.2.1:993"),
            (v2(0, 0x11, &four), "itself"),
            (v2(0, 0, &[]), "itself"),
            (v2(1, 0, &[1, 2, 3]), "itself"),
        ] {
            let sent = [header.as_slice(), b"PROXY a1 NOOP\r\n"].concat();
            for step in [1, 7, usize::MAX] {
                let (said, rest) = received(&sent, step).await;
                assert_eq!(said, told, "{}", header.escape_ascii());
                assert_eq!(rest, b"PROXY a1 NOOP\r\n", "{}", header.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_and_bounded() {
        let hello = [0x16, 3, 1, 0, 200];
        for (sent, told) in [
            (b"a1 NOOP\r\n".to_vec(), "no PROXY header"),
            (hello.to_vec(), "no PROXY header"),
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 4660\r\n".to_vec(), "a PROXY header that makes no sense"),
            (b"PROXY TCP4 203.0.113.777 192.0.2.1 1 2\r\n".to_vec(), "a PROXY header that makes no sense"),
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n".to_vec(), "a PROXY header that makes no sense"),
            ([b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(), "a PROXY header without end"),
            (v2(1, 0x11, &[0; 4]), "a PROXY header that makes no sense"),
            (v2(1, 0x12, &[0; 12]), "a PROXY header that makes no sense"),
            (v2(9, 0x11, &[0; 12]), "a PROXY header that makes no sense"),
            ([SIGNATURE.as_slice(), &[0x21, 0x11, 0xff, 0xff]].concat(), "a PROXY header without end"),
            (b"PROXY TCP4 203".to_vec(), "UnexpectedEof"),
        ] {
            for step in [1, usize::MAX] {
                assert_eq!(received(&sent, step).await.0, told, "{}", sent.escape_ascii());
            }
        }
    }

    #[test]
    fn what_we_send_can_be_read() {
        let told = |client: &str, server: &str| {
            let ends = Ends { client: client.parse().unwrap(), server: server.parse().unwrap() };
            let ends = parse(&header(ends).unwrap()).unwrap().unwrap();
            format!("{} to {}", ends.client, ends.server)
        };
        assert_eq!(told("203.0.113.7:1", "192.0.2.1:993"), "203.0.113.7:1 to 192.0.2.1:993");
        assert_eq!(told("[::ffff:203.0.113.7]:1", "192.0.2.1:993"), "203.0.113.7:1 to 192.0.2.1:993");
        assert_eq!(told("[2001:db8::7]:1", "[2001:db8::1]:2"), "[2001:db8::7]:1 to [2001:db8::1]:2");
        // Told as IPv6 both; read again, each is what it was.
        assert_eq!(told("203.0.113.7:1", "[2001:db8::1]:2"), "203.0.113.7:1 to [2001:db8::1]:2");
    }
}
