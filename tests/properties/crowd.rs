//! Three apps on one host with one slot, and everything that can go wrong in the middle of a
//! recovery: somebody else's jobs, every outcome of a step, masked units, reloads, reboots.

use std::collections::BTreeMap;
use std::time::Duration;

use app_monitor::judge::{
    ActId, ActiveState, Address, CheckKind, Clocks, Effect, Effects, Event, EventKind, Exit, Fault, Host,
    HttpTarget, JobId, JobResult, LoadState, Memory, Moment, Observation, Outcome, Policy, Record, RoundId,
    Step, Subject, Target, UnitReading, Verdict,
};
use proptest::prelude::*;

use crate::world::{Answer, cases, millis, running, seconds};

const APPS: usize = 3;

/// How the steps of an app's recovery end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Done,
    Refused,
    Conflict,
    TimedOut,
    Failed,
    Unknown,
}

#[derive(Clone, Debug)]
enum Coming {
    Deliver(Event),
    Reading,
    /// The stop half of that job is through.
    Half(JobId),
    /// The job is through.
    End(JobId),
    /// The step ends so, though no job was carried out.
    Report(ActId, Outcome),
}

/// A job of ours.
struct Job {
    id: JobId,
    step: Step,
    /// Whom its end is told; nobody where the monitor of then is gone or was told something else.
    act: Option<ActId>,
}

struct App {
    name: Subject,
    target: Target,
    unit: UnitReading,
    answer: Answer,
    /// A start does not mend it.
    broken: bool,
    fate: Fate,
    job: Option<Job>,
    /// A step that was asked for and has not ended.
    acting: bool,
    /// Somebody stopped it, then.
    stopped: Option<i64>,
    /// It was down already, and a call of ours was under way.
    stopped_while_acting: bool,
    masked: Option<i64>,
    records: Vec<(i64, Record)>,
}

struct Crowd {
    now: Moment,
    /// Microseconds of the boots before this one.
    before: i64,
    boot: u32,
    policy: Policy,
    host: Host,
    apps: Vec<App>,
    kept: Memory,
    coming: BTreeMap<(Moment, u64), (usize, Coming)>,
    sequence: u64,
    invocation: u8,
    jobs: u32,
    turns: u64,
    acts: Vec<(i64, usize, Step)>,
}

impl Crowd {
    fn new() -> Self {
        let now = Moment::from_micros(1_000_000_000);
        let policy = Policy::default();
        let timeout = policy.timeout;
        let apps = (0..APPS).map(|number| {
            let http = HttpTarget::get(format!("http://localhost:{}/", 3000 + number), timeout);
            App {
                name: format!("app{number}").parse().unwrap(),
                target: Target {
                    port: None,
                    address: Address::Localhost,
                    http: Some(http),
                    min_processes: 0,
                    process: None,
                    ..Target::of_unit(format!("app{number}.service").parse().unwrap())
                },
                unit: running(1, now - seconds(900)),
                answer: Answer::Well(20),
                broken: false,
                fate: Fate::Done,
                job: None,
                acting: false,
                stopped: None,
                stopped_while_acting: false,
                masked: None,
                records: Vec::new(),
            }
        });
        let mut crowd = Self {
            now,
            before: 0,
            boot: 0,
            policy,
            host: Host::new([], 1, Memory::default(), false, now),
            apps: apps.collect(),
            kept: Memory::default(),
            coming: BTreeMap::new(),
            sequence: 0,
            invocation: 1,
            jobs: 100,
            turns: 0,
            acts: Vec::new(),
        };
        crowd.start_monitor();
        crowd.run_for(seconds(60));
        crowd
    }

    fn clocks(&self) -> Clocks {
        let wall = 1_700_000_000 + self.absolute() / 1_000_000;
        Clocks { boot: format!("boot {}", self.boot), monotonic: self.now, wall }
    }

    /// Microseconds since the beginning, over all boots.
    fn absolute(&self) -> i64 {
        self.before + self.now.as_micros()
    }

    fn configured(&self) -> Vec<(Subject, Policy, Target)> {
        let app = |app: &App| (app.name.clone(), self.policy.clone(), app.target.clone());
        self.apps.iter().map(app).collect()
    }

