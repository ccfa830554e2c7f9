//! The bus service: driven with nothing but busctl, by those who may, told by signals, flooded.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, Machine, Output, now, scenario};
use crate::support::{SOON, UNIT, as_nobody, let_pass, view, wait_view, watch};

const MANAGER: &str = "org.appmonitor1 /org/appmonitor1 org.appmonitor1.Manager";
const APP: &str = "org.appmonitor1 /org/appmonitor1/app/web org.appmonitor1.App";

/// A method of the manager, called with busctl by root; its answer as JSON.
#[track_caller]
fn call(m: &Machine, what: &str) -> Value {
    let said = m.must(&format!("busctl --json=short call {MANAGER} {what}"));
    serde_json::from_str::<Value>(&said).map(|said| said["data"].clone()).unwrap_or_default()
}

/// The same by somebody else, with dbus-send, which says what is refused in our words.
fn call_as(m: &Machine, user: &str, what: &str) -> Output {
    m.run(&send_as(user, what))
}

fn send_as(user: &str, what: &str) -> String {
    format!(
        "setpriv --reuid {user} --regid {user} --init-groups dbus-send --system --print-reply \
         --dest=org.appmonitor1 /org/appmonitor1 org.appmonitor1.Manager.{what}"
    )
}

/// A text of JSON within an answer.
#[track_caller]
fn within(answer: &Value) -> Value {
    serde_json::from_str(answer[0].as_str().expect("a text")).expect("JSON")
}

#[track_caller]
fn property(m: &Machine, name: &str) -> Value {
    let said = m.must(&format!("busctl --json=short get-property {APP} {name}"));
    serde_json::from_str::<Value>(&said).expect("JSON")["data"].clone()
}

/// Listens to our signals from here on.
fn listen(m: &Machine) {
    m.must(
        "systemd-run --quiet --unit=listen busctl monitor --json=short \
         --match=\"type='signal',sender='org.appmonitor1'\" --match=\"interface='org.example.Probe'\"",
    );
    // Since systemd 257 it does not say when it begins.
    m.wait_for(SOON, "somebody listens", || {
        m.must("busctl emit /probe org.example.Probe Heard");
        m.journal_of("listen.service").contains("org.example.Probe").then_some(())
    });
}

/// The properties that were signalled as changed, one JSON object for each signal.
fn heard(m: &Machine) -> Vec<Value> {
    let lines = m.journal_of("listen.service");
    let signals =
        lines.lines().filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
    let changes = signals.filter(|signal| signal["member"] == "PropertiesChanged");
    changes.map(|signal| signal["payload"]["data"][1].clone()).collect()
}

#[test]
fn busctl_is_enough() {
    scenario("busctl", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        assert_eq!(call(m, "Apps")[0][0][2], "healthy");
        assert_eq!(within(&call(m, "Report"))[0]["app"], "web");
        assert_eq!(call(m, "Remarks"), serde_json::json!([[]]));
        let shipped = m.must("cat /usr/share/dbus-1/interfaces/org.appmonitor1.xml");
        let served =
            m.must(&format!("busctl introspect --xml-interface {}", MANAGER.rsplit_once(' ').unwrap().0));
        for line in shipped.lines().filter(|line| line.contains("<method") && !line.contains("org.")) {
            assert!(served.contains(line.trim()), "{line} in {served}");
        }

        let checks = call(m, "Check s web");
        let of = |check: &str| checks[0].as_array().unwrap().iter().find(|row| row[0] == check).cloned();
        assert_eq!(of("http").expect("http is checked")[1], "good", "{checks}");
        assert_eq!(of("port").expect("the port is checked")[1], "good", "{checks}");
        let plan = within(&call(m, "Rehearse s web"));
        assert_eq!(plan["steps"][0]["step"], "restart", "{plan}");

        listen(m);
        let (at, pid) = (now(), m.main_pid("web.service"));
        call(m, "Pause sts web 600 'by busctl'");
        wait_view(m, "web", "it is paused", |view| (view["verdict"] == "paused").then_some(()));
        assert!(property(m, "PausedUntil").as_u64().is_some_and(|until| until > 1_700_000_000_000_000));
        assert_eq!(view(m, "web")["paused_by"], "root");
        call(m, "Resume s web");
        m.wait_verdict(SOON, "web", "healthy", at);
        assert_eq!(property(m, "PausedUntil"), 0);
        call(m, "Recover s web");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_ne!(m.main_pid("web.service"), pid);
        call(m, "Reset s web");
        call(m, "Reload");
        m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        m.wait_for(SOON, "the incident is listed", || {
            (call(m, "Incidents")[0][0][0] == "web-1").then_some(())
        });
        let incident = within(&call(m, "Incident s web-1"));
        assert!(incident["timeline"].as_array().is_some_and(|lines| lines.len() > 3), "{incident}");
        for wrong in ["Recover s nope", "Incident s ../../etc/passwd", "Pause sts web 0 x", "Check s nope"] {
            let said = m.run(&format!("busctl call {MANAGER} {wrong}"));
            assert_eq!(said.status, 1, "{wrong}: {said:?}");
        }

        // Whatever changed was signalled, and what was told last is what is shown.
        let changes = m.wait_for(SOON, "changes are signalled", || {
            let heard = heard(m);
            let names = ["Verdict", "Since", "Checks", "AttemptsLeft", "PausedUntil"];
            let told = |name: &&str| heard.iter().any(|change| !change[*name].is_null());
            names.iter().all(told).then_some(heard)
        });
        let last = |name: &str| changes.iter().rev().find_map(|change| change[name]["data"].as_u64());
        assert_eq!(last("PausedUntil"), Some(0), "{changes:?}");
        m.wait_for(SOON, "the last told is what is shown", || {
            let heard = heard(m);
            let last = heard.iter().rev().find_map(|change| change["Since"]["data"].as_u64());
            (last == property(m, "Since").as_u64()).then_some(())
        });
        wait_view(m, "web", "it is well", |view| (view["well"] == true).then_some(()));
        let_pass(Duration::from_secs(3));
        let before = heard(m).len();
        let_pass(Duration::from_secs(6));
        assert_eq!(heard(m).len(), before, "steady health signals nothing: {:?}", heard(m));
    });
}

