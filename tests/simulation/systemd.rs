//! systemd in miniature: units, jobs with their modes and results, start limits, automatic restarts,
//! timeouts, invocations. It follows org.freedesktop.systemd1(5), systemd.service(5) and what was
//! seen on 252 and 257.

use std::collections::VecDeque;
use std::time::Duration;

use app_monitor::judge::{
    ActiveState, Exit, InvocationId, JobId, JobResult, LoadState, Moment, UnitName, UnitReading,
};

use crate::process::Process;
use crate::surroundings::Proxy;
use crate::world::{Coming, Signal, Trace, U, World, millis, seconds};

/// In whose name a job was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Us,
    Admin,
    Systemd,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobMode {
    /// Refused where another job would have to go.
    Fail,
    /// The other one goes (`systemctl` does it so).
    Replace,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub kind: Kind,
    pub who: Who,
    /// It found the unit up, or on its way.
    pub was_up: bool,
    /// It came with the stop of what the unit needs.
    pub with: bool,
}

/// Why no job was queued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Another job is pending.
    Destructive,
    /// Masked, or no unit file.
    Unusable,
}

/// What is due in a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// `Type=notify`: it says that it is ready.
    Ready,
    /// `TimeoutStartSec=` is over.
    StartTimeout,
    /// The main process ends.
    Exit(Exit),
    /// `TimeoutStopSec=` is over.
    StopTimeout,
    /// `RestartSec=` is over.
    AutoRestart,
    /// The job that is pending is carried out.
    Run(JobId),
    /// It waited for the job of a unit that it needs.
    Turn(JobId),
}

/// What people wish of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    Up,
    /// Somebody stopped it then (absolute), by that job, while it was up (or was it down already?).
    Stopped {
        at: i64,
        job: JobId,
        was_up: bool,
    },
    /// It went down because that unit was stopped.
    StoppedWith(U),
    /// It was not started in this boot, and is not to be.
    Off,
    /// It went down cleanly while nobody watched, and systemd forgot it: nobody can tell any more.
    Forgotten,
}

#[derive(Clone, Debug)]
pub struct Unit {
    pub name: UnitName,
    /// What systemd says of it.
    pub says: UnitReading,
    pub job: Option<Job>,
    pub starts: VecDeque<Moment>,
    /// `StartLimitBurst=` within ten seconds.
    pub start_limit: usize,
    /// `Type=notify`: it takes so long until it is ready.
    pub notify: Option<Duration>,
    pub process: Process,
    /// Goes up with every change of state: what was due before is void.
    pub epoch: u64,
    /// `Requires=`: it goes down when that is stopped, and starts it.
    pub requires: Option<U>,
    pub wish: Wish,
    /// A start of it fails (a broken build, a database with a broken disk).
    pub broken: bool,
    /// Since when it is masked (absolute).
    pub masked: Option<i64>,
    /// Since when its cgroup is frozen (absolute).
    pub frozen: Option<i64>,
    /// The run before was ended with SIGKILL while it was being stopped.
    killed: bool,
    /// Who began its last run.
    pub begun_by: Who,
}

impl Unit {
    pub fn new(name: &str, requires: Option<U>, since: Moment) -> Self {
        let mut says = nothing();
        says.active = ActiveState::Active;
        says.sub = "running".into();
        says.invocation = Some(InvocationId([1; 16]));
        says.inactive_exit = Some(since);
        says.active_enter = Some(since);
        says.main_pid = Some(1000);
        says.control_group = Some(format!("/system.slice/{name}"));
        Self {
            name: name.parse().unwrap(),
            says,
            job: None,
            starts: VecDeque::new(),
            start_limit: 5,
            notify: None,
            process: Process::new(since),
            epoch: 0,
            requires,
            wish: Wish::Up,
            broken: false,
            masked: None,
            frozen: None,
            killed: false,
            begun_by: Who::Systemd,
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.says.active, ActiveState::Active | ActiveState::Reloading)
    }

    pub fn is_down(&self) -> bool {
        self.says.active.is_down()
    }

    /// systemd has a reason of its own to remember it, while nobody holds it.
    fn is_loaded(&self) -> bool {
        self.says.active != ActiveState::Inactive || self.job.is_some()
    }

