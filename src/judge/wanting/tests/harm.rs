//! Nights in which a watchdog could do harm: it restarts what was only held up, undoes an
//! administrator, goes on for ever, or never acts again.

use std::cell::Cell;

use super::super::super::budget::Breaker;
use super::super::super::effect::Request;
use super::super::super::life::{Ending, Life, LifeMemory};
use super::super::super::verdict::Condition;
use super::*;

fn only(kind: CheckKind, fault: Fault) -> impl Fn(CheckKind) -> Observation {
    move |asked| if asked == kind { Observation::bad(fault, "bad") } else { WELL(asked) }
}

#[test]
fn what_a_debugger_held_up_gets_its_grace_when_it_is_let_go() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.unit.traced = true;
    stage.answer(only(CheckKind::Http, Fault::Unanswered));
    stage.send(Event::Changed);
    stage.pass(60);
    assert_eq!(stage.app.verdict, Verdict::Paused);
    stage.unit.traced = false;
    stage.send(Event::Changed);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::Starting, 0));
    stage.answer(WELL);
    stage.pass(20);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::Healthy, 0));
}

#[test]
fn one_answer_that_comes_late_is_no_fault_of_an_app_that_uses_too_much_memory() {
    let target = Target { max_memory: Some(100), ..asked() };
    let big = |kind| match kind {
        CheckKind::Memory => Observation::bad(Fault::OverMemory, "uses 200 B").with(Detail::Memory(200)),
        _ => WELL(kind),
    };
    let mut stage = Stage::new(target, Policy::default());
    stage.answer(big);
    stage.pass(3_000);
    assert!(matches!(stage.app.memory_budget.breaker(), Breaker::Open { .. }));
    stage.steps.clear();
    let late = Cell::new(true);
    stage.answer(move |kind| match kind {
        CheckKind::Http if late.replace(false) => Observation::bad(Fault::Unanswered, "timed out"),
        _ => big(kind),
    });
    stage.pass(30);
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
    stage.answer(move |kind| match kind {
        CheckKind::Http => Observation::bad(Fault::WrongAnswer, "answers 500"),
        _ => big(kind),
    });
    stage.pass(60);
    assert_eq!(stage.steps.len(), 1, "memory's breaker holds back nothing that a sick app needs");
}

#[test]
fn a_loop_that_shows_as_starting_in_between_is_broken_all_the_same() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(nobody_listens);
    for _ in 0..60 {
        stage.go_round();
        stage.pass(2);
        stage.unit.sub = "start-pre".into();
        stage.send(Event::Changed);
        stage.pass(3);
    }
    assert!(matches!(stage.steps.first(), Some(Step::Stop { .. })), "{:?}", stage.steps);
}

#[test]
fn a_database_that_cannot_be_asked_now_and_then_starts_nothing() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.falls = true;
    stage.answer(database_is_down);
    stage.fall();
    stage.pass(60);
    assert_eq!(stage.steps.len(), 2, "{:?}", stage.steps);
    let turn = Cell::new(false);
    stage.answer(move |kind| match kind {
        CheckKind::Database if turn.replace(!turn.get()) => Observation::unknown("no resolver"),
        _ => database_is_down(kind),
    });
    stage.pass(600);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::DatabaseDown, 2));
}

#[test]
fn life_without_its_database_is_tried_once_each_time_that_it_is_down() {
    let mut stage = Stage::new(leaning(), Policy::default());
    for time in 1..=2 {
        stage.answer(only(CheckKind::Database, Fault::DatabaseDown));
        stage.fall();
        stage.pass(30);
        assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::Healthy, 2 * time));
        stage.answer(WELL);
        stage.pass(120);
    }
}

#[test]
fn what_is_owed_to_an_app_is_owed_by_the_next_monitor_as_well() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.falls = true;
    stage.answer(database_is_down);
    stage.fall();
    stage.pass(60);
    stage.steps.clear();
    stage.another_monitor();
    stage.pass(60);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::DatabaseDown, 0), "tried once already");
    stage.another_monitor();
    stage.falls = false;
    stage.answer(WELL);
    stage.pass(5);
    assert!(stage.told.iter().any(|record| record.text.contains("its database accepts again, uncounted")));
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start]);
}

#[test]
fn a_database_that_goes_away_while_a_start_is_verified_costs_no_attempt() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Http => Observation::bad(Fault::Unanswered, "timed out"),
        _ => WELL(kind),
    });
    stage.fall();
    stage.pass(2);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start]);
    stage.answer(database_is_down);
    stage.pass(200);
    assert_eq!(stage.app.verdict, Verdict::DatabaseDown);
    assert_eq!(stage.app.budget.left(stage.now, &Policy::default()), 3);
}

