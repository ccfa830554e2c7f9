//! The app goes down, and nobody asked.

use std::time::Duration;

use crate::machine::{AppSpec, scenario};
use crate::support::{SOON, config, count, let_pass, lines, recovered_from, starts, watch};

#[test]
fn exit_1_is_recovered_at_once() {
    scenario("crash-exit-1", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        let failed = m.unit_failed_at("web.service", at);
        let acted = m.wait_event(SOON, "web", "recovery-started", at);
        assert!(acted.at - failed.unwrap_or(at) < Duration::from_millis(250), "{:?}", acted.at - at);
        let events = recovered_from(m, "crashed", at);
        assert!(lines(&events).contains("exited with status 1"), "{}", lines(&events));
    });
}

#[test]
fn sigkill_is_recovered() {
    scenario("crash-sigkill", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = crate::machine::now();
        m.must("kill -KILL $(systemctl show --property=MainPID --value web)");
        let events = recovered_from(m, "crashed", at);
        assert!(lines(&events).contains("killed by SIGKILL"), "{}", lines(&events));
    });
}

#[test]
fn clean_exit_that_nobody_asked_for_is_recovered() {
    scenario("exit-0-enabled", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "exit 0");
        let events = recovered_from(m, "crashed", at);
        assert!(lines(&events).contains("exited with status 0"), "{}", lines(&events));
    });
}

/// systemd forgets such a unit when it ends, and with it how it ended, unless somebody holds it.
#[test]
fn clean_exit_of_a_unit_that_nothing_wants_is_recovered() {
    scenario("exit-0-unwanted", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.enabled = false;
        watch(m, &app, "");
        let at = m.fault("web", "exit 0");
        recovered_from(m, "crashed", at);
    });
}

#[test]
fn start_limit_is_reset_once_systemd_gave_up() {
    scenario("start-limit-hit", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.restart = "always".to_owned();
        watch(m, &app, "verify_within = \"30s\"\nmax_attempts = 10");
        m.break_starts("web", "crash");
        let at = m.fault("web", "crash");
        let acted = m.wait_event(SOON, "web", "incident-opened", at);
        assert!(acted.message.contains("systemd gave up"), "{}", acted.message);
        m.mend("web");
        m.wait_event(SOON, "web", "incident-closed", at);
        let events = m.events_since("web", at);
        let reset = events.iter().find(|event| event.message.contains("reset-failed: done"));
        assert!(reset.is_some_and(|reset| reset.at >= acted.at), "{}", lines(&events));
        assert!(events.iter().any(|event| event.field("APP_MONITOR_VERDICT") == "systemd-restarting"));
        assert_eq!(m.http(3000, "/api/health").status, 200);
    });
}

#[test]
fn what_systemd_heals_itself_is_left_to_it() {
    scenario("systemd-restarting", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.restart = "always".to_owned();
        app.service_lines = "RestartSec=1".to_owned();
        watch(m, &app, "");
        let at = m.fault("web", "crash");
        m.wait_verdict(SOON, "web", "systemd-restarting", at);
        m.wait_verdict(SOON, "web", "healthy", at);
        let events = m.events_since("web", at);
        assert_eq!(count(m, "web", "recovery-started", at), 0, "{}", lines(&events));
        assert_eq!(count(m, "web", "incident-opened", at), 0, "{}", lines(&events));
        assert_eq!(m.unit_property("web.service", "NRestarts"), "1");
        // By us (install_app), and by systemd.
        assert_eq!(starts(m), 2, "somebody else started it as well");
    });
}

/// The app's parent ends, its child holds the port on, stuck (KillMode=process): a start alone
/// would fail, so what is left of the app's own unit is ended first.
#[test]
fn leftovers_of_kill_mode_process_are_ended_before_the_start() {
    scenario("leftovers", |m| {
        m.write("/srv/web/parent.js", include_str!("app/parent.js"));
        let mut app = AppSpec::new("web", 3000);
        app.service_lines = "KillMode=process\nExecStart=\nExecStart=/usr/bin/node parent.js".to_owned();
        watch(m, &app, "");
        let at = crate::machine::now();
        let parent = m.main_pid("web.service");
        m.must(&format!(
            "for pid in $(cat /sys/fs/cgroup/system.slice/web.service/cgroup.procs); do \
             [ $pid = {parent} ] || kill -STOP $pid; done; kill -KILL {parent}"
        ));
        m.wait_event(SOON, "web", "incident-closed", at);
        let events = m.events_since("web", at);
        assert_eq!(count(m, "web", "recovery-started", at), 1, "{}", lines(&events));
        let ended = |message: &str| message.contains("ended node") && message.contains("held port 3000");
        assert!(
            events.iter().any(|event| event.name == "step-done" && ended(&event.message)),
            "{}",
            lines(&events)
        );
        assert_eq!(m.http(3000, "/api/health").status, 200);
        let processes = m.must("cat /sys/fs/cgroup/system.slice/web.service/cgroup.procs | wc -l");
        assert_eq!(processes, "2", "parent and child");
    });
}

/// A unit that its socket starts may end when it has nothing to do. Looking at its port would wake
/// it.
#[test]
fn socket_activated_app_may_idle() {
    scenario("socket-idle", |m| {
        m.write(
            "/etc/systemd/system/web.socket",
            "[Socket]\nListenStream=127.0.0.1:3000\n\n[Install]\nWantedBy=sockets.target\n",
        );
        let mut app = AppSpec::new("web", 3000);
        app.enabled = false;
        app.service_lines = "Environment=LISTEN_ON=3".to_owned();
        app.unit_lines = "Requires=web.socket\nAfter=web.socket".to_owned();
        m.install_app(&app);
        m.configure(&config(""));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        let at = m.fault("web", "exit 0");
        m.wait_verdict(SOON, "web", "idle", at);
        // Several rounds' worth.
        let_pass(Duration::from_secs(4));
        assert_eq!(m.unit_property("web.service", "ActiveState"), "inactive", "somebody woke it");
        let events = m.events_since("web", at);
        assert_eq!(events.len(), 1, "{}", lines(&events));
        let status = m.run("app-monitor status web");
        assert!(status.ok() && status.stdout.contains("idle"), "{status:?}");
        let woken = crate::machine::now();
        assert_eq!(m.http(3000, "/api/health").status, 200);
        m.wait_verdict(SOON, "web", "healthy", woken);
    });
}
