//! The monitor: the real judge, and a daemon in miniature that carries its effects out, is killed,
//! stalled and started again with what it had written.

use std::time::Duration;

use app_monitor::judge::{
    ActId, CheckKind, Effect, Effects, Event, Host, InvocationId, JobId, JobResult, Memory, Moment,
    Observation, Outcome, Request, RoundId, Step, UnitReading,
};

use crate::systemd::{JobMode, Kind, Refusal, Who, Wish};
use crate::world::{Coming, M, Signal, Trace, U, World, millis, seconds};

/// By so much an answer may overtake a signal.
const OVERTAKES: Duration = Duration::from_millis(3);

/// A step that is being carried out.
#[derive(Clone, Debug)]
pub struct Performance {
    pub serial: u64,
    pub act: ActId,
    pub step: Step,
    pub job: Option<JobId>,
    before: Option<InvocationId>,
}

/// What is due in a step.
#[derive(Clone, Debug)]
pub enum Work {
    /// The call is made.
    Call,
    /// SIGKILL is due.
    Kill,
    /// Is the job still there?
    Poll,
    /// Our deadline.
    Deadline,
    /// It ended so.
    End(Outcome),
}

pub struct Monitor {
    host: Option<Host>,
    /// Whose deliveries count.
    pub generation: u64,
    /// What was written last; nothing when it was lost.
    pub kept: Option<Memory>,
    /// When that was (absolute).
    pub kept_at: i64,
    pub works: Vec<Option<Performance>>,
    serial: u64,
    /// Nobody lets it run until then.
    pub stalled: Option<Moment>,
    /// No signal overtakes another.
    tail: Moment,
    /// Readings under way, and rounds, of each member.
    pub readings: Vec<u32>,
    pub rounds: Vec<Vec<(RoundId, CheckKind)>>,
    /// Signals that wait while nothing gets through, in their order.
    pub held: Vec<(U, Signal)>,
    /// So many effects from now it is killed.
    pub dies_in: Option<u32>,
}

impl Monitor {
    pub fn new(members: usize, now: Moment) -> Self {
        Self {
            host: None,
            generation: 0,
            kept: Some(Memory::default()),
            kept_at: 0,
            works: vec![None; members],
            serial: 0,
            stalled: None,
            tail: now,
            readings: vec![0; members],
            rounds: vec![Vec::new(); members],
            held: Vec::new(),
            dies_in: None,
        }
    }

    pub fn is_up(&self) -> bool {
        self.host.is_some()
    }

    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    pub fn wake_at(&self) -> Option<Moment> {
        let wake = self.host.as_ref()?.wake_at()?;
        Some(self.stalled.map_or(wake, |until| wake.max(until)))
    }

    pub fn forget_clock(&mut self) {
        self.tail = Moment::default();
        self.stalled = None;
    }
}

impl World {
    /// Calls the judge, and carries out what it says.
    pub fn drive(&mut self, call: impl FnOnce(&mut Host, Moment) -> Effects) {
        let now = self.now;
        let Some(host) = &mut self.monitor.host else { return };
        let effects = call(host, now);
        self.carry_out(effects);
    }

    pub fn start_monitor(&mut self) {
        if self.monitor.is_up() {
            return;
        }
        let lost = self.monitor.kept.is_none();
        let clocks = self.clocks();
        let mut another_boot = false;
        let before = self.monitor.kept.as_ref().map(|kept| &kept.clocks);
        if let Some(before) = before.filter(|before| !before.boot.is_empty() && before.boot != clocks.boot) {
            // What the judge will believe to have been away, and what it was.
            let believed = (clocks.wall - before.wall).max(0) * 1_000_000;
            let longer = believed - (self.absolute() - self.monitor.kept_at);
            self.ledger_reboots(longer);
            another_boot = true;
        }
        let memory = self.monitor.kept.clone().unwrap_or_default().at(&self.clocks());
        self.ledger_restarts(&memory, lost, another_boot);
        let configured = self.configured();
        self.monitor.host = Some(Host::new(configured, self.max_parallel, memory, lost, self.now));
        self.stir();
        self.note(Trace::Monitor(if lost { "starts, its memory lost" } else { "starts" }));
        self.drive(|host, now| host.handle_all(now, &Event::SignalsLost));
        self.prove_later();
    }

