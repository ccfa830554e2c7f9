//! The app is up: what it answers, or does not.

use std::time::Duration;

use super::rows;
use super::seen::{Seen, broken_by, condition, healthy, recovered};
use crate::machine::{AppSpec, Machine, now};
use crate::support::{SOON, config, watch};

rows! {
    Lab port_closed: "it runs and listens no more" => "port-closed", "restart", 1;
    Lab blocked: "event loop blocked" => "frozen", "restart", 1;
    Lab blocked_sigterm: "event loop blocked, with a SIGTERM handler" => "frozen", "kill, restart", 1;
    Lab awaits: "takes requests, awaits something for ever" => "frozen", "restart", 1;
    Lab drips: "drips a body, a byte a second" => "frozen", "restart", 1;
    Lab stopped_process: "process stopped (SIGSTOP)" => "frozen", "restart", 1;
    Lab status_500: "answers 500" => "erroring", "restart", 1;
    Lab wrong_json: "answers 200, wrong value in the JSON" => "erroring", "restart", 1;
    Lab flapping: "two bad answers, one good one, and so on" => "erroring", "restart", 1;
    Lab never_healthy: "health check answers 401 from the beginning" => "never-healthy", "none", 0;
}

fn port_closed(m: &Machine) -> Seen {
    let at = broken_by(m, "unlisten");
    recovered(m, at)
}

fn blocked(m: &Machine) -> Seen {
    let at = broken_by(m, "block-answered");
    recovered(m, at)
}

fn blocked_sigterm(m: &Machine) -> Seen {
    let mut app = AppSpec::new("web", 3000);
    app.sigterm_handler = true;
    watch(m, &app, "");
    let at = m.fault("web", "block-answered");
    recovered(m, at)
}

fn awaits(m: &Machine) -> Seen {
    let at = broken_by(m, "await");
    recovered(m, at)
}

fn drips(m: &Machine) -> Seen {
    let at = broken_by(m, "drip");
    recovered(m, at)
}

fn stopped_process(m: &Machine) -> Seen {
    healthy(m, "");
    let at = now();
    m.must("systemctl kill --signal=STOP web.service");
    recovered(m, at)
}

fn status_500(m: &Machine) -> Seen {
    let at = broken_by(m, "status 500");
    recovered(m, at)
}

fn wrong_json(m: &Machine) -> Seen {
    m.install_app(&AppSpec::new("web", 3000));
    let http = "http = { url = \"/api/health\", json = { \"services.database\" = \"connected\" } }";
    m.configure(&config("").replace("http = \"/api/health\"", http));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let at = m.fault("web", "badjson");
    recovered(m, at)
}

fn flapping(m: &Machine) -> Seen {
    let at = broken_by(m, "flap");
    recovered(m, at)
}

fn never_healthy(m: &Machine) -> Seen {
    m.install_app(&AppSpec::new("web", 3000));
    let at = now();
    m.configure(&config("").replace("http = \"/api/health\"", "http = \"/private\""));
    condition(m, at, "never-healthy")
}
