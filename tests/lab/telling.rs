//! What the monitor tells: events, alerts, its status line, and nothing while all is well.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, config, count, let_pass, watch};

/// A template that keeps what it is told, and one that cannot.
fn install_alerts(m: &Machine) {
    m.write(
        "/etc/systemd/system/tell@.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'cat /run/app-monitor/alerts/%i.json >> /root/told; echo >> /root/told'\n",
    );
    m.write("/etc/systemd/system/mute@.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    m.must("systemctl daemon-reload");
}

#[test]
fn telling_starts_a_unit_on_an_incident_and_on_its_end() {
    scenario("alerts", |m| {
        install_alerts(m);
        watch(
            m,
            &AppSpec::new("web", 3000),
            "[alerts.tell]\nkind = \"unit\"\nunit = \"tell@.service\"\n\
             [alerts.mute]\nkind = \"unit\"\nunit = \"mute@.service\"\nevents = \"incident-opened\"",
        );
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        m.wait_for(SOON, "both are told", || (count(m, "web", "alert-sent", at) == 2).then_some(()));
        let failed = m.wait_event(SOON, "web", "alert-failed", at);
        assert!(failed.message.contains("could not tell mute of incident-opened"), "{}", failed.message);
        assert!(failed.message.contains("mute@web.service failed"), "{}", failed.message);

        let told = m.read("/root/told").expect("it was told");
        let told: Vec<serde_json::Value> =
            serde_json::Deserializer::from_str(&told).into_iter().map(|one| one.expect("JSON")).collect();
        let events: Vec<_> = told.iter().map(|one| one["event"].as_str().unwrap_or("")).collect();
        assert_eq!(events, ["incident-opened", "incident-closed"]);
        for one in &told {
            assert_eq!((&one["app"], &one["unit"]), (&"web".into(), &"web.service".into()));
            assert_eq!(one["incident"], "web-1");
            assert!(one["time"].as_i64().is_some_and(|time| time > 1_700_000_000));
        }
        assert!(
            told[0]["text"].as_str().is_some_and(|text| text.contains("exited with status 1")),
            "{told:?}"
        );
        // An app that is stopped and started is nobody's business.
        let at = now();
        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        m.must("systemctl start web");
        m.wait_verdict(SOON, "web", "healthy", at);
        assert_eq!(count(m, "web", "alert-sent", at), 0);
    });
}

#[test]
fn telling_events_has_the_fields_that_programs_rely_on() {
    scenario("events", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
        m.wait_event(SOON, "web", "incident-closed", at);
        m.must("app-monitor pause web --for 1m && app-monitor resume web");
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        let mut within = false;
        for event in m.events("") {
            let id = event.field("MESSAGE_ID").to_owned();
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{event:?}");
            assert_eq!(*ids.entry(event.name.clone()).or_insert_with(|| id.clone()), id);
            assert_eq!(event.field("SYSLOG_IDENTIFIER"), "app-monitor", "{event:?}");
            if event.name.starts_with("config-") {
                continue;
            }
            assert_eq!((event.app.as_str(), event.field("APP_MONITOR_UNIT")), ("web", "web.service"));
            assert!(!event.field("APP_MONITOR_VERDICT").is_empty(), "{event:?}");
            assert!(event.message.starts_with("web: "), "{event:?}");
            within |= event.name == "incident-opened";
            assert_eq!(event.field("APP_MONITOR_INCIDENT"), if within { "web-1" } else { "" }, "{event:?}");
            within &= event.name != "incident-closed";
        }
        for event in [
            "verdict-changed",
            "incident-opened",
            "recovery-started",
            "step-done",
            "recovery-verified",
            "incident-closed",
            "paused",
            "resumed",
            "config-reloaded",
        ] {
            assert!(ids.contains_key(event), "no {event}: {ids:?}");
        }
        let different: std::collections::BTreeSet<_> = ids.values().collect();
        assert_eq!(different.len(), ids.len());
        // The catalogue knows each.
        let explained = m.must("journalctl --no-pager -b -x -u app-monitor");
        assert!(explained.contains("░░ Subject:"), "{explained}");
        for id in ids.values() {
            assert!(m.run(&format!("journalctl --no-pager --dump-catalog {id}")).ok(), "{id}");
        }
    });
}

#[test]
fn telling_systemd_is_one_true_sentence() {
    scenario("status-line", |m| {
        let line = || m.unit_property(UNIT, "StatusText");
        assert!(line().starts_with("idle: no app is configured"), "{}", line());
        watch(m, &AppSpec { sigterm_handler: true, ..AppSpec::new("web", 3000) }, "kill_after = \"3s\"");
        m.wait_for(SOON, "healthy", || (line() == "1 app healthy").then_some(()));
        let at = m.fault("web", "block");
        m.wait_event(SOON, "web", "recovery-started", at);
        let words = |line: &str| {
            line.starts_with("web: frozen for ") && line.ends_with("restarting (attempt 1 of 3)")
        };
        m.wait_for(SOON, "restarting", || words(&line()).then_some(()));
        m.wait_http_ok(SOON, 3000, "/api/health");
        let verifying = m.wait_for(SOON, "verifying", || {
            let line = line();
            line.contains("verifying").then_some(line)
        });
        assert!(!verifying.contains("frozen"), "it answers: {verifying}");
        m.wait_for(SOON, "healthy", || (line() == "1 app healthy").then_some(()));
        m.must("systemctl stop web");
        m.wait_for(SOON, "stopped", || line().starts_with("web: stopped-by-admin for ").then_some(()));
    });
}

#[test]
fn telling_nothing_while_all_is_well() {
    scenario("steady", |m| {
        watch(m, &AppSpec::new("web", 3000), "min_processes = 1");
        m.wait_for(SOON, "it rests", || {
            (m.unit_property(UNIT, "StatusText") == "1 app healthy").then_some(())
        });
        let seen = || {
            let files = "find /var/lib/app-monitor /run/app-monitor -printf '%p %T@ %C@\\n' | sort";
            (m.must(files), m.entries("-b _SYSTEMD_UNIT=app-monitor.service").len())
        };
        let before = seen();
        let_pass(Duration::from_secs(10));
        assert_eq!(seen(), before);
        // It did look meanwhile.
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "incident-opened", at);
        m.configure(&config(""));
        assert_ne!(seen(), before);
    });
}
