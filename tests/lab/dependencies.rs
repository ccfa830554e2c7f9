//! The app and the units that it needs, units that were never started, cannot be started, or are
//! being worked on, and the host going down.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, assert_none, assert_quiet, config, count, let_pass, outlast, watch};

/// Something that the app needs. It comes up while /srv/db-ok exists, and stays up.
const DB: &str = "[Unit]\nDescription=Fixture database\n[Service]\n\
    ExecStartPre=/usr/bin/test -e /srv/db-ok\nExecStart=/usr/bin/sleep infinity\n\
    [Install]\nWantedBy=multi-user.target\n";

fn with_database(lines: &str) -> AppSpec {
    let mut app = AppSpec::new("web", 3000);
    app.unit_lines = format!("After=db.service\n{lines}");
    app
}

fn goes_down_and_comes_back_with_its_database(name: &str, lines: &str, down: &str) {
    scenario(name, |m| {
        m.write("/etc/systemd/system/db.service", DB);
        m.write("/srv/db-ok", "");
        m.must("systemctl daemon-reload && systemctl start db");
        watch(m, &with_database(lines), "");
        let at = now();
        m.must(down);
        let verdict = m.wait_verdict(SOON, "web", "stopped-with-dependency", at);
        assert!(verdict.message.contains("db.service"), "{}", verdict.message);
        assert_ne!(m.unit_property("web.service", "ActiveState"), "active");
        assert_none(m, &["recovery-started"], at);
        let up = now();
        m.must("systemctl reset-failed db; systemctl start db");
        m.wait_verdict(SOON, "web", "healthy", up);
        m.wait_event(SOON, "web", "recovery-verified", up);
        assert_eq!(count(m, "web", "recovery-started", at), 1);
        assert_none(m, &["breaker-opened", "recovery-failed", "stopped-by-admin"], at);

        // A restart of the database is one job for both, and none of ours.
        let at = now();
        m.must("systemctl restart db");
        m.wait_verdict(SOON, "web", "healthy", at);
        assert_none(m, &["recovery-failed", "stopped-by-admin"], at);

        // The app alone, stopped by a person, is not started because its database is up.
        let at = now();
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
    });
}

#[test]
fn requires_database() {
    goes_down_and_comes_back_with_its_database("requires", "Requires=db.service", "systemctl stop db");
}

/// Between the two something else takes its time, and the monitor comes to look when all is over: no
/// timestamp says that they belong together.
#[test]
fn goes_down_with_its_database_though_a_late_monitor_saw_none_of_it() {
    scenario("late-look", |m| {
        m.write("/etc/systemd/system/db.service", DB);
        m.write("/srv/db-ok", "");
        m.write(
            "/etc/systemd/system/between.service",
            "[Unit]\nRequires=db.service\nAfter=db.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
             ExecStart=/usr/bin/true\nExecStop=/usr/bin/sleep 1\n",
        );
        m.must("systemctl daemon-reload && systemctl start between");
        let web = AppSpec {
            unit_lines: "Requires=db.service\nAfter=db.service between.service".to_owned(),
            ..AppSpec::new("web", 3000)
        };
        watch(m, &web, "");
        let late = |command: &str| {
            m.must(&format!("systemctl kill --signal=STOP {UNIT}"));
            m.must(command);
            m.must(&format!("systemctl kill --signal=CONT {UNIT}"));
        };
        let at = now();
        late("systemctl stop db");
        m.wait_verdict(SOON, "web", "stopped-with-dependency", at);
        let up = now();
        m.must("systemctl start db");
        m.wait_verdict(SOON, "web", "healthy", up);

        // Two calls are two wishes.
        let at = now();
        late("systemctl stop web; sleep 1; systemctl stop db");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        m.must("systemctl start db");
        let_pass(Duration::from_secs(2));
        assert_eq!(m.unit_property("web.service", "ActiveState"), "inactive");
    });
}

#[test]
fn stop_of_an_app_that_outlived_its_database_is_a_stop() {
    scenario("outlived", |m| {
        m.write("/etc/systemd/system/db.service", DB);
        m.write("/srv/db-ok", "");
        m.must("systemctl daemon-reload && systemctl start db");
        watch(m, &with_database("Requires=db.service"), "");
        let at = now();
        // Requires= hands a stop on, but not a crash.
        m.must("systemctl kill --signal=KILL db");
        m.wait_property(SOON, "db.service", "ActiveState", "failed");
        // The monitor has to have seen it; a reading follows the signal within milliseconds.
        let_pass(Duration::from_millis(500));
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        m.must("systemctl start db");
        let_pass(Duration::from_secs(2));
        assert_eq!(m.unit_property("web.service", "ActiveState"), "inactive");
        assert_quiet(m, at);
    });
}

