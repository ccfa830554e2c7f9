//! The privileged pre-start step (`ExecStartPre=+`, and `ExecReload=+` with `--reload`): resolves
//! the configuration, and writes what is in force and what the daemon is allowed for it.
//!
//! At start it succeeds even when the configuration is wrong. systemd heeds
//! RestartPreventExitStatus= for the main process alone, so a pre-start step that failed would be
//! tried again up to the start limit; the daemon reads the errors and ends with 78 instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{folders, grant};
use crate::config::environment::PREFIX;
use crate::config::resolved::{self, ReadError, Resolved};
use crate::config::{self, Sources};
use crate::systemd::Bus;

/// The monitor's own unit.
const UNIT: &str = "app-monitor.service";

/// What the step is to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// `/`, or a directory that looks like a system.
    pub root: PathBuf,
    /// Where what is in force is written, [`resolved::DIRECTORY`] on a system.
    pub directory: PathBuf,
    /// Where polkit's rules lie, [`grant::DIRECTORY`] on a system.
    pub rules: PathBuf,
    /// The daemon's own folders, in each of which it keeps incidents.
    pub folders: Vec<PathBuf>,
    /// The running daemon is to take a changed configuration on.
    pub reload: bool,
    /// This process's `APP_MONITOR_…` variables, in the order of their names.
    pub environment: Vec<(String, String)>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Outcome {
    /// The exit status: 0, or 1 where a reload was refused or nothing could be written.
    pub status: u8,
    /// What goes to stderr, and thereby to the journal: lines, the last one ended too.
    pub text: String,
}

/// Resolves and writes. Prints nothing itself.
pub fn resolve(request: &Request) -> Outcome {
    let mut text = String::new();
    let environment = environment(request, &mut text);
    let resolved = Resolved::load(&Sources { root: request.root.clone(), environment });
    match &resolved.outcome {
        Err(errors) if request.reload => {
            let _ = writeln!(text, "{errors}");
            let _ = writeln!(
                text,
                "the configuration has {}; the one in force stays so",
                crate::config::counted(errors.0.len(), "error")
            );
            return Outcome { status: 1, text };
        }
        Err(_) => {}
        Ok(_) => {
            for notice in &resolved.notices {
                let _ = writeln!(text, "{notice}");
            }
        }
    }
    let status = if request.reload {
        put_in_force(request, &resolved, &mut text)
    } else {
        begin(request, &resolved, &mut text)
    };
    Outcome { status, text }
}

/// How long a start waits for room, in seconds: less than the minute and a half that systemd gives it.
const WAITS: u32 = 30;

/// The same; where a start cannot write and was tried `again` by systemd, which it does each second, it waits
/// for room, a `pause` of a second at a time. So it is said every half a minute, and begins as soon as it can.
/// Who starts it hears at once that it cannot.
pub fn resolve_when_there_is_room(
    request: &Request,
    again: impl FnOnce() -> bool,
    pause: impl Fn(),
) -> Outcome {
    let outcome = resolve(request);
    if request.reload || outcome.status == 0 || !again() {
        return outcome;
    }
    let room = || {
        pause();
        let sources = Sources { root: request.root.clone(), environment: request.environment.clone() };
        resolved::write(&request.directory, &Resolved::load(&sources)).is_ok()
    };
    if (0..WAITS).any(|_| room()) { resolve(request) } else { outcome }
}

/// Whether this start of the monitor is one that systemd tries by itself after another failed.
#[must_use]
pub fn is_tried_again() -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return false;
    };
    let restarts = runtime.block_on(async {
        let unit = UNIT.parse().ok()?;
        Some(Bus::connect().await.ok()?.read_unit_alone(&unit).await.ok()?.restarts)
    });
    restarts.is_some_and(|restarts| restarts > 0)
}