    pub fn configured(
        &self,
    ) -> Vec<(app_monitor::judge::Subject, app_monitor::judge::Policy, app_monitor::judge::Target)> {
        let members = self.members.iter();
        members.map(|member| (member.name.clone(), member.policy.clone(), member.target.clone())).collect()
    }

    /// A new configuration is put in force.
    pub fn reload_monitor(&mut self) {
        let (configured, parallel) = (self.configured(), self.max_parallel);
        let now = self.now;
        if let Some(host) = &mut self.monitor.host {
            host.configure(configured, parallel, false, now);
            self.note(Trace::Monitor("reloads"));
            self.ledger_reloads();
            self.drive(|host, now| host.handle_all(now, &Event::Changed));
        }
    }

    /// Kills it. What systemd was told goes on.
    pub fn kill_monitor(&mut self) {
        if self.monitor.host.take().is_none() {
            return;
        }
        self.monitor.generation += 1;
        self.monitor.works.fill(None);
        self.monitor.readings.fill(0);
        self.monitor.rounds.iter_mut().for_each(Vec::clear);
        self.monitor.stalled = None;
        self.monitor.held.clear();
        self.monitor.dies_in = None;
        self.note(Trace::Monitor("is killed"));
        // Nobody holds the units any more.
        for unit in 0..self.units.len() {
            let sim = &self.units[unit];
            if sim.says.active == app_monitor::judge::ActiveState::Inactive && sim.job.is_none() {
                self.unload(unit);
            }
        }
    }

