//! What the monitor remembers: lost, unwritable, over restarts and reboots.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, config, count, wait_view, watch};

const STATE: &str = "/var/lib/app-monitor/state.json";
const COPY: &str = "/run/app-monitor/state.json";

fn recovers(m: &Machine, fault: &str) {
    let at = m.fault("web", fault);
    m.wait_event(SOON, "web", "recovery-started", at);
    m.wait_event(SOON, "web", "recovery-verified", at);
    m.wait_http_ok(SOON, 3000, "/api/health");
}

#[test]
fn memory_that_cannot_be_read_is_kept_aside_and_leaves_one_attempt() {
    scenario("state-broken", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        assert_eq!(m.must(&format!("stat -c '%a' {STATE}")), "640");
        for (broken, what) in [
            (format!("head -c 40 {STATE} > /tmp/s"), "not a state of ours"),
            ("head -c 300 /dev/urandom > /tmp/s".to_owned(), "not a state of ours"),
            (
                format!("sed 's/\"version\":1/\"version\":99/' {STATE} > /tmp/s"),
                "written by a newer version (format 99, known: 1)",
            ),
        ] {
            let at = now();
            m.must(&format!("systemctl stop app-monitor; {broken}; cp /tmp/s {STATE}; cp /tmp/s {COPY}"));
            m.must("systemctl start app-monitor");
            let attempts = wait_view(m, "web", "it is watched", |view| {
                (view["verdict"] == "healthy").then(|| view["attempts_left"].clone())
            });
            assert_eq!(attempts, 1, "{what}");
            m.must(&format!("cmp /tmp/s {STATE}.bad && cmp /tmp/s {COPY}.bad"));
            let said = m.journal_of(UNIT);
            for text in [what, "kept as /var/lib/app-monitor/state.json.bad", "each app has one attempt"] {
                assert!(said.contains(text), "no \u{201c}{text}\u{201d} in:\n{said}");
            }
            assert_eq!(count(m, "web", "incident-opened", at), 0);
            // The next one begins with a sound state.
            m.must(&format!("systemctl restart app-monitor; rm -f {STATE}.bad {COPY}.bad"));
            wait_view(m, "web", "it is watched", |view| (view["verdict"] == "healthy").then_some(()));
            m.must("app-monitor reset web");
        }
    });
}

#[test]
fn memory_that_cannot_be_written_to_a_full_disk_stops_nothing() {
    scenario("state-full", |m| {
        m.must("systemctl stop app-monitor && mount -t tmpfs -o size=16k,mode=755 full /var/lib/app-monitor");
        m.run("dd if=/dev/zero of=/var/lib/app-monitor/filler bs=4k 2>/dev/null");
        m.must("systemctl start app-monitor");
        watch(m, &AppSpec::new("web", 3000), "");
        recovers(m, "crash");
        recovers(m, "status 500");
        let said = m.journal_of(UNIT);
        let lines: Vec<_> = said.lines().filter(|line| line.contains("cannot write the state")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(STATE) && lines[0].contains("No space left"), "{lines:?}");
        // The second copy is as good.
        m.must("systemctl restart app-monitor");
        wait_view(m, "web", "it is watched", |view| (view["verdict"] == "healthy").then_some(()));
        assert!(!m.journal_of(UNIT).contains("the state is lost"));
    });
}

#[test]
fn memory_that_can_be_written_nowhere_allows_a_single_job() {
    scenario("state-nowhere", |m| {
        let app = AppSpec { service_lines: "KillMode=process".into(), ..AppSpec::new("web", 3000) };
        m.must(
            "systemctl stop app-monitor; for d in /var/lib/app-monitor /run/app-monitor; do \
             mount -t tmpfs -o ro,mode=755,uid=app-monitor,gid=app-monitor ro $d; done; \
             systemctl start app-monitor",
        );
        watch(m, &app, "");
        recovers(m, "crash");
        // One that a single RestartUnit does.
        recovers(m, "status 500");
        assert!(m.journal_of(UNIT).contains("cannot write the state"));
        // And one that would need a stop and a start: not begun, and said.
        m.break_starts("web", "status 500");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "recovery-failed", at);
        let failed = m.wait_event(SOON, "web", "step-failed", at);
        assert!(failed.message.contains("the intent could be written nowhere"), "{}", failed.message);
        assert_eq!(m.unit_property("web.service", "ActiveState"), "active");
    });
}

#[test]
fn memory_of_attempts_and_pauses_survives_restart_and_reboot() {
    let machine = Machine::builder("state-survives")
        .app(AppSpec::new("web", 3000))
        .app(AppSpec::new("api", 3001))
        .app(AppSpec::new("off", 3002))
        .config(&config(
            "max_attempts = 1\nhealthy_for = \"1h\"\n[app.api]\nunit = \"api\"\nport = 3001\n\
             [app.off]\nunit = \"off\"\nport = 3002\n",
        ))
        .boot();
    let m = &machine;
    for app in ["web", "api", "off"] {
        m.must(&format!("app-monitor wait {app}"));
    }
    m.must("app-monitor pause api --for 30m --reason 'a long job'");
    m.must("systemctl stop off");
    m.break_starts("web", "status 500");
    let at = m.fault("web", "status 500");
    m.wait_event(SOON, "web", "breaker-opened", at);
    let survived = |when: &str| {
        let left = wait_view(m, "api", &format!("paused {when}"), |view| view["paused_seconds"].as_u64());
        assert!((1_500..=1_800).contains(&left), "{left} s left {when}");
        let web = wait_view(m, "web", &format!("web is judged {when}"), |view| {
            (view["verdict"] != "unknown").then(|| view.clone())
        });
        assert_eq!((&web["attempts_left"], &web["breaker"]), (&0.into(), &"open".into()), "{when}");
    };
    survived("before");
    let at = now();
    m.must("systemctl restart app-monitor");
    survived("after a restart");
    wait_view(m, "off", "still stopped", |view| (view["verdict"] == "stopped-by-admin").then_some(()));
    m.run("sleep 1");
    assert_eq!(count(m, "", "recovery-started", at), 0);
    assert_eq!(m.unit_property("off.service", "ActiveState"), "inactive");

    m.must("systemctl disable --quiet off");
    m.reboot();
    let left = wait_view(m, "api", "paused after a reboot", |view| view["paused_seconds"].as_u64());
    assert!((1_500..=1_800).contains(&left), "{left} s left after a reboot");
    // The boot started it: that is a start by somebody else, which an open breaker gives a chance.
    let breaker = wait_view(m, "web", "web is judged", |view| {
        (view["verdict"] != "unknown").then(|| view["breaker"].clone())
    });
    assert_ne!(breaker, "closed");
    wait_view(m, "off", "not revived", |view| (view["verdict"] == "not-started").then_some(()));
    m.wait_for(Duration::from_secs(2), "its unit is down", || {
        (m.unit_property("off.service", "ActiveState") == "inactive").then_some(())
    });
}
