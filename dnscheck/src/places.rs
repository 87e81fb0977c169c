//! Who may ask, and when: bounds questions under way, over all and at each server, and remembers who is silent.
//!
//! A question waits for a place at its server first and takes one of the common places (a socket, mostly) only then:
//! those who wait for a slow server keep nobody else waiting. A server that let several questions in a row go
//! unanswered is not asked again for a while, but for one question at a time that finds out whether it is back: else
//! each of a thousand domains would wait for it anew. Who was not asked counts as not heard, never as agreed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::observation::Failure;

/// Questions in a row without an answer after which a server counts as silent.
const SILENT_AFTER: u32 = 8;
/// How long silence is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// Shared by everything of one checker that asks.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    at_one_server: usize,
    servers: Mutex<BTreeMap<SocketAddr, Arc<Server>>>,
}

/// What is known of one server; forgotten when nobody asks it and it is not silent.
#[derive(Debug)]
struct Server {
    places: Semaphore,
    silence: Mutex<Silence>,
}

#[derive(Debug, Default)]
struct Silence {
    in_a_row: u32,
    since: Option<Instant>,
    probing: Probing,
}

/// Whether somebody is finding out if a silent server is back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Probing {
    #[default]
    Nobody,
    Somebody,
}

/// What became of a question, as far as its server's presence goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It said something, useful or not.
    Answer,
    /// Nothing came.
    Nothing,
    /// Nothing was sent.
    NotAsked,
}

impl Heard {
    /// What this outcome tells of the server.
    pub(crate) fn of<T>(outcome: &Result<T, Failure>) -> Self {
        match outcome {
            Err(Failure::Timeout | Failure::Io(_)) => Self::Nothing,
            Err(Failure::NoRoute | Failure::Silent | Failure::NoAddress | Failure::Walk(_)) => Self::NotAsked,
            Ok(_) | Err(Failure::Code(_) | Failure::Lame | Failure::Malformed(_)) => Self::Answer,
        }
    }
}

impl Places {
    /// So many questions may be under way at once, and so many of them at one server.
    pub(crate) fn new(at_once: usize, at_one_server: usize) -> Arc<Self> {
        // Without a place nobody would ever ask.
        let all = Arc::new(Semaphore::new(at_once.max(1)));
        Arc::new(Self { all, at_one_server: at_one_server.max(1), servers: Mutex::default() })
    }

    /// The same common places, with another bound for one server.
    pub(crate) fn sharing(&self, at_one_server: usize) -> Arc<Self> {
        let all = Arc::clone(&self.all);
        Arc::new(Self { all, at_one_server: at_one_server.max(1), servers: Mutex::default() })
    }

    /// Waits for a place, then asks. `ask` also says whether the server was heard, since for a resolver silence may
    /// be that of others.
    pub(crate) async fn ask<T>(
        &self,
        at: SocketAddr,
        ask: impl AsyncFnOnce() -> (Result<T, Failure>, Heard),
    ) -> Result<T, Failure> {
        let server =
            Arc::clone(lock(&self.servers).entry(at).or_insert_with(|| Server::new(self.at_one_server)));
        let outcome = self.ask_server(&server, ask).await;
        let mut servers = lock(&self.servers);
        let idle =
            servers.get(&at).is_some_and(|known| Arc::ptr_eq(known, &server) && known.is_forgettable());
        // The map's and ours: nobody else waits.
        if idle && Arc::strong_count(&server) == 2 {
            servers.remove(&at);
        }
        outcome
    }

    async fn ask_server<T>(
        &self,
        server: &Server,
        ask: impl AsyncFnOnce() -> (Result<T, Failure>, Heard),
    ) -> Result<T, Failure> {
        // Both are closed only with the program.
        let Ok(_place) = server.places.acquire().await else { return Err(Failure::Timeout) };
        let Some(_turn) = Turn::take(server) else { return Err(Failure::Silent) };
        let Ok(_common) = self.all.acquire().await else { return Err(Failure::Timeout) };
        let (outcome, heard) = ask().await;
        let mut silence = lock(&server.silence);
        match heard {
            Heard::Answer => (silence.in_a_row, silence.since) = (0, None),
            Heard::Nothing => {
                silence.in_a_row = silence.in_a_row.saturating_add(1);
                silence.since = Some(Instant::now());
            }
            Heard::NotAsked => {}
        }
        outcome
    }
}

