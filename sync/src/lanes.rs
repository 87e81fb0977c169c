//! Lanes: folders of one mailbox copied side by side.
//!
//! A lane is a session at the source and one at the target that copy one folder at a time. So a target folder has one
//! writer, its messages arrive in ascending order, and what is in doubt is the end of a folder, as with a single
//! lane. The first lane is the worker itself; further ones exist only while much is to be copied, and only as far as both
//! servers let us have them: no pass fails for want of one.
//!
//! Lanes run between two points at which nothing else writes: all are joined before hints are served or the pass goes
//! on. There are two ways to stop. At a border of windows, when something more urgent waits or a lane lost its connection:
//! all sessions stay usable. At once, when the target asks to wait or what went wrong concerns the whole mailbox: no
//! lane begins another message. Dropping the future drops all lanes with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mailferry_imap::{MailboxId, net};
use mailferry_ledger::{Folder, SourceMark};
use mailferry_spool::Spool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::copy::Budget;
use crate::error::{LocalError, SideError};
use crate::fill::{Filled, Gaps, Terms};
use crate::hints::Hints;
use crate::pace::Complaint;
use crate::scan::is_inbox;
use crate::sides::{Source, Target};
use crate::tenant::{Doing, Errand};
use crate::transfer::Unknown;
use crate::trouble::Trouble;
use crate::turn::Turn;
use crate::worker::{Claim, Deletions, MailboxWorker, PassReport};

/// A lane has to be worth its logins: so many bytes to be copied beside the largest folder, for each.
const WORTHWHILE: u64 = 2 << 20;

/// What a message costs beside its bytes, in bytes.
const MESSAGE: u64 = 64 << 10;

/// What a folder costs: some round trips.
const FOLDER: u64 = 512 << 10;

/// After a server refused a lane, no further one is tried for so long.
const REFUSED: Duration = Duration::from_secs(600);

/// While a client is logged in, no more lanes than this: servers count all sessions of a user (Dovecot admits ten from one
/// address, which is the proxy's for all of them), and clients go first.
const ATTENDED: usize = 2;

/// So long hints wait for the logins of a lane.
const LOGINS: Duration = Duration::from_secs(2);

/// How many lanes the servers let us have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Width {
    /// So many, until then.
    narrow: Option<(usize, Instant)>,
}

impl Width {
    fn at_most(self, lanes: usize, now: Instant) -> usize {
        match self.narrow {
            Some((few, until)) if now < until => lanes.min(few),
            Some(_) | None => lanes,
        }
    }

    fn refused(&mut self, had: usize, now: Instant) {
        self.narrow = Some((had.max(1), now + REFUSED));
    }
}

/// What is to be copied into one folder.
struct Load {
    gaps: Gaps,
    /// Bytes, and what the messages cost beside.
    weight: u64,
    mark: Option<SourceMark>,
}

/// How many lanes these folders are worth: one has the largest, and the others share the rest.
fn worthwhile(weights: &[u64], most: usize) -> usize {
    let rest: u64 = weights.iter().sum::<u64>() - weights.iter().max().copied().unwrap_or(0);
    let further = usize::try_from(rest / WORTHWHILE).unwrap_or(usize::MAX);
    further.saturating_add(1).min(most).min(weights.len()).max(1)
}

/// In which order folders are begun: where people look first, then the largest, so that no large one is left for the end.
fn in_order(loads: &mut [Load]) {
    loads.sort_by_key(|load| (!is_inbox(&load.gaps.folder), std::cmp::Reverse(load.weight)));
}

