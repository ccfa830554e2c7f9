//! What systemd says of the app's unit, and who made it so.

use std::time::Duration;

use super::rows;
use super::seen::{Seen, broken_by, called_within, condition, healthy, held, recovered};
use crate::machine::{AppSpec, Machine, now};
use crate::support::{SOON, config, let_pass, outlast, watch};

rows! {
    Lab not_found: "unit file taken away" => "not-found", "none", 0;
    Lab masked: "unit masked, then the app dies" => "masked", "none", 0;
    Lab shutting_down: "host goes down while the app stops" => "shutting-down", "none", 1;
    Lab paused: "paused, then the event loop blocks" => "paused", "none", 0;
    Lab frozen_unit: "unit frozen by the administrator" => "paused", "none", 0;
    Lab stopped_by_admin: "systemctl stop" => "stopped-by-admin", "none", 0;
    Lab stopped_with_dependency: "stopped with a unit that it requires" => "stopped-with-dependency", "start", 1;
    Lab kept_down: "kept down at boot by a failed dependency" => "not-started", "start", 1;
    Lab never_started: "disabled, never started in this boot" => "not-started", "none", 0;
    Lab idle: "ended by itself, its socket listens" => "idle", "none", 0;
    Lab deploy: "a restart by hand that takes its time" => "changing", "none", 1;
    Lab deploy_for_ever: "a restart by hand that waits for ever" => "overdue", "none", 0;
    Lab systemd_restarting: "crash, Restart=always" => "systemd-restarting", "none", 1;
    Lab slow_start: "a start that takes 4 s" => "starting", "none", 1;
    Lab exit_1: "exits with status 1" => "crashed", "reset-failed, start", 1;
    Lab exit_0: "exits with status 0, nobody asked" => "crashed", "start", 1;
    Lab sigkill: "killed by SIGKILL" => "crashed", "reset-failed, start", 1;
    Lab sigabrt: "dumps core" => "crashed", "reset-failed, start", 1;
    Lab watchdog: "systemd's own watchdog kills it" => "crashed", "reset-failed, start", 1;
    Lab start_limit: "systemd gave up (start-limit-hit)" => "crashed", "reset-failed, start", 5;
    Lab quiet: "nothing" => "healthy", "none", 0;
}

/// Something that the app needs. It comes up while /srv/db-ok exists, and stays up.
const NEEDED: &str = "[Service]\nExecStartPre=/usr/bin/test -e /srv/db-ok\nExecStart=/usr/bin/sleep infinity\n\
    [Install]\nWantedBy=multi-user.target\n";

fn needing() -> AppSpec {
    let mut app = AppSpec::new("web", 3000);
    app.unit_lines = "Requires=needed.service\nAfter=needed.service".to_owned();
    app
}

fn not_found(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    m.must("mv /etc/systemd/system/web.service /root/ && systemctl daemon-reload");
    held(m, at, "not-found")
}

fn masked(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    // A unit file in /etc stands in the way of a mask there.
    m.must(
        "mv /etc/systemd/system/web.service /lib/systemd/system/ && systemctl daemon-reload \
         && systemctl mask web && systemctl kill --signal=KILL web",
    );
    held(m, at, "masked")
}

fn shutting_down(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    // It takes a while, so that there is something to see.
    app.service_lines = "KillSignal=SIGCONT\nTimeoutStopSec=2".to_owned();
    m.must("mkdir -p /var/log/journal && systemctl restart systemd-journald && journalctl --flush");
    m.install_app(&app);
    m.configure(&config(""));
    m.must("systemctl --quiet enable app-monitor");
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    outlast(m);
    let at = now();
    m.reboot();
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let before = m.entries("-b -1 APP_MONITOR_APP=web");
    let text = |entry: &serde_json::Map<String, serde_json::Value>, field: &str| {
        entry.get(field).and_then(serde_json::Value::as_str).unwrap_or("").to_owned()
    };
    let acted = before.iter().any(|entry| text(entry, "APP_MONITOR_EVENT") == "recovery-started");
    let last = before.last().map(|entry| text(entry, "APP_MONITOR_VERDICT")).unwrap_or_default();
    Seen::since(m, at, &last).and(!acted, || "it acted in the boot that went down".to_owned())
}

fn paused(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    m.must("app-monitor pause web --for 10m --reason 'a deploy'");
    m.fault("web", "block");
    // As long as it takes to call it frozen.
    let_pass(Duration::from_secs(4));
    held(m, at, "paused")
}

fn frozen_unit(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    m.must("systemctl freeze web");
    let_pass(Duration::from_secs(4));
    held(m, at, "paused")
}

fn stopped_by_admin(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    m.must("systemctl stop web");
    held(m, at, "stopped-by-admin")
}

fn stopped_with_dependency(m: &Machine) -> Seen {
    m.write("/etc/systemd/system/needed.service", NEEDED);
    m.write("/srv/db-ok", "");
    m.must("systemctl daemon-reload && systemctl start needed");
    watch(m, &needing(), "");
    let at = now();
    m.must("systemctl stop needed");
    let held = held(m, at, "stopped-with-dependency");
    let early = held.starts;
    m.must("systemctl start needed");
    m.wait_http_ok(SOON, 3000, "/api/health");
    Seen::since(m, at, &held.verdict).and(early == 0, || "started while what it needs was down".to_owned())
}

