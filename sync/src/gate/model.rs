//! A model of everything that can go wrong with time on the way to an open gate, over many random schedules: name servers
//! that flip back, resolvers that lie, servers that are silent, daemons that are killed, machines that are off or asleep,
//! clocks that are set, days on which nobody looks, passes that fail, days without any, stragglers, sources with a wrong clock.
//!
//! The product's own clock, steady time and gate judge by what they are told. An oracle beside them knows the real time of
//! everything, and no word of theirs. Whenever the gate is open, the oracle must agree.
//!
//! What is taken for granted: where the machine was off between two looks, its wall clock is not back by less than the
//! time between them. Nobody could tell that from less time: uptime does not reach across, and DNS tells no time.
//!
//! `MAILFERRY_SCHEDULES=10000` runs so many; `MAILFERRY_SCHEDULE=N` runs the one of seed N and tells its story.

use mailferry_dnscheck::clock::Rules;
use mailferry_dnscheck::{Clock, Course, HostName, Observation, Verdict};

use super::*;
use crate::steady::{Anchor, Uptime};
use crate::stragglers::{Record, Rule};
use crate::watch::Cutover;

mod truth;

use truth::Truth;

/// Minutes.
const STEP: i64 = 5;
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
const WAIT: i64 = 72 * HOUR;
const GAP: i64 = 6 * HOUR;
const QUIET: i64 = 24 * HOUR;
/// How long a mailbox that nobody reads counts as quiet; a number of the oracle's own.
const READ: i64 = 24 * HOUR;
/// How long a schedule is followed.
const END: i64 = 21 * DAY;

/// SplitMix64: a seed is a schedule.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.throw() % (high - low).max(1).unsigned_abs()) as i64
    }

    /// Once in so many.
    fn once_in(&mut self, many: i64) -> bool {
        many > 0 && self.between(0, many) == 0
    }
}

/// How much goes wrong in a schedule: once in so many minutes, 0 for never.
struct Weather {
    flips: i64,
    lies: i64,
    silence: i64,
    kills: i64,
    offs: i64,
    sleeps: i64,
    steps: i64,
    stalls: i64,
    stragglers: i64,
    failures: i64,
    strikes: i64,
}

impl Weather {
    fn any(dice: &mut Dice) -> Self {
        let mut often = |days: i64| if dice.once_in(2) { 0 } else { dice.between(DAY, days * DAY) };
        Self {
            flips: often(20),
            lies: often(30),
            silence: often(5),
            kills: often(5),
            offs: often(20),
            sleeps: often(20),
            steps: often(15),
            stalls: often(20),
            stragglers: often(20),
            failures: often(8),
            strikes: often(15),
        }
    }
}

