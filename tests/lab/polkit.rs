//! polkit goes away, hangs, or says no: the monitor says that it may not act and why, keeps watching, and
//! acts as soon as it may.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, assert_none, config, count, let_pass, said_at, view, wait_view, watch};

/// What the unit's own pre-start step writes.
const RULE: &str = "/etc/polkit-1/rules.d/40-app-monitor.rules";

/// The app, watched by a monitor that may do nothing but what the rule says.
fn watched(m: &Machine, keys: &str) {
    watch(m, &AppSpec::new("web", 3000), keys);
    // Everything is proven by then.
    let_pass(Duration::from_secs(2));
    assert!(conditions(m).is_empty(), "{:?}", conditions(m));
}

/// What holds besides the verdict, with its text.
fn conditions(m: &Machine) -> Vec<String> {
    let view = view(m, "web");
    let rows = view["conditions"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| format!("{}: {}", row["condition"], row["text"])).collect()
}

fn signal_polkit(m: &Machine, signal: &str) {
    m.must(&format!("kill -{signal} $(systemctl show -p MainPID --value polkit)"));
}

/// Waits until it is said that we may not act, in those words.
#[track_caller]
fn told(m: &Machine, at: Duration, words: &str) {
    let began = m.wait_event(Duration::from_secs(40), "web", "condition-began", at);
    assert!(began.message.contains("may-not-act: "), "{}", began.message);
    wait_view(m, "web", words, |view| {
        let rows = view["conditions"].as_array()?;
        rows.iter()
            .find(|row| {
                row["condition"] == "may-not-act"
                    && row["text"].as_str().is_some_and(|text| text.contains(words))
            })
            .map(drop)
    });
}

/// It was told once, nothing was tried again and again, and nothing was counted.
#[track_caller]
fn said_once(m: &Machine, at: Duration) {
    for (event, most) in
        [("condition-began", 1), ("recovery-started", 1), ("step-failed", 1), ("recovery-failed", 1)]
    {
        let times = count(m, "web", event, at);
        assert!(times <= most, "{event}: {times} times");
    }
    assert_none(m, &["breaker-opened"], at);
}

/// Everything is as it was before, by one start of the app.
#[track_caller]
fn well_again(m: &Machine, at: Duration, since: Duration) {
    m.wait_event(SOON, "web", "condition-ended", since);
    m.wait_event(SOON, "web", "incident-closed", since);
    m.wait_http_ok(SOON, 3000, "/api/health");
    assert_eq!(said_at(m, "web.service", "starting, pid", at).len(), 1, "started once");
    assert_eq!(view(m, "web")["attempts_left"], 3, "what was refused used no attempt");
}

#[test]
fn polkit_that_is_killed_is_brought_back_by_the_next_question() {
    scenario("polkit-killed", |m| {
        watched(m, "");
        signal_polkit(m, "KILL");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_eq!(count(m, "web", "recovery-started", at), 1);
        let at = now();
        m.must("systemctl restart polkit");
        m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert_none(m, &["recovery-failed"], Duration::ZERO);
    });
}

#[test]
fn polkit_that_is_masked_is_named_and_what_was_held_back_is_done_afterwards() {
    scenario("polkit-masked", |m| {
        watched(m, "");
        m.must("systemctl mask --now polkit");
        let at = m.fault("web", "crash");
        told(m, at, "polkit is masked; systemctl unmask");
        let_pass(Duration::from_secs(25));
        said_once(m, at);
        assert_eq!(view(m, "web")["verdict"], "crashed", "it is watched");
        // The bus writes two lines for each question to a polkit that cannot be started.
        let asked =
            m.journal().matches("Activating via systemd: service name='org.freedesktop.PolicyKit1'").count();
        assert!(asked < 25, "polkit was asked {asked} times");
        let since = now();
        m.must("systemctl unmask polkit");
        well_again(m, at, since);
    });
}

#[test]
fn polkit_that_hangs_has_nothing_carried_out_late() {
    scenario("polkit-hung", |m| {
        watched(m, "");
        signal_polkit(m, "STOP");
        let at = m.fault("web", "status 500");
        let pid = m.main_pid("web.service");
        told(m, at, "polkit does not answer; systemctl restart polkit");
        let_pass(Duration::from_secs(55).saturating_sub(now() - at));
        said_once(m, at);
        assert_eq!(m.main_pid("web.service"), pid, "nothing was done to it");
        let since = now();
        signal_polkit(m, "CONT");
        let ended = m.wait_event(SOON, "web", "condition-ended", since);
        assert!(ended.at - since < Duration::from_secs(2), "{:?} later", ended.at - since);
        well_again(m, at, since);
        let_pass(Duration::from_secs(5));
        assert_eq!(said_at(m, "web.service", "starting, pid", at).len(), 1, "nothing was left over");
    });
}

