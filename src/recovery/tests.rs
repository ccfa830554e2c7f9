//! Steps against a fake systemd that ends, cancels, forgets and refuses jobs as it is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::helpers::result::{Ending, Report};
use crate::judge::Moment;
use crate::systemd::fake::{Fake, FakeUnit, now};

const WEB: &str = "web.service";

fn quick() -> Deadlines {
    Deadlines {
        margin: Duration::from_secs(1),
        unbounded: Duration::from_secs(4),
        poll: Duration::from_millis(100),
        kill_again: Duration::from_millis(200),
        swapoff: Duration::from_millis(500),
    }
}

/// A folder that stands for all places.
fn places(folder: &Path) -> Places {
    Places { results: folder.into(), run: folder.into(), proc: folder.into() }
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
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::begin_in(fake, step, deadlines, folder).await
    }

    async fn begin_in(fake: &Fake, step: Step, deadlines: Deadlines, folder: Arc<tempfile::TempDir>) -> Self {
        Self::begin_as(fake, step, deadlines, folder, None).await
    }

    /// A step that a monitor before us had begun.
    async fn begin_again(fake: &Fake, step: Step, job: JobId) -> Self {
        Self::begin_as(fake, step, quick(), Arc::new(tempfile::tempdir().unwrap()), Some(job)).await
    }

    async fn begin_as(
        fake: &Fake,
        step: Step,
        deadlines: Deadlines,
        folder: Arc<tempfile::TempDir>,
        again: Option<JobId>,
    ) -> Self {
        let bus = fake.bus().await;
        let (removed, mut ends) = mpsc::channel(8);
        let (sender, progress) = mpsc::channel(8);
        let began = now();
        let outcome = tokio::spawn(async move {
            let (unit, subject) = (WEB.parse().unwrap(), "web".parse().unwrap());
            let places = places(folder.path());
            let on = On {
                subject: &subject,
                unit: &unit,
                bus: &bus,
                deadlines: &deadlines,
                places: &places,
                again,
            };
            perform(step, on, &mut ends, &sender).await
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
            Outcome::Dependency("start job failed: a unit that it needs did not come up".into()),
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
    assert!(late >= kill_after && late < kill_after + Duration::from_millis(1000), "{late:?}");
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
    assert!(now() - began < Duration::from_secs(5));
    assert_eq!(fake.jobs(), [id.0], "it is left to systemd");
}

#[tokio::test]
async fn a_unit_that_may_take_long_is_given_all_of_it() {
    let fake = with(FakeUnit { timeout_start: Duration::from_millis(900), ..failed() });
    let deadlines =
        Deadlines { margin: Duration::from_millis(300), unbounded: Duration::from_millis(500), ..quick() };
    let mut run = Run::begin_with(&fake, Step::Start, deadlines).await;
    run.queued().await;
    assert_eq!(run.end().await, Outcome::TimedOut("start job 1 is still pending after 1.2 s".into()));
}

#[tokio::test]
async fn a_stop_that_merges_into_somebody_elses_is_none_of_ours() {
    let stop = Step::Stop { kill_after: Duration::from_millis(50) };
    let fake = with(FakeUnit { active: "deactivating", ..FakeUnit::default() });
    let job = JobId(fake.add_job(WEB, "stop"));
    let mut run = Run::begin(&fake, stop.clone()).await;
    assert!(matches!(run.outcome.await.unwrap(), Outcome::Conflict(_)));
    assert_eq!(run.progress.recv().await, None, "it is not called ours, nor helped along");
    assert_eq!(fake.calls("KillUnit").len(), 0);
    // But for one that a monitor before us has queued.
    let mut run = Run::begin_again(&fake, stop, job).await;
    let id = run.queued().await;
    fake.called("KillUnit", 1).await;
    fake.change(WEB, |unit| unit.active = "failed");
    run.removed.send((id, JobResult::Done)).await.unwrap();
    assert_eq!(run.end().await, Outcome::Done);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let refused = |why: &str| Outcome::Refused(why.to_owned());
    let conflict = Outcome::Conflict("another job is pending: the fake refuses".into());
    let answers = [
        ("org.freedesktop.DBus.Error.AccessDenied", refused("not allowed: the fake refuses")),
        (
            "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
            refused("no rule of polkit allows it"),
        ),
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
async fn what_may_not_be_done_is_not_even_tried() {
    let no_rule = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    let stop = Step::Stop { kill_after: Duration::from_millis(50) };
    // Nothing is stopped that could not be started again.
    for (question, step, act) in [
        ("StartUnit?", Step::Start, "StartUnit"),
        ("StartUnit?", stop.clone(), "StopUnit"),
        ("StopUnit?", stop, "StopUnit"),
    ] {
        let fake = with(if step == Step::Start { failed() } else { FakeUnit::default() });
        fake.refuse(question, no_rule);
        let outcome = Run::begin(&fake, step.clone()).await.end().await;
        assert_eq!(outcome, Outcome::Refused("no rule of polkit allows it".into()));
        fake.accept_again();
        fake.silence(question);
        let outcome = Run::begin(&fake, step).await.end().await;
        assert_eq!(outcome, Outcome::Hindered("polkit does not answer".into()));
        assert_eq!(fake.calls(act).len(), 0, "nothing that could be carried out late");
    }
    // Whoever does not know whether it may be killed lets it be.
    let fake = with(FakeUnit::default());
    fake.silence("KillUnit?");
    let mut run = Run::begin(&fake, Step::Restart { kill_after: Duration::from_millis(50) }).await;
    let id = run.queued().await;
    fake.change(WEB, |unit| unit.active = "deactivating");
    fake.called("KillUnit?", 2).await;
    let began = now();
    run.removed.send((id, JobResult::Done)).await.unwrap();
    assert_eq!(run.end().await, Outcome::Done);
    assert!(now() - began < Duration::from_secs(2), "it is not waited for");
    assert_eq!(fake.calls("KillUnit").len(), 0);
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

const REAPER: &str = "app-monitor-reap@web.service";

/// Runs the reaper; `left` is what it leaves, dated that much after now.
async fn reap(left: Option<(Ending, i64)>) -> Outcome {
    let fake = with(failed());
    fake.set(REAPER, FakeUnit { active: "failed", ..FakeUnit::default() });
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let run = Run::begin_in(&fake, Step::Reap, quick(), Arc::clone(&folder)).await;
    for starts in 1..=2 {
        fake.called("StartUnit", starts).await;
        if let Some((ending, later)) = &left {
            let began = Moment::from_micros(result::now().as_micros() + later);
            let subject = "web".parse().unwrap();
            let report =
                Report { helper: Helper::Reap, subject, began, ending: ending.clone(), lines: Vec::new() };
            result::write(folder.path(), &report).unwrap();
        }
        // It is through, and systemd has forgotten it.
        for job in fake.jobs() {
            fake.forget_job(job);
        }
        fake.change(REAPER, |unit| unit.active = "inactive");
        if left.as_ref().is_none_or(|(_, later)| *later >= 0) {
            break;
        }
    }
    run.end().await
}

#[tokio::test]
async fn what_a_helper_left_is_the_outcome() {
    let done = Ending::Done("ended node (pid 812)".to_owned());
    assert_eq!(reap(Some((done.clone(), 0))).await, Outcome::Told("ended node (pid 812)".to_owned()));
    assert_eq!(reap(Some((Ending::Nothing, 0))).await, Outcome::AlreadySo);
    let failed = Ending::Failed("it may not".to_owned());
    assert_eq!(reap(Some((failed, 0))).await, Outcome::Failed("it may not".to_owned()));
    // Nothing, or what an earlier run left, which is asked for once more.
    let none = "reap helper: it left no result; journalctl -u app-monitor-reap@web.service".to_owned();
    assert_eq!(reap(None).await, Outcome::Unknown(none.clone()));
    assert_eq!(reap(Some((done, -60_000_000))).await, Outcome::Unknown(none));
}

#[tokio::test]
async fn a_helper_that_cannot_be_started_leaves_it_unknown_unless_it_is_refused() {
    let fake = with(failed());
    fake.refuse("StartUnit", "org.freedesktop.systemd1.NoSuchUnit");
    let outcome = Run::begin(&fake, Step::ClearCaches).await.end().await;
    assert_eq!(outcome, Outcome::Unknown("clear-caches helper: no such unit".to_owned()));
    fake.refuse("StartUnit", "org.freedesktop.DBus.Error.AccessDenied");
    assert!(matches!(Run::begin(&fake, Step::ClearCaches).await.end().await, Outcome::Refused(_)));
}

#[tokio::test]
async fn hooks_are_followed_to_their_end() {
    const HOOK: &str = "warm-up.service";
    for (active, result, expected) in [
        ("inactive", "success", Outcome::Done),
        ("failed", "exit-code", Outcome::Failed("it failed (result exit-code)".into())),
    ] {
        let fake = with(failed());
        fake.set(HOOK, FakeUnit { active: "inactive", ..FakeUnit::default() });
        let run = Run::begin(&fake, Step::Hook(HOOK.parse().unwrap())).await;
        fake.called("StartUnit", 1).await;
        fake.change(HOOK, |unit| (unit.active, unit.result) = (active, result));
        fake.jobs().into_iter().for_each(|job| fake.forget_job(job));
        assert_eq!(run.end().await, expected);
    }
}

#[tokio::test]
async fn hooks_that_are_not_ours_to_start_are_left_alone() {
    const HOOK: &str = "warm-up.service";
    let inactive = || FakeUnit { active: "inactive", ..FakeUnit::default() };
    let cases = [
        (FakeUnit { load: "masked", ..inactive() }, Some("it is masked")),
        (FakeUnit { active: "deactivating", ..inactive() }, Some("it is changing already")),
        (
            FakeUnit { active: "activating", sub: "auto-restart", ..inactive() },
            Some("systemd is about to restart it"),
        ),
        (FakeUnit { began: 10, left: 20, ended: 30, ..inactive() }, Some("somebody stopped it")),
        // It ended by itself, or before it was stopped the last time, or ran to its end as a oneshot.
        (FakeUnit { began: 10, left: 30, ended: 20, ..inactive() }, None),
        (FakeUnit { began: 40, left: 20, ended: 50, ..inactive() }, None),
        (FakeUnit { began: 10, ended: 30, ..inactive() }, None),
    ];
    for (unit, expected) in cases {
        let (fake, seen) = (with(failed()), format!("{unit:?}"));
        fake.set(HOOK, unit);
        assert_eq!(start_hook(&HOOK.parse().unwrap(), &fake.bus().await).await.unwrap(), expected, "{seen}");
        fake.jobs().into_iter().for_each(|job| fake.forget_job(job));
        let run = Run::begin(&fake, Step::Hook(HOOK.parse().unwrap())).await;
        if let Some(why) = expected {
            assert_eq!(run.end().await, Outcome::Told(format!("left alone: {why}")));
        } else {
            fake.called("StartUnit", 2).await;
            fake.jobs().into_iter().for_each(|job| fake.forget_job(job));
            assert_eq!(run.end().await, Outcome::Done);
        }
        assert_eq!(fake.calls("StartUnit").len(), if expected.is_some() { 0 } else { 2 });
    }
    let fake = with(failed());
    fake.set(HOOK, inactive());
    fake.add_job(HOOK, "start");
    let run = Run::begin(&fake, Step::Hook(HOOK.parse().unwrap())).await;
    assert_eq!(run.end().await, Outcome::Told("left alone: it is changing already".to_owned()));
}

#[tokio::test]
async fn a_reload_is_followed_and_nothing_that_is_down_is_reloaded() {
    let fake = with(FakeUnit::default());
    for (result, expected) in
        [(JobResult::Done, Outcome::Done), (JobResult::Failed, Outcome::Failed("reload job failed".into()))]
    {
        let mut run = Run::begin(&fake, Step::Reload).await;
        let id = run.queued().await;
        run.removed.send((id, result)).await.unwrap();
        assert_eq!(run.end().await, expected);
        fake.forget_job(id.0);
    }
    let mut run = Run::begin(&fake, Step::Reload).await;
    let id = run.queued().await;
    fake.forget_job(id.0);
    assert!(matches!(run.end().await, Outcome::Unknown(_)), "the unit does not tell how it went");
    let fake = with(failed());
    assert_eq!(Run::begin(&fake, Step::Reload).await.end().await, Outcome::Skipped);
}

const SWAP: &str = "dev-vda2.swap";

fn swapping(used: u64, available: u64) -> Arc<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let swaps = format!("Filename Type Size Used Priority\n/dev/vda2 partition 9999999 {used} -2\n");
    std::fs::write(folder.path().join("swaps"), swaps).unwrap();
    std::fs::write(folder.path().join("meminfo"), format!("MemAvailable: {available} kB\n")).unwrap();
    Arc::new(folder)
}

/// The swap job that was queued last is carried out, or has failed.
async fn swap_job(fake: &Fake, member: &str, times: usize, active: &'static str) {
    fake.called(member, times).await;
    fake.change(SWAP, |unit| unit.active = active);
    fake.jobs().into_iter().for_each(|job| fake.forget_job(job));
}

#[tokio::test]
async fn what_fits_is_brought_back_and_the_swap_is_on_again() {
    let fake = with(failed());
    fake.set(SWAP, FakeUnit::default());
    let folder = swapping(102_400, 1_000_000);
    let run = Run::begin_in(&fake, Step::ReclaimSwap, quick(), Arc::clone(&folder)).await;
    fake.called("StopUnit", 1).await;
    // A monitor that is killed now leaves a note.
    assert_eq!(std::fs::read_to_string(folder.path().join("swap-stopped")).unwrap(), SWAP);
    swap_job(&fake, "StopUnit", 1, "inactive").await;
    swap_job(&fake, "StartUnit", 1, "active").await;
    assert_eq!(run.end().await, Outcome::Told("100 MiB are back from /dev/vda2".to_owned()));
    assert!(!folder.path().join("swap-stopped").exists());
}

#[tokio::test]
async fn what_does_not_fit_or_would_not_come_back_stays() {
    let cases = [
        (102_400, 100_000, SWAP, "is left alone: 97 MiB are free"),
        (102_400, 1_000_000, "", "is left alone: it has neither a unit file nor a line in fstab"),
    ];
    for (used, available, fragment, expected) in cases {
        let fake = with(failed());
        fake.set(SWAP, FakeUnit { fragment, ..FakeUnit::default() });
        let folder = swapping(used, available);
        let Outcome::Told(text) = Run::begin_in(&fake, Step::ReclaimSwap, quick(), folder).await.end().await
        else {
            panic!("it says so")
        };
        assert!(text.contains(expected), "{text}");
        assert_eq!(fake.calls("StopUnit").len(), 0);
    }
    let fake = with(failed());
    let idle = Run::begin_in(&fake, Step::ReclaimSwap, quick(), swapping(0, 1_000_000)).await;
    assert_eq!(idle.end().await, Outcome::AlreadySo);
}

#[tokio::test]
async fn a_swap_under_another_name_is_cycled_by_its_own() {
    let fake = with(failed());
    fake.set(SWAP, FakeUnit { following: "dev-disk-a.swap", fragment: "", ..FakeUnit::default() });
    fake.set("dev-disk-a.swap", FakeUnit { active: "inactive", ..FakeUnit::default() });
    let run = Run::begin_in(&fake, Step::ReclaimSwap, quick(), swapping(1024, 1_000_000)).await;
    fake.called("StartUnit", 1).await;
    assert_eq!(fake.calls("StopUnit").len(), 0, "it was off already");
    fake.change("dev-disk-a.swap", |unit| unit.active = "active");
    fake.jobs().into_iter().for_each(|job| fake.forget_job(job));
    assert_eq!(run.end().await, Outcome::Told("1 MiB are back from /dev/vda2".to_owned()));
}

#[tokio::test]
async fn a_swap_that_cannot_be_turned_off_is_on_all_the_same() {
    let fake = with(failed());
    fake.set(SWAP, FakeUnit::default());
    let folder = swapping(102_400, 1_000_000);
    let run = Run::begin_in(&fake, Step::ReclaimSwap, quick(), Arc::clone(&folder)).await;
    swap_job(&fake, "StopUnit", 1, "active").await;
    let Outcome::Told(text) = run.end().await else { panic!("it is no failure") };
    assert!(text.contains("/dev/vda2, which holds 100 MiB, is left alone"), "{text}");
    assert!(!folder.path().join("swap-stopped").exists());
}

#[tokio::test]
async fn a_swap_that_a_killed_monitor_left_off_is_started_before_all_else() {
    let fake = with(failed());
    fake.set(SWAP, FakeUnit { active: "inactive", ..FakeUnit::default() });
    let folder = swapping(0, 1_000_000);
    std::fs::write(folder.path().join("swap-stopped"), SWAP).unwrap();
    let run = Run::begin_in(&fake, Step::ReclaimSwap, quick(), Arc::clone(&folder)).await;
    swap_job(&fake, "StartUnit", 1, "active").await;
    assert_eq!(run.end().await, Outcome::AlreadySo);
    assert!(!folder.path().join("swap-stopped").exists());
}

#[tokio::test]
async fn a_swap_that_polkit_keeps_off_is_noted_and_on_again_when_it_is_back() {
    let fake = with(failed());
    fake.set(SWAP, FakeUnit::default());
    let folder = swapping(102_400, 1_000_000);
    let run = Run::begin_in(&fake, Step::ReclaimSwap, quick(), Arc::clone(&folder)).await;
    fake.called("StopUnit", 1).await;
    fake.silence("StartUnit?");
    swap_job(&fake, "StopUnit", 1, "inactive").await;
    assert_eq!(run.end().await, Outcome::Hindered(format!("{SWAP}: polkit does not answer")));
    assert!(folder.path().join("swap-stopped").exists(), "it is not forgotten");
    fake.speak_again();
    let (bus, held) = (fake.bus().await, Arc::clone(&folder));
    let restored = tokio::spawn(async move { restore_swap(&bus, &places(held.path()), &quick()).await });
    swap_job(&fake, "StartUnit", 1, "active").await;
    assert!(matches!(restored.await.unwrap(), Some(Outcome::Told(_))));
    assert!(!folder.path().join("swap-stopped").exists());
}
