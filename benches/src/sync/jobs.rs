//! The jobs: what is copied, and in which turn.

use std::time::Duration;

use anyhow::{Context, ensure};
use mailferry_benches::session::Session;
use mailferry_benches::tls::Tls;
use mailferry_tests::fault::{Dress, Relay, Setup};
use mailferry_tests::mail::{Loaded, Message, Recipe};
use mailferry_tests::stand::{Front, Options, Person, Stand};
use tokio::net::TcpStream;

use crate::Plan;
use crate::report::{Job, Report};
use crate::tools::{self, Batch, Mbsync, Ports, Tool};

/// One way of the far lines: a round trip takes twice this.
const TO_FAR_SOURCE: Duration = Duration::from_millis(5);
const TO_FAR_TARGET: Duration = Duration::from_millis(20);

/// Messages from the recipe, as every tool copies them: mbsync leaves out what is marked deleted and what has no end of
/// header.
fn load(stand: &Stand, person: &Person, recipe: Recipe) -> anyhow::Result<Loaded> {
    let mailbox = recipe.mailbox().map(|mut message: Message| {
        message.flags.deleted = false;
        if !message.content.windows(2).any(|two| two == b"\n\n")
            && !message.content.windows(4).any(|four| four == b"\r\n\r\n")
        {
            message.content.extend_from_slice(b"\r\n");
        }
        message
    });
    stand.source.load(&person.login, mailbox)
}

/// Owners with mailboxes, read once: the source's caches are warm for every tool.
async fn owners(stand: &Stand, names: &[String], recipe: Recipe) -> anyhow::Result<(Vec<Person>, Loaded)> {
    let mut owners = Vec::new();
    let mut all = Loaded::default();
    for (at, name) in names.iter().enumerate() {
        let owner = stand.add_person(name)?;
        let loaded = load(stand, &owner, Recipe { seed: recipe.seed + at as u64, ..recipe })?;
        all = Loaded { messages: all.messages + loaded.messages, bytes: all.bytes + loaded.bytes };
        owners.push(owner);
    }
    tools::users_are_known().await;
    for owner in &owners {
        stand.account(owner).await?;
    }
    Ok((owners, all))
}

/// Each round begins with another tool.
fn in_turn(round: u64) -> impl Iterator<Item = Tool> {
    let first = usize::try_from(round).unwrap_or_default() % Tool::ALL.len();
    Tool::ALL[first..].iter().chain(&Tool::ALL[..first]).copied()
}

/// One mailbox: copied for the first time, looked at again, looked at again after changes.
pub(crate) async fn one_mailbox(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut stand = Stand::start(Options { front: Front::Bare, ..Options::default() }).await?;
    let ports = Ports::direct(&stand);
    let recipe = Recipe { messages: plan.share(10_000), ..Recipe::full() };
    let (owners, loaded) = owners(&stand, &["terry.adams".to_owned()], recipe).await?;
    report.begin(Job::First, loaded);
    for round in 0..plan.rounds {
        let mut batch = None;
        let mut mbsync = None;
        let mut ours = Vec::new();
        for tool in in_turn(round) {
            let people = tools::fresh_targets(&stand, &owners, tool, round).await?;
            let ran = match tool {
                Tool::Pump => tools::pump(&stand, ports, &people).await,
                Tool::Mbsync => mbsync.insert(Mbsync::new(&stand, ports, &people)?).run().await,
                Tool::Mailferry => {
                    let added = Batch::add(&mut stand, &format!("One{round}"), &people).await?;
                    let ran = added.first(&stand).await;
                    batch = Some(added);
                    ours = people;
                    ran
                }
            };
            report.add(Job::First, tool, ran.with_context(|| tool.name())?);
        }
        let (batch, mbsync) = (batch.context("no batch")?, mbsync.context("no mbsync")?);
        for job in [Job::Again, Job::Changed] {
            if !plan.has(job) {
                continue;
            }
            if job == Job::Changed {
                change(&stand, &owners[0], loaded.messages, round).await?;
            }
            for tool in in_turn(round) {
                let ran = match tool {
                    Tool::Pump => continue,
                    Tool::Mbsync => mbsync.run().await?,
                    Tool::Mailferry => batch.again(&stand).await?,
                };
                report.add(job, tool, ran);
            }
        }
        if round == 0 {
            tools::ensure_exact(&stand, &ours[0]).await?;
        }
        batch.remove(&stand).await?;
    }
    Ok(())
}