#[test]
fn restarts_while_its_database_was_down_are_no_loop() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.answer(database_is_down);
    for _ in 0..8 {
        stage.go_round();
        stage.pass(5);
    }
    assert_eq!(stage.app.verdict, Verdict::DatabaseDown);
    stage.answer(WELL);
    stage.pass(5);
    assert_eq!(stage.app.verdict, Verdict::SystemdRestarting);
}

#[test]
fn a_database_that_never_answers_holds_nothing_back_for_longer_than_its_timeout() {
    let mut stage = Stage::new(Target { port: None, ..leaning() }, Policy::default());
    stage.silent = Some(CheckKind::Database);
    stage.fall();
    stage.pass(5);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start]);
}

#[test]
fn what_an_admin_stopped_during_a_pause_is_told_and_not_recovered_on_request() {
    let mut stage = Stage::new(asked(), Policy::default());
    let length = Duration::from_secs(600);
    stage.send(Event::Asked(Request::Pause { length, reason: None, by: None }));
    stage.admin_stops();
    stage.pass(1);
    assert_eq!(stage.app.verdict, Verdict::Paused);
    assert!(stage.app.refuses_recovery().is_some());
    assert_eq!(stage.told.iter().filter(|record| record.event == EventKind::StoppedByAdmin).count(), 1);
    stage.send(Event::Asked(Request::Recover { by: None }));
    stage.pass(1_000);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::StoppedByAdmin, 0));
}

#[test]
fn an_app_that_is_up_and_cannot_prove_its_health_goes_round_no_more() {
    let mut stage = Stage::new(Target { port: None, ..asked() }, Policy::default());
    stage.app.ever_good.clear();
    stage.answer(only(CheckKind::Http, Fault::WrongAnswer));
    for _ in 0..7 {
        stage.go_round();
        stage.pass(3);
    }
    assert_eq!(stage.app.verdict, Verdict::CrashLooping);
    let since = Some(stage.now);
    stage.unit = UnitReading { inactive_exit: since, active_enter: since, restarts: 7, ..up(20) };
    stage.send(Event::Changed);
    stage.pass(1_000);
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
}

#[test]
fn what_went_round_and_stays_up_is_recovered_from_what_is_wrong_with_it_now() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(nobody_listens);
    for _ in 0..7 {
        stage.go_round();
        stage.pass(3);
    }
    stage.answer(only(CheckKind::Http, Fault::Unanswered));
    stage.comes_up();
    stage.pass(20);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::CrashLooping, 0), "within its grace");
    stage.pass(60);
    assert!(stage.verdicts().contains(&Verdict::Frozen), "{:?}", stage.verdicts());
    assert!(matches!(stage.steps[..], [Step::Restart { .. }]), "{:?}", stage.steps);
    assert_eq!(stage.app.loops.looping(stage.now), None);
}

#[test]
fn a_reset_forgets_memory_restarts_as_well() {
    let target = Target { max_memory: Some(100), ..asked() };
    let mut stage = Stage::new(target, Policy::default());
    stage.answer(only(CheckKind::Memory, Fault::OverMemory));
    stage.pass(3_000);
    assert!(matches!(stage.app.memory_budget.breaker(), Breaker::Open { .. }));
    stage.answer(WELL);
    stage.pass(30);
    stage.send(Event::Asked(Request::Reset { by: None }));
    assert_eq!(stage.app.memory_budget.left(stage.now, &Policy::default()), 3);
}

#[test]
fn what_would_be_done_is_told_whatever_it_is_and_only_when_it_would_be() {
    let watch = Policy { mode: Mode::Watch, ..Policy::default() };
    let would =
        |stage: &Stage| stage.told.iter().filter(|record| record.text.contains("would have done")).count();
    let mut stage = Stage::new(asked(), watch.clone());
    stage.answer(held(true));
    stage.fall();
    stage.pass(60);
    assert_eq!((stage.app.verdict, would(&stage)), (Verdict::PortTaken, 1));
    let mut stage = Stage::new(leaning(), watch.clone());
    stage.answer(database_is_down);
    stage.fall();
    stage.pass(60);
    assert_eq!((stage.app.verdict, would(&stage)), (Verdict::DatabaseDown, 1));
    let mut stage = Stage::new(asked(), watch);
    stage.answer(late(95));
    stage.pass(300);
    assert_eq!((stage.app.verdict, would(&stage)), (Verdict::Overloaded, 0), "it would be left to it yet");
    stage.pass(400);
    assert_eq!(would(&stage), 1);
}

