//! Steps of a recovery beyond start and restart, what has to be there before one, and when it is
//! given up.

use std::time::Duration;

use super::rows;
use super::seen::{Seen, condition, healthy, held, recovered, until};
use crate::machine::{AppSpec, Machine, now};
use crate::support::{SOON, count, found, let_pass, quick, said_at, view, watch};

rows! {
    Lab straggler: "crash, a straggler outside of any unit holds the port" => "port-taken", "end stragglers, reset-failed, start", 1;
    Lab port_taken: "crash, another unit took the port" => "port-taken", "none", 0;
    Lab caches: "answers 500 beyond the first restart" => "erroring", "restart, stop, clear caches, reset-failed, start", 2;
    Lab hooks: "exits with status 1, hooks configured" => "crashed", "hook before.service, reset-failed, start, hook after.service", 1;
    Lab key_missing: "crash, a required key is gone" => "config-missing", "none", 0;
    Lab file_missing: "crash, a required file is gone" => "config-missing", "none", 0;
    Lab given_up: "every start fails" => "crashed", "reset-failed, start, reset-failed, start, reset-failed, start", 3;
    Lab watched: "exits with status 1, mode = \"watch\"" => "crashed", "none", 0;
    Lab refused: "the bus refuses what the plan needs" => "may-not-act", "restart (failed)", 0;
    Lab looping: "crash at every start, Restart=always" => "crash-looping", "none", 0;
    Servers instance: "one of two instances freezes" => "frozen", "restart", 1;
    Lab instances: "both instances answer 500" => "erroring", "restart, restart", 2;
}

/// Reparented to PID 1 and in the group of no unit, as what was started by hand once.
const STRAGGLER: &str =
    "setsid -f node -e \"require('net').createServer(() => {}).listen(3000)\" >/dev/null 2>&1 </dev/null";

fn port_is_taken(m: &Machine) {
    m.wait_for(SOON, "the port is taken", || {
        m.run("grep -qE ':0BB8 .* 0A ' /proc/net/tcp6").ok().then_some(())
    });
}

/// The app is down, its port taken, when the monitor may act again.
fn taken_by(m: &Machine, command: &str) -> Duration {
    healthy(m, "");
    m.must("app-monitor pause web");
    m.fault("web", "crash");
    m.wait_property(SOON, "web.service", "ActiveState", "failed");
    m.must(command);
    port_is_taken(m);
    let at = now();
    m.must("app-monitor resume web");
    at
}

fn straggler(m: &Machine) -> Seen {
    let at = taken_by(m, STRAGGLER);
    recovered(m, at)
}

fn port_taken(m: &Machine) -> Seen {
    let unit = "systemd-run --unit=squatter node -e \"require('net').createServer().listen(3000)\" >/dev/null 2>&1 </dev/null";
    let at = taken_by(m, unit);
    let seen = held(m, at, "port-taken");
    let alive = m.unit_property("squatter.service", "ActiveState") == "active";
    seen.and(alive, || "another unit's process was ended".to_owned())
}

fn caches(m: &Machine) -> Seen {
    m.write("/srv/web/.next/cache/broken", "x");
    m.write("/srv/web/kept", "x");
    // Time enough to mend it between the two attempts.
    healthy(m, "verify_within = \"4s\"\ncooldown = \"6s\"\ncooldown_max = \"6s\"");
    m.break_starts("web", "status 500");
    let at = m.fault("web", "status 500");
    m.wait_event(SOON, "web", "recovery-failed", at);
    m.mend("web");
    let seen = recovered(m, at);
    let cleared =
        m.read("/srv/web/.next/cache/broken").is_none() && m.run("test -d /srv/web/.next/cache").ok();
    let kept = m.read("/srv/web/kept").is_some();
    seen.and(cleared, || "the cache was not cleared".to_owned())
        .and(kept, || "more than the cache was deleted".to_owned())
}

