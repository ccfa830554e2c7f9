//! From the command line to the loop: the configuration in force, the runtime, the exit status.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::alerts;
use crate::config::Settings;
use crate::config::resolved;
use crate::incidents::{self, Places};
use crate::judge::{EventKind, Level};
use crate::plain::on_one_line;
use crate::systemd::journal;

use super::looping::turn;
use super::{clock, telling};

/// Exit status for a broken configuration (sysexits.h, EX_CONFIG).
pub const BAD_CONFIGURATION: u8 = 78;

/// Runs until SIGTERM. The exit status is 0, 78 for a broken configuration, or 1 when something
/// that is needed from the start is missing.
#[must_use]
pub fn run() -> ExitCode {
    if let Err(error) = journal::init(Level::Info) {
        eprintln!("app-monitor: cannot write the journal: {error}");
    }
    let code = match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Configuration) => ExitCode::from(BAD_CONFIGURATION),
        Err(Refusal::Other(why)) => {
            telling::say(Level::Error, why);
            ExitCode::FAILURE
        }
    };
    journal::flush(Duration::from_millis(500));
    code
}

/// Why it does not run.
pub(super) enum Refusal {
    /// The configuration has errors, which have been told.
    Configuration,
    /// Something that is needed from the start is missing.
    Other(String),
}

fn start() -> Result<(), Refusal> {
    let settings = settings_in_force()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Refusal::Other(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(turn(settings));
    // What is stuck in the kernel must not hold the exit back.
    runtime.shutdown_timeout(Duration::from_millis(50));
    outcome
}

/// What the pre-start step has resolved. Its errors are named here, one line each, since only the
/// main process's exit status keeps systemd from trying again.
fn settings_in_force() -> Result<Settings, Refusal> {
    let directory = Path::new(resolved::DIRECTORY);
    let resolved = resolved::read(directory).map_err(|error| {
        Refusal::Other(format!(
            "cannot read the resolved configuration: {error}; app-monitor.service writes it before it starts (app-monitor resolve)"
        ))
    })?;
    let level = resolved.outcome.as_ref().map(|settings| settings.log_level);
    journal::set_level(level.unwrap_or_default());
    for notice in &resolved.notices {
        telling::say(Level::Warn, notice.to_string());
    }
    resolved.outcome.map_err(|errors| {
        for error in &errors.0 {
            telling::event(Level::Error, EventKind::ConfigRejected, error.to_string());
        }
        telling::say(
            Level::Error,
            "not started: the configuration has errors; mend them, check with: app-monitor config check, then: systemctl restart app-monitor",
        );
        Refusal::Configuration
    })
}

/// The folder that systemd names in that variable (systemd.exec(5)), or its usual place.
pub(super) fn directory(variable: &str, default: &str) -> PathBuf {
    let first = std::env::var(variable).ok().and_then(|paths| paths.split(':').next().map(PathBuf::from));
    first.filter(|path| path.is_absolute()).unwrap_or_else(|| default.into())
}

/// Where what is told lies, and on what it is told.
pub(super) fn surroundings_of_alerts() -> alerts::Surroundings {
    let runtime = directory("RUNTIME_DIRECTORY", "/run/app-monitor");
    let state = directory("STATE_DIRECTORY", "/var/lib/app-monitor");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    alerts::Surroundings {
        details: runtime.join("alerts"),
        places: alerts::Places { directory: state, aside: runtime },
        credentials: alerts::Credentials::of_this_process(),
        clocks: clock::clocks,
        wall: clock::wall,
        host: on_one_line(&host),
    }
}

/// Where incidents lie.
pub(super) fn incident_places() -> Places {
    Places {
        directory: directory("STATE_DIRECTORY", "/var/lib/app-monitor").join(incidents::FOLDER),
        aside: directory("RUNTIME_DIRECTORY", "/run/app-monitor").join(incidents::FOLDER),
    }
}
