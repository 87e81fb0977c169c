//! The fleet against workers that do what a test tells them.

use std::sync::atomic::{AtomicUsize, Ordering};

use mailferry_imap::FolderName;
use mailferry_ledger::{AdminLogin, Endpoint, MailboxState, Security, Trust};
use mailferry_spool::{Limits, Seen};
use tempfile::TempDir;

use super::crew::{Answer, Hired};
use super::*;
use crate::error::SideError;
use crate::evidence;
use crate::progress::Progress;
use crate::worker::{Command, InboxRead, Pass, PassReport};

mod turns;

/// What a worker of the test tells: that it was hired, or that it was asked for a pass.
enum Told {
    Hired(MailboxId),
    Asked(MailboxId, Pass, Answerer),
    Ended,
}

/// How a pass that was asked for ends; its turn goes on until then.
struct Answerer {
    turn: Turn,
    answer: oneshot::Sender<Result<PassReport, PassError>>,
}

impl Answerer {
    fn send(self, report: Result<PassReport, PassError>) {
        drop(self.turn);
        // The test may have stopped the batch meanwhile.
        let _ = self.answer.send(report);
    }
}

#[derive(Clone)]
struct Fakes {
    told: mpsc::Sender<Told>,
    hired: Arc<AtomicUsize>,
    /// Workers end by themselves when told so.
    fall: Arc<tokio::sync::Notify>,
    /// They want a pass when told so.
    wishes: Arc<Mutex<BTreeMap<MailboxId, Arc<tokio::sync::Notify>>>>,
}

impl Crew for Fakes {
    fn hire(
        &self,
        mailbox: MailboxId,
        _: &Endpoint,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Result<Hired, PassError> {
        self.hired.fetch_add(1, Ordering::SeqCst);
        let wish = self.wishes.lock().unwrap().entry(mailbox).or_default().clone();
        let (told, fall) = (self.told.clone(), self.fall.clone());
        let run = async move {
            told.send(Told::Hired(mailbox)).await.unwrap();
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = fall.notified() => break,
                    command = commands.recv() => match command {
                        Some(Command::Pass(pass, turn, answer)) => {
                            let answer = Answerer { turn, answer };
                            told.send(Told::Asked(mailbox, pass, answer)).await.unwrap();
                        }
                        Some(Command::AllowDeletions(answer)) => answer.send(()).unwrap(),
                        Some(Command::Verify(_, _, answer)) => {
                            let _ = answer.send(Ok(VerifyReport::default()));
                        }
                        Some(Command::Retry(_, answer)) => {
                            let _ = answer.send(Ok(Retried::default()));
                        }
                        Some(Command::Plan(_)) => unreachable!(),
                        None => break,
                    },
                }
            }
            // The test may be over.
            let _ = told.send(Told::Ended).await;
        };
        Ok(Hired { progress: Arc::new(Progress::default()), wish, run: Box::pin(run) })
    }

    fn plan(&self, _: MailboxId, _: &Endpoint) -> Answer<MailboxPlan> {
        Answer(Box::pin(async { Ok(MailboxPlan::default()) }))
    }

    fn verify(&self, _: MailboxId, _: &Endpoint, _: Depth) -> Answer<VerifyReport> {
        Answer(Box::pin(async { Ok(VerifyReport::default()) }))
    }

    fn export(&self, _: MailboxId, _: &Endpoint, _: Wanted, out: mpsc::Sender<Step>) -> Answer<()> {
        Answer(Box::pin(async move {
            let _ = out.send(Step::Done).await;
            Ok(())
        }))
    }
}

struct Stage {
    _dir: TempDir,
    ledger: Ledger,
    spool: Spool,
    fleet: Fleet,
    told: mpsc::Receiver<Told>,
    crew: Fakes,
}

