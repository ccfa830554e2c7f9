//! Files of the monitor's own that are no good when it starts: it starts anyway, keeps them, says where,
//! and gives nobody attempts back.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, UNIT, count, wait_view, watch};

const STATE: &str = "/var/lib/app-monitor/state.json";
const COPY: &str = "/run/app-monitor/state.json";
const INCIDENTS: &str = "/var/lib/app-monitor/incidents";

/// Puts something in the place of files while the monitor is down, and starts it. `place` names the file
/// by `$f`.
#[track_caller]
fn put(m: &Machine, files: &[&str], place: &str) -> Duration {
    m.must("systemctl stop app-monitor");
    for file in files {
        m.must(&format!("f={file}; rm -rf $f.bad $f.bad.*; {place}"));
    }
    let at = now();
    m.must("systemctl start app-monitor");
    at
}

/// The app as it is judged next.
#[track_caller]
fn judged(m: &Machine) -> Value {
    // There is no verdict at all until it is on the bus.
    let judged = |view: &Value| view["verdict"].as_str().is_some_and(|verdict| verdict != "unknown");
    wait_view(m, "web", "it is watched", |view| judged(view).then(|| view.clone()))
}

/// The lines of the journal since then, and what `status` says.
fn said(m: &Machine, at: Duration) -> (String, String) {
    let since = at.as_secs_f64();
    let journal = m.must(&format!(
        "journalctl -u {UNIT} -o short-monotonic --no-pager -b | sed 's/^\\[ *//' | awk '$1 + 0 >= {since:.3}'"
    ));
    (journal, m.run("app-monitor status").stdout)
}

#[test]
fn state_in_whose_place_is_something_else_is_kept_and_named() {
    scenario("state-odd", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        for (what, place, why) in [
            ("cut short", "truncate -s 40 $f", "not a state of ours"),
            ("empty", "truncate -s 0 $f", "not a state of ours"),
            ("noise", "head -c 4096 /dev/urandom > $f", "not a state of ours"),
            ("newer", "sed -i 's/\"version\":1/\"version\":99/' $f", "written by a newer version (format 99"),
            ("large", "truncate -s 100M $f", "larger than 8388608 bytes"),
            ("a folder", "rm $f; mkdir -p $f/x", "no plain file"),
            ("a pipe", "rm $f; mkfifo $f", "no plain file"),
            ("a link", "mv $f /srv/state; ln -s /srv/state $f", "a symbolic link"),
            ("a link to nothing", "rm $f; ln -s /nowhere $f", "a symbolic link"),
        ] {
            let at = put(m, &[STATE, COPY], place);
            let view = judged(m);
            assert_eq!(view["attempts_left"], 1, "{what}: {view}");
            let (journal, status) = said(m, at);
            for file in [STATE, COPY] {
                let line = format!("cannot use {file}: {why}");
                let kept = format!("kept as {file}.bad");
                for text in [line.as_str(), kept.as_str()] {
                    assert!(journal.contains(text), "{what}: no \u{201c}{text}\u{201d} in:\n{journal}");
                    assert!(status.contains(text), "{what}: no \u{201c}{text}\u{201d} in:\n{status}");
                }
                m.must(&format!("stat {file}.bad > /dev/null && test -f {file} && test ! -L {file}"));
            }
            assert!(status.contains("note: the state is lost: each app has one attempt"), "{status}");
            // It is as careful after another start, and until it is told otherwise.
            m.must("systemctl restart app-monitor");
            assert_eq!(judged(m)["attempts_left"], 1, "{what}, and a restart");
            assert!(!m.run("app-monitor status").stdout.contains("note: "), "it is told once");
            m.must("app-monitor reset web");
        }
        assert_eq!(count(m, "", "recovery-started", Duration::ZERO), 0);
        assert_eq!(m.unit_property(UNIT, "NRestarts"), "0", "it was never too slow to start");
    });
}

#[test]
fn state_of_somebody_else_is_not_read_over_and_stops_nothing() {
    scenario("state-foreign", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.must("useradd --system stranger");
        // Root reads and moves whatever it likes; another user moves it out of a folder of its own.
        put(m, &[STATE, COPY], "echo '{}' > $f; chown stranger: $f; chmod 600 $f");
        let user = m.must(&format!("ps -o user= -p $(systemctl show -P MainPID {UNIT})"));
        assert_eq!(judged(m)["attempts_left"], 1, "as {user}");
        m.must(&format!("grep -q '^{{}}$' {STATE}.bad {COPY}.bad"));
        let owner = m.must(&format!("stat -c %U {STATE}"));
        assert_eq!(owner.trim(), user.trim());
    });
}

