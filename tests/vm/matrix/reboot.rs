//! The power goes in the middle of an incident.

use std::time::Duration;

use super::seen::Seen;
use super::show;
use crate::machine::{AppSpec, Machine};
use crate::pace::{SOON, config, healthy, install};
use crate::support::{count, table, view, wait_view};

#[test]
fn reboot() {
    let m = Machine::boot("reboot", "640M");
    // While this file is there, the app's start goes on and on; it does not outlast the boot.
    let slow = "ExecStartPre=/bin/sh -c 'while [ -e /run/hold ]; do sleep 1; done'\nTimeoutStartSec=300";
    install(&m, &AppSpec { service_lines: slow.to_owned(), ..AppSpec::new("web", 3000) });
    install(&m, &AppSpec { enabled: false, ..AppSpec::new("off", 3001) });
    // Nothing of it takes time.
    m.write(
        "/etc/systemd/system/gone.service",
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    );
    m.must("systemctl daemon-reload && systemctl --quiet enable --now gone.service");
    m.configure(&(config("") + &table("off", 3001, "") + "[app.gone]\nunit = \"gone.service\"\n"));
    for app in ["web", "off", "gone"] {
        healthy(&m, app);
    }
    show(&m, &[("reboot", power_cut)]);
}

/// The second attempt is under way when the power goes. The boot starts what is enabled, and nothing
/// is done again, nor is anything forgotten.
fn power_cut(m: &Machine) -> Seen {
    m.break_starts("web", "crash");
    m.must("systemctl --quiet disable --now gone.service");
    m.wait_event(SOON, "gone", "stopped-by-admin", Duration::ZERO);
    let at = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-failed", at);
    m.must("touch /run/hold");
    m.mend("web");
    m.wait_for(SOON, "the second attempt starts it", || {
        let second = count(m, "web", "recovery-started", at) >= 2;
        (second && m.unit_property("web.service", "ActiveState") == "activating").then_some(())
    });
    let before = view(m, "web");
    let incidents = m.must("ls /var/lib/app-monitor/incidents").lines().count();
    m.power_cycle();

    healthy(m, "web");
    let after =
        wait_view(m, "web", "it is healthy", |view| (view["verdict"] == "healthy").then(|| view.clone()));
    // One ran when the power went, though disabled; somebody had disabled and stopped the other.
    let down = ["off", "gone"].map(|app| {
        let verdict = view(m, app)["verdict"].as_str().unwrap_or("?").to_owned();
        format!("{app} {verdict} {}", m.unit_property(&format!("{app}.service"), "ActiveState"))
    });
    let left = |view: &serde_json::Value| view["attempts_left"].as_u64().unwrap_or(99);
    let (had, has) = (left(&before), left(&after));
    let kept = m.must("ls /var/lib/app-monitor/incidents").lines().count();
    let acts = count(m, "", "recovery-started", Duration::ZERO);
    Seen::since(m, Duration::ZERO, before["verdict"].as_str().unwrap_or("?"))
        .and(acts == 0, || format!("{acts} recoveries after the boot"))
        .and(has <= had && had < 3, || format!("{had} attempts left before, {has} after"))
        .and(down == ["off", "gone"].map(|app| format!("{app} not-started inactive")), || down.join(", "))
        .and(kept >= incidents && incidents > 0, || format!("{incidents} incidents before, {kept} after"))
        .figure(format!("{had} of 3 attempts left before, {has} after"))
}
