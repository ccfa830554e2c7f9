//! File systems that take nothing, at each of the monitor's own writes: what was there stays, nothing that
//! is half written counts, who has to make room is told where, and with room again the next write succeeds.
//! What is killed between a write and its rename is as good as never begun. The state is in memory.rs.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::receiver::{install_receiver, receive, told, webhook};
use crate::support::{SOON, UNIT, config, let_pass, table, view, wait_view, watch};

const RULES: &str = "/etc/polkit-1/rules.d";
const RESOLVED: &str = "/run/app-monitor-resolved";
const RESULTS: &str = "/run/app-monitor-results";
const STATE: &str = "/var/lib/app-monitor";
const RUN: &str = "/run/app-monitor";
const FRAGMENT: &str = "/etc/app-monitor/conf.d/50-lab.toml";

/// Caches that each recovery clears, by a helper.
const CLEARED: &str = "caches = [\".next/cache\"]\nclear_caches = \"always\"\n";

/// Puts a small file system in the place of a folder, with what is in it.
#[track_caller]
fn small(m: &Machine, folder: &str, size: &str) {
    m.must(&format!(
        "mkdir /root/was && cp -a {folder}/. /root/was && mount -t tmpfs -o size={size} small {folder} && \
         cp -a /root/was/. {folder} && rm -r /root/was"
    ));
}

#[track_caller]
fn fill(m: &Machine, folder: &str) {
    m.run(&format!("dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null"));
    m.must(&format!("! echo x 2>/dev/null > {folder}/.probe; rm -f {folder}/.probe"));
}

#[track_caller]
fn room(m: &Machine, folder: &str) {
    m.must(&format!("rm {folder}/filler"));
}

