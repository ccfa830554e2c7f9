//! The daemon, as `app-monitor run` becomes it.
//!
//! It stays in memory for years, and what a kernel maps of a program follows the size of its file: what
//! only the commands need (the command line, `init`, `doctor`, `simulate`) would lie in there with it.

use std::process::ExitCode;

/// The command was not understood: as the commands have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(argument) = std::env::args_os().nth(1) {
        eprintln!("app-monitord: {} means nothing to it; see app-monitor(8)", argument.display());
        return ExitCode::from(USAGE);
    }
    app_monitor::daemon::run()
}
