//! What ends, or goes on, while the monitor is away: its end is told, once, and its beginning not twice.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, scenario};
use crate::receiver::{LONG, install_receiver, receive, texts, webhook};
use crate::support::{SOON, UNIT, let_pass, quick, table, view};

/// The conditions that are told of each app here.
const THREE: [(&str, &str); 4] =
    [("web", "disk-low"), ("web", "may-not-act"), ("api", "may-not-act"), ("api", "never-healthy")];

/// How often that was told of that app's condition.
fn times(m: &Machine, app: &str, words: &str) -> usize {
    texts(m).iter().filter(|text| text.starts_with(&format!("{app}: {words}"))).count()
}

/// All of them have begun, and as many have ended as `ended` says of each.
#[track_caller]
fn told(m: &Machine, ended: usize) {
    for (app, what) in THREE {
        let ends = format!("{what} is over after");
        let begun = texts(m).iter().filter(|text| text.starts_with(&format!("{app}: {what}: "))).count();
        assert_eq!((begun, times(m, app, &ends)), (1, ended), "{app}: {what}: {:#?}", texts(m));
    }
    assert_eq!(texts(m).len(), THREE.len() * (1 + ended), "and nothing else: {:#?}", texts(m));
}

/// So many things were told.
fn wait(m: &Machine, count: usize) {
    m.wait_for(LONG, &format!("{count} things are told"), || (texts(m).len() >= count).then_some(()));
}

#[test]
fn conditions_that_end_while_the_monitor_is_away_are_told_as_ended_once() {
    scenario("condition-away", |m| {
        install_receiver(m);
        receive(m, "ok");
        // The monitor starts after it was mounted, as at every boot: read-only in its sandbox.
        m.must(
            "mkdir -p /srv/web && mount -t tmpfs -o size=64M web /srv/web && systemctl restart app-monitor",
        );
        m.install_app(&AppSpec::new("web", 3000));
        m.install_app(&AppSpec::new("api", 3001));
        let web = table("web", 3000, "min_disk = \"32M\"");
        let api = table("api", 3001, "").replace("/api/health", "/private");
        m.configure(&quick(&format!(
            "{web}{api}{}",
            webhook("events = [\"condition-began\", \"condition-ended\"]")
        )));
        m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
        let_pass(Duration::from_secs(2));
        m.must("head -c 48M /dev/zero >/srv/web/filler; systemctl mask --now polkit");
        wait(m, THREE.len());
        told(m, 0);

        // They last, whatever becomes of the monitor.
        m.must(&format!("systemctl restart {UNIT}"));
        let_pass(Duration::from_secs(12));
        m.must(&format!("systemctl kill --signal=KILL {UNIT}"));
        let_pass(Duration::from_secs(12));
        told(m, 0);
        let shown = view(m, "web")["conditions"].to_string();
        assert!(shown.contains("disk-low") && shown.contains("may-not-act"), "{shown}");

        m.must(&format!("systemctl stop {UNIT}"));
        m.must("rm /srv/web/filler; systemctl unmask polkit; systemctl start polkit");
        m.configure(&m.read("/etc/app-monitor/conf.d/50-lab.toml").unwrap_or_default());
        wait(m, THREE.len() + 3);
        // What was never good is configured as it was: that it is over, only an answer can say.
        assert_eq!(times(m, "api", "never-healthy is over"), 0, "{:#?}", texts(m));
        m.must("touch /srv/api/public");
        wait(m, 2 * THREE.len());
        m.must(&format!("systemctl restart {UNIT}"));
        let_pass(Duration::from_secs(8));
        told(m, 1);
        assert_eq!(view(m, "web")["conditions"].as_array().map(Vec::len), Some(0));
    });
}
