//! What the judge remembers over restarts of the monitor, and what of it over a reboot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::chronicle::Chronicle;
use super::companion::CompanionMemory;
use super::effect::Pause;
use super::incident::Incident;
use super::life::LifeMemory;
use super::loops::Loops;
use super::names::{Subject, UnitName};
use super::noting::ConditionState;
use super::recovery::Intent;
use super::time::Moment;
use super::verdict::Condition;

/// What is remembered of one app.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AppMemory {
    /// The unit that the memory is of; none in what an older version wrote.
    pub unit: Option<UnitName>,
    /// Signatures of the checks that were good once.
    pub ever_good: BTreeSet<u64>,
    /// Times from start to the first good round, oldest first; ten at most.
    pub starts: Vec<Duration>,
    /// Attempts, cooldown, breaker.
    pub budget: Budget,
    /// The same for restarts of an answering app for memory's sake.
    pub memory_budget: Budget,
    /// Outages and restarts of the last month.
    pub chronicle: Chronicle,
    /// Restarts without end.
    pub loops: Loops,
    /// The last run and how it ended.
    pub life: LifeMemory,
    /// The recovery under way.
    pub intent: Option<Intent>,
    /// The incident that is open.
    pub incident: Option<Incident>,
    /// How many incidents there were.
    pub incidents: u64,
    /// The pause that holds.
    pub pause: Option<Pause>,
    /// Conditions that hold: their beginning is not told again, and their end is.
    pub conditions: BTreeMap<Condition, ConditionState>,
    /// What is remembered of a unit that apps lean on.
    pub companion: CompanionMemory,
    /// It fell with its database, and is owed a start when that is back.
    pub owed_start: bool,
    /// It was started without its database once.
    pub tried_without: bool,
    /// Somebody was told that a stop lasts.
    pub stop_told: bool,
}

impl AppMemory {
    /// What is left when the state could not be read: one careful attempt.
    #[must_use]
    pub fn lost() -> Self {
        Self { budget: Budget::reduced(), memory_budget: Budget::reduced(), ..Self::default() }
    }

    /// What of it is true of that unit: runs, starts, attempts and intents are those of another one
    /// where the configuration names another.
    #[must_use]
    pub(super) fn of_unit(self, unit: &UnitName) -> Self {
        if self.unit.as_ref().is_none_or(|known| known == unit) {
            return self;
        }
        Self {
            ever_good: self.ever_good,
            incident: self.incident,
            incidents: self.incidents,
            pause: self.pause,
            conditions: self.conditions,
            chronicle: self.chronicle,
            ..Self::default()
        }
    }

    /// Carries the memory over a reboot. What belongs to the runs of the old boot is forgotten:
    /// what was disabled or stopped then must not be revived, what is enabled has been started.
    fn over_reboot(mut self, shift: &impl Fn(Moment) -> Moment) -> Self {
        self.budget.shift(shift);
        self.memory_budget.shift(shift);
        self.loops.shift(shift);
        self.chronicle.shift(shift);
        self.life = LifeMemory::default();
        self.intent = None;
        (self.owed_start, self.tried_without, self.stop_told) = (false, false, false);
        for state in self.conditions.values_mut() {
            state.since = shift(state.since);
            state.told = shift(state.told);
        }
        if let Some(pause) = &mut self.pause {
            pause.until = shift(pause.until);
        }
        if let Some(incident) = &mut self.incident {
            incident.since = shift(incident.since);
        }
        self
    }
}

/// Where the clocks stood when the memory was written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clocks {
    /// /proc/sys/kernel/random/boot_id.
    pub boot: String,
    /// CLOCK_MONOTONIC.
    pub monotonic: Moment,
    /// CLOCK_REALTIME in seconds since the epoch.
    pub wall: i64,
}

impl Clocks {
    /// A moment that was noted under these clocks, as it stands under those of `now`. Within one boot
    /// nothing changes. After a reboot the wall clock tells how long ago it was, as far as it can be
    /// believed: a clock that went backwards means "just now", so that nothing expires early.
    #[must_use]
    pub fn carry(&self, moment: Moment, now: &Self) -> Moment {
        if self.boot == now.boot {
            return moment;
        }
        let away = u64::try_from(now.wall.saturating_sub(self.wall)).unwrap_or(0);
        let written = self.monotonic;
        // It lay ahead, or behind; the other is nothing.
        now.monotonic + moment.since(written) - written.since(moment) - Duration::from_secs(away)
    }
}

/// The whole memory, as state.json holds it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Version of the format.
    pub version: u32,
    /// Where the clocks stood.
    pub clocks: Clocks,
    /// What is remembered of each app.
    pub apps: BTreeMap<Subject, AppMemory>,
}

/// The format that is written.
pub const MEMORY_VERSION: u32 = 1;

impl Memory {
    /// What is left when a later state could not be read: as much care as without any.
    #[must_use]
    pub fn doubted(mut self) -> Self {
        for app in self.apps.values_mut() {
            app.budget.reduce();
            app.memory_budget.reduce();
        }
        self
    }

    /// Makes the memory fit the clocks as they stand now.
    #[must_use]
    pub fn at(self, now: &Clocks) -> Self {
        if self.clocks.boot == now.boot {
            return Self { clocks: now.clone(), ..self };
        }
        let shift = |moment: Moment| self.clocks.carry(moment, now);
        let apps = self.apps.into_iter().map(|(name, app)| (name, app.over_reboot(&shift))).collect();
        Self { version: self.version, clocks: now.clone(), apps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(until: i64) -> Memory {
        let pause = Pause { until: Moment::from_micros(until), reason: None, by: None };
        let app = AppMemory { pause: Some(pause), ..AppMemory::default() };
        Memory {
            version: MEMORY_VERSION,
            clocks: Clocks { boot: "a".into(), monotonic: Moment::from_micros(100_000_000), wall: 1_000 },
            apps: BTreeMap::from([("web".parse().unwrap(), app)]),
        }
    }

    fn until(memory: &Memory) -> i64 {
        memory.apps[&"web".parse::<Subject>().unwrap()].pause.as_ref().unwrap().until.as_micros()
    }

    #[test]
    fn within_a_boot_nothing_moves() {
        let now = Clocks { boot: "a".into(), monotonic: Moment::from_micros(1), wall: 5 };
        assert_eq!(until(&memory(160_000_000).at(&now)), 160_000_000);
    }

    #[test]
    fn after_a_reboot_the_time_away_counts() {
        // A minute of pause left, ten seconds away, five seconds after boot: 55 seconds after boot.
        let now = Clocks { boot: "b".into(), monotonic: Moment::from_micros(5_000_000), wall: 1_010 };
        assert_eq!(until(&memory(160_000_000).at(&now)), 55_000_000);
    }

    #[test]
    fn a_wall_clock_that_went_backwards_means_just_now() {
        let now = Clocks { boot: "b".into(), monotonic: Moment::from_micros(5_000_000), wall: 10 };
        assert_eq!(until(&memory(160_000_000).at(&now)), 65_000_000);
    }
}