    pub fn foreign_job(&self) -> Option<&Job> {
        self.job.as_ref().filter(|job| job.who == Who::Admin)
    }
}

fn micros(length: u64) -> Duration {
    Duration::from_micros(length)
}

/// A unit of which nothing is known but its file.
fn nothing() -> UnitReading {
    UnitReading {
        load: LoadState::Loaded,
        active: ActiveState::Inactive,
        sub: "dead".into(),
        job: None,
        invocation: None,
        enabled: true,
        frozen: false,
        traced: false,
        dumping: false,
        inactive_exit: None,
        active_enter: None,
        active_exit: None,
        inactive_enter: None,
        main_exit: None,
        main_pid: None,
        exit: None,
        result: "success".into(),
        condition_failed: false,
        restarts: 0,
        restart: "no".into(),
        restart_delay: Some(millis(100)),
        timeout_start: Some(seconds(90)),
        timeout_stop: Some(seconds(90)),
        kill_mode: "control-group".into(),
        socket_listening: false,
        dependencies: Vec::new(),
        control_group: None,
        working_directory: None,
        cache_directory: false,
    }
}

impl World {
    /// Queues a job.
    pub fn enqueue(&mut self, unit: U, kind: Kind, mode: JobMode, who: Who) -> Result<JobId, Refusal> {
        if kind != Kind::Stop && self.units[unit].says.load != LoadState::Loaded {
            return Err(Refusal::Unusable);
        }
        if let Some(job) = self.units[unit].job.clone() {
            let merged = match (job.kind, kind) {
                (Kind::Stop, Kind::Stop) => Some(Kind::Stop),
                (Kind::Stop, _) | (_, Kind::Stop) => None,
                (Kind::Restart, _) | (_, Kind::Restart) => Some(Kind::Restart),
                (before, _) => Some(before),
            };
            if let Some(merged) = merged {
                if let Some(job) = &mut self.units[unit].job {
                    job.kind = merged;
                    // Its id is returned to us as that of our own, and told of only then as far as anybody can
                    // know: a stop of both is as good as ours, as it is when ours comes first.
                    if (kind, who) == (Kind::Stop, Who::Us) {
                        job.who = who;
                    }
                }
                return Ok(job.id);
            }
            if mode == JobMode::Fail {
                return Err(Refusal::Destructive);
            }
            self.end_job(unit, JobResult::Canceled);
        }
        self.jobs += 1;
        let id = JobId(self.jobs);
        self.units[unit].job = Some(Job { id, kind, who, was_up: false, with: false });
        self.units[unit].says.job = Some(id);
        self.note(Trace::Job(unit, kind.word(), id));
        self.signal(unit, Signal::JobNew(id));
        self.later(millis(1), Coming::Timer(unit, 0, Timer::Run(id)));
        if kind == Kind::Stop {
            let dependents: Vec<U> =
                (0..self.units.len()).filter(|other| self.units[*other].requires == Some(unit)).collect();
            let was_down = self.units[unit].is_down();
            for other in dependents {
                if !self.units[other].is_down() {
                    let before = self.units[other].job.as_ref().map(|job| job.id);
                    let queued = self.enqueue(other, Kind::Stop, JobMode::Replace, who);
                    let sim = &mut self.units[other];
                    if let Some(job) = sim.job.as_mut().filter(|job| queued == Ok(job.id)) {
                        job.with |= before != Some(job.id);
                    }
                    if sim.wish == Wish::Up {
                        // What somebody was taking down already may have gone down for either reason.
                        // A stop of what was down already looks like a stop of its own.
                        let going = sim.says.active == ActiveState::Deactivating || was_down;
                        sim.wish = if going { Wish::Forgotten } else { Wish::StoppedWith(unit) };
                    }
                }
            }
        }
        Ok(id)
    }