#[test]
fn polkit_says_who_else_may_act() {
    scenario("busctl-polkit", |m| {
        m.must("useradd dev; useradd guest; useradd --groups adm auditor");
        m.write(
            "/etc/polkit-1/rules.d/50-dev.rules",
            "polkit.addRule(function (action, subject) {\n\
             if (action.id === \"org.appmonitor1.control\" && subject.user === \"dev\" &&\n\
             action.lookup(\"verb\") !== \"reset\" && action.lookup(\"app\") === \"web\") { return polkit.Result.YES; } });\n",
        );
        m.must("chmod 644 /etc/polkit-1/rules.d/50-dev.rules");
        watch(m, &AppSpec::new("web", 3000), "");
        assert!(m.must("pkaction --action-id org.appmonitor1.control --verbose").contains("auth_admin_keep"));
        m.wait_for(SOON, "the rule is in force", || {
            call_as(m, "dev", "Pause string:web uint64:600 string:x").ok().then_some(())
        });
        wait_view(m, "web", "it is known who", |view| (view["paused_by"] == "dev").then_some(()));
        assert!(call_as(m, "dev", "Resume string:web").ok());
        let resumed = m.wait_event(SOON, "web", "resumed", Duration::ZERO);
        assert!(resumed.message.contains("resumed by dev"), "{}", resumed.message);
        for (who, what) in [
            ("dev", "Reset string:web"),
            ("guest", "Resume string:web"),
            ("guest", "Recover string:web"),
            ("guest", "Check string:web"),
            ("guest", "Reload"),
        ] {
            let said = call_as(m, who, what);
            assert!(!said.ok() && said.stderr.contains("org.appmonitor1.control"), "{who} {what}: {said:?}");
        }
        let by_command =
            m.run("setpriv --reuid dev --regid dev --init-groups app-monitor pause web --for 1h");
        assert!(by_command.ok(), "{by_command:?}");
        let said = m.run("setpriv --reuid guest --regid guest --init-groups app-monitor resume web");
        assert_eq!((said.status, said.stderr.contains("sudo")), (1, true), "{said:?}");
        m.must("app-monitor resume web");

        // What quotes logs is for those who may read logs.
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        m.wait_for(SOON, "the incident is on disk", || {
            m.run("app-monitor incidents web-1").ok().then_some(())
        });
        assert!(call_as(m, "auditor", "Incident string:web-1").ok());
        let said = call_as(m, "guest", "Incident string:web-1");
        assert!(said.stderr.contains("group adm"), "{said:?}");
        assert!(as_nobody(m, &format!("busctl call {MANAGER} Incidents")).ok());

        // A polkit that hangs holds up those who need it, and nobody else; root needs none.
        m.must("kill -STOP $(systemctl show -p MainPID --value polkit)");
        m.must(&format!(
            "for n in 1 2 3 4 5 6 7 8; do {} >/tmp/guest-$n 2>&1 & done",
            send_as("guest", "Reset string:web")
        ));
        m.wait_for(SOON, "too many of one user", || {
            m.run("grep -l 'too many calls' /tmp/guest-*").stdout.lines().count().ge(&4).then_some(())
        });
        let began = now();
        m.must("app-monitor pause web --for 2s");
        assert!(as_nobody(m, "app-monitor status").ok());
        assert!(now() - began < Duration::from_secs(4), "{:?}", now() - began);
        m.wait_for(SOON, "those who waited are told", || {
            let told = m.run("grep -l 'polkit.*does not answer' /tmp/guest-*").stdout.lines().count();
            (told == 4).then_some(())
        });
        m.must("systemctl kill --signal=KILL polkit; systemctl mask --now polkit");
        m.must("app-monitor pause web --for 2s");
        assert!(!call_as(m, "dev", "Pause string:web uint64:600 string:x").ok());
        m.must("systemctl unmask polkit");
        m.wait_for(SOON, "polkit is asked again", || {
            call_as(m, "dev", "Resume string:web").ok().then_some(())
        });
        assert_eq!(m.unit_property(UNIT, "NRestarts"), "0");
    });
}

