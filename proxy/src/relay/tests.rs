mod jitter;

use std::sync::Arc;

use mailferry_spool::{Limits, Spool};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Builder;

use super::*;
use crate::ProxyLimits;
use crate::book::Book;
use crate::mirror::Mirror;

/// How the tap behaves beside the relay.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nobody,
    /// A tap that listens.
    Tap,
    /// A tap that nobody empties, with room for this many bytes.
    Stuck(usize),
}

fn beside() -> impl Strategy<Value = Beside> {
    prop_oneof![Just(Beside::Nobody), Just(Beside::Tap), (0..200_usize).prop_map(Beside::Stuck)]
}

/// Relays two streams cut into pieces; what arrived at the source and at the client.
async fn relayed(up: Vec<Vec<u8>>, down: Vec<Vec<u8>>, pipe: usize, beside: Beside) -> (Vec<u8>, Vec<u8>) {
    let (client_near, client_far) = duplex(pipe);
    let (source_near, source_far) = duplex(pipe);
    let (bytes_up, bytes_down) = (AtomicU64::new(0), AtomicU64::new(0));
    let dir = tempfile::tempdir().unwrap();
    let limits = ProxyLimits {
        tap_bytes: match beside {
            Beside::Stuck(bytes) => bytes,
            Beside::Nobody | Beside::Tap => 1 << 20,
        },
        ..ProxyLimits::default()
    };
    let ledger = mailferry_ledger::Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
    let spool = Spool::new(Limits { memory_bytes: 100, disk_bytes: 0, dir: dir.path().join("spool") });
    let mirror = Mirror::new("E".into(), ledger, spool, Arc::new(Book::default()));
    let page = mirror.book.open(([127, 0, 0, 1], 1).into());
    let (tap, listening) = mirror.tap_for(mailferry_imap::MailboxId(1), page, &limits);
    let (tap, listening, stuck) = match beside {
        Beside::Nobody => (None, None, None),
        Beside::Tap => (Some(tap), Some(tokio::spawn(listening)), None),
        Beside::Stuck(_) => (Some(tap), None, Some(listening)),
    };
    let relaying = async move {
        let mut relay = Relay::new(
            (client_near, Bytes::new()),
            (source_near, Bytes::new()),
            (Watch::new(), tap),
            (&bytes_up, &bytes_down),
        );
        while relay.run().await.unwrap() != Passed::Closed {}
    };
    let ((), at_client, at_source) = tokio::join!(relaying, talk(client_far, up), talk(source_far, down));
    if let Some(listening) = listening {
        listening.await.unwrap();
    }
    if let Some(stuck) = stuck {
        stuck.await;
    }
    assert_eq!(mirror.waiting(), 0, "every byte for the tap is accounted for");
    (at_source, at_client)
}

/// Sends the pieces, then the end, and reads what comes meanwhile up to its end.
async fn talk(stream: DuplexStream, pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async move {
        for piece in pieces {
            write.write_all(&piece).await.unwrap();
            write.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (read, ()) = tokio::join!(read.read_to_end(&mut got), sending);
    read.unwrap();
    got
}

fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let words = prop::sample::select(vec![
        "* ",
        "a1 ",
        "OK ",
        "NO ",
        "SELECT INBOX",
        "CAPABILITIES ",
        "[CAPABILITIES ",
        "COMPRESS DEFLATE",
        "\r\n",
        "\r\n",
        "\n",
        "FETCH (",
        "BODY[] {9}\r\n",
        "{3}\r\n",
        "{4294967296}\r\n",
        "{99999999999999999999}\r\n",
        "+ ",
        "1 EXISTS",
        "APPEND x {5+}\r\n",
        "IDLE",
        "DONE",
        "* OK [UIDVALIDITY 9] x\r\n",
        "UID 7 ",
        "\0\u{7f}",
        "\"",
        "\\",
    ]);
    let piece = prop::collection::vec(words, 0..9).prop_map(|words| words.concat().into_bytes());
    let blob = prop::collection::vec(any::<u8>(), 0..300);
    let fill =
        (0..200_000_usize).prop_map(|length| (0..length).map(|at| b'a' + (at / 7 % 26) as u8).collect());
    prop::collection::vec(prop_oneof![8 => piece, 1 => blob, 1 => fill], 0..12)
}

/// From a byte at a time to more than the relay takes at once.
fn pipe() -> impl Strategy<Value = usize> {
    prop_oneof![1..5000_usize, SMALL - 2..SMALL + 2, 5000..3 * CHUNK]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Promise 1: whatever two streams there are, cut anywhere, and whatever the tap makes of them, what leaves the relay is
    /// what came in.
    #[test]
    fn what_leaves_is_what_came_in(up in stream(), down in stream(), pipe in pipe(), beside in beside()) {
        let (sent_up, sent_down) = (up.concat(), down.concat());
        prop_assume!(!holds_list(&sent_down));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (at_source, at_client) = runtime.block_on(relayed(up, down, pipe, beside));
        prop_assert!(at_source == sent_up, "to the source");
        prop_assert!(at_client == sent_down, "to the client");
    }
}

/// Random bytes may hold anything, even a capability list.
fn holds_list(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window.eq_ignore_ascii_case(b"CAPABILITY "))
}

#[tokio::test]
async fn a_client_that_never_reads_costs_a_bounded_queue() {
    let (client_near, _client_far) = duplex(1024);
    let (source_near, mut source_far) = duplex(1024);
    let (bytes_up, bytes_down) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut relay = Relay::new(
        (client_near, Bytes::new()),
        (source_near, Bytes::new()),
        (Watch::new(), None),
        (&bytes_up, &bytes_down),
    );
    let flood = async {
        let chunk = [b'x'; 4096];
        let mut sent = 0_u64;
        while tokio::time::timeout(std::time::Duration::from_millis(50), source_far.write_all(&chunk))
            .await
            .is_ok()
        {
            sent += chunk.len() as u64;
        }
        sent
    };
    tokio::select! {
        _ = relay.run() => panic!("nobody closed"),
        sent = flood => assert!(sent < 2 * CHUNK as u64, "{sent}"),
    }
    assert!(relay.down.queue.iter().map(Bytes::len).sum::<usize>() <= CHUNK);
    assert!(!relay.at_rest());
}

/// Takes nothing.
struct Deaf;

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

#[tokio::test]
async fn a_source_that_takes_nothing_more_still_has_its_say() {
    let (client_near, mut client_far) = duplex(4);
    let said: &[u8] = b"* BYE idle for too long\r\n";
    let source = tokio::io::join(said, Deaf);
    let (bytes_up, bytes_down) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut relay = Relay::new(
        (client_near, Bytes::from_static(b"a1 NOOP\r\n")),
        (source, Bytes::new()),
        (Watch::new(), None),
        (&bytes_up, &bytes_down),
    );
    let relaying = async move { while relay.run().await.unwrap() != Passed::Closed {} };
    let mut heard = Vec::new();
    let ((), read) = tokio::join!(relaying, client_far.read_to_end(&mut heard));
    read.unwrap();
    assert_eq!(heard, said);
}
