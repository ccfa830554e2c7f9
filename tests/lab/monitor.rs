//! The monitor itself falls, hangs, is told to go, or loses what it talks to.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, count, in_second_stop, starts, view, wait_view, watch};

/// An app whose loop can be blocked, so that its SIGTERM handler never runs.
fn stubborn() -> AppSpec {
    AppSpec { sigterm_handler: true, ..AppSpec::new("web", 3000) }
}

fn kill_monitor(m: &Machine) -> Duration {
    let at = now();
    m.must(&format!("kill -KILL {}", m.main_pid(UNIT)));
    at
}

/// A crash is recovered by whatever monitor is there.
fn crash_is_recovered(m: &Machine) {
    let at = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-started", at);
    m.wait_http_ok(SOON, 3000, "/api/health");
    m.wait_event(SOON, "web", "recovery-verified", at);
}

#[test]
fn monitor_killed_in_the_stop_half_finishes_the_recovery() {
    scenario("killed-in-stop", |m| {
        watch(m, &stubborn(), "kill_after = \"3s\"\nmin_uptime = \"4s\"");
        let at = m.fault("web", "block");
        m.wait_event(SOON, "web", "recovery-started", at);
        m.wait_property(SOON, "web.service", "ActiveState", "deactivating");
        kill_monitor(m);
        m.wait_http_ok(SOON, 3000, "/api/health");
        let attempts = wait_view(m, "web", "it is verified", |view| {
            (view["recovery"] == "verifying").then(|| view["attempts_left"].clone())
        });
        assert_eq!(attempts, 2, "counted once");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(m.unit_property(UNIT, "NRestarts"), "1");
        assert_eq!(count(m, "web", "incident-opened", at), 1);
        assert_eq!(count(m, "web", "recovery-failed", at), 0);
        assert_eq!(starts(m), 2, "the first start and the recovery's: finished, not repeated");
        assert_eq!(view(m, "web")["attempts_left"], 3);
    });
}

/// A second attempt on a unit with KillMode=process has a stop and a start of its own; both end
/// well though the monitor dies in between.
fn second_attempt(name: &str, stop_takes: &str, monitor_is_away: &str) {
    scenario(name, |m| {
        m.drop_in(UNIT, &format!("[Service]\nRestartSec={monitor_is_away}\n"));
        let app = AppSpec {
            service_lines: format!("KillMode=process\nExecStopPost=/bin/sleep {stop_takes}"),
            ..AppSpec::new("web", 3000)
        };
        watch(m, &app, "stop_timeout = \"10s\"");
        let at = in_second_stop(m);
        kill_monitor(m);
        m.wait_http_ok(SOON, 3000, "/api/health");
        let attempts = wait_view(m, "web", "it is verified", |view| {
            (view["recovery"] == "verifying").then(|| view["attempts_left"].clone())
        });
        assert_eq!(attempts, 1, "counted once");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(count(m, "web", "stopped-by-admin", at), 0);
        assert_eq!(starts(m), 3, "finished, not repeated");
    });
}

#[test]
fn monitor_killed_while_its_stop_runs_starts_the_app() {
    second_attempt("killed-while-stopping", "3", "1s");
}

#[test]
fn monitor_killed_between_stop_and_start_starts_the_app() {
    second_attempt("killed-between", "1", "3s");
}

#[test]
fn monitor_frozen_is_restarted_by_the_watchdog() {
    scenario("frozen-monitor", |m| {
        assert_eq!(m.unit_property(UNIT, "WatchdogUSec"), "30s");
        m.drop_in(UNIT, "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n");
        m.must("systemctl restart app-monitor");
        watch(m, &AppSpec::new("web", 3000), "");
        let before = m.main_pid(UNIT);
        m.must(&format!("kill -STOP {before}"));
        m.wait_for(SOON, "another monitor", || {
            (![0, before].contains(&m.main_pid(UNIT)) && view(m, "web")["verdict"] == "healthy").then_some(())
        });
        assert!(m.journal_of(UNIT).contains("Watchdog timeout"));
        crash_is_recovered(m);
    });
}

#[test]
fn monitor_is_gone_within_a_second() {
    scenario("sigterm-idle", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let app = m.main_pid("web.service");
        let pid = m.main_pid(UNIT);
        let before = now();
        m.must(&format!("kill -TERM {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.02; done"));
        assert!(now() - before < Duration::from_secs(1), "{:?}", now() - before);
        assert_eq!(m.main_pid("web.service"), app);
    });
}

#[test]
fn monitor_told_to_go_between_stop_and_start_leaves_the_app_up() {
    scenario("sigterm-in-stop", |m| {
        let app = AppSpec {
            service_lines: "KillMode=process\nExecStopPost=/bin/sleep 2".into(),
            ..AppSpec::new("web", 3000)
        };
        watch(m, &app, "stop_timeout = \"10s\"");
        let at = in_second_stop(m);
        let before = now();
        m.must("systemctl stop app-monitor");
        assert!(now() - before < Duration::from_secs(5), "{:?}", now() - before);
        m.wait_http_ok(Duration::from_secs(5).saturating_sub(now() - before), 3000, "/api/health");
        assert_eq!(m.unit_property(UNIT, "ActiveState"), "inactive");
        // The next monitor finds the recovery done, and sees it through.
        m.must("systemctl start app-monitor");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(count(m, "web", "recovery-started", at), 2);
    });
}

#[test]
fn monitor_told_to_go_in_the_stop_half_of_a_restart_leaves_it_to_systemd() {
    scenario("sigterm-in-restart", |m| {
        let app = AppSpec { service_lines: "ExecStopPost=/bin/sleep 2".into(), ..AppSpec::new("web", 3000) };
        watch(m, &app, "stop_timeout = \"10s\"");
        m.fault("web", "status 500");
        m.wait_property(SOON, "web.service", "ActiveState", "deactivating");
        let before = now();
        m.must("systemctl stop app-monitor");
        assert!(now() - before < Duration::from_secs(1), "{:?}", now() - before);
        m.wait_http_ok(SOON, 3000, "/api/health");
    });
}

#[test]
fn monitor_that_is_started_answers_at_once() {
    scenario("started", |m| {
        m.must("systemctl stop app-monitor");
        for turn in 1..=20 {
            let said = m.run("systemctl start app-monitor && app-monitor status; echo status $?");
            assert!(
                said.stdout.ends_with("status 0"),
                "at the start no. {turn}: {} {}",
                said.stdout,
                said.stderr
            );
            m.must("systemctl stop app-monitor");
        }
    });
}

#[test]
fn monitor_survives_a_restart_of_the_bus_and_of_the_journal() {
    scenario("bus-and-journal", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let pid = m.main_pid(UNIT);
        m.must("systemctl restart dbus.service");
        wait_view(m, "web", "it answers on the new bus", |view| (view["verdict"] == "healthy").then_some(()));
        crash_is_recovered(m);

        m.must("systemctl restart systemd-journald.service");
        crash_is_recovered(m);
        assert_eq!(m.main_pid(UNIT), pid, "the same monitor all along");
        assert_eq!(count(m, "web", "stopped-by-admin", Duration::ZERO), 0);
    });
}

#[test]
fn monitor_survives_reexec_and_reload_of_systemd() {
    scenario("reexec", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let pid = m.main_pid(UNIT);
        m.must("systemctl daemon-reexec");
        crash_is_recovered(m);
        m.must("systemctl daemon-reload");
        crash_is_recovered(m);
        assert_eq!(m.main_pid(UNIT), pid, "the same monitor all along");
        assert_eq!(m.unit_property(UNIT, "ActiveState"), "active");
    });
}
