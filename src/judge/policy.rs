//! The thresholds by which one app is judged: configuration, as the judge sees it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::UnitName;

/// Whether the monitor acts on an app or only says what it would have done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Judge and recover.
    #[default]
    Act,
    /// Judge, log and alert; carry nothing out.
    Watch,
}

/// What follows when all attempts are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GiveUp {
    /// One careful attempt every `retry_interval`.
    #[default]
    Retry,
    /// Nothing until a person resets the breaker.
    Wait,
}

/// When the caches of an app are cleared in a recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClearCaches {
    /// Never.
    Never,
    /// From the second attempt.
    #[default]
    Retry,
    /// In every recovery.
    Always,
}

/// `failures_window`: that many bad rounds of the latest so many are a fault as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Window {
    /// How many have to be bad. 1 to `of`.
    pub bad: u32,
    /// How many rounds are looked at. 1 to 64.
    pub of: u32,
}

/// Thresholds, paces and budget of one app. Every key means what app-monitor.toml(5) says of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Act, or only watch.
    pub mode: Mode,
    /// Pace when healthy.
    pub check_interval: Duration,
    /// Pace after a start.
    pub startup_interval: Duration,
    /// How long failures are forgiven after a start; raised by what the app was seen to need.
    pub startup_grace: Duration,
    /// Pace from suspicion until confirmation.
    pub confirm_interval: Duration,
    /// A check unanswered for so long raises suspicion. `None`: one second, or four times the
    /// app's usual latency if that is longer.
    pub suspect_after: Option<Duration>,
    /// One check, wall to wall.
    pub timeout: Duration,
    /// Consecutive bad rounds that make a fault. At least 1.
    pub failures: u32,
    /// Consecutive good rounds that end it. At least 1.
    pub successes: u32,
    /// Flapping that never fails often enough in a row.
    pub failures_window: Window,
    /// Least time between two recoveries, doubled each time.
    pub cooldown: Duration,
    /// Most that the doubling reaches.
    pub cooldown_max: Duration,
    /// Attempts within `attempts_window` before the breaker opens. At least 1.
    pub max_attempts: u32,
    /// How long an attempt counts.
    pub attempts_window: Duration,
    /// Pace of careful retries while the breaker is open.
    pub retry_interval: Duration,
    /// Health that long forgets attempts and closes the breaker.
    pub healthy_for: Duration,
    /// Retry, or wait for a person.
    pub give_up: GiveUp,
    /// How long an app has to become healthy after a recovery. `None`: `startup_grace`, 30 s at
    /// least.
    pub verify_within: Option<Duration>,
    /// How long it must stay healthy for the recovery to count.
    pub min_uptime: Duration,
    /// How long a stop is given before SIGKILL.
    pub stop_timeout: Duration,
    /// The same, where HTTP went unanswered.
    pub kill_after: Duration,
    /// Tell somebody when an administrator's stop lasts; `None`: never.
    pub stopped_alert_after: Option<Duration>,
    /// Pace of what goes out to the internet, and of asking the proxy.
    pub public_interval: Duration,
    /// How long an app that accepts, but answers nothing in time, is left to work its queue off.
    pub overload_patience: Duration,
    /// When caches are cleared.
    pub clear_caches: ClearCaches,
    /// Swap is reclaimed when memory was the matter and it fits.
    pub reclaim_swap: bool,
    /// Units that are started before a start of ours.
    pub before_start: Vec<UnitName>,
    /// Units that are started after a verified recovery.
    pub after_recovery: Vec<UnitName>,
    /// Units that are started when the breaker opens.
    pub on_give_up: Vec<UnitName>,
}

impl Default for Policy {
    fn default() -> Self {
        const fn seconds(n: u64) -> Duration {
            Duration::from_secs(n)
        }
        Self {
            mode: Mode::Act,
            check_interval: seconds(10),
            startup_interval: seconds(1),
            startup_grace: seconds(30),
            confirm_interval: seconds(2),
            suspect_after: None,
            timeout: seconds(10),
            failures: 3,
            successes: 1,
            failures_window: Window { bad: 5, of: 10 },
            cooldown: seconds(60),
            cooldown_max: seconds(300),
            max_attempts: 3,
            attempts_window: seconds(3_600),
            retry_interval: seconds(1_800),
            healthy_for: seconds(600),
            give_up: GiveUp::Retry,
            verify_within: None,
            min_uptime: seconds(10),
            stop_timeout: seconds(20),
            kill_after: seconds(5),
            stopped_alert_after: None,
            public_interval: seconds(60),
            overload_patience: seconds(600),
            clear_caches: ClearCaches::Retry,
            reclaim_swap: true,
            before_start: Vec::new(),
            after_recovery: Vec::new(),
            on_give_up: Vec::new(),
        }
    }
}
