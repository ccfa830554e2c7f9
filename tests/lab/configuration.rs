//! What is configured: wrong, changed, in drop-ins, not at all.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, config, view, wait_view, watch};

const FILE: &str = "/etc/app-monitor/conf.d/50-lab.toml";
/// Three errors of three kinds.
const WRONG: &str =
    "[app.web]\nunit = \"web.service\"\nprot = 3000\nfailures = 0\n\n[app.api]\nport = 3001\n";
/// What has to be said of each, by whoever speaks.
const NAMED: [&str; 3] = ["50-lab.toml:3:1", "50-lab.toml:4:12", "app.api"];

fn status_text(m: &Machine) -> String {
    m.unit_property(UNIT, "StatusText")
}

#[test]
fn configuration_that_is_wrong_at_start_ends_it_for_good() {
    scenario("config-start", |m| {
        m.write(FILE, WRONG);
        assert!(!m.run("systemctl restart app-monitor && sleep 1 && systemctl is-active app-monitor").ok());
        m.wait_property(SOON, UNIT, "ActiveState", "failed");
        assert_eq!(m.unit_property(UNIT, "ExecMainStatus"), "78");
        let journal = m.journal_of(UNIT);
        let check = m.run("app-monitor config check");
        assert_eq!(check.status, 78);
        for named in NAMED.iter().chain(&["did you mean \"port\"", "from 1 to 100", "unit"]) {
            assert!(journal.contains(named), "the journal does not name {named}:\n{journal}");
            assert!(check.stderr.contains(named), "config check does not name {named}:\n{}", check.stderr);
        }
        let rejected = m.entries("-b APP_MONITOR_EVENT=config-rejected");
        assert_eq!(rejected.len(), 3, "one for each error");
        let json: serde_json::Value =
            serde_json::from_str(&m.run("app-monitor config check --json").stdout).expect("JSON");
        assert_eq!(
            (json["valid"].as_bool(), json["errors"].as_array().map(Vec::len)),
            (Some(false), Some(3))
        );
        assert_eq!(m.run("app-monitor config show").status, 78);
        // Not tried again: RestartSec is 1 s.
        m.run("sleep 2");
        assert_eq!(m.unit_property(UNIT, "ActiveState"), "failed");
        assert_eq!(m.unit_property(UNIT, "NRestarts"), "0");

        m.install_app(&AppSpec::new("web", 3000));
        m.write(FILE, &config(""));
        assert_eq!(m.must("app-monitor config check"), "configuration is valid: 1 app");
        m.must("systemctl start app-monitor && app-monitor wait web");
    });
}

#[test]
fn configuration_that_is_wrong_at_reload_leaves_the_old_one() {
    scenario("config-reload", |m| {
        watch(m, &AppSpec::new("web", 3000), "healthy_for = \"1h\"");
        // A recovery in vain, that is still remembered after reloads.
        m.break_starts("web", "status 500");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "recovery-failed", at);
        m.mend("web");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(view(m, "web")["attempts_left"], 2);
        let (pid, at) = (m.main_pid(UNIT), now());

        m.write(FILE, WRONG);
        let said = m.run("systemctl reload app-monitor");
        assert_eq!(said.status, 1);
        assert!(said.stderr.contains("journalctl"), "{}", said.stderr);
        assert_eq!(m.unit_property(UNIT, "ActiveState"), "active");
        assert_eq!(m.main_pid(UNIT), pid);
        // systemctl may return before journald has put the line down.
        let rejected = m.wait_event(SOON, "", "config-rejected", at);
        assert!(rejected.message.contains("the one in force stays so"), "{}", rejected.message);
        let journal = m.journal_of(UNIT);
        assert_eq!(journal.matches("the configuration has 3 errors").count(), 1, "{journal}");
        for named in NAMED {
            assert!(journal.contains(named), "the journal does not name {named}:\n{journal}");
        }
        assert_eq!(view(m, "web")["attempts_left"], 2);
        assert!(m.must("app-monitor config show web").contains("conf.d/50-lab.toml"));

        // A good one counts at once, and takes nothing from the app that was there.
        m.install_app(&AppSpec::new("api", 3001));
        m.write(
            FILE,
            &config("healthy_for = \"1h\"\n[app.api]\nunit = \"api\"\nport = 3001\nhttp = \"/api/health\""),
        );
        let at = now();
        m.must("systemctl reload app-monitor");
        m.wait_event(SOON, "", "config-reloaded", at);
        m.must("app-monitor wait api");
        assert_eq!(view(m, "web")["attempts_left"], 2);
        assert_eq!(m.events_since("web", at).len(), 0, "nothing happened to web");
        let at = m.fault("api", "crash");
        m.wait_event(SOON, "api", "recovery-verified", at);

        // And one that is not named any more is left alone.
        m.configure(&config("healthy_for = \"1h\""));
        let at = m.fault("api", "crash");
        m.wait_property(SOON, "api.service", "ActiveState", "failed");
        let web = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", web);
        assert_eq!(m.events_since("api", at).len(), 0);
        assert_eq!(m.unit_property("api.service", "ActiveState"), "failed");
    });
}