impl Stage {
    async fn with(mailboxes: usize, at_once: u32) -> Self {
        let dir = TempDir::new().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
        let limits = Limits { memory_bytes: 1 << 20, disk_bytes: 0, dir: dir.path().join("spool") };
        let spool = Spool::new(limits);
        let (told, received) = mpsc::channel(64);
        let crew = Fakes { told, hired: Arc::default(), fall: Arc::default(), wishes: Arc::default() };
        let mut change = ledger.change();
        change.put_endpoint(Endpoint {
            name: "E".into(),
            server: "imap.contoso.edu".into(),
            port: 993,
            security: Security::Ssl,
            trust: Trust::System,
            max_concurrent_migrations: at_once,
            max_concurrent_incremental_syncs: at_once,
            learn_credentials: false,
            admin_separator: Endpoint::ADMIN_SEPARATOR,
            admin_login: AdminLogin::Name,
        });
        for n in 0..mailboxes {
            let id = change.new_mailbox_id();
            let (address, user_name) = (format!("u{n}@contoso.edu"), format!("u{n}"));
            let mailbox = Mailbox::new(id, "A", &address, &user_name);
            change.put_mailbox(Mailbox { needs_matching: true, ..mailbox });
        }
        change.commit().await.unwrap();
        let fleet =
            Fleet::new(ledger.clone(), spool.clone(), Box::new(crew.clone()), Duration::from_secs(86_400));
        Self { _dir: dir, ledger, spool, fleet, told: received, crew }
    }

    fn mailboxes(&self) -> Vec<Mailbox> {
        self.ledger.mailboxes("A").unwrap()
    }

    fn start(&self) {
        self.fleet.start("E", &self.mailboxes());
    }

    async fn told(&mut self) -> Told {
        self.told.recv().await.unwrap()
    }

    /// The next pass that somebody is asked for.
    async fn asked(&mut self) -> (MailboxId, Pass, Answerer) {
        loop {
            if let Told::Asked(mailbox, pass, answer) = self.told().await {
                return (mailbox, pass, answer);
            }
        }
    }

    /// Waits until the ledger says so.
    async fn until(&self, index: usize, what: impl Fn(&Mailbox) -> bool) -> Mailbox {
        for _ in 0..10_000 {
            let mailbox = self.mailboxes().swap_remove(index);
            if what(&mailbox) {
                return mailbox;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never: {:?}", self.mailboxes());
    }
}

fn well() -> Result<PassReport, PassError> {
    Ok(PassReport { inbox: InboxRead::Yes, ..PassReport::default() })
}

#[tokio::test]
async fn as_many_mailboxes_as_the_endpoint_allows_and_all_in_the_end() {
    let mut stage = Stage::with(6, 2).await;
    stage.start();
    let mut at_work = vec![stage.asked().await, stage.asked().await];
    let mut done = Vec::new();
    while let Some((mailbox, pass, answer)) = at_work.pop() {
        assert_eq!(pass, Pass::Full);
        // Nobody else is at work: what was told so far is no third pass.
        while let Ok(told) = stage.told.try_recv() {
            assert!(!matches!(told, Told::Asked(..)), "more than two at once");
        }
        done.push(mailbox);
        answer.send(well());
        if done.len() + at_work.len() < 6 {
            at_work.push(stage.asked().await);
        }
    }
    done.sort();
    assert_eq!(done, stage.mailboxes().iter().map(|mailbox| mailbox.id).collect::<Vec<_>>());
    for index in 0..6 {
        let mailbox = stage.until(index, |mailbox| mailbox.state == MailboxState::Synced).await;
        assert!(mailbox.last_synced.is_some() && mailbox.last_full.is_some());
    }
    stage.fleet.close().await;
}

#[tokio::test]
async fn what_a_client_does_needs_no_place() {
    let mut stage = Stage::with(2, 1).await;
    stage.start();
    let (at_work, _, _answer) = stage.asked().await;
    let other = stage.mailboxes().iter().map(|mailbox| mailbox.id).find(|id| *id != at_work).unwrap();
    stage.spool.offer(Seen::FolderChanged { mailbox: other, folder: FolderName::inbox() });
    loop {
        match stage.told().await {
            Told::Hired(mailbox) if mailbox == other => break,
            Told::Hired(_) => {}
            Told::Asked(..) => panic!("the only place is taken"),
            Told::Ended => panic!("nobody was told to end"),
        }
    }
    stage.fleet.close().await;
}

#[tokio::test]
async fn sync_now_makes_the_next_pass_an_incremental_one_at_once() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let (mailbox, _, answer) = stage.asked().await;
    // Asked for while a pass runs: another one follows.
    stage.fleet.sync_now(mailbox);
    while !stage.fleet.drivers().is_empty() && stage.fleet.drivers()[&mailbox].orders.capacity() < 8 {
        tokio::task::yield_now().await;
    }
    answer.send(well());
    let (_, pass, answer) = stage.asked().await;
    assert_eq!(pass, Pass::Incremental);
    answer.send(well());
    stage.until(0, |mailbox| mailbox.state == MailboxState::Synced).await;
    stage.fleet.sync_now(mailbox);
    assert_eq!(stage.asked().await.1, Pass::Incremental);
    stage.fleet.close().await;
}

#[tokio::test]
async fn a_refused_login_is_shown_and_a_retry_of_the_operator_is_obeyed() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let (mailbox, _, answer) = stage.asked().await;
    answer.send(Err(PassError::Source(SideError::Login("[AUTHENTICATIONFAILED] no".into()))));
    let failed = stage.until(0, |mailbox| mailbox.state == MailboxState::Failed).await;
    assert!(failed.error.unwrap().contains("login refused: [AUTHENTICATIONFAILED] no"));
    let retry = stage.fleet.glance(mailbox).retry_at.unwrap();
    assert!(retry.duration_since(Timestamp::now()).as_secs() > 50);
    stage.fleet.sync_now(mailbox);
    stage.asked().await.2.send(well());
    let synced = stage.until(0, |mailbox| mailbox.state == MailboxState::Synced).await;
    assert_eq!(synced.error, None);
    stage.fleet.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_tried_again_by_itself() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    for attempt in 1..=4 {
        let answer = stage.asked().await.2;
        answer.send(Err(PassError::Target(SideError::Other("unreachable".into()))));
        let state = if attempt < 3 { MailboxState::Queued } else { MailboxState::Failed };
        stage.until(0, |mailbox| mailbox.state == state && mailbox.error.is_some()).await;
    }
    let (_, pass, answer) = stage.asked().await;
    assert_eq!(pass, Pass::Full);
    answer.send(well());
    stage.until(0, |mailbox| mailbox.state == MailboxState::Synced && mailbox.error.is_none()).await;
    stage.fleet.close().await;
}

