//! Years of bad luck in a minute: a modelled host drives the real judge with simulated time.
//!
//! `tests/run simulation [--faults N] [--seed S]`; the seed of a life that must not be is printed, and
//! `--faults 40 --seed THAT` is this life again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "test code")]

mod chance;
mod hosts;
mod invariants;
mod ledger;
mod life;
mod luck;
mod monitor;
#[cfg(feature = "mutations")]
mod mutations;
mod ordeal;
mod process;
mod proving;
mod rest;
mod surroundings;
mod systemd;
mod world;

use life::Until;

/// A number out of the environment.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// CPU time of this process (proc_pid_stat(5), utime and stime in hundredths of a second).
fn cpu_seconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() / 100
}

#[test]
fn years_of_bad_luck() {
    let faults = given("APP_MONITOR_SIMULATION_FAULTS").unwrap_or(600);
    let seed = given("APP_MONITOR_SIMULATION_SEED").unwrap_or(1);
    let lives = life::lives(seed, faults, Until::End, || ());
    println!(
        "simulation: {} faults on {} hosts, {:.2} machine-years, {} turns of the judge, {} s of CPU, seed {seed}",
        lives.faults,
        lives.lives,
        lives.years,
        lives.turns,
        cpu_seconds()
    );
    if let Some((seed, what)) = lives.violations.first() {
        let again = format!("again: tests/run simulation --faults {} --seed {seed}", life::FAULTS_A_LIFE);
        panic!("{what}\n{again}\nin all:\n{}", lives.told());
    }
}