/// What is in force, and what is allowed for it: both or neither. Who is killed between the one and the other
/// fails the reload, so that the daemon goes on with what it has, and with the rule for that; the next reload or
/// start writes both anew.
fn put_in_force(request: &Request, resolved: &Resolved, text: &mut String) -> u8 {
    let grants = resolved.outcome.as_ref().map(config::grants).unwrap_or_default();
    let done = grant::prepare(&request.rules, &grants)
        .map_err(|why| format!("cannot write what the monitor is allowed: {why}"))
        .and_then(|prepared| {
            let replaced = resolved::replace(&request.directory, resolved)
                .map_err(|why| format!("cannot write the configuration in force: {why}"))?;
            prepared.put_in_force().map_err(|why| {
                let back = replaced.take_back().err();
                let back =
                    back.map(|error| format!("; helpers go by the new one: {error}")).unwrap_or_default();
                format!("cannot allow the monitor what it needs: {why}{back}")
            })
        });
    match done {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(text, "{why}; what is in force stays so; then: systemctl reload app-monitor");
            1
        }
    }
}

/// The same at a start, where nothing of the last one may stay: without a rule the daemon watches all
/// the same, and says that it may not act.
fn begin(request: &Request, resolved: &Resolved, text: &mut String) -> u8 {
    for folder in &request.folders {
        if let Err(why) = folders::open_incidents_to_readers(&request.root, folder) {
            let _ = writeln!(text, "group adm cannot read incidents: {why}");
        }
    }
    let in_force = match resolved::write(&request.directory, resolved) {
        Ok(()) => true,
        Err(why) => {
            // Nothing new was to be written, e.g. on a full disk.
            let same = resolved::read(&request.directory).is_ok_and(|known| known == *resolved);
            let hence =
                if same { "the one of the last start is the same" } else { "nothing is watched until then" };
            let _ = writeln!(text, "cannot write the configuration in force: {why}; {hence}");
            same
        }
    };
    let grants = match &resolved.outcome {
        Ok(settings) if in_force => config::grants(settings),
        _ => Vec::new(),
    };
    if let Err(why) = grant::replace(&request.rules, &grants) {
        let _ = writeln!(
            text,
            "the monitor may not act: cannot write what it is allowed: {why}; then: systemctl reload app-monitor"
        );
    }
    u8::from(!in_force)
}

/// A reload resolves with the environment that the daemon was started with.
fn environment(request: &Request, text: &mut String) -> Vec<(String, String)> {
    if !request.reload {
        return request.environment.clone();
    }
    match resolved::read(&request.directory) {
        Ok(noted) => {
            let now = crate::config::environment::without_credentials(&request.environment);
            let changed = changes(&noted.environment, &now);
            if !changed.is_empty() {
                let _ = writeln!(
                    text,
                    "the environment of the unit has changed since its start ({}); \
                     that takes effect on systemctl restart app-monitor",
                    changed.join(", ")
                );
            }
            noted.environment
        }
        Err(error) => {
            if !matches!(error, ReadError::Absent) {
                let _ = writeln!(text, "cannot read the environment noted at start: {error}");
            }
            request.environment.clone()
        }
    }
}

/// The names of the variables that differ. Never their values, which may be secret.
fn changes(noted: &[(String, String)], now: &[(String, String)]) -> Vec<String> {
    let missing_in = |some: &[(String, String)], others: &[(String, String)]| -> Vec<String> {
        some.iter().filter(|variable| !others.contains(variable)).map(|(name, _)| name.clone()).collect()
    };
    let mut names = missing_in(noted, now);
    names.extend(missing_in(now, noted));
    names.retain(|name| name.starts_with(PREFIX));
    names.sort();
    names.dedup();
    names
}

/// The state and the runtime folder, which systemd makes before this step is run.
const FOLDERS: [&str; 2] = ["/var/lib/app-monitor", "/run/app-monitor"];

/// The request that this process was started for, on the system itself.
#[must_use]
pub fn request_of_this_process(reload: bool) -> Request {
    Request {
        root: Path::new("/").to_owned(),
        directory: Path::new(resolved::DIRECTORY).to_owned(),
        rules: Path::new(grant::DIRECTORY).to_owned(),
        folders: FOLDERS.iter().map(PathBuf::from).collect(),
        reload,
        environment: crate::config::environment::of_this_process(),
    }
}