/// The machine, what is in the ledger, and the world around.
struct World {
    dice: Dice,
    weather: Weather,
    now: i64,
    /// Wall clock minus real time.
    wall: i64,
    /// Source's clock minus real time.
    source: i64,
    boot: u64,
    booted: i64,
    /// Nobody does anything until then.
    idle_until: i64,
    /// Until then a server gives another record.
    wrong_until: i64,
    ttl: i64,
    look_at: i64,
    pass_at: i64,
    passing: Option<(i64, i64, Moment)>,
    /// The batch is stopped until then.
    strike_until: i64,
    /// The last look: when, what the wall clock was ahead by, and after which start of the machine.
    looked: (i64, i64, u64),
    /// Arrivals that a pass has seen.
    seen: usize,
    // The ledger.
    anchor: Option<Anchor>,
    course: Course,
    cutover: Option<Cutover>,
    record: Record,
    synced: Option<Moment>,
    truth: Truth,
    story: Option<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let weather = Weather::any(&mut dice);
        let moved = dice.between(HOUR, 2 * DAY);
        let ttl = match dice.between(0, 4) {
            0 => 5,
            1 => HOUR,
            2 => DAY,
            _ => dice.between(3 * DAY, 6 * DAY), // Longer than the wait.
        };
        let wall = if dice.once_in(5) { dice.between(-3 * DAY, 3 * DAY) } else { 0 };
        let source = if dice.once_in(3) { dice.between(-2 * HOUR, 2 * HOUR) } else { 0 };
        Self {
            weather,
            now: 0,
            wall,
            source,
            boot: 0,
            booted: -dice.between(0, 30 * DAY),
            idle_until: 0,
            wrong_until: moved,
            ttl,
            look_at: 0,
            pass_at: 0,
            passing: None,
            strike_until: 0,
            looked: (0, wall, 0),
            seen: 0,
            anchor: None,
            course: Course::default(),
            cutover: None,
            record: Record::default(),
            synced: None,
            truth: Truth { wrong: vec![(0, moved)], ..Truth::default() },
            story: std::env::var_os("MAILFERRY_SCHEDULE").map(|_| String::new()),
            dice,
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push_str(&format!("{:>6}  {}\n", self.now, what()));
        }
    }

    fn rules() -> Rules {
        let minutes = |minutes: i64| std::time::Duration::from_secs(minutes.unsigned_abs() * 60);
        Rules { wait: minutes(WAIT), max_gap: minutes(GAP) }
    }

    fn wall_clock(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + minutes * 60).unwrap()
    }

    fn moment(&self) -> (Moment, Anchor) {
        let up = SignedDuration::from_mins(self.now - self.booted);
        let anchor = Anchor::reckon(self.anchor.as_ref(), Uptime { boot: self.boot.to_string(), up });
        (Moment { at: Self::wall_clock(self.now + self.wall), steady: anchor.steady() }, anchor)
    }

    fn stamp(&mut self) -> Moment {
        let (moment, anchor) = self.moment();
        self.anchor = Some(anchor);
        moment
    }

    /// One step of the world; what goes wrong goes wrong between the steps of the product.
    fn step(&mut self) {
        self.now += STEP;
        let happens = |dice: &mut Dice, many: i64| dice.once_in(many / STEP);
        if self.now >= self.wrong_until && happens(&mut self.dice, self.weather.flips) {
            let length = self.dice.between(STEP, 2 * DAY);
            self.wrong_until = self.now + length;
            self.truth.wrong.push((self.now, self.wrong_until));
            self.tell(|| format!("a server flips back for {length}"));
        }
        if happens(&mut self.dice, self.weather.stragglers) {
            self.truth.arrivals.push(self.now);
            self.tell(|| "a straggler arrives".into());
        }
        if happens(&mut self.dice, self.weather.steps) {
            let by = match self.dice.between(0, 3) {
                0 => self.dice.between(-4, 4),
                1 => self.dice.between(-8 * HOUR, 8 * HOUR),
                _ => self.dice.between(-5 * DAY, 5 * DAY),
            };
            self.wall += by;
            self.tell(|| format!("the wall clock is set by {by}"));
        }
        if happens(&mut self.dice, self.weather.kills) {
            self.passing = None;
            self.look_at = self.now;
            self.tell(|| "killed and started".into());
        }
        if happens(&mut self.dice, self.weather.offs) {
            let longest = if self.dice.once_in(2) { HOUR } else { 4 * DAY };
            let length = self.dice.between(STEP, longest);
            self.idle_until = self.now + length;
            self.boot += 1;
            self.booted = self.idle_until;
            self.passing = None;
            self.look_at = self.idle_until;
            let by = match self.dice.between(0, 4) {
                0 => self.dice.between(0, 3 * DAY),
                1 => -length - 10 - self.dice.between(0, 3 * DAY),
                _ => 0,
            };
            self.wall += by;
            self.tell(|| format!("off for {length}, the clock is wrong by {by} more"));
        }
        if happens(&mut self.dice, self.weather.sleeps) {
            let length = self.dice.between(STEP, 3 * DAY);
            self.idle_until = self.idle_until.max(self.now + length);
            self.tell(|| format!("asleep for {length}"));
        }
        if happens(&mut self.dice, self.weather.stalls) {
            let length = self.dice.between(HOUR, 3 * DAY);
            self.look_at = self.look_at.max(self.now + length);
            self.tell(|| format!("nobody looks for {length}"));
        }
    }

    /// The batch is stopped, or its source away.
    fn strike(&mut self) {
        if self.now >= self.strike_until && self.dice.once_in(self.weather.strikes / STEP) {
            self.strike_until = self.now + self.dice.between(HOUR, 5 * DAY);
            self.passing = None;
            let until = self.strike_until;
            self.tell(|| format!("no pass until {until}"));
        }
    }

    fn look(&mut self) {
        self.look_at = self.now + self.dice.between(STEP, 20);
        let (looked, wall, boot) = self.looked;
        let back = wall - self.wall;
        if boot != self.boot && back > 0 && back <= self.now - looked + 5 {
            self.wall = wall; // What is taken for granted.
        }
        self.looked = (self.now, self.wall, self.boot);
        let wrong = self.now < self.wrong_until;
        let lie = self.weather.lies > 0 && self.dice.once_in(self.weather.lies / 10);
        let verdict = if self.weather.silence > 0 && self.dice.once_in(self.weather.silence / 10) {
            Verdict::Unknown
        } else if wrong {
            if self.dice.once_in(2) { Verdict::Source } else { Verdict::Mixed }
        } else if lie {
            Verdict::Mixed // A resolver that says what no server says.
        } else {
            Verdict::Office365
        };
        let bad = !verdict.is_cut_over() && verdict != Verdict::Unknown;
        let observation = Observation {
            domain: HostName::from("contoso.edu"),
            verdict,
            reasons: Vec::new(),
            at: Self::wall_clock(self.now + self.wall),
            zone: None,
            answers: Vec::new(),
            other_ttl: bad.then_some(u32::try_from(self.ttl * 60).unwrap()),
            advice: Vec::new(),
        };
        self.truth.blind = verdict == Verdict::Unknown;
        if verdict != Verdict::Unknown {
            self.truth.looks.push((self.now, !bad, if bad { self.ttl } else { 0 }));
        }
        let observed = self.stamp();
        let rules = Self::rules();
        // As it is read back from the ledger.
        let mut course: Course = serde_json::from_str(&serde_json::to_string(&self.course).unwrap()).unwrap();
        course.observe(&observation, observed.steady, &rules);
        let Clock { since, confirmed_at, reason, .. } = course.read(observed, &rules);
        self.course = course;
        let before = self.cutover.as_ref().is_some_and(|cutover| cutover.confirmed.is_some());
        if before != confirmed_at.is_some() {
            self.tell(|| format!("{verdict}: confirmed {confirmed_at:?}, {reason}"));
        }
        self.cutover = Some(Cutover {
            domain: "contoso.edu".into(),
            verdict,
            observed,
            changed: observed.at,
            since,
            confirmed: confirmed_at,
            due: None,
            reason: String::new(),
        });
    }

    fn facts(&self, now: Moment) -> Facts {
        let cutover = self.cutover.as_ref();
        Facts {
            batch: "A".into(),
            domains: vec![DomainFacts {
                domain: "contoso.edu".into(),
                verdict: cutover.map(|cutover| cutover.verdict.to_string()),
                since: cutover.and_then(|cutover| cutover.since),
                confirmed: cutover.and_then(|cutover| cutover.confirmed_at(now, &Self::rules())),
                due: None,
                observed: None,
            }],
            mailboxes: vec![MailboxFacts {
                address: "ann@contoso.edu".into(),
                domain: "contoso.edu".into(),
                moved: Moved::Switched,
                last_synced: self.synced,
                pending: 0,
                skipped: 0,
                last_straggler: self.record.loud(),
            }],
            quiet: SignedDuration::from_mins(QUIET),
        }
    }

    fn pass(&mut self) {
        let (now, _) = self.moment();
        match self.passing {
            None => {
                let wanted = self.synced.is_none() || unread(&self.facts(now), now).next().is_some();
                if wanted || self.now >= self.pass_at {
                    self.pass_at = self.now + DAY;
                    self.passing = Some((self.now, self.now + self.dice.between(0, 90), now));
                }
            }
            Some((began, ends, moment)) if ends <= self.now => {
                self.passing = None;
                if self.weather.failures > 0 && self.dice.once_in(3) {
                    self.pass_at = self.now + self.dice.between(STEP, 4 * HOUR);
                    return;
                }
                self.sees(began);
                self.stamp();
                self.synced = Some(moment);
                self.truth.pass = Some(began);
            }
            Some(_) => {}
        }
    }

    /// A pass sees what came before it began, and perhaps what came meanwhile.
    fn sees(&mut self, began: i64) {
        let until = if self.dice.once_in(2) { began } else { self.now };
        let fresh: Vec<i64> =
            self.truth.arrivals[self.seen..].iter().copied().filter(|arrived| *arrived < until).collect();
        self.seen += fresh.len();
        let cutover = self.cutover.as_ref().filter(|cutover| cutover.since.is_some());
        let Some(confirmed) = cutover.map(|cutover| cutover.confirmed) else { return };
        for arrived in fresh {
            let seen = self.stamp();
            let arrived = Self::wall_clock(arrived + self.source);
            let counts = |confirmed: Moment| Rule::of(self.synced, confirmed).counts(arrived, confirmed.at);
            if confirmed.is_some_and(counts) {
                self.record.last = Some(seen);
            } else {
                self.record.unsure = Some(seen);
            }
        }
    }

    /// Lives through the schedule; returns when the gate first opened, or why it must not have been open.
    fn live(&mut self) -> Result<Option<i64>, String> {
        let mut opened = None;
        while self.now < END {
            self.step();
            if self.now < self.idle_until {
                continue;
            }
            if self.now >= self.look_at {
                self.look();
            }
            self.strike();
            if self.now >= self.strike_until {
                self.pass();
            }
            if self.cutover.as_ref().is_none_or(|cutover| cutover.confirmed.is_none()) {
                continue;
            }
            let (now, _) = self.moment();
            if judge(&self.facts(now), now).open {
                if opened.is_none() {
                    self.tell(|| "the gate is open".into());
                }
                opened.get_or_insert(self.now);
                self.truth.allows(self.now).map_err(|why| format!("open at {}, but {why}", self.now))?;
            }
        }
        Ok(opened)
    }
}

