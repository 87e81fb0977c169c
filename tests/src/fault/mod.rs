//! A relay between a client and a real server that can be slow, broken, down or dressed as another server.
//!
//! It frames both directions, so faults strike at chosen commands and what a server served can be counted. TLS ends
//! at the relay on either leg.

mod conversation;
mod dress;
mod frame;
mod pump;
mod rewrite;
mod rule;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use dress::Dress;
pub use rule::{Fault, Rule, throttled};

use crate::place::loopback;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Client to server.
    ToServer,
    /// Server to client.
    ToClient,
}

/// How a relay is set up.
#[derive(Clone)]
pub struct Setup {
    /// The real server.
    pub upstream: SocketAddr,
    /// TLS towards it; none: plain.
    pub upstream_tls: Option<Arc<rustls::ClientConfig>>,
    /// TLS towards clients; none: plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Manners.
    pub dress: Dress,
}

/// What a relay counted since it began or was last `forget`ful.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Commands by verb.
    pub commands: BTreeMap<String, u64>,
    /// Whole bodies served: (folder as on the wire, UID) and how often.
    pub bodies: BTreeMap<(String, u32), u64>,
    /// Bodies served whose UID the response did not name.
    pub bodies_unnamed: u64,
    /// Connections accepted.
    pub connections: u64,
}

impl Counts {
    /// How often this verb was sent.
    pub fn of(&self, verb: &str) -> u64 {
        self.commands.get(verb).copied().unwrap_or(0)
    }

    /// Whole bodies served, repeats included.
    pub fn bodies_served(&self) -> u64 {
        self.bodies.values().sum::<u64>() + self.bodies_unnamed
    }
}

pub(crate) struct Shared {
    setup: Setup,
    to_server_delay: AtomicU64,
    to_client_delay: AtomicU64,
    counts: Mutex<Counts>,
    rules: Mutex<Vec<Rule>>,
    hidden: Mutex<Vec<String>>,
    cut: Mutex<Option<(Way, u64)>>,
    cuts: AtomicU64,
    /// Cancelled to end every present connection.
    connections: Mutex<CancellationToken>,
    announce: Mutex<Vec<Arc<conversation::Conversation>>>,
    /// What becomes of an APPEND of more bytes than this.
    larger: Mutex<Option<(u64, Fault)>>,
    estimates: AtomicBool,
    rewrites: AtomicBool,
    /// Messages written anew so far.
    rewritten: AtomicU64,
    /// Connections that ended since too much was refused on them.
    given_up: AtomicU64,
    /// Connections at this moment, and the most there were.
    open: AtomicU64,
    most_open: AtomicU64,
    minutes: Mutex<Option<Vec<String>>>,
    began: Instant,
}

impl Shared {
    /// Writes a line down, if anybody wants to read it later.
    fn note(&self, way: Way, line: &[u8]) {
        if let Some(minutes) = locked(&self.minutes).as_mut() {
            let arrow = match way {
                Way::ToServer => "C:",
                Way::ToClient => "S:",
            };
            let text = String::from_utf8_lossy(&line[..line.len().min(200)]);
            minutes.push(format!("{:8} ms {arrow} {}", self.began.elapsed().as_millis(), text.trim_end()));
        }
    }
}

