//! Units that apps lean on: their reverse proxy, their database.
//!
//! Each is judged as an app is, by its unit and its life, so that whatever somebody wants of it is
//! respected in the same way. Here is what is different: a proxy has no checks of its own and is fed
//! with what the apps behind it see of it; a database is only ever started; and their plans.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::effect::Effect;
use super::history::RoundResult;
use super::level::Level;
use super::names::Subject;
use super::observation::{Fault, Finding, Observation};
use super::plan::{Outcome, Step};
use super::policy::Policy;
use super::record::EventKind;
use super::target::Role;
use super::time::Moment;
use super::unit::{ActiveState, UnitReading};
use super::verdict::Verdict;

/// A proxy takes no longer than that to answer after a start or a reload.
const PROXY_GRACE: Duration = Duration::from_secs(5);

/// What is remembered of a proxy over restarts of the monitor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CompanionMemory {
    /// How the last reload ended, if it has not helped: it worked, or it failed.
    pub reload_worked: Option<bool>,
    /// It was restarted since the breaker was last closed for good.
    pub restarted: bool,
}

/// What is known of a unit that apps lean on, besides what is known of any unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Companion {
    pub memory: CompanionMemory,
    /// Reports of apps have said something of it since we began.
    fed: bool,
    /// An app behind it can tell at the moment.
    witnessed: bool,
    /// The latest report taken of each app, by when it went out.
    taken: BTreeMap<Subject, Moment>,
    /// Who found it silent since the last round of reports was full.
    silent_for: BTreeSet<Subject>,
    /// An app is down because of it.
    pub wanted: bool,
}

/// What an app behind a proxy sees of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub from: &'a Subject,
    pub seen: &'a Observation,
    /// When it went out.
    pub began: Moment,
    /// It was good once, and the app itself is well: that it gets no answer is the proxy's doing.
    pub counts: bool,
}

impl Report<'_> {
    fn silence(&self) -> Option<Fault> {
        match self.seen.finding {
            Finding::Bad(fault @ (Fault::Refused | Fault::Unanswered)) => Some(fault),
            _ => None,
        }
    }

    /// Any answer is a sign of life, a wrong one as well.
    fn is_alive(&self) -> bool {
        self.seen.finding != Finding::Unknown && self.silence().is_none()
    }

    fn is_witness(&self) -> bool {
        self.counts && self.seen.finding != Finding::Unknown
    }
}

