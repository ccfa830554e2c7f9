//! A configuration for a processor that is a program: Node takes four seconds to start here, on a
//! busy host ten, so that the pace of the lab would name faults that are none.

use std::time::Duration;

use crate::machine::{AppSpec, Machine};
use crate::support::table;

/// Anything that is to happen at all happens within this time on a loaded host; nothing waits it out
/// when all is well.
pub const SOON: Duration = Duration::from_secs(90);

const DEFAULTS: &str = "[defaults]\ncheck_interval = \"2s\"\nconfirm_interval = \"1s\"\n\
    startup_interval = \"1s\"\nsuspect_after = \"8s\"\ntimeout = \"8s\"\nstartup_grace = \"90s\"\n\
    verify_within = \"90s\"\nmin_uptime = \"2s\"\ncooldown = \"1s\"\ncooldown_max = \"1s\"\n\
    stop_timeout = \"20s\"\n";

/// The app `web` on port 3000 at that pace, with further keys of its table.
pub fn config(keys: &str) -> String {
    format!("{DEFAULTS}\n{}", table("web", 3000, keys))
}

/// Installs the app and waits until it answers.
#[track_caller]
pub fn install(m: &Machine, app: &AppSpec) {
    // Whoever reads a page of a file first is charged for it. Charged to the app, its own program's
    // pages would be reclaimed and read again for minutes at its limit, before the kernel kills it.
    m.must("ldd /usr/bin/node | grep -o '/[^ ]*' | xargs cat /usr/bin/node >/dev/null");
    m.install_app(app);
}

/// Installs the app, watches it, and waits until it is seen healthy.
#[track_caller]
pub fn watch(m: &Machine, app: &AppSpec, keys: &str) {
    install(m, app);
    watch_anew(m, keys);
}

/// Watches the app that is there with other keys.
#[track_caller]
pub fn watch_anew(m: &Machine, keys: &str) {
    m.configure(&config(keys));
    healthy(m, "web");
}

/// Waits until the app is seen healthy, as long as it may take to start on a busy host.
#[track_caller]
pub fn healthy(m: &Machine, app: &str) {
    m.run_for(Duration::from_secs(130), &format!("app-monitor wait {app} --for 120s")).expect_ok();
}
