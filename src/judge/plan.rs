//! What a recovery does, step by step, and how a step can end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mutation::{Mutation, active};
use super::names::UnitName;
use super::policy::Policy;
use super::time::Span;
use super::unit::{ActiveState, UnitReading};

/// One step of a recovery. All of them are jobs or calls of systemd: on the app's own unit, or on a
/// unit that does one thing for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// ResetFailedUnit: forget failure and start limit.
    ResetFailed,
    /// StartUnit.
    Start,
    /// RestartUnit: one job for both halves, so that an administrator's stop in the middle shows as
    /// a job of its own.
    Restart {
        /// SIGKILL follows when its stop half takes longer.
        kill_after: Duration,
    },
    /// StopUnit, where something has to happen while the unit is down.
    Stop {
        /// SIGKILL follows when it takes longer.
        kill_after: Duration,
    },
    /// KillUnit(all, SIGKILL) on a unit that is down: what `KillMode=process` left behind.
    KillLeftovers,
    /// `app-monitor-preflight@APP.service`: is everything there that a start needs?
    Preflight,
    /// `app-monitor-reap@APP.service`: ends stragglers, and who holds the port, as far as allowed.
    Reap,
    /// `app-monitor-clear-caches@APP.service`.
    ClearCaches,
    /// Cycles swap units that fit into free memory.
    ReclaimSwap,
    /// Starts a hook's unit and waits for its job.
    Hook(UnitName),
    /// ReloadUnit: a proxy that is up, but silent.
    Reload,
}

impl Step {
    /// Its name in the journal and in incidents.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::ResetFailed => "reset-failed",
            Self::Start => "start",
            Self::Restart { .. } => "restart",
            Self::Stop { .. } => "stop",
            Self::KillLeftovers => "kill-leftovers",
            Self::Preflight => "preflight",
            Self::Reap => "reap",
            Self::ClearCaches => "clear-caches",
            Self::ReclaimSwap => "reclaim-swap",
            Self::Hook(_) => "hook",
            Self::Reload => "reload",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResetFailed => f.write_str("reset-failed"),
            Self::Start => f.write_str("start"),
            Self::Restart { kill_after } => write!(f, "restart (SIGKILL after {})", Span(*kill_after)),
            Self::Stop { kill_after } => write!(f, "stop (SIGKILL after {})", Span(*kill_after)),
            Self::KillLeftovers => f.write_str("kill what was left behind"),
            Self::Reap => f.write_str("end stragglers"),
            Self::ClearCaches => f.write_str("clear caches"),
            Self::ReclaimSwap => f.write_str("reclaim swap"),
            Self::Hook(unit) => write!(f, "start hook {unit}"),
            Self::Preflight | Self::Reload => f.write_str(self.word()),
        }
    }
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Carried out. Does not mean healthy.
    Done,
    /// Carried out, and what there is to say of it: `ended node (pid 812), which held port 3000`.
    Told(String),
    /// Nothing was to be done.
    AlreadySo,
    /// Our job was canceled: somebody else decided.
    Canceled,
    /// Refused because of a pending job of somebody else (job mode `fail`).
    Conflict(String),
    /// systemd or polkit refuses it.
    Refused(String),
    /// polkit itself cannot be asked: nothing whatever would be carried out for us now.
    Hindered(String),
    /// Our deadline, or the job's own, ran out.
    TimedOut(String),
    /// The job failed.
    Failed(String),
    /// Not applicable to the unit's state.
    Skipped,
    /// A unit that it needs did not come up.
    Dependency(String),
    /// Nobody knows: the bus was lost or the call was not answered. It may still happen.
    Unknown(String),
}

/// What is known when a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The unit as last read.
    pub unit: &'a UnitReading,
    /// The last bad round timed out (for whatever verdict): a blocked event loop cannot run its
    /// SIGTERM handler, so waiting for it is in vain.
    pub unanswered: bool,
    /// The app answers well (a person asked for the recovery).
    pub answers: bool,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Everything that a start needs is to be looked at first.
    pub preflight: bool,
    /// Stragglers, or who holds its port, are to be ended.
    pub reap: bool,
    /// Caches are to be cleared.
    pub clear_caches: bool,
    /// Swap is to be had back while it is down.
    pub reclaim_swap: bool,
    /// A stop and a start of its own, whatever else is needed: a loop of restarts is broken by it.
    pub apart: bool,
}

impl<'a> Circumstances<'a> {
    /// The first attempt at a sick unit, with nothing besides.
    #[must_use]
    pub fn plain(unit: &'a UnitReading) -> Self {
        Self {
            unit,
            unanswered: false,
            answers: false,
            attempt: 1,
            preflight: false,
            reap: false,
            clear_caches: false,
            reclaim_swap: false,
            apart: false,
        }
    }
}