/// What the lanes share.
struct Road {
    loads: Mutex<VecDeque<Load>>,
    budget: Budget,
    /// Nothing new is begun.
    halt: CancellationToken,
    /// All stop at the next border.
    pause: CancellationToken,
    /// Nothing is left for one lane more.
    drained: CancellationToken,
    hints: Arc<Hints>,
    spool: Spool,
    mailbox: MailboxId,
    /// Whether there are more lanes than a client would leave.
    is_wide: bool,
    /// Whether the pass's turn at the endpoint is over.
    is_turn_over: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl Road {
    fn of(worker: &MailboxWorker, loads: Vec<Load>, lanes: usize) -> Self {
        Self {
            loads: Mutex::new(loads.into()),
            budget: Budget::new(worker.context.limits.memory_bytes),
            halt: CancellationToken::new(),
            pause: CancellationToken::new(),
            drained: CancellationToken::new(),
            hints: worker.hints.clone(),
            spool: worker.context.spool.clone(),
            mailbox: worker.mailbox,
            is_wide: lanes > ATTENDED,
            is_turn_over: worker.turn.as_ref().and_then(Turn::over),
        }
    }

    fn loads(&self) -> MutexGuard<'_, VecDeque<Load>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Load> {
        let mut loads = self.loads();
        let next = loads.pop_front();
        if loads.is_empty() {
            self.drained.cancel();
        }
        next
    }

    fn put_back(&self, load: Load) {
        self.loads().push_front(load);
    }

    fn into_left(self) -> Vec<Load> {
        self.loads.into_inner().unwrap_or_else(PoisonError::into_inner).into()
    }

    /// Between windows.
    fn is_interrupted(&self) -> bool {
        let is_turn_over = self.is_turn_over.as_ref().is_some_and(|is_over| is_over());
        let is_in_the_way = self.is_wide && self.spool.is_attended(self.mailbox);
        if is_turn_over || is_in_the_way || self.hints.are_urgent(&self.spool, self.mailbox) {
            self.pause.cancel();
        }
        self.pause.is_cancelled()
    }

    /// Before another folder is begun: what came to it by a COPY or MOVE that is told by now is not to go by its bodies.
    fn is_closed(&self) -> bool {
        if self.hints.has_transfers() {
            self.pause.cancel();
        }
        self.halt.is_cancelled() || self.is_interrupted()
    }

    /// After trouble in one lane.
    fn stop_for(&self, trouble: &Trouble) {
        match trouble.is_of_one_session() {
            true => self.pause.cancel(),
            false => self.halt.cancel(),
        }
    }

    /// When it is of no use any more to wait for another lane's logins.
    async fn is_in_vain(&self) {
        let too_long = async {
            self.pause.cancelled().await;
            sleep(LOGINS).await;
        };
        tokio::select! {
            () = self.halt.cancelled() => {}
            () = self.drained.cancelled() => {}
            () = too_long => {}
        }
    }
}

/// A further lane.
struct Lane(MailboxWorker);

/// How a lane ended.
enum End {
    /// Nothing is left for it, or all were told to stop.
    Over,
    /// A server did not let it in.
    Refused,
    Trouble(Trouble),
}

impl Lane {
    fn is_open(&self) -> bool {
        self.0.source.is_some() && self.0.target.is_some()
    }

    async fn run(&mut self, road: &Road) -> (PassReport, End) {
        let mut report = PassReport::default();
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = road.is_in_vain() => return (report, End::Over),
        };
        let end = match opened {
            Ok(()) if road.is_closed() => End::Over,
            Ok(()) => match self.0.drive(road, &mut report).await {
                Ok(()) => End::Over,
                Err(trouble) => End::Trouble(trouble),
            },
            Err(trouble) => match self.0.obstacle(&trouble) {
                Obstacle::Refused => {
                    debug!(?trouble, "A lane is refused.");
                    End::Refused
                }
                Obstacle::Passing => {
                    debug!(?trouble, "A lane did not come about.");
                    End::Over
                }
                Obstacle::Grave => {
                    road.stop_for(&trouble);
                    End::Trouble(trouble)
                }
            },
        };
        if let End::Trouble(trouble) = &end {
            self.0.hang_up_after(trouble);
        }
        (report, end)
    }

    /// Both logins at once.
    async fn open(&mut self) -> Result<(), Trouble> {
        let worker = &mut self.0;
        worker.may_contact_target()?;
        let place = match &worker.target {
            Some(_) => None,
            None => Some(worker.context.target.tenant.spare(worker.mailbox).ok_or(Trouble::NoPlace)?),
        };
        let mailbox = worker.record()?;
        let context = worker.context.clone();
        let source = async {
            match worker.source.take() {
                Some(open) => Ok(open),
                None => Source::open_another(&context, &mailbox).await,
            }
        };
        let target = async {
            match place {
                None => Ok(worker.target.take()),
                Some(place) => {
                    place.turn_to(Doing::Work(Errand::Background));
                    Target::open(&context, &mailbox, place).await.map(Some)
                }
            }
        };
        let (source, target) = tokio::try_join!(source, target)?;
        worker.source = Some(source);
        worker.target = target;
        Ok(())
    }
}

