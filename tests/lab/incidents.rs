//! What happened is on record: files, and the commands that tell it.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, found, let_pass, recovered_from, view, watch};

/// An incident, whole, once `probe` takes it.
fn incident(m: &Machine, id: &str, what: &str, probe: impl Fn(&Value) -> bool) -> Value {
    m.wait_for(SOON, what, || {
        let shown = m.run(&format!("app-monitor incidents {id} --json"));
        serde_json::from_str(&shown.stdout).ok().filter(&probe)
    })
}

fn closed(incident: &Value) -> bool {
    incident["closed"].is_string()
}

#[test]
fn a_crash_is_on_record_with_timeline_steps_and_evidence() {
    scenario("incident-crash", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        recovered_from(m, "crashed", at);
        let incident = incident(m, "web-1", "the incident is closed on disk", closed);
        assert_eq!(incident["outcome"], "recovered", "{incident}");
        assert_eq!(incident["verdict"], "crashed", "{incident}");
        assert!(incident["lasted_ms"].as_u64().is_some_and(|lasted| lasted > 0), "{incident}");
        let events: Vec<&str> = incident["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["event"].as_str())
            .collect();
        for event in
            ["incident-opened", "recovery-started", "step-done", "recovery-verified", "incident-closed"]
        {
            assert!(events.contains(&event), "{event} in {events:?}");
        }
        let steps = incident["steps"].as_array().unwrap();
        assert!(steps.iter().any(|step| step["step"] == "start" && step["done"] == true), "{steps:?}");
        let evidence = &incident["evidence"][0];
        assert!(evidence["problem"].is_null(), "{evidence}");
        let seen = evidence["lines"].to_string();
        for part in ["unit: web.service", "journal: ", "host: load"] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        assert!(!seen.contains("START_DELAY"), "nothing of the environment: {seen}");

        let told = m.must("app-monitor why web");
        let told = told.replace('\n', " ");
        for part in ["web was found crashed (", "After ", "start: done in ", "That helped: ", "It is healthy"]
        {
            assert!(told.contains(part), "{part:?} in {told}");
        }
        let list = m.must("app-monitor incidents");
        assert!(list.contains("web-1") && list.contains("recovered"), "{list}");
        let over_bus = m.must(
            "busctl --json=short call org.appmonitor1 /org/appmonitor1 org.appmonitor1.Manager Incidents",
        );
        assert!(
            over_bus.contains("\"web-1\",\"web\",\"crashed\"") && !over_bus.contains("exited"),
            "{over_bus}"
        );
    });
}

#[test]
fn incidents_that_follow_each_other_closely_have_evidence_of_their_own() {
    scenario("incident-close", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let mut runs = Vec::new();
        for number in 1..=3 {
            let (pid, next) = (m.main_pid("web.service"), now() + Duration::from_secs(10));
            let at = m.fault("web", "crash");
            recovered_from(m, "crashed", at);
            runs.push((format!("web-{number}"), pid));
            let_pass(next.saturating_sub(now()));
        }
        for (id, pid) in runs {
            let incident = incident(m, &id, "it has evidence", |incident| {
                closed(incident) && incident["evidence"].as_array().is_some_and(|all| !all.is_empty())
            });
            let seen = incident["evidence"].to_string();
            let begins = seen.rfind(&format!("journal: starting, pid {pid}\""));
            assert!(begins.is_some_and(|begins| seen[begins..].contains("fault: crash")), "{id}: {seen}");
            assert!(incident["evidence"].as_array().is_some_and(|all| all.len() == 1), "once: {seen}");
        }
    });
}

#[test]
fn incidents_are_for_root_and_group_adm() {
    scenario("incident-rights", |m| {
        m.write("/usr/lib/tmpfiles.d/app-monitor.conf", include_str!("../../packaging/app-monitor.tmpfiles"));
        m.must("systemd-tmpfiles --create app-monitor.conf; useradd --groups adm auditor; useradd guest");
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        incident(m, "web-1", "the incident is closed on disk", closed);
        let by_auditor = m.run("setpriv --reuid auditor --regid auditor --init-groups app-monitor why web");
        assert!(by_auditor.ok() && by_auditor.stdout.contains("web was found"), "{by_auditor:?}");
        for command in ["incidents", "incidents web-1", "why web"] {
            let by_guest =
                m.run(&format!("setpriv --reuid guest --regid guest --init-groups app-monitor {command}"));
            assert_eq!(by_guest.status, 1, "{by_guest:?}");
            assert!(by_guest.stderr.contains("only root and group adm may read them"), "{by_guest:?}");
        }
    });
}

#[test]
fn a_frozen_app_leaves_what_its_processes_waited_for() {
    scenario("incident-frozen", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "block");
        recovered_from(m, "frozen", at);
        let incident = incident(m, "web-1", "the incident is closed on disk", closed);
        let seen = incident["evidence"].to_string();
        for part in ["process: ", "runs /usr/bin/node", "files open", "queue: port 3000 on ", "memory: "] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
    });
}

#[test]
fn another_monitor_goes_on_with_the_same_incident() {
    scenario("incident-restart", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.break_starts("web", "crash");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-failed", at);
        m.must(&format!("systemctl kill --signal=KILL {UNIT}"));
        m.mend("web");
        m.wait_event(Duration::from_secs(60), "web", "incident-closed", at);
        let incident = incident(m, "web-1", "the incident is closed on disk", closed);
        assert_eq!(incident["outcome"], "recovered", "{incident}");
        assert!(incident["recoveries"].as_u64().is_some_and(|times| times >= 2), "{incident}");
        assert_eq!(m.must("ls /var/lib/app-monitor/incidents | wc -l"), "1");
    });
}

