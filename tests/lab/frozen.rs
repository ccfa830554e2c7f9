//! The app is up, and does not answer.

use std::time::Duration;

use crate::machine::{AppSpec, now, scenario};
use crate::support::{SOON, lines, quick, recovered_from, said_at, table, timestamp, watch};

/// Breaks a healthy app, and asserts that it is found frozen and recovered.
fn frozen_by(name: &str, fault: &str) {
    scenario(name, |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", fault);
        recovered_from(m, "frozen", at);
    });
}

#[test]
fn blocked_event_loop_is_recovered() {
    frozen_by("blocked", "block");
}

#[test]
fn app_that_awaits_for_ever_is_recovered() {
    frozen_by("await", "await");
}

#[test]
fn body_that_drips_is_recovered() {
    frozen_by("drip", "drip");
}

#[test]
fn stopped_process_is_recovered() {
    scenario("sigstop", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = now();
        m.must("systemctl kill --signal=STOP web.service");
        recovered_from(m, "frozen", at);
    });
}

/// Node has installed a handler for SIGTERM, so the signal does not end it; its event loop is
/// blocked, so the handler never runs. Left to systemd, that takes TimeoutStopSec, 90 s.
#[test]
fn sigterm_handler_that_cannot_run_is_not_waited_for() {
    scenario("blocked-sigterm", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.sigterm_handler = true;
        watch(m, &app, "");
        assert_eq!(m.unit_property("web.service", "TimeoutStopUSec"), "1min 30s");
        let at = m.fault("web", "block");
        let decided = m.wait_event(SOON, "web", "recovery-started", at).at;
        let events = recovered_from(m, "frozen", at);
        assert!(lines(&events).contains("SIGKILL to all of its processes"), "{}", lines(&events));

        let back = m.wait_for(SOON, "it listens", || {
            said_at(m, "web.service", "listening on", decided).first().copied()
        });
        let own_start = back - timestamp(m, "web.service", "ExecMainStartTimestampMonotonic");
        let kill_after = Duration::from_secs(1);
        let more = (back - decided).saturating_sub(kill_after + own_start);
        println!("back {:?} after the decision; the app's own start took {own_start:?}", back - decided);
        assert!(more < Duration::from_millis(150), "{more:?} beyond kill_after and the app's start");
    });
}

/// What a recovery adds to the app's own stop and start when privileged helpers have their part in it.
#[test]
fn helpers_hardly_delay_a_recovery() {
    scenario("with-helpers", |m| {
        m.install_app(&AppSpec::new("web", 3000));
        let spoil = || m.must("mkdir -p /srv/web/.next/cache/deep; cd /srv/web/.next/cache; touch a deep/b");
        spoil();
        m.configure(&quick(&table(
            "web",
            3000,
            "clear_caches = \"always\"\npreflight = { files = [\"server.js\"] }",
        )));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        // Looked after while the fault was being confirmed, what a start needs takes no time; after a crash
        // it does.
        for (fault, verdict) in [("block", "frozen"), ("crash", "crashed")] {
            spoil();
            let at = m.fault("web", fault);
            let decided = m.wait_event(SOON, "web", "recovery-started", at).at;
            let told = lines(&recovered_from(m, verdict, at));
            assert!(told.contains("clear caches: cleared .next/cache"), "{told}");
            assert_eq!(m.must("ls -A /srv/web/.next/cache"), "");

            let back = m.wait_for(SOON, "it listens", || {
                said_at(m, "web.service", "listening on", decided).first().copied()
            });
            let of = |property| timestamp(m, "web.service", property);
            let own_start = back - of("ExecMainStartTimestampMonotonic");
            let own_stop = match fault {
                "crash" => Duration::ZERO,
                _ => of("InactiveEnterTimestampMonotonic") - of("ActiveExitTimestampMonotonic"),
            };
            let more = (back - decided).saturating_sub(own_stop + own_start);
            println!("{verdict}: stop {own_stop:?}, start {own_start:?}, {more:?} more");
            // On a host of its own it is a tenth of that: `tests/bench/run recovery`.
            assert!(more < Duration::from_millis(1_000), "{more:?} beyond the app's own stop and start");
        }
    });
}

#[test]
fn app_beside_a_frozen_one_is_undisturbed() {
    scenario("two-apps", |m| {
        let mut api = AppSpec::new("api", 3001);
        api.service_lines = "Environment=LOG_REQUESTS=1".to_owned();
        m.install_app(&AppSpec::new("web", 3000));
        m.install_app(&api);
        // Long enough for a check of `api` that waits for one of `web` to be noticed.
        let web = table("web", 3000, "timeout = \"4s\"");
        m.configure(&quick(&(web + &table("api", 3001, ""))));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        m.wait_verdict(SOON, "api", "healthy", Duration::ZERO);
        let invocation = m.unit_property("api.service", "InvocationID");

        let at = m.fault("web", "await");
        recovered_from(m, "frozen", at);
        let over = now();
        let events = m.events_since("api", at);
        assert!(events.is_empty(), "api: {}", lines(&events));
        assert_eq!(m.unit_property("api.service", "InvocationID"), invocation);

        let mut asked = said_at(m, "api.service", "asked", at);
        asked.insert(0, at);
        asked.push(over);
        let longest = asked.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
        println!("{} checks of api meanwhile, {longest:?} apart at most", asked.len() - 2);
        assert!(longest < Duration::from_millis(2_000), "a check of api came {longest:?} after the last");
    });
}
