//! The commands: everything they do lives in the library. The daemon is a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    app_monitor::cli::main()
}
