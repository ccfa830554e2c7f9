//! The app goes down, and nobody asked.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, scenario};

/// A web app with everything checked, and recoveries out of each other's way.
pub const WEB: &str = "[app.web]\nunit = \"web.service\"\nport = 3000\nhttp = \"/api/health\"\n";

fn watched(m: &Machine) {
    m.install_app(&AppSpec::new("web", 3000));
    m.configure(WEB);
    m.wait_verdict(Duration::from_secs(10), "web", "healthy", Duration::ZERO);
}

#[test]
fn exit_1_is_recovered_at_once() {
    scenario("crash-exit-1", |m| {
        watched(m);
        let at = m.fault("web", "crash");
        let failed = m.unit_failed_at("web.service", at);
        let acted = m.wait_event(Duration::from_secs(5), "web", "recovery-started", at);
        assert!(acted.at - failed.unwrap_or(at) < Duration::from_millis(250), "{:?}", acted.at - at);
        m.wait_http_ok(Duration::from_secs(10), 3000, "/api/health");
        m.wait_event(Duration::from_secs(20), "web", "recovery-verified", at);
        m.wait_event(Duration::from_secs(1), "web", "incident-closed", at);
    });
}
