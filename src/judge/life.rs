//! Who stopped it: follows one unit from start to end, and says at its end whether somebody asked.
//!
//! Live, job signals tell. Afterwards (signals lost, monitor away) timestamps tell: a stop job takes
//! the unit out of `active` before the main process ends, a process that ends by itself does so
//! before the unit leaves `active`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::mutation::{Mutation, active};
use super::names::UnitName;
use super::time::Moment;
use super::unit::{ActiveState, Exit, InvocationId, JobId, JobResult, UnitReading};
use company::Company;
use timestamps::{is_systemds_doing, outlived_its_process, stopped_by_job, stopped_on_its_way_up, took_long};

mod alongside;
mod company;
mod timestamps;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Nobody asked.
    ByItself,
    /// By a stop job that is not ours.
    Stopped,
    /// By a stop that took it down together with that unit.
    StoppedWith(UnitName),
    /// systemd forgot all about the unit, which it only does after a clean end.
    Unloaded,
}

/// Who began a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Starter {
    /// It ran already when we looked first.
    BeforeUs,
    /// A recovery of ours.
    Ours,
    /// `Restart=`.
    Systemd,
    /// Somebody else: a person, a deploy, a dependency, a socket.
    Somebody,
}

/// What a reading changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new invocation.
    Started(Starter),
    /// The last one ended so.
    Ended(Ending),
}

/// What is kept over a restart of the monitor, within one boot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LifeMemory {
    /// The last invocation that was seen up, or the first that was seen at all, on its way down.
    pub last_up: Option<InvocationId>,
    /// How the last one ended, and which it was.
    pub end: Option<(Option<InvocationId>, Ending)>,
    /// The run that a stop of ours is still taking down, and its job: it was waited for long enough, and
    /// goes on by itself.
    pub stopping: Option<(InvocationId, Option<JobId>)>,
}

/// Follows one unit.
#[derive(Clone, Debug, Default)]
pub struct Life {
    memory: LifeMemory,
    /// No signal was lost since the unit was last seen up, so that silence means something.
    continuous: bool,
    /// Something was told of the unit since it was last seen up: an end of which nothing was told is one
    /// whose signals were lost.
    told: bool,
    /// Jobs that were not ours and from which everything was concluded; bounded.
    past: VecDeque<JobId>,
    /// A job on the unit that is not known to be ours.
    foreign: Option<JobId>,
    /// One that was when signals were lost, until the next reading tells.
    doubtful: Option<JobId>,
    /// One that is not pending any more, though its JobRemoved was not taken in yet: a reading may
    /// overtake the signal.
    foreign_gone: Option<JobId>,
    /// One that ended `done` since the unit was last seen up (or since its end was concluded).
    foreign_done: Option<JobId>,
    /// Jobs that we were told to be ours; bounded.
    ours: VecDeque<JobId>,
    /// The run that was seen on its way down since it was last seen up, and the job under which.
    seen_going: Option<(InvocationId, Option<JobId>)>,
    was_auto_restarting: bool,
    /// The job of the automatic restart: the first since its pause was seen. A further one is somebody's.
    healing_job: Option<JobId>,
    /// That pause: since when, and how many restarts there were before it.
    pause: Option<(Option<Moment>, u32)>,
    /// How many restarts there were when it was seen first: systemd counts the next one before its job runs.
    restarts_before: u32,
    /// A job of somebody failed: it was to start the unit, since none that stops it ever does.
    start_failed: bool,
    /// What it depends on, and may have gone down with.
    company: Company,
    restarts: u32,
    /// When the last start of ours began, and when its end was heard of.
    our_start: Option<(Moment, Moment)>,
    looked: bool,
}

