//! The privileged pre-start step (`ExecStartPre=+`, and `ExecReload=+` with `--reload`): resolves
//! the configuration and writes what is in force.
//!
//! At start it succeeds even when the configuration is wrong. systemd heeds
//! RestartPreventExitStatus= for the main process alone, so a pre-start step that failed would be
//! tried again up to the start limit; the daemon reads the errors and ends with 78 instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::Sources;
use crate::config::environment::PREFIX;
use crate::config::resolved::{self, ReadError, Resolved};

/// What the step is to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// `/`, or a directory that looks like a system.
    pub root: PathBuf,
    /// Where what is in force is written, [`resolved::DIRECTORY`] on a system.
    pub directory: PathBuf,
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
    let status = match resolved::write(&request.directory, &resolved) {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(text, "cannot write the configuration in force: {why}");
            1
        }
    };
    // The polkit grant for exactly these units will be written here, after the settings and before
    // the daemon asks for it; an empty one where there are errors.
    Outcome { status, text }
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

/// The request that this process was started for, on the system itself.
#[must_use]
pub fn request_of_this_process(reload: bool) -> Request {
    Request {
        root: Path::new("/").to_owned(),
        directory: Path::new(resolved::DIRECTORY).to_owned(),
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
            host.write(file);
            host
        }

        fn write(&self, file: &str) {
            std::fs::write(self.root.path().join("etc/app-monitor/app-monitor.toml"), file).unwrap();
        }

        fn resolve(&self, reload: bool, environment: &[(&str, &str)]) -> Outcome {
            resolve(&Request {
                root: self.root.path().to_owned(),
                directory: self.directory(),
                reload,
                environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            })
        }

        fn directory(&self) -> PathBuf {
            self.root.path().join("resolved")
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
}
