//! An app that stays broken is not restarted for ever, and nobody is told twice.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, assert_none, count, let_pass, view, watch};

/// Tells by writing down what it was told.
const TELL: &str = "[Service]\nType=oneshot\n\
    ExecStart=/bin/sh -c 'cat /run/app-monitor/alerts/%i.json >> /srv/told'\n";

fn broken(m: &Machine, more: &str) -> Duration {
    m.write("/etc/systemd/system/tell@.service", TELL);
    m.must("systemctl daemon-reload");
    let alerts = "[alerts.operator]\nkind = \"unit\"\nunit = \"tell@.service\"\n";
    watch(m, &AppSpec::new("web", 3000), &format!("cooldown_max = \"3s\"\n{more}{alerts}"));
    m.break_starts("web", "crash");
    let at = m.fault("web", "crash");
    m.wait_event(SOON, "web", "breaker-opened", at);
    at
}

/// How often somebody was told of an event.
fn told(m: &Machine, event: &str) -> usize {
    m.read("/srv/told").unwrap_or_default().matches(&format!("\"event\": \"{event}\"")).count()
}

#[test]
fn broken_app_is_given_up_with_one_alert_and_tried_once_in_a_while() {
    scenario("breaker", |m| {
        let at = broken(m, "retry_interval = \"6s\"\nhealthy_for = \"5s\"\n");
        let begun: Vec<Duration> = m
            .events_since("web", at)
            .iter()
            .filter(|event| event.name == "recovery-started")
            .map(|event| event.at)
            .collect();
        assert_eq!(begun.len(), 3, "max_attempts");
        // cooldown, then twice as long, counted from the beginning of the one before.
        let waits: Vec<f64> = begun.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
        assert!((1.0..1.9).contains(&waits[0]) && (2.0..2.9).contains(&waits[1]), "{waits:?}");
        assert_eq!(view(m, "web")["breaker"], "open", "{}", view(m, "web"));

        let opened = m.wait_event(SOON, "web", "breaker-opened", at);
        let retry = m.wait_event(SOON, "web", "recovery-started", opened.at);
        let waited = (retry.at - opened.at).as_secs_f64();
        assert!((5.5..8.0).contains(&waited), "the careful retry came after {waited} s");
        m.wait_event(SOON, "web", "recovery-failed", retry.at);
        m.mend("web");
        let verified = m.wait_event(SOON, "web", "recovery-verified", retry.at);
        let closed = m.wait_event(SOON, "web", "breaker-closed", verified.at);
        let healthy = (closed.at - verified.at).as_secs_f64();
        assert!((2.0..6.5).contains(&healthy), "closed after {healthy} s");
        m.wait_event(SOON, "web", "incident-closed", at);
        assert_eq!(count(m, "web", "breaker-opened", at), 1);
        m.wait_for(SOON, "all is told", || (told(m, "breaker-closed") == 1).then_some(()));
        assert_eq!(
            (told(m, "breaker-opened"), told(m, "incident-opened"), told(m, "incident-closed")),
            (1, 1, 1)
        );
    });
}

#[test]
fn reset_closes_the_breaker_and_a_foreign_start_lets_one_attempt_through() {
    scenario("half-open", |m| {
        let at = broken(m, "");
        let opened = m.wait_event(SOON, "web", "breaker-opened", at);
        let_pass(Duration::from_secs(2));
        assert_none(m, &["recovery-started"], opened.at);

        // Somebody has a go at it: where that fails, we may have one, too, and no more.
        let started = now();
        m.must("systemctl reset-failed web; systemctl start web");
        m.wait_event(SOON, "web", "recovery-started", started);
        m.wait_event(SOON, "web", "recovery-failed", started);
        let_pass(Duration::from_secs(4));
        assert_eq!(count(m, "web", "recovery-started", started), 1);
        assert_eq!(count(m, "web", "breaker-opened", at), 1);

        // The budget is remembered by the next monitor.
        let restarted = now();
        m.must("systemctl restart app-monitor");
        m.wait_verdict(SOON, "web", "crashed", restarted);
        let_pass(Duration::from_secs(2));
        assert_none(m, &["recovery-started", "incident-opened"], restarted);

        m.mend("web");
        let reset = now();
        m.must("app-monitor reset web");
        m.wait_event(SOON, "web", "breaker-closed", reset);
        let again = m.wait_event(SOON, "web", "recovery-started", reset);
        assert!(again.message.contains("attempt 1 of 3"), "{}", again.message);
        m.wait_event(SOON, "web", "recovery-verified", reset);
        assert_eq!(told(m, "breaker-opened"), 1);
    });
}

#[test]
fn holder_of_the_port_of_a_crashed_app_is_named_and_nothing_started_until_it_is_gone() {
    scenario("port-taken", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.must("app-monitor pause web");
        let at = m.fault("web", "crash");
        m.wait_property(SOON, "web.service", "ActiveState", "failed");
        m.must("systemd-run --unit=squatter node -e \"require('net').createServer().listen(3000)\"");
        let pid = m.main_pid("squatter.service");
        m.wait_for(SOON, "the port is taken", || {
            // LISTEN is 0A (proc_net_tcp); what is left of the health checks has the port as well.
            m.run("grep -qE ':0BB8 [0-9A-F]+:0000 0A ' /proc/net/tcp6").ok().then_some(())
        });
        let resumed = now();
        m.must("app-monitor resume web");
        m.wait_verdict(SOON, "web", "port-taken", resumed);
        let taken = m.wait_event(SOON, "web", "incident-opened", at);
        for named in ["node", &pid.to_string(), "squatter.service"] {
            assert!(taken.message.contains(named), "{named} is not in: {}", taken.message);
        }
        let_pass(Duration::from_secs(2));
        assert_none(m, &["recovery-started", "step-done"], resumed);
        let gone = now();
        m.must("systemctl stop squatter");
        m.wait_event(SOON, "web", "recovery-verified", gone);
        m.wait_event(SOON, "web", "incident-closed", gone);
    });
}
