//! A name server for tests that does what it is told, right or wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// Ends with its value.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

impl Fake {
    /// Answers each datagram with all that `answer` gives, in order, and each TCP question with the first that
    /// `over_tcp` gives.
    pub(crate) async fn start(
        answer: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static,
        over_tcp: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).await.unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                for reply in answer(&Message::from_vec(&buffer[..len]).unwrap()) {
                    socket.send_to(&reply, from).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let len = stream.read_u16().await.unwrap();
                let mut body = vec![0; usize::from(len)];
                stream.read_exact(&mut body).await.unwrap();
                if let Some(reply) = over_tcp(&Message::from_vec(&body).unwrap()).first() {
                    stream.write_all(reply).await.unwrap();
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Datagrams that came.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// An empty answer to a question.
pub(crate) fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.response_code = code;
    reply.queries = query.queries.clone();
    reply
}

/// The name and type that were asked for.
pub(crate) fn asked_for(query: &Message) -> (Name, RecordType) {
    let query: &Query = &query.queries[0];
    (query.name().clone(), query.query_type())
}

/// A message's bytes.
pub(crate) fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

/// A message's bytes as TCP carries them.
pub(crate) fn framed(message: &Message) -> Vec<u8> {
    let body = bytes(message);
    [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(crate) fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}
