//! Recovery: when one may begin, how its steps follow each other, and whether it helped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::{App, SETTLE};
use super::budget::Gate;
use super::effect::{ActId, Effect};
use super::life::Ending;
use super::observation::Finding;
use super::plan::{Circumstances, Outcome, Step, plan};
use super::policy::Mode;
use super::record::{EventKind, Priority};
use super::time::{Moment, Span};
use super::unit::{ActiveState, InvocationId, JobId, LoadState, UnitReading};
use super::verdict::{Condition, Verdict};

/// How long to hold back after somebody refused or was in the way.
const HOLD: Duration = Duration::from_secs(10);
/// The least that a verification is given where nothing is configured.
const VERIFY_AT_LEAST: Duration = Duration::from_secs(30);

/// How long a job of a recovery that was taken over may take.
const JOB_AT_MOST: Duration = Duration::from_secs(900);
/// A recovery that had not begun when the monitor went away is taken up within that time; after it,
/// the app is judged anew.
const STALE: Duration = Duration::from_secs(60);
/// How long the reading after the last step is waited for.
const LAND_WITHIN: Duration = Duration::from_secs(30);

/// A recovery, as it is written ahead of its first act.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Which recovery.
    pub act: ActId,
    /// The verdict that called for it.
    pub cause: Verdict,
    /// Its evidence.
    pub text: String,
    /// The whole plan.
    pub steps: Vec<Step>,
    /// The step that is under way, or about to be; all are behind it when it equals their number.
    pub next: usize,
    /// When it began.
    pub began: Moment,
    /// Its number, where it counts as an attempt.
    pub attempt: Option<u32>,
    /// The invocation that was up, or the last one, when it began.
    pub before: Option<InvocationId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A step is under way.
    Acting,
    /// Taken over from a monitor that was restarted: the world is looked at first.
    Resuming,
    /// All steps are behind it; a reading that was asked for afterwards is awaited.
    Landing { since: Moment },
    /// Is it healthy, and does it stay so?
    Verifying { since: Moment, until: Moment, well_since: Option<Moment> },
}

/// A recovery under way.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub act: ActId,
    pub cause: Verdict,
    pub text: String,
    steps: Vec<Step>,
    next: usize,
    began: Moment,
    attempt: Option<u32>,
    before: Option<InvocationId>,
    phase: Phase,
    step_since: Moment,
}

impl Recovery {
    pub fn restore(intent: Intent) -> Self {
        Self {
            act: intent.act,
            cause: intent.cause,
            text: intent.text,
            steps: intent.steps,
            next: intent.next,
            began: intent.began,
            attempt: intent.attempt,
            before: intent.before,
            phase: Phase::Resuming,
            step_since: intent.began,
        }
    }

    pub fn intent(&self) -> Intent {
        Intent {
            act: self.act,
            cause: self.cause,
            text: self.text.clone(),
            steps: self.steps.clone(),
            next: self.next,
            began: self.began,
            attempt: self.attempt,
            before: self.before,
        }
    }

    /// Between its first and its last step: it holds a slot, and what happens to the unit is its
    /// doing.
    pub fn is_acting(&self) -> bool {
        !matches!(self.phase, Phase::Verifying { .. })
    }

    /// The whole recovery in a word, for people.
    pub fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Verifying { .. } => "verifying",
            _ if self.steps.iter().any(|step| matches!(step, Step::Restart { .. } | Step::Stop { .. })) => {
                "restarting"
            }
            _ => "starting it",
        }
    }

    /// Its number, where it counts.
    pub fn attempt(&self) -> Option<u32> {
        self.attempt
    }

    /// systemd's own restart is part of it from here on.
    pub fn started_again(&mut self) {
        if let Phase::Verifying { well_since, .. } = &mut self.phase {
            *well_since = None;
        }
    }

    /// Time that nobody could use does not count.
    pub fn prolong(&mut self, length: Duration) {
        if let Phase::Verifying { until, well_since, .. } = &mut self.phase {
            *until = *until + length;
            *well_since = None;
        }
    }

    /// A stop of ours is behind it: without its start, the app would stay down by our doing.
    fn stopped_it(&self) -> bool {
        self.steps[..self.next].iter().any(|step| matches!(step, Step::Stop { .. }))
    }

    fn current(&self) -> Option<Step> {
        self.steps.get(self.next).copied()
    }
}

