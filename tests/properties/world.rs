//! A host in miniature: one unit under systemd, an app in it, and somebody who breaks it. Time is
//! simulated; the judge is the real one.

use std::collections::BTreeMap;
use std::time::Duration;

use app_monitor::judge::{
    ActId, ActiveState, Address, AppMemory, CheckKind, Clocks, Effect, Effects, Event, EventKind, Exit,
    Fault, Host, HttpTarget, InvocationId, JobId, JobResult, Memory, Moment, Observation, Outcome, Policy,
    Record, RoundId, Step, Subject, Target, UnitReading,
};
use proptest::test_runner::{Config, RngSeed};

/// So many cases, the same in each run, so that a change is judged by what it changed. Whoever sets
/// PROPTEST_CASES looks for new ones.
pub fn cases(number: u32) -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return config;
    }
    Config { cases: number, rng_seed: RngSeed::Fixed(1), ..config }
}

/// How the app answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 200 after that many milliseconds.
    Well(u64),
    /// Not at all.
    Hang,
    /// 500 at once.
    Wrong,
    /// Nobody listens.
    Refused,
    /// The check cannot be made.
    Blind,
}

/// What was asked of systemd, and when.
pub type Acts = Vec<(Moment, Step)>;

#[derive(Clone, Debug)]
enum Coming {
    Deliver(Event),
    Reading,
    StepHalf(ActId, Step, JobId),
    StepEnd(ActId, Step, JobId),
}

pub struct World {
    pub now: Moment,
    pub host: Host,
    pub name: Subject,
    pub policy: Policy,
    pub target: Target,
    pub unit: UnitReading,
    pub answer: Answer,
    /// How the app answers after each start, for so long; then `answer` counts.
    pub start_takes: Duration,
    /// Every start ends like that instead.
    pub broken: Option<Answer>,
    /// It exits right after every start.
    pub dies: bool,
    /// A condition of its unit is not met: a start is `done` and changes nothing.
    pub condition_fails: bool,
    /// So many readings are asked for and never come.
    pub lose_readings: u32,
    /// How often the judge was called.
    pub turns: u64,
    pub acts: Acts,
    pub records: Vec<(Moment, Record)>,
    pub persisted: AppMemory,
    coming: BTreeMap<(Moment, u64), Coming>,
    sequence: u64,
    invocation: u8,
    job: u32,
    up_since: Moment,
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl World {
    /// An app that has run for long, and was good before.
    pub fn new(policy: Policy) -> Self {
        let name: Subject = "web".parse().unwrap();
        let target = Target {
            port: Some(3000),
            address: Address::Localhost,
            http: Some(HttpTarget::get("http://localhost:3000/health", policy.timeout)),
            min_processes: 1,
            process: None,
            ..Target::of_unit("web.service".parse().unwrap())
        };
        let now = Moment::from_micros(1_000_000_000);
        let up_since = now - seconds(900);
        let mut world = Self {
            now,
            host: Host::new([], 1, Memory::default(), false, now),
            name,
            policy,
            target,
            unit: running(1, up_since),
            answer: Answer::Well(20),
            start_takes: millis(200),
            broken: None,
            dies: false,
            condition_fails: false,
            lose_readings: 0,
            turns: 0,
            acts: Vec::new(),
            records: Vec::new(),
            persisted: AppMemory::default(),
            coming: BTreeMap::new(),
            sequence: 0,
            invocation: 1,
            job: 100,
            up_since,
        };
        world.persisted.ever_good =
            world.target.kinds().iter().map(|kind| world.target.signature(*kind)).collect();
        world.boot_monitor();
        world
    }

    /// (Re)starts the monitor with what was persisted.
    pub fn boot_monitor(&mut self) {
        let memory = Memory {
            apps: BTreeMap::from([(self.name.clone(), self.persisted.clone())]),
            clocks: Clocks::default(),
            ..Memory::default()
        };
        let app = (self.name.clone(), self.policy.clone(), self.target.clone());
        self.host = Host::new([app], 1, memory, false, self.now);
        // What the old monitor was waiting for never arrives; what systemd was told goes on.
        self.coming.retain(|_, coming| matches!(coming, Coming::StepHalf(..) | Coming::StepEnd(..)));
        self.send(Event::SignalsLost);
    }

    /// Forgets that the checks were ever good.
    pub fn forget_good(&mut self) {
        self.persisted.ever_good.clear();
        self.boot_monitor();
    }

    pub fn send(&mut self, event: Event) {
        let name = self.name.clone();
        let effects = self.host.handle(self.now, &name, event);
        self.carry_out(effects);
    }

    /// Lets time pass up to there.
    pub fn run_for(&mut self, length: Duration) {
        let until = self.now + length;
        let mut turns = 0_u64;
        loop {
            let next = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.host.wake_at();
            let Some(at) = [next, wake].into_iter().flatten().min().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            if next.is_some_and(|next| next <= self.now) {
                if let Some((_, coming)) = self.coming.pop_first() {
                    self.happen(coming);
                }
            } else {
                let effects = self.host.tick(self.now);
                self.carry_out(effects);
            }
            turns += 1;
            self.turns += 1;
            assert!(turns < 2_000_000, "the judge wakes without end at {:?}", self.now);
        }
        self.now = until;
    }

    /// Until that verdict, at most so long. Returns when.
    pub fn run_until(&mut self, most: Duration, what: impl Fn(&Self) -> bool) -> Option<Moment> {
        let until = self.now + most;
        while self.now < until {
            if what(self) {
                return Some(self.now);
            }
            self.run_for(millis(10));
        }
        what(self).then_some(self.now)
    }

    pub fn verdict(&self) -> &'static str {
        self.host.app(&self.name).unwrap().view(self.now).verdict.word()
    }

