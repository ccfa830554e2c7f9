//! What scenarios about manners share: an app that is checked at a quick pace, and what must not
//! have happened to it.

use std::time::Duration;

use crate::machine::{AppSpec, Machine};

/// Generous for a loaded machine; nothing waits it out when all is well.
pub const SOON: Duration = Duration::from_secs(20);

/// An app checked every second, whose recoveries are verified after two.
pub const QUICK: &str = "[app.web]\nunit = \"web.service\"\nport = 3000\nhttp = \"/api/health\"\n\
    check_interval = \"1s\"\nconfirm_interval = \"1s\"\ntimeout = \"1s\"\nmin_uptime = \"2s\"\n";

/// Installs the app, watches it with [`QUICK`], and waits until it is healthy.
#[track_caller]
pub fn watch(m: &Machine, app: &AppSpec) {
    watch_with(m, app, "");
}

/// The same with further lines of configuration.
#[track_caller]
pub fn watch_with(m: &Machine, app: &AppSpec, more: &str) {
    m.install_app(app);
    m.configure(&format!("{QUICK}{more}"));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
}

/// How often an event was logged at or after a moment.
#[track_caller]
pub fn count(m: &Machine, event: &str, since: Duration) -> usize {
    m.events_since("web", since).iter().filter(|seen| seen.name == event).count()
}

/// None of these events was logged at or after a moment.
#[track_caller]
pub fn assert_none(m: &Machine, events: &[&str], since: Duration) {
    let seen: Vec<_> = m
        .events_since("web", since)
        .into_iter()
        .filter(|seen| events.contains(&seen.name.as_str()))
        .map(|seen| format!("{}: {}", seen.name, seen.message))
        .collect();
    assert!(seen.is_empty(), "it has {seen:?}");
}

/// Neither an act nor an incident at or after a moment.
#[track_caller]
pub fn assert_quiet(m: &Machine, since: Duration) {
    assert_none(
        m,
        &["incident-opened", "recovery-started", "step-done", "step-failed", "breaker-opened"],
        since,
    );
}

/// What `status` says of the app.
#[track_caller]
pub fn status(m: &Machine) -> serde_json::Value {
    let text = m.run("app-monitor status web --json").stdout;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("status is no JSON ({error}): {text}"))
}
