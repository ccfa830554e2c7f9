//! The package is replaced by a newer one while apps run, and what an administrator decided stays.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, cache, now};
use crate::support::{SOON, UNIT, config, count, in_second_stop, wait_view, watch};

/// Makes a package of a higher version out of the one under test, and leaves the one before beside it.
fn newer(m: &Machine) {
    m.copy_in(&cache::previous(), "/root/old.deb");
    m.copy_in(&cache::package(), "/root/tested.deb");
    m.must("cd /root && dpkg-deb -R tested.deb new");
    if let Some((binary, daemon)) = cache::development() {
        m.copy_in(&binary, "/root/new/usr/bin/app-monitor");
        m.copy_in(&daemon, "/root/new/usr/libexec/app-monitor/app-monitord");
    }
    m.must(
        "cd /root && sed -i 's/^Version: .*/Version: 99.0/' new/DEBIAN/control && \
         printf '\\n# 99.0\\n' >> new/etc/app-monitor/app-monitor.toml && \
         (cd new && md5sum $(find usr lib -type f) > DEBIAN/md5sums) && \
         dpkg-deb --root-owner-group -Znone -b new new.deb",
    );
}

fn upgrade(m: &Machine) {
    let output = m.run_for(
        Duration::from_secs(60),
        "apt-get install --yes -o Dpkg::Options::=--force-confold /root/new.deb",
    );
    assert!(output.ok(), "{}\n{}", output.stdout, output.stderr);
    assert_eq!(m.must("dpkg-query -W -f '${Version}' app-monitor"), "99.0");
    m.wait_property(SOON, UNIT, "ActiveState", "active");
}

/// What is on record, however a version shows it.
fn incidents(m: &Machine) -> String {
    m.must("app-monitor incidents --json | grep -E '\"(id|app|verdict|opened)\":'")
}

#[test]
fn upgrade_keeps_what_was_decided_and_starts_nothing() {
    let machine = Machine::builder("upgrade-state").previous_package().boot();
    let m = &machine;
    newer(m);
    for (name, port) in [("api", 3001), ("off", 3002)] {
        m.install_app(&AppSpec::new(name, port));
    }
    let apps = "max_attempts = 2\nhealthy_for = \"1h\"\n[app.api]\nunit = \"api\"\nport = 3001\n\
                [app.off]\nunit = \"off\"\nport = 3002\n";
    watch(m, &AppSpec::new("web", 3000), apps);
    m.must("printf '# mine\\n' >> /etc/app-monitor/app-monitor.toml");
    m.must("app-monitor wait off && app-monitor pause api --for 30m && systemctl stop off");
    m.wait_event(SOON, "off", "stopped-by-admin", Duration::ZERO);
    m.break_starts("web", "status 500");
    let at = m.fault("web", "status 500");
    m.wait_event(SOON, "web", "breaker-opened", at);

    let (pid, at) = (m.main_pid(UNIT), now());
    let before = incidents(m);
    upgrade(m);
    assert_ne!(m.main_pid(UNIT), pid, "the new one runs");
    wait_view(m, "api", "still paused", |view| view["paused_seconds"].as_u64());
    wait_view(m, "off", "still stopped", |view| (view["verdict"] == "stopped-by-admin").then_some(()));
    let web = wait_view(m, "web", "judged", |view| (view["verdict"] != "unknown").then(|| view.clone()));
    assert_eq!((&web["attempts_left"], &web["breaker"]), (&0.into(), &"open".into()));
    assert_eq!(count(m, "", "recovery-started", at), 0);
    assert_eq!(m.unit_property("off.service", "ActiveState"), "inactive");
    assert!(m.read("/etc/app-monitor/app-monitor.toml").is_some_and(|text| text.contains("# mine")));
    assert!(m.read("/etc/app-monitor/conf.d/50-lab.toml").is_some());
    assert_eq!(incidents(m), before);
    // Whoever the one before ran as: everything is read, and is its own.
    let status = m.run("app-monitor status").stdout;
    assert!(!status.contains("note: "), "{status}");
    let foreign = m.must("find /var/lib/app-monitor /run/app-monitor -mindepth 1 ! -user app-monitor -ls");
    assert!(foreign.is_empty(), "{foreign}");
    // And it may act.
    m.mend("web");
    m.must("app-monitor reset web");
    m.wait_event(SOON, "web", "recovery-verified", at);

    m.must("apt-get purge --yes app-monitor");
    assert_eq!(m.unit_property("web.service", "ActiveState"), "active");
    let left = m.must("find / -xdev -name '*app-monitor*' -not -path '/proc/*' -not -path '/root/*'");
    let books = ["/var/lib/apt/", "/var/lib/dpkg/", "/var/log/", "/usr/share/doc-base/"];
    let left: Vec<_> = left.lines().filter(|path| !books.iter().any(|book| path.starts_with(book))).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert!(m.run("find /run /tmp /var/tmp -name '*app-monitor*' | grep .").stdout.is_empty());
}

