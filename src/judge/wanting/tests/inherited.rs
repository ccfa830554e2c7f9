//! Conditions that an earlier monitor told of: each is told once, and its end once, whoever sees it.

use super::super::super::permission::Denial;
use super::super::super::record::EventKind;
use super::super::super::verb::{Verb, Verbs};
use super::*;

/// How often it was told that the condition began, and that it ended.
fn told(stage: &Stage, what: Condition) -> (usize, usize) {
    let times = |event| {
        stage.told.iter().filter(|record| record.event == event && record.condition == Some(what)).count()
    };
    (times(EventKind::ConditionBegan), times(EventKind::ConditionEnded))
}

#[test]
fn what_may_not_be_done_is_an_open_question_until_it_is_proven() {
    let denied = || {
        Event::Permission(Some(Denial { verbs: Verbs::of(&Verb::ALL), text: "polkit is masked".to_owned() }))
    };
    let mut stage = Stage::new(asked(), Policy::default());
    stage.send(denied());
    stage.another_monitor();
    stage.pass(60);
    assert_eq!(told(&stage, Condition::MayNotAct), (1, 0), "nobody has asked yet");
    stage.send(denied());
    stage.another_monitor();
    stage.pass(10);
    assert!(stage.app.awaits_proof());
    stage.send(Event::Permission(None));
    stage.another_monitor();
    stage.send(Event::Permission(None));
    assert_eq!(told(&stage, Condition::MayNotAct), (1, 1));
}

#[test]
fn what_was_never_good_stays_so_until_that_check_is_good_or_gone() {
    let of_http = |kind| match kind {
        CheckKind::Http => Observation::bad(Fault::WrongAnswer, "answers 401"),
        _ => Observation::good("well"),
    };
    let begun = || {
        let mut stage = Stage::new(asked(), Policy::default());
        stage.app.ever_good.remove(&CheckKind::Http);
        stage.answer(of_http);
        stage.pass(100);
        assert_eq!(told(&stage, Condition::NeverHealthy), (1, 0));
        stage
    };
    let mut stage = begun();
    for _ in 0..3 {
        stage.another_monitor();
        stage.pass(5);
        stage.fall();
        stage.pass(60);
    }
    assert_eq!(told(&stage, Condition::NeverHealthy), (1, 0));
    stage.answer(WELL);
    stage.another_monitor();
    stage.pass(30);
    assert_eq!(told(&stage, Condition::NeverHealthy), (1, 1));

    let mut stage = begun();
    stage.app.target.http = None;
    stage.another_monitor();
    stage.pass(5);
    assert_eq!(told(&stage, Condition::NeverHealthy), (1, 1), "it is asked no more");
}

#[test]
fn blindness_lasts_as_long_as_it_does_and_is_not_told_anew() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(|_| Observation::unknown("no free file descriptor"));
    stage.pass(400);
    assert_eq!(told(&stage, Condition::Blind), (1, 0));
    stage.another_monitor();
    stage.pass(900);
    assert_eq!(told(&stage, Condition::Blind), (1, 0));
    stage.another_monitor();
    stage.answer(WELL);
    stage.pass(60);
    assert_eq!(told(&stage, Condition::Blind), (1, 1));
}

#[test]
fn what_is_shown_and_told_to_nobody_is_kept_likewise() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Port => Observation::bad(Fault::ForeignListener, "somebody else listens"),
        _ => Observation::good("well"),
    });
    stage.pass(60);
    stage.another_monitor();
    stage.pass(60);
    assert_eq!(told(&stage, Condition::PortForeign), (1, 0));
    stage.answer(WELL);
    stage.another_monitor();
    stage.pass(60);
    assert_eq!(told(&stage, Condition::PortForeign), (1, 1));
    assert_eq!(stage.alerts(), 0);
}