/// An app that wants to be recovered now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Want {
    /// It is down, and goes before one that is only deaf.
    pub down: bool,
    /// A person asked.
    pub asked: bool,
}

/// What a monitor that is told to end still has to do, so that it leaves no app stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastWill {
    /// A stop of ours is still pending: help it along with SIGKILL.
    pub kill: bool,
}

impl App {
    /// Why a recovery that a person asks for is refused.
    #[must_use]
    pub fn refuses_recovery(&self) -> Option<String> {
        // At once, though it takes longer to become the verdict.
        if self.unit.as_ref().is_some_and(|unit| unit.load == LoadState::Masked) {
            return Some(format!(
                "its unit is masked; systemctl unmask {} is how to wish it otherwise",
                self.target.unit
            ));
        }
        match self.verdict {
            Verdict::NotFound | Verdict::Masked | Verdict::ShuttingDown | Verdict::Changing => {
                Some(self.headline())
            }
            Verdict::StoppedByAdmin => Some(format!(
                "{}; systemctl start {} is how to wish it otherwise",
                self.headline(),
                self.target.unit
            )),
            _ if self.unit.is_none() => Some("its unit was not read yet".into()),
            _ if self.unreadable_since.is_some() => Some("its unit cannot be read".into()),
            _ if self.recovery.as_ref().is_some_and(Recovery::is_acting) => {
                Some("a recovery is under way already".into())
            }
            _ => None,
        }
    }

    /// Does it want to be recovered, and may it?
    pub(super) fn wants(&self, now: Moment) -> Option<Want> {
        let unit = self.unit.as_ref().filter(|_| self.unreadable_since.is_none())?;
        let down = unit.active.is_down();
        if self.asked {
            return self.refuses_recovery().is_none().then_some(Want { down, asked: true });
        }
        if self.recovery.is_some()
            || self.policy.mode == Mode::Watch
            || self.hold_until.is_some_and(|until| now < until)
            || self.load_bad_since.is_some()
        {
            return None;
        }
        if self.waits_for_dependency() {
            let may = self.dependency_is_back() && self.dependency_gate().is_none_or(|at| now >= at);
            return may.then_some(Want { down, asked: false });
        }
        let may = self.verdict.is_fault()
            && !self.verdict_is_settling(now)
            && !self.answers_again(unit)
            && self.budget.gate(now, unit.inactive_exit, &self.policy) == Gate::Now;
        may.then_some(Want { down, asked: false })
    }

    /// A reading is under way that may change everything, e.g. one that a signal called for; or it
    /// is down, and who stopped it is not known yet.
    fn verdict_is_settling(&self, now: Moment) -> bool {
        self.read_asked.is_some_and(|asked| now.since(asked) < Duration::from_millis(500))
            || self.end_is_unclear()
    }

    fn end_is_unclear(&self) -> bool {
        self.life.ending().is_none()
            && self.unit.as_ref().is_some_and(|unit| {
                let down = unit.active.is_down() && !unit.auto_restarting();
                down && unit.job.is_none() && unit.inactive_exit.is_some()
            })
    }

    /// Its fault holds until `successes` rounds are good, but the latest is: an app that answers is
    /// left alone.
    fn answers_again(&self, unit: &UnitReading) -> bool {
        unit.active == ActiveState::Active && self.history.good_in_a_row() > 0
    }

    fn waits_for_dependency(&self) -> bool {
        match self.verdict {
            Verdict::StoppedWithDependency => true,
            Verdict::NotStarted => self.kept_down && self.unit.as_ref().is_some_and(|unit| unit.enabled),
            _ => false,
        }
    }

    /// A start that changed nothing (a condition of the unit is not met, say) is tried again ever more
    /// slowly.
    fn dependency_gate(&self) -> Option<Moment> {
        let (last, times) = self.dependency_starts?;
        let wait = self.policy.cooldown.saturating_mul(1 << (times - 1).min(16));
        Some(last + wait.min(self.policy.retry_interval.max(self.policy.cooldown)))
    }

