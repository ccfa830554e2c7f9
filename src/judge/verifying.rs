//! Whether a recovery helped: taken over from an earlier monitor, landing, verified or failed.

use std::time::Duration;

use super::app::{App, SETTLE};
use super::budget::Gate;
use super::effect::Effect;
use super::level::Level;
use super::names::UnitName;
use super::observation::{CheckKind, Finding, Observation};
use super::plan::Step;
use super::policy::Mode;
use super::record::EventKind;
use super::recovery::Phase;
use super::time::{Moment, Span};
use super::unit::ActiveState;
use super::verdict::Verdict;

/// The least that a verification is given where nothing is configured.
const VERIFY_AT_LEAST: Duration = Duration::from_secs(30);
/// How long a job of a recovery that was taken over may take.
const JOB_AT_MOST: Duration = Duration::from_secs(900);
/// A recovery that had not begun when the monitor went away is taken up within that time; after it,
/// the app is judged anew.
const STALE: Duration = Duration::from_secs(60);
/// How long the reading after the last step is waited for.
const LAND_WITHIN: Duration = Duration::from_secs(30);

impl App {
    /// As configured, or `startup_grace` and 30 s at least; and never less than what the app's own
    /// starts have shown it to need.
    pub(super) fn verify_within(&self) -> Duration {
        let usual = self.policy.startup_grace.max(VERIFY_AT_LEAST);
        self.policy.verify_within.unwrap_or(usual).max(self.learned_grace())
    }

    /// Follows a recovery: taken over, landing, verifying. Says what it would do, where it may not.
    pub(super) fn pursue(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.say_would(now, out);
        let fresh = self.unit.is_some() && self.unreadable_since.is_none();
        match self.recovery.as_ref().map(|recovery| recovery.phase) {
            Some(Phase::Resuming) if fresh => self.take_over(now, out),
            Some(Phase::Landing { since }) if self.read_since(since) || now.since(since) >= LAND_WITHIN => {
                self.companion_landed(now);
                self.own_stop();
                self.verify_from(now);
                // What failed meanwhile is no less in trouble than what fails from now on: what it leans on has to
                // be asked first.
                self.trouble_since = self.trouble_since.or(self.history.bad_since());
                // It fell again under the recovery, whose readings conclude nothing: one of its own tells
                // who ended it, before a later stop by somebody is taken for part of the fall.
                if self.end_is_unclear() {
                    self.ask_reading(now, out);
                }
                // The verdict was that of the cause until here; from now on it is that of the app.
                self.judge(now, out);
            }
            Some(Phase::Verifying { since, until, well_since }) => {
                self.verify(now, since, until, well_since, out);
            }
            _ => {}
        }
    }

    /// Still down from a stop of ours, whose start was not heard to come to anything: nobody else wants it so.
    fn own_stop(&mut self) {
        let (Some(unit), Some(recovery)) = (&self.unit, &self.recovery) else { return };
        if unit.active.is_down() && unit.invocation == recovery.intent.before && recovery.stopped_it() {
            self.life.ended_by_us(recovery.intent.before);
        }
    }

    pub(super) fn read_since(&self, since: Moment) -> bool {
        self.read_begun.is_some_and(|begun| begun >= since) && self.read_asked.is_none()
    }

    pub(super) fn verify_from(&mut self, now: Moment) {
        let until = now + self.verify_within();
        if let Some(recovery) = &mut self.recovery {
            recovery.phase = Phase::Verifying { since: now, until, well_since: None };
        }
    }