#[test]
fn a_long_stop_is_told_once_whoever_watches() {
    let policy = Policy { stopped_alert_after: Some(Duration::from_secs(60)), ..Policy::default() };
    let mut stage = Stage::new(asked(), policy);
    stage.admin_stops();
    stage.pass(30);
    stage.another_monitor();
    stage.pass(40);
    assert_eq!(stage.alerts(), 1, "counted from the stop");
    stage.another_monitor();
    stage.pass(100);
    assert_eq!(stage.alerts(), 1);
}

#[test]
fn a_unit_that_was_forgotten_is_told_once_whoever_watches() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.another_monitor();
    stage.unit = UnitReading { invocation: None, inactive_exit: None, active_enter: None, ..down(1) };
    stage.send(Event::Changed);
    stage.pass(2);
    assert_eq!((stage.app.verdict, stage.alerts()), (Verdict::StoppedByAdmin, 1));
    stage.another_monitor();
    stage.pass(2);
    assert_eq!((stage.app.verdict, stage.alerts()), (Verdict::StoppedByAdmin, 1));
}

#[test]
fn what_was_forgotten_since_it_fell_is_not_begun_before_that_is_understood() {
    let mut stage = Stage::new(asked(), Policy::default());
    // Somebody started and stopped it while nobody watched.
    stage.unit = UnitReading { invocation: None, inactive_exit: None, active_enter: None, ..down(1) };
    let fell = Some((up(1).invocation, Ending::ByItself));
    stage.app.life = Life::restore(LifeMemory { end: fell, ..LifeMemory::default() });
    stage.another_monitor();
    stage.pass(600);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::StoppedByAdmin, 0));
}

#[test]
fn what_is_refused_for_hours_is_tried_ever_more_rarely() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.outcome = Outcome::Refused("not authorised".into());
    stage.fall();
    stage.pass(3_600);
    assert!(stage.app.conditions.contains_key(&Condition::MayNotAct));
    assert!((10..50).contains(&stage.steps.len()), "{}", stage.steps.len());
    stage.outcome = Outcome::Done;
    stage.pass(310);
    assert_eq!(stage.app.verdict, Verdict::Healthy);
}

#[test]
fn a_check_that_was_never_good_is_told_once_however_often_the_app_falls() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.app.ever_good.remove(&CheckKind::Http);
    stage.answer(only(CheckKind::Http, Fault::WrongAnswer));
    stage.pass(60);
    for _ in 0..3 {
        stage.fall();
        stage.pass(200);
    }
    let told = stage.told.iter().filter(|record| record.text.contains("never-healthy"));
    assert_eq!(told.count(), 1);
}

#[test]
fn what_goes_round_without_its_database_does_not_fill_the_journal() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.answer(database_is_down);
    for _ in 0..200 {
        stage.go_round();
        stage.pass(2);
        stage.unit.sub = "start-pre".into();
        stage.send(Event::Changed);
        stage.pass(3);
    }
    let lines = stage.told.iter().filter(|record| record.level != Level::Debug).count();
    assert!(lines < 40, "{lines}");
}

#[test]
fn a_database_that_comes_and_goes_starts_the_app_ever_more_rarely() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.falls = true;
    let calls = Cell::new(0_u32);
    stage.answer(move |kind| match kind {
        CheckKind::Database => {
            calls.set(calls.get() + 1);
            if calls.get() % 8 < 2 { WELL(kind) } else { database_is_down(kind) }
        }
        _ => database_is_down(kind),
    });
    stage.fall();
    stage.pass(7_200);
    let starts = stage.steps.iter().filter(|step| **step == Step::Start).count();
    assert!((4..30).contains(&starts), "{starts}");
}

#[test]
fn a_check_that_was_never_good_and_hangs_is_asked_at_the_pace_of_health() {
    let mut stage = Stage::new(Target { port: None, ..asked() }, Policy::default());
    stage.app.ever_good.clear();
    stage.silent = Some(CheckKind::Http);
    stage.asked.clear();
    stage.pass(300);
    assert!(stage.asked.len() <= 31, "{}", stage.asked.len());
}

