//! The privileged one-shots on a real systemd: in their sandbox, against an owner who does what he
//! can, and as steps of a recovery.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::support::{SOON, config, count, lines, watch};

/// Holds the port as soon as it is free, takes connections, and answers nothing.
const STRAGGLER: &str = "const net = require('net');\n\
    const take = () => net.createServer(() => {}).on('error', () => setTimeout(take, 5)).listen(3000);\n\
    take();\n";

/// Starts it outside of every unit and session; its pid.
fn straggler(m: &Machine, path: &str) -> String {
    m.write(path, STRAGGLER);
    m.must(&format!("setsid /usr/bin/node {path} </dev/null >/dev/null 2>&1 & echo $!"))
}

/// The result that a helper left, whatever it says.
fn result(m: &Machine, helper: &str) -> String {
    m.read(&format!("/run/app-monitor-results/{helper}-web.json")).unwrap_or_default()
}

#[test]
fn helpers_end_a_straggler_that_holds_the_port_and_the_app_is_started() {
    scenario("straggler", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let pid = straggler(m, "/root/straggler.js");
        // Somebody who may not be ended, though he is much alike: a service of its own.
        m.must("systemd-run --quiet --unit=worker -p WorkingDirectory=/srv/web node -e 'setInterval(() => {}, 1000)'");
        let at = now();
        m.must("systemctl kill --kill-whom=main --signal=SIGKILL web.service");
        let done = m.wait_for(SOON, "the straggler is ended", || {
            m.events_since("web", at).into_iter().find(|event| {
                event.name == "step-done" && event.message.contains("end stragglers: ended node")
            })
        });
        assert!(
            done.message.contains(&format!("(pid {pid}, user root), which held port 3000")),
            "{}",
            done.message
        );
        m.wait_http_ok(SOON, 3000, "/api/health");
        m.wait_event(SOON, "web", "incident-closed", at);
        assert!(!m.run(&format!("kill -0 {pid}")).ok(), "it is gone");
        assert_eq!(m.unit_property("worker.service", "ActiveState"), "active");
        assert_eq!(m.must("stat -c '%U:%G %a' /run/app-monitor-results"), "root:app-monitor 750");
        assert_eq!(
            m.must("stat -c '%U:%G %a' /run/app-monitor-results/reap-web.json"),
            "root:app-monitor 640"
        );
    });
}

/// A thousand listeners on the port, in one process that ends for nothing but SIGKILL, and takes connections
/// that it never answers. What the app has closed just now is in nobody's way (SO_REUSEADDR).
const CROWD: &str = "use Socket; $SIG{TERM} = 'IGNORE'; my @all;
    for (1 .. 1000) { socket(my $s, PF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, $_, 1) for 2, 15;
    bind($s, sockaddr_in(3000, INADDR_ANY)) or die; listen($s, 5) or die; push @all, $s } sleep 1 while 1";

#[test]
fn helpers_are_through_in_time_though_a_crowd_holds_the_port() {
    scenario("crowd", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.must("app-monitor pause web --for 10m && systemctl stop web.service");
        m.write("/root/crowd.pl", CROWD);
        // Files enough that looking through them for each listener takes long.
        m.must("for n in 1 2 3 4 5; do setsid perl -e 'my @f; for (1 .. 4000) { open(my $f, \"<\", \"/dev/null\") or die; push @f, $f } sleep 1 while 1' </dev/null >/dev/null 2>&1 & done");
        let pid = m.must("ulimit -n 4096; setsid perl /root/crowd.pl </dev/null >/dev/null 2>&1 & echo $!");
        m.wait_for(3 * SOON, "the crowd listens", || {
            (m.must("ss -Hltn sport = :3000 | wc -l").trim() == "1000").then_some(())
        });
        let at = now();
        m.run_for(SOON, "systemctl start app-monitor-reap@web.service");
        let took = now() - at;
        assert!(
            result(m, "reap").contains(&format!("(pid {pid}, user root) with SIGKILL, which held port 3000")),
            "{took:?}: {}",
            result(m, "reap")
        );
        assert!(took < Duration::from_secs(12), "{took:?}");
    });
}