#[test]
fn automatic_restart_that_fails_by_its_database_is_no_stop() {
    scenario("restart-without", |m| {
        m.write("/etc/systemd/system/db.service", DB);
        m.write("/srv/db-ok", "");
        m.must("systemctl daemon-reload && systemctl start db");
        let mut app = with_database("Requires=db.service");
        app.restart = "always".to_owned();
        app.service_lines = "RestartSec=1\nTimeoutStartSec=1".to_owned();
        watch(m, &app, "");
        let at = now();
        m.must("rm /srv/db-ok; systemctl kill --signal=KILL db");
        m.wait_property(SOON, "db.service", "ActiveState", "failed");
        m.must("systemctl kill --signal=KILL web");
        // On 252 it is down after that; on 257 it waits for ever in `auto-restart-queued`.
        m.wait_event(Duration::from_secs(60), "web", "recovery-failed", at);
        m.write("/srv/db-ok", "");
        let up = now();
        m.wait_event(Duration::from_secs(60), "web", "recovery-verified", up);
        assert_none(m, &["stopped-by-admin"], at);
    });
}

#[test]
fn binds_to_database() {
    let crash = "systemctl kill --signal=KILL db";
    goes_down_and_comes_back_with_its_database("binds-to", "BindsTo=db.service", crash);
}

#[test]
fn part_of_database() {
    goes_down_and_comes_back_with_its_database("part-of", "PartOf=db.service", "systemctl stop db");
}

#[test]
fn app_kept_down_by_a_failed_dependency_at_boot_is_told_apart() {
    let m = Machine::builder("kept-down")
        .file("/etc/systemd/system/db.service", DB)
        .enable("db.service")
        .app(with_database("Requires=db.service"))
        .config(&config(""))
        .boot();
    let verdict = m.wait_verdict(SOON, "web", "not-started", Duration::ZERO);
    assert!(verdict.message.contains("db.service failed"), "{}", verdict.message);
    let incident = m.wait_event(SOON, "web", "incident-opened", Duration::ZERO);
    assert!(incident.message.contains("db.service"), "{}", incident.message);
    assert_none(&m, &["recovery-started", "stopped-by-admin"], Duration::ZERO);
    m.write("/srv/db-ok", "");
    let at = now();
    m.must("systemctl start db");
    m.wait_verdict(SOON, "web", "healthy", at);
    m.wait_event(SOON, "web", "incident-closed", at);
    assert_eq!(count(&m, "web", "recovery-started", at), 1);
}

#[test]
fn disabled_unit_that_never_ran_is_never_started() {
    let mut app = AppSpec::new("web", 3000);
    app.enabled = false;
    let m = Machine::builder("never-ran").app(app).config(&config("")).boot();
    let verdict = m.wait_verdict(SOON, "web", "not-started", Duration::ZERO);
    assert!(verdict.message.contains("not enabled"), "{}", verdict.message);
    m.wait_event(SOON, "web", "incident-opened", Duration::ZERO);
    // Neither now nor by another monitor.
    m.must("systemctl restart app-monitor");
    let_pass(Duration::from_secs(2));
    assert_eq!(m.unit_property("web.service", "ActiveState"), "inactive");
    assert_none(&m, &["recovery-started", "stopped-by-admin"], Duration::ZERO);
    assert_eq!(count(&m, "web", "incident-opened", Duration::ZERO), 1, "told once");
    let at = now();
    m.must("systemctl start web");
    m.wait_verdict(SOON, "web", "healthy", at);
    m.wait_event(SOON, "web", "incident-closed", at);
}

#[test]
fn missing_unit_is_told_after_patience_and_never_started() {
    scenario("missing", |m| {
        let at = now();
        m.configure(&config(""));
        let verdict = m.wait_verdict(Duration::from_secs(45), "web", "not-found", at);
        assert!(verdict.at - at > Duration::from_secs(29), "after {:?}", verdict.at - at);
        m.wait_event(SOON, "web", "incident-opened", at);
        assert_none(m, &["recovery-started", "stopped-by-admin"], at);
        let installed = now();
        m.install_app(&AppSpec::new("web", 3000));
        m.wait_verdict(SOON, "web", "healthy", installed);
        m.wait_event(SOON, "web", "incident-closed", installed);
        assert_none(m, &["recovery-started"], at);
    });
}

