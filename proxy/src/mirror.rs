//! The tap's surroundings: a bounded queue from the relay, and a task that carries what the tap saw into the spool.
//!
//! Whatever goes wrong here (too slow, no room, no ledger) ends in a hint or in nothing; the relay notices at most that
//! nobody listens any more.

mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
#[cfg(test)]
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mailferry_imap::{MailboxId, MessageKey};
use mailferry_ledger::Ledger;
use mailferry_spool::{BodyWriter, Full, Origin, Seen, Spool, Transfer};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

pub(crate) use self::queue::TapSender;
use self::queue::{Heard, Queue, queue};
use crate::ProxyLimits;
use crate::book::{Book, Page, count};
use crate::known::Known;
use crate::tap::{Blindness, BodyNumber, Observed, Tap, Way};

/// How much is collected before a file is written: in a thread of its own, since a disk may hang.
const FILE_BATCH: usize = 512 * 1024;

/// Threads that taps may block at once, on the ledger and the disk. Names are resolved in the same pool: a disk that hangs
/// must not take all of it, or no client reached the source any more.
const MAX_THREADS: usize = 64;

/// What a FETCH brought is told when it is done, so that the mirror does not fetch the rest of it meanwhile; but
/// not more than this many bodies late, this many bytes, and this long.
const MAX_HELD: usize = 256;
const MAX_HELD_BYTES: u64 = 8 << 20;
const MAX_HELD_TIME: Duration = Duration::from_secs(1);

/// How often a session is asked after whose tap went blind.
const MISSED: Duration = Duration::from_secs(60);

/// What a tap's task works with.
#[derive(Clone)]
pub(crate) struct Mirror {
    endpoint: String,
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) book: Arc<Book>,
    /// Bytes that wait for all taps together.
    load: Arc<AtomicUsize>,
    threads: Arc<Semaphore>,
}

impl Mirror {
    pub(crate) fn new(endpoint: String, ledger: Ledger, spool: Spool, book: Arc<Book>) -> Self {
        let threads = Arc::new(Semaphore::new(MAX_THREADS));
        Self { endpoint, ledger, spool, book, load: Arc::default(), threads }
    }

    /// Runs where blocking is allowed, in one of a few threads; `None` when it came to nothing.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.threads.clone().acquire_owned().await.ok()?;
        let working = spawn_blocking(move || {
            let done = work();
            drop(permit); // Only now, even when nobody waits for it any more.
            done
        });
        working.await.ok()
    }

    /// Bytes that wait for all taps together.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// A tap for a session that logged in by this name: the sender for the relay and the task, which the session awaits.
    /// Whose mailbox it is is found out in the task; for unknown users it just ends.
    pub(crate) fn tap(
        &self,
        login: String,
        page: Arc<Page>,
        limits: &ProxyLimits,
    ) -> (TapSender, impl Future<Output = ()> + Send + use<>) {
        let (sender, queue) = self.queue(limits);
        let mirror = self.clone();
        (sender, async move {
            if let Some(mailbox) = mirror.mailbox(login, &page).await {
                let _there = mirror.spool.attend(mailbox);
                Listening::new(mailbox, mirror.clone(), page.clone()).run(queue).await;
                if page.misses() {
                    Box::pin(mirror.missed(mailbox, &page)).await;
                }
            }
        })
    }

    /// While a session goes on that its tap sees no more: where bytes passed, anything may have changed.
    async fn missed(&self, mailbox: MailboxId, page: &Page) {
        let mut seen = page.bytes();
        while !page.is_over() {
            sleep(MISSED).await;
            let now = page.bytes();
            if now != seen {
                self.spool.offer(Seen::Everything { mailbox });
            }
            seen = now;
        }
    }

    /// The same where the mailbox is known.
    #[cfg(test)]
    pub(crate) fn tap_for(
        &self,
        mailbox: MailboxId,
        page: Arc<Page>,
        limits: &ProxyLimits,
    ) -> (TapSender, impl Future<Output = ()> + Send + use<>) {
        let (sender, queue) = self.queue(limits);
        let listening = Listening::new(mailbox, self.clone(), page);
        (sender, listening.run(queue))
    }

    fn queue(&self, limits: &ProxyLimits) -> (TapSender, Queue) {
        queue(limits, self.load.clone())
    }

    async fn mailbox(&self, login: String, page: &Page) -> Option<MailboxId> {
        let ledger = self.ledger.clone();
        let (endpoint, name) = (self.endpoint.clone(), login.clone());
        let found = self.blocking(move || ledger.mailbox_by_login(&endpoint, &name)).await;
        let mailbox = match found {
            Some(Ok(found)) => found.map(|found| found.mailbox),
            Some(Err(error)) => {
                debug!(%error, "Mailbox of a login not found out.");
                None
            }
            None => None,
        };
        page.set_login(Some(login), mailbox.as_ref().map(|mailbox| mailbox.id));
        // With a `UserRoot` the passes know the folders by other names than the client does: they alone can tell.
        mailbox.filter(|mailbox| mailbox.user_root.is_none()).map(|mailbox| mailbox.id)
    }
}

