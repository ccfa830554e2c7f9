//! An app that is watched at a pace at which scenarios are short, and what the monitor says of it.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, Output};

/// Long enough for anything that is not measured.
pub const SOON: Duration = Duration::from_secs(20);

/// Everything at a quick pace; recoveries out of each other's way.
pub const DEFAULTS: &str = "[defaults]\ncheck_interval = \"1s\"\ntimeout = \"1s\"\nconfirm_interval = \"500ms\"\n\
     suspect_after = \"500ms\"\nstartup_grace = \"3s\"\nmin_uptime = \"2s\"\ncooldown = \"1s\"\ncooldown_max = \"1s\"\n";

/// The app `web` with everything checked, and further lines of its table.
pub fn config(lines: &str) -> String {
    format!("{DEFAULTS}\n[app.web]\nunit = \"web.service\"\nport = 3000\nhttp = \"/api/health\"\n{lines}\n")
}

/// Installs the app and waits until the monitor finds it healthy.
#[track_caller]
pub fn watch(m: &Machine, app: &AppSpec, lines: &str) {
    m.install_app(app);
    m.configure(&config(lines));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
}

/// The app as `status --json` shows it; null while the daemon does not answer.
pub fn view(m: &Machine, app: &str) -> serde_json::Value {
    let text = m.run(&format!("app-monitor status {app} --json")).stdout;
    let views: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    views.get(0).cloned().unwrap_or_default()
}

/// Waits until the daemon answers with something that `probe` takes.
#[track_caller]
pub fn wait_view<T>(
    m: &Machine,
    app: &str,
    what: &str,
    probe: impl Fn(&serde_json::Value) -> Option<T>,
) -> T {
    m.wait_for(SOON, what, || probe(&view(m, app)))
}

/// Events of an app by that name since a moment.
pub fn count(m: &Machine, app: &str, name: &str, since: Duration) -> usize {
    m.events_since(app, since).iter().filter(|event| event.name == name).count()
}

/// A shell line as a user without any privilege.
#[track_caller]
pub fn as_nobody(m: &Machine, line: &str) -> Output {
    m.run(&format!("setpriv --reuid=nobody --regid=nogroup --clear-groups -- {line}"))
}
