//! What is said of an app that was looked at, and of its host: pure, so that each finding has a test.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::looking::Patient;
use crate::config::{duration, size};
use crate::judge::{ActiveState, DatabasePlace, LoadState};
use crate::server::{Keeper, Server, mends};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does not work, or does harm.
    Problem,
    /// It will hurt one day.
    Warning,
    /// It could be better.
    Advice,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// Something to mend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The app; none for the host.
    pub app: Option<String>,
    /// Its unit.
    pub unit: Option<String>,
    pub severity: Severity,
    /// A word for scripts.
    pub finding: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// The lines that mend it.
    pub mend: Vec<String>,
}

/// A host with less than that is small.
const SMALL: u64 = 2 << 30;
/// A health check that takes longer is slow.
const SLOW: Duration = Duration::from_millis(500);

/// Collects what is said of one app.
struct Notes<'a> {
    patient: &'a Patient,
    all: Vec<Finding>,
}

impl Notes<'_> {
    fn add(
        &mut self,
        severity: Severity,
        finding: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: Vec<String>,
    ) {
        let (what, why) = (what.into(), why.into());
        let app = Some(self.patient.name.clone());
        let unit = Some(self.patient.service.unit.to_string());
        self.all.push(Finding { app, unit, severity, finding, what, why, mend });
    }

    /// Lines of a drop-in.
    fn edit(&self, section: &str, lines: &[&str]) -> Vec<String> {
        let mut all = vec![format!("systemctl edit {}", self.patient.service.unit), format!("[{section}]")];
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        all
    }

    /// A line of the app's table.
    fn table(&self, line: String) -> Vec<String> {
        vec![format!("[app.{}]", self.patient.name), line]
    }
}

/// All about one app.
pub fn app(patient: &Patient, server: &Server) -> Vec<Finding> {
    let mut notes = Notes { patient, all: Vec::new() };
    if patient.service.load != LoadState::Loaded {
        unknown(&mut notes);
        return notes.all;
    }
    keepers(&mut notes, server);
    start(&mut notes);
    limits(&mut notes);
    stop(&mut notes);
    network(&mut notes);
    families(&mut notes);
    health(&mut notes);
    others(&mut notes, server);
    notes.all
}

fn unknown(notes: &mut Notes<'_>) {
    let unit = notes.patient.service.unit.to_string();
    if notes.patient.of_a_user {
        notes.add(
            Severity::Problem,
            "user-manager",
            format!("{unit} runs under a user's own manager"),
            "app-monitor asks the system's systemd, which does not know it, and it ends when the user has no \
             session (unless lingering).",
            vec![
                format!("mv ~/.config/systemd/user/{unit} /etc/systemd/system/  # and add User= to it"),
                format!("systemctl daemon-reload && systemctl enable --now {unit}"),
            ],
        );
    } else {
        let word = format!("{:?}", notes.patient.service.load).to_lowercase();
        notes.add(
            Severity::Problem,
            "no-unit",
            format!("systemd has no {unit} that it could start ({word})"),
            "Without a unit nothing can be started.",
            vec![
                format!("systemctl status {unit}"),
                "systemctl daemon-reload  # after writing its file".into(),
            ],
        );
    }
}

/// Who else keeps it alive.
fn keepers(notes: &mut Notes<'_>, server: &Server) {
    let commands: Vec<String> = notes
        .patient
        .service
        .commands
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let by = |name: &str| {
        commands.iter().any(|command| command == name || command.starts_with(&format!("{name}-")))
    };
    let unit = notes.patient.service.unit.to_string();
    let directory = notes.patient.service.working_directory.clone();
    let elsewhere = server
        .strays
        .iter()
        .any(|stray| stray.keeper == Keeper::Pm2 && directory.is_some() && stray.cwd == directory);
    if by("pm2") || elsewhere || unit.starts_with("pm2-") {
        notes.add(
            Severity::Problem,
            "pm2",
            format!("{unit} and PM2 both keep this app"),
            "PM2 restarts it by itself, so that two keepers work against each other, and the app's own \
             processes are not what the unit starts and stops.",
            vec![
                "app-monitor init  # prints a unit for each app under PM2".into(),
                "pm2 delete NAME && pm2 save".into(),
            ],
        );
    }
    if by("docker") || by("podman") {
        notes.add(
            Severity::Warning,
            "container",
            format!("{unit} runs a container"),
            "Its processes are not in the unit's cgroup, so that their memory and their ports are not seen, and a \
             restart policy of the container would work against recoveries.",
            vec!["docker update --restart=no NAME".into(), "ExecStart=docker run --rm --name NAME …  # in the foreground".into()],
        );
    }
}

