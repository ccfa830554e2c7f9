//! The steps of a recovery: how they follow each other, and how each of them can end.

use std::time::Duration;

use super::app::App;
use super::budget::{Breaker, Budget};
use super::companion;
use super::effect::{ActId, Effect};
use super::errands::Seen;
use super::level::Level;
use super::mutation::{Mutation, active};
use super::observation::CheckKind;
use super::plan::{Circumstances, Outcome, Step, plan};
use super::policy::ClearCaches;
use super::record::{EventKind, StepReport};
use super::recovery::{Intent, Phase, Recovery};
use super::target::{Role, Stragglers};
use super::time::{Moment, Span};
use super::unit::{ActiveState, JobId, UnitReading};
use super::verdict::{Condition, Verdict};
use super::wanting::{Want, Why};

/// How long to hold back after somebody refused or was in the way.
const HOLD: Duration = Duration::from_secs(10);

/// What a monitor that is told to end still has to do, so that it leaves no app stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastWill {
    /// A stop of ours is still pending: help it along with SIGKILL.
    pub kill: bool,
}

impl App {
    /// Begins a recovery; the host has granted a slot.
    pub(super) fn begin(&mut self, now: Moment, want: Want, out: &mut Vec<Effect>) {
        let Some(unit) = self.unit.clone() else { return };
        if self.recovery.is_some() {
            // One that is being verified: whether it would have helped, nobody will know.
            self.give_way(now, "a person asks for another", out);
        }
        match want.why {
            Why::Dependency => {
                let times = self.dependency_starts.map_or(0, |(_, times)| times);
                self.dependency_starts = Some((now, times.saturating_add(1)));
            }
            Why::WithoutDatabase => {
                self.tried_without = true;
                self.note_database_start(now);
            }
            Why::DatabaseBack => self.note_database_start(now),
            Why::Loop => self.loops.broken(now),
            // It stays up, however often it was restarted before.
            Why::Fault if unit.active == ActiveState::Active => self.loops.over(),
            Why::Asked | Why::Fault | Why::Memory => {}
        }
        let by = self.asked.take();
        self.owed_start = false;
        let memory = want.why == Why::Memory;
        let policy = self.policy.clone();
        let attempt = match want.why {
            Why::Fault | Why::Memory => Some(self.budget_for(memory).begin(now, &policy)),
            _ => None,
        };
        let steps = self.steps_for(&unit, want.why, attempt.unwrap_or(1));
        self.acts += 1;
        let intent = Intent {
            act: ActId(self.acts),
            cause: self.verdict,
            text: self.verdict_text.clone(),
            steps,
            next: 0,
            began: now,
            attempt,
            memory,
            before: unit.invocation,
            run: None,
        };
        let recovery = Recovery { intent, phase: Phase::Acting, step_since: now, again: None };
        let doing = recovery.doing();
        let number = match attempt {
            Some(number) => self.attempt_words(number, memory),
            None => {
                let by = by.filter(|_| want.asked()).map_or_else(String::new, |by| format!(" by {by}"));
                format!("{}{by}, uncounted", want.why.words())
            }
        };
        // What for, where it is not said already: lines of several apps may stand between.
        let cause = attempt.map_or_else(String::new, |_| format!("{}; ", self.verdict));
        let line = format!("{cause}{doing}, {number}");
        self.recovery = Some(recovery);
        self.forget_rounds();
        self.tell(out, EventKind::RecoveryStarted, Level::Info, line);
        self.perform(now, out);
    }

    /// Which attempt it is, for people. Those that an open breaker lets through are beyond the count.
    pub(super) fn attempt_words(&self, number: u32, memory: bool) -> String {
        let budget = if memory { &self.memory_budget } else { &self.budget };
        match budget.breaker() {
            Breaker::Closed => format!("attempt {number} of {}", budget.allowed(&self.policy)),
            Breaker::Open { .. } | Breaker::HalfOpen => "a careful attempt after giving up".to_owned(),
        }
    }

    /// On which of the two budgets a recovery counts.
    pub(super) fn budget_for(&mut self, memory: bool) -> &mut Budget {
        if memory { &mut self.memory_budget } else { &mut self.budget }
    }

    /// The steps of a recovery.
    pub(super) fn steps_for(&self, unit: &UnitReading, why: Why, attempt: u32) -> Vec<Step> {
        if self.is_companion() {
            let (role, memory) = (&self.target.role, &self.companion.memory);
            return companion::plan(role, unit, memory, &self.policy, self.last_unanswered);
        }
        plan(&self.policy, self.circumstances(unit, why, attempt))
    }