#[test]
fn what_is_confirmed_is_confirmed_no_more() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.answer(database_is_down);
    stage.pass(60);
    assert_eq!(stage.app.verdict, Verdict::DatabaseDown);
    stage.asked.clear();
    stage.pass(300);
    let rounds = stage.asked.iter().filter(|kind| **kind == CheckKind::Http).count();
    assert!(rounds <= 31, "{rounds}");
}

#[test]
fn a_core_dump_is_left_its_time_however_long_the_app_was_up() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.pass(600);
    stage.unit.dumping = true;
    stage.answer(only(CheckKind::Http, Fault::Unanswered));
    stage.send(Event::Changed);
    stage.pass(100);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::Paused, 0));
    // A dump that does not end holds nothing up for ever.
    stage.pass(120);
    assert!(matches!(stage.steps[0], Step::Restart { .. }));
}

#[test]
fn a_start_that_fails_for_want_of_another_unit_uses_up_no_attempt() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.outcome = Outcome::Dependency("start job failed".into());
    stage.fall();
    stage.pass(600);
    let starts = stage.steps.iter().filter(|step| **step == Step::ResetFailed).count();
    assert!((5..=11).contains(&starts), "{starts}");
    assert!(matches!(stage.app.budget.breaker(), Breaker::Closed));
    stage.outcome = Outcome::Done;
    stage.pass(120);
    assert_eq!(stage.app.verdict, Verdict::Healthy);
}

#[test]
fn what_cannot_be_checked_fails_no_recovery_and_is_told() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Http => Observation::unknown("the resolver is silent"),
        _ => WELL(kind),
    });
    stage.fall();
    stage.pass(400);
    assert_eq!(stage.steps.iter().filter(|step| **step == Step::Start).count(), 1);
    let told = |event| stage.told.iter().filter(|record| record.event == event).count();
    assert_eq!((told(EventKind::RecoveryFailed), told(EventKind::Blind)), (0, 1));
    assert!(stage.app.conditions.contains_key(&Condition::Blind));
    stage.answer(WELL);
    stage.pass(60);
    assert_eq!((stage.app.verdict, stage.app.conditions.len()), (Verdict::Healthy, 0));
    assert_eq!(stage.steps.iter().filter(|step| **step == Step::Start).count(), 1);
}

#[test]
fn what_somebody_is_at_is_not_done_once_more_on_request_whatever_the_verdict_is() {
    let mut stage = Stage::new(asked(), Policy::default());
    // Its first answers are waited for before it is judged.
    (stage.silent, stage.hangs) = (Some(CheckKind::Http), true);
    stage.answer(|_| Observation::good("well"));
    let unit = stage.unit.clone();
    stage.another_monitor();
    stage.send(Event::Unit(Box::new(unit)));
    stage.send(Event::JobNew(JobId(70)));
    assert_eq!(stage.app.refuses_recovery(), Some("a job that is not ours is pending".into()));
    stage.send(Event::Asked(Request::Recover { by: None }));
    assert!(stage.steps.is_empty());
}

#[test]
fn a_restart_that_fails_at_once_is_no_stop_though_its_end_is_read_before_its_job_is_told() {
    let mut stage = Stage::new(asked(), Policy { mode: Mode::Watch, ..Policy::default() });
    stage.fall();
    stage.pass(1);
    assert_eq!(stage.app.life.ending(), Some(&Ending::ByItself));
    stage.unit = UnitReading { active: ActiveState::Failed, result: "exit-code".into(), ..down(2) };
    stage.send(Event::Changed);
    stage.send(Event::JobNew(JobId(70)));
    stage.send(Event::JobRemoved(JobId(70), JobResult::Done));
    stage.pass(1);
    assert_eq!(stage.app.life.ending(), Some(&Ending::ByItself));
    assert_eq!(stage.app.verdict, Verdict::Crashed);
}

#[test]
fn who_asks_for_another_recovery_while_one_is_verified_takes_its_place() {
    let mut stage = Stage::new(asked(), Policy { max_attempts: 1, ..Policy::default() });
    stage.fall();
    stage.pass(1);
    assert!(stage.app.recovery.as_ref().is_some_and(|recovery| recovery.attempt() == Some(1)));
    assert_eq!(stage.app.budget.left(stage.now, &stage.app.policy), 0);
    stage.send(Event::Asked(Request::Recover { by: None }));
    assert!(stage.app.recovery.as_ref().is_some_and(|recovery| recovery.attempt().is_none()));
    assert_eq!(stage.app.budget.left(stage.now, &stage.app.policy), 1);
    let ended = stage.told.iter().filter(|record| record.event == EventKind::RecoveryFailed);
    assert_eq!(ended.count(), 1);
}
