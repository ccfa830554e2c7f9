//! What may not be done is not begun, said once, and made up for as soon as it may.

use super::super::super::permission::Denial;
use super::super::super::policy::ClearCaches;
use super::super::super::record::EventKind;
use super::super::super::verb::{Verb, Verbs};
use super::*;

fn denied(verbs: &[Verb]) -> Event {
    Event::Permission(Some(Denial { verbs: Verbs::of(verbs), text: "polkit is masked".into() }))
}

fn times(stage: &Stage, event: EventKind) -> usize {
    stage.told.iter().filter(|record| record.event == event).count()
}

#[test]
fn what_is_known_to_be_denied_is_not_begun_and_done_the_moment_it_may() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.send(denied(&Verb::ALL));
    stage.fall();
    stage.pass(1_800);
    assert!(stage.steps.is_empty() && stage.app.verdict == Verdict::Crashed);
    assert_eq!((times(&stage, EventKind::RecoveryStarted), times(&stage, EventKind::ConditionBegan)), (0, 1));
    assert!(stage.app.refuses_recovery().is_some_and(|why| why.contains("polkit is masked")));
    stage.send(denied(&Verb::ALL));
    assert_eq!(times(&stage, EventKind::ConditionBegan), 1, "once, however often it is proven");
    stage.send(Event::Permission(None));
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start], "at once");
    stage.pass(60);
    assert_eq!((times(&stage, EventKind::ConditionEnded), stage.app.verdict), (1, Verdict::Healthy));
}

#[test]
fn what_is_refused_in_the_middle_is_tried_once_and_again_when_it_may() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.outcome = Outcome::Refused("polkit does not answer".into());
    stage.fall();
    stage.pass(1);
    stage.send(denied(&Verb::ALL));
    let tried = stage.steps.len();
    stage.pass(1_800);
    assert_eq!((stage.steps.len(), times(&stage, EventKind::RecoveryStarted)), (tried, 1));
    stage.outcome = Outcome::Done;
    stage.send(Event::Permission(None));
    assert_eq!(stage.steps.last(), Some(&Step::Start), "it waits for no clock");
    stage.pass(60);
    let policy = Policy::default();
    assert_eq!(stage.app.budget.left(stage.now, &policy), policy.max_attempts);
}

#[test]
fn what_the_plan_does_not_need_may_be_missing() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.send(denied(&[Verb::Restart, Verb::Ref]));
    stage.fall();
    stage.pass(5);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start]);
    assert!(stage.app.conditions.contains_key(&Condition::MayNotAct), "it is missing all the same");
    stage.pass(1_000);
    stage.steps.clear();
    stage.answer(|_| Observation::bad(Fault::WrongAnswer, "answers 500"));
    stage.pass(100);
    assert!(stage.steps.is_empty() && stage.app.verdict == Verdict::Erroring);
}

#[test]
fn proofs_that_are_belied_again_and_again_are_not_believed() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.outcome = Outcome::Refused("the bus says no".into());
    stage.fall();
    for _ in 0..1_800 {
        stage.pass(1);
        stage.send(Event::Permission(None));
    }
    let tried = times(&stage, EventKind::RecoveryStarted);
    assert!((3..40).contains(&tried), "{tried}");
    assert!(times(&stage, EventKind::ConditionBegan) < 6);
}

/// An app that is stopped to have its caches cleared.
fn stopped_for_caches(step: &'static str, outcome: Outcome) -> Stage {
    let policy = Policy { clear_caches: ClearCaches::Always, ..Policy::default() };
    let caches = vec![".next/cache".into()];
    let mut stage =
        Stage::new(Target { caches, working_directory: Some("/srv/web".into()), ..asked() }, policy);
    stage.but = Some((step, outcome));
    stage.answer(|_| Observation::bad(Fault::WrongAnswer, "answers 500"));
    while !stage.steps.iter().any(|done| done.word() == step) {
        stage.pass(1);
    }
    stage
}

#[test]
fn what_hinders_a_lesser_step_is_said_once_and_made_up_for() {
    let mut stage = stopped_for_caches("clear-caches", Outcome::Hindered("polkit does not answer".into()));
    stage.send(denied(&Verb::ALL));
    stage.pass(1_800);
    assert!(matches!(stage.steps[..], [Step::Stop { .. }, Step::ClearCaches]), "{:?}", stage.steps);
    for event in [EventKind::RecoveryStarted, EventKind::StepFailed, EventKind::ConditionBegan] {
        assert_eq!(times(&stage, event), 1, "{event:?}");
    }
    assert_eq!(stage.app.verdict, Verdict::Crashed, "nobody else wants it to be down");
    (stage.but, stage.answer) = (None, Box::new(WELL));
    stage.send(Event::Permission(None));
    assert!(stage.steps.ends_with(&[Step::ClearCaches, Step::Start]), "{:?}", stage.steps);
    stage.pass(60);
    assert_eq!(stage.app.budget.left(stage.now, &stage.app.policy), stage.app.policy.max_attempts);
}

/// Refused by a rule, a lesser step is one that did not work: the start is what matters.
#[test]
fn what_a_rule_forbids_of_lesser_steps_keeps_no_app_down() {
    let mut stage = stopped_for_caches("clear-caches", Outcome::Refused("no rule allows it".into()));
    stage.pass(1);
    assert!(stage.steps.contains(&Step::Start), "{:?}", stage.steps);
}

#[test]
fn a_start_of_which_nothing_is_heard_leaves_nobody_elses_stop_behind() {
    let mut stage = stopped_for_caches("start", Outcome::Unknown("no answer in time".into()));
    stage.but = None;
    stage.answer(WELL);
    stage.pass(60);
    assert!(!stage.verdicts().contains(&Verdict::StoppedByAdmin), "{:?}", stage.verdicts());
    assert_eq!(stage.app.verdict, Verdict::Healthy);
}
