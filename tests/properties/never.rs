//! What it never does, whatever happens in whatever order.

use std::time::Duration;

use app_monitor::judge::{ActiveState, Dependency, Event, EventKind, Level, Moment, Policy, Request, Step};
use proptest::prelude::*;

use crate::world::{Answer, World, cases, millis, seconds};

#[test]
fn never_on_unknown_alone() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.answer = Answer::Blind;
    world.run_for(seconds(290));
    assert_eq!(world.conditions(), [""; 0]);
    world.run_for(seconds(7_200));
    assert!(world.acts.is_empty());
    assert_eq!((world.verdict(), world.conditions()), ("unknown", vec!["blind".to_owned()]));
    assert_eq!(world.alerts(EventKind::ConditionBegan), 1);
    world.answer = Answer::Well(3);
    world.run_for(seconds(60));
    assert_eq!((world.verdict(), world.conditions()), ("healthy", vec![]));
    assert_eq!(world.alerts(EventKind::ConditionEnded), 1);
}

#[test]
fn never_for_a_check_that_was_never_good() {
    let mut world = World::new(Policy::default());
    world.answer = Answer::Wrong;
    world.forget_good();
    world.run_for(seconds(7_200));
    assert!(world.acts.is_empty(), "{:?}", world.acts);
    assert!(world.conditions().contains(&"never-healthy".to_owned()));
    assert_eq!(world.alerts(EventKind::ConditionBegan), 1);
    // A crash is recovered all the same, and its verification does not fail for the check.
    world.crash();
    world.run_for(seconds(120));
    assert_eq!(world.told(EventKind::RecoveryFailed), 0);
    assert_eq!(world.told(EventKind::RecoveryVerified), 1);
}

/// What bad luck found once: a stop in the middle of a crash, and a monitor that ends twice.
#[test]
fn never_what_somebody_stopped_while_it_fell_and_the_monitor_with_it() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.crash();
    world.run_for(millis(40));
    world.admin_stop();
    world.run_for(millis(10));
    let stopped = world.now;
    world.crash();
    world.run_for(millis(1));
    world.boot_monitor();
    world.run_for(millis(1));
    world.boot_monitor();
    world.run_for(millis(59_998));
    for _ in 0..3 {
        world.crash();
        world.run_for(millis(1));
    }
    world.run_for(seconds(60));
    let later = world.acts.iter().filter(|(at, _)| at.since(stopped) > seconds(6));
    assert_eq!(later.count(), 0, "{:?}", world.acts);
}

/// What bad luck found once: an app that dies at every start, a monitor that ends meanwhile, and a stop of
/// what is down already.
#[test]
fn never_what_somebody_stopped_between_two_starts_that_fail() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.crash();
    world.run_for(millis(50));
    world.dies = true;
    world.run_for(millis(70_984));
    world.crash();
    world.run_for(millis(54_631));
    world.boot_monitor();
    world.run_for(millis(65_460));
    world.admin_stop();
    let stopped = world.now;
    world.run_for(seconds(2000));
    let later = world.acts.iter().filter(|(at, _)| at.since(stopped) > seconds(6));
    assert_eq!(later.count(), 0, "{:?}", world.acts);
}

#[test]
fn never_what_somebody_stopped() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.admin_stop();
    world.run_for(seconds(3_600));
    assert_eq!((world.verdict(), world.acts.len()), ("stopped-by-admin", 0));
    world.boot_monitor();
    world.run_for(seconds(3_600));
    assert_eq!((world.verdict(), world.acts.len()), ("stopped-by-admin", 0));
    world.admin_start();
    world.run_for(seconds(60));
    assert_eq!(world.verdict(), "healthy");
}

#[test]
fn never_counts_a_deploy() {
    let mut world = World::new(Policy::default());
    world.start_takes = seconds(5);
    world.run_for(seconds(30));
    for _ in 0..20 {
        world.admin_restart();
        world.run_for(seconds(20));
    }
    assert!(world.acts.is_empty());
    assert_eq!(world.told(EventKind::IncidentOpened), 0);
}

#[test]
fn never_while_it_only_watches() {
    let mut world = World::new(Policy { mode: app_monitor::judge::Mode::Watch, ..Policy::default() });
    world.run_for(seconds(30));
    world.answer = Answer::Hang;
    world.run_for(seconds(3_600));
    assert_eq!((world.verdict(), world.acts.len()), ("frozen", 0));
    assert_eq!(world.told(EventKind::RecoveryStarted), 1, "it says once what it would have done");
}

