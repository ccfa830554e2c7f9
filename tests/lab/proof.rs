//! What was never good proves nothing; what takes its time is given it.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, assert_none, assert_quiet, config, count, let_pass, watch};

/// Nothing that disturbs the app.
const ACTS: [&str; 3] = ["recovery-started", "step-done", "breaker-opened"];

fn never_good(name: &str, port: u16, path: &str, expected: &str) {
    scenario(name, |m| {
        m.install_app(&AppSpec::new("web", 3000));
        let config = config("startup_grace = \"2s\"\nverify_within = \"4s\"");
        m.configure(&config.replace("3000", &port.to_string()).replace("/api/health", path));
        let at = now();
        let began = m.wait_event(SOON, "web", "condition-began", Duration::ZERO);
        assert!(
            began.message.contains("never-healthy") && began.message.contains(expected),
            "{}",
            began.message
        );
        let_pass(Duration::from_secs(4));
        assert_quiet(m, Duration::ZERO);
        assert_eq!(count(m, "web", "condition-began", Duration::ZERO), 1, "told once");
        // It crashes all the same, is started, and that is not failed by it.
        let crashed = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", crashed);
        m.wait_event(SOON, "web", "incident-closed", crashed);
        assert_eq!(count(m, "web", "recovery-started", crashed), 1);
        assert_none(m, &["recovery-failed"], at);
    });
}

#[test]
fn health_path_that_was_never_good_restarts_nothing() {
    never_good("never-good-401", 3000, "/private", "401");
}

#[test]
fn wrong_port_restarts_nothing() {
    never_good("never-good-port", 3999, "/api/health", "3999");
}

#[test]
fn app_that_never_listened_is_left_alone_until_it_once_did() {
    scenario("deaf", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.start_delay = Duration::from_millis(1);
        m.break_starts("web", "deaf");
        m.install_app(&app);
        m.configure(&config("startup_grace = \"2s\""));
        let began = m.wait_event(SOON, "web", "condition-began", Duration::ZERO);
        assert!(began.message.contains("never-healthy"), "{}", began.message);
        let_pass(Duration::from_secs(4));
        assert_none(m, &ACTS, Duration::ZERO);

        m.mend("web");
        let at = now();
        m.must("systemctl restart web");
        m.wait_verdict(SOON, "web", "healthy", at);
        m.wait_event(SOON, "web", "condition-ended", at);
        // One start is deaf; the next one, ours, is not.
        m.break_starts("web", "deaf");
        let at = now();
        m.must("systemctl restart web");
        let deaf = || m.journal_of("web.service").matches("fault: deaf").count() == 2;
        m.wait_for(SOON, "a second start that is deaf", || deaf().then_some(()));
        m.mend("web");
        let verdict = m.wait_verdict(SOON, "web", "port-closed", at);
        assert!(verdict.at - at > Duration::from_secs(2), "not within the grace");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(count(m, "web", "recovery-started", at), 1);
    });
}

#[test]
fn watch_says_what_it_would_have_done_and_does_nothing() {
    scenario("watch", |m| {
        watch(m, &AppSpec::new("web", 3000), "mode = \"watch\"\n");
        let at = m.fault("web", "crash");
        let would = m.wait_event(SOON, "web", "recovery-started", at);
        assert!(
            would.message.contains("would have done") && would.message.contains("start"),
            "{}",
            would.message
        );
        m.wait_event(SOON, "web", "incident-opened", at);
        let_pass(Duration::from_secs(2));
        assert_eq!(m.unit_property("web.service", "ActiveState"), "failed");
        m.must("systemctl reset-failed web; systemctl start web");
        m.wait_event(SOON, "web", "incident-closed", at);

        let at = m.fault("web", "status 500");
        let pid = m.main_pid("web.service");
        let would = m.wait_event(SOON, "web", "recovery-started", at);
        assert!(would.message.contains("restart"), "{}", would.message);
        let_pass(Duration::from_secs(2));
        assert_eq!(m.main_pid("web.service"), pid);
        assert_none(m, &["step-done", "recovery-verified", "recovery-failed"], Duration::ZERO);
    });
}

#[test]
fn app_that_needs_45_s_to_listen_is_given_them() {
    let mut app = AppSpec::new("web", 3000);
    app.start_delay = Duration::from_secs(45);
    let m = Machine::builder("slow-start")
        .app(app)
        .config("[app.web]\nunit = \"web.service\"\nport = 3000\nhttp = \"/api/health\"\n")
        .boot();
    m.wait_verdict(Duration::from_secs(90), "web", "healthy", Duration::ZERO);
    assert_none(&m, &ACTS, Duration::ZERO);
    let state = m.read("/var/lib/app-monitor/state.json").expect("the state is kept");
    let state: serde_json::Value = serde_json::from_str(&state).expect("the state is JSON");
    let starts = &state["apps"]["web"]["starts"];
    assert!(starts.as_array().is_some_and(|starts| starts.len() == 1), "{state}");

    // The next monitor knows it as well.
    m.must("systemctl restart app-monitor");
    m.wait_verdict(SOON, "web", "healthy", now() - Duration::from_secs(1));
    let at = m.fault("web", "crash");
    m.wait_event(Duration::from_secs(90), "web", "recovery-verified", at);
    assert_eq!(count(&m, "web", "recovery-started", at), 1, "restarted in vain");
    assert_none(&m, &["recovery-failed", "condition-began"], at);
}

#[test]
fn notify_app_that_starts_slowly_is_changing() {
    scenario("notify", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.service_lines = "Type=notify\nNotifyAccess=all\nExecStart=\n\
            ExecStart=/bin/sh -c 'sleep 4; systemd-notify --ready; exec /usr/bin/node /srv/web/server.js'"
            .to_owned();
        watch(m, &app, "startup_grace = \"2s\"\n");
        let at = now();
        m.must("systemctl restart --no-block web");
        m.wait_verdict(SOON, "web", "changing", at);
        m.wait_verdict(SOON, "web", "healthy", at);
        assert_quiet(m, at);
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(count(m, "web", "recovery-started", at), 1);
        assert_none(m, &["recovery-failed"], at);
    });
}