    pub fn end_job(&mut self, unit: U, result: JobResult) {
        let Some(job) = self.units[unit].job.take() else { return };
        self.units[unit].says.job = None;
        let at = self.absolute();
        let wish = &mut self.units[unit].wish;
        let stopped = job.kind == Kind::Stop && job.who == Who::Admin && result == JobResult::Done;
        if job.who == Who::Admin && matches!(job.kind, Kind::Start | Kind::Restart) {
            // Even if it did not work.
            *wish = Wish::Up;
        }
        if stopped && !job.with {
            // Who stops what is stopped already wishes nothing new.
            let known = matches!(wish, Wish::Stopped { was_up: true, .. } | Wish::Off);
            if !known {
                *wish = Wish::Stopped { at, job: job.id, was_up: job.was_up };
            }
        }
        self.stir();
        self.note(Trace::Ended(unit, job.id, result));
        self.signal(unit, Signal::JobRemoved(job.id, result));
        self.signal(unit, Signal::Changed);
        if !self.monitor.is_up() && self.units[unit].says.active == ActiveState::Inactive {
            self.unload(unit);
        }
    }

    pub fn timer(&mut self, unit: U, epoch: u64, timer: Timer) {
        if let Timer::Run(id) | Timer::Turn(id) = timer {
            if self.units[unit].job.as_ref().is_some_and(|job| job.id == id) {
                // Its turn does not wait for RestartSec= to be over, which is behind it.
                let its_turn = matches!(timer, Timer::Turn(_)) && self.units[unit].says.auto_restarting();
                if its_turn { self.begin(unit) } else { self.run_job(unit) }
            }
            return;
        }
        if self.units[unit].epoch != epoch {
            return;
        }
        match timer {
            Timer::Run(_) | Timer::Turn(_) => {}
            Timer::Ready => self.go_up(unit),
            Timer::StartTimeout => self.kill(unit, "timeout"),
            Timer::Exit(exit) => self.exited(unit, exit, None),
            Timer::StopTimeout => self.kill(unit, "timeout"),
            Timer::AutoRestart => {
                self.units[unit].says.restarts += 1;
                self.jobs += 1;
                if self.units[unit].job.is_none() {
                    let id = JobId(self.jobs);
                    self.units[unit].job =
                        Some(Job { id, kind: Kind::Restart, who: Who::Systemd, was_up: false, with: false });
                    self.units[unit].says.job = Some(id);
                    self.signal(unit, Signal::JobNew(id));
                }
                self.begin(unit);
            }
        }
    }

    /// Carries the pending job out, as far as it goes at once.
    fn run_job(&mut self, unit: U) {
        let down = self.units[unit].is_down();
        if let Some(job) = &mut self.units[unit].job {
            job.was_up = !down;
        }
        let Some(job) = self.units[unit].job.clone() else { return };
        let state = self.units[unit].says.active;
        let healing = self.units[unit].says.auto_restarting();
        match job.kind {
            Kind::Start if state.is_down() => self.begin(unit),
            // It waits for RestartSec= to be over, as on 252.
            Kind::Start if healing => {}
            Kind::Start if state == ActiveState::Activating => {}
            // What is being stopped by itself comes first.
            Kind::Start | Kind::Restart if state == ActiveState::Deactivating => {}
            Kind::Start => self.end_job(unit, JobResult::Done),
            Kind::Stop | Kind::Restart if state.is_down() || healing => {
                if job.kind == Kind::Stop {
                    if healing {
                        self.units[unit].says.active = ActiveState::Inactive;
                        self.units[unit].says.sub = "dead".into();
                        self.units[unit].says.inactive_enter = Some(self.now);
                        self.entered(unit, "inactive");
                    }
                    self.end_job(unit, JobResult::Done);
                } else {
                    self.begin(unit);
                }
            }
            Kind::Stop | Kind::Restart => self.stop(unit),
            Kind::Reload if self.units[unit].is_up() => {
                let result = if self.units[unit].broken { JobResult::Failed } else { JobResult::Done };
                self.reloaded(unit, result == JobResult::Done);
                self.end_job(unit, result);
            }
            Kind::Reload => self.end_job(unit, JobResult::Skipped),
        }
    }