    fn dependency_is_back(&self) -> bool {
        let Some(unit) = &self.unit else { return false };
        let ready = |state: ActiveState, job: bool| state == ActiveState::Active && !job;
        match self.life.ending() {
            Some(Ending::StoppedWith(name)) => unit
                .dependencies
                .iter()
                .filter(|other| other.unit == *name || other.needed)
                .all(|other| ready(other.active, other.job)),
            _ => unit
                .dependencies
                .iter()
                .filter(|other| other.needed)
                .all(|other| ready(other.active, other.job)),
        }
    }

    /// Begins a recovery; the host has granted a slot.
    pub(super) fn begin(&mut self, now: Moment, want: Want, out: &mut Vec<Effect>) {
        let Some(unit) = self.unit.clone() else { return };
        let uncounted = want.asked || self.waits_for_dependency();
        if uncounted && !want.asked {
            let times = self.dependency_starts.map_or(0, |(_, times)| times);
            self.dependency_starts = Some((now, times.saturating_add(1)));
        }
        self.asked = false;
        let attempt = (!uncounted).then(|| self.budget.begin(now, &self.policy));
        let answers = !self.verdict.is_fault() && self.history.good_in_a_row() > 0;
        let circumstances = Circumstances {
            unit: &unit,
            unanswered: self.last_unanswered,
            answers,
            attempt: attempt.unwrap_or(1),
        };
        let steps = plan(&self.policy, circumstances);
        self.acts += 1;
        let recovery = Recovery {
            act: ActId(self.acts),
            cause: self.verdict,
            text: self.verdict_text.clone(),
            steps,
            next: 0,
            began: now,
            attempt,
            before: unit.invocation,
            phase: Phase::Acting,
            step_since: now,
        };
        let doing = recovery.doing();
        let number = match attempt {
            Some(number) => format!("attempt {number} of {}", self.budget.allowed(&self.policy)),
            None if want.asked => "asked for by a person, uncounted".to_owned(),
            None => "what it needs is up again; uncounted".to_owned(),
        };
        let line = format!("{doing}, {number}");
        self.recovery = Some(recovery);
        self.forget_rounds();
        self.tell(out, EventKind::RecoveryStarted, Priority::Notice, line);
        self.perform(now, out);
    }

    /// Writes the intent, then asks for the step.
    fn perform(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = &self.recovery else { return };
        let Some(step) = recovery.current() else { return };
        if self.stopping {
            self.give_way(now, "the host is going down", out);
            return;
        }
        out.push(Effect::Persist);
        out.push(Effect::Perform(recovery.act, step));
    }

    pub(super) fn take_queued(&mut self, act: ActId, job: JobId) {
        if self.recovery.as_ref().is_some_and(|recovery| recovery.act == act) {
            self.life.ours(job);
        }
    }

    pub(super) fn take_killed(&mut self, act: ActId, out: &mut Vec<Effect>) {
        if self.recovery.as_ref().is_some_and(|recovery| recovery.act == act) {
            let text = "it does not stop by itself; SIGKILL to all of its processes".to_owned();
            self.tell(out, EventKind::StepDone, Priority::Info, text);
        }
    }

