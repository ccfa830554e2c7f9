//! Who stopped it: follows one unit from start to end, and says at its end whether somebody asked.
//!
//! Live, job signals tell. Afterwards (signals lost, monitor away) timestamps tell: a stop job takes
//! the unit out of `active` before the main process ends, a process that ends by itself does so
//! before the unit leaves `active`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::mutation::{Mutation, active};
use super::names::UnitName;
use super::unit::{ActiveState, Exit, InvocationId, JobId, JobResult, UnitReading};

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
    /// The last invocation that was seen up.
    pub last_up: Option<InvocationId>,
    /// How the last one ended, and which it was.
    pub end: Option<(Option<InvocationId>, Ending)>,
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
    /// One that is not pending any more, though its JobRemoved was not taken in yet: a reading may
    /// overtake the signal.
    foreign_gone: Option<JobId>,
    /// One that ended `done` since the unit was last seen up (or since its end was concluded).
    foreign_done: Option<JobId>,
    /// Jobs that we were told to be ours; bounded.
    ours: VecDeque<JobId>,
    /// What it depends on and ran without, when it was last seen up: that did not take it down.
    ran_without: Vec<UnitName>,
    was_auto_restarting: bool,
    /// The job of the automatic restart: the first since its pause was seen. A further one is somebody's.
    healing_job: Option<JobId>,
    /// The run that was seen on its way down under a job that is not ours.
    taken_down: Option<InvocationId>,
    restarts: u32,
    looked: bool,
}