#[test]
fn helpers_spare_who_answers_well_and_who_lives_in_a_service() {
    scenario("spared", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        m.must("app-monitor pause web --for 10m && systemctl stop web.service");
        m.must("systemd-run --quiet --unit=other -p WorkingDirectory=/srv/web -E PORT=3000 node server.js");
        m.wait_http_ok(SOON, 3000, "/api/health");
        m.must("systemctl start app-monitor-reap@web.service");
        assert!(
            result(m, "reap").contains("is left alone: it belongs to other.service"),
            "{}",
            result(m, "reap")
        );
        m.must("systemctl stop other.service");
        // A stand-in that somebody started by hand, and that does the app's work.
        m.must("cp -r /srv/web /root/elsewhere");
        let pid = m.must(
            "cd /root/elsewhere && PORT=3000 setsid node server.js </dev/null >/dev/null 2>&1 & echo $!",
        );
        m.wait_http_ok(SOON, 3000, "/api/health");
        m.must("systemctl start app-monitor-reap@web.service");
        assert!(result(m, "reap").contains("answers the health check well"), "{}", result(m, "reap"));
        m.must(&format!("kill -0 {pid}"));
        m.must(&format!("kill -9 {pid}"));
        // While the unit is up, nobody is looked at.
        m.must("systemctl start web.service");
        m.must("systemctl start app-monitor-reap@web.service");
        assert!(result(m, "reap").contains("web.service is not down"), "{}", result(m, "reap"));
    });
}

#[test]
fn helpers_clear_caches_from_the_second_attempt() {
    scenario("caches", |m| {
        // Time enough to look between the two attempts, and to mend it.
        let pause = "cooldown = \"6s\"\ncooldown_max = \"6s\"";
        watch(m, &AppSpec::new("web", 3000), &format!("caches = [\".next/cache\"]\n{pause}"));
        m.write("/srv/web/.next/cache/broken", "x");
        m.write("/srv/web/.next/kept", "x");
        m.break_starts("web", "status 500");
        let at = m.fault("web", "status 500");
        m.wait_event(SOON, "web", "recovery-failed", at);
        assert!(m.read("/srv/web/.next/cache/broken").is_some(), "not at the first attempt");
        m.mend("web");
        let done = m.wait_for(SOON, "the cache is cleared", || {
            let events = m.events_since("web", at);
            events.into_iter().find(|event| event.message.contains("clear caches: "))
        });
        assert!(done.message.contains("clear caches: cleared .next/cache: 1 file"), "{}", done.message);
        assert_eq!(done.name, "step-done");
        m.wait_event(SOON, "web", "incident-closed", at);
        assert_eq!(count(m, "web", "recovery-started", at), 2, "{}", lines(&m.events_since("web", at)));
        assert_eq!(
            m.must("ls -A /srv/web/.next /srv/web/.next/cache"),
            "/srv/web/.next:\ncache\nkept\n\n/srv/web/.next/cache:"
        );
    });
}

/// What belongs to the hostile owner as well, so that nothing but confinement protects it.
const PRECIOUS: &str = "/home/hostile/precious";

/// A cache in a closed home: links, a FIFO, a socket, a mount, depth, a crowd, closed directories.
const TRAPS: &str = "set -e; umask 077; cd /home/hostile/web/.next/cache
    ln -s /home/hostile/precious link; ln -s /home/hostile/precious/file file; ln -s / root; ln -s .. up
    mkfifo fifo; mkdir -p closed/inside; touch closed/inside/file; chmod 000 closed/inside; chmod 500 closed
    ln /home/hostile/precious/file hard; mkdir mounted plain; touch plain/a plain/b
    mkdir crowd; (cd crowd; seq 3000 | xargs touch)
    node -e 'for (let n = 0; n < 300; n++) { fs.mkdirSync(\"deep\"); process.chdir(\"deep\"); }'
    ln -s /home/hostile/precious ../../linked-cache";

