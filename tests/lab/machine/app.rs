//! The fixture app as a systemd unit, its faults, and asking it over HTTP.

use std::time::Duration;

use super::{APP_START, Machine, now, wait_for};

/// The fixture itself: plain Node, faults on request.
const SERVER: &str = include_str!("../app/server.js");

/// How the fixture app is installed. Its working directory is /srv/NAME, its unit NAME.service,
/// its health path /api/health.
#[derive(Debug, Clone)]
pub struct AppSpec {
    /// Name of app and unit.
    pub name: String,
    /// TCP port it listens on.
    pub port: u16,
    /// Address to bind: empty is Node's default (`::`, both families).
    pub bind: String,
    /// Restart= of the unit.
    pub restart: String,
    /// Pulled in by multi-user.target.
    pub enabled: bool,
    /// Ends in a SIGTERM handler, which a blocked event loop cannot run.
    pub sigterm_handler: bool,
    /// Until it listens.
    pub start_delay: Duration,
    /// Further lines of the \[Unit\] section.
    pub unit_lines: String,
    /// Further lines of the \[Service\] section.
    pub service_lines: String,
}

impl AppSpec {
    /// An app on a port, with Restart=no and TimeoutStopSec as systemd has it: what comes back,
    /// app-monitor brought back.
    pub fn new(name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            port,
            bind: String::new(),
            restart: "no".to_owned(),
            enabled: true,
            sigterm_handler: false,
            start_delay: Duration::ZERO,
            unit_lines: String::new(),
            service_lines: String::new(),
        }
    }

    /// NAME.service.
    pub fn unit(&self) -> String {
        format!("{}.service", self.name)
    }

    /// Files that make the app: path and text.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let Self { name, port, bind, restart, unit_lines, service_lines, .. } = self;
        let handler = u8::from(self.sigterm_handler);
        let delay = self.start_delay.as_millis();
        let unit = format!(
            "[Unit]\nDescription=Fixture {name}\n{unit_lines}\n\n\
             [Service]\nExecStart=/usr/bin/node /srv/{name}/server.js\nWorkingDirectory=/srv/{name}\n\
             Environment=PORT={port} BIND={bind} START_DELAY={delay} SIGTERM_HANDLER={handler}\n\
             Restart={restart}\n{service_lines}\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        vec![
            (format!("/srv/{name}/server.js"), SERVER.to_owned()),
            (format!("/etc/systemd/system/{name}.service"), unit),
        ]
    }
}

/// What an HTTP request got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code; 0 when there was no answer.
    pub status: u16,
    /// Body, or why there was none.
    pub body: String,
}

impl Machine {
    /// Installs the app in the running machine, enables it if it says so, starts it, and waits
    /// until it answers (not when it was told to take its time).
    #[track_caller]
    pub fn install_app(&self, app: &AppSpec) {
        for (path, text) in app.files() {
            self.write(&path, &text);
        }
        // Otherwise each of the two has systemd read everything again.
        let enable = if app.enabled { "systemctl --quiet --no-reload enable" } else { "true" };
        self.must(&format!(
            "{enable} {unit} && systemctl daemon-reload && systemctl start {unit}",
            unit = app.unit()
        ));
        if app.start_delay.is_zero() {
            self.wait_http_ok(APP_START, app.port, "/api/health");
        }
    }

    /// Has the app do a fault once (see app/server.js: `crash`, `exit 0`, `block`, `block-answered`, `status 500`,
    /// `badjson`, `drip`, `await`, `slow 3000`, `unlisten`, `leak`, `heal`). A restarted app is
    /// sound again. Gives the moment just before the app was told.
    #[track_caller]
    pub fn fault(&self, app: &str, fault: &str) -> Duration {
        self.write(&format!("/srv/{app}/fault"), &format!("{fault}\n"));
        let at = now();
        self.must(&format!("systemctl kill --kill-whom=main --signal=SIGUSR2 {app}.service"));
        at
    }

    /// Has the app do a fault at every start from now on, until [`Machine::mend`].
    #[track_caller]
    pub fn break_starts(&self, app: &str, fault: &str) {
        self.write(&format!("/srv/{app}/fault.sticky"), &format!("{fault}\n"));
    }

    /// Ends what [`Machine::break_starts`] began.
    #[track_caller]
    pub fn mend(&self, app: &str) {
        self.must(&format!("rm -f /srv/{app}/fault.sticky"));
    }

    /// Writes a configuration fragment of app-monitor and has it take effect: reloaded when the
    /// daemon runs, started when it does not.
    #[track_caller]
    pub fn configure(&self, text: &str) {
        self.write("/etc/app-monitor/conf.d/50-lab.toml", text);
        self.must("systemctl reload-or-restart app-monitor.service");
    }

    /// One GET of a path on a port, over IPv4 loopback, 5 s at most.
    pub fn http(&self, port: u16, path: &str) -> HttpAnswer {
        self.http_at("127.0.0.1", port, path)
    }

    /// One GET of a path on a port of an address (`[::1]` for IPv6), 5 s at most.
    pub fn http_at(&self, address: &str, port: u16, path: &str) -> HttpAnswer {
        let output = self.run(&format!(
            "curl --silent --show-error --max-time 5 --write-out '\\n%{{http_code}}' 'http://{address}:{port}{path}'"
        ));
        let (body, status) = output.stdout.rsplit_once('\n').unwrap_or(("", &output.stdout));
        HttpAnswer {
            status: status.parse().unwrap_or(0),
            body: if output.ok() { body.to_owned() } else { output.stderr },
        }
    }

    /// Waits until a GET is answered with 200; gives the moment of the answer.
    #[track_caller]
    pub fn wait_http_ok(&self, deadline: Duration, port: u16, path: &str) -> Duration {
        let what = format!("http://127.0.0.1:{port}{path} answers 200");
        wait_for(deadline, &what, || (self.http(port, path).status == 200).then(now))
    }
}