    pub(super) fn take_outcome(&mut self, now: Moment, act: ActId, outcome: Outcome, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.as_ref().filter(|recovery| recovery.act == act) else { return };
        let Some(step) = recovery.current().filter(|_| recovery.phase == Phase::Acting) else { return };
        let took = Span(now.since(recovery.step_since));
        // Nothing is lost when one of these did not work: the start will tell.
        let minor = matches!(step, Step::ResetFailed | Step::KillLeftovers);
        match outcome {
            Outcome::Done | Outcome::AlreadySo => {
                self.note(now, Condition::MayNotAct, None, out);
                if outcome == Outcome::Done {
                    self.tell(out, EventKind::StepDone, Priority::Info, format!("{step}: done in {took}"));
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
                    Priority::Warning,
                    format!("{step}: outcome not known: {why}"),
                );
                if matches!(step, Step::Stop { .. }) {
                    self.advance(now, out);
                } else {
                    self.land(now, out);
                }
            }
            Outcome::Canceled => self.abandon(now, step, "somebody else decided", out),
            Outcome::Conflict(why) => {
                self.hold_until = Some(now + HOLD);
                self.abandon(now, step, &format!("somebody else is at work: {why}"), out);
            }
            Outcome::Refused(why) if !minor => {
                self.hold_until = Some(now + HOLD);
                self.note(
                    now,
                    Condition::MayNotAct,
                    Some(format!("{step} of {}: {why}", self.target.unit)),
                    out,
                );
                self.abandon(now, step, &why, out);
            }
            Outcome::Skipped if !minor => self.step_failed(now, step, "skipped by systemd", out),
            Outcome::TimedOut(why) | Outcome::Failed(why) if !minor => self.step_failed(now, step, &why, out),
            Outcome::Unknown(why) | Outcome::Refused(why) | Outcome::TimedOut(why) | Outcome::Failed(why) => {
                self.tell(out, EventKind::StepFailed, Priority::Warning, format!("{step}: {why}"));
                self.advance(now, out);
            }
            Outcome::Skipped => self.advance(now, out),
        }
    }

