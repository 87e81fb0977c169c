//! `kill -9` at any moment, and a disk that is really full: the ledger in a process of its own.
//!
//! The test binary runs itself as the child (`MAILFERRY_LEDGER_CHILD` says what to do). The child prints what was
//! acknowledged; the parent kills it, opens the ledger and looks.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mailferry_imap::{Flags, FolderName, InternalDate, MailboxId, Uid, UidValidity};
use mailferry_ledger::{
    Change, CommitError, Fingerprint, Folder, FolderId, Health, Intent, Ledger, Mailbox, Message,
    MessageState,
};

const CHILD: &str = "MAILFERRY_LEDGER_CHILD";
const MAILBOX: MailboxId = MailboxId(1);
/// Committers that work at once, each in a folder of its own.
const FOLDERS: u32 = 4;
/// Lives of one ledger; then a new one begins, so that looking at it does not take ever longer.
const LIVES: u32 = 20;
/// Messages in one commit.
const TOGETHER: u32 = 5;

fn message(size: u64) -> Message {
    Message {
        state: MessageState::Mirrored { target_uid: None },
        size,
        date: InternalDate::parse(b" 1-Jul-2020 02:44:25 -0700").unwrap(),
        flags: Flags::default(),
        print: Fingerprint::of(&[&size.to_be_bytes()]),
    }
}

fn furnish(change: &mut Change) {
    change.put_mailbox(Mailbox {
        last_full: Some(Timestamp::UNIX_EPOCH),
        ..Mailbox::new(MAILBOX, "IMAPBatch1", "terrya@contoso.edu", "terry.adams")
    });
    for id in 1..=FOLDERS {
        let name = FolderName::from_text(&format!("Folder{id}"));
        change.put_folder(Folder {
            id: FolderId(id),
            mailbox: MAILBOX,
            source: name.clone(),
            source_delimiter: None,
            target: name,
            source_validity: UidValidity::new(1).unwrap(),
            target_validity: None,
            seen: None,
            target_uid_next: None,
            subscribed: false,
            held_deletions: 0,
            gone: false,
        });
    }
}

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

/// Commit `number` of a folder: new messages, their intents settled, and old messages written anew.
async fn commit(ledger: &Ledger, folder: FolderId, number: u32) -> Result<(), CommitError> {
    let mut change = ledger.change();
    for part in 1..=TOGETHER {
        change.settle(MAILBOX, folder, uid(number * TOGETHER + part), message(u64::from(number)));
    }
    let intent =
        Intent { target_uid_next: number, print: Fingerprint::of(&[]), size: 1, date: message(1).date };
    change.note_intent(MAILBOX, folder, uid((number + 1) * TOGETHER), intent);
    let old = number / 3;
    change.put_message(MAILBOX, folder, uid(old * TOGETHER + 1), message(u64::from(old)));
    change.commit().await
}

/// How many commits of a folder are there, all of them whole.
fn whole_commits(ledger: &Ledger, folder: FolderId) -> u32 {
    let messages: Vec<_> = ledger.messages(MAILBOX, folder).map(Result::unwrap).collect();
    let number = messages.len() as u32;
    for (index, (uid, message)) in messages.into_iter().enumerate() {
        assert_eq!(uid.value(), index as u32 + 1, "a hole in folder {folder}");
        assert_eq!(message.size, u64::from(index as u32 / TOGETHER));
    }
    assert_eq!(number % TOGETHER, 0, "half a commit in folder {folder}");
    assert_eq!(ledger.counts(MAILBOX, folder).unwrap().mirrored, u64::from(number));
    number / TOGETHER
}

fn child_for(job: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, job).env("MAILFERRY_LEDGER_DIR", dir).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The child's side; nothing when run as a test.
#[test]
fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let dir = std::env::var_os("MAILFERRY_LEDGER_DIR").unwrap();
    let ledger = Ledger::open(Path::new(&dir)).unwrap().ledger;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if ledger.mailbox(MAILBOX).unwrap().is_none() {
            let mut change = ledger.change();
            furnish(&mut change);
            change.commit().await.unwrap();
        }
        match job.as_str() {
            "commit for ever" => commit_for_ever(&ledger).await,
            "fill the disk" => fill_the_disk(&ledger).await,
            other => panic!("{other}"),
        }
    });
}