impl Life {
    /// Goes on from what was kept.
    #[must_use]
    pub fn restore(memory: LifeMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Knows the jobs that were followed until now, under another configuration of the same unit, and what
    /// goes down with it: its way down may be a long one.
    pub fn goes_on(&mut self, before: Self) {
        (self.ours, self.past) = (before.ours, before.past);
        (self.foreign, self.foreign_gone) = (before.foreign, before.foreign_gone);
        self.foreign_done = before.foreign_done;
        self.company.goes_on(before.company);
    }

    /// What has to be kept.
    #[must_use]
    pub fn memory(&self) -> &LifeMemory {
        &self.memory
    }

    /// How the last run ended, if it did.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.memory.end.as_ref().map(|(_, ending)| ending)
    }

    /// The end that is known is that of the unit's last run.
    #[must_use]
    pub fn knows_end_of(&self, unit: &UnitReading) -> bool {
        self.memory.end.as_ref().is_some_and(|(invocation, _)| *invocation == unit.invocation)
    }

    /// It was seen to run in this boot, or how a run of it ended.
    #[must_use]
    pub fn knows_a_run(&self) -> bool {
        self.memory.last_up.is_some() || self.memory.end.is_some()
    }

    /// A job that is not ours is pending, as far as is known.
    #[must_use]
    pub fn foreign_job(&self) -> Option<JobId> {
        self.foreign.or(self.doubtful)
    }

    /// Signals may have been lost: from here on timestamps decide, until it is seen up again.
    pub fn lost(&mut self) {
        self.continuous = false;
        self.doubtful = self.foreign.take().or(self.doubtful);
        self.foreign_gone = None;
        self.company.lost();
        // One that is known to be done stays so.
    }

    /// That job is ours.
    pub fn ours(&mut self, job: JobId) {
        let foreign = [&mut self.foreign, &mut self.doubtful, &mut self.foreign_gone, &mut self.foreign_done];
        for known in foreign {
            if *known == Some(job) {
                *known = None;
            }
        }
        self.ours.push_back(job);
        if self.ours.len() > 16 {
            self.ours.pop_front();
        }
    }

    /// A stop of ours, which was queued last, is still to take that run down, and nobody waits for it any
    /// more.
    pub fn still_stopped_by_us(&mut self, run: Option<InvocationId>) {
        self.memory.stopping = run.map(|run| (run, self.ours.back().copied()));
    }

    /// Our own stop is still taking it down, or has done so at last.
    fn is_stopped_by_us(&self, unit: &UnitReading) -> bool {
        self.memory.stopping.is_some_and(|(run, _)| unit.invocation == Some(run))
    }

    /// That run was ended by a stop of ours, and its start was given up: nobody else wants it to be down.
    pub fn ended_by_us(&mut self, run: Option<InvocationId>) {
        if self.memory.last_up == run && self.memory.end.is_none() {
            self.memory.end = Some((run, Ending::ByItself));
        }
    }

    /// A start of ours, which began then, has ended, be it well: systemd counts its own restarts from zero
    /// since then, and may be at them before the next reading is taken in.
    pub fn start_of_ours_ended(&mut self, began: Moment, now: Moment) {
        self.restarts = 0;
        self.our_start = Some((began, now));
    }

    /// It began while a start of ours was under way, and nothing was heard of anybody else's.
    fn was_started_by_us(&self, unit: &UnitReading) -> bool {
        let meanwhile = self.our_start.zip(unit.inactive_exit);
        meanwhile.is_some_and(|((from, until), began)| began >= from && began <= until) && !self.interfered()
    }

    /// The foreign job that is or was pending is ours after all.
    pub fn adopt(&mut self) {
        let jobs = [self.foreign, self.foreign_gone, self.foreign_done];
        jobs.into_iter().flatten().for_each(|job| self.ours(job));
    }

    /// Somebody else's job was seen, and nothing was concluded from it yet.
    #[must_use]
    pub fn interfered(&self) -> bool {
        self.foreign.is_some() || self.foreign_gone.is_some() || self.foreign_done.is_some()
    }

    /// systemd told something of the unit.
    pub fn told(&mut self) {
        self.told = true;
    }