/// Hanging, an app that has got well by itself is left alone.
#[test]
fn app_that_is_well_again_is_not_restarted_by_what_was_asked_before() {
    scenario("polkit-hung-well", |m| {
        watched(m, "");
        let at = m.fault("web", "status 500");
        signal_polkit(m, "STOP");
        let pid = m.main_pid("web.service");
        let_pass(Duration::from_secs(8));
        m.fault("web", "heal");
        m.wait_verdict(SOON, "web", "healthy", at);
        signal_polkit(m, "CONT");
        let_pass(Duration::from_secs(8));
        // It may have been faster than we were.
        if count(m, "web", "condition-began", at) > 0 {
            assert_eq!(m.main_pid("web.service"), pid, "restarted though it is well");
            assert!(conditions(m).is_empty(), "{:?}", conditions(m));
        }
    });
}

#[test]
fn alert_that_polkit_is_gone_is_sent_when_it_is_back() {
    scenario("polkit-alert", |m| {
        m.write(
            "/etc/systemd/system/tell@.service",
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'cat /run/app-monitor/alerts/%i.json >>/root/told; echo >>/root/told'\n",
        );
        m.must("systemctl daemon-reload");
        watched(m, "[alerts.me]\nkind = \"unit\"\nunit = \"tell@.service\"\n");
        m.must("systemctl mask --now polkit");
        let at = m.fault("web", "crash");
        told(m, at, "polkit is masked");
        let failed = m.wait_event(SOON, "web", "alert-failed", at);
        assert!(failed.message.contains("polkit is masked; it is tried again"), "{}", failed.message);
        assert!(m.read("/root/told").is_none());
        m.must("systemctl unmask polkit");
        m.wait_event(SOON, "web", "incident-closed", at);
        let events = m.wait_for(SOON, "everything is told", || {
            let text = m.read("/root/told")?;
            let told = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
            let events: Vec<String> =
                told.flatten().map(|one| one["event"].as_str().unwrap_or_default().to_owned()).collect();
            (events.len() == 4).then_some(events)
        });
        let mut order = events.clone();
        order.sort_by_key(|event| event.ends_with("ended") || event.ends_with("closed"));
        assert_eq!(events, order, "in the order in which it happened");
    });
}

/// What a process has used of the processor, in hundredths of a second.
fn used(m: &Machine, pid: &str) -> u64 {
    m.must(&format!("cut -d' ' -f14,15 /proc/{pid}/stat"))
        .split(' ')
        .map(|ticks| ticks.trim().parse::<u64>().expect("proc(5)"))
        .sum()
}

