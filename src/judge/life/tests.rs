//! Runs that end in every way, live and read afterwards.

use super::super::testing::{down, up};
use super::super::time::Moment;
use super::super::unit::Dependency;
use super::*;

fn at(micros: i64) -> Option<Moment> {
    Some(Moment::from_micros(micros))
}

/// A unit that ran as invocation 1 and is down; `left` and `exited` are its timestamps.
fn ended(left: i64, exited: i64) -> UnitReading {
    UnitReading { active_exit: at(left), main_exit: at(exited), ..down(1) }
}

#[test]
fn an_end_of_which_nothing_was_told_is_read_from_its_timestamps() {
    for (unit, ending) in [(ended(19, 20), Ending::Stopped), (ended(20, 19), Ending::ByItself)] {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        assert_eq!(life.read(&unit, false, true), Some(Change::Ended(ending)));
    }
    // An app that says STOPPING=1 by itself leaves `active` before it ends; that nobody asked is told.
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.told();
    assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn the_end_of_a_job_is_enough_and_counts_once() {
    let mut life = Life::default();
    let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
    let fallen = needs(ActiveState::Inactive, ended(19, 20));
    life.job_removed(JobId(7), JobResult::Done);
    let with = Ending::StoppedWith("db.service".parse().unwrap());
    assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(with.clone())));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&fallen, false, true), None, "the same job again");
    assert_eq!(life.ending(), Some(&with));
}

#[test]
fn a_unit_that_needs_no_process_is_stopped_by_whoever_stops_it() {
    let stopped = ended(9_000_000, 20);
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
    // Nobody heard of it.
    let mut life = Life::restore(LifeMemory { last_up: up(1).invocation, ..LifeMemory::default() });
    assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn down_without_a_job_nobody_asked() {
    let mut life = Life::default();
    assert_eq!(life.read(&up(1), false, true), Some(Change::Started(Starter::BeforeUs)));
    life.told();
    assert_eq!(life.read(&ended(20, 19), false, false), None, "not settled yet");
    assert_eq!(life.read(&ended(20, 19), false, true), Some(Change::Ended(Ending::ByItself)));
    assert_eq!(life.read(&ended(20, 19), false, true), None, "told once");
}

#[test]
fn down_under_a_foreign_job_is_a_stop() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_foreign_restart_is_one_job_and_a_new_invocation() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    let between = UnitReading { job: Some(JobId(7)), ..ended(19, 20) };
    assert_eq!(life.read(&between, false, true), None, "never judged at the inactive in between");
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&up(2), false, true), Some(Change::Started(Starter::Somebody)));
}

