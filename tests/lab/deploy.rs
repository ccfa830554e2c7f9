//! What people do on purpose: a deploy under a pause, a look at what a recovery would do, a watch on
//! a terminal.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, now, scenario};
use crate::support::{
    SOON, UNIT, as_nobody, assert_none, count, let_pass, quick, table, view, wait_view, watch,
};

#[test]
fn a_deploy_under_a_pause_is_nobodys_business() {
    scenario("deploy", |m| {
        m.write(
            "/etc/systemd/system/tell@.service",
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo %i >> /root/told'\n",
        );
        let app = AppSpec { start_delay: Duration::from_secs(3), ..AppSpec::new("web", 3000) };
        watch(m, &app, "startup_grace = \"8s\"\n[alerts.tell]\nkind = \"unit\"\nunit = \"tell@.service\"");
        let at = now();
        m.must("app-monitor pause web --for 12s --reason 'deploy 1.4.2'");
        let until = now() + Duration::from_secs(12);
        // Whatever a deploy does to it: it crashes, does not come up, is killed, answers nonsense.
        m.fault("web", "crash");
        m.break_starts("web", "status 500");
        let_pass(Duration::from_secs(2));
        m.must("systemctl reset-failed web; systemctl start web");
        let_pass(Duration::from_secs(4));
        m.must("systemctl kill --signal=KILL web; sleep 0.5; systemctl reset-failed web");
        m.mend("web");
        // The new version is still on its way up when the pause ends.
        m.wait_for(SOON, "the pause is about to end", || {
            (now() + Duration::from_secs(1) >= until).then_some(())
        });
        m.must("systemctl start --no-block web");
        let resumed = m.wait_event(SOON, "web", "resumed", at);
        assert!(
            resumed.at + Duration::from_millis(200) >= until && resumed.at < until + Duration::from_secs(1)
        );
        m.wait_verdict(SOON, "web", "healthy", resumed.at);
        let_pass(Duration::from_secs(3));
        assert_none(m, &["incident-opened", "step-done", "alert-sent", "breaker-opened"], at);
        assert_eq!(m.read("/root/told"), None, "nobody was told");
        assert_eq!(view(m, "web")["attempts_left"], 3);
        let status = m.must("app-monitor status web");
        assert!(!status.contains("paused"), "{status}");
    });
}

#[test]
fn one_instance_is_paused_and_the_others_are_not() {
    scenario("pause-instance", |m| {
        for number in [1, 2] {
            m.install_app(&AppSpec::new(&format!("web{number}"), 3000 + number));
        }
        m.configure(&quick(
            "[app.web]\ninstances = [\n\
             { unit = \"web1.service\", port = 3001, http = \"/api/health\" },\n\
             { unit = \"web2.service\", port = 3002, http = \"/api/health\" } ]\n",
        ));
        m.must("app-monitor wait web --for 20s");
        let at = now();
        let said = m.must("app-monitor pause web@2 --for 1h --reason tests");
        assert!(said.contains("web@2: paused for 1 h"), "{said}");
        let shown = m.must("app-monitor status web");
        assert!(shown.contains("○ web@2: paused") && shown.contains("paused by root for another"), "{shown}");
        assert!(shown.contains("app-monitor resume web@2"), "{shown}");
        m.fault("web2", "crash");
        m.fault("web1", "crash");
        m.wait_for(SOON, "the other one is recovered", || {
            (count(m, "web", "recovery-verified", at) == 1).then_some(())
        });
        assert_eq!(m.unit_property("web2.service", "ActiveState"), "failed");
        m.must("app-monitor resume web@2");
        m.wait_http_ok(SOON, 3002, "/api/health");
        assert_eq!(m.run("app-monitor pause web@7").status, 1);
    });
}

