//! The operator's verbs on a real ledger, with workers that say at once that all is well.

use mailferry_dnscheck::clock::Rules;
use mailferry_dnscheck::{Checker, Config, Verdict};
use mailferry_imap::{FolderName, InternalDate};
use mailferry_ledger::{Folder, MailboxId, Uid, UidValidity};
use mailferry_spool::Limits as SpoolLimits;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::export::{Step, Wanted};
use crate::fleet::{Answer, Crew, Hired};
use crate::gate::Kind;
use crate::plan::MailboxPlan;
use crate::progress::Progress;
use crate::retry::Retried;
use crate::steady;
use crate::stragglers::Lookout;
use crate::verify::{Depth, VerifyReport};
use crate::watch::Cutover;
use crate::worker::{Command, InboxRead, PassReport};

mod account;

struct Willing;

fn well() -> PassReport {
    PassReport { inbox: InboxRead::Yes, ..PassReport::default() }
}

impl Crew for Willing {
    fn hire(
        &self,
        _: MailboxId,
        _: &Endpoint,
        mut commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Result<Hired, PassError> {
        let run = async move {
            loop {
                let command = tokio::select! {
                    () = shutdown.cancelled() => return,
                    command = commands.recv() => command,
                };
                match command {
                    Some(Command::Pass(_, _, answer)) => answer.send(Ok(well())).unwrap(),
                    Some(Command::Verify(_, _, answer)) => answer.send(Ok(VerifyReport::default())).unwrap(),
                    Some(Command::Retry(_, answer)) => answer.send(Ok(Retried::default())).unwrap(),
                    Some(Command::Plan(_) | Command::AllowDeletions(_)) => {}
                    None => return,
                }
            }
        };
        Ok(Hired { wish: Arc::default(), progress: Arc::new(Progress::default()), run: Box::pin(run) })
    }

    fn plan(&self, mailbox: MailboxId, _: &Endpoint) -> Answer<MailboxPlan> {
        let plan = MailboxPlan { address: mailbox.to_string(), messages: 7, ..MailboxPlan::default() };
        Answer(Box::pin(async move { Ok(plan) }))
    }

    fn verify(&self, _: MailboxId, _: &Endpoint, _: Depth) -> Answer<VerifyReport> {
        Answer(Box::pin(async { Ok(VerifyReport { missing: 1, ..VerifyReport::default() }) }))
    }

    fn export(&self, _: MailboxId, _: &Endpoint, _: Wanted, _: mpsc::Sender<Step>) -> Answer<()> {
        Answer(Box::pin(async { Ok(()) }))
    }
}

struct Office {
    dir: TempDir,
    ledger: Ledger,
    vault: Vault,
    batches: Batches,
}

const CSV: &str =
    "EmailAddress,UserName,Password\nann@contoso.edu,ann,s3cret-a\nbob@fabrikam.com,bob,s3cret-b\n";

impl Office {
    async fn open() -> Self {
        let dir = TempDir::new().unwrap();
        let vault = Vault::create(&dir.path().join("key")).unwrap();
        let office = Self::open_in(dir, vault);
        office.batches.endpoint_add(endpoint()).await.unwrap();
        office
    }

    fn open_in(dir: TempDir, vault: Vault) -> Self {
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap().ledger;
        let spool =
            Spool::new(SpoolLimits { memory_bytes: 1 << 20, disk_bytes: 0, dir: dir.path().join("spool") });
        let dns = DnsSettings {
            checker: Checker::new(Config::default()),
            rules: Rules::default(),
            interval: Duration::from_secs(900),
            old: Vec::new(),
        };
        let day = Duration::from_secs(86_400);
        let batches = Batches::with_fleet(
            ledger.clone(),
            spool.clone(),
            vault.clone(),
            Fleet::new(ledger.clone(), spool, Box::new(Willing), day),
            Tenant::new(10, 1),
            dns,
            SignedDuration::from_hours(24),
        );
        Self { dir, ledger, vault, batches }
    }

