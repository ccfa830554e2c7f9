//! What scenarios of all families share: a configuration at whose pace they are short, the way into
//! a fault, and how to look at what came of it. All of it is about the app `web` unless it says
//! otherwise. Nothing here knows a machine from inside; that is machine/.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, Event, Machine, Output};

/// Anything that is to happen at all happens within this time on a loaded machine; nothing waits
/// it out when all is well.
pub const SOON: Duration = Duration::from_secs(20);

/// The monitor's own unit.
pub const UNIT: &str = "app-monitor.service";

// --- Configuration

/// A quick pace for every app, at which recoveries hardly wait for each other.
const DEFAULTS: &str = "[defaults]\ncheck_interval = \"1s\"\nconfirm_interval = \"500ms\"\n\
    startup_interval = \"500ms\"\nsuspect_after = \"500ms\"\ntimeout = \"1s\"\nstartup_grace = \"3s\"\n\
    min_uptime = \"2s\"\ncooldown = \"1s\"\ncooldown_max = \"1s\"\nkill_after = \"1s\"\n";

/// The app `web` on port 3000, everything checked at a quick pace. `lines`: further keys of its
/// table, which outdo the pace, then further tables.
pub fn config(lines: &str) -> String {
    quick(&table("web", 3000, lines))
}

/// Tables of apps, to be watched at a quick pace.
pub fn quick(tables: &str) -> String {
    format!("{DEFAULTS}\n{tables}")
}

/// The table of an app with a port and a health check. `lines`: further keys.
pub fn table(app: &str, port: u16, lines: &str) -> String {
    format!("[app.{app}]\nunit = \"{app}.service\"\nport = {port}\nhttp = \"/api/health\"\n{lines}\n")
}

/// Installs the app, watches it as [`config`] has it, and waits until it is seen healthy.
#[track_caller]
pub fn watch(m: &Machine, app: &AppSpec, lines: &str) {
    m.install_app(app);
    m.configure(&config(lines));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    // polkit, which is started by the first question, has to allow that; until then systemd forgets a
    // unit that stops.
    let refs = "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/web_2eservice \
        org.freedesktop.systemd1.Unit Refs";
    m.wait_for(SOON, "the monitor holds the unit", || m.run(refs).stdout.contains('"').then_some(()));
}

// --- From the fault to its end

/// Waits until the fault that began at `at` is named and over, and asserts that the app is back by
/// one recovery of ours, nothing else being restarted. Gives the events since.
#[track_caller]
pub fn recovered_from(m: &Machine, verdict: &str, at: Duration) -> Vec<Event> {
    let opened = m.wait_event(SOON, "web", "incident-opened", at);
    assert_eq!(opened.field("APP_MONITOR_VERDICT"), verdict, "{}", opened.message);
    assert!(!opened.field("APP_MONITOR_INCIDENT").is_empty(), "an incident has a name");
    m.wait_event(SOON, "web", "incident-closed", at);
    let events = m.events_since("web", at);
    for (name, times) in [("recovery-started", 1), ("recovery-verified", 1), ("recovery-failed", 0)] {
        assert_eq!(count(m, "web", name, at), times, "{name}: {}", lines(&events));
    }
    assert_eq!(m.unit_property("web.service", "NRestarts"), "0", "systemd restarted it, too");
    assert_eq!(m.http(3000, "/api/health").status, 200);
    events
}

/// Has the app answer 500 beyond its first recovery, and waits until the second one, which it
/// would survive, is in the middle of its stop. Gives the moment of the fault.
#[track_caller]
pub fn in_second_stop(m: &Machine) -> Duration {
    m.break_starts("web", "status 500");
    let at = m.fault("web", "status 500");
    m.wait_event(SOON, "web", "recovery-failed", at);
    m.mend("web");
    m.wait_for(SOON, "the second attempt stops it", || {
        let started = count(m, "web", "recovery-started", at) == 2;
        (started && m.unit_property("web.service", "ActiveState") == "deactivating").then_some(())
    });
    at
}