    /// What the old monitor waited for never arrives; what systemd was told goes on.
    fn start_monitor(&mut self) {
        self.coming.retain(|_, (_, coming)| matches!(coming, Coming::Half(_) | Coming::End(_)));
        for app in &mut self.apps {
            app.acting = false;
            if let Some(job) = &mut app.job {
                job.act = None;
            }
        }
        let memory = self.kept.clone().at(&self.clocks());
        self.host = Host::new(self.configured(), 1, memory, false, self.now);
        let effects = self.host.handle_all(self.now, &Event::SignalsLost);
        self.carry_out(effects);
    }

    fn reload(&mut self) {
        self.policy.check_interval = seconds(21) - self.policy.check_interval;
        self.host.configure(self.configured(), 1, false, self.now);
        let effects = self.host.handle_all(self.now, &Event::Changed);
        self.carry_out(effects);
    }

    fn reboot(&mut self) {
        self.before += self.now.as_micros() + 30_000_000;
        self.boot += 1;
        self.now = Moment::from_micros(20_000_000);
        self.coming.clear();
        self.invocation = self.invocation.wrapping_add(1).max(1);
        for app in &mut self.apps {
            let load = app.unit.load;
            app.unit = UnitReading { load, ..running(self.invocation, self.now - seconds(5)) };
            app.job = None;
            app.stopped = None;
        }
        self.start_monitor();
    }

    fn send(&mut self, app: usize, event: Event) {
        let name = self.apps[app].name.clone();
        let effects = self.host.handle(self.now, &name, event);
        self.carry_out(effects);
    }

    fn later(&mut self, app: usize, length: Duration, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((self.now + length, self.sequence), (app, coming));
    }

    fn run_for(&mut self, length: Duration) {
        let until = self.now + length;
        let most = self.turns + 5_000 + 60 * length.as_secs();
        loop {
            let next = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.host.wake_at();
            let Some(at) = [next, wake].into_iter().flatten().min().filter(|at| *at <= until) else { break };
            self.now = at.max(self.now);
            if next.is_some_and(|next| next <= self.now) {
                if let Some((_, (app, coming))) = self.coming.pop_first() {
                    self.happen(app, coming);
                }
            } else {
                let effects = self.host.tick(self.now);
                self.carry_out(effects);
                assert!(self.host.wake_at() > Some(self.now), "it wakes again at once");
            }
            self.turns += 1;
            assert!(self.turns < most, "it wakes without end at {:?}", self.now);
        }
        self.now = until;
    }

    fn carry_out(&mut self, effects: Effects) {
        for (name, effect) in effects {
            let app = self.apps.iter().position(|app| app.name == name).unwrap();
            match effect {
                Effect::ReadUnit => self.later(app, millis(2), Coming::Reading),
                Effect::Check(round, kinds) => self.check(app, round, &kinds),
                Effect::Persist => self.kept = self.host.memory(self.clocks()),
                Effect::Perform(act, step) => self.perform(app, act, step),
                Effect::GatherEvidence | Effect::Hook(_) => {}
                Effect::Record(record) => {
                    let at = self.absolute();
                    self.apps[app].records.push((at, record));
                }
            }
        }
    }

    fn check(&mut self, app: usize, round: RoundId, kinds: &[CheckKind]) {
        for kind in kinds {
            let sim = &self.apps[app];
            let answer = if sim.unit.active == ActiveState::Active { sim.answer } else { Answer::Refused };
            let (after, seen) = match answer {
                Answer::Well(took) => (millis(took), Observation::good("200").took(millis(took))),
                Answer::Hang => (self.policy.timeout, Observation::bad(Fault::Unanswered, "timed out")),
                Answer::Wrong => (millis(5), Observation::bad(Fault::WrongAnswer, "answers 500")),
                Answer::Refused => (millis(1), Observation::bad(Fault::Refused, "refused")),
                Answer::Blind => (millis(1), Observation::unknown("blind")),
            };
            self.later(app, after, Coming::Deliver(Event::Check(round, *kind, seen)));
        }
    }