#[tokio::test]
async fn a_throttled_mailbox_waits_until_its_time_and_gives_its_place_away() {
    let mut stage = Stage::with(2, 1).await;
    stage.start();
    let (first, _, answer) = stage.asked().await;
    let until = Timestamp::now().checked_add(Duration::from_secs(3600)).unwrap();
    answer.send(Err(PassError::Throttled { until, text: "Request is throttled.".into() }));
    let (second, _, answer) = stage.asked().await;
    assert_ne!(first, second);
    answer.send(well());
    let index = stage.mailboxes().iter().position(|mailbox| mailbox.id == first).unwrap();
    stage.until(index, |mailbox| mailbox.throttled_until == Some(until)).await;
    assert_eq!(stage.fleet.glance(first).retry_at, Some(until));
    // Impatience changes nothing: the order was obeyed before the one that is answered here.
    stage.fleet.sync_now(first);
    let endpoint = stage.ledger.endpoint("E").unwrap().unwrap();
    stage.fleet.verify(first, &endpoint, Depth::Facts).await.unwrap();
    while let Ok(told) = stage.told.try_recv() {
        assert!(!matches!(told, Told::Asked(..)), "a pass before its time");
    }
    stage.fleet.close().await;
}

#[tokio::test]
async fn a_throttling_that_is_over_is_forgotten() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let answer = stage.asked().await.2;
    let until = Timestamp::now().checked_add(Duration::from_millis(50)).unwrap();
    answer.send(Err(PassError::Throttled { until, text: "Request is throttled.".into() }));
    let answer = stage.asked().await.2;
    assert!(Timestamp::now() >= until);
    answer.send(well());
    stage
        .until(0, |mailbox| mailbox.state == MailboxState::Synced && mailbox.throttled_until.is_none())
        .await;
    stage.fleet.close().await;
}

#[tokio::test]
async fn pending_messages_are_not_called_synced() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let answer = stage.asked().await.2;
    answer.send(Ok(PassReport { pending: 3, ..PassReport::default() }));
    let mailbox = stage.until(0, |mailbox| mailbox.error.is_some()).await;
    assert_eq!(mailbox.error.as_deref(), Some("3 messages are still pending"));
    assert_eq!(mailbox.last_synced, None);
    stage.fleet.close().await;
}

#[tokio::test]
async fn a_pass_that_could_not_read_is_no_evidence() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let (id, _, answer) = stage.asked().await;
    answer.send(Ok(PassReport { left_out: 1, ..well().unwrap() }));
    let mailbox = stage.until(0, |mailbox| mailbox.error.is_some()).await;
    assert_eq!(mailbox.error.as_deref(), Some("the source did not let 1 of its folders be read"));
    assert_eq!(mailbox.last_synced, None);
    stage.fleet.sync_now(id);
    // There is no INBOX: what was copied was copied, but nobody knows what came.
    stage.asked().await.2.send(Ok(PassReport::default()));
    let mailbox = stage.until(0, |mailbox| mailbox.last_synced.is_some()).await;
    assert_eq!(evidence::synced(&stage.ledger, &mailbox).unwrap(), None);
    stage.fleet.sync_now(id);
    let before = mailbox.last_synced;
    stage.asked().await.2.send(well());
    let mailbox = stage.until(0, |mailbox| mailbox.last_synced != before).await;
    assert!(evidence::synced(&stage.ledger, &mailbox).unwrap().is_some());
    stage.fleet.close().await;
}

