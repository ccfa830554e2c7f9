//! Each fault is named right, acted on in time, and no more often than allowed.

use app_monitor::judge::{Event, EventKind, Policy, Request, Step};

use crate::world::{Answer, World, millis, seconds};

/// From the moment of the fault to the first act, for faults at every phase of the check interval.
fn worst(policy: &Policy, fault: impl Fn(&mut World)) -> std::time::Duration {
    let mut worst = std::time::Duration::ZERO;
    for phase in 0..40 {
        let mut world = World::new(policy.clone());
        world.run_for(seconds(60) + policy.check_interval * phase / 40);
        assert_eq!(world.verdict(), "healthy");
        let at = world.now;
        fault(&mut world);
        world.run_until(seconds(60), |world| !world.acts.is_empty()).expect("it acts");
        worst = worst.max(world.acts[0].0.since(at));
    }
    worst
}

fn quick() -> Policy {
    Policy { check_interval: seconds(5), timeout: seconds(4), ..Policy::default() }
}

#[test]
fn a_crash_is_acted_on_within_100_ms() {
    assert!(worst(&Policy::default(), World::crash) <= millis(100));
}

#[test]
fn a_freeze_is_acted_on_within_25_s_by_default() {
    let took = worst(&Policy::default(), |world| world.answer = Answer::Hang);
    assert!(took <= seconds(25), "{took:?}");
}

#[test]
fn a_freeze_is_acted_on_within_14_s_at_a_quick_pace() {
    let took = worst(&quick(), |world| world.answer = Answer::Hang);
    assert!(took <= seconds(14), "{took:?}");
}

#[test]
fn a_wrong_answer_is_acted_on_within_8_s_at_a_quick_pace() {
    let took = worst(&quick(), |world| world.answer = Answer::Wrong);
    assert!(took <= seconds(8), "{took:?}");
}

#[test]
fn what_went_unanswered_is_not_waited_for() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.answer = Answer::Hang;
    world.run_until(seconds(40), |world| !world.acts.is_empty()).expect("it acts");
    assert_eq!(world.verdict(), "frozen");
    assert_eq!(world.acts[0].1, Step::Restart { kill_after: seconds(5) });
    world.answer = Answer::Well(20);
    world.run_for(seconds(60));
    assert_eq!(world.verdict(), "healthy");
    assert_eq!(world.acts.len(), 1);
    assert_eq!((world.told(EventKind::RecoveryVerified), world.told(EventKind::IncidentClosed)), (1, 1));
}

#[test]
fn an_app_that_is_always_slow_is_not_suspected_at_every_round() {
    let mut world = World::new(Policy::default());
    world.answer = Answer::Well(2_000);
    world.run_for(seconds(3_600));
    assert_eq!(world.verdict(), "healthy");
    assert!(world.acts.is_empty());
    assert_eq!(world.told(EventKind::CheckFailed), 0);
}

#[test]
fn an_app_that_stays_broken_has_three_attempts_one_alert_and_slow_retries() {
    for dies in [true, false] {
        let mut world = World::new(Policy::default());
        world.run_for(seconds(30));
        world.dies = dies;
        world.broken = (!dies).then_some(Answer::Wrong);
        if dies {
            world.crash();
        }
        world.run_for(seconds(1_500));
        let starts = |world: &World| {
            world.acts.iter().filter(|(_, step)| matches!(step, Step::Start | Step::Restart { .. })).count()
        };
        assert_eq!(starts(&world), 3, "dies: {dies}");
        assert_eq!(world.alerts(EventKind::BreakerOpened), 1);
        assert_eq!(world.alerts(EventKind::IncidentOpened), 1);
        world.run_for(seconds(3 * 1_800));
        assert_eq!(starts(&world), 6, "one careful retry each half hour");
        assert_eq!(world.alerts(EventKind::BreakerOpened), 1, "told once");
        world.dies = false;
        world.broken = None;
        world.run_for(seconds(1_800 + 700));
        assert_eq!(world.verdict(), "healthy");
        assert_eq!(world.told(EventKind::BreakerClosed), 1);
        assert_eq!(world.alerts(EventKind::IncidentClosed), 1);
    }
}

#[test]
fn a_monitor_that_dies_in_the_middle_finishes_and_does_not_repeat() {
    for after in [0, 1, 3, 100, 2_000, 4_999, 5_003, 5_100, 9_000] {
        let mut world = World::new(Policy::default());
        world.run_for(seconds(30));
        world.answer = Answer::Hang;
        world.run_until(seconds(40), |world| !world.acts.is_empty()).expect("it acts");
        world.run_for(millis(after));
        world.boot_monitor();
        world.run_for(seconds(8));
        world.answer = Answer::Well(20);
        world.run_for(seconds(120));
        assert_eq!(world.verdict(), "healthy", "killed {after} ms into it");
        assert!(world.acts.len() <= 2, "killed {after} ms into it: {:?}", world.acts);
        assert_eq!(world.host.app(&world.name).unwrap().view(world.now).attempts_left, 3, "after {after} ms");
    }
}

#[test]
fn a_pause_holds_recoveries_back_and_ends_by_itself() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.send(Event::Asked(Request::Pause { length: seconds(300), reason: None, by: None }));
    world.crash();
    world.run_for(seconds(299));
    assert_eq!((world.verdict(), world.acts.len()), ("paused", 0));
    world.run_for(seconds(2));
    assert!(!world.acts.is_empty(), "recovered at once");
    world.run_for(seconds(60));
    assert_eq!(world.verdict(), "healthy");
}