impl Server {
    fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { places: Semaphore::new(at_once), silence: Mutex::default() })
    }

    fn is_forgettable(&self) -> bool {
        let silence = lock(&self.silence);
        silence.since.is_none_or(|since| since.elapsed() > MEMORY)
    }
}

/// The right to ask a server; gives the probe back when it ends, however it ends.
struct Turn<'a> {
    server: &'a Server,
    probe: Probing,
}

impl<'a> Turn<'a> {
    fn take(server: &'a Server) -> Option<Self> {
        let mut silence = lock(&server.silence);
        if silence.since.is_some_and(|since| since.elapsed() > MEMORY) {
            (silence.in_a_row, silence.since) = (0, None);
        }
        if silence.in_a_row < SILENT_AFTER {
            return Some(Self { server, probe: Probing::Nobody });
        }
        match silence.probing {
            Probing::Somebody => None,
            Probing::Nobody => {
                silence.probing = Probing::Somebody;
                Some(Self { server, probe: Probing::Somebody })
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.probe == Probing::Somebody {
            lock(&self.server.silence).probing = Probing::Nobody;
        }
    }
}

/// Nothing that holds these locks can leave half a change behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    const AT_ONE_SERVER: usize = 16;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    async fn silent(places: &Places, port: u16) -> Result<(), Failure> {
        places
            .ask(at(port), async || {
                tokio::time::sleep(Duration::from_secs(9)).await;
                (Err(Failure::Timeout), Heard::Nothing)
            })
            .await
    }

    async fn speaking(places: &Places, port: u16) -> Result<(), Failure> {
        places.ask(at(port), async || (Ok(()), Heard::Answer)).await
    }

    #[tokio::test(start_paused = true)]
    async fn silent_server_keeps_nobody_else_waiting() {
        let places = Places::new(AT_ONE_SERVER + 1, AT_ONE_SERVER);
        let started = Instant::now();
        let mut waiting = JoinSet::new();
        for _ in 0..1000 {
            let places = Arc::clone(&places);
            waiting.spawn(async move { silent(&places, 1).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(speaking(&places, 2).await, Ok(()));
        assert_eq!(started.elapsed(), Duration::ZERO);

        let outcomes = waiting.join_all().await;
        // The first wave finds out; whoever waited behind it is told.
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        let asked = outcomes.iter().filter(|outcome| **outcome == Err(Failure::Timeout)).count();
        assert!((AT_ONE_SERVER..3 * AT_ONE_SERVER).contains(&asked), "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_is_back_is_asked_again() {
        let places = Places::new(4, 4);
        for _ in 0..SILENT_AFTER {
            assert_eq!(silent(&places, 1).await, Err(Failure::Timeout));
        }
        // One finds out; others are told meanwhile.
        let (probe, told) = tokio::join!(silent(&places, 1), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            speaking(&places, 1).await
        });
        assert_eq!((probe, told), (Err(Failure::Timeout), Err(Failure::Silent)));
        assert_eq!(speaking(&places, 1).await, Ok(()), "the next to find out");
        assert_eq!(speaking(&places, 1).await, Ok(()));
        assert!(lock(&places.servers).is_empty(), "nothing is kept of a server that speaks");

        for _ in 0..SILENT_AFTER {
            assert_eq!(silent(&places, 1).await, Err(Failure::Timeout));
        }
        tokio::time::sleep(MEMORY * 2).await;
        let (one, other) = tokio::join!(silent(&places, 1), speaking(&places, 1));
        assert_eq!((one, other), (Err(Failure::Timeout), Ok(())), "silence is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn questions_under_way_are_bounded() {
        let places = Places::new(8, 4);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut asked = JoinSet::new();
        for port in 0..100 {
            let (places, now, most) = (Arc::clone(&places), Arc::clone(&now), Arc::clone(&most));
            asked.spawn(async move {
                let ask = async || {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                    (Ok(()), Heard::Answer)
                };
                places.ask(at(port), ask).await
            });
        }
        assert!(asked.join_all().await.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::Relaxed), 8);
    }
}
