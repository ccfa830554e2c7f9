//! The thresholds of an app out of its merged values, and which of them contradict each other.

use std::time::Duration;

use super::duration;
use super::fragment::Gathered;
use super::settings::{Of, error};
use super::value::Value;
use crate::judge::{ClearCaches, GiveUp, Mode, Policy};

/// The thresholds of an app.
pub(super) fn policy(of: &Of<'_>) -> Policy {
    let usual = Policy::default();
    let window = match of.value("failures_window") {
        Some(Value::Window(window)) => *window,
        _ => usual.failures_window,
    };
    let cooldown = of.duration("cooldown").unwrap_or(usual.cooldown);
    Policy {
        mode: if of.word("mode") == Some("watch") { Mode::Watch } else { Mode::Act },
        check_interval: of.duration("check_interval").unwrap_or(usual.check_interval),
        startup_interval: of.duration("startup_interval").unwrap_or(usual.startup_interval),
        startup_grace: of.duration("startup_grace").unwrap_or(usual.startup_grace),
        confirm_interval: of.duration("confirm_interval").unwrap_or(usual.confirm_interval),
        suspect_after: of.duration("suspect_after"),
        timeout: of.duration("timeout").unwrap_or(usual.timeout),
        failures: of.count("failures").unwrap_or(usual.failures),
        successes: of.count("successes").unwrap_or(usual.successes),
        failures_window: window,
        cooldown,
        // A cooldown that alone is raised over the usual most carries it along.
        cooldown_max: of.duration("cooldown_max").unwrap_or(usual.cooldown_max.max(cooldown)),
        max_attempts: of.count("max_attempts").unwrap_or(usual.max_attempts),
        attempts_window: of.duration("attempts_window").unwrap_or(usual.attempts_window),
        retry_interval: of.duration("retry_interval").unwrap_or(usual.retry_interval),
        healthy_for: of.duration("healthy_for").unwrap_or(usual.healthy_for),
        give_up: if of.word("give_up") == Some("wait") { GiveUp::Wait } else { GiveUp::Retry },
        verify_within: of.duration("verify_within"),
        min_uptime: of.duration("min_uptime").unwrap_or(usual.min_uptime),
        stop_timeout: of.duration("stop_timeout").unwrap_or(usual.stop_timeout),
        kill_after: of.duration("kill_after").unwrap_or(usual.kill_after),
        stopped_alert_after: of.duration("stopped_alert_after"),
        public_interval: of.duration("public_interval").unwrap_or(usual.public_interval),
        overload_patience: of.duration("overload_patience").unwrap_or(usual.overload_patience),
        clear_caches: match of.word("clear_caches") {
            Some("never") => ClearCaches::Never,
            Some("always") => ClearCaches::Always,
            _ => ClearCaches::Retry,
        },
        reclaim_swap: of.flag("reclaim_swap").unwrap_or(usual.reclaim_swap),
        before_start: of.units("before_start"),
        after_recovery: of.units("after_recovery"),
        on_give_up: of.units("on_give_up"),
    }
}

/// Values that are possible each, but not together.
pub(super) fn contradictions(of: &Of<'_>, policy: &Policy, gathered: &mut Gathered) {
    let show = duration::show;
    if let Some(most) = of.get("cooldown_max")
        && policy.cooldown_max < policy.cooldown
    {
        let message = format!(
            "{} is less than cooldown, which is {}",
            show(policy.cooldown_max),
            show(policy.cooldown)
        );
        error(gathered, most, &most.at, "cooldown_max", message);
    }
    // JUDGEMENT, "Verify": the app has to be healthy for min_uptime before verify_within is over.
    let within = policy.verify_within.unwrap_or(policy.startup_grace.max(Duration::from_secs(30)));
    if policy.min_uptime >= within {
        for key in ["min_uptime", "verify_within"] {
            if let Some(sourced) = of.get(key) {
                let message = format!(
                    "no recovery could be verified: min_uptime ({}) has to fit into verify_within ({})",
                    show(policy.min_uptime),
                    show(within)
                );
                error(gathered, sourced, &sourced.at, key, message);
                break;
            }
        }
    }
}