#[test]
fn configuration_in_a_drop_in_counts_from_the_next_start() {
    scenario("config-drop-in", |m| {
        m.install_app(&AppSpec::new("web", 3000));
        m.configure("[app.web]\nunit = \"web\"\nport = 3000\n");
        m.drop_in(UNIT, "[Service]\nEnvironment=APP_MONITOR_CHECK_INTERVAL=30s\n");
        m.must("systemctl reload app-monitor");
        let journal = m.journal_of(UNIT);
        let note = "the environment of the unit has changed since its start (APP_MONITOR_CHECK_INTERVAL)";
        assert!(journal.contains(note) && journal.contains("systemctl restart app-monitor"), "{journal}");
        let shown = |key: &str| {
            let text = m.must("app-monitor config show web");
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("check_interval"), "check_interval = \"10s\" # default");
        m.must("systemctl restart app-monitor");
        let line = shown("check_interval");
        assert!(line.starts_with("check_interval = \"30s\" # "), "{line}");
        assert!(line.contains("APP_MONITOR_CHECK_INTERVAL"), "{line}");
        m.must("app-monitor wait web");
        let due = wait_view(m, "web", "the pace", |view| {
            view["next_check_in_ms"].as_u64().filter(|millis| *millis > 10_000)
        });
        assert!(due <= 30_000);
        // The environment noted at the start is that of the unit now: nothing more to say about it.
        let at = now();
        m.must("systemctl reload app-monitor");
        m.wait_event(SOON, "", "config-reloaded", at);
        let journal = m.journal_of(UNIT);
        assert_eq!(journal.matches("has changed since").count(), 1, "{journal}");

        m.drop_in(UNIT, "[Service]\nEnvironment=APP_MONITOR_CHEK_INTERVAL=30s\n");
        m.run("systemctl restart app-monitor");
        m.wait_property(SOON, UNIT, "ActiveState", "failed");
        m.wait_for(SOON, "the unknown variable is told", || {
            let journal = m.journal_of(UNIT);
            let told = journal.contains("APP_MONITOR_CHEK_INTERVAL");
            (told && journal.to_lowercase().contains("did you mean")).then_some(())
        });
    });
}

#[test]
fn configuration_by_environment_alone_makes_an_app() {
    scenario("config-none", |m| {
        assert_eq!(
            status_text(m),
            "idle: no app is configured; app-monitor init looks at this server and proposes a configuration"
        );
        let cpu = m.unit_property(UNIT, "ActiveState");
        assert_eq!(cpu, "active");
        let said = m.must("app-monitor config check");
        assert!(said.contains("nothing is watched yet"), "{said}");
        m.install_app(&AppSpec::new("shop", 3000));
        m.drop_in(
            UNIT,
            "[Service]\nEnvironment=APP_MONITOR_UNIT=shop.service APP_MONITOR_PORT=3000 \
             APP_MONITOR_HTTP=/api/health APP_MONITOR_CHECK_INTERVAL=1s APP_MONITOR_MIN_UPTIME=1s\n",
        );
        m.must("systemctl restart app-monitor && app-monitor wait shop");
        m.wait_for(Duration::from_secs(5), "the status line", || {
            (status_text(m) == "1 app healthy").then_some(())
        });
        let at = m.fault("shop", "crash");
        m.wait_event(SOON, "shop", "recovery-verified", at);
        m.wait_http_ok(SOON, 3000, "/api/health");
    });
}
