//! What the monitor may do, and everything else that whoever takes it over would try.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, Output, now, scenario};
use crate::support::{SOON, UNIT, config, quick, recovered_from, table, view, wait_view, watch};

const RULE: &str = "/etc/polkit-1/rules.d/40-app-monitor.rules";
/// A unit of nobody's configuration.
const SSH: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

/// A shell line as the daemon's user, without its sandbox.
fn as_daemon(m: &Machine, line: &str) -> Output {
    m.write("/root/as-daemon", line);
    m.run("setpriv --reuid=app-monitor --regid=app-monitor --clear-groups bash -s < /root/as-daemon")
}

/// A call on systemd's manager.
fn call(member: &str, arguments: &str) -> String {
    format!(
        "busctl call --timeout=30 org.freedesktop.systemd1 /org/freedesktop/systemd1 \
         org.freedesktop.systemd1.Manager {member} {arguments}"
    )
}

#[track_caller]
fn refused(m: &Machine, line: &str) {
    let mut said = as_daemon(m, line);
    // A polkit that ended over the question has said neither yes nor no: another one is asked.
    for _ in 0..3 {
        if said.ok() || !said.stderr.contains("disconnected") {
            break;
        }
        said = as_daemon(m, line);
    }
    assert!(!said.ok(), "`{line}` is allowed: {}", said.stdout);
    let words = [
        "Access denied",
        "Interactive authentication required",
        "Permission denied",
        "Operation not permitted",
        "rejected send message",
        "Invalid argument",
        "not valid",
        "missing the instance name",
    ];
    assert!(words.iter().any(|word| said.stderr.contains(word)), "`{line}`: {}", said.stderr);
}

#[track_caller]
fn allowed(m: &Machine, line: &str) {
    let said = as_daemon(m, line);
    assert!(said.ok(), "`{line}`: {}", said.stderr);
}

/// A host with an app, its proxy, its database, a hook, an alert, and what belongs to nobody.
fn furnished(m: &Machine) {
    for unit in ["ssh", "redis", "warm", "tell@"] {
        m.write(&format!("/etc/systemd/system/{unit}.service"), SSH);
    }
    m.install_app(&AppSpec::new("api", 3001));
    m.must("systemctl start nginx ssh redis");
    let lines = "proxy = \"nginx\"\ndatabase = { url = \"tcp://localhost:3001\", unit = \"redis\" }\n\
                 before_start = [\"warm\"]\n[alerts.me]\nkind = \"unit\"\nunit = \"tell@.service\"";
    watch(m, &AppSpec::new("web", 3000), lines);
}