/// The lines of the monitor's own unit that hold all of that.
fn said(m: &Machine, parts: &[&str]) -> usize {
    let journal = m.journal_of(UNIT);
    journal.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

/// Said once, with the file, the error and the remedy.
#[track_caller]
fn said_once(m: &Machine, what: &str, file: &str, folder: &str) {
    let (error, remedy) =
        (format!("{file}: No space left on device"), format!("make room there: df -h {folder}"));
    let times = said(m, &[what, &error, &remedy]);
    assert_eq!((said(m, &[what]), times), (1, 1), "{}", m.journal_of(UNIT));
}

/// Nothing is left of a write that was not finished.
#[track_caller]
fn tidy(m: &Machine, folder: &str) {
    let left = m.must(&format!("find {folder} -name '*.new'"));
    assert!(left.is_empty(), "{left}");
}

#[track_caller]
fn recovers(m: &Machine, app: &str) {
    let at = m.fault(app, "crash");
    m.wait_event(SOON, app, "recovery-verified", at);
}

fn both() -> String {
    config(&table("api", 3001, ""))
}

#[test]
fn full_folder_of_rules_keeps_what_is_allowed_at_a_reload_and_nothing_old_at_a_start() {
    scenario("full-rules", |m| {
        m.install_app(&AppSpec::new("api", 3001));
        watch(m, &AppSpec::new("web", 3000), "");
        small(m, RULES, "12k");
        m.must("systemctl restart polkit");
        let rule = format!("{RULES}/40-app-monitor.rules");
        let (pid, before) = (m.main_pid(UNIT), m.must(&format!("cat {rule}")));
        fill(m, RULES);
        m.write(FRAGMENT, &both());
        assert!(!m.run("systemctl reload app-monitor").ok(), "it says so");
        said_once(m, "cannot write what the monitor is allowed", &rule, RULES);
        assert_eq!(said(m, &["what is in force stays so; then: systemctl reload app-monitor"]), 1);
        assert_eq!(m.must(&format!("cat {rule}")), before);
        assert!(!m.must("app-monitor config show").contains("app.api"));
        tidy(m, RULES);
        recovers(m, "web");
        room(m, RULES);
        m.must("systemctl reload app-monitor && app-monitor wait api --for 20s");
        recovers(m, "api");
        assert_eq!(m.main_pid(UNIT), pid, "it was never restarted");

        // At a start what is not configured any more is not allowed, come what may. What takes the room of
        // the old one does well.
        fill(m, RULES);
        m.write(FRAGMENT, &config(""));
        m.must("systemctl restart app-monitor");
        m.must("app-monitor wait web --for 20s");
        assert!(!m.must(&format!("cat {rule}")).contains("api.service"));
        recovers(m, "web");
        // More than that.
        let many: String = (0..16).map(|number| table(&format!("none-{number}"), 4000, "")).collect();
        m.write(FRAGMENT, &config(&many));
        fill(m, RULES);
        let at = now();
        m.must("systemctl restart app-monitor");
        assert_eq!(said(m, &["the one of the last start is removed; then: systemctl reload app-monitor"]), 1);
        m.must(&format!("test ! -e {rule}"));
        tidy(m, RULES);
        m.wait_event(Duration::from_secs(40), "web", "condition-began", at);
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-opened", at);
        m.must(&format!("mount -o remount,size=1m {RULES} && systemctl reload app-monitor"));
        m.wait_event(2 * SOON, "web", "recovery-verified", at);
    });
}

#[test]
fn full_folder_of_what_is_in_force_holds_up_what_is_new_and_nothing_else() {
    scenario("full-resolved", |m| {
        m.install_app(&AppSpec::new("api", 3001));
        watch(m, &AppSpec::new("web", 3000), "");
        small(m, RESOLVED, "64k");
        let (settings, rule) = (format!("{RESOLVED}/settings.json"), format!("{RULES}/40-app-monitor.rules"));
        let sums = || m.must(&format!("md5sum {settings} {rule}"));
        let before = sums();
        fill(m, RESOLVED);
        m.write(FRAGMENT, &both());
        assert!(!m.run("systemctl reload app-monitor").ok(), "it says so");
        said_once(m, "cannot write the configuration in force", &settings, RESOLVED);
        assert_eq!(sums(), before);
        tidy(m, RESOLVED);
        tidy(m, RULES);
        recovers(m, "web");

        // A start with what was in force before needs no room.
        m.write(FRAGMENT, &config(""));
        let at = now();
        m.must("systemctl restart app-monitor");
        m.wait_verdict(SOON, "web", "healthy", at);
        assert_eq!(said(m, &["No space left", "the one of the last start is the same"]), 1);
        assert_eq!(sums(), before);
        recovers(m, "web");

        // Another one cannot be: nothing is allowed for it, and it begins as soon as there is room.
        m.write(FRAGMENT, &both());
        m.run("systemctl restart app-monitor");
        m.wait_for(SOON, "it is said", || {
            (said(m, &["No space left", "nothing is watched until then"]) > 0).then_some(())
        });
        assert!(!m.must(&format!("cat {rule}")).contains("web.service"));
        // That is said again when half a minute has gone by, and not at each try.
        let times = || said(m, &["nothing is watched until then"]);
        let_pass(Duration::from_secs(5));
        let restarts = || m.must("systemctl show -P NRestarts app-monitor").trim().to_owned();
        assert_eq!((times(), restarts()), (1, "1".to_owned()), "{}", m.journal_of(UNIT));
        let at = now();
        assert!(m.must("systemctl show -P SubState app-monitor").contains("start-pre"));
        m.must("systemctl stop app-monitor");
        assert!(now() - at < Duration::from_secs(2), "a stop is not waited for");
        assert!(!m.run("systemctl start app-monitor").ok(), "it is said at once");
        assert!(now() - at < Duration::from_secs(4));
        let_pass(Duration::from_secs(3));
        room(m, RESOLVED);
        m.must("for n in $(seq 20); do app-monitor wait api --for 20s && exit 0; sleep 0.2; done; exit 1");
        assert_eq!(times(), 2);
        // An ordinary crash of the monitor costs it no more than before.
        let (at, pid) = (now(), m.main_pid(UNIT));
        m.must("systemctl kill --signal=KILL app-monitor");
        m.wait_for(SOON, "it is back", || {
            let back = m.run("systemctl is-active app-monitor").stdout.trim() == "active";
            (back && m.main_pid(UNIT) != pid).then_some(())
        });
        assert!(now() - at < Duration::from_secs(4), "{:?}", now() - at);
        recovers(m, "api");
        tidy(m, RESOLVED);
    });
}

#[test]
fn full_disks_lose_no_alert_that_waits() {
    scenario("full-alerts", |m| {
        install_receiver(m);
        m.must("systemctl stop app-monitor");
        small(m, STATE, "1m");
        m.must("systemctl start app-monitor");
        // Tried again so rarely that no try of its own is behind what is written.
        watch(m, &AppSpec::new("web", 3000), &webhook(""));
        fill(m, STATE);
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        let queue = format!("{STATE}/alerts.json");
        m.wait_for(SOON, "it is said", || (said(m, &["the queue of alerts"]) > 0).then_some(()));
        said_once(m, "cannot write the queue of alerts", &queue, STATE);
        assert!(m.must(&format!("cat {RUN}/alerts.json")).contains("web-1"), "kept meanwhile");
        m.must("systemctl restart app-monitor && app-monitor wait web --for 20s");
        // Nothing else happens, and it is where a reboot spares it.
        room(m, STATE);
        m.wait_for(3 * SOON, "it is written where it belongs", || {
            m.run(&format!("grep -q web-1 {queue}")).ok().then_some(())
        });
        tidy(m, STATE);
        // Nor where neither takes it.
        small(m, RUN, "1m");
        fill(m, STATE);
        fill(m, RUN);
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        tidy(m, STATE);
        tidy(m, RUN);
        receive(m, "ok");
        let all = [
            "incident-opened web-1",
            "incident-closed web-1",
            "incident-opened web-2",
            "incident-closed web-2",
        ];
        // That the disk is full is told as well.
        let of_incidents = || {
            let mut told = told(m);
            told.retain(|one| one.starts_with("incident"));
            told
        };
        m.wait_for(5 * SOON, "all is told", || (of_incidents().len() >= all.len()).then_some(()));
        room(m, STATE);
        let_pass(Duration::from_secs(3));
        m.must("systemctl restart app-monitor && app-monitor wait web --for 20s");
        let_pass(Duration::from_secs(3));
        assert_eq!(of_incidents(), all);
    });
}

#[test]
fn full_runtime_folder_makes_an_alert_by_unit_wait_for_what_the_unit_is_to_read() {
    scenario("full-details", |m| {
        m.write(
            "/etc/systemd/system/tell@.service",
            "[Service]\nType=oneshot\nExecStart=/bin/cp /run/app-monitor/alerts/%i.json /root/told.json\n",
        );
        watch(
            m,
            &AppSpec::new("web", 3000),
            "[alerts.me]\nkind = \"unit\"\nunit = \"tell@.service\"\nevents = [\"incident-opened\"]\n",
        );
        m.must("systemctl stop app-monitor");
        small(m, RUN, "1m");
        m.must("systemctl start app-monitor && app-monitor wait web --for 20s");
        fill(m, RUN);
        let at = m.fault("web", "crash");
        let failed = m.wait_event(SOON, "web", "alert-failed", at).message;
        let file = format!("{RUN}/alerts/web.json");
        assert!(failed.contains(&format!("cannot write {file}: No space left on device")), "{failed}");
        assert!(failed.contains("make room there: df -h /run/app-monitor"), "{failed}");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert!(m.read("/root/told.json").is_none(), "nobody is told half of it");
        room(m, RUN);
        m.wait_event(2 * SOON, "web", "alert-sent", at);
        assert!(m.read("/root/told.json").is_some_and(|text| text.contains("\"incident\": \"web-1\"")));
        tidy(m, RUN);
    });
}

#[test]
fn full_disk_keeps_the_state_from_a_reboot_as_soon_as_there_is_room() {
    scenario("full-state", |m| {
        m.must("systemctl stop app-monitor");
        small(m, STATE, "1m");
        m.must("systemctl start app-monitor");
        watch(m, &AppSpec::new("web", 3000), "");
        fill(m, STATE);
        m.must("app-monitor pause web --for 30m");
        m.wait_for(SOON, "it is said", || (said(m, &["cannot write the state"]) > 0).then_some(()));
        said_once(m, "cannot write the state", &format!("{STATE}/state.json"), STATE);
        room(m, STATE);
        // Nothing else happens.
        m.wait_for(3 * SOON, "the state is written", || {
            (said(m, &["the state is written again"]) == 1).then_some(())
        });
        m.must(&format!("cmp {STATE}/state.json {RUN}/state.json"));
        tidy(m, STATE);
    });
}

#[test]
fn full_folder_of_results_costs_a_recovery_nothing_but_the_words() {
    scenario("full-results", |m| {
        watch(m, &AppSpec::new("web", 3000), CLEARED);
        m.must("systemctl start app-monitor-clear-caches@web.service");
        small(m, RESULTS, "64k");
        // Of a run before, and not of the one that follows.
        let old = m.must(&format!("cat {RESULTS}/clear-caches-web.json"));
        fill(m, RESULTS);
        m.write("/srv/web/.next/cache/broken", "x");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "recovery-verified", at);
        assert!(m.read("/srv/web/.next/cache/broken").is_none(), "it was cleared all the same");
        let failed: Vec<_> =
            m.events_since("web", at).into_iter().filter(|event| event.name == "step-failed").collect();
        let file = format!("{RESULTS}/clear-caches-web.json");
        let why = format!(
            "it left no result; {file}: No space left on device (os error 28); make room there: df -h {RESULTS}"
        );
        let all = crate::support::lines(&failed);
        assert!(failed.len() == 1 && failed[0].message.contains(&why), "{why}: {all}");
        assert_eq!(m.must(&format!("cat {RESULTS}/clear-caches-web.json")), old, "what was there stays");
        tidy(m, RESULTS);
        room(m, RESULTS);
        m.write("/srv/web/.next/cache/broken", "x");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "recovery-verified", at);
        let events = m.events_since("web", at);
        assert!(events.iter().all(|event| event.name != "step-failed"), "{}", crate::support::lines(&events));
        tidy(m, RESULTS);
    });
}

