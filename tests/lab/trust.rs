//! Whom the host trusts may change while the monitor runs.

use std::time::Duration;

use crate::machine::world::NAME;
use crate::machine::{AppSpec, now, scenario};
use crate::support::{SOON, config, let_pass};

#[test]
fn an_authority_that_is_taken_out_or_added_counts_at_once() {
    scenario("trust", |m| {
        m.install_app(&AppSpec::new("web", 3000));
        m.make_world();
        m.configure(&config(&format!(
            "public = \"https://{NAME}/api/health\"\npublic_interval = \"1s\"\nmode = \"watch\""
        )));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        let_pass(Duration::from_millis(2_500));
        for round in 0..2 {
            let at = now();
            m.must("rm /usr/local/share/ca-certificates/lab.crt && update-ca-certificates --fresh 2>&1");
            let began = m.wait_event(SOON, "web", "condition-began", at);
            assert!(began.message.contains("does not trust"), "{round}: {}", began.message);
            let at = now();
            m.trust_authority();
            m.wait_event(SOON, "web", "condition-ended", at);
        }
    });
}