fn kept_down(m: &Machine) -> Seen {
    m.write("/etc/systemd/system/needed.service", NEEDED);
    m.write("/srv/db-ok", "");
    m.install_app(&needing());
    m.configure(&config(""));
    m.must("systemctl --quiet enable needed app-monitor");
    m.must("rm /srv/db-ok");
    m.reboot();
    let at = Duration::ZERO;
    let held = held(m, at, "not-started");
    let early = held.starts;
    m.write("/srv/db-ok", "");
    m.must("systemctl start needed");
    m.wait_http_ok(SOON, 3000, "/api/health");
    Seen::since(m, at, &held.verdict).and(early == 0, || "started while what it needs was down".to_owned())
}

fn never_started(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.enabled = false;
    m.install_app(&app);
    m.configure(&config(""));
    m.must("systemctl --quiet enable app-monitor");
    m.reboot();
    held(m, Duration::ZERO, "not-started")
}

fn idle(m: &Machine) -> Seen {
    m.write(
        "/etc/systemd/system/web.socket",
        "[Socket]\nListenStream=127.0.0.1:3000\n\n[Install]\nWantedBy=sockets.target\n",
    );
    let mut app = AppSpec::new("web", 3000);
    app.enabled = false;
    app.service_lines = "Environment=LISTEN_ON=3".to_owned();
    app.unit_lines = "Requires=web.socket\nAfter=web.socket".to_owned();
    watch(m, &app, "");
    let at = m.fault("web", "exit 0");
    held(m, at, "idle")
}

/// The administrator's own restart, in the middle of which all checks fail.
fn deploy(m: &Machine) -> Seen {
    healthy(m, "");
    m.drop_in("web.service", "[Service]\nExecStartPre=/usr/bin/sleep 4\n");
    let at = now();
    m.must("systemctl restart --no-block web");
    let seen = held(m, at, "changing");
    m.wait_http_ok(SOON, 3000, "/api/health");
    Seen::since(m, at, &seen.verdict)
}

/// A job that waits for another unit has no deadline of systemd's.
fn deploy_for_ever(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    m.write(
        "/etc/systemd/system/needed.service",
        "[Service]\nType=oneshot\nExecStart=/usr/bin/sleep infinity\nTimeoutStartSec=infinity\n",
    );
    m.drop_in(
        "web.service",
        "[Unit]\nWants=needed.service\nAfter=needed.service\n[Service]\nTimeoutStartSec=1s\nTimeoutStopSec=1s\n",
    );
    m.must("systemctl restart --no-block web");
    condition(m, at, "overdue")
}

fn systemd_restarting(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.restart = "always".to_owned();
    app.service_lines = "RestartSec=2".to_owned();
    watch(m, &app, "");
    let at = m.fault("web", "crash");
    held(m, at, "systemd-restarting")
}

fn slow_start(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.start_delay = Duration::from_secs(4);
    m.install_app(&app);
    m.configure(&config("startup_grace = \"30s\""));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let at = now();
    m.must("systemctl restart web");
    let seen = held(m, at, "starting");
    m.wait_http_ok(SOON, 3000, "/api/health");
    Seen::since(m, at, &seen.verdict)
}

fn exit_1(m: &Machine) -> Seen {
    let at = broken_by(m, "crash");
    recovered(m, at)
}

fn exit_0(m: &Machine) -> Seen {
    let at = broken_by(m, "exit 0");
    recovered(m, at)
}

fn killed(m: &Machine, signal: &str) -> Seen {
    healthy(m, "");
    let at = now();
    m.must(&format!("kill -{signal} $(systemctl show --property=MainPID --value web)"));
    recovered(m, at)
}

fn sigkill(m: &Machine) -> Seen {
    killed(m, "KILL")
}

fn sigabrt(m: &Machine) -> Seen {
    killed(m, "ABRT")
}

/// Node never says that it is alive; with NotifyAccess a helper does, until it is gone.
fn watchdog(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.service_lines = "WatchdogSec=8s\nNotifyAccess=all\nWatchdogSignal=SIGKILL".to_owned();
    watch(m, &app, "");
    let at = now();
    recovered(m, at)
}

/// Five starts are allowed; the one before the fault is the first of them.
fn start_limit(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.restart = "always".to_owned();
    app.unit_lines = "StartLimitBurst=5\nStartLimitIntervalSec=1h".to_owned();
    watch(m, &app, "verify_within = \"30s\"\nmax_attempts = 10");
    m.break_starts("web", "crash-times 4");
    let at = m.fault("web", "crash");
    recovered(m, at)
}

fn quiet(m: &Machine) -> Seen {
    healthy(m, "");
    let_pass(Duration::from_secs(1));
    let at = now();
    let seen = called_within(m, at, Duration::from_secs(5), "none at all");
    let said = m.events_since("", at);
    seen.and(said.is_empty(), || format!("it said: {}", crate::support::lines(&said)))
}