/// What kept a lane from opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Obstacle {
    /// A server does not want it.
    Refused,
    /// The way to it broke, or there is no place for it at this moment.
    Passing,
    /// It concerns the whole mailbox.
    Grave,
}

impl MailboxWorker {
    /// Copies what is pending in these folders, and notes of each that it was looked through.
    pub(crate) async fn copy_folders(
        &mut self,
        folders: Vec<(Folder, Option<SourceMark>)>,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let mut loads = self.loads(folders).await?;
        in_order(&mut loads);
        let mut lanes: Vec<Lane> = Vec::new();
        while !loads.is_empty() {
            // Perhaps some came by a COPY or MOVE that is told by now.
            self.hints.gather(&self.context.spool, self.mailbox);
            self.serve_transfers(Unknown::AskPass, report).await?;
            for load in &mut loads {
                self.resume(&mut load.gaps)?;
            }
            let weights: Vec<u64> = loads.iter().map(|load| load.weight).collect();
            let most = self.width.at_most(self.context.target.tenant.lanes(self.mailbox), Instant::now());
            let most = match self.context.spool.is_attended(self.mailbox) {
                true => most.min(ATTENDED),
                false => most,
            };
            let wanted = worthwhile(&weights, most) - 1;
            lanes.truncate(wanted);
            lanes.resize_with(wanted, || Lane(self.another()));
            self.progress.say("copying");
            let road = Road::of(self, loads, lanes.len() + 1);
            self.run_lanes(&mut lanes, &road, report).await?;
            loads = road.into_left();
            if !loads.is_empty() {
                self.serve_hints(report).await?;
                if self.turn.as_ref().is_some_and(Turn::is_over) {
                    lanes.clear(); // Their sessions are others' now.
                    self.await_turn(report).await?;
                }
            }
        }
        Ok(())
    }

    /// Runs all lanes until each is at its end.
    async fn run_lanes(
        &mut self,
        lanes: &mut [Lane],
        road: &Road,
        report: &mut PassReport,
    ) -> Result<(), Trouble> {
        let first = async {
            let mut report = PassReport::default();
            match self.drive(road, &mut report).await {
                Ok(()) => (report, End::Over),
                Err(trouble) => (report, End::Trouble(trouble)),
            }
        };
        let mut under_way = FuturesUnordered::new();
        under_way.push(first.boxed());
        for lane in lanes.iter_mut() {
            under_way.push(lane.run(road).boxed());
        }
        let mut worst: Option<Trouble> = None;
        let mut refused = false;
        while let Some((did, end)) = under_way.next().await {
            report.absorb(&did);
            match end {
                End::Over => {}
                End::Refused => refused = true,
                End::Trouble(trouble) => {
                    worst = Some(match worst {
                        Some(known) => known.or_worse(trouble),
                        None => trouble,
                    });
                }
            }
        }
        drop(under_way);
        self.wary |= lanes.iter().any(|lane| lane.0.wary);
        if refused {
            let had = 1 + lanes.iter().filter(|lane| lane.is_open()).count();
            info!(lanes = had, "A server admits no further session for this mailbox.");
            self.width.refused(had, Instant::now());
        }
        worst.map_or(Ok(()), Err)
    }

