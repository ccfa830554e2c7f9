//! When a recovery may begin, and what is said where it may not.

use std::time::Duration;

use super::app::App;
use super::budget::Gate;
use super::effect::Effect;
use super::errands::Seen;
use super::level::Level;
use super::life::Ending;
use super::mutation::{Mutation, active};
use super::names::Subject;
use super::observation::{CheckKind, Fault};
use super::policy::Mode;
use super::record::EventKind;
use super::recovery::{Phase, Recovery};
use super::target::Role;
use super::time::Moment;
use super::unit::{ActiveState, LoadState, UnitReading};
use super::verdict::Verdict;

/// How often an instance that waits for its turn looks whether it has come.
const TURN: Duration = Duration::from_secs(5);
/// A reading that a recovery begins on came no longer ago,
const FRESH: Duration = Duration::from_secs(1);
/// and was no longer under way. systemd may be slow to answer, but it has answered.
const SLOW: Duration = Duration::from_secs(5);

/// Starts without a database, or because it is back, that wait for nothing.
const DATABASE_STARTS: u32 = 6;

/// An app that wants to be recovered now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Want {
    /// It is down, and goes before one that is only deaf.
    pub down: bool,
    /// What for.
    pub why: Why,
}

impl Want {
    /// A person asked.
    pub fn asked(&self) -> bool {
        self.why == Why::Asked
    }

    /// Something is wrong with the app itself.
    pub fn counts(&self) -> bool {
        matches!(self.why, Why::Fault | Why::Memory | Why::Loop)
    }
}

/// What a recovery is for. Only those for a fault, or for memory's sake, count as attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// A person asked.
    Asked,
    /// A fault of the app.
    Fault,
    /// It answers, but uses too much memory.
    Memory,
    /// What took it down is up again.
    Dependency,
    /// It is down, and so is its database: it may live without, which is tried once.
    WithoutDatabase,
    /// It fell with its database, which accepts again.
    DatabaseBack,
    /// systemd restarts it for ever.
    Loop,
}

impl Why {
    /// In words, for what is uncounted.
    pub fn words(self) -> &'static str {
        match self {
            Self::Asked => "asked for",
            Self::Fault => "a fault",
            Self::Memory => "memory",
            Self::Dependency => "what it needs is up again",
            Self::WithoutDatabase => "it may live without its database, which is tried once",
            Self::DatabaseBack => "its database accepts again",
            Self::Loop => "systemd's own restarts do not help",
        }
    }
}

impl App {
    /// Why a recovery that a person asks for is refused.
    #[must_use]
    pub fn refuses_recovery(&self) -> Option<String> {
        // At once, though it takes longer to become the verdict.
        if self.unit.as_ref().is_some_and(|unit| unit.load == LoadState::Masked) {
            return Some(format!(
                "its unit is masked; systemctl unmask {} is how to wish it otherwise",
                self.target.unit.in_shell()
            ));
        }
        // The pause is ours to overrule, what somebody does meanwhile is not.
        if self.verdict == Verdict::Paused {
            let down = self.unit.as_ref().is_some_and(|unit| unit.active.is_down());
            if down && matches!(self.life.ending(), Some(Ending::Stopped | Ending::Unloaded)) {
                return Some(format!(
                    "somebody stopped it; systemctl start {} is how to wish it otherwise",
                    self.target.unit.in_shell()
                ));
            }
        }
        match self.verdict {
            Verdict::NotFound | Verdict::Masked | Verdict::ShuttingDown | Verdict::Changing => {
                Some(self.headline())
            }
            Verdict::StoppedByAdmin => Some(format!(
                "{}; systemctl start {} is how to wish it otherwise",
                self.headline(),
                self.target.unit.in_shell()
            )),
            // During a pause, or known before it becomes the verdict.
            _ if self.life.foreign_job().is_some() => Some("a job that is not ours is pending".into()),
            _ if self.end_is_unclear() => {
                Some("it went down this moment, and who asked is not clear yet".into())
            }
            _ if self.unit.is_none() => Some("its unit was not read yet".into()),
            _ if self.unreadable_since.is_some() => Some("its unit cannot be read".into()),
            _ if self.recovery.as_ref().is_some_and(Recovery::is_acting) => {
                Some("a recovery is under way already".into())
            }
            _ => {
                let denial = self.unit.as_ref().and_then(|unit| self.denied(unit, Why::Asked, 1))?;
                Some(format!("app-monitor may not act: {}", denial.text))
            }
        }
    }

