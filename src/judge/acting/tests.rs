//! A recovery that another monitor began.

use super::super::effect::{Event, Request};
use super::super::life::{Ending, LifeMemory};
use super::super::memory::AppMemory;
use super::super::policy::{Mode, Policy};
use super::super::recovery::Intent;
use super::super::target::Target;
use super::super::testing::{down, up};
use super::super::unit::{ActiveState, UnitReading};
use super::super::verdict::Verdict;
use super::*;

const RESTART: Step = Step::Restart { kill_after: Duration::from_secs(5) };

/// An app whose recovery from its first invocation was under way when the last monitor ended.
fn taken_over(unit: UnitReading) -> (App, Vec<Effect>) {
    taken_over_with(Policy::default(), vec![RESTART], 0, Duration::from_secs(2), unit)
}

/// The same with other steps, of which so many are behind it, after so long.
fn taken_over_with(
    policy: Policy,
    steps: Vec<Step>,
    next: usize,
    after: Duration,
    unit: UnitReading,
) -> (App, Vec<Effect>) {
    let intent = Intent {
        act: ActId(4),
        cause: Verdict::Frozen,
        text: "timed out".into(),
        steps,
        next,
        began: Moment::from_micros(100),
        attempt: Some(1),
        memory: false,
        before: up(1).invocation,
        run: None,
    };
    // How it had ended is known of what was only to be started, unless that was in the pause before its restart.
    let starts = !intent.steps.iter().any(|step| matches!(step, Step::Stop { .. } | Step::Restart { .. }));
    let end = (starts && unit.active.is_down()).then_some((intent.before, Ending::ByItself));
    let life = LifeMemory { end, ..LifeMemory::default() };
    let memory = AppMemory { intent: Some(intent), life, ..AppMemory::default() };
    let target = Target::of_unit("web.service".parse().unwrap());
    let now = Moment::from_micros(100) + after;
    let mut app = App::new("web".parse().unwrap(), policy, target, memory, now);
    let effects = app.handle(now, Event::Unit(Box::new(unit)));
    (app, effects)
}

fn performed(effects: &[Effect]) -> Vec<Step> {
    let step =
        |effect: &Effect| if let Effect::Perform(_, step) = effect { Some(step.clone()) } else { None };
    effects.iter().filter_map(step).collect()
}

#[test]
fn a_restart_in_its_stop_half_is_taken_up_so_that_its_kill_comes() {
    let stopping = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
    let (app, effects) = taken_over(stopping);
    assert_eq!(performed(&effects), [RESTART]);
    assert!(app.is_acting());
}

#[test]
fn a_restart_in_its_start_half_is_waited_for() {
    let starting = UnitReading { active: ActiveState::Activating, job: Some(JobId(7)), ..up(2) };
    let (app, effects) = taken_over(starting);
    assert_eq!(performed(&effects), []);
    assert!(app.is_acting());
}

#[test]
fn an_app_that_we_started_and_somebody_stopped_while_we_were_away_stays_down() {
    let steps = vec![Step::ResetFailed, Step::Start];
    let soon = Duration::from_secs(2);
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(9)), ..up(2) };
    for unit in [going, down(2)] {
        let (app, effects) = taken_over_with(Policy::default(), steps.clone(), 1, soon, unit);
        assert_eq!(performed(&effects), []);
        assert!(!app.is_acting());
    }
    let (_, effects) = taken_over_with(Policy::default(), steps, 1, soon, down(1));
    assert_eq!(performed(&effects), [Step::Start], "what was not started yet is");
}