    /// A new run begins.
    fn begin(&mut self, unit: U) {
        let now = self.now;
        if let Some(needed) = self.units[unit].requires
            && self.units[needed].is_down()
        {
            let who = self.units[unit].job.as_ref().map_or(Who::Systemd, |job| job.who);
            let fails = self.units[needed].broken || self.units[needed].says.load != LoadState::Loaded;
            if fails || self.enqueue(needed, Kind::Start, JobMode::Fail, who).is_err() {
                self.units[unit].epoch += 1;
                if self.units[unit].says.auto_restarting() {
                    // The stop half of systemd's restart is behind it, as on 252.
                    self.units[unit].says.active = ActiveState::Inactive;
                    self.units[unit].says.sub = "dead".into();
                    self.units[unit].says.inactive_enter = Some(self.now);
                    self.entered(unit, "inactive (its restart came to nothing)");
                }
                self.end_job(unit, JobResult::Dependency);
                return;
            }
            // It waits its turn.
            if let Some(job) = &self.units[unit].job {
                let id = job.id;
                self.later(millis(300), Coming::Timer(unit, 0, Timer::Turn(id)));
            }
            return;
        }
        let sim = &mut self.units[unit];
        if let Some(job) = sim.job.as_mut().filter(|job| job.kind == Kind::Restart) {
            // Its stop half is behind it.
            job.kind = Kind::Start;
        }
        sim.starts.retain(|at| now.since(*at) < seconds(10));
        if sim.starts.len() >= sim.start_limit {
            // What was down before is down since then.
            let was_down = sim.is_down();
            let stopped = matches!(sim.wish, Wish::Stopped { .. } | Wish::StoppedWith(_));
            sim.says.active = ActiveState::Failed;
            sim.says.sub = "failed".into();
            if sim.says.result == "success" {
                sim.says.result = "start-limit-hit".into();
            }
            if !was_down {
                sim.says.inactive_enter = Some(now);
            }
            self.entered(unit, "failed (start limit)");
            self.end_job(unit, JobResult::Failed);
            let unheard = !self.monitor.is_up() || self.around.lossy.is_some();
            if was_down && stopped && self.units[unit].wish == Wish::Up && unheard {
                // Who did not hear of it knows of the stop, and nothing tells that it was taken back.
                self.units[unit].wish = Wish::Forgotten;
            }
            return;
        }
        sim.starts.push_back(now);
        self.invocations += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.invocations.to_le_bytes());
        sim.says.invocation = Some(InvocationId(id));
        if !sim.says.auto_restarting() {
            sim.says.inactive_exit = Some(now);
            sim.says.restarts = 0;
        }
        sim.says.active = ActiveState::Activating;
        sim.says.sub = "start".into();
        sim.says.result = "success".into();
        sim.says.main_pid = Some(1000 + u32::try_from(self.invocations % 30_000).unwrap());
        sim.says.control_group = Some(format!("/system.slice/{}", sim.name));
        sim.killed = false;
        sim.begun_by = sim.job.as_ref().map_or(Who::Systemd, |job| job.who);
        sim.wish = Wish::Up;
        sim.process.begin();
        if self.around.proxy_unit == Some(unit) && self.around.proxy == Proxy::Silent {
            self.around.proxy = Proxy::Well;
            self.around.proxy_since = self.before + now.as_micros();
        }
        let sim = &self.units[unit];
        let (broken, notify) = (sim.broken, sim.notify);
        match notify {
            Some(takes) => {
                self.entered(unit, "activating");
                let epoch = self.units[unit].epoch;
                if broken {
                    self.later(millis(150), Coming::Timer(unit, epoch, Timer::Exit(Exit::Status(1))));
                } else {
                    self.later(takes, Coming::Timer(unit, epoch, Timer::Ready));
                }
                let timeout = self.units[unit].says.timeout_start.unwrap_or(seconds(3_600));
                self.later(timeout, Coming::Timer(unit, epoch, Timer::StartTimeout));
            }
            None => self.go_up(unit),
        }
    }

    fn go_up(&mut self, unit: U) {
        let now = self.now;
        let taken = self.around.holders.contains_key(&unit);
        let sim = &mut self.units[unit];
        sim.says.active = ActiveState::Active;
        sim.says.sub = "running".into();
        sim.says.active_enter = Some(now);
        sim.process.up_since = now;
        let dies = if sim.broken {
            Some(millis(120))
        } else if taken {
            // EADDRINUSE.
            Some(millis(400))
        } else {
            sim.process.dies_after
        };
        self.entered(unit, "active");
        if let Some(after) = dies {
            let epoch = self.units[unit].epoch;
            self.later(after, Coming::Timer(unit, epoch, Timer::Exit(Exit::Status(1))));
        }
        if self.units[unit].job.as_ref().is_some_and(|job| job.kind != Kind::Stop) {
            self.end_job(unit, JobResult::Done);
        }
    }

    fn stop(&mut self, unit: U) {
        let now = self.now;
        let sim = &mut self.units[unit];
        if sim.says.active == ActiveState::Deactivating {
            return;
        }
        let left = sim.is_up();
        if left {
            sim.says.active_exit = Some(now);
        }
        sim.says.active = ActiveState::Deactivating;
        sim.says.sub = "stop-sigterm".into();
        let takes = sim.process.takes_to_stop();
        let timeout = sim.says.timeout_stop.unwrap_or(seconds(3_600));
        if left {
            self.ledger_left(unit);
        }
        self.entered(unit, "deactivating");
        let epoch = self.units[unit].epoch;
        match takes {
            Some(takes) if takes < timeout => {
                self.later(takes, Coming::Timer(unit, epoch, Timer::Exit(Exit::Signal(15))));
            }
            _ => self.later(timeout, Coming::Timer(unit, epoch, Timer::StopTimeout)),
        }
    }

    /// SIGKILL to all of its processes.
    pub fn kill(&mut self, unit: U, result: &str) {
        if self.units[unit].says.main_pid.is_none() {
            return;
        }
        self.units[unit].says.result = result.into();
        self.units[unit].killed = true;
        self.note(Trace::Unit(unit, "killed"));
        let epoch = self.units[unit].epoch;
        self.later(millis(4), Coming::Timer(unit, epoch, Timer::Exit(Exit::Signal(9))));
    }

    /// The main process ended. `result`: what systemd makes of it, where it is not the exit itself.
    pub fn exited(&mut self, unit: U, exit: Exit, result: Option<&str>) {
        let now = self.now;
        let sim = &mut self.units[unit];
        if sim.says.main_pid.is_none() {
            return;
        }
        let stopping = sim.says.active == ActiveState::Deactivating;
        let was_up = sim.is_up();
        // The process is gone before systemd has taken note of it.
        sim.says.main_exit = Some(now - micros(200));
        sim.says.exit = Some(exit);
        sim.says.main_pid = None;
        sim.says.control_group = None;
        let clean = exit == Exit::Status(0) || stopping && exit == Exit::Signal(15);
        if let Some(result) = result {
            sim.says.result = result.into();
        } else if sim.says.result == "success" && !clean {
            sim.says.result =
                if matches!(exit, Exit::Status(_)) { "exit-code".into() } else { "signal".into() };
        }
        if was_up {
            sim.says.active_exit = Some(now - micros(100));
        }
        sim.says.inactive_enter = Some(now - micros(50));
        if was_up {
            self.ledger_left(unit);
        }
        let sim = &mut self.units[unit];
        let good = sim.says.result == "success";
        let restarts = match sim.says.restart.as_str() {
            "always" => true,
            "on-failure" => !good,
            _ => false,
        };
        let job = sim.job.clone();
        let stop_job = job.as_ref().is_some_and(|job| matches!(job.kind, Kind::Stop | Kind::Restart));
        if restarts && !stopping && !stop_job {
            sim.says.active = ActiveState::Activating;
            sim.says.sub = "auto-restart".into();
            sim.says.inactive_exit = Some(now);
            let delay = sim.says.restart_delay.unwrap_or(millis(100));
            self.entered(unit, "auto-restart");
            let epoch = self.units[unit].epoch;
            self.later(delay, Coming::Timer(unit, epoch, Timer::AutoRestart));
            if job.is_some() {
                self.end_job(unit, JobResult::Failed);
            }
            return;
        }
        sim.says.active = if good { ActiveState::Inactive } else { ActiveState::Failed };
        sim.says.sub = if good { "dead".into() } else { "failed".into() };
        let killed = sim.killed;
        self.entered(unit, if good { "inactive" } else { "failed" });
        match job {
            Some(job) if job.kind == Kind::Restart && (stopping || killed || !was_up) => {
                // The same job starts it.
                self.begin(unit);
            }
            Some(job) if job.kind == Kind::Restart => self.begin(unit),
            Some(job) if job.kind == Kind::Stop => self.end_job(unit, JobResult::Done),
            Some(job) if job.kind == Kind::Start && stopping => self.begin(unit),
            Some(_) => self.end_job(unit, JobResult::Failed),
            None => {}
        }
    }

    /// ResetFailedUnit. Returns whether anything was to be done.
    pub fn reset_failed(&mut self, unit: U) -> bool {
        let sim = &mut self.units[unit];
        sim.starts.clear();
        if sim.says.active != ActiveState::Failed {
            return false;
        }
        sim.says.active = ActiveState::Inactive;
        sim.says.sub = "dead".into();
        sim.says.result = "success".into();
        sim.says.restarts = 0;
        self.entered(unit, "inactive (reset)");
        true
    }

    /// The unit is in another state: what was due before is void, and everybody is told.
    fn entered(&mut self, unit: U, state: &'static str) {
        self.units[unit].epoch += 1;
        self.stir();
        self.note(Trace::Unit(unit, state));
        self.signal(unit, Signal::Changed);
        if self.around.database_unit == Some(unit) {
            self.database_changed();
        }
        if self.units[unit].is_down()
            && !self.monitor.is_up()
            && self.units[unit].says.active == ActiveState::Inactive
        {
            self.unload(unit);
        }
    }

    /// Nobody holds it: a unit that is down and not failed is forgotten.
    pub fn unload(&mut self, unit: U) {
        let needed = self.units.iter().any(|other| other.requires == Some(unit) && other.is_loaded());
        if self.units[unit].job.is_some() || needed {
            return;
        }
        self.forget(unit);
        // What it needs was held by it.
        let needed = self.units[unit].requires.filter(|needed| !self.units[*needed].is_loaded());
        if let Some(needed) = needed {
            self.unload(needed);
        }
    }

    /// systemd knows nothing of it any more but what its file says.
    fn forget(&mut self, unit: U) {
        let says = &self.units[unit].says;
        let watching = (0..self.members.len()).filter(|member| self.members[*member].unit == unit);
        let loses = watching.into_iter().any(|member| self.ledger.members[member].loses_stop(says));
        let sim = &mut self.units[unit];
        let stopped = matches!(sim.wish, Wish::Stopped { .. });
        if matches!(sim.wish, Wish::Up | Wish::StoppedWith(_)) || stopped && loses {
            sim.wish = Wish::Forgotten;
        }
        let fresh = nothing();
        let says = &sim.says;
        sim.says = UnitReading {
            load: says.load,
            enabled: says.enabled,
            restart: says.restart.clone(),
            restart_delay: says.restart_delay,
            timeout_start: says.timeout_start,
            timeout_stop: says.timeout_stop,
            kill_mode: says.kill_mode.clone(),
            ..fresh
        };
        sim.starts.clear();
    }

    /// What a unit looks like after the host was booted.
    pub fn boot_unit(&mut self, unit: U) {
        let now = self.now;
        self.units[unit].job = None;
        self.units[unit].epoch += 1;
        self.forget(unit);
        let sim = &mut self.units[unit];
        sim.frozen = None;
        let needs = sim.requires;
        let starts = sim.says.enabled && sim.says.load == LoadState::Loaded;
        let starts = starts && needs.is_none_or(|needed| self.units[needed].is_up());
        if !starts {
            self.units[unit].wish = Wish::Off;
            return;
        }
        self.invocations += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.invocations.to_le_bytes());
        let sim = &mut self.units[unit];
        sim.wish = Wish::Up;
        sim.says.invocation = Some(InvocationId(id));
        sim.says.inactive_exit = Some(now);
        sim.says.main_pid = Some(900);
        sim.says.control_group = Some(format!("/system.slice/{}", sim.name));
        sim.begun_by = Who::Systemd;
        sim.process.begin();
        self.go_up(unit);
    }
}