async fn commit_for_ever(ledger: &Ledger) {
    let tasks: Vec<_> = (1..=FOLDERS)
        .map(|folder| {
            let (ledger, folder) = (ledger.clone(), FolderId(folder));
            tokio::spawn(async move {
                for number in whole_commits(&ledger, folder).. {
                    commit(&ledger, folder, number).await.unwrap();
                    println!("\nACK {folder} {number}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Numbers that differ from run to run.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Lets a child commit until so many acknowledgements (none: for so long), then kills it. What was acknowledged, by
/// folder: the number of commits.
fn live_and_die(dir: &Path, random: &mut Random) -> [u32; FOLDERS as usize] {
    let mut child: Child = child_for("commit for ever", dir).spawn().unwrap();
    let mut acknowledged = [0; FOLDERS as usize];
    let limit = random.below(300);
    let delay = Duration::from_micros(random.below(20_000));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    let mut note = |line: &str| {
        let mut words = line.split(' ');
        if words.next() != Some("ACK") {
            return false;
        }
        let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
        // The last line may be torn.
        if let (Some(folder), Some(number)) = (number(), number()) {
            let known = &mut acknowledged[folder as usize - 1];
            *known = (*known).max(number + 1);
        }
        true
    };
    while seen < limit
        && let Some(Ok(line)) = lines.next()
    {
        seen += u64::from(note(&line));
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it printed before it died was acknowledged too; a line without its end is not.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    for line in rest.iter().take(rest.len().saturating_sub(1)) {
        note(line);
    }
    acknowledged
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds =
        std::env::var("MAILFERRY_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let mut random = Random::new();
    println!("seed {}", random.0);
    let mut dir = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        if round % LIVES == 0 {
            dir = tempfile::tempdir().unwrap();
        }
        let acknowledged = live_and_die(dir.path(), &mut random);
        // Every other time the next child has to cope with it alone.
        if round % 2 == 0 {
            continue;
        }
        let opened = Ledger::open(dir.path()).unwrap();
        assert_eq!(opened.set_aside, None, "round {round}");
        if opened.ledger.mailbox(MAILBOX).unwrap().is_none() {
            assert_eq!(acknowledged, [0; FOLDERS as usize]);
            continue;
        }
        for folder in 1..=FOLDERS {
            let there = whole_commits(&opened.ledger, FolderId(folder));
            let acknowledged = acknowledged[folder as usize - 1];
            assert!(there >= acknowledged, "round {round}: {acknowledged} acknowledged, {there} there");
        }
    }
}

/// Writes until the (limited) disk is full, waits for room, goes on; says what it saw.
async fn fill_the_disk(ledger: &Ledger) {
    let folder = FolderId(1);
    let mut number = whole_commits(ledger, folder);
    let mut full = 0;
    loop {
        match commit(ledger, folder, number).await {
            Ok(()) => number += 1,
            Err(CommitError::Full { .. }) => {
                full += 1;
                if full == 1 {
                    println!("\nFULL after {number}");
                }
                if full == 3 {
                    break;
                }
                // What the failed commit became may be either; the next number follows from what is there.
                if ledger.mailbox(MAILBOX).is_ok() {
                    assert!(whole_commits(ledger, folder) >= number);
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Room again: the limit of this process is raised to what its parent allows.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, raised).unwrap();
    let after = number + 500;
    while number < after {
        commit(ledger, folder, number).await.unwrap();
        number += 1;
    }
    assert_eq!(ledger.health(), Health::Good);
    println!("\nGOES ON to {number}");
}

#[test]
fn a_full_disk_is_survived_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let plain = child_for("fill the disk", dir.path());
    // Writes beyond 1.5 MiB into any one file fail, and by an error instead of a signal.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 3072; exec \"$0\" \"$@\""]).arg(plain.get_program());
    command.args(plain.get_args()).stdout(Stdio::piped());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let last: u32 = said.lines().find_map(|line| line.strip_prefix("GOES ON to ")).unwrap().parse().unwrap();
    assert!(said.contains("FULL after "), "{said}");
    let opened = Ledger::open(dir.path()).unwrap();
    assert_eq!(opened.set_aside, None);
    assert_eq!(whole_commits(&opened.ledger, FolderId(1)), last);
}