/// Memory of the monitor that is its own, in kB.
fn memory(m: &Machine) -> u64 {
    let pid = m.main_pid(UNIT);
    let said = m.must(&format!("awk '/^RssAnon/ {{ print $2 }}' /proc/{pid}/status"));
    said.trim().parse().expect("a number of kB")
}

/// Somebody floods the service in that way, while the app crashes: that is seen and mended as ever.
#[track_caller]
fn flooded(m: &Machine, how: &str) -> Duration {
    m.must("systemctl reset-failed; rm -f /tmp/flood");
    m.must(&format!(
        "systemd-run --quiet --unit=flood --uid=fixture --property=StandardOutput=append:/tmp/flood node /tmp/flood.js {how}"
    ));
    let_pass(Duration::from_secs(1));
    let at = m.fault("web", "crash");
    let began = m.wait_event(SOON, "web", "recovery-started", at);
    m.wait_event(SOON, "web", "recovery-verified", at);
    m.wait_for(Duration::from_secs(60), "the flood is over", || {
        (m.unit_property("flood.service", "ActiveState") != "active").then_some(())
    });
    began.at - at
}

#[test]
fn whoever_floods_the_service_delays_nothing_and_fills_nothing() {
    scenario("flood", |m| {
        watch(m, &AppSpec::new("web", 3000), "max_attempts = 9\nhealthy_for = \"2s\"");
        m.write("/tmp/flood.js", include_str!("app/flood.js"));
        flooded(m, "read 4 100");
        let before = memory(m);
        for how in ["read 8 1250", "deaf 4 10", "mute 4 10"] {
            let after = flooded(m, how);
            println!(
                "{how}: {}; seen after {after:?}; {} kB before, {} kB after",
                m.must("cat /tmp/flood"),
                before,
                memory(m)
            );
            assert!(after < Duration::from_millis(1_500), "{how}: seen after {after:?}");
            assert!(memory(m) < before + 4 * 1024, "{how}: {before} kB became {} kB", memory(m));
            // What was queued is worked off first.
            let over = now();
            m.wait_for(Duration::from_secs(60), "commands are answered", || {
                as_nobody(m, "app-monitor status").stdout.contains("web").then_some(())
            });
            println!("answered {:?} afterwards", now() - over);
        }
        assert_eq!(m.unit_property(UNIT, "NRestarts"), "0");
        // As scripts do it: ten thousand processes, a few at a time, while the app crashes.
        m.must("systemctl reset-failed");
        let began = now();
        m.must(
            "systemd-run --quiet --unit=crowd --uid=fixture --property=StandardOutput=file:/tmp/all \
             sh -c 'seq 10000 | xargs -P 8 -I% app-monitor status --json'",
        );
        let_pass(Duration::from_secs(1));
        let at = m.fault("web", "crash");
        let acted = m.wait_event(SOON, "web", "recovery-started", at).at - at;
        m.wait_event(SOON, "web", "recovery-verified", at);
        m.wait_for(Duration::from_secs(300), "all of them are answered", || {
            (m.unit_property("crowd.service", "ActiveState") != "active").then_some(())
        });
        println!("processes: {:?}; seen after {acted:?}; {} kB after", now() - began, memory(m));
        assert_eq!(m.must("grep -c '\"verdict\": ' /tmp/all"), "10000");
        assert!(acted < Duration::from_millis(1_500), "seen after {acted:?}");
        assert!(memory(m) < before + 4 * 1024, "{before} kB became {} kB", memory(m));
    });
}