#[test]
fn an_app_that_we_started_and_systemd_forgot_since_was_stopped_by_somebody() {
    let intent = |run| Intent {
        act: ActId(4),
        cause: Verdict::Crashed,
        text: String::new(),
        steps: vec![Step::ResetFailed, Step::Start],
        next: 1,
        began: Moment::from_micros(100),
        attempt: Some(1),
        memory: false,
        before: up(1).invocation,
        run,
    };
    let gone = UnitReading { invocation: None, inactive_exit: None, active_enter: None, ..down(1) };
    for (run, steps) in [(None, vec![Step::Start]), (up(2).invocation, vec![])] {
        let memory = AppMemory { intent: Some(intent(run)), ..AppMemory::default() };
        let target = Target::of_unit("web.service".parse().unwrap());
        let now = Moment::from_micros(2_000_000);
        let mut app = App::new("web".parse().unwrap(), Policy::default(), target, memory, now);
        let effects = app.handle(now, Event::Unit(Box::new(gone.clone())));
        assert_eq!(performed(&effects), steps);
    }
}

#[test]
fn what_was_not_begun_is_not_begun_later_nor_where_it_is_not_wanted_any_more() {
    let watch = Policy { mode: Mode::Watch, ..Policy::default() };
    for (policy, after, steps) in
        [(Policy::default(), 2, vec![RESTART]), (Policy::default(), 3_600, vec![]), (watch, 2, vec![])]
    {
        let (_, effects) = taken_over_with(policy, vec![RESTART], 0, Duration::from_secs(after), up(1));
        assert_eq!(performed(&effects), steps, "after {after} s");
    }
}

#[test]
fn what_we_stopped_ourselves_is_started_whatever_happened() {
    let watch = Policy { mode: Mode::Watch, ..Policy::default() };
    let steps = vec![Step::Stop { kill_after: Duration::from_secs(5) }, Step::Start];
    let (_, effects) = taken_over_with(watch, steps, 0, Duration::from_secs(3_600), down(1));
    assert_eq!(performed(&effects), [Step::Start]);
}

#[test]
fn no_job_is_queued_while_the_host_goes_down() {
    let (mut app, effects) = taken_over(UnitReading { job: Some(JobId(7)), ..down(1) });
    assert_eq!(performed(&effects), []);
    let later = Moment::from_micros(3_000_000);
    let _ = app.handle(later, Event::Stopping(true));
    let effects = app.handle(later, Event::Unit(Box::new(up(1))));
    assert_eq!(performed(&effects), []);
}

#[test]
fn another_unit_inherits_neither_runs_nor_intents() {
    let (app, _) = taken_over(UnitReading { job: Some(JobId(7)), ..down(1) });
    let memory = AppMemory { unit: Some("old.service".parse().unwrap()), ..app.memory() };
    let target = app.target().clone();
    let now = Moment::from_micros(3_000_000);
    let other = App::new("web".parse().unwrap(), Policy::default(), target, memory, now);
    assert!(!other.is_acting());
}

#[test]
fn after_a_stop_of_which_nobody_knows_nothing_is_done_that_needs_it_down() {
    let stop = Step::Stop { kill_after: Duration::from_secs(5) };
    let steps = vec![stop.clone(), Step::Reap, Step::ClearCaches, Step::ResetFailed, Step::Start];
    let (mut app, effects) = taken_over_with(Policy::default(), steps, 0, Duration::from_secs(2), up(1));
    assert_eq!(performed(&effects), [stop]);
    let unknown = Outcome::Unknown("no answer".into());
    let effects = app.handle(Moment::from_micros(3_000_000), Event::StepEnded(ActId(4), unknown));
    assert_eq!(performed(&effects), [Step::Start]);
}

#[test]
fn who_starts_what_we_stopped_takes_the_place_of_what_is_left() {
    let steps =
        vec![Step::Stop { kill_after: Duration::from_secs(5) }, Step::Reap, Step::ClearCaches, Step::Start];
    let (mut app, _) = taken_over_with(Policy::default(), steps, 0, Duration::from_secs(2), up(1));
    let later = Moment::from_micros(3_000_000);
    let effects = app.handle(later, Event::StepEnded(ActId(4), Outcome::Done));
    assert_eq!(performed(&effects), [Step::Reap], "what was read last is older than the stop");
    let _ = app.handle(later, Event::Unit(Box::new(up(2))));
    let effects = app.handle(later, Event::StepEnded(ActId(4), Outcome::AlreadySo));
    assert_eq!(performed(&effects), [], "it may use its caches");
    assert!(!app.is_acting());
}

