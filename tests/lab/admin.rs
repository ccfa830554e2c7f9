//! An administrator stops, starts, restarts: that is respected, whatever it looks like, and
//! whoever looked meanwhile.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, cache, now, scenario};
use crate::support::{SOON, assert_none, assert_quiet, count, let_pass, view, watch};

/// Stopping it takes until systemd loses patience.
fn stubborn(patience: u32) -> AppSpec {
    let mut app = AppSpec::new("web", 3000);
    app.service_lines = format!("KillSignal=SIGCONT\nTimeoutStopSec={patience}");
    app
}

/// Waits until the stop was understood, and sees to it that it stays stopped until it is started.
#[track_caller]
fn stays_stopped_until_started(m: &Machine, since: Duration) {
    m.wait_event(SOON, "web", "stopped-by-admin", since);
    // A wrong conclusion would be drawn from the next readings.
    let_pass(Duration::from_millis(1500));
    assert_ne!(m.unit_property("web.service", "ActiveState"), "active");
    let at = now();
    m.must("systemctl start web");
    m.wait_verdict(SOON, "web", "healthy", at);
    assert_quiet(m, since);
}

#[test]
fn stop_is_respected_and_start_picked_up_again() {
    scenario("stop", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        m.must("systemctl stop web");
        stays_stopped_until_started(m, at);
        // Watched as before: the next crash is recovered.
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
    });
}

#[test]
fn stop_that_ends_in_failed_is_a_stop() {
    scenario("stop-failed", |m| {
        let mut app = AppSpec::new("web", 3000);
        // The signal that stops it has it do its fault: it ends with status 1.
        app.service_lines = "KillSignal=SIGUSR2".to_owned();
        watch(m, &app, "");
        m.write("/srv/web/fault", "crash\n");
        let at = now();
        m.must("systemctl stop web");
        m.wait_property(SOON, "web.service", "Result", "exit-code");
        assert_eq!(m.unit_property("web.service", "ActiveState"), "failed");
        stays_stopped_until_started(m, at);

        m.drop_in("web.service", "[Service]\nKillSignal=SIGCONT\nTimeoutStopSec=1\n");
        let at = now();
        m.must("systemctl stop web");
        assert_eq!(m.unit_property("web.service", "Result"), "timeout");
        stays_stopped_until_started(m, at);
    });
}

#[test]
fn stop_while_the_monitor_was_down_is_a_stop() {
    scenario("stop-away", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        // A unit that is wanted stays loaded, with its timestamps.
        let at = now();
        m.must("systemctl stop app-monitor; systemctl stop web; systemctl start app-monitor");
        assert_ne!(m.unit_property("web.service", "InactiveEnterTimestampMonotonic"), "0");
        stays_stopped_until_started(m, at);

        // So does one that failed.
        m.write("/srv/web/fault", "crash\n");
        m.drop_in("web.service", "[Service]\nKillSignal=SIGUSR2\n");
        let at = now();
        m.must("systemctl stop app-monitor; systemctl stop web; systemctl start app-monitor");
        assert_eq!(m.unit_property("web.service", "ActiveState"), "failed");
        stays_stopped_until_started(m, at);

        // A crash while nobody looked is no stop.
        m.must("systemctl stop app-monitor");
        m.fault("web", "crash");
        m.wait_property(SOON, "web.service", "ActiveState", "failed");
        let at = now();
        m.must("systemctl start app-monitor");
        m.wait_event(SOON, "web", "recovery-verified", at);
    });
}

#[test]
fn stop_of_an_unwanted_unit_while_the_monitor_was_down_is_a_stop() {
    scenario("stop-unloaded", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.enabled = false;
        watch(m, &app, "");
        let at = now();
        m.must("systemctl stop app-monitor; systemctl stop web");
        assert_eq!(m.unit_property("web.service", "InactiveEnterTimestampMonotonic"), "0", "it was kept");
        m.must("systemctl start app-monitor");
        let stopped = m.wait_event(SOON, "web", "stopped-by-admin", at);
        assert!(stopped.message.contains("nobody watched"), "{}", stopped.message);
        stays_stopped_until_started(m, at);
    });
}

#[test]
fn stop_outlasts_an_upgrade_of_the_monitor() {
    scenario("stop-upgrade", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.copy_in(&cache::package(), "/root/app-monitor.deb");
        let at = now();
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        let upgraded = now();
        m.must("apt-get install --yes --reinstall /root/app-monitor.deb");
        m.wait_property(SOON, "app-monitor.service", "ActiveState", "active");
        stays_stopped_until_started(m, upgraded);
        assert_quiet(m, at);
    });
}

