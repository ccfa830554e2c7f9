//! The host as a whole: its clock, what is coming, and the loop that jumps from one event to the next.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use app_monitor::judge::{
    Clocks, Event, EventKind, JobId, JobResult, Moment, Policy, Step, Subject, Target, UnitReading,
};

use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::luck::Deed;
use crate::monitor::{Monitor, Work};
use crate::ordeal::Ordeal;
use crate::surroundings::Surroundings;
use crate::systemd::{Timer, Unit};

/// Index of a unit.
pub type U = usize;
/// Index of a member: whoever is judged.
pub type M = usize;

pub fn seconds(length: u64) -> Duration {
    Duration::from_secs(length)
}

pub fn millis(length: u64) -> Duration {
    Duration::from_millis(length)
}

/// Whoever is judged.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: Subject,
    pub policy: Policy,
    pub target: Target,
    pub unit: U,
}

/// What systemd tells everybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    Changed,
    JobNew(JobId),
    JobRemoved(JobId, JobResult),
}

/// What is going to happen.
#[derive(Clone, Debug)]
pub enum Coming {
    /// In systemd, unless the unit went on since.
    Timer(U, u64, Timer),
    /// A signal reaches the monitor of that generation.
    Signal(u64, U, Signal),
    /// systemd looks at the unit for that monitor.
    Look(u64, M, Moment),
    /// What it saw then (absolute) reaches the monitor.
    Reading(u64, M, i64, Box<UnitReading>),
    /// An event reaches the monitor.
    Deliver(u64, M, Box<Event>),
    /// Something about a step of that monitor is due.
    Work(u64, M, u64, Work),
    /// The monitor is started (again).
    MonitorStarts,
    /// What the monitor may do is looked at.
    Proof,
    /// Somebody does something, or a fault is over.
    Deed(Deed),
}

