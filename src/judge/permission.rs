//! What we may not do to an app's unit, as it is proven; and what is held back until we may.
//!
//! A proof says what is missing before it is needed, and when it is there again. A step that is
//! refused although nothing was said to be missing holds back by itself, ever longer.

use super::app::App;
use super::effect::Effect;
use super::plan::Step;
use super::time::Moment;
use super::unit::UnitReading;
use super::verb::{Verb, Verbs};
use super::verdict::Condition;
use super::wanting::Why;

/// Refusals in a row after which a proof to the contrary is believed no more: it goes by the clock then.
const BELIEVED: u32 = 3;

/// What is missing for an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// What may not be done to its own unit; none where it is about something lesser, such as a hook.
    pub verbs: Verbs,
    /// What, why, and how to mend it.
    pub text: String,
}

/// Whether we may act for an app.
#[derive(Clone, Default, Debug)]
pub(super) struct Permission {
    denial: Option<Denial>,
    /// Steps in a row that were refused all the same.
    refusals: u32,
}

impl App {
    /// What is proven to be missing for it.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        self.permission.denial.as_ref()
    }

    /// A step of it was refused, and no proof has said anything of it yet.
    #[must_use]
    pub fn awaits_proof(&self) -> bool {
        self.permission.denial.is_none() && self.conditions.contains_key(&Condition::MayNotAct)
    }

    /// A proof says what is missing, or that nothing is.
    pub(super) fn take_permission(&mut self, now: Moment, denial: Option<Denial>, out: &mut Vec<Effect>) {
        if denial.is_none() && self.awaits_proof() && self.permission.refusals > BELIEVED {
            return;
        }
        self.inherited.decide(Condition::MayNotAct);
        if denial.is_none() && (self.awaits_proof() || self.permission.denial.is_some()) {
            self.hold_until = None;
        }
        self.note(now, Condition::MayNotAct, denial.as_ref().map(|denial| denial.text.clone()), out);
        self.permission.denial = denial;
    }

    /// A step was refused.
    pub(super) fn take_refusal(&mut self, now: Moment, text: String, out: &mut Vec<Effect>) {
        self.permission.refusals = self.permission.refusals.saturating_add(1);
        self.note(now, Condition::MayNotAct, Some(text), out);
    }

    /// A step was carried out that could have been refused.
    pub(super) fn take_consent(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.permission.refusals = 0;
        self.inherited.decide(Condition::MayNotAct);
        self.forget_refusal(now, out);
    }

    /// Whether we may act by now shows when something is needed again; what is proven stays.
    pub(super) fn forget_refusal(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.permission.denial.is_none() {
            self.note(now, Condition::MayNotAct, None, out);
        }
    }

    /// A recovery that would come now would need what is known to be missing: it is not begun.
    pub(super) fn is_denied(&self, now: Moment, unit: &UnitReading, why: Why) -> bool {
        let attempt = self.budget.used(now, &self.policy).saturating_add(1);
        self.denied(unit, why, attempt).is_some()
    }

    /// What is missing for such a recovery.
    pub(super) fn denied(&self, unit: &UnitReading, why: Why, attempt: u32) -> Option<&Denial> {
        let denial = self.denial()?;
        let needs = |step: Step| match step {
            Step::Start => Some(Verb::Start),
            Step::Restart { .. } => Some(Verb::Restart),
            Step::Stop { .. } => Some(Verb::Stop),
            Step::Reload => Some(Verb::Reload),
            _ => None,
        };
        let steps = self.steps_for(unit, why, attempt);
        steps.into_iter().filter_map(needs).any(|verb| denial.verbs.has(verb)).then_some(denial)
    }
}