    fn perform(&mut self, app: usize, act: ActId, step: Step) {
        let at = self.absolute();
        let others = self.apps.iter().enumerate().filter(|(other, sim)| *other != app && sim.acting).count();
        assert_eq!(others, 0, "{step} of app{app} while another acts");
        self.acts.push((at, app, step.clone()));
        let sim = &mut self.apps[app];
        // A call that queues no job holds nobody up when somebody else's decision ends the recovery.
        sim.acting = !matches!(step, Step::ResetFailed | Step::KillLeftovers);
        let masked = sim.unit.load == LoadState::Masked;
        let refused = match sim.fate {
            _ if masked => Some((millis(3), Outcome::Failed("the unit is masked".into()))),
            Fate::Refused => Some((millis(3), Outcome::Refused("no".into()))),
            Fate::Conflict => Some((millis(3), Outcome::Conflict("a stop is pending".into()))),
            Fate::TimedOut => Some((seconds(5), Outcome::TimedOut("still pending".into()))),
            _ if matches!(step, Step::ResetFailed | Step::KillLeftovers) => {
                sim.unit.active = ActiveState::Inactive;
                Some((millis(2), Outcome::Done))
            }
            _ => None,
        };
        if let Some((after, outcome)) = refused {
            self.later(app, after, Coming::Report(act, outcome));
            return;
        }
        if let Some(job) = &mut sim.job {
            // It merges.
            job.act = Some(act);
            return;
        }
        self.jobs += 1;
        let id = JobId(self.jobs);
        sim.unit.job = Some(id);
        let unknown = sim.fate == Fate::Unknown;
        sim.job = Some(Job { id, step: step.clone(), act: (!unknown).then_some(act) });
        self.later(app, millis(1), Coming::Deliver(Event::JobNew(id)));
        if unknown {
            self.later(app, millis(2), Coming::Report(act, Outcome::Unknown("no answer".into())));
        } else {
            self.later(app, millis(2), Coming::Deliver(Event::StepQueued(act, id)));
        }
        match step {
            Step::Restart { .. } => self.later(app, millis(1_500), Coming::Half(id)),
            _ => self.later(app, millis(700), Coming::End(id)),
        }
    }

    fn happen(&mut self, app: usize, coming: Coming) {
        match coming {
            Coming::Deliver(event) => self.send(app, event),
            Coming::Reading => {
                let unit = self.apps[app].unit.clone();
                self.send(app, Event::Unit(Box::new(unit)));
            }
            Coming::Report(act, outcome) => {
                self.apps[app].acting = false;
                self.send(app, Event::StepEnded(act, outcome));
            }
            Coming::Half(id) => {
                if self.apps[app].job.as_ref().is_some_and(|job| job.id == id) {
                    self.go_down(app, ActiveState::Inactive, true);
                    self.apps[app].unit.job = Some(id);
                    self.later(app, millis(300), Coming::End(id));
                }
            }
            Coming::End(id) => {
                let Some(job) = self.apps[app].job.take_if(|job| job.id == id) else { return };
                self.apps[app].unit.job = None;
                let failed = self.apps[app].fate == Fate::Failed;
                match job.step {
                    Step::Stop { .. } => self.go_down(app, ActiveState::Inactive, true),
                    _ if failed => {
                        self.come_up(app);
                        self.go_down(app, ActiveState::Failed, false);
                    }
                    _ => self.come_up(app),
                }
                let result = if failed { JobResult::Failed } else { JobResult::Done };
                self.send(app, Event::JobRemoved(id, result));
                if let Some(act) = job.act {
                    self.apps[app].acting = false;
                    let outcome = if failed { Outcome::Failed("exits".into()) } else { Outcome::Done };
                    self.send(app, Event::StepEnded(act, outcome));
                }
                self.later(app, millis(3), Coming::Deliver(Event::Changed));
            }
        }
    }

    fn come_up(&mut self, app: usize) {
        self.invocation = self.invocation.wrapping_add(1).max(1);
        let sim = &mut self.apps[app];
        let load = sim.unit.load;
        sim.unit = UnitReading { load, ..running(self.invocation, self.now) };
        if !sim.broken {
            sim.answer = Answer::Well(20);
        }
    }

