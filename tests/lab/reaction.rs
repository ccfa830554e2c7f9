//! From the fault to the act, measured from outside: by what systemd notes of the unit, not by what
//! app-monitor says of itself. Ten apps side by side, each broken once at a phase of its checks
//! that is drawn anew for every run.
//!
//! Attempts and cooldown are out of the way: every app is broken only once, its cooldown is zero
//! and its attempts are many, and all ten may be recovered at a time (`max_parallel`), since
//! otherwise one would wait for another's stop.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now};
use crate::support::let_pass;

/// How many faults a figure stands on.
const FAULTS: u16 = 10;
/// Ports from here on.
const PORTS: u16 = 3100;

fn name(app: u16) -> String {
    format!("app{app}")
}

/// Random phases within `most`, ascending. The seed is printed; `APP_MONITOR_LAB_SEED` repeats it.
fn phases(most: Duration) -> Vec<Duration> {
    let given = std::env::var("APP_MONITOR_LAB_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| u64::try_from(now().as_nanos()).unwrap_or(1));
    println!("phases drawn with APP_MONITOR_LAB_SEED={seed}");
    let mut state = seed;
    let mut phases: Vec<Duration> = (0..FAULTS)
        .map(|_| {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            most.mul_f64((z ^ (z >> 31)) as f64 / u64::MAX as f64)
        })
        .collect();
    phases.sort();
    phases
}

/// A machine with ten healthy apps that are watched with the defaults but for `keys`.
#[track_caller]
fn ten_apps(scenario: &str, keys: &str) -> Machine {
    let mut config = format!("max_parallel = {FAULTS}\n");
    let mut builder = Machine::builder(scenario);
    for app in 0..FAULTS {
        let (name, port) = (name(app), PORTS + app);
        config += &format!(
            "[app.{name}]\nunit = \"{name}.service\"\nport = {port}\nhttp = \"/api/health\"\n\
             cooldown = \"0s\"\nmax_attempts = 100\n{keys}\n"
        );
        builder = builder.app(AppSpec::new(&name, port));
    }
    let machine = builder.config(&config).boot();
    machine.wait_for(Duration::from_secs(60), "all apps are healthy", || {
        let events = machine.events("");
        let healthy = |app: u16| {
            let last = events.iter().rev().find(|event| event.app == name(app));
            last.is_some_and(|event| event.field("APP_MONITOR_VERDICT") == "healthy")
        };
        (0..FAULTS).all(healthy).then_some(())
    });
    machine
}

/// Breaks one app after the other at its phase; gives the moments.
fn break_all(
    machine: &Machine,
    phases: &[Duration],
    mut act: impl FnMut(&Machine, u16) -> Duration,
) -> Vec<Duration> {
    let began = now();
    let faults = (0..FAULTS).zip(phases);
    faults
        .map(|(app, phase)| {
            let_pass((began + *phase).saturating_sub(now()));
            act(machine, app)
        })
        .collect()
}

/// A timestamp of every app's unit.
#[track_caller]
fn timestamps(machine: &Machine, property: &str) -> Vec<Duration> {
    let units: String = (0..FAULTS).map(|app| format!(" {}.service", name(app))).collect();
    machine
        .must(&format!("systemctl show --property={property} --value{units}"))
        .split_whitespace()
        .map(|text| Duration::from_micros(text.parse().unwrap_or(0)))
        .collect()
}

/// Waits until a timestamp of each unit is later than the moment that belongs to it, and prints and
/// checks how much later.
#[track_caller]
fn measure(machine: &Machine, what: &str, since: &[Duration], property: &str, most: Duration) {
    let acted = machine.wait_for(most * 2, &format!("{property} of every unit passes its fault"), || {
        let acted = timestamps(machine, property);
        acted.iter().zip(since).all(|(acted, since)| acted > since).then_some(acted)
    });
    let mut took: Vec<Duration> = acted.iter().zip(since).map(|(acted, since)| *acted - *since).collect();
    took.sort();
    let [least, median, worst] = [took[0], took[took.len() / 2], took[took.len() - 1]];
    println!(
        "{what}, {} faults: min {least:.3?}, median {median:.3?}, max {worst:.3?} (allowed {most:?})",
        took.len()
    );
    assert!(worst <= most, "{what}: {took:?}");
}

/// Freezes an app: every other one by SIGSTOP (nothing is taken from the queue), the rest by
/// requests that are taken and never answered.
fn freeze(machine: &Machine, app: u16) -> Duration {
    if app.is_multiple_of(2) {
        return machine.fault(&name(app), "await");
    }
    let at = now();
    machine.must(&format!("systemctl kill --signal=STOP {}.service", name(app)));
    at
}

#[test]
fn crash_that_systemd_does_not_heal_is_acted_on_within_250_ms() {
    let machine = ten_apps("reaction-crash", "");
    // Not more than half of the apps within ten seconds: then the host is suspected first, as it should be.
    let mut phases = phases(Duration::from_secs(3));
    phases[usize::from(FAULTS) / 2..].iter_mut().for_each(|phase| *phase += Duration::from_secs(14));
    let faults = break_all(&machine, &phases, |machine, app| machine.fault(&name(app), "crash"));
    // When systemd took the unit for failed, and when the unit left that state again.
    let failed = machine.wait_for(Duration::from_secs(10), "every unit failed", || {
        let failed = timestamps(&machine, "InactiveEnterTimestampMonotonic");
        failed.iter().zip(&faults).all(|(failed, fault)| failed > fault).then_some(failed)
    });
    let most = Duration::from_millis(250);
    measure(&machine, "crash", &failed, "InactiveExitTimestampMonotonic", most);
}

#[test]
fn frozen_app_is_acted_on_within_25_s_by_default() {
    let machine = ten_apps("reaction-frozen-default", "");
    let faults = break_all(&machine, &phases(Duration::from_secs(10)), freeze);
    let most = Duration::from_secs(25);
    measure(&machine, "frozen, defaults", &faults, "ActiveExitTimestampMonotonic", most);
}

#[test]
fn frozen_app_is_acted_on_within_14_s_at_a_5_s_pace() {
    let machine = ten_apps("reaction-frozen", "check_interval = \"5s\"\ntimeout = \"4s\"");
    let faults = break_all(&machine, &phases(Duration::from_secs(5)), freeze);
    let most = Duration::from_secs(14);
    measure(&machine, "frozen, 5 s pace", &faults, "ActiveExitTimestampMonotonic", most);
}

#[test]
fn health_500_is_acted_on_within_8_s_at_a_5_s_pace() {
    let machine = ten_apps("reaction-500", "check_interval = \"5s\"\ntimeout = \"4s\"");
    let faults = break_all(&machine, &phases(Duration::from_secs(5)), |machine, app| {
        machine.fault(&name(app), "status 500")
    });
    let most = Duration::from_secs(8);
    measure(&machine, "health 500, 5 s pace", &faults, "ActiveExitTimestampMonotonic", most);
}