/// Lets time pass in which nothing may happen; what must not happen cannot be waited for.
pub fn let_pass(length: Duration) {
    std::thread::sleep(length);
}

// --- Events

/// How often an event of an app (of any, when `app` is empty) was logged at or after a moment.
#[track_caller]
pub fn count(m: &Machine, app: &str, name: &str, since: Duration) -> usize {
    m.events_since(app, since).iter().filter(|event| event.name == name).count()
}

/// None of these events was logged at or after a moment.
#[track_caller]
pub fn assert_none(m: &Machine, names: &[&str], since: Duration) {
    let mut events = m.events_since("web", since);
    events.retain(|event| names.contains(&event.name.as_str()));
    assert!(events.is_empty(), "it has {}", lines(&events));
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

/// Events as lines, for people.
pub fn lines(events: &[Event]) -> String {
    events.iter().fold(String::new(), |text, event| {
        format!("{text}\n{:>9.3} {:<18} {}", event.at.as_secs_f64(), event.name, event.message)
    })
}

// --- What the monitor and systemd say

/// An app as `status --json` shows it; null while the daemon does not answer.
pub fn view(m: &Machine, app: &str) -> Value {
    let text = m.run(&format!("app-monitor status {app} --json")).stdout;
    let views: Value = serde_json::from_str(&text).unwrap_or_default();
    views.get(0).cloned().unwrap_or_default()
}

/// What a check of the app found last: `good`, `bad`, `unknown`, `none`; empty where it has none.
pub fn found(m: &Machine, app: &str, check: &str) -> String {
    let view = view(m, app);
    let mut checks = view["checks"].as_array().into_iter().flatten();
    let seen = checks.find(|seen| seen["check"] == check);
    seen.and_then(|seen| seen["result"].as_str()).unwrap_or_default().to_owned()
}

/// Waits until the daemon answers with something that `probe` takes.
#[track_caller]
pub fn wait_view<T>(m: &Machine, app: &str, what: &str, probe: impl Fn(&Value) -> Option<T>) -> T {
    m.wait_for(SOON, what, || probe(&view(m, app)))
}

/// How often systemd started the app, whoever asked for it.
#[track_caller]
pub fn starts(m: &Machine) -> usize {
    // SD_MESSAGE_UNIT_STARTED, sd-messages(3).
    m.entries("-b UNIT=web.service MESSAGE_ID=39f53479d3a045ac8e11786248231fbf").len()
}

/// One of a unit's timestamps (a property that ends in `Monotonic`), comparable with `now()`.
#[track_caller]
pub fn timestamp(m: &Machine, unit: &str, property: &str) -> Duration {
    Duration::from_micros(m.unit_property(unit, property).parse().unwrap_or(0))
}

/// When the fixture of `unit` said something that begins with `text`, at or after `since`.
#[track_caller]
pub fn said_at(m: &Machine, unit: &str, text: &str, since: Duration) -> Vec<Duration> {
    m.entries(&format!("-b -u {unit}"))
        .iter()
        .filter(|fields| {
            fields.get("MESSAGE").and_then(Value::as_str).is_some_and(|said| said.starts_with(text))
        })
        .filter_map(|fields| fields.get("__MONOTONIC_TIMESTAMP")?.as_str()?.parse().ok())
        .map(Duration::from_micros)
        .filter(|at| *at >= since)
        .collect()
}

/// A shell line as a user without any privilege.
#[track_caller]
pub fn as_nobody(m: &Machine, line: &str) -> Output {
    m.run(&format!("setpriv --reuid=nobody --regid=nogroup --clear-groups -- {line}"))
}

/// When the host goes down, the monitor is not told to end before it can have heard of that.
pub fn outlast(m: &Machine) {
    m.write(
        "/etc/systemd/system/linger.service",
        "[Unit]\nAfter=app-monitor.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/usr/bin/true\nExecStop=/usr/bin/sleep 2\n",
    );
    m.must("systemctl daemon-reload && systemctl start linger");
}
