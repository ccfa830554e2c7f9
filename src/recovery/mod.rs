//! Carries one step of a plan out through systemd, with a deadline, and says how it went.
//!
//! It is responsible for following a job to its end, for the SIGKILL that is due in its stop half,
//! and for naming the outcome. It does not choose steps, count attempts, or decide whether the app
//! is well afterwards: a job that is `done` is not health.

mod helper;
mod hook;
mod job;
mod outcome;
mod swap;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::helpers::result::{self, Helper};
use crate::judge::{ActiveState, JobId, JobResult, Margins, Outcome, Step, Subject, UnitName, Verb};
use crate::systemd::{Bus, Error, SIGKILL};

pub use helper::run as run_helper;
pub use hook::start as start_hook;
pub use swap::restore as restore_swap;

/// The swaps in use, each with its unit, as `/proc` of a host lists them.
#[must_use]
pub fn swaps_in_use(proc: &std::path::Path) -> Vec<(String, String)> {
    let text = swap::read(&proc.join("swaps")).unwrap_or_default();
    swap::swaps(&text).into_iter().map(|swap| (swap::unit_of(&swap.path), swap.path)).collect()
}

/// The units of the swaps that /proc/swaps lists.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn units_of_swaps(text: &str) -> Vec<String> {
    swap::swaps(text).iter().map(|swap| swap::unit_of(&swap.path)).collect()
}

/// What is worth knowing while a step is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepEvent {
    /// systemd has queued the job, or merged it into that one.
    Queued(JobId),
    /// SIGKILL was sent, `kill_after` after the step began or later.
    Killed,
}

/// The times by which a step goes, besides `kill_after`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// What a job is given beyond the unit's own timeouts.
    pub margin: Duration,
    /// What stands in for an infinite timeout, margin and all.
    pub unbounded: Duration,
    /// How often systemd is asked whether the job is still there, since signals can be lost.
    pub poll: Duration,
    /// How long after a SIGKILL the next one follows, while the stop is still under way.
    pub kill_again: Duration,
    /// What stopping a swap is given.
    pub swapoff: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            margin: Duration::from_secs(10),
            unbounded: Duration::from_secs(600),
            poll: Duration::from_secs(1),
            kill_again: Duration::from_secs(2),
            // systemd gives it 90 s (DefaultTimeoutStopSec=): what is over by then is over for us, too.
            swapoff: Duration::from_secs(95),
        }
    }
}

impl Deadlines {
    /// Those that a job goes by.
    #[must_use]
    pub fn margins(&self) -> Margins {
        Margins { margin: self.margin, unbounded: self.unbounded }
    }
}

/// Where a step reads and leaves things besides on the bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Results of helpers.
    pub results: PathBuf,
    /// Our runtime folder: what has to outlast a monitor that is killed in the middle of a step.
    pub run: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { results: result::DIRECTORY.into(), run: "/run/app-monitor".into(), proc: "/proc".into() }
    }
}

/// For whom and by which means a step is carried out.
#[derive(Clone, Copy, Debug)]
pub struct On<'a> {
    /// Whose recovery it is: the instance of helper units.
    pub subject: &'a Subject,
    /// Its unit.
    pub unit: &'a UnitName,
    /// Where systemd is.
    pub bus: &'a Bus,
    /// How long things may take.
    pub deadlines: &'a Deadlines,
    /// Where things lie.
    pub places: &'a Places,
    /// The pending job that a monitor before us seems to have queued for the step.
    pub again: Option<JobId>,
}

/// Carries a step out.
///
/// `removed` brings the ends of jobs on the unit and on that of [`aside_of`] (`JobRemoved`), and has to be
/// fed from before the call; others' ends are ignored. Without it, or when it is closed, the step still ends, a poll
/// later. `progress` is never waited for: give it room for eight.
///
/// Dropping the future leaves a queued job to systemd.
pub async fn perform(
    step: Step,
    on: On<'_>,
    removed: &mut Removals,
    progress: &mpsc::Sender<StepEvent>,
) -> Outcome {
    let On { unit, bus, deadlines, again, .. } = on;
    let worker = Worker { unit, bus, progress, deadlines, again };
    let outcome = match step {
        Step::ResetFailed => worker.reset_failed().await,
        Step::KillLeftovers => worker.kill_leftovers().await,
        Step::Start => worker.follow(job::Kind::Start, None, removed).await,
        Step::Restart { kill_after } => worker.follow(job::Kind::Restart, Some(kill_after), removed).await,
        Step::Stop { kill_after } => worker.follow(job::Kind::Stop, Some(kill_after), removed).await,
        Step::Reload => worker.follow(job::Kind::Reload, None, removed).await,
        Step::Preflight => Ok(helper::step(Helper::Preflight, on, removed).await),
        Step::Reap => Ok(helper::step(Helper::Reap, on, removed).await),
        Step::ClearCaches => Ok(helper::step(Helper::ClearCaches, on, removed).await),
        Step::Hook(unit) => {
            let unbounded = deadlines.unbounded.min(HOOK);
            hook::step(&unit, bus, &Deadlines { unbounded, ..*deadlines }, removed).await
        }
        Step::ReclaimSwap => Ok(swap::reclaim(on).await),
    };
    outcome.unwrap_or_else(outcome::of_error)
}

