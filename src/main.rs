//! The binary: everything it does lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The daemon stays; what reads a command line would stay in its memory with it.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "run") && arguments.next().is_none() {
        return app_monitor::daemon::run();
    }
    app_monitor::cli::main(app_monitor::daemon::run)
}