    fn go_down(&mut self, app: usize, state: ActiveState, by_job: bool) {
        let now = self.now;
        let unit = &mut self.apps[app].unit;
        if unit.active.is_down() {
            return;
        }
        let (left, exited) = if by_job { (now - millis(2), now - millis(1)) } else { (now, now) };
        unit.active = state;
        unit.sub = if state == ActiveState::Failed { "failed".into() } else { "dead".into() };
        unit.result = if state == ActiveState::Failed { "exit-code".into() } else { "success".into() };
        // A start that fails at once is over before the next microsecond has come; a stop takes the unit out
        // of `active` before its process ends, however short the run was.
        let began = unit.inactive_exit.unwrap_or(left);
        unit.active_exit = Some(left.max(began));
        unit.main_exit = Some(exited.max(began + Duration::from_micros(u64::from(by_job))));
        unit.exit = Some(Exit::Status(1));
        unit.main_pid = None;
        unit.control_group = None;
    }

    /// A job of somebody else cancels ours (systemctl uses job mode `replace`).
    fn foreign_job(&mut self, app: usize) {
        self.jobs += 1;
        let id = JobId(self.jobs);
        let ours = self.apps[app].job.take();
        self.apps[app].unit.job = None;
        self.send(app, Event::JobNew(id));
        if let Some(ours) = ours {
            self.send(app, Event::JobRemoved(ours.id, JobResult::Canceled));
            if let Some(act) = ours.act {
                self.later(app, millis(1), Coming::Report(act, Outcome::Canceled));
            }
        }
        self.send(app, Event::JobRemoved(id, JobResult::Done));
        self.later(app, millis(3), Coming::Deliver(Event::Changed));
    }

    fn strike(&mut self, app: usize, luck: Luck) {
        match luck {
            Luck::Crash => {
                if self.apps[app].job.is_none() {
                    self.go_down(app, ActiveState::Failed, false);
                    self.later(app, millis(3), Coming::Deliver(Event::Changed));
                }
            }
            Luck::Answer(answer) => self.apps[app].answer = answer,
            Luck::Broken(answer) => {
                self.apps[app].answer = answer;
                self.apps[app].broken = true;
            }
            Luck::Fate(fate) => self.apps[app].fate = fate,
            Luck::Stop => {
                // At the moment of a crash itself, nothing tells a stop from a reload that killed it.
                if self.apps[app].unit.active.is_down() {
                    self.run_for(millis(60));
                }
                let sim = &mut self.apps[app];
                sim.stopped.get_or_insert(self.before + self.now.as_micros());
                sim.stopped_while_acting = sim.acting && sim.unit.active.is_down();
                self.go_down(app, ActiveState::Inactive, true);
                self.foreign_job(app);
            }
            Luck::Restart => {
                self.apps[app].stopped = None;
                self.go_down(app, ActiveState::Inactive, true);
                self.come_up(app);
                self.foreign_job(app);
            }
            Luck::Mask(masked) => {
                let at = self.absolute();
                self.apps[app].unit.load = if masked { LoadState::Masked } else { LoadState::Loaded };
                self.apps[app].masked = masked.then_some(at);
                self.send(app, Event::Changed);
            }
            Luck::Kill => {
                // systemd keeps no trace of a stop of what is down already, and whose job it was is only
                // known once a call of ours that is under way has been answered.
                for app in self.apps.iter_mut().filter(|app| app.acting && app.stopped_while_acting) {
                    app.stopped = None;
                }
                self.start_monitor();
            }
            Luck::Reload => self.reload(),
            Luck::Reboot => self.reboot(),
            Luck::Lost => {
                let effects = self.host.handle_all(self.now, &Event::SignalsLost);
                self.carry_out(effects);
            }
        }
    }

    /// What holds whenever one looks.
    fn look(&self, seen: usize) -> Result<(), TestCaseError> {
        for (at, app, step) in &self.acts[seen..] {
            let late = |since: Option<i64>| since.is_some_and(|since| at - since > 100_000);
            prop_assert!(!late(self.apps[*app].stopped), "{step} of app{app}, which somebody stopped");
            prop_assert!(!late(self.apps[*app].masked), "{step} of app{app}, which is masked");
        }
        for app in &self.apps {
            let view = self.host.app(&app.name).unwrap().view(self.now);
            prop_assert!(view.attempts_left <= self.policy.max_attempts);
            let settled = view.verdict == Verdict::Healthy && view.recovery.is_none();
            prop_assert!(!settled || view.incident.is_none(), "{} is healthy: {:?}", app.name, view.incident);
        }
        Ok(())
    }