#[test]
fn privileges_allow_what_a_recovery_needs_and_no_other_unit_or_verb() {
    scenario("privileges", |m| {
        furnished(m);
        assert_eq!(m.must(&format!("ps -o user:20= -p {}", m.main_pid(UNIT))).trim(), "app-monitor");
        let status = format!("/proc/{}/status", m.main_pid(UNIT));
        assert_eq!(m.must(&format!("grep -c '^Cap.*:.*0000000000000000$' {status}")), "5");
        assert_eq!(m.must(&format!("stat -c '%U %G %a' {RULE}")), "root root 644");
        let runs = |unit: &str| m.unit_property(unit, "ActiveEnterTimestampMonotonic");
        let before: Vec<String> =
            ["ssh.service", "dbus.service", "nginx.service", "api.service"].map(runs).into();

        for unit in ["ssh.service", "dbus.service", "api.service", "systemd-journald.service", UNIT] {
            for member in ["StopUnit", "RestartUnit", "TryRestartUnit", "ReloadOrRestartUnit"] {
                refused(m, &call(member, &format!("ss {unit} replace")));
            }
            refused(m, &call("KillUnit", &format!("ssi {unit} all 9")));
            refused(m, &call("RefUnit", &format!("s {unit}")));
        }
        refused(m, &call("StartUnit", "ss rescue.target isolate"));
        // polkit knows nothing of job modes: what holds this one back is the unit itself.
        let isolated = as_daemon(m, &call("StartUnit", "ss web.service isolate"));
        assert!(isolated.stderr.contains("may not be isolated"), "{}", isolated.stderr);
        refused(m, &call("StartUnit", "ss poweroff.target replace-irreversibly"));
        // The wrong verb, on units that are configured.
        for (member, arguments) in [
            ("ReloadUnit", "ss web.service replace"),
            ("StopUnit", "ss nginx.service replace"),
            ("StopUnit", "ss redis.service replace"),
            ("KillUnit", "ssi redis.service all 9"),
            ("StopUnit", "ss warm.service replace"),
            ("RestartUnit", "ss tell@web.service replace"),
            ("StartUnit", "ss tell@other.service replace"),
            ("StopUnit", "ss app-monitor-reap@web.service replace"),
            ("SetUnitProperties", "'sba(sv)' web.service true 1 CPUWeight t 1"),
            ("CleanUnit", "sas web.service 1 state"),
            ("FreezeUnit", "s web.service"),
        ] {
            refused(m, &call(member, arguments));
        }
        // What concerns no unit, or all of them.
        for (member, arguments) in [
            (
                "StartTransientUnit",
                "'ssa(sv)a(sa(sv))' x.service fail 1 ExecStart 'a(sasb)' 1 /bin/true 1 /bin/true false 0",
            ),
            ("EnableUnitFiles", "asbb 1 web.service false false"),
            ("DisableUnitFiles", "asb 1 ssh.service false"),
            ("MaskUnitFiles", "asbb 1 ssh.service false true"),
            ("LinkUnitFiles", "asbb 1 /tmp/x.service false true"),
            ("Reload", ""),
            ("Reexecute", ""),
            ("SetEnvironment", "as 1 LD_PRELOAD=/tmp/x.so"),
            ("PowerOff", ""),
            ("ClearJobs", ""),
            ("CancelJob", "u 1"),
        ] {
            // A job that is not there is not cancelled by anybody.
            let said = as_daemon(m, &call(member, arguments));
            assert!(!said.ok(), "{member}: {}", said.stdout);
        }
        refused(
            m,
            "busctl call --timeout=30 org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/ssh_2eservice \
             org.freedesktop.systemd1.Unit Stop s replace",
        );
        // Helpers for nobody that is configured, by names that could lead elsewhere.
        for name in
            ["api", "..", "\\x2e\\x2e", "a@b", "web/../api", "web@1", "web.service", "-h", "", "web\\x20"]
        {
            for helper in ["evidence", "reap", "clear-caches", "preflight"] {
                refused(m, &call("StartUnit", &format!("ss 'app-monitor-{helper}@{name}.service' replace")));
            }
        }
        let after: Vec<String> =
            ["ssh.service", "dbus.service", "nginx.service", "api.service"].map(runs).into();
        assert_eq!(before, after, "something was restarted");

        // And what it needs works.
        m.must("app-monitor pause web --for 10m && systemctl mask --runtime --now app-monitor 2>&1; true");
        for (member, arguments) in [
            ("RefUnit", "s web.service"),
            ("RestartUnit", "ss web.service fail"),
            ("KillUnit", "ssi web.service all 18"),
            ("StopUnit", "ss web.service replace"),
            ("StartUnit", "ss web.service replace"),
            ("ResetFailedUnit", "s web.service"),
            ("ReloadUnit", "ss nginx.service fail"),
            ("RestartUnit", "ss nginx.service replace"),
            ("StartUnit", "ss redis.service fail"),
            ("StartUnit", "ss warm.service fail"),
            ("StartUnit", "ss tell@web.service fail"),
            ("StartUnit", "ss app-monitor-evidence@web.service fail"),
            ("StartUnit", "ss app-monitor-evidence@nginx.service.service fail"),
            ("StartUnit", "ss app-monitor-preflight@web.service fail"),
        ] {
            allowed(m, &call(member, arguments));
        }
    });
}

