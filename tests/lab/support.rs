//! What scenarios of all families share: a quick configuration, and the way from a fault to its end.

use std::time::Duration;

use crate::machine::{AppSpec, Event, Machine, now};

/// Anything that is to happen at all happens within this time on a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// An app with a port and a health check, judged at a pace that keeps scenarios short, and whose
/// recoveries wait for nothing. `more`: further keys, one a line.
pub fn quick(app: &str, port: u16, more: &str) -> String {
    format!(
        "[app.{app}]\nunit = \"{app}.service\"\nport = {port}\nhttp = \"/api/health\"\n\
         check_interval = \"1s\"\nconfirm_interval = \"500ms\"\nstartup_interval = \"500ms\"\n\
         timeout = \"2s\"\nmin_uptime = \"1s\"\ncooldown = \"1s\"\nkill_after = \"1s\"\n{more}\n"
    )
}

/// Installs an app as `web` on port 3000 and waits until it is seen healthy.
#[track_caller]
pub fn watch(m: &Machine, app: &AppSpec, more: &str) {
    m.install_app(app);
    m.configure(&quick("web", 3000, more));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
}

/// Waits until the fault of `web` that began at `at` is named and over, and asserts that the app is
/// back by one recovery of ours, nothing else being restarted. Gives the events since.
#[track_caller]
pub fn recovered_from(m: &Machine, verdict: &str, at: Duration) -> Vec<Event> {
    let opened = m.wait_event(SOON, "web", "incident-opened", at);
    assert_eq!(opened.field("APP_MONITOR_VERDICT"), verdict, "{}", opened.message);
    assert!(!opened.field("APP_MONITOR_INCIDENT").is_empty(), "an incident has a name");
    m.wait_event(SOON, "web", "incident-closed", at);
    let events = m.events_since("web", at);
    assert_eq!(count(&events, "recovery-started"), 1, "{}", lines(&events));
    assert_eq!(count(&events, "recovery-verified"), 1, "{}", lines(&events));
    assert_eq!(count(&events, "recovery-failed"), 0, "{}", lines(&events));
    assert_eq!(m.unit_property("web.service", "NRestarts"), "0", "systemd restarted it, too");
    assert_eq!(m.http(3000, "/api/health").status, 200);
    events
}

/// How many events have that name.
pub fn count(events: &[Event], name: &str) -> usize {
    events.iter().filter(|event| event.name == name).count()
}

/// Events as lines, for people.
pub fn lines(events: &[Event]) -> String {
    events.iter().fold(String::new(), |text, event| {
        format!("{text}\n{:>9.3} {:<18} {}", event.at.as_secs_f64(), event.name, event.message)
    })
}

/// One of a unit's timestamps (a property that ends in `Monotonic`), comparable with [`now`].
#[track_caller]
pub fn timestamp(m: &Machine, unit: &str, property: &str) -> Duration {
    Duration::from_micros(m.unit_property(unit, property).parse().unwrap_or(0))
}

/// When the fixture of `unit` said that it listens, the first time at or after `since`.
#[track_caller]
pub fn listened_at(m: &Machine, unit: &str, since: Duration) -> Duration {
    m.wait_for(SOON, &format!("{unit} listens"), || {
        m.entries(&format!("-b -u {unit}"))
            .iter()
            .filter(|fields| {
                fields
                    .get("MESSAGE")
                    .and_then(serde_json::Value::as_str)
                    .is_some_and(|text| text.starts_with("listening on"))
            })
            .filter_map(|fields| fields.get("__MONOTONIC_TIMESTAMP")?.as_str()?.parse().ok())
            .map(Duration::from_micros)
            .find(|at| *at >= since)
    })
}

/// Lets time pass in which nothing may happen; what must not happen cannot be waited for.
pub fn let_pass(length: Duration) {
    let end = now() + length;
    while now() < end {
        std::thread::sleep(Duration::from_millis(25).min(length));
    }
}