/// A hook without a timeout of its own is given as long as systemd gives a service
/// (systemd-system.conf(5), DefaultTimeoutStartSec=): the app is down meanwhile.
const HOOK: Duration = Duration::from_secs(90);
/// How often systemd is asked after a job on a unit other than the app's own, should no signal tell of its
/// end.
const ASIDE: Duration = Duration::from_millis(100);

/// Ends of jobs.
type Removals = mpsc::Receiver<(JobId, JobResult)>;

/// The unit other than the app's own whose job a step follows, where there is one that is known before.
#[must_use]
pub fn aside_of(step: &Step, subject: &Subject) -> Option<UnitName> {
    match step {
        Step::Preflight => Helper::Preflight.unit(subject).ok(),
        Step::Reap => Helper::Reap.unit(subject).ok(),
        Step::ClearCaches => Helper::ClearCaches.unit(subject).ok(),
        Step::Hook(unit) => Some(unit.clone()),
        _ => None,
    }
}

/// A job on a unit other than the app's own.
async fn aside(
    kind: job::Kind,
    unit: &UnitName,
    bus: &Bus,
    deadlines: &Deadlines,
    removed: &mut Removals,
) -> Result<Outcome, Error> {
    let (progress, _unheard) = mpsc::channel(1);
    let deadlines = Deadlines { poll: deadlines.poll.min(ASIDE), ..*deadlines };
    let worker = Worker { unit, bus, progress: &progress, deadlines: &deadlines, again: None };
    worker.follow(kind, None, removed).await
}

/// Ends of jobs that nobody tells.
fn untold() -> Removals {
    mpsc::channel(1).1
}

/// What all steps need.
struct Worker<'a> {
    unit: &'a UnitName,
    bus: &'a Bus,
    progress: &'a mpsc::Sender<StepEvent>,
    deadlines: &'a Deadlines,
    again: Option<JobId>,
}

impl Worker<'_> {
    fn tell(&self, event: StepEvent) {
        // Whoever does not listen goes without.
        let _ = self.progress.try_send(event);
    }

    async fn reset_failed(&self) -> Result<Outcome, Error> {
        // There is no asking for that without doing it, and it does no harm when it comes late.
        match self.bus.hand().await?.reset_failed(self.unit).await {
            Ok(known) => Ok(if known { Outcome::Done } else { Outcome::AlreadySo }),
            Err(error) => match self.bus.obstacle_in(error.clone()).await {
                // The start that follows says so, too.
                Ok(obstacle) if obstacle.is_general() => Ok(Outcome::Skipped),
                _ => Err(error),
            },
        }
    }

    async fn kill_leftovers(&self) -> Result<Outcome, Error> {
        let hand = self.bus.hand_for(self.unit, &[Verb::Kill]).await?;
        let reading = self.bus.read_unit_alone(self.unit).await?;
        // Up again by somebody else's doing: these are no leftovers any more.
        if !reading.active.is_down() || reading.job.is_some() {
            return Ok(Outcome::Skipped);
        }
        // systemd would kill nobody and call it a success.
        if reading.control_group.is_none() {
            return Ok(Outcome::AlreadySo);
        }
        match hand.kill(self.unit, SIGKILL).await {
            Ok(()) => {
                self.tell(StepEvent::Killed);
                Ok(Outcome::Done)
            }
            Err(Error::NoSuchProcess | Error::NoSuchUnit) => Ok(Outcome::AlreadySo),
            Err(error) => Err(error),
        }
    }
}

/// Up, be it while reading its configuration again.
fn is_up(active: ActiveState) -> bool {
    matches!(active, ActiveState::Active | ActiveState::Reloading)
}

#[cfg(test)]
mod tests;