#[test]
fn a_gap_voids_the_round() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    for _ in 0..50 {
        world.send(Event::Gap(seconds(3_600)));
        world.run_for(millis(700));
    }
    assert!(world.acts.is_empty());
}

#[test]
fn steady_health_tells_and_writes_nothing() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    let (told, kept) = (world.records.len(), world.persisted.clone());
    world.run_for(seconds(86_400));
    assert_eq!(world.records.len(), told);
    assert_eq!(world.persisted, kept);
}

#[test]
fn never_while_it_answers_though_more_answers_are_awaited() {
    let mut world = World::new(Policy { successes: 5, max_attempts: 1, ..Policy::default() });
    world.run_for(seconds(30));
    world.broken = Some(Answer::Wrong);
    world.answer = Answer::Wrong;
    world.run_for(seconds(1_740));
    assert_eq!(world.acts.len(), 1);
    // The careful retry falls due while some answers are good, but not enough in a row yet.
    for _ in 0..40 {
        let acts = world.acts.len();
        world.broken = None;
        world.answer = Answer::Well(20);
        world.run_for(seconds(11));
        world.broken = Some(Answer::Wrong);
        world.answer = Answer::Wrong;
        let good = world.now;
        world.run_for(seconds(9));
        let late = world.acts[acts..].iter().all(|(at, _)| *at >= good);
        assert!(late, "restarted while it answered");
    }
}

#[test]
fn never_later_what_a_person_asked_for_now() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.send(Event::UnitUnreadable("the bus is away".into()));
    let (now, name) = (world.now, world.name.clone());
    assert!(world.host.ask(now, &name, Request::Recover { by: None }).is_err());
    world.send(Event::Asked(Request::Recover { by: None }));
    world.run_for(seconds(600));
    assert!(world.acts.is_empty(), "{:?}", world.acts);
}

#[test]
fn never_again_and_again_because_a_dependency_is_back() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    let mut database = Dependency {
        unit: "db.service".parse().unwrap(),
        active: ActiveState::Active,
        job: false,
        needed: true,
        left: None,
    };
    world.unit.dependencies = vec![database.clone()];
    world.changed();
    world.run_for(seconds(1));
    database.active = ActiveState::Inactive;
    world.unit.dependencies = vec![database.clone()];
    world.admin_stop();
    world.run_for(seconds(60));
    assert_eq!((world.verdict(), world.acts.len()), ("stopped-with-dependency", 0));
    // It comes back, but a condition of the app's own unit is not met: each start is `done`.
    database.active = ActiveState::Active;
    world.unit.dependencies = vec![database];
    world.condition_fails = true;
    world.changed();
    world.run_for(seconds(3_600));
    assert!((1..10).contains(&world.acts.len()), "{} starts", world.acts.len());
    world.condition_fails = false;
    world.run_for(seconds(3_600));
    assert_eq!(world.verdict(), "healthy");
}

#[test]
fn a_pause_in_the_middle_of_a_verification_fails_nothing() {
    let mut world = World::new(Policy::default());
    world.start_takes = seconds(5);
    world.run_for(seconds(30));
    world.crash();
    world.run_for(seconds(2));
    assert_eq!(world.acts.len(), 2);
    world.send(Event::Asked(Request::Pause { length: seconds(3_600), reason: None, by: None }));
    world.run_for(seconds(3_700));
    assert_eq!((world.told(EventKind::RecoveryFailed), world.told(EventKind::RecoveryVerified)), (0, 1));
}

#[test]
fn a_reading_that_is_lost_is_asked_for_again_without_haste() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    world.lose_readings = 1;
    world.changed();
    let turns = world.turns;
    world.run_for(seconds(50));
    assert!(world.turns - turns < 200, "{} turns", world.turns - turns);
}

/// What can happen to the app and its monitor.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Crash,
    Answer(Answer),
    AdminStop,
    AdminStart,
    AdminRestart,
    KillMonitor,
    LostSignals,
    Gap,
    Pause,
    Broken(bool),
    Dies(bool),
    SlowStart(u64),
}

