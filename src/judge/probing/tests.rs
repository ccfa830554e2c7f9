//! Rounds in the middle of something: a recovery, a suspicion, an end.

use super::super::effect::{ActId, Event};
use super::super::memory::AppMemory;
use super::super::plan::Step;
use super::super::policy::Policy;
use super::super::recovery::Intent;
use super::super::target::{Address, Target};
use super::super::testing::{down, http, up};
use super::super::unit::{JobId, JobResult, UnitReading};
use super::super::verdict::Condition;
use super::*;

/// Somebody starts what was idle: while the job is pending, and until its fruit was read, nobody
/// says that it is idle again.
#[test]
fn the_end_of_a_foreign_job_is_judged_by_what_it_made_of_the_unit() {
    let mut app = app(None);
    let idle = UnitReading { socket_listening: true, ..down(1) };
    let _ = app.handle(at(50), Event::Unit(Box::new(up(1))));
    let _ = app.handle(at(100), Event::Unit(Box::new(idle.clone())));
    let _ = app.handle(at(200), Event::Unit(Box::new(idle)));
    assert_eq!(app.verdict, Verdict::Idle);
    let _ = app.handle(at(1_000), Event::JobNew(JobId(9)));
    assert_eq!(app.verdict, Verdict::Changing);
    let _ = app.handle(at(1_005), Event::JobRemoved(JobId(9), JobResult::Done));
    assert_eq!(app.verdict, Verdict::Changing);
    let _ = app.handle(at(1_010), Event::Unit(Box::new(up(2))));
    assert_eq!(app.verdict, Verdict::Changing, "asked for before the job's end");
    let _ = app.handle(at(1_015), Event::Unit(Box::new(up(2))));
    assert_eq!(app.verdict, Verdict::Starting);
}

fn at(millis: i64) -> Moment {
    Moment::from_micros(millis * 1_000)
}

fn target() -> Target {
    let http = http("http://localhost:3000/health");
    Target {
        port: Some(3000),
        address: Address::Localhost,
        http: Some(http),
        min_processes: 1,
        process: None,
        ..Target::of_unit("web.service".parse().unwrap())
    }
}

/// An app whose checks were all good once.
fn app(intent: Option<Intent>) -> App {
    let ever_good = target().kinds().iter().map(|kind| target().signature(*kind)).collect();
    let memory = AppMemory { ever_good, intent, ..AppMemory::default() };
    App::new("web".parse().unwrap(), Policy::default(), target(), memory, at(0))
}

