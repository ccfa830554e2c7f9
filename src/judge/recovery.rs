//! A recovery under way: its plan, how far it is, and what of it is written ahead.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::effect::ActId;
use super::plan::Step;
use super::time::Moment;
use super::unit::{InvocationId, JobId};
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
    /// The one that its start has begun, once it was seen.
    #[serde(default)]
    pub run: Option<InvocationId>,
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

/// A recovery under way: what is written ahead of it, and how far it is.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub intent: Intent,
    pub phase: Phase,
    pub step_since: Moment,
    /// The job that a monitor before this one seems to have queued for the step.
    pub again: Option<JobId>,
}

impl Recovery {
    /// Taken over from a monitor that was restarted.
    pub fn restore(intent: Intent) -> Self {
        Self { step_since: intent.began, phase: Phase::Resuming, intent, again: None }
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
            _ if self
                .intent
                .steps
                .iter()
                .any(|step| matches!(step, Step::Restart { .. } | Step::Stop { .. })) =>
            {
                "restarting"
            }
            _ if self.intent.steps.contains(&Step::Reload) => "reloading it",
            _ => "starting it",
        }
    }

    /// Its number, where it counts.
    pub fn attempt(&self) -> Option<u32> {
        self.intent.attempt
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
        self.intent.steps[..self.intent.next].iter().any(|step| matches!(step, Step::Stop { .. }))
    }

    /// Nothing would stay down by our doing if it ended here, and no person asked for it.
    pub fn may_be_left(&self) -> bool {
        self.intent.attempt.is_some() && !self.stopped_it()
    }

    /// A step that takes it down is still ahead, or under way.
    pub fn stops_it_yet(&self) -> bool {
        let ahead = self.intent.steps.iter().skip(self.intent.next);
        ahead.into_iter().any(|step| matches!(step, Step::Stop { .. } | Step::Restart { .. }))
    }

    /// The next step is the start.
    pub fn skip_to_start(&mut self) {
        if let Some(start) = self.intent.steps.iter().rposition(|step| *step == Step::Start) {
            self.intent.next = self.intent.next.max(start.saturating_sub(1));
        }
    }

    /// A run began while it was starting it.
    pub fn began_run(&mut self, run: Option<InvocationId>) {
        if self.phase == Phase::Acting && matches!(self.current(), Some(Step::Start | Step::Restart { .. })) {
            self.intent.run = run;
        }
    }

    pub fn current(&self) -> Option<Step> {
        self.intent.steps.get(self.intent.next).cloned()
    }
}