/// What happened, for people who look for the reason.
#[derive(Clone, Debug)]
pub enum Trace {
    Deed(String),
    Act(Subject, u64, Step),
    Unit(U, &'static str),
    Job(U, &'static str, JobId),
    Ended(U, JobId, JobResult),
    Told(Subject, EventKind, String),
    Monitor(&'static str),
    Outcome(Subject, String),
}

pub struct World {
    pub now: Moment,
    /// Microseconds of the boots before this one.
    pub before: i64,
    pub boot: u32,
    /// What the wall clock is off by, in seconds.
    pub wall_off: i64,
    pub chance: Chance,
    pub units: Vec<Unit>,
    pub members: Vec<Member>,
    pub max_parallel: u32,
    pub around: Surroundings,
    pub monitor: Monitor,
    pub ledger: Ledger,
    pub jobs: u32,
    pub invocations: u64,
    pub coming: BTreeMap<(Moment, u64), Coming>,
    pub sequence: u64,
    pub trace: VecDeque<(i64, Trace)>,
    /// So much of it is kept.
    trace_lines: usize,
    /// How often the judge was called.
    pub turns: u64,
    ticks: (i64, u32),
    /// When something happened last (absolute).
    pub stirred: i64,
    /// What nothing cures, while somebody suffers it.
    pub ordeal: Option<Ordeal>,
    /// The first thing that must not be, with what led to it.
    pub violation: Option<String>,
    /// Microseconds that were waited out at the pace of real events.
    pub lived: i64,
}

impl World {
    pub fn new(
        chance: Chance,
        members: Vec<Member>,
        units: Vec<Unit>,
        max_parallel: u32,
        around: Surroundings,
    ) -> Self {
        let now = Moment::from_micros(1_000_000_000);
        let ledger = Ledger::new(members.len());
        Self {
            now,
            before: 0,
            boot: 1,
            wall_off: 0,
            chance,
            units,
            max_parallel,
            around,
            monitor: Monitor::new(members.len(), now),
            members,
            ledger,
            jobs: 100,
            invocations: 1,
            coming: BTreeMap::new(),
            sequence: 0,
            trace: VecDeque::new(),
            trace_lines: crate::given("APP_MONITOR_SIMULATION_TRACE").map_or(30, |lines| lines as usize),
            turns: 0,
            ticks: (0, 0),
            stirred: 0,
            ordeal: None,
            violation: None,
            lived: 0,
        }
    }

    /// Microseconds since the beginning, over all boots.
    pub fn absolute(&self) -> i64 {
        self.before + self.now.as_micros()
    }

    pub fn clocks(&self) -> Clocks {
        let wall = 1_700_000_000 + self.absolute() / 1_000_000 + self.wall_off;
        Clocks { boot: format!("boot {}", self.boot), monotonic: self.now, wall }
    }

    pub fn later(&mut self, length: Duration, coming: Coming) {
        self.at(self.now + length, coming);
    }

    pub fn at(&mut self, moment: Moment, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((moment, self.sequence), coming);
    }

    pub fn note(&mut self, trace: Trace) {
        if self.trace.len() >= self.trace_lines {
            self.trace.pop_front();
        }
        self.trace.push_back((self.absolute(), trace));
    }

    /// Something that must not be. The first one counts.
    pub fn violated(&mut self, invariant: &str, what: &str) {
        if self.violation.is_none() {
            let mut text = format!("{invariant}: {what}\n");
            for (at, trace) in &self.trace {
                text += &format!("  {}  {}\n", stamp(*at), self.told(trace));
            }
            text += &format!("  {}  here", stamp(self.absolute()));
            if crate::given("APP_MONITOR_SIMULATION_BOOKS").is_some() {
                for (member, known) in self.members.iter().zip(&self.ledger.members) {
                    text += &format!("\n{} {:?} {:?}: {known:?}", member.name, member.target, member.policy);
                }
            }
            self.violation = Some(text);
        }
    }

    fn told(&self, trace: &Trace) -> String {
        match trace {
            Trace::Deed(what) => format!("-- {what}"),
            Trace::Act(name, act, step) => format!("{name}: acts ({act}): {step}"),
            Trace::Unit(unit, state) => format!("{} is {state}", self.units[*unit].name),
            Trace::Job(unit, kind, id) => format!("{}: {kind} job {}", self.units[*unit].name, id.0),
            Trace::Ended(unit, id, result) => {
                format!("{}: job {} {result:?}", self.units[*unit].name, id.0)
            }
            Trace::Told(name, event, text) => format!("{name}: {event}: {text}"),
            Trace::Monitor(what) => format!("monitor {what}"),
            Trace::Outcome(name, what) => format!("{name}: step ended: {what}"),
        }
    }

    /// Lets time pass, from event to event.
    pub fn run_for(&mut self, length: Duration) {
        let until = self.now + length;
        let boot = self.boot;
        while self.violation.is_none() {
            let next = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.monitor.wake_at();
            let Some(at) = [next, wake].into_iter().flatten().min().filter(|at| *at <= until) else { break };
            self.pass_to(at.max(self.now));
            if next.is_some_and(|next| next <= self.now) {
                if let Some((_, coming)) = self.coming.pop_first() {
                    self.happen(coming);
                }
                if self.boot != boot {
                    // The clock began anew; what is left of the wait is waited by the new one.
                    return;
                }
            } else {
                self.tick();
            }
            self.turns += 1;
        }
        if self.violation.is_none() {
            self.pass_to(until.max(self.now));
        }
    }

    fn pass_to(&mut self, moment: Moment) {
        self.lived += moment.as_micros() - self.now.as_micros();
        self.now = moment;
    }

    /// The loop of the daemon turns because something is due. The watchdog is kicked at each turn, so
    /// the loop must neither spin nor sleep for ever.
    fn tick(&mut self) {
        self.drive(|host, now| host.tick(now));
        let Some(wake) = self.monitor.wake_at() else { return };
        if wake <= self.now {
            self.violated("the watchdog is kicked in time", "it wakes again at the very same moment");
        }
        if wake.since(self.now) > seconds(61) {
            self.violated("the watchdog is kicked in time", "it sleeps for more than a minute");
        }
        let second = self.absolute() / 1_000_000;
        if self.ticks.0 != second {
            self.ticks = (second, 0);
        }
        self.ticks.1 += 1;
        if self.ticks.1 > 60 * u32::try_from(self.members.len()).unwrap() {
            self.violated("the watchdog is kicked in time", "it wakes without end");
        }
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Timer(unit, epoch, timer) => self.timer(unit, epoch, timer),
            Coming::Signal(generation, unit, signal) => self.take_signal(generation, unit, signal),
            Coming::Look(generation, member, begun) => self.look_at_unit(generation, member, begun),
            Coming::Reading(generation, member, looked, seen) => {
                self.take_reading(generation, member, looked, seen);
            }
            Coming::Deliver(generation, member, event) => self.deliver(generation, member, *event),
            Coming::Work(generation, member, serial, work) => self.work(generation, member, serial, work),
            Coming::MonitorStarts => self.start_monitor(),
            Coming::Proof => self.prove(),
            Coming::Deed(deed) => self.carry_out_deed(deed),
        }
    }
}

fn stamp(at: i64) -> impl fmt::Display {
    let (second, micro) = (at / 1_000_000, at % 1_000_000);
    format!("{:>8}.{micro:06}", second)
}