    /// As after `kill -9`: what is in memory is gone.
    async fn reopen(self) -> Self {
        self.batches.desk.fleet.close().await;
        let Self { dir, ledger, vault, batches } = self;
        drop((ledger, batches));
        Self::open_in(dir, vault)
    }

    async fn add(&self, name: &str, csv: &str, start: Start) -> Result<BatchStatus, BatchError> {
        let new = NewBatch {
            name: name.into(),
            endpoint: "E".into(),
            csv: csv.into(),
            start,
            include: Vec::new(),
            exclude: Vec::new(),
        };
        self.batches.add(new).await
    }

    async fn state(&self, name: &str, state: &str) {
        for _ in 0..10_000 {
            if self.batches.batch_status(name).unwrap().state == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{:?} never became {state}", self.batches.batch_status(name));
    }

    async fn cutover(&self, domain: &str, hours_ago: i64) {
        let steady = steady::now(&self.ledger).unwrap();
        let since = steady.at - SignedDuration::from_hours(hours_ago);
        let confirmed = since + SignedDuration::from_hours(72);
        let cutover = Cutover {
            domain: domain.into(),
            verdict: Verdict::Office365,
            observed: steady,
            changed: since,
            since: Some(steady.later(-SignedDuration::from_hours(hours_ago))),
            confirmed: Some(steady.later(-SignedDuration::from_hours(hours_ago - 72))),
            due: Some(confirmed),
            reason: "office365 since then".into(),
        };
        let mut change = self.ledger.change();
        change.put_fact(&format!("cutover/{domain}"), serde_json::to_string(&cutover).unwrap());
        change.commit().await.unwrap();
    }

    fn unmet(&self, name: &str) -> Vec<Kind> {
        let gate = self.batches.gate(name).unwrap();
        gate.conditions.iter().filter(|condition| !condition.met).map(|condition| condition.kind).collect()
    }
}

fn endpoint() -> EndpointSpec {
    serde_json::from_str(r#"{"name":"E","server":"imap.contoso.edu","port":993,"security":"ssl"}"#).unwrap()
}

fn force() -> Removal {
    Removal::Forced { reason: "pilot is over".into(), by: "root".into() }
}

#[tokio::test]
async fn a_batch_lives_from_created_to_stopped_and_on() {
    let office = Office::open().await;
    let added = office.add("A", CSV, Start::Later).await.unwrap();
    assert_eq!((added.state.as_str(), added.mailboxes, added.states.queued), ("Created", 2, 2));
    assert_eq!(office.batches.sync_now("A").await.unwrap_err().to_string(), "batch \"A\" is Created");

    assert_eq!(office.batches.start("A").await.unwrap(), Outcome::Done);
    assert_eq!(office.batches.start("A").await.unwrap(), Outcome::Already);
    office.state("A", "Synced").await;
    assert!(office.batches.batch_status("A").unwrap().last_synced.is_some());

    assert_eq!(office.batches.stop("A").await.unwrap(), Outcome::Done);
    assert_eq!(office.batches.stop("A").await.unwrap(), Outcome::Already);
    office.state("A", "Stopped").await;
    assert_eq!(office.batches.start("A").await.unwrap(), Outcome::Done);
    office.state("A", "Synced").await;
    office.batches.desk.fleet.close().await;
}

#[tokio::test]
async fn passwords_are_sealed_and_the_same_file_again_only_renews_them() {
    let office = Office::open().await;
    office.add("A", CSV, Start::Later).await.unwrap();
    let password = |address: &str| {
        let mailbox = office.ledger.mailbox_by_address(address).unwrap().unwrap();
        office.vault.open(&mailbox.password.unwrap(), address).unwrap().expose_secret().to_owned()
    };
    assert_eq!(password("ann@contoso.edu"), "s3cret-a");
    office.add("A", &CSV.replace("s3cret-a", "other"), Start::Later).await.unwrap();
    assert_eq!(password("ann@contoso.edu"), "other");
    assert_eq!(password("bob@fabrikam.com"), "s3cret-b");
    assert_eq!(office.ledger.all_mailboxes().unwrap().len(), 2);

    let other = CSV.replace("ann,", "anna,");
    assert!(matches!(office.add("A", &other, Start::Later).await, Err(BatchError::NameTaken(_))));
    // Nothing in the ledger's files reads like a password.
    for file in std::fs::read_dir(office.dir.path().join("ledger")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(8).any(|window| window == b"s3cret-b"), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn nothing_is_half_imported() {
    let office = Office::open().await;
    let bad = format!("{CSV}nobody,eve,1\n");
    let error = office.add("A", &bad, Start::AtOnce).await.unwrap_err();
    assert_eq!(error.fault(), crate::fault::Fault::Usage);
    assert_eq!(error.details().unwrap().as_array().unwrap().len(), 1);
    office.add("B", CSV, Start::Later).await.unwrap();
    let overlap = "EmailAddress,UserName,Password\neve@contoso.edu,eve,1\nANN@contoso.edu,a2,1\nBob@fabrikam.com,b2,1\n";
    let error = office.add("C", overlap, Start::Later).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the CSV file has 2 problem(s):\n  row 3, EmailAddress: \"ANN@contoso.edu\" is in batch \"B\" already\n  \
         row 4, EmailAddress: \"Bob@fabrikam.com\" is in batch \"B\" already"
    );
    let names: Vec<_> = office.batches.status().unwrap().into_iter().map(|batch| batch.name).collect();
    assert_eq!(names, ["B"]);
    assert_eq!(office.ledger.all_mailboxes().unwrap().len(), 2);
    let new = NewBatch {
        name: "D".into(),
        endpoint: "X".into(),
        csv: CSV.into(),
        start: Start::Later,
        include: Vec::new(),
        exclude: Vec::new(),
    };
    assert!(matches!(office.batches.add(new).await, Err(BatchError::NoEndpoint(_))));
}

#[tokio::test]
async fn a_restart_goes_on_with_what_was_under_way() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    office.add("B", &CSV.replace('@', "@b."), Start::Later).await.unwrap();
    office.state("A", "Synced").await;
    let before = office.batches.batch_status("A").unwrap().last_synced.unwrap();
    let office = office.reopen().await;
    office.batches.resume().await;
    for _ in 0..10_000 {
        let mailboxes = office.ledger.mailboxes("A").unwrap();
        if mailboxes.iter().all(|mailbox| mailbox.last_synced.unwrap() > before) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    office.state("A", "Synced").await;
    office.state("B", "Created").await;
    office.batches.desk.fleet.close().await;
}

#[tokio::test]
async fn a_stop_that_was_cut_off_is_finished_by_the_next_start() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    let mut change = office.ledger.change();
    change.update_batch("A", |batch| batch.state = BatchState::Stopping);
    change.commit().await.unwrap();
    let office = office.reopen().await;
    office.batches.resume().await;
    office.state("A", "Stopped").await;
}

#[tokio::test]
async fn the_gate_opens_step_by_step_and_lets_the_batch_go() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    office.state("A", "Synced").await;
    assert_eq!(office.unmet("A"), [Kind::MxConfirmed, Kind::Moved, Kind::SyncedSince, Kind::NoStraggler]);
    let closed = office.batches.remove("A", Removal::ThroughGate).await.unwrap_err();
    assert_eq!(closed.fault(), crate::fault::Fault::Gate);
    assert_eq!(closed.next(), "mailferry dns check contoso.edu");

    office.cutover("contoso.edu", 100).await;
    assert_eq!(office.unmet("A")[0], Kind::MxConfirmed);
    office.cutover("fabrikam.com", 100).await;
    assert_eq!(office.unmet("A"), [Kind::Moved]);
    assert_eq!(office.batches.declare_moved("ann@contoso.edu", "root: phoned").await.unwrap(), Outcome::Done);
    assert_eq!(office.batches.declare_moved("ANN@contoso.edu", "x").await.unwrap(), Outcome::Already);
    assert_eq!(
        office
            .batches
            .mailbox("ann@contoso.edu", ShowSkipped::Counted)
            .unwrap()
            .status
            .declared_by
            .as_deref(),
        Some("root: phoned")
    );
    office.batches.declare_moved("bob@fabrikam.com", "root").await.unwrap();
    assert_eq!(office.unmet("A"), []);

    let report = office.batches.remove("A", Removal::ThroughGate).await.unwrap();
    assert!(report.gate.open && report.forced.is_none() && report.mailboxes.len() == 2);
    assert!(office.ledger.all_mailboxes().unwrap().is_empty());
    assert!(office.ledger.batches().unwrap().is_empty());
    let again = office.batches.remove("A", Removal::ThroughGate).await;
    assert!(matches!(again, Err(BatchError::Removed { .. })), "{again:?}");
    assert_eq!(office.batches.report("A").unwrap(), report);
    assert!(matches!(office.batches.remove("Z", Removal::ThroughGate).await, Err(BatchError::NoBatch(_))));
    // The endpoint is free again.
    assert_eq!(office.batches.endpoint_remove("E").await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn what_an_earlier_run_saw_of_dns_opens_nothing_before_this_one_has_looked() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    office.state("A", "Synced").await;
    office.cutover("contoso.edu", 100).await;
    office.cutover("fabrikam.com", 100).await;
    assert_eq!(office.unmet("A"), [Kind::Moved]);
    // Its configuration may have been another one.
    let office = office.reopen().await;
    assert_eq!(office.unmet("A"), [Kind::MxConfirmed, Kind::Moved, Kind::NoStraggler]);
    office.cutover("contoso.edu", 100).await;
    office.cutover("fabrikam.com", 100).await;
    assert_eq!(office.unmet("A"), [Kind::Moved]);
}

#[tokio::test]
async fn a_removal_is_finished_though_its_report_does_not_read() {
    let office = Office::open().await;
    office.add("A", CSV, Start::Later).await.unwrap();
    let mut change = office.ledger.change();
    change.update_batch("A", |batch| batch.state = BatchState::Removing);
    change.put_report("A", r#"{"of":"another version"}"#.into());
    change.commit().await.unwrap();
    let office = office.reopen().await;
    office.batches.resume().await;
    assert!(office.ledger.batches().unwrap().is_empty() && office.ledger.all_mailboxes().unwrap().is_empty());
    assert_eq!(office.ledger.report("A").unwrap().unwrap(), r#"{"of":"another version"}"#);
}

#[tokio::test]
async fn force_wants_a_reason_and_records_it() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    assert!(matches!(office.batches.endpoint_remove("E").await, Err(BatchError::EndpointInUse { .. })));
    let nothing = Removal::Forced { reason: " ".into(), by: "root".into() };
    assert!(matches!(office.batches.remove("A", nothing).await, Err(BatchError::NoReason)));
    let report = office.batches.remove("A", force()).await.unwrap();
    assert_eq!(report.forced.unwrap().reason, "pilot is over");
    assert!(!report.gate.open);
    let note = office.ledger.notes().unwrap().pop().unwrap();
    assert_eq!(
        (note.what.as_str(), note.reason.as_str(), note.who.as_str()),
        ("removed by force", "pilot is over", "root")
    );
    // The same people may come back.
    office.add("A", CSV, Start::Later).await.unwrap();
    assert_eq!(office.batches.batch_status("A").unwrap().state, "Created");
}

#[tokio::test]
async fn a_removal_that_was_cut_off_is_finished_by_the_next_start() {
    let office = Office::open().await;
    office.add("A", CSV, Start::Later).await.unwrap();
    let report = office.batches.report("A").unwrap();
    let mut change = office.ledger.change();
    change.update_batch("A", |batch| batch.state = BatchState::Removing);
    change.put_report("A", serde_json::to_string(&report).unwrap());
    change.commit().await.unwrap();
    assert!(matches!(office.batches.start("A").await, Err(BatchError::Removing(_))));
    let office = office.reopen().await;
    office.batches.resume().await;
    assert!(office.ledger.batches().unwrap().is_empty() && office.ledger.all_mailboxes().unwrap().is_empty());
    assert_eq!(office.batches.report("A").unwrap(), report);
}

#[tokio::test]
async fn a_straggler_closes_the_gate_again() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    office.state("A", "Synced").await;
    let ann = office.ledger.mailbox_by_address("ann@contoso.edu").unwrap().unwrap();
    let mut change = office.ledger.change();
    let inbox = Folder {
        id: change.new_folder_id(),
        mailbox: ann.id,
        source: FolderName::from_text("INBOX"),
        source_delimiter: Some(b'/'),
        target: FolderName::from_text("INBOX"),
        source_validity: UidValidity::new(1).unwrap(),
        target_validity: None,
        seen: None,
        target_uid_next: None,
        subscribed: true,
        gone: false,
        held_deletions: 0,
    };
    change.put_folder(inbox.clone());
    change.commit().await.unwrap();
    let lookout = || Lookout::of(&office.ledger, &ann, &inbox).unwrap();
    assert!(lookout().is_none());
    office.cutover("contoso.edu", 100).await;
    office.cutover("fabrikam.com", 100).await;
    let lookout = lookout().unwrap();
    let note = |uid: u32, hours_ago: i64| {
        let date = InternalDate::new(Timestamp::now().as_second() - hours_ago * 3600, 0).unwrap();
        let arrival = lookout.judge(UidValidity::new(1).unwrap(), Uid::new(uid).unwrap(), date);
        let arrivals: Vec<_> = arrival.into_iter().map(|arrival| (arrival, None)).collect();
        let mut change = office.ledger.change();
        lookout.note(&office.ledger, &mut change, &arrivals, 1 - arrivals.len()).unwrap();
        change
    };
    assert_eq!(office.unmet("A"), [Kind::Moved]);
    // Before the confirmation, if its date is right: no straggler, but not quiet either.
    note(1, 50).commit().await.unwrap();
    assert!(office.batches.stragglers().unwrap().is_empty());
    assert_eq!(office.unmet("A"), [Kind::Moved, Kind::NoStraggler]);
    note(2, 27).commit().await.unwrap();
    note(3, 2).commit().await.unwrap();
    // Seen at this moment, whenever they came.
    assert_eq!(office.unmet("A"), [Kind::Moved, Kind::NoStraggler]);
    let uids: Vec<u32> = office.batches.stragglers().unwrap().iter().map(|one| one.uid).collect();
    assert_eq!(uids, [3, 2]);
    office.batches.remove("A", force()).await.unwrap();
    assert!(office.batches.stragglers().unwrap().is_empty());
    assert!(office.ledger.facts("stragglers/").unwrap().is_empty());
    assert!(office.ledger.facts("synced/").unwrap().is_empty());
}

#[tokio::test]
async fn mailboxes_are_read_once_more_when_mail_begins_to_go_elsewhere() {
    let office = Office::open().await;
    office.add("A", CSV, Start::AtOnce).await.unwrap();
    office.state("A", "Synced").await;
    let synced = || {
        let mailboxes = office.ledger.mailboxes("A").unwrap();
        mailboxes.into_iter().map(|mailbox| mailbox.last_synced.unwrap()).collect::<Vec<_>>()
    };
    let before = synced();
    office.cutover("contoso.edu", 0).await;
    for _ in 0..10_000 {
        office.batches.desk.look().unwrap();
        if synced()[0] > before[0] && office.unmet("A").contains(&Kind::SyncedSince) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Only the mailbox whose domain moved.
    assert!(synced()[0] > before[0]);
    assert_eq!(synced()[1], before[1]);
    office.batches.desk.fleet.close().await;
}

#[tokio::test]
async fn plan_and_verify_ask_every_mailbox() {
    let office = Office::open().await;
    office.add("A", CSV, Start::Later).await.unwrap();
    let plan = office.batches.plan("A").await.unwrap();
    assert_eq!(plan.mailboxes.iter().map(|plan| plan.messages).sum::<u64>(), 14);
    // Not started: nobody's own worker answers.
    assert!(!office.batches.verify("A", Depth::Facts).await.unwrap().holds);
    office.batches.start("A").await.unwrap();
    assert!(office.batches.verify("A", Depth::Facts).await.unwrap().holds);
    office.batches.desk.fleet.close().await;
}
