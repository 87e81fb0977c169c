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
