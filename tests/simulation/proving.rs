//! What the monitor is told of what it may do: now and then, and some time after it changed.

use app_monitor::judge::{Denial, Event, Verb, Verbs};

use crate::world::{Coming, World, millis, seconds};

impl World {
    /// Somebody looks before long.
    pub fn prove_later(&mut self) {
        // Not by chance, so that nothing else is another one for it.
        let after = millis(200 + self.absolute().unsigned_abs() % 9_000);
        self.later(after, Coming::Proof);
    }

    pub fn prove(&mut self) {
        // What is told is what was found last, not what waited for the monitor to run again.
        if let Some(until) = self.monitor.stalled {
            self.at(until, Coming::Proof);
            return;
        }
        if self.around.hung {
            self.later(seconds(2), Coming::Proof);
            return;
        }
        let denial = self
            .around
            .refuses
            .then(|| Denial { verbs: Verbs::of(&Verb::ALL), text: "polkit says no".into() });
        let generation = self.monitor.generation;
        for member in 0..self.members.len() {
            self.deliver(generation, member, Event::Permission(denial.clone()));
        }
    }
}