#[test]
fn a_dry_run_is_the_plan_and_does_nothing() {
    scenario("dry-run", |m| {
        m.write(
            "/etc/systemd/system/warm.service",
            "[Service]\nType=oneshot\nExecStart=/bin/touch /root/warm\n",
        );
        m.write("/srv/web/.next/cache/kept", "x");
        watch(
            m,
            &AppSpec { sigterm_handler: true, ..AppSpec::new("web", 3000) },
            "working_directory = \"/srv/web\"\nclear_caches = \"always\"\nbefore_start = [\"warm.service\"]",
        );
        let (at, pid) = (now(), m.main_pid("web.service"));
        let said = m.must("app-monitor recover web --dry-run");
        for part in [
            "1. stop",
            "web.service",
            "SIGKILL",
            "would empty /srv/web/.next/cache",
            "warm.service",
            "healthy for 2 s",
        ] {
            assert!(said.contains(part), "no {part} in\n{said}");
        }
        println!("{said}");
        let plan: Value =
            serde_json::from_str(&m.must("app-monitor recover web --dry-run --json")).expect("JSON");
        assert!(plan["refused"].is_null(), "{plan}");
        let planned: Vec<String> = plan["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["step"].as_str().unwrap().to_owned())
            .collect();
        let by_nobody = as_nobody(m, "app-monitor recover web --dry-run");
        assert!(by_nobody.ok() && by_nobody.stdout.contains("/srv/web/.next/cache"), "{by_nobody:?}");
        let_pass(Duration::from_secs(2));
        assert_eq!(m.main_pid("web.service"), pid);
        assert!(m.read("/srv/web/.next/cache/kept").is_some() && m.read("/root/warm").is_none());
        assert_none(m, &["recovery-started", "step-done", "step-failed"], at);

        m.must("app-monitor recover web");
        m.wait_event(SOON, "web", "recovery-verified", at);
        let done = m.events_since("web", at).into_iter().filter(|event| event.name == "step-done");
        let done: Vec<String> = done.map(|event| event.message).collect();
        let words = ["stop", "clear-caches", "hook", "reset-failed", "start"];
        assert_eq!(planned, words, "{done:?}");
        assert!(m.read("/srv/web/.next/cache/kept").is_none() && m.read("/root/warm").is_some(), "{done:?}");

        // What holds the port, and what would be ended, by its pid.
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        let refused = m.run("app-monitor recover web --dry-run");
        assert_eq!(refused.status, 1, "{refused:?}");
        assert!(
            refused.stdout.contains("would be refused") && refused.stdout.contains("systemctl start"),
            "{refused:?}"
        );
        assert_eq!(m.run("app-monitor recover nope --dry-run").status, 1);
    });
}

#[test]
fn a_watch_survives_the_daemon_and_ends_clean() {
    scenario("watch", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.configure(&quick(&format!("{}\n{}", table("web", 3000, ""), "")));
        m.must("systemd-run --quiet --unit=seen --property=StandardOutput=append:/root/seen app-monitor status --watch");
        m.must("systemd-run --quiet --unit=terminal --setenv=TERM=xterm --setenv=LANG=C.UTF-8 script -qfec 'stty cols 60 rows 6; app-monitor status --watch' /root/screen");
        m.wait_for(SOON, "it is shown", || m.read("/root/screen")?.contains("web: ").then_some(()));
        m.must(&format!("systemctl restart {UNIT}"));
        wait_view(m, "web", "it is well", |view| (view["verdict"] == "healthy").then_some(()));
        m.must(&format!("systemctl stop {UNIT}"));
        m.wait_for(SOON, "it says that nobody answers", || {
            m.read("/root/seen")?.contains("does not run").then_some(())
        });
        m.must(&format!("systemctl start {UNIT}; truncate --size=0 /root/seen"));
        m.wait_for(SOON, "it is shown again", || {
            m.read("/root/seen")?.contains("web: healthy").then_some(())
        });
        m.must("systemctl kill --signal=INT seen; pkill --signal=INT --full '^app-monitor status --watch'");
        m.wait_property(SOON, "terminal.service", "ActiveState", "inactive");
        m.wait_property(SOON, "seen.service", "ActiveState", "inactive");
        let screen = m.read("/root/screen").expect("what was on the screen");
        assert!(screen.contains("\x1b[?1049h") && screen.contains("\x1b[?1049l"), "{screen:?}");
        assert!(screen.contains("more lines"), "six lines are not enough: {screen:?}");
        assert!(!screen.contains("\x1b[2J"), "it is drawn over, not wiped");

        // A locale without letters beyond ASCII, a pipe, and no colour.
        let ascii = m.must("LC_ALL=C app-monitor status");
        assert!(ascii.is_ascii() && ascii.contains("* web: healthy"), "{ascii}");
        assert!(!m.must("app-monitor status").contains('\x1b'));
        let plain = m.must("NO_COLOR=1 TERM=xterm script -qec 'app-monitor status' /dev/null");
        assert!(!plain.contains("\x1b["), "{plain:?}");
        let coloured = m.must("TERM=xterm script -qec 'app-monitor status' /dev/null");
        assert!(coloured.contains("\x1b[32mhealthy"), "{coloured:?}");
    });
}