/// Whether it can start at all, and comes back by itself.
fn start(notes: &mut Notes<'_>) {
    let service = &notes.patient.service;
    let (failed, status) =
        (service.result == "exit-code" && service.active != ActiveState::Active, service.status);
    let first = service.commands.first().map(|path| path.display().to_string()).unwrap_or_default();
    let missing = notes.patient.missing.clone();
    if !missing.is_empty() || (failed && status == 203) {
        let what = match missing.first() {
            Some(path) => format!("{} does not exist (203/EXEC)", path.display()),
            None => format!("{first} cannot be executed (203/EXEC)"),
        };
        notes.add(
            Severity::Problem,
            "exec",
            what,
            "ExecStart= needs the absolute path of a program that its user may execute; node of a version manager \
             lies in a home that it may not see. A script needs its first line (#!) and chmod +x.",
            notes.edit("Service", &["ExecStart=", "ExecStart=/usr/bin/node server.js  # command -v node"]),
        );
    }
    let service = &notes.patient.service;
    let directory = service.working_directory.as_ref().map(|path| path.display().to_string());
    if notes.patient.homeless || (failed && status == 200) {
        notes.add(
            Severity::Problem,
            "chdir",
            format!("its working directory {} cannot be entered (200/CHDIR)", directory.unwrap_or_default()),
            "WorkingDirectory= has to be there, and its user has to be let into it and all above it.",
            notes.edit("Service", &["WorkingDirectory=/srv/APP"]),
        );
    }
    if matches!(notes.patient.service.restart.as_str(), "no" | "") {
        notes.add(
            Severity::Advice,
            "no-restart",
            "Restart= is not set",
            "systemd itself brings a crashed app back within a second, also while app-monitor is being upgraded; \
             app-monitor counts such restarts and steps in when they do not help.",
            notes.edit("Service", &["Restart=on-failure", "RestartSec=3s"]),
        );
    }
}

fn limits(notes: &mut Notes<'_>) {
    let service = &notes.patient.service;
    for (name, action) in
        [("StartLimitAction", &service.limit_action), ("FailureAction", &service.failure_action)]
    {
        if !matches!(action.as_str(), "" | "none") {
            let what = format!("{name}={action}");
            let mend = notes.edit("Unit", &[&format!("{name}=none")]);
            let why = "A broken app would take the whole host down, again and again.";
            notes.add(Severity::Problem, "start-limit-action", what, why, mend);
        }
    }
    let service = &notes.patient.service;
    let interval = service.limit_interval.unwrap_or(Duration::MAX);
    if interval.is_zero() || service.limit_burst == 0 {
        return;
    }
    let burst = u32::try_from(service.limit_burst).unwrap_or(u32::MAX);
    let shown = duration::show(interval);
    let cooldown = notes.patient.policy.cooldown;
    let restarts = !matches!(service.restart.as_str(), "no" | "");
    let delay = service.restart_delay.unwrap_or(Duration::MAX);
    if interval > cooldown.saturating_mul(burst) {
        let mend = notes.edit("Unit", &["StartLimitIntervalSec=10s", "StartLimitBurst=5"]);
        notes.add(
            Severity::Warning,
            "start-limit",
            format!("at most {burst} starts in {shown} are allowed, and recoveries come every {}", duration::show(cooldown)),
            "Starts by app-monitor count, too: after so many systemd refuses the next one until that time is over.",
            mend,
        );
    } else if restarts && delay.saturating_mul(burst) < interval {
        let least = duration::show(Duration::from_secs(interval.as_secs() / u64::from(burst) + 1));
        let mend = notes.edit("Service", &[&format!("RestartSec={least}")]);
        notes.add(
            Severity::Advice,
            "start-limit",
            format!("RestartSec={} uses {burst} starts in {shown} up at once", duration::show(delay)),
            "Crashing quickly, the app is given up by systemd within moments (start-limit-hit), and is down until \
             app-monitor's cooldown is over.",
            mend,
        );
    }
}

