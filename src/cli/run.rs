//! `app-monitor run`: becomes the daemon, which is a program of its own (`src/bin/app-monitord.rs` says
//! why). Nothing is spawned: the process stays the one that systemd started.

use std::os::unix::process::CommandExt;
use std::path::Path;

use super::{ATTENTION, complain};

/// Where the package puts the daemon. Nothing but this file is ever run, whatever `PATH` says.
const DAEMON: &str = "/usr/libexec/app-monitor/app-monitord";

/// Comes back only when it could not be.
#[allow(clippy::disallowed_types, reason = "execve(2) alone, without a fork")]
pub(super) fn run() -> u8 {
    let error = std::process::Command::new(Path::new(DAEMON)).exec();
    complain(format_args!("cannot run {DAEMON}: {error}; `apt reinstall app-monitor` puts it back"));
    ATTENTION
}