#[test]
fn privileges_end_when_the_rule_is_gone_unreadable_or_broken() {
    scenario("privileges-rule", |m| {
        watch(m, &AppSpec::new("web", 3000), "mode = \"watch\"");
        let ask = call("ResetFailedUnit", "s web.service");
        let wait = |expected: bool, what: &str| {
            m.wait_for(SOON, what, || (as_daemon(m, &ask).ok() == expected).then_some(()));
        };
        let again = |what: &str| {
            m.must("systemctl reload app-monitor");
            wait(true, what);
        };
        wait(true, "what is configured is allowed");
        m.must(&format!("rm {RULE}"));
        wait(false, "a rule that is gone allows nothing");
        again("it is written again");
        m.must(&format!("chmod 0600 {RULE} && systemctl restart polkit"));
        wait(false, "a rule that polkit cannot read allows nothing");
        again("it is readable again");
        m.must(&format!("sed -i 's/\"web.service\"/\"web.service/' {RULE}"));
        wait(false, "a broken rule allows nothing");
        again("it is whole again");
        m.must(&format!("truncate --size=300 {RULE}"));
        wait(false, "half a rule allows nothing");

        // At a start without a configuration, nothing is allowed; at a reload, the old one holds.
        again("it is whole again");
        m.write("/etc/app-monitor/conf.d/60-wrong.toml", "[app.api]\nunit = 3\n");
        assert!(!m.run("systemctl reload app-monitor").ok());
        wait(true, "the old configuration is in force, and so is its grant");
        m.run("systemctl restart app-monitor");
        m.wait_property(SOON, UNIT, "ActiveState", "failed");
        wait(false, "nothing is allowed without a configuration");
        m.must("rm /etc/app-monitor/conf.d/60-wrong.toml && systemctl start app-monitor");
        wait(true, "what is configured is allowed");

        // A unit that is not named any more is not allowed any more.
        m.configure("");
        wait(false, "nothing is configured");

        // Without polkit's directory it watches all the same.
        m.configure(&config(""));
        let at = now();
        m.must("mv /etc/polkit-1/rules.d /etc/polkit-1/away && systemctl restart app-monitor");
        m.wait_verdict(SOON, "web", "healthy", at);
        let journal = m.journal_of(UNIT);
        assert!(
            journal.contains("/etc/polkit-1/rules.d does not exist: polkit is not installed"),
            "{journal}"
        );
    });
}