#[test]
fn full_disk_behind_what_is_printed_is_said_and_half_a_file_is_no_success() {
    scenario("full-output", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        for command in ["status", "config show", "config check --json", "incidents", "init --json"] {
            let done = m.run(&format!("app-monitor {command} > /dev/full"));
            assert!(done.stderr.contains("not all could be printed: No space left on device"), "{done:?}");
            assert_eq!(done.status, 1, "{command}");
            // Whoever has read enough is nobody's failure.
            let done = m.run(&format!("app-monitor {command} | true"));
            assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{command}");
        }
    });
}

#[test]
fn full_rule_that_cannot_be_replaced_leaves_what_is_in_force() {
    scenario("full-immutable", |m| {
        m.install_app(&AppSpec::new("api", 3001));
        watch(m, &AppSpec::new("web", 3000), CLEARED);
        let rule = format!("{RULES}/40-app-monitor.rules");
        let sums = || m.must(&format!("md5sum {RESOLVED}/settings.json {rule}"));
        let before = sums();
        // Nothing can be put in its place.
        m.must(&format!("mount --bind {rule} {rule}"));
        m.write(FRAGMENT, &both());
        assert!(!m.run("systemctl reload app-monitor").ok(), "it says so");
        assert_eq!(said(m, &["cannot allow the monitor what it needs", "what is in force stays so"]), 1);
        assert_eq!(sums(), before);
        tidy(m, RESOLVED);
        tidy(m, RULES);
        // Its helper goes by what is in force, too.
        recovers(m, "web");
        m.must(&format!("umount {rule} && systemctl reload app-monitor && app-monitor wait api --for 20s"));
        recovers(m, "api");
    });
}