#[test]
fn a_stop_between_two_steps_cancels_the_start() {
    let steps = vec![Step::ResetFailed, Step::Start];
    let soon = Duration::from_secs(2);
    let (mut app, effects) = taken_over_with(Policy::default(), steps, 0, soon, down(1));
    assert_eq!(performed(&effects), [Step::ResetFailed]);
    let later = Moment::from_micros(3_000_000);
    let _ = app.handle(later, Event::JobNew(JobId(9)));
    let _ = app.handle(later, Event::JobRemoved(JobId(9), crate::judge::JobResult::Done));
    assert!(!app.is_acting(), "at once, so that it is on record");
    let effects = app.handle(later, Event::StepEnded(ActId(4), Outcome::Done));
    assert_eq!(performed(&effects), []);
    assert!(!app.is_acting());
}

#[test]
fn an_app_that_was_up_when_we_began_and_is_down_by_no_step_of_ours_is_not_started() {
    let stop = Step::Stop { kill_after: Duration::from_secs(5) };
    let hook = Step::Hook("warm.service".parse().unwrap());
    let soon = Duration::from_secs(2);
    for steps in [
        vec![Step::Preflight, RESTART],
        vec![hook.clone(), RESTART],
        vec![Step::Preflight, stop, Step::Reap, Step::ResetFailed, Step::Start],
    ] {
        let (app, effects) = taken_over_with(Policy::default(), steps, 0, soon, down(1));
        assert_eq!(performed(&effects), []);
        assert!(!app.is_acting());
    }
    let steps = vec![hook.clone(), Step::Start];
    let (_, effects) = taken_over_with(Policy::default(), steps, 0, soon, down(1));
    assert_eq!(performed(&effects), [hook], "it was down already");
}

#[test]
fn a_pause_ends_what_has_not_begun_and_not_what_would_leave_it_stopped() {
    let stop = Step::Stop { kill_after: Duration::from_secs(5) };
    let pause = || Event::Asked(Request::Pause { length: Duration::from_secs(60), reason: None, by: None });
    let later = Moment::from_micros(3_000_000);
    for (steps, next, unit, then) in [
        (vec![Step::Preflight, RESTART], 0, up(1), vec![]),
        (vec![stop, Step::Reap, Step::Start], 1, down(1), vec![Step::Start]),
    ] {
        let (mut app, _) = taken_over_with(Policy::default(), steps, next, Duration::from_secs(2), unit);
        let _ = app.handle(later, pause());
        let effects = app.handle(later, Event::StepEnded(ActId(4), Outcome::Done));
        assert_eq!(performed(&effects), then);
    }
}

#[test]
fn a_stop_of_the_monitor_before_is_remembered_by_one_that_ends_at_once() {
    let steps = vec![Step::Stop { kill_after: Duration::from_secs(5) }, Step::Reap, Step::Start];
    let intent = |next| Intent {
        act: ActId(4),
        cause: Verdict::Frozen,
        text: String::new(),
        steps: steps.clone(),
        next,
        began: Moment::from_micros(100),
        attempt: Some(1),
        memory: false,
        before: up(1).invocation,
        run: None,
    };
    let will = |next| {
        let memory = AppMemory { intent: Some(intent(next)), ..AppMemory::default() };
        let target = Target::of_unit("web.service".parse().unwrap());
        App::new("web".parse().unwrap(), Policy::default(), target, memory, Moment::from_micros(200))
            .last_will()
    };
    assert_eq!(will(1), Some(LastWill { kill: false }));
    assert_eq!(will(0), None, "nobody knows whether it was stopped");
}