fn luck() -> impl Strategy<Value = Luck> {
    let answer = prop_oneof![
        Just(Answer::Well(20)),
        Just(Answer::Well(3_000)),
        Just(Answer::Hang),
        Just(Answer::Wrong),
        Just(Answer::Refused),
        Just(Answer::Blind)
    ];
    prop_oneof![
        Just(Luck::Crash),
        answer.prop_map(Luck::Answer),
        Just(Luck::AdminStop),
        Just(Luck::AdminStart),
        Just(Luck::AdminRestart),
        Just(Luck::KillMonitor),
        Just(Luck::LostSignals),
        Just(Luck::Gap),
        Just(Luck::Pause),
        any::<bool>().prop_map(Luck::Broken),
        any::<bool>().prop_map(Luck::Dies),
        (0_u64..60_000).prop_map(Luck::SlowStart),
    ]
}

fn is_recovery(step: &Step) -> bool {
    matches!(step, Step::Start | Step::Restart { .. })
}

proptest! {
    #![proptest_config(cases(200))]

    /// Bad luck of all kinds at any time: the budget holds, what an administrator stopped stays
    /// down, no recovery begins while paused, and once all is mended the app gets healthy.
    #[test]
    fn bad_luck(script in prop::collection::vec((luck(), 1_u64..400_000), 1..40)) {
        let policy = Policy::default();
        let mut world = World::new(policy.clone());
        world.run_for(seconds(30));
        let mut stopped = false;
        let mut paused_until = Moment::default();
        let mut checked = 0;
        for (luck, pause) in script {
            match luck {
                Luck::Crash => world.crash(),
                Luck::Answer(answer) => world.answer = answer,
                Luck::AdminStop => { world.admin_stop(); stopped = true; }
                Luck::AdminStart => { world.admin_start(); stopped = false; }
                Luck::AdminRestart => { world.admin_restart(); stopped = false; }
                Luck::KillMonitor => world.boot_monitor(),
                Luck::LostSignals => world.send(Event::SignalsLost),
                Luck::Gap => world.send(Event::Gap(seconds(100))),
                Luck::Pause => {
                    world.send(Event::Asked(Request::Pause { length: seconds(60), reason: None, by: None }));
                    paused_until = world.now + seconds(60);
                }
                Luck::Broken(broken) => world.broken = broken.then_some(Answer::Wrong),
                Luck::Dies(dies) => world.dies = dies,
                Luck::SlowStart(length) => world.start_takes = millis(length),
            }
            let before = world.now;
            world.run_for(millis(pause));
            for (at, step) in &world.acts[checked..] {
                // A stop that lands while a recovery is under way cancels it within moments.
                let just_now = at.since(before) < seconds(6);
                prop_assert!(!stopped || just_now, "{step} at {at:?} although an administrator stopped it");
                prop_assert!(*at >= paused_until || just_now, "{step} at {at:?} while paused");
            }
            checked = world.acts.len();
        }
        let recoveries: Vec<Moment> =
            world.acts.iter().filter(|(_, step)| is_recovery(step)).map(|(at, _)| *at).collect();
        for (i, at) in recoveries.iter().enumerate() {
            let within = recoveries[i..].iter().take_while(|other| other.since(*at) < Duration::from_secs(3_600));
            // Ten verified ones, three attempts, the half-open retries, and those that are uncounted.
            prop_assert!(within.count() <= 10 + 3 + 3, "too many recoveries in an hour: {recoveries:?}");
        }
        if !stopped {
            world.answer = Answer::Well(20);
            world.broken = None;
            world.dies = false;
            world.start_takes = millis(200);
            world.run_for(seconds(4_000));
            prop_assert_eq!(world.verdict(), "healthy");
        }
    }
}

/// Somebody deploys again and again within a minute: each time it is told what became of it.
#[test]
fn never_silent_about_what_somebody_does() {
    let mut world = World::new(Policy::default());
    world.run_for(seconds(30));
    for _ in 0..6 {
        let before = world.records.len();
        world.admin_stop();
        world.run_for(seconds(1));
        world.admin_start();
        world.run_for(seconds(8));
        assert_eq!(world.verdict(), "healthy");
        let told: Vec<&str> = world.records[before..]
            .iter()
            .filter(|(_, record)| record.level != Level::Debug)
            .map(|(_, record)| record.verdict.word())
            .collect();
        assert!(told.contains(&"stopped-by-admin") && told.last() == Some(&"healthy"), "{told:?}");
    }
}
