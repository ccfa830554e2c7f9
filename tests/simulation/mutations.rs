//! Each small fault of the judge makes the simulation fail: an invariant that nothing can break
//! guards nothing.

use app_monitor::judge::mutation::{Mutation, activate};

use crate::life::{Until, lives};

/// Faults within which each has to be found.
const FAULTS: u64 = 8_000;

const SEED: u64 = 1_000_000;

#[test]
fn every_mutation_of_the_judge_is_found() {
    let only = std::env::var("APP_MONITOR_SIMULATION_MUTATION").ok();
    let sound = lives(SEED, FAULTS, Until::FirstViolation, || activate(None));
    assert!(sound.violations.is_empty(), "without any: {:?}", sound.violations);
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{mutation:?}")) {
            continue;
        }
        let lives = lives(SEED, FAULTS, Until::FirstViolation, move || activate(Some(mutation)));
        match lives.violations.first() {
            Some((seed, what)) => {
                let rule = what.lines().next().unwrap_or_default();
                println!("{mutation:?}: found after {} faults (seed {seed}): {rule}", lives.faults);
            }
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "the simulation does not find {missed:?}");
}