/// What is in force is written first, the rule for it then: killed between them.
#[test]
fn full_stop_between_what_is_in_force_and_its_rule_lasts_until_the_next_reload_or_start() {
    /// The one is exchanged with what was there, the other put in its place.
    const NO_RULE: &str = "SystemCallFilter=~rename renameat";
    scenario("full-between", |m| {
        m.install_app(&AppSpec::new("api", 3001));
        watch(m, &AppSpec::new("web", 3000), CLEARED);
        let (settings, rule) = (format!("{RESOLVED}/settings.json"), format!("{RULES}/40-app-monitor.rules"));
        let names = |file: &str, unit: &str| m.run(&format!("grep -q '{unit}.service' {file}")).ok();
        let kill = |how: &str| {
            let line =
                format!("systemd-run --quiet --wait -p '{NO_RULE}' /usr/bin/app-monitor resolve {how}");
            assert!(!m.run(&line).ok(), "it is killed");
        };
        let reload = || {
            let drop_in = "/run/systemd/system/app-monitor.service.d/kill.conf";
            let line =
                format!("systemd-run --quiet --wait -p '{NO_RULE}' /usr/bin/app-monitor resolve --reload");
            m.write(
                drop_in,
                &format!(
                    "[Service]\nExecReload=\nExecReload=+{line}\nExecReload=/usr/bin/app-monitor reload\n"
                ),
            );
            m.must("systemctl daemon-reload");
            assert!(!m.run("systemctl reload app-monitor").ok(), "it says so");
            m.must(&format!("rm {drop_in} && systemctl daemon-reload"));
        };
        let pid = m.main_pid(UNIT);
        m.write(FRAGMENT, &config(&format!("{CLEARED}{}", table("api", 3001, ""))));
        reload();
        assert!(names(&settings, "api") && !names(&rule, "api"), "between the two");
        // The daemon goes on with what the rule is for.
        let watched = m.must("app-monitor status --json");
        assert!(watched.contains("web.service") && !watched.contains("api.service"), "{watched}");
        recovers(m, "web");
        assert_eq!(m.main_pid(UNIT), pid);
        m.must("systemctl reload app-monitor && app-monitor wait api --for 20s");
        assert!(names(&rule, "api"));
        recovers(m, "api");
        tidy(m, RESOLVED);
        tidy(m, RULES);

        // And a start makes both anew, whether the one before came to its end or not.
        m.write(FRAGMENT, &config(CLEARED));
        reload();
        assert!(!names(&settings, "api") && names(&rule, "api"), "between the two");
        m.must("systemctl kill --signal=KILL app-monitor");
        m.wait_for(SOON, "both are anew", || (!names(&rule, "api") && m.main_pid(UNIT) != 0).then_some(()));
        m.must("app-monitor wait web --for 20s");
        recovers(m, "web");
        m.must("systemctl stop app-monitor");
        m.write(FRAGMENT, &both());
        kill("");
        m.must("systemctl start app-monitor && app-monitor wait api --for 20s");
        recovers(m, "api");
        tidy(m, RESOLVED);
        tidy(m, RULES);
    });
}

