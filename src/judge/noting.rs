//! The conditions of an app that follow from what is known of it alone: what holds, since when, and what is
//! told of it. Those of its surroundings are for `around` and `surroundings`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::effect::Effect;
use super::level::Level;
use super::observation::{CheckKind, Finding};
use super::record::{EventKind, Record};
use super::time::{Moment, Span};
use super::unit::ActiveState;
use super::verdict::{Condition, Verdict};

/// What the host gets on top of a unit's own timeouts before a change is overdue.
const OURS_ON_TOP: Duration = Duration::from_secs(30);
/// Where a unit's own timeout is infinite.
const INFINITE: Duration = Duration::from_secs(600);
/// Blindness that lasts so long is told.
pub(super) const BLIND_FOR: Duration = Duration::from_secs(300);

/// A condition that holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConditionState {
    /// Since when.
    pub since: Moment,
    /// Its evidence.
    pub text: String,
    /// When somebody was told last.
    pub told: Moment,
    /// Somebody was told, or will be at its end.
    pub alerted: bool,
    /// Another app of the host has told the same.
    pub silenced: bool,
    /// The signature of the check that it is about, where it is about one.
    #[serde(default)]
    pub about: Option<u64>,
}

impl App {
    pub(super) fn note_conditions(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        // That it is down for a while says nothing new about it, but for what a start needs.
        if up || self.never_good.contains_key(&CheckKind::Preflight) {
            let never = self.never_healthy();
            let about = never.as_ref().map(|(kind, _)| self.target.signature(*kind));
            self.note(now, Condition::NeverHealthy, never.map(|(_, text)| text), out);
            if let Some(state) = self.conditions.get_mut(&Condition::NeverHealthy)
                && about.is_some()
            {
                state.about = about;
            }
        }

        // Oddities of an app that answers; while it is suspected, what is odd may be the fault itself.
        let answers = self.verdict == Verdict::Healthy && up && self.history.bad_in_a_row() == 0;
        let odd = |kind| {
            let seen = self.latest.get(&kind).filter(|_| answers && self.was_ever_good(kind))?;
            matches!(seen.finding, Finding::Bad(_)).then(|| seen.text.clone())
        };
        let (port, processes) = (odd(CheckKind::Port), odd(CheckKind::Processes));
        self.note(now, Condition::PortForeign, port, out);
        self.note(now, Condition::FewProcesses, processes, out);

        let blind_for = |since: Option<Moment>| since.is_some_and(|since| now.since(since) >= BLIND_FOR);
        let blind = (blind_for(self.unreadable_since) || blind_for(self.blind_since))
            .then(|| match self.deciding_blind().filter(|_| self.unreadable_since.is_none()) {
                Some(seen) => format!("cannot be checked for more than 5 min: {}", seen.text),
                None => "its unit cannot be read for more than 5 min".to_owned(),
            })
            .or_else(|| self.blind_errand(now));
        self.note(now, Condition::Blind, blind, out);

        self.note_overdue(now, out);
    }

    /// A change that does not come to its end is told again and again, each time that it would
    /// have had its time once more.
    fn note_overdue(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let overdue = self.overdue_at().filter(|at| now >= *at).and_then(|at| {
            let unit = self.unit.as_ref()?;
            let since = now.since(self.state_since);
            let state = if unit.auto_restarting() { "auto-restart" } else { unit.sub.as_str() };
            Some((format!("in {state} for {}", Span(since)), at.since(self.state_since)))
        });
        if let (Some((text, period)), Some(state)) = (&overdue, self.conditions.get_mut(&Condition::Overdue))
            && now.since(state.told) >= *period
        {
            state.told = now;
            let line = format!("{} still: {text}", Condition::Overdue);
            self.tell_all(out, EventKind::ConditionBegan, Level::Warn, line, true);
        }
        self.note(now, Condition::Overdue, overdue.map(|(text, _)| text), out);
    }

    /// A check that fails and was never good, once that is sure.
    fn never_healthy(&self) -> Option<(CheckKind, String)> {
        // What is there or is not, is sure at once.
        let enough = |kind| if kind == CheckKind::Preflight { 1 } else { self.policy.failures };
        let (kind, _) = self
            .never_good
            .iter()
            .rev()
            .find(|(kind, times)| **times >= enough(**kind) && !self.was_ever_good(**kind))?;
        let seen = self.last_seen(*kind)?;
        let text = format!("never healthy since it was configured: {}; check the configuration", seen.text);
        Some((*kind, text))
    }

    /// Notes that a condition holds (with its evidence) or does not.
    pub(super) fn note(&mut self, now: Moment, what: Condition, text: Option<String>, out: &mut Vec<Effect>) {
        if text.is_none() && self.may_still_hold(now, what) {
            return;
        }
        self.inherited.decide(what);
        let (event, level, line) = match (text, self.conditions.get_mut(&what)) {
            (Some(text), Some(state)) => {
                state.text = text;
                return;
            }
            (Some(text), None) => {
                let level = if what.alerts() { Level::Warn } else { Level::Info };
                let line = format!("{what}: {text}");
                let alerted = what.alerts();
                let state =
                    ConditionState { since: now, text, told: now, alerted, silenced: false, about: None };
                self.conditions.insert(what, state);
                (EventKind::ConditionBegan, level, line)
            }
            (None, Some(state)) => {
                let line = format!("{what} is over after {}", Span(now.since(state.since)));
                self.conditions.remove(&what);
                (EventKind::ConditionEnded, Level::Info, line)
            }
            (None, None) => return,
        };
        self.dirty = true;
        let record = self.record(event, level, line, what.alerts());
        let incident = self.incident.as_ref().map(|incident| incident.id.clone());
        let step = self.step_report.clone();
        out.push(Effect::Record(Record { incident, step, condition: Some(what), ..record }));
    }

    /// When the state that the unit is in lasts longer than its own timeouts allow.
    pub(super) fn overdue_at(&self) -> Option<Moment> {
        let unit = self.unit.as_ref()?;
        let own = if unit.auto_restarting() {
            unit.restart_delay.unwrap_or(INFINITE) + unit.timeout_start.unwrap_or(INFINITE)
        } else {
            match unit.active {
                ActiveState::Deactivating => unit.timeout_stop.unwrap_or(INFINITE),
                ActiveState::Activating | ActiveState::Reloading | ActiveState::Maintenance => {
                    unit.timeout_start.unwrap_or(INFINITE)
                }
                _ if unit.job.is_some() && self.life.foreign_job().is_some() => {
                    unit.timeout_start.unwrap_or(INFINITE) + unit.timeout_stop.unwrap_or(INFINITE)
                }
                // A unit that it needs changes for ever.
                _ if self.verdict == Verdict::Changing => {
                    return Some(self.verdict_since + INFINITE + OURS_ON_TOP);
                }
                _ => return None,
            }
        };
        if self.recovery.as_ref().is_some_and(super::recovery::Recovery::is_acting) {
            return None;
        }
        Some(self.state_since + own + OURS_ON_TOP)
    }
}
