//! Legs that are ready when they like, take and give as little as they like, and break; a relay that is stopped and goes
//! on at any moment.

use super::*;

/// Numbers without a pattern (xorshift).
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Not now, but soon.
    fn says_wait(&mut self, cx: &Context<'_>) -> bool {
        let wait = self.below(3) == 0;
        if wait {
            cx.waker().wake_by_ref();
        }
        wait
    }

    /// A few bytes, or many.
    fn some(&mut self) -> usize {
        let most = if self.below(2) == 0 { 40 } else { 2 * CHUNK };
        1 + self.below(most)
    }
}

struct Jittery {
    inner: DuplexStream,
    chance: Chance,
    /// How many bytes it takes before it breaks.
    takes: usize,
}

impl Jittery {
    fn new(inner: DuplexStream, seed: u64, takes: Option<usize>) -> Self {
        Self { inner, chance: Chance(seed | 1), takes: takes.unwrap_or(usize::MAX) }
    }
}

impl AsyncRead for Jittery {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.chance.says_wait(cx) {
            return Poll::Pending;
        }
        let mut space = vec![0; this.chance.some().min(buf.remaining())];
        let mut part = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Jittery {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.chance.says_wait(cx) {
            return Poll::Pending;
        }
        if this.takes == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let amount = this.chance.some().min(bytes.len()).min(this.takes);
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &bytes[..amount]))?;
        this.takes -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.chance.says_wait(cx) { Poll::Pending } else { Pin::new(&mut this.inner).poll_flush(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.chance.says_wait(cx) { Poll::Pending } else { Pin::new(&mut this.inner).poll_shutdown(cx) }
    }
}

/// Ready after so many polls.
async fn polls(mut left: usize) {
    poll_fn(|cx| {
        left = left.saturating_sub(1);
        cx.waker().wake_by_ref();
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// As [`talk`], but for a peer that may be gone.
async fn talk_on(stream: DuplexStream, pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async move {
        for piece in pieces {
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let mut got = Vec::new();
    let _ = tokio::join!(read.read_to_end(&mut got), sending);
    got
}

/// What arrived at the source and at the client, and how it ended.
async fn relayed(
    (up, down): (Vec<Vec<u8>>, Vec<Vec<u8>>),
    pipe: usize,
    seed: u64,
    (client_takes, source_takes): (Option<usize>, Option<usize>),
) -> (Vec<u8>, Vec<u8>, io::Result<()>) {
    let (client_near, client_far) = duplex(pipe);
    let (source_near, source_far) = duplex(pipe);
    let relaying = async move {
        let (bytes_up, bytes_down) = (AtomicU64::new(0), AtomicU64::new(0));
        let client = Jittery::new(client_near, seed, client_takes);
        let source = Jittery::new(source_near, seed.rotate_left(32), source_takes);
        let mut relay = Relay::new(
            (client, Bytes::new()),
            (source, Bytes::new()),
            (Watch::new(), None),
            (&bytes_up, &bytes_down),
        );
        let mut chance = Chance(seed.rotate_left(16) | 1);
        loop {
            let stop = polls(1 + chance.below(20));
            tokio::select! {
                biased;
                passed = relay.run() => if passed? == Passed::Closed { return Ok(()) },
                () = stop => {}
            }
        }
    };
    let (ended, at_client, at_source) =
        tokio::join!(relaying, talk_on(client_far, up), talk_on(source_far, down));
    (at_source, at_client, ended)
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let limit = std::time::Duration::from_secs(120);
    runtime.block_on(async { tokio::time::timeout(limit, future).await.expect("it ends") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn however_it_is_ready_what_leaves_is_what_came_in(
        up in stream(), down in stream(), pipe in pipe(), seed in any::<u64>(),
    ) {
        let (sent_up, sent_down) = (up.concat(), down.concat());
        prop_assume!(!holds_list(&sent_down));
        let (at_source, at_client, ended) = run(relayed((up, down), pipe, seed, (None, None)));
        prop_assert!(ended.is_ok());
        prop_assert!(at_source == sent_up, "to the source");
        prop_assert!(at_client == sent_down, "to the client");
    }

    /// A source that breaks while it is written to has its say to the end; a client that does ends the session. Nothing
    /// that arrived is other than what was sent.
    #[test]
    fn what_breaks_got_the_beginning_of_what_was_sent(
        up in stream(), down in stream(), pipe in pipe(), seed in any::<u64>(),
        takes in 0..3000_usize, client_breaks in any::<bool>(),
    ) {
        let (sent_up, sent_down) = (up.concat(), down.concat());
        prop_assume!(!holds_list(&sent_down));
        let limits = if client_breaks { (Some(takes), None) } else { (None, Some(takes)) };
        let (at_source, at_client, ended) = run(relayed((up, down), pipe, seed, limits));
        prop_assert!(sent_up.starts_with(&at_source), "to the source");
        prop_assert!(sent_down.starts_with(&at_client), "to the client");
        if client_breaks {
            prop_assert_eq!(ended.is_err(), sent_down.len() > takes);
            prop_assert_eq!(at_client.len(), sent_down.len().min(takes));
        } else {
            prop_assert!(ended.is_ok());
            prop_assert_eq!(at_client.len(), sent_down.len());
            prop_assert_eq!(at_source.len(), sent_up.len().min(takes));
        }
    }
}
