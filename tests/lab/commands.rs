//! The commands, as root and as anybody, and what they tell scripts by their exit status.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, Output, now, scenario};
use crate::support::{SOON, as_nobody, config, count, view, wait_view, watch};

/// Runs a command and asserts on its exit status and on what it says.
#[track_caller]
fn says(output: &Output, status: i32, words: &[&str]) {
    let said = format!("{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.status, status, "{said}");
    for word in words {
        assert!(said.contains(word), "no \u{201c}{word}\u{201d} in:\n{said}");
    }
}

#[track_caller]
fn run(m: &Machine, line: &str, status: i32, words: &[&str]) {
    says(&m.run(line), status, words);
}

/// What a command prints with `--json`, whatever its exit status.
#[track_caller]
fn as_json(m: &Machine, line: &str) -> serde_json::Value {
    let output = m.run(&format!("app-monitor {line} --json"));
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {output:?}"))
}

#[test]
fn commands_tell_how_the_apps_are() {
    scenario("commands-status", |m| {
        run(m, "app-monitor status", 0, &["no app is configured", "app-monitor init"]);
        run(m, "app-monitor status --json", 0, &["[]"]);
        watch(m, &AppSpec::new("web", 3000), "");
        m.install_app(&AppSpec::new("api", 3001));
        let both =
            config("[app.api]\nunit = \"api\"\nport = 3001\nhttp = \"/api/health\"\nmode = \"watch\"\n");
        m.configure(&both);
        run(m, "app-monitor wait api --for 20s", 0, &["api: healthy"]);
        run(m, "app-monitor wait web --for 20s", 0, &["web: healthy"]);
        run(m, "app-monitor status", 0, &["● api: healthy", "only watched", "● web: healthy"]);
        run(m, "app-monitor status web", 0, &["web.service", "pid ", "answers 200", "3 attempts left"]);
        run(m, "app-monitor status wbe", 1, &["no app is called", "wbe", "did you mean", "web"]);
        let json: serde_json::Value =
            serde_json::from_str(&m.must("app-monitor status --json")).expect("JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(2));
        assert_eq!(json[1]["verdict"], "healthy");
        assert_eq!(json[1]["pid"], m.main_pid("web.service"));

        let watched = m.run("timeout --signal=INT 3 app-monitor status --watch");
        assert!(watched.stdout.matches("● web: healthy").count() >= 2, "{}", watched.stdout);

        // Reading takes no privilege.
        says(&as_nobody(m, "app-monitor status"), 0, &["● web: healthy"]);
        says(&as_nobody(m, "app-monitor wait web"), 0, &["web: healthy"]);
        says(&as_nobody(m, "app-monitor check --unit web --port 3000 --http /api/health"), 0, &["good"]);
        says(&as_nobody(m, "app-monitor config show"), 1, &["permission denied", "root"]);
        // What one may not read need not be a bad configuration.
        for line in ["config check", "check", "doctor", "simulate --faults '10:00 freeze 40s'"] {
            let done = as_nobody(m, &format!("app-monitor {line}"));
            says(&done, 1, &["permission denied; only root and group app-monitor may: try it with sudo"]);
        }
        says(
            &as_nobody(m, "app-monitor init --write"),
            1,
            &["permission denied", "run it as root: sudo app"],
        );
        for act in ["pause web", "resume web", "recover web", "reset web", "pause --all"] {
            says(&as_nobody(m, &format!("app-monitor {act}")), 1, &["org.appmonitor1.control"]);
        }

        // A fault that nothing is done about is a matter for somebody.
        m.fault("api", "status 500");
        wait_view(m, "api", "erroring", |view| (view["verdict"] == "erroring").then_some(()));
        run(m, "app-monitor status", 1, &["● api: erroring", "answers 500"]);
        run(m, "app-monitor status web", 0, &[]);
        run(m, "app-monitor wait api --for 1s", 1, &["not healthy within 1 s", "erroring"]);
        run(m, "app-monitor wait nope --for 1s", 1, &["no app is called"]);
        let waited = as_json(m, "wait api --for 1s");
        assert_eq!((&waited["healthy"], &waited["verdict"]), (&false.into(), &"erroring".into()), "{waited}");
        assert_eq!(as_json(m, "wait web")["healthy"], true);

        for wrong in ["status --json --watch", "frobnicate", "pause", "pause web --for never", "wait"] {
            run(m, &format!("app-monitor {wrong}"), 2, &["--help"]);
        }
        m.must("systemctl stop app-monitor");
        for command in
            ["status", "wait web --for 1s", "pause web", "resume --all", "recover web", "reset web"]
        {
            run(m, &format!("app-monitor {command}"), 3, &["does not run", "systemctl status app-monitor"]);
        }
        assert_eq!(as_json(m, "wait web --for 1s")["verdict"], serde_json::Value::Null);
        assert_eq!(as_json(m, "reset web")[0]["done"], false);
    });
}

#[test]
fn commands_check_without_a_daemon() {
    scenario("commands-check", |m| {
        m.must("systemctl stop app-monitor");
        m.must("rm -r /run/app-monitor-resolved");
        m.install_app(&AppSpec::new("web", 3000));
        let all = "app-monitor check --unit web --port 3000 --http /api/health";
        run(m, all, 0, &["web.service is active", "port 3000", "answers 200"]);
        let json: serde_json::Value = serde_json::from_str(&m.must(&format!("{all} --json"))).expect("JSON");
        assert_eq!(json[0]["well"], true);
        // Unit, port, http, processes, and what holds for every app: memory and disk of the host.
        assert_eq!(json[0]["checks"].as_array().map(Vec::len), Some(6));
        run(m, "app-monitor check --unit web --port 3000 --http /private", 1, &["bad", "answers 401"]);
        run(m, "app-monitor check --unit web --port 3333", 1, &["bad", "3333"]);
        run(m, "app-monitor check --unit nope", 1, &["bad", "systemd knows no nope.service"]);
        run(m, "app-monitor check --unit web --port frog", 2, &["--port", "frog"]);
        run(m, "app-monitor check --port 3000", 2, &["--unit"]);
        run(m, "app-monitor check", 1, &["no app is configured", "app-monitor init", "check --unit"]);

        m.write("/etc/app-monitor/conf.d/50-lab.toml", &config(""));
        run(m, "app-monitor check", 0, &["web (web.service)", "answers 200"]);
        run(m, "app-monitor check web", 0, &["answers 200"]);
        run(m, "app-monitor check nope", 1, &["no app is called"]);
        m.must("systemctl start app-monitor");
        run(m, "app-monitor check", 0, &["web (web.service)", "answers 200"]);
        m.must("systemctl stop web");
        run(m, "app-monitor check", 1, &["web.service is inactive"]);

        // Whose the port is cannot be told without systemd.
        m.must("systemctl start web; systemctl stop dbus.socket dbus.service");
        m.wait_http_ok(SOON, 3000, "/api/health");
        let blind = as_json(m, "check web");
        let result = |check: &str| {
            let mut rows = blind[0]["checks"].as_array().into_iter().flatten();
            rows.find(|row| row["check"] == check).map(|row| row["result"].clone())
        };
        assert_eq!(
            (result("unit"), result("port")),
            (Some("unknown".into()), Some("unknown".into())),
            "{blind}"
        );
        assert_eq!(blind[0]["well"], true);
    });
}

/// Over restarts of the monitor, too.
#[test]
fn commands_tell_how_available_an_app_was() {
    scenario("commands-available", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let day = |view: &serde_json::Value| view["figures"][0].clone();
        let first = wait_view(m, "web", "watched", |view| view["figures"][0].is_object().then(|| day(view)));
        assert_eq!((&first["available_percent"], &first["restarts"]), (&100.0.into(), &0.into()), "{first}");
        let at = m.fault("web", "block");
        m.wait_event(SOON, "web", "incident-closed", at);
        let seen = day(&view(m, "web"));
        let down = seen["down_seconds"].as_u64().unwrap_or_default();
        assert!((2..20).contains(&down) && seen["restarts"] == 1, "{seen}");
        assert!(seen["available_percent"].as_f64().is_some_and(|share| share < 100.0), "{seen}");
        // A stop that somebody wished is no outage, and whoever starts it restarts it.
        m.must("systemctl stop web && sleep 3 && systemctl start web && app-monitor wait web --for 20s");
        m.must("systemctl kill --signal=KILL app-monitor; sleep 2");
        let after = wait_view(m, "web", "healthy", |view| (view["verdict"] == "healthy").then(|| day(view)));
        assert!(after["down_seconds"].as_u64().is_some_and(|again| again <= down + 1), "{seen} {after}");
        assert_eq!(after["restarts"], 2, "{after}");
        run(m, "app-monitor status", 0, &["available ", "% of the last", "(2 restarts)"]);
    });
}

/// What could happen, and what happened, played with the configuration as its files have it.
#[test]
fn commands_play_what_could_happen() {
    scenario("commands-simulate", |m| {
        run(m, "app-monitor simulate --faults '10:00 crash'", 1, &["no app is configured"]);
        watch(m, &AppSpec::new("web", 3000), "");
        let day = "app-monitor simulate web --faults '10:00 freeze 10s; 12:00 stop 1h'";
        let seen = [
            "10:00:00  * freeze for 10 s",
            "web: frozen; restarting, attempt 1 of 3",
            "would have recovered web once",
        ];
        run(m, day, 0, &seen);
        run(
            m,
            &format!("{day} --set failures=30 --set 'failures_window=60 of 60'"),
            0,
            &["of 60: not at all"],
        );
        // Before it is in force.
        m.write(
            "/etc/app-monitor/conf.d/60-lab.toml",
            "[app.web]\nfailures = 30\nfailures_window = \"60 of 60\"\n",
        );
        run(m, day, 0, &["would have recovered web not at all"]);
        m.write("/etc/app-monitor/conf.d/60-lab.toml", "[app.web]\nfailurs = 30\n");
        run(m, day, 78, &["60-lab.toml:2:1", "failures"]);
        m.must("rm /etc/app-monitor/conf.d/60-lab.toml");

        run(m, "app-monitor simulate web --incidents", 1, &["no incident on record can be played"]);
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        run(m, "app-monitor simulate web --incidents", 0, &["* crash", "would have recovered web once"]);
        let json: serde_json::Value =
            serde_json::from_str(&m.must("app-monitor simulate web --incidents --json")).expect("JSON");
        assert_eq!(json["runs"][0]["recoveries"], 1);
        assert!(json["midnight"].is_u64() && json["runs"][0]["events"][0]["text"].is_string(), "{json}");

        for (wrong, words) in [
            ("", ["--faults", "--help"]),
            ("--faults '10:00 freez'", ["did you mean", "freeze"]),
            ("--faults '10:00 db-down'", ["say how long", "5m"]),
            ("--faults '10:00 crash api'", ["web has no", "api"]),
            ("--faults '10:00 crash' --set failures=x", ["--set failures", "whole number"]),
        ] {
            run(m, &format!("app-monitor simulate web {wrong}"), 2, &words);
        }
        run(m, "app-monitor simulate nope --faults '10:00 crash'", 1, &["no app is called", "web"]);
    });
}

#[test]
fn commands_pause_and_resume() {
    scenario("commands-pause", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        run(m, "app-monitor pause --all --for 10m --reason 'a deploy'", 0, &["web: paused for 10 min"]);
        run(m, "app-monitor status", 0, &["● web: paused", "a deploy", "paused by root for another"]);
        assert!(m.unit_property("app-monitor.service", "StatusText").contains("web: paused"));
        m.fault("web", "crash");
        let would = m.wait_event(SOON, "web", "recovery-started", at);
        assert!(would.message.contains("would have done: reset-failed, then start"), "{}", would.message);
        assert_eq!(m.unit_property("web.service", "ActiveState"), "failed");
        run(m, "app-monitor resume --all", 0, &["web: recoveries are allowed"]);
        m.wait_http_ok(SOON, 3000, "/api/health");
        m.wait_event(SOON, "web", "recovery-verified", at);
        for event in ["paused", "resumed"] {
            assert_eq!(count(m, "web", event, at), 1, "{event}");
        }
        assert!(m.wait_event(SOON, "web", "resumed", at).message.contains("resumed by root"));

        let at = now();
        assert_eq!(as_json(m, "pause web --for 2s")[0]["done"], true);
        let resumed = m.wait_event(SOON, "web", "resumed", at);
        assert!(resumed.message.contains("the pause is over"), "{}", resumed.message);
        assert!((2..4).contains(&(resumed.at - at).as_secs()), "{:?}", resumed.at - at);
        m.wait_verdict(SOON, "web", "healthy", at);
        run(m, "app-monitor pause nope", 1, &["no app is called", "nope", "web"]);
        assert_eq!(
            as_json(m, "resume --all"),
            serde_json::json!([{ "app": "web", "done": true, "text": "recoveries are allowed" }])
        );
        let refused = as_json(m, "pause nope");
        assert_eq!((&refused[0]["app"], &refused[0]["done"]), (&"nope".into(), &false.into()), "{refused}");
    });
}

