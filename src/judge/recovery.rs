//! A recovery under way: its plan, how far it is, and what of it is written ahead.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::effect::ActId;
use super::plan::Step;
use super::time::Moment;
use super::unit::InvocationId;
use super::verdict::Verdict;

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
    /// It counts on the budget for memory's sake.
    #[serde(default)]
    pub memory: bool,
    /// The invocation that was up, or the last one, when it began.
    pub before: Option<InvocationId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
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
    pub steps: Vec<Step>,
    pub next: usize,
    pub began: Moment,
    pub attempt: Option<u32>,
    pub memory: bool,
    pub before: Option<InvocationId>,
    pub phase: Phase,
    pub step_since: Moment,
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
            memory: intent.memory,
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
            memory: self.memory,
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
    pub fn stopped_it(&self) -> bool {
        self.steps[..self.next].iter().any(|step| matches!(step, Step::Stop { .. }))
    }

    /// Nothing would stay down by our doing if it ended here, and no person asked for it.
    pub fn may_be_left(&self) -> bool {
        self.attempt.is_some() && !self.stopped_it()
    }

    /// A step that takes it down is still ahead, or under way.
    pub fn stops_it_yet(&self) -> bool {
        let ahead = self.steps.iter().skip(self.next);
        ahead.into_iter().any(|step| matches!(step, Step::Stop { .. } | Step::Restart { .. }))
    }

    /// The next step is the start.
    pub fn skip_to_start(&mut self) {
        if let Some(start) = self.steps.iter().rposition(|step| *step == Step::Start) {
            self.next = self.next.max(start.saturating_sub(1));
        }
    }

    pub fn current(&self) -> Option<Step> {
        self.steps.get(self.next).cloned()
    }
}