    /// Recoveries that count keep their distance, but for those that somebody else cut short.
    fn distances(&self) -> Result<(), TestCaseError> {
        for app in &self.apps {
            let mut last: Option<i64> = None;
            for (at, record) in &app.records {
                match record.event {
                    EventKind::RecoveryStarted if record.text.contains("attempt") => {
                        let near = last.is_some_and(|last| at - last < 60_000_000);
                        prop_assert!(!near, "{} again within the cooldown: {}", app.name, record.text);
                        last = Some(*at);
                    }
                    EventKind::RecoveryFailed if record.text.contains("does not count") => last = None,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Luck {
    Crash,
    Answer(Answer),
    Broken(Answer),
    Fate(Fate),
    Stop,
    Restart,
    Mask(bool),
    Kill,
    Reload,
    Reboot,
    Lost,
}

fn luck() -> impl Strategy<Value = Luck> {
    let answer =
        || prop_oneof![Just(Answer::Hang), Just(Answer::Wrong), Just(Answer::Refused), Just(Answer::Blind)];
    let fate = prop_oneof![
        Just(Fate::Done),
        Just(Fate::Refused),
        Just(Fate::Conflict),
        Just(Fate::TimedOut),
        Just(Fate::Failed),
        Just(Fate::Unknown)
    ];
    prop_oneof![
        4 => Just(Luck::Crash),
        4 => answer().prop_map(Luck::Answer),
        1 => answer().prop_map(Luck::Broken),
        3 => fate.prop_map(Luck::Fate),
        2 => Just(Luck::Stop),
        2 => Just(Luck::Restart),
        1 => any::<bool>().prop_map(Luck::Mask),
        2 => Just(Luck::Kill),
        2 => Just(Luck::Reload),
        1 => Just(Luck::Reboot),
        1 => Just(Luck::Lost),
    ]
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn a_crowd_in_bad_luck(
        script in prop::collection::vec((0..APPS, luck(), prop_oneof![1_u64..3_000, 1_u64..90_000]), 1..40),
    ) {
        let mut crowd = Crowd::new();
        for (app, luck, pause) in script {
            crowd.strike(app, luck);
            let seen = crowd.acts.len();
            crowd.run_for(millis(pause));
            crowd.look(seen)?;
        }
        crowd.distances()?;
        // All is mended: the apps that nobody stopped get well, and nothing stays open.
        for app in 0..APPS {
            crowd.apps[app].fate = Fate::Done;
            crowd.apps[app].broken = false;
            crowd.apps[app].answer = Answer::Well(20);
            crowd.strike(app, Luck::Mask(false));
        }
        // As the daemon has it: a monitor that goes on from a refusal asks whether it may act by now.
        let effects = crowd.host.handle_all(crowd.now, &Event::Permission(None));
        crowd.carry_out(effects);
        crowd.run_for(seconds(4_000));
        crowd.distances()?;
        for app in crowd.apps.iter().filter(|app| app.stopped.is_none()) {
            let view = crowd.host.app(&app.name).unwrap().view(crowd.now);
            prop_assert_eq!(view.verdict, Verdict::Healthy, "{}: {}", app.name, view.text);
            prop_assert_eq!((view.incident, view.conditions.len()), (None, 0));
            prop_assert_eq!(view.attempts_left, crowd.policy.max_attempts);
        }
    }
}

/// A sequence that was found once, taken again.
fn again(script: &[(usize, Luck, u64)]) {
    let mut crowd = Crowd::new();
    for (app, luck, pause) in script {
        crowd.strike(*app, *luck);
        let seen = crowd.acts.len();
        crowd.run_for(millis(*pause));
        crowd.look(seen).unwrap();
    }
}

#[test]
fn what_was_masked_in_mid_recovery_is_left_by_the_next_monitor_too() {
    again(&[
        (1, Luck::Fate(Fate::TimedOut), 1),
        (1, Luck::Crash, 37),
        (1, Luck::Mask(true), 99),
        (0, Luck::Kill, 2),
    ]);
}