#[test]
fn commands_recover_and_reset() {
    scenario("commands-recover", |m| {
        let app = AppSpec { sigterm_handler: true, ..AppSpec::new("web", 3000) };
        watch(m, &app, "max_attempts = 1\nhealthy_for = \"1h\"");
        let (at, pid) = (now(), m.main_pid("web.service"));
        run(m, "app-monitor recover web", 0, &["web: a recovery begins"]);
        let started = m.wait_event(SOON, "web", "recovery-started", at);
        assert!(started.message.contains("asked for by root, uncounted"), "{}", started.message);
        run(m, "app-monitor wait web --for 20s", 0, &["web: healthy"]);
        assert_ne!(m.main_pid("web.service"), pid);
        assert!(m.journal_of("web.service").contains("closing"), "it was not asked to end");
        assert_eq!(view(m, "web")["attempts_left"], 1);

        // An app that stays broken is given up, until somebody says otherwise.
        m.break_starts("web", "status 500");
        m.fault("web", "status 500");
        m.wait_event(SOON, "web", "breaker-opened", at);
        let status = m.unit_property("app-monitor.service", "StatusText");
        assert!(status.contains("web: erroring for ") && status.contains("next attempt in"), "{status}");
        run(m, "app-monitor status", 1, &["breaker open", "0 attempts left", "next attempt in"]);
        m.mend("web");
        let at = now();
        run(m, "app-monitor recover web", 0, &[]);
        m.wait_event(SOON, "web", "recovery-verified", at);
        run(m, "app-monitor status", 0, &["breaker"]);
        run(m, "app-monitor reset web", 0, &["attempts are forgotten", "breaker is closed"]);
        let closed = m.wait_event(SOON, "web", "breaker-closed", at);
        assert!(closed.message.contains("reset by root"), "{}", closed.message);
        run(m, "app-monitor status", 0, &["1 attempt left"]);
        run(m, "app-monitor reset nope", 1, &["no app is called", "nope", "web"]);

        m.must("systemctl stop web");
        m.wait_event(SOON, "web", "stopped-by-admin", at);
        // Nobody looks any more, and what was good before is not.
        wait_view(m, "web", "no check is good", |view| {
            let of_the_app = |row: &&serde_json::Value| row["check"] == "port" || row["check"] == "http";
            let mut rows = view["checks"].as_array()?.iter().filter(of_the_app);
            rows.all(|row| row["result"] == "none").then_some(())
        });
        run(m, "app-monitor recover web", 1, &["stopped-by-admin", "systemctl start web.service"]);
        assert_eq!(m.unit_property("web.service", "ActiveState"), "inactive");
        m.must("mv /etc/systemd/system/web.service /etc/systemd/system/web.kept; systemctl mask --now web");
        run(m, "app-monitor recover web", 1, &["masked", "systemctl unmask web.service"]);
    });
}

