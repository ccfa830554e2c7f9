//! Conditions that were told before this monitor began, or before the app was configured as it is: they
//! hold until something is seen that ends them. So their end is told, once, and their beginning not twice.
//!
//! Those of the surroundings decide that for themselves, from what has held so far.

use std::collections::BTreeSet;

use super::app::App;
use super::around::AROUND;
use super::level::Level;
use super::noting::BLIND_FOR;
use super::observation::{CheckKind, Finding};
use super::record::{EventKind, Record};
use super::time::Moment;
use super::unit::ActiveState;
use super::verdict::{Condition, Verdict};

/// Which of them nothing was seen of yet.
#[derive(Clone, Default, Debug)]
pub(super) struct Inherited {
    since: Moment,
    open: BTreeSet<Condition>,
}

impl Inherited {
    /// What held when the memory was written.
    pub fn of(conditions: impl IntoIterator<Item = Condition>, now: Moment) -> Self {
        Self { since: now, open: conditions.into_iter().collect() }
    }

    /// Something was seen of it.
    pub fn decide(&mut self, what: Condition) {
        self.open.remove(&what);
    }

    /// Nothing was seen of it.
    pub fn is_open(&self, what: Condition) -> bool {
        self.open.contains(&what)
    }
}

impl App {
    /// It was inherited, and what is known by now does not say that it is over.
    pub(super) fn may_still_hold(&self, now: Moment, what: Condition) -> bool {
        self.inherited.is_open(what)
            && match what {
                Condition::NeverHealthy => self.was_never_good_since(),
                Condition::Blind => self.may_still_be_blind(now),
                Condition::Overdue => self.unit.is_none() || self.overdue_at().is_some(),
                // A proof says so, or a step that is carried out.
                Condition::MayNotAct => true,
                Condition::Slow => self.is_unseen(CheckKind::Http),
                Condition::PortForeign => self.is_unseen(CheckKind::Port),
                Condition::FewProcesses => self.is_unseen(CheckKind::Processes),
                _ => false,
            }
    }

    /// What is odd about an app that answers shows in a round that is good.
    fn is_unseen(&self, kind: CheckKind) -> bool {
        let seen = self.verdict == Verdict::Healthy && self.latest.contains_key(&kind);
        self.target.has(kind) && !seen && self.history.bad_in_a_row() == 0 && !self.is_down()
    }

    /// The check that it is about is made as before, and was not good since either.
    fn was_never_good_since(&self) -> bool {
        let about = self.conditions.get(&Condition::NeverHealthy).and_then(|state| state.about);
        CheckKind::ALL.into_iter().any(|kind| {
            self.target.has(kind) && !self.was_ever_good(kind) && about == Some(self.target.signature(kind))
        })
    }

    /// What could not be looked at was not looked at since, or cannot be either, but not for long enough
    /// to be told.
    fn may_still_be_blind(&self, now: Moment) -> bool {
        let Some(unit) = &self.unit else { return true };
        if self.unreadable_since.is_some() || self.blind_since.is_some() {
            return true;
        }
        // What is asked on suspicion only may never be asked.
        let early = now.since(self.inherited.since) < BLIND_FOR;
        let up = unit.active == ActiveState::Active;
        let mut rounds = self.decisive_kinds().into_iter().filter(|_| up);
        rounds.any(|kind| early && !self.latest.contains_key(&kind))
            || AROUND.into_iter().filter(|kind| self.target.has(*kind)).any(|kind| {
                self.errands.seen(kind).map_or(early, |seen| {
                    seen.observation.finding == Finding::Unknown && now.since(seen.began) < BLIND_FOR
                })
            })
    }

    /// That its conditions began, as far as somebody was to be told of that.
    pub(super) fn held_tellings(&self) -> Vec<Record> {
        // Where the network is down, its end alone is told.
        let told = self
            .conditions
            .iter()
            .filter(|(what, state)| state.alerted && !state.silenced && **what != Condition::NetworkDown);
        told.map(|(what, state)| {
            let text = format!("{what}: {}", state.text);
            let record = self.record(EventKind::ConditionBegan, Level::Warn, text, true);
            Record { condition: Some(*what), ..record }
        })
        .collect()
    }

    /// When what was inherited is to be looked at again, although nothing happened.
    pub(super) fn inherited_due(&self) -> Option<Moment> {
        self.inherited.is_open(Condition::Blind).then(|| self.inherited.since + BLIND_FOR)
    }
}