struct Listening {
    mailbox: MailboxId,
    mirror: Mirror,
    page: Arc<Page>,
    bodies: BTreeMap<BodyNumber, Writing>,
    held: Held,
    known: Option<Box<Known>>,
}

/// What was seen and not yet offered.
#[derive(Default)]
struct Held {
    seen: Vec<Seen>,
    bytes: u64,
    since: Option<Instant>,
}

/// Whether the ledger and the spool were asked about a body's message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    /// Its message was not known yet.
    No,
}

struct Writing {
    writer: BodyWriter,
    asked: Asked,
    batch: Vec<Bytes>,
    batched: usize,
}

impl Listening {
    fn new(mailbox: MailboxId, mirror: Mirror, page: Arc<Page>) -> Self {
        Self { mailbox, mirror, page, bodies: BTreeMap::new(), held: Held::default(), known: None }
    }

    async fn run(mut self, mut queue: Queue) {
        let mut tap = Box::new(Tap::new(self.mailbox));
        while let Some(heard) = self.next(&mut queue).await {
            let bytes = heard.len();
            match heard {
                Heard::Client(bytes) => tap.on_client(bytes),
                Heard::Server(bytes) => tap.on_server(bytes),
            }
            let observed = tap.take();
            // In a box: while a session idles, its task need not have room for this.
            let blind = !observed.is_empty() && Box::pin(self.carry(observed)).await;
            queue.done(bytes);
            if blind {
                return; // Which closes the queue: nothing more is offered.
            }
            if !tap.is_fetching() || self.held.is_much() {
                self.offer_held();
            }
        }
        if queue.is_overrun() {
            tap.go_blind(Blindness::Slow);
        } else {
            tap.on_end();
        }
        Box::pin(self.carry(tap.take())).await;
        self.offer_held();
    }

    async fn next(&mut self, queue: &mut Queue) -> Option<Heard> {
        if let Some(since) = self.held.since {
            match timeout_at(since + MAX_HELD_TIME, queue.next()).await {
                Ok(heard) => return heard,
                Err(_) => self.offer_held(),
            }
        }
        queue.next().await
    }

    fn hold(&mut self, seen: Seen) {
        if let Seen::Body { body, .. } = &seen {
            self.held.bytes += body.size();
        }
        self.held.seen.push(seen);
        self.held.since.get_or_insert_with(Instant::now);
    }

