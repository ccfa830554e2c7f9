//! The host around the app, and oddities of an app that answers.

use std::time::Duration;

use super::rows;
use super::seen::{Seen, condition, healthy, held, recovered, until};
use crate::machine::{AppSpec, Machine, now};
use crate::support::{SOON, config, let_pass, said_at, watch};

rows! {
    Lab disk_low: "the app's file system is nearly full" => "disk-low", "none", 0;
    Lab restarts_often: "restarted six times by hand" => "restarts-often", "none", 6;
    Lab slow: "answers well, but over max_latency" => "slow", "none", 0;
    Lab few_processes: "a worker is gone, the app answers" => "few-processes", "none", 0;
    Lab no_process: "a worker is gone, and nothing else is checked" => "no-process", "restart", 1;
    Lab port_foreign: "another unit answers on its port" => "port-foreign", "none", 0;
    Lab bus_silent: "the bus hangs, then the app crashes" => "unknown", "none", 0;
    Lab leak: "leaks over max_memory" => "app-memory", "restart", 1;
    Servers overloaded: "far more load than it can serve" => "overloaded", "none", 0;
    Servers frozen_beside: "frozen beside an overloaded app" => "frozen", "restart", 1;
}

fn disk_low(m: &Machine) -> Seen {
    // The monitor starts after it was mounted, as at every boot: read-only in its sandbox.
    m.must("mkdir -p /srv/web && mount -t tmpfs -o size=64M web /srv/web && systemctl restart app-monitor");
    healthy(m, "min_disk = \"32M\"");
    // So that it was good once.
    let_pass(Duration::from_secs(2));
    let at = now();
    m.must("head -c 48M /dev/zero >/srv/web/filler");
    condition(m, at, "disk-low")
}

fn restarts_often(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.unit_lines = "StartLimitIntervalSec=0".to_owned();
    watch(m, &app, "");
    let at = now();
    for _ in 0..6 {
        m.must("systemctl restart web");
        m.wait_http_ok(SOON, 3000, "/api/health");
    }
    condition(m, at, "restarts-often")
}

fn slow(m: &Machine) -> Seen {
    m.install_app(&AppSpec::new("web", 3000));
    let http = "http = { url = \"/api/health\", max_latency = \"100ms\" }";
    m.configure(&config("").replace("http = \"/api/health\"", http));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let at = m.fault("web", "slow 300");
    condition(m, at, "slow")
}

/// The app with a second process, which counts.
fn with_worker() -> AppSpec {
    let mut app = AppSpec::new("web", 3000);
    app.service_lines = "ExecStart=\nExecStart=/bin/sh -c 'sleep infinity & exec node server.js'".to_owned();
    app
}

fn few_processes(m: &Machine) -> Seen {
    watch(m, &with_worker(), "process = \"sleep\"");
    let at = now();
    m.must("pkill -KILL -x sleep");
    condition(m, at, "few-processes")
}

fn no_process(m: &Machine) -> Seen {
    m.install_app(&with_worker());
    let keys = config("process = \"sleep\"");
    m.configure(&keys.replace("port = 3000\n", "").replace("http = \"/api/health\"\n", ""));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let_pass(Duration::from_secs(2));
    let at = now();
    m.must("pkill -KILL -x sleep");
    recovered(m, at)
}

/// Another unit's process answers in its place, as well as it did itself.
fn port_foreign(m: &Machine) -> Seen {
    healthy(m, "failures = 20\nfailures_window = \"20 of 20\"");
    m.write("/srv/other/server.js", &m.read("/srv/web/server.js").unwrap_or_default());
    let at = m.fault("web", "unlisten");
    m.must(
        "systemd-run --quiet --unit=other --working-directory=/srv/other --setenv=PORT=3000 node server.js",
    );
    condition(m, at, "port-foreign")
}

/// Nobody can say how it is, so nobody acts.
fn bus_silent(m: &Machine) -> Seen {
    m.install_app(&AppSpec::new("web", 3000));
    m.configure("[defaults]\ncheck_interval = \"1s\"\ntimeout = \"1s\"\n[app.web]\nunit = \"web.service\"\n");
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let at = now();
    m.must("systemctl kill --signal=STOP dbus");
    m.fault("web", "crash");
    let seen = held(m, at, "unknown");
    m.must("systemctl kill --signal=CONT dbus");
    let back = until(SOON, || said_at(m, "web.service", "starting, pid", at).len() == 1);
    seen.and(back, || "not recovered when the bus was back".to_owned())
}

/// Where there is no memory controller, resident memory counts.
fn leak(m: &Machine) -> Seen {
    healthy(m, "max_memory = \"200M\"");
    let at = m.fault("web", "leak");
    recovered(m, at)
}

/// Time enough to take connections on a busy host; an answer takes twice that.
const IN_TIME: &str = "timeout = \"4s\"";

/// Far more than it can serve: each answer costs it 20 ms, and 400 connections ask without a pause,
/// so that it is 8 s behind. It takes connections all the while.
fn loaded(m: &Machine, port: u16) {
    m.must(&format!(
        "systemd-run --quiet --unit=load-{port} wrk --threads 1 --connections 400 --duration 10m \
         --timeout 60s http://127.0.0.1:{port}/work"
    ));
}

fn overloaded(m: &Machine) -> Seen {
    healthy(m, IN_TIME);
    let at = now();
    loaded(m, 3000);
    let seen = held(m, at, "overloaded");
    let_pass(patience());
    let verdict = seen.verdict;
    Seen::since(m, at, &verdict).figure(format!("for {} s", (now() - at).as_secs()))
}

/// How long an overloaded app is looked at; the claim is five minutes.
fn patience() -> Duration {
    let seconds = std::env::var("APP_MONITOR_LAB_OVERLOAD").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

fn frozen_beside(m: &Machine) -> Seen {
    m.install_app(&AppSpec::new("busy", 3001));
    let busy = crate::support::table("busy", 3001, IN_TIME);
    watch(m, &AppSpec::new("web", 3000), &format!("\n{busy}"));
    loaded(m, 3001);
    let_pass(Duration::from_secs(10));
    let at = m.fault("web", "await");
    let seen = recovered(m, at);
    let restarted = said_at(m, "busy.service", "starting, pid", at).len();
    seen.and(restarted == 0, || "the overloaded app was restarted".to_owned())
}