    pub fn conditions(&self) -> Vec<String> {
        let view = self.host.app(&self.name).unwrap().view(self.now);
        view.conditions.into_iter().map(|condition| condition.condition).collect()
    }

    pub fn told(&self, event: EventKind) -> usize {
        self.records.iter().filter(|(_, record)| record.event == event).count()
    }

    pub fn alerts(&self, event: EventKind) -> usize {
        self.records.iter().filter(|(_, record)| record.event == event && record.alert).count()
    }

    fn later(&mut self, length: Duration, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((self.now + length, self.sequence), coming);
    }

    fn carry_out(&mut self, effects: Effects) {
        for (name, effect) in effects {
            match effect {
                Effect::ReadUnit if self.lose_readings > 0 => self.lose_readings -= 1,
                Effect::ReadUnit => self.later(millis(2), Coming::Reading),
                Effect::Check(round, kinds) => self.check(round, &kinds),
                Effect::Persist => self.persisted = self.host.app(&name).unwrap().memory(),
                Effect::Perform(act, step) => self.perform(act, step),
                Effect::GatherEvidence | Effect::Hook(_) => {}
                Effect::Record(record) => self.records.push((self.now, record)),
            }
        }
    }

    fn happen(&mut self, coming: Coming) {
        match coming {
            Coming::Deliver(event) => self.send(event),
            Coming::Reading => self.send(Event::Unit(Box::new(self.unit.clone()))),
            Coming::StepHalf(act, step, job) => {
                self.go_down(ActiveState::Inactive, Exit::Signal(15), true);
                self.unit.job = Some(job);
                self.later(millis(5), Coming::StepEnd(act, step, job));
            }
            Coming::StepEnd(act, step, job) => {
                self.unit.job = None;
                match step {
                    Step::Restart { .. } | Step::Start => self.come_up(),
                    Step::Stop { .. } => self.go_down(ActiveState::Inactive, Exit::Signal(15), true),
                    _ => {}
                }
                self.send(Event::JobRemoved(job, JobResult::Done));
                self.send(Event::StepEnded(act, Outcome::Done));
                self.changed();
            }
        }
    }

    /// systemd tells that something changed.
    pub fn changed(&mut self) {
        self.later(millis(3), Coming::Deliver(Event::Changed));
    }

    fn answering(&self) -> Answer {
        if self.now.since(self.up_since) < self.start_takes {
            return Answer::Refused;
        }
        self.broken.unwrap_or(self.answer)
    }

    fn check(&mut self, round: RoundId, kinds: &[CheckKind]) {
        for kind in kinds {
            let up = self.unit.active == ActiveState::Active;
            let answer = if up { self.answering() } else { Answer::Refused };
            let (after, seen) = match (kind, answer) {
                (_, Answer::Blind) => (millis(1), Observation::unknown("blind")),
                (CheckKind::Processes, _) if up => (millis(1), Observation::good("1 process")),
                (CheckKind::Processes, _) => (millis(1), Observation::unknown("down")),
                (CheckKind::Port, Answer::Refused) => {
                    (millis(1), Observation::bad(Fault::NotListening, "nobody listens"))
                }
                (CheckKind::Port, _) => (millis(1), Observation::good("listens")),
                (CheckKind::Http, Answer::Well(took)) => {
                    (millis(took), Observation::good("answers 200").took(millis(took)))
                }
                (CheckKind::Http, Answer::Hang) => {
                    (self.policy.timeout, Observation::bad(Fault::Unanswered, "timed out"))
                }
                (CheckKind::Http, Answer::Wrong) => {
                    (millis(5), Observation::bad(Fault::WrongAnswer, "answers 500"))
                }
                (CheckKind::Http, Answer::Refused) => {
                    (millis(1), Observation::bad(Fault::Refused, "refused"))
                }
                _ => (millis(1), Observation::unknown("not modelled")),
            };
            self.later(after, Coming::Deliver(Event::Check(round, *kind, seen)));
        }
    }

