//! When a recovery may begin, and what is said where it may not.

use std::time::Duration;

use super::app::App;
use super::budget::Gate;
use super::effect::Effect;
use super::level::Level;
use super::life::Ending;
use super::plan::{Circumstances, plan};
use super::policy::Mode;
use super::record::EventKind;
use super::recovery::{Phase, Recovery};
use super::time::Moment;
use super::unit::{ActiveState, LoadState, UnitReading};
use super::verdict::Verdict;

/// An app that wants to be recovered now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Want {
    /// It is down, and goes before one that is only deaf.
    pub down: bool,
    /// A person asked.
    pub asked: bool,
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
    pub(super) fn verdict_is_settling(&self, now: Moment) -> bool {
        self.read_asked.is_some_and(|asked| now.since(asked) < Duration::from_millis(500))
            || self.end_is_unclear()
    }

    pub(super) fn end_is_unclear(&self) -> bool {
        self.life.ending().is_none()
            && self.unit.as_ref().is_some_and(|unit| {
                let down = unit.active.is_down() && !unit.auto_restarting();
                down && unit.job.is_none() && unit.inactive_exit.is_some()
            })
    }

    /// Its fault holds until `successes` rounds are good, but the latest is: an app that answers is
    /// left alone.
    pub(super) fn answers_again(&self, unit: &UnitReading) -> bool {
        unit.active == ActiveState::Active && self.history.good_in_a_row() > 0
    }

    pub(super) fn waits_for_dependency(&self) -> bool {
        match self.verdict {
            Verdict::StoppedWithDependency => true,
            Verdict::NotStarted => self.kept_down && self.unit.as_ref().is_some_and(|unit| unit.enabled),
            _ => false,
        }
    }

    /// A start that changed nothing (a condition of the unit is not met, say) is tried again ever more
    /// slowly.
    pub(super) fn dependency_gate(&self) -> Option<Moment> {
        let (last, times) = self.dependency_starts?;
        let wait = self.policy.cooldown.saturating_mul(1 << (times - 1).min(16));
        Some(last + wait.min(self.policy.retry_interval.max(self.policy.cooldown)))
    }

    pub(super) fn dependency_is_back(&self) -> bool {
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

    /// Watched or paused: what would have been done is told, once for each verdict.
    pub(super) fn say_would(&mut self, now: Moment, out: &mut Vec<Effect>) {
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
        self.tell(out, EventKind::RecoveryStarted, Level::Info, text);
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
}
