//! TLS sessions with the source are resumed where it permits that.
#![allow(clippy::unwrap_used)]

mod scripted;

use std::sync::Arc;

use mailferry_imap::net::{Security, TlsClient, Trust};
use mailferry_proxy::ProxyConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use scripted::{Peer, Stand, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How the source began TLS in three sessions, one after the other, and what the proxy counted.
async fn three(
    version: &'static SupportedProtocolVersion,
    permits: impl FnOnce(&mut ServerConfig),
) -> (Vec<HandshakeKind>, (u64, u64)) {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca_file = dir.path().join("cert.pem");
    std::fs::write(&ca_file, key.cert.pem()).unwrap();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    permits(&mut config);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let stand = Stand::configured(|config: &mut ProxyConfig| {
        let trust = Trust::CaFile(ca_file);
        config.tls = TlsClient::new(&trust).unwrap();
        config.source.host = "localhost".to_owned();
        config.source.security = Security::Ssl;
        config.source.trust = trust;
    })
    .await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let mut client = Peer(TcpStream::connect(stand.proxy.addresses()[0]).await.unwrap());
        let (tcp, _) = soon(stand.source.accept()).await.unwrap();
        let mut source = soon(acceptor.accept(tcp)).await.unwrap();
        source.write_all(b"* OK ready\r\n").await.unwrap();
        source.flush().await.unwrap();
        client.hears("* OK ready\r\n").await;
        client.say("a NOOP\r\n").await;
        let mut heard = [0; 8];
        soon(source.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"a NOOP\r\n");
        kinds.push(source.get_ref().1.handshake_kind().unwrap());
    }
    let counters = stand.proxy.counters();
    stand.stop().await;
    (kinds, (counters.source_handshakes, counters.source_resumed))
}

#[tokio::test]
async fn the_second_session_with_a_source_that_permits_it_resumes_the_first() {
    for version in [&TLS13, &TLS12] {
        let (kinds, counted) = three(version, |_| {}).await;
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
        assert_eq!(counted, (3, 2));
    }
}

#[tokio::test]
async fn a_source_that_permits_none_is_spoken_to_all_the_same() {
    for version in [&TLS13, &TLS12] {
        let forgets = |config: &mut ServerConfig| {
            config.session_storage = Arc::new(NoServerSessionStorage {});
        };
        let (kinds, counted) = three(version, forgets).await;
        assert_eq!(kinds, [HandshakeKind::Full; 3]);
        assert_eq!(counted, (3, 0));
    }
}