    /// What the plan depends on.
    pub(super) fn circumstances<'a>(
        &self,
        unit: &'a UnitReading,
        why: Why,
        attempt: u32,
    ) -> Circumstances<'a> {
        let answers = unit.active == ActiveState::Active && self.history.good_in_a_row() > 0;
        // One that answers, and only uses too much, has nothing in its way.
        let again = attempt > 1 && why == Why::Fault;
        let foreign = self.port_holder().is_some() || self.verdict == Verdict::PortTaken;
        let reaping = self.target.stragglers != Stragglers::Never && self.target.port.is_some();
        let has_caches = unit.cache_directory
            || (!self.target.caches.is_empty()
                && (self.target.working_directory.is_some() || unit.working_directory.is_some()));
        let clearing = match self.policy.clear_caches {
            ClearCaches::Never => false,
            ClearCaches::Retry => again || why == Why::Loop,
            ClearCaches::Always => true,
        };
        let checked = self.trouble_since.is_some_and(|since| {
            self.errands.seen_since(CheckKind::Preflight, since).is_some_and(Seen::is_good)
        });
        let app = self.target.role == Role::App;
        Circumstances {
            unit,
            unanswered: self.last_unanswered,
            answers,
            attempt,
            preflight: app && self.target.has(CheckKind::Preflight) && !checked,
            reap: app && reaping && (foreign || again),
            clear_caches: app && has_caches && clearing,
            reclaim_swap: app && self.wants_swap(),
            apart: why == Why::Loop,
        }
    }

    /// Memory of the host was the matter, and swap was not had back yet in this incident.
    fn wants_swap(&self) -> bool {
        self.policy.reclaim_swap
            && self.conditions.contains_key(&Condition::HostMemory)
            && self.incident.as_ref().is_none_or(|incident| !incident.swap_reclaimed)
    }

    /// Writes the intent, then asks for the step.
    pub(super) fn perform(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = &self.recovery else { return };
        let Some(step) = recovery.current() else { return };
        if self.stopping && !active(Mutation::ShutdownIgnored) {
            self.give_way(now, "the host is going down", out);
            return;
        }
        if !active(Mutation::IntentNotWritten) {
            out.push(Effect::Persist);
        }
        out.push(Effect::Perform(recovery.intent.act, step));
    }

    pub(super) fn take_queued(&mut self, act: ActId, job: JobId) {
        if self.recovery.as_ref().is_some_and(|recovery| recovery.intent.act == act) {
            self.life.ours(job);
        }
    }

    pub(super) fn take_killed(&mut self, act: ActId, out: &mut Vec<Effect>) {
        if self.recovery.as_ref().is_some_and(|recovery| recovery.intent.act == act) {
            let text = "it does not stop by itself; SIGKILL to all of its processes".to_owned();
            self.tell(out, EventKind::StepDone, Level::Info, text);
        }
    }

    pub(super) fn take_outcome(&mut self, now: Moment, act: ActId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.as_ref().filter(|recovery| recovery.intent.act == act) else {
            return;
        };
        let Some(step) = recovery.current().filter(|_| recovery.phase == Phase::Acting) else { return };
        let began = recovery.step_since;
        let took = Span(now.since(began));
        // Nothing is lost when one of these did not work: the start will tell. Only where somebody else
        // holds the port, and was not ended, there is no point in starting.
        let minor = match step {
            Step::Start | Step::Restart { .. } | Step::Stop { .. } | Step::Reload => false,
            Step::Reap => recovery.intent.cause != Verdict::PortTaken || recovery.stopped_it(),
            _ => true,
        };
        let took_ms = u64::try_from(now.since(began).as_millis()).unwrap_or(u64::MAX);
        let done = matches!(outcome, Outcome::Done | Outcome::Told(_) | Outcome::AlreadySo);
        self.step_report = Some(StepReport { step: step.word().to_owned(), done, took_ms });
        if step == Step::ReclaimSwap
            && let Some(incident) = &mut self.incident
        {
            incident.swap_reclaimed = true;
        }
        self.companion_step(&step, &outcome, out);
        if matches!(step, Step::Start | Step::Restart { .. }) {
            self.life.start_of_ours_ended(began, now);
        }
        match outcome {
            Outcome::Done | Outcome::Told(_) | Outcome::AlreadySo => {
                // That lesser things are allowed is no news.
                if !minor {
                    self.take_consent(now, out);
                }
                if outcome != Outcome::AlreadySo {
                    let what = if let Outcome::Told(what) = outcome { what } else { "done".into() };
                    self.tell(out, EventKind::StepDone, Level::Info, format!("{step}: {what} in {took}"));
                }
                self.advance(now, out);
            }
            Outcome::Unknown(why) if !minor => {
                // It may have happened, or happen yet: whether the app gets healthy will tell. The job
                // that was seen meanwhile is the one that nobody told us of.
                self.life.adopt();
                self.tell(
                    out,
                    EventKind::StepFailed,
                    Level::Warn,
                    format!("{step}: outcome not known: {why}"),
                );
                if matches!(step, Step::Stop { .. }) {
                    // What needs it to be down is left out; its start is not.
                    if let Some(recovery) = &mut self.recovery {
                        recovery.skip_to_start();
                    }
                    self.advance(now, out);
                } else {
                    self.land(now, out);
                }
            }
            Outcome::Canceled => {
                self.hold_until = Some(now + HOLD);
                self.abandon(now, &step, "somebody else decided", out);
            }
            Outcome::Conflict(why) => {
                self.hold_until = Some(now + HOLD);
                self.abandon(now, &step, &format!("somebody else is at work: {why}"), out);
            }
            // What comes after a lesser step would be hindered as well: it is said once, by whichever met it
            // first, and all of it is made up for when polkit is back.
            Outcome::Hindered(why) => self.take_refused(now, &step, &why, out),
            Outcome::Refused(why) if !minor => self.take_refused(now, &step, &why, out),
            Outcome::Dependency(why) if !minor => {
                // No fault of the app's, and no remedy either: it is tried again without counting.
                self.hold_until = Some(now + self.policy.cooldown.max(HOLD));
                self.abandon(now, &step, &why, out);
            }
            Outcome::Skipped if !minor => self.step_failed(now, &step, "skipped by systemd", out),
            // Where it was never good, that proves nothing, and the recovery goes on.
            Outcome::Failed(why) if step == Step::Preflight && self.was_ever_good(CheckKind::Preflight) => {
                // What is missing becomes the verdict; until then nothing is started into it.
                self.hold_until = Some(now + HOLD);
                self.abandon(now, &step, &why, out);
            }
            Outcome::TimedOut(why) | Outcome::Failed(why) if !minor => {
                self.step_failed(now, &step, &why, out)
            }
            Outcome::Unknown(why)
            | Outcome::Refused(why)
            | Outcome::TimedOut(why)
            | Outcome::Failed(why)
            | Outcome::Dependency(why) => {
                self.tell(out, EventKind::StepFailed, Level::Warn, format!("{step}: {why}"));
                self.advance(now, out);
            }
            Outcome::Skipped => self.advance(now, out),
        }
        self.step_report = None;
    }

    /// Nothing is done for us now: the longer it is so, the more rarely it is tried.
    fn take_refused(&mut self, now: Moment, step: &Step, why: &str, out: &mut Vec<Effect>) {
        self.take_refusal(now, format!("{step} of {}: {why}", self.target.unit), out);
        let refused = self.conditions.get(&Condition::MayNotAct).map(|state| now.since(state.since));
        let most = self.policy.cooldown_max.max(HOLD);
        self.hold_until = Some(now + refused.unwrap_or(HOLD).clamp(HOLD, most));
        self.abandon(now, step, why, out);
    }

    pub(super) fn advance(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.intent.next += 1;
        recovery.step_since = now;
        recovery.again = None;
        let Some(recovery) = &self.recovery else { return };
        let unit = self.unit.as_ref();
        if recovery.current().is_some() && self.went_down(recovery) {
            self.give_way(now, "it went down meanwhile", out);
        } else if recovery.current().is_some() && self.life.interfered() {
            // Between two steps of ours; whether it was a start or a stop, it takes the place of ours.
            self.give_way(now, "somebody else decided", out);
        } else if recovery.current().is_some() && recovery.stopped_it() && another_run(recovery, unit) {
            // All that is left had it to be down; nothing may have been told of whoever started it.
            self.give_way(now, "somebody started it meanwhile", out);
        } else if recovery.current().is_some() && self.pause.is_some() && recovery.may_be_left() {
            self.give_way(now, "paused", out);
        } else if recovery.current().is_some() && self.load_bad_since.is_some() {
            self.give_way(now, "its unit file was taken away", out);
        } else if let Some(recovery) = self.recovery.as_mut().filter(|recovery| recovery.current().is_some())
        {
            recovery.phase = Phase::Acting;
            self.perform(now, out);
        } else {
            self.land(now, out);
        }
    }

    /// It was up when this began, or in the pause before `Restart=`, and is down by no step of ours: it fell,
    /// or somebody stopped it, which its timestamps tell.
    pub(super) fn went_down(&self, recovery: &Recovery) -> bool {
        self.unit.as_ref().is_some_and(|unit| {
            let down = unit.active.is_down() && !unit.auto_restarting();
            let same_run = unit.invocation.is_some() && unit.invocation == recovery.intent.before;
            let since = recovery.stops_it_yet() || same_run && self.end_is_unclear();
            down && !recovery.stopped_it() && since
        })
    }

    /// Somebody's job ended while a step of ours was under way that is none: the wish is taken down
    /// at once, since a monitor that is killed would know nothing of it.
    pub(super) fn heed(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let jobless = self.recovery.as_ref().is_some_and(|recovery| {
            recovery.phase == Phase::Acting
                && !matches!(
                    recovery.current(),
                    None | Some(Step::Start | Step::Restart { .. } | Step::Stop { .. } | Step::Reload)
                )
        });
        if jobless && self.life.interfered() {
            self.give_way(now, "somebody else decided", out);
        }
    }

    /// All steps are behind it: look at the unit, then verify.
    pub(super) fn land(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.intent.next = recovery.intent.steps.len();
            recovery.phase = Phase::Landing { since: now };
        }
        self.dirty = true;
        self.ask_reading(now, out);
    }

    pub(super) fn step_failed(&mut self, now: Moment, step: &Step, why: &str, out: &mut Vec<Effect>) {
        self.tell(out, EventKind::StepFailed, Level::Warn, format!("{step}: {why}"));
        self.failed(now, &format!("{step} failed"), out);
    }

    /// Somebody else's decision comes first: this was no attempt.
    pub(super) fn abandon(&mut self, now: Moment, step: &Step, why: &str, out: &mut Vec<Effect>) {
        self.tell(out, EventKind::StepFailed, Level::Info, format!("{step}: {why}"));
        self.give_way(now, "given up", out);
    }

    pub(super) fn give_way(&mut self, now: Moment, why: &str, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.take() else { return };
        if recovery.intent.attempt.is_some() {
            self.budget_for(recovery.intent.memory).withdraw();
        }
        let stops = matches!(recovery.current(), Some(Step::Stop { .. }));
        if recovery.stopped_it() {
            self.life.ended_by_us(recovery.intent.before);
        } else if stops && self.goes_down_by_us() {
            self.life.still_stopped_by_us(recovery.intent.before);
        } else {
            self.loops.spared(recovery.intent.began);
        }
        self.dirty = true;
        self.tell(
            out,
            EventKind::RecoveryFailed,
            Level::Info,
            format!("{why}; it does not count as an attempt"),
        );
        self.ask_reading(now, out);
    }

    /// It was on its way down under a job of ours when it was last read.
    fn goes_down_by_us(&self) -> bool {
        let going = self.unit.as_ref().filter(|unit| unit.active == ActiveState::Deactivating);
        going.and_then(|unit| unit.job).is_some_and(|job| self.life.is_ours(job))
    }

    /// Somebody else started the app: our remaining steps are void, and it is watched like a start
    /// of ours.
    pub(super) fn foreign_start(&mut self, now: Moment, _out: &mut Vec<Effect>) {
        self.budget.foreign_start();
        self.hold_until = None;
        let until = now + self.verify_within();
        if let Some(recovery) = &mut self.recovery
            && !recovery.is_acting()
        {
            recovery.phase = Phase::Verifying { since: now, until, well_since: None };
        }
    }

    /// The pending job that a monitor before this one seems to have queued for the step under way.
    #[must_use]
    pub fn acts_again(&self) -> Option<JobId> {
        self.recovery.as_ref()?.again
    }

    /// What has to be done before the monitor may end. A RestartUnit job is left to systemd; only
    /// between our own stop and start would the app stay down.
    #[must_use]
    pub fn last_will(&self) -> Option<LastWill> {
        let recovery =
            self.recovery.as_ref().filter(|_| !self.stopping && self.life.foreign_job().is_none())?;
        if recovery.phase == Phase::Resuming && recovery.stopped_it() && recovery.current().is_some() {
            return Some(LastWill { kill: false });
        }
        let step = recovery.current().filter(|_| recovery.phase == Phase::Acting)?;
        let stopped_by_us = recovery.intent.steps[..=recovery.intent.next]
            .iter()
            .any(|step| matches!(step, Step::Stop { .. }));
        stopped_by_us.then_some(LastWill { kill: matches!(step, Step::Stop { .. }) })
    }
}

/// It runs, and that is not the run which this recovery was for: a reading that is older than our stop shows
/// that one still.
fn another_run(recovery: &Recovery, unit: Option<&UnitReading>) -> bool {
    unit.is_some_and(|unit| unit.active == ActiveState::Active && unit.invocation != recovery.intent.before)
}

#[cfg(test)]
mod tests;