    /// The monitor was restarted in the middle of it: finish it, do not repeat it.
    pub(super) fn take_over(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        let (Some(unit), Some(recovery)) = (self.unit.clone(), self.recovery.as_ref()) else { return };
        // What systemd has forgotten since was started all the same, if that was seen.
        let forgotten = unit.invocation.is_none() && unit.inactive_exit.is_none();
        let restarted = match unit.invocation {
            Some(run) => Some(run) != recovery.intent.before,
            None => forgotten && recovery.intent.run.is_some(),
        };
        let step = recovery.current();
        if step.is_some() && self.life.interfered() {
            self.give_way(now, "somebody else is at work", out);
            return;
        }
        if let Some(job) = unit.job {
            let has_stop = matches!(step, Some(Step::Restart { .. } | Step::Stop { .. }));
            let usable = self.load_bad_since.is_none();
            if unit.active == ActiveState::Deactivating && !restarted && has_stop && usable {
                // Asked for again it merges into the job that is pending, and is helped along with
                // SIGKILL where that is due; against somebody else's stop a restart is refused.
                if let Some(recovery) = &mut self.recovery {
                    recovery.again = Some(job);
                }
                self.go_on(now, out);
            } else if unit.active == ActiveState::Deactivating {
                // What we started is being stopped: no step of ours does that.
                self.give_way(now, "somebody else is at work", out);
            } else if now.since(recovery.intent.began) > JOB_AT_MOST {
                self.failed(now, "its job does not end", out);
            } else {
                self.life.ours(job);
            }
            return;
        }
        let down = unit.active.is_down() && !unit.auto_restarting();
        match step {
            None => self.land(now, out),
            Some(_) if self.load_bad_since.is_some() => {
                self.give_way(now, "its unit file was taken away", out);
            }
            Some(_) if restarted && !down => self.land(now, out),
            // It was up again meanwhile, so our start is behind it. The timestamps will tell whether
            // it fell or was stopped.
            Some(_) if restarted => self.give_way(now, "the monitor was away meanwhile", out),
            Some(Step::Stop { .. }) if down => self.advance(now, out),
            // A restart has both halves in one job: should that have ended below, its start failed, or
            // somebody's stop replaced it.
            Some(_) if self.went_down(recovery) => {
                self.give_way(now, "the monitor was away meanwhile", out);
            }
            Some(_) if recovery.stopped_it() || self.may_take_up(now, down) => self.go_on(now, out),
            Some(_) => self.give_way(now, "not begun before the monitor went away", out),
        }
    }

    /// Nothing was done yet: is it still wanted? An app that is up may be well by now.
    pub(super) fn may_take_up(&self, now: Moment, down: bool) -> bool {
        let recent = self.recovery.as_ref().is_some_and(|recovery| now.since(recovery.intent.began) < STALE);
        self.policy.mode == Mode::Act && self.pause.is_none() && (down || recent)
    }

    /// Takes the step up that the monitor was in when it ended.
    pub(super) fn go_on(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.phase = Phase::Acting;
        recovery.step_since = now;
        let text = "the monitor was restarted in the middle of a recovery; going on with it";
        self.tell(out, EventKind::RecoveryStarted, Level::Info, text.into());
        self.perform(now, out);
    }

    pub(super) fn verify(
        &mut self,
        now: Moment,
        since: Moment,
        until: Moment,
        well_since: Option<Moment>,
        out: &mut Vec<Effect>,
    ) {
        let well_since = self.is_well_enough().then(|| well_since.unwrap_or(now));
        if let Some(recovery) = &mut self.recovery {
            recovery.phase = Phase::Verifying { since, until, well_since };
        }
        let unsuspected = self.history.bad_in_a_row() == 0;
        if well_since.is_some_and(|well| now.since(well) >= self.policy.min_uptime) && unsuspected
            || self.verdict == Verdict::Idle
        {
            self.verified(now, out);
            return;
        }
        if self.end_is_unclear() {
            // The verdict is still that of before; who ended it is known in a moment.
            if self.down_seen.is_some_and(|seen| now.since(seen) >= SETTLE) {
                self.ask_reading(now, out);
            }
            return;
        }
        match self.verdict {
            Verdict::StoppedByAdmin
            | Verdict::StoppedWithDependency
            | Verdict::ShuttingDown
            | Verdict::Masked
            | Verdict::NotFound
            // Not the recovery's fault.
            | Verdict::DatabaseDown
            | Verdict::ConfigMissing => self.give_way(now, self.verdict.word(), out),
            verdict if verdict.is_fault() || verdict == Verdict::PortTaken => {
                self.failed(now, &self.headline(), out);
            }
            // What somebody else is doing, or nobody can see, says nothing about our recovery.
            Verdict::Changing if self.life.foreign_job().is_some() => self.verify_from(now),
            Verdict::Paused => self.verify_from(now),
            Verdict::Unknown if self.unreadable_since.is_some() => self.verify_from(now),
            _ if now >= until && well_since.is_none() && self.deciding_blind().is_some() => {
                self.verify_from(now);
            }
            Verdict::Changing | Verdict::SystemdRestarting if now < until => {}
            // Not confirmed yet, but known well enough to blame nothing else.
            _ if now >= until && well_since.is_none() && self.lacks_something(now) => {
                self.give_way(now, "what it leans on is not there", out);
            }
            _ if now >= until && well_since.is_none() => {
                let text = format!("not healthy within {}: {}", Span(until.since(since)), self.headline());
                self.failed(now, &text, out);
            }
            _ => {}
        }
    }