#[test]
fn upgrade_in_the_middle_of_a_recovery_leaves_the_app_up() {
    let machine = Machine::builder("upgrade-middle").previous_package().boot();
    let m = &machine;
    newer(m);
    let app = AppSpec {
        service_lines: "KillMode=process\nExecStopPost=/bin/sleep 3".into(),
        ..AppSpec::new("web", 3000)
    };
    watch(m, &app, "stop_timeout = \"10s\"");
    let at = in_second_stop(m);
    upgrade(m);
    m.wait_http_ok(SOON, 3000, "/api/health");
    m.wait_event(SOON, "web", "recovery-verified", at);
    m.configure(&config(""));
    m.must("app-monitor wait web");
}

#[test]
fn removal_in_the_middle_of_a_recovery_leaves_the_app_up() {
    let machine = Machine::builder("remove-middle").boot();
    let m = &machine;
    let app = AppSpec {
        service_lines: "KillMode=process\nExecStopPost=/bin/sleep 3".into(),
        ..AppSpec::new("web", 3000)
    };
    watch(m, &app, "stop_timeout = \"10s\"");
    in_second_stop(m);
    let done = m.run_for(Duration::from_secs(60), "apt-get remove --yes app-monitor");
    assert!(done.ok(), "{}\n{}", done.stdout, done.stderr);
    m.wait_http_ok(SOON, 3000, "/api/health");
    assert!(!m.run("pgrep -x app-monitord").ok(), "it still runs");
    assert!(m.read("/etc/polkit-1/rules.d/40-app-monitor.rules").is_none(), "what it was allowed is left");
    // What was decided is kept for whoever installs it again; a purge leaves nothing.
    assert!(m.read("/var/lib/app-monitor/state.json").is_some());
    m.must("apt-get purge --yes app-monitor");
    assert!(!m.run("test -e /var/lib/app-monitor").ok() && !m.run("test -e /etc/app-monitor").ok());
}

#[test]
fn downgrade_keeps_what_was_decided() {
    let machine = Machine::builder("downgrade").previous_package().boot();
    let m = &machine;
    newer(m);
    watch(m, &AppSpec::new("web", 3000), "");
    upgrade(m);
    m.must("app-monitor wait web --for 20s && app-monitor pause web --for 30m --reason later");
    let at = now();
    let line = "apt-get install --yes --allow-downgrades /root/old.deb";
    let done = m.run_for(Duration::from_secs(60), line);
    assert!(done.ok(), "{}\n{}", done.stdout, done.stderr);
    m.wait_property(SOON, UNIT, "ActiveState", "active");
    wait_view(m, "web", "still paused", |view| view["paused_seconds"].as_u64());
    m.must("app-monitor resume web");
    let failed = m.events_since("web", at).iter().filter(|event| event.name == "incident-opened").count();
    assert_eq!(failed, 0);
    let at = m.fault("web", "crash");
    m.wait_event(SOON, "web", "recovery-verified", at);
}
