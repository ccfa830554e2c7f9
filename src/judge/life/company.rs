//! Who went down with whom: what a unit depends on, and what of it took the unit down.
//!
//! Live, the order of jobs tells (`alongside`), and what was going down when the unit was seen to. Afterwards
//! timestamps tell.

use std::time::Duration;

use super::super::names::UnitName;
use super::super::time::Moment;
use super::super::unit::{ActiveState, Dependency, InvocationId, JobId, UnitReading};
use super::alongside::Alongside;

/// What takes a unit down leaves `active` no longer than that before the unit does, or is down,
const BEFORE: Duration = Duration::from_millis(50);
/// and no longer than that afterwards. Two calls of systemctl take longer.
const AFTER: Duration = Duration::from_millis(5);

/// What is known of the units that one depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Company {
    /// What it ran without when it was last seen up: that did not take it down.
    ran_without: Vec<UnitName>,
    /// The run that was seen on its way down under a job that is not ours, the job, and what it depends on
    /// that was going down, or was about to, just then.
    taken_down: Option<(InvocationId, JobId, Vec<UnitName>)>,
    /// Jobs on what it depends on.
    alongside: Alongside,
}

impl Company {
    /// Knows what was seen until now, under another configuration of the same unit.
    pub fn goes_on(&mut self, before: Self) {
        self.taken_down = before.taken_down;
        self.alongside = before.alongside;
    }

    /// Signals may have been lost: those of jobs among them.
    pub fn lost(&mut self) {
        self.alongside = Alongside::default();
    }

    /// A job was queued on one of them.
    pub fn queued(&mut self, other: UnitName, job: JobId) {
        self.alongside.queued(other, job);
    }

    /// That job ended.
    pub fn removed(&mut self, job: JobId) {
        self.alongside.removed(job);
    }

    /// Somebody's job on the unit itself was queued.
    pub fn joined(&mut self) {
        self.alongside.joined();
    }

    /// That job is over, and took nothing down.
    pub fn passed(&mut self) {
        self.alongside.passed();
    }

    /// It is up, or about to be.
    pub fn runs(&mut self, unit: &UnitReading) {
        let down = unit.dependencies.iter().filter(|other| other.active.is_down());
        self.ran_without = down.map(|other| other.unit.clone()).collect();
    }

    /// It is not down: what came up since may take it down, be it in the pause before `Restart=`.
    pub fn comes_up(&mut self, unit: &UnitReading) {
        let down = |name: &UnitName| {
            unit.dependencies.iter().any(|other| other.unit == *name && other.active.is_down())
        };
        self.ran_without.retain(down);
    }

    /// It is on its way down under a job that is not ours. The first look at it tells what goes with it:
    /// what is stopped later, by another job, was not the reason, nor what left long before or since.
    pub fn goes_down(&mut self, unit: &UnitReading, job: JobId, continuous: bool) {
        let known = |run| self.taken_down.as_ref().is_some_and(|taken| (taken.0, taken.1) == (run, job));
        let Some(run) = unit.invocation.filter(|run| !known(*run)) else { return };
        let began = unit.inactive_exit.unwrap_or_default();
        let from = unit.active_exit.filter(|exit| *exit >= began);
        let goes = |other: &&Dependency| match (other.left, from) {
            // A job on one that is down starts it.
            _ if other.job && !other.active.is_down() => true,
            (Some(left), Some(from)) => is_near(left, from),
            // It never was up as far as systemd remembers, or was seen up by us.
            (None, _) if other.active.is_down() => continuous,
            _ => other.active.is_down() || other.active == ActiveState::Deactivating,
        };
        let going = unit.dependencies.iter().filter(goes);
        self.taken_down = Some((run, job, going.map(|other| other.unit.clone()).collect()));
    }

    /// That run was seen on its way down under such a job.
    pub fn was_taken_down(&self, run: InvocationId) -> bool {
        self.taken_down.as_ref().is_some_and(|(taken, ..)| *taken == run)
    }

    /// What took it down with it, if it was stopped; `continuous`: no signal was lost since it was last seen up.
    pub fn took_down(&self, unit: &UnitReading, continuous: bool) -> Option<UnitName> {
        let seen = self.taken_down.as_ref().filter(|(run, ..)| Some(*run) == unit.invocation);
        let took = |other: &&Dependency| match seen {
            // What was read a moment later than the unit itself may have begun to go meanwhile: its turn comes
            // as soon as the unit is down.
            Some((.., going)) => going.contains(&other.unit) || came_next(unit, other),
            // Down, and never up as far as systemd remembers: it can have taken nothing with it, unless it
            // was seen up.
            None if other.left.is_none() && other.active.is_down() => continuous,
            None => went_together(unit, other),
        };
        let took = |other: &&Dependency| {
            took(other) || self.alongside.came_with(&other.unit) && has_left_since(unit, other)
        };
        let mut others = unit.dependencies.iter().filter(|other| !self.ran_without.contains(&other.unit));
        others.find(took).map(|other| other.unit.clone())
    }
}

/// When the run left `active`, or began, should it never have been up.
fn has_left(unit: &UnitReading) -> Moment {
    let began = unit.inactive_exit.unwrap_or_default();
    unit.active_exit.filter(|exit| *exit >= began).unwrap_or(began)
}

/// It left `active` as the unit did, or later, and not for a job of long before.
fn has_left_since(unit: &UnitReading, other: &Dependency) -> bool {
    other.left.is_some_and(|left| left + BEFORE >= has_left(unit))
}

/// It left `active` as soon as the unit was down, as what the unit is ordered after does when both are
/// stopped by one job (systemd.unit(5), After=).
fn came_next(unit: &UnitReading, other: &Dependency) -> bool {
    let (Some(left), Some(down)) = (other.left, unit.inactive_enter) else { return false };
    left >= down && left.since(down) <= AFTER
}

/// By its timestamps, what it depends on and that did not go down together. Those that are stopped by one
/// job leave `active` side by side, or one after the other without a pause, as `After=` has it.
fn went_together(unit: &UnitReading, other: &Dependency) -> bool {
    let down = other.active.is_down() || other.active == ActiveState::Deactivating;
    let Some(left) = other.left else { return down };
    let from = has_left(unit);
    let until = unit.inactive_enter.unwrap_or(from);
    is_near(left, from) || is_near(left, until)
}

/// What left then went together with what was to go, or was down, at that moment.
fn is_near(left: Moment, moment: Moment) -> bool {
    left + BEFORE >= moment && left <= moment + AFTER
}