/// Leaves the last line of a rejected reload in the journal as the event that it is; the lines on
/// stderr say why. False where there is no journal to write to.
#[must_use]
pub fn journal_rejection(outcome: &Outcome) -> bool {
    use crate::judge::{EventKind, Level};
    use crate::systemd::journal::{self, Line};
    let event = EventKind::ConfigRejected;
    if journal::init(Level::Info).is_err() {
        return false;
    }
    journal::write(Line {
        priority: Level::Error,
        message: outcome.text.lines().last().unwrap_or("the configuration was rejected").to_owned(),
        event: Some(event.word()),
        message_id: Some(event.message_id()),
        ..Line::default()
    });
    journal::flush(std::time::Duration::from_millis(500));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::judge::Level;

    struct Host {
        root: tempfile::TempDir,
    }

    impl Host {
        fn new(file: &str) -> Self {
            let host = Self { root: tempfile::tempdir().unwrap() };
            std::fs::create_dir_all(host.root.path().join("etc/app-monitor")).unwrap();
            std::fs::create_dir_all(host.rules()).unwrap();
            host.write(file);
            host
        }

        fn write(&self, file: &str) {
            std::fs::write(self.root.path().join("etc/app-monitor/app-monitor.toml"), file).unwrap();
        }

        fn resolve(&self, reload: bool, environment: &[(&str, &str)]) -> Outcome {
            resolve(&self.request(reload, environment))
        }

        fn request(&self, reload: bool, environment: &[(&str, &str)]) -> Request {
            Request {
                root: self.root.path().to_owned(),
                directory: self.directory(),
                rules: self.rules(),
                folders: vec![self.root.path().join("state")],
                reload,
                environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            }
        }

        fn directory(&self) -> PathBuf {
            self.root.path().join("resolved")
        }

        fn rules(&self) -> PathBuf {
            self.root.path().join("etc/polkit-1/rules.d")
        }

        fn allowed(&self, unit: &str) -> bool {
            let rule = std::fs::read_to_string(self.rules().join(grant::FILE)).unwrap();
            rule.contains(&format!("\"{unit}\": ["))
        }

        fn in_force(&self) -> Settings {
            resolved::read_settings(&self.directory()).unwrap().unwrap()
        }
    }

    #[test]
    fn a_wrong_configuration_is_written_down_and_the_start_goes_on() {
        let host = Host::new("log_level = 3\n");
        assert_eq!(host.resolve(false, &[]), Outcome { status: 0, text: String::new() });
        assert!(resolved::read_settings(&host.directory()).unwrap().is_err());
    }

    #[test]
    fn what_is_allowed_follows_from_what_is_in_force() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        assert_eq!(host.resolve(false, &[]).status, 0);
        assert!(host.allowed("web.service") && host.allowed("app-monitor-reap@web.service"));
        host.write("[app.api]\nunit = \"api\"\n");
        assert_eq!(host.resolve(true, &[]).status, 0);
        assert!(host.allowed("api.service") && !host.allowed("web.service"));
        host.write("[app.api]\nunit = \"api\"\nfailures = 0\n");
        assert_eq!(host.resolve(true, &[]).status, 1);
        assert!(host.allowed("api.service"), "the old one stays at a reload");
        assert_eq!(host.resolve(false, &[]).status, 0);
        assert!(!host.allowed("api.service"), "nothing is allowed without a configuration");
    }

    /// Puts something in the place of `/etc/app-monitor`, or of what is in it.
    type Breaks = fn(&Path);

    #[test]
    fn whatever_is_wrong_with_the_files_allows_nothing_at_a_start_and_nothing_new_at_a_reload() {
        const NEW: &str = "[app.api]\nunit = \"api\"\n";
        let ways: [(&str, Breaks); 10] = [
            ("cut off", |etc| std::fs::write(etc.join("app-monitor.toml"), format!("{NEW}port = ")).unwrap()),
            ("noise", |etc| {
                std::fs::write(etc.join("app-monitor.toml"), b"[app.api]\nunit = \"api\xff\"\n").unwrap()
            }),
            ("huge", |etc| {
                std::fs::write(etc.join("app-monitor.toml"), format!("{NEW}{}", "#\n".repeat(1 << 20)))
                    .unwrap();
            }),
            ("deep", |etc| {
                std::fs::write(etc.join("app-monitor.toml"), format!("{NEW}x = {}", "[".repeat(100_000)))
                    .unwrap();
            }),
            ("a folder", |etc| {
                std::fs::remove_file(etc.join("app-monitor.toml")).unwrap();
                std::fs::create_dir(etc.join("app-monitor.toml")).unwrap();
            }),
            ("a pipe", |etc| {
                std::fs::remove_file(etc.join("app-monitor.toml")).unwrap();
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mkfifoat(rustix::fs::CWD, etc.join("app-monitor.toml"), mode).unwrap();
            }),
            ("a link to nothing", |etc| {
                std::fs::remove_file(etc.join("app-monitor.toml")).unwrap();
                std::os::unix::fs::symlink("nothing", etc.join("app-monitor.toml")).unwrap();
            }),
            ("a link to itself", |etc| {
                std::fs::remove_file(etc.join("app-monitor.toml")).unwrap();
                std::os::unix::fs::symlink("app-monitor.toml", etc.join("app-monitor.toml")).unwrap();
            }),
            ("conf.d is a file", |etc| std::fs::write(etc.join("conf.d"), "").unwrap()),
            ("all of it is a file", |etc| {
                std::fs::remove_dir_all(etc).unwrap();
                std::fs::write(etc, NEW).unwrap();
            }),
        ];
        for (what, breaks) in ways {
            let host = Host::new("[app.web]\nunit = \"web\"\n");
            assert_eq!(host.resolve(false, &[]).status, 0);
            breaks(&host.root.path().join("etc/app-monitor"));
            let outcome = host.resolve(true, &[]);
            assert_eq!(outcome.status, 1, "{what}: {}", outcome.text);
            assert!(host.allowed("web.service") && !host.allowed("api.service"), "{what}");
            assert_eq!(host.resolve(false, &[]).status, 0, "{what}");
            assert!(!host.allowed("web.service") && !host.allowed("api.service"), "{what}");
            assert!(resolved::read_settings(&host.directory()).unwrap().is_err(), "{what}");
        }
        // What the unit's environment says amiss, and what is not there any more.
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        for nonsense in ["APP_MONITOR_APP_WEB__", "APP_MONITOR_APP_WEB__PORT", "APP_MONITOR_X"] {
            assert_eq!(host.resolve(false, &[(nonsense, "{ x = ]")]).status, 0);
            assert!(!host.allowed("web.service"), "{nonsense}");
        }
        assert_eq!(host.resolve(false, &[]).status, 0);
        std::fs::remove_file(host.root.path().join("etc/app-monitor/app-monitor.toml")).unwrap();
        assert_eq!(host.resolve(true, &[]).status, 0);
        assert!(!host.allowed("web.service"), "a file that is gone names nothing");
    }

    #[test]
    fn a_reload_that_cannot_allow_what_it_needs_changes_nothing() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        assert_eq!(host.resolve(false, &[]).status, 0);
        host.write("[app.api]\nunit = \"api\"\n");
        std::fs::remove_dir_all(host.rules()).unwrap();
        let outcome = host.resolve(true, &[]);
        assert_eq!(outcome.status, 1);
        assert!(outcome.text.contains("rules.d does not exist: polkit is not installed"), "{}", outcome.text);
        assert_eq!(host.in_force().members[0].target.unit.as_str(), "web.service");
        let outcome = host.resolve(false, &[]);
        assert_eq!(outcome.status, 0, "it can watch all the same");
        assert!(outcome.text.starts_with("the monitor may not act: "), "{}", outcome.text);
    }

    #[test]
    fn a_rule_that_cannot_be_put_in_its_place_leaves_what_is_in_force() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        assert_eq!(host.resolve(false, &[]).status, 0);
        host.write("[app.api]\nunit = \"api\"\n");
        // As one that may not be changed (chattr +i).
        let rule = host.rules().join(grant::FILE);
        std::fs::remove_file(&rule).unwrap();
        std::fs::create_dir(&rule).unwrap();
        let outcome = host.resolve(true, &[]);
        assert_eq!(outcome.status, 1);
        assert!(outcome.text.starts_with("cannot allow the monitor what it needs: "), "{}", outcome.text);
        assert!(outcome.text.contains("; what is in force stays so; "), "{}", outcome.text);
        assert_eq!(host.in_force().members[0].target.unit.as_str(), "web.service");
        for folder in [host.directory(), host.rules()] {
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "nothing is left of it");
        }
    }

    #[test]
    fn a_reload_into_a_wrong_configuration_leaves_the_old_one() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        assert_eq!(host.resolve(false, &[]).status, 0);
        host.write("[app.web]\nunit = \"web\"\nfailures = 0\n");
        let outcome = host.resolve(true, &[]);
        assert_eq!(outcome.status, 1);
        assert_eq!(
            outcome.text,
            "/etc/app-monitor/app-monitor.toml:3:12: [app.web] failures: expected a whole number from 1 to 100, found 0\n\
             the configuration has 1 error; the one in force stays so\n"
        );
        assert_eq!(host.in_force().members.len(), 1);
    }

    #[test]
    fn a_reload_keeps_the_environment_of_the_start_and_says_when_it_changed() {
        let host = Host::new("");
        assert_eq!(host.resolve(false, &[("APP_MONITOR_LOG_LEVEL", "debug")]).status, 0);
        let same = host.resolve(true, &[("APP_MONITOR_LOG_LEVEL", "debug")]);
        assert_eq!(same, Outcome { status: 0, text: String::new() });
        let changed =
            host.resolve(true, &[("APP_MONITOR_LOG_LEVEL", "trace"), ("APP_MONITOR_MODE", "watch")]);
        assert_eq!(changed.status, 0);
        assert_eq!(
            changed.text,
            "the environment of the unit has changed since its start (APP_MONITOR_LOG_LEVEL, APP_MONITOR_MODE); \
             that takes effect on systemctl restart app-monitor\n"
        );
        assert_eq!(host.in_force().log_level, Level::Debug);
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let host = Host::new("");
        std::fs::write(host.directory(), "in the way").unwrap();
        let outcome = host.resolve(false, &[]);
        assert_eq!(outcome.status, 1);
        assert!(outcome.text.starts_with("cannot write the configuration in force: "), "{}", outcome.text);
    }

    #[test]
    fn room_is_waited_for_by_a_start_that_is_tried_again() {
        use std::cell::Cell;
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let pauses = Cell::new(0);
        let tried = |reload: bool, again: bool, room_after: u32| {
            std::fs::write(host.directory(), "in the way").unwrap();
            pauses.set(0);
            let pause = || {
                pauses.set(pauses.get() + 1);
                if pauses.get() == room_after {
                    std::fs::remove_file(host.directory()).unwrap();
                }
            };
            let outcome = resolve_when_there_is_room(&host.request(reload, &[]), || again, pause);
            (outcome.status, outcome.text.lines().count(), pauses.get())
        };
        assert_eq!(tried(false, false, 0), (1, 1, 0), "who starts it hears at once");
        assert_eq!(tried(true, true, 0).0, 1);
        assert_eq!(pauses.get(), 0, "and who reloads it");
        assert_eq!(tried(false, true, 0), (1, 1, WAITS));
        assert!(!host.allowed("web.service"));
        assert_eq!(tried(false, true, 3), (0, 0, 3));
        assert!(host.allowed("web.service") && host.in_force().members.len() == 1);
    }
}
