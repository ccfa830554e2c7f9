//! An app that goes from one verdict to the next without end: which of them are worth a line.
//!
//! That it is started too often is a condition of its own (`restarts-often`, in `loops` and `surroundings`).

use std::time::Duration;

use super::app::App;
use super::effect::Effect;
use super::level::Level;
use super::record::EventKind;
use super::time::{Moment, Span};
use super::verdict::Verdict;

/// Verdicts in between, one after the other, that are worth a line each.
const RESTLESS: u32 = 8;
/// Being well for so long is no pause between two of them.
const CALM: Duration = Duration::from_secs(60);

fn in_between(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Starting | Verdict::SystemdRestarting | Verdict::Changing)
}

impl App {
    /// Somebody is at work on it, and reads what becomes of that: it does not go round by itself.
    pub(super) fn attend(&mut self) {
        self.restless = 0;
        self.named.clear();
    }

    /// How loudly it is told that the verdict is another one than before, which has lasted for so long. An
    /// app that systemd restarts for ever must not fill the journal for ever.
    pub(super) fn level_of_change(&mut self, before: Verdict, lasted: Duration) -> Level {
        if before.is_well() && !in_between(before) && lasted >= CALM {
            self.attend();
        }
        self.restless = self.restless.saturating_add(1);
        let again = !self.named.insert(self.verdict);
        if again && self.restless > RESTLESS { Level::Debug } else { Level::Info }
    }

    /// So many verdicts went by that not each was told: where they have led.
    pub(super) fn tell_calm(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.calm_due().is_some_and(|at| now >= at) {
            self.attend();
            let text = format!("healthy for {} now{}", Span(CALM), self.evidence());
            self.tell(out, EventKind::VerdictChanged, Level::Info, text);
        }
    }

    /// When that is due.
    pub(super) fn calm_due(&self) -> Option<Moment> {
        let restless = self.restless > RESTLESS && self.verdict == Verdict::Healthy;
        restless.then(|| self.verdict_since + CALM)
    }
}
