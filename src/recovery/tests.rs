//! Steps against a fake systemd that ends, cancels, forgets and refuses jobs as it is told.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::systemd::fake::{Fake, FakeUnit, now};

const WEB: &str = "web.service";

fn quick() -> Deadlines {
    Deadlines {
        margin: Duration::from_secs(1),
        unbounded: Duration::from_secs(4),
        poll: Duration::from_millis(100),
        kill_again: Duration::from_millis(200),
    }
}

/// A step under way.
struct Run {
    outcome: JoinHandle<Outcome>,
    removed: mpsc::Sender<(JobId, JobResult)>,
    progress: mpsc::Receiver<StepEvent>,
    began: Duration,
}

impl Run {
    async fn begin(fake: &Fake, step: Step) -> Self {
        Self::begin_with(fake, step, quick()).await
    }

    async fn begin_with(fake: &Fake, step: Step, deadlines: Deadlines) -> Self {
        let bus = fake.bus().await;
        let (removed, mut ends) = mpsc::channel(8);
        let (sender, progress) = mpsc::channel(8);
        let began = now();
        let outcome = tokio::spawn(async move {
            let unit = WEB.parse().unwrap();
            perform(step, &unit, &bus, &mut ends, &sender, &deadlines).await
        });
        Self { outcome, removed, progress, began }
    }