#[tokio::test]
async fn a_worker_that_breaks_down_is_replaced() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let (mailbox, _, answer) = stage.asked().await;
    drop(answer);
    stage.until(0, |mailbox| mailbox.error.is_some()).await;
    stage.fleet.sync_now(mailbox);
    stage.asked().await.2.send(well());
    stage.until(0, |mailbox| mailbox.state == MailboxState::Synced).await;
    assert_eq!(stage.crew.hired.load(Ordering::SeqCst), 2);
    stage.fleet.close().await;
}

#[tokio::test]
async fn a_worker_that_ends_while_it_has_nothing_to_do_is_replaced() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let (mailbox, _, answer) = stage.asked().await;
    answer.send(well());
    stage.until(0, |mailbox| mailbox.state == MailboxState::Synced).await;
    stage.crew.fall.notify_one();
    stage.until(0, |mailbox| mailbox.error.is_some()).await;
    stage.fleet.sync_now(mailbox);
    stage.asked().await.2.send(well());
    stage.until(0, |mailbox| mailbox.error.is_none()).await;
    assert_eq!(stage.crew.hired.load(Ordering::SeqCst), 2);
    stage.fleet.close().await;
}

#[tokio::test]
async fn synced_is_promised_only_up_to_the_beginning_of_the_pass() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let answer = stage.asked().await.2;
    let asked = Timestamp::now();
    answer.send(well());
    let mailbox = stage.until(0, |mailbox| mailbox.last_synced.is_some()).await;
    assert!(mailbox.last_synced.unwrap() <= asked);
    stage.fleet.close().await;
}

#[tokio::test]
async fn an_endpoint_that_allows_more_gives_more_places() {
    let mut stage = Stage::with(3, 1).await;
    let endpoint = stage.ledger.endpoint("E").unwrap().unwrap();
    let mut change = stage.ledger.change();
    change.put_endpoint(Endpoint { max_concurrent_migrations: 3, ..endpoint });
    change.commit().await.unwrap();
    stage.start();
    let _all = (stage.asked().await, stage.asked().await, stage.asked().await);
    stage.fleet.close().await;
}

#[tokio::test]
async fn stop_ends_every_worker_and_a_new_start_goes_on() {
    let mut stage = Stage::with(3, 2).await;
    stage.start();
    let at_work = (stage.asked().await, stage.asked().await);
    stage.fleet.stop("B").await;
    assert_eq!(stage.fleet.drivers().len(), 3);
    stage.fleet.stop("A").await;
    assert!(stage.fleet.drivers().is_empty());
    let mut ended = 0;
    while let Ok(told) = stage.told.try_recv() {
        ended += usize::from(matches!(told, Told::Ended));
    }
    assert_eq!(ended, stage.crew.hired.load(Ordering::SeqCst));
    drop(at_work); // As real workers do.
    stage.start();
    stage.asked().await;
    stage.fleet.close().await;
}

#[tokio::test]
async fn the_meter_counts_what_the_workers_do() {
    let mut stage = Stage::with(1, 1).await;
    stage.start();
    let (mailbox, _, answer) = stage.asked().await;
    let progress = stage.fleet.drivers()[&mailbox].view.lock().unwrap().progress.clone().unwrap();
    let start = Instant::now();
    stage.fleet.measure(start);
    for second in 1..=10 {
        (0..5).for_each(|_| progress.copied(1000));
        stage.fleet.measure(start + Duration::from_secs(second));
    }
    let rate = stage.fleet.rate("A", 100, 1_000_000);
    assert!((rate.messages_per_second - 5.0).abs() < 0.01, "{rate:?}");
    assert_eq!(rate.seconds_left, Some(200));
    // A new pass begins to count at zero.
    progress.begin();
    progress.copied(1000);
    stage.fleet.measure(start + Duration::from_secs(11));
    assert!(stage.fleet.rate("A", 0, 0).messages_per_second > 4.0);
    answer.send(well());
    stage.fleet.close().await;
}
