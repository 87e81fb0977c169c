//! The tools that copy: the bare pump, mbsync and Mailferry, each measured from outside.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mailferry_benches::desk::Desk;
use mailferry_benches::usage::{self, Watched};
use mailferry_tests::stand::{ENDPOINT, Person, Stand, TARGET_PASSWORD};
use tokio::process::Command;

use crate::pump::{Login, Mailbox, Work};

/// How long one copy may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A tool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tool {
    Pump,
    Mbsync,
    Mailferry,
}

impl Tool {
    pub(crate) const ALL: [Self; 3] = [Self::Pump, Self::Mbsync, Self::Mailferry];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pump => "pump",
            Self::Mbsync => "mbsync",
            Self::Mailferry => "mailferry",
        }
    }
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// Processor seconds of the tool's own processes.
    pub(crate) cpu: f64,
    /// Their highest resident memory, in MB.
    pub(crate) peak: f64,
}

/// Where both servers are reached, by every tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) source: u16,
    pub(crate) target: u16,
}

impl Ports {
    /// The bare servers.
    pub(crate) fn direct(stand: &Stand) -> Self {
        Self { source: stand.source.imaps().port(), target: stand.target.direct().port() }
    }
}

/// Who goes where: an owner at the source, the same at the target under an address of the tool's own.
pub(crate) async fn fresh_targets(
    stand: &Stand,
    owners: &[Person],
    tool: Tool,
    round: u64,
) -> anyhow::Result<Vec<Person>> {
    let fresh = |(at, owner): (usize, &Person)| {
        let address = format!("{}{round}.{at}@contoso.edu", tool.name());
        stand.target.add_user(&address, TARGET_PASSWORD)?;
        Ok(Person { address, ..owner.clone() })
    };
    let people = owners.iter().enumerate().map(fresh).collect::<anyhow::Result<_>>()?;
    users_are_known().await;
    Ok(people)
}

/// Dovecot looks at its file of users once a second at most.
pub(crate) async fn users_are_known() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

/// The pump, as a process of its own.
pub(crate) async fn pump(stand: &Stand, ports: Ports, people: &[Person]) -> anyhow::Result<Ran> {
    let mailboxes = people.iter().map(|person| Mailbox {
        from: Login { name: person.login.clone(), password: person.password.clone() },
        to: Login { name: person.address.clone(), password: TARGET_PASSWORD.to_owned() },
    });
    let work = Work {
        ca_file: stand.authority.ca_file.clone(),
        source: ports.source,
        target: ports.target,
        mailboxes: mailboxes.collect(),
    };
    let file = stand.path().join("pump.json");
    std::fs::write(&file, serde_json::to_vec(&work)?)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("pump").arg(&file);
    run(vec![command]).await
}

/// mbsync, with one process a mailbox, all at once.
pub(crate) struct Mbsync {
    configurations: Vec<PathBuf>,
}

impl Mbsync {
    /// Its configuration for these people.
    pub(crate) fn new(stand: &Stand, ports: Ports, people: &[Person]) -> anyhow::Result<Self> {
        let configurations = people.iter().map(|person| configuration(stand, ports, person));
        Ok(Self { configurations: configurations.collect::<Result<_, _>>()? })
    }

    pub(crate) async fn run(&self) -> anyhow::Result<Ran> {
        let commands = self.configurations.iter().map(|file| {
            let mut command = Command::new("mbsync");
            command.arg("-q").arg("-c").arg(file).arg("-a");
            command
        });
        run(commands.collect()).await
    }
}