    fn lacks_something(&self, now: Moment) -> bool {
        self.database_down(now).is_some() || self.config_missing().is_some()
    }

    /// Healthy, or up and nothing that could prove it otherwise: a check that was never good fails
    /// no verification.
    pub(super) fn is_well_enough(&self) -> bool {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        let proof = self.companion.is_witnessed()
            || self.decisive_kinds().into_iter().any(|kind| {
                self.was_ever_good(kind)
                    || self.latest.get(&kind).is_none_or(|seen| seen.finding == Finding::Unknown)
            });
        self.verdict == Verdict::Healthy
            || (up && !proof && matches!(self.verdict, Verdict::Starting | Verdict::Unknown))
    }

    /// The check that decides about its health cannot be made: as last seen.
    pub(super) fn deciding_blind(&self) -> Option<&Observation> {
        let kinds = self.decisive_kinds();
        let decides = kinds.iter().find(|kind| **kind == CheckKind::Http).or(kinds.first())?;
        self.latest.get(decides).filter(|seen| seen.finding == Finding::Unknown)
    }

    pub(super) fn verified(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.take() else { return };
        self.dirty = true;
        self.failed_at = None;
        let back = match recovery.phase {
            Phase::Verifying { well_since: Some(well), .. } => well,
            _ => now,
        };
        let text = format!(
            "recovered from {}: healthy {} after it began, and for {} since",
            recovery.intent.cause,
            Span(back.since(recovery.intent.began)),
            Span(now.since(back))
        );
        self.tell(out, EventKind::RecoveryVerified, Level::Info, text);
        let policy = self.policy.clone();
        self.set_off(&policy.after_recovery, out);
        if recovery.intent.attempt.is_some() && self.budget_for(recovery.intent.memory).verified(now) {
            let text = "more than 10 recoveries within an hour; from now on they count as attempts";
            self.tell_all(out, EventKind::RecoveryVerified, Level::Warn, text.into(), true);
            if self.budget_for(recovery.intent.memory).failed(now, &policy) {
                self.tell_breaker(out);
            }
        }
        // Where nothing can prove its health, that it stayed up is what the recovery was for.
        if (self.verdict.is_well() || self.verdict == Verdict::Unknown) && !self.is_unheard() {
            self.close_incident(now, out);
        }
    }

    /// Hooks behind a recovery: they are started, and nothing waits for them.
    pub(super) fn set_off(&self, hooks: &[UnitName], out: &mut Vec<Effect>) {
        for hook in hooks {
            self.tell(
                out,
                EventKind::StepDone,
                Level::Info,
                format!("start hook {hook}: nothing waits for it"),
            );
            out.push(Effect::Hook(hook.clone()));
        }
    }

    pub(super) fn failed(&mut self, now: Moment, why: &str, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.take() else { return };
        self.dirty = true;
        self.failed_at = Some(now);
        // What its stop takes down, or has taken down, nobody else wants to be down.
        if recovery.stopped_it() {
            self.life.ended_by_us(recovery.intent.before);
        } else if matches!(recovery.current(), Some(Step::Stop { .. })) {
            self.life.still_stopped_by_us(recovery.intent.before);
        }
        let policy = self.policy.clone();
        let counted = recovery.intent.attempt.is_some();
        let opened = counted && self.budget_for(recovery.intent.memory).failed(now, &policy);
        let next = match self.next_attempt(now) {
            Some(Gate::NotBefore(at)) if counted && !opened => {
                format!("; next attempt in {}", Span(at.since(now)))
            }
            _ => String::new(),
        };
        self.tell(out, EventKind::RecoveryFailed, Level::Warn, format!("it did not help: {why}{next}"));
        if opened {
            self.tell_breaker(out);
        }
        self.ask_reading(now, out);
    }
}