fn hooks(m: &Machine) -> Seen {
    for hook in ["before", "after"] {
        let unit = format!("[Service]\nType=oneshot\nExecStart=/usr/bin/touch /srv/{hook}\n");
        m.write(&format!("/etc/systemd/system/{hook}.service"), &unit);
    }
    m.must("systemctl daemon-reload");
    healthy(m, "before_start = [\"before.service\"]\nafter_recovery = [\"after.service\"]");
    let at = m.fault("web", "crash");
    let seen = recovered(m, at);
    let ran = until(SOON, || m.read("/srv/before").is_some() && m.read("/srv/after").is_some());
    let_pass(Duration::from_secs(1));
    let seen = Seen { actions: Seen::since(m, at, "").actions, ..seen };
    seen.and(ran, || "a hook did not run".to_owned())
}

/// The app reads its environment from a file, and cannot start without what it needs.
fn missing(m: &Machine, take_away: &str, put_back: &str) -> Seen {
    m.write("/srv/web/.env", "DATABASE_URL=redis://127.0.0.1:6379\n");
    m.write("/srv/web/dist/main.js", "// the build\n");
    let mut app = AppSpec::new("web", 3000);
    app.service_lines = "EnvironmentFile=-/srv/web/.env".to_owned();
    watch(
        m,
        &app,
        "preflight = { files = [\"dist/main.js\"], keys = [\"DATABASE_URL\"] }\n\
         database = { keys = [\"DATABASE_URL\"], env_file = \".env\" }",
    );
    // What was never all there holds nothing back: it is looked at when the app is well.
    let proven = until(SOON, || found(m, "web", "preflight") == "good");
    m.must(take_away);
    let at = m.fault("web", "crash");
    let seen = held(m, at, "config-missing");
    let seen = seen.and(proven, || "what a start needs was not looked at".to_owned());
    m.must(put_back);
    let back = until(Duration::from_secs(30), || view(m, "web")["verdict"] == "healthy");
    seen.and(back, || "not started when all was there again".to_owned())
}

fn key_missing(m: &Machine) -> Seen {
    missing(m, "echo 'OTHER=1' >/srv/web/.env", "echo 'DATABASE_URL=redis://127.0.0.1:6379' >/srv/web/.env")
}

fn file_missing(m: &Machine) -> Seen {
    missing(m, "mv /srv/web/dist/main.js /srv/", "mv /srv/main.js /srv/web/dist/")
}

fn given_up(m: &Machine) -> Seen {
    healthy(m, "clear_caches = \"never\"\nstragglers = \"never\"");
    m.break_starts("web", "crash");
    let at = m.fault("web", "crash");
    let opened = until(SOON, || count(m, "web", "breaker-opened", at) > 0);
    let_pass(Duration::from_secs(4));
    let seen = held(m, at, "crashed");
    let alerts = count(m, "web", "breaker-opened", at);
    seen.and(opened && alerts == 1, || format!("the breaker opened {alerts} times"))
}

fn watched(m: &Machine) -> Seen {
    healthy(m, "mode = \"watch\"");
    let at = m.fault("web", "crash");
    held(m, at, "crashed")
}

/// What an administrator's own bus policy forbids us.
fn refused(m: &Machine) -> Seen {
    healthy(m, "");
    m.write(
        "/etc/dbus-1/system.d/lab.conf",
        "<busconfig>\n<policy context=\"mandatory\">\n\
         <deny send_destination=\"org.freedesktop.systemd1\" \
         send_interface=\"org.freedesktop.systemd1.Manager\" send_member=\"RestartUnit\"/>\n\
         <deny send_destination=\"org.freedesktop.systemd1\" \
         send_interface=\"org.freedesktop.systemd1.Manager\" send_member=\"StopUnit\"/>\n\
         </policy>\n</busconfig>\n",
    );
    m.must("busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig");
    let at = m.fault("web", "status 500");
    condition(m, at, "may-not-act")
}