    fn offer_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !held.seen.is_empty() {
            self.mirror.spool.offer_all(held.seen);
        }
    }

    /// True when the tap went blind.
    async fn carry(&mut self, observed: Vec<Observed>) -> bool {
        for observed in observed {
            match observed {
                Observed::Begin { body, size, key } => self.begin(body, size, key).await,
                Observed::Chunk(body, bytes) => self.chunk(body, bytes).await,
                Observed::End(body, key, way) => self.end(body, key, way).await,
                Observed::Discard(body) => drop(self.bodies.remove(&body)),
                Observed::FolderChanged(folder) => {
                    self.hold(Seen::FolderChanged { mailbox: self.mailbox, folder });
                }
                Observed::Transferred { from, to, pairs, kind } => {
                    let mailbox = self.mailbox;
                    self.hold(Seen::Transferred(Transfer { mailbox, from, to, pairs, kind }));
                }
                Observed::FoldersChanged => self.hold(Seen::FoldersChanged { mailbox: self.mailbox }),
                Observed::Blind(why) => {
                    debug!(conn = self.page.id, %why, "Tap went blind.");
                    self.page.set_blind(why);
                    count(&self.mirror.book.counters.blind);
                    self.hold(Seen::Everything { mailbox: self.mailbox });
                    self.offer_held();
                    self.bodies.clear();
                    return true;
                }
            }
        }
        false
    }

    /// Room for a body, unless the mirror has it. The ledger and the disk are asked where blocking is allowed, and only
    /// where what is known already does not tell.
    async fn begin(&mut self, body: BodyNumber, size: u64, key: Option<MessageKey>) {
        let asked = if key.is_some() { Asked::Yes } else { Asked::No };
        if let Some(key) = &key
            && self.is_had(key).await
        {
            return;
        }
        let spool = self.mirror.spool.clone();
        let room = if spool.is_small(size) {
            spool.body(size).ok()
        } else {
            self.mirror.blocking(move || spool.body(size).ok()).await.flatten()
        };
        if let Some(writer) = room {
            self.bodies.insert(body, Writing { writer, asked, batch: Vec::new(), batched: 0 });
        }
    }

    async fn chunk(&mut self, body: BodyNumber, bytes: Bytes) {
        let Some(writing) = self.bodies.get_mut(&body) else { return };
        if !writing.writer.is_file() {
            if writing.writer.write(&bytes).is_err() {
                self.bodies.remove(&body);
            }
            return;
        }
        writing.batched += bytes.len();
        writing.batch.push(bytes);
        if writing.batched >= FILE_BATCH
            && let Some(writing) = self.bodies.remove(&body)
        {
            let asked = writing.asked;
            if let Ok(writer) = writing.written(&self.mirror).await {
                self.bodies.insert(body, Writing { writer, asked, batch: Vec::new(), batched: 0 });
            }
        }
    }

    async fn end(&mut self, body: BodyNumber, key: MessageKey, way: Way) {
        let writing = self.bodies.remove(&body);
        let asked = writing.as_ref().map(|writing| writing.asked);
        let finished = match writing {
            Some(writing) => writing.written(&self.mirror).await.ok().and_then(BodyWriter::finish),
            None => None,
        };
        let news = match asked {
            Some(Asked::No) => !self.is_had(&key).await,
            Some(Asked::Yes) | None => true,
        };
        let origin = match way {
            Way::Fetched => Origin::Fetched,
            Way::Appended => Origin::Appended,
        };
        match finished {
            Some(body) if news => {
                debug!(conn = self.page.id, %key, bytes = body.size(), "Body overheard.");
                count(&self.page.mirrored);
                count(&self.mirror.book.counters.mirrored);
                self.hold(Seen::Body { key, body, origin });
            }
            None if way == Way::Appended => {
                self.hold(Seen::FolderChanged { mailbox: self.mailbox, folder: key.folder });
            }
            Some(_) | None => {}
        }
    }

    /// Whether the message needs no body any more.
    async fn is_had(&mut self, key: &MessageKey) -> bool {
        if self.mirror.spool.holds(key) {
            return true;
        }
        let told = |known: &Option<Box<Known>>| known.as_ref()?.is_settled(key, std::time::Instant::now());
        if let Some(settled) = told(&self.known) {
            return settled;
        }
        let (ledger, asked) = (self.mirror.ledger.clone(), key.clone());
        self.known = self.mirror.blocking(move || Box::new(Known::ask(&ledger, &asked))).await;
        told(&self.known).unwrap_or(false)
    }
}

impl Held {
    fn is_much(&self) -> bool {
        self.seen.len() >= MAX_HELD || self.bytes >= MAX_HELD_BYTES
    }
}

impl Writing {
    /// Writes what was collected, where blocking is allowed.
    async fn written(self, mirror: &Mirror) -> Result<BodyWriter, Full> {
        let Self { mut writer, batch, .. } = self;
        if batch.is_empty() {
            return Ok(writer);
        }
        let write = move || {
            batch.iter().try_for_each(|bytes| writer.write(bytes))?;
            Ok(writer)
        };
        mirror.blocking(write).await.unwrap_or(Err(Full))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use mailferry_spool::Limits;

    use super::*;

    #[test]
    fn a_disk_that_hangs_takes_few_threads() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
        let spool = Spool::new(Limits { memory_bytes: 0, disk_bytes: 0, dir: dir.path().to_owned() });
        let mirror = Mirror::new("E".into(), ledger, spool, Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_THREADS + 1)
            .build()
            .unwrap();
        let mut hanging = Vec::new();
        runtime.block_on(async {
            for _ in 0..2 * MAX_THREADS {
                let (release, wait) = channel::<()>();
                let mirror = mirror.clone();
                tokio::spawn(async move { mirror.blocking(move || wait.recv().is_ok()).await });
                hanging.push(release);
                tokio::task::yield_now().await;
            }
            let other = tokio::time::timeout(Duration::from_secs(20), spawn_blocking(|| "done"));
            assert_eq!(other.await.unwrap().unwrap(), "done");
            hanging.clear();
        });
    }
}