    /// The id of the job, once it is queued.
    async fn queued(&mut self) -> JobId {
        match self.progress.recv().await {
            Some(StepEvent::Queued(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) -> Outcome {
        tokio::time::timeout(Duration::from_secs(8), self.outcome).await.unwrap().unwrap()
    }
}

fn with(unit: FakeUnit) -> Fake {
    let fake = Fake::new();
    fake.set(WEB, unit);
    fake
}

fn failed() -> FakeUnit {
    FakeUnit { active: "failed", result: "exit-code", ..FakeUnit::default() }
}

#[tokio::test]
async fn each_end_of_a_job_is_an_outcome_of_its_own() {
    let ends = [
        (JobResult::Done, Outcome::Done),
        (JobResult::Canceled, Outcome::Canceled),
        (JobResult::Skipped, Outcome::Skipped),
        (JobResult::Timeout, Outcome::Failed("start job timed out".into())),
        (JobResult::Failed, Outcome::Failed("start job failed".into())),
        (
            JobResult::Dependency,
            Outcome::Failed("start job failed: a unit that it needs did not come up".into()),
        ),
        (JobResult::Other, Outcome::Failed("start job ended without having been carried out".into())),
    ];
    for (result, expected) in ends {
        let fake = with(failed());
        let mut run = Run::begin(&fake, Step::Start).await;
        let id = run.queued().await;
        // The ends of others are none of ours.
        run.removed.send((JobId(id.0 + 1), JobResult::Failed)).await.unwrap();
        run.removed.send((id, result)).await.unwrap();
        assert_eq!(run.end().await, expected);
    }
}

#[tokio::test]
async fn an_end_that_comes_before_the_answer_is_not_missed() {
    let fake = with(failed());
    let mut run = Run::begin(&fake, Step::Start).await;
    run.removed.send((JobId(1), JobResult::Done)).await.unwrap();
    assert_eq!(run.queued().await, JobId(1));
    assert_eq!(run.end().await, Outcome::Done);
    assert_eq!(fake.calls("GetJob").len(), 0);
}

#[tokio::test]
async fn what_is_so_already_is_left_alone() {
    let fake = with(FakeUnit::default());
    assert_eq!(Run::begin(&fake, Step::Start).await.end().await, Outcome::AlreadySo);
    assert_eq!(Run::begin(&fake, Step::KillLeftovers).await.end().await, Outcome::Skipped);
    let fake = with(failed());
    let stop = Step::Stop { kill_after: Duration::from_secs(1) };
    assert_eq!(Run::begin(&fake, stop).await.end().await, Outcome::AlreadySo);
    fake.refuse("ResetFailedUnit", "org.freedesktop.systemd1.NoSuchUnit");
    assert_eq!(Run::begin(&fake, Step::ResetFailed).await.end().await, Outcome::AlreadySo);
    fake.refuse("KillUnit", "org.freedesktop.systemd1.NoSuchProcess");
    assert_eq!(Run::begin(&fake, Step::KillLeftovers).await.end().await, Outcome::AlreadySo);
    for member in ["StartUnit", "StopUnit"] {
        assert_eq!(fake.calls(member).len(), 0);
    }
}

#[tokio::test]
async fn leftovers_are_killed_and_failure_is_forgotten() {
    let fake = with(failed());
    assert_eq!(Run::begin(&fake, Step::KillLeftovers).await.end().await, Outcome::Done);
    assert_eq!(fake.calls("KillUnit").len(), 1);
    assert_eq!(Run::begin(&fake, Step::ResetFailed).await.end().await, Outcome::Done);
}

#[tokio::test]
async fn a_hung_stop_half_is_helped_along_in_time_and_the_job_goes_on() {
    let fake = with(FakeUnit::default());
    let kill_after = Duration::from_millis(400);
    let mut run = Run::begin(&fake, Step::Restart { kill_after }).await;
    let id = run.queued().await;
    fake.change(WEB, |unit| unit.active = "deactivating");
    fake.called("KillUnit", 1).await;
    let late = fake.calls("KillUnit")[0] - run.began;
    assert!(late >= kill_after && late < kill_after + Duration::from_millis(50), "{late:?}");
    assert_eq!(run.progress.recv().await, Some(StepEvent::Killed));
    // Still there: once more.
    fake.called("KillUnit", 2).await;
    fake.change(WEB, |unit| (unit.active, unit.invocation) = ("activating", 2));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fake.calls("KillUnit").len(), 2, "the new run is not killed");
    fake.change(WEB, |unit| unit.active = "active");
    run.removed.send((id, JobResult::Done)).await.unwrap();
    assert_eq!(run.end().await, Outcome::Done);
}

#[tokio::test]
async fn a_job_that_waits_for_its_turn_kills_nobody_yet() {
    let fake = with(FakeUnit::default());
    let mut run = Run::begin(&fake, Step::Restart { kill_after: Duration::from_millis(50) }).await;
    let id = run.queued().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.calls("KillUnit").len(), 0);
    fake.change(WEB, |unit| unit.active = "deactivating");
    fake.called("KillUnit", 1).await;
    run.removed.send((id, JobResult::Canceled)).await.unwrap();
    assert_eq!(run.end().await, Outcome::Canceled);
}

#[tokio::test]
async fn a_job_whose_end_was_not_heard_is_judged_by_the_unit() {
    let restart = Step::Restart { kill_after: Duration::from_secs(3) };
    let stop = Step::Stop { kill_after: Duration::from_secs(3) };
    let cases = [
        (restart.clone(), "active", 2, Outcome::Done),
        (restart.clone(), "active", 1, Outcome::Canceled),
        (restart.clone(), "inactive", 1, Outcome::Canceled),
        (restart.clone(), "inactive", 2, Outcome::Done),
        (restart.clone(), "failed", 2, Outcome::Failed("restart failed (result success)".into())),
        (stop.clone(), "inactive", 1, Outcome::Done),
        (stop.clone(), "failed", 1, Outcome::Done),
        (stop.clone(), "active", 1, Outcome::Canceled),
    ];
    for (step, active, invocation, expected) in cases {
        let fake = with(FakeUnit::default());
        let mut run = Run::begin(&fake, step.clone()).await;
        let id = run.queued().await;
        fake.change(WEB, |unit| (unit.active, unit.invocation) = (active, invocation));
        fake.forget_job(id.0);
        assert_eq!(run.end().await, expected, "{step:?} {active} {invocation}");
    }
    let fake = with(failed());
    let mut run = Run::begin(&fake, Step::Start).await;
    let id = run.queued().await;
    fake.change(WEB, |unit| (unit.active, unit.condition_failed) = ("inactive", true));
    fake.forget_job(id.0);
    assert_eq!(run.end().await, Outcome::Skipped);
}

#[tokio::test]
async fn nobody_listening_makes_it_slower_not_worse() {
    let fake = with(failed());
    let mut run = Run::begin(&fake, Step::Start).await;
    let id = run.queued().await;
    let (closed, _) = mpsc::channel(1);
    run.removed = closed;
    fake.change(WEB, |unit| (unit.active, unit.invocation) = ("active", 2));
    fake.forget_job(id.0);
    assert_eq!(run.end().await, Outcome::Done);
}

#[tokio::test]
async fn a_job_that_never_ends_meets_our_deadline() {
    let fake = with(FakeUnit { timeout_start: Duration::from_millis(200), ..failed() });
    let deadlines = Deadlines { margin: Duration::from_millis(300), ..quick() };
    let mut run = Run::begin_with(&fake, Step::Start, deadlines).await;
    let began = run.began;
    let id = run.queued().await;
    assert_eq!(run.end().await, Outcome::TimedOut("start job 1 is still pending after 500 ms".into()));
    assert!(now() - began < Duration::from_millis(900));
    assert_eq!(fake.jobs(), [id.0], "it is left to systemd");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let refused = Outcome::Refused("not allowed: the fake refuses".into());
    let conflict = Outcome::Conflict("another job is pending: the fake refuses".into());
    let answers = [
        ("org.freedesktop.DBus.Error.AccessDenied", refused.clone()),
        ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", refused),
        ("org.freedesktop.systemd1.TransactionIsDestructive", conflict),
        ("org.freedesktop.systemd1.NoSuchUnit", Outcome::Failed("no such unit".into())),
        ("org.freedesktop.systemd1.UnitMasked", Outcome::Failed("the unit is masked".into())),
        ("org.freedesktop.DBus.Error.NoReply", Outcome::Unknown("no answer in time".into())),
    ];
    for (name, expected) in answers {
        let fake = with(failed());
        fake.refuse("StartUnit", name);
        let outcome = Run::begin(&fake, Step::Start).await.end().await;
        assert_eq!(outcome, expected, "{name}");
    }
}

#[tokio::test]
async fn no_answer_and_no_bus_are_unknown() {
    let fake = with(failed());
    fake.silence("StartUnit");
    assert_eq!(
        Run::begin(&fake, Step::Start).await.end().await,
        Outcome::Unknown("no answer in time".into())
    );
    fake.speak_again();
    let mut run = Run::begin(&fake, Step::Start).await;
    run.queued().await;
    fake.hang_up().await;
    assert!(matches!(run.end().await, Outcome::Unknown(_)));
}

#[tokio::test]
async fn a_kill_that_gets_no_answer_is_tried_again_on_a_new_connection() {
    let fake = with(FakeUnit::default());
    fake.silence("KillUnit");
    let mut run = Run::begin(&fake, Step::Stop { kill_after: Duration::from_millis(50) }).await;
    let id = run.queued().await;
    fake.change(WEB, |unit| unit.active = "deactivating");
    fake.called("KillUnit", 1).await;
    fake.speak_again();
    fake.called("KillUnit", 2).await;
    assert_eq!(run.progress.recv().await, Some(StepEvent::Killed));
    fake.change(WEB, |unit| unit.active = "failed");
    run.removed.send((id, JobResult::Done)).await.unwrap();
    assert_eq!(run.end().await, Outcome::Done);
}