/// The steps of a recovery. Pure; the order is the order in which they are carried out.
///
/// Where nothing has to happen while the unit is down, the whole is one RestartUnit job; StopUnit and
/// StartUnit only where something must.
#[must_use]
pub fn plan(policy: &Policy, circumstances: Circumstances<'_>) -> Vec<Step> {
    let unit = circumstances.unit;
    // KillMode=process and none leave children behind, which keep the port over a restart. That is
    // what somebody wanted, so it is overruled only when a plain start did not help.
    let overruled = matches!(unit.kill_mode.as_str(), "process" | "none") && circumstances.attempt > 1;
    let below = [
        (overruled, Step::KillLeftovers),
        (circumstances.reap, Step::Reap),
        (circumstances.clear_caches, Step::ClearCaches),
        (circumstances.reclaim_swap, Step::ReclaimSwap),
    ];
    let below: Vec<Step> = below.into_iter().filter(|(due, _)| *due).map(|(_, step)| step).collect();
    let hooks = policy.before_start.iter().cloned().map(Step::Hook);
    let mut steps: Vec<Step> = circumstances.preflight.then_some(Step::Preflight).into_iter().collect();
    // One in the pause before systemd's own restart has no process, but would get one any moment.
    let down = unit.active.is_down() || (unit.auto_restarting() && below.is_empty() && !circumstances.apart);
    if down {
        steps.extend(below);
        steps.extend(hooks);
        if unit.active == ActiveState::Failed {
            steps.push(Step::ResetFailed);
        }
        steps.push(Step::Start);
        return steps;
    }
    let kill_after = if circumstances.unanswered {
        policy.kill_after
    } else if circumstances.answers {
        // Its own manners count: it is not sick.
        unit.timeout_stop.unwrap_or(LONGEST_STOP).min(LONGEST_STOP)
    } else {
        policy.stop_timeout
    };
    if below.is_empty() && !circumstances.apart {
        steps.extend(hooks);
        steps.push(Step::Restart { kill_after });
    } else {
        let early = active(Mutation::CachesWhileUp) && below.contains(&Step::ClearCaches);
        steps.extend(early.then_some(Step::ClearCaches));
        steps.push(Step::Stop { kill_after });
        steps.extend(below);
        steps.extend(hooks);
        steps.extend([Step::ResetFailed, Step::Start]);
    }
    steps
}

/// What a job is given beyond the unit's own timeout, and in the place of one that is infinite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Margins {
    /// Beyond.
    pub margin: Duration,
    /// In the place of.
    pub unbounded: Duration,
}

impl Margins {
    /// How long a job may take before nobody waits for it any longer. `starts`: its second half, or all
    /// of it, is a start.
    #[must_use]
    pub fn deadline(self, unit: &UnitReading, starts: bool, kill_after: Option<Duration>) -> Duration {
        let mut allowed = self.margin.saturating_add(kill_after.unwrap_or_default());
        if starts {
            if unit.auto_restarting() {
                allowed = allowed.saturating_add(unit.restart_delay.unwrap_or_default());
            }
            allowed = match unit.timeout_start {
                Some(start) => allowed.saturating_add(start),
                None => allowed.max(self.unbounded),
            };
        }
        allowed
    }
}

/// The longest that a stop is waited for, where the unit's own timeout is infinite.
const LONGEST_STOP: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::super::testing::{down, up};
    use super::*;

    fn steps(unit: &UnitReading, attempt: u32) -> Vec<Step> {
        plan(&Policy::default(), Circumstances { attempt, ..Circumstances::plain(unit) })
    }

    #[test]
    fn what_has_to_happen_below_parts_the_stop_from_the_start() {
        let hook: UnitName = "warm.service".parse().unwrap();
        let policy = Policy { before_start: vec![hook.clone()], ..Policy::default() };
        let stop = Step::Stop { kill_after: policy.stop_timeout };
        let running = up(1);
        let all = Circumstances {
            preflight: true,
            reap: true,
            clear_caches: true,
            reclaim_swap: true,
            ..Circumstances::plain(&running)
        };
        assert_eq!(
            plan(&policy, all),
            [
                Step::Preflight,
                stop,
                Step::Reap,
                Step::ClearCaches,
                Step::ReclaimSwap,
                Step::Hook(hook.clone()),
                Step::ResetFailed,
                Step::Start
            ]
        );
        let nothing = plan(&policy, Circumstances::plain(&running));
        assert_eq!(nothing, [Step::Hook(hook), Step::Restart { kill_after: policy.stop_timeout }]);
        let failed = UnitReading { active: ActiveState::Failed, ..down(1) };
        let reap = Circumstances { reap: true, ..Circumstances::plain(&failed) };
        assert_eq!(plan(&Policy::default(), reap), [Step::Reap, Step::ResetFailed, Step::Start]);
    }

    #[test]
    fn a_loop_of_restarts_is_stopped_first() {
        let pause = UnitReading { active: ActiveState::Activating, sub: "auto-restart".into(), ..up(1) };
        let plain = Circumstances::plain(&pause);
        assert_eq!(plan(&Policy::default(), plain), [Step::Start]);
        let apart = plan(&Policy::default(), Circumstances { apart: true, ..plain });
        assert!(matches!(apart[..], [Step::Stop { .. }, Step::ResetFailed, Step::Start]), "{apart:?}");
    }

    #[test]
    fn leftovers_are_killed_from_the_second_attempt_whether_up_or_down() {
        let stop_timeout = Policy::default().stop_timeout;
        let failed = UnitReading { active: ActiveState::Failed, kill_mode: "process".into(), ..down(1) };
        assert_eq!(steps(&failed, 1), [Step::ResetFailed, Step::Start]);
        assert_eq!(steps(&failed, 2), [Step::KillLeftovers, Step::ResetFailed, Step::Start]);
        let running = UnitReading { kill_mode: "process".into(), ..up(1) };
        assert_eq!(steps(&running, 1), [Step::Restart { kill_after: stop_timeout }]);
        assert_eq!(
            steps(&running, 2),
            [Step::Stop { kill_after: stop_timeout }, Step::KillLeftovers, Step::ResetFailed, Step::Start]
        );
        let own_manners = UnitReading { active: ActiveState::Failed, ..down(1) };
        assert_eq!(steps(&own_manners, 2), [Step::ResetFailed, Step::Start], "systemd kills them itself");
    }
}