#[test]
fn a_watchdog_kill_is_no_stop_though_its_timestamps_look_like_one() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    let killed = UnitReading { result: "watchdog".into(), ..ended(19, 20) };
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::ByItself)));
    let mut away = Life::restore(life.memory().clone());
    away.memory.end = None;
    assert_eq!(away.read(&killed, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_restart_that_ran_into_the_start_limit_while_we_were_away_is_no_stop() {
    let refused =
        UnitReading { active: ActiveState::Failed, result: "start-limit-hit".into(), ..ended(19, 20) };
    let mut life = Life::restore(LifeMemory { last_up: refused.invocation, ..LifeMemory::default() });
    assert_eq!(life.read(&refused, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn while_we_were_away_the_timestamps_tell() {
    for (unit, ending) in [
        (ended(19, 20), Ending::Stopped),
        (UnitReading { active: ActiveState::Failed, ..ended(19, 20) }, Ending::Stopped),
        (ended(20, 20), Ending::ByItself),
        (UnitReading { active: ActiveState::Failed, ..ended(20, 19) }, Ending::ByItself),
    ] {
        let mut life = Life::restore(LifeMemory { last_up: unit.invocation, ..LifeMemory::default() });
        assert_eq!(life.read(&unit, false, true), Some(Change::Ended(ending)));
    }
}

#[test]
fn a_unit_that_systemd_forgot_was_stopped() {
    let gone = UnitReading { invocation: None, inactive_exit: None, active_exit: None, ..down(1) };
    let mut life = Life::restore(LifeMemory { last_up: up(1).invocation, ..LifeMemory::default() });
    assert_eq!(life.read(&gone, false, true), Some(Change::Ended(Ending::Unloaded)));
    let mut fresh = Life::default();
    assert_eq!(fresh.read(&gone, false, true), None, "never ran in this boot");
}

/// The auto-restart state began at 21, after the crash.
fn healing() -> UnitReading {
    let healing = UnitReading { inactive_exit: at(21), ..ended(20, 19) };
    UnitReading { active: ActiveState::Activating, sub: "auto-restart".into(), ..healing }
}

#[test]
fn a_stop_during_the_pause_before_an_automatic_restart_is_a_stop() {
    let stopped = UnitReading { inactive_exit: at(21), result: "exit-code".into(), ..ended(20, 19) };
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    assert_eq!(life.read(&healing(), false, true), None);
    life.job_new(JobId(9));
    life.job_removed(JobId(9), JobResult::Done);
    assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
    let mut away = Life::restore(LifeMemory { last_up: stopped.invocation, ..LifeMemory::default() });
    assert_eq!(away.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_stop_at_the_moment_of_an_automatic_restart_is_a_stop() {
    // It was on its way up again, so that ActiveExitTimestamp is still that of the crash.
    let began = |unit| UnitReading { inactive_exit: at(21), invocation: up(2).invocation, ..unit };
    let going =
        UnitReading { active: ActiveState::Deactivating, job: Some(JobId(10)), ..began(ended(20, 19)) };
    let stopped = began(ended(20, 30));
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    assert_eq!(life.read(&healing(), false, true), None);
    life.job_new(JobId(9));
    life.job_removed(JobId(9), JobResult::Canceled);
    life.job_new(JobId(10));
    assert_eq!(life.read(&going, false, true), None);
    assert_eq!(life.foreign_job(), Some(JobId(10)));
    life.job_removed(JobId(10), JobResult::Done);
    assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn an_automatic_restart_that_is_refused_is_no_stop() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    assert_eq!(life.read(&healing(), false, true), None);
    life.job_new(JobId(9));
    life.job_removed(JobId(9), JobResult::Failed);
    let refused = UnitReading { active: ActiveState::Failed, result: "start-limit-hit".into(), ..healing() };
    let refused = UnitReading { sub: "failed".into(), ..refused };
    assert_eq!(life.read(&refused, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_reading_may_overtake_the_end_of_the_job() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    assert_eq!(life.read(&ended(19, 20), false, false), None);
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn what_it_ran_without_did_not_take_it_down() {
    let db = |active| Dependency {
        unit: "db.service".parse().unwrap(),
        active,
        job: false,
        needed: true,
        left: None,
    };
    let with = |unit, active| UnitReading { dependencies: vec![db(active)], ..unit };
    for (before, expected) in [
        (ActiveState::Active, Ending::StoppedWith("db.service".parse().unwrap())),
        (ActiveState::Failed, Ending::Stopped),
    ] {
        let mut life = Life::default();
        let _ = life.read(&with(up(1), before), false, true);
        life.job_new(JobId(7));
        life.job_removed(JobId(7), JobResult::Done);
        let down = with(ended(19, 20), ActiveState::Failed);
        assert_eq!(life.read(&down, false, true), Some(Change::Ended(expected)));
    }
}

#[test]
fn a_reload_explains_no_later_crash() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    let _ = life.read(&up(1), false, true);
    assert_eq!(life.read(&ended(20, 19), false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn ours_is_known_whichever_comes_first() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.ours(JobId(7));
    assert_eq!(life.foreign_job(), None);
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::ByItself)));
}

fn needs(active: ActiveState, unit: UnitReading) -> UnitReading {
    let database =
        Dependency { unit: "db.service".parse().unwrap(), active, job: false, needed: true, left: None };
    UnitReading { dependencies: vec![database], ..unit }
}

#[test]
fn a_stop_of_what_went_down_with_another_is_a_stop() {
    let mut life = Life::default();
    let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
    let fallen = needs(ActiveState::Inactive, ended(19, 20));
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    let with = Ending::StoppedWith("db.service".parse().unwrap());
    assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(with)));
    life.job_new(JobId(8));
    life.job_removed(JobId(8), JobResult::Done);
    assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_known_stop_stays_known_when_systemd_forgets_the_unit() {
    let end = Some((up(1).invocation, Ending::StoppedWith("db.service".parse().unwrap())));
    let mut life =
        Life::restore(LifeMemory { last_up: up(1).invocation, end: end.clone(), ..LifeMemory::default() });
    let gone = UnitReading { invocation: None, inactive_exit: None, active_exit: None, ..down(1) };
    assert_eq!(life.read(&gone, false, true), None);
    assert_eq!(life.ending(), end.as_ref().map(|(_, ending)| ending));
}

fn needs_that_left(active: ActiveState, left: i64, unit: UnitReading) -> UnitReading {
    let mut unit = needs(active, unit);
    unit.dependencies[0].left = at(left);
    unit
}

/// Down since 40,020 µs, by a job of somebody since 40,000.
fn stopped() -> UnitReading {
    UnitReading { inactive_enter: at(40_020), ..ended(40_000, 40_010) }
}

#[test]
fn what_it_needs_took_it_down_if_both_went_together_and_may_be_up_again() {
    let with = || Ending::StoppedWith("db.service".parse().unwrap());
    for (active, left, ending) in [
        (ActiveState::Inactive, 40_000, with()),
        (ActiveState::Active, 40_000, with()),
        // After=: it went once ours was down.
        (ActiveState::Active, 40_900, with()),
        // It was stopped by another call, later or before.
        (ActiveState::Inactive, 70_000, Ending::Stopped),
        (ActiveState::Active, -60_000, Ending::Stopped),
    ] {
        let mut away = Life::restore(LifeMemory { last_up: up(1).invocation, ..LifeMemory::default() });
        let fallen = needs_that_left(active, left, stopped());
        assert_eq!(away.read(&fallen, false, true), Some(Change::Ended(ending)), "{active:?} {left}");
    }
}

/// A host under load needs long from the one to the other, and none of it was seen.
#[test]
fn what_was_to_go_already_when_somebodys_job_came_took_it_down() {
    let with = Ending::StoppedWith("db.service".parse().unwrap());
    let db = || -> UnitName { "db.service".parse().unwrap() };
    type Told = fn(&mut Life, UnitName);
    let cases: [(Told, i64, Ending); 5] = [
        (|life, db| life.job_beside(db, JobId(6)), 70_000, with.clone()),
        // Its own stop came first, as two calls do it.
        (|_, _| (), 70_000, Ending::Stopped),
        // That job was over by then,
        (
            |life, db| {
                life.job_beside(db, JobId(6));
                life.job_beside_removed(JobId(6));
            },
            70_000,
            Ending::Stopped,
        ),
        // or it was a reload, or a start: what it was on stayed up.
        (|life, db| life.job_beside(db, JobId(6)), -90_000, Ending::Stopped),
        // Signals may be missing since.
        (
            |life, db| {
                life.job_beside(db, JobId(6));
                life.lost();
            },
            70_000,
            Ending::Stopped,
        ),
    ];
    for (number, (told, left, ending)) in cases.into_iter().enumerate() {
        let mut life = Life::default();
        let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
        told(&mut life, db());
        life.job_new(JobId(7));
        // Told of while the unit's own job is pending already: another transaction.
        life.job_beside(db(), JobId(8));
        life.job_removed(JobId(7), JobResult::Done);
        let fallen = needs_that_left(ActiveState::Inactive, left, stopped());
        assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(ending)), "case {number}");
    }
    // What a reload found explains no later stop.
    let mut life = Life::default();
    let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
    life.job_beside(db(), JobId(6));
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
    life.job_beside_removed(JobId(6));
    life.told();
    let terminated = UnitReading { exit: Some(Exit::Signal(15)), ..stopped() };
    let fallen = needs_that_left(ActiveState::Inactive, 70_000, terminated);
    assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn what_never_was_up_took_nothing_down_while_nobody_looked() {
    let without = needs(ActiveState::Inactive, stopped());
    let mut away = Life::restore(LifeMemory { last_up: up(1).invocation, ..LifeMemory::default() });
    assert_eq!(away.read(&without, false, true), Some(Change::Ended(Ending::Stopped)));

    // The same for one that is found on its way down.
    let mut back = Life::restore(LifeMemory { last_up: up(1).invocation, ..LifeMemory::default() });
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
    let _ = back.read(&needs(ActiveState::Inactive, going), false, true);
    back.job_removed(JobId(7), JobResult::Done);
    let fallen = needs(ActiveState::Active, stopped());
    assert_eq!(back.read(&fallen, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn what_was_seen_while_it_went_down_says_more_than_timestamps() {
    for (seen, ending) in [
        (ActiveState::Deactivating, Ending::StoppedWith("db.service".parse().unwrap())),
        (ActiveState::Active, Ending::Stopped),
    ] {
        let mut life = Life::default();
        let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
        life.job_new(JobId(7));
        let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
        let _ = life.read(&needs(seen, going.clone()), false, true);
        // Another look under the same job changes nothing.
        let _ = life.read(&needs(ActiveState::Deactivating, going), false, true);
        life.job_removed(JobId(7), JobResult::Done);
        let fallen = needs_that_left(ActiveState::Active, 40_000, stopped());
        assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(ending)));
    }
}

#[test]
fn what_went_down_together_is_known_over_a_reload() {
    let mut life = Life::default();
    let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
    life.job_new(JobId(7));
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
    let _ = life.read(&needs(ActiveState::Deactivating, going.clone()), false, true);
    let mut anew = Life::restore(life.memory().clone());
    anew.goes_on(life);
    // What it needs was started and stopped once more meanwhile.
    let _ = anew.read(&needs_that_left(ActiveState::Active, 30_000_000, going), false, true);
    anew.job_removed(JobId(7), JobResult::Done);
    let fallen = needs_that_left(ActiveState::Active, 30_000_000, stopped());
    let with = Ending::StoppedWith("db.service".parse().unwrap());
    assert_eq!(anew.read(&fallen, false, true), Some(Change::Ended(with)));
}

/// A look takes its time, and what it needs is read last: gone by then, after an app that took long to stop.
#[test]
fn what_began_to_go_while_it_was_looked_at_took_it_down() {
    let mut life = Life::default();
    let _ = life.read(&needs(ActiveState::Active, up(1)), false, true);
    life.job_new(JobId(7));
    let began = UnitReading { active_exit: at(20_000), ..up(1) };
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..began };
    let _ = life.read(&needs_that_left(ActiveState::Inactive, 40_400, going), false, true);
    life.job_removed(JobId(7), JobResult::Done);
    let ended = UnitReading { active_exit: at(20_000), ..stopped() };
    let fallen = needs_that_left(ActiveState::Inactive, 40_400, ended);
    let with = Ending::StoppedWith("db.service".parse().unwrap());
    assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(with)));
}

/// Stopped while it was starting: it never was up.
fn stopped_while_starting() -> UnitReading {
    let began = UnitReading { inactive_exit: at(50), active_enter: at(10), ..ended(40, 60) };
    UnitReading { exit: Some(Exit::Signal(15)), ..began }
}

#[test]
fn a_stop_before_it_was_ready_is_a_stop_whoever_watched() {
    let unit = stopped_while_starting();
    let mut away = Life::restore(LifeMemory { last_up: unit.invocation, ..LifeMemory::default() });
    assert_eq!(away.read(&unit, false, true), Some(Change::Ended(Ending::Stopped)));
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.told();
    assert_eq!(life.read(&unit, false, true), Some(Change::Ended(Ending::Stopped)));
    // A start that fails ends in `failed`.
    let failed = UnitReading { active: ActiveState::Failed, result: "exit-code".into(), ..unit };
    let mut life = Life::restore(LifeMemory { last_up: failed.invocation, ..LifeMemory::default() });
    assert_eq!(life.read(&failed, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_stop_that_was_seen_is_believed_where_timestamps_say_nothing() {
    let going =
        UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..stopped_while_starting() };
    let mut life = Life::default();
    assert_eq!(life.read(&going, false, true), None, "signals were lost before that");
    life.job_removed(JobId(7), JobResult::Done);
    let killed = UnitReading {
        active: ActiveState::Failed,
        result: "timeout".into(),
        exit: Some(Exit::Signal(9)),
        ..stopped_while_starting()
    };
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_start_of_somebody_that_came_to_nothing_is_no_stop() {
    let began = |unit| UnitReading { inactive_exit: at(50), ..unit };
    let given_up = UnitReading { active: ActiveState::Failed, result: "exit-code".into(), ..ended(40, 39) };
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&began(given_up), false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_job_whose_end_was_not_told_is_no_stop_of_what_was_not_seen_going_down() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    let starting = UnitReading { active: ActiveState::Activating, job: Some(JobId(7)), ..up(1) };
    let _ = life.read(&starting, false, true);
    let given_up = UnitReading {
        inactive_exit: at(50),
        active: ActiveState::Failed,
        result: "exit-code".into(),
        ..ended(40, 39)
    };
    assert_eq!(life.read(&given_up, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_stop_of_what_never_ran_is_a_wish_that_it_stays_so() {
    let never = UnitReading { invocation: None, inactive_exit: None, active_enter: None, ..down(1) };
    let mut life = Life::default();
    assert_eq!(life.read(&never, false, true), None);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    let unmet = UnitReading { condition_failed: true, ..never.clone() };
    assert_eq!(life.clone().read(&unmet, false, true), None, "a start whose condition is not met");
    assert_eq!(life.read(&never, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn what_a_stop_of_ours_left_down_is_wanted_by_nobody() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.ended_by_us(up(1).invocation);
    let unit = UnitReading { exit: Some(Exit::Signal(15)), ..ended(19, 20) };
    assert_eq!(life.read(&unit, false, true), None);
    assert_eq!(life.ending(), Some(&Ending::ByItself));
    // It is known to the next monitor as well.
    let mut next = Life::restore(life.memory().clone());
    assert_eq!(next.read(&unit, false, true), None);
    assert_eq!(next.ending(), Some(&Ending::ByItself));
}

#[test]
fn each_pause_before_an_automatic_restart_has_a_job_of_its_own() {
    let pause = |began| UnitReading { inactive_exit: at(began), ..healing() };
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    // The run in between was over before anybody looked.
    for (began, job) in [(21, JobId(9)), (31, JobId(10)), (41, JobId(11))] {
        assert_eq!(life.read(&pause(began), false, true), None);
        life.job_new(job);
        life.job_removed(job, JobResult::Done);
        assert!(!life.interfered(), "{job:?}");
    }
    // Those of pauses that nobody saw may be anybody's, until the next pause is seen.
    life.job_new(JobId(12));
    life.job_removed(JobId(12), JobResult::Done);
    assert!(life.interfered());
    let _ = life.read(&pause(61), false, true);
    assert!(!life.interfered());
}

#[test]
fn who_starts_what_was_stopped_wants_it_up_though_the_start_fails() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::Stopped)));
    life.job_new(JobId(8));
    life.job_removed(JobId(8), JobResult::Failed);
    let refused = UnitReading { active: ActiveState::Failed, ..ended(19, 20) };
    assert_eq!(life.read(&refused, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_stop_of_ours_that_outlasts_its_deadline_is_not_somebodys() {
    let stopping = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
    let terminated = UnitReading { exit: Some(Exit::Signal(15)), ..ended(19, 20) };
    let begun = || {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.ours(JobId(7));
        life.still_stopped_by_us(up(1).invocation);
        life
    };
    // The monitor that asked for it, and the next one.
    for mut life in [begun(), Life::restore(begun().memory().clone())] {
        let _ = life.read(&stopping, false, true);
        assert_eq!(life.foreign_job(), None);
        life.told();
        assert_eq!(life.read(&terminated, false, true), Some(Change::Ended(Ending::ByItself)));
        let _ = life.read(&up(2), false, true);
        assert_eq!(life.memory().stopping, None, "that was another run");
    }
    // Somebody stopped it once more, when ours was through.
    let mut life = begun();
    life.job_removed(JobId(7), JobResult::Done);
    life.job_new(JobId(8));
    life.job_removed(JobId(8), JobResult::Done);
    assert_eq!(life.read(&terminated, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_restart_of_systemds_own_that_came_to_nothing_is_no_stop() {
    // Down after its stop half, as on 252, where its start half failed by what the unit needs.
    let fallen = UnitReading {
        inactive_exit: at(21),
        inactive_enter: at(31),
        exit: Some(Exit::Signal(9)),
        result: "signal".into(),
        restarts: 1,
        ..ended(20, 19)
    };
    for stopped in [false, true] {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.told();
        assert_eq!(life.read(&healing(), false, true), None);
        life.job_new(JobId(7));
        // Counted, though its job has not run yet.
        let queued = UnitReading { restarts: 1, job: Some(JobId(7)), ..healing() };
        assert_eq!(life.read(&queued, false, true), None);
        let waits = UnitReading { job: Some(JobId(7)), ..fallen.clone() };
        assert_eq!(life.read(&waits, false, true), None, "what it needs is being started");
        if stopped {
            life.job_removed(JobId(7), JobResult::Canceled);
            life.job_new(JobId(8));
            life.job_removed(JobId(8), JobResult::Done);
        } else {
            life.job_removed(JobId(7), JobResult::Dependency);
        }
        let ending = if stopped { Ending::Stopped } else { Ending::ByItself };
        assert_eq!(life.read(&fallen, false, true), Some(Change::Ended(ending)));
    }
}

#[test]
fn a_restart_of_systemds_own_whose_process_was_ended_is_a_stop_however_little_was_told() {
    let restarted = UnitReading { sub: "start".into(), restarts: 1, ..healing() };
    let stopped = UnitReading {
        inactive_exit: at(21),
        inactive_enter: at(41),
        exit: Some(Exit::Signal(15)),
        active_enter: at(10),
        restarts: 1,
        ..ended(20, 40)
    };
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.told();
    let _ = life.read(&healing(), false, true);
    let _ = life.read(&restarted, false, true);
    life.told();
    assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_way_down_that_was_seen_was_that_of_its_own_run() {
    let moment = |seconds: i64| at(seconds * 1_000_000);
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    let _ = life.read(&going, false, true);
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&ended(19, 20), false, true), Some(Change::Ended(Ending::Stopped)));
    // The next one is started and stopped, of which no more is told than that something changed.
    life.told();
    let killed = UnitReading {
        active: ActiveState::Failed,
        active_exit: moment(30),
        main_exit: moment(40),
        inactive_enter: moment(40),
        result: "timeout".into(),
        exit: Some(Exit::Signal(9)),
        ..down(2)
    };
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_start_that_failed_is_known_though_a_reading_came_before_its_end_was_told() {
    let failed = UnitReading { active: ActiveState::Failed, result: "exit-code".into(), ..ended(20, 19) };
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.told();
    assert_eq!(life.read(&failed, false, true), Some(Change::Ended(Ending::ByItself)));
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    life.job_new(JobId(8));
    assert_eq!(life.read(&failed, false, true), Some(Change::Ended(Ending::Stopped)));
    life.job_removed(JobId(8), JobResult::Failed);
    assert_eq!(life.read(&failed, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_job_that_came_before_a_stop_of_ours_says_nothing_however_late_it_is_told_of() {
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(8)), ..up(1) };
    for seen_first in [false, true] {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.ours(JobId(8));
        if seen_first {
            let _ = life.read(&going, true, true);
        }
        life.job_new(JobId(7));
        life.job_removed(JobId(7), JobResult::Done);
        let _ = life.read(&going, true, true);
        assert!(!life.interfered());
        life.job_new(JobId(9));
        assert!(life.interfered(), "what comes after it is somebody's wish");
    }
}

#[test]
fn what_fell_long_before_a_run_did_not_take_it_down_on_its_way_up() {
    let starting = UnitReading { active: ActiveState::Activating, active_enter: None, ..up(9) };
    let ran = UnitReading { inactive_exit: at(9_000_000), active_exit: at(100), ..starting };
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(8)), ..ran.clone() };
    let ended = UnitReading {
        active: ActiveState::Inactive,
        exit: Some(Exit::Signal(15)),
        main_exit: at(9_200_000),
        inactive_enter: at(9_200_000),
        ..ran.clone()
    };
    let mut life = Life::default();
    let _ = life.read(&needs_that_left(ActiveState::Active, 3_000_000, down(1)), false, true);
    // The end of a job on its database was not told.
    life.job_beside("db.service".parse().unwrap(), JobId(6));
    life.job_new(JobId(7));
    let waits = UnitReading { job: Some(JobId(7)), ..ran };
    let _ = life.read(&needs_that_left(ActiveState::Active, 3_000_000, waits), false, true);
    life.job_new(JobId(8));
    let _ = life.read(&needs_that_left(ActiveState::Active, 3_000_000, going), false, true);
    life.job_removed(JobId(8), JobResult::Done);
    let ended = needs_that_left(ActiveState::Active, 3_000_000, ended);
    assert_eq!(life.read(&ended, false, true), Some(Change::Ended(Ending::Stopped)));
}

#[test]
fn a_job_that_was_pending_when_signals_were_lost_is_until_a_reading_tells() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    life.job_new(JobId(7));
    life.lost();
    assert_eq!(life.foreign_job(), Some(JobId(7)));
    let mut told = life.clone();
    told.job_removed(JobId(7), JobResult::Done);
    assert_eq!(told.foreign_job(), None);
    let _ = life.read(&up(1), false, true);
    assert_eq!(life.foreign_job(), None);
    assert!(!life.interfered());
}

#[test]
fn what_came_up_in_the_pause_before_a_restart_may_take_it_down() {
    let dependency = |active, left| Dependency {
        unit: "db.service".parse().unwrap(),
        active,
        job: false,
        needed: true,
        left: at(left),
    };
    let with = |active, left, unit| UnitReading { dependencies: vec![dependency(active, left)], ..unit };
    let mut life = Life::default();
    let _ = life.read(&with(ActiveState::Failed, 12, up(1)), false, true);
    let pause = UnitReading { active: ActiveState::Activating, sub: "auto-restart".into(), ..ended(20, 19) };
    let pause = UnitReading { inactive_exit: at(21), ..pause };
    let _ = life.read(&with(ActiveState::Active, 12, pause.clone()), false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    let stopped = UnitReading {
        active: ActiveState::Inactive,
        sub: "dead".into(),
        inactive_enter: at(9_000_000),
        ..pause
    };
    let stopped = with(ActiveState::Inactive, 9_000_001, stopped);
    let ending = Ending::StoppedWith("db.service".parse().unwrap());
    assert_eq!(life.read(&stopped, false, true), Some(Change::Ended(ending)));
}

#[test]
fn a_job_that_is_done_on_what_never_came_up_was_a_stop() {
    let starting = UnitReading { active: ActiveState::Activating, active_enter: None, ..up(1) };
    let killed = UnitReading {
        active: ActiveState::Failed,
        active_enter: None,
        main_exit: at(20),
        exit: Some(Exit::Signal(9)),
        result: "timeout".into(),
        ..down(1)
    };
    let mut life = Life::default();
    let _ = life.read(&starting, false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::Stopped)));
    // It began and ended while nothing could be read, and what was told then came in afterwards.
    let mut life = Life::default();
    let _ = life.read(&up(2), false, true);
    life.job_new(JobId(6));
    life.job_removed(JobId(6), JobResult::Canceled);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Done);
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::Stopped)));
    // That was the stop of a run before, and its start failed.
    let mut life = Life::default();
    let _ = life.read(&up(2), false, true);
    life.job_removed(JobId(6), JobResult::Done);
    life.job_removed(JobId(7), JobResult::Failed);
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::ByItself)));
    // One that was to start it fails.
    let mut life = Life::default();
    let _ = life.read(&starting, false, true);
    life.job_new(JobId(7));
    life.job_removed(JobId(7), JobResult::Failed);
    assert_eq!(life.read(&killed, false, true), Some(Change::Ended(Ending::ByItself)));
}

#[test]
fn a_long_way_down_that_nobody_saw_is_read_from_its_timestamps() {
    let killed = UnitReading {
        active: ActiveState::Failed,
        exit: Some(Exit::Signal(9)),
        result: "timeout".into(),
        inactive_enter: at(10_000_030),
        ..ended(19, 10_000_020)
    };
    for (seen, ending) in [(false, Ending::Stopped), (true, Ending::ByItself)] {
        let mut life = Life::default();
        let _ = life.read(&up(1), false, true);
        life.told();
        if seen {
            // RuntimeMaxSec= does so, and no job is seen.
            let _ = life.read(&UnitReading { active: ActiveState::Deactivating, ..up(1) }, false, true);
        }
        assert_eq!(life.read(&killed, false, true), Some(Change::Ended(ending)));
    }
}

#[test]
fn restarts_that_follow_a_failed_start_of_ours_are_systemds() {
    let gave_up = UnitReading { active: ActiveState::Failed, restarts: 5, ..ended(20, 15) };
    let mut life = Life::default();
    life.read(&gave_up, false, true);
    let again = |restarts| UnitReading { active: ActiveState::Activating, restarts, ..up(3) };
    let mut unseen = life.clone();
    let moment = Moment::from_micros;
    unseen.start_of_ours_ended(moment(40), moment(50));
    // Its first run was over before it was read.
    assert_eq!(unseen.read(&again(1), false, false), Some(Change::Started(Starter::Systemd)));
    // Without a start of ours it was somebody's, and one that begins the count is.
    assert_eq!(life.clone().read(&again(1), false, false), Some(Change::Started(Starter::Somebody)));
    life.start_of_ours_ended(moment(40), moment(50));
    assert_eq!(life.read(&again(0), false, false), Some(Change::Started(Starter::Somebody)));
}

#[test]
fn a_run_that_began_while_a_start_of_ours_was_under_way_is_ours_however_late_it_is_read() {
    let moment = Moment::from_micros;
    for (from, until, foreign, starter) in [
        (25, 40, false, Starter::Ours),
        (25, 40, true, Starter::Somebody),
        (31, 40, false, Starter::Somebody),
        (15, 25, false, Starter::Somebody),
    ] {
        let mut life = Life::default();
        let _ = life.read(&down(1), false, true);
        life.start_of_ours_ended(moment(from), moment(until));
        if foreign {
            life.job_new(JobId(9));
        }
        let began = life.read(&up(3), false, false);
        assert_eq!(began, Some(Change::Started(starter)), "{from} to {until}, {foreign}");
    }
}

#[test]
fn a_job_that_comes_after_that_of_an_automatic_restart_is_somebodys() {
    let mut life = Life::default();
    let _ = life.read(&up(1), false, true);
    let _ = life.read(&healing(), false, true);
    life.job_new(JobId(9));
    // It waits for what the unit needs.
    let _ = life.read(&UnitReading { job: Some(JobId(9)), restarts: 1, ..healing() }, false, true);
    life.job_removed(JobId(9), JobResult::Canceled);
    assert!(!life.interfered());
    life.job_new(JobId(10));
    assert!(life.interfered());
}

#[test]
fn what_was_down_while_it_was_on_its_way_up_did_not_take_it_down() {
    let starting = UnitReading { active: ActiveState::Activating, active_enter: None, ..up(2) };
    let starting = UnitReading { job: Some(JobId(7)), ..starting };
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(8)), ..starting.clone() };
    let ended =
        UnitReading { exit: Some(Exit::Signal(15)), main_exit: at(60_000), active_enter: None, ..down(2) };
    for (before, ending) in [
        (ActiveState::Active, Ending::StoppedWith("db.service".parse().unwrap())),
        (ActiveState::Failed, Ending::Stopped),
    ] {
        let mut life = Life::default();
        let _ = life.read(&needs(ActiveState::Active, down(1)), false, true);
        life.job_new(JobId(7));
        let _ = life.read(&needs_that_left(before, 30_000, starting.clone()), false, true);
        life.job_new(JobId(8));
        life.job_removed(JobId(7), JobResult::Canceled);
        let _ = life.read(&needs_that_left(ActiveState::Failed, 30_000, going.clone()), false, true);
        life.job_removed(JobId(8), JobResult::Done);
        let ended = needs_that_left(ActiveState::Failed, 30_000, ended.clone());
        assert_eq!(life.read(&ended, false, true), Some(Change::Ended(ending)));
    }
}

#[test]
fn what_was_seen_only_while_it_went_down_ran() {
    let going = UnitReading { active: ActiveState::Deactivating, job: Some(JobId(7)), ..up(1) };
    let mut life = Life::default();
    let _ = life.read(&going, false, true);
    let mut next = Life::restore(life.memory().clone());
    let gone = UnitReading { invocation: None, inactive_exit: None, active_exit: None, ..down(1) };
    assert_eq!(next.read(&gone, false, true), Some(Change::Ended(Ending::Unloaded)));
}