    /// A job was queued on the unit.
    pub fn job_new(&mut self, job: JobId) {
        self.told = true;
        if active(Mutation::ForeignIsOurs) {
            self.ours(job);
        }
        if self.past.contains(&job) || self.came_before_our_stop(job) {
            return;
        }
        let healing = self.was_auto_restarting && self.healing_job.get_or_insert(job) == &job;
        if !self.ours.contains(&job) && !healing {
            self.foreign = Some(job);
            self.company.joined();
        }
    }

    /// A job was queued on what it depends on.
    pub fn job_beside(&mut self, other: UnitName, job: JobId) {
        self.told = true;
        self.company.queued(other, job);
    }

    /// A job on what it depends on ended.
    pub fn job_beside_removed(&mut self, job: JobId) {
        self.told = true;
        self.company.removed(job);
    }

    /// A job on the unit ended.
    pub fn job_removed(&mut self, job: JobId, result: JobResult) {
        self.told = true;
        // Its beginning may have been lost.
        let healing = self.was_auto_restarting && self.healing_job.is_none_or(|healing| healing == job);
        let somebodys = !self.ours.contains(&job) && !healing && !self.came_before_our_stop(job);
        let known = somebodys && !self.past.contains(&job);
        for foreign in [&mut self.foreign, &mut self.doubtful, &mut self.foreign_gone] {
            if *foreign == Some(job) {
                *foreign = None;
            }
        }
        if known && result == JobResult::Done {
            self.foreign_done = Some(job);
        }
        // Be it one that a reading showed to be over before that was told.
        self.start_failed |= somebodys && result == JobResult::Failed;
    }

    /// It was seen on its way down under a stop of ours, and that job had come before: it took nothing down,
    /// however late it is told of. Their numbers rise (org.freedesktop.systemd1(5), JobNew).
    fn came_before_our_stop(&self, job: JobId) -> bool {
        let under = self.seen_going.and_then(|(_, under)| under);
        under.is_some_and(|under| self.ours.contains(&under) && job < under)
    }

    fn pass_what_came_before(&mut self) {
        let jobs = [self.foreign, self.foreign_gone, self.foreign_done];
        for job in jobs.into_iter().flatten() {
            if self.came_before_our_stop(job) {
                self.past.push_back(job);
            }
        }
        self.bound_past();
        for job in [&mut self.foreign, &mut self.foreign_gone, &mut self.foreign_done] {
            *job = job.filter(|job| !self.past.contains(job));
        }
    }

    /// That job is known to be ours.
    #[must_use]
    pub fn is_ours(&self, job: JobId) -> bool {
        self.ours.contains(&job)
    }