/// What is tried inside the unit's own sandbox, by a unit that is the daemon's but for what it executes.
const PROBE: &str = "
try() { if ( eval \"$1\" ) 2>/dev/null; then echo \"done: $1\"; fi; }
for place in / /etc /etc/app-monitor/conf.d /etc/polkit-1/rules.d /usr/bin /usr/lib/systemd/system \
    /opt /root /home /home/user /srv /srv/web /var /var/lib /var/cache /var/log /var/spool /run /run/systemd/system \
    /run/app-monitor-resolved /run/app-monitor-results /tmp /var/tmp /dev /dev/shm /dev/mqueue /run/lock \
    /mnt/data /run/user /sys/fs/cgroup /proc/sys/kernel; do
    try \"touch $place/probe\"
    try \"mkdir $place/probe.d\"
done
for file in /etc/shadow /srv/web/.env /proc/APP/environ /proc/APP/mem /proc/APP/maps /proc/APP/smaps; do
    try \"exec 3<$file\"
done
try 'ls /proc/APP/fd'
try 'ls /etc/polkit-1/rules.d'
try 'journalctl --no-pager -n 1 _UID=0 | grep .'
for path in /proc/APP/exe /proc/APP/cwd /proc/APP/root; do try \"readlink $path\"; done
try 'echo x >/run/app-monitor-resolved/settings.json'
try 'echo -1000 >/proc/self/oom_score_adj'
try 'kill -0 APP'
try 'kill -STOP APP'
try 'kill -9 1'
try 'mount -t tmpfs none /run/app-monitor'
try 'unshare --user true'
try 'chown root /run/app-monitor/state.json'
try 'chmod u+s /run/app-monitor/copy'
try 'setpriv --reuid=0 true'
try 'su -c true'
try 'dmesg >/dev/null && false'
try 'date -s 2030-01-01 >/dev/null'
try 'nice -n -5 true && test $(nice -n -5 nice) -lt 0'
perl -e 'exit(syscall(PTRACE, 16, APP, 0, 0) != 0)' && echo 'done: ptrace'
# What it has to be able to do, so that the rest is no proof of a probe that cannot do anything.
touch /run/app-monitor/probe /var/lib/app-monitor/probe && echo own-folders
head -c 1 /proc/APP/cmdline >/dev/null && cat /proc/APP/stat >/dev/null && echo sees-others
test -r /run/app-monitor-resolved/settings.json && echo reads-settings
ls /home/user >/dev/null && echo sees-homes
";

#[test]
fn privileges_reach_no_file_and_no_process_of_others() {
    scenario("privileges-sandbox", |m| {
        m.must("mkdir /mnt/data && mount -t tmpfs -o mode=1777 none /mnt/data && useradd --create-home user && chmod 0755 /home/user && chmod 1777 /srv && mkdir -m 0777 -p /srv/web");
        watch(m, &AppSpec::new("web", 3000), "");
        m.must("umask 077; echo TOKEN=hunter2 > /srv/web/.env; cp /bin/true /run/app-monitor/copy");
        m.must("chown app-monitor: /run/app-monitor/copy");
        let (app, number) =
            (m.main_pid("web.service"), if cfg!(target_arch = "aarch64") { "117" } else { "101" });
        m.write("/usr/local/share/probe", &PROBE.replace("APP", &app.to_string()).replace("PTRACE", number));
        m.must(
            "sed -e '/^Exec/d' -e '/^Restart/d' -e '/^WatchdogSec/d' \
             -e 's/^Type=.*/Type=oneshot\\nExecStart=bash \\/usr\\/local\\/share\\/probe/' \
             /lib/systemd/system/app-monitor.service > /etc/systemd/system/probe.service",
        );
        let proves = ["own-folders", "sees-others", "reads-settings", "sees-homes"];
        let at = now();
        m.must("systemctl daemon-reload && systemctl start probe.service");
        m.must("journalctl --sync");
        let journal = m.journal_of("probe.service");
        assert!(!journal.contains("done: "), "in its sandbox:\n{journal}");
        for proof in proves {
            assert!(journal.contains(proof), "{proof} is missing:\n{journal}");
        }
        // Without the sandbox it is still an ordinary user, who may write where everybody may.
        let said = as_daemon(m, "bash /usr/local/share/probe");
        let everybodys = [
            "/tmp/",
            "/var/tmp/",
            "/dev/shm/",
            "/dev/mqueue/",
            "/run/lock/",
            "/mnt/data/",
            "chmod u+s",
            "/srv/",
            "unshare --user",
            "dmesg",
        ];
        let done = said.stdout.lines().filter(|line| line.starts_with("done: "));
        let others: Vec<&str> =
            done.filter(|line| !everybodys.iter().any(|place| line.contains(place))).collect();
        assert!(others.is_empty(), "as its user: {others:?}");
        for proof in proves {
            assert!(said.stdout.contains(proof), "{proof} is missing:\n{}\n{}", said.stdout, said.stderr);
        }
        assert_eq!(m.main_pid("web.service"), app);
        assert_eq!(m.events_since("web", at).len(), 0, "the app is as it was");
    });
}

#[test]
fn privileges_are_few_by_systemds_own_account() {
    for suite in ["bookworm", "trixie"] {
        let machine = Machine::builder("privileges-score").suite(suite).boot();
        let said =
            machine.run_for(Duration::from_secs(30), &format!("systemd-analyze security --no-pager {UNIT}"));
        let line = said.stdout.lines().last().unwrap_or_default();
        let score = line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or(10.0);
        println!("{suite}: {line}");
        assert!(score <= 1.6, "{}", said.stdout);
        for (property, value) in [
            ("ControlGroup", "/app-monitor.service"),
            ("MemoryMin", "33554432"),
            ("MemoryMax", "268435456"),
            ("TasksMax", "512"),
            ("OOMScoreAdjust", "-900"),
        ] {
            assert_eq!(machine.unit_property(UNIT, property), value, "{property} on {suite}");
        }
    }
}

#[test]
fn privileges_follow_from_files_that_root_alone_writes() {
    scenario("privileges-files", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let conf = "/etc/app-monitor/conf.d";
        m.must("useradd --create-home bob && chmod 0755 /home/bob");
        m.must(&format!(
            "printf '[app.web]\\nfailures = 2\\n' > /home/bob/app.toml; cp /home/bob/app.toml {conf}/60.toml"
        ));
        for (mischief, remedy, named) in [
            (
                format!("chmod g+w {conf}/60.toml"),
                format!("chmod go-w {conf}/60.toml"),
                "group 0 (mode 0664)",
            ),
            (
                format!("chmod o+w {conf}/60.toml"),
                format!("chmod go-w {conf}/60.toml"),
                "everybody (mode 0646)",
            ),
            (
                format!("chown bob {conf}/60.toml"),
                format!("chown root {conf}/60.toml"),
                "uid 1000 (mode 0644)",
            ),
            (format!("chmod g+w {conf}"), format!("chmod go-w {conf}"), "(mode 0770)"),
            (
                "chmod o+w /etc/app-monitor".to_owned(),
                "chmod go-w /etc/app-monitor".to_owned(),
                "(mode 0752)",
            ),
            (
                format!("ln -sf /home/bob/app.toml {conf}/60.toml"),
                "chown root /home/bob".to_owned(),
                "leads to /home/bob/app.toml, and /home/bob belongs to uid 1000",
            ),
        ] {
            m.must(&mischief);
            let check = m.run("app-monitor config check");
            assert_eq!(check.status, 78, "{mischief}");
            assert!(
                check.stderr.contains(named) && check.stderr.trim_end().ends_with(&remedy),
                "{}",
                check.stderr
            );
            assert!(!m.run("systemctl reload app-monitor").ok(), "{mischief}");
            m.must(&remedy);
            m.must("app-monitor config check && systemctl reload app-monitor");
        }
        m.must(&format!(
            "rm {conf}/60.toml && chmod g+w {conf}/50-lab.toml && systemctl restart app-monitor; true"
        ));
        m.wait_property(SOON, UNIT, "ActiveState", "failed");
        assert_eq!(m.unit_property(UNIT, "ExecMainStatus"), "78");
        assert!(m.journal_of(UNIT).contains(&format!("chmod go-w {conf}/50-lab.toml")));
    });
}

#[test]
fn privileges_given_up_by_an_upgrade_take_the_state_along() {
    scenario("privileges-upgrade", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        recovered_from(m, "crashed", at);
        m.must("app-monitor pause web --for 30m && systemctl stop app-monitor");
        // As a version left it that ran as root.
        m.must(
            "chown -R root:root /var/lib/app-monitor /run/app-monitor && chgrp -R adm /var/lib/app-monitor/incidents \
             && rm -f /etc/polkit-1/rules.d/*app-monitor* && useradd --groups adm auditor",
        );
        m.must("systemctl start app-monitor");
        wait_view(m, "web", "it is still paused", |view| view["paused_seconds"].as_u64());
        m.must("app-monitor resume web");
        let owners = m.must("find /var/lib/app-monitor /run/app-monitor ! -user app-monitor");
        assert!(owners.is_empty(), "{owners}");
        assert_eq!(m.must("stat -c '%U:%G %a' /var/lib/app-monitor/incidents"), "app-monitor:adm 2750");
        let at = m.fault("web", "crash");
        recovered_from(m, "crashed", at);
        for id in ["web-1", "web-2"] {
            m.wait_for(SOON, "group adm reads both, the old and the new", || {
                let line = format!(
                    "setpriv --reuid auditor --regid auditor --init-groups app-monitor incidents {id}"
                );
                m.run(&line).ok().then_some(())
            });
        }
        assert!(!view(m, "web").is_null());
    });
}