/// systemd's filter kills a process at that call, as a SIGKILL would that comes just then.
const NO_RENAME: &str = "SystemCallFilter=~rename renameat renameat2";

#[test]
fn full_stop_between_a_write_and_its_rename_is_as_if_nothing_was_written() {
    scenario("full-stop", |m| {
        m.install_app(&AppSpec::new("api", 3001));
        watch(m, &AppSpec::new("web", 3000), CLEARED);
        m.must("app-monitor pause web --for 30m && sleep 0.5");
        // The step before a reload.
        let sums = || m.must(&format!("md5sum {RESOLVED}/settings.json {RULES}/40-app-monitor.rules"));
        let before = sums();
        m.write(FRAGMENT, &config(&format!("{CLEARED}{}", table("api", 3001, ""))));
        let line = format!(
            "systemd-run --quiet --wait -p '{NO_RENAME}' /usr/bin/app-monitor resolve --reload; ls -A {RESOLVED} {RULES}"
        );
        let killed = m.run(&line);
        assert!(killed.stdout.contains(".settings.json.new"), "{killed:?}");
        assert!(killed.stdout.contains(".40-app-monitor.rules.new"), "{killed:?}");
        assert_eq!(sums(), before);
        assert!(!m.must("app-monitor config show").contains("app.api"));
        m.must("systemctl reload app-monitor && app-monitor wait api --for 20s");
        assert_ne!(sums(), before);
        tidy(m, RESOLVED);
        tidy(m, RULES);

        // A helper, whose result is not there then.
        let drop_in = "/etc/systemd/system/app-monitor-clear-caches@.service.d/kill.conf";
        m.write(drop_in, &format!("[Service]\n{NO_RENAME}\nSystemCallErrorNumber=kill\n"));
        m.must("systemctl daemon-reload && app-monitor resume web");
        m.write("/srv/web/.next/cache/broken", "x");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "recovery-verified", at);
        let failed = m.wait_event(SOON, "web", "step-failed", at);
        let why = "it left no result; journalctl -u app-monitor-clear-caches@web.service";
        assert!(failed.message.contains(why), "{}", failed.message);
        m.must(&format!(
            "rm {drop_in} && systemctl daemon-reload && app-monitor pause web --for 30m && sleep 0.5"
        ));
        m.must("systemctl start app-monitor-clear-caches@web.service");
        tidy(m, RESULTS);

        // The daemon, whenever it writes its state.
        let drop_in = "/run/systemd/system/app-monitor.service.d/kill.conf";
        m.write(drop_in, &format!("[Service]\n{NO_RENAME}\nSystemCallErrorNumber=kill\n"));
        m.must("systemctl daemon-reload && systemctl kill --signal=KILL app-monitor");
        m.wait_for(SOON, "it is killed", || {
            m.run(&format!("find {STATE} {RUN} -name '.state.json.new' | grep .")).ok().then_some(())
        });
        m.must(&format!("rm {drop_in} && systemctl daemon-reload && systemctl restart app-monitor"));
        wait_view(m, "web", "it is still paused", |view| view["paused_seconds"].as_u64());
        assert_eq!(view(m, "web")["attempts_left"], 3);
        assert_eq!(said(m, &["cannot use"]) + said(m, &["the state is lost"]), 0);
        m.must("app-monitor resume web && sleep 0.5");
        tidy(m, STATE);
        tidy(m, RUN);
    });
}