/// systemd takes no `export` in an environment file, and so the app goes without.
#[test]
fn keys_that_a_file_exports_are_missing_as_systemd_has_it() {
    scenario("preflight-exported", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.service_lines = "EnvironmentFile=/srv/web/.env".to_owned();
        m.write("/srv/web/.env", "KEY=x\n");
        watch(m, &app, "preflight = { keys = [\"KEY\"] }");
        m.wait_for(SOON, "what a start needs is there", || {
            (found(m, "web", "preflight") == "good").then_some(())
        });
        m.write("/srv/web/.env", "# or \\\nAFTER=1\nexport KEY=hunter2\n");
        let at = m.fault("web", "crash");
        let opened = m.wait_event(SOON, "web", "incident-opened", at);
        assert_eq!(opened.field("APP_MONITOR_VERDICT"), "config-missing", "{}", opened.message);
        let why = "KEY is not set in the environment of web.service (/srv/web/.env has it behind `export`";
        assert!(opened.message.contains(why), "{}", opened.message);
        m.must("systemctl restart web.service");
        let environment = m.must("tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID web.service)/environ");
        assert!(!environment.contains("KEY="), "{environment}");
        // Which counts as set in either case.
        let version = m.must("systemctl --version | sed -n '1s/systemd \\([0-9]*\\).*/\\1/p'");
        let reads_on = version.parse::<u32>().is_ok_and(|version| version >= 254);
        assert_eq!(environment.contains("AFTER=1"), reads_on, "{version}: {environment}");
        assert!(!m.journal_of(UNIT).contains("hunter2"), "no value is shown");
    });
}

/// Looked at by a unit of its own, as the app's user, and named without a value.
#[test]
fn files_and_keys_that_a_start_needs_are_named() {
    scenario("preflight-missing", |m| {
        m.must("useradd --system webuser");
        let mut app = AppSpec::new("web", 3000);
        app.service_lines =
            "User=webuser\nEnvironment=TOKEN=hunter2\nEnvironmentFile=-/srv/web/.env".to_owned();
        m.write("/srv/web/there.js", "");
        m.write("/srv/web/.env", "KEY=hunter2\n");
        watch(m, &app, "preflight = { files = [\"there.js\"], keys = [\"TOKEN\", \"KEY\"] }");
        m.wait_for(SOON, "what a start needs is there", || {
            (found(m, "web", "preflight") == "good").then_some(())
        });
        m.must("chmod 0600 /srv/web/there.js; echo KEY= > /srv/web/.env");
        let at = m.fault("web", "crash");
        let found = m.wait_event(SOON, "web", "incident-opened", at);
        assert_eq!(found.field("APP_MONITOR_VERDICT"), "config-missing", "{}", found.message);
        for part in
            ["there.js cannot be read by user webuser", "KEY is empty in the environment of web.service"]
        {
            assert!(found.message.contains(part), "{part:?} in {}", found.message);
        }
        assert!(!m.journal_of(UNIT).contains("hunter2"), "no value is shown");
        m.must("chmod 0644 /srv/web/there.js; echo KEY=x > /srv/web/.env");
        m.wait_event(Duration::from_secs(60), "web", "incident-closed", at);
        assert_eq!(m.http(3000, "/api/health").status, 200);
    });
}

/// systemd takes nothing of a file with a name or a value that is no UTF-8.
#[test]
fn files_that_systemd_refuses_are_named_with_their_line() {
    scenario("preflight-refused", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.service_lines = "EnvironmentFile=-/srv/web/.env".to_owned();
        m.write("/srv/web/.env", "KEY=x\n");
        watch(m, &app, "preflight = { keys = [\"KEY\"] }");
        m.wait_for(SOON, "what a start needs is there", || {
            (found(m, "web", "preflight") == "good").then_some(())
        });
        // In Latin 1.
        m.must("printf 'KEY=hunter2\\n# M\\374ller\\nNAME=M\\374ller\\n' >/srv/web/.env");
        let at = m.fault("web", "crash");
        let opened = m.wait_event(SOON, "web", "incident-opened", at);
        assert_eq!(opened.field("APP_MONITOR_VERDICT"), "config-missing", "{}", opened.message);
        let why = "/srv/web/.env: systemd refuses the whole file: its line 3 is to be written as UTF-8";
        let key = format!("KEY is not set in the environment of web.service ({why})");
        assert!(opened.message.contains(&key), "{}", opened.message);
        m.must("systemctl restart web.service");
        let environment = m.must("tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID web.service)/environ");
        assert!(!environment.contains("KEY=") && !environment.contains("NAME="), "{environment}");
        let doctor = m.run("app-monitor doctor web --json").stdout;
        assert!(doctor.contains("systemd refuses the whole file: its line 3"), "{doctor}");
        // Without the `-` it is not even started; mended, it is.
        m.must("sed -i 's/=-/=/' /etc/systemd/system/web.service && systemctl daemon-reload");
        assert!(!m.run("systemctl restart web.service").ok());
        let held = |m: &Machine| view(m, "web")["verdict"] == "config-missing";
        m.wait_for(2 * SOON, "it is held", || held(m).then_some(()));
        assert!(m.run("app-monitor status web").stdout.contains("its line 3"));
        m.must("printf 'KEY=x\\nNAME=M\\303\\274ller\\n' >/srv/web/.env");
        m.wait_for(4 * SOON, "it is back", || (view(m, "web")["verdict"] == "healthy").then_some(()));
        // That line is systemd's own.
        let ours = m.journal_of(UNIT);
        assert!(!ours.contains("hunter2") && !ours.contains("ller"), "no value is shown");
    });
}