    /// Its unit was read a moment ago. What sends no signal (a frozen cgroup, a debugger) may have changed
    /// since an older reading, and signals can be lost.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        let came = self.read_at.filter(|came| now.since(*came) <= FRESH);
        came.zip(self.read_begun).is_some_and(|(came, begun)| came.since(begun) <= SLOW)
    }

    /// Nothing but a fresh reading is missing for its recovery: asks for it.
    pub(super) fn freshen(&mut self, now: Moment) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.read_asked.is_none() {
            self.ask_reading(now, &mut out);
            self.wake = self.wake_at(now);
        }
        out
    }

    /// Does it want to be recovered, and may it?
    pub(super) fn wants(&self, now: Moment) -> Option<Want> {
        let unit = self.unit.as_ref().filter(|_| self.unreadable_since.is_none())?;
        let down = unit.active.is_down();
        if self.asked.is_some() {
            return self.refuses_recovery().is_none().then_some(Want { down, why: Why::Asked });
        }
        if self.recovery.is_some()
            || (self.policy.mode == Mode::Watch && !active(Mutation::WatchActs))
            || self.hold_until.is_some_and(|until| now < until)
            || (self.load_bad_since.is_some() && !active(Mutation::MaskIgnored))
            || self.is_left_alone()
        {
            return None;
        }
        if self.verdict_is_settling() {
            return None;
        }
        if self.waits_for_dependency() {
            let may = self.dependency_is_back() && self.dependency_gate().is_none_or(|at| now >= at);
            let may = may && !self.is_denied(now, unit, Why::Dependency);
            return may.then_some(Want { down, why: Why::Dependency });
        }
        let why = self.what_for(now, unit)?;
        let may = self.budget_gate(now, unit, why).is_none_or(|gate| gate == Gate::Now);
        (may && !self.is_denied(now, unit, why)).then_some(Want { down, why })
    }

    /// What a recovery would be for, as the verdict stands; the budget is another question.
    fn what_for(&self, now: Moment, unit: &UnitReading) -> Option<Why> {
        self.what_for_verdict(now, unit, self.verdict)
    }

    fn what_for_verdict(&self, now: Moment, unit: &UnitReading, verdict: Verdict) -> Option<Why> {
        match verdict {
            // Its own restarts by systemd are left alone; one that is down may live without.
            Verdict::DatabaseDown => {
                (unit.active.is_down() && !self.tried_without).then_some(Why::WithoutDatabase)
            }
            Verdict::Crashed if self.owed_start && unit.active.is_down() && self.database_accepts() => {
                Some(Why::DatabaseBack)
            }
            // Of the present run nothing is known yet: it may be the one that gets its port.
            Verdict::PortTaken if self.holder_is_remembered() && !self.is_sick_besides() => None,
            Verdict::PortTaken => self.holder_is_reapable().then_some(Why::Fault),
            // A start that somebody has asked for waits for the pause to be over.
            Verdict::CrashLooping if unit.job.is_some() => None,
            // Who holds its port may be why it goes round, and a stop of ours frees no port.
            Verdict::CrashLooping if self.port_pending(now) => None,
            Verdict::CrashLooping => {
                let due = self.loops.may_break(&self.policy).is_some_and(|at| now >= at);
                // A start that is under way may be the one that works.
                (due && self.starting(now).is_none()).then_some(Why::Loop)
            }
            Verdict::AppMemory if unit.active == ActiveState::Active && !self.is_sick_besides() => {
                Some(Why::Memory)
            }
            Verdict::AppMemory if self.is_pending(now) => None,
            Verdict::Overloaded => {
                let silent =
                    self.silent_since.is_some_and(|since| now.since(since) >= self.policy.overload_patience);
                (silent && !self.answers_again(unit)).then_some(Why::Fault)
            }
            verdict if verdict.is_of_answers() && self.is_unwitnessed(unit) => None,
            verdict if verdict.is_fault() => (!self.answers_again(unit)).then_some(Why::Fault),
            _ => None,
        }
    }

    /// Its database was seen to accept connections. That it cannot be asked is no such thing.
    fn database_accepts(&self) -> bool {
        self.errands.seen(CheckKind::Database).is_some_and(Seen::is_good)
    }

    /// What is confirmed of its answers calls for a recovery, however much memory it uses. Lateness is
    /// no such thing.
    fn is_sick_besides(&self) -> bool {
        self.history.confirmed(&self.policy).is_some_and(|confirmed| confirmed.fault != Fault::Late)
    }

    /// Whether its budget lets that pass; none where it does not count.
    fn budget_gate(&self, now: Moment, unit: &UnitReading, why: Why) -> Option<Gate> {
        match why {
            Why::Fault => Some(self.budget.gate(now, unit.inactive_exit, &self.policy)),
            Why::Memory => Some(self.memory_budget.gate(now, unit.inactive_exit, &self.policy)),
            Why::WithoutDatabase | Why::DatabaseBack => {
                let at = self.database_gate().filter(|at| now < *at);
                Some(at.map_or(Gate::Now, Gate::NotBefore))
            }
            _ => None,
        }
    }

    /// A database that comes and goes must not have the app started for ever: what is uncounted passes
    /// some times within an `attempts_window`, then ever more slowly.
    fn database_gate(&self) -> Option<Moment> {
        let (last, times) = self.database_starts?;
        let doublings = times.checked_sub(DATABASE_STARTS)?.min(16);
        Some(last + self.policy.cooldown.saturating_mul(1 << doublings).min(self.policy.retry_interval))
    }

    pub(super) fn note_database_start(&mut self, now: Moment) {
        let lately = self.database_starts.filter(|(last, _)| now.since(*last) < self.policy.attempts_window);
        self.database_starts = Some((now, lately.map_or(1, |(_, times)| times.saturating_add(1))));
    }

    /// A reading is under way that may change everything, e.g. one that a signal called for; or it
    /// is down, and who stopped it is not known yet.
    pub(super) fn verdict_is_settling(&self) -> bool {
        self.read_asked.is_some() || self.end_is_unclear()
    }

    /// It is down, and who ended its last run is not known yet, or what somebody's job on it means; what is
    /// known of a run before that says nothing.
    pub(super) fn end_is_unclear(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| {
            let down = unit.active.is_down() && !unit.auto_restarting();
            let known = self.life.knows_end_of(unit) && !self.life.interfered();
            // One that systemd has forgotten since it ran may have run and been stopped meanwhile.
            let ran = unit.inactive_exit.is_some() || self.life.knows_a_run();
            down && unit.job.is_none() && ran && !known
        })
    }

    /// Its fault holds until `successes` rounds are good, but the latest is, or none was bad since what was
    /// seen before was voided, or the latest came too late only, which is no such fault: an app that answers,
    /// or may do so, is left alone.
    pub(super) fn answers_again(&self, unit: &UnitReading) -> bool {
        let voided = self.verdict.is_of_answers() && self.history.bad_in_a_row() == 0;
        let works = self.history.is_late() && self.history.confirmed(&self.policy).is_none();
        let well = self.history.good_in_a_row() > 0 || voided || works;
        let good = unit.active == ActiveState::Active && well;
        good && !active(Mutation::AnswersIgnored)
    }

    /// A proxy that is up, and nobody who can tell asks it by now: what was wrong with its answers is of before.
    fn is_unwitnessed(&self, unit: &UnitReading) -> bool {
        let proxy = matches!(self.target.role, Role::Proxy { .. });
        proxy && unit.active == ActiveState::Active && !self.companion.is_witnessed()
    }

    pub(super) fn waits_for_dependency(&self) -> bool {
        self.waits_for_dependency_in(self.verdict)
    }

    fn waits_for_dependency_in(&self, verdict: Verdict) -> bool {
        match verdict {
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
        let (verdict, because) = if self.verdict == Verdict::Paused {
            (self.verdict_but_for_pause(now), "paused")
        } else if self.policy.mode == Mode::Watch {
            (self.verdict, "mode = \"watch\"")
        } else {
            return;
        };
        if self.would_told == Some(verdict) || self.is_left_alone() || self.recovery.is_some() {
            return;
        }
        let Some(unit) = self.unit.as_ref().filter(|_| !self.verdict_is_settling()) else { return };
        let why = if self.waits_for_dependency_in(verdict) {
            self.dependency_is_back().then_some(Why::Dependency)
        } else {
            self.what_for_verdict(now, unit, verdict)
        };
        let may = |why: &Why| self.budget_gate(now, unit, *why).is_none_or(|gate| gate == Gate::Now);
        let Some(why) = why.filter(may) else { return };
        let steps: Vec<String> = self.steps_for(unit, why, 1).iter().map(ToString::to_string).collect();
        let text = format!("{verdict}; would have done: {} ({because})", steps.join(", then "));
        self.would_told = Some(verdict);
        self.tell(out, EventKind::RecoveryStarted, Level::Info, text);
    }

    /// When something about the recovery is due.
    pub(super) fn acting_due(&self, now: Moment) -> Vec<Moment> {
        let mut due = Vec::new();
        match self.recovery.as_ref().map(|recovery| recovery.phase) {
            Some(Phase::Verifying { until, well_since, .. }) => match well_since {
                // One that is suspected by then waits for the rounds that decide.
                Some(well) => due.extend(Some(well + self.policy.min_uptime).filter(|at| *at > now)),
                None => due.extend(Some(until).filter(|until| *until > now)),
            },
            Some(_) => {}
            None => {
                if let Some(unit) = &self.unit
                    && let Some(why) = self.what_for(now, unit)
                    && let Some(Gate::NotBefore(at)) = self.budget_gate(now, unit, why)
                {
                    due.push(at);
                }
                match self.verdict {
                    Verdict::Overloaded => {
                        due.extend(self.silent_since.map(|since| since + self.policy.overload_patience));
                    }
                    Verdict::CrashLooping => due.extend(self.loops.may_break(&self.policy)),
                    _ => {}
                }
                // Whose turn it is among instances is decided by the others.
                if matches!(self.name, Subject::Instance(..)) && self.verdict.is_fault() {
                    due.push(now + TURN);
                }
                due.retain(|at| *at > now);
                due.extend(self.hold_until.filter(|until| *until > now));
                if self.waits_for_dependency() {
                    due.extend(self.dependency_gate().filter(|at| *at > now));
                }
            }
        }
        due
    }

    /// When the next recovery may begin, if it has to wait; for `status`.
    pub(super) fn next_attempt(&self, now: Moment) -> Option<Gate> {
        let unit = self.unit.as_ref()?;
        let waits = self.recovery.is_none() && self.policy.mode == Mode::Act;
        let why = self.what_for(now, unit).filter(|_| waits)?;
        self.budget_gate(now, unit, why).filter(|gate| *gate != Gate::Now)
    }
}

#[cfg(test)]
mod tests;
