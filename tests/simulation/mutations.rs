//! Each small fault of the judge makes the simulation fail: an invariant that nothing can break
//! guards nothing.

use app_monitor::judge::mutation::{Mutation, activate};

use crate::life::{Until, lives};

/// Faults within which each has to be found.
const FAULTS: u64 = 24_000;

const SEED: u64 = 1;

/// The invariants that may be the ones to find it: found by another, it was found by chance.
fn guards(mutation: Mutation) -> &'static [&'static str] {
    const EVIDENCE: &str = "nothing is restarted without evidence of its present run";
    const ANSWERS: &str = "what answers is not restarted";
    const INCURABLE: &str = "an incurable fault ends with one alert and slow retries";
    const AT_REST: &str = "at rest the verdict is the truth";
    match mutation {
        Mutation::CooldownIgnored => &["the cooldown is kept"],
        Mutation::AdminStopIgnored => &["what somebody stopped is left alone"],
        Mutation::PauseBelowCrash => &["nothing is done while paused"],
        Mutation::CountersKept | Mutation::GraceIgnored | Mutation::OneIsEnough => &[EVIDENCE],
        Mutation::UnknownIsBad | Mutation::ProofIgnored | Mutation::AnswersIgnored => &[ANSWERS, EVIDENCE],
        Mutation::BreakerNeverOpens => &["attempts are bounded, over restarts of the monitor too"],
        Mutation::AttemptsForgotten => {
            &["attempts are bounded, over restarts of the monitor too", "the cooldown is kept"]
        }
        Mutation::RetryNeverComes => &["every curable fault ends healthy", INCURABLE],
        Mutation::IncidentStaysOpen => &["every curable fault ends healthy"],
        Mutation::ParallelIgnored => &["no more recoveries at a time than allowed"],
        Mutation::ForeignIsOurs => {
            &["what somebody stopped is left alone", "what somebody is changing is left alone"]
        }
        Mutation::DatabaseIgnored => &["what runs is not restarted for its database"],
        Mutation::CachesWhileUp => &["caches are cleared while the unit is down"],
        Mutation::IntentNotWritten => &["the intent is written ahead"],
        Mutation::MaskIgnored => &["what is masked is left alone"],
        Mutation::WatchActs => &["nothing is done in watch mode"],
        Mutation::OverloadedIsFrozen => &["what is overloaded is left to work"],
        Mutation::BreakerTellsAgain => &["the breaker is told once", INCURABLE],
        Mutation::RetryEarly => &["attempts are bounded, over restarts of the monitor too", INCURABLE],
        Mutation::AttemptLost => &[INCURABLE],
        Mutation::FaultSticks => &[AT_REST],
        Mutation::OwnDoingIgnored => &[INCURABLE, "a proxy is left alone but for its own silence"],
        Mutation::ShutdownIgnored => &["nothing is done while the host goes down", AT_REST],
    }
}

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
                let guarded = guards(mutation).iter().any(|guard| rule.contains(guard));
                assert!(guarded, "{mutation:?} was found by chance (seed {seed}): {rule}");
                println!("{mutation:?}: found after {} faults (seed {seed}): {rule}", lives.faults);
            }
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "the simulation does not find {missed:?}");
}