    fn advance(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.next += 1;
        recovery.step_since = now;
        if recovery.current().is_some() && self.life.interfered() {
            // Between two steps of ours; whether it was a start or a stop, it takes the place of ours.
            self.give_way(now, "somebody else decided", out);
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

    /// Somebody's job ended while a step of ours was under way that is none: the wish is taken down
    /// at once, since a monitor that is killed would know nothing of it.
    pub(super) fn heed(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let jobless = self.recovery.as_ref().is_some_and(|recovery| {
            recovery.phase == Phase::Acting
                && matches!(recovery.current(), Some(Step::ResetFailed | Step::KillLeftovers))
        });
        if jobless && self.life.interfered() {
            self.give_way(now, "somebody else decided", out);
        }
    }

    /// All steps are behind it: look at the unit, then verify.
    fn land(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if let Some(recovery) = &mut self.recovery {
            recovery.next = recovery.steps.len();
            recovery.phase = Phase::Landing { since: now };
        }
        self.dirty = true;
        self.ask_reading(now, out);
    }

    fn step_failed(&mut self, now: Moment, step: Step, why: &str, out: &mut Vec<Effect>) {
        self.tell(out, EventKind::StepFailed, Priority::Warning, format!("{step}: {why}"));
        self.failed(now, &format!("{step} failed"), out);
    }

    /// Somebody else's decision comes first: this was no attempt.
    fn abandon(&mut self, now: Moment, step: Step, why: &str, out: &mut Vec<Effect>) {
        self.tell(out, EventKind::StepFailed, Priority::Notice, format!("{step}: {why}"));
        self.give_way(now, "given up", out);
    }

    fn give_way(&mut self, now: Moment, why: &str, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.take() else { return };
        if recovery.attempt.is_some() {
            self.budget.withdraw();
        }
        self.dirty = true;
        self.tell(
            out,
            EventKind::RecoveryFailed,
            Priority::Notice,
            format!("{why}; it does not count as an attempt"),
        );
        self.ask_reading(now, out);
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

    /// As configured, or `startup_grace` and 30 s at least; and never less than what the app's own
    /// starts have shown it to need.
    fn verify_within(&self) -> Duration {
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
                self.verify_from(now);
                // The verdict was that of the cause until here; from now on it is that of the app.
                self.judge(now, out);
            }
            Some(Phase::Verifying { since, until, well_since }) => {
                self.verify(now, since, until, well_since, out);
            }
            _ => {}
        }
    }

    fn read_since(&self, since: Moment) -> bool {
        self.read_begun.is_some_and(|begun| begun >= since) && self.read_asked.is_none()
    }

    fn verify_from(&mut self, now: Moment) {
        let until = now + self.verify_within();
        if let Some(recovery) = &mut self.recovery {
            recovery.phase = Phase::Verifying { since: now, until, well_since: None };
        }
    }

    /// The monitor was restarted in the middle of it: finish it, do not repeat it.
    fn take_over(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        let (Some(unit), Some(recovery)) = (self.unit.clone(), self.recovery.as_ref()) else { return };
        let restarted = unit.invocation.is_some() && unit.invocation != recovery.before;
        let step = recovery.current();
        if let Some(job) = unit.job {
            let has_stop = matches!(step, Some(Step::Restart { .. } | Step::Stop { .. }));
            if unit.active == ActiveState::Deactivating && !restarted && has_stop {
                // Asked for again it merges into the job that is pending, and is helped along with
                // SIGKILL where that is due; against somebody else's stop it is refused.
                self.go_on(now, out);
            } else if unit.active == ActiveState::Deactivating {
                // What we started is being stopped: no step of ours does that.
                self.give_way(now, "somebody else is at work", out);
            } else if now.since(recovery.began) > JOB_AT_MOST {
                self.failed(now, "its job does not end", out);
            } else {
                self.life.ours(job);
            }
            return;
        }
        let down = unit.active.is_down() && !unit.auto_restarting();
        match step {
            None => self.land(now, out),
            Some(_) if restarted && !down => self.land(now, out),
            // It was up again meanwhile, so our start is behind it. The timestamps will tell whether
            // it fell or was stopped.
            Some(_) if restarted => self.give_way(now, "the monitor was away meanwhile", out),
            // One job has both halves: should it have ended below, its start failed, or somebody's
            // stop replaced it. The timestamps will tell which.
            Some(Step::Restart { .. }) if down => self.give_way(now, "the monitor was away meanwhile", out),
            Some(Step::Stop { .. }) if down => self.advance(now, out),
            Some(_) if recovery.stopped_it() || self.may_take_up(now, down) => self.go_on(now, out),
            Some(_) => self.give_way(now, "not begun before the monitor went away", out),
        }
    }

    /// Nothing was done yet: is it still wanted? An app that is up may be well by now.
    fn may_take_up(&self, now: Moment, down: bool) -> bool {
        let recent = self.recovery.as_ref().is_some_and(|recovery| now.since(recovery.began) < STALE);
        self.policy.mode == Mode::Act && self.pause.is_none() && (down || recent)
    }

    /// Takes the step up that the monitor was in when it ended.
    fn go_on(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.phase = Phase::Acting;
        recovery.step_since = now;
        let text = "the monitor was restarted in the middle of a recovery; going on with it";
        self.tell(out, EventKind::RecoveryStarted, Priority::Notice, text.into());
        self.perform(now, out);
    }

    fn verify(
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
        if well_since.is_some_and(|well| now.since(well) >= self.policy.min_uptime)
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
            | Verdict::NotFound => self.give_way(now, self.verdict.word(), out),
            verdict if verdict.is_fault() || verdict == Verdict::PortTaken => {
                self.failed(now, &self.headline(), out);
            }
            // What somebody else is doing, or nobody can see, says nothing about our recovery.
            Verdict::Changing if self.life.foreign_job().is_some() => self.verify_from(now),
            Verdict::Paused => self.verify_from(now),
            Verdict::Unknown if self.unreadable_since.is_some() => self.verify_from(now),
            Verdict::Changing | Verdict::SystemdRestarting if now < until => {}
            _ if now >= until && well_since.is_none() => {
                let text = format!("not healthy within {}: {}", Span(until.since(since)), self.headline());
                self.failed(now, &text, out);
            }
            _ => {}
        }
    }

    /// Healthy, or up and nothing that could prove it otherwise: a check that was never good fails
    /// no verification.
    pub(super) fn is_well_enough(&self) -> bool {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        let proof = self.decisive_kinds().into_iter().any(|kind| {
            self.was_ever_good(kind)
                || self.latest.get(&kind).is_none_or(|seen| seen.finding == Finding::Unknown)
        });
        self.verdict == Verdict::Healthy
            || (up && !proof && matches!(self.verdict, Verdict::Starting | Verdict::Unknown))
    }

