//! What would be done about a script, with one configuration or another.

use std::time::Duration;

use super::{Told, play};
use crate::config::{Sources, load};
use crate::judge::EventKind;
use crate::replay::script::Script;

/// What is told of a script, with the configuration that those variables make.
fn played(script: &str, variables: &[(&str, &str)]) -> Vec<Told> {
    let given = [("UNIT", "web.service"), ("PORT", "3000"), ("HTTP", "/health")];
    let environment = given
        .iter()
        .chain(variables)
        .map(|(name, value)| (format!("APP_MONITOR_{name}"), (*value).to_owned()))
        .collect();
    let settings = load(&Sources { root: "/nonexistent".into(), environment }).unwrap().settings;
    play(&settings.members, settings.max_parallel, &Script::read(script).unwrap())
}

fn count(told: &[Told], event: EventKind) -> usize {
    told.iter().filter(|told| told.record.event == event).count()
}

#[test]
fn a_restart_ends_what_ails_a_run_and_takes_no_longer_than_it_does_in_truth() {
    let told = played("10:00 freeze 10m", &[]);
    assert_eq!(count(&told, EventKind::RecoveryStarted), 1, "{told:?}");
    assert_eq!(count(&told, EventKind::RecoveryVerified), 1);
    let at = told.iter().find(|told| told.record.event == EventKind::RecoveryStarted).unwrap().at;
    // A check every 10 s, three times 10 s that overlap by 2 s each.
    let after = at - Duration::from_secs(36_000);
    assert!((15..27).contains(&after.as_secs()), "{after:?}");
}

#[test]
fn what_would_be_done_follows_the_configuration() {
    let hiccup = "10:00 freeze 5s";
    let quick = [("CHECK_INTERVAL", "1s"), ("TIMEOUT", "1s"), ("CONFIRM_INTERVAL", "500ms")];
    assert_eq!(count(&played(hiccup, &quick), EventKind::RecoveryStarted), 1);
    let patient =
        quick.iter().copied().chain([("FAILURES", "8"), ("FAILURES_WINDOW", "9 of 10")]).collect::<Vec<_>>();
    assert_eq!(count(&played(hiccup, &patient), EventKind::RecoveryStarted), 0);
    let watched = quick.iter().copied().chain([("MODE", "\"watch\"")]).collect::<Vec<_>>();
    assert_eq!(count(&played("10:00 crash 5m", &watched), EventKind::StepDone), 0);
}

#[test]
fn what_no_restart_ends_is_given_up_on_and_over_when_it_is_over() {
    let told = played("10:00 bad-build 1h", &[]);
    assert_eq!(count(&told, EventKind::BreakerOpened), 1);
    assert_eq!(count(&told, EventKind::IncidentOpened), 1);
    assert_eq!(count(&told, EventKind::IncidentClosed), 1);
    assert_eq!(count(&told, EventKind::BreakerClosed), 1);
}

#[test]
fn surroundings_restart_nothing() {
    let around = [
        ("PUBLIC", "http://shop.test/"),
        ("PROXY", "nginx.service"),
        ("DATABASE", "{ url = \"redis://127.0.0.1:6379\" }"),
    ];
    for (script, verdict) in [
        ("10:00 db-down 5m", "database-down"),
        ("10:00 net-down 20m", "healthy"),
        ("10:00 disk-low 20m", "healthy"),
        ("10:00 stop 1h", "stopped-by-admin"),
    ] {
        let told = played(script, &around);
        assert_eq!(count(&told, EventKind::RecoveryStarted), 0, "{script}: {told:?}");
        let seen = told.iter().any(|told| told.record.verdict.word() == verdict);
        assert!(seen, "{script}: {told:?}");
    }
    let told = played("10:00 proxy-down", &around);
    let whom: Vec<_> = told
        .iter()
        .filter(|told| told.record.event == EventKind::RecoveryStarted)
        .map(|told| told.record.unit.to_string())
        .collect();
    assert_eq!(whom, ["nginx.service"], "{told:?}");
}
