//! A recovery that another monitor began.

use super::super::effect::Event;
use super::super::memory::AppMemory;
use super::super::policy::Policy;
use super::super::target::Target;
use super::super::testing::up;
use super::super::unit::UnitReading;
use super::*;

const RESTART: Step = Step::Restart { kill_after: Duration::from_secs(5) };

/// An app whose recovery from its first invocation was under way when the last monitor ended.
fn taken_over(unit: UnitReading) -> (App, Vec<Effect>) {
    let intent = Intent {
        act: ActId(4),
        cause: Verdict::Frozen,
        text: "timed out".into(),
        steps: vec![RESTART],
        next: 0,
        began: Moment::from_micros(100),
        attempt: Some(1),
        before: up(1).invocation,
    };
    let memory = AppMemory { intent: Some(intent), ..AppMemory::default() };
    let target = Target {
        unit: "web.service".parse().unwrap(),
        port: None,
        address: crate::judge::Address::Localhost,
        http: None,
        min_processes: 0,
        process: None,
        working_directory: None,
    };
    let now = Moment::from_micros(2_000_000);
    let mut app = App::new("web".parse().unwrap(), Policy::default(), target, memory, now);
    let effects = app.handle(now, Event::Unit(Box::new(unit)));
    (app, effects)
}

fn performed(effects: &[Effect]) -> Vec<Step> {
    let step = |effect: &Effect| if let Effect::Perform(_, step) = effect { Some(*step) } else { None };
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
