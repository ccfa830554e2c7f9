//! The loader as a whole: a directory that looks like a system, and what came of it.

mod channels;
mod database;
mod errors;
mod members;
mod properties;
mod sources;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::judge::{Address, EventKind, GiveUp, Level, Mode, Policy, StatusSet, Window};

/// A system with files and an environment.
struct Host {
    root: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Host {
    fn new() -> Self {
        let host = Self { root: tempfile::tempdir().unwrap(), environment: Vec::new() };
        std::fs::create_dir_all(host.path("/etc/app-monitor/conf.d")).unwrap();
        host.mode("/etc/app-monitor", 0o755).mode("/etc/app-monitor/conf.d", 0o755)
    }

    /// One with that conffile.
    fn with(text: &str) -> Self {
        Self::new().file("app-monitor.toml", text)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = format!("/etc/app-monitor/{name}");
        std::fs::write(self.path(&path), text).unwrap();
        self.mode(&path, 0o644)
    }

    fn mode(self, path: &str, mode: u32) -> Self {
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, Errors> {
        load(&Sources { root: self.root.path().to_owned(), environment: self.environment.clone() })
    }

    fn settings(&self) -> Settings {
        match self.load() {
            Ok(loaded) => loaded.settings,
            Err(errors) => panic!("{errors}"),
        }
    }

    /// The errors as they are shown, without the directory.
    fn errors(&self) -> String {
        match self.load() {
            Ok(loaded) => panic!("no errors, but {:?}", loaded.settings),
            Err(errors) => errors.to_string().replace("/etc/app-monitor/", ""),
        }
    }

    fn notices(&self) -> Vec<String> {
        self.load().unwrap().notices.iter().map(ToString::to_string).collect()
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn with_nothing_configured_nothing_is_watched() {
    assert_eq!(Host::new().settings(), Settings::default());
    let bare = tempfile::tempdir().unwrap();
    let sources = Sources { root: bare.path().to_owned(), environment: Vec::new() };
    assert_eq!(load(&sources).unwrap().settings, Settings::default());
}

#[test]
fn three_lines_make_an_app() {
    let settings = Host::with("[app.web]\nunit = \"web\"\nport = 3000\nhttp = \"/health\"\n").settings();
    let app = &settings.members[0];
    assert_eq!(app.subject.to_string(), "web");
    assert_eq!(app.policy, Policy::default());
    assert_eq!(app.target.unit.as_str(), "web.service");
    assert_eq!(app.target.port, Some(3000));
    assert_eq!(app.target.min_processes, 1);
    let http = app.target.http.as_ref().unwrap();
    assert_eq!(http.url, "http://localhost:3000/health");
    assert_eq!(http.method, "GET");
    assert_eq!(http.timeout, seconds(10));
}

#[test]
fn every_key_reaches_its_place() {
    let settings = Host::with(
        r#"
log_level = "debug"
max_parallel = 4

[app.web]
unit = "web@1.service"
mode = "watch"
port = 3_000
address = "::1"
http = { url = "http://[::1]:3000/h", method = "POST", headers = { Accept = "text/html" }, status = [200, "301-302"], body = "ok", max_latency = "2s", timeout = 4, json = { status = "OK", services.database = "up", n = [1, 2.5, true] } }
working_directory = "/srv/web"
min_processes = 2
process = "node"
check_interval = "5s"
startup_interval = "500ms"
startup_grace = 60
confirm_interval = "3s"
suspect_after = "700ms"
timeout = "6s"
failures = 4
successes = 2
failures_window = "3 of 7"
cooldown = "2m"
cooldown_max = "20m"
max_attempts = 5
attempts_window = "2h"
retry_interval = "1h 30m"
healthy_for = "20m"
give_up = "wait"
verify_within = "50s"
min_uptime = "11s"
stop_timeout = "21s"
kill_after = "0s"
stopped_alert_after = "1d"

[alerts.mail]
kind = "unit"
unit = "mail@"
events = ["breaker-opened", "incident-closed", "breaker-opened"]
"#,
    )
    .settings();
    assert_eq!(settings.log_level, Level::Debug);
    assert_eq!(settings.max_parallel, 4);
    let app = &settings.members[0];
    let expected = Policy {
        mode: Mode::Watch,
        check_interval: seconds(5),
        startup_interval: Duration::from_millis(500),
        startup_grace: seconds(60),
        confirm_interval: seconds(3),
        suspect_after: Some(Duration::from_millis(700)),
        timeout: seconds(6),
        failures: 4,
        successes: 2,
        failures_window: Window { bad: 3, of: 7 },
        cooldown: seconds(120),
        cooldown_max: seconds(1_200),
        max_attempts: 5,
        attempts_window: seconds(7_200),
        retry_interval: seconds(5_400),
        healthy_for: seconds(1_200),
        give_up: GiveUp::Wait,
        verify_within: Some(seconds(50)),
        min_uptime: seconds(11),
        stop_timeout: seconds(21),
        kill_after: Duration::ZERO,
        stopped_alert_after: Some(seconds(86_400)),
        ..Policy::default()
    };
    assert_eq!(app.policy, expected);
    let target = &app.target;
    assert_eq!(target.unit.as_str(), "web@1.service");
    assert_eq!(target.address, Address::Ip("::1".parse().unwrap()));
    assert_eq!(target.min_processes, 2);
    assert_eq!(target.process.as_deref(), Some("node"));
    assert_eq!(target.working_directory.as_deref(), Some(Path::new("/srv/web")));
    let http = target.http.as_ref().unwrap();
    assert_eq!(http.method, "POST");
    assert_eq!(http.headers[0].0, "Accept");
    assert_eq!(http.headers[0].1.0, "text/html");
    assert_eq!(http.status, StatusSet(vec![(200, 200), (301, 302)]));
    assert_eq!(http.body.as_deref(), Some("ok"));
    assert_eq!(http.max_latency, Some(seconds(2)));
    assert_eq!(http.timeout, seconds(4));
    assert_eq!(
        http.json,
        [
            ("status".to_owned(), serde_json::json!("OK")),
            ("services.database".to_owned(), serde_json::json!("up")),
            ("n".to_owned(), serde_json::json!([1, 2.5, true])),
        ]
    );
    let alert = &settings.alerts[0];
    assert_eq!(alert.channel, Channel::Unit("mail@.service".parse().unwrap()));
    assert_eq!(alert.unit_for(app.subject.app().unwrap()).unwrap().as_str(), "mail@web.service");
    assert_eq!(alert.events, [EventKind::BreakerOpened, EventKind::IncidentClosed]);
}

/// The table of keys says what holds when nobody says: written out, it has to change nothing.
#[test]
fn written_defaults_are_the_defaults() {
    let mut text = String::new();
    let words = ["cooldown_max", "verify_within", "suspect_after", "process", "working_directory", "egress"];
    for key in keys::KEYS.iter().filter(|key| !key.default.is_empty() && !words.contains(&key.name)) {
        if key.scope == keys::Scope::Shared {
            let bare = raw::read_value(key.default, &Origin::Default).is_ok();
            let quote = if bare { "" } else { "\"" };
            text.push_str(&format!("{} = {quote}{}{quote}\n", key.name, key.default));
        }
    }
    let plain = Host::with("[app.web]\nunit = \"web\"\n").settings();
    assert_eq!(Host::with(&format!("[app.web]\nunit = \"web\"\n{text}")).settings(), plain);
    assert_eq!(Host::with(&format!("[defaults]\n{text}\n[app.web]\nunit = \"web\"\n")).settings(), plain);
    for event in super::alert::tellable() {
        assert_eq!(serde_json::to_value(event).unwrap(), event.word());
    }
}

#[test]
fn a_cooldown_raised_alone_carries_its_most_along() {
    let settings = Host::with("[app.web]\nunit = \"web\"\ncooldown = \"10m\"\n").settings();
    assert_eq!(settings.members[0].policy.cooldown_max, seconds(600));
}

#[test]
fn the_conffile_as_shipped_configures_nothing_and_its_examples_are_right() {
    let shipped = include_str!("../../packaging/app-monitor.toml");
    assert_eq!(Host::with(shipped).settings(), Settings::default());
    let examples: String = shipped
        .lines()
        .filter(|line| !line.starts_with("# "))
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    let settings = Host::with(&examples).settings();
    let members: Vec<String> = settings.members.iter().map(|member| member.subject.to_string()).collect();
    assert_eq!(members, ["shop", "web", "api@1", "api@2", "nginx.service", "postgresql.service"]);
    assert_eq!((settings.alerts.len(), settings.heartbeat.is_some()), (3, true));
    assert_eq!(settings.members[1].policy, Policy::default());
}

#[test]
fn what_is_shown_names_places_and_no_secrets() {
    let loaded = Host::with(
        "[defaults]\ntimeout = \"9s\"\n[app.web]\nunit = \"web\"\nhttp = { url = \"http://h/\", headers = { Authorization = \"geheim\" } }\n",
    )
    .variable("APP_MONITOR_FAILURES", "5")
    .load()
    .unwrap();
    let of = |key: &str| {
        let shown = loaded.shown.iter().find(|shown| shown.key == key).unwrap();
        (shown.table.clone(), shown.value.clone(), shown.origin.to_string())
    };
    let file = "/etc/app-monitor/app-monitor.toml";
    let app = || "app.web".to_owned();
    assert_eq!(of("timeout"), (app(), Some("9s".into()), format!("{file}:2:11")));
    assert_eq!(of("unit"), (app(), Some("web.service".into()), format!("{file}:4:8")));
    assert_eq!(of("failures"), (app(), Some(5.into()), "environment: APP_MONITOR_FAILURES".to_owned()));
    assert_eq!(of("successes"), (app(), None, "default".to_owned()));
    let http = of("http");
    assert_eq!(
        http.1.unwrap(),
        serde_json::json!({ "url": "http://h:80/", "headers": { "Authorization": "…" } })
    );
    assert_eq!(http.2, format!("{file}:5:1"));
}