fn stop(notes: &mut Notes<'_>) {
    let (theirs, ours) = (notes.patient.service.timeout_stop, notes.patient.policy.stop_timeout);
    if theirs.is_none_or(|theirs| theirs > ours) {
        let shown = theirs.map_or_else(|| "infinity".to_owned(), duration::show);
        let ours = duration::show(ours);
        let mut mend = notes.edit("Service", &[&format!("TimeoutStopSec={ours}")]);
        if let Some(theirs) = theirs {
            mend.push("# or, where it needs that long, for app-monitor:".into());
            mend.extend(notes.table(format!("stop_timeout = \"{}\"", duration::show(theirs))));
        }
        notes.add(
            Severity::Advice,
            "stop-timeout",
            format!("TimeoutStopSec={shown} is longer than stop_timeout = \"{ours}\""),
            "app-monitor ends a stop with SIGKILL after its own time; everybody else, a shutdown and an upgrade \
             among them, waits the unit's.",
            mend,
        );
    }
}

fn network(notes: &mut Notes<'_>) {
    let places = match (&notes.patient.target.database, &notes.patient.found) {
        (Some(database), _) => database.places.clone(),
        (None, Some(found)) => found.databases.iter().flat_map(|one| one.places.clone()).collect(),
        (None, None) => Vec::new(),
    };
    let remote = places.iter().find_map(|place| match place {
        DatabasePlace::Host(host, _) => {
            let here =
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            (!here).then(|| host.clone())
        }
        DatabasePlace::Socket(_) => None,
    });
    let waits = notes.patient.service.after.iter().any(|unit| unit == "network-online.target");
    if let Some(host) = remote.filter(|_| !waits) {
        let mend = notes.edit("Unit", &["Wants=network-online.target", "After=network-online.target"]);
        notes.add(
            Severity::Warning,
            "network-online",
            format!("its database is at {host}, and the unit does not wait for the network"),
            "At boot it starts before there is a way to its database.",
            mend,
        );
    }
}

fn families(notes: &mut Notes<'_>) {
    let listening = notes.patient.listening();
    for port in notes.patient.ports() {
        let at: Vec<_> = listening.iter().filter(|at| at.port == port).collect();
        let local = at.iter().all(|at| at.address.is_loopback() || at.address.is_unspecified());
        let v4 = at.iter().any(|at| at.families().0);
        let v6 = at.iter().any(|at| at.families().1);
        if at.is_empty() || !local || (v4 && v6) {
            continue;
        }
        // Whoever names an address of that family goes there alone.
        let sites = notes.patient.found.iter().flat_map(|found| found.sites.iter());
        let hosts: Vec<String> = sites
            .flat_map(|(site, _)| site.passes_to(port).flat_map(|pass| pass.to.clone()).collect::<Vec<_>>())
            .filter_map(|to| match to {
                crate::server::nginx::Upstream::Host(host, at) if at == port => Some(host),
                _ => None,
            })
            .collect();
        let same = |host: &String| host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() == v4);
        if !hosts.is_empty() && hosts.iter().all(same) {
            continue;
        }
        let (own, other) = if v4 { ("IPv4", "::1") } else { ("IPv6", "127.0.0.1") };
        let shown: Vec<String> = at.iter().map(|at| at.shown()).collect();
        let address = if v4 { "127.0.0.1" } else { "[::1]" };
        let mut mend = vec!["server.listen(PORT)  # without a host: both families".to_owned()];
        mend.push(format!("proxy_pass http://{address}:{port};  # in nginx, instead of localhost"));
        notes.add(
            Severity::Advice,
            "one-family",
            format!("port {port} is bound on {own} only ({})", shown.join(", ")),
            format!("\u{201c}localhost\u{201d} means both: whoever tries {other} first is refused, nginx with localhost in proxy_pass among them."),
            mend,
        );
    }
}

