//! The binary: everything it does lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    app_monitor::cli::main(app_monitor::daemon::run)
}