/// Told, and left to systemd as long as it may mend itself.
fn looping(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.restart = "always".to_owned();
    app.service_lines = "RestartSec=1".to_owned();
    app.unit_lines = "StartLimitIntervalSec=0".to_owned();
    watch(m, &app, "");
    m.break_starts("web", "crash");
    let at = m.fault("web", "crash");
    let mut seen = held(m, at, "crash-looping");
    // Systemd's own, as many as it likes.
    seen.starts = 0;
    seen
}

/// Two instances of one app behind nginx, each with its own port.
fn two_instances(m: &Machine) {
    m.install_app(&AppSpec::new("web", 3000));
    m.install_app(&AppSpec::new("other", 3001));
    m.configure(&quick(
        "[app.web]\nhttp = \"/api/health\"\ninstances = [{ unit = \"web.service\", port = 3000 }, \
         { unit = \"other.service\", port = 3001 }]\n",
    ));
    m.wait_for(SOON, "both are healthy", || (view(m, "web")["verdict"] == "healthy").then_some(()));
}

/// Behind nginx, under wrk's load all the while: nobody's request fails, and the healthy one is untouched.
fn instance(m: &Machine) -> Seen {
    two_instances(m);
    m.write(
        "/etc/nginx/sites-enabled/default",
        // By HTTP/1.1, so that an answer is whole in one piece: what an app that freezes has half sent is lost.
        "upstream web { server 127.0.0.1:3000 fail_timeout=1s; server 127.0.0.1:3001 max_fails=0; keepalive 8; }\n\
         server { listen 80; access_log off; keepalive_requests 1000000; location / { proxy_pass http://web; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_connect_timeout 1s; \
         proxy_read_timeout 2s; proxy_next_upstream error timeout; } }\n",
    );
    m.must("systemctl start nginx");
    m.must(
        "systemd-run --quiet --unit=load wrk --threads 1 --connections 8 --duration 10m --timeout 10s \
         http://127.0.0.1/",
    );
    let_pass(Duration::from_secs(1));
    let at = m.fault("web", "block");
    let seen = recovered(m, at);
    let other = said_at(m, "other.service", "starting, pid", at).len();
    let_pass(Duration::from_secs(1));
    // It tells what became of its requests when it is interrupted; of failures, where there were any.
    m.must("systemctl kill --signal=INT load");
    let said = |word: &str| {
        let told = m.must("journalctl -u load --output=cat --no-pager");
        told.lines().find(|line| line.contains(word)).map(|line| line.trim().to_owned())
    };
    let told = m.wait_for(SOON, "wrk tells", || said("requests in"));
    let failed = said("Non-2xx").or_else(|| said("Socket errors"));
    seen.and(other == 0, || "the healthy instance was restarted".to_owned())
        .and(failed.is_none(), || failed.clone().unwrap_or_default())
        .figure(format!("{told} through nginx, {}", failed.as_deref().unwrap_or("none failed")))
}

/// One after the other, never both at once.
fn instances(m: &Machine) -> Seen {
    two_instances(m);
    let at = m.fault("web", "status 500");
    m.fault("other", "status 500");
    let starting = |unit: &str| said_at(m, unit, "starting, pid", at);
    let both = until(Duration::from_secs(40), || {
        !starting("web.service").is_empty()
            && !starting("other.service").is_empty()
            && view(m, "web")["verdict"] == "healthy"
    });
    let_pass(Duration::from_secs(3));
    let (first, second) = (starting("web.service"), starting("other.service"));
    let apart = match (first.first(), second.first()) {
        (Some(one), Some(two)) => one.abs_diff(*two),
        _ => Duration::ZERO,
    };
    let mut seen = Seen::since(m, at, &super::seen::called(m, at));
    seen.starts = first.len() + second.len();
    seen.and(both, || "not both healthy again".to_owned())
        .and(apart > Duration::from_secs(1), || format!("both at once, {apart:?} apart"))
}