fn configuration(stand: &Stand, ports: Ports, person: &Person) -> anyhow::Result<PathBuf> {
    let dir = stand.path().join(format!("mbsync-{}", person.address));
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("rc");
    // Nobody here compresses: on one machine it costs time, and the lines with latency have bandwidth enough.
    let text = format!(
        "IMAPStore source\nHost localhost\nPort {source}\nUser {login}\nPass \"{password}\"\nSSLType IMAPS\n\
         Timeout 120\nDisableExtensions COMPRESS=DEFLATE\nCertificateFile {ca}\n\nIMAPStore target\nHost localhost\nPort {target}\nUser {address}\n\
         Pass \"{TARGET_PASSWORD}\"\nSSLType IMAPS\nTimeout 120\nCertificateFile {ca}\n\nChannel all\nFar :source:\n\
         Near :target:\n\
         Patterns * !Archive !\"Deleted Items\" !\"Junk Email\" !\"Sent Items\" !Outbox\nCreate Near\nSync Pull\n\
         Expunge Near\nCopyArrivalDate yes\nSyncState {dir}/\n",
        source = ports.source,
        login = person.login,
        password = person.password,
        target = ports.target,
        address = person.address,
        ca = stand.authority.ca_file.display(),
        dir = dir.display(),
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Runs all at once until the last one ended.
async fn run(commands: Vec<Command>) -> anyhow::Result<Ran> {
    let before = usage::children_cpu()?;
    let started = Instant::now();
    let mut children = Vec::new();
    let mut watched = Watched::default();
    for mut command in commands {
        command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        watched.add(child.id().context("no process id")?);
        children.push(child);
    }
    let watching = tokio::spawn(async move { watched.watch().await });
    for child in children {
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let took = started.elapsed();
    let peak = watching.await?;
    Ok(Ran { took, cpu: usage::children_cpu()? - before, peak })
}

/// A batch of Mailferry's.
pub(crate) struct Batch {
    name: String,
    pid: u32,
}

impl Batch {
    /// Adds it; nothing begins.
    pub(crate) async fn add(stand: &mut Stand, name: &str, people: &[Person]) -> anyhow::Result<Self> {
        let csv = stand.csv(name, people)?;
        let csv = csv.to_string_lossy();
        stand.cli(&["batch", "add", name, "--endpoint", ENDPOINT, "--csv", &csv]).await?.done()?;
        Ok(Self { name: name.to_owned(), pid: stand.serve_pid()? })
    }

    /// The first copy: from `batch start` until the status says `Synced`, everything durable.
    pub(crate) async fn first(&self, stand: &Stand) -> anyhow::Result<Ran> {
        self.measured(&Desk::of(stand), "start").await
    }

    /// One pass more.
    pub(crate) async fn again(&self, stand: &Stand) -> anyhow::Result<Ran> {
        self.measured(&Desk::of(stand), "sync-now").await
    }

    async fn measured(&self, desk: &Desk, verb: &str) -> anyhow::Result<Ran> {
        let synced_before = desk.batch(&self.name).await?.last_synced;
        let cpu = usage::cpu(self.pid)?;
        usage::forget_peak(self.pid)?;
        let started = Instant::now();
        desk.post(&self.name, verb).await?;
        loop {
            let batch = desk.batch(&self.name).await?;
            if batch.is_synced() && batch.last_synced != synced_before {
                break;
            }
            ensure!(started.elapsed() < PATIENCE, "not synced: {}", batch.text);
            // Often where a pass is short, seldom where looking would be a part of the work.
            let pause = started.elapsed() / 50;
            tokio::time::sleep(pause.clamp(Duration::from_millis(2), Duration::from_millis(100))).await;
        }
        let took = started.elapsed();
        Ok(Ran { took, cpu: usage::cpu(self.pid)? - cpu, peak: usage::peak(self.pid)? })
    }

    /// Removes it, by force: no cutover happened.
    pub(crate) async fn remove(self, stand: &Stand) -> anyhow::Result<()> {
        let reason = ["--force", "--reason", "the next round begins"];
        stand.cli(&[&["batch", "remove", &self.name], &reason[..]].concat()).await?.done()?;
        Ok(())
    }
}

/// What is compared is exact, or the comparison is worth nothing.
pub(crate) async fn ensure_exact(stand: &Stand, person: &Person) -> anyhow::Result<()> {
    let account = stand.account(person).await?;
    ensure!(account.agrees(), "the copy is not exact: {account}");
    Ok(())
}

/// Whether a file is the pump's work.
pub(crate) fn pump_work(arguments: &[String]) -> Option<&Path> {
    match arguments {
        [verb, file] if verb == "pump" => Some(Path::new(file)),
        _ => None,
    }
}