#[test]
fn proof_for_two_hundred_apps_is_cheap() {
    scenario("polkit-many", |m| {
        m.write("/etc/systemd/system/many@.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        m.must("systemctl daemon-reload");
        watched(m, "");
        let apps: String =
            (0..200).map(|app| format!("[app.many{app}]\nunit = \"many@{app}.service\"\n")).collect();
        let polkit = || m.unit_property("polkit.service", "MainPID");
        let (first, before) = (polkit(), (used(m, &polkit()), used(m, "1")));
        m.configure(&apps);
        let_pass(Duration::from_secs(25));
        // One that took its place meanwhile began at nothing.
        let now = polkit();
        let earlier = if now == first { before.0 } else { 0 };
        let cost = (used(m, &now) - earlier, used(m, "1") - before.1);
        eprintln!("polkit used {} ms, PID 1 {} ms", cost.0 * 10, cost.1 * 10);
        assert!(cost.0 < 150, "polkit used {} ms", cost.0 * 10);
    });
}

/// Between the stop and the start nothing may be done; the app is started as soon as it may.
fn between(name: &str, before: &str, words: &str, after: &str, other: bool) {
    scenario(name, |m| {
        m.write("/srv/web/.next/cache/x", "x");
        m.drop_in("app-monitor-clear-caches@.service", "[Service]\nExecStartPre=/bin/sleep 4\n");
        watched(m, "clear_caches = \"always\"\n");
        let at = m.fault("web", "status 500");
        m.wait_property(SOON, "web.service", "ActiveState", "inactive");
        m.must(before);
        told(m, at, words);
        let_pass(Duration::from_secs(12));
        said_once(m, at);
        assert_eq!(m.unit_property("web.service", "ActiveState"), "inactive");
        let since = now();
        if other {
            m.must("systemctl restart app-monitor");
        }
        m.must(after);
        m.wait_http_ok(SOON, 3000, "/api/health");
        m.wait_event(SOON, "web", "incident-closed", since);
        assert_eq!(said_at(m, "web.service", "starting, pid", at).len(), 1, "started once");
        assert_none(m, &["stopped-by-admin"], at);
    });
}

#[test]
fn masked_between_stop_and_start_leaves_no_app_down() {
    between(
        "polkit-masked-between",
        "systemctl mask --now polkit",
        "polkit is masked",
        "systemctl unmask polkit",
        false,
    );
}

#[test]
fn hung_between_stop_and_start_leaves_no_app_down() {
    let signal = |signal: &str| format!("kill -{signal} $(systemctl show -p MainPID --value polkit)");
    between("polkit-hung-between", &signal("STOP"), "polkit does not answer", &signal("CONT"), false);
}

#[test]
fn another_monitor_starts_what_was_stopped_when_polkit_went() {
    between(
        "polkit-other",
        "systemctl mask --now polkit",
        "polkit is masked",
        "systemctl unmask polkit",
        true,
    );
}

#[test]
fn rule_that_is_gone_is_missed_before_it_is_needed() {
    scenario("polkit-rule", |m| {
        watched(m, "");
        let at = now();
        m.must(&format!("mv {RULE} /root/"));
        told(
            m,
            at,
            "start, stop, restart, kill of web.service: no rule of polkit allows it; systemctl reload",
        );
        let since = now();
        let asked = m.run("app-monitor recover web");
        assert_eq!(asked.status, 1);
        assert!(asked.stderr.contains("no rule of polkit allows it"), "{}", asked.stderr);
        m.must(&format!("mv /root/40-app-monitor.rules {RULE}"));
        let ended = m.wait_event(SOON, "web", "condition-ended", since);
        assert!(ended.at - since < Duration::from_secs(3), "{:?} later", ended.at - since);
        assert_eq!(count(m, "web", "condition-began", at), 1);

        // What somebody else takes away is told from what was never given.
        let at = now();
        m.write(
            "/etc/polkit-1/rules.d/10-less.rules",
            "polkit.addRule(function (action, subject) { if (subject.user === \"app-monitor\" &&\n\
             action.lookup(\"verb\") === \"restart\") { return polkit.Result.NO; } });\n",
        );
        m.must("chmod 644 /etc/polkit-1/rules.d/10-less.rules");
        told(m, at, "restart of web.service: polkit or the bus says no");
        // A crash needs no restart.
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
        m.wait_event(SOON, "web", "incident-closed", at);
        assert_eq!(conditions(m).len(), 1, "{:?}", conditions(m));
    });
}

#[test]
fn unit_that_may_not_be_held_is_watched_all_the_same() {
    scenario("polkit-ref", |m| {
        m.write(
            "/etc/polkit-1/rules.d/10-less.rules",
            "polkit.addRule(function (action, subject) { if (subject.user === \"app-monitor\" &&\n\
             action.lookup(\"verb\") === \"ref\") { return polkit.Result.NO; } });\n",
        );
        m.must("chmod 644 /etc/polkit-1/rules.d/10-less.rules");
        // What `watch` does, without waiting until the unit is held.
        m.install_app(&AppSpec::new("web", 3000));
        m.configure(&config(""));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        told(m, Duration::ZERO, "ref of web.service");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
    });
}

#[test]
fn bus_that_is_restarted_and_systemd_that_is_executed_again_are_asked_anew() {
    scenario("polkit-anew", |m| {
        watched(m, "");
        for line in ["systemctl restart dbus", "systemctl daemon-reexec"] {
            m.must(line);
            let_pass(Duration::from_secs(3));
            let at = m.fault("web", "crash");
            m.wait_event(SOON, "web", "recovery-verified", at);
            m.wait_event(SOON, "web", "incident-closed", at);
            assert!(conditions(m).is_empty(), "{line}: {:?}", conditions(m));
        }
        let at = now();
        m.must("systemctl reload app-monitor");
        m.wait_event(SOON, "", "config-reloaded", at);
    });
}
