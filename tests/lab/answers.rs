//! The app answers wrongly, or nobody listens; and where it listens.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, scenario};
use crate::support::{SOON, config, lines, quick, recovered_from, table, watch};

#[test]
fn health_500_is_recovered() {
    scenario("health-500", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "status 500");
        let events = recovered_from(m, "erroring", at);
        assert!(lines(&events).contains("answers 500"), "{}", lines(&events));
    });
}

#[test]
fn wrong_value_at_a_json_path_is_recovered() {
    scenario("health-json", |m| {
        m.install_app(&AppSpec::new("web", 3000));
        let http = "http = { url = \"/api/health\", json = { status = \"OK\", \"services.database\" = \"connected\" } }";
        m.configure(&config("").replace("http = \"/api/health\"", http));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        let at = m.fault("web", "badjson");
        let events = recovered_from(m, "erroring", at);
        assert!(lines(&events).contains("services.database"), "{}", lines(&events));
    });
}

#[test]
fn closed_port_is_recovered() {
    scenario("unlisten", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "unlisten");
        recovered_from(m, "port-closed", at);
    });
}

/// Two bad answers, one good one, and so on: never three bad ones in a row.
#[test]
fn flapping_is_recovered() {
    scenario("flapping", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "flap");
        let events = recovered_from(m, "erroring", at);
        assert!(lines(&events).contains("5 of the last 10 times"), "{}", lines(&events));
    });
}

#[test]
fn localhost_is_either_family_and_status_says_which() {
    let bound = |name: &str, port, bind: &str| {
        let mut app = AppSpec::new(name, port);
        app.bind = bind.to_owned();
        app
    };
    let m = Machine::builder("localhost")
        .app(bound("six", 3006, "::1"))
        .app(bound("four", 3004, "127.0.0.1"))
        .config(&quick(
            &(table("six", 3006, "address = \"localhost\"")
                + &table("four", 3004, "address = \"localhost\"")),
        ))
        .boot();
    for (app, port, address) in [("six", 3006, "::1"), ("four", 3004, "127.0.0.1")] {
        m.wait_verdict(SOON, app, "healthy", Duration::ZERO);
        let status = m.must(&format!("app-monitor status {app}"));
        assert!(status.contains(&format!("{app}: healthy")), "{status}");
        assert!(status.contains(&format!("port {port} listens on {address}")), "{status}");
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        assert!(status.lines().any(|line| line.contains("answers 200") && line.contains(&host)), "{status}");
        let other = if app == "six" { "127.0.0.1" } else { "::1" };
        assert!(!status.contains(other), "{status}");
    }
}
