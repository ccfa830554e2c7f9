//! The package on a real systemd: installed as an administrator does it, removed, purged.

use std::path::Path;
use std::time::Duration;

use crate::machine::{Machine, cache, scenario};
use crate::support::{SOON, UNIT};

const DEB: &str = "/root/app-monitor.deb";

fn bare(name: &str) -> Machine {
    let machine = Machine::builder(name).without_package().boot();
    machine.copy_in(&cache::package(), DEB);
    machine
}

#[test]
fn package_installs_removes_and_purges_clean() {
    let machine = bare("package");
    let before = machine.must("find /etc /usr /var/lib -xdev | sort");
    machine.must(&format!("apt-get install --yes {DEB}"));
    assert_eq!(machine.must("systemctl is-enabled app-monitor"), "enabled");
    assert_eq!(machine.must("stat -c '%U:%G %a' /etc/app-monitor/app-monitor.toml"), "root:app-monitor 640");
    assert_eq!(machine.must("stat -c '%U:%G %a' /etc/app-monitor/conf.d"), "root:app-monitor 750");
    assert_eq!(machine.must("getent passwd app-monitor | cut -d: -f6-"), "/:/usr/sbin/nologin");

    machine.write("/etc/app-monitor/conf.d/web.toml", "# mine\n");
    machine.must("apt-get remove --yes app-monitor");
    // One that was stopped in its pre-start step is failed, as systemd sees it.
    let state = machine.unit_property("app-monitor.service", "ActiveState");
    assert!(["inactive", "failed"].contains(&state.as_str()), "still {state}");
    assert!(!machine.run("pgrep --exact app-monitord").ok(), "a process is left");
    assert!(machine.read("/etc/app-monitor/conf.d/web.toml").is_some());

    machine.must("apt-get purge --yes app-monitor");
    let after = machine.must("find /etc /usr /var/lib /run/app-monitor* -xdev 2>/dev/null | sort");
    // Users stay when their package goes, as everywhere in Debian; dpkg and systemd keep their books.
    let ours: Vec<_> =
        after.lines().filter(|line| line.contains("app-monitor") && !before.contains(line)).collect();
    assert!(ours.is_empty(), "left behind: {ours:?}");
}

#[test]
fn package_keeps_an_administrators_permissions_and_fragments_over_an_upgrade() {
    let machine = bare("upgrade");
    machine.must(&format!("apt-get install --yes {DEB}"));
    machine.write("/etc/app-monitor/conf.d/web.toml", "# mine\n");
    machine.must("dpkg-statoverride --update --add root root 0600 /etc/app-monitor/app-monitor.toml");
    machine.write("/var/lib/app-monitor/kept", "yes");
    machine.must(&format!("apt-get install --yes --reinstall {DEB}"));
    assert_eq!(machine.must("stat -c '%U:%G %a' /etc/app-monitor/app-monitor.toml"), "root:root 600");
    assert!(machine.read("/etc/app-monitor/conf.d/web.toml").is_some());
    assert!(machine.read("/var/lib/app-monitor/kept").is_some());
}

#[test]
fn package_whose_daemon_is_gone_says_so_and_goes_on_when_it_is_back() {
    const DAEMON: &str = "/usr/libexec/app-monitor/app-monitord";
    scenario("no-daemon", |m| {
        m.must(&format!("mv {DAEMON} /root/kept; systemctl restart --no-block app-monitor"));
        m.wait_for(SOON, "the journal names the file and what to do", || {
            let said = format!("cannot run {DAEMON}: No such file or directory");
            let journal = m.journal();
            (journal.contains(&said) && journal.contains("apt reinstall app-monitor")).then_some(())
        });
        m.must(&format!("mv /root/kept {DAEMON}"));
        m.wait_property(SOON, UNIT, "ActiveState", "active");
        let pid = m.unit_property(UNIT, "MainPID");
        assert_eq!(m.must(&format!("readlink /proc/{pid}/exe")), DAEMON);
    });
}

#[test]
fn package_units_are_verified_by_systemd() {
    scenario("verify", |machine| {
        let said = machine.run("systemd-analyze verify --man=no app-monitor.service");
        assert!(said.ok() && said.stderr.is_empty(), "{}", said.stderr);
        // The score is out of 10; the lower, the less it may do.
        let score = machine.run_for(
            Duration::from_secs(20),
            "systemd-analyze security --no-pager app-monitor.service | tail -n 1",
        );
        println!("{}", score.stdout);
    });
}

#[test]
fn package_passes_the_test_that_it_brings_along() {
    scenario("smoke", |machine| {
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/tests/smoke");
        machine.copy_in(&test, "/root/smoke");
        let done = machine.run_for(Duration::from_secs(100), "sh /root/smoke");
        assert!(done.ok(), "{}\n{}", done.stdout, done.stderr);
    });
}