#[test]
fn helpers_delete_nothing_outside_though_the_owner_is_hostile() {
    scenario("hostile", |m| {
        let mut app = AppSpec::new("web", 3000);
        app.service_lines = "User=hostile\nWorkingDirectory=/home/hostile/web".to_owned();
        m.must("useradd --create-home hostile && chmod 700 /home/hostile");
        m.must("install -d -o hostile -g hostile /home/hostile/web /home/hostile/web/.next /home/hostile/web/.next/cache");
        m.must(&format!("install -d -o hostile -g hostile {PRECIOUS} && cd {PRECIOUS} && touch file a b && chown hostile: *"));
        m.write("/root/traps", TRAPS);
        m.must("setpriv --reuid=hostile --regid=hostile --clear-groups bash < /root/traps");
        m.must(&format!("mount --bind {PRECIOUS} /home/hostile/web/.next/cache/mounted"));
        watch(m, &app, "caches = [\".next/cache\", \"linked-cache\"]");
        m.must("app-monitor pause web --for 10m && systemctl stop web.service");

        // A directory that is a link every other moment, for as long as it is cleared.
        m.write("/root/race", "cd /home/hostile/web/.next/cache; for ((n = 0; n < 20000; n++)); do mkdir -p race/x; mv -T race aside; ln -sT /home/hostile/precious race; rm -f race; ln -sT /home/hostile/precious aside/x/l; done 2>/dev/null");
        m.must("systemd-run --quiet --unit=race -p User=hostile -p TimeoutStopSec=1 -p StandardInput=file:/root/race bash");
        for _ in 0..5 {
            m.must("systemctl start app-monitor-clear-caches@web.service");
        }
        m.run("systemctl kill --signal=KILL race.service");
        m.must("systemctl start app-monitor-clear-caches@web.service");
        let told = result(m, "clear-caches");
        assert_eq!(m.must(&format!("ls {PRECIOUS}")), "a\nb\nfile");
        assert_eq!(m.must("ls -A /home/hostile/web/.next/cache"), "mounted", "{told}");
        assert!(told.contains("mounted: something is mounted there"), "{told}");
        assert!(told.contains("linked-cache is left alone: a symbolic link leads to it"), "{told}");
        assert_eq!(m.unit_property("app-monitor-clear-caches@web.service", "Result"), "success");
        m.must("umount /home/hostile/web/.next/cache/mounted");

        // While the app is up, nothing is cleared.
        m.must("systemctl start web.service && touch /home/hostile/web/.next/cache/kept");
        m.must("systemctl start app-monitor-clear-caches@web.service");
        assert!(result(m, "clear-caches").contains("web.service uses the caches and is not down"));
        assert!(m.read("/home/hostile/web/.next/cache/kept").is_some());

        // Nor ever, where the configuration says so: whoever asks for it.
        m.must("systemctl stop web.service");
        m.configure(&config("caches = [\".next/cache\"]\nclear_caches = \"never\""));
        m.must("systemctl start app-monitor-clear-caches@web.service");
        assert!(
            result(m, "clear-caches").contains("clear_caches of web is \\\"never\\\""),
            "{}",
            result(m, "clear-caches")
        );
        assert!(m.read("/home/hostile/web/.next/cache/kept").is_some());
    });
}

#[test]
fn helpers_refuse_every_name_that_is_not_configured() {
    scenario("names", |m| {
        m.configure(&config(""));
        m.must("systemctl start app-monitor");
        m.wait_for(Duration::from_secs(10), "the configuration is in force", || {
            m.read("/run/app-monitor-resolved/settings.json").filter(|text| text.contains("web.service"))
        });
        for helper in ["evidence", "reap", "clear-caches", "preflight"] {
            for name in ["other", "web@1", "..", r"\x2e\x2e", "web.service", r"web\x20"] {
                let unit = format!("app-monitor-{helper}@{name}.service");
                assert!(!m.run(&format!("systemctl start '{unit}'")).ok(), "{unit} is refused");
            }
        }
        assert_eq!(m.must("ls -A /run/app-monitor-results"), "");
        assert!(m.must("systemctl --failed --plain --no-legend").is_empty(), "nothing is left failed");
    });
}