    /// It is told to end: what it would leave stopped, it starts.
    pub fn end_monitor(&mut self) {
        let Some(host) = &self.monitor.host else { return };
        let wills: Vec<(U, bool)> = self
            .members
            .iter()
            .filter_map(|member| Some((member.unit, host.app(&member.name)?.last_will()?.kill)))
            .collect();
        let memory = host.memory(self.clocks());
        if self.around.writable {
            self.monitor.kept = Some(memory);
            self.monitor.kept_at = self.absolute();
            self.ledger_keeps();
        }
        self.kill_monitor();
        for (unit, kill) in wills {
            if kill {
                self.kill(unit, "signal");
            }
            // The start is tried until the stop is through.
            self.later(millis(60), Coming::Deed(crate::luck::Deed::LastStart(unit, 20)));
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        for (name, effect) in effects {
            let Some(member) = self.members.iter().position(|member| member.name == name) else { continue };
            if let Some(left) = &mut self.monitor.dies_in {
                if *left == 0 {
                    self.kill_monitor();
                    self.ledger.members.iter_mut().for_each(|known| known.cut_off = true);
                    let away = self.chance.length(50, 20_000);
                    self.later(away, Coming::MonitorStarts);
                    return;
                }
                *left -= 1;
            }
            match effect {
                Effect::ReadUnit => self.ask_reading(member),
                Effect::Check(round, kinds) => self.check(member, round, &kinds),
                Effect::Persist => self.persist(),
                Effect::Perform(act, step) => self.perform(member, act, step),
                Effect::GatherEvidence | Effect::Hook(_) => {}
                Effect::Record(record) => self.ledger_record(member, record),
            }
            if self.violation.is_some() {
                return;
            }
        }
    }

    fn persist(&mut self) {
        let clocks = self.clocks();
        if self.around.writable
            && let Some(host) = &self.monitor.host
        {
            self.monitor.kept = Some(host.memory(clocks));
            self.monitor.kept_at = self.absolute();
            self.ledger_keeps();
        }
    }

    // Reading.

    fn ask_reading(&mut self, member: M) {
        self.monitor.readings[member] += 1;
        if self.monitor.readings[member] > 8 && !self.around.hung {
            self.violated("calls do not pile up", "more than eight readings of one unit are under way");
        }
        let generation = self.monitor.generation;
        self.later(millis(1), Coming::Look(generation, member, self.now));
    }

    pub fn look_at_unit(&mut self, generation: u64, member: M, begun: Moment) {
        if generation != self.monitor.generation {
            return;
        }
        if self.around.hung {
            if self.now.since(begun) >= seconds(5) {
                let event = Event::UnitUnreadable("no answer within 5 s".into());
                self.deliver(generation, member, event);
            } else {
                self.later(millis(500), Coming::Look(generation, member, begun));
            }
            return;
        }
        let unit = self.members[member].unit;
        let mut reading = self.units[unit].says.clone();
        reading.frozen = self.units[unit].frozen.is_some();
        if let Some(needed) = self.units[unit].requires {
            let other = &self.units[needed];
            reading.dependencies = vec![app_monitor::judge::Dependency {
                unit: other.name.clone(),
                active: other.says.active,
                job: other.job.is_some(),
                needed: true,
                left: other.says.active_exit,
            }];
        }
        let after = Duration::from_micros(u64::try_from(300 + self.chance.below(1_500)).unwrap());
        // On its way to us no answer overtakes a signal, but for moments within the monitor itself.
        let at = (self.now + after).max(self.monitor.tail - OVERTAKES);
        self.at(at, Coming::Reading(generation, member, self.absolute(), Box::new(reading)));
    }

    pub fn take_reading(&mut self, generation: u64, member: M, looked: i64, seen: Box<UnitReading>) {
        if generation != self.monitor.generation || !self.monitor.is_up() {
            return;
        }
        if let Some(until) = self.monitor.stalled {
            self.at(until, Coming::Reading(generation, member, looked, seen));
            return;
        }
        self.ledger.members[member].looked = looked;
        self.deliver(generation, member, Event::Unit(seen));
    }

    // Signals.

    pub fn signal(&mut self, unit: U, signal: Signal) {
        if !self.monitor.is_up() {
            return;
        }
        let dropped = self.around.lossy.is_some_and(|times| self.chance.one_in(times));
        if dropped {
            return;
        }
        let late = self.around.late;
        let at = (self.now + late).max(self.monitor.tail);
        self.monitor.tail = at;
        let generation = self.monitor.generation;
        self.at(at, Coming::Signal(generation, unit, signal));
        if self.around.echo && self.chance.one_in(3) {
            self.at(at, Coming::Signal(generation, unit, signal));
        }
    }

    pub fn take_signal(&mut self, generation: u64, unit: U, signal: Signal) {
        if generation != self.monitor.generation || !self.monitor.is_up() {
            return;
        }
        if let Some(until) = self.monitor.stalled {
            self.at(until, Coming::Signal(generation, unit, signal));
            return;
        }
        if self.around.hung {
            self.monitor.held.push((unit, signal));
            return;
        }
        if let Signal::JobRemoved(id, result) = signal {
            for member in 0..self.members.len() {
                let awaited = self.monitor.works[member].as_ref().filter(|work| work.job == Some(id));
                if let Some(work) = awaited {
                    let (serial, outcome) = (work.serial, ended(result));
                    self.later(
                        Duration::from_micros(50),
                        Coming::Work(generation, member, serial, Work::End(outcome)),
                    );
                }
            }
        }
        for member in 0..self.members.len() {
            let own = self.members[member].unit == unit;
            let leans = self.units[self.members[member].unit].requires == Some(unit);
            if own {
                match signal {
                    Signal::JobNew(id) => {
                        self.ledger_job_begun(member, id);
                        self.deliver(generation, member, Event::JobNew(id));
                    }
                    Signal::JobRemoved(id, result) => {
                        self.ledger_job_told(member, id);
                        self.deliver(generation, member, Event::JobRemoved(id, result));
                    }
                    Signal::Changed => {}
                }
            }
            if leans {
                match signal {
                    Signal::JobNew(id) => {
                        let other = self.units[unit].name.clone();
                        self.deliver(generation, member, Event::JobBeside(other, id));
                    }
                    Signal::JobRemoved(id, _) => {
                        self.deliver(generation, member, Event::JobBesideRemoved(id));
                    }
                    Signal::Changed => {}
                }
            }
            if own || leans {
                self.deliver(generation, member, Event::Changed);
            }
        }
    }

    pub fn deliver(&mut self, generation: u64, member: M, event: Event) {
        if generation != self.monitor.generation || !self.monitor.is_up() {
            return;
        }
        if let Some(until) = self.monitor.stalled {
            self.at(until, Coming::Deliver(generation, member, Box::new(event)));
            return;
        }
        match &event {
            Event::Unit(reading) => {
                self.monitor.readings[member] = self.monitor.readings[member].saturating_sub(1);
                self.ledger_reading(member, reading);
            }
            Event::UnitUnreadable(_) => {
                self.ledger.members[member].unreadable = true;
                self.monitor.readings[member] = self.monitor.readings[member].saturating_sub(1);
            }
            Event::Check(round, kind, seen) => {
                let name = self.members[member].name.clone();
                self.monitor.rounds[member].retain(|other| *other != (*round, *kind));
                let awaited = self
                    .monitor
                    .host()
                    .and_then(|host| host.app(&name))
                    .is_some_and(|app| app.awaits(*round));
                if awaited {
                    self.ledger_seen(member, *round, *kind, seen);
                }
            }
            _ => {}
        }
        let name = self.members[member].name.clone();
        self.drive(|host, now| host.handle(now, &name, event));
    }

    /// A person asks for something.
    pub fn ask(&mut self, member: M, request: Request) {
        if !self.monitor.is_up() || self.monitor.stalled.is_some() {
            return;
        }
        self.stir();
        let (name, now) = (self.members[member].name.clone(), self.now);
        self.ledger_asked(member, &request);
        let Some(host) = &mut self.monitor.host else { return };
        if let Ok(effects) = host.ask(now, &name, request) {
            self.carry_out(effects);
        }
        if !self.monitor.is_up() {
            // It was killed, before it could answer or after: what it had written holds.
            let kept = self.monitor.kept.as_ref().and_then(|kept| kept.apps.get(&name));
            let until = kept.and_then(|kept| kept.pause.as_ref()).map(|pause| pause.until);
            self.ledger.members[member].paused_until = until.map(|until| self.before + until.as_micros());
        }
        self.ledger.members[member].asked = false;
    }

    // Checks.

    fn check(&mut self, member: M, round: RoundId, kinds: &[CheckKind]) {
        let name = &self.members[member].name;
        if let Some(app) = self.monitor.host.as_ref().and_then(|host| host.app(name)) {
            self.monitor.rounds[member].retain(|(round, _)| app.awaits(*round));
        }
        self.ledger_check(member, round, kinds);
        for kind in kinds {
            self.monitor.rounds[member].push((round, *kind));
            let under_way = self.monitor.rounds[member].iter().filter(|(_, other)| other == kind).count();
            if under_way > 3 {
                self.violated(
                    "at most three probes of one kind are in flight",
                    &format!("{under_way} of {kind}"),
                );
            }
            let (after, seen): (Duration, Observation) = self.sees(member, *kind);
            let event = Box::new(Event::Check(round, *kind, seen));
            self.later(after, Coming::Deliver(self.monitor.generation, member, event));
        }
    }

    // Steps.

    fn perform(&mut self, member: M, act: ActId, step: Step) {
        let name = self.members[member].name.clone();
        self.note(Trace::Act(name, act.0, step.clone()));
        self.ledger_act(member, act, &step);
        self.monitor.serial += 1;
        let (serial, generation) = (self.monitor.serial, self.monitor.generation);
        let written = self.around.writable;
        if !written && matches!(step, Step::Stop { .. }) {
            let outcome = Outcome::Failed("the intent could be written nowhere".into());
            self.later(millis(1), Coming::Work(generation, member, serial, Work::End(outcome)));
        } else {
            self.later(millis(1), Coming::Work(generation, member, serial, Work::Call));
            if let Step::Restart { kill_after } | Step::Stop { kill_after } = step {
                self.later(kill_after, Coming::Work(generation, member, serial, Work::Kill));
            }
        }
        self.monitor.works[member] = Some(Performance { serial, act, step, job: None, before: None });
    }

    pub fn work(&mut self, generation: u64, member: M, serial: u64, due: Work) {
        let current = self.monitor.works[member].clone().filter(|work| work.serial == serial);
        let Some(work) = current.filter(|_| generation == self.monitor.generation) else { return };
        let again = |due| Coming::Work(generation, member, serial, due);
        if let Some(until) = self.monitor.stalled {
            self.at(until, again(due));
            return;
        }
        let unit = self.members[member].unit;
        match due {
            Work::End(outcome) => {
                self.monitor.works[member] = None;
                let name = self.members[member].name.clone();
                self.note(Trace::Outcome(name, format!("{outcome:?}")));
                if work.step == Step::Reload {
                    let worked = matches!(outcome, Outcome::Done | Outcome::Told(_) | Outcome::AlreadySo);
                    self.ledger.members[member].reload_worked = Some(worked);
                }
                self.ledger.members[member].unsure |= matches!(outcome, Outcome::Unknown(_));
                let stopped = matches!(work.step, Step::Stop { .. }) && outcome == Outcome::Done;
                self.ledger_stopped(member, stopped);
                let given_up =
                    matches!(outcome, Outcome::Refused(_) | Outcome::Canceled | Outcome::Conflict(_));
                self.ledger_given_up(member, given_up);
                if matches!(outcome, Outcome::Refused(_)) {
                    self.prove_later();
                }
                self.deliver(generation, member, Event::StepEnded(work.act, outcome));
            }
            Work::Deadline => {
                self.later(
                    Duration::ZERO,
                    again(Work::End(Outcome::TimedOut("the job is still pending".into()))),
                );
            }
            Work::Kill if self.around.hung => self.later(seconds(2), again(Work::Kill)),
            Work::Kill => {
                let says = &self.units[unit].says;
                if says.invocation != work.before || says.active.is_down() {
                    return;
                }
                if says.active != app_monitor::judge::ActiveState::Deactivating {
                    self.later(millis(100), again(Work::Kill));
                    return;
                }
                if !self.around.refuses {
                    self.kill(unit, "signal");
                    self.deliver(generation, member, Event::StepKilled(work.act));
                }
                self.later(seconds(2), again(Work::Kill));
            }
            Work::Poll => {
                let Some(job) = work.job else { return };
                let pending =
                    self.units.iter().any(|unit| unit.job.as_ref().is_some_and(|own| own.id == job));
                if pending || self.around.hung {
                    self.later(seconds(1), again(Work::Poll));
                    return;
                }
                let says = &self.units[unit].says;
                let anew = says.invocation != work.before;
                let up = self.units[unit].is_up();
                let outcome = match work.step {
                    Step::Stop { .. } if says.active.is_down() => Outcome::Done,
                    Step::Stop { .. } => Outcome::Canceled,
                    Step::Start if up => Outcome::Done,
                    Step::Restart { .. } if up && anew => Outcome::Done,
                    _ if self.units[unit].says.active == app_monitor::judge::ActiveState::Failed => {
                        Outcome::Failed("failed".into())
                    }
                    _ => Outcome::Canceled,
                };
                // Nothing was told of how it ended: its start half may have failed by what the unit needs, or
                // somebody's stop have taken its place. Both leave the same behind.
                let restart = matches!(work.step, Step::Restart { .. });
                self.ledger.members[member].unsure |= restart && !anew && outcome == Outcome::Canceled;
                self.later(millis(60), again(Work::End(outcome)));
            }
            Work::Call => self.call(member, work, unit),
        }
    }

    fn call(&mut self, member: M, work: Performance, unit: U) {
        let (generation, serial) = (self.monitor.generation, work.serial);
        let end = |world: &mut Self, after, outcome| {
            world.later(after, Coming::Work(generation, member, serial, Work::End(outcome)));
        };
        if self.around.hung {
            // What was asked may be done when nobody waits for it any more.
            if self.chance.one_in(2) && matches!(work.step, Step::Start | Step::Restart { .. }) {
                self.later(seconds(7), Coming::Deed(crate::luck::Deed::LateJob(unit)));
            }
            end(self, seconds(5), Outcome::Unknown("no answer".into()));
            return;
        }
        if self.around.refuses {
            end(self, millis(2), Outcome::Refused("polkit says no".into()));
            return;
        }
        let (up, down) = (self.units[unit].is_up(), self.units[unit].is_down());
        let settled = self.units[unit].job.is_none();
        let kind = match &work.step {
            Step::Start if settled && up => return end(self, millis(1), Outcome::AlreadySo),
            Step::Stop { .. } if settled && down => return end(self, millis(1), Outcome::AlreadySo),
            Step::Start => Kind::Start,
            Step::Restart { .. } => Kind::Restart,
            Step::Stop { .. } => Kind::Stop,
            Step::Reload => Kind::Reload,
            Step::ResetFailed => {
                let was = self.reset_failed(unit);
                return end(self, millis(1), if was { Outcome::Done } else { Outcome::AlreadySo });
            }
            Step::KillLeftovers => return end(self, millis(2), Outcome::AlreadySo),
            Step::ClearCaches => {
                let outcome = self.clear_caches(member);
                let takes = if outcome == Outcome::Done { self.chance.length(5, 3_000) } else { millis(40) };
                return end(self, takes, outcome);
            }
            helper => {
                let outcome = self.help(unit, helper);
                return end(self, millis(40), outcome);
            }
        };
        let before = self.units[unit].says.invocation;
        match self.enqueue(unit, kind, JobMode::Fail, Who::Us) {
            Ok(job) => {
                let asked = self.ledger.members[member].open.as_ref().is_some_and(|open| open.asked);
                if asked && kind != Kind::Stop {
                    // A person wants it up, whatever becomes of it.
                    self.units[unit].wish = Wish::Up;
                }
                if let Some(work) = &mut self.monitor.works[member] {
                    work.job = Some(job);
                    work.before = before;
                }
                self.deliver(generation, member, Event::StepQueued(work.act, job));
                self.later(seconds(1), Coming::Work(generation, member, serial, Work::Poll));
                let kill = match work.step {
                    Step::Restart { kill_after } | Step::Stop { kill_after } => kill_after,
                    _ => Duration::ZERO,
                };
                let start = if kind == Kind::Stop { Duration::ZERO } else { seconds(90) };
                let deadline = kill + start + seconds(10);
                self.later(deadline, Coming::Work(generation, member, serial, Work::Deadline));
            }
            Err(Refusal::Destructive) => end(self, millis(1), Outcome::Conflict("a job is pending".into())),
            Err(Refusal::Unusable) => end(self, millis(1), Outcome::Failed("the unit is masked".into())),
        }
    }

    /// Who uses the caches of that app, itself among them.
    pub fn sharers(&self, member: M) -> impl Iterator<Item = M> {
        let directory = self.members[member].target.working_directory.as_ref();
        (0..self.members.len()).filter(move |other| {
            let theirs = self.members[*other].target.working_directory.as_ref();
            *other == member || theirs.is_some() && theirs == directory
        })
    }

    /// The helper looks with its own eyes.
    fn clear_caches(&mut self, member: M) -> Outcome {
        if self.around.helper_fails {
            return Outcome::Failed("the helper failed".into());
        }
        let up = self.sharers(member).find(|other| !self.units[self.members[*other].unit].is_down());
        match up {
            Some(other) => Outcome::Failed(format!("{} uses the caches", self.members[other].name)),
            None => Outcome::Done,
        }
    }

    /// A helper's unit does its one thing.
    fn help(&mut self, unit: U, step: &Step) -> Outcome {
        if self.around.helper_fails {
            return Outcome::Failed("the helper failed".into());
        }
        match step {
            Step::Preflight if !self.around.config => Outcome::Failed("DATABASE_URL is not set".into()),
            Step::Reap => match self.around.holders.get(&unit) {
                Some(holder) if holder.reapable => {
                    self.around.holders.remove(&unit);
                    Outcome::Told("ended nc".into())
                }
                Some(_) => Outcome::Failed("it belongs to another unit".into()),
                None => Outcome::AlreadySo,
            },
            _ => Outcome::Done,
        }
    }

    /// Nobody let the monitor run for so long.
    pub fn stall(&mut self, length: Duration) {
        if self.monitor.is_up() && self.monitor.stalled.is_none() {
            let until = self.now + length;
            self.monitor.stalled = Some(until);
            self.later(length, Coming::Deed(crate::luck::Deed::Thaw(length)));
        }
    }
}

fn ended(result: JobResult) -> Outcome {
    match result {
        JobResult::Done => Outcome::Done,
        JobResult::Canceled => Outcome::Canceled,
        JobResult::Skipped => Outcome::Skipped,
        JobResult::Dependency => Outcome::Dependency("a unit that it needs did not come up".into()),
        other => Outcome::Failed(format!("job {other:?}")),
    }
}
