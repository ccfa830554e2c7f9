//! polkit hangs at one moment or another of a recovery: at the very question that systemd puts to it, be
//! it the one by which we find out whether we may, or the one about the act itself.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, assert_none, count, let_pass, said_at, starts, view, watch};

/// polkit asks this about everything that is asked for us. At the question that is waited for, polkit stops.
const MOMENT: &str = "#!/bin/sh\n\
    cd /run/moment || exit\n\
    echo \"$1 $2\" >>asked\n\
    [ -e \"$1 $2\" ] || exit\n\
    left=$(($(cat \"$1 $2\") - 1))\n\
    if [ $left -gt 0 ]; then echo $left >\"$1 $2\"; exit; fi\n\
    rm \"$1 $2\"\n\
    touch hangs\n\
    kill -STOP $PPID\n";

const RULE: &str = "polkit.addRule(function (action, subject) {\n\
    if (subject.user !== \"app-monitor\" || action.id !== \"org.freedesktop.systemd1.manage-units\") { return; }\n\
    try { polkit.spawn([\"/usr/local/bin/moment\", String(action.lookup(\"unit\")),\n\
    String(action.lookup(\"verb\"))]); } catch (error) { polkit.log(String(error)); }\n});\n";

/// polkit stops when it is asked for the `number`th time whether that may be done to that unit.
fn hangs_at(m: &Machine, unit: &str, verb: &str, number: u32) {
    m.write(&format!("/run/moment/{unit} {verb}"), &number.to_string());
    m.must("chmod -R a+rwX /run/moment");
}

/// The app, watched by a monitor all of whose questions are seen.
fn watched(m: &Machine, keys: &str) {
    m.write("/usr/local/bin/moment", MOMENT);
    m.must("chmod 755 /usr/local/bin/moment; mkdir -m 777 /run/moment");
    m.drop_in("polkit.service", "[Service]\nReadWritePaths=/run/moment\n");
    m.write("/etc/polkit-1/rules.d/05-moment.rules", RULE);
    m.must("chmod 644 /etc/polkit-1/rules.d/05-moment.rules; systemctl restart polkit");
    watch(m, &AppSpec::new("web", 3000), keys);
    // Everything is proven by then.
    let_pass(Duration::from_secs(3));
}

/// The app answers with an error, and polkit hangs at that question. Gives the moment of the fault.
#[track_caller]
fn into(m: &Machine, keys: &str, (unit, verb, number): (&str, &str, u32)) -> Duration {
    m.write("/srv/web/.next/cache/x", "x");
    watched(m, keys);
    hangs_at(m, unit, verb, number);
    let at = m.fault("web", "status 500");
    m.wait_for(SOON, "polkit hangs", || m.read("/run/moment/hangs").map(drop));
    at
}

/// It is told once, nothing is done meanwhile, and when polkit is restarted, as we say that it should be,
/// the app is well by one start. (Resumed, it would find that its rule ran for over 15 s, and end the thread
/// that it runs in, which it does not always survive.)
fn hung(name: &str, keys: &str, question: (&str, &str, u32)) {
    scenario(name, |m| {
        let at = into(m, keys, question);
        // systemd waits for 25 s.
        m.wait_for(Duration::from_secs(45), "it is told that it may not act", || {
            let view = view(m, "web");
            view["conditions"].as_array()?.iter().find(|row| row["condition"] == "may-not-act").map(drop)
        });
        let_pass(Duration::from_secs(12));
        for event in ["condition-began", "recovery-started", "step-failed", "recovery-failed"] {
            assert_eq!(count(m, "web", event, at), 1, "{event}");
        }
        let before = starts(m);
        let since = now();
        // Once it ran a rule for too long it does not even end when it is asked to (polkit 126).
        m.must("systemctl kill --signal=KILL polkit; systemctl restart polkit");
        m.wait_event(SOON, "web", "incident-closed", since);
        let_pass(Duration::from_secs(3));
        m.wait_http_ok(SOON, 3000, "/api/health");
        assert_eq!(starts(m), before + 1, "started once");
        assert_eq!(said_at(m, "web.service", "starting, pid", at).len(), 1, "started once");
        assert_eq!(view(m, "web")["attempts_left"], 3, "what was refused used no attempt");
        assert_none(m, &["stopped-by-admin", "breaker-opened"], at);
    });
}

/// A yes that comes late is heard: it is the same recovery, and it is the only one.
fn late(name: &str, keys: &str, question: (&str, &str, u32)) {
    scenario(name, |m| {
        let at = into(m, keys, question);
        let_pass(Duration::from_secs(8));
        m.must("kill -CONT $(systemctl show -p MainPID --value polkit)");
        m.wait_event(SOON, "web", "recovery-verified", at);
        m.wait_event(SOON, "web", "incident-closed", at);
        let_pass(Duration::from_secs(3));
        assert_eq!(count(m, "web", "recovery-started", at), 1);
        assert_eq!(said_at(m, "web.service", "starting, pid", at).len(), 1, "started once");
        assert_none(m, &["stopped-by-admin", "step-failed", "recovery-failed", "condition-began"], at);
    });
}

macro_rules! moments {
    ($($how:ident $name:ident: $keys:expr, $unit:expr, $verb:expr, $number:expr;)*) => {
        $(#[test]
        fn $name() {
            $how(stringify!($name), $keys, ($unit, $verb, $number));
        })*
    };
}

/// A stop and a start with something between them, or one job for both halves.
const APART: &str = "clear_caches = \"always\"\n";
const AT_ONCE: &str = "clear_caches = \"never\"\n";
const CACHES: &str = "app-monitor-clear-caches@web.service";

// The first question about an act is whether we may, the second is the act. A stop is not begun before
// it is known that the start is allowed.
moments! {
    hung before_a_restart: AT_ONCE, "web.service", "restart", 1;
    hung at_a_restart: AT_ONCE, "web.service", "restart", 2;
    late at_a_restart_for_a_while: AT_ONCE, "web.service", "restart", 2;
    hung before_a_stop: APART, "web.service", "stop", 1;
    hung at_a_stop: APART, "web.service", "stop", 2;
    late at_a_stop_for_a_while: APART, "web.service", "stop", 2;
    hung before_a_helper: APART, CACHES, "start", 1;
    hung at_a_helper: APART, CACHES, "start", 2;
    hung at_reset_failed: APART, "web.service", "reset-failed", 1;
    hung before_a_start: APART, "web.service", "start", 2;
    hung at_a_start: APART, "web.service", "start", 3;
    late at_a_start_for_a_while: APART, "web.service", "start", 3;
}