/// One in a hundred is new, one in a hundred has other flags, one in two hundred is gone.
async fn change(stand: &Stand, owner: &Person, messages: u64, round: u64) -> anyhow::Result<()> {
    let tls = Tls::new(&stand.authority.ca_file)?;
    let tcp = TcpStream::connect(stand.source.imaps()).await?;
    let mut session = Session::greeted(tls.connect(tcp).await?).await?;
    session.log_in(&owner.login, &owner.password).await?;
    let (flagged, gone) = (messages / 100, messages / 200);
    ensure!(gone > 0, "too few messages to change some");
    session.select("INBOX").await?;
    let flags = if round.is_multiple_of(2) { "\\Answered" } else { "\\Seen" };
    session.command(&format!("STORE 1:{flagged} FLAGS.SILENT ({flags})")).await?;
    session.command(&format!("STORE {}:{} +FLAGS.SILENT (\\Deleted)", flagged + 1, flagged + gone)).await?;
    session.command("EXPUNGE").await?;
    for number in 0..messages / 100 {
        let message = format!(
            "From: ann@contoso.edu\r\nSubject: new {round}.{number}\r\nMessage-ID: <{round}.{number}@new>\r\n\r\n{}",
            "What is new today is old tomorrow.\r\n".repeat(100)
        );
        session.append("INBOX", message.as_bytes()).await?;
    }
    session.command("LOGOUT").await?;
    Ok(())
}

/// One mailbox over lines with latency.
pub(crate) async fn far(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut stand = Stand::prepare(Options::default()).await?;
    let (near_source, near_target) = (stand.source.imaps(), stand.target.direct());
    let line = async |upstream, one_way| {
        let (tls, upstream_tls) = (Some(stand.leaf().server()?), Some(stand.authority.client()?));
        let relay = Relay::start(Setup { upstream, upstream_tls, tls, dress: Dress::Plain }).await?;
        relay.set_latency(one_way);
        anyhow::Ok(relay)
    };
    let source = line(near_source, TO_FAR_SOURCE).await?;
    let target = line(near_target, TO_FAR_TARGET).await?;
    let ports = Ports { source: source.address().port(), target: target.address().port() };
    stand.reconfigure(|options| {
        options.front = Front::Ports { source: ports.source, target: ports.target };
    })?;
    stand.cli(&["init"]).await?.done()?;
    stand.serve().await?;
    stand.add_endpoint().await?;
    let recipe = Recipe { messages: plan.share(2_000), largest: 4_000_000, ..Recipe::full() };
    let (owners, loaded) = owners(&stand, &["terry.adams".to_owned()], recipe).await?;
    first_copies(plan, Job::Far, &mut stand, ports, &owners, loaded, report).await
}

/// Twenty mailboxes at once.
pub(crate) async fn many(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let source_lines = "protocol imap {\n  mail_max_userip_connections = 0\n}\n".to_owned();
    let mut stand = Stand::start(Options { front: Front::Bare, source_lines, ..Options::default() }).await?;
    let ports = Ports::direct(&stand);
    let names: Vec<String> = (0..20).map(|at| format!("person{at}")).collect();
    let recipe = Recipe { messages: plan.share(500), largest: 4_000_000, ..Recipe::full() };
    let (owners, loaded) = owners(&stand, &names, recipe).await?;
    first_copies(plan, Job::Many, &mut stand, ports, &owners, loaded, report).await
}

async fn first_copies(
    plan: &Plan,
    job: Job,
    stand: &mut Stand,
    ports: Ports,
    owners: &[Person],
    loaded: Loaded,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.begin(job, loaded);
    for round in 0..plan.rounds {
        for tool in in_turn(round) {
            let people = tools::fresh_targets(stand, owners, tool, round).await?;
            let ran = match tool {
                Tool::Pump => tools::pump(stand, ports, &people).await,
                Tool::Mbsync => Mbsync::new(stand, ports, &people)?.run().await,
                Tool::Mailferry => {
                    let batch = Batch::add(stand, &format!("Round{round}"), &people).await?;
                    let ran = batch.first(stand).await;
                    if round == 0 {
                        tools::ensure_exact(stand, &people[0]).await?;
                    }
                    batch.remove(stand).await?;
                    ran
                }
            };
            report.add(job, tool, ran.with_context(|| tool.name())?);
        }
    }
    Ok(())
}