#[test]
fn commands_have_a_bus_behind_them() {
    scenario("bus", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let of = "org.appmonitor1 /org/appmonitor1";
        let said = m.must(&format!("busctl --no-pager introspect {of} org.appmonitor1.Manager"));
        for member in [
            "Apps",
            "Recover",
            "Pause",
            "Resume",
            "Reset",
            "Reload",
            "VerdictChanged",
            "IncidentOpened",
            "IncidentClosed",
        ] {
            assert!(said.contains(&format!(".{member} ")), "no {member} in\n{said}");
        }
        let said = m.must(&format!("busctl --no-pager introspect {of}/app/web org.appmonitor1.App"));
        for property in
            ["Verdict", "Conditions", "Since", "Checks", "AttemptsLeft", "BreakerState", "PausedUntil"]
        {
            assert!(said.contains(&format!(".{property} ")), "no {property} in\n{said}");
        }
        assert!(said.contains("\"healthy\""), "{said}");
        says(&as_nobody(m, &format!("busctl call {of} org.appmonitor1.Manager Apps")), 0, &["healthy"]);
        let pause = format!("busctl call {of} org.appmonitor1.Manager Pause sts web 60 x");
        says(&as_nobody(m, &pause), 1, &["ccess denied"]);

        // Its signals alone: with what systemd answers it, the journal would take no more lines.
        m.must("systemd-run --quiet --unit=listen busctl monitor --match=\"type='signal',sender='org.appmonitor1'\"");
        m.wait_for(SOON, "somebody listens", || {
            m.journal_of("listen.service").contains("Monitoring bus").then_some(())
        });
        m.fault("web", "crash");
        m.wait_for(SOON, "the signals", || {
            let heard = m.journal_of("listen.service");
            ["VerdictChanged", "IncidentOpened", "IncidentClosed", "PropertiesChanged"]
                .iter()
                .all(|signal| heard.contains(&format!("Member={signal}")))
                .then_some(())
        });
    });
}

#[test]
fn commands_do_not_hang_on_a_monitor_that_does() {
    scenario("commands-hung", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let pid = m.main_pid("app-monitor.service");
        m.must(&format!("kill -STOP {pid}"));
        let before = now();
        run(m, "app-monitor status", 3, &["does not answer", "systemctl status app-monitor"]);
        assert!(now() - before < Duration::from_secs(10));
        m.must(&format!("kill -CONT {pid}"));
        wait_view(m, "web", "it goes on", |view| (view["verdict"] == "healthy").then_some(()));
    });
}
