//! The lab itself: machines boot, apps serve and break, nothing is left behind.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn app_serves_and_breaks_as_told() {
    let machine = Machine::builder("fixture").without_package().boot();
    machine.install_app(&AppSpec::new("web", 3000));
    assert!(machine.http(3000, "/api/health").body.contains("\"connected\""));
    assert_eq!(machine.http_at("[::1]", 3000, "/moved").status, 302);

    machine.fault("web", "status 500");
    machine.wait_for(SOON, "health 500", || (machine.http(3000, "/api/health").status == 500).then_some(()));
    machine.fault("web", "await");
    machine.wait_for(SOON, "no answer", || (machine.http(3000, "/api/health").status == 0).then_some(()));
    machine.fault("web", "unlisten");
    machine.wait_for(SOON, "refused", || {
        machine.http(3000, "/").body.contains("Failed to connect").then_some(())
    });
    let at = machine.fault("web", "crash");
    machine.wait_property(SOON, "web.service", "ActiveState", "failed");
    assert_eq!(machine.unit_property("web.service", "ExecMainStatus"), "1");
    let failed = machine.unit_failed_at("web.service", at).expect("systemd logs the failure");
    assert!(failed - at < Duration::from_secs(1), "the fault came {:?} late", failed - at);

    machine.break_starts("web", "crash");
    machine.must("systemctl reset-failed web && systemctl start web");
    machine.wait_property(SOON, "web.service", "ActiveState", "failed");
    machine.mend("web");
    machine.must("systemctl reset-failed web; systemctl start web");
    machine.wait_http_ok(SOON, 3000, "/api/health");
}

#[test]
fn blocked_app_cannot_run_its_sigterm_handler() {
    let machine = Machine::builder("blocked").without_package().boot();
    let mut app = AppSpec::new("web", 3000);
    app.sigterm_handler = true;
    app.service_lines = "TimeoutStopSec=3".to_owned();
    machine.install_app(&app);
    machine.fault("web", "block");
    machine.wait_for(SOON, "deaf", || (machine.http(3000, "/").status == 0).then_some(()));
    let before = now();
    machine.must("systemctl stop web");
    assert!(now() - before > Duration::from_secs(2), "the handler ran");
    assert_eq!(machine.unit_property("web.service", "Result"), "timeout");
}

#[test]
fn app_and_files_are_there_at_boot_and_stay_over_a_reboot() {
    let machine = Machine::builder("reboot")
        .without_package()
        .app(AppSpec::new("web", 3000))
        .file("/etc/lab-was-here", "yes\n")
        .boot();
    machine.wait_http_ok(SOON, 3000, "/api/health");
    assert_eq!(machine.read("/etc/lab-was-here").as_deref(), Some("yes"));
    let id =
        machine.must("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic");
    machine.reboot();
    assert_ne!(
        id,
        machine.must("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic")
    );
    machine.wait_http_ok(SOON, 3000, "/api/health");
    assert_eq!(machine.read("/etc/lab-was-here").as_deref(), Some("yes"));
}

#[test]
fn six_machines_side_by_side_leave_nothing_behind() {
    let machines: Vec<_> = std::thread::scope(|scope| {
        let boots: Vec<_> =
            (0..6).map(|_| scope.spawn(|| Machine::builder("crowd").without_package().boot())).collect();
        boots.into_iter().map(|boot| boot.join().expect("it boots")).collect()
    });
    for machine in &machines {
        assert_eq!(machine.must("cat /proc/1/comm"), "systemd");
        machine.must("systemctl start nginx && curl -s -o /dev/null http://127.0.0.1/");
    }
    let traces: Vec<_> = machines.iter().flat_map(Machine::traces).collect();
    drop(machines);
    for trace in traces {
        assert!(!trace.exists(), "{} was left behind", trace.display());
    }
}

#[test]
fn commands_and_the_journal_tell_the_time_of_the_host() {
    let machine = Machine::builder("clock").without_package().boot();
    let before = now();
    machine.must("printf 'MESSAGE=hello\\nAPP_MONITOR_APP=web\\nAPP_MONITOR_EVENT=check-failed\\n' | logger --journald");
    let event = machine.wait_event(SOON, "web", "check-failed", before);
    assert_eq!(event.message, "hello");
    assert!(event.at <= now());
    assert_eq!(machine.run_for(Duration::from_millis(200), "sleep 5").status, 124);
}