#[test]
fn masked_app_is_watched_while_it_runs_and_never_started() {
    scenario("masked", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        // A unit file in /etc stands in the way of a mask there.
        m.must(
            "mv /etc/systemd/system/web.service /lib/systemd/system/ && systemctl daemon-reload \
             && systemctl mask web",
        );
        assert_eq!(m.unit_property("web.service", "LoadState"), "masked");
        let verdict = m.wait_verdict(Duration::from_secs(45), "web", "masked", at);
        assert!(verdict.at - at > Duration::from_secs(29), "after {:?}", verdict.at - at);
        m.wait_event(SOON, "web", "incident-opened", at);
        m.must("systemctl kill --signal=KILL web");
        m.wait_property(SOON, "web.service", "ActiveState", "failed");
        let_pass(Duration::from_secs(2));
        assert_none(m, &["recovery-started"], at);
        let unmasked = now();
        m.must("systemctl unmask web");
        m.wait_event(SOON, "web", "recovery-verified", unmasked);
    });
}

#[test]
fn crash_during_a_pause_is_recovered_afterwards() {
    scenario("pause", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        m.must("app-monitor pause web --for 10m --reason 'a deploy'");
        let paused = m.wait_verdict(SOON, "web", "paused", at);
        assert!(paused.message.contains("a deploy"), "{}", paused.message);
        m.fault("web", "crash");
        m.wait_property(SOON, "web.service", "ActiveState", "failed");
        let would = m.wait_event(SOON, "web", "recovery-started", at);
        assert!(would.message.contains("would have done"), "{}", would.message);
        let_pass(Duration::from_secs(1));
        assert_eq!(m.unit_property("web.service", "ActiveState"), "failed");
        let resumed = now();
        m.must("app-monitor resume web");
        let acted = m.wait_event(SOON, "web", "recovery-started", resumed);
        assert!(acted.at - resumed < Duration::from_secs(1), "{:?}", acted.at - resumed);
        m.wait_event(SOON, "web", "recovery-verified", resumed);
    });
}

#[test]
fn stop_during_a_pause_is_respected_afterwards() {
    scenario("pause-stop", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        m.must("app-monitor pause web --for 3s");
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "resumed", at);
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        let started = now();
        m.must("systemctl start web");
        m.wait_verdict(SOON, "web", "healthy", started);
        assert_quiet(m, at);
    });
}

#[test]
fn frozen_by_the_administrator_is_no_fault() {
    scenario("freeze", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        m.must("systemctl freeze web");
        m.wait_verdict(SOON, "web", "paused", at);
        // Long enough for a frozen app to be confirmed as such.
        let_pass(Duration::from_secs(6));
        let thawed = now();
        m.must("systemctl thaw web");
        m.wait_verdict(SOON, "web", "healthy", thawed);
        assert_none(m, &["incident-opened", "step-done", "step-failed"], at);
        let began = m.events_since("web", at).into_iter().filter(|event| event.name == "recovery-started");
        for event in began {
            assert!(event.message.contains("would have done"), "{}", event.message);
        }
    });
}

#[test]
fn going_down_the_host_gets_no_job_of_ours() {
    let mut app = AppSpec::new("web", 3000);
    // It takes a while, so that there is something to see.
    app.service_lines = "KillSignal=SIGCONT\nTimeoutStopSec=2".to_owned();
    let m = Machine::builder("reboot").file("/var/log/journal/.keep", "").app(app).config(&config("")).boot();
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    outlast(&m);
    m.reboot();
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    assert_quiet(&m, Duration::ZERO);
    let before = m.entries("-b -1 APP_MONITOR_APP=web");
    let text = |entry: &serde_json::Map<String, serde_json::Value>, field: &str| {
        entry.get(field).and_then(serde_json::Value::as_str).unwrap_or("").to_owned()
    };
    assert!(before.iter().all(|entry| text(entry, "APP_MONITOR_EVENT") != "recovery-started"));
    let last = before.last().expect("the journal of the last boot is kept");
    assert_eq!(text(last, "APP_MONITOR_VERDICT"), "shutting-down", "{}", text(last, "MESSAGE"));
}
