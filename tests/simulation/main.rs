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
mod process;
mod surroundings;
mod systemd;
mod world;

/// A number out of the environment.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn years_of_bad_luck() {
    let faults = given("APP_MONITOR_SIMULATION_FAULTS").unwrap_or(600);
    let seed = given("APP_MONITOR_SIMULATION_SEED").unwrap_or(1);
    let lives = life::lives(seed, faults, || ());
    println!(
        "simulation: {} faults on {} hosts, {:.1} machine-years, {} turns of the judge, seed {seed}",
        lives.faults, lives.lives, lives.years, lives.turns
    );
    if let Some((seed, what)) = lives.violation {
        panic!("{what}\nagain: tests/run simulation --faults {} --seed {seed}", life::FAULTS_A_LIFE);
    }
}
