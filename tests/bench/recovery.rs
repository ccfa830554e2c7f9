//! What a recovery adds to the app's own stop and start, from the decision on.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, Machine};
use crate::{Target, title};

/// Recoveries of each kind.
const TIMES: usize = 5;
const SOON: Duration = Duration::from_secs(20);

const CONFIG: &str = "[app.web]
unit = \"web.service\"
port = 3000
http = \"/api/health\"
check_interval = \"1s\"
confirm_interval = \"500ms\"
startup_interval = \"500ms\"
suspect_after = \"500ms\"
timeout = \"1s\"
startup_grace = \"3s\"
min_uptime = \"2s\"
cooldown = \"1s\"
cooldown_max = \"1s\"
";

/// One helper while the app is down, and where the fault is acted on at once, one before.
const HELPERS: &str = "clear_caches = \"always\"\npreflight = { files = [\"server.js\"] }\n";

/// Runs it; the targets that were missed or met.
pub fn run() -> Vec<Target> {
    title("Decision to listening, beyond the app's own stop and start");
    let kinds = [
        ("recovery from a crash (ms)", "crash", ""),
        ("recovery from a blocked event loop (ms)", "block", ""),
        ("the same, caches cleared (ms)", "block", HELPERS),
        ("recovery from a crash, preflight, caches cleared (ms)", "crash", HELPERS),
    ];
    kinds.map(|(what, fault, lines)| Target::at_most(what, median(what, fault, lines), 150.0)).into()
}

fn median(what: &str, fault: &str, lines: &str) -> f64 {
    let machine = Machine::boot("bench-recovery");
    machine.install_app(&AppSpec::new("web", 3000));
    machine.configure(&format!("{CONFIG}{lines}"));
    machine.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let mut all: Vec<f64> = (0..TIMES).map(|_| once(&machine, fault)).collect();
    let told: Vec<String> = all.iter().map(|more| format!("{more:.0}")).collect();
    println!("{what}: {}", told.join(", "));
    all.sort_by(f64::total_cmp);
    all.get(TIMES / 2).copied().unwrap_or(f64::NAN)
}

fn once(machine: &Machine, fault: &str) -> f64 {
    // Each is the first of its kind: what did not hold takes more measures.
    machine.must("app-monitor reset web; mkdir -p /srv/web/.next/cache; touch /srv/web/.next/cache/some");
    let at = machine.fault("web", fault);
    let decided = machine.wait_event(SOON, "web", "recovery-started", at).at;
    machine.wait_event(SOON, "web", "incident-closed", at);
    let back = machine
        .entries("-u web.service")
        .iter()
        .rev()
        .find(|entry| {
            entry.get("MESSAGE").and_then(Value::as_str).is_some_and(|text| text.contains("listening on"))
        })
        .and_then(|entry| entry.get("__MONOTONIC_TIMESTAMP")?.as_str()?.parse().ok())
        .map(Duration::from_micros)
        .expect("it listens again");
    let of = |property| {
        let text = machine.unit_property("web.service", property);
        Duration::from_micros(text.parse().unwrap_or_else(|_| panic!("{property}={text}")))
    };
    let own_start = back - of("ExecMainStartTimestampMonotonic");
    // A crash leaves nothing to stop.
    let own_stop = match fault {
        "crash" => Duration::ZERO,
        _ => of("InactiveEnterTimestampMonotonic") - of("ActiveExitTimestampMonotonic"),
    };
    (back - decided).saturating_sub(own_stop + own_start).as_secs_f64() * 1000.0
}