    fn perform(&mut self, act: ActId, step: Step) {
        self.acts.push((self.now, step.clone()));
        if matches!(step, Step::ResetFailed | Step::KillLeftovers) {
            self.unit.active = ActiveState::Inactive;
            self.later(millis(2), Coming::Deliver(Event::StepEnded(act, Outcome::Done)));
            return;
        }
        self.job += 1;
        let job = JobId(self.job);
        self.unit.job = Some(job);
        self.later(millis(1), Coming::Deliver(Event::JobNew(job)));
        self.later(millis(2), Coming::Deliver(Event::StepQueued(act, job)));
        match step {
            Step::Restart { kill_after } => {
                let stop = if self.answering() == Answer::Hang { kill_after } else { millis(20) };
                self.later(stop, Coming::StepHalf(act, step, job));
            }
            _ => self.later(millis(10), Coming::StepEnd(act, step, job)),
        }
    }

    fn come_up(&mut self) {
        self.unit.condition_failed = self.condition_fails;
        if self.condition_fails {
            return;
        }
        self.invocation = self.invocation.wrapping_add(1).max(1);
        let restarts = self.unit.restarts;
        let restart = self.unit.restart.clone();
        let dependencies = std::mem::take(&mut self.unit.dependencies);
        self.unit = UnitReading { restarts, restart, dependencies, ..running(self.invocation, self.now) };
        self.up_since = self.now;
        if self.dies {
            self.go_down(ActiveState::Failed, Exit::Status(1), false);
        }
    }

    fn go_down(&mut self, state: ActiveState, exit: Exit, by_job: bool) {
        if self.unit.active.is_down() {
            return;
        }
        let (left, exited) =
            if by_job { (self.now - millis(2), self.now - millis(1)) } else { (self.now, self.now) };
        self.unit.active = state;
        self.unit.sub = if state == ActiveState::Failed { "failed".into() } else { "dead".into() };
        self.unit.result = if state == ActiveState::Failed { "exit-code".into() } else { "success".into() };
        self.unit.active_exit = Some(left);
        self.unit.main_exit = Some(exited);
        self.unit.exit = Some(exit);
        self.unit.main_pid = None;
        self.unit.control_group = None;
    }

    /// The app falls.
    pub fn crash(&mut self) {
        self.go_down(ActiveState::Failed, Exit::Status(1), false);
        self.changed();
    }

    fn foreign_job(&mut self) {
        self.job += 1;
        let job = JobId(self.job);
        self.send(Event::JobNew(job));
        self.send(Event::JobRemoved(job, JobResult::Done));
    }

    /// Somebody stops the app. `systemctl stop` replaces whatever job of ours is pending.
    pub fn admin_stop(&mut self) {
        let (ours, rest) = std::mem::take(&mut self.coming)
            .into_iter()
            .partition(|(_, coming)| matches!(coming, Coming::StepHalf(..) | Coming::StepEnd(..)));
        self.coming = rest;
        self.go_down(ActiveState::Inactive, Exit::Signal(15), true);
        let ours: std::collections::BTreeMap<_, Coming> = ours;
        for coming in ours.into_values() {
            if let Coming::StepHalf(act, _, job) | Coming::StepEnd(act, _, job) = coming {
                self.unit.job = None;
                self.send(Event::JobRemoved(job, JobResult::Canceled));
                self.send(Event::StepEnded(act, Outcome::Canceled));
            }
        }
        self.foreign_job();
        self.changed();
    }

    /// Somebody starts it.
    pub fn admin_start(&mut self) {
        if self.unit.active.is_down() {
            self.come_up();
        }
        self.foreign_job();
        self.changed();
    }

    /// Somebody restarts it.
    pub fn admin_restart(&mut self) {
        self.go_down(ActiveState::Inactive, Exit::Signal(15), true);
        self.come_up();
        self.foreign_job();
        self.changed();
    }
}

pub fn running(invocation: u8, since: Moment) -> UnitReading {
    UnitReading::running(InvocationId([invocation; 16]), 1000 + u32::from(invocation), since)
}
