//! What the manual says of commands, where no other scenario looks at it.

use crate::machine::{AppSpec, Machine, scenario};
use crate::support::{SOON, as_nobody, config, wait_view, watch};

#[test]
fn manual_pause_is_of_an_instance_and_outlasts_a_reboot() {
    let instances = "[app.api]\nhttp = \"/api/health\"\ninstances = [{ unit = \"api-1\", port = 3001 }, \
                     { unit = \"api-2\", port = 3002 }]\n";
    let machine = Machine::builder("manual-pause")
        .app(AppSpec::new("api-1", 3001))
        .app(AppSpec::new("api-2", 3002))
        .app(AppSpec::new("web", 3000))
        .config(&config(instances))
        .boot();
    let m = &machine;
    m.must("app-monitor wait web && app-monitor wait api");
    m.must("app-monitor pause api@2 --for 1h && app-monitor pause web --for '1h 30m' --reason deploy");
    let paused = || {
        wait_view(m, "api", "api@2 is paused, and api@1 is not", |view| {
            let verdict = |at: usize| view["instances"][at]["verdict"].as_str().map(str::to_owned);
            (verdict(0)? == "healthy" && verdict(1)? == "paused").then_some(())
        });
        wait_view(m, "web", "paused", |view| {
            (view["text"].as_str()?.contains("deploy") && view["paused_seconds"].as_u64()? > 5_000)
                .then_some(())
        });
    };
    paused();
    m.reboot();
    paused();
}

#[test]
fn manual_check_and_completions_need_no_configuration() {
    scenario("manual-check", |m| {
        watch(m, &AppSpec::new("web", 3000), "");
        // As somebody without privilege, too.
        assert_eq!(as_nobody(m, "app-monitor complete apps").stdout, "web");
        assert_eq!(as_nobody(m, "app-monitor complete incidents").stdout, "");
        let table =
            "app-monitor check --unit web --port 3000 --http '{ url = \"/api/health\", status = \"204\" }'";
        let checked = m.run(table);
        assert!(checked.status == 1 && checked.stdout.contains("200"), "{}", checked.stdout);
        let unreadable = as_nobody(m, "app-monitor config check");
        assert_eq!(unreadable.status, 1, "{}{}", unreadable.stdout, unreadable.stderr);

        // The package has the completions where bash looks for them.
        m.write("/root/ask", include_str!("../../src/cli/tests/ask.bash"));
        let file = "/usr/share/bash-completion/completions/app-monitor";
        let line = "app-monitor config show ";
        let answer = m.must(&format!("bash --norc --noprofile /root/ask {file} '{line}'"));
        assert_eq!(answer, "web\nend");

        m.must("systemctl stop app-monitor");
        assert_eq!(m.must("app-monitor complete apps"), "web", "as it was resolved last");
        m.must("systemctl start app-monitor");
        m.wait_property(SOON, "app-monitor.service", "ActiveState", "active");
    });
}