#[test]
fn it_never_opens_before_its_conditions_held_in_truth() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("MAILFERRY_SCHEDULE") {
        let mut world = World::new(seed);
        let outcome = world.live();
        println!("{}{outcome:?}", world.story.unwrap_or_default());
        return assert!(outcome.is_ok());
    }
    let schedules = number("MAILFERRY_SCHEDULES").unwrap_or(300);
    let mut opened = 0;
    for seed in 0..schedules {
        match World::new(seed).live() {
            Ok(at) => opened += u64::from(at.is_some()),
            Err(why) => panic!("schedule {seed}: {why} (MAILFERRY_SCHEDULE={seed} tells its story)"),
        }
    }
    println!("{schedules} schedules, the gate opened in {opened}");
    assert!(opened > schedules / 5, "a gate that never opens proves nothing: {opened} of {schedules}");
}

#[test]
fn it_opens_as_soon_as_it_may_when_nothing_goes_wrong() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.weather = Weather {
            flips: 0,
            lies: 0,
            silence: 0,
            kills: 0,
            offs: 0,
            sleeps: 0,
            steps: 0,
            stalls: 0,
            stragglers: 0,
            failures: 0,
            strikes: 0,
        };
        let due = world.wrong_until + WAIT.max(world.ttl) + QUIET;
        let opened = world.live().unwrap().unwrap();
        assert!((due..due + 4 * HOUR).contains(&opened), "schedule {seed}: open at {opened}, due at {due}");
    }
}