    /// Takes a reading. `acting`: a recovery of ours is between its first and its last step, so an
    /// end is its doing and nothing is concluded. `settled`: the unit was down at an earlier
    /// reading already, so that the signals which belong to its end have been taken in.
    pub fn read(&mut self, unit: &UnitReading, acting: bool, settled: bool) -> Option<Change> {
        let healing = unit.auto_restarting();
        self.doubtful = None;
        if healing {
            let pause = (unit.inactive_exit, unit.restarts);
            let before = self.pause.replace(pause);
            if before != Some(pause) {
                // The restart is counted when its job is there already.
                self.healing_job = self.healing_job.filter(|job| unit.job == Some(*job));
            }
            if before.is_none_or(|(since, _)| since != unit.inactive_exit) {
                self.restarts_before = unit.restarts;
            }
            if unit.job.is_none() {
                // Whatever ended before the pause explains nothing that comes after it.
                self.pass();
            }
        }
        if let Some((_, Some(job))) = self.memory.stopping.filter(|(_, job)| *job == unit.job)
            && !self.ours.contains(&job)
        {
            // A monitor before this one had queued it.
            self.ours(job);
        }
        if let Some(job) = unit.job {
            // An automatic restart takes nothing down.
            let stopping = unit.active == ActiveState::Deactivating;
            let healed = healing
                || (self.was_auto_restarting
                    && !stopping
                    && self.healing_job.is_none_or(|healing| healing == job));
            let healed = healed || self.healing_job == Some(job);
            if healed && !healing {
                self.healing_job = Some(job);
            }
            if !self.ours.contains(&job) && !acting && !healed {
                self.foreign = Some(job);
                if stopping {
                    self.company.goes_down(unit, job, self.continuous);
                }
            }
        } else {
            // Whatever we believed to be pending is over; its JobRemoved is on its way, or lost.
            self.foreign_gone = self.foreign.take().or(self.foreign_gone);
        }
        if unit.active == ActiveState::Deactivating {
            self.seen_going = unit.invocation.map(|run| (run, unit.job));
            self.pass_what_came_before();
            // It ran, though nobody saw it up.
            self.memory.last_up = self.memory.last_up.or(unit.invocation);
        }
        if !unit.active.is_down() {
            self.company.comes_up(unit);
        }
        let change = if unit.active.is_down() && !healing {
            (unit.job.is_none() && !acting && settled).then(|| self.conclude(unit)).flatten()
        } else if matches!(
            unit.active,
            ActiveState::Active | ActiveState::Reloading | ActiveState::Activating
        ) && !healing
        {
            self.up(unit, acting)
        } else {
            None
        };
        if !unit.active.is_down() || change.is_some() {
            if !healing && self.healing_job.is_some() && unit.job != self.healing_job {
                // Should its end be told of later, it means nothing any more.
                self.past.extend(self.healing_job.take());
                self.bound_past();
            }
            self.was_auto_restarting = healing;
        }
        self.restarts = unit.restarts;
        self.looked = true;
        change
    }

    fn up(&mut self, unit: &UnitReading, acting: bool) -> Option<Change> {
        let starter = if !self.looked {
            Starter::BeforeUs
        } else if acting {
            Starter::Ours
        } else if self.was_auto_restarting || unit.restarts > self.restarts {
            Starter::Systemd
        } else if self.was_started_by_us(unit) {
            Starter::Ours
        } else {
            Starter::Somebody
        };
        let known = self.memory.last_up.is_some() && self.memory.last_up == unit.invocation;
        // Before it is up, the job that is to start it is pending still.
        if unit.job.is_none() || unit.active == ActiveState::Activating {
            self.company.runs(unit);
        }
        if unit.job.is_none() {
            // A job that ended while it stayed up (a reload) explains no later end.
            self.pass();
            self.company.passed();
            self.told = false;
            self.start_failed = false;
            self.memory.stopping = None;
        }
        self.continuous = true;
        self.seen_going = None;
        // A run that the monitor before us knew is still news to us: it may be in its grace.
        if known && self.memory.end.is_none() && self.looked {
            return None;
        }
        let stopping = self.memory.stopping.filter(|_| self.is_stopped_by_us(unit));
        self.memory = LifeMemory { last_up: unit.invocation, end: None, stopping };
        Some(Change::Started(starter))
    }

    /// Everything was concluded from the jobs of others that are over.
    fn pass(&mut self) {
        for job in [self.foreign_done.take(), self.foreign_gone.take()].into_iter().flatten() {
            self.past.push_back(job);
        }
        self.bound_past();
    }

    fn bound_past(&mut self) {
        while self.past.len() > 16 {
            self.past.pop_front();
        }
    }

