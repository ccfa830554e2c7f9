//! What systemd's timestamps, results and exit codes say of the end of a run, once it is over.

use std::time::Duration;

use super::super::unit::{ActiveState, Exit, UnitReading};

/// systemd takes a unit out of `active` within that time of the end of its main process.
const OWN_END: Duration = Duration::from_secs(1);

/// What takes longer than that to go down is seen to do so, unless the signals of it are lost.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// What the timestamps of the last run say; nothing when they belong to an earlier one, or to a unit that
/// stayed up without its main process.
pub(super) fn stopped_by_job(unit: &UnitReading) -> Option<bool> {
    let (began, left, exited) = (unit.inactive_exit?, unit.active_exit?, unit.main_exit?);
    (left >= began && exited >= began && !outlived_its_process(unit)).then_some(left < exited)
}

/// It was up long after its main process had ended (`RemainAfterExit=`, `ExitType=cgroup`): the end of that
/// process was not the unit's.
pub(super) fn outlived_its_process(unit: &UnitReading) -> bool {
    let (Some(left), Some(exited)) = (unit.active_exit, unit.main_exit) else { return false };
    left.since(exited) > OWN_END
}

/// Its way down was a long one.
pub(super) fn took_long(unit: &UnitReading) -> bool {
    let way = unit.active_exit.zip(unit.inactive_enter);
    way.is_some_and(|(left, down)| down.since(left) > SEEN_WITHIN)
}

impl UnitReading {
    /// By its timestamps it is down because a job stopped it. A oneshot that ran to its end is not.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        self.active.is_down() && stopped_by_job(self) == Some(true) && !is_systemds_doing(self)
    }
}

/// A watchdog or OOM kill takes the unit out of `active` before its process ends, too; and whoever runs
/// into the start limit wanted it started.
pub(super) fn is_systemds_doing(unit: &UnitReading) -> bool {
    matches!(unit.result.as_str(), "watchdog" | "oom-kill" | "start-limit-hit")
}

/// It was on its way up, and went down without having failed: somebody stopped it during the pause before
/// `Restart=`, before its turn had come, or before it was ready. A process that ends before it is ready
/// fails by that, how ever it ends.
pub(super) fn stopped_on_its_way_up(unit: &UnitReading) -> bool {
    let Some((began, exited)) = unit.inactive_exit.zip(unit.main_exit) else { return false };
    let was_up = unit.active_enter.is_some_and(|entered| entered >= began);
    let clean = unit.result == "success" && matches!(unit.exit, Some(Exit::Signal(15) | Exit::Status(0)));
    let before_it_was_ready = !was_up && clean;
    (exited < began || before_it_was_ready)
        && unit.active == ActiveState::Inactive
        && !unit.condition_failed
        && unit.result != "exec-condition"
}
