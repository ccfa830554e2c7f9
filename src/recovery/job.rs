//! One job, from its queueing to its end.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

use super::{Outcome, StepEvent, Worker, is_up};
use crate::judge::{ActiveState, JobId, JobResult, Span, UnitReading, Verb};
use crate::systemd::{Error, Hand, SIGKILL};

/// While a restart waits for its turn (other jobs go first), a kill would hit a unit that nobody
/// is stopping yet: look again this much later.
const NOT_YET: Duration = Duration::from_millis(100);
/// A signal that was sent before the job was gone has arrived by then.
const IN_FLIGHT: Duration = Duration::from_millis(50);
/// Later than any deadline.
const FAR: Duration = Duration::from_secs(86_400);

/// What kind of job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Start,
    Restart,
    Stop,
    Reload,
    /// A start of a unit that does one thing and is through: whether it is up says nothing.
    Run,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Start | Self::Run => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Reload => "reload",
        }
    }

    /// What has to be allowed, or it is not begun. Nothing is stopped that could not be started again.
    fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Start | Self::Run => &[Verb::Start],
            Self::Restart => &[Verb::Restart],
            Self::Stop => &[Verb::Start, Verb::Stop],
            Self::Reload => &[Verb::Reload],
        }
    }
}

impl Worker<'_> {
    /// Queues the job, follows it to its end, and kills when that is due.
    pub(super) async fn follow(
        &self,
        kind: Kind,
        kill_after: Option<Duration>,
        removed: &mut mpsc::Receiver<(JobId, JobResult)>,
    ) -> Result<Outcome, Error> {
        // The step begins here: neither our reading nor systemd's answer may delay the kill.
        let mut kill = std::pin::pin!(sleep(kill_after.unwrap_or(FAR)));
        // Side by side: how fast it acts is what it is for.
        let hand = self.bus.hand_for(self.unit, kind.verbs());
        let (before, hand) = tokio::join!(self.bus.read_unit_alone(self.unit), hand);
        let before = before?;
        let settled = before.job.is_none();
        match kind {
            Kind::Start | Kind::Run if settled && is_up(before.active) => return Ok(Outcome::AlreadySo),
            Kind::Stop if settled && before.active.is_down() => return Ok(Outcome::AlreadySo),
            // A reload of a unit that is down would be one of nothing.
            Kind::Reload if before.active.is_down() => return Ok(Outcome::Skipped),
            _ => {}
        }
        // Once it was found that we may, the answer is waited for: a question that polkit is at already cannot
        // be taken back, and its late yes would be carried out unheard. Nothing comes after systemd's own answer
        // that polkit gave none.
        let mut hand = hand?.patient();
        let job = match kind {
            Kind::Start | Kind::Run => hand.start(self.unit).await?,
            Kind::Restart => hand.restart(self.unit).await?,
            Kind::Stop => hand.stop(self.unit).await?,
            Kind::Reload => hand.reload(self.unit).await?,
        };
        if kind == Kind::Stop && before.job == Some(job.id) && self.again != Some(job.id) {
            // Ours would leave no trace in it, and its author wants the unit to stay down.
            return Ok(Outcome::Conflict(format!("job {} stops it already", job.id.0)));
        }
        self.tell(StepEvent::Queued(job.id));

        let allowed = self.deadlines.margins().deadline(&before, kind != Kind::Stop, kill_after);
        let mut deadline = std::pin::pin!(sleep(allowed));
        let mut poll = interval(self.deadlines.poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        poll.reset();
        let mut killing = kill_after.is_some();
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                end = removed.recv(), if listening => match end {
                    Some((id, result)) if id == job.id => return Ok(ended(kind, result)),
                    Some(_) => {}
                    None => listening = false,
                },
                () = kill.as_mut(), if killing => {
                    // Whether it may be asked can take a while; the job may end meanwhile.
                    tokio::select! {
                        biased;
                        result = end_of(job.id, removed), if listening => return Ok(ended(kind, result)),
                        again = self.kill_if_due(&mut hand, &before) => match again {
                            Some(later) => kill.as_mut().reset(sleep(later).deadline()),
                            None => killing = false,
                        },
                    }
                }
                () = deadline.as_mut() => {
                    let text = format!(
                        "{} job {} is still pending after {}", kind.word(), job.id.0, Span(allowed)
                    );
                    return Ok(Outcome::TimedOut(text));
                }
                _ = poll.tick() => match self.bus.job_pending(job.id).await {
                    Ok(true) => {}
                    Ok(false) => return self.conclude(kind, job.id, &before, removed).await,
                    // PID 1 may be busy; our own deadline still holds.
                    Err(Error::TimedOut) => {}
                    Err(error) if self.bus.is_closed() => return Err(error),
                    // In the middle of a daemon-reexec, jobs go on afterwards.
                    Err(_) => {}
                },
            }
        }
    }

    /// SIGKILL to the whole unit, if the stop of the invocation that we found is still under way.
    /// Returns after how long to look again, if at all.
    async fn kill_if_due(&self, hand: &mut Hand, before: &UnitReading) -> Option<Duration> {
        let again = Some(self.deadlines.kill_again);
        // First of all, since it may take a while: one that is carried out late hits the next run.
        match self.bus.hand_for(self.unit, &[Verb::Kill]).await {
            Ok(fresh) => *hand = fresh,
            Err(_) => return again,
        }
        let Ok(now) = self.bus.read_unit_alone(self.unit).await else {
            // Without knowing what is there, nothing is killed.
            return again;
        };
        if now.invocation != before.invocation || now.active.is_down() {
            // A new run, or none: the stop half is over.
            return None;
        }
        if now.active != ActiveState::Deactivating {
            return Some(NOT_YET);
        }
        if hand.kill(self.unit, SIGKILL).await.is_ok() {
            self.tell(StepEvent::Killed);
        }
        again
    }

    /// The job is gone and nobody said how: the signal is still on its way, or the unit tells.
    async fn conclude(
        &self,
        kind: Kind,
        id: JobId,
        before: &UnitReading,
        removed: &mut mpsc::Receiver<(JobId, JobResult)>,
    ) -> Result<Outcome, Error> {
        let mut in_flight = std::pin::pin!(sleep(IN_FLIGHT));
        loop {
            tokio::select! {
                biased;
                end = removed.recv() => match end {
                    Some((ended_id, result)) if ended_id == id => return Ok(ended(kind, result)),
                    Some(_) => {}
                    None => break,
                },
                () = in_flight.as_mut() => break,
            }
        }
        let now = self.bus.read_unit_alone(self.unit).await?;
        let anew = now.invocation.is_some() && now.invocation != before.invocation;
        Ok(match kind {
            Kind::Stop if now.active.is_down() => Outcome::Done,
            Kind::Stop => Outcome::Canceled,
            // Nothing of a unit tells how a reload went.
            Kind::Reload => Outcome::Unknown("the end of the reload was not heard".to_owned()),
            Kind::Run if now.active == ActiveState::Failed => {
                Outcome::Failed(format!("it failed (result {})", now.result))
            }
            // Through, and perhaps forgotten by systemd already.
            Kind::Run => Outcome::Done,
            Kind::Start if is_up(now.active) => Outcome::Done,
            Kind::Restart if is_up(now.active) && anew => Outcome::Done,
            // A oneshot that ran and is through.
            Kind::Start | Kind::Restart if anew && now.active == ActiveState::Inactive => Outcome::Done,
            Kind::Start | Kind::Restart if now.active == ActiveState::Failed => {
                Outcome::Failed(format!("{} failed (result {})", kind.word(), now.result))
            }
            Kind::Start | Kind::Restart if now.condition_failed => Outcome::Skipped,
            Kind::Start | Kind::Restart => Outcome::Canceled,
        })
    }
}

/// How that job ended, once somebody tells.
async fn end_of(job: JobId, removed: &mut mpsc::Receiver<(JobId, JobResult)>) -> JobResult {
    loop {
        match removed.recv().await {
            Some((id, result)) if id == job => return result,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// What the end of a job means (org.freedesktop.systemd1(5), JobRemoved).
fn ended(kind: Kind, result: JobResult) -> Outcome {
    let failed = |how: &str| Outcome::Failed(format!("{} job {how}", kind.word()));
    match result {
        JobResult::Done => Outcome::Done,
        JobResult::Canceled => Outcome::Canceled,
        JobResult::Skipped => Outcome::Skipped,
        JobResult::Timeout => failed("timed out"),
        JobResult::Failed => failed("failed"),
        JobResult::Dependency => {
            Outcome::Dependency(format!("{} job failed: a unit that it needs did not come up", kind.word()))
        }
        JobResult::Other => failed("ended without having been carried out"),
    }
}