#[test]
fn cache_directories_of_the_unit_are_cleared_without_caches_of_the_app() {
    let always = Policy { clear_caches: ClearCaches::Always, ..Policy::default() };
    let target = Target { caches: Vec::new(), ..Target::of_unit("web.service".parse().unwrap()) };
    let now = Moment::from_micros(3_000_000);
    let app = App::new("web".parse().unwrap(), always, target, AppMemory::default(), now);
    let clears = |cache_directory| {
        let unit = UnitReading { cache_directory, ..up(1) };
        app.circumstances(&unit, Why::Fault, 1).clear_caches
    };
    assert!(clears(true));
    assert!(!clears(false));
}

#[test]
fn what_goes_down_before_our_first_job_is_not_started_again() {
    let policy = Policy::default();
    let steps = vec![Step::Preflight, RESTART];
    let (mut app, effects) = taken_over_with(policy, steps, 0, Duration::from_secs(2), up(1));
    assert_eq!(performed(&effects), [Step::Preflight]);
    let now = Moment::from_micros(100) + Duration::from_secs(3);
    // Every signal of it was lost.
    let _ = app.handle(now, Event::Unit(Box::new(down(1))));
    let effects = app.handle(now, Event::StepEnded(ActId(4), Outcome::Done));
    assert_eq!(performed(&effects), []);
    assert!(app.recovery.is_none());
}

#[test]
fn a_stop_that_outlasts_its_deadline_is_remembered_as_ours() {
    let stop = Step::Stop { kill_after: Duration::from_secs(5) };
    let steps = vec![stop.clone(), Step::ClearCaches, Step::Start];
    let (mut app, effects) = taken_over_with(Policy::default(), steps, 0, Duration::from_secs(2), up(1));
    assert_eq!(performed(&effects), [stop]);
    let now = Moment::from_micros(100) + Duration::from_secs(3);
    let _ = app.handle(now, Event::StepQueued(ActId(4), JobId(7)));
    let late = Outcome::TimedOut("the job is still pending".into());
    let _ = app.handle(now, Event::StepEnded(ActId(4), late));
    let run = up(1).invocation.unwrap();
    assert_eq!(app.memory().life.stopping, Some((run, Some(JobId(7)))));
}

#[test]
fn a_stop_of_ours_that_goes_on_when_its_recovery_is_given_up_is_remembered_as_ours() {
    let stop = Step::Stop { kill_after: Duration::from_secs(5) };
    let steps = vec![stop, Step::ClearCaches, Step::Start];
    let run = up(1).invocation.unwrap();
    for (job, stopping) in [(7, Some((run, Some(JobId(7))))), (9, None)] {
        let (mut app, effects) =
            taken_over_with(Policy::default(), steps.clone(), 0, Duration::from_secs(2), up(1));
        assert_eq!(performed(&effects).len(), 1);
        let now = Moment::from_micros(100) + Duration::from_secs(3);
        let _ = app.handle(now, Event::StepQueued(ActId(4), JobId(7)));
        let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(job)), ..up(1) };
        let _ = app.handle(now, Event::Unit(Box::new(going)));
        let _ = app.handle(now, Event::StepEnded(ActId(4), Outcome::Refused("polkit says no".into())));
        assert!(app.recovery.is_none());
        assert_eq!(app.memory().life.stopping, stopping);
    }
}

#[test]
fn what_systemd_restarts_after_a_failed_start_of_ours_leaves_the_breaker_open() {
    let policy = Policy { max_attempts: 1, ..Policy::default() };
    let gave_up = UnitReading { active: ActiveState::Failed, restarts: 5, ..down(1) };
    let begun = |restarts| {
        let after = Duration::from_secs(2);
        let (mut app, effects) =
            taken_over_with(policy.clone(), vec![Step::Start], 0, after, gave_up.clone());
        assert_eq!(performed(&effects), [Step::Start]);
        let now = Moment::from_micros(100) + after;
        app.budget.begin(now, &policy);
        drop(app.handle(now, Event::StepEnded(ActId(4), Outcome::Failed("job failed".into()))));
        let unit = UnitReading { active: ActiveState::Activating, restarts, ..up(3) };
        drop(app.handle(now, Event::Unit(Box::new(unit))));
        app.budget.breaker()
    };
    assert!(matches!(begun(1), Breaker::Open { .. }));
    assert_eq!(begun(0), Breaker::HalfOpen, "a start of somebody else");
}