fn health(notes: &mut Notes<'_>) {
    if notes.patient.target.http.is_none() {
        let mend = if notes.patient.name == notes.patient.service.unit.as_str() {
            vec!["app-monitor init --write".to_owned()]
        } else {
            notes.table("http = \"/health\"".to_owned())
        };
        notes.add(
            Severity::Warning,
            "no-http",
            "there is no http check",
            "A frozen app keeps its port and its process: only a question shows it.",
            mend,
        );
        return;
    }
    let Some(health) = notes.patient.health.clone() else { return };
    let path = &health.path;
    let asked = match health.plain {
        Ok(asked) => asked,
        Err(why) => {
            let mend = vec![format!("app-monitor check {}", notes.patient.name)];
            let what = format!("GET {path}: {why}");
            return notes.add(
                Severity::Problem,
                "health-unanswered",
                what,
                "It would be restarted for that.",
                mend,
            );
        }
    };
    if (300..400).contains(&asked.status) {
        let to = asked.header("location").unwrap_or("nowhere").to_owned();
        let mend = notes.table(format!("http = {}  # or the path where it ends", toml(&to)));
        notes.add(
            Severity::Warning,
            "health-redirects",
            format!("GET {path} answers {} and leads to {to}", asked.status),
            "Redirects are followed on the same host alone, and a login page answers 200 whatever is wrong \
             behind it.",
            mend,
        );
    } else if let Some((host, _)) = health.named.filter(|(_, named)| (200..300).contains(&named.status)) {
        let line = format!("http = {{ url = {}, headers = {{ Host = {} }} }}", toml(path), toml(&host));
        let mend = notes.table(line);
        notes.add(
            Severity::Problem,
            "health-needs-host",
            format!("GET {path} answers {} to localhost and 2xx to {host}", asked.status),
            "The app tells names apart; the check has to use one that it knows.",
            mend,
        );
    } else if asked.status >= 400 {
        let status =
            notes.patient.target.http.as_ref().is_some_and(|http| http.status.contains(asked.status));
        if !status {
            let mend =
                notes.table("http = \"/health\"  # a path that answers 2xx while all is well".to_owned());
            let what = format!("GET {path} answers {}", asked.status);
            notes.add(Severity::Problem, "health-bad", what, "The app counts as broken.", mend);
        }
    }
    if asked.took > SLOW {
        let mend = notes.table("http = \"/health\"  # one that does little".to_owned());
        notes.add(
            Severity::Warning,
            "health-slow",
            format!("GET {path} took {} ms", asked.took.as_millis()),
            "It is asked every few seconds, most often while the app has trouble; work in it makes that worse.",
            mend,
        );
    }
    if asked.is_static() {
        let mend = notes.table("http = \"/api/health\"  # one that asks the database".to_owned());
        notes.add(
            Severity::Advice,
            "health-static",
            format!("GET {path} answers with a page made beforehand"),
            "It stays good while the app's own code and its database fail.",
            mend,
        );
    }
}

fn others(notes: &mut Notes<'_>, server: &Server) {
    let stem = notes.patient.service.unit.stem().to_owned();
    let ports = notes.patient.ports();
    for other in server.restarters.iter().filter(|one| mends(one, &stem, &ports)) {
        let mend = match other.kind {
            "cron" => vec![format!("# take the line out of {}", other.place)],
            _ => vec![format!("# end {}, and whatever starts it", other.place)],
        };
        notes.add(
            Severity::Warning,
            if other.kind == "cron" { "cron" } else { "loop" },
            format!("{} also restarts it: \u{201c}{}\u{201d}", other.place, other.command),
            "Two keepers undo each other's work: a restart in the middle of a recovery looks like another crash, \
             and a stop by an administrator does not last.",
            mend,
        );
    }
}

/// All about the host.
pub fn host(server: &Server) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut add = |severity, finding, what: String, why: &str, mend: Vec<&str>| {
        let mend = mend.into_iter().map(str::to_owned).collect();
        all.push(Finding { app: None, unit: None, severity, finding, what, why: why.to_owned(), mend });
    };
    let host = &server.host;
    if host.memory > 0 && host.memory < SMALL && host.swap == 0 {
        let what = format!("no swap, and {} of memory", size::show(host.memory >> 20 << 20));
        add(
            Severity::Advice,
            "no-swap",
            what,
            "A build or a leak meets the kernel's OOM killer at once, instead of becoming slow first.",
            vec![
                "fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile",
                "echo '/swapfile none swap sw 0 0' >>/etc/fstab && swapon -a",
            ],
        );
    }
    if !host.journal_kept {
        add(
            Severity::Advice,
            "journal",
            "the journal is not kept over a reboot".to_owned(),
            "What an app said before the host went down is what explains it.",
            vec!["mkdir -p /var/log/journal && systemctl restart systemd-journald"],
        );
    }
    for stray in &server.strays {
        let finding = match &stray.keeper {
            Keeper::Pm2 => "under-pm2",
            Keeper::Container(_) => "under-docker",
            Keeper::User(..) => "under-user",
            Keeper::Session => "under-session",
        };
        let what =
            format!("{} (pid {}, user {}) runs {}", stray.name, stray.pid, stray.user, stray.kept_by());
        let advice = stray.advice();
        add(
            Severity::Warning,
            finding,
            what,
            "app-monitor acts on services of the system; this app is not watched.",
            vec![&format!("# {advice}"), "app-monitor init  # shows a unit for it"],
        );
    }
    all
}

fn toml(text: &str) -> String {
    crate::plain::in_json(&serde_json::Value::from(text).to_string())
}