#[test]
fn stop_during_the_pause_before_an_automatic_restart_is_a_stop() {
    scenario("stop-healing", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.restart = "on-failure".to_owned();
        app.service_lines = "RestartSec=5".to_owned();
        watch(m, &app, "");
        for away in [false, true] {
            let at = m.fault("web", "crash");
            m.wait_property(SOON, "web.service", "SubState", "auto-restart");
            m.wait_verdict(SOON, "web", "systemd-restarting", at);
            let stop = if away {
                "systemctl stop app-monitor; systemctl stop web; systemctl start app-monitor"
            } else {
                "systemctl stop web"
            };
            m.must(stop);
            stays_stopped_until_started(m, at);
        }
        // Left alone, systemd's own restart is enough.
        let at = m.fault("web", "crash");
        m.wait_verdict(SOON, "web", "healthy", at);
        assert_quiet(m, at);
    });
}

#[test]
fn restarts_and_deploys_are_no_failures() {
    scenario("deploy", |m| {
        let mut app = AppSpec::new("web", 3000);
        // From 254 on a reload of the manager does not forget how often a unit was started.
        app.unit_lines = "StartLimitIntervalSec=0".to_owned();
        watch(m, &app, "");
        let at = now();
        let left = view(m, "web")["attempts_left"].clone();
        for deploy in [
            "systemctl restart web",
            "systemctl stop web; systemctl start web",
            "systemctl stop web; sleep 1; systemctl start web",
            // One that hangs in its stop (a drop-in sees to that), and is helped along.
            "mkdir /run/systemd/system/web.service.d; \
             printf '[Service]\nKillSignal=SIGCONT\n' > /run/systemd/system/web.service.d/hang.conf; \
             systemctl daemon-reload; systemctl restart --no-block web; systemctl kill --signal=KILL web",
        ] {
            let began = now();
            m.must(deploy);
            m.wait_verdict(SOON, "web", "healthy", began);
        }
        assert_quiet(m, at);
        assert!(left.is_u64(), "{left}");
        assert_eq!(view(m, "web")["attempts_left"], left);

        // Killed first and restarted then, it is a crash until somebody restarts it: whether that is
        // before or after we began, it costs no attempt. With the drop-in, a restart of what we had begun
        // again by then would hang in its stop, and nobody would help it along.
        let at = now();
        m.must(
            "rm -r /run/systemd/system/web.service.d; systemctl daemon-reload; \
             systemctl kill --signal=KILL web; systemctl restart web",
        );
        m.wait_verdict(SOON, "web", "healthy", at);
        if count(m, "web", "incident-opened", at) > 0 {
            m.wait_event(SOON, "web", "incident-closed", at);
        }
        assert_none(m, &["step-failed", "breaker-opened", "stopped-by-admin"], at);
        let started = count(m, "web", "recovery-started", at);
        let gave_way = m.events_since("web", at).into_iter().filter(|event| event.name == "recovery-failed");
        let gave_way: Vec<String> = gave_way.map(|event| event.message).collect();
        assert!(started <= 1 && gave_way.len() <= started, "{started}: {gave_way:?}");
        assert!(gave_way.iter().all(|text| text.contains("it does not count as an attempt")), "{gave_way:?}");
        assert_eq!(view(m, "web")["attempts_left"], left);
    });
}

/// Breaks the app's health, and waits until its recovery is in the middle of the stop half.
#[track_caller]
fn in_mid_recovery(m: &Machine) -> Duration {
    let at = m.fault("web", "status 500");
    m.wait_event(SOON, "web", "recovery-started", at);
    m.wait_property(SOON, "web.service", "ActiveState", "deactivating");
    at
}

#[test]
fn stop_in_the_middle_of_a_recovery_wins() {
    scenario("stop-amid", |m| {
        watch(m, &stubborn(4), "");
        let at = in_mid_recovery(m);
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        let_pass(Duration::from_millis(1500));
        assert_ne!(m.unit_property("web.service", "ActiveState"), "active");
        assert_eq!(count(m, "web", "recovery-started", at), 1);
        let started = now();
        m.must("systemctl start web");
        m.wait_verdict(SOON, "web", "healthy", started);
        assert_none(m, &["recovery-started"], started);
        // What somebody cut short was no attempt.
        assert_eq!(view(m, "web")["attempts_left"], 3);
    });
}

#[test]
fn restart_in_the_middle_of_a_recovery_wins() {
    scenario("restart-amid", |m| {
        watch(m, &stubborn(4), "");
        let at = in_mid_recovery(m);
        m.must("systemctl restart web");
        m.wait_verdict(SOON, "web", "healthy", at);
        m.wait_event(SOON, "web", "incident-closed", at);
        assert_eq!(count(m, "web", "recovery-started", at), 1, "the administrator's restart was enough");
        assert_none(m, &["breaker-opened", "stopped-by-admin"], at);
        // One restart, not one after the other.
        assert_eq!(m.journal_of("web.service").matches("starting, pid").count(), 2);
    });
}
