//! One question to one authoritative server, over UDP with EDNS, then TCP; what came is handed on with its flags.
//!
//! The transport is ours, and small, since a walk and a verdict need what resolver libraries hide: the authoritative
//! flag and all sections of every answer, referrals and negative ones too. The server is asked for what it holds
//! itself, never to look further. An answer counts only if it comes from the address that was asked, to
//! a port used for this question alone, carries the question's random number and repeats the question.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};
use tracing::trace;

use crate::observation::{Failure, Transport};
use crate::places::{Heard, Places};

/// Fits one Ethernet frame unfragmented, over IPv6 too (the value of DNS Flag Day 2020).
pub(crate) const UDP_PAYLOAD: u16 = 1232;
/// Datagrams before TCP is tried.
const DATAGRAMS: u32 = 2;
/// The largest message that TCP can carry.
const TCP_MAX: usize = 65_535;

/// What a server said.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) message: Message,
    pub(crate) transport: Transport,
}

/// Asks, when there is a place.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    places: Arc<Places>,
    timeout: Duration,
}

/// One question, the same for every server.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
}

/// Whether the question carries an EDNS record; some old servers refuse it (RFC 6891, section 7).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extension {
    Edns,
    Plain,
}

/// What a datagram brought.
enum Datagram {
    Whole(Message),
    Truncated,
}

impl Asker {
    /// Has as many questions under way as there are places.
    pub(crate) fn new(timeout: Duration, places: Arc<Places>) -> Self {
        Self { places, timeout }
    }

    /// Asks `server`. Any answer with code NOERROR or NXDOMAIN is a reply; whether it is any good is for the
    /// caller to say. Takes at most three times the timeout, once there is a place.
    pub(crate) async fn ask(&self, server: SocketAddr, question: &Question) -> Result<Reply, Failure> {
        let ask = async || {
            let reply = self.ask_now(server, question).await;
            let heard = Heard::of(&reply);
            (reply, heard)
        };
        let reply = self.places.ask(server, ask).await;
        trace!(%server, name = %question.name, kind = %question.kind, ok = reply.is_ok(), "Asked.");
        reply
    }

    async fn ask_now(&self, server: SocketAddr, question: &Question) -> Result<Reply, Failure> {
        let reply = match self.attempt(server, question, Extension::Edns).await {
            Ok(reply) if refuses_edns(reply.message.metadata.response_code) => {
                self.attempt(server, question, Extension::Plain).await
            }
            other => other,
        }?;
        match reply.message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(reply),
            code => Err(Failure::Code(code_name(code))),
        }
    }

    async fn attempt(
        &self,
        server: SocketAddr,
        question: &Question,
        extension: Extension,
    ) -> Result<Reply, Failure> {
        for _ in 0..DATAGRAMS {
            let query = query(question, extension);
            match self.over_udp(server, &query).await {
                Ok(Datagram::Whole(message)) => return Ok(Reply { message, transport: Transport::Udp }),
                Ok(Datagram::Truncated) => break,
                Err(Failure::Timeout) => {}
                // A refused datagram may be a firewall's word about UDP alone.
                Err(Failure::Io(_)) => break,
                Err(failure) => return Err(failure),
            }
        }
        let message = self.over_tcp(server, &query(question, extension)).await?;
        Ok(Reply { message, transport: Transport::Tcp })
    }

    async fn over_udp(&self, server: SocketAddr, query: &Message) -> Result<Datagram, Failure> {
        let deadline = Instant::now() + self.timeout;
        let local = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(local).await.map_err(|error| io_failure(&error))?;
        socket.connect(server).await.map_err(|error| io_failure(&error))?;
        socket.send(&encode(query)?).await.map_err(|error| io_failure(&error))?;
        let mut buffer = [0; 4096];
        loop {
            let received =
                timeout_at(deadline, socket.recv(&mut buffer)).await.map_err(|_| Failure::Timeout)?;
            let len = received.map_err(|error| io_failure(&error))?;
            if is_truncated(&buffer[..len], query) {
                return Ok(Datagram::Truncated);
            }
            // Anything that is not the answer may be an attempt to forge it: wait on.
            if let Some(message) = decode(&buffer[..len], query) {
                return Ok(Datagram::Whole(message));
            }
        }
    }

    async fn over_tcp(&self, server: SocketAddr, query: &Message) -> Result<Message, Failure> {
        let exchange = async {
            let mut stream = TcpStream::connect(server).await.map_err(|error| io_failure(&error))?;
            let body = encode(query)?;
            let len =
                u16::try_from(body.len()).map_err(|_| Failure::Malformed("question too long".into()))?;
            let mut framed = Vec::with_capacity(body.len() + 2);
            framed.extend(len.to_be_bytes());
            framed.extend(body);
            stream.write_all(&framed).await.map_err(|error| io_failure(&error))?;
            let len = usize::from(stream.read_u16().await.map_err(|error| io_failure(&error))?);
            let mut body = Vec::new();
            let mut limited = (&mut stream).take(len.min(TCP_MAX) as u64);
            limited.read_to_end(&mut body).await.map_err(|error| io_failure(&error))?;
            if body.len() < len {
                return Err(Failure::Malformed("answer cut short".into()));
            }
            match decode(&body, query) {
                Some(message) if message.metadata.truncation => {
                    Err(Failure::Malformed("truncated over TCP".into()))
                }
                Some(message) => Ok(message),
                None => Err(Failure::Malformed("not an answer to the question".into())),
            }
        };
        timeout_at(Instant::now() + self.timeout, exchange).await.map_err(|_| Failure::Timeout)?
    }
}

fn query(question: &Question, extension: Extension) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(question.name.clone(), question.kind));
    match extension {
        Extension::Edns => {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD);
            message.set_edns(edns);
        }
        Extension::Plain => {}
    }
    message
}

fn encode(query: &Message) -> Result<Vec<u8>, Failure> {
    query.to_vec().map_err(|error| Failure::Malformed(error.to_string()))
}

/// The message, if it answers `query`.
fn decode(bytes: &[u8], query: &Message) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let answers = message.metadata.message_type == MessageType::Response
        && message.metadata.id == query.metadata.id
        && message.metadata.op_code == OpCode::Query;
    // A refusal may leave the question out.
    let repeats = message.queries == query.queries
        || (message.queries.is_empty() && message.metadata.response_code != ResponseCode::NoError);
    (answers && repeats).then_some(message)
}

/// Whether this is the answer's head with the truncation flag. Judged by the header alone, since some servers cut
/// in the middle of a record.
fn is_truncated(bytes: &[u8], query: &Message) -> bool {
    const RESPONSE: u8 = 0x80;
    const TRUNCATED: u8 = 0x02;
    bytes.starts_with(&query.metadata.id.to_be_bytes())
        && bytes.get(2).is_some_and(|flags| flags & (RESPONSE | TRUNCATED) == RESPONSE | TRUNCATED)
}

pub(crate) fn refuses_edns(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS)
}

pub(crate) fn io_failure(error: &io::Error) -> Failure {
    /// Linux's answer to an IPv6 socket on a machine without IPv6; std has no kind for it.
    const EAFNOSUPPORT: i32 = 97;
    if error.raw_os_error() == Some(EAFNOSUPPORT) {
        return Failure::NoRoute;
    }
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::Unsupported => Failure::NoRoute,
        io::ErrorKind::TimedOut => Failure::Timeout,
        kind => Failure::Io(kind.to_string()),
    }
}

/// The code by its name in the protocol, as every DNS tool shows it.
pub(crate) fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::NotAuth => "NOTAUTH".into(),
        other => format!("code {}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests;