#[test]
fn privileges_of_helpers_do_not_serve_a_monitor_that_was_taken_over() {
    scenario("privileges-traps", |m| {
        m.install_app(&AppSpec::new("api", 3001));
        m.install_app(&AppSpec::new("web", 3000));
        m.configure(&quick(&(table("web", 3000, "") + &table("api", 3001, ""))));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        m.must("systemctl stop app-monitor && echo precious > /root/precious && chmod 0600 /root/precious");
        // Links in its folders, where something that runs as root might step.
        let traps = "cd /var/lib/app-monitor && mv incidents aside && ln -s /root incidents && rm -f state.json \
                     && ln -s /root/precious state.json && cd /run/app-monitor && rm -rf alerts incidents state.json \
                     && ln -s /root/precious state.json && ln -s /root alerts && ln -s /etc incidents";
        allowed(m, traps);
        let before = m.must("stat -c '%n %U %G %a %Y' /root /root/precious /etc /etc/shadow /etc/passwd");
        m.must("systemctl start app-monitor");
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        for helper in ["evidence", "reap", "clear-caches", "preflight"] {
            m.must(&format!("systemctl start app-monitor-{helper}@web.service"));
        }
        m.must("systemctl reload app-monitor");
        m.run("app-monitor incidents; app-monitor incidents web-1; app-monitor why web");
        let at = m.fault("api", "crash");
        m.wait_event(SOON, "api", "recovery-verified", at);
        assert_eq!(
            m.must("stat -c '%n %U %G %a %Y' /root /root/precious /etc /etc/shadow /etc/passwd"),
            before
        );
        assert_eq!(m.must("cat /root/precious"), "precious");
        assert!(m.journal_of(UNIT).contains("group adm cannot read incidents"), "it is said");
    });
}