/// The relay. Dropped, it ends with all its connections.
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(loopback(0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            setup,
            to_server_delay: AtomicU64::new(0),
            to_client_delay: AtomicU64::new(0),
            counts: Mutex::default(),
            rules: Mutex::default(),
            hidden: Mutex::default(),
            cut: Mutex::default(),
            cuts: AtomicU64::new(0),
            connections: Mutex::new(CancellationToken::new()),
            announce: Mutex::default(),
            larger: Mutex::default(),
            estimates: AtomicBool::new(false),
            rewrites: AtomicBool::new(false),
            rewritten: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            open: AtomicU64::new(0),
            most_open: AtomicU64::new(0),
            minutes: Mutex::default(),
            began: Instant::now(),
        });
        let relay = Self { shared, address, accepting: Mutex::new(None) };
        relay.accept(listener);
        Ok(relay)
    }

    fn accept(&self, listener: TcpListener) {
        let end = CancellationToken::new();
        let task = tokio::spawn(pump::accept(listener, Arc::clone(&self.shared), end.clone()));
        *locked(&self.accepting) = Some((end, task));
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        locked(&self.shared.counts).clone()
    }

    /// Counts from zero again.
    pub fn forget_counts(&self) {
        *locked(&self.shared.counts) = Counts::default();
    }

    /// Every APPEND of more than `bytes` suffers this: `Answer` or `AnswerThenBye`.
    pub fn refuse_larger(&self, bytes: u64, fault: Fault) {
        *locked(&self.shared.larger) = Some((bytes, fault));
    }

    /// From now on sizes are estimates: Exchange keeps no message as it came.
    pub fn estimate_sizes(&self) {
        self.shared.estimates.store(true, Ordering::Relaxed);
    }

    /// From now on the server gets what Exchange would make of each appended message, and its sizes are estimates.
    pub fn rewrite_messages(&self) {
        self.estimate_sizes();
        self.shared.rewrites.store(true, Ordering::Relaxed);
    }

    /// How many connections were ended since ten APPENDs had been refused on them; only in Exchange's dress.
    pub fn given_up(&self) -> u64 {
        self.shared.given_up.load(Ordering::Relaxed)
    }

    /// The most connections that there were at once. Their ends are seen a moment late.
    pub fn most_open(&self) -> u64 {
        self.shared.most_open.load(Ordering::Relaxed)
    }

    /// From now on every line that passes is written down, bodies left out.
    pub fn write_down(&self) {
        *locked(&self.shared.minutes) = Some(Vec::new());
    }

    /// What was written down.
    pub fn minutes(&self) -> Vec<String> {
        locked(&self.shared.minutes).clone().unwrap_or_default()
    }

    /// Delays every byte by this much each way (so a round trip takes twice this).
    pub fn set_latency(&self, one_way: Duration) {
        let micros = u64::try_from(one_way.as_micros()).unwrap_or(u64::MAX);
        self.shared.to_server_delay.store(micros, Ordering::Relaxed);
        self.shared.to_client_delay.store(micros, Ordering::Relaxed);
    }

    /// Orders a fault.
    pub fn order(&self, rule: Rule) {
        locked(&self.shared.rules).push(rule);
    }

    /// Announces this capability no more; only in Exchange's dress.
    pub fn hide(&self, capability: &str) {
        locked(&self.shared.hidden).push(capability.to_owned());
    }

    /// Announces everything again.
    pub fn hide_nothing(&self) {
        locked(&self.shared.hidden).clear();
    }

    /// Withdraws every order.
    pub fn clear_orders(&self) {
        locked(&self.shared.rules).clear();
        *locked(&self.shared.cut) = None;
    }

    /// Whether an order is still waiting for its command.
    pub fn has_orders(&self) -> bool {
        !locked(&self.shared.rules).is_empty() || locked(&self.shared.cut).is_some()
    }

    /// After `bytes` more bytes that way (all connections together), the connection that carries the last of them
    /// is cut there.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        *locked(&self.shared.cut) = Some((way, bytes));
    }

    /// How often `cut_after` struck.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Ends every present connection without a word.
    pub fn cut_all(&self) {
        let mut token = locked(&self.shared.connections);
        token.cancel();
        *token = CancellationToken::new();
    }

    /// Says `* BYE text` on every present connection and ends it: Exchange's way when a token expires.
    pub fn bye_all(&self, text: &str) {
        for conversation in locked(&self.shared.announce).drain(..) {
            conversation.bye(text);
        }
    }

    /// Refuses connections from now on and ends the present ones: the server is down.
    pub async fn go_down(&self) {
        let accepting = locked(&self.accepting).take();
        if let Some((end, task)) = accepting {
            end.cancel();
            // A task of ours that panicked has nothing left to stop.
            let _ = task.await;
        }
        self.cut_all();
    }

    /// Listens again at the same address.
    pub async fn come_back(&self) -> anyhow::Result<()> {
        if locked(&self.accepting).is_none() {
            let listener = TcpListener::bind(self.address).await.context("relay port taken")?;
            self.accept(listener);
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some((end, task)) = locked(&self.accepting).take() {
            end.cancel();
            task.abort();
        }
        self.cut_all();
    }
}

/// A lock that a panicking test thread cannot poison for the others.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