    fn verified(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.take() else { return };
        self.dirty = true;
        let back = match recovery.phase {
            Phase::Verifying { well_since: Some(well), .. } => well,
            _ => now,
        };
        let text = format!(
            "recovered from {}: healthy {} after it began, and for {} since",
            recovery.cause,
            Span(back.since(recovery.began)),
            Span(now.since(back))
        );
        self.tell(out, EventKind::RecoveryVerified, Priority::Notice, text);
        if recovery.attempt.is_some() && self.budget.verified(now) {
            let text = "more than 10 recoveries within an hour; from now on they count as attempts";
            self.tell_all(out, EventKind::RecoveryVerified, Priority::Warning, text.into(), true);
            if self.budget.failed(now, &self.policy) {
                self.tell_breaker(out);
            }
        }
        // Where nothing can prove its health, that it stayed up is what the recovery was for.
        if self.verdict.is_well() || self.verdict == Verdict::Unknown {
            self.close_incident(now, out);
        }
    }

    fn failed(&mut self, now: Moment, why: &str, out: &mut Vec<Effect>) {
        let Some(recovery) = self.recovery.take() else { return };
        self.dirty = true;
        self.tell(out, EventKind::RecoveryFailed, Priority::Warning, format!("it did not help: {why}"));
        if recovery.attempt.is_some() && self.budget.failed(now, &self.policy) {
            self.tell_breaker(out);
        }
        self.ask_reading(now, out);
    }

    /// Watched or paused: what would have been done is told, once for each verdict.
    fn say_would(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let (verdict, why) = if self.verdict == Verdict::Paused {
            (self.verdict_but_for_pause(now), "paused")
        } else if self.policy.mode == Mode::Watch {
            (self.verdict, "mode = \"watch\"")
        } else {
            return;
        };
        let Some(unit) =
            self.unit.as_ref().filter(|_| verdict.is_fault() && self.would_told != Some(verdict))
        else {
            return;
        };
        let circumstances =
            Circumstances { unit, unanswered: self.last_unanswered, answers: false, attempt: 1 };
        let steps: Vec<String> = plan(&self.policy, circumstances).iter().map(ToString::to_string).collect();
        let text = format!("{verdict}; would have done: {} ({why})", steps.join(", then "));
        self.would_told = Some(verdict);
        self.tell(out, EventKind::RecoveryStarted, Priority::Notice, text);
    }

    /// When something about the recovery is due.
    pub(super) fn acting_due(&self, now: Moment) -> Vec<Moment> {
        let mut due = Vec::new();
        match self.recovery.as_ref().map(|recovery| recovery.phase) {
            Some(Phase::Verifying { until, well_since, .. }) => match well_since {
                Some(well) => due.push(well + self.policy.min_uptime),
                None => due.extend(Some(until).filter(|until| *until > now)),
            },
            Some(_) => {}
            None => {
                if let Some(unit) = &self.unit
                    && self.verdict.is_fault()
                    && let Gate::NotBefore(at) = self.budget.gate(now, unit.inactive_exit, &self.policy)
                {
                    due.push(at);
                }
                due.extend(self.hold_until.filter(|until| *until > now));
                if self.waits_for_dependency() {
                    due.extend(self.dependency_gate().filter(|at| *at > now));
                }
                due.extend(
                    self.read_asked.map(|asked| asked + Duration::from_millis(500)).filter(|at| *at > now),
                );
            }
        }
        due
    }

    /// When the next recovery may begin, if it has to wait; for `status`.
    pub(super) fn next_attempt(&self, now: Moment) -> Option<Gate> {
        let unit = self.unit.as_ref()?;
        let waits = self.verdict.is_fault() && self.recovery.is_none() && self.policy.mode == Mode::Act;
        waits
            .then(|| self.budget.gate(now, unit.inactive_exit, &self.policy))
            .filter(|gate| *gate != Gate::Now)
    }

    /// What has to be done before the monitor may end. A RestartUnit job is left to systemd; only
    /// between our own stop and start would the app stay down.
    #[must_use]
    pub fn last_will(&self) -> Option<LastWill> {
        let recovery =
            self.recovery.as_ref().filter(|_| !self.stopping && self.life.foreign_job().is_none())?;
        let step = recovery.current().filter(|_| recovery.phase == Phase::Acting)?;
        let stopped_by_us =
            recovery.steps[..=recovery.next].iter().any(|step| matches!(step, Step::Stop { .. }));
        stopped_by_us.then_some(LastWill { kill: matches!(step, Step::Stop { .. }) })
    }
}

#[cfg(test)]
mod tests;