    /// One folder after the other.
    async fn drive(&mut self, road: &Road, report: &mut PassReport) -> Result<(), Trouble> {
        let terms = Terms { budget: &road.budget, halt: &road.halt, interrupt: &|| road.is_interrupted() };
        // The first folder always comes forward, or there were no end to hints.
        while let Some(mut load) = road.next() {
            let filled = match self.fill(&mut load.gaps, &terms, report).await {
                Ok(Filled::Done) => match load.mark {
                    Some(mark) => self.note_seen(&load.gaps.folder, mark).await.map(|()| Filled::Done),
                    None => Ok(Filled::Done),
                },
                other => other,
            };
            match filled {
                Ok(Filled::Done) => {}
                Ok(Filled::Interrupted) => road.put_back(load),
                Err(Trouble::NoPlace) => {
                    road.put_back(load);
                    self.hang_up();
                    return Ok(());
                }
                Err(trouble) => {
                    road.stop_for(&trouble);
                    return Err(trouble);
                }
            }
            if road.is_closed() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is to be copied; a folder in which nothing is was looked through.
    async fn loads(&mut self, folders: Vec<(Folder, Option<SourceMark>)>) -> Result<Vec<Load>, Trouble> {
        let mut loads = Vec::new();
        for (folder, mark) in folders {
            let counts = self.context.ledger.counts(folder.mailbox, folder.id)?;
            if counts.pending == 0 {
                if let Some(mark) = mark {
                    self.note_seen(&folder, mark).await?;
                }
                continue;
            }
            let todo = self.pending(&folder)?;
            let weight = FOLDER + counts.pending_bytes + counts.pending * MESSAGE;
            loads.push(Load { gaps: Gaps::new(folder, todo), weight, mark });
        }
        Ok(loads)
    }

    /// The folder was looked through as it was then.
    async fn note_seen(&mut self, folder: &Folder, mark: SourceMark) -> Result<(), Trouble> {
        let known = self.context.ledger.folder(folder.mailbox, folder.id)?;
        if known.is_some_and(|known| known.seen != Some(mark)) {
            let mut change = self.context.ledger.change();
            change.update_folder(folder.mailbox, folder.id, move |folder| folder.seen = Some(mark));
            change.commit().await?;
        }
        Ok(())
    }

    /// Trouble with a session that a further lane opens anew: in most cases there is one lane less, and that is all.
    pub(crate) fn or_no_place(&self, trouble: Trouble) -> Trouble {
        match self.obstacle(&trouble) {
            Obstacle::Grave => trouble,
            Obstacle::Refused | Obstacle::Passing => {
                debug!(?trouble, "A lane ends.");
                Trouble::NoPlace
            }
        }
    }

    /// What kept a session of a further lane from opening. Where more is wrong than that, the first lane finds out by itself.
    fn obstacle(&self, trouble: &Trouble) -> Obstacle {
        if let Some((complaint, words)) = trouble.complaint() {
            self.context.target.tenant.on_complaint(self.mailbox, complaint, words);
            if complaint != Complaint::Budget {
                return Obstacle::Passing; // How many sessions there may be is adapted to that.
            }
        }
        match trouble {
            Trouble::Source(SideError::Imap(error)) | Trouble::Target(SideError::Imap(error)) => {
                match error {
                    net::Error::Refused { .. } | net::Error::Bye { .. } | net::Error::Unsupported { .. } => {
                        Obstacle::Refused
                    }
                    net::Error::Connect { .. }
                    | net::Error::Tls { .. }
                    | net::Error::Timeout { .. }
                    | net::Error::Lost { .. }
                    | net::Error::Protocol { .. }
                    | net::Error::Misuse { .. } => Obstacle::Passing,
                }
            }
            Trouble::Source(_) | Trouble::Target(_) | Trouble::Local(LocalError::NoPassword) => {
                Obstacle::Refused
            }
            Trouble::NoPlace => Obstacle::Passing,
            Trouble::Throttled { .. }
            | Trouble::Waits(_)
            | Trouble::TokenExpired
            | Trouble::Replaced
            | Trouble::Local(_)
            | Trouble::Stopped => Obstacle::Grave,
        }
    }

    /// The same worker once more, without connections: for a lane of its own.
    fn another(&self) -> Self {
        let fresh = Self::new(self.mailbox, self.context.clone());
        Self {
            progress: self.progress.clone(),
            hints: self.hints.clone(),
            closings: self.closings.clone(),
            claim: Claim::Spare,
            wary: self.wary,
            allowed: Deletions::Capped,
            ..fresh
        }
    }
}

#[cfg(test)]
mod tests;
