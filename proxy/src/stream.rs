//! One leg of a session: TCP, with TLS around it or not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::io::poll_read_buf;

/// How much is taken from TCP at once while much is coming.
const AHEAD: usize = 64 * 1024;

/// A leg.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Wire>>),
}

impl Stream {
    /// TLS with a client.
    pub(crate) async fn accept(acceptor: &TlsAcceptor, tcp: TcpStream) -> io::Result<Self> {
        let tls = acceptor.accept(Wire::new(tcp)).await?;
        Ok(Self::Tls(Box::new(TlsStream::Server(tls))))
    }

    /// TLS with a server of this name.
    pub(crate) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        tcp: TcpStream,
    ) -> io::Result<Self> {
        let tls = TlsConnector::from(config).connect(name, Wire::new(tcp)).await?;
        Ok(Self::Tls(Box::new(TlsStream::Client(tls))))
    }
}

/// No small packet waits for another one, and a dead peer is noticed in about three minutes.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(20));
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// TCP below TLS. rustls takes 4 KiB at a time; where more is coming it is read ahead, a record's worth and more with one
/// call. The buffer exists only while that goes on.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: TcpStream,
    ahead: Vec<u8>,
    /// How much of `ahead` was taken.
    taken: usize,
    coming: Coming,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Coming {
    Little,
    /// The last read was as much as it could be.
    Much,
}

impl Wire {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, ahead: Vec::new(), taken: 0, coming: Coming::Little }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.taken == wire.ahead.len() {
            if wire.coming == Coming::Little {
                ready!(Pin::new(&mut wire.tcp).poll_read(cx, buf))?;
                if buf.remaining() == 0 {
                    wire.coming = Coming::Much;
                }
                return Poll::Ready(Ok(()));
            }
            wire.ahead.clear();
            wire.taken = 0;
            wire.ahead.reserve_exact(AHEAD);
            match poll_read_buf(Pin::new(&mut wire.tcp), cx, &mut wire.ahead) {
                Poll::Ready(Ok(1..)) => {}
                ended @ (Poll::Pending | Poll::Ready(_)) => {
                    wire.ahead = Vec::new();
                    wire.coming = Coming::Little;
                    return ended.map_ok(|_| ());
                }
            }
        }
        let rest = &wire.ahead[wire.taken..];
        let amount = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..amount]);
        wire.taken += amount;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;
    use rustls::{RootCertStore, ServerConfig};
    use rustls_pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Stream, Stream) {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(key.cert.der().clone()).unwrap();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let name = ServerName::try_from("localhost").unwrap();
        tokio::try_join!(Stream::connect(Arc::new(client), name, tcp), Stream::accept(&acceptor, accepted))
            .unwrap()
    }

    fn bytes(seed: usize, length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * 31) ^ (at >> 8) ^ seed) as u8).collect()
    }

    /// Writes in pieces of odd sizes, then closes its half.
    async fn write(mut stream: impl AsyncWrite + Unpin, bytes: &[u8]) {
        let (mut from, mut size) = (0, 1);
        while from < bytes.len() {
            let to = (from + size).min(bytes.len());
            stream.write_all(&bytes[from..to]).await.unwrap();
            stream.flush().await.unwrap();
            (from, size) = (to, size * 7 % 90_001 + 1);
        }
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn no_small_packet_waits_and_a_dead_peer_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&tcp).unwrap();
        let socket = SockRef::from(&tcp);
        assert!(tcp.nodelay().unwrap() && socket.keepalive().unwrap());
    }

    #[tokio::test]
    async fn much_and_little_both_ways_and_an_end_each() {
        let (client, server) = pair().await;
        let (up, down) = (bytes(1, 3_000_000), bytes(2, 5_000_000));
        let (client_reads, client_writes) = split(client);
        let (server_reads, server_writes) = split(server);
        let read_all = |mut stream: Box<dyn AsyncRead + Unpin + Send>| async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all
        };
        let ((), (), at_server, at_client) = tokio::join!(
            write(client_writes, &up),
            write(server_writes, &down),
            read_all(Box::new(server_reads)),
            read_all(Box::new(client_reads)),
        );
        assert!(at_server == up && at_client == down);
    }

    #[tokio::test]
    async fn the_buffer_is_given_back() {
        let (mut client, mut server) = pair().await;
        let sent = bytes(3, 400_000);
        let mut got = vec![0; sent.len()];
        let (sending, reading) = tokio::join!(
            async {
                client.write_all(&sent).await?;
                client.flush().await
            },
            server.read_exact(&mut got)
        );
        sending.unwrap();
        reading.unwrap();
        assert!(got == sent);
        // Nothing more is there: the next read finds that out.
        let mut one = [0];
        assert!(tokio::time::timeout(Duration::from_millis(1), server.read(&mut one)).await.is_err());
        let Stream::Tls(tls) = &server else { panic!("no TLS") };
        let wire = tls.get_ref().0;
        assert_eq!((wire.ahead.capacity(), wire.coming), (0, Coming::Little));
    }
}