#[test]
fn what_is_stopped_in_the_pause_before_its_restart_is_not_started() {
    let pause = UnitReading { active: ActiveState::Activating, sub: "auto-restart".into(), ..up(1) };
    let steps = vec![Step::Preflight, Step::Start];
    let (mut app, effects) = taken_over_with(Policy::default(), steps, 0, Duration::from_secs(2), pause);
    assert_eq!(performed(&effects), [Step::Preflight]);
    let now = Moment::from_micros(100) + Duration::from_secs(3);
    // The first job in the pause is taken for that of the restart.
    let _ = app.handle(now, Event::JobNew(JobId(9)));
    let _ = app.handle(now, Event::JobRemoved(JobId(9), crate::judge::JobResult::Done));
    let _ = app.handle(now, Event::Unit(Box::new(down(1))));
    let effects = app.handle(now, Event::StepEnded(ActId(4), Outcome::Done));
    assert_eq!(performed(&effects), []);
    assert!(app.recovery.is_none());
}

#[test]
fn who_stops_what_fell_after_our_start_is_told_from_its_fall() {
    let (mut app, _) =
        taken_over_with(Policy::default(), vec![Step::Start], 0, Duration::from_secs(2), down(1));
    let at = |millis| Moment::from_micros(100) + Duration::from_millis(millis);
    let _ = app.handle(at(3_000), Event::StepQueued(ActId(4), JobId(7)));
    let _ = app.handle(at(3_001), Event::Unit(Box::new(up(2))));
    // The end of our job is not told.
    let fallen = UnitReading { active: ActiveState::Failed, result: "exit-code".into(), ..down(2) };
    let _ = app.handle(at(3_100), Event::Unit(Box::new(fallen.clone())));
    let _ = app.handle(at(3_500), Event::JobNew(JobId(9)));
    assert_eq!(app.life.ending(), Some(&Ending::ByItself));
    let _ = app.handle(at(3_501), Event::JobRemoved(JobId(9), crate::judge::JobResult::Done));
    let _ = app.handle(at(3_600), Event::StepEnded(ActId(4), Outcome::Failed("failed".into())));
    let _ = app.handle(at(3_700), Event::Unit(Box::new(fallen)));
    assert_eq!(app.life.ending(), Some(&Ending::Stopped));
}

#[test]
fn a_start_of_ours_whose_end_is_not_heard_leaves_the_breaker_open_however_systemd_goes_on() {
    let policy = Policy { max_attempts: 1, ..Policy::default() };
    let gave_up = UnitReading { active: ActiveState::Failed, restarts: 5, ..down(1) };
    let after = Duration::from_secs(2);
    let (mut app, _) = taken_over_with(policy.clone(), vec![Step::Start], 0, after, gave_up);
    app.recovery.as_mut().unwrap().intent.attempt = None;
    let now = Moment::from_micros(100) + after;
    app.budget.begin(now, &policy);
    assert!(app.budget.failed(now, &policy));
    // It is over, and the unit neither up nor failed when somebody looks.
    let later = now + Duration::from_secs(1);
    drop(app.handle(later, Event::StepEnded(ActId(4), Outcome::Canceled)));
    let mut slow = app.clone();
    drop(app.handle(later, Event::Unit(Box::new(UnitReading { restarts: 2, ..up(3) }))));
    assert!(matches!(app.budget.breaker(), Breaker::Open { .. }));
    // A reading that is older shows the run that it began.
    let began = Some(now + Duration::from_millis(2));
    drop(slow.handle(later, Event::Unit(Box::new(UnitReading { inactive_exit: began, ..up(2) }))));
    assert!(matches!(slow.budget.breaker(), Breaker::Open { .. }));
}