impl Companion {
    pub fn restore(memory: CompanionMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// What the apps see of it says how it is; its unit alone does not.
    pub fn is_fed(&self) -> bool {
        self.fed
    }

    pub fn is_witnessed(&self) -> bool {
        self.witnessed
    }

    /// Looks who can tell how it is at the moment. True: that is not as it was.
    pub fn look_for_witnesses(&mut self, reports: &[Report<'_>]) -> bool {
        let witnessed = reports.iter().any(Report::is_witness);
        std::mem::replace(&mut self.witnessed, witnessed) != witnessed
    }

    /// There is a report of that app that was not taken yet.
    pub fn is_news(&self, from: &Subject, began: Moment) -> bool {
        self.taken.get(from).is_none_or(|taken| *taken < began)
    }

    /// The breaker is closed for good: a restart is allowed once more.
    pub fn forgive(&mut self) {
        self.memory = CompanionMemory::default();
    }

    /// Takes reports in: nothing, or what a whole round of them says. Silence counts once every
    /// witness has found it since the last time, and none has found anything else.
    fn take(&mut self, reports: &[Report<'_>], not_before: Moment) -> Option<RoundResult> {
        self.look_for_witnesses(reports);
        let mut alive = false;
        for report in reports {
            let news = self.is_news(report.from, report.began);
            self.taken.insert(report.from.clone(), report.began);
            if !news || report.began < not_before {
                continue;
            }
            alive |= report.is_alive();
            if report.is_witness() && report.silence().is_some() {
                self.silent_for.insert(report.from.clone());
            }
        }
        if alive {
            self.silent_for.clear();
            self.fed = true;
            return Some(RoundResult::Good);
        }
        let witnesses = || reports.iter().filter(|report| report.is_witness());
        let all = witnesses()
            .all(|report| report.silence().is_some() && self.silent_for.contains(report.from))
            && self.witnessed;
        let loudest = witnesses()
            .filter_map(|report| Some((report.silence()?, report)))
            .max_by_key(|(fault, _)| *fault == Fault::Unanswered);
        let (fault, report) = loudest.filter(|_| all)?;
        self.silent_for.clear();
        self.fed = true;
        Some(RoundResult::Bad(fault, report.seen.text.clone()))
    }
}

/// The steps for a unit that apps lean on; nothing where it is left alone.
#[must_use]
pub(super) fn plan(
    role: &Role,
    unit: &UnitReading,
    memory: &CompanionMemory,
    policy: &Policy,
    unanswered: bool,
) -> Vec<Step> {
    if unit.active.is_down() || unit.auto_restarting() {
        let reset = (unit.active == ActiveState::Failed).then_some(Step::ResetFailed);
        return reset.into_iter().chain([Step::Start]).collect();
    }
    match role {
        Role::Proxy { .. } if memory.reload_worked == Some(true) && !memory.restarted => {
            let kill_after = if unanswered { policy.kill_after } else { policy.stop_timeout };
            vec![Step::Restart { kill_after }]
        }
        Role::Proxy { .. } => vec![Step::Reload],
        Role::App | Role::Database { .. } => Vec::new(),
    }
}

impl App {
    pub(super) fn is_companion(&self) -> bool {
        self.target.role != Role::App
    }

    /// The most that a unit which apps lean on is given to answer.
    pub(super) fn companion_grace(&self) -> Option<Duration> {
        matches!(self.target.role, Role::Proxy { .. }).then(|| self.policy.startup_grace.min(PROXY_GRACE))
    }

    /// Its faults are told as a condition or verdict of the apps that lean on it, not twice.
    pub(super) fn tells_incident(&self, verdict: Verdict) -> bool {
        !self.is_companion() || !verdict.is_fault()
    }

    /// A recovery of it is nobody's wish at the moment.
    pub(super) fn is_left_alone(&self) -> bool {
        match self.target.role {
            Role::App | Role::Proxy { .. } => false,
            Role::Database { .. } => self.verdict != Verdict::Crashed || !self.companion.wanted,
        }
    }

    /// Something about it is not as it should be, or is about to be mended: whether it answers is
    /// asked more often.
    pub(super) fn is_watched_closely(&self) -> bool {
        let trouble = self.verdict.is_fault() || self.verdict == Verdict::Starting;
        trouble || self.recovery.is_some() || self.history.bad_in_a_row() > 0
    }

    /// What the apps behind a proxy see of it is a round of its own history.
    pub(super) fn take_reports(&mut self, now: Moment, reports: &[Report<'_>]) -> Vec<Effect> {
        let mut out = Vec::new();
        let not_before = self.grace_from.unwrap_or_default();
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        let Some(result) = self.companion.take(reports, not_before).filter(|_| up && !self.is_acting())
        else {
            return out;
        };
        match result {
            RoundResult::Good => {
                self.good_since_start = true;
                self.last_unanswered = false;
                if self.companion.memory.reload_worked.take().is_some() {
                    self.dirty = true;
                }
                self.history.enter(now, RoundResult::Good, &self.policy);
            }
            RoundResult::Bad(fault, text) if self.starting(now).is_none() => {
                self.last_unanswered = fault == Fault::Unanswered;
                if self.history.bad_in_a_row() == 0 && !self.verdict.is_fault() {
                    self.tell(&mut out, EventKind::CheckFailed, Level::Info, text.clone());
                }
                self.history.enter(now, RoundResult::Bad(fault, text), &self.policy);
            }
            RoundResult::Bad(..) => return out,
        }
        self.follow(now, &mut out);
        out
    }

    /// All steps are behind it: what the apps see from now on says whether they helped.
    pub(super) fn companion_landed(&mut self, now: Moment) {
        if self.companion.is_fed() {
            self.wants_proof(now);
        }
    }

    /// What is remembered of a step of its recovery.
    pub(super) fn companion_step(&mut self, step: &Step, outcome: &Outcome, out: &mut Vec<Effect>) {
        if !self.is_companion() {
            return;
        }
        let before = self.companion.memory.clone();
        match (step, outcome) {
            (Step::Reload, Outcome::Done | Outcome::Told(_) | Outcome::AlreadySo) => {
                self.companion.memory.reload_worked = Some(true);
            }
            (Step::Reload, Outcome::Failed(_) | Outcome::TimedOut(_) | Outcome::Skipped) => {
                self.companion.memory.reload_worked = Some(false);
                if before.reload_worked != Some(false) {
                    let text = format!(
                        "{} could not be reloaded, so its configuration may be broken; it is not restarted, since every site behind it would go down",
                        self.target.unit
                    );
                    self.tell_all(out, EventKind::StepFailed, Level::Error, text, true);
                }
            }
            (Step::Restart { .. }, _) => self.companion.memory.restarted = true,
            _ => {}
        }
        self.dirty |= self.companion.memory != before;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{down, up};
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn name(text: &str) -> Subject {
        text.parse().unwrap()
    }

    fn silent() -> Observation {
        Observation::bad(Fault::Unanswered, "timed out")
    }

    #[test]
    fn silence_counts_when_every_witness_has_found_it_anew() {
        let mut proxy = Companion::default();
        let (a, b, seen) = (name("a"), name("b"), silent());
        let report = |from, began| Report { from, seen: &seen, began: at(began), counts: true };
        let good = Observation::good("200");
        let fine = Report { seen: &good, ..report(&b, 1) };
        assert_eq!(proxy.take(&[report(&a, 1), fine], at(0)), Some(RoundResult::Good), "b was answered");
        assert_eq!(proxy.take(&[report(&a, 2), fine], at(0)), None, "b's answer still stands");
        let both = [report(&a, 2), report(&b, 3)];
        assert_eq!(proxy.take(&both, at(0)), Some(RoundResult::Bad(Fault::Unanswered, "timed out".into())));
        assert_eq!(proxy.take(&both, at(0)), None, "nothing new");
        assert_eq!(proxy.take(&[report(&a, 4), report(&b, 3)], at(0)), None, "only one of them");
        assert!(proxy.take(&[report(&a, 4), report(&b, 5)], at(0)).is_some());
        assert_eq!(
            proxy.take(&[report(&a, 6), report(&b, 7)], at(8)),
            None,
            "they went out before its start"
        );
    }

    #[test]
    fn who_proves_nothing_is_no_witness() {
        let mut proxy = Companion::default();
        let (a, b, seen) = (name("a"), name("b"), silent());
        let unproven = Report { from: &a, seen: &seen, began: at(1), counts: false };
        assert_eq!(proxy.take(&[unproven], at(0)), None);
        assert!(!proxy.is_fed() && !proxy.is_witnessed());
        let blind = Observation::unknown("blind");
        let blind = Report { from: &a, seen: &blind, began: at(2), counts: true };
        assert_eq!(proxy.take(&[blind], at(0)), None);
        let witness = Report { from: &b, seen: &seen, began: at(2), counts: true };
        assert!(proxy.take(&[blind, unproven, witness], at(0)).is_some(), "nor does it speak against one");
        let upstream = Observation::bad(Fault::Upstream, "answers 502");
        let alive = Report { from: &a, seen: &upstream, began: at(3), counts: false };
        assert_eq!(proxy.take(&[alive, witness], at(0)), Some(RoundResult::Good), "whoever sees it alive");
    }

    #[test]
    fn a_proxy_is_reloaded_before_it_is_restarted_and_restarted_once() {
        let role = Role::Proxy { of: "web".parse().unwrap() };
        let policy = Policy::default();
        let steps = |unit: &UnitReading, reload_worked, restarted| {
            plan(&role, unit, &CompanionMemory { reload_worked, restarted }, &policy, true)
        };
        assert_eq!(steps(&up(1), None, false), [Step::Reload]);
        assert_eq!(steps(&up(1), Some(true), false), [Step::Restart { kill_after: policy.kill_after }]);
        assert_eq!(steps(&up(1), Some(true), true), [Step::Reload]);
        assert_eq!(steps(&up(1), Some(false), false), [Step::Reload], "its configuration is broken");
        let failed = UnitReading { active: ActiveState::Failed, ..down(1) };
        assert_eq!(steps(&failed, Some(false), true), [Step::ResetFailed, Step::Start]);
        let database = Role::Database { of: "web".parse().unwrap() };
        let none = CompanionMemory::default();
        assert_eq!(plan(&database, &up(1), &none, &policy, false), []);
        assert_eq!(plan(&database, &down(1), &none, &policy, false), [Step::Start]);
    }
}