fn checks(effects: &[Effect]) -> Vec<(RoundId, Vec<CheckKind>)> {
    let of = |effect: &Effect| match effect {
        Effect::Check(round, kinds) => Some((*round, kinds.clone())),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

/// Answers every check of the round that was just begun.
fn answer(app: &mut App, now: Moment, effects: &[Effect], fault: Option<Fault>) -> Vec<Effect> {
    let mut all = Vec::new();
    for (round, kinds) in checks(effects) {
        for kind in kinds {
            let seen = match (kind, fault) {
                (CheckKind::Port, Some(Fault::Refused)) => Observation::bad(Fault::NotListening, "nobody"),
                (CheckKind::Http, Some(fault)) => Observation::bad(fault, "bad"),
                _ => Observation::good("good"),
            };
            all.extend(app.handle(now, Event::Check(round, kind, seen)));
        }
    }
    all
}

#[test]
fn what_a_start_of_ours_fails_before_its_job_ends_is_forgiven() {
    let mut app = app(Some(Intent {
        act: ActId(4),
        cause: Verdict::Frozen,
        text: "timed out".into(),
        steps: vec![Step::Restart { kill_after: Duration::from_secs(5) }],
        next: 0,
        began: at(0),
        attempt: Some(1),
        memory: false,
        before: up(1).invocation,
        run: None,
    }));
    let began = at(1_000);
    let started =
        UnitReading { job: Some(JobId(7)), inactive_exit: Some(began), active_enter: None, ..up(2) };
    let effects = app.handle(at(1_010), Event::Unit(Box::new(started)));
    assert_eq!(app.verdict, Verdict::Frozen, "the cause, until the recovery has landed");
    assert_eq!(checks(&effects).len(), 1);
    let _ = answer(&mut app, at(1_020), &effects, Some(Fault::Refused));
    assert_eq!(app.history.bad_in_a_row(), 0);
}

#[test]
fn a_closed_port_is_no_oddity_of_an_app_that_answers() {
    let mut app = app(None);
    let effects = app.handle(at(100_000), Event::Unit(Box::new(up(1))));
    let _ = answer(&mut app, at(100_010), &effects, None);
    assert_eq!(app.verdict, Verdict::Healthy);
    let effects = app.handle(at(111_000), Event::Tick);
    let _ = answer(&mut app, at(111_010), &effects, Some(Fault::Refused));
    assert_eq!(app.verdict, Verdict::Healthy, "suspected, not confirmed");
    assert!(!app.conditions.contains_key(&Condition::PortForeign));
}

#[test]
fn what_an_early_round_says_late_is_older_than_what_is_known() {
    let mut app = app(None);
    let effects = app.handle(at(100_000), Event::Unit(Box::new(up(1))));
    let _ = answer(&mut app, at(100_010), &effects, None);
    let early = app.handle(at(111_000), Event::Tick);
    // It is suspected by its silence.
    let effects = app.handle(at(112_100), Event::Tick);
    assert_eq!(checks(&effects).len(), 1);
    let _ = answer(&mut app, at(112_110), &effects, None);
    let mut over = app.clone();
    let _ = answer(&mut app, at(121_000), &early, Some(Fault::Unanswered));
    assert_eq!(app.latest[&CheckKind::Http].finding, Finding::Good);
    assert!(!app.last_unanswered);
    // It began while memory was short, and that is over.
    let state = super::super::noting::ConditionState {
        since: at(100_000),
        text: String::new(),
        told: at(100_000),
        alerted: true,
        silenced: false,
        about: None,
    };
    over.conditions.insert(Condition::HostMemory, state);
    let _ = over.hold(at(120_000), Vec::new(), |_| false);
    let _ = answer(&mut over, at(121_000), &early, Some(Fault::Unanswered));
    assert_eq!(over.history.bad_in_a_row(), 0);
}

#[test]
fn the_port_of_an_app_that_went_down_is_looked_at_at_once() {
    let mut app = app(None);
    let effects = app.handle(at(100_000), Event::Unit(Box::new(up(1))));
    let _ = answer(&mut app, at(100_010), &effects, None);
    let effects = app.handle(at(100_500), Event::Unit(Box::new(down(1))));
    assert_eq!(checks(&effects), [(RoundId(2), vec![CheckKind::Port])]);

    let idle = UnitReading { socket_listening: true, ..down(1) };
    let mut other = self::app(None);
    let effects = other.handle(at(100_000), Event::Unit(Box::new(up(1))));
    let _ = answer(&mut other, at(100_010), &effects, None);
    let effects = other.handle(at(100_500), Event::Unit(Box::new(idle)));
    assert_eq!(checks(&effects), [], "its socket holds it");
}

/// Whatever their pace, errands go out with a round: it wakes the host once.
#[test]
fn an_errand_rides_with_the_nearest_round() {
    let target = Target { min_disk: 1 << 20, ..target() };
    let ever_good = target.round().chain(target.errands()).map(|kind| target.signature(kind)).collect();
    let memory = AppMemory { ever_good, ..AppMemory::default() };
    let policy = Policy { check_interval: Duration::from_secs(7), ..Policy::default() };
    let mut app = App::new("web".parse().unwrap(), policy, target, memory, at(0));
    let (mut rounds, mut errands) = (Vec::new(), Vec::new());
    let mut now = at(50);
    while now < at(400_000) {
        let mut effects = app.handle(now, Event::Tick);
        if effects.contains(&Effect::ReadUnit) {
            effects.extend(app.handle(now, Event::Unit(Box::new(up(1)))));
        }
        for (_, kinds) in checks(&effects) {
            if kinds == [CheckKind::Disk] { &mut errands } else { &mut rounds }.push(now);
        }
        let _ = answer(&mut app, now, &effects, None);
        now = app.next_wake().max(now + Duration::from_millis(2));
    }
    assert!((10..=15).contains(&errands.len()), "{errands:?}");
    let alone = errands.iter().skip(1).filter(|at| !rounds.contains(at)).count();
    assert_eq!(alone, 0, "{errands:?} {rounds:?}");
}