    fn conclude(&mut self, unit: &UnitReading) -> Option<Change> {
        let done = self.foreign_done.is_some();
        let start_failed = std::mem::take(&mut self.start_failed);
        // One whose end was not told is believed if the timestamps say the same.
        let asked = done || self.foreign_gone.is_some();
        self.pass();
        if let Some((invocation, ending)) = &self.memory.end
            && *invocation == unit.invocation
        {
            // Somebody stops what is down already: that, too, is a wish to keep it down.
            if asked && matches!(ending, Ending::ByItself | Ending::StoppedWith(_)) && !unit.condition_failed
            {
                return Some(self.end(unit, Ending::Stopped));
            }
            // Somebody wants it up again, and it failed by that (the start limit does so).
            if start_failed && *ending != Ending::ByItself && unit.active == ActiveState::Failed {
                return Some(self.end(unit, Ending::ByItself));
            }
            return None;
        }
        if unit.invocation.is_none() && unit.inactive_exit.is_none() {
            // Forgotten since: what was known of its end stays known.
            if let Some((invocation, Ending::Stopped | Ending::StoppedWith(_))) = &mut self.memory.end {
                *invocation = None;
                return None;
            }
            // Never ran in this boot, unless we saw it run. Who stops it all the same wants it to stay so.
            let unwanted = done && !unit.condition_failed;
            return if self.knows_a_run() {
                Some(self.end(unit, Ending::Unloaded))
            } else {
                unwanted.then(|| self.end(unit, Ending::Stopped))
            };
        }
        let taken_down = unit.invocation.is_some_and(|run| self.company.was_taken_down(run));
        let stopped = if self.is_stopped_by_us(unit) {
            // The timestamps are those of a stop, which is ours, unless another job came after it.
            asked
        } else if self.continuous {
            // The moment of a crash may coincide with somebody's reload or restart: then the
            // timestamps have the last word. Where they say nothing, a run that began under the job was
            // started by it, not stopped. In the pause before Restart= jobs say nothing, since the
            // restart itself is one.
            let same_run = self.memory.last_up == unit.invocation;
            // Where nothing was told of its end, or not of the job that SIGTERM must have come from, or it
            // took its time to go down and that was not seen, the signals were lost.
            let by_job = stopped_by_job(unit);
            let terminated = unit.exit == Some(Exit::Signal(15));
            let seen = self.seen_going.is_some_and(|(run, _)| unit.invocation == Some(run));
            let unseen = !seen && took_long(unit);
            let unheard =
                (!self.told || terminated || unseen) && by_job == Some(true) && !is_systemds_doing(unit);
            // A start that came to nothing ends in `failed`, and so does a loop that systemd gave up. But
            // no job that is to start it is done before it is up.
            let not_up = unit.result == "timeout" && unit.active_enter < unit.inactive_exit;
            // Whichever run that was, where none of the jobs that were told of failed: one that waits for
            // it to be up would have.
            let below = same_run && (unit.active == ActiveState::Inactive || not_up);
            let of_this_run = taken_down || done && (below || not_up && !start_failed);
            let on_its_way = stopped_on_its_way_up(unit) && (asked || !self.restart_came_to_nothing(unit));
            asked && by_job.unwrap_or(of_this_run) || unheard || on_its_way
        } else {
            match stopped_by_job(unit) {
                Some(stopped) => stopped && !is_systemds_doing(unit),
                None => {
                    asked && taken_down
                        || stopped_on_its_way_up(unit)
                        || unit.result == "success"
                            && (unit.main_exit.is_none() || outlived_its_process(unit))
                }
            }
        };
        let ending = if stopped && !active(Mutation::AdminStopIgnored) {
            self.company.took_down(unit, self.continuous).map_or(Ending::Stopped, Ending::StoppedWith)
        } else {
            Ending::ByItself
        };
        Some(self.end(unit, ending))
    }

    /// The pause before `Restart=` was over, and the restart began: what it needs did not come up, so that no
    /// process of it ever ran. On 252 the unit is down by then as if somebody had stopped it in the pause; on
    /// 257 it stays `auto-restart-queued`.
    fn restart_came_to_nothing(&self, unit: &UnitReading) -> bool {
        let same_pause = self.pause.is_some_and(|(since, _)| since == unit.inactive_exit);
        same_pause && unit.restarts > self.restarts_before && unit.main_exit <= unit.inactive_exit
    }

    fn end(&mut self, unit: &UnitReading, ending: Ending) -> Change {
        self.memory.stopping = None;
        self.memory.end = Some((unit.invocation, ending.clone()));
        Change::Ended(ending)
    }
}

#[cfg(test)]
mod tests;