#[test]
fn state_of_which_one_copy_is_left_gives_no_attempt_back() {
    scenario("state-half", |m| {
        watch(
            m,
            &AppSpec::new("web", 3000),
            "max_attempts = 2\nretry_interval = \"1h\"\nhealthy_for = \"1h\"",
        );
        m.break_starts("web", "status 500");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "breaker-opened", at);
        m.wait_event(SOON, "web", "incident-opened", at);
        for file in [STATE, COPY] {
            let at = put(m, &[file], "head -c 4096 /dev/urandom > $f");
            let view = judged(m);
            assert_eq!((&view["attempts_left"], &view["breaker"]), (&0.into(), &"open".into()), "{file}");
            let (journal, status) = said(m, at);
            assert!(journal.contains(&format!("kept as {file}.bad")), "{journal}");
            assert!(status.contains(&format!("kept as {file}.bad")), "{status}");
            assert!(!journal.contains("the state is lost"), "{journal}");
            assert_eq!(count(m, "web", "recovery-started", at), 0);
        }
        // The one that is left is of an hour ago: what was done since is not known.
        put(m, &[STATE, COPY], "case $f in /var*) touch -d '-1 hour' $f;; *) echo noise > $f;; esac");
        let (_, status) = (judged(m), m.run("app-monitor status").stdout);
        assert!(status.contains("older than the one that cannot be used"), "{status}");
        assert_eq!(judged(m)["attempts_left"], 0);
    });
}

#[test]
fn state_that_is_no_good_on_a_disk_that_takes_nothing() {
    scenario("state-stuck", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        for (what, mount) in [("read-only", "remount,ro"), ("full", "remount,rw")] {
            m.must("systemctl stop app-monitor");
            for folder in ["/var/lib/app-monitor", "/run/app-monitor"] {
                m.must(&format!(
                    "d={folder}; mountpoint -q $d || {{ u=$(stat -c %u:%g $d); mount -t tmpfs -o size=16k,mode=755 t $d; \
                     chown $u $d; }}; mount -o remount,rw $d; echo noise > $d/state.json; \
                     chown --reference=$d $d/state.json; mount -o {mount} $d"
                ));
                if what == "full" {
                    m.run(&format!("dd if=/dev/zero of={folder}/filler bs=4k 2>/dev/null"));
                }
            }
            let at = now();
            m.must("systemctl start app-monitor");
            assert_eq!(judged(m)["attempts_left"], 1, "{what}");
            let (journal, _) = said(m, at);
            let aside = if what == "full" { "kept as " } else { "left where it is (" };
            assert!(journal.contains(aside), "{what}: no \u{201c}{aside}\u{201d} in:\n{journal}");
            // Nothing could be written meanwhile: it is no fresh start, however often it starts.
            m.must("systemctl restart app-monitor");
            assert_eq!(judged(m)["attempts_left"], 1, "{what}, and a restart");
        }
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "recovery-verified", at);
    });
}

#[test]
fn incidents_that_are_no_good_are_skipped_kept_and_named() {
    scenario("incidents-odd", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        m.break_starts("web", "status 500");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "incident-opened", at);
        m.wait_for(SOON, "its file is there", || {
            m.run(&format!("test -s {INCIDENTS}/web-2.json")).ok().then_some(())
        });
        // The one that is open, and files of others.
        let at = put(
            m,
            &[&format!("{INCIDENTS}/web-2.json")],
            "d=${f%/*}; truncate -s 100 $f; cp $f /tmp/short; mkfifo $d/web-7.json; mkdir $d/web-8.json; \
             ln -s /dev/zero $d/web-9.json; truncate -s 100M $d/web-10.json; \
             printf '{\"version\":1,\"id\":\"\\033[31m\"}' > $d/web-11.json; echo > $d/web-12.json; chmod 0 $d/web-12.json",
        );
        m.mend("web");
        m.wait_event(SOON, "web", "incident-closed", at);
        let (journal, _) = said(m, at);
        for (id, why) in [
            ("web-2", "is no incident"),
            ("web-7", "is no incident: no plain file"),
            ("web-8", "is no incident: no plain file"),
            ("web-9", "is no incident: a symbolic link"),
            ("web-10", "is no incident: larger than"),
            ("web-11", "is no incident"),
        ] {
            let text = format!("{INCIDENTS}/{id}.json {why}");
            assert!(journal.contains(&text), "no \u{201c}{text}\u{201d} in:\n{journal}");
        }
        assert!(!journal.contains('\u{1b}'), "{journal}");
        m.wait_for(SOON, "what was cut short is kept", || {
            m.run(&format!("cmp /tmp/short {INCIDENTS}/web-2.json.bad")).ok().then_some(())
        });
        let listed = m.must("app-monitor incidents");
        assert!(listed.contains("web-1 ") && listed.contains("web-2 "), "{listed}");
        m.must("app-monitor incidents web-2 > /dev/null && app-monitor why web > /dev/null");
        // No number is used twice, whatever the file of that number is.
        let at = m.fault("web", "crash");
        let opened = m.wait_event(SOON, "web", "incident-opened", at);
        assert_eq!(opened.field("APP_MONITOR_INCIDENT"), "web-13");
        m.must(&format!("test -p {INCIDENTS}/web-7.json && test -d {INCIDENTS}/web-8.json"));
    });
}