impl Life {
    /// Goes on from what was kept.
    #[must_use]
    pub fn restore(memory: LifeMemory) -> Self {
        Self { memory, ..Self::default() }
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

    /// A job that is not ours is pending.
    #[must_use]
    pub fn foreign_job(&self) -> Option<JobId> {
        self.foreign
    }

    /// Signals may have been lost: from here on timestamps decide, until it is seen up again.
    pub fn lost(&mut self) {
        self.continuous = false;
        self.foreign = None;
        self.foreign_gone = None;
        // One that is known to be done stays so.
    }

    /// That job is ours.
    pub fn ours(&mut self, job: JobId) {
        for known in [&mut self.foreign, &mut self.foreign_gone, &mut self.foreign_done] {
            if *known == Some(job) {
                *known = None;
            }
        }
        self.ours.push_back(job);
        if self.ours.len() > 16 {
            self.ours.pop_front();
        }
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
        if self.past.contains(&job) {
            return;
        }
        let healing = self.was_auto_restarting && self.healing_job.get_or_insert(job) == &job;
        if !self.ours.contains(&job) && !healing {
            self.foreign = Some(job);
        }
    }

    /// A job on the unit ended.
    pub fn job_removed(&mut self, job: JobId, result: JobResult) {
        self.told = true;
        // Its beginning may have been lost.
        let healing = self.was_auto_restarting && self.healing_job.is_none_or(|healing| healing == job);
        let known = !self.ours.contains(&job) && !self.past.contains(&job) && !healing;
        for foreign in [&mut self.foreign, &mut self.foreign_gone] {
            if *foreign == Some(job) {
                *foreign = None;
            }
        }
        if known && result == JobResult::Done {
            self.foreign_done = Some(job);
        }
    }

    /// Takes a reading. `acting`: a recovery of ours is between its first and its last step, so an
    /// end is its doing and nothing is concluded. `settled`: the unit was down at an earlier
    /// reading already, so that the signals which belong to its end have been taken in.
    pub fn read(&mut self, unit: &UnitReading, acting: bool, settled: bool) -> Option<Change> {
        let healing = unit.auto_restarting();
        if let Some(job) = unit.job {
            // An automatic restart takes nothing down.
            let stopping = unit.active == ActiveState::Deactivating;
            let healed = healing
                || (self.was_auto_restarting
                    && !stopping
                    && self.healing_job.is_none_or(|healing| healing == job));
            if !self.ours.contains(&job) && !acting && !healed {
                self.foreign = Some(job);
                if stopping {
                    self.taken_down = unit.invocation;
                }
            }
        } else {
            // Whatever we believed to be pending is over; its JobRemoved is on its way, or lost.
            self.foreign_gone = self.foreign.take().or(self.foreign_gone);
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
            if !healing {
                self.healing_job = None;
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
        } else {
            Starter::Somebody
        };
        let known = self.memory.last_up.is_some() && self.memory.last_up == unit.invocation;
        if unit.job.is_none() {
            let down = unit.dependencies.iter().filter(|other| other.active.is_down());
            self.ran_without = down.map(|other| other.unit.clone()).collect();
            // A job that ended while it stayed up (a reload) explains no later end.
            self.pass();
            self.told = false;
        }
        self.continuous = true;
        // A run that the monitor before us knew is still news to us: it may be in its grace.
        if known && self.memory.end.is_none() && self.looked {
            return None;
        }
        self.memory = LifeMemory { last_up: unit.invocation, end: None };
        Some(Change::Started(starter))
    }

    /// Everything was concluded from the jobs of others that are over.
    fn pass(&mut self) {
        for job in [self.foreign_done.take(), self.foreign_gone.take()].into_iter().flatten() {
            self.past.push_back(job);
            if self.past.len() > 16 {
                self.past.pop_front();
            }
        }
    }

    fn conclude(&mut self, unit: &UnitReading) -> Option<Change> {
        // One whose end was not told is believed if the timestamps say the same.
        let asked = self.foreign_done.is_some() || self.foreign_gone.is_some();
        self.pass();
        if let Some((invocation, ending)) = &self.memory.end
            && *invocation == unit.invocation
        {
            // Somebody stops what is down already: that, too, is a wish to keep it down.
            if asked && matches!(ending, Ending::ByItself | Ending::StoppedWith(_)) && !unit.condition_failed
            {
                return Some(self.end(unit, Ending::Stopped));
            }
            return None;
        }
        if unit.invocation.is_none() && unit.inactive_exit.is_none() {
            // Forgotten since: what was known of its end stays known.
            if let Some((invocation, Ending::Stopped | Ending::StoppedWith(_))) = &mut self.memory.end {
                *invocation = None;
                return None;
            }
            // Never ran in this boot, unless we saw it run.
            return self.memory.last_up.is_some().then(|| self.end(unit, Ending::Unloaded));
        }
        let stopped = if self.continuous {
            // The moment of a crash may coincide with somebody's reload or restart: then the
            // timestamps have the last word. Where they say nothing, a run that began under the job was
            // started by it, not stopped. In the pause before Restart= jobs say nothing, since the
            // restart itself is one.
            let same_run = self.memory.last_up == unit.invocation
                || (self.taken_down.is_some() && self.taken_down == unit.invocation);
            // Where nothing was told of its end, or not of the job that SIGTERM must have come from, the
            // signals were lost.
            let by_job = stopped_by_job(unit);
            let terminated = unit.exit == Some(Exit::Signal(15));
            let unheard = (!self.told || terminated) && by_job == Some(true) && !is_systemds_doing(unit);
            asked && by_job.unwrap_or(same_run) || unheard || stopped_before_it_ran(unit)
        } else {
            match stopped_by_job(unit) {
                Some(stopped) => stopped && !is_systemds_doing(unit),
                None => stopped_before_it_ran(unit) || unit.result == "success" && unit.main_exit.is_none(),
            }
        };
        let ending = if stopped && !active(Mutation::AdminStopIgnored) {
            self.stopped_with(unit)
        } else {
            Ending::ByItself
        };
        Some(self.end(unit, ending))
    }

    fn stopped_with(&self, unit: &UnitReading) -> Ending {
        let gone =
            unit.dependencies.iter().filter(|dependency| !self.ran_without.contains(&dependency.unit)).find(
                |dependency| dependency.active.is_down() || dependency.active == ActiveState::Deactivating,
            );
        gone.map_or(Ending::Stopped, |dependency| Ending::StoppedWith(dependency.unit.clone()))
    }

    fn end(&mut self, unit: &UnitReading, ending: Ending) -> Change {
        self.memory.end = Some((unit.invocation, ending.clone()));
        Change::Ended(ending)
    }
}

/// What the timestamps of the last run say; nothing when they belong to an earlier one.
fn stopped_by_job(unit: &UnitReading) -> Option<bool> {
    let (began, left, exited) = (unit.inactive_exit?, unit.active_exit?, unit.main_exit?);
    (left >= began && exited >= began).then_some(left < exited)
}

/// A watchdog or OOM kill takes the unit out of `active` before its process ends, too; and whoever runs
/// into the start limit wanted it started.
fn is_systemds_doing(unit: &UnitReading) -> bool {
    matches!(unit.result.as_str(), "watchdog" | "oom-kill" | "start-limit-hit")
}

/// It was on its way up, no process of it had begun yet, and it went down without having failed:
/// somebody stopped it during the pause before `Restart=`, or before its turn had come.
fn stopped_before_it_ran(unit: &UnitReading) -> bool {
    let nothing_ran = match (unit.inactive_exit, unit.main_exit) {
        (Some(began), Some(exited)) => exited < began,
        _ => false,
    };
    nothing_ran
        && unit.active == ActiveState::Inactive
        && !unit.condition_failed
        && unit.result != "exec-condition"
}

#[cfg(test)]
mod tests {
    use super::super::testing::{down, up};
    use super::super::time::Moment;
    use super::super::unit::Dependency;
    use super::*;

    fn at(micros: i64) -> Option<Moment> {
        Some(Moment::from_micros(micros))
    }

    /// A unit that ran as invocation 1 and is down; `left` and `exited` are its timestamps.
    fn ended(left: i64, exited: i64) -> UnitReading {
        UnitReading { active_exit: at(left), main_exit: at(exited), ..down(1) }
    }

    #[test]
    fn an_end_of_which_nothing_was_told_is_read_from_its_timestamps() {
        for (unit, ending) in [(ended(19, 20), Ending::Stopped), (ended(20, 19), Ending::ByItself)] {
            let mut life = Life::default();
            let _ = life.read(&up(1), false, true);
            assert_eq!(life.read(&unit, false, true), Some(Change::Ended(ending)));
        }
        // An app that says STOPPING=1 by itself leaves `active` before it ends; that nobody asked is told.
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.told();
        assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::ByItself)));
    }

    #[test]
    fn the_end_of_a_job_is_enough_and_counts_once() {
        let mut life = Life::default();
        let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
        let fallen = needs(ActiveState::Inactive, ended(19, 20));
        life.job_removed(JobId(7), JobResult::Done);
        let with = Ending::StoppedWith("db.service".parse().unwrap());
        assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(with.clone())));
        life.job_removed(JobId(7), JobResult::Done);
        assert_eq!(life.read(&fallen, false, true), None, "the same job again");
        assert_eq!(life.ending(), Some(&with));
    }

    #[test]
    fn down_without_a_job_nobody_asked() {
        let mut life = Life::default();
        assert_eq!(life.read(&up(1), false, true), Some(Change::Started(Starter::BeforeUs)));
        life.told();
        assert_eq!(life.read(&ended(20, 19), false, false), None, "not settled yet");
        assert_eq!(life.read(&ended(20, 19), false, true), Some(Change::Ended(Ending::ByItself)));
        assert_eq!(life.read(&ended(20, 19), false, true), None, "told once");
    }

    #[test]
    fn down_under_a_foreign_job_is_a_stop() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.job_new(JobId(7));
        life.job_removed(JobId(7), JobResult::Done);
        assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::Stopped)));
    }

    #[test]
    fn a_foreign_restart_is_one_job_and_a_new_invocation() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.job_new(JobId(7));
        let between = UnitReading { job: Some(JobId(7)), ..ended(19, 20) };
        assert_eq!(life.read(&between, false, true), None, "never judged at the inactive in between");
        life.job_removed(JobId(7), JobResult::Done);
        assert_eq!(life.read(&up(2), false, true), Some(Change::Started(Starter::Somebody)));
    }

    #[test]
    fn a_watchdog_kill_is_no_stop_though_its_timestamps_look_like_one() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        let killed = UnitReading { result: "watchdog".into(), ..ended(19, 20) };
        assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::ByItself)));
        let mut away = Life::restore(life.memory().clone());
        away.memory.end = None;
        assert_eq!(away.read(&killed, false, true), Some(Change::Ended(Ending::ByItself)));
    }

    #[test]
    fn a_restart_that_ran_into_the_start_limit_while_we_were_away_is_no_stop() {
        let refused =
            UnitReading { active: ActiveState::Failed, result: "start-limit-hit".into(), ..ended(19, 20) };
        let mut life = Life::restore(LifeMemory { last_up: refused.invocation, end: None });
        assert_eq!(life.read(&refused, false, true), Some(Change::Ended(Ending::ByItself)));
    }

    #[test]
    fn while_we_were_away_the_timestamps_tell() {
        for (unit, ending) in [
            (ended(19, 20), Ending::Stopped),
            (UnitReading { active: ActiveState::Failed, ..ended(19, 20) }, Ending::Stopped),
            (ended(20, 20), Ending::ByItself),
            (UnitReading { active: ActiveState::Failed, ..ended(20, 19) }, Ending::ByItself),
        ] {
            let mut life = Life::restore(LifeMemory { last_up: unit.invocation, end: None });
            assert_eq!(life.read(&unit, false, true), Some(Change::Ended(ending)));
        }
    }

    #[test]
    fn a_unit_that_systemd_forgot_was_stopped() {
        let gone = UnitReading { invocation: None, inactive_exit: None, active_exit: None, ..down(1) };
        let mut life = Life::restore(LifeMemory { last_up: up(1).invocation, end: None });
        assert_eq!(life.read(&gone, false, true), Some(Change::Ended(Ending::Unloaded)));
        let mut fresh = Life::default();
        assert_eq!(fresh.read(&gone, false, true), None, "never ran in this boot");
    }

    /// The auto-restart state began at 21, after the crash.
    fn healing() -> UnitReading {
        let healing = UnitReading { inactive_exit: at(21), ..ended(20, 19) };
        UnitReading { active: ActiveState::Activating, sub: "auto-restart".into(), ..healing }
    }

    #[test]
    fn a_stop_during_the_pause_before_an_automatic_restart_is_a_stop() {
        let stopped = UnitReading { inactive_exit: at(21), result: "exit-code".into(), ..ended(20, 19) };
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        assert_eq!(life.read(&healing(), false, true), None);
        life.job_new(JobId(9));
        life.job_removed(JobId(9), JobResult::Done);
        assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
        let mut away = Life::restore(LifeMemory { last_up: stopped.invocation, end: None });
        assert_eq!(away.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
    }

    #[test]
    fn a_stop_at_the_moment_of_an_automatic_restart_is_a_stop() {
        // It was on its way up again, so that ActiveExitTimestamp is still that of the crash.
        let began = |unit| UnitReading { inactive_exit: at(21), invocation: up(2).invocation, ..unit };
        let going =
            UnitReading { active: ActiveState::Deactivating, job: Some(JobId(10)), ..began(ended(20, 19)) };
        let stopped = began(ended(20, 30));
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        assert_eq!(life.read(&healing(), false, true), None);
        life.job_new(JobId(9));
        life.job_removed(JobId(9), JobResult::Canceled);
        life.job_new(JobId(10));
        assert_eq!(life.read(&going, false, true), None);
        assert_eq!(life.foreign_job(), Some(JobId(10)));
        life.job_removed(JobId(10), JobResult::Done);
        assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
    }

    #[test]
    fn an_automatic_restart_that_is_refused_is_no_stop() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        assert_eq!(life.read(&healing(), false, true), None);
        life.job_new(JobId(9));
        life.job_removed(JobId(9), JobResult::Failed);
        let refused =
            UnitReading { active: ActiveState::Failed, result: "start-limit-hit".into(), ..healing() };
        let refused = UnitReading { sub: "failed".into(), ..refused };
        assert_eq!(life.read(&refused, false, true), Some(Change::Ended(Ending::ByItself)));
    }

    #[test]
    fn a_reading_may_overtake_the_end_of_the_job() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.job_new(JobId(7));
        assert_eq!(life.read(&ended(19, 20), false, false), None);
        life.job_removed(JobId(7), JobResult::Done);
        assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::Stopped)));
    }

    #[test]
    fn what_it_ran_without_did_not_take_it_down() {
        let db =
            |active| Dependency { unit: "db.service".parse().unwrap(), active, job: false, needed: true };
        let with = |unit, active| UnitReading { dependencies: vec![db(active)], ..unit };
        for (before, expected) in [
            (ActiveState::Active, Ending::StoppedWith("db.service".parse().unwrap())),
            (ActiveState::Failed, Ending::Stopped),
        ] {
            let mut life = Life::default();
            let _ = life.read(&with(up(1), before), false, true);
            life.job_new(JobId(7));
            life.job_removed(JobId(7), JobResult::Done);
            let down = with(ended(19, 20), ActiveState::Failed);
            assert_eq!(life.read(&down, false, true), Some(Change::Ended(expected)));
        }
    }

    #[test]
    fn a_reload_explains_no_later_crash() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.job_new(JobId(7));
        life.job_removed(JobId(7), JobResult::Done);
        let _ = life.read(&up(1), false, true);
        assert_eq!(life.read(&ended(20, 19), false, true), Some(Change::Ended(Ending::ByItself)));
    }

    #[test]
    fn ours_is_known_whichever_comes_first() {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.job_new(JobId(7));
        life.ours(JobId(7));
        assert_eq!(life.foreign_job(), None);
        life.job_removed(JobId(7), JobResult::Done);
        assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::ByItself)));
    }

    fn needs(active: ActiveState, unit: UnitReading) -> UnitReading {
        let database = Dependency { unit: "db.service".parse().unwrap(), active, job: false, needed: true };
        UnitReading { dependencies: vec![database], ..unit }
    }

    #[test]
    fn a_stop_of_what_went_down_with_another_is_a_stop() {
        let mut life = Life::default();
        let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
        let fallen = needs(ActiveState::Inactive, ended(19, 20));
        life.job_new(JobId(7));
        life.job_removed(JobId(7), JobResult::Done);
        let with = Ending::StoppedWith("db.service".parse().unwrap());
        assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(with)));
        life.job_new(JobId(8));
        life.job_removed(JobId(8), JobResult::Done);
        assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(Ending::Stopped)));
    }

    #[test]
    fn a_known_stop_stays_known_when_systemd_forgets_the_unit() {
        let end = Some((up(1).invocation, Ending::StoppedWith("db.service".parse().unwrap())));
        let mut life = Life::restore(LifeMemory { last_up: up(1).invocation, end: end.clone() });
        let gone = UnitReading { invocation: None, inactive_exit: None, active_exit: None, ..down(1) };
        assert_eq!(life.read(&gone, false, true), None);
        assert_eq!(life.ending(), end.as_ref().map(|(_, ending)| ending));
    }
}
